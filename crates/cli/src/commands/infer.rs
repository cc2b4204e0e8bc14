//! `umbra infer`.

use std::path::Path;
use std::time::Instant;

use anyhow::bail;
use serde::Serialize;

use umbra::Network;
use umbra::machine;
use umbra::progress::Meter;
use umbra::server::Server;
use umbra::wire::{Encrypted, EvaluationKeys, KeyStore, LoadedProgram, Role, WireError};
use umbra_file::Kind;

use crate::arguments::Infer;
use crate::outcome::Outcome;
use crate::progress::Bar;
use crate::{outputs, stop, text};

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    file: String,
    images: usize,
    output_ciphertext_bytes: u64,
    prepare_s: f64,
    server_s: f64,
    peak_rss_bytes: Option<u64>,
    threads: usize,
}

/// Classifies encrypted images.
pub fn run(arguments: &Infer) -> anyhow::Result<Outcome> {
    outputs::check(&arguments.out, Kind::Ciphertext, &[&arguments.input])?;
    let program = program(&arguments.network.network)?;
    let start = Instant::now();
    let (keys, input) = received(&program, &arguments.keys, &arguments.input)?;
    stop::listen();
    let server = Server::new(&program)?;
    let prepare_s = start.elapsed().as_secs_f64();
    let (mut bar, meter) = (Bar::default(), Meter::steps(program.program()));
    let start = Instant::now();
    let result = server.infer(&keys, &input, &mut |step| bar.show(&meter.at(step.index + 1, Some(step.node))))?;
    let server_s = start.elapsed().as_secs_f64();
    drop(bar);
    let report = Report {
        file: arguments.out.display().to_string(),
        images: result.images,
        output_ciphertext_bytes: server.save_output(&arguments.out, &result)?,
        prepare_s,
        server_s,
        peak_rss_bytes: machine::peak_memory(),
        threads: machine::threads(),
    };
    if arguments.json {
        text::print_json(&report)?;
    } else {
        let memory = report.peak_rss_bytes.map_or("unknown".into(), text::bytes);
        text::print(&format!(
            "{}: the encrypted result, {}, in {} (loading of keys included), {memory} of memory at most\n",
            report.file,
            text::bytes(report.output_ciphertext_bytes),
            text::seconds(server_s)
        ))?;
    }
    Ok(Outcome::Success)
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

/// Keys and encrypted images, which belong together: checked before any work is done on them.
fn received(program: &LoadedProgram, keys: &Path, input: &Path) -> anyhow::Result<(EvaluationKeys, Encrypted)> {
    let found = EvaluationKeys::open(keys, program.parameters())?;
    found.expect(&program.client().spec().keys).map_err(WireError::content(keys))?;
    let images = Encrypted::open(input, program.client(), Role::Input)?;
    if let Some(key_set) = images.key_set().filter(|key_set| *key_set != found.key_set()) {
        bail!(
            "{}: encrypted under key set {key_set}, but {} is of key set {}; give keys and images of one client",
            input.display(),
            keys.display(),
            found.key_set()
        );
    }
    Ok((found, images))
}
