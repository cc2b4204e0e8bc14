//! What can be wrong with networks that are to become programs.

use umbra_ckks::KeyId;
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
    /// An image or a layer that has no room in a ciphertext.
    #[error("{what}: {found}, at most {limit} fit at N = 2^{log_n}; use a larger N or smaller images")]
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
    /// More images and members of an ensemble than there are batch slots.
    #[error(
        "{found} batch slots (images of a batch times members of an ensemble, of which the next power of two counts) \
         were asked for, at most {limit} fit at N = 2^{log_n}; use fewer"
    )]
    TooManyBatchSlots {
        /// Batch slots asked for.
        found: usize,
        /// Batch slots there are.
        limit: usize,
        /// Base-2 logarithm of the ring degree.
        log_n: u32,
    },
    /// A layer with more channels than there may be ciphertexts of one channel.
    #[error(
        "node {node:?} has {found} channels, at most {limit} fit with one channel per ciphertext; use the multiplexed \
         packing"
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
        "the network needs a modulus of {needed:.0} bits (special primes included) for {levels} levels, at most \
         {limit} are secure at N = 2^{log_n}; use a larger N, a shallower network, or accept a larger error of the \
         logits"
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
        "errors grow through the network: that of a logit is {simulated:.2} simulated, {predicted:.2e} predicted at \
         N = 2^{log_n}; use a larger N, ask for a smaller error of the logits, or train with a range penalty"
    )]
    Swamped {
        /// Predicted standard deviation of a logit's error.
        predicted: f64,
        /// Simulated.
        simulated: f64,
        /// Base-2 logarithm of the ring degree.
        log_n: u32,
    },
    /// Values that leave the range of numbers on sample images.
    #[error(
        "node {node:?}: values or their derivatives overflow on sample images: an activation is out of range; train \
         with a range penalty or give images of the kind that the network was trained on"
    )]
    OutOfRange {
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
    /// A ring degree other than that of the parameters to keep.
    #[error(
        "N = 2^{wanted} was asked for, the earlier program has N = 2^{there}; ask for that, or compile without an \
         earlier program and make keys again"
    )]
    IncompatibleDegree {
        /// Base-2 logarithm of the ring degree asked for.
        wanted: u32,
        /// That of the parameters.
        there: u32,
    },
    /// A network with more levels than the parameters to keep.
    #[error(
        "the network needs {needed} levels, the earlier program has {there}; compile without an earlier program and \
         make keys again"
    )]
    IncompatibleLevels {
        /// Levels needed.
        needed: usize,
        /// Levels there are.
        there: usize,
    },
    /// Values too large for a modulus of the parameters to keep.
    #[error(
        "node {node:?}: values need a modulus of {needed:.1} bits at level {level}, the earlier program has \
         {there:.1}; compile without an earlier program and make keys again"
    )]
    IncompatibleModulus {
        /// The node.
        node: String,
        /// The level of its values.
        level: usize,
        /// Bits needed.
        needed: f64,
        /// Bits there are.
        there: f64,
    },
    /// Results less exact than wanted with the parameters to keep.
    #[error(
        "the error of a logit is {predicted:.3e} with the moduli of the earlier program, wanted {wanted:.3e}: node \
         {node:?} (level {level}) adds most; accept an error of the logits of {predicted:.3e}, or compile without an \
         earlier program and make keys again"
    )]
    IncompatiblePrecision {
        /// Predicted standard deviation of a logit's error.
        predicted: f64,
        /// The one wanted.
        wanted: f64,
        /// The node that adds most to it.
        node: String,
        /// The level at which that works, which is too small.
        level: usize,
    },
    /// A level at which no key can be switched with the parameters to keep.
    #[error(
        "node {node:?}: no gadget of the earlier program serves level {level}; compile without an earlier program and \
         make keys again"
    )]
    IncompatibleGadget {
        /// The node.
        node: String,
        /// The level.
        level: usize,
    },
    /// A key that is not among those to keep.
    #[error(
        "node {node:?} needs {key}, which the earlier program does not; compile without an earlier program and make \
         keys again"
    )]
    IncompatibleKey {
        /// The node.
        node: String,
        /// The key.
        key: KeyId,
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
