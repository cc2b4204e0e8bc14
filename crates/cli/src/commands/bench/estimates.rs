//! `umbra bench estimates`: what was estimated, and what it took.
//!
//! What is measured are the commands that clients and servers run, each in a process of its own, whose memory nothing
//! else shares. The rates of the machine are measured anew just before.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use serde_json::Value;

use umbra::calibration::Rates;
use umbra::client::Client;
use umbra::compiler::{CompileOptions, PackingChoice};
use umbra::estimate::Costs;
use umbra::model::zoo::random_image;
use umbra::wire::LoadedProgram;
use umbra::{Network, machine};

use super::statistics::Statistics;
use crate::arguments::BenchEstimates;
use crate::outcome::Outcome;
use crate::progress::Items;
use crate::{stop, text};

/// What ends a name whose network is to be compiled for a batch.
const BATCH: &str = ":channel";

/// One estimate of one network.
#[derive(Serialize)]
struct Row {
    network: String,
    quantity: &'static str,
    /// Seconds, or bytes.
    unit: &'static str,
    estimated: f64,
    measured: f64,
    /// Measured over estimated.
    ratio: f64,
    /// CPU-seconds of all threads over their number: what the clock shows where nothing else runs.
    measured_cpu: Option<f64>,
    /// Of that.
    ratio_cpu: Option<f64>,
}

/// Estimates, then measures.
pub fn run(arguments: &BenchEstimates) -> anyhow::Result<Outcome> {
    let items = Items::new("networks", arguments.networks.len());
    let mut rows = Vec::new();
    for (done, name) in arguments.networks.iter().enumerate() {
        rows.extend(of_network(name, arguments.runs.get())?);
        items.set(done + 1);
    }
    drop(items);
    if arguments.json {
        text::print_json(&rows)?;
    } else {
        text::print(&describe(&rows))?;
    }
    Ok(Outcome::Success)
}

fn of_network(name: &str, runs: usize) -> anyhow::Result<Vec<Row>> {
    let (network, options) = match name.strip_suffix(BATCH) {
        Some(name) => (name, CompileOptions { packing: PackingChoice::Channel, ..CompileOptions::default() }),
        None => (name, CompileOptions::default()),
    };
    let path = Path::new(network);
    let network = if path.exists() || network == umbra::network::SHIPPED {
        Network::open(path)?
    } else {
        Network::random(network)?
    };
    let program = network.program(&options, &[])?;
    let costs = Costs::with(&program, &Rates::measure(program.parameters().log_n())?)?;
    let folder = stop::scratch("bench")?;
    let files = Files { folder: folder.path(), program: &program };
    let (keygen, keygen_cpu) = files.keygen(runs)?;
    let inferred = files.infer(runs)?;
    let row = |quantity, unit, estimated: f64, measured: f64, cpu: Option<f64>| Row {
        network: name.to_string(),
        quantity,
        unit,
        estimated,
        measured,
        ratio: measured / estimated,
        measured_cpu: cpu,
        ratio_cpu: cpu.map(|cpu| cpu / estimated),
    };
    let first_image = costs.server_s + costs.load_s;
    let mut rows = vec![
        row("key generation", "s", costs.client.keygen_s, keygen, keygen_cpu),
        row("server", "s", costs.server_s, inferred.steady, inferred.steady_cpu),
        row("server, first image", "s", first_image, inferred.first, inferred.first_cpu),
    ];
    let memory = inferred.peak.map(|peak| row("server memory", "B", costs.server_memory_bytes as f64, peak, None));
    rows.extend(memory);
    Ok(rows)
}

/// A client's and a server's files.
struct Files<'a> {
    folder: &'a Path,
    program: &'a LoadedProgram,
}

/// Medians of what processes of the server report.
struct Inferred {
    first: f64,
    first_cpu: Option<f64>,
    steady: f64,
    steady_cpu: Option<f64>,
    peak: Option<f64>,
}

