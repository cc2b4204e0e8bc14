//! Predicted errors: how much every rounding shows in the logits.
//!
//! Quadratic networks multiply errors by twice the signal at every layer, and signals of an image are large or small
//! together: second moments of each layer alone (batch-norm statistics) miss that by an order of magnitude over twenty
//! layers. So gains are measured on sample images: one pass forward, one backward from a random combination of the
//! logits, whose expectation over signs is the sum over logits.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ndarray::{Array2, Axis};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

mod planes;

pub use planes::Sample;
use planes::{Planes, Reach, apply, apply_back, biases, extent, windows, zeros};

use crate::circuit::{Circuit, Operation, Value, ValueId};
use crate::noise;
use crate::packing::{Diagonals, Packing, Product, Rotation, each_product, operands};

/// The values of one image; `disturb` may change each once it is computed.
fn forward(
    circuit: &Circuit,
    sample: &Sample,
    mut disturb: impl FnMut(ValueId, &mut Planes, &[Planes]),
) -> Vec<Planes> {
    let mut values: Vec<Planes> = Vec::with_capacity(circuit.values.len());
    for (id, value) in circuit.values.iter().enumerate() {
        let mut own = match &value.operation {
            Operation::Input(channels) => {
                let mut own = zeros(value);
                let colours: Vec<_> = sample.colours.axis_chunks_iter(Axis(0), 1).collect();
                for (mut plane, &(colour, tap)) in own.axis_chunks_iter_mut(Axis(0), 1).zip(channels) {
                    if let Some(colour) = colours.get(colour) {
                        plane.assign(&Reach::new(circuit.grid, value, value, tap, 1).read(*colour, value.positions));
                    }
                }
                own
            }
            Operation::Affine(affine) => {
                let mut own = biases(circuit, value, affine);
                for term in &affine.terms {
                    let read = (&circuit.values[term.source], &values[term.source]);
                    apply(circuit.grid, &term.kernel, (value, &mut own), read);
                }
                own
            }
            Operation::Square(source) => values[*source].pow2(),
            Operation::Polynomial(source, coefficients) => {
                let mut own = values[*source].clone();
                for (mut plane, [c, b, a]) in own.rows_mut().into_iter().zip(coefficients) {
                    plane.mapv_inplace(|x| c + (b + a * x) * x);
                }
                own
            }
            Operation::Sum(source, window) => {
                let read = &circuit.values[*source];
                if value.pooled {
                    values[*source].sum_axis(Axis(1)).insert_axis(Axis(1))
                } else {
                    let mut own = zeros(value);
                    for reach in windows(circuit.grid, value, read, *window) {
                        reach.add(&mut own, values[*source].view());
                    }
                    own
                }
            }
        };
        disturb(id, &mut own, &values);
        values.push(own);
    }
    values
}

/// Derivatives of `sum_l signs[l] logit_l` by every value.
fn backward(circuit: &Circuit, values: &[Planes], signs: &[f64]) -> Vec<Planes> {
    let mut gradients: Vec<Planes> = circuit.values.iter().map(zeros).collect();
    gradients[circuit.output].rows_mut().into_iter().zip(signs).for_each(|(mut g, s)| g.fill(*s));
    for (id, value) in circuit.values.iter().enumerate().rev() {
        let own = std::mem::take(&mut gradients[id]);
        match &value.operation {
            Operation::Input(_) => {}
            Operation::Affine(affine) => {
                for term in &affine.terms {
                    let read = (&circuit.values[term.source], &mut gradients[term.source]);
                    apply_back(circuit.grid, &term.kernel, (value, &own), read);
                }
            }
            Operation::Square(source) => {
                let each = gradients[*source].iter_mut().zip(&values[*source]).zip(&own);
                each.for_each(|((to, x), g)| *to += 2.0 * x * g);
            }
            Operation::Polynomial(source, coefficients) => {
                let planes = gradients[*source].rows_mut().into_iter().zip(values[*source].rows());
                for ((to, x), (g, [_, b, a])) in planes.zip(own.rows().into_iter().zip(coefficients)) {
                    to.into_iter().zip(x).zip(g).for_each(|((to, x), g)| *to += (b + 2.0 * a * x) * g);
                }
            }
            Operation::Sum(source, window) => {
                let read = &circuit.values[*source];
                if value.pooled {
                    // Every position has the derivative of the pooled one.
                    gradients[*source] += &own;
                } else {
                    for reach in windows(circuit.grid, value, read, *window) {
                        reach.add_back(&mut gradients[*source], &own);
                    }
                }
            }
        }
        gradients[id] = own;
    }
    gradients
}

