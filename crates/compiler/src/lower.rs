//! From a graph to a circuit.

use umbra_model::{Convolution, Graph, Linear, Node, NodeId, Operator, Padding, Pool, Shape};

use crate::circuit::{Affine, Circuit, Grid, Kernel, Operation, Plane, Term, Value, ValueId};
use crate::error::CompileError;

/// The grid of a network's images.
fn grid(graph: &Graph) -> Grid {
    if let Padding::Circular { pitch, positions } = graph.padding() {
        return Grid { pitch, positions };
    }
    let input = graph.input();
    // Wide enough to tell the columns of a tap from its rows, see [`Grid::split`].
    let widest = graph.iter().map(|(_, node)| match node.operator() {
        Operator::Convolution(convolution) => convolution.kernel(),
        Operator::Linear(_) => match node.inputs().first().map(|i| graph.node(*i).shape()) {
            Some(Shape::Planar { width, .. }) if width > 1 => 2 * width,
            _ => 1,
        },
        _ => 1,
    });
    let pitch = widest.fold(input.width, usize::max).next_power_of_two();
    Grid { pitch, positions: pitch * input.height.next_power_of_two() }
}

/// Translates a graph, one value or two a node.
///
/// # Errors
/// [`CompileError::Unsupported`] names the node.
pub fn lower(graph: &Graph) -> Result<Circuit, CompileError> {
    let circuit = Circuit { values: Vec::new(), output: 0, grid: grid(graph), others: Vec::new() };
    let mut lowering = Lowering { graph, circuit, ids: Vec::new() };
    for (id, node) in graph.iter() {
        debug_assert_eq!(id.index(), lowering.ids.len());
        let value = lowering.value(node)?;
        let id = lowering.circuit.push(value);
        lowering.ids.push(id);
    }
    debug_assert_eq!(NodeId::INPUT.index(), 0);
    let Lowering { mut circuit, ids, .. } = lowering;
    circuit.output = ids[graph.output().index()];
    circuit.end_in_affine();
    circuit.sort();
    Ok(circuit)
}

struct Lowering<'a> {
    graph: &'a Graph,
    circuit: Circuit,
    /// Of the nodes so far.
    ids: Vec<ValueId>,
}