impl Files<'_> {
    /// Seconds of making the keys, by the clock and by processors.
    fn keygen(&self, runs: usize) -> anyhow::Result<(f64, Option<f64>)> {
        self.program.client().save(&self.folder.join("net.client"))?;
        let arguments = ["keygen", "net.client", "--out", "keys", "--replace", "--json"];
        let reports = (0..runs).map(|_| self.umbra(&arguments)).collect::<anyhow::Result<Vec<_>>>()?;
        let cpu = reports.iter().map(|report| per_thread(&report["cpu_seconds"])).collect::<Option<Vec<_>>>();
        let seconds = reports.iter().filter_map(|report| report["keygen_s"].as_f64());
        Ok((Statistics::of(seconds).median, cpu.map(|cpu| Statistics::of(cpu).median)))
    }

    /// Two images or more in each process: the first one, and those after it.
    fn infer(&self, runs: usize) -> anyhow::Result<Inferred> {
        self.program.save(&self.folder.join("net.umbra"))?;
        let client = Client::open(self.program.client(), &self.folder.join("keys/secret.key"))?;
        let spec = self.program.client().spec();
        let image = random_image(&spec.image, &mut ChaCha8Rng::seed_from_u64(1));
        client.encrypt_to(&self.folder.join("0.ct"), &vec![&image; spec.layout.images])?;
        std::fs::copy(self.folder.join("0.ct"), self.folder.join("1.ct"))?;
        std::fs::copy(self.folder.join("0.ct"), self.folder.join("2.ct"))?;
        let arguments =
            ["infer", "net.umbra", "--keys", "keys/eval.key", "0.ct", "1.ct", "2.ct", "--out", "results", "--json"];
        let reports = (0..runs).map(|_| self.umbra(&arguments)).collect::<anyhow::Result<Vec<_>>>()?;
        let results = |at: fn(usize) -> bool| {
            let each = reports.iter().flat_map(|report| report["results"].as_array().into_iter().flatten().enumerate());
            each.filter(move |(index, _)| at(*index % 3)).map(|(_, result)| result).collect::<Vec<_>>()
        };
        let (first, steady) = (results(|index| index == 0), results(|index| index > 0));
        let seconds = |results: &[&Value]| {
            Statistics::of(results.iter().filter_map(|result| result["evaluation_s"].as_f64())).median
        };
        let cpu = |results: &[&Value]| {
            let each = results.iter().map(|result| per_thread(&result["cpu_seconds"])).collect::<Option<Vec<_>>>();
            each.map(|each| Statistics::of(each).median)
        };
        let peak = reports.iter().map(|report| report["peak_rss_bytes"].as_f64()).collect::<Option<Vec<_>>>();
        Ok(Inferred {
            first: seconds(&first),
            first_cpu: cpu(&first),
            steady: seconds(&steady),
            steady_cpu: cpu(&steady),
            peak: peak.map(|peak| Statistics::of(peak).median),
        })
    }

    /// The report of a command, in a process of its own with as many threads as this.
    fn umbra(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        if stop::asked().is_break() {
            return Err(umbra::UmbraError::Cancelled.into());
        }
        let own = std::env::current_exe().context("the program does not find itself; start it by its full path")?;
        let mut command = Command::new(own);
        command.current_dir(self.folder).args(["--threads", &machine::threads().to_string()]).args(arguments);
        let output = command.output().context("the program cannot be started again; start it by its full path")?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            bail!("{}: {}", arguments[0], message.trim().trim_start_matches("umbra: "));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

fn per_thread(cpu_seconds: &Value) -> Option<f64> {
    Some(cpu_seconds.as_f64()? / machine::threads() as f64)
}

fn describe(rows: &[Row]) -> String {
    let head = ["network", "quantity", "estimated", "measured", "ratio", "by CPU time", "ratio"];
    let mut cells = vec![head.map(String::from).to_vec()];
    let shown = |row: &Row, value: f64| if row.unit == "B" { text::bytes(value as u64) } else { text::seconds(value) };
    let or = |value: Option<String>| value.unwrap_or_default();
    cells.extend(rows.iter().map(|row| {
        vec![
            row.network.clone(),
            row.quantity.to_string(),
            shown(row, row.estimated),
            shown(row, row.measured),
            format!("{:.2}", row.ratio),
            or(row.measured_cpu.map(|value| shown(row, value))),
            or(row.ratio_cpu.map(|ratio| format!("{ratio:.2}"))),
        ]
    }));
    text::table(&cells)
}
