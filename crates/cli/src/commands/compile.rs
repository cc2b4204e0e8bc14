//! `umbra compile`.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail};
use serde::Serialize;

use umbra::Network;
use umbra::compiler::Stage;
use umbra::wire::{LoadedProgram, WireError};
use umbra_file::{AtomicFile, Kind};

use super::report::ProgramReport;
use crate::arguments::Compile;
use crate::outcome::Outcome;
use crate::{outputs, text};

/// Extension of client files.
const CLIENT: &str = "client";

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    file: String,
    digest: String,
    bytes: u64,
    client_file: String,
    client_file_bytes: u64,
    compile_s: f64,
    #[serde(flatten)]
    program: ProgramReport<'a>,
}

/// Compiles a network to a file for the server and one for clients, or shows what a pass leaves.
pub fn run(arguments: &Compile) -> anyhow::Result<Outcome> {
    if let Some(stage) = arguments.dump {
        return dump(arguments, stage);
    }
    let [out, client] = paths(arguments)?;
    let network = Network::open(&arguments.network.network)?;
    let start = Instant::now();
    let program = arguments.compilation.program(&network)?;
    let compile_s = start.elapsed().as_secs_f64();
    let client_file_bytes = save(&program, [&out, &client])?;
    let report = ProgramReport::new(&program)?;
    let (file, client_file) = (out.display().to_string(), client.display().to_string());
    if arguments.json {
        let digest = format!("{:#}", program.digest());
        let bytes = program.size();
        let report = Report { file, digest, bytes, client_file, client_file_bytes, compile_s, program: report };
        text::print_json(&report)?;
        return Ok(Outcome::Success);
    }
    text::print(&report.describe(&program))?;
    text::print(&format!(
        "\n{file}: the program, for the server, {}, compiled in {}\n{client_file}: the client file, {}, without \
         weights\n",
        text::bytes(program.size()),
        text::seconds(compile_s),
        text::bytes(client_file_bytes),
    ))?;
    Ok(Outcome::Success)
}

/// Where program and client file go, checked before the work.
fn paths(arguments: &Compile) -> anyhow::Result<[PathBuf; 2]> {
    // Without a stage to show, there is a file to write.
    let out = arguments.out.clone().context("--out: expected a file to write")?;
    let client = arguments.client.clone().unwrap_or_else(|| out.with_extension(CLIENT));
    let inputs: Vec<_> = arguments.compilation.compatible_with.iter().map(PathBuf::as_path).collect();
    let places = [outputs::check(&out, Kind::Program, &inputs)?, outputs::check(&client, Kind::ClientFile, &inputs)?];
    if places[0] == places[1] {
        bail!("{}: program and client file cannot be one file; name another with --client", out.display());
    }
    Ok([out, client])
}

/// Writes both, whole before either gets its name; returns the length of the client file.
fn save(program: &LoadedProgram, [out, client]: [&PathBuf; 2]) -> anyhow::Result<u64> {
    let bytes = program.encode().map_err(WireError::content(out))?;
    let client_bytes = program.client().encode().map_err(WireError::content(client))?;
    AtomicFile::write_together([(client.as_path(), &client_bytes[..]), (out.as_path(), &bytes[..])])?;
    Ok(client_bytes.len() as u64)
}

fn dump(arguments: &Compile, stage: Stage) -> anyhow::Result<Outcome> {
    let network = Network::open(&arguments.network.network)?;
    let (options, members) = arguments.compilation.options()?;
    let dumped = network.dump(&options, &members, stage)?;
    text::print(&if dumped.ends_with('\n') { dumped } else { dumped + "\n" })?;
    Ok(Outcome::Success)
}
