//! Errors of this crate.

use crate::keys::KeyId;
use umbra_ring::RingError;

/// What can go wrong in the engine.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CkksError {
    /// A ring could not be built.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// Parameters are malformed.
    #[error("parameters: {0}")]
    Parameters(String),
    /// Parameters are below the security level.
    #[error(
        "parameters give less than {security} bits of security: log2(QP) is {log_qp:.1} in {place}, at most {limit} \
         is allowed for N = 2^{log_n}; use fewer or smaller primes, or a larger N"
    )]
    Insecure {
        /// Required security, bits.
        security: u32,
        /// What was found.
        log_qp: f64,
        /// What is allowed.
        limit: u32,
        /// Base-2 logarithm of the ring degree.
        log_n: u32,
        /// Which modulus.
        place: String,
    },
    /// A ring degree without an entry in the security table.
    #[error("no security bound is tabulated for N = 2^{log_n}: choose N from 2^12 to 2^17")]
    NoSecurityBound {
        /// Base-2 logarithm of the ring degree.
        log_n: u32,
    },
    /// An operand is at the wrong level.
    #[error("{op}: operand at level {got}, expected {expected}")]
    Level {
        /// The operation.
        op: &'static str,
        /// Expected level.
        expected: usize,
        /// Found level.
        got: usize,
    },
    /// A level that does not exist.
    #[error("{op}: level {level} does not exist; the highest is {top}")]
    NoSuchLevel {
        /// The operation.
        op: &'static str,
        /// The level asked for.
        level: usize,
        /// The highest level.
        top: usize,
    },
    /// The modulus of a level cannot be reached from another without rescaling.
    #[error("{op}: level {to} has primes that level {from} lacks, so limbs cannot simply be dropped")]
    NotASubset {
        /// The operation.
        op: &'static str,
        /// Level come from.
        from: usize,
        /// Level to reach.
        to: usize,
    },
    /// Scales that must agree do not.
    #[error("{op}: scales 2^{:.3} and 2^{:.3} differ", left.log2(), right.log2())]
    Scale {
        /// The operation.
        op: &'static str,
        /// One scale.
        left: f64,
        /// The other.
        right: f64,
    },
    /// A gadget cannot serve a level.
    #[error("{op}: gadget {gadget} does not serve level {level}")]
    Gadget {
        /// The operation.
        op: &'static str,
        /// Index of the gadget.
        gadget: usize,
        /// The level.
        level: usize,
    },
    /// An evaluation key is missing.
    #[error("the evaluation keys lack {0}; generate them again for this program")]
    MissingKey(KeyId),
    /// An evaluation key exists but cannot be read.
    #[error("{key} cannot be read: {reason}")]
    UnreadableKey {
        /// The key.
        key: KeyId,
        /// What the store says.
        reason: String,
    },
    /// A value cannot be represented at the scale and modulus.
    #[error("{op}: |value| {value:.3e} at scale 2^{:.2} needs more than the {available:.0} bits there are", scale.log2())]
    Overflow {
        /// The operation.
        op: &'static str,
        /// Largest magnitude.
        value: f64,
        /// Scale.
        scale: f64,
        /// Bits available.
        available: f64,
    },
    /// A length does not fit.
    #[error("{op}: {got} {what}, expected {expected}")]
    Length {
        /// The operation.
        op: &'static str,
        /// What is counted.
        what: &'static str,
        /// Expected count.
        expected: usize,
        /// Found count.
        got: usize,
    },
    /// A value is not finite.
    #[error("{op}: value {index} is not a finite number")]
    NotFinite {
        /// The operation.
        op: &'static str,
        /// Index of the value.
        index: usize,
    },
    /// A residue is not below its prime: corrupted or hostile data.
    #[error("{what}: residue {residue} is not below its prime {prime}")]
    Residue {
        /// What was read.
        what: &'static str,
        /// The residue.
        residue: u32,
        /// The prime.
        prime: u32,
    },
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness: {0}")]
    Randomness(String),
}
