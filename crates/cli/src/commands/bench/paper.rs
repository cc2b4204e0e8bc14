//! `umbra bench paper`: the shape of the paper's evaluation, as tables and plots.
//!
//! Every figure is what one of the other commands prints with `--json`, run as a process of its own: so peak memory is that of one
//! job, what was measured can be measured again by hand, and a run that was stopped goes on where it was. `jobs/` keeps for each
//! job its arguments and its report; a job whose arguments, networks or version of the program have changed is run again.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use umbra_file::AtomicFile;
use umbra_model::{Geometry, Graph};

use super::plot;
use super::table::Table;
use crate::arguments::BenchPaper;
use crate::network::Network;
use crate::progress::Progress;
use crate::{Outcome, text};

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
        let file = std::fs::File::open(path).with_context(|| format!("--baseline {name}"))?;
        let mut text = Vec::new();
        file.take(MAX_BASELINE).read_to_end(&mut text).with_context(|| format!("--baseline {name}"))?;
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

/// A network, or an ensemble, in one layout.
struct Variant {
    name: String,
    /// What the jobs of this variant are called.
    key: String,
    /// Options of `compile`.
    options: Vec<String>,
    members: usize,
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
    let jobs = jobs(arguments, &variants, !graph.description().samples.is_empty())?;
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

/// The layouts that the network can have, and the ensembles that there are members for.
fn variants(arguments: &BenchPaper, graph: &Graph) -> Vec<Variant> {
    let variant = |name: String, key: &str, options: &[&str], members: usize| Variant {
        name,
        key: key.into(),
        options: words(options),
        members,
    };
    let mut all = Vec::new();
    let cyclic = matches!(graph.geometry(), Geometry::Cyclic { .. });
    if cyclic {
        all.push(variant("cyclic layout, 1 picture".into(), "cyclic", &["--layout", "cyclic"], 1));
    }
    let one = ["--layout", "channel", "--batch", "1"];
    all.push(variant("channel layout, 1 picture".into(), "channel-1", &one, 1));
    all.push(variant("channel layout, full batch".into(), "channel", &["--layout", "channel"], 1));
    let networks = arguments.member.len() + 1;
    for members in std::iter::successors(Some(2), |m| Some(2 * m)).take_while(|m| *m <= networks) {
        for (layout, key) in [("channel", "ensemble"), ("cyclic", "cyclic-ensemble")] {
            if layout == "cyclic" && !cyclic {
                continue;
            }
            let mut options = words(&["--layout", layout]);
            for member in &arguments.member[..members - 1] {
                options.extend(["--member".into(), member.display().to_string()]);
            }
            let name = format!("{layout} layout, ensemble of {members}");
            all.push(Variant { name, key: format!("{key}-{members}"), options, members });
        }
    }
    all
}

fn jobs(arguments: &BenchPaper, variants: &[Variant], sampled: bool) -> anyhow::Result<Vec<Job>> {
    let show = |path: &Path| path.display().to_string();
    let (network, data) = (show(&arguments.network), show(&arguments.data));
    let limit: Vec<String> = arguments.limit.iter().flat_map(|n| ["--limit".to_string(), n.to_string()]).collect();
    let mut jobs = Vec::new();
    let mut push = |name: String, parts: &[&[String]]| {
        let arguments = parts.iter().flat_map(|part| part.iter().cloned()).chain(["--json".into()]).collect();
        jobs.push(Job { name, arguments });
    };
    let plain = |network: &str| words(&["eval", network, "--data", &data, "--mode", "plain"]);
    push("plain".into(), &[&plain(&network), &limit]);
    for variant in variants {
        let Variant { key, options, members, .. } = variant;
        let program = show(&arguments.out.join("programs").join(format!("{key}.umbra")));
        let mut references = words(&["--reference", &network]);
        for member in &arguments.member[..members - 1] {
            references.extend(["--reference".into(), show(member)]);
        }
        let eval = |mode: &str| words(&["eval", &program, "--data", &data, "--mode", mode]);
        push(format!("{key}-compile"), &[&words(&["compile", &network, "--out", &program]), options]);
        // A batch of one differs from a full one in nothing that accuracy depends on.
        if key != "channel-1" {
            push(format!("{key}-simulated"), &[&eval("simulated"), &references, &limit]);
            let sample = words(&["--limit", &arguments.sample.to_string()]);
            push(format!("{key}-encrypted"), &[&eval("encrypted"), &references, &sample]);
        }
        let runs = arguments.runs.to_string();
        push(format!("{key}-time"), &[&words(&["bench", "network", &program, "--runs", &runs])]);
    }
    // A file holds pictures for testing.
    let training = if arguments.data.is_dir() { words(&["--data", &data]) } else { Vec::new() };
    let sampled = sampled || !training.is_empty();
    for k in &arguments.k {
        for assign in ASSIGNMENTS.into_iter().filter(|assign| sampled || *assign == "nearest") {
            let folder = show(&arguments.out.join("networks").join(format!("slice-{k}-{assign}")));
            let k = k.to_string();
            let options = ["cluster", &network, "--mode", "slice", "--k", &k, "--assign", assign, "--out", &folder];
            let training = if assign == "compensated" { &training[..] } else { &[] };
            push(format!("slice-{k}-{assign}-cluster"), &[&words(&options), training]);
            push(format!("slice-{k}-{assign}-plain"), &[&plain(&folder), &limit]);
        }
    }
    if let Some(passes) = Some(&arguments.passes).filter(|p| !p.is_empty()) {
        let all = [&words(&["bench", "passes"])[..], passes, &words(&["--format", "json"])].concat();
        jobs.push(Job { name: "passes".into(), arguments: all });
    }
    Ok(jobs)
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

/// Everything that was reported.
struct Results<'a> {
    graph: &'a Graph,
    baseline: Option<Baseline>,
    variants: &'a [Variant],
    done: &'a BTreeMap<String, Done>,
}

impl Results<'_> {
    fn number(&self, job: &str, pointer: &str) -> Option<f64> {
        self.done.get(job)?.report.pointer(pointer)?.as_f64()
    }