/// Squares of what is beyond the means of channels, where there is another rounding at every position: variances add up
/// then.
fn where_rounded<'p>(packing: &dyn Packing, planes: &'p Planes, means: &[f64]) -> Cow<'p, Planes> {
    if packing.rounds_by_position() { Cow::Owned(squares_beyond(planes, means)) } else { Cow::Borrowed(planes) }
}

/// Squares of what is beyond the means of channels, 0 where none are given.
fn squares_beyond(planes: &Planes, means: &[f64]) -> Planes {
    let mut beyond = planes.clone();
    for (mut plane, mean) in beyond.rows_mut().into_iter().zip(means.iter().chain(std::iter::repeat(&0.0))) {
        plane.mapv_inplace(|x| (x - mean).powi(2));
    }
    beyond
}

/// What a value's errors do, and how large it is: means over samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gain {
    /// Variance of a logit for each unit of variance of an error in every slot, all independent.
    pub value: f64,
    /// Variance of a logit for each unit of variance of an error in every rounded weight that makes the value: of the
    /// weights of each operand, in the order of [`operands`]. Weights multiply what their operand has beyond its means.
    pub weights: Vec<f64>,
    /// Mean square of the value, over all slots of its ciphertexts.
    pub mean_square: f64,
    /// Largest magnitude.
    pub largest: f64,
    /// For each member of an ensemble the mean of each channel over positions, 0 where biases are not corrected for it.
    pub means: Vec<Vec<f64>>,
}

