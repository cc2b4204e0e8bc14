//! Which weight is which codeword, so that errors cancel where inputs are correlated.
//!
//! k-means makes the errors of single weights small. What counts is the error of a sum of inputs times weights: with
//! `e` the errors of a row, `H` the covariance of its inputs and `H = Q Q'` with `Q` upper triangular, its mean square
//! is
//!
//! ```text
//! e' H e = |Q' e|^2 = sum over i of (Q_ii e_i + sum over j < i of Q_ji e_j)^2
//! ```
//!
//! apart from what the inputs' means add, which goes to the bias. Inputs `x` are those of the network as clustered so
//! far, and results should be those of the network as it was, whose inputs are `x0`: of all that a row can make of `x`,
//! `(w + w D H^-1) x` with `D = (x0 - x) x'` is nearest to `w x0` (GPTAQ, arXiv 2504.02692), and that is what `w`
//! stands for from here on. Weights take their codewords in order, each the codeword nearest to `w_i + (sum over j < i
//! of Q_ji e_j) / Q_ii`, which makes up for the errors before it (GPTQ, arXiv 2210.17323; this form, Babai's nearest
//! plane: arXiv 2507.18553). Members of an ensemble share the codeword and keep an error each; its terms are weighted
//! by their `Q_ii^2`, and by the square of what the codewords of the row are multiplied by. Then each weight takes the
//! codeword with which `e' H e` is smallest, all others as they are. Once all rows are done, codewords are fitted to
//! them ([`super::refit`]), and assigned again, a few times. Means and covariances are those of the images for
//! calibration.

use std::borrow::Cow;

use ndarray::{Array1, Array2, ArrayView1};
use rayon::prelude::*;

use crate::moments::Moments;
use crate::refit::{self, Rows};
use crate::scale::{self, Layer};
use crate::{Books, ClusterError, Codes, Member};
use umbra_model::{Embedding, Graph, Layer as Forward, NodeId, Operator};

/// Times that all weights of a row are given their codewords once more, with what is known of those after them.
const SWEEPS: usize = 2;

/// Times that codewords are fitted to their weights.
const ROUNDS: usize = 3;

