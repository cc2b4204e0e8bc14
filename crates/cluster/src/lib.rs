//! Parameter clustering: few distinct weights (paper, "parameter clustering").
//!
//! Where each channel is a ciphertext of its own, an output channel is a sum of rotated input channels times weights.
//! Inputs that share a weight are added first and multiplied once, so that a channel takes as many multiplications as
//! it has distinct weights. k-means makes few distinct ones of many.
//!
//! Clustered is what is multiplied: weights with batch norms fused in (see
//! `docs/decisions/0005-clustering-what-is-multiplied.md`). The result is an ordinary network, and a [`Codebooks`] that
//! says which weight is which codeword.
//!
//! ```
//! use umbra_cluster::{ClusterMode, ClusterOptions, cluster};
//! let graph = umbra_model::zoo::ResNet { widths: vec![4], blocks: 1, ..Default::default() }.build()?;
//! let clustered = cluster(&[graph], &ClusterOptions::new(ClusterMode::Full, 16))?;
//! let report = clustered[0].report();
//! assert!(report.multiplications_after < report.multiplications_before);
//! # Ok::<(), umbra_cluster::ClusterError>(())
//! ```

#![forbid(unsafe_code)]

mod architecture;
mod calibration;
mod codebooks;
mod compensate;
mod error;
mod line;
mod moments;
mod refit;
mod report;
mod scale;
mod vectors;

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroUsize;

use rayon::prelude::*;
use serde_json::json;

pub use codebooks::{BiasCodes, Codebooks, LayerCodes};
pub use error::ClusterError;
pub use line::{LineClusters, cluster_line};
pub use report::{ClusterReport, LayerReport};
pub use vectors::{VectorClusters, cluster_vectors};

use scale::Layer;
use umbra_model::{Description, Graph, NodeId};

/// What shares a codebook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterMode {
    /// All convolutions of a network, with their biases.
    Full,
    /// One column of the kernels of one convolution, `weight[.., .., .., dc]`.
    Slice,
    /// As `Full`, for several networks at once: a codeword has one value for each, and all have the same index map.
    Ensemble,
}

impl fmt::Display for ClusterMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Slice => "slice",
            Self::Ensemble => "ensemble",
        })
    }
}

/// Which codeword a weight becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Assignment {
    /// The nearest, as k-means has it.
    #[default]
    Nearest,
    /// One that makes up for the errors of the weights before it, as measured on images for calibration; biases that
    /// are not clustered are corrected for the mean of what is left. Codewords begin as those of k-means and are fitted
    /// to what inputs weigh. Where they are for weights alone, rows are brought to one size first.
    Compensated,
}

impl fmt::Display for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nearest => "nearest",
            Self::Compensated => "compensated",
        })
    }
}

/// How to cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterOptions {
    /// What shares a codebook.
    pub mode: ClusterMode,
    /// Codewords of a codebook at most.
    pub k: usize,
    /// Of the starts in mode `Ensemble`; the other modes find the optimum, which is one.
    pub seed: u64,
    /// Number of starts in mode `Ensemble`.
    pub restarts: NonZeroUsize,
    /// Whether modes `Full` and `Ensemble` leave biases as they are. They are added, not multiplied.
    pub keep_biases: bool,
    /// Which codeword a weight becomes.
    pub assignment: Assignment,
    /// Images for calibration, as [`Description::samples`]; where there are none, those that each network carries. Some
    /// hundreds tell more about covariances than the few that networks carry.
    pub images: Vec<Vec<u8>>,
}

impl ClusterOptions {
    /// Seed 1, three starts, biases clustered with the weights where the mode does so, the nearest codewords.
    #[must_use]
    pub fn new(mode: ClusterMode, k: usize) -> Self {
        const STARTS: NonZeroUsize = NonZeroUsize::new(3).unwrap();
        let (keep_biases, assignment, images) = (false, Assignment::Nearest, Vec::new());
        Self { mode, k, seed: 1, restarts: STARTS, keep_biases, assignment, images }
    }

    /// For calibration.
    fn images_for<'a>(&'a self, graph: &'a Graph) -> &'a [Vec<u8>] {
        if self.images.is_empty() { &graph.description().samples } else { &self.images }
    }
}

/// A network with few distinct weights.
#[derive(Clone, Debug)]
pub struct Clustered {
    graph: Graph,
    codebooks: Codebooks,
    report: ClusterReport,
}

impl Clustered {
    /// The network.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Which weight is which codeword.
    #[must_use]
    pub fn codebooks(&self) -> &Codebooks {
        &self.codebooks
    }

    /// What it gains and costs.
    #[must_use]
    pub fn report(&self) -> &ClusterReport {
        &self.report
    }

