//! Encryption and decryption.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::Rng;
use num_complex::Complex64;
use rayon::prelude::*;
use zeroize::{Zeroize, Zeroizing};

use crate::ciphertext::{Ciphertext, Plaintext, read_polys};
use crate::encoder::Encoder;
use crate::error::{CkksError, check_key_set};
use crate::identity::KeySetId;
use crate::index::Level;
use crate::keys::{SecretKey, entropy, masked, transform_small};
use crate::parameters::Parameters;
use umbra_ring::sampling::{self, Seed};
use umbra_ring::{Modulus, Polys};

/// A fresh ciphertext under the secret key whose `c1` is expanded from a seed: half the bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct SeededCiphertext {
    parameters: Parameters,
    key_set: KeySetId,
    level: Level,
    scale: f64,
    seed: Seed,
    /// `c0`, limb by limb.
    c0: Polys,
}

const C1_DOMAIN: &str = "umbra 2026 ciphertext c1 v1";

impl SeededCiphertext {
    /// A ciphertext of a key set from parts that came from outside.
    ///
    /// # Errors
    /// As [`Ciphertext::from_words`].
    pub fn from_parts(
        parameters: &Parameters,
        key_set: KeySetId,
        level: Level,
        scale: f64,
        seed: Seed,
        c0: &[u32],
    ) -> Result<Self, CkksError> {
        let c0 = read_polys(parameters, level, scale, 1, c0)?;
        Ok(Self { parameters: parameters.clone(), key_set, level, scale, seed, c0 })
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

    /// The seed of `c1`.
    #[must_use]
    pub fn seed(&self) -> &Seed {
        &self.seed
    }

    /// Words of `c0`.
    #[must_use]
    pub fn words(&self) -> &[u32] {
        self.c0.words()
    }

    /// The whole ciphertext.
    #[must_use]
    pub fn expand(&self) -> Ciphertext {
        let parameters = &self.parameters;
        let (n, basis) = (parameters.n(), parameters.basis(self.level));
        let mut polys = Polys::zero(n, basis.len(), 2);
        polys.words_mut().par_chunks_mut(2 * n).zip(basis).enumerate().for_each(|(i, (limb, &prime))| {
            let (c0, c1) = limb.split_at_mut(n);
            c0.copy_from_slice(self.c0.limb(i, 0));
            expand_c1(parameters, &self.seed, prime, c1);
        });
        let (key_set, level, scale) = (self.key_set, self.level, self.scale);
        Ciphertext { parameters: parameters.clone(), key_set, polys, level, scale }
    }
}

fn expand_c1(parameters: &Parameters, seed: &Seed, prime: u16, out: &mut [u32]) {
    let modulus = parameters.modulus(prime);
    sampling::uniform(parameters.kernels(), modulus, seed, (C1_DOMAIN, &[modulus.value() as u64]), out);
}

/// Encrypts plaintexts, with fresh operating-system entropy for each instance.
pub struct Encryptor {
    pub(crate) parameters: Parameters,
    pub(crate) rng: ChaCha20Rng,
}

impl std::fmt::Debug for Encryptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encryptor(..)")
    }
}

impl Encryptor {
    /// An encryptor for these parameters.
    ///
    /// # Errors
    /// [`CkksError::Randomness`].
    pub fn new(parameters: &Parameters) -> Result<Self, CkksError> {
        Ok(Self { parameters: parameters.clone(), rng: entropy()? })
    }

    /// Encrypts under the secret key. Noise: one error polynomial.
    ///
    /// # Errors
    /// [`CkksError::OtherParameters`]; [`CkksError::Length`] unless the plaintext is dense (all slots).
    pub fn encrypt_seeded(&mut self, secret: &SecretKey, message: &Plaintext) -> Result<SeededCiphertext, CkksError> {
        const OP: &str = "encrypt";
        let parameters = &self.parameters;
        check_message(OP, parameters, secret.parameters(), message)?;
        let (n, basis) = (parameters.n(), parameters.basis(message.level));
        let error = sampling::gaussian(&mut self.rng, n);
        let mut errors = transform_small(parameters, basis, &[&error]);
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let mut c0 = Polys::zero(n, basis.len(), 1);
        (c0.words_mut().par_chunks_mut(n)).zip(errors.words_mut().par_chunks_mut(n)).zip(basis).enumerate().for_each(
            |(i, ((c0, e), &prime))| {
                let mut a = vec![0; n];
                expand_c1(parameters, &seed, prime, &mut a);
                parameters.kernels().add(parameters.modulus(prime), e, message.polys.limb(i, 0));
                masked(parameters, prime, c0, &a, secret.polys.limb(prime as usize, 0), e);
            },
        );
        errors.zeroize();
        let (parameters, key_set) = (parameters.clone(), secret.key_set());
        Ok(SeededCiphertext { parameters, key_set, level: message.level, scale: message.scale, seed, c0 })
    }
}

/// Refuses keys and messages of other parameters, and messages that are not dense.
pub(crate) fn check_message(
    op: &'static str,
    parameters: &Parameters,
    of_key: &Parameters,
    message: &Plaintext,
) -> Result<(), CkksError> {
    parameters.check_same(op, of_key)?;
    parameters.check_same(op, &message.parameters)?;
    if message.polys.n() == parameters.n() {
        return Ok(());
    }
    let (expected, found) = (parameters.slots(), message.period());
    Err(CkksError::Length { op, what: "slots", expected, found })
}

/// Decrypts.
pub struct Decryptor {
    secret: SecretKey,
    encoder: Encoder,
}