/// Measures gains on the first so many samples. `corrected` says whether biases make up for what rounded weights add on
/// average, and which part of that is counted on; the means for that are taken over all samples.
#[must_use]
pub fn gains(
    circuit: &Circuit,
    packing: &dyn Packing,
    diagonals: &[Diagonals],
    (samples, measured): (&[Sample], usize),
    corrected: Option<f64>,
) -> Vec<Gain> {
    let logits = circuit.values[circuit.output].channels;
    let means: Vec<Vec<f64>> = match corrected {
        Some(_) => means(circuit, samples),
        None => circuit.values.iter().map(|v| vec![0.0; v.channels]).collect(),
    };
    let part = corrected.unwrap_or(0.0);
    let counted: Vec<Vec<f64>> = means.iter().map(|means| means.iter().map(|mean| part * mean).collect()).collect();
    let of_sample = |(index, sample): (usize, &Sample)| -> Vec<Gain> {
        let values = forward(circuit, sample, |_, _, _| ());
        let mut rng = ChaCha8Rng::seed_from_u64(index as u64);
        let signs: Vec<f64> = (0..logits).map(|_| if rng.random() { 1.0 } else { -1.0 }).collect();
        let gradients = backward(circuit, &values, &signs);
        (circuit.values.iter().enumerate())
            .map(|(id, value)| {
                let power = |planes: &Planes| planes.iter().map(|x| x * x).sum::<f64>();
                let operands = operands(value);
                let mut weights = vec![0.0; operands.len()];
                let sums = gradients[id].sum_axis(Axis(1));
                let own = where_rounded(packing, &gradients[id], &[]);
                let read = operands.iter().map(|source| where_rounded(packing, &values[*source], &counted[*source]));
                let read: Vec<_> = read.collect();
                let mut products = BTreeMap::new();
                each_product(packing, circuit, value, &diagonals[id], |_, operand, of| {
                    let Product { output: co, input: ci, tap, stride } = of;
                    let source = operands[operand];
                    let product = products.entry((operand, tap, stride)).or_insert_with(|| {
                        let reach = Reach::new(circuit.grid, value, &circuit.values[source], tap, stride);
                        reach.correlate(&own, &read[operand])
                    })[[co, ci]];
                    weights[operand] += if packing.rounds_by_position() {
                        product / logits as f64
                    } else {
                        let beyond = product - counted[source][ci] * sums[co];
                        beyond * beyond / logits as f64
                    };
                });
                let slots = packing.capacity(value) * packing.ciphertexts(value) * extent(value);
                Gain {
                    value: power(&gradients[id]) / logits as f64,
                    weights,
                    mean_square: power(&values[id]) / slots as f64,
                    largest: values[id].iter().fold(0.0, |m, x| x.abs().max(m)),
                    means: Vec::new(),
                }
            })
            .collect()
    };
    let samples = &samples[..samples.len().min(measured)];
    let each: Vec<Vec<Gain>> = samples.par_iter().enumerate().map(of_sample).collect();
    let count = each.len().max(1) as f64;
    (means.into_iter().enumerate())
        .map(|(id, means)| {
            let mean = |f: &dyn Fn(&Gain) -> f64| each.iter().map(|gains| f(&gains[id])).sum::<f64>() / count;
            let operands = operands(&circuit.values[id]).len();
            Gain {
                value: mean(&|g| g.value),
                weights: (0..operands).map(|i| mean(&|g| g.weights[i])).collect(),
                mean_square: mean(&|g| g.mean_square),
                largest: each.iter().map(|gains| gains[id].largest).fold(0.0, f64::max),
                means: vec![means],
            }
        })
        .collect()
}

/// The mean of each channel of each value over samples and positions.
fn means(circuit: &Circuit, samples: &[Sample]) -> Vec<Vec<f64>> {
    let of_planes = |planes: &Planes| (planes.sum_axis(Axis(1)) / (planes.ncols() * samples.len()) as f64).to_vec();
    let of_sample = |sample: &Sample| -> Vec<Vec<f64>> {
        let values = forward(circuit, sample, |_, _, _| ());
        values.iter().map(of_planes).collect()
    };
    // Collected first: the sum does not depend on the number of threads.
    let each: Vec<Vec<Vec<f64>>> = samples.par_iter().map(of_sample).collect();
    let add = |mut a: Vec<Vec<f64>>, b: Vec<Vec<f64>>| {
        a.iter_mut().flatten().zip(b.into_iter().flatten()).for_each(|(a, b)| *a += b);
        a
    };
    each.into_iter().reduce(add).unwrap_or_default()
}

/// What rounded weights add to every slot of a value on average, for each ciphertext over one period: what its bias is
/// to be less. `errors` are those of the diagonals in order, over one period. (Bias correction: Nagel et al., Data-free
/// quantization through weight equalization and bias correction, 2019, section 4.2.) Strides read some positions only,
/// whose means are taken to be those of all.
#[must_use]
pub fn mean_error(
    circuit: &Circuit,
    packing: &dyn Packing,
    value: &Value,
    diagonals: &Diagonals,
    errors: &[Vec<f64>],
    gains: &[Gain],
) -> Vec<Vec<f64>> {
    let operands = operands(value);
    let capacity = packing.capacity(value);
    let rotations: Vec<Rotation> = diagonals.keys().map(|(_, _, rotation)| *rotation).collect();
    let mut sums = vec![vec![0.0; packing.period(value)]; packing.ciphertexts(value)];
    each_product(packing, circuit, value, diagonals, |diagonal, operand, Product { output: co, input: ci, .. }| {
        let members = gains[operands[operand]].means.iter().enumerate();
        for (member, means) in members.filter(|(member, _)| packing.belongs(value, *member, rotations[diagonal])) {
            let sums = &mut sums[co / capacity];
            packing.visit_slots(value, member, co, &mut |slot| sums[slot] += errors[diagonal][slot] * means[ci]);
        }
    });
    sums
}

