//! `umbra cluster`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::bail;
use serde::Serialize;

use umbra::model::{Graph, Split};
use umbra::{Network, data};
use umbra_cluster::{Assignment, ClusterMode, ClusterOptions, ClusterReport, Clustered, cluster};

use crate::arguments::{self, Assign, Cluster};
use crate::outcome::Outcome;
use crate::text;

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    mode: String,
    k: usize,
    assignment: String,
    seconds: f64,
    members: Vec<MemberReport<'a>>,
}

#[derive(Serialize)]
struct MemberReport<'a> {
    network: &'a str,
    folder: String,
    #[serde(flatten)]
    report: &'a ClusterReport,
}

/// Clusters a network, or the members of an ensemble, and writes each to a folder.
pub fn run(arguments: &Cluster) -> anyhow::Result<Outcome> {
    let paths: Vec<&PathBuf> = std::iter::once(&arguments.network).chain(&arguments.member).collect();
    let graphs: Vec<Graph> = paths.iter().map(|path| in_the_clear(path)).collect::<Result<_, _>>()?;
    let mut options = ClusterOptions::new(mode(arguments.mode), arguments.k);
    options.seed = arguments.seed;
    options.restarts = arguments.restarts;
    options.keep_biases = arguments.keep_biases;
    let sampled = graphs.iter().all(|graph| !graph.description().samples.is_empty());
    options.assignment = match arguments.assign {
        Assign::Auto if !sampled && arguments.data.is_none() => Assignment::Nearest,
        Assign::Nearest => Assignment::Nearest,
        Assign::Auto | Assign::Compensated => Assignment::Compensated,
    };
    if let Some(path) = &arguments.data {
        if options.assignment == Assignment::Nearest {
            bail!(
                "--data: images to make up for errors on, which --assign nearest does not; leave --data out, or use \
                 --assign compensated"
            );
        }
        let images = data::images(path, &graphs[0], Split::Train, Some(arguments.limit.get()))?;
        options.images = images.into_iter().map(|(bytes, _)| bytes).collect();
    }
    let folders = match arguments.mode {
        arguments::ClusterMode::Ensemble => {
            (1..=graphs.len()).map(|member| arguments.out.join(format!("member-{member}"))).collect()
        }
        _ => vec![arguments.out.clone()],
    };
    for (folder, path) in folders.iter().flat_map(|folder| paths.iter().map(move |path| (folder, path))) {
        if same_folder(folder, path) {
            bail!("{}: this is the folder of a network that is read; write to another one", folder.display());
        }
    }
    let start = Instant::now();
    let clustered = cluster(&graphs, &options).map_err(|error| remedy(error, arguments))?;
    let seconds = start.elapsed().as_secs_f64();
    for (member, folder) in clustered.iter().zip(&folders) {
        member.save(folder)?;
    }
    if arguments.json {
        let members = graphs.iter().zip(&clustered).zip(&folders);
        let members = members.map(|((graph, member), folder)| MemberReport {
            network: graph.name(),
            folder: folder.display().to_string(),
            report: member.report(),
        });
        let (mode, assignment) = (options.mode.to_string(), options.assignment.to_string());
        let report = Report { mode, k: options.k, assignment, seconds, members: members.collect() };
        text::print_json(&report)?;
        return Ok(Outcome::Success);
    }
    for (member, folder) in clustered.iter().zip(&folders) {
        text::print(&describe(member, folder))?;
    }
    text::print(&format!("\ncodewords assigned: {}; clustered in {}\n", options.assignment, text::seconds(seconds)))?;
    Ok(Outcome::Success)
}

fn mode(mode: arguments::ClusterMode) -> ClusterMode {
    match mode {
        arguments::ClusterMode::Full => ClusterMode::Full,
        arguments::ClusterMode::Slice => ClusterMode::Slice,
        arguments::ClusterMode::Ensemble => ClusterMode::Ensemble,
    }
}

fn in_the_clear(path: &Path) -> anyhow::Result<Graph> {
    let found = match Network::open(path)? {
        Network::Graph(graph) => return Ok(*graph),
        Network::Program(_) => "a program",
        Network::Client(_) => "a client file",
    };
    bail!("{}: this is {found}, expected a network in the clear; cluster the network, then compile it", path.display())
}

/// Names the arguments that the library does not know.
fn remedy(error: umbra_cluster::ClusterError, arguments: &Cluster) -> anyhow::Error {
    use umbra_cluster::ClusterError;
    let network = arguments.network.display();
    match error {
        ClusterError::TooFewMembers { .. } => anyhow::anyhow!(
            "{network}: mode ensemble clusters several networks of one architecture, found one; add --member NETWORK, \
             or use --mode full or slice"
        ),
        ClusterError::TooManyMembers { mode, found } => anyhow::anyhow!(
            "--member: mode {mode} clusters one network, found {found}; use --mode ensemble, or cluster them one by one"
        ),
        ClusterError::Codewords { found, limit, what } => {
            anyhow::anyhow!("--k: {found} codewords, expected 1 to {limit}, the number of weights {what}")
        }
        ClusterError::NoSamples { network } => anyhow::anyhow!(
            "--assign compensated: network {network:?} carries no sample images; name a data set with --data, or use \
             --assign nearest"
        ),
        ClusterError::Overflow { network, node } => anyhow::anyhow!(
            "network {network:?}: values of node {node:?} overflow on images for calibration; use a larger --k, or \
             --assign nearest"
        ),
        ClusterError::Architecture { member, .. } => {
            let path = arguments.member.get(member.saturating_sub(2)).unwrap_or(&arguments.network);
            anyhow::anyhow!("{}: {error}", path.display())
        }
        other => other.into(),
    }
}

/// Whether `folder`, where it exists, is where the network is read from.
fn same_folder(folder: &Path, network: &Path) -> bool {
    let source = if network.is_dir() { Some(network) } else { network.parent() };
    let source = source.map(|s| if s.as_os_str().is_empty() { Path::new(".") } else { s });
    let (Ok(folder), Some(Ok(source))) = (folder.canonicalize(), source.map(Path::canonicalize)) else { return false };
    // The name of the shipped network is no path.
    folder == source && network.exists()
}

fn describe(member: &Clustered, folder: &Path) -> String {
    let report = member.report();
    let heads =
        ["convolution", "weights", "codewords", "mean squared error", "relative error", "multiplications", "after"];
    let mut rows = vec![heads.map(String::from).to_vec()];
    let row = |name: &str, weights: usize, codewords: usize, errors: [f64; 2], multiplications: [usize; 2]| {
        vec![
            name.to_string(),
            weights.to_string(),
            codewords.to_string(),
            format!("{:.3e}", errors[0]),
            format!("{:.2} %", 100.0 * errors[1]),
            multiplications[0].to_string(),
            multiplications[1].to_string(),
        ]
    };
    for layer in &report.layers {
        rows.push(row(
            &layer.node,
            layer.weights,
            layer.codewords,
            [layer.mean_squared_error, layer.relative_error],
            [layer.multiplications_before, layer.multiplications_after],
        ));
    }
    rows.push(row(
        "all",
        report.layers.iter().map(|l| l.weights).sum(),
        report.codewords,
        [report.mean_squared_error, report.relative_error],
        [report.multiplications_before, report.multiplications_after],
    ));
    format!(
        "{}: {}\n{}codebooks: {}; multiplications are those of an output position, summed over the channels\n",
        folder.display(),
        member.graph().name(),
        text::table(&rows),
        report.codebooks
    )
}
