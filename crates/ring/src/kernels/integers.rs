//! Matrices of small integers, the same modulo every prime: sums of products without a reduction.
//!
//! Residues are below `2^30`. Where the weights of a row add up to no more than [`MAX_WEIGHTS`] in absolute value, a
//! sum of products is within `2^52` of zero, however many there are: one reduction at the end will do, and the low 52
//! bits that a processor with 52-bit products keeps tell the sum.

use crate::modulus::Modulus;

/// What the weights of a row may add up to, in absolute value.
pub const MAX_WEIGHTS: u64 = 1 << 22;

/// Rows whose weights lie together.
pub(super) const ROWS: usize = 8;

/// A matrix of integers that multiplies residues of any modulus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntegerMatrix {
    rows: usize,
    columns: usize,
    /// Eight rows at a time, for each column their weights; zero in rows that do not exist. Words of 64 bits, as
    /// products take them.
    pub(super) weights: Vec<i64>,
    /// Of each row the sum of the negative weights, its sign dropped; for rows that do not exist too.
    pub(super) negative: Vec<i64>,
}

impl IntegerMatrix {
    /// From weights row by row; `None` where a row exceeds [`MAX_WEIGHTS`].
    ///
    /// # Panics
    /// When there are not `rows * columns` weights.
    pub fn new(rows: usize, columns: usize, weights: &[i32]) -> Option<Self> {
        assert_eq!(weights.len(), rows * columns, "weights of a matrix");
        let padded = rows.next_multiple_of(ROWS);
        let mut out = Self { rows, columns, weights: vec![0; padded * columns], negative: vec![0; padded] };
        for r in 0..rows {
            let row = &weights[r * columns..(r + 1) * columns];
            if row.iter().map(|w| u64::from(w.unsigned_abs())).sum::<u64>() > MAX_WEIGHTS {
                return None;
            }
            out.negative[r] = row.iter().map(|&w| -i64::from(w.min(0))).sum();
            for (c, &w) in row.iter().enumerate() {
                out.weights[(r / ROWS * columns + c) * ROWS + r % ROWS] = w.into();
            }
        }
        Some(out)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes of the weights.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.weights[..])
    }

    /// The weight in a row and a column, both of which must exist.
    pub(super) fn weight(&self, row: usize, column: usize) -> i64 {
        self.weights[(row / ROWS * self.columns + column) * ROWS + row % ROWS]
    }
}

/// The reference.
pub(super) fn multiply_integers(m: &Modulus, matrix: &IntegerMatrix, inputs: &[&[u32]], outputs: &mut [&mut [u32]]) {
    for (r, out) in outputs.iter_mut().enumerate() {
        for (i, out) in out.iter_mut().enumerate() {
            let sum: i64 = inputs.iter().enumerate().map(|(c, x)| matrix.weight(r, c) * i64::from(x[i])).sum();
            *out = m.reduce_i64(sum);
        }
    }
}
