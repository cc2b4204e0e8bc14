//! Public-key encryption: for whoever must not hold the secret key.

use chacha20::rand_core::Rng;
use rayon::prelude::*;

use crate::ciphertext::{Ciphertext, Plaintext, read_polys};
use crate::encryption::{Encryptor, check_message};
use crate::error::CkksError;
use crate::identity::KeySetId;
use crate::index::Level;
use crate::keys::{KeyGenerator, SecretKey, masked, transform_small};
use crate::parameters::Parameters;
use umbra_ring::Polys;
use umbra_ring::sampling::{self, Seed};

/// An encryption of zero at one level, `(b, a)` with `b = -a s + e`, whose `a` is expanded from a seed.
///
/// Whoever has it encrypts, and cannot decrypt. It serves every level whose primes are among its own.
#[derive(Debug, Clone, PartialEq)]
pub struct PublicKey {
    parameters: Parameters,
    key_set: KeySetId,
    level: Level,
    seed: Seed,
    /// `b`, limb by limb.
    b: Polys,
}

const A_DOMAIN: &str = "umbra 2026 public key a v1";

impl PublicKey {
    /// A public key of a key set from parts that came from outside.
    ///
    /// # Errors
    /// [`CkksError::NoSuchLevel`], [`CkksError::Length`], [`CkksError::Residue`].
    pub fn from_parts(
        parameters: &Parameters,
        key_set: KeySetId,
        level: Level,
        seed: Seed,
        b: &[u32],
    ) -> Result<Self, CkksError> {
        let b = read_polys(parameters, level, 1.0, 1, b)?;
        Ok(Self { parameters: parameters.clone(), key_set, level, seed, b })
    }

    /// The parameters.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The key set of the secret key that decrypts what is encrypted with it.
    #[must_use]
    pub fn key_set(&self) -> KeySetId {
        self.key_set
    }

    /// The level.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// The seed of `a`.
    #[must_use]
    pub fn seed(&self) -> &Seed {
        &self.seed
    }

    /// Words of `b`.
    #[must_use]
    pub fn words(&self) -> &[u32] {
        self.b.words()
    }
}

fn expand_a(parameters: &Parameters, seed: &Seed, prime: u16, out: &mut [u32]) {
    let modulus = parameters.modulus(prime);
    sampling::uniform(parameters.kernels(), modulus, seed, (A_DOMAIN, &[modulus.value() as u64]), out);
}

impl KeyGenerator {
    /// The public key of a secret key, for a level and those whose primes are among its own.
    ///
    /// # Errors
    /// [`CkksError::OtherParameters`], [`CkksError::NoSuchLevel`].
    pub fn public_key(&mut self, secret: &SecretKey, level: Level) -> Result<PublicKey, CkksError> {
        const OP: &str = "make a public key";
        let parameters = &self.parameters;
        parameters.check_same(OP, secret.parameters())?;
        let (n, basis) = (parameters.n(), parameters.level_for(OP, level)?);
        let error = sampling::gaussian(&mut self.rng, n);
        let errors = zeroize::Zeroizing::new(transform_small(parameters, basis, &[&error]));
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let mut b = Polys::zero(n, basis.len(), 1);
        b.words_mut().par_chunks_mut(n).zip(basis).enumerate().for_each(|(i, (b, &prime))| {
            let mut a = vec![0; n];
            expand_a(parameters, &seed, prime, &mut a);
            masked(parameters, prime, b, &a, secret.polys.limb(prime as usize, 0), errors.limb(i, 0));
        });
        Ok(PublicKey { parameters: parameters.clone(), key_set: secret.key_set(), level, seed, b })
    }
}

impl Encryptor {
    /// Encrypts under a public key: `v (b, a) + (m + e0, e1)` for a ternary `v`. Noise: `e v + e0 + e1 s`, see
    /// [`crate::noise::fresh_public`].
    ///
    /// # Errors
    /// [`CkksError::OtherParameters`]; [`CkksError::Length`] unless the plaintext is dense (all slots);
    /// [`CkksError::NotASubset`] for a level whose primes are not all the key's.
    pub fn encrypt_public(&mut self, key: &PublicKey, message: &Plaintext) -> Result<Ciphertext, CkksError> {
        const OP: &str = "encrypt under a public key";
        let parameters = &self.parameters;
        check_message(OP, parameters, &key.parameters, message)?;
        let (n, basis, own) = (parameters.n(), parameters.basis(message.level), parameters.basis(key.level));
        let limbs = basis.iter().map(|prime| own.iter().position(|own| own == prime));
        let limbs: Vec<usize> =
            limbs.collect::<Option<_>>().ok_or(CkksError::NotASubset { op: OP, from: key.level, to: message.level })?;
        let mask = sampling::ternary(&mut self.rng, n);
        let errors = [sampling::gaussian(&mut self.rng, n), sampling::gaussian(&mut self.rng, n)];
        let small = transform_small(parameters, basis, &[&mask, &errors[0], &errors[1]]);
        let small = zeroize::Zeroizing::new(small);
        let mut polys = Polys::zero(n, basis.len(), 2);
        polys.words_mut().par_chunks_mut(2 * n).zip(basis).enumerate().for_each(|(i, (limb, &prime))| {
            let (kernels, m) = (parameters.kernels(), parameters.modulus(prime));
            let (c0, c1) = limb.split_at_mut(n);
            kernels.mul(m, c0, key.b.limb(limbs[i], 0), small.limb(i, 0));
            kernels.add(m, c0, small.limb(i, 1));
            kernels.add(m, c0, message.polys.limb(i, 0));
            let mut a = vec![0; n];
            expand_a(parameters, &key.seed, prime, &mut a);
            kernels.mul(m, c1, &a, small.limb(i, 0));
            kernels.add(m, c1, small.limb(i, 2));
        });
        let (parameters, key_set) = (parameters.clone(), key.key_set);
        Ok(Ciphertext { parameters, key_set, polys, level: message.level, scale: message.scale })
    }
}
