//! Weight redistribution: every quadratic becomes a bare square (paper, "weight redistribution").
//!
//! Completing the square, `a x^2 + b x + c = sgn(a) z^2 + k` with `z = sqrt|a| x + sgn(a) b / (2 sqrt|a|)` and
//! `k = c - b^2 / (4a)`. `z` is what the affine map before computes once its rows are scaled; `sgn(a)` and `k` go into whatever
//! reads the activation. Through cyclic convolutions constants pass as they are; where there is zero padding, less of them at the
//! border ([`Affine::border`]).

use crate::CompileError;
use crate::circuit::{Affine, Circuit, Kernel, Operation, Term, Value, ValueId};

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