/// Replaces the codes and the codewords, and returns each member with its biases corrected for the mean of what its
/// weights' errors add. `inputs`: of each member, normalised images for calibration.
pub(super) fn compensate(
    members: &[Member<'_>],
    inputs: &[Vec<Vec<f32>>],
    books: &mut Books,
    codes: &mut Codes,
) -> Result<Vec<Graph>, ClusterError> {
    // Biases that share the codewords would lose theirs.
    if members[0].biases.is_empty() {
        for _ in 0..ROUNDS {
            fit(members, inputs, books, codes)?;
        }
    }
    walk(members, inputs, books, codes, |_, _| {})?
        .into_iter()
        .map(|walk| Ok(scale::rewrite(walk.member.graph, walk.member.graph.description().clone(), &[], &walk.biases)?))
        .collect()
}

/// Assigns the codewords, and fits them to the codes.
fn fit(
    members: &[Member<'_>],
    inputs: &[Vec<Vec<f32>>],
    books: &mut Books,
    codes: &mut Codes,
) -> Result<(), ClusterError> {
    let mut wanted: Vec<Vec<Wanted>> = members.iter().map(|_| Vec::new()).collect();
    walk(members, inputs, books, codes, |member, layer| wanted[member].push(layer))?;
    for ((member, books), wanted) in members.iter().zip(books.iter_mut()).zip(&wanted) {
        let layers = member.layers.iter().zip(wanted).enumerate();
        let rows = layers.map(|(layer, ((Layer { factors, scales, .. }, _), Wanted { weights, second }))| Rows {
            wanted: weights,
            scales,
            second,
            places: refit::places(codes, layer, books, factors),
        });
        let rows: Vec<Rows<'_>> = rows.collect();
        refit::refit(&rows, books);
    }
    Ok(())
}

/// What a layer of a member should be.
struct Wanted {
    /// `w + w D H^-1`.
    weights: Vec<f64>,
    /// `H`, damped.
    second: Array2<f64>,
}

/// Assigns the codewords, layer by layer, and evaluates the members so clustered on each one's `inputs`. `keep` is
/// given what each layer of each member should be, in the order of the layers.
fn walk<'a>(
    members: &'a [Member<'a>],
    inputs: &'a [Vec<Vec<f32>>],
    books: &Books,
    codes: &mut Codes,
    mut keep: impl FnMut(usize, Wanted),
) -> Result<Vec<Walk<'a>>, ClusterError> {
    let graph = members[0].graph;
    let mut walks: Vec<Walk<'_>> =
        members.iter().zip(inputs).map(|(member, inputs)| Walk::new(member, inputs)).collect();
    for (id, node) in graph.iter() {
        if let Operator::Convolution(_) = node.operator() {
            let layer = members[0].layers.iter().position(|(layer, _)| layer.node == id);
            if let Some(layer) = layer {
                let moments = walks.iter().map(|walk| walk.moments(id)).collect::<Result<Vec<_>, _>>()?;
                let (columns, index) = &mut codes.layers[layer];
                let columns: Vec<Vec<&[f64]>> = columns
                    .iter()
                    .map(|&column| books.iter().map(|m| m[column as usize].as_slice()).collect())
                    .collect();
                let layers: Vec<&Layer> = members.iter().map(|m| &m.layers[layer].0).collect();
                let wanted: Vec<Vec<f64>> =
                    members.iter().zip(&moments).map(|(m, moments)| moments.wanted(&m.layers[layer].1)).collect();
                assign(&layers, &wanted, &moments, &columns, index);
                for (member, ((walk, moments), weights)) in walks.iter_mut().zip(moments).zip(wanted).enumerate() {
                    let chosen =
                        index.iter().zip(columns.iter().cycle()).map(|(&code, books)| books[member][code as usize]);
                    walk.choose(layer, chosen.collect(), &moments);
                    keep(member, Wanted { weights, second: moments.second });
                }
            }
        }
        if let Some(clustered) = members[0].biases.iter().position(|(bias, _)| *bias == id) {
            let first: Vec<&[f64]> = books.iter().map(|m| m[0].as_slice()).collect();
            codes.biases[clustered] = (0..node.shape().channels())
                .map(|channel| {
                    let wanted: Vec<f64> = walks.iter().map(|walk| walk.bias(id)[channel]).collect();
                    nearest(&first, &wanted, &vec![1.0; wanted.len()], &mut Vec::new())
                })
                .collect();
            for (walk, book) in walks.iter_mut().zip(&first) {
                let bias = codes.biases[clustered].iter().map(|&code| book[code as usize]).collect();
                walk.biases
                    .iter_mut()
                    .filter(|(bias, _)| *bias == id)
                    .for_each(|(_, values)| *values = Vec::clone(&bias));
            }
        }
        walks.par_iter_mut().try_for_each(|walk| walk.evaluate(id))?;
    }
    Ok(walks)
}

/// Codewords of one layer, the same for all members.
fn assign(layers: &[&Layer], wanted: &[Vec<f64>], moments: &[Moments], columns: &[Vec<&[f64]>], index: &mut [u32]) {
    let length = moments[0].second.nrows();
    index.par_chunks_exact_mut(length).enumerate().for_each(|(row, index)| {
        // Rows that do not count keep the codewords that they have.
        if layers.iter().all(|layer| layer.factors[row] == 0.0) {
            return;
        }
        let weights = wanted.iter().map(|weights| &weights[row * length..][..length]).collect();
        let scales = layers.iter().map(|layer| layer.scales[row]).collect();
        let row = Row { weights, scales, moments, columns };
        let mut errors = row.assign(index);
        for _ in 0..SWEEPS {
            row.sweep(&mut errors, index);
        }
    });
}

/// A row of one layer, of each member.
struct Row<'a> {
    weights: Vec<&'a [f64]>,
    /// What its codewords are multiplied by, and so its errors.
    scales: Vec<f64>,
    moments: &'a [Moments],
    /// Of each kernel column, the codebooks.
    columns: &'a [Vec<&'a [f64]>],
}

