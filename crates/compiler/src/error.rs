//! What can be wrong with networks that are to become programs.

use umbra_program::ProgramError;
use umbra_ring::RingError;

/// A network that cannot be compiled as asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// A structure that the compiler does not know.
    #[error("node {node:?}: {what} cannot be compiled; {remedy}")]
    Unsupported {
        /// The node.
        node: String,
        /// What is not supported.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// A quadratic that is almost a line.
    #[error(
        "node {node:?}: the leading coefficient of channel {channel} is {found}, too small to complete the square; \
         train with a larger one, or compile without the redistribute pass"
    )]
    Leading {
        /// The node.
        node: String,
        /// The channel.
        channel: usize,
        /// The coefficient.
        found: f64,
    },
    /// A picture or a layer that has no room in a ciphertext.
    #[error("{what}: {found}, at most {limit} fit at N = 2^{log_n}; use a larger N or smaller pictures")]
    TooLarge {
        /// The quantity.
        what: &'static str,
        /// Its value.
        found: usize,
        /// The limit.
        limit: usize,
        /// Base-2 logarithm of the ring degree.
        log_n: u32,
    },
    /// More pictures and members of an ensemble than there are lanes.
    #[error(
        "{found} lanes (pictures of a batch times members of an ensemble, of which the next power of two counts) were asked for, \
         at most {limit} fit at N = 2^{log_n}; use fewer"
    )]
    TooManyLanes {
        /// Lanes asked for.
        found: usize,
        /// Lanes there are.
        limit: usize,
        /// Base-2 logarithm of the ring degree.
        log_n: u32,
    },
    /// A layer with more channels than the channel layout has ciphertexts for.
    #[error(
        "node {node:?} has {found} channels, at most {limit} fit in the channel layout (one ciphertext each); use the cyclic \
         layout"
    )]
    TooWide {
        /// The node.
        node: String,
        /// Its channels.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Members of an ensemble that are not alike.
    #[error(
        "member {member} of the ensemble ({name:?}): {what}; members must be one architecture with different weights"
    )]
    Member {
        /// Index, from 0.
        member: usize,
        /// Its name.
        name: String,
        /// What differs.
        what: &'static str,
    },
    /// A network that needs more modulus than security allows.
    #[error(
        "the network needs a modulus of {needed:.0} bits (special primes included) for {levels} levels, at most {limit} \
         are secure at N = 2^{log_n}; use a larger N, a shallower network, or accept a larger error of the logits"
    )]
    TooDeep {
        /// Bits needed at least.
        needed: f64,
        /// Bits allowed.
        limit: u32,
        /// Number of levels.
        levels: usize,
        /// Base-2 logarithm of the ring degree.
        log_n: u32,
    },
    /// Errors that activations amplify until they swamp the logits.
    #[error(
        "errors grow through the network: that of a logit is {simulated:.2} simulated, {predicted:.2e} predicted at N = 2^{log_n}; \
         use a larger N, ask for a smaller error of the logits, or train with a range penalty"
    )]
    Swamped {
        /// Predicted standard deviation of a logit's error.
        predicted: f64,
        /// Simulated.
        simulated: f64,
        /// Base-2 logarithm of the ring degree.
        log_n: u32,
    },
    /// Values that leave the range of numbers on sample pictures.
    #[error(
        "node {node:?}: values or their derivatives overflow on sample pictures; activations escape, train with a range \
         penalty or give pictures of the kind that the network was trained on"
    )]
    Escapes {
        /// The node.
        node: String,
    },
    /// A ring degree that is not offered.
    #[error("N = 2^{log_n} is not offered; choose 2^{low} to 2^{high}")]
    RingDegree {
        /// Base-2 logarithm of the ring degree asked for.
        log_n: u32,
        /// Smallest.
        low: u32,
        /// Largest.
        high: u32,
    },
    /// Level sizes for which there are no primes.
    #[error("no chain of primes has moduli of about {targets:.1?} bits")]
    NoChain {
        /// Wanted base-2 logarithms.
        targets: Vec<f64>,
    },
    /// An option that makes no sense.
    #[error("option {option}: {found} was given, expected {expected}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// Not enough primes.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The result does not hold together: a defect of the compiler.
    #[error(transparent)]
    Program(#[from] ProgramError),
}
