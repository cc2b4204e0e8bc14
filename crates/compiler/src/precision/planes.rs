//! Values of an image: channels times positions, and which positions of one are read for another.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, Axis, Slice};

use crate::circuit::{Affine, Circuit, Grid, Kernel, Plane, Value};

/// An image on the ring of positions: colours times positions.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub(super) colours: Planes,
}

impl Sample {
    /// Lays out a normalised image `[C, H, W]` on rows of `pitch` and `positions` in all.
    #[must_use]
    pub fn new(image: &[f32], (height, width): (usize, usize), pitch: usize, positions: usize) -> Self {
        let planes = image.chunks_exact((height * width).max(1));
        let mut colours = Planes::zeros((planes.len(), positions));
        for (plane, mut ring) in planes.zip(colours.rows_mut()) {
            for (row, from) in plane.chunks_exact(width.max(1)).zip((0..).step_by(pitch)) {
                row.iter().zip(ring.iter_mut().skip(from)).for_each(|(x, to)| *to = f64::from(*x));
            }
        }
        Self { colours }
    }
}

/// Channels times positions (a single one where pooled).
pub(super) type Planes = Array2<f64>;

/// Positions that are told apart.
pub(super) fn extent(value: &Value) -> usize {
    if value.pooled { 1 } else { value.positions }
}

pub(super) fn zeros(value: &Value) -> Planes {
    Planes::zeros((value.channels, extent(value)))
}

/// How a kernel reads under each of its taps, with the weights `[output channel, input channel]` of that tap; a
/// diagonal has one tap, and no weights but those on the diagonal.
enum Taps {
    Diagonal(Reach, Array2<f64>),
    Dense(Vec<(Reach, Array2<f64>)>),
}

impl Taps {
    fn new(grid: Grid, kernel: &Kernel, own: &Value, read: &Value) -> Self {
        match kernel {
            Kernel::Diagonal(factors) => {
                let factors = Array2::from_shape_fn((factors.len(), 1), |(c, _)| factors[c]);
                Self::Diagonal(Reach::new(grid, own, read, 0, 1), factors)
            }
            Kernel::Dense { stride, taps, inputs, weights } => {
                let outputs = weights.len() / (inputs * taps.len()).max(1);
                let of = |i| move |(co, ci)| weights[(co * inputs + ci) * taps.len() + i];
                let weights = |i| Array2::from_shape_fn((outputs, *inputs), of(i));
                let tap = |(i, tap): (usize, &i64)| (Reach::new(grid, own, read, *tap, *stride), weights(i));
                Self::Dense(taps.iter().enumerate().map(tap).collect())
            }
        }
    }
}

/// Adds what a kernel makes of the value that it reads.
pub(super) fn apply(grid: Grid, kernel: &Kernel, (value, own): (&Value, &mut Planes), (read, x): (&Value, &Planes)) {
    match Taps::new(grid, kernel, value, read) {
        Taps::Diagonal(reach, factors) => *own += &(reach.read(x.view(), own.ncols()) * factors),
        Taps::Dense(taps) => taps.iter().for_each(|(reach, weights)| reach.multiply(weights, x, own)),
    }
}

/// Adds to the derivatives by what a kernel reads, from those by what it makes.
pub(super) fn apply_back(
    grid: Grid,
    kernel: &Kernel,
    (value, own): (&Value, &Planes),
    (read, to): (&Value, &mut Planes),
) {
    match Taps::new(grid, kernel, value, read) {
        Taps::Diagonal(reach, factors) => reach.add_back(to, &(own * &factors)),
        Taps::Dense(taps) => taps.iter().for_each(|(reach, weights)| reach.add_back(to, &weights.t().dot(own))),
    }
}

/// Which positions of a value read which of another under one tap.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reach {
    /// `p -> (stride p + tap) mod P`.
    Ring { outputs: usize, inputs: usize, tap: i64, stride: usize },
    /// Rows and columns, `r -> stride r + tap`, where that is inside.
    Plane { own: Plane, read: Plane, tap: (i64, i64), stride: usize },
}

