//! For the tests of passes: small circuits by hand, and the slow, obvious meaning of circuits and of packed values.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use umbra_model::{
    Convolution, Graph, GraphBuilder, ImageSpec, Linear, NodeId, Normalisation, Operator, Padding, Polynomial, Pool,
    Tensor,
};

use crate::circuit::{Affine, Circuit, Grid, Kernel, Operation, Plane, Term, Value, ValueId};
use crate::packing::{Diagonals, Packing};

/// Numbers of channels times positions.
pub(crate) type Planes = Vec<Vec<f64>>;

/// The taps of a 3 x 3 convolution on rows of four.
pub(crate) const TAPS: [i64; 9] = [-5, -4, -3, -1, 0, 1, 3, 4, 5];

/// A value on a ring of positions.
pub(crate) fn ring(channels: usize, positions: usize, operation: Operation) -> Value {
    Value { nodes: vec![], channels, positions, plane: None, pooled: false, logits: false, operation }
}

/// A value with zero padding.
pub(crate) fn plane(channels: usize, [height, width]: [usize; 2], dilation: usize, operation: Operation) -> Value {
    let plane = Some(Plane { height, width, dilation });
    Value { plane, ..ring(channels, height * width, operation) }
}

/// The image, of so many colours.
pub(crate) fn input(colours: usize) -> Operation {
    Operation::Input((0..colours).map(|c| (c, 0)).collect())
}

/// A convolution: `weights[co, ci, t]`.
pub(crate) fn dense(source: ValueId, stride: usize, taps: &[i64], inputs: usize, weights: Vec<f64>) -> Term {
    Term { source, kernel: Kernel::Dense { stride, taps: taps.to_vec(), inputs, weights } }
}

/// A factor per channel.
pub(crate) fn diagonal(source: ValueId, factors: &[f64]) -> Term {
    Term { source, kernel: Kernel::Diagonal(factors.to_vec()) }
}

/// An affine map.
pub(crate) fn affine(terms: Vec<Term>, bias: &[f64]) -> Operation {
    Operation::Affine(Affine::new(terms, bias.to_vec()))
}

/// A circuit whose last value is the output. Values are named by letters, in order.
pub(crate) fn circuit(pitch: usize, positions: usize, mut values: Vec<Value>) -> Circuit {
    let output = values.len() - 1;
    for (i, (value, name)) in values.iter_mut().zip('a'..).enumerate() {
        value.nodes = vec![name.into()];
        value.logits = i == output;
    }
    Circuit { values, output, grid: Grid { pitch, positions }, others: vec![] }
}

/// A network on 2 x 2 pixels: a convolution, a quadratic, a convolution, the sum of both convolutions, so many more
/// such blocks, a mean, a linear layer.
pub(crate) fn residual(blocks: usize, seed: u64) -> Graph {
    let tensor = |shape: &[usize], seed| {
        let values = random(shape.iter().product(), seed).iter().map(|v| 0.3 * *v as f32).collect();
        Tensor::new("t", shape.to_vec(), values).unwrap()
    };
    let convolution = |inputs, seed| {
        Operator::Convolution(Convolution { weight: tensor(&[2, inputs, 3, 3], seed), bias: None, stride: 1 })
    };
    let square = || Operator::Polynomial(Polynomial::Shared([0.25, 0.5, 1.0]));
    let normalisation = Normalisation::PerChannel { mean: vec![0.5], std: vec![0.5] };
    let input = ImageSpec { channels: 1, height: 2, width: 2, normalisation, clip: None };
    let mut b = GraphBuilder::new(Padding::circular(2, 2), input).unwrap();
    let mut x = b.add("stem", convolution(1, seed), &[NodeId::INPUT]).unwrap();
    for i in 0..blocks {
        let y = b.add(&format!("act{i}"), square(), &[x]).unwrap();
        let y = b.add(&format!("conv{i}"), convolution(2, seed + 1 + i as u64), &[y]).unwrap();
        x = b.add(&format!("add{i}"), Operator::Add, &[x, y]).unwrap();
    }
    let x = b.add("last act", square(), &[x]).unwrap();
    let x = b.add("pool", Operator::AveragePool(Pool::Global), &[x]).unwrap();
    let linear = Linear { weight: tensor(&[3, 2], seed + 100), bias: None };
    let x = b.add("fc", Operator::Linear(linear), &[x]).unwrap();
    b.finish("residual", x).unwrap()
}

