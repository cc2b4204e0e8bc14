//! The manifest: a network as JSON beside a safetensors file of weights (`docs/network-format.md`).
//!
//! Decoding is in two pure steps, [`Manifest::decode`] and [`Manifest::graph`], because the first says which file the
//! second needs; [`Graph::load`] does both.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    BatchNorm, Convolution, Description, Graph, GraphBuilder, GraphError, ImageSpec, Linear, NodeId, Operator, Padding,
    Polynomial, Pool, Range, Ranges, Tensor,
};

pub(crate) const FORMAT: &str = "umbra-network";
pub(crate) const VERSION: u64 = 1;

/// A manifest whose syntax is right and whose nodes are known operators in topological order; shapes and weights are
/// checked by [`Manifest::graph`].
#[derive(Clone, Debug)]
pub struct Manifest {
    head: Head,
    /// In topological order.
    nodes: Vec<Entry>,
}

/// Everything but the nodes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Head {
    pub format: String,
    pub version: u64,
    pub name: String,
    #[serde(default)]
    pub dataset: String,
    pub classes: Vec<String>,
    #[serde(alias = "geometry")]
    pub padding: PaddingName,
    pub input: ImageSpec,
    pub weights: String,
    pub nodes: Vec<Map<String, Value>>,
    pub output: String,
    #[serde(default, skip_serializing_if = "RangesEntry::is_empty")]
    pub ranges: RangesEntry,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub training: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PaddingName {
    #[serde(alias = "cyclic")]
    Circular,
    #[serde(alias = "textbook")]
    Zero,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RangesEntry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logits: Option<Range>,
    #[serde(default)]
    pub activations: BTreeMap<String, Range>,
}

impl RangesEntry {
    fn is_empty(&self) -> bool {
        self.logits.is_none() && self.activations.is_empty()
    }
}

/// One node: what it reads, and what it does in terms of tensor keys.
#[derive(Clone, Debug)]
struct Entry {
    name: String,
    inputs: Vec<String>,
    operation: Operation,
}

