//! What the inputs of a convolution look like, in the network as clustered so far and in the network as it was. Letters
//! are those of [`super::compensate`].

use nalgebra::{Cholesky, DMatrix, Dyn};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, Axis, Slice};
use rayon::prelude::*;

/// Of the mean variance, added to each: few images say little about directions in which they hardly vary.
pub(super) const DAMPING: f64 = 0.01;

/// Rows of a matrix of moments that a thread computes at a time.
const ROWS: usize = 64;

/// Images whose inputs are unfolded at a time.
const IMAGES: usize = 16;

/// Of the inputs of a row.
pub(super) struct Moments {
    /// Of `x`, and of `x0`.
    pub means: [Vec<f64>; 2],
    /// `H`, damped.
    pub second: Array2<f64>,
    /// `D`.
    drift: Array2<f64>,
    /// Of `H` in reverse order of rows and columns, where `Q` is the ordinary, lower triangular factor.
    cholesky: Cholesky<f64, Dyn>,
    /// Row `i` of `Q'`, `i + 1` values, one after the other.
    factors: Vec<f64>,
}

impl Moments {
    /// Of what `unfold` makes of each image's inputs of a convolution, now and in the network as it was: of a row's
    /// inputs, each at all `positions`. About the means if `centred`. `None` where they are no finite numbers.
    pub fn measured(
        images: [&[Vec<f64>]; 2],
        positions: usize,
        unfold: impl Fn(&Vec<f64>) -> Vec<f64> + Sync,
        centred: bool,
    ) -> Option<Self> {
        let [now, before] = images;
        let count = (positions * now.len()) as f64;
        // Products in single precision take half the time, and are most of it.
        let matrix = |x: &Vec<f64>| {
            let columns: Vec<f32> = unfold(x).into_iter().map(|v| v as f32).collect();
            // A whole number of rows, so that there is a matrix.
            Array2::from_shape_vec((columns.len() / positions, positions), columns).unwrap_or_default()
        };
        let n = unfold(&now[0]).len() / positions;
        let mut means = [vec![0.0; n], vec![0.0; n]];
        let mut seconds = [Array2::<f32>::zeros((n, n)), Array2::zeros((n, n))];
        // Image by image: the result does not depend on the number of threads.
        for (now, before) in now.chunks(IMAGES).zip(before.chunks(IMAGES)) {
            let columns = [now, before].map(|x| x.par_iter().map(matrix).collect::<Vec<Array2<f32>>>());
            for ((means, second), left) in means.iter_mut().zip(&mut seconds).zip(&columns) {
                means.par_iter_mut().enumerate().for_each(|(row, mean)| {
                    *mean += left.iter().flat_map(|c| c.row(row)).map(|&v| f64::from(v)).sum::<f64>() / count;
                });
                second.axis_chunks_iter_mut(Axis(0), ROWS).enumerate().par_bridge().for_each(
                    |(chunk, mut products)| {
                        let rows = Slice::from(chunk * ROWS..chunk * ROWS + products.nrows());
                        for (left, right) in left.iter().zip(&columns[0]) {
                            let left = left.slice_axis(Axis(0), rows);
                            general_mat_mul(1.0 / count as f32, &left, &right.t(), 1.0, &mut products);
                        }
                    },
                );
            }
        }
        let mut seconds = seconds.map(|second| second.mapv(f64::from));
        if centred {
            for (second, left) in seconds.iter_mut().zip(&means) {
                for ((i, j), v) in second.indexed_iter_mut() {
                    *v -= left[i] * means[0][j];
                }
            }
        }
        let [second, crossed] = seconds;
        Self::new(means, second, crossed)
    }

    /// Of `x x'` and `x0 x'`; `None` where they are no finite numbers.
    pub fn new(means: [Vec<f64>; 2], mut second: Array2<f64>, crossed: Array2<f64>) -> Option<Self> {
        let n = second.nrows();
        let drift = crossed - &second;
        let mean = second.diag().sum() / n as f64;
        let damping = if mean > 0.0 { DAMPING * mean } else { 1.0 };
        second.diag_mut().mapv_inplace(|v| v + damping);
        let cholesky = DMatrix::from_fn(n, n, |i, j| second[[n - 1 - i, n - 1 - j]]).cholesky()?;
        let lower = cholesky.l_dirty();
        let entries = (0..n).flat_map(|i| (0..=i).map(move |j| (i, j)));
        let factors = entries.map(|(i, j)| lower[(n - 1 - j, n - 1 - i)]).collect();
        Some(Self { means, second, drift, cholesky, factors })
    }

