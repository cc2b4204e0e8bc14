//! What clustering gains and costs.

use std::collections::HashSet;

use serde::Serialize;

use crate::{Codebooks, LayerCodes, scale};
use umbra_model::Graph;

/// One convolution. Errors are of the weights as they are multiplied, batch norms fused in.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LayerReport {
    /// Its node.
    pub node: String,
    /// Number of weights.
    pub weights: usize,
    /// Distinct codewords that they are.
    pub codewords: usize,
    /// Mean squared error.
    pub mean_squared_error: f64,
    /// Root of the squared error over the squared weights.
    pub relative_error: f64,
    /// Multiplications an output position without clustering: weights that are not zero.
    pub multiplications_before: usize,
    /// Multiplications an output position where inputs are added first: distinct codewords of each output channel, zero
    /// apart.
    pub multiplications_after: usize,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ClusterReport {
    /// Number of codebooks.
    pub codebooks: usize,
    /// Codewords in all of them.
    pub codewords: usize,
    /// Over the weights of all convolutions.
    pub mean_squared_error: f64,
    /// Over the weights of all convolutions.
    pub relative_error: f64,
    /// Over the biases of all convolutions, zero where they are kept.
    pub bias_mean_squared_error: f64,
    /// Sum over the convolutions of multiplications an output position. Where each channel is a ciphertext of its own,
    /// this is the number of multiplications of ciphertexts by weights.
    pub multiplications_before: usize,
    /// The same where inputs that share a codeword are added first.
    pub multiplications_after: usize,
    /// Each convolution.
    pub layers: Vec<LayerReport>,
}

/// Squared error, squared values, number of values.
#[derive(Clone, Copy, Default)]
struct Sums([f64; 3]);

impl Sums {
    fn of(before: &[f64], after: &[f64]) -> Self {
        let each = before.iter().zip(after);
        Self(each.fold([0.0; 3], |[e, s, n], (b, a)| [e + (b - a).powi(2), s + b * b, n + 1.0]))
    }

    fn add(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a += b);
    }

    fn mean(self) -> f64 {
        self.0[0] / self.0[2].max(1.0)
    }

    fn relative(self) -> f64 {
        if self.0[1] > 0.0 { (self.0[0] / self.0[1]).sqrt() } else { 0.0 }
    }
}

/// Compares a network with its clustered self.
pub(super) fn report(before: &Graph, after: &Graph, codebooks: &Codebooks) -> ClusterReport {
    let (mut total, mut biases) = (Sums::default(), Sums::default());
    let mut layers = Vec::new();
    // Clustering changes no factors.
    for (layer, codes) in scale::layers(before).iter().zip(codebooks.layers()) {
        let weights = layer.weights(before);
        let sums = Sums::of(&weights, &layer.weights(after));
        total.add(sums);
        let used = used(codes, codebooks);
        layers.push(LayerReport {
            node: codes.node.clone(),
            weights: weights.len(),
            codewords: used.iter().flatten().collect::<HashSet<_>>().len(),
            mean_squared_error: sums.mean(),
            relative_error: sums.relative(),
            multiplications_before: weights.iter().filter(|w| **w != 0.0).count(),
            multiplications_after: used.iter().map(HashSet::len).sum(),
        });
    }
    for codes in codebooks.biases() {
        if let Some(id) = before.find(&codes.node) {
            biases.add(Sums::of(&scale::biases(before, id), &scale::biases(after, id)));
        }
    }
    let sum = |f: fn(&LayerReport) -> usize| layers.iter().map(f).sum();
    ClusterReport {
        codebooks: codebooks.books().len(),
        codewords: codebooks.books().iter().map(Vec::len).sum(),
        mean_squared_error: total.mean(),
        relative_error: total.relative(),
        bias_mean_squared_error: biases.mean(),
        multiplications_before: sum(|l| l.multiplications_before),
        multiplications_after: sum(|l| l.multiplications_after),
        layers,
    }
}

/// The codebooks and codewords that each output channel multiplies by.
fn used(codes: &LayerCodes, codebooks: &Codebooks) -> Vec<HashSet<(u32, u32)>> {
    let row = codes.index.len() / codes.factors.len().max(1);
    let rows = codes.index.chunks_exact(row.max(1)).zip(&codes.factors);
    rows.map(|(row, &factor)| {
        let pairs = row.iter().zip(codes.codebooks.iter().cycle());
        pairs
            .filter(|&(&code, &book)| factor != 0.0 && codebooks.books()[book as usize][code as usize] != 0.0)
            .map(|(&code, &book)| (book, code))
            .collect()
    })
    .collect()
}
