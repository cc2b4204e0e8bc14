//! A linear transform on slots as matrix products.
//!
//! Weights repeat with a period C, so slot `p C + c` of a result is a sum over `j = c + r` of `w_r[c] x[p C + j]`: row `p` of a matrix
//! of inputs, whose columns are the offsets `j`, times one matrix of weights for all `p`. A convolution's rotations are a few ranges,
//! which cover few more offsets than there are rotations.

use std::collections::BTreeMap;
use std::ops::Range;

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, Axis, Slice};
use umbra_ckks::Diagonal;
use umbra_compiler::Linear;

/// Matrices may have this many times as many products as the transform.
const WASTE: usize = 3;
/// Numbers in a block of the matrix of inputs: it stays in a core's cache.
const BLOCK: usize = 1 << 15;

/// The weights of one transform.
#[derive(Debug)]
pub(crate) struct Dense {
    /// `[columns, outputs * period]`.
    weights: Array2<f64>,
    /// Input ciphertexts and their neighbouring offsets, in the order of the columns.
    runs: Vec<(usize, Range<i64>)>,
    period: usize,
}

impl Dense {
    /// `None` where rotations are so far apart that matrices would be mostly zeros. `weights`: of each diagonal one period.
    pub fn new(linear: &Linear, weights: &[Vec<f64>], slots: usize) -> Option<Self> {
        let period = linear.period;
        if weights.len() != linear.diagonals.len() || weights.iter().any(|w| w.len() != period) {
            return None;
        }
        let rotation = |d: &Diagonal| {
            let r = (linear.plan.giant(d) + linear.plan.babies[d.baby as usize]).rem_euclid(slots as i64);
            if r > slots as i64 / 2 { r - slots as i64 } else { r }
        };
        let mut columns: BTreeMap<(usize, i64), usize> = BTreeMap::new();
        for d in &linear.diagonals {
            let r = rotation(d);
            columns.extend((r..r + period as i64).map(|j| ((d.input as usize, j), 0)));
        }
        if columns.len() * linear.outputs() > WASTE * linear.diagonals.len() {
            return None;
        }
        columns.values_mut().enumerate().for_each(|(column, at)| *at = column);
        let mut matrix = Array2::zeros((columns.len(), linear.outputs() * period));
        for (d, w) in linear.diagonals.iter().zip(weights) {
            let r = rotation(d);
            for (c, w) in w.iter().enumerate() {
                matrix[[columns[&(d.input as usize, r + c as i64)], d.output as usize * period + c]] += w;
            }
        }
        let mut runs: Vec<(usize, Range<i64>)> = Vec::new();
        for &(input, j) in columns.keys() {
            match runs.last_mut() {
                Some((last, range)) if *last == input && range.end == j => range.end += 1,
                _ => runs.push((input, j..j + 1)),
            }
        }
        Some(Self { weights: matrix, runs, period })
    }

    /// Adds the transform of `inputs` to `out`. Inputs are given twice, one copy after the other.
    pub fn apply(&self, inputs: &[Vec<f64>], out: &mut [Vec<f64>]) {
        let (slots, columns) = (out.first().map_or(0, Vec::len), self.weights.nrows());
        let rows = (BLOCK / columns.max(1)).clamp(1, slots / self.period);
        let mut block = Vec::with_capacity(rows * columns);
        let mut results = Array2::zeros((rows, self.weights.ncols()));
        for first in (0..slots / self.period).step_by(rows) {
            let count = rows.min(slots / self.period - first);
            block.clear();
            for p in first..first + count {
                for (input, range) in &self.runs {
                    let start = ((p * self.period) as i64 + range.start).rem_euclid(slots as i64) as usize;
                    block.extend_from_slice(&inputs[*input][start..start + range.clone().count()]);
                }
            }
            let Ok(matrix) = ArrayView2::from_shape((count, columns), &block) else { return };
            let mut results = results.slice_axis_mut(Axis(0), Slice::from(..count));
            general_mat_mul(1.0, &matrix, &self.weights, 0.0, &mut results);
            for (row, p) in results.rows().into_iter().zip(first..) {
                for (out, values) in out.iter_mut().zip(row.exact_chunks(self.period)) {
                    out[p * self.period..][..self.period].iter_mut().zip(values).for_each(|(y, v)| *y += v);
                }
            }
        }
    }
}
