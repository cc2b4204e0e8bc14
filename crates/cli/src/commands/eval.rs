//! `umbra eval`.

use std::path::Path;
use std::time::Instant;

use rayon::prelude::*;
use serde::Serialize;
use umbra_client::Client;
use umbra_image::{ensemble_probabilities, top_class};
use umbra_model::{Graph, Reference, Split};
use umbra_program::{LayoutError, Logits};
use umbra_server::Server;
use umbra_simulate::{SimulateError, Simulator};
use umbra_wire::{Ciphertext, LoadedProgram};

use crate::arguments::{Eval, Mode};
use crate::network::Network;
use crate::progress::Progress;
use crate::{Outcome, dataset, machine, text};

/// What `--json` prints. What the mode does not compute is null.
#[derive(Serialize)]
struct Report {
    mode: &'static str,
    images: usize,
    agree_with_plain: Option<usize>,
    accuracy_plain: f64,
    accuracy_simulated: Option<f64>,
    accuracy_encrypted: Option<f64>,
    worst_logit_error: Option<f64>,
    rms_logit_error: Option<f64>,
    /// Results that did not pass the checks after decryption.
    refused: usize,
    /// Pictures that one evaluation classifies.
    batch: usize,
    seconds_per_image: f64,
    server_seconds_per_image: Option<f64>,
    peak_rss_bytes: Option<u64>,
    threads: usize,
}

/// Normalised pictures and their classes.
struct Pictures {
    values: Vec<Vec<f32>>,
    labels: Vec<usize>,
}

/// Logits of each picture, of every member of an ensemble that the client averages over; `None` where they were refused; seconds
/// in all; seconds of the server.
struct Results {
    logits: Vec<Option<Vec<Vec<f64>>>>,
    /// Pictures that were classified at once.
    batch: usize,
    seconds: f64,
    server: Option<f64>,
}

/// Classifies a data set.
pub fn run(arguments: &Eval) -> anyhow::Result<Outcome> {
    let network = Network::open(&arguments.network.network)?;
    let program = if arguments.mode == Mode::Plain { None } else { Some(network.program(&[])?) };
    let graphs = network.graphs(&arguments.reference)?;
    let pictures = Pictures::open(&arguments.data, &graphs[0], arguments.limit.map(usize::from))?;
    let averaged = program.as_ref().is_some_and(|p| p.program().layout.is_averaged());
    let plain = plain(&graphs, averaged, &pictures)?;
    let (mode, results) = match (arguments.mode, &program) {
        (Mode::Simulated, Some(program)) => ("simulated", Some(simulated(program, &pictures)?)),
        (Mode::Encrypted, Some(program)) => ("encrypted", Some(encrypted(program, &pictures)?)),
        _ => ("plain", None),
    };
    let report = report(mode, &pictures, &plain, results.as_ref());
    if arguments.json {
        text::print_json(&report)?;
    } else {
        text::print(&describe(&report))?;
    }
    Ok(match report.agree_with_plain {
        Some(agree) if agree < report.images && arguments.mode == Mode::Encrypted => Outcome::Disagreement,
        _ => Outcome::Success,
    })
}

impl Pictures {
    fn open(path: &Path, graph: &Graph, limit: Option<usize>) -> anyhow::Result<Self> {
        let mut pictures = Self { values: Vec::new(), labels: Vec::new() };
        for (bytes, class) in dataset::pictures(path, graph, Split::Test, limit)? {
            pictures.values.push(graph.input().normalise(&bytes)?);
            pictures.labels.push(class);
        }
        Ok(pictures)
    }
}

/// Evaluates all pictures with all threads, so many at once.
fn each(
    what: &'static str,
    pictures: &Pictures,
    batch: usize,
    forward: impl Fn(usize, &[Vec<f32>]) -> anyhow::Result<Vec<Option<Vec<Vec<f64>>>>> + Sync,
) -> anyhow::Result<Results> {
    let progress = Progress::items(what, pictures.values.len());
    let start = Instant::now();
    let some = |(index, pictures): (usize, &[Vec<f32>])| {
        let logits = forward(index, pictures);
        pictures.iter().for_each(|_| progress.step());
        logits
    };
    let logits = pictures.values.par_chunks(batch).enumerate().map(some).collect::<anyhow::Result<Vec<_>>>()?;
    let logits = logits.into_iter().flatten().collect();
    Ok(Results { logits, batch, seconds: start.elapsed().as_secs_f64(), server: None })
}

/// Logits of every network, or their mean.
fn plain(graphs: &[Graph], averaged: bool, pictures: &Pictures) -> anyhow::Result<Results> {
    let references: Vec<Reference<f32>> = graphs.iter().map(Reference::<f32>::new).collect();
    each("plain", pictures, 1, |_, pictures| {
        let of = |picture: &Vec<f32>| -> anyhow::Result<Option<Vec<Vec<f64>>>> {
            let wide = |logits: Vec<f32>| logits.into_iter().map(f64::from).collect::<Vec<f64>>();
            let members =
                references.iter().map(|r| Ok(wide(r.forward(picture)?))).collect::<anyhow::Result<Vec<_>>>()?;
            if !averaged {
                return Ok(Some(members));
            }
            let mut mean = vec![0.0; members[0].len()];
            for member in &members {
                mean.iter_mut().zip(member).for_each(|(mean, x)| *mean += x / members.len() as f64);
            }
            Ok(Some(vec![mean]))
        };
        pictures.iter().map(of).collect()
    })
}

