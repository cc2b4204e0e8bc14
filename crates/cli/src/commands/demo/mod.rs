//! `umbra demo`: all three parties in one process.

mod report;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use tempfile::TempDir;

use umbra::estimate::{ClientCosts, Costs};
use umbra::image::{Image, top_class};
use umbra::model::{Graph, Reference};
use umbra::{Network, Session, machine, samples};
use umbra_ckks::PrecisionStats;
use umbra_file::AtomicFile;
use umbra_simulate::Simulator;

use self::report::{Logits, Report};
use super::report::unlike_note;
use crate::arguments::Demo;
use crate::image::draw;
use crate::outcome::Outcome;
use crate::progress::Bar;
use crate::{outputs, stop, streams, text};

/// Seed of the simulation's noise.
const SEED: u64 = 1;

/// Runs everything and reports.
pub fn run(arguments: &Demo) -> anyhow::Result<Outcome> {
    let say = |line: &str| if arguments.json { Ok(()) } else { text::print(line) };
    let start = Instant::now();
    let (folder, _temporary) = folder(arguments.out.as_deref())?;
    let network = Network::open(&arguments.network)?;
    let image = match &arguments.image {
        Some(path) => streams::image(path, network.image())?,
        None => samples::sample(&arguments.sample, network.image())?,
    };
    let program = network.program(&Default::default(), &[])?;
    let graph = network.graph(arguments.reference.as_deref())?;
    let compile_s = start.elapsed().as_secs_f64();
    let costs = Costs::of(&program)?;
    let unlike = unlike_note(program.client().spec(), &network_input(&graph, &image)?);
    if let Some(drawn) = draw(&image) {
        say(&drawn)?;
    }
    image.notes().iter().chain(&unlike).try_for_each(|note| say(&format!("note: {note}\n")))?;
    image.warnings().iter().for_each(|warning| text::warn(warning));
    say(&format!(
        "{}: {} bits of security, N = 2^{}, {} of keys; about {} of memory and {} with {} threads\n",
        costs.client.network,
        costs.client.security_bits,
        costs.client.log_n,
        text::bytes(costs.client.eval_key_file_bytes),
        text::bytes(costs.server_memory_bytes),
        text::seconds(costs.client.keygen_s + costs.server_s),
        costs.client.threads,
    ))?;
    let mut bar = Bar::default();
    stop::listen();
    let session = Session::in_folder(&program, &folder, &mut |progress| bar.show(progress))?;
    if arguments.out.is_some() {
        session.client().save_secret_key(&folder.join("secret.key"))?;
        program.save(&folder.join("network.umbra"))?;
        program.client().save(&folder.join("network.client"))?;
    }
    let mut report = encrypted(arguments, session, bar, &graph, &image, costs.client)?;
    report.compile_s = compile_s;
    if arguments.json {
        text::print_json(&report)?;
    } else {
        text::print(&report.describe())?;
    }
    Ok(if report.top1_match { Outcome::Success } else { Outcome::Disagreement })
}

fn network_input(graph: &Graph, image: &Image) -> anyhow::Result<Vec<f32>> {
    Ok(graph.input().normalise(image.bytes())?)
}

/// Where the files are; removed at the end, where they are not to be kept.
fn folder(out: Option<&Path>) -> anyhow::Result<(PathBuf, Option<TempDir>)> {
    match out {
        Some(folder) => {
            outputs::new_keys(folder, false, "")?;
            outputs::make_folder(folder)?;
            Ok((folder.to_path_buf(), None))
        }
        None => {
            let temporary = stop::scratch("demo")?;
            Ok((temporary.path().to_path_buf(), Some(temporary)))
        }
    }
}

/// Encryption, evaluation and decryption, as three parties would; and the same in the clear and simulated.
fn encrypted(
    arguments: &Demo,
    session: Session,
    mut bar: Bar,
    graph: &Graph,
    image: &Image,
    costs: ClientCosts,
) -> anyhow::Result<Report> {
    let values = network_input(graph, image)?;
    let mut classified = session.classify(&[&values], &mut |progress| bar.show(progress))?;
    drop(bar);
    if let Some(folder) = &arguments.out {
        AtomicFile::write(&folder.join("input.ct"), false, &classified.input)?;
        AtomicFile::write(&folder.join("output.ct"), false, &classified.output)?;
    }
    let (program, setup, eval_key_file_bytes) = (session.program().clone(), session.setup(), session.keys().size());
    // What follows needs no keys.
    drop(session);
    let prediction = classified.predictions.swap_remove(0)?;
    let peak_rss_bytes = machine::peak_memory();

    let plain = Reference::<f64>::new(graph).forward(&values)?;
    let simulated = Simulator::new(program.program(), program.parameters())?.run(&values, SEED)?;
    // References are for one network.
    let encrypted = prediction.logits.first().cloned().unwrap_or_default();
    let stats = PrecisionStats::compare(&encrypted, &plain);
    let nothing =
        "the network's plaintext result is not a number; this image drives its activations out of their range";
    let class = top_class(&plain).context(nothing)?;
    let spec = program.client().spec();
    Ok(Report {
        network: graph.name().to_string(),
        image: match &arguments.image {
            Some(path) => path.display().to_string(),
            None => arguments.sample.clone(),
        },
        class: spec.class(prediction.class).into_owned(),
        plain_class: spec.class(class).into_owned(),
        top1_match: class == prediction.class,
        max_abs_error: stats.max_error,
        precision_bits: stats.min_bits,
        simulated_max_abs_error: PrecisionStats::compare(&simulated, &plain).max_error,
        compile_s: 0.0,
        keygen_s: setup.keygen_s,
        encrypt_s: classified.encrypt_s,
        prepare_s: setup.prepare_s,
        load_s: setup.load_s,
        server_s: classified.server_s,
        cpu_seconds: classified.cpu_seconds,
        decrypt_s: classified.decrypt_s,
        peak_rss_bytes,
        eval_key_file_bytes,
        input_ciphertext_bytes: classified.input.len() as u64,
        output_ciphertext_bytes: classified.output.len() as u64,
        security_bits: costs.security_bits,
        log_n: costs.log_n,
        log_qp: costs.log_qp,
        levels: costs.levels,
        threads: costs.threads,
        residuals: prediction.residuals,
        logits: Logits {
            classes: graph.classes().to_vec(),
            plain,
            simulated,
            encrypted,
            probabilities: prediction.probabilities,
        },
        steps: classified.steps,
        files: arguments.out.as_ref().map(|folder| folder.display().to_string()),
    })
}
