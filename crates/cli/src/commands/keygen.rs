//! `umbra keygen`.

use std::time::Instant;

use serde::Serialize;

use umbra::client::Client;
use umbra::memory::Need;
use umbra::progress::Meter;
use umbra::{Network, machine};

use crate::arguments::Keygen;
use crate::outcome::Outcome;
use crate::progress::Bar;
use crate::{outputs, stop, text};

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    secret_key: String,
    eval_key: String,
    key_set: String,
    eval_key_file_bytes: u64,
    keys: usize,
    keygen_s: f64,
    /// CPU-seconds of it, where the system tells.
    cpu_seconds: Option<f64>,
}

/// Makes a secret key and evaluation keys.
pub fn run(arguments: &Keygen) -> anyhow::Result<Outcome> {
    let file = Network::open(&arguments.client.client)?.client_file()?;
    let remedy = ", or --replace to lose everything encrypted under the secret key";
    let [secret, eval] = outputs::new_keys(&arguments.out, arguments.replace, remedy)?;
    outputs::make_folder(&arguments.out)?;
    Need::keys(file.spec()).check("key generation")?;
    stop::listen();
    let (start, before) = (Instant::now(), machine::processor_time());
    let client = Client::generate(&file)?;
    let (mut bar, meter) = (Bar::default(), Meter::keys(file.spec()));
    client.save_keys(&secret, &eval, &mut |made, _| bar.show(&meter.at(made, None)))?;
    drop(bar);
    let cpu_seconds = before.zip(machine::processor_time()).map(|(before, after)| after - before);
    let report = Report {
        secret_key: secret.display().to_string(),
        eval_key: eval.display().to_string(),
        key_set: client.key_set().to_string(),
        eval_key_file_bytes: std::fs::metadata(&eval)?.len(),
        keys: file.spec().keys.len(),
        keygen_s: start.elapsed().as_secs_f64(),
        cpu_seconds,
    };
    if arguments.json {
        text::print_json(&report)?;
    } else {
        text::print(&format!(
            "{}: the secret key; keep it, and keep it to yourself\n{}: {} evaluation keys for the server, {}, made in \
             {}\n",
            report.secret_key,
            report.eval_key,
            report.keys,
            text::bytes(report.eval_key_file_bytes),
            text::seconds(report.keygen_s)
        ))?;
    }
    Ok(Outcome::Success)
}
