//! Ciphertexts and plaintexts.

use crate::{CkksError, Parameters};
use umbra_ring::Polys;

/// A ciphertext `(c0, c1)` with `c0 + c1 s = scale * message + noise`, in transformed form.
#[derive(Debug, Clone, PartialEq)]
pub struct Ciphertext {
    /// `c0` and `c1` over the primes of the level.
    pub(crate) polys: Polys,
    pub(crate) level: usize,
    pub(crate) scale: f64,
}

impl Ciphertext {
    /// A ciphertext from its words (limb-major, `c0` and `c1` of each limb).
    ///
    /// # Errors
    /// [`CkksError::NoSuchLevel`], [`CkksError::Length`] for a wrong number of words,
    /// [`CkksError::Residue`] for one out of range, [`CkksError::NotFinite`] for a scale that is not a
    /// positive number.
    pub fn from_words(parameters: &Parameters, level: usize, scale: f64, words: &[u32]) -> Result<Self, CkksError> {
        const OP: &str = "read ciphertext";
        parameters.check_level(OP, level)?;
        if !(scale.is_finite() && scale > 0.0) {
            return Err(CkksError::NotFinite { op: OP, index: 0 });
        }
        let (n, basis) = (parameters.n(), parameters.level(level));
        let expected = 2 * n * basis.len();
        let wrong = CkksError::Length { op: OP, what: "words", expected, got: words.len() };
        if words.len() != expected {
            return Err(wrong);
        }
        for (&prime, limb) in basis.iter().zip(words.chunks_exact(2 * n)) {
            check_residues("ciphertext", parameters, prime, limb)?;
        }
        let polys = Polys::from_words(n, 2, words).ok_or(wrong)?;
        Ok(Self { polys, level, scale })
    }

    /// The words, limb-major.
    pub fn words(&self) -> &[u32] {
        self.polys.words()
    }

    /// The level.
    pub fn level(&self) -> usize {
        self.level
    }

    /// The scale.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Bytes of the residues.
    pub fn bytes(&self) -> usize {
        4 * self.polys.words().len()
    }
}

/// Refuses residues that are not below their prime.
pub(crate) fn check_residues(
    what: &'static str,
    parameters: &Parameters,
    prime: u16,
    residues: &[u32],
) -> Result<(), CkksError> {
    let p = parameters.modulus(prime).value();
    match residues.iter().find(|&&r| r >= p) {
        None => Ok(()),
        Some(&residue) => Err(CkksError::Residue { what, residue, prime: p }),
    }
}

/// An encoded message at a level: a polynomial, or one in a subring for periodic slot vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Plaintext {
    /// Block values of one polynomial with `period * 2` values a limb (N for a dense plaintext), in
    /// transformed form.
    pub(crate) polys: Polys,
    pub(crate) level: usize,
    pub(crate) scale: f64,
}

impl Plaintext {
    /// The level.
    pub fn level(&self) -> usize {
        self.level
    }

    /// The scale.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Number of slots after which the plaintext repeats (N/2 for a dense one).
    pub fn period(&self) -> usize {
        self.polys.n() / 2
    }
}
