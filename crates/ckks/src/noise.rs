//! Predicted noise: standard deviations of the error in a slot (its real part), in units of `1/scale`.
//!
//! A polynomial with independent coefficients of variance `v` has slots whose real parts have variance `N v / 2`; a
//! product with an independent polynomial multiplies variances and `N`. The secret is uniform ternary: variance 2/3.

use crate::error::CkksError;
use crate::index::{Gadget, Level};
use crate::parameters::Parameters;
use umbra_ring::sampling::ERROR_SIGMA;

/// Variance of a coefficient of a uniform ternary polynomial.
const TERNARY_VARIANCE: f64 = 2.0 / 3.0;

fn degree(log_n: u32) -> f64 {
    (log_n as f64).exp2()
}

/// Slot deviation of a polynomial with coefficient variance `variance`.
fn slot(log_n: u32, variance: f64) -> f64 {
    (degree(log_n) * variance / 2.0).sqrt()
}

/// Of a fresh encryption under the secret key.
pub fn fresh_secret(log_n: u32) -> f64 {
    slot(log_n, ERROR_SIGMA * ERROR_SIGMA + 1.0 / 12.0)
}

/// Of a fresh encryption under a public key: `e v + e0 + e1 s` for ternary `v` and `s`, 7.7 bits more than
/// [`fresh_secret`] at N = 2^15.
pub fn fresh_public(log_n: u32) -> f64 {
    let errors = ERROR_SIGMA * ERROR_SIGMA * (1.0 + 2.0 * degree(log_n) * TERNARY_VARIANCE);
    slot(log_n, errors + 1.0 / 12.0)
}

/// Of a division with exact rounding: `(1 + N 2/3) / 12` a coefficient, about 2^12.4 in a slot at N = 2^15.
pub fn rescale(log_n: u32) -> f64 {
    slot(log_n, (1.0 + degree(log_n) * TERNARY_VARIANCE) / 12.0)
}

/// Of a real plaintext of period `period`, rounded to integer coefficients. Real slots make the coefficients
/// antisymmetric, and so their rounding errors: all of the error is real.
pub fn encoding(period: usize) -> f64 {
    (2.0 * period as f64 / 12.0).sqrt()
}

/// Of one key switch (before division by P, then divided): digits times key errors, and the rounding of the division.
/// `rounding` says whether a division by P follows at once.
///
/// # Errors
/// [`CkksError::Gadget`] when the gadget does not serve the level.
pub fn key_switch(parameters: &Parameters, level: Level, gadget: Gadget, rounding: bool) -> Result<f64, CkksError> {
    const OP: &str = "noise of a key switch";
    let basis = parameters.level_for(OP, level)?;
    let literal = parameters.gadget_for(OP, level, gadget)?;
    let log2 = |primes: &[u16]| parameters.literal().log2_of(primes);
    let log_p = log2(&literal.special);
    let n = degree(parameters.log_n());
    let mut variance = 0.0;
    for digit in &literal.digits {
        let own: Vec<u16> = digit.iter().copied().filter(|p| basis.contains(p)).collect();
        if own.is_empty() {
            continue;
        }
        // A digit is a sum of own.len() uniform terms in (-D/2, D/2).
        let digit_variance = own.len() as f64 / 12.0 * (2.0 * (log2(&own) - log_p)).exp2();
        variance += n * digit_variance * ERROR_SIGMA * ERROR_SIGMA;
    }
    if rounding {
        let terms = literal.special.len() as f64 / 12.0;
        variance += terms * (1.0 + n * TERNARY_VARIANCE);
    }
    Ok(slot(parameters.log_n(), variance))
}
