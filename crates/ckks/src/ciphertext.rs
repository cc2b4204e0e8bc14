//! Ciphertexts and plaintexts.

use crate::error::{CkksError, check_scale};
use crate::identity::KeySetId;
use crate::index::Level;
use crate::parameters::Parameters;
use umbra_ring::Polys;

/// A ciphertext `(c0, c1)` with `c0 + c1 s = scale * message + noise`, in transformed form.
#[derive(Debug, Clone, PartialEq)]
pub struct Ciphertext {
    pub(crate) parameters: Parameters,
    pub(crate) key_set: KeySetId,
    /// See [`Self::polys`].
    pub(crate) polys: Polys,
    /// One of the parameters'.
    pub(crate) level: Level,
    pub(crate) scale: f64,
}

impl Ciphertext {
    /// A ciphertext of a key set from its words (limb-major, `c0` and `c1` of each limb).
    ///
    /// # Errors
    /// [`CkksError::NoSuchLevel`], [`CkksError::BadScale`], [`CkksError::Length`] for a wrong number of words,
    /// [`CkksError::Residue`] for one out of range.
    pub fn from_words(
        parameters: &Parameters,
        key_set: KeySetId,
        level: Level,
        scale: f64,
        words: &[u32],
    ) -> Result<Self, CkksError> {
        let polys = read_polys(parameters, level, scale, 2, words)?;
        Ok(Self { parameters: parameters.clone(), key_set, polys, level, scale })
    }

    /// A ciphertext of a key set from what a back end computed, as [`Self::polys`] has it. Residues must be below their
    /// primes: they are not looked at. [`Self::from_words`] is for what comes from outside.
    ///
    /// # Errors
    /// [`CkksError::NoSuchLevel`], [`CkksError::BadScale`], [`CkksError::Length`] for polynomials of another degree,
    /// another number of them, or of limbs.
    pub fn from_polys(
        parameters: &Parameters,
        key_set: KeySetId,
        level: Level,
        scale: f64,
        polys: Polys,
    ) -> Result<Self, CkksError> {
        const OP: &str = "make a ciphertext";
        let limbs = parameters.level_for(OP, level)?.len();
        check_scale(OP, scale)?;
        for (what, expected, found) in [
            ("coefficients", parameters.n(), polys.n()),
            ("polynomials", 2, polys.count()),
            ("limbs", limbs, polys.limbs()),
        ] {
            if expected != found {
                return Err(CkksError::Length { op: OP, what, expected, found });
            }
        }
        Ok(Self { parameters: parameters.clone(), key_set, polys, level, scale })
    }

    /// The parameters.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The key set of the secret key that decrypts it.
    #[must_use]
    pub fn key_set(&self) -> KeySetId {
        self.key_set
    }

    /// `c0` and `c1`, transformed, with one limb a prime of [`Self::basis`]; residues are canonical.
    #[inline]
    #[must_use]
    pub fn polys(&self) -> &Polys {
        &self.polys
    }

    /// Indices of the primes of the limbs: those of the level.
    #[inline]
    #[must_use]
    pub fn basis(&self) -> &[u16] {
        self.parameters.basis(self.level)
    }

    /// The words, limb-major.
    #[must_use]
    pub fn words(&self) -> &[u32] {
        self.polys.words()
    }

    /// The level.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// The scale.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Bytes of the residues.
    #[must_use]
    pub fn bytes(&self) -> usize {
        4 * self.polys.words().len()
    }
}

/// Polynomials of a ciphertext that comes from outside, `count` of them over the primes of a level.
pub(crate) fn read_polys(
    parameters: &Parameters,
    level: Level,
    scale: f64,
    count: usize,
    words: &[u32],
) -> Result<Polys, CkksError> {
    const OP: &str = "read ciphertext";
    let (n, basis) = (parameters.n(), parameters.level_for(OP, level)?);
    check_scale(OP, scale)?;
    let wrong = CkksError::Length { op: OP, what: "words", expected: count * n * basis.len(), found: words.len() };
    if words.len() != count * n * basis.len() {
        return Err(wrong);
    }
    for (&prime, limb) in basis.iter().zip(words.chunks_exact(count * n)) {
        parameters.check_residues("ciphertext", prime, limb)?;
    }
    Polys::from_words(n, count, words).ok_or(wrong)
}

/// An encoded message at a level: a polynomial, or one in a subring for periodic slot vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Plaintext {
    pub(crate) parameters: Parameters,
    /// See [`Self::polys`].
    pub(crate) polys: Polys,
    /// One of the parameters'.
    pub(crate) level: Level,
    pub(crate) scale: f64,
}

impl Plaintext {
    /// The parameters.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The level.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// The scale.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// One polynomial, transformed, with one limb a prime of the level: the values of blocks
    /// ([`umbra_ring::subring`]), `2 * period` of them a limb (N for a dense plaintext); residues are canonical.
    #[inline]
    #[must_use]
    pub fn polys(&self) -> &Polys {
        &self.polys
    }

    /// Number of slots after which the plaintext repeats (N/2 for a dense one).
    #[must_use]
    pub fn period(&self) -> usize {
        self.polys.n() / 2
    }
}
