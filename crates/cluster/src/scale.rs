//! What the compiler multiplies encrypted: convolutions with the batch norms behind them fused in.
//!
//! A batch norm multiplies every row (output channel) of the convolution before it by one factor, also through a
//! residual sum. Weights are therefore clustered times that factor, and written back divided by it: equal codewords of
//! a row stay equal weights of that row, so that sharing outlives fusing, and the error that is made small is the one
//! that ciphertexts see. For the same reason rows may have a scale each that codewords are taken times.

use std::collections::BTreeSet;

use umbra_model::{Convolution, Graph, GraphBuilder, GraphError, NodeId, Operator, Tensor};

/// Rows whose factor is smaller than this part of the layer's largest are not worth a multiplication: their weights
/// become zero.
const SMALLEST_PART: f64 = 1e-12;
/// Below this, dividing by the factor could leave the range of `f32`.
const SMALLEST_FACTOR: f64 = 1e-20;

/// A convolution and what follows it.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub node: NodeId,
    /// Of each output channel, what batch norms multiply by; zero where the row does not count.
    pub factors: Vec<f64>,
    /// Of each output channel: weight times factor is what is clustered times scale.
    pub scales: Vec<f64>,
}

impl Layer {
    /// Scales that leave rows of mean square one: rows differ tenfold, and codewords that all share are too coarse for
    /// small ones.
    pub fn normalised(mut self, graph: &Graph) -> Self {
        let Some(row) = convolution(graph, self.node).map(row_length) else { return self };
        let weights = self.weights(graph);
        for (weights, scale) in weights.chunks_exact(row).zip(&mut self.scales) {
            let size = (weights.iter().map(|w| w * w).sum::<f64>() / row as f64).sqrt();
            if size >= SMALLEST_FACTOR {
                *scale *= size;
            }
        }
        self
    }

    /// The weights as they are clustered.
    pub fn weights(&self, graph: &Graph) -> Vec<f64> {
        let Some(convolution) = convolution(graph, self.node) else { return Vec::new() };
        let row = row_length(convolution);
        let rows = convolution.weight.values().chunks_exact(row).zip(self.factors.iter().zip(&self.scales));
        rows.flat_map(|(row, (factor, scale))| row.iter().map(move |&w| f64::from(w) * factor / scale)).collect()
    }
}

/// Weights of an output channel.
pub(super) fn row_length(convolution: &Convolution) -> usize {
    convolution.in_channels() * convolution.kernel() * convolution.kernel()
}

pub(super) fn convolution(graph: &Graph, id: NodeId) -> Option<&Convolution> {
    match graph.node(id).operator() {
        Operator::Convolution(convolution) => Some(convolution),
        _ => None,
    }
}

/// Every convolution, in the order of the graph.
pub(super) fn layers(graph: &Graph) -> Vec<Layer> {
    let chains = Chains::new(graph);
    let each = graph.iter().filter_map(|(id, _)| convolution(graph, id).map(|c| (id, c)));
    each.map(|(node, convolution)| {
        let mut factors = vec![1.0; convolution.out_channels()];
        for norm in chains.after(node) {
            if let Operator::BatchNorm(norm) = graph.node(norm).operator() {
                factors.iter_mut().zip(norm.affine()).for_each(|(f, (factor, _))| *f *= factor);
            }
        }
        let largest = factors.iter().map(|f| f.abs()).fold(0.0, f64::max);
        let least = (SMALLEST_PART * largest).max(SMALLEST_FACTOR);
        factors.iter_mut().filter(|f| f.abs() < least).for_each(|f| *f = 0.0);
        let scales = vec![1.0; factors.len()];
        Layer { node, factors, scales }
    })
    .collect()
}

/// The node that holds the bias of a fused convolution: its last batch norm, or itself.
pub(super) fn bias_node(graph: &Graph, id: NodeId) -> Option<NodeId> {
    let Operator::Convolution(convolution) = graph.node(id).operator() else { return None };
    let after = Chains::new(graph).after(id);
    let last = after.into_iter().rfind(|&n| matches!(graph.node(n).operator(), Operator::BatchNorm(_)));
    last.or(convolution.bias.is_some().then_some(id))
}

/// Nodes that hold a bias of a fused convolution.
pub(super) fn bias_nodes(graph: &Graph) -> Vec<NodeId> {
    let nodes: BTreeSet<NodeId> = graph.iter().filter_map(|(id, _)| bias_node(graph, id)).collect();
    nodes.into_iter().collect()
}

/// The bias of each channel that a node adds, with those of convolutions before it that it absorbs.
pub(super) fn biases(graph: &Graph, id: NodeId) -> Vec<f64> {
    Chains::new(graph).response(id)
}

