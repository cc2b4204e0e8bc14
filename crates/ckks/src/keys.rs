//! Keys: secret keys and evaluation keys.

use std::collections::HashMap;
use std::sync::Arc;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::error::{CkksError, check_key_set};
use crate::identity::KeySetId;
use crate::index::Gadget;
use crate::key_id::{KeyId, KeyKind};
use crate::parameters::Parameters;
use umbra_ring::automorphism::inverse_element;
use umbra_ring::sampling::{self, Seed};
use umbra_ring::{Automorphism, Polys};

/// A uniform ternary secret. Wiped when dropped; never printed.
#[derive(Clone)]
pub struct SecretKey {
    parameters: Parameters,
    key_set: KeySetId,
    coefficients: Vec<i8>,
    /// Over all primes of the parameters, transformed.
    pub(crate) polys: Polys,
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.coefficients.zeroize();
        self.polys.zeroize();
    }
}

impl ZeroizeOnDrop for SecretKey {}

impl SecretKey {
    /// The secret key of a key set from its coefficients, each -1, 0 or 1.
    ///
    /// # Errors
    /// [`CkksError::Length`] for a wrong number; [`CkksError::Parameters`] for other values.
    pub fn from_coefficients(
        parameters: &Parameters,
        key_set: KeySetId,
        coefficients: &[i8],
    ) -> Result<Self, CkksError> {
        let (expected, found) = (parameters.n(), coefficients.len());
        if expected != found {
            return Err(CkksError::Length { op: "read secret key", what: "coefficients", expected, found });
        }
        if coefficients.iter().any(|c| !(-1..=1).contains(c)) {
            return Err(CkksError::Parameters("a secret key has a coefficient other than -1, 0, 1".into()));
        }
        let polys = transform_small(parameters, &all_primes(parameters), &[coefficients]);
        Ok(Self { parameters: parameters.clone(), key_set, coefficients: coefficients.to_vec(), polys })
    }

    /// The parameters.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The name of all that is made with it.
    #[must_use]
    pub fn key_set(&self) -> KeySetId {
        self.key_set
    }

    /// The coefficients: the secret itself.
    #[must_use]
    pub fn danger_coefficients(&self) -> &[i8] {
        &self.coefficients
    }
}

/// An evaluation key: encryptions of `P G_d s'` for each digit `d` under the secret moved by the inverse of its
/// automorphism, so that the key product comes before the permutation.
///
/// Words are in Montgomery form, transformed; the `a` half is expanded from a seed.
#[derive(Debug, Clone, PartialEq)]
pub struct SwitchingKey {
    parameters: Parameters,
    key_set: KeySetId,
    id: KeyId,
    basis: Vec<u16>,
    polys: Polys,
    seed: Seed,
}

/// Domain of the seeds' expansion.
const A_DOMAIN: &str = "umbra 2026 switching key a v1";

impl SwitchingKey {
    /// The parameters.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The key set of the secret key that it was made with.
    #[must_use]
    pub fn key_set(&self) -> KeySetId {
        self.key_set
    }

    /// What the key is for.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The Galois element of the permutation that follows the key product, see [`Automorphism`]: 1 for
    /// relinearization.
    #[must_use]
    pub fn element(&self) -> u32 {
        self.id.element(self.parameters.log_n())
    }

    /// The seed of the `a` half.
    #[must_use]
    pub fn seed(&self) -> &Seed {
        &self.seed
    }

    /// Both halves: for each digit `b`, then `a`, with one limb a prime of [`Self::basis`].
    #[inline]
    #[must_use]
    pub fn polys(&self) -> &Polys {
        &self.polys
    }

    /// Indices of the primes of the limbs: [`KeyId::primes`], then the gadget's special ones.
    #[inline]
    #[must_use]
    pub fn basis(&self) -> &[u16] {
        &self.basis
    }

    /// The `b` half: limb by limb, digit by digit.
    pub fn b_words(&self) -> impl Iterator<Item = &[u32]> {
        let digits = self.polys.count() / 2;
        (0..self.polys.limbs()).flat_map(move |limb| (0..digits).map(move |d| self.polys.limb(limb, 2 * d)))
    }