    fn cell(&self, job: &str, pointer: &str, show: impl Fn(f64) -> String) -> String {
        self.number(job, pointer).map_or_else(|| "-".into(), show)
    }

    /// The numbers of codewords that there are results of, so assigned.
    fn clusters(&self, assign: &str) -> Vec<u64> {
        let k = |job: &String| job.strip_prefix("slice-")?.strip_suffix(&format!("-{assign}-plain"))?.parse().ok();
        let mut all: Vec<u64> = self.done.keys().filter_map(k).collect();
        all.sort_unstable();
        all
    }

    /// Every row says which of plain, simulated and encrypted it is.
    fn accuracy(&self) -> Table {
        let head = ["network", "how", "pictures", "accuracy, %", "as in the clear", "worst logit error"];
        let mut table = Table::new(&head);
        if let Some(Baseline { name, accuracy_plain, .. }) = &self.baseline {
            let cells =
                [format!("{name}, ReLU"), "plain, PyTorch".into(), "all".into(), format!("{accuracy_plain:.2}")];
            table.rows.push(cells.into_iter().chain(["-".into(), "-".into()]).collect());
        }
        let mut row = |network: &str, how: &str, job: &str, accuracy: &str| {
            let count = |pointer| self.cell(job, pointer, |n| format!("{n:.0}"));
            table.rows.push(vec![
                network.into(),
                how.into(),
                count("/images"),
                self.cell(job, accuracy, |a| format!("{:.2}", 100.0 * a)),
                count("/agree_with_plain"),
                self.cell(job, "/worst_logit_error", |e| format!("{e:.3}")),
            ]);
        };
        row("as given", "plain", "plain", "/accuracy_plain");
        for assign in ASSIGNMENTS {
            for k in self.clusters(assign) {
                let name = format!("clustered slice by slice, K = {k}, {assign}");
                row(&name, "plain", &format!("slice-{k}-{assign}-plain"), "/accuracy_plain");
            }
        }
        for Variant { name, key, members, .. } in self.variants {
            // The layout makes no difference.
            if *members > 1 && !key.starts_with("cyclic") {
                row(&format!("ensemble of {members}"), "plain", &format!("{key}-simulated"), "/accuracy_plain");
            }
            for how in ["simulated", "encrypted"] {
                let job = format!("{key}-{how}");
                if self.done.contains_key(&job) {
                    row(name, how, &job, &format!("/accuracy_{how}"));
                }
            }
        }
        table
    }

    fn latency(&self) -> Table {
        let head = [
            "layout",
            "pictures or networks at once",
            "seconds, encrypted",
            "seconds for each",
            "core-seconds",
            "peak memory, GB",
            "keys, MB",
        ];
        let mut table = Table::new(&head);
        for Variant { name, key, members, .. } in self.variants {
            let job = format!("{key}-time");
            let at_once = self.at_once(key, *members);
            table.rows.push(vec![
                name.clone(),
                format!("{at_once:.0}"),
                self.cell(&job, "/server_s/median", |s| format!("{s:.2}")),
                self.cell(&job, "/server_s/median", |s| format!("{:.2}", s / at_once)),
                self.cell(&job, "/core_s/median", |s| format!("{s:.1}")),
                self.cell(&job, "/peak_rss_bytes", |b| format!("{:.1}", b / 1e9)),
                self.cell(&job, "/eval_key_file_bytes", |b| format!("{:.0}", b / 1e6)),
            ]);
        }
        table
    }

    /// Pictures, or networks of an ensemble.
    fn at_once(&self, key: &str, members: usize) -> f64 {
        let pictures = self.number(&format!("{key}-time"), "/pictures").unwrap_or(1.0);
        pictures.max(members as f64).max(1.0)
    }

