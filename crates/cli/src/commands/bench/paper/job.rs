//! Commands that are run one by one, and their reports.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use umbra_file::AtomicFile;

use super::variants::{Variant, words};
use crate::arguments::BenchPaper;

/// One command, and what it is to be called in tables.
#[derive(Clone, Debug)]
pub struct Job {
    pub name: String,
    pub arguments: Vec<String>,
}

/// A job that was run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Done {
    /// What it depends on beside its arguments, in words.
    pub of: String,
    pub arguments: Vec<String>,
    pub seconds: f64,
    pub report: Value,
}

/// All jobs, in the order in which they need one another.
pub fn jobs(arguments: &BenchPaper, variants: &[Variant]) -> Vec<Job> {
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
    for Variant { key, networks, clustered, packing, modes, .. } in variants {
        let program = show(&arguments.out.join("programs").join(format!("{key}.umbra")));
        if let Some(cluster) = clustered {
            push(format!("{key}-cluster"), cluster.clone());
        }
        if let Some(options) = packing {
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
        if packing.is_some() {
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
    pub fn run(&self, out: &Path, of: &str) -> anyhow::Result<Done> {
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
        // Images whose encrypted class differs are a result too: the report says how many.
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
