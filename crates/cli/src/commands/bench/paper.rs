//! `umbra bench paper`: the shape of the paper's evaluation, as tables and plots.
//!
//! Every figure is what one of the other commands prints with `--json`, run as a process of its own: so peak memory is that of one
//! job, what was measured can be measured again by hand, and a run that was stopped goes on where it was. `jobs/` keeps for each
//! job its arguments and its report; a job whose arguments, networks or version of the program have changed is run again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use umbra_file::AtomicFile;
use umbra_file::read_file;
use umbra_model::{Geometry, Graph};

use crate::arguments::BenchPaper;
use crate::network::Network;
use crate::progress::Progress;
use crate::{Outcome, text};

mod results;

use results::Results;

/// One command, and what it is to be called in tables.
#[derive(Clone, Debug)]
struct Job {
    name: String,
    arguments: Vec<String>,
}

/// A job that was run.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Done {
    /// What it depends on beside its arguments, see [`identity`].
    of: String,
    arguments: Vec<String>,
    seconds: f64,
    report: Value,
}

/// A ReLU network that was trained for comparison.
#[derive(Clone, Debug, Deserialize)]
struct Baseline {
    name: String,
    dataset: String,
    /// In percent, over the whole test set.
    accuracy_plain: f64,
}

/// Baselines are about a kilobyte.
const MAX_BASELINE: u64 = 1 << 20;

impl Baseline {
    fn read(path: &Path, graph: &Graph) -> anyhow::Result<Self> {
        let name = path.display();
        let text = read_file(path, "--baseline", MAX_BASELINE)?;
        let expected = "expected what umbra_train export writes of a ReLU network";
        let baseline: Self = serde_json::from_slice(&text).with_context(|| format!("--baseline {name}: {expected}"))?;
        if !(0.0..=100.0).contains(&baseline.accuracy_plain) {
            bail!(
                "--baseline {name}: accuracy_plain is {}, expected a percentage; {expected}",
                baseline.accuracy_plain
            );
        }
        let dataset = &graph.description().dataset;
        if baseline.dataset != *dataset {
            bail!("--baseline {name}: of {}, expected {dataset}, as the network's", baseline.dataset);
        }
        Ok(baseline)
    }
}

/// A network or an ensemble, as given or clustered, and what is measured of it.
struct Variant {
    name: String,
    /// What its jobs are called.
    key: String,
    /// The network, or all members of an ensemble.
    networks: Vec<PathBuf>,
    /// Arguments of `cluster` that make the networks.
    clustered: Option<Vec<String>>,
    /// Codewords of a slice, and how they are assigned.
    slice: Option<(usize, &'static str)>,
    /// Options of `compile`, where time is measured.
    layout: Option<&'static [&'static str]>,
    /// How pictures are classified.
    modes: &'static [&'static str],
}

/// Values of `--assign` that clusters are compared with: the paper's, and ours where there are pictures for calibration.
const ASSIGNMENTS: [&str; 2] = ["nearest", "compensated"];

/// Runs all jobs that have not been run, then writes the tables and plots.
pub fn run(arguments: &BenchPaper) -> anyhow::Result<Outcome> {
    let graph = Network::in_the_clear(&arguments.network)?;
    let baseline = arguments.baseline.as_deref().map(|path| Baseline::read(path, &graph)).transpose()?;
    for folder in ["jobs", "programs", "networks"] {
        super::super::make_folder(&arguments.out.join(folder))?;
    }
    let variants = variants(arguments, &graph);
    let jobs = jobs(arguments, &variants);
    let progress = Progress::items("paper", jobs.len());
    let of = identity(arguments)?;
    let mut done = BTreeMap::new();
    for job in &jobs {
        progress.set(done.len());
        done.insert(job.name.clone(), job.run(&arguments.out, &of)?);
    }
    drop(progress);
    let results = Results { graph: &graph, baseline, variants: &variants, done: &done };
    results.write(arguments)?;
    text::print(&format!("{}\n", arguments.out.join("paper.md").display()))?;
    Ok(Outcome::Success)
}