    fn levels(&self) -> Table {
        let rows = self.done.get("passes").and_then(|done| done.report.as_array()).cloned().unwrap_or_default();
        let columns = [
            ("network", "network"),
            ("fuse", "fuse"),
            ("redistribute", "redistribute"),
            ("tower_reuse", "tower reuse"),
            ("levels", "levels"),
            ("towers", "towers"),
            ("log_n", "log2 N"),
            ("log_qp", "log2 QP"),
            ("estimated_core_seconds", "core-seconds, estimated"),
        ];
        let mut table = Table::new(&columns.map(|c| c.1));
        for row in rows {
            let cell = |(name, _): &(&str, &str)| match &row[*name] {
                Value::Bool(on) => if *on { "on" } else { "off" }.into(),
                Value::String(text) => text.clone(),
                Value::Number(n) if n.is_f64() => format!("{:.1}", n.as_f64().unwrap_or(f64::NAN)),
                Value::Null => "-".into(),
                other => other.to_string(),
            };
            table.rows.push(columns.iter().map(cell).collect());
        }
        table
    }

    fn write(&self, arguments: &BenchPaper) -> anyhow::Result<()> {
        let path = |name: &str| arguments.out.join(name);
        let write = |name: &str, bytes: &[u8]| AtomicFile::write(&path(name), false, bytes);
        let mut page = format!(
            "# {}\n\nMade by `umbra bench paper`. Plain and simulated figures are of the pictures named, encrypted ones of a sample; times \
             are medians on this machine; estimates are named so.\n",
            self.graph.name()
        );
        let tables = [
            ("accuracy", "Accuracy", self.accuracy()),
            ("latency", "Time and memory", self.latency()),
            ("levels", "Levels, with the paper's passes on and off (random weights, cyclic layout)", self.levels()),
        ];
        for (name, title, table) in &tables {
            if table.rows.is_empty() {
                continue;
            }
            write(&format!("{name}.md"), table.markdown().as_bytes())?;
            write(&format!("{name}.csv"), table.csv().as_bytes())?;
            write(&format!("{name}.json"), &serde_json::to_vec_pretty(&table.json())?)?;
            page += &format!("\n## {title}\n\n{}", table.markdown());
        }
        for (name, svg) in self.plots()? {
            write(&format!("{name}.svg"), svg.as_bytes())?;
            page += &format!("\n![{name}]({name}.svg)\n");
        }
        write("paper.md", page.as_bytes())?;
        Ok(())
    }

    fn plots(&self) -> anyhow::Result<Vec<(&'static str, String)>> {
        let mut plots = Vec::new();
        let clustered = |assign: &&str| -> (String, Vec<(f64, f64)>) {
            let at = |k: u64| Some((k as f64, self.number(&format!("slice-{k}-{assign}-plain"), "/accuracy_plain")?));
            let points = self.clusters(assign).into_iter().filter_map(at).map(|(k, a)| (k, 100.0 * a));
            (format!("slice by slice, {assign} codewords"), points.collect())
        };
        let mut lines: Vec<_> = ASSIGNMENTS.iter().map(clustered).filter(|(_, points)| !points.is_empty()).collect();
        if let Some((_, [(first, _), .., (last, _)])) = lines.first().map(|(name, points)| (name, points.as_slice())) {
            let plain = 100.0 * self.number("plain", "/accuracy_plain").unwrap_or(f64::NAN);
            lines.push(("as given".into(), vec![(*first, plain), (*last, plain)]));
            let axes = ("codewords of a slice", "accuracy in the clear, %");
            plots.push(("clusters", plot::lines("Accuracy against clusters", axes, &lines)?));
        }
        let of_time = |variant: &Variant| {
            let median = self.number(&format!("{}-time", variant.key), "/server_s/median")?;
            Some((variant.key.clone(), median / self.at_once(&variant.key, variant.members)))
        };
        let times: Vec<(String, f64)> = self.variants.iter().filter_map(of_time).collect();
        plots.push(("times", plot::bars("Encrypted, for each picture or member", "seconds", &times)?));
        let levels = self.levels();
        let bars: Vec<(String, f64)> = (levels.rows.iter())
            .filter_map(|row| {
                let off: Vec<&str> = [("fuse", 1), ("redistribute", 2), ("tower reuse", 3)]
                    .iter()
                    .filter(|p| row[p.1] == "off")
                    .map(|p| p.0)
                    .collect();
                let name = match off.len() {
                    0 => "all on".to_string(),
                    1 => format!("no {}", off[0]),
                    3 => "all off".into(),
                    _ => return None,
                };
                Some((format!("{} {name}", row[0]), row[4].parse().ok()?))
            })
            .collect();
        if !bars.is_empty() {
            plots.push(("levels", plot::bars("Levels", "levels", &bars)?));
        }
        Ok(plots)
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
