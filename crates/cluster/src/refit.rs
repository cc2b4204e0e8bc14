//! Codewords for what inputs weigh, not for weights alone.
//!
//! With the index map given, the error that [`super::compensate`] makes small is quadratic in the codewords `c`:
//!
//! ```text
//! sum over layers and rows of s^2 (w - S c)' H (w - S c),      S: from codewords to the weights of a row, s: its scale
//! ```
//!
//! Its minimum solves `(sum s^2 S' H S) c = sum s^2 S' H w`, which conjugate gradients do without ever making that
//! matrix: `H` times a layer's weights is one matrix product. Codewords that no weight uses stay as they are. Where
//! biases share codewords with weights, nothing is fitted.

use ndarray::Array2;
use rayon::prelude::*;

use crate::Codes;

/// Steps of conjugate gradients: each costs a product, and the first few lower the error most.
const STEPS: usize = 30;
/// Of the first squared residual: where steps end.
const SMALLEST_RESIDUAL: f64 = 1e-12;

/// A layer of one member.
pub(super) struct Rows<'a> {
    /// Row by row, `n` weights each; rows that do not count are zero.
    pub wanted: &'a [f64],
    /// Of each row: what its codewords are multiplied by, and so its errors.
    pub scales: &'a [f64],
    /// `H`, `[n, n]`.
    pub second: &'a Array2<f64>,
    /// Position of each weight's codeword among all of them; `None` in rows that do not count.
    pub places: Vec<Option<usize>>,
}

/// The places of a layer's weights where codebooks stand one after the other; none in rows of factor 0.
pub(super) fn places(codes: &Codes, layer: usize, books: &[Vec<f64>], factors: &[f64]) -> Vec<Option<usize>> {
    let start = |book: u32| books[..book as usize].iter().map(Vec::len).sum::<usize>();
    let (columns, index) = &codes.layers[layer];
    let starts: Vec<usize> = columns.iter().map(|&book| start(book)).collect();
    let rows = index.chunks_exact((index.len() / factors.len().max(1)).max(1));
    rows.zip(factors)
        .flat_map(|(row, &factor)| {
            let places = row.iter().zip(starts.iter().cycle());
            places.map(move |(&code, start)| (factor != 0.0).then_some(start + code as usize))
        })
        .collect()
}

