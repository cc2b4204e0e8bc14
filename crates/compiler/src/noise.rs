//! Deviations of the error in a slot (its real part), in units of `1 / scale`.
//!
//! A polynomial whose coefficients have variance `v` has slots whose real parts have variance `N v / 2`. The secret is
//! uniform ternary: variance 2/3.

use umbra_ring::sampling::ERROR_SIGMA;

fn degree(log_n: u32) -> f64 {
    f64::from(log_n).exp2()
}

fn slot(log_n: u32, variance: f64) -> f64 {
    (degree(log_n) * variance / 2.0).sqrt()
}

/// Of a fresh encryption under the secret key.
pub fn fresh(log_n: u32) -> f64 {
    slot(log_n, ERROR_SIGMA * ERROR_SIGMA + 1.0 / 12.0)
}

/// Of a division with exact rounding.
pub fn rescale(log_n: u32) -> f64 {
    slot(log_n, (1.0 + degree(log_n) * 2.0 / 3.0) / 12.0)
}

/// Of a real plaintext of period `period`, rounded to integer coefficients (all of it is real).
pub fn encoding(period: usize) -> f64 {
    (2.0 * period as f64 / 12.0).sqrt()
}

/// Of a key switch before its division is rounded: `digits` digits of about six primes, that exceed the special primes'
/// product by `excess` bits.
pub fn key_switch(log_n: u32, digits: usize, excess: f64) -> f64 {
    let digit = 6.0 / 12.0 * (2.0 * excess).exp2();
    slot(log_n, digits as f64 * degree(log_n) * digit * ERROR_SIGMA * ERROR_SIGMA)
}