impl Lowering<'_> {
    fn value(&mut self, node: &Node) -> Result<Value, CompileError> {
        let channels = node.shape().channels();
        let sources: Vec<ValueId> = node.inputs().iter().map(|i| self.ids[i.index()]).collect();
        let mut value = self.shaped(node, sources.first().copied());
        let affine = |kernels: Vec<Kernel>, bias| {
            let terms = sources.iter().zip(kernels).map(|(&source, kernel)| Term { source, kernel });
            Operation::Affine(Affine::new(terms.collect(), bias))
        };
        match node.operator() {
            Operator::Input => {}
            Operator::Convolution(convolution) => {
                if value.plane.is_none() {
                    value.positions /= convolution.stride;
                }
                let kernel = dense(convolution, self.circuit.grid.pitch as i64);
                value.operation = affine(vec![kernel], bias(convolution.bias.as_ref(), channels));
            }
            Operator::BatchNorm(norm) => {
                let (factors, offsets) = norm.affine().into_iter().unzip();
                value.operation = affine(vec![Kernel::Diagonal(factors)], offsets);
            }
            Operator::Polynomial(polynomial) => {
                let coefficients = (0..channels).map(|c| polynomial.coefficients(c)).collect();
                value.operation = Operation::Polynomial(sources[0], coefficients);
            }
            Operator::Add => {
                let ones = || Kernel::Diagonal(vec![1.0; channels]);
                value.operation = affine(vec![ones(), ones()], vec![0.0; channels]);
                if value.plane.is_none() {
                    // Means over different stages have one shape, and are laid out differently. What many positions
                    // hold can be read at few, not the other way round.
                    let values = || sources.iter().map(|&source| &self.circuit.values[source]);
                    value.positions = values().map(|v| v.positions).min().unwrap_or(value.positions);
                    value.pooled = values().all(|v| v.pooled);
                }
            }
            Operator::AveragePool(pool) => value = self.pooled(node, *pool, value),
            Operator::Linear(linear) => {
                let kernel = self.linear(node, linear, sources[0])?;
                value.operation = affine(vec![kernel], bias(linear.bias.as_ref(), channels));
            }
            other => {
                return Err(CompileError::Unsupported {
                    node: node.name().into(),
                    what: format!("operator {other}"),
                    remedy: format!("use only {}", umbra_model::SUPPORTED_OPERATORS.join(", ")),
                });
            }
        }
        Ok(value)
    }

    /// A value of the node's shape; operation and what else the node changes are its first source's.
    fn shaped(&self, node: &Node, source: Option<ValueId>) -> Value {
        let channels = node.shape().channels();
        let mut value = match source {
            Some(source) => self.circuit.values[source].clone(),
            None => Value {
                nodes: Vec::new(),
                channels,
                positions: self.circuit.grid.positions,
                plane: None,
                pooled: false,
                logits: false,
                operation: Operation::Input((0..channels).map(|c| (c, 0)).collect()),
            },
        };
        value.nodes = vec![node.name().into()];
        value.channels = channels;
        if let Shape::Planar { height, width, .. } = node.shape() {
            let dilation = value.plane.map_or(1, |p| p.dilation);
            let stride = match node.operator() {
                Operator::Convolution(convolution) => convolution.stride,
                Operator::AveragePool(Pool::Square(k)) => *k,
                _ => 1,
            };
            value.plane = Some(Plane { height, width, dilation: dilation * stride });
            value.positions = height * width;
        }
        value
    }

    /// Sums over windows of the source, then the factor that makes them means.
    fn pooled(&mut self, node: &Node, pool: Pool, mut value: Value) -> Value {
        let mut summed = self.ids[node.inputs()[0].index()];
        let ring = value.plane.is_none();
        let before = self.graph.node(node.inputs()[0]);
        if let (true, Pool::Global, Operator::AveragePool(Pool::Square(_))) = (ring, pool, before.operator()) {
            // The mean of means is that of all: every position is in as many squares.
            summed = self.ids[before.inputs()[0].index()];
            value.positions = self.circuit.values[summed].positions;
        }
        let read = &self.circuit.values[summed];
        let window = match (read.plane, pool) {
            // So few positions that the next row is the same one again.
            (None, Pool::Square(2)) if read.positions <= self.circuit.grid.pitch => [1, 2],
            (_, Pool::Square(k)) => [k, k],
            (Some(plane), Pool::Global) => [plane.height, plane.width],
            (None, Pool::Global) if read.pooled => [1, 1],
            (None, Pool::Global) => [1, read.positions],
        };
        let count = window[0] * window[1];
        // Pooling a single position changes nothing.
        if count > 1 {
            value.pooled = ring && pool == Pool::Global;
            value.operation = Operation::Sum(summed, window);
            summed = self.circuit.push(value.clone());
        }
        let factors = vec![1.0 / count as f64; value.channels];
        let kernel = match pool {
            Pool::Square(_) if ring => {
                // Sums are at every position of the ring; those between squares are left out.
                value.positions /= 2;
                Kernel::thin(&factors)
            }
            _ => Kernel::Diagonal(factors),
        };
        let bias = vec![0.0; value.channels];
        value.operation = Operation::Affine(Affine::new(vec![Term { source: summed, kernel }], bias));
        value
    }

    fn linear(&self, node: &Node, linear: &Linear, source: ValueId) -> Result<Kernel, CompileError> {
        let source = &self.circuit.values[source];
        let pitch = self.circuit.grid.pitch as i64;
        let taps: Vec<i64> = match source.plane {
            Some(Plane { height, width, .. }) => {
                (0..height as i64).flat_map(|row| (0..width as i64).map(move |column| pitch * row + column)).collect()
            }
            None if !source.pooled && source.positions > 1 => {
                return Err(CompileError::Unsupported {
                    node: node.name().into(),
                    what: format!("a linear layer over {} positions", source.positions),
                    remedy: "put a global average_pool before it".into(),
                });
            }
            None => vec![0],
        };
        Ok(Kernel::Dense { stride: 1, taps, inputs: source.channels, weights: to_f64(linear.weight.values()) })
    }
}

fn dense(convolution: &Convolution, pitch: i64) -> Kernel {
    let half = (convolution.kernel() / 2) as i64;
    let offsets = || -half..=half;
    Kernel::Dense {
        stride: convolution.stride,
        taps: offsets().flat_map(|dr| offsets().map(move |dc| pitch * dr + dc)).collect(),
        inputs: convolution.in_channels(),
        weights: to_f64(convolution.weight.values()),
    }
}

impl Circuit {
    /// Puts an identity behind an output that is not affine, so that passes have a place to fold constants into.
    fn end_in_affine(&mut self) {
        let last = &self.values[self.output];
        if matches!(last.operation, Operation::Affine(_)) {
            return;
        }
        let kernel = Kernel::Diagonal(vec![1.0; last.channels]);
        let affine = Affine::new(vec![Term { source: self.output, kernel }], vec![0.0; last.channels]);
        let identity = Value { operation: Operation::Affine(affine), ..last.clone() };
        self.output = self.push(identity);
    }
}

