//! Between vectors of numbers and integer polynomials: the canonical embedding of CKKS.
//!
//! Slot `j` of a polynomial `m` is `m(zeta^(5^j))` over the scale, `zeta = exp(i pi / N)`. A vector of period `C` is
//! the embedding of a polynomial in `Y = X^(N/2C)`, found by the same encoder for degree `2C`.

use std::sync::Arc;

use num_complex::Complex64;
use rayon::prelude::*;
use rustfft::{Fft, FftPlanner};
use zeroize::{Zeroize, Zeroizing};

use crate::ciphertext::Plaintext;
use crate::error::{CkksError, check_scale};
use crate::index::Level;
use crate::parameters::Parameters;
use umbra_ring::{Polys, subring::SubringNtt};

/// What errors call encoding.
const OP: &str = "encode";

/// Encoder for ring degree M = 2 * slots.
#[derive(Clone)]
pub struct Encoder {
    log_m: u32,
    forward: Arc<dyn Fft<f64>>,
    inverse: Arc<dyn Fft<f64>>,
    /// `zeta^i` for `i < M`.
    twist: Arc<[Complex64]>,
    /// `(5^j mod 2M - 1) / 2`: where slot `j` sits among the odd powers of `zeta`.
    places: Arc<[u32]>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Encoder({} slots)", self.slots())
    }
}

impl Encoder {
    /// An encoder of `2^(log_m - 1)` slots; `log_m` at least 1.
    pub fn new(log_m: u32) -> Self {
        let m = 1usize << log_m;
        let mut planner = FftPlanner::new();
        let twist = (0..m).map(|i| Complex64::cis(std::f64::consts::PI * i as f64 / m as f64)).collect();
        let mut power = 1u32;
        let places = (0..m / 2)
            .map(|_| {
                let place = power >> 1;
                power = power.wrapping_mul(5) & (2 * m as u32 - 1);
                place
            })
            .collect();
        Self { log_m, forward: planner.plan_fft_forward(m), inverse: planner.plan_fft_inverse(m), twist, places }
    }

    /// Number of slots.
    pub fn slots(&self) -> usize {
        1 << (self.log_m - 1)
    }

    /// The real polynomial (2 * slots coefficients) whose slots are the given values. `values.len()` must be the number
    /// of slots.
    pub fn embed(&self, values: &[Complex64]) -> Vec<f64> {
        let m = 1usize << self.log_m;
        debug_assert_eq!(values.len(), self.slots());
        let mut buffer = vec![Complex64::ZERO; m];
        for (&place, &v) in self.places.iter().zip(values) {
            buffer[place as usize] = v;
            // The conjugate root has exponent 2M - 5^j.
            buffer[m - 1 - place as usize] = v.conj();
        }
        self.forward.process(&mut buffer);
        buffer.iter().zip(self.twist.iter()).map(|(b, t)| (b * t.conj()).re / m as f64).collect()
    }

    /// The slots of a real polynomial with 2 * slots coefficients.
    pub fn slots_of(&self, coefficients: &[f64]) -> Vec<Complex64> {
        let values = self.evaluate(coefficients);
        self.places.iter().map(|&p| values.0[p as usize]).collect()
    }

    /// The real parts of [`Self::slots_of`]. What is left of them in memory is what is returned.
    pub(crate) fn real_slots_of(&self, coefficients: &[f64]) -> Vec<f64> {
        let values = self.evaluate(coefficients);
        self.places.iter().map(|&p| values.0[p as usize].re).collect()
    }

    /// The values of a real polynomial at the odd powers of `zeta`.
    fn evaluate(&self, coefficients: &[f64]) -> Wiped {
        debug_assert_eq!(coefficients.len(), 1 << self.log_m);
        let mut values = Wiped(coefficients.iter().zip(self.twist.iter()).map(|(&c, t)| t * c).collect());
        // A buffer of our own: the library would free its own as it is.
        let mut scratch = Wiped(vec![Complex64::ZERO; self.inverse.get_inplace_scratch_len()]);
        self.inverse.process_with_scratch(&mut values.0, &mut scratch.0);
        values
    }

