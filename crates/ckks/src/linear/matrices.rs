//! How the weights of a linear transform lie in matrices.

use std::collections::{BTreeMap, BTreeSet};

use super::spec::{Bsgs, Diagonal};

/// A sum under construction: the terms of one output that still have these giants to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Output ciphertext.
    pub output: u32,
    /// Index into [`Bsgs::outer`].
    pub outer: u16,
    /// Index into [`Bsgs::inner`].
    pub inner: u16,
}

impl From<&Diagonal> for Row {
    fn from(d: &Diagonal) -> Self {
        Self { output: d.output, outer: d.outer, inner: d.inner }
    }
}

/// The sizes of a transform's matrices, which follow from its diagonals before a weight is encoded. Takes no more
/// memory than these.
#[derive(Debug)]
pub struct Matrices {
    rows: Vec<Row>,
    columns: Vec<(u32, u16)>,
    /// The rows that read the same inputs.
    groups: BTreeMap<BTreeSet<u32>, Vec<usize>>,
    /// Columns of each input.
    widths: BTreeMap<u32, usize>,
}

impl Matrices {
    /// Those of a transform with so many outputs, whose diagonals have rotations in `plan`.
    #[must_use]
    pub fn of(outputs: usize, plan: &Bsgs, diagonals: &[Diagonal]) -> Self {
        let (inner, outer) = plan.zero_giants();
        let mut rows: Vec<Row> = (0..outputs as u32).map(|output| Row { output, outer, inner }).collect();
        for d in diagonals {
            // The second is what giants' results are added to.
            rows.extend([Row::from(d), Row { inner, ..Row::from(d) }]);
        }
        let mut columns: Vec<(u32, u16)> = diagonals.iter().map(|d| (d.input, d.baby)).collect();
        rows.sort_unstable();
        rows.dedup();
        columns.sort_unstable();
        columns.dedup();
        let mut widths: BTreeMap<u32, usize> = BTreeMap::new();
        columns.iter().for_each(|(input, _)| *widths.entry(*input).or_default() += 1);
        let mut inputs = vec![BTreeSet::new(); rows.len()];
        for d in diagonals {
            if let Ok(row) = rows.binary_search(&Row::from(d)) {
                inputs[row].insert(d.input);
            }
        }
        let mut groups: BTreeMap<BTreeSet<u32>, Vec<usize>> = BTreeMap::new();
        for (row, inputs) in inputs.into_iter().enumerate() {
            groups.entry(inputs).or_default().push(row);
        }
        let mut matrices = Self { rows, columns, groups, widths };
        let apart: usize =
            matrices.groups.iter().map(|(read, rows)| matrices.width(read) * matrix_cost(rows.len())).sum();
        // All in one where that is cheaper, as it is where each row has an input of its own.
        if apart >= matrices.columns() * matrix_cost(matrices.rows()) {
            let all = matrices.widths.keys().copied().collect();
            matrices.groups = BTreeMap::from([(all, (0..matrices.rows()).collect())]);
        }
        matrices
    }

    /// Number of sums under construction.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Number of rotated inputs.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// The sums under construction, sorted.
    #[must_use]
    pub fn sums(&self) -> &[Row] {
        &self.rows
    }

    /// The rotated inputs, sorted: input ciphertext, index into [`Bsgs::babies`].
    #[must_use]
    pub fn rotated_inputs(&self) -> &[(u32, u16)] {
        &self.columns
    }

    /// Input ciphertexts, and the rows that have a matrix over their rotations; every row is in one group.
    pub fn groups(&self) -> impl Iterator<Item = (&BTreeSet<u32>, &[usize])> {
        self.groups.iter().map(|(read, rows)| (read, &rows[..]))
    }

    /// Weights and the zeros between them: a row has entries for all rotations of each input that its matrix reads.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.groups.iter().map(|(read, rows)| self.width(read) * rows.len()).sum()
    }

    fn width(&self, inputs: &BTreeSet<u32>) -> usize {
        inputs.iter().filter_map(|input| self.widths.get(input)).sum()
    }
}

/// What a matrix costs for each column: rows are multiplied eight, four, two or one at a time, and each time the column
/// is loaded.
fn matrix_cost(rows: usize) -> usize {
    rows + rows / 8 + (rows % 8).count_ones() as usize
}