fn to_f64(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

fn bias(tensor: Option<&umbra_model::Tensor>, channels: usize) -> Vec<f64> {
    tensor.map_or(vec![0.0; channels], |t| to_f64(t.values()))
}

#[cfg(test)]
mod tests {
    use umbra_model::{GraphBuilder, ImageSpec, Normalisation, Polynomial, Reference, Tensor};

    use super::*;
    use crate::testing::{logits, random};

    fn tensor(shape: &[usize], seed: u64) -> Tensor {
        let values = random(shape.iter().product(), seed).iter().map(|v| *v as f32).collect();
        Tensor::new("t", shape.to_vec(), values).unwrap()
    }

    /// Two convolutions on 2 x 2 pixels, the second one with stride 2, quadratics, a residual sum, a mean, a linear
    /// layer.
    fn graph(padding: Padding) -> Graph {
        let normalisation = Normalisation::PerChannel { mean: vec![0.0], std: vec![1.0] };
        let input = ImageSpec { channels: 1, height: 4, width: 4, normalisation, clip: None };
        let convolution = |outputs, inputs, stride, seed| {
            let weight = tensor(&[outputs, inputs, 3, 3], seed);
            Operator::Convolution(Convolution { weight, bias: Some(tensor(&[outputs], seed + 1)), stride })
        };
        let square = || Operator::Polynomial(Polynomial::Shared([0.25, 0.5, 1.0]));
        let mut b = GraphBuilder::new(padding, input).unwrap();
        let x = b.add("conv", convolution(2, 1, 1, 1), &[NodeId::INPUT]).unwrap();
        let y = b.add("act", square(), &[x]).unwrap();
        let x = b.add("sum", Operator::Add, &[x, y]).unwrap();
        let x = b.add("down", convolution(3, 2, 2, 3), &[x]).unwrap();
        let x = b.add("pool", Operator::AveragePool(Pool::Global), &[x]).unwrap();
        let linear = Linear { weight: tensor(&[2, 3], 5), bias: None };
        let x = b.add("fc", Operator::Linear(linear), &[x]).unwrap();
        b.finish("tiny", x).unwrap()
    }

    fn agrees(graph: &Graph, circuit: &Circuit) {
        for seed in 0..3 {
            let pixels: Vec<f64> = random(16, 50 + seed);
            let normalised: Vec<f32> = pixels.iter().map(|v| *v as f32).collect();
            let mut image = vec![0.0; circuit.grid.positions];
            for (p, pixel) in normalised.iter().enumerate() {
                image[p / 4 * circuit.grid.pitch + p % 4] = f64::from(*pixel);
            }
            let expected = Reference::<f64>::new(graph).forward(&normalised).unwrap();
            let found = logits(circuit, &vec![image]);
            assert!(expected.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-12), "{expected:?} {found:?}");
        }
    }

    #[test]
    fn nodes_become_values_on_the_ring() {
        let graph = graph(Padding::circular(4, 4));
        let circuit = lower(&graph).unwrap();
        let expected = [
            ("input", 1, 16, false),
            ("conv", 2, 16, false),
            ("act", 2, 16, false),
            ("sum", 2, 16, false),
            ("down", 3, 8, false),
            ("pool", 3, 8, true),
            ("pool", 3, 8, true),
            ("fc", 2, 8, true),
        ];
        let found = circuit.values.iter().map(|v| (v.nodes[0].as_str(), v.channels, v.positions, v.pooled));
        assert!(found.eq(expected), "{circuit}");
        assert_eq!(circuit.values[5].operation, Operation::Sum(4, [1, 8]));
        assert_eq!(circuit.values[2].operation, Operation::Polynomial(1, vec![[0.25, 0.5, 1.0]; 2]));
        agrees(&graph, &circuit);
    }

    #[test]
    fn nodes_become_planes_with_zero_padding() {
        let graph = graph(Padding::Zero);
        let circuit = lower(&graph).unwrap();
        assert_eq!((circuit.grid.pitch, circuit.grid.positions), (4, 16));
        let planes: Vec<[usize; 3]> =
            circuit.values.iter().filter_map(|v| v.plane).map(|p| [p.height, p.width, p.dilation]).collect();
        assert_eq!(planes[..5], [[4, 4, 1], [4, 4, 1], [4, 4, 1], [4, 4, 1], [2, 2, 2]]);
        assert_eq!(circuit.values[5].operation, Operation::Sum(4, [2, 2]));
        agrees(&graph, &circuit);
    }

    #[test]
    fn circuits_end_in_maps() {
        let mut b = GraphBuilder::new(
            Padding::circular(1, 2),
            ImageSpec { height: 1, width: 2, ..graph(Padding::Zero).input().clone() },
        )
        .unwrap();
        let x = b.add("pool", Operator::AveragePool(Pool::Global), &[NodeId::INPUT]).unwrap();
        let x = b.add("act", Operator::Polynomial(Polynomial::Shared([0.0, 0.0, 1.0])), &[x]).unwrap();
        let circuit = lower(&b.finish("square", x).unwrap()).unwrap();
        assert_eq!(
            circuit.to_string(),
            "5 values on 2 positions, 2 a row; the output is %4\n\
             %0  1 x 2                input(0)                         input\n\
             %1  1 x 2 pooled         sum(%0 over 1x2)                 pool\n\
             %2  1 x 2 pooled         affine(%1 by 0.5)                pool\n\
             %3  1 x 2 pooled         polynomial(%2: 0 + 0 x + 1 x^2)  act\n\
             %4  1 x 2 pooled logits  affine(%3 by 1)                  act\n"
        );
    }
}
