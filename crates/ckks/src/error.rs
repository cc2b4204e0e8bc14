//! Errors of this crate.

use crate::identity::{KeySetId, ShortDigest};
use crate::index::{Gadget, Level};
use crate::key_id::KeyId;
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
    /// An operand was made for other parameters.
    #[error(
        "{op}: an operand belongs to parameters {found}, expected {expected}; use what was made for the same parameters"
    )]
    OtherParameters {
        /// The operation.
        op: &'static str,
        /// The operation's parameters.
        expected: ShortDigest,
        /// The operand's.
        found: ShortDigest,
    },
    /// An operand was made with another secret key.
    #[error(
        "{op}: an operand belongs to key set {found}, expected {expected}; use keys and ciphertexts of one key set"
    )]
    OtherKeySet {
        /// The operation.
        op: &'static str,
        /// The operation's key set.
        expected: KeySetId,
        /// The operand's.
        found: KeySetId,
    },
    /// An operand is at the wrong level.
    #[error("{op}: found level {found}, expected {expected}; rescale or mod-switch operands, or choose another level")]
    Level {
        /// The operation.
        op: &'static str,
        /// Expected level.
        expected: Level,
        /// Found level.
        found: Level,
    },
    /// A level that does not exist.
    #[error("{op}: level {level} does not exist; the highest is {top}")]
    NoSuchLevel {
        /// The operation.
        op: &'static str,
        /// The level asked for.
        level: Level,
        /// The highest level.
        top: Level,
    },
    /// The modulus of a level cannot be reached from another without rescaling.
    #[error("{op}: level {to} has primes that level {from} lacks, so limbs cannot simply be dropped; rescale instead")]
    NotASubset {
        /// The operation.
        op: &'static str,
        /// Level come from.
        from: Level,
        /// Level to reach.
        to: Level,
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
    /// A scale that nothing can be encoded at.
    #[error("{op}: the scale is {scale}, expected a positive finite number")]
    BadScale {
        /// The operation.
        op: &'static str,
        /// The scale.
        scale: f64,
    },
    /// A gadget cannot serve a level.
    #[error("{op}: gadget {gadget} does not serve level {level}; choose one whose digits hold that level's primes")]
    Gadget {
        /// The operation.
        op: &'static str,
        /// The gadget.
        gadget: Gadget,
        /// The level.
        level: Level,
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
    #[error(
        "{op}: |value| {value:.3e} at scale 2^{:.2} needs more than the {available:.0} bits there are",
        scale.log2()
    )]
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
    #[error("{op}: {found} {what}, expected {expected}")]
    Length {
        /// The operation.
        op: &'static str,
        /// What is counted.
        what: &'static str,
        /// Expected count.
        expected: usize,
        /// Found count.
        found: usize,
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

/// Refuses an operand of another key set, in the name of an operation.
///
/// # Errors
/// [`CkksError::OtherKeySet`].
#[inline]
pub fn check_key_set(op: &'static str, expected: KeySetId, found: KeySetId) -> Result<(), CkksError> {
    if expected == found { Ok(()) } else { Err(CkksError::OtherKeySet { op, expected, found }) }
}

/// Refuses a scale that is not a positive number, in the name of an operation.
///
/// # Errors
/// [`CkksError::BadScale`].
#[inline]
pub fn check_scale(op: &'static str, scale: f64) -> Result<(), CkksError> {
    if scale.is_finite() && scale > 0.0 { Ok(()) } else { Err(CkksError::BadScale { op, scale }) }
}
