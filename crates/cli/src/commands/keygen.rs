//! `umbra keygen`.

use std::time::Instant;

use serde::Serialize;
use umbra_client::Client;

use crate::arguments::Keygen;
use crate::network::Network;
use crate::progress::Progress;
use crate::{Outcome, text};

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    secret_key: String,
    eval_key: String,
    eval_key_file_bytes: u64,
    keys: usize,
    keygen_s: f64,
}

/// Makes a secret key and evaluation keys.
pub fn run(arguments: &Keygen) -> anyhow::Result<Outcome> {
    let program = Network::open(&arguments.network.network)?.program(&[])?;
    let remedy = ", or --replace to lose everything encrypted under the secret key";
    let [secret, eval] = super::new_keys(&arguments.out, arguments.replace, remedy)?;
    super::make_folder(&arguments.out)?;
    let start = Instant::now();
    let client = Client::generate(&program)?;
    let progress = Progress::items("making keys", program.program().key_set().len());
    client.save_keys(&secret, &eval, &mut |made, _| progress.set(made))?;
    drop(progress);
    let keygen_s = start.elapsed().as_secs_f64();
    let size = std::fs::metadata(&eval)?.len();
    let keys = program.program().key_set().len();
    let report = Report {
        secret_key: secret.display().to_string(),
        eval_key: eval.display().to_string(),
        eval_key_file_bytes: size,
        keys,
        keygen_s,
    };
    if arguments.json {
        text::print_json(&report)?;
    } else {
        text::print(&format!(
            "{}: the secret key; keep it, and keep it to yourself\n{}: {keys} evaluation keys for the server, {}, made in {}\n",
            report.secret_key,
            report.eval_key,
            text::bytes(size),
            text::seconds(keygen_s)
        ))?;
    }
    Ok(Outcome::Success)
}