/// Deviations of what a step adds to the value it makes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Injected {
    /// Error in every slot, independent.
    pub value: f64,
    /// Error in every rounded weight of each operand.
    pub weights: Vec<f64>,
}

impl Injected {
    /// The variance that comes of it in a logit.
    #[must_use]
    pub fn logit_variance(&self, gain: &Gain) -> f64 {
        let weights = self.weights.iter().zip(&gain.weights).map(|(w, g)| w * w * g);
        self.value * self.value * gain.value + weights.sum::<f64>()
    }
}

/// Root mean square of every value over channels and positions, for a sample.
#[must_use]
pub fn sizes(circuit: &Circuit, sample: &Sample) -> Vec<f64> {
    let values = forward(circuit, sample, |_, _, _| ());
    values.iter().map(|planes| planes.pow2().mean().unwrap_or(0.0).sqrt()).collect()
}

/// Simulated errors of every value: root mean square over samples, channels and positions. `means` are [`Gain::means`].
#[must_use]
pub fn errors(
    circuit: &Circuit,
    packing: &dyn Packing,
    diagonals: &[Diagonals],
    samples: &[Sample],
    injected: &[Injected],
    means: &[&[f64]],
) -> Vec<f64> {
    let of_sample = |(index, sample): (usize, &Sample)| -> Vec<f64> {
        let exact = forward(circuit, sample, |_, _, _| ());
        let mut rng = ChaCha8Rng::seed_from_u64(1 << 32 | index as u64);
        let noisy = forward(circuit, sample, |id, own, values| {
            let Injected { value, weights } = &injected[id];
            own.iter_mut().for_each(|x| *x += value * normal(&mut rng));
            let operands = operands(&circuit.values[id]);
            let own_value = &circuit.values[id];
            // Errors of the weights of each tap; where weights have masks their variances, as those of positions are
            // independent.
            let mut taps: BTreeMap<(usize, i64, usize), Array2<f64>> = BTreeMap::new();
            let mut corrections = vec![0.0; own.nrows()];
            each_product(packing, circuit, own_value, &diagonals[id], |_, operand, of| {
                let Product { output: co, input: ci, tap, stride } = of;
                let source = operands[operand];
                let zeros = || Array2::zeros((own_value.channels, circuit.values[source].channels));
                let of_tap = taps.entry((operand, tap, stride)).or_insert_with(zeros);
                if packing.rounds_by_position() {
                    of_tap[[co, ci]] += weights[operand] * weights[operand];
                } else {
                    let error = weights[operand] * normal(&mut rng);
                    of_tap[[co, ci]] += error;
                    corrections[co] += error * means[source][ci];
                }
            });
            let each = taps.iter().map(|((operand, tap, stride), errors)| {
                let source = operands[*operand];
                let reach = Reach::new(circuit.grid, own_value, &circuit.values[source], *tap, *stride);
                (reach, errors, &values[source], means[source])
            });
            if packing.rounds_by_position() {
                let mut variances = zeros(own_value);
                each.for_each(|(reach, errors, x, means)| {
                    reach.multiply(errors, &squares_beyond(x, means), &mut variances)
                });
                let each = own.iter_mut().zip(&variances);
                each.for_each(|(x, variance)| *x += variance.sqrt() * normal(&mut rng));
                return;
            }
            each.for_each(|(reach, errors, x, _)| reach.multiply(errors, x, own));
            for (mut plane, correction) in own.rows_mut().into_iter().zip(corrections) {
                plane -= correction;
            }
        });
        let error = |(a, b): (&Planes, &Planes)| (a - b).pow2().mean().unwrap_or(0.0);
        exact.iter().zip(&noisy).map(error).collect()
    };
    let each: Vec<Vec<f64>> = samples.par_iter().enumerate().map(of_sample).collect();
    let count = each.len().max(1) as f64;
    (0..circuit.values.len()).map(|id| (each.iter().map(|e| e[id]).sum::<f64>() / count).sqrt()).collect()
}