/// The same network with other weights and biases, both as they are multiplied.
pub(super) fn rewrite(
    graph: &Graph,
    description: umbra_model::Description,
    weights: &[(Layer, Vec<f64>)],
    biases: &[(NodeId, Vec<f64>)],
) -> Result<Graph, GraphError> {
    let mut builder = GraphBuilder::new(graph.padding(), graph.input().clone())?;
    for (id, node) in graph.iter().skip(1) {
        builder.add(node.name(), rewritten(graph, id, weights, biases)?, node.inputs())?;
    }
    builder.finish_with(description, graph.ranges().clone(), graph.output())
}

/// A node of it.
pub(super) fn rewritten(
    graph: &Graph,
    id: NodeId,
    weights: &[(Layer, Vec<f64>)],
    biases: &[(NodeId, Vec<f64>)],
) -> Result<Operator, GraphError> {
    let node = graph.node(id);
    let mut operator = node.operator().clone();
    let bias = biases.iter().find(|(n, _)| *n == id).map(|(_, b)| b);
    let tensor = |part: &str, like: &Tensor, values: Vec<f32>| {
        Tensor::new(&format!("{}.{part}", node.name()), like.shape(), values)
    };
    match &mut operator {
        Operator::Convolution(convolution) => {
            if let Some((layer, values)) = weights.iter().find(|(layer, _)| layer.node == id) {
                let row = row_length(convolution);
                let rows = values.chunks_exact(row).zip(layer.factors.iter().zip(&layer.scales));
                let divided = rows.flat_map(|(row, (&factor, scale))| {
                    row.iter().map(move |w| if factor == 0.0 { 0.0 } else { (w * scale / factor) as f32 })
                });
                convolution.weight = tensor("weight", &convolution.weight, divided.collect())?;
            }
            if let (Some(old), Some(new)) = (&convolution.bias, bias) {
                let new = new.iter().map(|&b| b as f32).collect();
                convolution.bias = Some(tensor("bias", old, new)?);
            }
        }
        Operator::BatchNorm(norm) => {
            if let Some(new) = bias {
                let absorbed = Chains::new(graph).absorbed(id);
                let means = norm.mean.values().iter();
                let shift = (new.iter().zip(norm.affine()).zip(means.zip(&absorbed)))
                    .map(|((b, (factor, _)), (&mean, x))| (b - factor * (x - f64::from(mean))) as f32);
                norm.shift = tensor("shift", &norm.shift, shift.collect())?;
            }
        }
        _ => {}
    }
    Ok(operator)
}

/// Affine nodes that are read once, by another affine node of one factor a channel, become one (as the compiler's
/// fusing does).
struct Chains<'a> {
    graph: &'a Graph,
    readers: Vec<Vec<NodeId>>,
}

impl<'a> Chains<'a> {
    fn new(graph: &'a Graph) -> Self {
        Self { graph, readers: graph.readers() }
    }

    /// The node that absorbs this one.
    fn absorber(&self, id: NodeId) -> Option<NodeId> {
        match self.readers[id.index()].as_slice() {
            &[reader] if id != self.graph.output() => {
                let operator = self.graph.node(reader).operator();
                matches!(operator, Operator::BatchNorm(_) | Operator::Add).then_some(reader)
            }
            _ => None,
        }
    }

    /// The nodes that a convolution is absorbed by, in order.
    fn after(&self, id: NodeId) -> Vec<NodeId> {
        std::iter::successors(self.absorber(id), |&next| self.absorber(next)).collect()
    }

    /// What the absorbed inputs of a node add up to where everything before them is zero.
    fn absorbed(&self, id: NodeId) -> Vec<f64> {
        let node = self.graph.node(id);
        let mut sum = vec![0.0; node.shape().channels()];
        for &input in node.inputs() {
            let affine = matches!(
                self.graph.node(input).operator(),
                Operator::Convolution(_) | Operator::BatchNorm(_) | Operator::Add
            );
            if affine && self.absorber(input) == Some(id) {
                sum.iter_mut().zip(self.response(input)).for_each(|(s, b)| *s += b);
            }
        }
        sum
    }

    fn response(&self, id: NodeId) -> Vec<f64> {
        match self.graph.node(id).operator() {
            Operator::Convolution(convolution) => match &convolution.bias {
                Some(bias) => bias.values().iter().map(|&b| f64::from(b)).collect(),
                None => vec![0.0; convolution.out_channels()],
            },
            Operator::BatchNorm(norm) => {
                let affine = norm.affine().into_iter();
                affine.zip(self.absorbed(id)).map(|((factor, offset), x)| factor * x + offset).collect()
            }
            Operator::Add => self.absorbed(id),
            _ => vec![0.0; self.graph.node(id).shape().channels()],
        }
    }
}
