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

/// Small signed coefficients as residues modulo `m`, without branching on them.
pub fn small_to_residues(m: &Modulus, small: &[i8], out: &mut [u32]) {
    for (out, &x) in out.iter_mut().zip(small) {
        let x = x as i32;
        *out = (x + (m.value() as i32 & (x >> 31))) as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_and_repeat() {
        let m = Modulus::new(1073479681).unwrap();
        let draw = |seed: u8, index: u64| {
            let mut out = vec![0; 64];
            uniform(Kernels::best(), &m, &[seed; 32], ("umbra test", &[index]), &mut out);
            out
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }

    #[test]
    fn distributions() {
        let mut rng = stream(&[9; 32], "umbra test", &[]);
        let n = 1 << 18;
        let counts = |x: &[i8], v: i8| x.iter().filter(|&&y| y == v).count() as f64 / n as f64;
        let t = ternary(&mut rng, n);
        for v in -1..=1 {
            assert!((counts(&t, v) - 1.0 / 3.0).abs() < 0.005);
        }
        let g = gaussian(&mut rng, n);
        let variance = g.iter().map(|&x| (x as f64).powi(2)).sum::<f64>() / n as f64;
        let mean = g.iter().map(|&x| x as f64).sum::<f64>() / n as f64;
        assert!((variance.sqrt() - ERROR_SIGMA).abs() < 0.03, "{variance}");
        assert!(mean.abs() < 0.03, "{mean}");
        let total: f64 = (-30..=30i32).map(|k| (-(k as f64).powi(2) / (2.0 * 3.2 * 3.2)).exp()).sum();
        for k in 0..6i8 {
            let want = (-(k as f64).powi(2) / (2.0 * 3.2 * 3.2)).exp() / total;
            for v in [k, -k] {
                assert!((counts(&g, v) - want).abs() < 0.004, "{v}");
            }
        }
        let m = Modulus::new(1073479681).unwrap();
        let mut u = vec![0; n];
        uniform(Kernels::best(), &m, &[9; 32], ("umbra test", &[1]), &mut u);
        assert!(u.iter().all(|&x| x < m.value()));
        let mean = u.iter().map(|&x| x as f64).sum::<f64>() / n as f64 / m.value() as f64;
        assert!((mean - 0.5).abs() < 0.003);
        let mut r = vec![0; 3];
        small_to_residues(&m, &[-2, 0, 3], &mut r);
        assert_eq!(r, [m.value() - 2, 0, 3]);
    }
}
