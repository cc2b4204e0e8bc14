//! `umbra infer`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, anyhow, bail};
use serde::Serialize;

use umbra::Network;
use umbra::machine;
use umbra::memory::Need;
use umbra::progress::Meter;
use umbra::server::Server;
use umbra::wire::{Encrypted, EvaluationKeys, KeyStore, LoadedProgram, Role, WireError};
use umbra_file::Kind;

use crate::arguments::Infer;
use crate::outcome::Outcome;
use crate::progress::Bar;
use crate::{outputs, stop, text};

/// What `--json` prints: of one input its result at the top, of several a list.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    one: Option<Done>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    results: Vec<Done>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<Failed>,
    prepare_s: f64,
    /// Of all inputs.
    server_s: f64,
    peak_rss_bytes: Option<u64>,
    threads: usize,
}

/// A result that was written.
#[derive(Clone, Serialize)]
struct Done {
    input: String,
    file: String,
    images: usize,
    output_ciphertext_bytes: u64,
    /// Seconds of the evaluation; loading of keys is in that of the first.
    evaluation_s: f64,
    /// CPU-seconds of it, where the system tells.
    cpu_seconds: Option<f64>,
}

/// An input without a result.
#[derive(Serialize)]
struct Failed {
    input: String,
    reason: String,
}

/// Classifies encrypted images.
pub fn run(arguments: &Infer) -> anyhow::Result<Outcome> {
    let jobs = jobs(&arguments.inputs, &arguments.out)?;
    let program = program(&arguments.network.network)?;
    Need::inference(&program).check("this inference")?;
    let start = Instant::now();
    let keys = keys(&program, &arguments.keys)?;
    // All of them, before any work is done on one.
    jobs.iter().try_for_each(|job| received(&program, &keys, &arguments.keys, job.input).map(drop))?;
    stop::listen();
    let server = Server::new(&program)?;
    let prepare_s = start.elapsed().as_secs_f64();
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for job in &jobs {
        let input = job.input.display().to_string();
        match evaluate(&server, &keys, &arguments.keys, job) {
            Ok(one) => {
                if !arguments.json {
                    text::print(&one.describe(done.is_empty()))?;
                }
                done.push(one);
            }
            Err(error) if jobs.len() == 1 => return Err(error),
            Err(error) if stop::is_stop(&error) => {
                return Err(error.context(format!("{input}: stopped; {}", written(&done, &jobs))));
            }
            // The others may be well.
            Err(error) => {
                let reason = format!("{error:#}").trim_start_matches(&format!("{input}: ")).to_string();
                failed.push(Failed { input, reason });
            }
        }
    }
    let several = jobs.len() > 1;
    let problem = failed.first().map(|first| {
        let more = if failed.len() > 1 { format!(" (and {} more)", failed.len() - 1) } else { String::new() };
        anyhow!("{}: {}{more}; {}", first.input, first.reason, written(&done, &jobs))
    });
    if arguments.json {
        text::print_json(&Report {
            one: done.first().filter(|_| !several).cloned(),
            server_s: done.iter().map(|one| one.evaluation_s).sum(),
            results: if several { done } else { Vec::new() },
            failed,
            prepare_s,
            peak_rss_bytes: machine::peak_memory(),
            threads: machine::threads(),
        })?;
    }
    problem.map_or(Ok(Outcome::Success), Err)
}

/// An input, and where its result goes.
struct Job<'a> {
    input: &'a Path,
    out: PathBuf,
}

/// One file for one input; else a folder of results that are named as the inputs.
fn jobs<'a>(inputs: &'a [PathBuf], out: &Path) -> anyhow::Result<Vec<Job<'a>>> {
    let all: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
    if let [input] = all[..]
        && !out.is_dir()
        && !out.as_os_str().as_encoded_bytes().ends_with(b"/")
    {
        outputs::check(out, Kind::Ciphertext, &all)?;
        return Ok(vec![Job { input, out: out.to_path_buf() }]);
    }
    outputs::make_folder(out)?;
    let mut places = BTreeMap::new();
    all.iter()
        .map(|&input| {
            let name = input.file_name().with_context(|| format!("{}: this is no file", input.display()))?;
            let job = Job { input, out: out.join(name) };
            if let Some(other) = places.insert(outputs::check(&job.out, Kind::Ciphertext, &all)?, input) {
                let (other, input, out) = (other.display(), input.display(), job.out.display());
                bail!("{other} and {input}: both results would be {out}; give inputs of different names");
            }
            Ok(job)
        })
        .collect()
}

/// Evaluates one input and writes its result.
fn evaluate(server: &Server, keys: &EvaluationKeys, keys_path: &Path, job: &Job<'_>) -> anyhow::Result<Done> {
    let program = server.program();
    let input = received(program, keys, keys_path, job.input)?;
    let (mut bar, meter) = (Bar::default(), Meter::steps(program.program()));
    let (start, before) = (Instant::now(), machine::processor_time());
    let result = server.infer(keys, &input, &mut |step| bar.show(&meter.at(step.index + 1, Some(step.node))))?;
    let evaluation_s = start.elapsed().as_secs_f64();
    let cpu_seconds = before.zip(machine::processor_time()).map(|(before, after)| after - before);
    Ok(Done {
        input: job.input.display().to_string(),
        file: job.out.display().to_string(),
        images: result.images,
        output_ciphertext_bytes: server.save_output(&job.out, &result)?,
        evaluation_s,
        cpu_seconds,
    })
}

impl Done {
    /// For people.
    fn describe(&self, is_first: bool) -> String {
        format!(
            "{}: the encrypted result, {}, in {}{}{}\n",
            self.file,
            text::bytes(self.output_ciphertext_bytes),
            text::seconds(self.evaluation_s),
            if is_first { " (loading of keys included)" } else { "" },
            machine::peak_memory().map_or(String::new(), |peak| format!(", {} of memory at most", text::bytes(peak))),
        )
    }
}

fn written(done: &[Done], jobs: &[Job<'_>]) -> String {
    format!("{} of {} results were written", done.len(), jobs.len())
}

/// What the server has: a program, or a network that it compiles.
fn program(path: &Path) -> anyhow::Result<LoadedProgram> {
    let network = Network::open(path)?;
    if matches!(network, Network::Client(_)) {
        bail!(
            "{}: this is a client file, which has no weights; give the program that was written with it",
            path.display()
        );
    }
    Ok(network.program(&Default::default(), &[])?)
}

/// The keys, all that the program needs.
fn keys(program: &LoadedProgram, path: &Path) -> anyhow::Result<EvaluationKeys> {
    let found = EvaluationKeys::open(path, program.parameters())?;
    found.expect(&program.client().spec().keys).map_err(WireError::content(path))?;
    Ok(found)
}

/// Encrypted images of the program, which belong to the keys.
fn received(
    program: &LoadedProgram,
    keys: &EvaluationKeys,
    keys_path: &Path,
    input: &Path,
) -> anyhow::Result<Encrypted> {
    let images = Encrypted::open(input, program.client(), Role::Input)?;
    if let Some(key_set) = images.key_set().filter(|key_set| *key_set != keys.key_set()) {
        bail!(
            "{}: encrypted under key set {key_set}, but {} is of key set {}; give keys and images of one client",
            input.display(),
            keys_path.display(),
            keys.key_set()
        );
    }
    Ok(images)
}