/// The fields of each operator, under the names of the manifest.
#[derive(Clone, Debug)]
enum Operation {
    Convolution(ConvolutionEntry),
    BatchNorm(BatchNormEntry),
    Polynomial(PolynomialEntry),
    Add,
    AveragePool(Pool),
    Linear(LinearEntry),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConvolutionEntry {
    pub input: String,
    pub weight: String,
    #[serde(default)]
    pub bias: Option<String>,
    pub stride: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchNormEntry {
    pub input: String,
    pub scale: String,
    pub shift: String,
    pub mean: String,
    pub variance: String,
    pub epsilon: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolynomialEntry {
    pub input: String,
    pub coefficients: CoefficientsEntry,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged, expecting = "coefficients must be [c, b, a] or the key of a tensor")]
pub(crate) enum CoefficientsEntry {
    Shared([f64; 3]),
    Key(String),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddEntry {
    pub inputs: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AveragePoolEntry {
    pub input: String,
    pub kernel: KernelEntry,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged, expecting = "kernel must be \"global\" or a number")]
pub(crate) enum KernelEntry {
    Square(usize),
    Named(GlobalName),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GlobalName {
    Global,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinearEntry {
    pub input: String,
    pub weight: String,
    #[serde(default)]
    pub bias: Option<String>,
}

impl Manifest {
    /// Reads a manifest of format `umbra-network`, version 1.
    ///
    /// # Errors
    /// [`GraphError::Syntax`], [`GraphError::Version`]; duplicate names, unknown inputs, unknown operators and cycles.
    pub fn decode(json: &[u8]) -> Result<Self, GraphError> {
        #[derive(Deserialize)]
        struct Version {
            format: String,
            version: u64,
        }
        let syntax = |error: serde_json::Error| GraphError::Syntax { reason: error.to_string() };
        let Version { format, version } = serde_json::from_slice(json).map_err(syntax)?;
        if format != FORMAT || version != VERSION {
            return Err(GraphError::Version {
                found: format!("{format:?} version {version}"),
                expected: format!("{FORMAT:?} version {VERSION}"),
            });
        }
        let mut head: Head = serde_json::from_slice(json).map_err(syntax)?;
        let plain_name = !head.weights.contains(['/', '\\', ':']) && !head.weights.contains("..");
        if head.weights.is_empty() || !plain_name {
            return Err(GraphError::Invalid {
                what: "\"weights\"".into(),
                found: format!("{:?}", head.weights),
                expected: "the name of a file in the same folder".into(),
            });
        }
        let nodes = std::mem::take(&mut head.nodes);
        let nodes =
            nodes.into_iter().enumerate().map(|(index, node)| Entry::decode(index, node)).collect::<Result<_, _>>()?;
        Ok(Self { nodes: sorted(nodes)?, head })
    }

    /// The name of the weights file, in the manifest's folder.
    #[must_use]
    pub fn weights(&self) -> &str {
        &self.head.weights
    }

    /// The name of the network.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.head.name
    }

    /// The network with its weights, read from the bytes of a safetensors file. Tensors that no node names are ignored.
    ///
    /// # Errors
    /// [`GraphError`]: not a safetensors file, missing tensors, other types than F32 and F16, values that are not
    /// finite, shapes that do not fit, and all else that a [`GraphBuilder`] refuses.
    pub fn graph(&self, weights: &[u8]) -> Result<Graph, GraphError> {
        let head = &self.head;
        let tensors =
            SafeTensors::deserialize(weights).map_err(|e| GraphError::WeightsFormat { reason: e.to_string() })?;
        let input = head.input.clone();
        input.check()?;
        let padding = match head.padding {
            PaddingName::Circular => Padding::circular(input.height, input.width),
            PaddingName::Zero => Padding::Zero,
        };
        let mut builder = GraphBuilder::new(padding, input)?;
        let mut read = HashMap::new();
        for entry in &self.nodes {
            let mut loader = Loader { node: &entry.name, weights: &head.weights, tensors: &tensors, read: &mut read };
            let operator = loader.operator(&entry.operation)?;
            let find = |input: &String| {
                builder
                    .find(input)
                    .ok_or_else(|| GraphError::UnknownInput { node: entry.name.clone(), input: input.clone() })
            };
            let inputs: Vec<NodeId> = entry.inputs.iter().map(find).collect::<Result<_, _>>()?;
            builder.add(&entry.name, operator, &inputs)?;
        }
        let unknown = |output: &String| GraphError::UnknownOutput { output: output.clone() };
        let output = builder.find(&head.output).ok_or_else(|| unknown(&head.output))?;
        let mut activations = BTreeMap::new();
        for (name, range) in &head.ranges.activations {
            let Some(id) = builder.find(name) else {
                return Err(GraphError::Invalid {
                    what: "a name in \"ranges\"".into(),
                    found: format!("{name:?}"),
                    expected: "the name of a polynomial node".into(),
                });
            };
            activations.insert(id, *range);
        }
        let ranges = Ranges { logits: head.ranges.logits, activations };
        let description = Description {
            name: head.name.clone(),
            dataset: head.dataset.clone(),
            classes: head.classes.clone(),
            training: head.training.clone(),
            samples: head.samples.as_deref().map_or(Ok(Vec::new()), |key| self.samples(key, &tensors))?,
        };
        builder.finish_with(description, ranges, output)
    }
}

impl Manifest {
    /// The images of a tensor U8 `[images, C, H, W]`.
    fn samples(&self, key: &str, tensors: &SafeTensors<'_>) -> Result<Vec<Vec<u8>>, GraphError> {
        const MOST: usize = Description::MAX_SAMPLES;
        let invalid = |found: String| GraphError::Invalid {
            what: "\"samples\"".into(),
            found,
            expected: format!("the key of a tensor U8 [at most {MOST}, C, H, W] with the input's C, H and W"),
        };
        let view = tensors.tensor(key).map_err(|_| invalid(format!("{key:?}, which {:?} lacks", self.head.weights)))?;
        let ImageSpec { channels, height, width, .. } = &self.head.input;
        match (view.dtype(), view.shape()) {
            // Before each is copied: many small ones would take far more memory than their bytes.
            (Dtype::U8, [count, c, h, w]) if [c, h, w] == [channels, height, width] && *count <= MOST => {
                // Not empty: the input was checked.
                Ok(view.data().chunks_exact(c * h * w).map(<[u8]>::to_vec).collect())
            }
            (dtype, shape) => Err(invalid(format!("{key:?}, a tensor {dtype:?} {shape:?}"))),
        }
    }
}

impl Entry {
    fn decode(index: usize, mut node: Map<String, Value>) -> Result<Self, GraphError> {
        let mut text = |key: &str| match node.remove(key) {
            Some(Value::String(text)) => Ok(text),
            other => Err(GraphError::Syntax {
                reason: format!(
                    "node number {index}: {key:?} is {}, expected a string",
                    other.map_or("missing".into(), |v| v.to_string())
                ),
            }),
        };
        let (name, op) = (text("name")?, text("op")?);
        let node = Value::Object(node);
        let fields = Fields { name: &name, node };
        let (inputs, operation) = match op.as_str() {
            "convolution" => {
                let entry: ConvolutionEntry = fields.read()?;
                (vec![entry.input.clone()], Operation::Convolution(entry))
            }
            "batch_norm" => {
                let entry: BatchNormEntry = fields.read()?;
                (vec![entry.input.clone()], Operation::BatchNorm(entry))
            }
            "polynomial" => {
                let entry: PolynomialEntry = fields.read()?;
                (vec![entry.input.clone()], Operation::Polynomial(entry))
            }
            "add" => (fields.read::<AddEntry>()?.inputs, Operation::Add),
            "average_pool" => {
                let entry: AveragePoolEntry = fields.read()?;
                let pool = match entry.kernel {
                    KernelEntry::Named(GlobalName::Global) => Pool::Global,
                    KernelEntry::Square(k) => Pool::Square(k),
                };
                (vec![entry.input], Operation::AveragePool(pool))
            }
            "linear" => {
                let entry: LinearEntry = fields.read()?;
                (vec![entry.input.clone()], Operation::Linear(entry))
            }
            _ => {
                return Err(GraphError::UnknownOperator { node: name, operator: op });
            }
        };
        Ok(Self { name, inputs, operation })
    }
}

/// The fields of a node besides its name and operator.
struct Fields<'a> {
    name: &'a str,
    node: Value,
}

impl Fields<'_> {
    fn read<T: serde::de::DeserializeOwned>(self) -> Result<T, GraphError> {
        serde_json::from_value(self.node)
            .map_err(|error| GraphError::Syntax { reason: format!("node {:?}: {error}", self.name) })
    }
}

/// Topological order; among nodes that are ready, the order of the file (Kahn's algorithm).
fn sorted(entries: Vec<Entry>) -> Result<Vec<Entry>, GraphError> {
    let mut numbers = HashMap::new();
    for (number, entry) in entries.iter().enumerate() {
        if numbers.insert(entry.name.as_str(), number).is_some() {
            return Err(GraphError::DuplicateName { node: entry.name.clone() });
        }
    }
    let mut readers = vec![Vec::new(); entries.len()];
    let mut missing = vec![0usize; entries.len()];
    for (number, entry) in entries.iter().enumerate() {
        for input in entry.inputs.iter().filter(|i| *i != "input") {
            let Some(&source) = numbers.get(input.as_str()) else {
                return Err(GraphError::UnknownInput { node: entry.name.clone(), input: input.clone() });
            };
            readers[source].push(number);
            missing[number] += 1;
        }
    }
    let mut ready: BTreeSet<usize> = (0..entries.len()).filter(|&n| missing[n] == 0).collect();
    let mut order = Vec::with_capacity(entries.len());
    while let Some(number) = ready.pop_first() {
        order.push(number);
        for &reader in &readers[number] {
            missing[reader] -= 1;
            if missing[reader] == 0 {
                ready.insert(reader);
            }
        }
    }
    if order.len() < entries.len() {
        return Err(cycle(&entries, &numbers, &missing));
    }
    let mut entries: Vec<Option<Entry>> = entries.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|n| entries[n].take()).collect())
}