    /// Bytes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        4 * self.polys.words().len()
    }

    /// A key of a key set from a seed and the `b` half. Takes one thread: whoever has many keys makes several at once.
    ///
    /// # Errors
    /// [`CkksError::Gadget`], [`CkksError::NoSuchLevel`], [`CkksError::Length`], [`CkksError::Residue`].
    pub fn from_parts(
        parameters: &Parameters,
        key_set: KeySetId,
        id: KeyId,
        seed: Seed,
        b: &[u32],
    ) -> Result<Self, CkksError> {
        const OP: &str = "read evaluation key";
        let basis = key_basis(OP, parameters, id)?;
        let (expected, digits) = (id.half_words(parameters.literal()), id.dnum(parameters.literal()));
        if b.len() != expected {
            return Err(CkksError::Length { op: OP, what: "words", expected, found: b.len() });
        }
        let n = parameters.n();
        let mut polys = Polys::scratch(n, basis.len(), 2 * digits);
        let stride = polys.stride();
        let limbs = polys.words_mut().chunks_exact_mut(stride).zip(&basis).zip(b.chunks_exact(digits * n));
        for ((limb, &prime), b) in limbs {
            parameters.check_residues("evaluation key", prime, b)?;
            for (d, (out, b)) in limb.chunks_exact_mut(2 * n).zip(b.chunks_exact(n)).enumerate() {
                let (out, a) = out.split_at_mut(n);
                out.copy_from_slice(b);
                expand_a(parameters, &seed, prime, d, a);
            }
        }
        Ok(Self { parameters: parameters.clone(), key_set, id, basis, polys, seed })
    }
}

/// The limbs of a key: [`KeyId::primes`], then the special ones.
///
/// # Errors
/// [`CkksError::Gadget`] or [`CkksError::NoSuchLevel`] when the parameters have no such key.
fn key_basis(op: &'static str, parameters: &Parameters, id: KeyId) -> Result<Vec<u16>, CkksError> {
    let gadget = parameters.gadget_for(op, id.level, id.gadget)?;
    let mut basis = id.primes(parameters.literal());
    basis.extend(&gadget.special);
    Ok(basis)
}

/// The `a` half of one digit and prime.
fn expand_a(parameters: &Parameters, seed: &Seed, prime: u16, digit: usize, out: &mut [u32]) {
    let modulus = parameters.modulus(prime);
    let stream = (A_DOMAIN, &[modulus.value() as u64, digit as u64][..]);
    sampling::uniform(parameters.kernels(), modulus, seed, stream, out);
}

/// Evaluation keys of one key set, by name.
pub trait KeyStore: Sync {
    /// The key set that all of them belong to.
    fn key_set(&self) -> KeySetId;

    /// The key of this gadget and kind that serves this level: it may be that of a higher one.
    ///
    /// # Errors
    /// [`CkksError::MissingKey`], or whatever prevents its loading.
    fn key(&self, id: KeyId) -> Result<Arc<SwitchingKey>, CkksError>;

    /// Does ahead of time what the first [`Self::key`] of this name would have to do. What fails here fails there
    /// again. Takes the thread that it is called from, and no other.
    fn prefetch(&self, _id: KeyId) {}
}

/// Keys of one key set, held in memory.
#[derive(Debug)]
pub struct MemoryKeys {
    parameters: Parameters,
    key_set: KeySetId,
    keys: HashMap<(Gadget, KeyKind), Arc<SwitchingKey>>,
}

impl MemoryKeys {
    /// No keys yet, for a key set of these parameters.
    #[must_use]
    pub fn new(parameters: &Parameters, key_set: KeySetId) -> Self {
        Self { parameters: parameters.clone(), key_set, keys: HashMap::new() }
    }

