//! Node fusing: batch norm into convolution, the residual addition into the convolution before it, the divisor of
//! average pooling into the linear layer (paper, "node fusing").
//!
//! In a circuit all of these are one rule: an affine map of an affine map is one affine map, where the composition does
//! not mix taps. The positions that 2 x 2 pooling on the ring leaves out are left out by the convolution after it.

use crate::circuit::{Affine, Circuit, Kernel, Operation, Term, ValueId};

/// Composes affine maps until none reads another that it could absorb.
pub fn fuse(circuit: &mut Circuit) {
    for id in 0..circuit.values.len() {
        // Sources come before readers and have been fused themselves; each round absorbs one of them.
        while let Some((term, inner)) = absorbable(circuit, id) {
            absorb(circuit, id, term, inner);
        }
    }
    circuit.sort();
}

fn affine(circuit: &Circuit, id: ValueId) -> Option<&Affine> {
    match &circuit.values[id].operation {
        Operation::Affine(affine) => Some(affine),
        _ => None,
    }
}

fn is_diagonal(kernel: &Kernel) -> bool {
    matches!(kernel, Kernel::Diagonal(_))
}

/// Whether a kernel after `inner` has no more taps than by itself.
fn composable(outer: &Kernel, inner: &Kernel, ring: bool) -> bool {
    is_diagonal(inner) || (ring && outer.stride() == 1 && !is_diagonal(outer) && inner.thinning().is_some())
}

/// A term of `id` that reads an affine map and can be composed with it.
fn absorbable(circuit: &Circuit, id: ValueId) -> Option<(usize, ValueId)> {
    let readers = circuit.readers();
    let ring = circuit.values[id].plane.is_none();
    affine(circuit, id)?.terms.iter().enumerate().find_map(|(i, term)| {
        let inner = affine(circuit, term.source)?;
        // A convolution of a border would read its padding, which has none.
        let cheap = inner.border.is_none() && inner.terms.iter().all(|t| composable(&term.kernel, &t.kernel, ring));
        // Convolutions are not repeated for every reader: their result is kept instead.
        let once = readers[term.source] == 1 && is_diagonal(&term.kernel);
        (cheap || once).then_some((i, term.source))
    })
}

fn absorb(circuit: &mut Circuit, id: ValueId, index: usize, inner: ValueId) {
    let Some(inner_affine) = affine(circuit, inner).cloned() else { return };
    let (names, read, grid) = (circuit.values[inner].nodes.clone(), circuit.values[inner].plane, circuit.grid);
    let value = &mut circuit.values[id];
    let Operation::Affine(outer) = &mut value.operation else { return };
    let term = outer.terms.remove(index);
    outer.add_response(grid.response(&term.kernel, &inner_affine.bias, value.plane.as_ref().zip(read.as_ref())));
    if let (Some(mut border), Kernel::Diagonal(factors)) = (inner_affine.border, &term.kernel) {
        border.iter_mut().zip(factors).for_each(|(plane, f)| plane.iter_mut().for_each(|b| *b *= f));
        outer.add_response((Vec::new(), Some(border)));
    }
    let composed =
        inner_affine.terms.into_iter().map(|t| Term { source: t.source, kernel: compose(&term.kernel, t.kernel) });
    outer.terms.splice(index..index, composed);
    value.nodes.splice(0..0, names);
    let mut seen = std::collections::HashSet::new();
    value.nodes.retain(|name| seen.insert(name.clone()));
}