/// Walks from node to input among those that never became ready until one repeats.
fn cycle(entries: &[Entry], numbers: &HashMap<&str, usize>, missing: &[usize]) -> GraphError {
    let mut path: Vec<usize> = Vec::new();
    let mut next = missing.iter().position(|&m| m > 0);
    while let Some(number) = next {
        if let Some(start) = path.iter().position(|&p| p == number) {
            path.drain(..start);
            path.push(number);
            break;
        }
        path.push(number);
        let inputs = entries[number].inputs.iter();
        next = inputs.filter_map(|input| numbers.get(input.as_str()).copied()).find(|&source| missing[source] > 0);
    }
    // From input to reader, as data flows.
    let nodes = path.iter().rev().map(|&n| entries[n].name.clone());
    GraphError::Cycle { nodes: nodes.collect() }
}

/// Reads the tensors of one node.
struct Loader<'a> {
    node: &'a str,
    weights: &'a str,
    tensors: &'a SafeTensors<'a>,
    /// Tensors by key: nodes that share one also share its memory.
    read: &'a mut HashMap<String, Tensor>,
}

impl Loader<'_> {
    fn operator(&mut self, operation: &Operation) -> Result<Operator, GraphError> {
        Ok(match operation {
            Operation::Convolution(entry) => Operator::Convolution(Convolution {
                weight: self.tensor(&entry.weight)?,
                bias: self.optional(entry.bias.as_deref())?,
                stride: entry.stride,
            }),
            Operation::BatchNorm(entry) => Operator::BatchNorm(BatchNorm {
                scale: self.tensor(&entry.scale)?,
                shift: self.tensor(&entry.shift)?,
                mean: self.tensor(&entry.mean)?,
                variance: self.tensor(&entry.variance)?,
                epsilon: entry.epsilon,
            }),
            Operation::Polynomial(entry) => Operator::Polynomial(match &entry.coefficients {
                CoefficientsEntry::Shared(shared) => Polynomial::Shared(*shared),
                CoefficientsEntry::Key(key) => {
                    let tensor = self.tensor(key)?;
                    let Some([_, 3]) = tensor.dims() else {
                        return Err(GraphError::Mismatch {
                            node: self.node.into(),
                            what: "shape of the coefficients".into(),
                            found: format!("{:?}", tensor.shape()),
                            expected: "[C, 3]".into(),
                        });
                    };
                    let rows = tensor.values().chunks_exact(3);
                    let wide = |row: &[f32]| [row[0], row[1], row[2]].map(f64::from);
                    Polynomial::PerChannel(rows.map(wide).collect())
                }
            }),
            Operation::Add => Operator::Add,
            Operation::AveragePool(pool) => Operator::AveragePool(*pool),
            Operation::Linear(entry) => Operator::Linear(Linear {
                weight: self.tensor(&entry.weight)?,
                bias: self.optional(entry.bias.as_deref())?,
            }),
        })
    }

    fn optional(&mut self, key: Option<&str>) -> Result<Option<Tensor>, GraphError> {
        key.map(|key| self.tensor(key)).transpose()
    }

    fn tensor(&mut self, key: &str) -> Result<Tensor, GraphError> {
        if let Some(tensor) = self.read.get(key) {
            return Ok(tensor.clone());
        }
        let view = self.tensors.tensor(key).map_err(|_| GraphError::MissingTensor {
            node: self.node.into(),
            tensor: key.into(),
            weights: self.weights.into(),
        })?;
        let values = match view.dtype() {
            Dtype::F32 => {
                let words = view.data().as_chunks::<4>().0;
                words.iter().map(|w| f32::from_le_bytes(*w)).collect()
            }
            Dtype::F16 => {
                let words = view.data().as_chunks::<2>().0;
                let wide = words.iter().map(|w| half::f16::from_le_bytes(*w).to_f32());
                wide.collect()
            }
            other => {
                return Err(GraphError::TensorType {
                    node: self.node.into(),
                    tensor: key.into(),
                    found: format!("{other:?}"),
                });
            }
        };
        let tensor = Tensor::new(key, view.shape(), values)?;
        self.read.insert(key.into(), tensor.clone());
        Ok(tensor)
    }
}