    /// Integer coefficients of real slot values at a scale.
    ///
    /// # Errors
    /// Those of [`Self::complex_integers`].
    pub fn integers(&self, values: &[f64], scale: f64) -> Result<Vec<i128>, CkksError> {
        self.complex_integers(&values.iter().map(|&v| v.into()).collect::<Vec<_>>(), scale)
    }

    /// Integer coefficients of slot values at a scale.
    ///
    /// # Errors
    /// [`CkksError::Length`], [`CkksError::NotFinite`], [`CkksError::BadScale`]; [`CkksError::Overflow`] when a
    /// coefficient exceeds 2^120.
    pub fn complex_integers(&self, values: &[Complex64], scale: f64) -> Result<Vec<i128>, CkksError> {
        check_scale(OP, scale)?;
        if values.len() != self.slots() {
            return Err(CkksError::Length { op: OP, what: "slots", expected: self.slots(), found: values.len() });
        }
        if let Some(index) = values.iter().position(|v| !v.is_finite()) {
            return Err(CkksError::NotFinite { op: OP, index });
        }
        let scaled: Vec<Complex64> = values.iter().map(|v| v * scale).collect();
        let coefficients = self.embed(&scaled);
        let largest = coefficients.iter().fold(0.0f64, |a, c| a.max(c.abs()));
        if largest >= 2f64.powi(120) {
            return Err(CkksError::Overflow { op: OP, value: largest / scale, scale, available: 120.0 });
        }
        Ok(coefficients.iter().map(|c| c.round() as i128).collect())
    }
}

/// Numbers that are wiped when dropped: of a decryption, they tell the secret key.
struct Wiped(Vec<Complex64>);

impl Zeroize for Wiped {
    fn zeroize(&mut self) {
        for value in &mut self.0 {
            value.re.zeroize();
            value.im.zeroize();
        }
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        self.zeroize();
    }
}

/// Encodes a real slot vector of a power-of-two period (all N/2 slots for a dense one) at a level.
///
/// # Errors
/// [`CkksError::NoSuchLevel`]; [`CkksError::Length`] when the period is not a power of two up to N/2, and those of
/// [`Encoder::integers`]; [`CkksError::Overflow`] when it does not fit the level's modulus.
pub fn encode(parameters: &Parameters, values: &[f64], level: Level, scale: f64) -> Result<Plaintext, CkksError> {
    if !values.len().is_power_of_two() || values.len() > parameters.slots() {
        let (expected, found) = (parameters.slots(), values.len());
        return Err(CkksError::Length { op: OP, what: "slots", expected, found });
    }
    encode_with(parameters, &Encoder::new(values.len().ilog2() + 1), values, level, scale)
}

/// Dense plaintext of real slot values (N/2 of them) at a level and scale: [`encode`] with a prepared encoder.
///
/// # Errors
/// [`CkksError::NoSuchLevel`]; [`CkksError::Length`] unless the encoder and the values have the parameters' slots;
/// those of [`Encoder::integers`]; [`CkksError::Overflow`] when it does not fit the level's modulus.
pub fn encode_dense(
    parameters: &Parameters,
    encoder: &Encoder,
    values: &[f64],
    level: Level,
    scale: f64,
) -> Result<Plaintext, CkksError> {
    check_dense(parameters, encoder)?;
    encode_with(parameters, encoder, values, level, scale)
}

/// Dense plaintext of complex slot values (N/2 of them) at a level and scale: [`encode_dense`] for both parts.
///
/// # Errors
/// As [`encode_dense`].
pub fn encode_complex(
    parameters: &Parameters,
    encoder: &Encoder,
    values: &[Complex64],
    level: Level,
    scale: f64,
) -> Result<Plaintext, CkksError> {
    check_dense(parameters, encoder)?;
    let integers = Zeroizing::new(encoder.complex_integers(values, scale)?);
    encode_integers(parameters, encoder, &integers, level, scale)
}