/// `outer` after `inner`: one of them is a diagonal, or `inner` leaves positions out.
fn compose(outer: &Kernel, mut inner: Kernel) -> Kernel {
    match (outer, &inner) {
        (Kernel::Diagonal(factors), _) => {
            inner.scale_rows(factors);
            inner
        }
        (_, Kernel::Diagonal(factors)) => {
            let mut composed = outer.clone();
            composed.scale_columns(factors);
            composed
        }
        (Kernel::Dense { taps, inputs, weights, .. }, _) => {
            let taps = taps.iter().map(|t| 2 * t).collect();
            let mut composed = Kernel::Dense { stride: 2, taps, inputs: *inputs, weights: weights.clone() };
            // `absorbable` offers no other pairs.
            composed.scale_columns(&inner.thinning().unwrap_or_default());
            composed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circuit::Value;
    use crate::testing::{affine, circuit, dense, diagonal, image, input, logits, plane, random, ring};

    /// Both compute the same.
    fn same(before: &Circuit, after: &Circuit) {
        for seed in 0..3 {
            let image = image(before, seed);
            let (a, b) = (logits(before, &image), logits(after, &image));
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-12), "{a:?} {b:?}");
        }
    }

    #[test]
    fn norms_sums_and_means_become_part_of_maps_beside_them() {
        // A convolution, a batch norm, a square; a convolution added to the square; a mean, a linear layer.
        let before = circuit(
            2,
            4,
            vec![
                ring(1, 4, input(1)),
                ring(2, 4, affine(vec![dense(0, 1, &[0, 1], 1, vec![1.0, 2.0, 3.0, 4.0])], &[1.0, 0.0])),
                ring(2, 4, affine(vec![diagonal(1, &[2.0, -1.0])], &[0.5, 0.25])),
                ring(2, 4, Operation::Square(2)),
                ring(2, 4, affine(vec![dense(3, 1, &[-1], 2, vec![1.0, 0.0, 0.0, 1.0])], &[0.0, 0.0])),
                ring(2, 4, affine(vec![diagonal(4, &[1.0, 1.0]), diagonal(3, &[1.0, 1.0])], &[0.0, 0.0])),
                ring(2, 4, Operation::Square(5)),
                Value { pooled: true, ..ring(2, 4, Operation::Sum(6, [1, 4])) },
                Value { pooled: true, ..ring(2, 4, affine(vec![diagonal(7, &[0.25, 0.25])], &[0.0, 0.0])) },
                Value { pooled: true, ..ring(1, 4, affine(vec![dense(8, 1, &[0], 2, vec![4.0, 8.0])], &[1.0])) },
            ],
        );
        let mut after = before.clone();
        fuse(&mut after);
        assert_eq!(
            after.to_string(),
            "7 values on 4 positions, 2 a row; the output is %6\n\
             %0  1 x 4                input(0)                                        a\n\
             %1  2 x 4                affine(%0 by 2 taps 0 1, 4 weights) + 2.5 0.25  b + c\n\
             %2  2 x 4                square(%1)                                      d\n\
             %3  2 x 4                affine(%2 by 1 tap -1, 2 weights; %2 by 1)      e + f\n\
             %4  2 x 4                square(%3)                                      g\n\
             %5  2 x 4 pooled         sum(%4 over 1x4)                                h\n\
             %6  1 x 4 pooled logits  affine(%5 by 1 tap 0, 2 weights) + 1            i + j\n"
        );
        let Operation::Affine(first) = &after.values[1].operation else { panic!() };
        // Twice the first row, minus the second.
        assert_eq!(first.terms, [dense(0, 1, &[0, 1], 1, vec![2.0, 4.0, -3.0, -4.0])]);
        let Operation::Affine(last) = &after.values[6].operation else { panic!() };
        assert_eq!(last.terms, [dense(5, 1, &[0], 2, vec![1.0, 2.0])]);
        same(&before, &after);
    }

    #[test]
    fn convolutions_leave_out_the_positions_that_pools_do() {
        let before = circuit(
            2,
            8,
            vec![
                ring(1, 8, input(1)),
                ring(1, 8, Operation::Sum(0, [2, 2])),
                ring(1, 4, affine(vec![Term { source: 1, kernel: Kernel::thin(&[0.25]) }], &[0.0])),
                ring(1, 4, affine(vec![dense(2, 1, &[-1, 0, 1], 1, vec![4.0, 8.0, 12.0])], &[0.0])),
            ],
        );
        let mut after = before.clone();
        fuse(&mut after);
        assert_eq!(after.values.len(), 3);
        assert_eq!(after.values[2].operation, affine(vec![dense(1, 2, &[-2, 0, 2], 1, vec![1.0, 2.0, 3.0])], &[0.0]));
        same(&before, &after);
    }

    #[test]
    fn convolutions_are_kept_apart() {
        // Two convolutions; and one that two read, of which one is diagonal.
        let before = circuit(
            2,
            4,
            vec![
                ring(1, 4, input(1)),
                ring(1, 4, affine(vec![dense(0, 1, &[0, 1], 1, random(2, 1))], &[1.0])),
                ring(1, 4, affine(vec![dense(1, 1, &[-1, 0], 1, random(2, 2)), diagonal(1, &[1.0])], &[0.0])),
            ],
        );
        let mut after = before.clone();
        fuse(&mut after);
        assert_eq!(before, after);
    }

    #[test]
    fn a_bias_behind_zero_padding_is_less_at_the_border() {
        let before = circuit(
            4,
            8,
            vec![
                plane(1, [2, 2], 1, input(1)),
                plane(1, [2, 2], 1, affine(vec![diagonal(0, &[2.0])], &[1.0])),
                plane(1, [2, 2], 1, affine(vec![dense(1, 1, &[-1, 0, 1], 1, vec![1.0, 10.0, 100.0])], &[0.0])),
            ],
        );
        let mut after = before.clone();
        fuse(&mut after);
        assert_eq!(after.values.len(), 2);
        let Operation::Affine(affine) = &after.values[1].operation else { panic!() };
        assert_eq!(affine.terms, [dense(0, 1, &[-1, 0, 1], 1, vec![2.0, 20.0, 200.0])]);
        // The first column reads nothing to its left, the second nothing to its right; beside the image nothing is
        // read.
        let row = [-1.0, -100.0, -111.0, -111.0];
        assert_eq!((&affine.bias, &affine.border), (&vec![111.0], &Some(vec![[row, row].concat()])));
        same(&before, &after);
    }
}