/// A standard normal number (Box and Muller).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// Deviation of one rounded weight, in units of `1 / scale`.
#[must_use]
pub fn weight_rounding(packing: &dyn Packing, value: &Value) -> f64 {
    noise::encoding(packing.plaintext_period(value))
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use umbra_model::zoo::{ResNet, Vgg, random_image};

    use super::*;
    use crate::circuit::Kernel;
    use crate::lower::lower;
    use crate::packing::{self, Multiplexed, Wanted};

    #[test]
    fn derivatives_are_those_of_differences() {
        let common = ResNet { height: 16, width: 8, classes: 5, ..ResNet::default() };
        let vgg = |circular| Vgg {
            stages: vec![vec![3, 4], vec![5], vec![6]],
            common: ResNet { circular, ..common.clone() },
        };
        let residual = ResNet { widths: vec![4, 8], blocks: 1, ..common.clone() };
        for graph in [vgg(true).build(), vgg(false).build(), residual.build()] {
            let graph = graph.unwrap();
            let mut circuit = lower(&graph).unwrap();
            crate::fuse::fuse(&mut circuit);
            crate::redistribute::redistribute(&mut circuit).unwrap();
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let positions = circuit.values.iter().map(|v| v.positions).max().unwrap();
            let sample = Sample::new(&random_image(graph.input(), &mut rng), (16, 8), 8, positions);
            let signs = vec![1.0; circuit.values[circuit.output].channels];
            let exact = forward(&circuit, &sample, |_, _, _| ());
            let gradients = backward(&circuit, &exact, &signs);
            let sum = |values: &[Planes]| values[circuit.output].column(0).sum();
            for (at, gradients) in gradients.iter().enumerate() {
                let (channel, position) = (circuit.values[at].channels - 1, extent(&circuit.values[at]) - 1);
                let nudged = |by: f64| {
                    sum(&forward(&circuit, &sample, |id, own, _| {
                        if id == at {
                            own[[channel, position]] += by
                        }
                    }))
                };
                let found = gradients[[channel, position]];
                let expected = (nudged(1e-4) - nudged(-1e-4)) / 2e-4;
                assert!((found - expected).abs() < 1e-6 + 1e-4 * expected.abs(), "{at}: {found} {expected}");
            }
        }
    }

    #[test]
    fn mean_errors_are_those_of_other_weights() {
        let network = ResNet { widths: vec![4, 8], blocks: 1, height: 8, width: 8, classes: 5, ..ResNet::default() };
        let graph = network.build().unwrap();
        let mut circuit = lower(&graph).unwrap();
        crate::fuse::fuse(&mut circuit);
        crate::redistribute::redistribute(&mut circuit).unwrap();
        let packing = Multiplexed::new(&circuit, &Wanted::at(12)).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let positions = circuit.values.iter().map(|v| v.positions).max().unwrap();
        let image = |rng: &mut ChaCha8Rng| Sample::new(&random_image(graph.input(), rng), (8, 8), 8, positions);
        let samples: Vec<Sample> = (0..3).map(|_| image(&mut rng)).collect();
        let diagonals = packing::diagonals(&packing, &circuit);
        let gains = gains(&circuit, &packing, &diagonals, (&samples, 1), Some(1.0));
        let mut seen = 0;
        for id in 0..circuit.values.len() {
            // The same network but for the weights of one value.
            let mut other = circuit.clone();
            let Operation::Affine(affine) = &mut other.values[id].operation else { continue };
            for term in &mut affine.terms {
                let (Kernel::Diagonal(weights) | Kernel::Dense { weights, .. }) = &mut term.kernel;
                weights.iter_mut().for_each(|w| *w += rng.random_range(-0.1..0.1));
            }
            let Operation::Affine(affine) = &other.values[id].operation else { continue };
            let strided =
                affine.terms.iter().any(|t| circuit.values[t.source].positions != circuit.values[id].positions);
            let changed = packing::diagonals(&packing, &other).swap_remove(id);
            assert!(changed.keys().eq(diagonals[id].keys()));
            let errors: Vec<Vec<f64>> = (changed.values().zip(diagonals[id].values()))
                .map(|(a, b)| a.iter().zip(b).map(|(a, b)| a - b).collect())
                .collect();
            let found = mean_error(&circuit, &packing, &circuit.values[id], &diagonals[id], &errors, &gains);
            let found: Vec<f64> = found.into_iter().flatten().take(circuit.values[id].channels).collect();
            let (before, after) = (means(&circuit, &samples), means(&other, &samples));
            for (c, found) in found.iter().enumerate() {
                let expected = after[id][c] - before[id][c];
                // A stride reads every other position: their mean is not quite that of all.
                let tolerance = if strided { 0.02 } else { 1e-9 };
                assert!((found - expected).abs() < tolerance, "{id} {c}: {found} {expected}");
            }
            seen += 1;
        }
        assert!(seen > 5);
    }

    #[test]
    fn gains_by_hand() {
        use crate::testing::{affine, circuit, dense, diagonal, input, ring};
        // Pixels 3 and 5, three times each, added up, halved.
        let circuit = circuit(
            2,
            2,
            vec![
                ring(1, 2, input(1)),
                ring(1, 2, affine(vec![diagonal(0, &[3.0])], &[0.0])),
                Value { pooled: true, ..ring(1, 2, Operation::Sum(1, [1, 2])) },
                Value { pooled: true, ..ring(1, 2, affine(vec![dense(2, 1, &[0], 1, vec![0.5])], &[0.0])) },
            ],
        );
        let packing = Multiplexed::new(&circuit, &Wanted::at(3)).unwrap();
        let diagonals = packing::diagonals(&packing, &circuit);
        let samples = [Sample::new(&[3.0, 5.0], (1, 2), 2, 2)];
        let exact = gains(&circuit, &packing, &diagonals, (&samples, 1), None);
        // An error in each pixel is 1.5 of the logit, one in the sum a half.
        assert_eq!(exact.iter().map(|g| g.value).collect::<Vec<_>>(), [4.5, 0.5, 0.25, 1.0]);
        // The first weight multiplies both pixels: half of 3 + 5; the second the sum.
        assert_eq!([&exact[1].weights, &exact[3].weights], [&[16.0], &[576.0]]);
        // Of four slots with two channels, one of which is empty; pooled values are told apart once.
        assert_eq!(exact.iter().map(|g| g.mean_square).collect::<Vec<_>>(), [8.5, 76.5, 288.0, 72.0]);
        assert_eq!(exact.iter().map(|g| g.largest).collect::<Vec<_>>(), [5.0, 15.0, 24.0, 12.0]);
        // What weights add on average is taken from biases: of a single sample nothing is left.
        let corrected = gains(&circuit, &packing, &diagonals, (&samples, 1), Some(1.0));
        assert_eq!([&corrected[1].weights, &corrected[3].weights], [&[0.0], &[0.0]]);
        assert_eq!(corrected.iter().map(|g| g.means.concat()).collect::<Vec<_>>(), [[4.0], [12.0], [24.0], [12.0]]);
        // Errors of 2 in each pixel's slot and of 1 in the last weight.
        let injected = Injected { value: 2.0, weights: vec![] }.logit_variance(&exact[0]);
        assert_eq!(injected + Injected { value: 0.0, weights: vec![1.0] }.logit_variance(&exact[3]), 18.0 + 576.0);
    }
}
