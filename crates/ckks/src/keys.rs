//! Keys: secret keys and evaluation keys.

use crate::ciphertext::check_residues;
use crate::{CkksError, Parameters, ParametersLiteral};
use chacha20::ChaCha20Rng;
use rand::{Rng, SeedableRng, TryRng};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use umbra_ring::automorphism::{inverse_element, rotation_element};
use umbra_ring::sampling::{self, Seed};
use umbra_ring::{Automorphism, Polys};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A uniform ternary secret. Wiped when dropped; never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretKey {
    coefficients: Vec<i8>,
    /// Over all primes of the parameters, transformed.
    pub(crate) polys: Polys,
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

impl SecretKey {
    /// From its coefficients, each -1, 0 or 1.
    ///
    /// # Errors
    /// [`CkksError::Length`] for a wrong number; [`CkksError::Parameters`] for other values.
    pub fn from_coefficients(parameters: &Parameters, coefficients: &[i8]) -> Result<Self, CkksError> {
        let (expected, got) = (parameters.n(), coefficients.len());
        if expected != got {
            return Err(CkksError::Length { op: "read secret key", what: "coefficients", expected, got });
        }
        if coefficients.iter().any(|c| !(-1..=1).contains(c)) {
            return Err(CkksError::Parameters("a secret key has a coefficient other than -1, 0, 1".into()));
        }
        let polys = transform_small(parameters, &all_primes(parameters), &[coefficients]);
        Ok(Self { coefficients: coefficients.to_vec(), polys })
    }

    /// The coefficients: the secret itself.
    pub fn danger_coefficients(&self) -> &[i8] {
        &self.coefficients
    }
}

/// What a switching key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// From the square of the secret.
    Relinearise,
    /// For a rotation of the slots to the left by this many steps (negative: to the right).
    Rotate(i64),
    /// For the same rotation and the complex conjugation of the slots.
    Conjugate(i64),
}

/// Names a switching key: kind, gadget, and the highest level at which it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyId {
    /// Index of the gadget.
    pub gadget: u16,
    /// What it switches from.
    pub kind: KeyKind,
    /// Highest level served; lower levels of the gadget are served too.
    pub level: usize,
}

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            KeyKind::Relinearise => write!(f, "the relinearisation key")?,
            KeyKind::Rotate(steps) => write!(f, "the rotation key for {steps} steps")?,
            KeyKind::Conjugate(steps) => write!(f, "the conjugation key for {steps} steps")?,
        }
        write!(f, " (gadget {}, level {})", self.gadget, self.level)
    }
}

impl KeyId {
    /// The Galois element of the permutation that follows the key product.
    pub fn element(&self, parameters: &Parameters) -> u32 {
        match self.kind {
            KeyKind::Relinearise => 1,
            KeyKind::Rotate(steps) => rotation_element(parameters.log_n(), steps),
            KeyKind::Conjugate(steps) => (2 << parameters.log_n()) - rotation_element(parameters.log_n(), steps),
        }
    }

    /// The primes that the key has limbs for, ascending, without the special ones: those of its level and
    /// of all lower levels that its gadget serves. Empty for indices that do not exist.
    pub fn primes(&self, literal: &ParametersLiteral) -> Vec<u16> {
        let Some(gadget) = literal.gadgets.get(self.gadget as usize) else { return Vec::new() };
        let levels = literal.levels.iter().take(self.level + 1).filter(|l| gadget.serves(l));
        let mut primes: Vec<u16> = levels.flatten().copied().collect();
        primes.sort_unstable();
        primes.dedup();
        primes
    }

    /// Number of digits of the key.
    pub fn digits(&self, literal: &ParametersLiteral) -> usize {
        let primes = self.primes(literal);
        let gadget = literal.gadgets.get(self.gadget as usize);
        gadget.map_or(0, |g| g.digits.iter().filter(|d| d.iter().any(|p| primes.contains(p))).count())
    }

    /// Words of one half (`a` or `b`) of the key: digits times limbs times N.
    pub fn half_words(&self, literal: &ParametersLiteral) -> usize {
        let special = literal.gadgets.get(self.gadget as usize).map_or(0, |g| g.special.len());
        (self.digits(literal) * (self.primes(literal).len() + special)) << literal.log_n
    }

    /// Bytes of the key in a file: one half.
    pub fn bytes(&self, literal: &ParametersLiteral) -> u64 {
        4 * self.half_words(literal) as u64
    }

    /// The limbs of the key: [`Self::primes`], then the special ones.
    ///
    /// # Errors
    /// [`CkksError::Gadget`] or [`CkksError::NoSuchLevel`] when the parameters have no such key.
    pub(crate) fn basis(&self, parameters: &Parameters) -> Result<Vec<u16>, CkksError> {
        let plan = parameters.switch_plan("evaluation key", self.level, self.gadget as usize)?;
        let mut basis = self.primes(parameters.literal());
        basis.extend(&plan.extended[plan.limbs..]);
        Ok(basis)
    }
}