    /// Adds a key; one of the same gadget and kind that serves a higher level stays.
    ///
    /// # Errors
    /// [`CkksError::OtherParameters`], [`CkksError::OtherKeySet`].
    pub fn insert(&mut self, key: SwitchingKey) -> Result<(), CkksError> {
        const OP: &str = "add an evaluation key";
        self.parameters.check_same(OP, &key.parameters)?;
        check_key_set(OP, self.key_set, key.key_set)?;
        let slot = self.keys.entry((key.id.gadget, key.id.kind));
        let key = Arc::new(key);
        let kept = slot.or_insert_with(|| key.clone());
        if kept.id.level < key.id.level {
            *kept = key;
        }
        Ok(())
    }

    /// Bytes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.keys.values().map(|k| k.bytes()).sum()
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl KeyStore for MemoryKeys {
    fn key_set(&self) -> KeySetId {
        self.key_set
    }

    fn key(&self, id: KeyId) -> Result<Arc<SwitchingKey>, CkksError> {
        let key = self.keys.get(&(id.gadget, id.kind)).filter(|key| key.id.level >= id.level);
        key.cloned().ok_or(CkksError::MissingKey(id))
    }
}

/// Makes keys. Holds a generator seeded by the operating system.
pub struct KeyGenerator {
    pub(crate) parameters: Parameters,
    pub(crate) rng: ChaCha20Rng,
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
    system_entropy(&mut *seed)?;
    Ok(ChaCha20Rng::from_seed(*seed))
}

fn system_entropy(out: &mut [u8]) -> Result<(), CkksError> {
    getrandom::fill(out).map_err(|e| CkksError::Randomness(e.to_string()))
}

impl KeyGenerator {
    /// A generator for these parameters.
    ///
    /// # Errors
    /// [`CkksError::Randomness`].
    pub fn new(parameters: &Parameters) -> Result<Self, CkksError> {
        Ok(Self { parameters: parameters.clone(), rng: entropy()? })
    }

    /// A fresh secret key, and with it a fresh key set.
    ///
    /// # Errors
    /// [`CkksError::Randomness`].
    pub fn secret_key(&mut self) -> Result<SecretKey, CkksError> {
        // Not from the generator: the name is public, what else it gives is not.
        let mut key_set = [0; 16];
        system_entropy(&mut key_set)?;
        let coefficients = sampling::ternary(&mut self.rng, self.parameters.n());
        SecretKey::from_coefficients(&self.parameters, KeySetId::from_bytes(key_set), &coefficients)
    }

    /// The switching key of this name.
    ///
    /// # Errors
    /// [`CkksError::OtherParameters`], [`CkksError::Gadget`], [`CkksError::NoSuchLevel`].
    pub fn switching_key(&mut self, secret: &SecretKey, id: KeyId) -> Result<SwitchingKey, CkksError> {
        const OP: &str = "make an evaluation key";
        let parameters = &self.parameters;
        parameters.check_same(OP, &secret.parameters)?;
        let gadget = parameters.gadget_for(OP, id.level, id.gadget)?;
        let basis = key_basis(OP, parameters, id)?;
        let (digits, n) = (id.dnum(parameters.literal()), parameters.n());
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let errors: Vec<Zeroizing<Vec<i8>>> = (0..digits).map(|_| sampling::gaussian(&mut self.rng, n)).collect();
        let inverse = inverse_element(parameters.log_n(), id.element(parameters.log_n()));
        let map = Automorphism::new(parameters.log_n(), inverse)?;
        let mut polys = Polys::scratch(n, basis.len(), 2 * digits);
        let stride = polys.stride();
        polys.words_mut().par_chunks_mut(stride).zip(&basis).for_each(|(limb, &prime)| {
            let (kernels, table, m) = (parameters.kernels(), parameters.table(prime), parameters.modulus(prime));
            let own = secret.polys.limb(prime as usize, 0);
            // The secret under which the key encrypts, and the message before the gadget.
            let mut under = Zeroizing::new(vec![0; n]);
            kernels.permute(map.source(), &mut under, own);
            let mut message = Zeroizing::new(own.to_vec());
            if id.kind == KeyKind::Relinearize {
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
        Ok(SwitchingKey { parameters: parameters.clone(), key_set: secret.key_set, id, basis, polys, seed })
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
