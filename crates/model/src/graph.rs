//! A network: checked once, then immutable.

use std::collections::{BTreeMap, HashMap, HashSet};

use umbra_file::is_printable;

use crate::operator::output_shape;
use crate::{GraphError, ImageSpec, Operator, Padding, Shape};

/// The index of a node in its [`Graph`]; inputs come before the nodes that read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(usize);

impl NodeId {
    /// The image: the first node of every graph.
    pub const INPUT: Self = Self(0);

    pub(crate) fn new(index: usize) -> Self {
        Self(index)
    }

    /// Position in [`Graph::nodes`].
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}

/// One step of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    name: String,
    operator: Operator,
    inputs: Vec<NodeId>,
    shape: Shape,
}

impl Node {
    /// Unique in the graph; `"input"` is the image.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it computes.
    #[must_use]
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// What it reads, in order.
    #[must_use]
    pub fn inputs(&self) -> &[NodeId] {
        &self.inputs
    }

    /// The shape of its output.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }
}

/// Smallest and largest value seen over a test set.
pub type Range = [f32; 2];

/// What training observed; used to detect results that cannot be right.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranges {
    /// Over all logits.
    pub logits: Option<Range>,
    /// Over the inputs of each polynomial node.
    pub activations: BTreeMap<NodeId, Range>,
}

/// What describes a network besides its nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// For people, such as `R20-16`.
    pub name: String,
    /// What it was trained on, such as `CIFAR-10`; may be empty.
    pub dataset: String,
    /// One name a logit.
    pub classes: Vec<String>,
    /// How it was trained: free form, `Null` where unknown.
    pub training: serde_json::Value,
    /// Images like those it will see, bytes `[C, H, W]`, at most [`Self::MAX_SAMPLES`]: what rounding and noise do to
    /// the network is measured on them. May be none.
    pub samples: Vec<Vec<u8>>,
}

impl Description {
    /// Number of samples at most.
    pub const MAX_SAMPLES: usize = 64;

    /// Checks that samples are images of the network, and not too many.
    fn check_samples(&self, input: &ImageSpec) -> Result<(), GraphError> {
        let invalid =
            |what: &str, found: String, expected: String| GraphError::Invalid { what: what.into(), found, expected };
        let samples = &self.samples;
        if samples.len() > Self::MAX_SAMPLES {
            let expected = format!("at most {}", Self::MAX_SAMPLES);
            return Err(invalid("number of samples", samples.len().to_string(), expected));
        }
        if let Some(sample) = samples.iter().find(|s| s.len() != input.len()) {
            let expected = format!("{}, as the network's input", input.len());
            return Err(invalid("number of bytes of a sample", sample.len().to_string(), expected));
        }
        Ok(())
    }
}

/// A network whose nodes are in topological order, whose shapes fit, whose weights are finite and every node of which
/// contributes to the output. Built by [`Graph::load`](crate::Graph::load) or a [`GraphBuilder`].
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    description: Description,
    padding: Padding,
    input: ImageSpec,
    nodes: Vec<Node>,
    output: NodeId,
    ranges: Ranges,
}

impl Graph {
    /// The name of the network.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.description.name
    }

    /// The same network with these samples.
    ///
    /// # Errors
    /// [`GraphError::Invalid`] for samples of another size than the input's, or too many.
    pub fn with_samples(mut self, samples: Vec<Vec<u8>>) -> Result<Self, GraphError> {
        self.description.samples = samples;
        self.description.check_samples(&self.input)?;
        Ok(self)
    }

    /// Name, data set, classes, training.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// One name a logit.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.description.classes
    }

    /// What positions mean.
    #[must_use]
    pub fn padding(&self) -> Padding {
        self.padding
    }

    /// The images it takes.
    #[must_use]
    pub fn input(&self) -> &ImageSpec {
        &self.input
    }

    /// All nodes, inputs before readers; the first is [`Operator::Input`].
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node. `id` must be of this graph.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Every node with its identifier, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().map(|(i, n)| (NodeId(i), n))
    }

    /// The node that computes the logits.
    #[must_use]
    pub fn output(&self) -> NodeId {
        self.output
    }

    /// The node of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().position(|n| n.name == name).map(NodeId)
    }

    /// The nodes that read each node, by node index.
    #[must_use]
    pub fn readers(&self) -> Vec<Vec<NodeId>> {
        let mut readers = vec![Vec::new(); self.nodes.len()];
        for (id, node) in self.iter() {
            for input in &node.inputs {
                readers[input.0].push(id);
            }
        }
        readers
    }

    /// What training observed.
    #[must_use]
    pub fn ranges(&self) -> &Ranges {
        &self.ranges
    }

    /// Multiplications and additions of convolutions and linear layers for one image.
    #[must_use]
    pub fn multiply_accumulates(&self) -> u64 {
        self.nodes
            .iter()
            .map(|node| match &node.operator {
                Operator::Convolution(c) => (c.weight.values().len() * node.shape.positions()) as u64,
                Operator::Linear(l) => l.weight.values().len() as u64,
                _ => 0,
            })
            .sum()
    }

    /// Number of trained values.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        let bias = |b: &Option<crate::Tensor>| b.as_ref().map_or(0, |t| t.values().len());
        self.nodes
            .iter()
            .map(|node| match &node.operator {
                Operator::Convolution(c) => (c.weight.values().len() + bias(&c.bias)) as u64,
                Operator::Linear(l) => (l.weight.values().len() + bias(&l.bias)) as u64,
                Operator::BatchNorm(n) => 2 * n.scale.values().len() as u64,
                Operator::Polynomial(crate::Polynomial::PerChannel(each)) => 3 * each.len() as u64,
                _ => 0,
            })
            .sum()
    }
}

