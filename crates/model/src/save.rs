//! Networks to files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::Serialize;
use serde_json::{Map, Value};
use umbra_file::AtomicFile;

use crate::manifest::{
    AddEntry, AveragePoolEntry, BatchNormEntry, CoefficientsEntry, ConvolutionEntry, FORMAT, GlobalName, Head,
    KernelEntry, LinearEntry, PaddingName, PolynomialEntry, RangesEntry, VERSION,
};
use crate::{Graph, GraphError, ModelError, Node, Operator, Padding, Polynomial, Pool, Tensor};

/// The tensor of [`crate::Description::samples`]: no node is called so, as theirs end in the name of a field.
const SAMPLES: &str = "samples";
/// The weights file that [`Graph::save`] writes.
const WEIGHTS: &str = "weights.safetensors";

impl Graph {
    /// Writes `manifest.json` and `weights.safetensors` to a folder, which is made where it does not exist.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<(), ModelError> {
        self.save_with(folder.as_ref(), &[])
    }

    /// As [`Self::save`], together with other files.
    pub fn save_with(&self, folder: &Path, others: &[(PathBuf, Vec<u8>)]) -> Result<(), ModelError> {
        std::fs::create_dir_all(folder).map_err(|reason| ModelError::CreateFolder { path: folder.into(), reason })?;
        let path = folder.join("manifest.json");
        let (manifest, weights) =
            self.encode(WEIGHTS).map_err(|reason| ModelError::Graph { path: path.clone(), reason })?;
        // The manifest last: where it is, all else is.
        let own = [(folder.join(WEIGHTS), weights), (path, manifest.into_bytes())];
        Ok(AtomicFile::write_together(
            others.iter().chain(&own).map(|(path, bytes)| (path.as_path(), bytes.as_slice())),
        )?)
    }

    /// The manifest and the safetensors file that it calls `weights_name`. Per-channel coefficients are rounded to
    /// `f32`.
    ///
    /// # Errors
    /// [`GraphError::WeightsFormat`] or [`GraphError::Syntax`] where the libraries refuse; they do not for a valid
    /// graph.
    pub fn encode(&self, weights_name: &str) -> Result<(String, Vec<u8>), GraphError> {
        let mut tensors = Tensors::default();
        let nodes = self.nodes().iter().skip(1).map(|node| self.entry(node, &mut tensors));
        let nodes = nodes.collect::<Result<_, _>>()?;
        let (input, description) = (self.input(), self.description());
        let name = |id| self.node(id).name().to_string();
        let head = Head {
            format: FORMAT.into(),
            version: VERSION,
            name: description.name.clone(),
            dataset: description.dataset.clone(),
            classes: description.classes.clone(),
            padding: match self.padding() {
                Padding::Circular { .. } => PaddingName::Circular,
                Padding::Zero => PaddingName::Zero,
            },
            input: input.clone(),
            weights: weights_name.into(),
            nodes,
            output: name(self.output()),
            ranges: RangesEntry {
                logits: self.ranges().logits,
                activations: self.ranges().activations.iter().map(|(id, range)| (name(*id), *range)).collect(),
            },
            training: description.training.clone(),
            samples: (!description.samples.is_empty()).then(|| {
                let shape = [description.samples.len(), input.channels, input.height, input.width];
                tensors.put_bytes(SAMPLES.into(), &shape, Dtype::U8, description.samples.concat())
            }),
        };
        let manifest = serde_json::to_string_pretty(&head).map_err(|e| GraphError::Syntax { reason: e.to_string() })?;
        Ok((manifest + "\n", tensors.encode()?))
    }

    fn entry(&self, node: &Node, tensors: &mut Tensors) -> Result<Map<String, Value>, GraphError> {
        let name = node.name();
        let inputs: Vec<String> = node.inputs().iter().map(|&id| self.node(id).name().to_string()).collect();
        let input = inputs.first().cloned().unwrap_or_default();
        let mut put =
            |part: &str, tensor: &Tensor| tensors.put(format!("{name}.{part}"), tensor.shape(), tensor.values());
        let fields = match node.operator() {
            // A graph's only input is its first node, which has no entry.
            Operator::Input => Value::Null,
            Operator::Convolution(c) => fields(&ConvolutionEntry {
                input,
                weight: put("weight", &c.weight),
                bias: c.bias.as_ref().map(|bias| put("bias", bias)),
                stride: c.stride,
            })?,
            Operator::BatchNorm(norm) => fields(&BatchNormEntry {
                input,
                scale: put("scale", &norm.scale),
                shift: put("shift", &norm.shift),
                mean: put("mean", &norm.mean),
                variance: put("variance", &norm.variance),
                epsilon: norm.epsilon,
            })?,
            Operator::Polynomial(polynomial) => fields(&PolynomialEntry {
                input,
                coefficients: match polynomial {
                    Polynomial::Shared(shared) => CoefficientsEntry::Shared(*shared),
                    Polynomial::PerChannel(each) => {
                        let values: Vec<f32> = each.iter().flatten().map(|&v| v as f32).collect();
                        CoefficientsEntry::Key(tensors.put(format!("{name}.coefficients"), &[each.len(), 3], &values))
                    }
                },
            })?,
            Operator::Add => fields(&AddEntry { inputs })?,
            Operator::AveragePool(pool) => fields(&AveragePoolEntry {
                input,
                kernel: match pool {
                    Pool::Global => KernelEntry::Named(GlobalName::Global),
                    Pool::Square(k) => KernelEntry::Square(*k),
                },
            })?,
            Operator::Linear(l) => fields(&LinearEntry {
                input,
                weight: put("weight", &l.weight),
                bias: l.bias.as_ref().map(|bias| put("bias", bias)),
            })?,
        };
        let mut entry = Map::new();
        entry.insert("name".into(), name.into());
        entry.insert("op".into(), node.operator().name().into());
        if let Value::Object(fields) = fields {
            entry.extend(fields);
        }
        Ok(entry)
    }
}

fn fields(entry: &impl Serialize) -> Result<Value, GraphError> {
    serde_json::to_value(entry).map_err(|e| GraphError::Syntax { reason: e.to_string() })
}

/// Tensors by key, as they will be in the file.
#[derive(Default)]
struct Tensors(BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>);

impl Tensors {
    fn put(&mut self, key: String, shape: &[usize], values: &[f32]) -> String {
        self.put_bytes(key, shape, Dtype::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    fn put_bytes(&mut self, key: String, shape: &[usize], dtype: Dtype, bytes: Vec<u8>) -> String {
        self.0.insert(key.clone(), (dtype, shape.to_vec(), bytes));
        key
    }

    fn encode(&self) -> Result<Vec<u8>, GraphError> {
        let format = |e: safetensors::SafeTensorError| GraphError::WeightsFormat { reason: e.to_string() };
        let views = self.0.iter().map(|(key, (dtype, shape, bytes))| {
            TensorView::new(*dtype, shape.clone(), bytes).map(|view| (key.as_str(), view)).map_err(format)
        });
        let views: Vec<_> = views.collect::<Result<_, _>>()?;
        safetensors::serialize(views, None).map_err(format)
    }
}
