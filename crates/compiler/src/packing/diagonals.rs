//! Affine maps as periodic diagonals.

use super::questions::{Diagonals, Memo, Packing, Product, Reading, Weight, operands, sources};
use crate::circuit::{Affine, Circuit, Kernel, Operation, Value, ValueId};

/// The diagonals of every value of a circuit and of the other members of its ensemble; those of values that are not
/// affine are empty.
#[must_use]
pub fn diagonals(packing: &dyn Packing, circuit: &Circuit) -> Vec<Diagonals> {
    (0..circuit.values.len()).map(|id| of_value(packing, circuit, id)).collect()
}

/// The diagonals of one value.
fn of_value(packing: &dyn Packing, circuit: &Circuit, id: ValueId) -> Diagonals {
    let mut out = Diagonals::new();
    let mut memo = Memo::default();
    for (member, circuit) in circuit.members().enumerate() {
        let value = &circuit.values[id];
        let Operation::Affine(affine) = &value.operation else { continue };
        add(packing, (circuit, value, affine), member, (&mut memo, &mut out));
    }
    out
}

/// Adds the weights of one member.
fn add(
    packing: &dyn Packing,
    (circuit, value, affine): (&Circuit, &Value, &Affine),
    member: usize,
    (memo, out): (&mut Memo, &mut Diagonals),
) {
    let (capacity, period) = (packing.capacity(value), packing.period(value));
    // Input ciphertexts are counted over the distinct sources.
    let mut first = 0;
    for source in sources(affine) {
        let read = &circuit.values[source];
        let capacity_in = packing.capacity(read);
        for term in affine.terms.iter().filter(|t| t.source == source) {
            each_weight(&term.kernel, |(output, input), tap, weight| {
                if weight == 0.0 {
                    return;
                }
                let Some(rotation) = packing.rotation(&Weight { value, read, member, output, input, tap }, memo) else {
                    return;
                };
                let place = (output / capacity, first + input / capacity_in, rotation);
                let values = out.entry(place).or_insert_with(|| vec![0.0; period]);
                packing.visit_slots(value, member, output, &mut |slot| values[slot] += weight);
            });
        }
        first += packing.ciphertexts(read);
    }
}

/// Visits channels (made, read), tap and weight.
fn each_weight(kernel: &Kernel, mut visit: impl FnMut((usize, usize), i64, f64)) {
    match kernel {
        Kernel::Diagonal(factors) => factors.iter().enumerate().for_each(|(c, &factor)| visit((c, c), 0, factor)),
        Kernel::Dense { taps, inputs, weights, .. } => {
            let mut weights = weights.iter();
            for co in 0..weights.len() / (taps.len() * inputs) {
                for ci in 0..*inputs {
                    for (&tap, &weight) in taps.iter().zip(weights.by_ref()) {
                        visit((co, ci), tap, weight);
                    }
                }
            }
        }
    }
}

/// Visits what the weights of a value's diagonals multiply, also where a weight is 0: rounding noise is everywhere in a
/// diagonal. The diagonal is given by its number, the value that is read by its place among [`operands`].
pub fn each_product(
    packing: &dyn Packing,
    circuit: &Circuit,
    value: &Value,
    diagonals: &Diagonals,
    mut visit: impl FnMut(usize, usize, Product),
) {
    // Ciphertext of the operands to (operand, value, index in it).
    let ciphertexts: Vec<(usize, ValueId, usize)> = (operands(value).into_iter().enumerate())
        .flat_map(|(operand, s)| (0..packing.ciphertexts(&circuit.values[s])).map(move |i| (operand, s, i)))
        .collect();
    for (diagonal, (output, input, rotation)) in diagonals.keys().enumerate() {
        let Some(&(operand, source, input)) = ciphertexts.get(*input) else { continue };
        let read = &circuit.values[source];
        let reading = Reading { value, read, output: *output, input, rotation: *rotation };
        packing.visit_products(&reading, &mut |product| visit(diagonal, operand, product));
    }
}
