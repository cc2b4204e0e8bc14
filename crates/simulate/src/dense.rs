//! A linear transform on slots as matrix products.
//!
//! Weights repeat with a period C, so slot `p C + c` of a result is a sum over `j = c + r` of `w_r[c] x[p C + j]`: row
//! `p` of a matrix of inputs, whose columns are the offsets `j`, times one matrix of weights for all `p`. A
//! convolution's rotations in multiplexed packing are a few ranges, which cover few more offsets than there are
//! rotations. With one channel per ciphertext rotations are multiples of C: every `c` is computed apart, with a matrix
//! of weights of its own.

use std::collections::BTreeMap;
use std::ops::Range;

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, Axis, ShapeBuilder, Slice};
use umbra_ckks::Diagonal;
use umbra_program::Linear;

/// Matrices may have this many times as many products as the transform.
const WASTE: usize = 3;
/// Numbers in a block of the matrix of inputs: it stays in a core's cache.
const BLOCK: usize = 1 << 15;

/// The weights of one transform.
#[derive(Debug)]
pub(crate) struct Dense {
    period: usize,
    /// Neighbouring slots that one matrix computes: a period, or one.
    width: usize,
    /// First slot in the period, and weights `[columns, outputs * width]`.
    groups: Vec<(usize, Array2<f64>)>,
    /// Input ciphertexts and their neighbouring offsets from a group's first slot, in the order of the columns.
    runs: Vec<(usize, Range<i64>)>,
}

impl Dense {
    /// `None` where matrices would be mostly zeros. `weights`: of each diagonal one period.
    pub fn new(linear: &Linear, weights: &[Vec<f64>], slots: usize) -> Option<Self> {
        let period = linear.period;
        let (count, outputs) = (linear.diagonals.len(), linear.outputs());
        // With a period below the number of slots, a run fits into an input that is given twice, wherever it begins.
        if weights.len() != count || weights.iter().any(|w| w.len() != period) || period >= slots {
            return None;
        }
        let rotation = |d: &Diagonal| {
            let r = (linear.plan.giant(d) + linear.plan.babies[d.baby as usize]).rem_euclid(slots as i64);
            if r > slots as i64 / 2 { r - slots as i64 } else { r }
        };
        let apart = linear.diagonals.iter().all(|d| rotation(d) % period as i64 == 0);
        let width = if apart { 1 } else { period };
        if width * outputs > WASTE * count {
            return None;
        }
        let mut columns: BTreeMap<(usize, i64), usize> = BTreeMap::new();
        for d in &linear.diagonals {
            let r = rotation(d);
            columns.extend((r..r + width as i64).map(|j| ((d.input as usize, j), 0)));
        }
        if columns.len() * outputs > WASTE * count {
            return None;
        }
        columns.values_mut().enumerate().for_each(|(column, at)| *at = column);
        let group = |first: usize| {
            let mut matrix = Array2::zeros((columns.len(), outputs * width));
            for (d, w) in linear.diagonals.iter().zip(weights) {
                for (c, w) in w[first..first + width].iter().enumerate() {
                    let column = columns[&(d.input as usize, rotation(d) + c as i64)];
                    matrix[[column, d.output as usize * width + c]] += w;
                }
            }
            (first, matrix)
        };
        let groups = (0..period).step_by(width).map(group).collect();
        let mut runs: Vec<(usize, Range<i64>)> = Vec::new();
        for &(input, j) in columns.keys() {
            match runs.last_mut() {
                Some((last, range)) if *last == input && range.end == j => range.end += 1,
                _ => runs.push((input, j..j + 1)),
            }
        }
        Some(Self { period, width, groups, runs })
    }

    /// Adds the transform of `inputs` to `out`. Inputs are given twice, one copy after the other.
    pub fn apply(&self, inputs: &[Vec<f64>], out: &mut [Vec<f64>]) {
        let slots = out.first().map_or(0, Vec::len);
        let positions = slots / self.period;
        for (first_slot, weights) in &self.groups {
            let columns = weights.nrows();
            let rows = (BLOCK / columns.max(1)).clamp(1, positions);
            let mut block = Vec::with_capacity(rows * columns);
            let mut results = Array2::zeros((rows, weights.ncols()));
            for first in (0..positions).step_by(rows) {
                let range = first..positions.min(first + rows);
                self.gather(inputs, *first_slot, range.clone(), slots, &mut block);
                let shape = (range.len(), columns);
                let matrix = if self.width == 1 {
                    ArrayView2::from_shape(shape.f(), &block)
                } else {
                    ArrayView2::from_shape(shape, &block)
                };
                let Ok(matrix) = matrix else { return };
                let mut results = results.slice_axis_mut(Axis(0), Slice::from(..range.len()));
                general_mat_mul(1.0, &matrix, weights, 0.0, &mut results);
                for (row, p) in results.rows().into_iter().zip(range) {
                    for (out, values) in out.iter_mut().zip(row.exact_chunks(self.width)) {
                        let out = &mut out[p * self.period + first_slot..][..self.width];
                        out.iter_mut().zip(values).for_each(|(y, v)| *y += v);
                    }
                }
            }
        }
    }

    /// The inputs' rows of some positions: column by column where a column's slots are a period apart, row by row where
    /// a row's are neighbours.
    fn gather(
        &self,
        inputs: &[Vec<f64>],
        first_slot: usize,
        positions: Range<usize>,
        slots: usize,
        block: &mut Vec<f64>,
    ) {
        block.clear();
        let slot = |p: usize, j: i64| ((p * self.period + first_slot) as i64 + j).rem_euclid(slots as i64) as usize;
        if self.width == 1 {
            for (input, range) in &self.runs {
                for j in range.clone() {
                    let from = &inputs[*input][slot(positions.start, j)..];
                    block.extend(from.iter().step_by(self.period).take(positions.len()));
                }
            }
            return;
        }
        for p in positions {
            for (input, range) in &self.runs {
                let start = slot(p, range.start);
                block.extend_from_slice(&inputs[*input][start..start + range.clone().count()]);
            }
        }
    }
}
