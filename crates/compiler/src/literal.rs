//! Parameters as plain data.

use serde::{Deserialize, Serialize};

/// Parameters as plain data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParametersLiteral {
    /// Base-2 logarithm of the ring degree N.
    pub log_n: u32,
    /// All primes used anywhere; distinct, below 2^30, 1 modulo 2N.
    pub primes: Vec<u32>,
    /// Level `i` is the modulus that is the product of these primes (ascending indices), lowest level first.
    pub levels: Vec<Vec<u16>>,
    /// Key-switching gadgets.
    pub gadgets: Vec<GadgetLiteral>,
}

/// A key-switching gadget as plain data.
///
/// It serves a level when all of the level's primes occur in its digits and none in `special`, and the digits that keep a
/// prime at that level come first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GadgetLiteral {
    /// A partition of the primes that the gadget serves; indices into the primes.
    pub digits: Vec<Vec<u16>>,
    /// The special primes, whose product is P; indices into the primes.
    pub special: Vec<u16>,
}