impl std::fmt::Debug for Decryptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decryptor(..)")
    }
}

/// Bits of modulus that decryption looks at: enough for any message, few enough for 128-bit integers.
const DECRYPTED_BITS: f64 = 118.0;

impl Decryptor {
    /// A decryptor that owns a copy of the secret.
    #[must_use]
    pub fn new(secret: &SecretKey) -> Self {
        Self { encoder: Encoder::new(secret.parameters().log_n()), secret: secret.clone() }
    }

    /// All slots (real parts), exactly as decrypted.
    ///
    /// The noise in these numbers depends on the secret key: whoever sees many of them can attack it (Li and
    /// Micciancio, eprint 2020/1533). They are for the key's owner; share [`DecryptedValues::rounded`] only.
    ///
    /// # Errors
    /// [`CkksError::OtherParameters`], [`CkksError::OtherKeySet`].
    pub fn decrypt(&self, ciphertext: &Ciphertext) -> Result<DecryptedValues, CkksError> {
        let coefficients = self.checked_phase(ciphertext)?;
        let mut values = self.encoder.real_slots_of(&coefficients);
        values.iter_mut().for_each(|v| *v /= ciphertext.scale);
        Ok(DecryptedValues { values })
    }

    /// All slots, both parts, exactly as decrypted: everything that the key's owner can see of the message, with noise
    /// that depends on the secret key. For measurements of what a result gives away; see [`Self::decrypt`].
    ///
    /// # Errors
    /// As [`Self::decrypt`].
    pub fn danger_complex(&self, ciphertext: &Ciphertext) -> Result<Vec<Complex64>, CkksError> {
        let mut values = self.encoder.slots_of(&self.checked_phase(ciphertext)?);
        values.iter_mut().for_each(|v| *v /= ciphertext.scale);
        Ok(values)
    }

    fn checked_phase(&self, ciphertext: &Ciphertext) -> Result<Zeroizing<Vec<f64>>, CkksError> {
        const OP: &str = "decrypt";
        self.secret.parameters().check_same(OP, &ciphertext.parameters)?;
        check_key_set(OP, self.secret.key_set(), ciphertext.key_set)?;
        Ok(self.phase(ciphertext))
    }

    /// Coefficients of `c0 + c1 s`, centred modulo as much of the level's modulus as is needed. With the ciphertext
    /// they are as good as the secret.
    fn phase(&self, ciphertext: &Ciphertext) -> Zeroizing<Vec<f64>> {
        let parameters = self.secret.parameters();
        let (n, kernels) = (parameters.n(), parameters.kernels());
        let mut basis: Vec<u16> = Vec::new();
        let mut bits = 0.0;
        for &prime in parameters.basis(ciphertext.level) {
            bits += parameters.modulus(prime).log2();
            if bits > DECRYPTED_BITS {
                break;
            }
            basis.push(prime);
        }
        let mut message = Polys::zero(n, basis.len(), 1);
        (message.words_mut().par_chunks_mut(n)).zip(&basis).enumerate().for_each(|(i, (out, &prime))| {
            kernels.mul(
                parameters.modulus(prime),
                out,
                ciphertext.polys.limb(i, 1),
                self.secret.polys.limb(prime as usize, 0),
            );
            kernels.add(parameters.modulus(prime), out, ciphertext.polys.limb(i, 0));
            parameters.table(prime).inverse(out);
        });
        let moduli: Vec<Modulus> = basis.iter().map(|&p| *parameters.modulus(p)).collect();
        let mut out = Zeroizing::new(vec![0.0; n]);
        (out.par_iter_mut().enumerate()).for_each(|(j, out)| *out = garner(&moduli, |i| message.limb(i, 0)[j]) as f64);
        message.zeroize();
        out
    }
}

/// The centred integer with the given residues (Garner's mixed-radix algorithm).
fn garner(moduli: &[Modulus], residue: impl Fn(usize) -> u32) -> i128 {
    let (mut value, mut product) = (0i128, 1i128);
    for (i, m) in moduli.iter().enumerate() {
        let difference = m.sub(residue(i), m.reduce_i128(value));
        let digit = m.mul(difference, m.inv(m.reduce_i128(product)));
        value += digit as i128 * product;
        product *= m.value() as i128;
    }
    if value > product / 2 { value - product } else { value }
}

/// Decrypted slots.
#[derive(Clone)]
pub struct DecryptedValues {
    values: Vec<f64>,
}

impl std::fmt::Debug for DecryptedValues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DecryptedValues({} slots)", self.values.len())
    }
}

impl DecryptedValues {
    /// The numbers as decrypted, for the key's owner alone (see [`Decryptor::decrypt`]).
    #[must_use]
    pub fn danger_raw(&self) -> &[f64] {
        &self.values
    }

    /// The numbers rounded to multiples of `2^-bits`. Coarser than the noise, this tells others nothing about it except
    /// near the midpoints.
    #[must_use]
    pub fn rounded(&self, bits: i32) -> Vec<f64> {
        let unit = 2f64.powi(bits);
        self.values.iter().map(|v| (v * unit).round() / unit).collect()
    }
}

impl Drop for DecryptedValues {
    fn drop(&mut self) {
        self.values.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garner_centres() {
        let moduli: Vec<Modulus> = [97u32, 193, 257].iter().map(|&p| Modulus::new(p).unwrap()).collect();
        let product = 97 * 193 * 257i128;
        for x in [-(product / 2), -5, 0, 1, 12345, product / 2] {
            assert_eq!(garner(&moduli, |i| moduli[i].reduce_i128(x)), x);
        }
    }
}
