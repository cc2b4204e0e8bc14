//! `umbra demo`: all three parties in one process.

mod report;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use umbra_ckks::PrecisionStats;
use umbra_client::Client;
use umbra_image::{Image, softmax, top_class};
use umbra_model::{Graph, Reference};
use umbra_server::Server;
use umbra_simulate::Simulator;
use umbra_wire::LoadedProgram;

use super::estimate::Costs;
use crate::arguments::Demo;
use crate::network::Network;
use crate::progress::Progress;
use crate::{Outcome, machine, picture, text};
use report::{Logits, Report, StepTime};

/// Seed of the simulation's noise.
const SEED: u64 = 1;

/// Where the files are.
struct Files {
    folder: PathBuf,
    /// Removed at the end, where the files are not to be kept.
    _temporary: Option<tempfile::TempDir>,
}

impl Files {
    fn new(arguments: &Demo) -> anyhow::Result<Self> {
        if let Some(folder) = &arguments.out {
            super::new_keys(folder, false, "")?;
            super::make_folder(folder)?;
            return Ok(Self { folder: folder.clone(), _temporary: None });
        }
        let temporary = super::scratch("demo")?;
        Ok(Self { folder: temporary.path().into(), _temporary: Some(temporary) })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Runs everything and reports.
pub fn run(arguments: &Demo) -> anyhow::Result<Outcome> {
    let say = |line: &str| if arguments.json { Ok(()) } else { text::print(line) };
    let start = Instant::now();
    let files = Files::new(arguments)?;
    let network = Network::open(&arguments.network)?;
    let picture = match &arguments.image {
        Some(path) => picture::load(path, network.input())?,
        None => picture::shipped(&arguments.picture, network.input())?,
    };
    let program = network.program(&[])?;
    let graph = network.graph(arguments.reference.as_deref())?;
    let compile_s = start.elapsed().as_secs_f64();
    let costs = Costs::of(&program);
    if let Some(drawn) = picture::draw(&picture) {
        say(&drawn)?;
    }
    picture.notes().iter().try_for_each(|note| say(&format!("note: {note}\n")))?;
    say(&format!(
        "{}: {} bits of security, N = 2^{}, {} of keys; about {} of memory and {} with {} threads\n",
        costs.network,
        costs.security_bits,
        costs.log_n,
        text::bytes(costs.eval_key_file_bytes),
        text::bytes(costs.server_memory_bytes),
        text::seconds(costs.keygen_s + costs.server_s),
        costs.threads,
    ))?;
    let mut report = encrypted(arguments, &files, &program, &graph, &picture, costs)?;
    report.compile_s = compile_s;
    if arguments.json {
        text::print_json(&report)?;
    } else {
        text::print(&report.describe())?;
    }
    Ok(if report.top1_match { Outcome::Success } else { Outcome::Disagreement })
}

/// Key generation, encryption, evaluation and decryption, over files as three parties would.
fn encrypted(
    arguments: &Demo,
    files: &Files,
    program: &LoadedProgram,
    graph: &Graph,
    picture: &Image,
    costs: Costs,
) -> anyhow::Result<Report> {
    let (eval_key, input, output) = (files.path("eval.key"), files.path("input.ct"), files.path("output.ct"));
    let values = graph.input().normalise(picture.bytes())?;

    // The client.
    let (client, keygen_s) = timed(|| {
        let client = Client::generate(program)?;
        super::write_keys(&client, &eval_key)?;
        Ok(client)
    })?;
    if arguments.out.is_some() {
        client.save_secret_key(&files.path("secret.key"))?;
        program.save(&files.path("network.umbra"))?;
    }
    let (input_ciphertext_bytes, encrypt_s) = timed(|| Ok(client.encrypt_to(&input, &values)?))?;

    // The server.
    let (server, prepare_s) = timed(|| Ok(Server::new(program)?))?;
    let (keys, load_s) = timed(|| {
        let keys = server.open_keys(&eval_key)?;
        keys.load_all()?;
        Ok(keys)
    })?;
    let ciphertexts = server.read_input(&input)?;
    let mut steps = Vec::new();
    let (result, server_s) = {
        let parts = super::finished_parts(program);
        let progress = Progress::weighted("evaluating");
        timed(|| {
            Ok(server.infer(&keys, ciphertexts, &mut |step| {
                progress.advance(parts[step.index], step.node);
                steps.push(StepTime::of(step, &program.program().steps[step.index]));
            })?)
        })?
    };
    let output_ciphertext_bytes = server.write_output(&output, &result)?;
    let eval_key_file_bytes = keys.size();
    drop(keys);

    // The client again.
    let (decrypted, decrypt_s) =
        timed(|| client.decrypt_from(&output).map_err(|error| super::about_file(&output, error)))?;
    let peak_rss_bytes = machine::peak_memory();

    let plain = Reference::<f64>::new(graph).forward(&values)?;
    let simulated = Simulator::new(program.program(), program.parameters())?.run(&values, SEED)?;
    let encrypted = decrypted.values;
    let stats = PrecisionStats::compare(&encrypted, &plain);
    let nothing =
        "the network's plaintext result is not a number; this picture drives its activations out of their range";
    let class = top_class(&plain).context(nothing)?;
    let encrypted_class = top_class(&encrypted).context("the encrypted result is not a number")?;
    let probabilities = softmax(&encrypted);
    Ok(Report {
        network: graph.name().to_string(),
        picture: match &arguments.image {
            Some(path) => path.display().to_string(),
            None => arguments.picture.clone(),
        },
        class: graph.classes()[encrypted_class].clone(),
        plain_class: graph.classes()[class].clone(),
        top1_match: class == encrypted_class,
        max_abs_error: stats.max_error,
        precision_bits: stats.min_bits,
        simulated_max_abs_error: PrecisionStats::compare(&simulated, &plain).max_error,
        compile_s: 0.0,
        keygen_s,
        encrypt_s,
        prepare_s,
        load_s,
        server_s,
        decrypt_s,
        peak_rss_bytes,
        eval_key_file_bytes,
        input_ciphertext_bytes,
        output_ciphertext_bytes,
        security_bits: costs.security_bits,
        log_n: costs.log_n,
        log_qp: costs.log_qp,
        levels: costs.levels,
        threads: costs.threads,
        stray: decrypted.stray,
        spread: decrypted.spread,
        logits: Logits { classes: graph.classes().to_vec(), plain, simulated, encrypted, probabilities },
        steps,
        files: arguments.out.as_ref().map(|folder| folder.display().to_string()),
    })
}

fn timed<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, f64)> {
    let start = Instant::now();
    let value = work()?;
    Ok((value, start.elapsed().as_secs_f64()))
}
