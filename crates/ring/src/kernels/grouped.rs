//! Matrices of few distinct integers: inputs that share a weight are added first, and their sum is multiplied.
//!
//! Words of 32 bits hold sums of four residues. So a weight is multiplied once for each [`GROUP`] columns that share
//! it: a sum of any length would be 64 bits wide, and adding one of those to another costs what a product costs.

use std::collections::BTreeMap;

use super::integers::MAX_WEIGHTS;
use crate::modulus::Modulus;

/// Most columns that are added before they are multiplied: as many residues below `2^30` fit into a word.
pub const GROUP: usize = 4;

/// A matrix of integers that multiplies residues of any modulus, by the weights of each row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupedMatrix {
    columns: usize,
    pub(super) rows: Vec<GroupedRow>,
    /// The weight of each group, row by row.
    pub(super) weights: Vec<i64>,
    /// The columns of each group: where their lines of [`LINE`] words begin, in bytes.
    pub(super) offsets: Vec<u32>,
}

/// What a row has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupedRow {
    /// Groups of four columns, of three, of two and of one, in this order.
    pub(super) groups: [u32; GROUP],
    /// Sum of all weights, and of the negative ones, their sign dropped.
    pub(super) sum: i64,
    pub(super) negative: i64,
}

/// Words of an input that are multiplied at a time: those of all inputs are to fit into the first-level cache.
pub(super) const LINE: usize = 16;

impl GroupedMatrix {
    /// From weights row by row, zeros left out; `None` where a row exceeds [`MAX_WEIGHTS`], or there are more than
    /// `2^25` columns.
    ///
    /// # Panics
    /// When there are not `rows * columns` weights.
    pub fn new(rows: usize, columns: usize, weights: &[i32]) -> Option<Self> {
        assert_eq!(weights.len(), rows * columns, "weights of a matrix");
        if columns > 1 << 25 {
            return None;
        }
        let mut out = Self { columns, rows: Vec::with_capacity(rows), weights: Vec::new(), offsets: Vec::new() };
        for r in 0..rows {
            let mut sharing: BTreeMap<i32, Vec<u32>> = BTreeMap::new();
            for (&w, column) in weights[r * columns..(r + 1) * columns].iter().zip(0u32..) {
                if w != 0 {
                    sharing.entry(w).or_default().push(column * 4 * LINE as u32);
                }
            }
            let total = |f: fn(i64) -> i64| sharing.iter().map(|(&w, c)| f(w.into()) * c.len() as i64).sum::<i64>();
            if total(i64::abs) as u64 > MAX_WEIGHTS {
                return None;
            }
            let mut row = GroupedRow { groups: [0; GROUP], sum: total(|w| w), negative: total(|w| -w.min(0)) };
            for (count, size) in row.groups.iter_mut().zip((1..=GROUP).rev()) {
                for (&w, columns) in &sharing {
                    for group in columns.chunks(GROUP).filter(|g| g.len() == size) {
                        out.weights.push(w.into());
                        out.offsets.extend(group);
                        *count += 1;
                    }
                }
            }
            out.rows.push(row);
        }
        Some(out)
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Number of products: groups of columns.
    pub fn products(&self) -> usize {
        self.weights.len()
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.weights[..]) + size_of_val(&self.offsets[..]) + size_of_val(&self.rows[..])
    }
}

/// The reference.
pub(super) fn multiply_grouped(m: &Modulus, matrix: &GroupedMatrix, inputs: &[&[u32]], outputs: &mut [&mut [u32]]) {
    let (mut weights, mut offsets) = (&matrix.weights[..], &matrix.offsets[..]);
    for (row, out) in matrix.rows.iter().zip(outputs) {
        let mut sums = vec![0i64; out.len()];
        for (&count, size) in row.groups.iter().zip((1..=GROUP).rev()) {
            for _ in 0..count {
                let (group, others) = offsets.split_at(size);
                let columns = || group.iter().map(|&offset| inputs[offset as usize / (4 * LINE)]);
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum += weights[0] * i64::from(columns().map(|x| x[i]).sum::<u32>());
                }
                (weights, offsets) = (&weights[1..], others);
            }
        }
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = m.reduce_i64(sum));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_grouped_by_weight() {
        // Seven columns of weight 3, two of -1, one of 5; a row of zeros.
        let row = [3, 3, -1, 3, 0, 3, 5, 3, -1, 3, 3];
        let matrix = GroupedMatrix::new(2, row.len(), &[row, [0; 11]].concat()).unwrap();
        assert_eq!((matrix.columns(), matrix.products()), (11, 4));
        assert_eq!(
            matrix.rows.iter().map(|r| (r.groups, r.sum, r.negative)).collect::<Vec<_>>(),
            [([1, 1, 1, 1], 24, 2), ([0; 4], 0, 0)]
        );
    }
}
