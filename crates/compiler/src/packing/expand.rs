//! Input expansion: the client fills unused channel slots with shifted copies of the image, so that the first
//! convolutions rotate less.

use std::collections::BTreeSet;

use super::questions::Packing;
use crate::circuit::{Circuit, Kernel, Operation};

/// Expands the input: channel `(colour, e)` holds the colour's plane moved by `e`; a tap `t` becomes `t - e` on it.
/// Returns the shifts.
///
/// Shifts along the columns of the widest kernel that reads the image are used, where they fit into the ciphertexts
/// that the image needs anyway: with one channel per ciphertext there is no room, and nothing changes.
pub fn expand_input(circuit: &mut Circuit, packing: &dyn Packing) -> Vec<i64> {
    let Some(input) = circuit.values.iter().position(|v| matches!(v.operation, Operation::Input(_))) else {
        return vec![0];
    };
    let grid = circuit.grid;
    let column = |tap: i64| grid.split(tap).1;
    let mut shifts = BTreeSet::from([0]);
    for value in &circuit.values {
        match &value.operation {
            Operation::Affine(affine) => {
                for term in affine.terms.iter().filter(|t| t.source == input) {
                    if let Kernel::Dense { taps, .. } = &term.kernel {
                        shifts.extend(taps.iter().map(|&t| column(t)));
                    }
                }
            }
            // Its readers count on the channels that there are.
            operation if operation.sources().contains(&input) => return vec![0],
            _ => {}
        }
    }
    let value = &circuit.values[input];
    let capacity = packing.ciphertexts(value) * packing.capacity(value);
    if shifts.len() == 1 || value.channels * shifts.len() > capacity {
        return vec![0];
    }
    // 0 first: diagonal terms read the unmoved planes.
    let mut shifts: Vec<i64> = shifts.into_iter().collect();
    shifts.sort_by_key(|s| (*s != 0, *s));
    let colours = value.channels;
    for value in &mut circuit.values {
        let Operation::Affine(affine) = &mut value.operation else { continue };
        for term in affine.terms.iter_mut().filter(|t| t.source == input) {
            expand_kernel(&mut term.kernel, colours, &shifts, column);
        }
    }
    let value = &mut circuit.values[input];
    value.channels = colours * shifts.len();
    value.operation = Operation::Input(shifts.iter().flat_map(|&e| (0..colours).map(move |c| (c, e))).collect());
    shifts
}

fn expand_kernel(kernel: &mut Kernel, colours: usize, shifts: &[i64], column: impl Fn(i64) -> i64) {
    match kernel {
        Kernel::Diagonal(factors) => {
            // A map from more channels than it has outputs is no diagonal any more.
            let outputs = factors.len();
            let inputs = colours * shifts.len();
            let mut weights = vec![0.0; outputs * inputs];
            factors.iter().enumerate().for_each(|(c, f)| weights[c * inputs + c] = *f);
            *kernel = Kernel::Dense { stride: 1, taps: vec![0], inputs, weights };
        }
        Kernel::Dense { taps, inputs, weights, .. } => {
            let rows: Vec<i64> = taps.iter().map(|&t| t - column(t)).collect::<BTreeSet<_>>().into_iter().collect();
            let outputs = weights.len() / (taps.len() * *inputs);
            let (wide, height) = (colours * shifts.len(), rows.len());
            let mut expanded = vec![0.0; outputs * wide * height];
            for (i, &weight) in weights.iter().enumerate() {
                let (tap, ci, co) = (taps[i % taps.len()], i / taps.len() % *inputs, i / (taps.len() * *inputs));
                let shift = shifts.iter().position(|&e| e == column(tap));
                let row = rows.iter().position(|&r| r == tap - column(tap));
                if let (Some(shift), Some(row)) = (shift, row) {
                    expanded[(co * wide + shift * colours + ci) * height + row] += weight;
                }
            }
            (*taps, *inputs, *weights) = (rows, wide, expanded);
        }
    }
}
