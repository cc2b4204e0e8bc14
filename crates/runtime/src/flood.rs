//! Noise flooding: what a result holds beyond its logits is drowned in random values.
//!
//! Slots without logit are multiplied by zeros that are rounded as polynomials, so that they hold rounding errors times
//! features of the image; and all slots hold the noise of the evaluation. The server adds random values: to slots
//! without logit as large as the program says ([`umbra_program::OutputLayout::flooding`]), the same in every period
//! where the slots repeat, so that no mean over periods takes it away; and to both parts of all slots a little, which
//! is far more than the noise of the evaluation and far less than the error of a logit.
//!
//! The values are pseudorandom: their seed is a keyed hash of the result before, and the key a hash of the network.
//! So the same ciphertext gives the same result, and asking again shows nothing new. Who could compute them knows the
//! network, and learns nothing from their absence.

use num_complex::Complex64;
use umbra_ckks::{Ciphertext, CkksError, Encoder, Parameters, encode_complex, or_out_of_memory};
use umbra_program::{Linear, Operation, Program, Step};
use umbra_ring::sampling::{self, Seed};

use crate::RuntimeError;

/// Part of a logit's predicted error that is added to all slots.
const EVERYWHERE: f64 = 1.0 / 16.0;

const KEY_DOMAIN: &str = "umbra 2026 flooding key v1";
const VALUES_DOMAIN: &str = "umbra 2026 flooding values v1";

/// What is added to the results of one program.
pub struct Flooding {
    key: Seed,
    encoder: Encoder,
    /// For each ciphertext, which slots of a period hold no logit.
    free: Vec<Vec<bool>>,
    repeats: bool,
    /// Deviation in slots without logit.
    large: f64,
    /// Deviation of both parts of all slots.
    small: f64,
}

impl std::fmt::Debug for Flooding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Flooding({:.3e} where no logit is)", self.large)
    }
}

impl Flooding {
    /// For a checked program; none where it asks for none.
    #[must_use]
    pub fn of(program: &Program) -> Option<Self> {
        let client = &program.client;
        let large = client.output.flooding;
        let free: Vec<_> = (0..client.output.ciphertexts()).map(|k| client.free_slots(k)).collect();
        (large > 0.0).then(|| Self {
            key: key(program),
            encoder: Encoder::new(client.parameters.log_n),
            repeats: free.first().is_some_and(|free| free.repeats),
            free: free.into_iter().map(|free| free.is_free).collect(),
            large,
            small: EVERYWHERE * client.logit_error,
        })
    }

    /// Adds to the ciphertexts of a result.
    ///
    /// # Errors
    /// [`RuntimeError::Output`] for ciphertexts that are not the program's, or values that do not fit their modulus;
    /// [`RuntimeError::OutOfMemory`].
    pub fn add(&self, result: &mut [Ciphertext]) -> Result<(), RuntimeError<CkksError>> {
        for (k, (ciphertext, free)) in result.iter_mut().zip(&self.free).enumerate() {
            let values = self.values(&self.seed(k, ciphertext), free);
            *ciphertext = or_out_of_memory(|| sum(ciphertext, &self.encoder, &values))
                .map_err(RuntimeError::from)?
                .map_err(|source| RuntimeError::Output { index: k, source })?;
        }
        Ok(())
    }

    fn seed(&self, k: usize, ciphertext: &Ciphertext) -> Seed {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&(k as u64).to_le_bytes());
        hasher.update(ciphertext.key_set().bytes());
        words(&mut hasher, ciphertext.words());
        *hasher.finalize().as_bytes()
    }

    fn values(&self, seed: &Seed, free: &[bool]) -> Vec<Complex64> {
        let mut rng = sampling::stream(seed, VALUES_DOMAIN, &[]);
        let mut normal = || sampling::normal_pair(&mut rng);
        let mut values: Vec<Complex64> = Vec::with_capacity(self.encoder.slots());
        values.extend((0..self.encoder.slots()).map(|_| {
            let [re, im] = normal();
            Complex64::new(re, im) * self.small
        }));
        let mut large =
            || -> Vec<f64> { free.iter().map(|&free| if free { self.large * normal()[0] } else { 0.0 }).collect() };
        let first = large();
        for (i, period) in values.chunks_mut(free.len()).enumerate() {
            let own = if self.repeats || i == 0 { &first } else { &large() };
            period.iter_mut().zip(own).for_each(|(v, own)| v.re += own);
        }
        values
    }
}

/// A hash of the network: of its digest, and of what its last linear step holds.
fn key(program: &Program) -> Seed {
    let mut hasher = blake3::Hasher::new_derive_key(KEY_DOMAIN);
    hasher.update(&program.network);
    if let Some(last) = program.steps.iter().rev().find_map(linear) {
        let weights = last.diagonals.iter().flat_map(|d| &d.values).map(|v| v.to_bits());
        words(&mut hasher, &weights.collect::<Vec<_>>());
        last.bias.iter().flatten().for_each(|b| {
            hasher.update(&b.to_le_bytes());
        });
    }
    *hasher.finalize().as_bytes()
}

fn linear(step: &Step) -> Option<&Linear> {
    match &step.operation {
        Operation::Linear(linear) => Some(linear),
        Operation::Square { .. } | Operation::RotateSum { .. } => None,
    }
}

fn words(hasher: &mut blake3::Hasher, words: &[u32]) {
    let mut bytes = Vec::with_capacity(1 << 12);
    for words in words.chunks(1 << 10) {
        bytes.clear();
        bytes.extend(words.iter().flat_map(|w| w.to_le_bytes()));
        hasher.update(&bytes);
    }
}

fn sum(ciphertext: &Ciphertext, encoder: &Encoder, values: &[Complex64]) -> Result<Ciphertext, CkksError> {
    let (parameters, level, scale) = (ciphertext.parameters(), ciphertext.level(), ciphertext.scale());
    let message = encode_complex(parameters, encoder, values, level, scale)?;
    let (n, mut polys) = (parameters.n(), ciphertext.polys().clone());
    let limbs = polys.words_mut().chunks_exact_mut(2 * n).zip(ciphertext.basis());
    for (i, (limb, &prime)) in limbs.enumerate() {
        let modulus = modulus(parameters, prime);
        parameters.kernels().add(modulus, &mut limb[..n], message.polys().limb(i, 0));
    }
    Ciphertext::from_polys(parameters, ciphertext.key_set(), level, scale, polys)
}

fn modulus(parameters: &Parameters, prime: u16) -> &umbra_ring::Modulus {
    parameters.tables()[usize::from(prime)].modulus()
}
