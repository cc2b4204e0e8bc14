//! Names of evaluation keys, and what follows from them and the parameters' plain data.

use serde::{Deserialize, Serialize};

use crate::index::{Gadget, Level};
use crate::literal::ParametersLiteral;
use umbra_ring::automorphism::rotation_element;

/// What a switching key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// From the square of the secret.
    Relinearize,
    /// For a rotation of the slots to the left by this many steps (negative: to the right).
    Rotate(i64),
    /// For the same rotation and the complex conjugation of the slots.
    Conjugate(i64),
}

/// Names a switching key: kind, gadget, and the highest level at which it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyId {
    /// The gadget.
    pub gadget: Gadget,
    /// What it switches from.
    pub kind: KeyKind,
    /// Highest level served; lower levels of the gadget are served too.
    pub level: Level,
}

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            KeyKind::Relinearize => write!(f, "the relinearization key")?,
            KeyKind::Rotate(steps) => write!(f, "the rotation key for {steps} steps")?,
            KeyKind::Conjugate(steps) => write!(f, "the conjugation key for {steps} steps")?,
        }
        write!(f, " (gadget {}, level {})", self.gadget, self.level)
    }
}

impl KeyId {
    /// The primes that the key has limbs for, ascending, without the special ones: those of its level and of all lower
    /// levels that its gadget serves. Empty for indices that do not exist.
    #[must_use]
    pub fn primes(&self, literal: &ParametersLiteral) -> Vec<u16> {
        let Some(gadget) = literal.gadgets.get(self.gadget.index()) else { return Vec::new() };
        let levels = literal.levels.iter().take(self.level.index() + 1).filter(|l| gadget.serves(l));
        let mut primes: Vec<u16> = levels.flatten().copied().collect();
        primes.sort_unstable();
        primes.dedup();
        primes
    }

    /// The decomposition number of the key: how many digits it has.
    #[must_use]
    pub fn dnum(&self, literal: &ParametersLiteral) -> usize {
        literal.gadgets.get(self.gadget.index()).map_or(0, |g| g.dnum(&self.primes(literal)))
    }

    /// Words of one half (`a` or `b`) of the key: digits times limbs times N. More than there can be is `usize::MAX`.
    #[must_use]
    pub fn half_words(&self, literal: &ParametersLiteral) -> usize {
        let special = literal.gadgets.get(self.gadget.index()).map_or(0, |g| g.special.len());
        let polys = self.dnum(literal).saturating_mul(self.primes(literal).len() + special);
        polys.saturating_mul(1usize.checked_shl(literal.log_n).unwrap_or(usize::MAX))
    }

    /// Bytes of the key in a file: one half.
    #[must_use]
    pub fn bytes(&self, literal: &ParametersLiteral) -> u64 {
        (self.half_words(literal) as u64).saturating_mul(4)
    }

    /// The Galois element, at ring degree `2^log_n`, of the permutation that follows the key product.
    pub(crate) fn element(&self, log_n: u32) -> u32 {
        match self.kind {
            KeyKind::Relinearize => 1,
            KeyKind::Rotate(steps) => rotation_element(log_n, steps),
            KeyKind::Conjugate(steps) => (2 << log_n) - rotation_element(log_n, steps),
        }
    }
}
