//! Random polynomials: uniform from a public seed, ternary secrets, discrete Gaussian errors.
//!
//! Secrets and errors are drawn in constant time: no branch and no memory access depends on the value drawn.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use zeroize::Zeroizing;

use crate::kernels::Kernels;
use crate::modulus::Modulus;

/// Standard deviation of errors (Homomorphic Encryption Security Guidelines, eprint 2024/463).
pub const ERROR_SIGMA: f64 = 3.2;

/// Seed of public randomness.
pub type Seed = [u8; 32];

/// The generator for one labelled stream under a seed: BLAKE3 in key-derivation mode, then ChaCha20.
pub fn stream(seed: &Seed, domain: &str, index: &[u64]) -> ChaCha20Rng {
    ChaCha20Rng::from_seed(stream_key(seed, domain, index))
}

fn stream_key(seed: &Seed, domain: &str, index: &[u64]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(domain);
    hasher.update(seed);
    for i in index {
        hasher.update(&i.to_le_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// Uniform residues of one labelled stream under a seed, by rejection: 30 (or fewer) random bits a try.
pub fn uniform(kernels: &Kernels, m: &Modulus, seed: &Seed, (domain, index): (&str, &[u64]), out: &mut [u32]) {
    kernels.uniform(m, &stream_key(seed, domain, index), out);
}

/// Uniform coefficients in {-1, 0, 1}: floor(3 r / 2^64) - 1 for 64 random bits, whose bias is below 2^-62.
pub fn ternary(rng: &mut impl Rng, n: usize) -> Zeroizing<Vec<i8>> {
    let mut out = Zeroizing::new(vec![0i8; n]);
    for x in out.iter_mut() {
        *x = ((rng.next_u64() as u128 * 3) >> 64) as i8 - 1;
    }
    out
}

/// Largest error magnitude drawn: 6.6 standard deviations, beyond which lie 2^-35 of the mass.
const TAIL: usize = 21;

/// Discrete Gaussian coefficients of standard deviation [`ERROR_SIGMA`], by comparing 63 random bits with the whole
/// table of cumulative probabilities.
pub fn gaussian(rng: &mut impl Rng, n: usize) -> Zeroizing<Vec<i8>> {
    let thresholds = gaussian_thresholds();
    let mut out = Zeroizing::new(vec![0i8; n]);
    for x in out.iter_mut() {
        let bits = rng.next_u64();
        let (sign, r) = ((bits >> 63) as i8, bits & (u64::MAX >> 1));
        let magnitude: i8 = thresholds.iter().map(|&t| i8::from(r >= t)).sum();
        // -magnitude for sign 1, branch-free.
        *x = (magnitude ^ -sign) + sign;
    }
    out
}

/// `thresholds[k]` = 2^63 times the probability that the magnitude is at most `k`, where zero counts half from either
/// sign.
fn gaussian_thresholds() -> [u64; TAIL] {
    let weight = |k: usize| (-(k as f64).powi(2) / (2.0 * ERROR_SIGMA * ERROR_SIGMA)).exp();
    let total: f64 = weight(0) + 2.0 * (1..=TAIL).map(weight).sum::<f64>();
    let mut sum = 0.0;
    std::array::from_fn(|k| {
        sum += if k == 0 { weight(0) } else { 2.0 * weight(k) } / total;
        (sum * 2f64.powi(63)) as u64
    })
}

/// Two independent standard normal numbers (Box and Muller). Not in constant time: for values that are added to what
/// leaves, not for secrets.
pub fn normal_pair(rng: &mut impl Rng) -> [f64; 2] {
    // 53 bits; the first is in (0, 1].
    let mut unit = || (rng.next_u64() >> 11) as f64 * 2f64.powi(-53);
    let (radius, angle) = ((-2.0 * (1.0 - unit()).ln()).sqrt(), std::f64::consts::TAU * unit());
    [radius * angle.cos(), radius * angle.sin()]
}

/// Small signed coefficients as residues modulo `m`, without branching on them.
pub fn small_to_residues(m: &Modulus, small: &[i8], out: &mut [u32]) {
    for (out, &x) in out.iter_mut().zip(small) {
        let x = x as i32;
        *out = (x + (m.value() as i32 & (x >> 31))) as u32;
    }
}
