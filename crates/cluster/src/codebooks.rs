//! Which weight is which codeword, in memory and in `clusters.safetensors` beside the weights
//! (`docs/network-format.md`).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use safetensors::tensor::{SafeTensorError, TensorView};
use safetensors::{Dtype, SafeTensors};
use umbra_file::{AtomicFile, read_file};

use crate::scale::{self, Layer};
use crate::{ClusterError, ClusterMode};
use umbra_model::{Description, Graph, GraphError, ModelError};

/// The file that [`Codebooks::save`] writes.
const FILE: &str = "clusters.safetensors";
const FORMAT: &str = "umbra-clusters";
const VERSION: &str = "2";
/// As for weights.
const MAX_FILE: u64 = 2 << 30;

/// The codewords of a convolution's weights.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerCodes {
    /// The node.
    pub node: String,
    /// The codebook of each kernel column.
    pub codebooks: Vec<u32>,
    /// `[Co, Ci, k, k]`: the codeword of each weight in the codebook of its column.
    pub index: Vec<u32>,
    /// `[Co]`: `codeword * scale = weight * factor`; zero for channels whose weights are all zero instead.
    pub factors: Vec<f64>,
    /// `[Co]`: positive; one where weights take their nearest codewords.
    pub scales: Vec<f64>,
}

/// The codewords of biases, in the first codebook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BiasCodes {
    /// The node that holds them: a batch norm behind a convolution, or a convolution.
    pub node: String,
    /// The codeword of each channel.
    pub index: Vec<u32>,
}

/// Which weight is which codeword. A codeword times the scale of its output channel is the value that is multiplied,
/// with batch norms fused in: the weights of the network are these divided by the factor of the channel. All codes are
/// in range, and fit the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Codebooks {
    pub(super) mode: ClusterMode,
    pub(super) books: Vec<Vec<f64>>,
    pub(super) layers: Vec<LayerCodes>,
    pub(super) biases: Vec<BiasCodes>,
}

impl Codebooks {
    /// What shares a codebook.
    #[must_use]
    pub fn mode(&self) -> ClusterMode {
        self.mode
    }

    /// The codewords of each codebook.
    #[must_use]
    pub fn books(&self) -> &[Vec<f64>] {
        &self.books
    }

    /// Every convolution, in the order of the network.
    #[must_use]
    pub fn layers(&self) -> &[LayerCodes] {
        &self.layers
    }

    /// Clustered biases; none where they are as they were.
    #[must_use]
    pub fn biases(&self) -> &[BiasCodes] {
        &self.biases
    }

    /// The network with the codewords in the place of its weights.
    pub(super) fn apply(&self, graph: &Graph, description: Description) -> Result<Graph, GraphError> {
        let layers = self.layers.iter().filter_map(|codes| {
            let pairs = codes.index.iter().zip(codes.codebooks.iter().cycle());
            let weights = pairs.map(|(&code, &book)| self.books[book as usize][code as usize]).collect();
            let node = graph.find(&codes.node)?;
            let (factors, scales) = (codes.factors.clone(), codes.scales.clone());
            Some((Layer { node, factors, scales }, weights))
        });
        let layers: Vec<_> = layers.collect();
        let biases = self.biases.iter().filter_map(|codes| {
            let values = codes.index.iter().map(|&code| self.books[0][code as usize]).collect();
            graph.find(&codes.node).map(|id| (id, values))
        });
        scale::rewrite(graph, description, &layers, &biases.collect::<Vec<_>>())
    }