/// Moves the codewords of one member towards the minimum.
pub(super) fn refit(layers: &[Rows<'_>], books: &mut [Vec<f64>]) {
    let mut codewords: Vec<f64> = books.concat();
    let count = codewords.len();
    // S' H times what the closure makes of a weight as wanted and of its codeword's place.
    let gradient = |of: &(dyn Fn(f64, Option<usize>) -> f64 + Sync)| -> Vec<f64> {
        let product = |rows: &Rows<'_>| {
            let n = rows.second.nrows();
            let at =
                |(r, i): (usize, usize)| rows.scales[r].powi(2) * of(rows.wanted[r * n + i], rows.places[r * n + i]);
            Array2::from_shape_fn((rows.wanted.len() / n, n), at).dot(rows.second)
        };
        let products: Vec<Array2<f64>> = layers.par_iter().map(product).collect();
        let mut sums = vec![0.0; count];
        for (rows, product) in layers.iter().zip(&products) {
            for (place, value) in rows.places.iter().zip(product) {
                place.iter().for_each(|&place| sums[place] += value);
            }
        }
        sums
    };
    let mut diagonal = vec![0.0; count];
    for rows in layers {
        let n = rows.second.nrows();
        for (i, place) in rows.places.iter().enumerate() {
            place.iter().for_each(|&place| diagonal[place] += rows.scales[i / n].powi(2) * rows.second[[i % n, i % n]]);
        }
    }
    let precondition = |residual: &[f64]| -> Vec<f64> {
        residual.iter().zip(&diagonal).map(|(r, d)| if *d > 0.0 { r / d } else { 0.0 }).collect()
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut residual = gradient(&|wanted, place| place.map_or(0.0, |place| wanted - codewords[place]));
    let mut scaled = precondition(&residual);
    let mut direction = scaled.clone();
    let mut size = dot(&residual, &scaled);
    let least = SMALLEST_RESIDUAL * size;
    for _ in 0..STEPS {
        let image = gradient(&|_, place| place.map_or(0.0, |place| direction[place]));
        let curvature = dot(&direction, &image);
        // Also where there is nothing to do, or values are not finite.
        if !(curvature > 0.0 && size > least) {
            break;
        }
        let step = size / curvature;
        codewords.iter_mut().zip(&direction).for_each(|(c, d)| *c += step * d);
        residual.iter_mut().zip(&image).for_each(|(r, i)| *r -= step * i);
        scaled = precondition(&residual);
        let next = dot(&residual, &scaled);
        direction.iter_mut().zip(&scaled).for_each(|(d, s)| *d = s + next / size * *d);
        size = next;
    }
    let mut codewords = codewords.into_iter();
    books.iter_mut().flatten().for_each(|value| *value = codewords.next().unwrap_or(*value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::{DMatrix, DVector};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Two layers that share the codewords of two books; the first row of the second layer does not count.
    #[test]
    fn codewords_solve_the_normal_equations() {
        let mut rng = ChaCha8Rng::seed_from_u64(rand::random());
        let mut books = vec![vec![0.3, -0.2, 0.9], vec![0.1, 7.0]];
        let total = 5;
        let matrix = |rows: usize, columns: usize, rng: &mut ChaCha8Rng| {
            Array2::from_shape_fn((rows, columns), |_| rng.random_range(-1.0..1.0))
        };
        let shapes = [(6, 4), (5, 8)];
        let seconds: Vec<Array2<f64>> = shapes
            .iter()
            .map(|&(_, n)| {
                let mixing = matrix(n, n, &mut rng);
                mixing.dot(&mixing.t()) + Array2::<f64>::eye(n)
            })
            .collect();
        // The last codeword is used by nothing.
        let layers: Vec<(Vec<u32>, Vec<u32>)> = shapes
            .iter()
            .map(|&(rows, n)| {
                // Each of the first three at least once.
                let code = |i: usize, rng: &mut ChaCha8Rng| match i {
                    8 | 10 | 12 => (i as u32 - 8) / 2,
                    _ if i.is_multiple_of(2) => rng.random_range(0..3),
                    _ => 0,
                };
                (vec![0, 1], (0..rows * n).map(|i| code(i, &mut rng)).collect())
            })
            .collect();
        let codes = Codes { layers, biases: Vec::new() };
        let factors = [vec![1.0; 6], vec![0.0, 2.0, 1.0, 1.0, 1.0]];
        let scales = [vec![1.0, 0.5, 2.0, 1.0, 1.5, 0.25], vec![1.0, 3.0, 1.0, 0.5, 1.0]];
        let wanted: Vec<Vec<f64>> =
            shapes.iter().map(|&(rows, n)| matrix(rows, n, &mut rng).into_iter().collect()).collect();
        let rows: Vec<Rows<'_>> = (0..2)
            .map(|layer| Rows {
                wanted: &wanted[layer],
                scales: &scales[layer],
                second: &seconds[layer],
                places: places(&codes, layer, &books, &factors[layer]),
            })
            .collect();
        let mut left = DMatrix::<f64>::zeros(total, total);
        let mut right = DVector::<f64>::zeros(total);
        for Rows { wanted, scales, second, places } in &rows {
            let n = second.nrows();
            for ((row, wanted), scale) in places.chunks_exact(n).zip(wanted.chunks_exact(n)).zip(*scales) {
                for (i, &a) in row.iter().enumerate() {
                    for (j, &b) in row.iter().enumerate() {
                        if let (Some(a), Some(b)) = (a, b) {
                            left[(a, b)] += scale * scale * second[[i, j]];
                            right[a] += scale * scale * second[[i, j]] * wanted[j];
                        }
                    }
                }
            }
        }
        left[(4, 4)] = 1.0;
        right[4] = 7.0;
        let solved = left.lu().solve(&right).expect("every other codeword is used");
        refit(&rows, &mut books);
        for (found, expected) in books.iter().flatten().zip(solved.iter()) {
            assert!((found - expected).abs() < 1e-6, "{books:?}, expected {solved}");
        }
    }
}
