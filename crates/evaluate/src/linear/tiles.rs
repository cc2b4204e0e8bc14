//! Where the weights of a linear transform lie: rows that read the same inputs share a matrix.

use umbra_ckks::{Diagonal, Matrices, linear::Row};

/// The matrix of the rows that read the same inputs: what is zero for a whole input is left out.
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

/// One a group of rows that read the same inputs.
pub(crate) fn tiles(matrices: &Matrices) -> Vec<Tile> {
    let inputs = matrices.rotated_inputs();
    let mut start = 0;
    (matrices.groups())
        .map(|(read, rows)| {
            let columns = (0..inputs.len()).filter(|&c| read.contains(&inputs[c].0)).collect();
            let tile = Tile { start, rows: rows.to_vec(), columns };
            start += tile.entries();
            tile
        })
        .collect()
}

/// Where the weights of these diagonals are among the entries of `tiles`, those of `matrices`.
pub(crate) fn places(matrices: &Matrices, tiles: &[Tile], diagonals: &[Diagonal]) -> Vec<usize> {
    // Of each row its tile, and where its entries start.
    let mut starts = vec![(0, 0); matrices.rows()];
    for (number, tile) in tiles.iter().enumerate() {
        for (i, &row) in tile.rows.iter().enumerate() {
            starts[row] = (number, tile.start + i * tile.columns.len());
        }
    }
    let place = |d: &Diagonal| {
        let row = matrices.sums().binary_search(&Row::from(d)).ok()?;
        let column = matrices.rotated_inputs().binary_search(&(d.input, d.baby)).ok()?;
        let (tile, start) = starts[row];
        Some(start + tiles.get(tile)?.columns.binary_search(&column).ok()?)
    };
    // All are there, as the matrices were made from these diagonals.
    diagonals.iter().map(|d| place(d).unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};
    use umbra_ckks::Bsgs;

    use super::*;

    /// Every weight has a place of its own, in the tile that has its row and its column.
    #[test]
    fn places_are_those_of_rows_and_columns() {
        let mut rng = StdRng::seed_from_u64(3);
        let plan = Bsgs { babies: vec![0, 1, 2], inner: vec![5, 0], outer: vec![0, 9], imaginary_steps: None };
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
            let tiles = tiles(&matrices);
            apart += tiles.len() - 1;
            assert_eq!(Tile::entries_of(&tiles), matrices.entries());
            let at = |place: usize| {
                let tile = tiles.iter().find(|t| (t.start..t.start + t.entries()).contains(&place)).expect("a tile");
                let (i, j) = ((place - tile.start) / tile.columns.len(), (place - tile.start) % tile.columns.len());
                (matrices.sums()[tile.rows[i]], matrices.rotated_inputs()[tile.columns[j]])
            };
            for (d, place) in diagonals.iter().zip(places(&matrices, &tiles, &diagonals)) {
                assert_eq!(at(place), (Row::from(d), (d.input, d.baby)));
            }
        }
        assert!(apart > 0, "some have several tiles");
    }
}
