//! Bias correction: what weights add on average because they are encoded as integers is taken from biases.

use std::collections::BTreeMap;

use umbra_ckks::{Diagonal, Encoder, rounded_weight};
use umbra_program::Linear;

use crate::circuit::Affine;
use crate::packing::{Rotation, operands};
use crate::plan::Plan;
use crate::precision;

/// Corrects the biases of the step that makes a value. `scales` are those of the weights of each ciphertext read.
pub(crate) fn correct(linear: &mut Linear, plan: &Plan, id: usize, scales: &[f64]) {
    let mean = if linear.masks.is_empty() {
        without_masks(linear, plan, id, scales)
    } else {
        by_position(linear, plan, id, scales)
    };
    linear.bias.iter_mut().flatten().zip(mean.into_iter().flatten()).for_each(|(b, mean)| *b -= mean);
}

/// What a weight adds is the same at every position: one period of it for each ciphertext that is made.
fn without_masks(linear: &Linear, plan: &Plan, id: usize, scales: &[f64]) -> Vec<Vec<f64>> {
    let Plan { circuit, packing, gains, diagonals, .. } = plan;
    let value = &circuit.values[id];
    let encoder = Encoder::new(packing.period(value).ilog2() + 1);
    let mut errors: BTreeMap<(u32, u32, i64), Vec<f64>> = BTreeMap::new();
    for parts in linear.weights() {
        let parts: Vec<&Diagonal> = parts.iter().collect();
        // What cannot be encoded is refused when the program is loaded.
        let rounded = rounded_weight(&encoder, &linear.plan, (&parts, &[]), scales[parts[0].input as usize]);
        for (d, rounded) in parts.iter().zip(rounded.into_iter().flatten()) {
            let error = rounded.iter().zip(&d.values).map(|(r, w)| r - f64::from(*w)).collect();
            let rotation = linear.plan.giant(d) + linear.plan.babies[usize::from(d.baby)];
            errors.insert((d.output, d.input, packing.canonical(rotation)), error);
        }
    }
    let none = || vec![0.0; linear.period];
    let of = |(output, input, r): &(usize, usize, Rotation)| {
        errors.remove(&(*output as u32, *input as u32, packing.canonical(r.rows + r.rest))).unwrap_or_else(none)
    };
    let errors: Vec<Vec<f64>> = diagonals[id].keys().map(of).collect();
    precision::mean_error(circuit, &**packing, value, &diagonals[id], &errors, gains)
}

/// A weight with a mask is another polynomial, whose coefficients are rounded each: it adds something else at every
/// position. That is linear in the coefficients' errors. So those of all weights that make a ciphertext are added up,
/// each times the mean of the channel that it multiplies, and turned into slots at once.
fn by_position(linear: &Linear, plan: &Plan, id: usize, scales: &[f64]) -> Vec<Vec<f64>> {
    let Plan { circuit, packing, gains, .. } = plan;
    let value = &circuit.values[id];
    let period = linear.plaintext_period();
    let encoder = Encoder::new(period.ilog2() + 1);
    // With masks there is a channel a ciphertext, and members are channels.
    let means: Vec<f64> = operands(value).iter().flat_map(|source| gains[*source].means.concat()).collect();
    let mut units: BTreeMap<(Option<u16>, i64), Vec<f64>> = BTreeMap::new();
    let mut sums: BTreeMap<(u32, i64), Vec<f64>> = BTreeMap::new();
    for d in &linear.diagonals {
        let (giant, input) = (linear.plan.giant(d), d.input as usize);
        let unit = units.entry((d.mask, giant)).or_insert_with(|| {
            let one = Diagonal { values: vec![1.0], ..d.clone() };
            let slots: Vec<_> = one.rotated_plaintext(&linear.plan, &linear.masks).map(Into::into).collect();
            encoder.embed(&slots)
        });
        let (scale, mean) = (scales[input], means.get(input).copied().unwrap_or(0.0));
        let weight = scale * d.values.first().map_or(0.0, |w| f64::from(*w));
        let sum = sums.entry((d.output, giant)).or_insert_with(|| vec![0.0; unit.len()]);
        for (sum, unit) in sum.iter_mut().zip(&*unit) {
            let exact = weight * unit;
            *sum += (exact.round() - exact) * mean / scale;
        }
    }
    // 1 where there are biases: elsewhere nothing is read.
    let mut out = packing.bias(value, &Affine::new(Vec::new(), vec![1.0; value.channels]), true);
    let mut found: Vec<Vec<f64>> = out.iter().map(|own| vec![0.0; own.len()]).collect();
    for ((output, giant), sum) in sums {
        let slots = encoder.slots_of(&sum);
        for (q, found) in found[output as usize].iter_mut().enumerate() {
            let read = (q as i64 + giant).rem_euclid(period as i64);
            // A logit is rotated to its place from the mean at position 0; what is elsewhere has no known mean.
            if !value.logits || read == 0 {
                *found += slots[read as usize].re;
            }
        }
    }
    out.iter_mut().flatten().zip(found.iter().flatten()).for_each(|(own, found)| *own *= found);
    out
}