/// Random numbers in `[-1, 1)`, always the same.
pub(crate) fn random(count: usize, seed: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// A random image: colours on the positions of the grid; of values with zero padding, what is outside the plane is not
/// read.
pub(crate) fn image(circuit: &Circuit, seed: u64) -> Planes {
    (0..16).map(|colour| random(circuit.grid.positions, 100 * seed + colour)).collect()
}

/// Every value of a circuit on an image. Pooled values are at every position.
pub(crate) fn evaluate(circuit: &Circuit, image: &Planes) -> Vec<Planes> {
    let mut values: Vec<Planes> = Vec::new();
    for value in &circuit.values {
        values.push(match &value.operation {
            Operation::Input(channels) => {
                let of = |&(colour, tap): &(usize, i64)| {
                    let at = |p: usize| {
                        image[colour][(grid_position(circuit, value, p) + tap).rem_euclid(circuit.grid.positions as i64)
                            as usize]
                    };
                    (0..value.positions).map(at).collect()
                };
                channels.iter().map(of).collect()
            }
            Operation::Affine(affine) => evaluate_affine(circuit, value, affine, &values),
            Operation::Polynomial(source, coefficients) => {
                let of = |([c, b, a], x): (&[f64; 3], &Vec<f64>)| x.iter().map(|x| c + b * x + a * x * x).collect();
                coefficients.iter().zip(&values[*source]).map(of).collect()
            }
            Operation::Square(source) => values[*source].iter().map(|x| x.iter().map(|x| x * x).collect()).collect(),
            Operation::Sum(source, [rows, columns]) => {
                let read = &circuit.values[*source];
                let window: Vec<(usize, usize)> =
                    (0..*rows).flat_map(|row| (0..*columns).map(move |column| (row, column))).collect();
                let stride = value.plane.zip(read.plane).map_or(1, |(own, read)| own.dilation / read.dilation);
                let sum = |x: &Vec<f64>, p: usize| -> f64 {
                    window
                        .iter()
                        .map(|(row, column)| {
                            x[moved(circuit, value, read, p, stride, (*row as i64, *column as i64)).unwrap_or(0)]
                        })
                        .sum()
                };
                values[*source].iter().map(|x| (0..value.positions).map(|p| sum(x, p)).collect()).collect()
            }
        });
    }
    values
}

/// The logits.
pub(crate) fn logits(circuit: &Circuit, image: &Planes) -> Vec<f64> {
    evaluate(circuit, image)[circuit.output].iter().map(|channel| channel[0]).collect()
}

fn evaluate_affine(circuit: &Circuit, value: &Value, affine: &Affine, values: &[Planes]) -> Planes {
    let mut out: Planes = vec![vec![0.0; value.positions]; value.channels];
    for (c, out) in out.iter_mut().enumerate() {
        for (p, out) in out.iter_mut().enumerate() {
            let border =
                affine.border.as_ref().map_or(0.0, |border| border[c][grid_position(circuit, value, p) as usize]);
            *out = affine.bias[c] + border;
            for term in &affine.terms {
                let (read, x) = (&circuit.values[term.source], &values[term.source]);
                match &term.kernel {
                    Kernel::Diagonal(factors) => {
                        *out += factors[c] * moved(circuit, value, read, p, 1, (0, 0)).map_or(0.0, |at| x[c][at]);
                    }
                    Kernel::Dense { stride, taps, inputs, weights } => {
                        for (t, &tap) in taps.iter().enumerate() {
                            let by = circuit.grid.split(tap);
                            let Some(at) = moved(circuit, value, read, p, *stride, by) else { continue };
                            *out += (0..*inputs)
                                .map(|ci| weights[(c * inputs + ci) * taps.len() + t] * x[ci][at])
                                .sum::<f64>();
                        }
                    }
                }
            }
        }
    }
    out
}

/// The position of what is read for position `p`; `None` for padding.
fn moved(
    circuit: &Circuit,
    value: &Value,
    read: &Value,
    p: usize,
    stride: usize,
    (rows, columns): (i64, i64),
) -> Option<usize> {
    match (value.plane, read.plane) {
        (Some(own), Some(plane)) => {
            let row = (stride * (p / own.width)) as i64 + rows;
            let column = (stride * (p % own.width)) as i64 + columns;
            let inside = (0..plane.height as i64).contains(&row) && (0..plane.width as i64).contains(&column);
            inside.then(|| row as usize * plane.width + column as usize)
        }
        _ => {
            let tap = rows * circuit.grid.pitch as i64 + columns;
            Some(((stride * p) as i64 + tap).rem_euclid(read.positions as i64) as usize)
        }
    }
}

/// The position on the grid of the image.
fn grid_position(circuit: &Circuit, value: &Value, p: usize) -> i64 {
    match value.plane {
        Some(plane) => (plane.dilation * (p / plane.width * circuit.grid.pitch + p % plane.width)) as i64,
        None => p as i64,
    }
}

/// What diagonals make of ciphertexts of slots, masked and with biases as the packing has them.
pub(crate) fn apply(
    packing: &dyn Packing,
    circuit: &Circuit,
    id: ValueId,
    diagonals: &Diagonals,
    inputs: &[Vec<f64>],
) -> Vec<Vec<f64>> {
    let value = &circuit.values[id];
    let n = packing.slots();
    let (masks, masked) = packing.masks(circuit, value, diagonals);
    let mut out = vec![vec![0.0; n]; packing.ciphertexts(value)];
    for (i, ((o, input, rotation), weights)) in diagonals.iter().enumerate() {
        for s in 0..n {
            let mask = masked.get(i).copied().flatten().is_none_or(|m| {
                let mask = &masks[usize::from(m)];
                mask[s % mask.len()]
            });
            let at = (s as i64 + rotation.rows + rotation.rest).rem_euclid(n as i64) as usize;
            out[*o][s] += if mask { weights[s % weights.len()] * inputs[*input][at] } else { 0.0 };
        }
    }
    let Operation::Affine(affine) = &value.operation else { return out };
    let mut bias = packing.bias(value, affine, !masks.is_empty());
    for (member, other) in circuit.others.iter().enumerate() {
        let Operation::Affine(affine) = &other.values[id].operation else { continue };
        let more = packing.spread(value, member + 1, &affine.bias);
        bias.iter_mut().flatten().zip(more.iter().flatten()).for_each(|(b, more)| *b += more);
    }
    for (out, bias) in out.iter_mut().zip(&bias) {
        out.iter_mut().enumerate().for_each(|(s, y)| *y += bias[s % bias.len()]);
    }
    out
}
