//! `umbra bench network`: a whole network, encrypted, several times over.

use std::path::Path;
use std::time::Instant;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use umbra_ckks::PrecisionStats;
use umbra_client::Client;
use umbra_model::Reference;
use umbra_model::zoo::random_picture;
use umbra_server::Server;

use super::Spread;
use crate::arguments::BenchNetwork;
use crate::network::Network;
use crate::progress::Progress;
use crate::{Outcome, machine, text};

/// What `--json` prints; seconds.
#[derive(Serialize)]
struct Report {
    network: String,
    log_n: u32,
    log_qp: f64,
    levels: usize,
    threads: usize,
    runs: usize,
    /// Pictures that one evaluation classifies.
    pictures: usize,
    keygen_s: f64,
    encrypt_s: Spread,
    prepare_s: f64,
    load_s: f64,
    /// Evaluation only; the first run, in which buffers are made, is in it.
    server_s: Spread,
    /// Seconds of the first evaluation after the keys were loaded.
    first_server_s: f64,
    /// Processor time of one evaluation.
    core_s: Option<Spread>,
    decrypt_s: Spread,
    /// Largest difference of an encrypted and a plaintext logit, where the network is there in the clear.
    max_abs_error: Option<f64>,
    eval_key_file_bytes: u64,
    peak_rss_bytes: Option<u64>,
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    node: String,
    operation: &'static str,
    level: usize,
    seconds: Spread,
    estimated_core_seconds: f64,
}

/// Encrypts, evaluates and decrypts a picture again and again, with one set of keys.
pub fn run(arguments: &BenchNetwork) -> anyhow::Result<Outcome> {
    let network = match &arguments.random {
        Some(size) => Network::random(size)?,
        None => Network::open(&arguments.network)?,
    };
    let program = network.compiled(&arguments.compilation)?;
    let steps = &program.program().steps;
    let folder = super::super::scratch("bench")?;
    let path = |name: &str| folder.path().join(name);

    let start = Instant::now();
    let client = Client::generate(&program)?;
    super::super::write_keys(&client, &path("eval.key"))?;
    let keygen_s = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let server = Server::new(&program)?;
    let prepare_s = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let keys = server.open_keys(&path("eval.key"))?;
    keys.load_all()?;
    let load_s = start.elapsed().as_secs_f64();

    // Times do not depend on the picture; networks with random weights are calibrated for random ones.
    let values = random_picture(network.input(), &mut ChaCha8Rng::seed_from_u64(1));
    let plain = match &network {
        Network::Graph(graph) => Some(Reference::<f64>::new(graph).forward(&values)?),
        Network::Program(_) => None,
    };
    let mut max_abs_error: Option<f64> = None;
    let pictures = program.program().layout.pictures();
    let runs = arguments.runs.get();
    let progress = Progress::items("evaluating", runs);
    let mut seconds = vec![Vec::new(); steps.len()];
    let (mut encrypt, mut evaluate, mut cores, mut decrypt) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for run in 0..runs {
        let (input, output): (&Path, &Path) = (&path("input.ct"), &path("output.ct"));
        let start = Instant::now();
        client.encrypt_batch_to(input, &vec![&values; pictures])?;
        encrypt.push(start.elapsed().as_secs_f64());
        let ciphertexts = server.read_input(input)?;
        let (start, processor) = (Instant::now(), machine::processor_time());
        let result = server.infer(&keys, ciphertexts, &mut |step| seconds[step.index].push(step.seconds))?;
        evaluate.push(start.elapsed().as_secs_f64());
        cores.extend(processor.zip(machine::processor_time()).map(|(before, after)| after - before));
        server.write_output(output, &result)?;
        let start = Instant::now();
        let decrypted = client.decrypt_from(output)?;
        decrypt.push(start.elapsed().as_secs_f64());
        if let Some(plain) = &plain {
            let error = PrecisionStats::compare(&decrypted.values, plain).max_error;
            max_abs_error = Some(max_abs_error.map_or(error, |e| e.max(error)));
        }
        progress.set(run + 1);
    }
    drop(progress);
    let report = Report {
        network: program.program().name.clone(),
        log_n: program.program().parameters.log_n,
        log_qp: program.program().report.log_qp,
        levels: program.program().parameters.levels.len(),
        threads: machine::threads(),
        runs,
        pictures,
        keygen_s,
        encrypt_s: Spread::of(encrypt),
        prepare_s,
        load_s,
        first_server_s: evaluate[0],
        server_s: Spread::of(evaluate),
        core_s: (!cores.is_empty()).then(|| Spread::of(cores)),
        decrypt_s: Spread::of(decrypt),
        max_abs_error,
        eval_key_file_bytes: keys.size(),
        peak_rss_bytes: machine::peak_memory(),
        steps: (steps.iter().zip(seconds))
            .map(|(step, seconds)| Step {
                node: step.node.clone(),
                operation: umbra_program::operation_name(&step.operation),
                level: step.level_in,
                seconds: Spread::of(seconds),
                estimated_core_seconds: step.estimate.seconds,
            })
            .collect(),
    };
    if arguments.json {
        text::print_json(&report)?;
    } else {
        text::print(&report.describe())?;
    }
    Ok(Outcome::Success)
}

impl Report {
    /// For people.
    fn describe(&self) -> String {
        let cells = |s: &Spread| [s.median, s.min, s.max].map(text::seconds);
        let row = |name: &str, s: &Spread| [vec![name.to_string()], cells(s).to_vec()].concat();
        let once = |name: &str, s: f64| vec![name.to_string(), text::seconds(s)];
        let mut steps = vec![["step", "does", "level", "median", "min", "max"].map(String::from).to_vec()];
        steps.extend(self.steps.iter().map(|s| {
            [vec![s.node.clone(), s.operation.to_string(), s.level.to_string()], cells(&s.seconds).to_vec()].concat()
        }));
        let mut figures = vec![["", "median", "min", "max"].map(String::from).to_vec()];
        figures.extend([
            once("key generation", self.keygen_s),
            row("encryption", &self.encrypt_s),
            once("server: encode weights", self.prepare_s),
            once("server: load keys", self.load_s),
            row("server: evaluate", &self.server_s),
            once("server: evaluate, first time", self.first_server_s),
        ]);
        figures.extend(self.core_s.as_ref().map(|s| row("server: evaluate, processor time", s)));
        figures.push(row("decryption", &self.decrypt_s));
        let error = self.max_abs_error.map_or(String::new(), |e| format!(", largest error of a logit {e:.4}"));
        let memory = self.peak_rss_bytes.map_or("unknown".into(), text::bytes);
        format!(
            "{}\n{}, N = 2^{}, log2 QP = {:.0}, {} levels, {} runs with {} threads; peak memory {memory} (client included), evaluation keys {}{error}\n{}",
            text::table(&steps),
            self.network,
            self.log_n,
            self.log_qp,
            self.levels,
            self.runs,
            self.threads,
            text::bytes(self.eval_key_file_bytes),
            text::table(&figures),
        )
    }
}
