//! Node fusing: batch norm into convolution, the residual addition into the convolution before it, the divisor of average
//! pooling into the linear layer (paper, "node fusing").
//!
//! In a circuit all of these are one rule: an affine map of an affine map is one affine map, where the composition does not
//! mix taps. The positions that 2 x 2 pooling on the ring leaves out are left out by the convolution after it.

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
