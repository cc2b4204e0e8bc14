//! `umbra infer`.

use std::time::Instant;

use serde::Serialize;
use umbra_file::Kind;
use umbra_server::Server;

use crate::arguments::Infer;
use crate::network::Network;
use crate::progress::Progress;
use crate::{Outcome, machine, text};

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    file: String,
    output_ciphertext_bytes: u64,
    prepare_s: f64,
    server_s: f64,
    peak_rss_bytes: Option<u64>,
    threads: usize,
}

/// Classifies an encrypted picture.
pub fn run(arguments: &Infer) -> anyhow::Result<Outcome> {
    super::check_output(&arguments.out, Kind::Ciphertext, &[&arguments.input])?;
    let program = Network::open(&arguments.network.network)?.program(&[])?;
    let start = Instant::now();
    let server = Server::new(&program)?;
    let keys = server.open_keys(&arguments.keys)?;
    let input = server.read_input(&arguments.input)?;
    let prepare_s = start.elapsed().as_secs_f64();
    let parts = super::finished_parts(&program);
    let progress = Progress::weighted("evaluating");
    let start = Instant::now();
    let result = server.infer(&keys, input, &mut |step| progress.advance(parts[step.index], step.node))?;
    let server_s = start.elapsed().as_secs_f64();
    drop(progress);
    let bytes = server.write_output(&arguments.out, &result)?;
    let report = Report {
        file: arguments.out.display().to_string(),
        output_ciphertext_bytes: bytes,
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
            text::bytes(bytes),
            text::seconds(server_s)
        ))?;
    }
    Ok(Outcome::Success)
}
