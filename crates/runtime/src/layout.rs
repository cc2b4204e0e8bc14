//! From a picture to slots, and from slots to logits.

use crate::RuntimeError;
use umbra_compiler::Program;

/// Slot vectors of the input ciphertexts for a normalised picture (`[channels, height, width]`).
///
/// # Errors
/// [`RuntimeError::Picture`] for a wrong number of values.
pub fn pack(program: &Program, picture: &[f32]) -> Result<Vec<Vec<f64>>, RuntimeError> {
    let (input, size) = (&program.input, &program.picture);
    let expected = size.channels * size.height * size.width;
    if picture.len() != expected {
        return Err(RuntimeError::Picture { got: picture.len(), expected });
    }
    let mut planes = vec![vec![0.0f64; input.positions]; size.channels];
    for (plane, colour) in planes.iter_mut().zip(picture.chunks_exact(size.height * size.width)) {
        for (row, pixels) in colour.chunks_exact(size.width).enumerate() {
            for (column, &v) in pixels.iter().enumerate() {
                plane[row * input.pitch + column] = v.into();
            }
        }
    }
    let slots = program.slots();
    let positions = input.positions as i64;
    Ok((input.ciphertexts.iter())
        .map(|channels| {
            let mut out = vec![0.0; slots];
            for (p, out) in out.chunks_exact_mut(channels.len()).enumerate() {
                for (v, channel) in out.iter_mut().zip(channels) {
                    if let Some((colour, tap)) = channel {
                        *v = planes[*colour][(p as i64 + tap).rem_euclid(positions) as usize];
                    }
                }
            }
            out
        })
        .collect())
}

/// Decrypted logits and the evidence that they are sound.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    /// One a class: the mean over its copies.
    pub values: Vec<f64>,
    /// Largest magnitude in a slot that must be zero.
    pub stray: f64,
    /// Largest distance of a copy from its mean.
    pub spread: f64,
}

/// Stray values and spread above this betray an overflow: they are noise, far below one unit of a logit,
/// while a wrapped value is uniform over the whole modulus.
const LIMIT: f64 = 1.0;

/// Reads the logits out of the slots of the output ciphertexts.
///
/// # Errors
/// [`RuntimeError::Stray`], [`RuntimeError::Spread`], [`RuntimeError::Range`] when the result is not to be
/// believed; [`RuntimeError::Input`] for a wrong number of ciphertexts or slots.
pub fn read_logits(program: &Program, slots: &[&[f64]]) -> Result<Logits, RuntimeError> {
    let output = &program.output;
    let (period, classes) = (output.period, output.classes);
    let wanted = classes.div_ceil(period);
    let wrong =
        |what, got: usize, expected: usize| RuntimeError::Input { what, got: got as f64, expected: expected as f64 };
    if slots.len() < wanted {
        return Err(wrong("ciphertexts of logits", slots.len(), wanted));
    }
    if let Some(short) = slots.iter().find(|s| s.len() != program.slots()) {
        return Err(wrong("slots", short.len(), program.slots()));
    }
    let mut values = Vec::with_capacity(classes);
    let (mut stray, mut spread) = (0.0f64, 0.0f64);
    for (k, slots) in slots.iter().enumerate() {
        let copies = (slots.len() / period) as f64;
        for c in 0..period {
            let column = || slots.iter().skip(c).step_by(period);
            if k * period + c >= classes {
                stray = column().fold(stray, |a, v| a.max(v.abs()));
                continue;
            }
            let mean = column().sum::<f64>() / copies;
            spread = column().fold(spread, |a, v| a.max((v - mean).abs()));
            values.push(mean);
        }
    }
    let sound = |x: f64| x.is_finite() && x <= LIMIT;
    if !sound(stray) {
        return Err(RuntimeError::Stray { stray, limit: LIMIT });
    }
    if !sound(spread) {
        return Err(RuntimeError::Spread { spread, limit: LIMIT });
    }
    if let Some([low, high]) = program.logit_range {
        // A picture from outside the test set may go somewhat beyond it.
        let margin = high - low;
        if let Some(&value) = values.iter().find(|v| !(low - margin..=high + margin).contains(v)) {
            return Err(RuntimeError::Range { value, low, high });
        }
    }
    Ok(Logits { values, stray, spread })
}