    /// `w + w D H^-1`, for rows one after the other.
    pub fn wanted(&self, weights: &[f64]) -> Vec<f64> {
        let n = self.second.nrows();
        let rows = weights.len() / n;
        let products = Array2::from_shape_fn((rows, n), |(row, i)| weights[row * n + i]).dot(&self.drift);
        let solved = self.cholesky.solve(&DMatrix::from_fn(n, rows, |i, row| products[[row, n - 1 - i]]));
        weights.iter().enumerate().map(|(k, w)| w + solved[(n - 1 - k % n, k / n)]).collect()
    }

    /// `Q_ji` for `j < i`, and `Q_ii`.
    pub fn factor(&self, i: usize) -> (&[f64], f64) {
        let start = i * (i + 1) / 2;
        (&self.factors[start..start + i], self.factors[start + i])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn matrix(rows: usize, columns: usize, rng: &mut ChaCha8Rng) -> Array2<f64> {
        Array2::from_shape_fn((rows, columns), |_| rng.random_range(-1.0..1.0))
    }

    /// More images than are unfolded, more rows than a thread computes at a time.
    #[test]
    fn moments_are_sums_over_images_and_positions() {
        let mut rng = ChaCha8Rng::seed_from_u64(rand::random());
        let (n, positions, count) = (ROWS + 3, 5, IMAGES + 2);
        let mut images = || -> Vec<Vec<f64>> {
            (0..count).map(|_| (0..n * positions).map(|_| rng.random_range(0.0..2.0)).collect()).collect()
        };
        let (now, before) = (images(), images());
        // Over images k and positions p.
        let mean = |of: &dyn Fn(usize, usize) -> f64| {
            let each = (0..count).flat_map(|k| (0..positions).map(move |p| (k, p)));
            each.map(|(k, p)| of(k, p)).sum::<f64>() / (positions * count) as f64
        };
        let x = |i: usize, k: usize, p: usize| now[k][i * positions + p];
        let x0 = |i: usize, k: usize, p: usize| before[k][i * positions + p];
        for centred in [false, true] {
            let found = Moments::measured([&now, &before], positions, Vec::clone, centred).expect("finite");
            let variance = (0..n).map(|i| found.second[[i, i]]).sum::<f64>() / n as f64;
            let damping = variance - variance / (1.0 + DAMPING);
            for (i, j) in [(0, 0), (1, n - 1), (n - 1, 1), (n - 1, n - 1)] {
                let means = [mean(&|k, p| x(i, k, p)), mean(&|k, p| x0(i, k, p))];
                let other = if centred { mean(&|k, p| x(j, k, p)) } else { 0.0 };
                let second = mean(&|k, p| x(i, k, p) * x(j, k, p)) - means[0] * other;
                let crossed = mean(&|k, p| x0(i, k, p) * x(j, k, p)) - means[1] * other;
                let own = if i == j { damping } else { 0.0 };
                assert!((found.means[0][i] - means[0]).abs() < 1e-5 && (found.means[1][i] - means[1]).abs() < 1e-5);
                assert!((found.second[[i, j]] - second - own).abs() < 1e-4, "{centred} {i} {j}");
                assert!((found.drift[[i, j]] - crossed + second).abs() < 1e-4, "{centred} {i} {j}");
            }
        }
    }

    /// Against least squares on inputs themselves, a small ridge included.
    #[test]
    fn rows_want_what_is_nearest_to_the_results_as_they_were() {
        let mut rng = ChaCha8Rng::seed_from_u64(rand::random());
        let (rows, n, count) = (3, 6, 40);
        let (weights, now) = (matrix(rows, n, &mut rng), matrix(n, count, &mut rng));
        let before = &now + &(matrix(n, count, &mut rng) * 0.3);
        let product = |x: &Array2<f64>| x.dot(&now.t()) / count as f64;
        let moments = Moments::new([vec![0.0; n], vec![0.0; n]], product(&now), product(&before)).expect("finite");
        let wanted = moments.wanted(&weights.iter().copied().collect::<Vec<_>>());
        let wanted = Array2::from_shape_vec((rows, n), wanted).expect("as many");
        // The gradient of |w x0 - v x|^2 / count + ridge |w - v|^2 in v.
        let ridge = DAMPING * product(&now).diag().sum() / n as f64;
        let gradient = product(&(wanted.dot(&now) - weights.dot(&before))) + (&wanted - &weights) * ridge;
        assert!(gradient.iter().all(|g| g.abs() < 1e-12), "{gradient}");
        assert!((&wanted - &weights).iter().any(|d| d.abs() > 1e-3));
    }
}