fn check_dense(parameters: &Parameters, encoder: &Encoder) -> Result<(), CkksError> {
    if encoder.slots() == parameters.slots() {
        return Ok(());
    }
    let (expected, found) = (parameters.slots(), encoder.slots());
    Err(CkksError::Length { op: OP, what: "slots of the encoder", expected, found })
}

fn encode_with(
    parameters: &Parameters,
    encoder: &Encoder,
    values: &[f64],
    level: Level,
    scale: f64,
) -> Result<Plaintext, CkksError> {
    let integers = Zeroizing::new(encoder.integers(values, scale)?);
    encode_integers(parameters, encoder, &integers, level, scale)
}

fn encode_integers(
    parameters: &Parameters,
    encoder: &Encoder,
    integers: &[i128],
    level: Level,
    scale: f64,
) -> Result<Plaintext, CkksError> {
    let basis = parameters.level_for(OP, level)?;
    let largest = integers.iter().fold(0u128, |a, c| a.max(c.unsigned_abs())) as f64;
    let available = parameters.literal().log_q(level) - 1.0;
    if largest.log2() > available {
        return Err(CkksError::Overflow { op: OP, value: largest / scale, scale, available });
    }
    let polys = to_blocks(parameters, basis, encoder.log_m, integers);
    Ok(Plaintext { parameters: parameters.clone(), polys, level, scale })
}

/// Block values (see [`umbra_ring::subring`]) of an integer polynomial in a subring of degree `2^log_m`, over a basis.
fn to_blocks(parameters: &Parameters, basis: &[u16], log_m: u32, integers: &[i128]) -> Polys {
    let m = 1usize << log_m;
    let mut out = Polys::zero(m, basis.len(), 1);
    out.words_mut().par_chunks_mut(m).zip(basis).for_each(|(values, &prime)| {
        let table = parameters.table(prime);
        for (v, &c) in values.iter_mut().zip(integers) {
            *v = table.modulus().reduce_i128(c);
        }
        SubringNtt::new(table, log_m).forward(table, values);
    });
    out
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn slots_are_evaluations_and_invert() {
        let mut rng = StdRng::seed_from_u64(11);
        for log_m in [1, 2, 4, 8] {
            let encoder = Encoder::new(log_m);
            let m = 1usize << log_m;
            let values: Vec<Complex64> = (0..encoder.slots())
                .map(|_| Complex64::new(rng.random_range(-1.0..1.0), rng.random_range(-1.0..1.0)))
                .collect();
            let coefficients = encoder.embed(&values);
            let mut exponent = 1usize;
            for (j, v) in values.iter().enumerate() {
                let slow: Complex64 = (coefficients.iter().enumerate())
                    .map(|(i, &c)| {
                        Complex64::cis(std::f64::consts::PI * (exponent * i % (2 * m)) as f64 / m as f64) * c
                    })
                    .sum();
                assert!((slow - v).norm() < 1e-9, "slot {j}");
                exponent = exponent * 5 % (2 * m);
            }
            let back = encoder.slots_of(&coefficients);
            assert!(back.iter().zip(&values).all(|(a, b)| (a - b).norm() < 1e-9));
            let real = encoder.real_slots_of(&coefficients);
            assert!(real.len() == back.len() && real.iter().zip(&back).all(|(r, b)| *r == b.re));
        }
    }

    #[test]
    fn wiping_leaves_zeros() {
        let mut values = Encoder::new(4).evaluate(&[1.5; 16]);
        assert!(values.0.len() == 16 && values.0.iter().any(|v| v.norm() > 1.0));
        values.zeroize();
        assert!(values.0.len() == 16 && values.0.iter().all(|v| *v == Complex64::ZERO));
    }
}
