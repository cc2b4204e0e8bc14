//! Parameters as plain data, and what follows from them by arithmetic alone.
//!
//! A literal may come from a file and need not have been checked. Nothing here panics on one: an index that does not
//! exist counts for nothing, or there is no answer.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::index::Level;

/// Parameters as plain data. Turn into [`crate::Parameters`] to use them.
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
/// It serves a level when all of the level's primes occur in its digits and none in `special`, and the digits that keep
/// a prime at that level come first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GadgetLiteral {
    /// A partition of the primes that the gadget serves; indices into the primes.
    pub digits: Vec<Vec<u16>>,
    /// The special primes, whose product is P; indices into the primes.
    pub special: Vec<u16>,
}

impl ParametersLiteral {
    /// Base-2 logarithm of the product of the primes with these indices, see [`log2_of`].
    #[must_use]
    pub fn log2_of<'a>(&self, indices: impl IntoIterator<Item = &'a u16>) -> f64 {
        log2_of(&self.primes, indices)
    }

    /// Base-2 logarithm of a level's modulus; 0 for a level that does not exist.
    #[must_use]
    pub fn log_q(&self, level: Level) -> f64 {
        self.levels.get(level.index()).map_or(0.0, |primes| self.log2_of(primes))
    }

    /// The largest modulus under which anything is encrypted: base-2 logarithm of Q_top or of a gadget's digits times
    /// its special primes.
    #[must_use]
    pub fn log_qp(&self) -> f64 {
        let levels = self.levels.iter().map(|l| self.log2_of(l));
        let gadgets = self.gadgets.iter().map(|g| self.log2_of(g.primes()));
        levels.chain(gadgets).fold(0.0, f64::max)
    }

    /// What rescaling from one level to another divides by: the product of the dropped primes over that of the added
    /// ones. `None` where a level or one of its primes does not exist.
    #[must_use]
    pub fn rescale_factor(&self, from: Level, to: Level) -> Option<f64> {
        let product = |a: &[u16], b: &[u16]| -> Option<f64> {
            let missing = a.iter().filter(|i| !b.contains(i));
            missing.map(|&i| Some(f64::from(*self.primes.get(usize::from(i))?))).product()
        };
        let (from, to) = (self.levels.get(from.index())?, self.levels.get(to.index())?);
        Some(product(from, to)? / product(to, from)?)
    }

    /// Indices of the primes that some level or gadget has, see [`used_primes`].
    #[must_use]
    pub fn used_primes(&self) -> BTreeSet<u16> {
        used_primes(&self.levels, &self.gadgets)
    }
}

impl GadgetLiteral {
    /// Whether the gadget can switch keys at a level of these primes.
    #[must_use]
    pub fn serves(&self, level: &[u16]) -> bool {
        let covered = level.iter().all(|p| self.digits.iter().flatten().any(|d| d == p));
        let kept = |digit: &Vec<u16>| digit.iter().any(|p| level.contains(p));
        let in_front = self.digits.iter().map(kept).is_sorted_by(|a, b| a >= b);
        covered && in_front && !level.iter().any(|p| self.special.contains(p))
    }

    /// The decomposition number for a modulus of these primes: how many digits have one of them.
    #[must_use]
    pub fn dnum(&self, primes: &[u16]) -> usize {
        self.digits.iter().filter(|d| d.iter().any(|p| primes.contains(p))).count()
    }

    /// Those of all digits, then the special ones.
    pub(crate) fn primes(&self) -> impl Iterator<Item = &u16> {
        self.digits.iter().flatten().chain(&self.special)
    }
}

/// Base-2 logarithm of the product of the primes with these indices. Indices that do not exist count for nothing.
#[must_use]
pub fn log2_of<'a>(primes: &[u32], indices: impl IntoIterator<Item = &'a u16>) -> f64 {
    indices.into_iter().filter_map(|&i| primes.get(usize::from(i))).map(|&p| f64::from(p).log2()).sum()
}

/// Indices of the primes that some level or gadget has.
#[must_use]
pub fn used_primes(levels: &[Vec<u16>], gadgets: &[GadgetLiteral]) -> BTreeSet<u16> {
    levels.iter().flatten().chain(gadgets.iter().flat_map(GadgetLiteral::primes)).copied().collect()
}