impl Reach {
    pub(super) fn new(grid: Grid, own: &Value, read: &Value, tap: i64, stride: usize) -> Self {
        match (own.plane, read.plane) {
            (Some(own), Some(read)) => Self::Plane { own, read, tap: grid.split(tap), stride },
            _ => Self::Ring { outputs: extent(own), inputs: extent(read), tap, stride },
        }
    }

    /// Runs of positions: `(first of the value, first of what is read, length)`; the latter at the stride.
    fn pieces(self) -> impl Iterator<Item = (usize, usize, usize)> {
        let mut next = 0;
        std::iter::from_fn(move || match self {
            Self::Ring { outputs, inputs, tap, stride } => {
                let output = next;
                if output >= outputs {
                    return None;
                }
                let input = (stride as i64 * output as i64 + tap).rem_euclid(inputs as i64) as usize;
                let length = (inputs - input).div_ceil(stride).min(outputs - output);
                next += length;
                Some((output, input, length))
            }
            Self::Plane { own, read, tap: (rows, columns), stride } => {
                let s = stride as i64;
                // The columns at which something is read.
                let reaching = |column: i64| ((column - columns).max(0) + s - 1) / s;
                let (first, end) = (reaching(0) as usize, (reaching(read.width as i64) as usize).min(own.width));
                while next < own.height && first < end {
                    let (row, from) = (next, s * next as i64 + rows);
                    next += 1;
                    if (0..read.height as i64).contains(&from) {
                        let input = from as usize * read.width + (s * first as i64 + columns) as usize;
                        return Some((row * own.width + first, input, end - first));
                    }
                }
                None
            }
        })
    }

    fn stride(self) -> usize {
        let (Self::Ring { stride, .. } | Self::Plane { stride, .. }) = self;
        stride
    }

    /// The same pieces, as slices of positions.
    fn slices(self) -> impl Iterator<Item = (Slice, Slice)> {
        let stride = self.stride();
        self.pieces().map(move |(output, input, length)| {
            let read = Slice::from(input..input + (length - 1) * stride + 1).step_by(stride as isize);
            (Slice::from(output..output + length), read)
        })
    }

    /// `x[.., at p]` for each of so many positions, 0 where nothing is read.
    pub(super) fn read(self, x: ArrayView2<'_, f64>, positions: usize) -> Planes {
        let mut read = Planes::zeros((x.nrows(), positions));
        self.add(&mut read, x);
        read
    }

    /// `y[.., p] += x[.., at p]`.
    pub(super) fn add(self, y: &mut Planes, x: ArrayView2<'_, f64>) {
        for (own, read) in self.slices() {
            y.slice_axis_mut(Axis(1), own).scaled_add(1.0, &x.slice_axis(Axis(1), read));
        }
    }

    /// `x[.., at p] += y[.., p]`.
    pub(super) fn add_back(self, x: &mut Planes, y: &Planes) {
        for (own, read) in self.slices() {
            x.slice_axis_mut(Axis(1), read).scaled_add(1.0, &y.slice_axis(Axis(1), own));
        }
    }

    /// `y[co, p] += sum_ci weights[co, ci] x[ci, at p]`.
    pub(super) fn multiply(self, weights: &Array2<f64>, x: &Planes, y: &mut Planes) {
        general_mat_mul(1.0, weights, &self.read(x.view(), y.ncols()), 1.0, y);
    }

    /// `sum_p y[co, p] x[ci, at p]` for all `[co, ci]`.
    pub(super) fn correlate(self, y: &Planes, x: &Planes) -> Array2<f64> {
        y.dot(&self.read(x.view(), y.ncols()).t())
    }
}