impl Row<'_> {
    /// Gives each weight the codeword that makes up for the errors before it; returns each member's errors.
    fn assign(&self, index: &mut [u32]) -> Vec<Vec<f64>> {
        let mut errors = vec![vec![0.0; index.len()]; self.weights.len()];
        let (mut wanted, mut importance) = (vec![0.0; errors.len()], vec![0.0; errors.len()]);
        let mut distances = Vec::new();
        for (i, code) in index.iter_mut().enumerate() {
            let books = &self.columns[i % self.columns.len()];
            for (m, moments) in self.moments.iter().enumerate() {
                let (before, own) = moments.factor(i);
                let carried: f64 = before.iter().zip(&errors[m]).map(|(q, e)| q * e).sum();
                wanted[m] = self.weights[m][i] + carried / own;
                importance[m] = (own * self.scales[m]).powi(2);
            }
            *code = nearest(books, &wanted, &importance, &mut distances);
            for (m, errors) in errors.iter_mut().enumerate() {
                errors[i] = self.weights[m][i] - books[m][*code as usize];
            }
        }
        errors
    }

    /// Gives each weight in turn the codeword with which `e' H e` is smallest, all others as they are.
    fn sweep(&self, errors: &mut [Vec<f64>], index: &mut [u32]) {
        let product = |(moments, e): (&Moments, &Vec<f64>)| moments.second.dot(&ArrayView1::from(e));
        let mut products: Vec<Array1<f64>> = self.moments.iter().zip(errors.iter()).map(product).collect();
        let (mut wanted, mut importance) = (vec![0.0; errors.len()], vec![0.0; errors.len()]);
        let mut distances = Vec::new();
        for (i, code) in index.iter_mut().enumerate() {
            let books = &self.columns[i % self.columns.len()];
            for (m, moments) in self.moments.iter().enumerate() {
                let own = moments.second[[i, i]];
                wanted[m] = self.weights[m][i] + products[m][i] / own - errors[m][i];
                importance[m] = own * self.scales[m].powi(2);
            }
            let best = nearest(books, &wanted, &importance, &mut distances);
            if best != *code {
                *code = best;
                for (m, moments) in self.moments.iter().enumerate() {
                    let error = self.weights[m][i] - books[m][best as usize];
                    products[m].scaled_add(error - errors[m][i], &moments.second.row(i));
                    errors[m][i] = error;
                }
            }
        }
    }
}

/// The code whose values, one a member, are nearest: the first of several. `distances` is room to work in.
fn nearest(books: &[&[f64]], wanted: &[f64], importance: &[f64], distances: &mut Vec<f64>) -> u32 {
    distances.clear();
    distances.resize(books[0].len(), 0.0);
    // Member by member, over all codewords: a loop for SIMD.
    for ((book, w), importance) in books.iter().zip(wanted).zip(importance) {
        distances.iter_mut().zip(*book).for_each(|(d, value)| *d += (value - w).powi(2) * importance);
    }
    let first = |best: (usize, f64), next: (usize, f64)| if next.1 < best.1 { next } else { best };
    distances.iter().copied().enumerate().reduce(first).map_or(0, |(code, _)| code as u32)
}

/// Of each node, each image's result, while a node is left that reads it.
type Values = Vec<Vec<Vec<f64>>>;

/// A member on its images for calibration, up to some node.
struct Walk<'a> {
    member: &'a Member<'a>,
    inputs: &'a [Vec<f32>],
    clustered: Values,
    /// As it was.
    original: Values,
    last_reader: Vec<usize>,
    weights: Vec<(Layer, Vec<f64>)>,
    /// Of every bias node, whether clustered or not.
    biases: Vec<(NodeId, Vec<f64>)>,
}

impl<'a> Walk<'a> {
    fn new(member: &'a Member<'a>, inputs: &'a [Vec<f32>]) -> Self {
        let graph = member.graph;
        let last = |readers: &Vec<NodeId>| readers.iter().map(|id| id.index()).max().unwrap_or(0);
        let biases = scale::bias_nodes(graph).into_iter().map(|id| (id, scale::biases(graph, id))).collect();
        let last_reader = graph.readers().iter().map(last).collect();
        let (clustered, original) = (Values::new(), Values::new());
        Self { member, inputs, clustered, original, last_reader, weights: Vec::new(), biases }
    }

    fn bias(&self, id: NodeId) -> &[f64] {
        self.biases.iter().find(|(bias, _)| *bias == id).map_or(&[], |(_, values)| values)
    }