/// Values a node may have at most: 1 GiB of `f32`, far above any network that can be encrypted.
const MAX_VALUES: usize = 1 << 28;
/// Nodes a graph may have at most.
const MAX_NODES: usize = 1 << 12;
/// Channels of one node at most.
const MAX_CHANNELS: usize = 1 << 14;

/// Builds a [`Graph`] node by node, checking each when it is added.
///
/// ```
/// use umbra_model::*;
/// let normalisation = Normalisation::PerImage { min_std: 0.05 };
/// let input = ImageSpec { channels: 3, height: 8, width: 8, normalisation, clip: None };
/// let mut builder = GraphBuilder::new(Padding::circular(8, 8), input)?;
/// let weight = Tensor::new("weight", [4, 3, 3, 3], vec![0.1; 108])?;
/// let convolution = Operator::Convolution(Convolution { weight, bias: None, stride: 2 });
/// let x = builder.add("conv", convolution, &[NodeId::INPUT])?;
/// let x = builder.add("square", Operator::Polynomial(Polynomial::Shared([0.1, 0.5, 0.25])), &[x])?;
/// let x = builder.add("pool", Operator::AveragePool(Pool::Global), &[x])?;
/// let graph = builder.finish("tiny", x)?;
/// assert_eq!(graph.node(graph.output()).shape().channels(), 4);
/// # Ok::<(), GraphError>(())
/// ```
#[derive(Clone, Debug)]
pub struct GraphBuilder {
    padding: Padding,
    input: ImageSpec,
    nodes: Vec<Node>,
    names: HashMap<String, NodeId>,
}

impl GraphBuilder {
    /// A graph that has only its input.
    ///
    /// # Errors
    /// [`GraphError::Invalid`] where the input is empty or huge or does not fit the geometry.
    pub fn new(padding: Padding, input: ImageSpec) -> Result<Self, GraphError> {
        input.check()?;
        let ImageSpec { channels, height, width, .. } = input;
        let shape = match padding {
            Padding::Circular { pitch, positions } => {
                if padding != Padding::circular(height, width) {
                    return Err(GraphError::Invalid {
                        what: "cyclic geometry".into(),
                        found: format!("pitch {pitch}, {positions} positions"),
                        expected: format!("{:?}", Padding::circular(height, width)),
                    });
                }
                Shape::Ring { channels, positions }
            }
            Padding::Zero => Shape::Planar { channels, height, width },
        };
        let name = String::from("input");
        let node = Node { name: name.clone(), operator: Operator::Input, inputs: Vec::new(), shape };
        Ok(Self { padding, input, nodes: vec![node], names: HashMap::from([(name, NodeId::INPUT)]) })
    }

    /// Adds a node that reads nodes added before.
    ///
    /// # Errors
    /// [`GraphError`]: a bad or duplicate name, shapes or values that do not fit.
    pub fn add(&mut self, name: &str, operator: Operator, inputs: &[NodeId]) -> Result<NodeId, GraphError> {
        if name.is_empty() || name.len() > 256 || name == "input" || !is_printable(name) {
            return Err(GraphError::BadName { node: name.into() });
        }
        if self.names.contains_key(name) {
            return Err(GraphError::DuplicateName { node: name.into() });
        }
        let invalid = |what: &str, found: String, expected: String| GraphError::Mismatch {
            node: name.into(),
            what: what.into(),
            found,
            expected,
        };
        let mut shapes = Vec::with_capacity(inputs.len());
        for input in inputs {
            let Some(node) = self.nodes.get(input.0) else {
                return Err(invalid("input", format!("node number {}", input.0), "a node added before".into()));
            };
            shapes.push(node.shape);
        }
        let shape = output_shape(name, &operator, &shapes)?;
        let values = shape.channels().checked_mul(shape.positions());
        let fits = shape.channels() <= MAX_CHANNELS && values.is_some_and(|v| v <= MAX_VALUES);
        if !fits {
            return Err(invalid(
                "size of the output",
                shape.to_string(),
                format!("at most {MAX_CHANNELS} channels and {MAX_VALUES} values"),
            ));
        }
        let id = NodeId(self.nodes.len());
        if id.0 >= MAX_NODES {
            return Err(GraphError::Invalid {
                what: "number of nodes".into(),
                found: format!("more than {MAX_NODES}"),
                expected: format!("at most {MAX_NODES}"),
            });
        }
        self.nodes.push(Node { name: name.into(), operator, inputs: inputs.to_vec(), shape });
        self.names.insert(name.into(), id);
        Ok(id)
    }

