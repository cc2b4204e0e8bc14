//! `umbra bench network`: a whole network, encrypted, several times over.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use umbra::model::Reference;
use umbra::model::zoo::random_image;
use umbra::{Network, Session, machine};
use umbra_ckks::{Level, PrecisionStats};

use super::statistics::Statistics;
use crate::arguments::BenchNetwork;
use crate::outcome::Outcome;
use crate::progress::{Bar, Items};
use crate::{stop, text};

/// What `--json` prints; seconds.
#[derive(Serialize)]
struct Report {
    network: String,
    log_n: u32,
    log_qp: f64,
    levels: usize,
    threads: usize,
    runs: usize,
    /// Images that one evaluation classifies.
    images: usize,
    keygen_s: f64,
    encrypt_s: Statistics,
    prepare_s: f64,
    load_s: f64,
    /// Evaluation only; the first run, in which buffers are made, is in it.
    server_s: Statistics,
    /// Seconds of the first evaluation after the keys were loaded.
    first_server_s: f64,
    /// Of one evaluation.
    cpu_seconds: Option<Statistics>,
    decrypt_s: Statistics,
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
    level: Level,
    seconds: Statistics,
    estimated_cpu_seconds: f64,
}

/// Encrypts, evaluates and decrypts an image again and again, with one set of keys.
pub fn run(arguments: &BenchNetwork) -> anyhow::Result<Outcome> {
    let network = match &arguments.random {
        Some(size) => Network::random(size)?,
        None => Network::open(&arguments.network)?,
    };
    let program = arguments.compilation.program(&network)?;
    let (steps, spec) = (&program.program().steps, program.client().spec());
    let folder = stop::scratch("bench")?;
    let mut bar = Bar::default();
    let session = Session::in_folder(&program, folder.path(), &mut |progress| bar.show(progress))?;
    drop(bar);

    // Times do not depend on the image; networks with random weights are calibrated for random ones.
    let values = random_image(network.image(), &mut ChaCha8Rng::seed_from_u64(1));
    let plain = match &network {
        Network::Graph(graph) => Some(Reference::<f64>::new(graph).forward(&values)?),
        _ => None,
    };
    let mut max_abs_error: Option<f64> = None;
    let images = vec![&values; spec.layout.images];
    let runs = arguments.runs.get();
    let items = Items::new("evaluating", runs);
    let mut seconds = vec![Vec::new(); steps.len()];
    let (mut encrypt, mut evaluate, mut cpu, mut decrypt) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for run in 0..runs {
        let mut classified = session.classify(&images, &mut |_| stop::asked())?;
        encrypt.push(classified.encrypt_s);
        evaluate.push(classified.server_s);
        cpu.extend(classified.cpu_seconds);
        decrypt.push(classified.decrypt_s);
        seconds.iter_mut().zip(&classified.steps).for_each(|(seconds, step)| seconds.push(step.seconds));
        let prediction = classified.predictions.swap_remove(0)?;
        if let (Some(plain), Some(logits)) = (&plain, prediction.logits.first()) {
            let error = PrecisionStats::compare(logits, plain).max_error;
            max_abs_error = Some(max_abs_error.map_or(error, |e| e.max(error)));
        }
        items.set(run + 1);
    }
    drop(items);
    let setup = session.setup();
    let report = Report {
        network: spec.name.clone(),
        log_n: spec.parameters.log_n,
        log_qp: program.program().report.log_qp,
        levels: spec.parameters.levels.len(),
        threads: machine::threads(),
        runs,
        images: images.len(),
        keygen_s: setup.keygen_s,
        encrypt_s: Statistics::of(encrypt),
        prepare_s: setup.prepare_s,
        load_s: setup.load_s,
        first_server_s: evaluate[0],
        server_s: Statistics::of(evaluate),
        cpu_seconds: (!cpu.is_empty()).then(|| Statistics::of(cpu)),
        decrypt_s: Statistics::of(decrypt),
        max_abs_error,
        eval_key_file_bytes: session.keys().size(),
        peak_rss_bytes: machine::peak_memory(),
        steps: (steps.iter().zip(seconds))
            .map(|(step, seconds)| Step {
                node: step.node.clone(),
                operation: umbra::program::operation_name(&step.operation),
                level: step.level_in,
                seconds: Statistics::of(seconds),
                estimated_cpu_seconds: step.estimate.seconds,
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
        let cells = |s: &Statistics| [s.median, s.min, s.max].map(text::seconds);
        let row = |name: &str, s: &Statistics| [vec![name.to_string()], cells(s).to_vec()].concat();
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
        figures.extend(self.cpu_seconds.as_ref().map(|s| row("server: evaluate, CPU-seconds", s)));
        figures.push(row("decryption", &self.decrypt_s));
        let error = self.max_abs_error.map_or(String::new(), |e| format!(", largest error of a logit {e:.4}"));
        let memory = self.peak_rss_bytes.map_or("unknown".into(), text::bytes);
        format!(
            "{}\n{}, N = 2^{}, log2 QP = {:.0}, {} levels, {} runs with {} threads; peak memory {memory} (client \
             included), evaluation keys {}{error}\n{}",
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
