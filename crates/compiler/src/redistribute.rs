//! Weight redistribution: every quadratic becomes a bare square (paper, "weight redistribution").
//!
//! Completing the square, `a x^2 + b x + c = sgn(a) z^2 + k` with `z = sqrt|a| x + sgn(a) b / (2 sqrt|a|)` and
//! `k = c - b^2 / (4a)`. `z` is what the affine map before computes once its rows are scaled; `sgn(a)` and `k` go into
//! whatever reads the activation. Through convolutions with circular padding constants pass as they are; where there is
//! zero padding, less of them at the border ([`Affine::border`]).

use crate::circuit::{Affine, Circuit, Kernel, Operation, Term, Value, ValueId};
use crate::error::CompileError;

/// Quadratics closer to a line than this cannot be completed to a square with any precision.
const SMALLEST_LEADING: f64 = 1e-6;

/// Turns every polynomial into a bare square.
///
/// # Errors
/// [`CompileError::Leading`] for a quadratic without a quadratic term.
pub fn redistribute(circuit: &mut Circuit) -> Result<(), CompileError> {
    // Values appended meanwhile are affine.
    for id in 0..circuit.values.len() {
        let Operation::Polynomial(source, coefficients) = circuit.values[id].operation.clone() else { continue };
        if let Some((channel, a)) =
            coefficients.iter().map(|c| c[2]).enumerate().find(|(_, a)| a.abs() < SMALLEST_LEADING)
        {
            return Err(CompileError::Leading { node: circuit.values[id].nodes.join(" + "), channel, found: a });
        }
        // Reads the coefficients again: reinterpreting the source changes them.
        let source = prepare(circuit, id, source, &coefficients);
        let Operation::Polynomial(_, coefficients) = circuit.values[id].operation.clone() else { continue };
        circuit.values[id].operation = Operation::Square(source);
        let (signs, constants): (Vec<f64>, Vec<f64>) = coefficients.iter().map(|c| (c[2].signum(), c[0])).unzip();
        circuit.reinterpret(id, &signs, &constants);
    }
    circuit.sort();
    Ok(())
}

/// Makes polynomial `id` one of the form `sgn z^2 + k` and returns `z`.
fn prepare(circuit: &mut Circuit, id: ValueId, source: ValueId, coefficients: &[[f64; 3]]) -> ValueId {
    let factor: Vec<f64> = coefficients.iter().map(|[_, _, a]| a.abs().sqrt()).collect();
    let shift: Vec<f64> = coefficients.iter().zip(&factor).map(|([_, b, a], f)| a.signum() * b / (2.0 * f)).collect();
    let close = |x: f64, y: f64| (x - y).abs() < 1e-12;
    if factor.iter().all(|f| close(*f, 1.0)) && shift.iter().all(|s| close(*s, 0.0)) {
        return source;
    }
    let squared = circuit.values.iter().any(|v| v.operation == Operation::Square(source));
    let foldable =
        !squared && circuit.output != source && matches!(circuit.values[source].operation, Operation::Affine(_));
    // Where the source cannot change, a map of its own.
    let z = if foldable {
        source
    } else {
        let kernel = Kernel::Diagonal(vec![1.0; factor.len()]);
        let identity = Affine::new(vec![Term { source, kernel }], vec![0.0; factor.len()]);
        let value = Value { operation: Operation::Affine(identity), ..circuit.values[source].clone() };
        let z = circuit.push(Value { nodes: circuit.values[id].nodes.clone(), ..value });
        if let Operation::Polynomial(read, _) = &mut circuit.values[id].operation {
            *read = z;
        }
        z
    };
    let value = &mut circuit.values[z];
    if let Operation::Affine(affine) = &mut value.operation {
        affine.rescale(&factor, &shift);
    }
    let inverse: Vec<f64> = factor.iter().map(|f| 1.0 / f).collect();
    let offset: Vec<f64> = factor.iter().zip(&shift).map(|(f, s)| -s / f).collect();
    circuit.reinterpret(z, &inverse, &offset);
    z
}