/// An evaluation key: encryptions of `P G_d s'` for each digit `d` under the secret moved by the inverse
/// of its automorphism, so that the key product comes before the permutation.
///
/// Words are in Montgomery form, transformed; the `a` half is expanded from a seed.
#[derive(Debug, Clone, PartialEq)]
pub struct SwitchingKey {
    pub(crate) id: KeyId,
    /// Primes of the limbs.
    pub(crate) basis: Vec<u16>,
    /// For each digit `b`, then `a`.
    pub(crate) polys: Polys,
    seed: Seed,
}

/// Domain of the seeds' expansion.
const A_DOMAIN: &str = "umbra 2026 switching key a v1";

impl SwitchingKey {
    /// What the key is for.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The seed of the `a` half.
    pub fn seed(&self) -> &Seed {
        &self.seed
    }

    /// The `b` half: limb by limb, digit by digit.
    pub fn b_words(&self) -> impl Iterator<Item = &[u32]> {
        let digits = self.polys.count() / 2;
        (0..self.polys.limbs()).flat_map(move |limb| (0..digits).map(move |d| self.polys.limb(limb, 2 * d)))
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        4 * self.polys.words().len()
    }

    /// From a seed and the `b` half.
    ///
    /// # Errors
    /// [`CkksError::Gadget`], [`CkksError::NoSuchLevel`], [`CkksError::Length`], [`CkksError::Residue`].
    pub fn from_parts(parameters: &Parameters, id: KeyId, seed: Seed, b: &[u32]) -> Result<Self, CkksError> {
        let basis = id.basis(parameters)?;
        let (expected, digits) = (id.half_words(parameters.literal()), id.digits(parameters.literal()));
        if b.len() != expected {
            return Err(CkksError::Length { op: "read evaluation key", what: "words", expected, got: b.len() });
        }
        let n = parameters.n();
        let mut polys = Polys::zero(n, basis.len(), 2 * digits);
        let stride = polys.stride();
        (polys.words_mut().par_chunks_mut(stride)).zip(&basis).zip(b.par_chunks_exact(digits * n)).try_for_each(
            |((limb, &prime), b)| {
                check_residues("evaluation key", parameters, prime, b)?;
                for (d, b) in b.chunks_exact(n).enumerate() {
                    limb[2 * d * n..(2 * d + 1) * n].copy_from_slice(b);
                    expand_a(parameters, &seed, prime, d, &mut limb[(2 * d + 1) * n..(2 * d + 2) * n]);
                }
                Ok::<(), CkksError>(())
            },
        )?;
        Ok(Self { id, basis, polys, seed })
    }
}

/// The `a` half of one digit and prime.
fn expand_a(parameters: &Parameters, seed: &Seed, prime: u16, digit: usize, out: &mut [u32]) {
    let modulus = parameters.modulus(prime);
    let mut rng = sampling::stream(seed, A_DOMAIN, &[modulus.value() as u64, digit as u64]);
    sampling::uniform(&mut rng, modulus, out);
}

/// Evaluation keys by name.
pub trait KeyStore: Sync {
    /// The key of this gadget and kind that serves `level`.
    ///
    /// # Errors
    /// [`CkksError::MissingKey`], or whatever prevents its loading.
    fn key(&self, gadget: usize, kind: KeyKind, level: usize) -> Result<Arc<SwitchingKey>, CkksError>;
}

/// Keys held in memory.
#[derive(Debug, Default)]
pub struct MemoryKeys(HashMap<(u16, KeyKind), Arc<SwitchingKey>>);

impl MemoryKeys {
    /// Adds a key; one of the same gadget and kind that serves a higher level stays.
    pub fn insert(&mut self, key: SwitchingKey) {
        let slot = self.0.entry((key.id.gadget, key.id.kind));
        let key = Arc::new(key);
        let kept = slot.or_insert_with(|| key.clone());
        if kept.id.level < key.id.level {
            *kept = key;
        }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.0.values().map(|k| k.bytes()).sum()
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl KeyStore for MemoryKeys {
    fn key(&self, gadget: usize, kind: KeyKind, level: usize) -> Result<Arc<SwitchingKey>, CkksError> {
        let missing = CkksError::MissingKey(KeyId { gadget: gadget as u16, kind, level });
        let key = self.0.get(&(gadget as u16, kind)).ok_or(missing.clone())?;
        if key.id.level < level {
            return Err(missing);
        }
        Ok(key.clone())
    }
}

/// Makes keys. Holds a generator seeded by the operating system.
pub struct KeyGenerator {
    parameters: Parameters,
    rng: ChaCha20Rng,
}

impl std::fmt::Debug for KeyGenerator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyGenerator(..)")
    }
}