    /// Writes the network and its codebooks to a folder, which is made where it does not exist.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn save(&self, folder: impl AsRef<std::path::Path>) -> Result<(), ClusterError> {
        let folder = folder.as_ref();
        Ok(self.graph.save_with(folder, &[self.codebooks.file(folder)?])?)
    }
}

/// Clusters one network, or the members of an ensemble, and returns them in their order. The same for the same options,
/// whatever the number of threads.
///
/// # Errors
/// [`ClusterError`]: a `k` that does not fit, a number of networks that does not fit the mode, members of different
/// architectures; where errors are compensated, no images for calibration, or of another size than the network's input,
/// or so few codewords that the network overflows on them.
pub fn cluster(members: &[Graph], options: &ClusterOptions) -> Result<Vec<Clustered>, ClusterError> {
    let (mode, found) = (options.mode, members.len());
    match (mode, members) {
        (ClusterMode::Ensemble, [] | [_]) | (_, []) => return Err(ClusterError::TooFewMembers { found }),
        (ClusterMode::Full | ClusterMode::Slice, [_, _, ..]) => {
            return Err(ClusterError::TooManyMembers { mode, found });
        }
        _ => architecture::check(members)?,
    }
    let members: Vec<Member> = members.iter().map(|graph| Member::new(graph, options)).collect::<Result<_, _>>()?;
    let (mut codes, mut books) = match mode {
        ClusterMode::Slice => slices(&members[0], options.k)?,
        ClusterMode::Full | ClusterMode::Ensemble => jointly(&members, options)?,
    };
    let graphs = match options.assignment {
        Assignment::Nearest => members.iter().map(|member| Cow::Borrowed(member.graph)).collect(),
        Assignment::Compensated => {
            let inputs = |member: &Member<'_>| calibration::inputs(member.graph, options.images_for(member.graph));
            let inputs = members.iter().map(inputs).collect::<Result<Vec<_>, _>>()?;
            let graphs = compensate::compensate(&members, &inputs, &mut books, &mut codes)?;
            graphs.into_iter().map(Cow::Owned).collect::<Vec<_>>()
        }
    };
    let each = members.iter().zip(&graphs).zip(books);
    each.map(|((member, graph), books)| member.apply(graph, options, &codes, books)).collect()
}

/// A network, its convolutions and biases as they are clustered.
struct Member<'a> {
    graph: &'a Graph,
    layers: Vec<(Layer, Vec<f64>)>,
    biases: Vec<(NodeId, Vec<f64>)>,
}

/// The index map, the same for all members: codebooks of each layer's kernel columns, codeword of each weight; of each
/// bias.
struct Codes {
    layers: Vec<(Vec<u32>, Vec<u32>)>,
    biases: Vec<Vec<u32>>,
}

/// For each member its codebooks.
type Books = Vec<Vec<Vec<f64>>>;

impl<'a> Member<'a> {
    fn new(graph: &'a Graph, options: &ClusterOptions) -> Result<Self, ClusterError> {
        let with_biases = options.mode != ClusterMode::Slice && !options.keep_biases;
        // A scale of its own would tear a row from the biases that share its codewords.
        let normalise = options.assignment == Assignment::Compensated && !with_biases;
        let layer = |layer: Layer| {
            let layer = if normalise { layer.normalised(graph) } else { layer };
            let weights = layer.weights(graph);
            (layer, weights)
        };
        let layers: Vec<_> = scale::layers(graph).into_iter().map(layer).collect();
        if layers.is_empty() {
            return Err(ClusterError::NothingToCluster { network: graph.name().into() });
        }
        let nodes = if with_biases { scale::bias_nodes(graph) } else { Vec::new() };
        let biases = nodes.into_iter().map(|id| (id, scale::biases(graph, id))).collect();
        Ok(Self { graph, layers, biases })
    }

    fn kernel(&self, layer: usize) -> usize {
        scale::convolution(self.graph, self.layers[layer].0.node).map_or(1, umbra_model::Convolution::kernel)
    }

    /// `graph`: the network, whose biases may have been corrected.
    fn apply(
        &self,
        graph: &Graph,
        options: &ClusterOptions,
        codes: &Codes,
        books: Vec<Vec<f64>>,
    ) -> Result<Clustered, ClusterError> {
        let name = |id: NodeId| self.graph.node(id).name().to_string();
        let layers = self.layers.iter().zip(&codes.layers).map(|((layer, _), (columns, index))| LayerCodes {
            node: name(layer.node),
            codebooks: columns.clone(),
            index: index.clone(),
            factors: layer.factors.clone(),
            scales: layer.scales.clone(),
        });
        let biases = self.biases.iter().zip(&codes.biases);
        let biases = biases.map(|((id, _), index)| BiasCodes { node: name(*id), index: index.clone() });
        let codebooks = Codebooks { mode: options.mode, books, layers: layers.collect(), biases: biases.collect() };
        let graph = codebooks.apply(graph, self.description(options))?;
        let report = report::report(self.graph, &graph, &codebooks);
        Ok(Clustered { graph, codebooks, report })
    }