    /// The shape of a node added before.
    #[must_use]
    pub fn shape(&self, id: NodeId) -> Option<Shape> {
        self.nodes.get(id.0).map(|node| node.shape)
    }

    /// The node of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.names.get(name).copied()
    }

    /// A graph with classes `"0"`, `"1"`, ... and neither data set nor ranges.
    ///
    /// # Errors
    /// As [`GraphBuilder::finish_with`].
    pub fn finish(self, name: &str, output: NodeId) -> Result<Graph, GraphError> {
        let logits = self.shape(output).map_or(0, Shape::channels);
        let description = Description {
            name: name.into(),
            dataset: String::new(),
            classes: (0..logits).map(|class| class.to_string()).collect(),
            training: serde_json::Value::Null,
            samples: Vec::new(),
        };
        self.finish_with(description, Ranges::default(), output)
    }

    /// The graph whose logits `output` computes.
    ///
    /// # Errors
    /// [`GraphError`]: nodes that do not contribute; an output that still has positions, or another number of classes
    /// than logits; names with control characters, which would reach a terminal; samples of another size than the
    /// input's, or too many; ranges of other nodes than polynomials, or empty ones.
    pub fn finish_with(self, description: Description, ranges: Ranges, output: NodeId) -> Result<Graph, GraphError> {
        let invalid =
            |what: &str, found: String, expected: String| GraphError::Invalid { what: what.into(), found, expected };
        let Some(shape) = self.shape(output) else {
            return Err(GraphError::UnknownOutput { output: format!("node number {}", output.0) });
        };
        if shape.positions() != 1 || output == NodeId::INPUT {
            return Err(invalid(
                "the output's shape",
                shape.to_string(),
                "one position a logit: end with average_pool or linear".into(),
            ));
        }
        if description.classes.len() != shape.channels() {
            return Err(invalid(
                "number of class names",
                description.classes.len().to_string(),
                format!("{}, the number of logits", shape.channels()),
            ));
        }
        let names = [("the network's name", &description.name), ("the name of the data set", &description.dataset)];
        let mut known = HashSet::new();
        if let Some(class) = description.classes.iter().find(|class| !known.insert(class.trim())) {
            return Err(GraphError::DuplicateClass { class: class.clone() });
        }
        let classes = description.classes.iter().map(|class| ("the name of a class", class));
        if let Some((what, name)) = names.into_iter().chain(classes).find(|(_, name)| !is_printable(name)) {
            return Err(invalid(what, format!("{name:?}"), "printable characters".into()));
        }
        description.check_samples(&self.input)?;
        let mut used = vec![false; self.nodes.len()];
        used[output.0] = true;
        for index in (0..self.nodes.len()).rev().filter(|&i| i <= output.0) {
            if used[index] {
                for input in &self.nodes[index].inputs {
                    used[input.0] = true;
                }
            }
        }
        if let Some(index) = used.iter().position(|u| !u) {
            return Err(GraphError::Unused { node: self.nodes[index].name.clone() });
        }
        let named = ranges.activations.iter().map(|(id, range)| (self.nodes.get(id.0), range));
        for (node, range) in named {
            let polynomial = node.filter(|n| matches!(n.operator, Operator::Polynomial(_)));
            let name = polynomial.map_or("ranges: activations", |n| &n.name);
            if polynomial.is_none() || !is_range(range) {
                let expected = "[min, max] of a polynomial node's input";
                return Err(invalid(name, format!("{range:?}"), expected.into()));
            }
        }
        if let Some(range) = ranges.logits.filter(|range| !is_range(range)) {
            let expected = "[min, max]".into();
            return Err(invalid("ranges: logits", format!("{range:?}"), expected));
        }
        Ok(Graph { description, padding: self.padding, input: self.input, nodes: self.nodes, output, ranges })
    }
}

fn is_range([min, max]: &Range) -> bool {
    min.is_finite() && max.is_finite() && min <= max
}
