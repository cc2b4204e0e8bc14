//! What can be wrong with networks, data sets and images.
//!
//! Every message is one complete line that says where, what was found, what was expected and what to do.

use std::io;
use std::path::PathBuf;

use umbra_foreign::Foreign;

/// What is wrong with a network, apart from the file it came from.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// A manifest that is not the JSON it should be.
    #[error("not a valid manifest: {reason}")]
    Syntax {
        /// What was found and expected, with line and column or the node.
        reason: String,
    },
    /// A manifest of another format or version.
    #[error("the manifest is {found}, this program reads {expected}; export the network again")]
    Version {
        /// Format and version found.
        found: String,
        /// Format and version read.
        expected: String,
    },
    /// Weights that are not a safetensors file.
    #[error("the weights are not a valid safetensors file ({reason}); export them again")]
    WeightsFormat {
        /// What is wrong.
        reason: String,
    },
    /// Two nodes of one name.
    #[error("two nodes are named {node:?}; give every node its own name")]
    DuplicateName {
        /// The name.
        node: String,
    },
    /// An empty, overlong or reserved name.
    #[error(
        "{node:?} cannot be the name of a node; use 1 to 256 printable characters, and not \"input\", which is the \
         image"
    )]
    BadName {
        /// The name.
        node: String,
    },
    /// A node reads from a node that does not exist.
    #[error("node {node:?}: its input {input:?} is not a node; name an existing node or \"input\"")]
    UnknownInput {
        /// The reading node.
        node: String,
        /// The name that is not there.
        input: String,
    },
    /// The output is not a node.
    #[error("the output {output:?} is not a node; name the node that computes the logits")]
    UnknownOutput {
        /// The name that is not there.
        output: String,
    },
    /// Nodes that depend on themselves.
    #[error("nodes form a cycle: {}; remove one of these connections", nodes.join(" -> "))]
    Cycle {
        /// The cycle; the first name is repeated at the end.
        nodes: Vec<String>,
    },
    /// A node whose result the output does not depend on.
    #[error("node {node:?}: nothing uses its result; remove it or connect it")]
    Unused {
        /// The node.
        node: String,
    },
    /// An operation that this project does not have.
    #[error(
        "node {node:?}: operator {operator:?} is not supported; supported are {}",
        crate::SUPPORTED_OPERATORS.join(", ")
    )]
    UnknownOperator {
        /// The node.
        node: String,
        /// The `op` found.
        operator: String,
    },
    /// Sizes or values that do not fit together.
    #[error("node {node:?}: {what} is {found}, expected {expected}")]
    Mismatch {
        /// The node.
        node: String,
        /// The quantity.
        what: String,
        /// Its value.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// Images that no network can take, or that this one does not take.
    #[error(transparent)]
    Image(#[from] umbra_image::ImageError),
    /// A value of the network as a whole that does not fit.
    #[error("{what} is {found}, expected {expected}")]
    Invalid {
        /// The quantity.
        what: String,
        /// Its value.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// Two classes of one name.
    #[error("two classes are named {class:?}; give every class its own name")]
    DuplicateClass {
        /// The name.
        class: String,
    },
    /// A tensor whose values do not fill its shape.
    #[error("tensor {tensor:?}: {found} values do not fill the shape {shape:?}")]
    TensorLength {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The number of values.
        found: usize,
    },
    /// A weight that is NaN or infinite.
    #[error(
        "tensor {tensor:?}: value {index} is {found}; weights must be finite, export them from a training that \
         converged"
    )]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// Row-major index of the first such value.
        index: usize,
        /// The value.
        found: f64,
    },
    /// A tensor that the weights file lacks.
    #[error("node {node:?}: tensor {tensor:?} is not in {weights:?}; export it or correct the key")]
    MissingTensor {
        /// The node.
        node: String,
        /// The key.
        tensor: String,
        /// The weights file's name.
        weights: String,
    },
    /// A tensor of another element type.
    #[error("node {node:?}: tensor {tensor:?} is of type {found}, expected F32 or F16")]
    TensorType {
        /// The node.
        node: String,
        /// The key.
        tensor: String,
        /// Its type.
        found: String,
    },
}

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] umbra_file::ReadError),
    /// A network that does not hold together.
    #[error("{}: {reason}", path.display())]
    Graph {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        reason: GraphError,
    },
    /// A file of another program in the place of one that is read.
    #[error("{}: this is {found}, expected {expected}; {remedy}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
        /// What was expected.
        expected: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The network of another program in the place of a folder of ours.
    #[error("{}: a folder without manifest.json, but with {}, {found}; {remedy}", folder.display(), file.display())]
    NoManifest {
        /// The folder.
        folder: PathBuf,
        /// The name of a file in it.
        file: PathBuf,
        /// What that is.
        found: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A data set that is not one.
    #[error("{}: {reason}", path.display())]
    Dataset {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: crate::DatasetError,
    },
    /// A folder cannot be made.
    #[error("{}: cannot make this folder: {reason}; check the permissions or write elsewhere", path.display())]
    CreateFolder {
        /// The folder.
        path: PathBuf,
        /// The system's answer.
        reason: io::Error,
    },
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] umbra_file::FileError),
}

impl ModelError {
    /// A file of another program where a network, or a part of one, was expected.
    #[must_use]
    pub fn foreign_network(path: PathBuf, found: Foreign, expected: &'static str) -> Self {
        Self::Foreign { path, found: found.what(), expected, remedy: found.remedy_for_network() }
    }

    /// A file of another program where a data set was expected.
    #[must_use]
    pub fn foreign_data(path: PathBuf, found: Foreign) -> Self {
        let expected = "images with their classes";
        Self::Foreign { path, found: found.what(), expected, remedy: found.remedy_for_data() }
    }
}