    /// Writes `clusters.safetensors` to a folder.
    ///
    /// # Errors
    /// [`ClusterError::Model`] where it cannot be written.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<(), ClusterError> {
        let (path, bytes) = self.file(folder.as_ref())?;
        Ok(AtomicFile::write(&path, false, &bytes).map_err(ModelError::from)?)
    }

    /// The bytes of `clusters.safetensors`.
    ///
    /// # Errors
    /// [`ClusterError::File`] for more than the format can hold.
    pub fn encode(&self) -> Result<Vec<u8>, ClusterError> {
        Ok(self.file(Path::new(""))?.1)
    }

    /// The file in a folder, and its bytes.
    pub(super) fn file(&self, folder: &Path) -> Result<(PathBuf, Vec<u8>), ClusterError> {
        let path = folder.join(FILE);
        let mut tensors: BTreeMap<String, (Dtype, Vec<u8>)> = BTreeMap::new();
        let reals = |w: &[f64]| (Dtype::F64, w.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
        let words = |w: &[u32]| (Dtype::U32, w.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
        for (number, book) in self.books.iter().enumerate() {
            tensors.insert(format!("codebook.{number}"), reals(book));
        }
        for layer in &self.layers {
            tensors.insert(format!("{}.weight.codebooks", layer.node), words(&layer.codebooks));
            tensors.insert(format!("{}.weight.index", layer.node), words(&layer.index));
            tensors.insert(format!("{}.weight.factors", layer.node), reals(&layer.factors));
            tensors.insert(format!("{}.weight.scales", layer.node), reals(&layer.scales));
        }
        for bias in &self.biases {
            tensors.insert(format!("{}.bias.index", bias.node), words(&bias.index));
        }
        // One entry: the order of several would be random, and the file another each time.
        let metadata = HashMap::from([(FORMAT.to_string(), format!("{VERSION} {}", self.mode))]);
        let format = |e: SafeTensorError| ClusterError::File { path: path.clone(), what: e.to_string() };
        let views = tensors.iter().map(|(key, (dtype, bytes))| {
            let size = if *dtype == Dtype::F64 { 8 } else { 4 };
            TensorView::new(*dtype, vec![bytes.len() / size], bytes).map(|view| (key.as_str(), view))
        });
        let views: Vec<_> = views.collect::<Result<_, _>>().map_err(format)?;
        let bytes = safetensors::serialize(views, Some(metadata)).map_err(format)?;
        Ok((path, bytes))
    }

    /// Reads the codebooks in the folder of a clustered network, and checks that they are those of `graph`: that its
    /// weights are the codewords times scales over the factors of its batch norms, to the bit.
    ///
    /// # Errors
    /// [`ClusterError`]: no such file, not such a file, one of another network.
    pub fn load(folder: impl AsRef<Path>, graph: &Graph) -> Result<Self, ClusterError> {
        let path = folder.as_ref().join(FILE);
        let bytes = read_file(&path, "codebooks", MAX_FILE).map_err(ModelError::from)?;
        Self::of_file(&path, &bytes, graph)
    }

    /// As [`Self::load`], of the bytes of the file.
    ///
    /// # Errors
    /// As [`Self::load`]. Never panics, whatever the bytes.
    pub fn decode(bytes: &[u8], graph: &Graph) -> Result<Self, ClusterError> {
        Self::of_file(Path::new(FILE), bytes, graph)
    }

    fn of_file(path: &Path, bytes: &[u8], graph: &Graph) -> Result<Self, ClusterError> {
        let refuse = |what: String| ClusterError::File { path: path.to_path_buf(), what };
        let codebooks = Self::read(bytes, graph).map_err(refuse)?;
        let same = codebooks.apply(graph, graph.description().clone())?;
        let differs = graph.nodes().iter().zip(same.nodes()).find(|(a, b)| a.operator() != b.operator());
        match differs {
            None => Ok(codebooks),
            Some((node, _)) => Err(refuse(format!("the weights of node {:?} are not its codewords", node.name()))),
        }
    }

    fn read(bytes: &[u8], graph: &Graph) -> Result<Self, String> {
        let broken = |e: SafeTensorError| format!("not a valid safetensors file ({e})");
        let tensors = SafeTensors::deserialize(bytes).map_err(broken)?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
        let found = header.metadata().as_ref().and_then(|metadata| metadata.get(FORMAT));
        let found = found.ok_or_else(|| format!("no {FORMAT:?} in its metadata"))?;
        let modes = [ClusterMode::Full, ClusterMode::Slice, ClusterMode::Ensemble];
        let mode = modes.into_iter().find(|mode| *found == format!("{VERSION} {mode}"));
        let mode = mode.ok_or_else(|| {
            format!(
                "{FORMAT} {found:?}, expected version {VERSION} and full, slice or ensemble, as in \"{VERSION} \
                 slice\"; cluster the network again"
            )
        })?;
        let read = |key: &str, dtype: Dtype| -> Result<&[u8], String> {
            let view = tensors.tensor(key).map_err(|_| format!("tensor {key:?} is missing"))?;
            if view.dtype() != dtype {
                return Err(format!("tensor {key:?} is of type {:?}, expected {dtype:?}", view.dtype()));
            }
            Ok(view.data())
        };
        let reals = |key: &str| -> Result<Vec<f64>, String> {
            let words = read(key, Dtype::F64)?.as_chunks::<8>().0;
            let values: Vec<f64> = words.iter().map(|w| f64::from_le_bytes(*w)).collect();
            match values.iter().find(|v| !v.is_finite()) {
                Some(found) => Err(format!("tensor {key:?} has the value {found}, expected finite ones")),
                None => Ok(values),
            }
        };
        let mut books = Vec::new();
        loop {
            let key = format!("codebook.{}", books.len());
            if tensors.tensor(&key).is_err() {
                break;
            }
            books.push(reals(&key)?);
        }
        // Words below a limit each, so many.
        let words = |key: &str, count: usize, limit: &dyn Fn(usize) -> usize| -> Result<Vec<u32>, String> {
            let words = read(key, Dtype::U32)?.as_chunks::<4>().0;
            if words.len() != count {
                return Err(format!("tensor {key:?} has {} values, expected {count}", words.len()));
            }
            let words: Vec<u32> = words.iter().map(|w| u32::from_le_bytes(*w)).collect();
            match words.iter().enumerate().find(|&(i, &w)| w as usize >= limit(i)) {
                Some((i, w)) => Err(format!("value {i} of tensor {key:?} is {w}, expected less than {}", limit(i))),
                None => Ok(words),
            }
        };
        let mut layers = Vec::new();
        for layer in scale::layers(graph) {
            let Some(convolution) = scale::convolution(graph, layer.node) else { continue };
            let (node, kernel) = (graph.node(layer.node).name().to_string(), convolution.kernel());
            let codebooks = words(&format!("{node}.weight.codebooks"), kernel, &|_| books.len())?;
            let size = |i: usize| books[codebooks[i % kernel] as usize].len();
            let index = words(&format!("{node}.weight.index"), convolution.weight.values().len(), &size)?;
            let factors = reals(&format!("{node}.weight.factors"))?;
            // Otherwise codewords would not be what is multiplied.
            if factors != layer.factors {
                return Err(format!("tensor \"{node}.weight.factors\" does not hold the factors of its batch norms"));
            }
            let key = format!("{node}.weight.scales");
            let scales = reals(&key)?;
            if scales.len() != factors.len() {
                return Err(format!("tensor {key:?} has {} values, expected {}", scales.len(), factors.len()));
            }
            if let Some(found) = scales.iter().find(|s| **s <= 0.0) {
                return Err(format!("tensor {key:?} has the value {found}, expected positive ones"));
            }
            layers.push(LayerCodes { node, codebooks, index, factors, scales });
        }
        let mut biases = Vec::new();
        for id in scale::bias_nodes(graph) {
            let (node, channels) = (graph.node(id).name().to_string(), graph.node(id).shape().channels());
            let key = format!("{node}.bias.index");
            if tensors.tensor(&key).is_ok() {
                let index = words(&key, channels, &|_| books.first().map_or(0, Vec::len))?;
                biases.push(BiasCodes { node, index });
            }
        }
        Ok(Self { mode, books, layers, biases })
    }
}