    /// Evaluates the next node, clustered and as it was.
    fn evaluate(&mut self, id: NodeId) -> Result<(), ClusterError> {
        let graph = self.member.graph;
        let node = graph.node(id);
        let rewritten = scale::rewritten(graph, id, &self.weights, &self.biases)?;
        for (operator, values) in [(&rewritten, &mut self.clustered), (node.operator(), &mut self.original)] {
            let results: Vec<Vec<f64>> = if let [first, rest @ ..] = node.inputs() {
                let step = Forward::<f64>::new(operator, graph.padding(), graph.node(*first).shape(), node.shape());
                let apply = |(image, x): (usize, &Vec<f64>)| {
                    let other = rest.first().map(|other| values[other.index()][image].as_slice());
                    step.apply(Cow::Borrowed(x), other, &mut Vec::new())
                };
                values[first.index()].par_iter().enumerate().map(apply).collect()
            } else {
                let embedding = Embedding::new(graph);
                self.inputs.iter().map(|image| embedding.embed(image)).collect()
            };
            if results.iter().flatten().any(|v| !v.is_finite()) {
                return Err(ClusterError::Overflow { network: graph.name().into(), node: node.name().into() });
            }
            values.push(results);
            for input in node.inputs() {
                if self.last_reader[input.index()] == id.index() {
                    values[input.index()] = Vec::new();
                }
            }
        }
        Ok(())
    }

    /// Of the inputs of a convolution, over images and positions.
    fn moments(&self, id: NodeId) -> Result<Moments, ClusterError> {
        let graph = self.member.graph;
        let node = graph.node(id);
        let input = node.inputs()[0];
        let step = Forward::<f64>::new(node.operator(), graph.padding(), graph.node(input).shape(), node.shape());
        let (clustered, original) = (&self.clustered[input.index()], &self.original[input.index()]);
        let overflow = || ClusterError::Overflow { network: graph.name().into(), node: node.name().into() };
        // Without a bias to correct, means count as errors do.
        let centred = scale::bias_node(graph, id).is_some();
        let unfold = |x: &Vec<f64>| step.unfolded(x);
        Moments::measured([clustered, original], node.shape().positions(), unfold, centred).ok_or_else(overflow)
    }

