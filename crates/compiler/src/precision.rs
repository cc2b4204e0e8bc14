//! Predicted errors: how much every rounding shows in the logits.
//!
//! Second moments of the signal come from batch-norm statistics where there are any, and are propagated as if channels were
//! independent and normal where there are none. Errors have two parts: *independent* ones differ from position to position (the
//! rounding of a rescale) and average out in a pooling; *common* ones do not (weight rounding). Variances are propagated
//! through affine maps by squared weights (independent) or squared sums of weights over taps (common), and through a square
//! by `(z + e)^2 - z^2 = 2 z e`.

pub use crate::circuit::Moments;
use crate::circuit::{Circuit, Operation, ValueId, sum, sum_of_squares};

/// Mean and variance of every value's channels.
pub type Signals = Vec<Vec<Moments>>;

/// Moments of every value of a circuit of affine maps, squares and sums.
#[must_use]
pub fn signals(circuit: &Circuit) -> Signals {
    let mut signals: Signals = Vec::with_capacity(circuit.values.len());
    for value in &circuit.values {
        let moments = match (&value.operation, &value.moments) {
            (_, Some(moments)) => moments.clone(),
            // Pictures are normalised to this.
            (Operation::Input(channels), None) => vec![Moments { mean: 0.0, variance: 1.0 }; channels.len()],
            (Operation::Affine(affine), None) => {
                let mut moments: Vec<Moments> =
                    affine.bias.iter().map(|&mean| Moments { mean, variance: 0.0 }).collect();
                for term in &affine.terms {
                    let (means, variances): (Vec<f64>, Vec<f64>) =
                        signals[term.source].iter().map(|m| (m.mean, m.variance)).unzip();
                    let means = term.kernel.apply(&means, sum);
                    let variances = term.kernel.apply(&variances, sum_of_squares);
                    for (m, (mean, variance)) in moments.iter_mut().zip(means.into_iter().zip(variances)) {
                        m.mean += mean;
                        m.variance += variance;
                    }
                }
                moments
            }
            (Operation::Square(source), None) => signals[*source]
                .iter()
                .map(|m| {
                    let (mean2, v) = (m.mean * m.mean, m.variance);
                    Moments { mean: mean2 + v, variance: 2.0 * v * v + 4.0 * mean2 * v }
                })
                .collect(),
            (Operation::Polynomial(source, coefficients), None) => signals[*source]
                .iter()
                .zip(coefficients)
                .map(|(m, [c, b, a])| {
                    let slope = b + 2.0 * a * m.mean;
                    Moments {
                        mean: c + b * m.mean + a * m.square(),
                        variance: slope * slope * m.variance + 2.0 * (a * m.variance).powi(2),
                    }
                })
                .collect(),
            (Operation::Sum(source), None) => {
                let positions = value.positions as f64;
                signals[*source]
                    .iter()
                    .map(|m| Moments { mean: positions * m.mean, variance: positions * m.variance })
                    .collect()
            }
        };
        signals.push(moments);
    }
    signals
}

/// Mean of the square over the channels of a value.
#[must_use]
pub fn mean_square(moments: &[Moments]) -> f64 {
    moments.iter().map(|m| m.square()).sum::<f64>() / moments.len().max(1) as f64
}

/// Error variances of the channels of a value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Errors {
    /// Of errors that differ between positions.
    pub independent: Vec<f64>,
    /// Of errors that are the same at every position.
    pub common: Vec<f64>,
}

impl Errors {
    fn zero(channels: usize) -> Self {
        Self { independent: vec![0.0; channels], common: vec![0.0; channels] }
    }

    /// Root of the mean variance over the channels.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        let total: f64 = self.independent.iter().chain(&self.common).sum();
        (total / self.common.len().max(1) as f64).sqrt()
    }
}

