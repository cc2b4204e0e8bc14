//! Linear maps of channels and positions.

/// A linear map of channels and positions.
#[derive(Clone, Debug, PartialEq)]
pub enum Kernel {
    /// One factor per channel.
    Diagonal(Vec<f64>),
    /// `y[p, co] = sum_{t, ci} weights[co, ci, t] x[stride p + taps[t], ci]`.
    Dense {
        /// 1 or 2.
        stride: usize,
        /// Offsets of positions.
        taps: Vec<i64>,
        /// Channels of `x`.
        inputs: usize,
        /// `[co, ci, t]`.
        weights: Vec<f64>,
    },
}

impl Kernel {
    /// 1 or 2.
    #[must_use]
    pub fn stride(&self) -> usize {
        match self {
            Self::Diagonal(_) => 1,
            Self::Dense { stride, .. } => *stride,
        }
    }

    /// Every other position of each channel, times a factor.
    #[must_use]
    pub fn thin(factors: &[f64]) -> Self {
        let inputs = factors.len();
        let mut weights = vec![0.0; inputs * inputs];
        weights.iter_mut().step_by(inputs + 1).zip(factors).for_each(|(w, f)| *w = *f);
        Self::Dense { stride: 2, taps: vec![0], inputs, weights }
    }

    /// The factors of [`Self::thin`], where it is such a map.
    #[must_use]
    pub fn thinning(&self) -> Option<Vec<f64>> {
        let Self::Dense { stride: 2, taps, inputs, weights } = self else { return None };
        let diagonal = |(i, w): (usize, &f64)| i / inputs == i % inputs || *w == 0.0;
        let is = taps == &[0] && weights.len() == inputs * inputs && weights.iter().enumerate().all(diagonal);
        is.then(|| weights.iter().step_by(inputs + 1).copied().collect())
    }

    /// Whether another kernel differs from this one in weights only.
    #[must_use]
    pub fn same_structure(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Diagonal(a), Self::Diagonal(b)) => a.len() == b.len(),
            (
                Self::Dense { stride, taps, inputs, weights },
                Self::Dense { stride: other_stride, taps: other_taps, inputs: other_inputs, weights: other_weights },
            ) => (stride, taps, inputs, weights.len()) == (other_stride, other_taps, other_inputs, other_weights.len()),
            _ => false,
        }
    }

    /// Multiplies output channel `co` by `factors[co]`.
    pub fn scale_rows(&mut self, factors: &[f64]) {
        match self {
            Self::Diagonal(d) => d.iter_mut().zip(factors).for_each(|(d, f)| *d *= f),
            Self::Dense { weights, .. } => {
                let row = weights.len() / factors.len().max(1);
                for (row, f) in weights.chunks_exact_mut(row.max(1)).zip(factors) {
                    row.iter_mut().for_each(|w| *w *= f);
                }
            }
        }
    }

    /// Multiplies input channel `ci` by `factors[ci]` beforehand.
    pub fn scale_columns(&mut self, factors: &[f64]) {
        match self {
            Self::Diagonal(d) => d.iter_mut().zip(factors).for_each(|(d, f)| *d *= f),
            Self::Dense { taps, weights, .. } => {
                for (column, f) in weights.chunks_exact_mut(taps.len()).zip(factors.iter().cycle()) {
                    column.iter_mut().for_each(|w| *w *= f);
                }
            }
        }
    }

    /// `sum_ci f(weights of (co, ci) over taps) * x[ci]` for every `co`.
    #[must_use]
    pub fn apply(&self, x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
        match self {
            Self::Diagonal(d) => d.iter().zip(x).map(|(d, x)| f(&[*d]) * x).collect(),
            Self::Dense { taps, inputs, weights, .. } => weights
                .chunks_exact(taps.len() * inputs)
                .map(|row| row.chunks_exact(taps.len()).zip(x).map(|(w, x)| f(w) * x).sum())
                .collect(),
        }
    }
}

/// The sum of weights: the response to a constant.
pub fn sum(w: &[f64]) -> f64 {
    w.iter().sum()
}

/// The sum of squared weights: the gain of independent errors' variance.
pub fn sum_of_squares(w: &[f64]) -> f64 {
    w.iter().map(|w| w * w).sum()
}
