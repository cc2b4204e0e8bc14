//! Values of a picture: channels times positions, and which positions of one are read for another.

use crate::circuit::{Affine, Circuit, Grid, Kernel, Plane, Value};

/// A picture on the ring of positions: colours times positions.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub(super) colours: Vec<Vec<f64>>,
}

impl Sample {
    /// Lays out a normalised picture `[C, H, W]` on rows of `pitch` and `positions` in all.
    #[must_use]
    pub fn new(picture: &[f32], (height, width): (usize, usize), pitch: usize, positions: usize) -> Self {
        let colours = picture.chunks_exact((height * width).max(1)).map(|plane| {
            let mut ring = vec![0.0; positions];
            for (row, out) in plane.chunks_exact(width.max(1)).zip(ring.chunks_exact_mut(pitch)) {
                row.iter().zip(out).for_each(|(x, out)| *out = f64::from(*x));
            }
            ring
        });
        Self { colours: colours.collect() }
    }
}

/// Channels times positions (a single one where pooled).
pub(super) type Planes = Vec<Vec<f64>>;

/// Positions that are told apart.
pub(super) fn extent(value: &Value) -> usize {
    if value.pooled { 1 } else { value.positions }
}

pub(super) fn zeros(value: &Value) -> Planes {
    vec![vec![0.0; extent(value)]; value.channels]
}

/// Visits weights: `(output channel, input channel, tap, stride, weight)`.
pub(super) fn each_weight(kernel: &Kernel, mut visit: impl FnMut(usize, usize, i64, usize, f64)) {
    match kernel {
        Kernel::Diagonal(factors) => factors.iter().enumerate().for_each(|(c, f)| visit(c, c, 0, 1, *f)),
        Kernel::Dense { stride, taps, inputs, weights } => {
            for (i, &weight) in weights.iter().enumerate() {
                let (pair, tap) = (i / taps.len(), taps[i % taps.len()]);
                visit(pair / inputs, pair % inputs, tap, *stride, weight);
            }
        }
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

    /// `y[p] += weight x[at p]`.
    pub(super) fn add(self, y: &mut [f64], x: &[f64], weight: f64) {
        let stride = self.stride();
        for (output, input, length) in self.pieces() {
            let y = &mut y[output..output + length];
            if stride == 1 {
                y.iter_mut().zip(&x[input..]).for_each(|(y, x)| *y += weight * x);
            } else {
                y.iter_mut().zip(x[input..].iter().step_by(stride)).for_each(|(y, x)| *y += weight * x);
            }
        }
    }

    /// `x[at p] += weight y[p]`.
    pub(super) fn add_transposed(self, x: &mut [f64], y: &[f64], weight: f64) {
        for (output, input, length) in self.pieces() {
            let y = &y[output..output + length];
            x[input..].iter_mut().step_by(self.stride()).zip(y).for_each(|(x, y)| *x += weight * y);
        }
    }

    /// `sum_p f(y[p], x[at p])`.
    pub(super) fn sum(self, y: &[f64], x: &[f64], f: impl Fn(f64, f64) -> f64) -> f64 {
        self.pieces()
            .map(|(output, input, length)| {
                let y = &y[output..output + length];
                y.iter().zip(x[input..].iter().step_by(self.stride())).map(|(y, x)| f(*y, *x)).sum::<f64>()
            })
            .sum()
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

/// The biases of a channel at the positions of a value.
pub(super) fn biases(circuit: &Circuit, value: &Value, affine: &Affine) -> Planes {
    let plane = |(c, b): (usize, &f64)| -> Vec<f64> {
        match (&affine.border, value.plane) {
            (Some(border), Some(plane)) => (0..plane.height * plane.width)
                .map(|p| {
                    let (row, column) = (p / plane.width, p % plane.width);
                    b + border[c][plane.dilation * (row * circuit.grid.pitch + column)]
                })
                .collect(),
            _ => vec![*b; extent(value)],
        }
    };
    affine.bias.iter().enumerate().map(plane).collect()
}