/// The version of this program, its threads, and the digests of all networks.
fn identity(arguments: &BenchPaper) -> anyhow::Result<String> {
    let mut of = format!("umbra {}, {} threads,", env!("CARGO_PKG_VERSION"), rayon::current_num_threads());
    for path in std::iter::once(&arguments.network).chain(&arguments.member) {
        let digest = umbra_compiler::network_digest(&Network::in_the_clear(path)?);
        of += &format!(" {:016x}", u64::from_be_bytes(std::array::from_fn(|i| digest[i])));
    }
    Ok(of)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

/// The layouts that the network can have, the ensembles that there are members for, and both with clustered weights.
fn variants(arguments: &BenchPaper, graph: &Graph) -> Vec<Variant> {
    const CYCLIC: &[&str] = &["--layout", "cyclic"];
    const CHANNEL: &[&str] = &["--layout", "channel"];
    const ENCRYPTED: &[&str] = &["simulated", "encrypted"];
    let networks: Vec<PathBuf> = std::iter::once(&arguments.network).chain(&arguments.member).cloned().collect();
    let plain = |name: String, key: String, members: usize, layout, modes| Variant {
        name,
        key,
        networks: networks[..members].to_vec(),
        clustered: None,
        slice: None,
        layout: Some(layout),
        modes,
    };
    let mut all = Vec::new();
    let cyclic = matches!(graph.geometry(), Geometry::Cyclic { .. });
    if cyclic {
        all.push(plain("cyclic layout, 1 picture".into(), "cyclic".into(), 1, CYCLIC, ENCRYPTED));
    }
    // A batch of one differs from a full one in nothing that accuracy depends on.
    let one = &["--layout", "channel", "--batch", "1"];
    all.push(plain("channel layout, 1 picture".into(), "channel-1".into(), 1, one, &[]));
    all.push(plain("channel layout, full batch".into(), "channel".into(), 1, CHANNEL, ENCRYPTED));
    let ensembles: Vec<usize> =
        std::iter::successors(Some(2), |m| Some(2 * m)).take_while(|m| *m <= networks.len()).collect();
    for members in &ensembles {
        for (layout, key, options) in [("channel", "ensemble", CHANNEL), ("cyclic", "cyclic-ensemble", CYCLIC)] {
            if layout == "channel" || cyclic {
                let name = format!("{layout} layout, ensemble of {members}");
                all.push(plain(name, format!("{key}-{members}"), *members, options, ENCRYPTED));
            }
        }
    }

    let show = |path: &Path| path.display().to_string();
    // A file holds pictures for testing.
    let training = if arguments.data.is_dir() { words(&["--data", &show(&arguments.data)]) } else { Vec::new() };
    let sampled = !graph.description().samples.is_empty() || !training.is_empty();
    let folder = |key: &str| arguments.out.join("networks").join(key);
    let best = if sampled { "compensated" } else { "nearest" };
    for k in &arguments.k {
        for assign in ASSIGNMENTS.into_iter().filter(|assign| sampled || *assign == "nearest") {
            let key = format!("slice-{k}-{assign}");
            let (folder, network) = (folder(&key), show(&arguments.network));
            let mut cluster =
                words(&["cluster", &network, "--mode", "slice", "--k", &k.to_string(), "--assign", assign]);
            cluster.extend(["--out".into(), show(&folder)]);
            cluster.extend(training.iter().filter(|_| assign == "compensated").cloned());
            all.push(Variant {
                name: format!("clustered slice by slice, K = {k}, {assign}"),
                key,
                networks: vec![folder],
                clustered: Some(cluster),
                slice: Some((k.get(), assign)),
                // The time is that of the number of codewords.
                layout: (assign == best).then_some(CHANNEL),
                modes: &["plain"],
            });
        }
    }
    // The largest ensemble alone: what sharing an index map costs grows with its members.
    let Some(&members) = ensembles.last() else { return all };
    for k in &arguments.ensemble_k {
        let key = format!("ensemble-{members}-clustered-{k}");
        let folder = folder(&key);
        let mut cluster = words(&["cluster", &show(&arguments.network), "--mode", "ensemble", "--k", &k.to_string()]);
        // Another start of k-means changes little, and members may be large.
        cluster.extend(words(&["--keep-biases", "--restarts", "1", "--out", &show(&folder)]));
        cluster.extend(networks[1..members].iter().flat_map(|member| ["--member".into(), show(member)]));
        cluster.extend(training.clone());
        all.push(Variant {
            name: format!("ensemble of {members}, clustered together, K = {k}"),
            key,
            networks: (1..=members).map(|member| folder.join(format!("member-{member}"))).collect(),
            clustered: Some(cluster),
            slice: None,
            layout: Some(CHANNEL),
            modes: &["plain"],
        });
    }
    all
}

fn jobs(arguments: &BenchPaper, variants: &[Variant]) -> Vec<Job> {
    let show = |path: &Path| path.display().to_string();
    let data = show(&arguments.data);
    let mut jobs = Vec::new();
    let mut push = |name: String, arguments: Vec<String>| {
        jobs.push(Job { name, arguments: arguments.into_iter().chain(["--json".into()]).collect() });
    };
    let eval = |of: &str, mode: &str, references: &[String]| {
        let limit = match (mode, arguments.limit) {
            ("encrypted", _) => Some(arguments.sample),
            (_, limit) => limit,
        };
        let limit = limit.into_iter().flat_map(|n| ["--limit".to_string(), n.to_string()]).collect();
        [words(&["eval", of, "--data", &data, "--mode", mode]), references.to_vec(), limit].concat()
    };
    push("plain".into(), eval(&show(&arguments.network), "plain", &[]));
    for Variant { key, networks, clustered, layout, modes, .. } in variants {
        let program = show(&arguments.out.join("programs").join(format!("{key}.umbra")));
        if let Some(cluster) = clustered {
            push(format!("{key}-cluster"), cluster.clone());
        }
        if let Some(options) = layout {
            let members = networks[1..].iter().flat_map(|member| ["--member".into(), show(member)]).collect();
            let compile = words(&["compile", &show(&networks[0]), "--out", &program]);
            push(format!("{key}-compile"), [compile, words(options), members].concat());
        }
        let references: Vec<String> = networks.iter().flat_map(|n| ["--reference".into(), show(n)]).collect();
        for mode in *modes {
            let arguments = match networks.as_slice() {
                [network] if *mode == "plain" => eval(&show(network), mode, &[]),
                _ => eval(&program, mode, &references),
            };
            push(format!("{key}-{mode}"), arguments);
        }
        if layout.is_some() {
            push(format!("{key}-time"), words(&["bench", "network", &program, "--runs", &arguments.runs.to_string()]));
        }
    }
    if !arguments.passes.is_empty() {
        let all = [&words(&["bench", "passes"])[..], &arguments.passes, &words(&["--format", "json"])].concat();
        jobs.push(Job { name: "passes".into(), arguments: all });
    }
    jobs
}

impl Job {
    /// Whether what it writes beside its report, if anything, is still there for the jobs after it.
    fn has_output(&self) -> bool {
        let mut after = self.arguments.iter().skip_while(|argument| *argument != "--out").skip(1);
        after.next().is_none_or(|path| Path::new(path).exists())
    }

    /// What it reported before, if that was of the same and with the same arguments, or now.
    fn run(&self, out: &Path, of: &str) -> anyhow::Result<Done> {
        let path = out.join("jobs").join(format!("{}.json", self.name));
        let before = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Done>(&bytes).ok());
        let current = |done: &Done| done.arguments == self.arguments && done.of == of && self.has_output();
        if let Some(done) = before.filter(current) {
            return Ok(done);
        }
        let start = Instant::now();
        let umbra = std::env::current_exe().context("the path of this program cannot be found; was it removed?")?;
        let output = Command::new(umbra)
            .args(["--threads", &rayon::current_num_threads().to_string()])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("umbra {}: cannot be started", self.arguments.join(" ")))?;
        // Pictures whose encrypted class differs are a result too: the report says how many.
        let Ok(report) = serde_json::from_slice(&output.stdout) else {
            let reason = String::from_utf8_lossy(&output.stderr);
            bail!("umbra {}: {}", self.arguments.join(" "), reason.trim());
        };
        let (arguments, seconds) = (self.arguments.clone(), start.elapsed().as_secs_f64());
        let done = Done { of: of.into(), arguments, seconds, report };
        AtomicFile::write(&path, false, &serde_json::to_vec_pretty(&done)?)?;
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_not_run_twice() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("jobs")).unwrap();
        // When they are run, it is by a test binary that is not `umbra` and prints no report.
        let job = Job { name: "plain".into(), arguments: words(&["--list"]) };
        let report = serde_json::json!({"images": 3});
        let done = Done { of: "x".into(), arguments: job.arguments.clone(), seconds: 1.0, report };
        std::fs::write(folder.path().join("jobs/plain.json"), serde_json::to_vec(&done).unwrap()).unwrap();
        assert_eq!(job.run(folder.path(), "x").unwrap().report["images"], 3);
        assert!(job.run(folder.path(), "y").is_err());
        let other = Job { arguments: words(&["--list", "--quiet"]), ..job };
        assert!(other.run(folder.path(), "x").is_err());
    }
}
