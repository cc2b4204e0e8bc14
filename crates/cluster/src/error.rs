//! What can be wrong with a clustering.

use std::path::PathBuf;

use umbra_model::{GraphError, ModelError};

/// Everything that can go wrong in this module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// No codeword, or more codewords than there are weights.
    #[error("k is {found}, expected 1 to {limit}, the number of weights {what}")]
    Codewords {
        /// The number of codewords asked for.
        found: usize,
        /// The largest that makes sense.
        limit: usize,
        /// What the limit counts.
        what: &'static str,
    },
    /// A network without convolutions.
    #[error("network {network:?} has no convolution, so that there is nothing to cluster; use a convolutional network")]
    NothingToCluster {
        /// Its name.
        network: String,
    },
    /// An ensemble of one.
    #[error(
        "an ensemble is clustered jointly, expected at least two networks of one architecture, found {found}; name \
         the others as members, or use mode full or slice for a single network"
    )]
    TooFewMembers {
        /// The number of networks given.
        found: usize,
    },
    /// Several networks where one is clustered.
    #[error(
        "mode {mode} clusters one network, found {found}; use mode ensemble for several, or cluster them one by one"
    )]
    TooManyMembers {
        /// The mode.
        mode: super::ClusterMode,
        /// The number of networks given.
        found: usize,
    },
    /// Members that cannot share an index map.
    #[error(
        "member {member} ({network:?}) differs from the first network: {what} is {found}, expected {expected}; \
         members must have the same architecture"
    )]
    Architecture {
        /// Number of the member, the first network being 1.
        member: usize,
        /// Its name.
        network: String,
        /// Where they differ.
        what: String,
        /// What the member has.
        found: String,
        /// What the first network has.
        expected: String,
    },
    /// Nothing to measure what errors do on.
    #[error(
        "network {network:?} has no sample images, on which errors are made to cancel; give others for calibration, \
         or assign to the nearest codeword"
    )]
    NoSamples {
        /// Its name.
        network: String,
    },
    /// Values on the images for calibration are no finite numbers.
    #[error(
        "network {network:?}: values of node {node:?} overflow on images for calibration; use more codewords, or \
         assign to the nearest codeword"
    )]
    Overflow {
        /// Its name.
        network: String,
        /// The node.
        node: String,
    },
    /// A file of codebooks that is none, or belongs to another network.
    #[error("{}: {what}; cluster the network again", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The clustered network does not hold together.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A file cannot be read or written.
    #[error(transparent)]
    Model(#[from] ModelError),
}