    /// Takes the weights of a layer, and corrects the bias behind it.
    fn choose(&mut self, layer: usize, chosen: Vec<f64>, moments: &Moments) {
        let (layer, wanted) = &self.member.layers[layer];
        let bias = scale::bias_node(self.member.graph, layer.node);
        if let Some((_, bias)) = self.biases.iter_mut().find(|(id, _)| Some(*id) == bias) {
            let [means, original] = &moments.means;
            let rows = wanted.chunks_exact(means.len()).zip(chosen.chunks_exact(means.len()));
            let factors = layer.factors.iter().zip(&layer.scales);
            let sum = |row: &[f64], means: &[f64]| row.iter().zip(means).map(|(w, mean)| w * mean).sum::<f64>();
            for ((bias, (wanted, chosen)), (factor, scale)) in bias.iter_mut().zip(rows).zip(factors) {
                if *factor != 0.0 {
                    *bias += (sum(wanted, original) - sum(chosen, means)) * scale;
                }
            }
        }
        self.weights.push((layer.clone(), chosen));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moments::DAMPING;
    use nalgebra::DMatrix;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn matrix(rows: usize, columns: usize, rng: &mut ChaCha8Rng) -> Array2<f64> {
        Array2::from_shape_fn((rows, columns), |_| rng.random_range(-1.0..1.0))
    }

    /// Correlated inputs, as second moments.
    fn second(n: usize, rng: &mut ChaCha8Rng) -> Array2<f64> {
        let mixing = matrix(n, n, rng);
        let common = rng.random_range(0.5..2.0);
        mixing.dot(&mixing.t()) / n as f64 + common
    }

    /// As published: what is left of a row takes over each error by the inverse of the moments of what is left.
    fn gptq(row: &[f64], second: &Array2<f64>, book: &[f64]) -> Vec<u32> {
        let n = row.len();
        let damping = DAMPING * second.diag().sum() / n as f64;
        let mut row = row.to_vec();
        (0..n)
            .map(|i| {
                let left =
                    DMatrix::from_fn(n - i, n - i, |a, b| second[[i + a, i + b]] + if a == b { damping } else { 0.0 });
                let inverse = left.try_inverse().expect("positive definite");
                let code = nearest(&[book], &row[i..=i], &[1.0], &mut Vec::new());
                let error = (row[i] - book[code as usize]) / inverse[(0, 0)];
                for j in i..n {
                    row[j] -= error * inverse[(0, j - i)];
                }
                code
            })
            .collect()
    }

    /// Where the network is as it was so far.
    fn moments(second: Array2<f64>) -> Moments {
        let means = vec![0.0; second.nrows()];
        Moments::new([means.clone(), means], second.clone(), second).expect("finite")
    }

    #[test]
    fn one_network_is_assigned_as_published() {
        let mut rng = ChaCha8Rng::seed_from_u64(rand::random());
        let (rows, n) = (9, 12);
        let (weights, second) = (matrix(rows, n, &mut rng), second(n, &mut rng));
        let books: [Vec<f64>; 2] = [3, 4].map(|k| (0..k).map(|_| rng.random_range(-1.0..1.0)).collect());
        let mut index = vec![0; rows * n];
        let moments = [moments(second.clone())];
        let columns = [vec![&books[0][..]], vec![&books[1][..]]];
        for (row, index) in weights.rows().into_iter().zip(index.chunks_exact_mut(n)) {
            let values = row.to_vec();
            let row = |columns| Row { weights: vec![&values], scales: vec![0.7], moments: &moments, columns };
            let errors = row(&columns[..1]).assign(index);
            assert_eq!(gptq(&values, &second, &books[0]), index);
            let error = |i: usize| values[i] - books[0][index[i] as usize];
            assert_eq!(errors, [(0..n).map(error).collect::<Vec<f64>>()]);
            // Kernel columns have codebooks in turn.
            row(&columns).assign(index);
            assert!(index.iter().step_by(2).all(|&code| code < 3));
        }
        assert!(index.iter().skip(1).step_by(2).any(|&code| code == 3));
    }

    /// Two members, errors of different weight.
    #[test]
    fn sweeps_lower_the_error_until_no_weight_can() {
        let mut rng = ChaCha8Rng::seed_from_u64(rand::random());
        let n = 20;
        let (scales, k) = ([0.5, 2.0], 7);
        let weights: Vec<Vec<f64>> = (0..2).map(|_| matrix(1, n, &mut rng).into_iter().collect()).collect();
        let books: Vec<Vec<f64>> = (0..2).map(|_| matrix(1, k, &mut rng).into_iter().collect()).collect();
        let moments: Vec<Moments> = (0..2).map(|_| moments(second(n, &mut rng))).collect();
        let columns = [books.iter().map(Vec::as_slice).collect()];
        let weights: Vec<&[f64]> = weights.iter().map(Vec::as_slice).collect();
        let row = Row { weights, scales: scales.to_vec(), moments: &moments, columns: &columns };
        let error = |index: &[u32]| -> f64 {
            let of = |m: usize| {
                let e: Array1<f64> = (0..n).map(|i| row.weights[m][i] - books[m][index[i] as usize]).collect();
                scales[m].powi(2) * e.dot(&moments[m].second.dot(&e))
            };
            (0..2).map(of).sum()
        };
        let mut index = vec![0; n];
        let mut errors = row.assign(&mut index);
        let mut last = error(&index);
        loop {
            let before = index.clone();
            row.sweep(&mut errors, &mut index);
            let now = error(&index);
            assert!(now <= last * (1.0 + 1e-9), "{now} after {last}");
            last = now;
            if index == before {
                break;
            }
        }
        for i in 0..n {
            for code in 0..k as u32 {
                let mut other = index.clone();
                other[i] = code;
                assert!(error(&other) >= last * (1.0 - 1e-9), "weight {i}, codeword {code}");
            }
        }
    }

    #[test]
    fn uncorrelated_inputs_leave_the_nearest_codeword() {
        let mut rng = ChaCha8Rng::seed_from_u64(rand::random());
        let (rows, n) = (4, 9);
        let layer = Layer { node: NodeId::INPUT, factors: vec![1.0; rows], scales: vec![1.0; rows] };
        let weights: Vec<Vec<f64>> = (0..2).map(|_| matrix(rows, n, &mut rng).into_iter().collect()).collect();
        let books: Vec<Vec<f64>> = (0..2).map(|_| (0..6).map(|_| rng.random_range(-1.0..1.0)).collect()).collect();
        let books: Vec<&[f64]> = books.iter().map(Vec::as_slice).collect();
        let moments: Vec<_> = (0..2).map(|_| moments(Array2::eye(n))).collect();
        let mut index = vec![0; rows * n];
        assign(&[&layer, &layer], &weights, &moments, std::slice::from_ref(&books), &mut index);
        for (i, &code) in index.iter().enumerate() {
            assert_eq!(code, nearest(&books, &[weights[0][i], weights[1][i]], &[1.0, 1.0], &mut Vec::new()));
        }
    }
}
