//! What can be wrong with networks that are to become programs.

use umbra_ckks::{CkksError, KeyId};
use umbra_program::ProgramError;
use umbra_ring::RingError;
use umbra_simulate::SimulateError;

/// Errors of logits beyond this are not offered: classes would change.
const MOST_ACCEPTABLE: f64 = 0.5;

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
    #[error("{what}: {found}, at most {limit} fit at N = 2^{log_n}; {}", remedy_of_size(*limit, *found))]
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
         {limit} are secure at N = 2^{log_n}; accept a larger error of the logits (--logit-error), or train a network \
         with fewer activations"
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
    /// A limit on evaluation keys that cannot be met.
    #[error(
        "evaluation keys may take {limit} bytes, but the smallest that were found for N = 2^{log_n} take {smallest}; \
         allow as many, or accept a larger error of the logits"
    )]
    KeyBytes {
        /// The limit.
        limit: u64,
        /// Bytes of the smallest keys that were found.
        smallest: u64,
        /// Base-2 logarithm of the ring degree.
        log_n: u32,
    },
    /// Errors that activations amplify until they swamp the logits.
    #[error(
        "node {node:?}: here errors are {:.2} % of the values, the most in the network at N = 2^{log_n}; that of a \
         logit becomes {simulated:.3}, {:.0} times what was predicted for {wanted:.3}: activations amplify it. {}, or \
         train with a range penalty or fewer activations",
        100.0 * share, simulated / predicted, remedy_of_growth(*simulated)
    )]
    Swamped {
        /// The node whose errors are largest beside its values.
        node: String,
        /// Its error by the root mean square of its values.
        share: f64,
        /// Standard deviation of a logit's error that was wanted.
        wanted: f64,
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
    /// Its parameters do not: likewise.
    #[error(transparent)]
    Parameters(#[from] CkksError),
    /// It cannot be simulated: likewise.
    #[error(transparent)]
    Simulation(#[from] SimulateError),
}

/// What to do about an image or layer that takes more than there is.
fn remedy_of_size(limit: usize, found: usize) -> String {
    // Both sides count as powers of two.
    let log2 = limit.max(1).ilog2();
    let (height, width) = (1 << (log2 / 2), 1 << (log2 - log2 / 2));
    match found > limit && limit > umbra_program::MAX_CIPHERTEXTS {
        true => format!("train the network for images of at most {height} x {width} (sides count as powers of two)"),
        false => "train a network with fewer channels, or smaller images".into(),
    }
}

/// What to do about an error of the logits that comes out larger than predicted.
fn remedy_of_growth(simulated: f64) -> String {
    match simulated < MOST_ACCEPTABLE {
        // Errors that are larger from the beginning grow a little more.
        true => format!("Accept it (--logit-error {:.1e})", 3.0 * simulated),
        false => "Try one channel per ciphertext (--packing channel)".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Advice names what there is: no option makes the ring larger.
    #[test]
    fn advice_can_be_followed() {
        let positions = |log_n: u32| {
            let limit = 1 << (log_n - 1);
            CompileError::TooLarge { what: "positions of the image", found: 1 << 20, limit, log_n }.to_string()
        };
        assert!(positions(16).contains("at most 128 x 256") && positions(13).contains("at most 64 x 64"));
        let limit = umbra_program::MAX_CIPHERTEXTS;
        let wide = CompileError::TooLarge { what: "ciphertexts of a value", found: limit + 1, limit, log_n: 16 };
        assert!(wide.to_string().contains("fewer channels"));
        let swamped = |simulated| {
            let (node, share, wanted, predicted) = ("a7".into(), 0.12, 0.002, 0.001);
            CompileError::Swamped { node, share, wanted, predicted, simulated, log_n: 16 }.to_string()
        };
        let (little, much) = (swamped(0.04), swamped(70.0));
        assert!(little.contains("\"a7\"") && little.contains("12.00 %"), "{little}");
        assert!(little.contains("40 times") && little.contains("--logit-error 1.2e-1"), "{little}");
        assert!(much.contains("--packing channel") && !much.contains("--logit-error"), "{much}");
        let deep = CompileError::TooDeep { needed: 2000.0, limit: 1772, levels: 40, log_n: 16 }.to_string();
        assert!(deep.contains("--logit-error") && deep.contains("fewer activations"), "{deep}");
        for message in [positions(16), wide.to_string(), little, much, deep] {
            assert!(
                !message.contains("larger N") && message.lines().count() == 1 && !message.contains("  "),
                "{message}"
            );
        }
    }
}