/// How the windows of a sum are read: a reach for each of their places.
pub(super) fn windows(
    grid: Grid,
    own: &Value,
    read: &Value,
    [rows, columns]: [usize; 2],
) -> impl Iterator<Item = Reach> {
    let pitch = grid.pitch;
    let taps = (0..rows).flat_map(move |row| (0..columns).map(move |column| (row, column)));
    let stride = own.plane.zip(read.plane).map_or(1, |(own, read)| (own.dilation / read.dilation).max(1));
    taps.map(move |(row, column)| {
        let tap = (row * pitch + column) as i64;
        match (own.plane, read.plane) {
            // Windows are wider than taps.
            (Some(own), Some(read)) => Reach::Plane { own, read, tap: (row as i64, column as i64), stride },
            _ => Reach::new(grid, own, read, tap, stride),
        }
    })
}

/// The biases of each channel at the positions of a value.
pub(super) fn biases(circuit: &Circuit, value: &Value, affine: &Affine) -> Planes {
    Planes::from_shape_fn((affine.bias.len(), extent(value)), |(c, p)| {
        let border = affine.border.as_ref().zip(value.plane).map_or(0.0, |(border, plane)| {
            let (row, column) = (p / plane.width, p % plane.width);
            border[c][plane.dilation * (row * circuit.grid.pitch + column)]
        });
        affine.bias[c] + border
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert, prop_oneof, proptest};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Where a position reads under a tap, if anywhere.
    fn at(reach: Reach, p: usize) -> Option<usize> {
        match reach {
            Reach::Ring { inputs, tap, stride, .. } => {
                Some((stride as i64 * p as i64 + tap).rem_euclid(inputs as i64) as usize)
            }
            Reach::Plane { own, read, tap: (rows, columns), stride } => {
                let row = (stride * (p / own.width)) as i64 + rows;
                let column = (stride * (p % own.width)) as i64 + columns;
                let inside = (0..read.height as i64).contains(&row) && (0..read.width as i64).contains(&column);
                inside.then(|| row as usize * read.width + column as usize)
            }
        }
    }

    /// A reach, and how many positions there are of a value and of what it reads.
    fn reach() -> impl Strategy<Value = (Reach, usize, usize)> {
        let ring = (1..20usize, 1..4usize, -50..50i64).prop_map(|(outputs, stride, tap)| {
            let inputs = outputs * stride;
            (Reach::Ring { outputs, inputs, tap, stride }, outputs, inputs)
        });
        let plane = (1..6usize, 1..6usize, 1..4usize, -3..4i64, -3..4i64);
        let plane = plane.prop_map(|(height, width, stride, rows, columns)| {
            let own = Plane { height, width, dilation: stride };
            let read = Plane { height: height * stride, width: width * stride, dilation: 1 };
            (Reach::Plane { own, read, tap: (rows, columns), stride }, height * width, height * width * stride * stride)
        });
        prop_oneof![ring, plane]
    }

    proptest! {
        /// Products of matrices are the sums over channels and positions that they stand for.
        #[test]
        fn products_are_sums_over_positions(
            (reach, outputs, inputs) in reach(), own in 1..5usize, read in 1..5usize, seed in any::<u64>(),
        ) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut random =
                |rows, columns| Planes::from_shape_simple_fn((rows, columns), || rng.random_range(-1.0..1.0));
            let (x, y, weights) = (random(read, inputs), random(own, outputs), random(own, read));
            let (mut forward, mut products) = (y.clone(), Planes::zeros((own, read)));
            let (mut back, part) = (x.clone(), random(read, outputs));
            for p in 0..outputs {
                let Some(at) = at(reach, p) else { continue };
                for ci in 0..read {
                    for co in 0..own {
                        forward[[co, p]] += weights[[co, ci]] * x[[ci, at]];
                        products[[co, ci]] += y[[co, p]] * x[[ci, at]];
                    }
                    back[[ci, at]] += part[[ci, p]];
                }
            }
            let near = |a: &Planes, b: &Planes| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
            let mut found = y.clone();
            reach.multiply(&weights, &x, &mut found);
            prop_assert!(near(&found, &forward), "{found} {forward}");
            prop_assert!(near(&reach.correlate(&y, &x), &products));
            let mut found = x.clone();
            reach.add_back(&mut found, &part);
            prop_assert!(near(&found, &back), "{found} {back}");
        }
    }
}