    /// The accuracy that training reports is not that of the clustered network.
    fn description(&self, options: &ClusterOptions) -> Description {
        let mut description = self.graph.description().clone();
        let ClusterOptions { mode, k, seed, restarts, keep_biases, assignment, .. } = options;
        let (mode, assignment) = (mode.to_string(), assignment.to_string());
        let mut clustering = json!({ "mode": mode, "k": k, "keep_biases": keep_biases, "assignment": assignment });
        if options.mode == ClusterMode::Ensemble {
            clustering["seed"] = json!(seed);
            clustering["restarts"] = json!(restarts);
        }
        if options.assignment == Assignment::Compensated {
            clustering["images"] = json!(options.images_for(self.graph).len());
        }
        let before = json!({ "name": description.name, "training": description.training });
        description.training = json!({ "clustering": clustering, "before_clustering": before });
        description.name = format!("{}, {mode} {k}", description.name);
        description
    }
}

fn check_k(k: usize, limit: usize, what: &'static str) -> Result<(), ClusterError> {
    if (1..=limit).contains(&k) { Ok(()) } else { Err(ClusterError::Codewords { found: k, limit, what }) }
}

/// One codebook for each convolution and kernel column, all at once.
fn slices(member: &Member<'_>, k: usize) -> Result<(Codes, Books), ClusterError> {
    let kernels: Vec<usize> = (0..member.layers.len()).map(|layer| member.kernel(layer)).collect();
    let sizes = member.layers.iter().zip(&kernels).map(|((_, weights), kernel)| weights.len() / kernel);
    check_k(k, sizes.max().unwrap_or(0), "of the largest slice")?;
    let tasks: Vec<(usize, usize)> = kernels
        .iter()
        .enumerate()
        .flat_map(|(layer, &kernel)| (0..kernel).map(move |column| (layer, column)))
        .collect();
    let clusters: Vec<LineClusters> = tasks
        .par_iter()
        .map(|&(layer, column)| {
            let values: Vec<f64> =
                member.layers[layer].1.iter().skip(column).step_by(kernels[layer]).copied().collect();
            cluster_line(&values, k)
        })
        .collect();
    let mut codes = Codes { layers: Vec::new(), biases: Vec::new() };
    for ((_, weights), _) in member.layers.iter().zip(&kernels) {
        codes.layers.push((Vec::new(), vec![0; weights.len()]));
    }
    let mut books = Vec::with_capacity(tasks.len());
    for (&(layer, column), clusters) in tasks.iter().zip(clusters) {
        let (columns, index) = &mut codes.layers[layer];
        columns.push(books.len() as u32);
        index.iter_mut().skip(column).step_by(kernels[layer]).zip(&clusters.index).for_each(|(to, from)| *to = *from);
        books.push(clusters.centres);
    }
    Ok((codes, vec![books]))
}

/// One codebook for everything, with one value for each member.
fn jointly(members: &[Member<'_>], options: &ClusterOptions) -> Result<(Codes, Books), ClusterError> {
    let first = &members[0];
    let values = |member: &Member<'_>| -> Vec<f64> {
        let weights = member.layers.iter().flat_map(|(_, weights)| weights);
        weights.chain(member.biases.iter().flat_map(|(_, biases)| biases)).copied().collect()
    };
    let columns: Vec<Vec<f64>> = members.iter().map(values).collect();
    let n = columns[0].len();
    check_k(options.k, n, if first.biases.is_empty() { "of the network" } else { "and biases of the network" })?;
    let (index, books) = if let [column] = columns.as_slice() {
        let clusters = cluster_line(column, options.k);
        (clusters.index, vec![vec![clusters.centres]])
    } else {
        let vectors: Vec<f64> = (0..n).flat_map(|i| columns.iter().map(move |c| c[i])).collect();
        let dimensions = columns.len();
        let clusters = cluster_vectors(&vectors, dimensions, options.k, options.seed, options.restarts);
        let book = |m: usize| clusters.centres.iter().skip(m).step_by(dimensions).copied().collect();
        (clusters.index, (0..dimensions).map(|m| vec![book(m)]).collect())
    };
    let mut index = index.into_iter();
    let mut take = |count: usize| index.by_ref().take(count).collect::<Vec<u32>>();
    let layers = (0..first.layers.len()).map(|l| (vec![0; first.kernel(l)], take(first.layers[l].1.len()))).collect();
    let biases = first.biases.iter().map(|(_, biases)| take(biases.len())).collect();
    Ok((Codes { layers, biases }, books))
}
