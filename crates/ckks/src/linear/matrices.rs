//! How the weights of a linear transform lie in matrices.

use super::{Bsgs, Diagonal};
use std::collections::{BTreeMap, BTreeSet};

/// A sum under construction: the terms of one output that still have these giants to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) output: u32,
    pub(crate) outer: u16,
    pub(crate) inner: u16,
}

impl From<&Diagonal> for Row {
    fn from(d: &Diagonal) -> Self {
        Self { output: d.output, outer: d.outer, inner: d.inner }
    }
}

/// A matrix of weights.
#[derive(Debug)]
pub(crate) struct Tile {
    pub(crate) rows: Vec<usize>,
    /// Ascending.
    pub(crate) columns: Vec<usize>,
    /// Where its matrix starts among those of all tiles.
    pub(crate) start: usize,
}

impl Tile {
    pub(crate) fn entries(&self) -> usize {
        self.rows.len() * self.columns.len()
    }

    /// Entries of the matrices of all tiles together.
    pub(crate) fn entries_of(tiles: &[Self]) -> usize {
        tiles.iter().map(Self::entries).sum()
    }
}

/// The sizes of a transform's matrices, which follow from its diagonals before a weight is encoded. Takes no more memory than these.
#[derive(Debug)]
pub struct Matrices {
    /// Sorted.
    pub(crate) rows: Vec<Row>,
    /// (input, baby) of each rotated input, sorted.
    pub(crate) columns: Vec<(u32, u16)>,
    /// The rows that read the same inputs.
    groups: BTreeMap<BTreeSet<u32>, Vec<usize>>,
    /// Columns of each input.
    widths: BTreeMap<u32, usize>,
}

impl Matrices {
    /// Those of a transform with so many outputs, whose diagonals have rotations in `plan`.
    #[must_use]
    pub fn of(outputs: usize, plan: &Bsgs, diagonals: &[Diagonal]) -> Self {
        let (inner, outer) = (index_of_zero(&plan.inner), index_of_zero(&plan.outer));
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
            matrices.groups.iter().map(|(read, rows)| matrices.width(read) * tile_cost(rows.len())).sum();
        // All in one where that is cheaper, as it is where each row has an input of its own.
        if apart >= matrices.columns() * tile_cost(matrices.rows()) {
            let all = matrices.widths.keys().copied().collect();
            matrices.groups = BTreeMap::from([(all, (0..matrices.rows()).collect())]);
        }
        matrices
    }

    /// Sums under construction.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Rotated inputs.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Weights and the zeros between them: a row has entries for all rotations of each input that its matrix reads.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.groups.iter().map(|(read, rows)| self.width(read) * rows.len()).sum()
    }

    fn width(&self, inputs: &BTreeSet<u32>) -> usize {
        inputs.iter().filter_map(|input| self.widths.get(input)).sum()
    }

    /// One a group: what is zero for a whole input is left out.
    pub(crate) fn tiles(&self) -> Vec<Tile> {
        let mut start = 0;
        (self.groups.iter())
            .map(|(read, rows)| {
                let columns = (0..self.columns.len()).filter(|&c| read.contains(&self.columns[c].0)).collect();
                let tile = Tile { start, rows: rows.clone(), columns };
                start += tile.entries();
                tile
            })
            .collect()
    }

    /// Where the weights of these diagonals are among the entries of `tiles`, which are those of [`Self::tiles`].
    pub(crate) fn places(&self, tiles: &[Tile], diagonals: &[Diagonal]) -> Vec<usize> {
        // Of each row its tile, and where its entries start.
        let mut starts = vec![(0, 0); self.rows.len()];
        for (number, tile) in tiles.iter().enumerate() {
            for (i, &row) in tile.rows.iter().enumerate() {
                starts[row] = (number, tile.start + i * tile.columns.len());
            }
        }
        let place = |d: &Diagonal| {
            let row = self.rows.binary_search(&Row::from(d)).ok()?;
            let column = self.columns.binary_search(&(d.input, d.baby)).ok()?;
            let (tile, start) = starts[row];
            Some(start + tiles.get(tile)?.columns.binary_search(&column).ok()?)
        };
        // All are there, as the lists were made from these diagonals.
        diagonals.iter().map(|d| place(d).unwrap_or(0)).collect()
    }
}

pub(crate) fn index_of_zero(list: &[i64]) -> u16 {
    list.iter().position(|&x| x == 0).unwrap_or(0) as u16
}

/// What a tile costs for each column: rows are multiplied eight, four, two or one at a time, and each time the column is loaded.
fn tile_cost(rows: usize) -> usize {
    rows + rows / 8 + (rows % 8).count_ones() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    /// Every weight has a place of its own, in the tile that has its row and its column.
    #[test]
    fn places_are_those_of_rows_and_columns() {
        let mut rng = StdRng::seed_from_u64(3);
        let plan = Bsgs { babies: vec![0, 1, 2], inner: vec![5, 0], outer: vec![0, 9], pair: None };
        let mut apart = 0;
        for density in [2, 8, 40] {
            let mut diagonals = Vec::new();
            for i in 0..4 * 2 * 2 * 5 * 3u32 {
                let (output, outer, inner) = (i % 4, (i / 4 % 2) as u16, (i / 8 % 2) as u16);
                let (input, baby) = (i / 16 % 5, (i / 80) as u16);
                // Some outputs read few inputs.
                if rng.random_range(0..density) < 2 && input <= 2 * output {
                    let values = vec![1.0];
                    diagonals.push(Diagonal {
                        output,
                        outer,
                        inner,
                        input,
                        baby,
                        values,
                        mask: None,
                        imaginary: false,
                    });
                }
            }
            let matrices = Matrices::of(4, &plan, &diagonals);
            let tiles = matrices.tiles();
            apart += tiles.len() - 1;
            assert_eq!(Tile::entries_of(&tiles), matrices.entries());
            let at = |place: usize| {
                let tile = tiles.iter().find(|t| (t.start..t.start + t.entries()).contains(&place)).expect("a tile");
                let (i, j) = ((place - tile.start) / tile.columns.len(), (place - tile.start) % tile.columns.len());
                (matrices.rows[tile.rows[i]], matrices.columns[tile.columns[j]])
            };
            for (d, place) in diagonals.iter().zip(matrices.places(&tiles, &diagonals)) {
                assert_eq!(at(place), (Row::from(d), (d.input, d.baby)));
            }
        }
        assert!(apart > 0, "some have several tiles");
    }
}
