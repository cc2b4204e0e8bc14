//! Weights of a linear transform as integers.

use num_complex::Complex64;

use super::spec::{Bsgs, Diagonal};
use crate::encoder::Encoder;
use crate::error::CkksError;

/// The plaintext of a weight as it is multiplied with, from the diagonals that are its parts.
///
/// # Errors
/// Those of encoding.
pub fn weight_integers(
    encoder: &Encoder,
    plan: &Bsgs,
    (parts, masks): (&[&Diagonal], &[Vec<bool>]),
    scale: f64,
) -> Result<Vec<i128>, CkksError> {
    let mut slots = vec![Complex64::ZERO; encoder.slots()];
    for d in parts {
        let unit = if d.imaginary { Complex64::I } else { Complex64::ONE };
        slots.iter_mut().zip(d.rotated_plaintext(plan, masks)).for_each(|(s, v)| *s += unit * v);
    }
    encoder.complex_integers(&slots, scale)
}

/// What the diagonals that are the parts of a weight are once it is rounded as it is for products: one period each, not
/// rotated. The encoder must have the slots of a period, of the masks where there are any.
///
/// # Errors
/// Those of encoding.
pub fn rounded_weight(
    encoder: &Encoder,
    plan: &Bsgs,
    (parts, masks): (&[&Diagonal], &[Vec<bool>]),
    scale: f64,
) -> Result<Vec<Vec<f64>>, CkksError> {
    let integers = weight_integers(encoder, plan, (parts, masks), scale)?;
    let slots = encoder.slots_of(&integers.iter().map(|&c| c as f64).collect::<Vec<_>>());
    let period = slots.len() as i64;
    let part = |d: &&Diagonal| {
        let back = |c: i64| slots[c.wrapping_add(plan.giant(d)).rem_euclid(period) as usize];
        (0..period).map(|c| if d.imaginary { back(c).im } else { back(c).re } / scale).collect()
    };
    Ok(parts.iter().map(part).collect())
}