/// A generator seeded with operating-system entropy.
///
/// # Errors
/// [`CkksError::Randomness`].
pub(crate) fn entropy() -> Result<ChaCha20Rng, CkksError> {
    let mut seed = Zeroizing::new([0u8; 32]);
    rand::rngs::SysRng.try_fill_bytes(&mut *seed).map_err(|e| CkksError::Randomness(e.to_string()))?;
    Ok(ChaCha20Rng::from_seed(*seed))
}

impl KeyGenerator {
    /// A generator for these parameters.
    ///
    /// # Errors
    /// [`CkksError::Randomness`].
    pub fn new(parameters: &Parameters) -> Result<Self, CkksError> {
        Ok(Self { parameters: parameters.clone(), rng: entropy()? })
    }

    /// A fresh secret key.
    ///
    /// # Errors
    /// None for parameters that were checked.
    pub fn secret_key(&mut self) -> Result<SecretKey, CkksError> {
        let coefficients = sampling::ternary(&mut self.rng, self.parameters.n());
        SecretKey::from_coefficients(&self.parameters, &coefficients)
    }

    /// The switching key of this name.
    ///
    /// # Errors
    /// [`CkksError::Gadget`], [`CkksError::NoSuchLevel`].
    pub fn switching_key(&mut self, secret: &SecretKey, id: KeyId) -> Result<SwitchingKey, CkksError> {
        let parameters = &self.parameters;
        let (basis, digits, n) = (id.basis(parameters)?, id.digits(parameters.literal()), parameters.n());
        let gadget = &parameters.literal().gadgets[id.gadget as usize];
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let errors: Vec<Zeroizing<Vec<i8>>> = (0..digits).map(|_| sampling::gaussian(&mut self.rng, n)).collect();
        let inverse = inverse_element(parameters.log_n(), id.element(parameters));
        let map = Automorphism::new(parameters.log_n(), inverse)?;
        let mut polys = Polys::zero(n, basis.len(), 2 * digits);
        let stride = polys.stride();
        polys.words_mut().par_chunks_mut(stride).zip(&basis).for_each(|(limb, &prime)| {
            let (kernels, table, m) = (parameters.kernels(), parameters.table(prime), parameters.modulus(prime));
            let own = secret.polys.limb(prime as usize, 0);
            // The secret under which the key encrypts, and the message before the gadget.
            let mut under = Zeroizing::new(vec![0; n]);
            kernels.permute(map.source(), &mut under, own);
            let mut message = Zeroizing::new(own.to_vec());
            if id.kind == KeyKind::Relinearise {
                kernels.mul(m, &mut message, own, own);
            }
            let special =
                gadget.special.iter().fold(1, |acc, &p| m.mul(acc, parameters.modulus(p).value() % m.value()));
            let to_form = m.to_montgomery(m.to_montgomery(1));
            let mut e = Zeroizing::new(vec![0; n]);
            for d in 0..digits {
                let (b, a) = limb[2 * d * n..(2 * d + 2) * n].split_at_mut(n);
                expand_a(parameters, &seed, prime, d, a);
                sampling::small_to_residues(m, &errors[d], &mut e);
                table.forward(&mut e);
                if gadget.digits[d].contains(&prime) {
                    kernels.mul_const_add(m, &mut e, &message, m.to_montgomery(special));
                }
                kernels.mul_const(m, &mut e, to_form);
                masked(parameters, prime, b, a, &under, &e);
            }
        });
        Ok(SwitchingKey { id, basis, polys, seed })
    }
}

/// `b = -a s + e` in one limb.
pub(crate) fn masked(parameters: &Parameters, prime: u16, b: &mut [u32], a: &[u32], s: &[u32], e: &[u32]) {
    let (kernels, m) = (parameters.kernels(), parameters.modulus(prime));
    kernels.mul(m, b, a, s);
    // -(a s - e)
    kernels.sub_mul_const(m, b, e, m.neg(m.to_montgomery(1)));
}

/// Small polynomials over a basis, transformed.
pub(crate) fn transform_small(parameters: &Parameters, basis: &[u16], small: &[&[i8]]) -> Polys {
    let n = parameters.n();
    let mut polys = Polys::zero(n, basis.len(), small.len());
    let stride = polys.stride();
    polys.words_mut().par_chunks_mut(stride).zip(basis).for_each(|(limb, &prime)| {
        for (out, small) in limb.chunks_exact_mut(n).zip(small) {
            sampling::small_to_residues(parameters.modulus(prime), small, out);
            parameters.table(prime).forward(out);
        }
    });
    polys
}

fn all_primes(parameters: &Parameters) -> Vec<u16> {
    (0..parameters.literal().primes.len() as u16).collect()
}