/// How the mean error variance of a logit responds to the variance of an error in each channel of each value: the transpose
/// of the propagation in [`errors`].
#[must_use]
pub fn sensitivities(circuit: &Circuit, signals: &Signals) -> Vec<Errors> {
    let mut gains: Vec<Errors> = circuit.values.iter().map(|v| Errors::zero(v.channels)).collect();
    let logits = circuit.values[circuit.output].channels;
    let each = vec![1.0 / logits as f64; logits];
    gains[circuit.output] = Errors { independent: each.clone(), common: each };
    let add = |to: &mut Vec<f64>, from: Vec<f64>| to.iter_mut().zip(from).for_each(|(t, f)| *t += f);
    for (id, value) in circuit.values.iter().enumerate().rev() {
        let own = std::mem::take(&mut gains[id]);
        match &value.operation {
            Operation::Input(_) => {}
            Operation::Affine(affine) => {
                for term in &affine.terms {
                    let independent = term.kernel.apply_transposed(&own.independent, sum_of_squares);
                    let common = term.kernel.apply_transposed(&own.common, |w| sum(w).powi(2));
                    add(&mut gains[term.source].independent, independent);
                    add(&mut gains[term.source].common, common);
                }
            }
            Operation::Square(source) => {
                let (independent, common) = through_square(&signals[*source], &own, true);
                add(&mut gains[*source].independent, independent);
                add(&mut gains[*source].common, common);
            }
            Operation::Polynomial(source, coefficients) => {
                let slopes: Vec<Moments> = slopes(&signals[*source], coefficients);
                let (independent, common) = through_square(&slopes, &own, true);
                add(&mut gains[*source].independent, independent);
                add(&mut gains[*source].common, common);
            }
            Operation::Sum(source) => {
                let positions = value.positions as f64;
                add(&mut gains[*source].independent, own.common.iter().map(|g| g * positions).collect());
                add(&mut gains[*source].common, own.common.iter().map(|g| g * positions * positions).collect());
            }
        }
        gains[id] = own;
    }
    gains
}

/// `c + b x + a x^2` has the error of `z^2` with `z = b/2 + a x`.
fn slopes(signals: &[Moments], coefficients: &[[f64; 3]]) -> Vec<Moments> {
    let each = signals.iter().zip(coefficients);
    each.map(|(m, [_, b, a])| Moments { mean: b / 2.0 + a * m.mean, variance: a * a * m.variance }).collect()
}

/// Errors after a square from those before, or gains before from gains after.
fn through_square(signals: &[Moments], errors: &Errors, transposed: bool) -> (Vec<f64>, Vec<f64>) {
    let each = || signals.iter().zip(errors.independent.iter().zip(&errors.common));
    let same = |m: &Moments| 4.0 * m.mean * m.mean;
    // A common error times a signal that varies.
    let mixed = |m: &Moments| 4.0 * m.variance;
    if transposed {
        let independent = each().map(|(m, (i, _))| 4.0 * m.square() * i).collect();
        let common = each().map(|(m, (i, c))| same(m) * c + mixed(m) * i).collect();
        (independent, common)
    } else {
        let independent = each().map(|(m, (i, c))| 4.0 * m.square() * i + mixed(m) * c).collect();
        let common = each().map(|(m, (_, c))| same(m) * c).collect();
        (independent, common)
    }
}

/// Errors that steps add to the value they compute: variances, alike in every channel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Injected {
    /// See [`Errors::independent`].
    pub independent: f64,
    /// See [`Errors::common`].
    pub common: f64,
}

/// Propagates what each value adds to the errors of all values.
#[must_use]
pub fn errors(circuit: &Circuit, signals: &Signals, injected: &[Injected]) -> Vec<Errors> {
    let mut errors: Vec<Errors> = Vec::with_capacity(circuit.values.len());
    for (id, value) in circuit.values.iter().enumerate() {
        let mut own = Errors::zero(value.channels);
        match &value.operation {
            Operation::Input(_) => {}
            Operation::Affine(affine) => {
                for term in &affine.terms {
                    let source: &Errors = &errors[term.source];
                    let independent = term.kernel.apply(&source.independent, sum_of_squares);
                    let common = term.kernel.apply(&source.common, |w| sum(w).powi(2));
                    own.independent.iter_mut().zip(independent).for_each(|(o, i)| *o += i);
                    own.common.iter_mut().zip(common).for_each(|(o, c)| *o += c);
                }
            }
            Operation::Square(source) => {
                (own.independent, own.common) = through_square(&signals[*source], &errors[*source], false);
            }
            Operation::Polynomial(source, coefficients) => {
                let slopes = slopes(&signals[*source], coefficients);
                (own.independent, own.common) = through_square(&slopes, &errors[*source], false);
            }
            Operation::Sum(source) => {
                let (source, positions) = (&errors[*source], value.positions as f64);
                let each = source.independent.iter().zip(&source.common);
                own.common = each.map(|(i, c)| positions * i + positions * positions * c).collect();
            }
        }
        if let Some(add) = injected.get(id) {
            own.independent.iter_mut().for_each(|v| *v += add.independent);
            own.common.iter_mut().for_each(|v| *v += add.common);
        }
        errors.push(own);
    }
    errors
}

/// The sum of a value's gains: the response to an error alike in every channel.
#[must_use]
pub fn total(gains: &[Errors], id: ValueId) -> Injected {
    Injected { independent: gains[id].independent.iter().sum(), common: gains[id].common.iter().sum() }
}