/// What is done without the pass: a square, then an affine map with the coefficients, at a level of its own.
pub fn evaluate_directly(circuit: &mut Circuit) {
    for id in 0..circuit.values.len() {
        let Operation::Polynomial(source, coefficients) = circuit.values[id].operation.clone() else { continue };
        let square = Value { operation: Operation::Square(source), ..circuit.values[id].clone() };
        let square = circuit.push(square);
        let coefficient = |i: usize| coefficients.iter().map(|c| c[i]).collect::<Vec<f64>>();
        let terms = vec![
            Term { source: square, kernel: Kernel::Diagonal(coefficient(2)) },
            Term { source, kernel: Kernel::Diagonal(coefficient(1)) },
        ];
        circuit.values[id].operation = Operation::Affine(Affine::new(terms, coefficient(0)));
    }
    circuit.sort();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TAPS, affine, circuit, dense, diagonal, image, input, logits, plane, random, ring};

    fn same(before: &Circuit, after: &Circuit) {
        for seed in 0..3 {
            let image = image(before, seed);
            let (a, b) = (logits(before, &image), logits(after, &image));
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-12), "{a:?} {b:?}");
        }
    }

    /// A convolution, quadratics with another coefficient each channel, a convolution.
    fn network(coefficients: Vec<[f64; 3]>) -> Circuit {
        circuit(
            2,
            4,
            vec![
                ring(1, 4, input(1)),
                ring(2, 4, affine(vec![dense(0, 1, &[0, 1], 1, vec![1.0, 2.0, 3.0, 4.0])], &[0.5, 0.25])),
                ring(2, 4, Operation::Polynomial(1, coefficients)),
                ring(1, 4, affine(vec![dense(2, 1, &[-1, 0], 2, vec![1.0, 2.0, 3.0, 4.0])], &[10.0])),
            ],
        )
    }

    #[test]
    fn quadratics_become_bare_squares() {
        // 1 + 2 x + x^2 = (x + 1)^2, and 3 + 8 x - 4 x^2 = 7 - (2 x - 2)^2.
        let before = network(vec![[1.0, 2.0, 1.0], [3.0, 8.0, -4.0]]);
        let mut after = before.clone();
        redistribute(&mut after).unwrap();
        let expected = [
            input(1),
            affine(vec![dense(0, 1, &[0, 1], 1, vec![1.0, 2.0, 6.0, 8.0])], &[1.5, -1.5]),
            Operation::Square(1),
            // The second channel is subtracted, and 7 of it added under each tap.
            affine(vec![dense(2, 1, &[-1, 0], 2, vec![1.0, 2.0, -3.0, -4.0])], &[10.0 + 7.0 * (3.0 + 4.0)]),
        ];
        assert!(after.values.iter().map(|value| &value.operation).eq(&expected), "{after}");
        same(&before, &after);
    }

    #[test]
    fn what_cannot_change_is_copied() {
        // The image, a value with two quadratics, one of these read by another quadratic; a bare square stays.
        let quadratic = |source, seed| Operation::Polynomial(source, vec![[random(1, seed)[0], 0.5, 0.25]; 2]);
        let before = circuit(
            2,
            4,
            vec![
                ring(2, 4, input(2)),
                ring(2, 4, quadratic(0, 1)),
                ring(2, 4, affine(vec![dense(1, 1, &[0, 1], 2, random(8, 2))], &random(2, 3))),
                ring(2, 4, quadratic(2, 4)),
                ring(2, 4, quadratic(3, 5)),
                ring(2, 4, Operation::Polynomial(2, vec![[0.0, 0.0, 1.0]; 2])),
                ring(2, 4, affine(vec![diagonal(4, &[1.0, 2.0]), diagonal(5, &[1.0, 1.0])], &[0.0, 0.0])),
            ],
        );
        let mut after = before.clone();
        redistribute(&mut after).unwrap();
        assert!(!after.values.iter().any(|value| matches!(value.operation, Operation::Polynomial(..))));
        assert_eq!(after.values.iter().filter(|value| matches!(value.operation, Operation::Square(_))).count(), 4);
        same(&before, &after);
    }

    #[test]
    fn constants_behind_zero_padding_are_less_at_the_border() {
        let before = circuit(
            4,
            8,
            vec![
                plane(1, [2, 2], 1, input(1)),
                plane(1, [2, 2], 1, affine(vec![dense(0, 1, &[-1, 0, 1], 1, random(3, 1))], &[0.5])),
                plane(1, [2, 2], 1, Operation::Polynomial(1, vec![[0.3, 0.5, -0.25]])),
                plane(1, [2, 2], 1, affine(vec![dense(2, 1, &TAPS, 1, random(9, 2))], &[0.0])),
            ],
        );
        let mut after = before.clone();
        redistribute(&mut after).unwrap();
        let Operation::Affine(last) = &after.values[3].operation else { panic!() };
        assert!(last.border.is_some());
        same(&before, &after);
    }

    #[test]
    fn without_the_pass_coefficients_are_a_map() {
        let before = network(vec![[1.0, 2.0, 1.0], [3.0, 8.0, -4.0]]);
        let mut after = before.clone();
        evaluate_directly(&mut after);
        assert_eq!(after.values[2].operation, Operation::Square(1));
        assert_eq!(
            after.values[3].operation,
            affine(vec![diagonal(2, &[1.0, -4.0]), diagonal(1, &[2.0, 8.0])], &[1.0, 3.0])
        );
        same(&before, &after);
        // A line, too.
        let mut line = network(vec![[1.0, 2.0, 0.0], [3.0, 8.0, -4.0]]);
        let mut direct = line.clone();
        evaluate_directly(&mut direct);
        same(&line, &direct);
        assert_eq!(redistribute(&mut line), Err(CompileError::Leading { node: "c".into(), channel: 0, found: 0.0 }));
    }
}