/// The lanes of a result, by picture: `None` where one was refused.
fn by_picture<E>(program: &LoadedProgram, lanes: Vec<Result<Logits, E>>) -> Vec<Option<Vec<Vec<f64>>>> {
    let pictures = super::by_picture(lanes, program.program().layout.vectors()).into_iter();
    pictures.map(|members| Some(members.ok()?.into_iter().map(|l| l.values).collect())).collect()
}

/// Lanes to be read for so many pictures.
fn lanes(program: &LoadedProgram, pictures: usize) -> usize {
    pictures * program.program().layout.vectors()
}

fn simulated(program: &LoadedProgram, pictures: &Pictures) -> anyhow::Result<Results> {
    let simulator = Simulator::new(program.program(), program.parameters())?;
    each("simulated", pictures, program.program().layout.pictures(), |index, pictures| {
        match simulator.run_lanes(pictures, lanes(program, pictures.len()), index as u64) {
            Ok(found) => Ok(by_picture(program, found)),
            // As after decryption: one lane's overflow may spoil all.
            Err(SimulateError::Layout(LayoutError::Stray { .. })) => Ok(vec![None; pictures.len()]),
            Err(error) => Err(error.into()),
        }
    })
}

fn encrypted(program: &LoadedProgram, pictures: &Pictures) -> anyhow::Result<Results> {
    let folder = super::scratch("eval")?;
    let path = folder.path().join("eval.key");
    let client = Client::generate(program)?;
    super::write_keys(&client, &path)?;
    let server = Server::new(program)?;
    let keys = server.open_keys(&path)?;
    keys.load_all()?;
    let progress = Progress::items("encrypted", pictures.values.len());
    let batch = program.program().layout.pictures();
    let (start, mut server_seconds) = (Instant::now(), 0.0);
    let mut logits = Vec::with_capacity(pictures.values.len());
    for pictures in pictures.values.chunks(batch) {
        let input = client.encrypt_batch(pictures)?;
        let input: Vec<Ciphertext> = input.iter().map(|c| c.expand(program.parameters())).collect();
        let began = Instant::now();
        let result = server.infer(&keys, input, &mut |_| {})?;
        server_seconds += began.elapsed().as_secs_f64();
        match client.decrypt_lanes(&result, lanes(program, pictures.len())) {
            Ok(found) => logits.extend(by_picture(program, found)),
            Err(umbra_client::ClientError::Layout(_)) => logits.extend(vec![None; pictures.len()]),
            Err(error) => return Err(error.into()),
        }
        pictures.iter().for_each(|_| progress.step());
    }
    Ok(Results { logits, batch, seconds: start.elapsed().as_secs_f64(), server: Some(server_seconds) })
}

/// The class: of the logits, or of the mean probabilities of an ensemble.
fn top(members: &[Vec<f64>]) -> Option<usize> {
    match members {
        [one] => top_class(one),
        _ => top_class(&ensemble_probabilities(members)),
    }
}

fn report(mode: &'static str, pictures: &Pictures, plain: &Results, other: Option<&Results>) -> Report {
    let images = pictures.labels.len();
    let top = |results: &Results, i: usize| results.logits[i].as_deref().and_then(top);
    let accuracy = |results: &Results| {
        let right = (0..images).filter(|&i| top(results, i) == Some(pictures.labels[i])).count();
        right as f64 / images.max(1) as f64
    };
    let errors: Vec<f64> = other
        .into_iter()
        .flat_map(|other| other.logits.iter().zip(&plain.logits))
        .filter_map(|(a, b)| Some((a.as_ref()?, b.as_ref()?)))
        .flat_map(|(a, b)| a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (a - b).abs()))
        .collect();
    let mean_square = errors.iter().map(|e| e * e).sum::<f64>() / errors.len().max(1) as f64;
    let timed = other.unwrap_or(plain);
    let per_image = |seconds: f64| seconds / images.max(1) as f64;
    Report {
        mode,
        images,
        agree_with_plain: other
            .map(|other| (0..images).filter(|&i| top(other, i).is_some() && top(other, i) == top(plain, i)).count()),
        accuracy_plain: accuracy(plain),
        accuracy_simulated: other.filter(|_| mode == "simulated").map(accuracy),
        accuracy_encrypted: other.filter(|_| mode == "encrypted").map(accuracy),
        worst_logit_error: other.map(|_| errors.iter().copied().fold(0.0, f64::max)),
        rms_logit_error: other.map(|_| mean_square.sqrt()),
        refused: timed.logits.iter().filter(|logits| logits.is_none()).count(),
        batch: timed.batch,
        seconds_per_image: per_image(timed.seconds),
        server_seconds_per_image: timed.server.map(per_image),
        peak_rss_bytes: machine::peak_memory(),
        threads: machine::threads(),
    }
}

fn describe(report: &Report) -> String {
    let percent = |accuracy: f64| format!("{:.2} %", 100.0 * accuracy);
    let mut rows = vec![vec!["pictures".into(), report.images.to_string()]];
    let mut row = |name: &str, value: Option<String>| rows.extend(value.map(|value| vec![name.to_string(), value]));
    row("accuracy, plain", Some(percent(report.accuracy_plain)));
    row("accuracy, simulated", report.accuracy_simulated.map(percent));
    row("accuracy, encrypted", report.accuracy_encrypted.map(percent));
    row("same class as plain", report.agree_with_plain.map(|n| n.to_string()));
    row("refused results", (report.refused > 0).then(|| report.refused.to_string()));
    row("worst error of a logit", report.worst_logit_error.map(|e| format!("{e:.4}")));
    row("rms error of a logit", report.rms_logit_error.map(|e| format!("{e:.4}")));
    row("time a picture", Some(text::seconds(report.seconds_per_image)));
    row("of it at the server", report.server_seconds_per_image.map(text::seconds));
    text::table(&rows)
}
