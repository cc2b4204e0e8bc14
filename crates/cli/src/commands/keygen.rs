//! `umbra keygen`.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use umbra::client::Client;
use umbra::memory::Need;
use umbra::progress::Meter;
use umbra::{Network, machine};
use umbra_file::Kind;

use crate::arguments::Keygen;
use crate::outcome::Outcome;
use crate::progress::Bar;
use crate::{outputs, stop, text};

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    secret_key: String,
    eval_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    key_set: String,
    eval_key_file_bytes: u64,
    keys: usize,
    keygen_s: f64,
    /// CPU-seconds of it, where the system tells.
    cpu_seconds: Option<f64>,
}

/// What `--json` prints where only a public key is made.
#[derive(Serialize)]
struct PublicReport {
    public_key: String,
    key_set: String,
}

const FOR_SENDERS: &str = "the public key, for whoever is to encrypt and not to decrypt";

/// Makes a secret key and evaluation keys, and a public key where one is wanted.
pub fn run(arguments: &Keygen) -> anyhow::Result<Outcome> {
    let file = Network::open(&arguments.client.client)?.client_file()?;
    let public = arguments.out.join("public.key");
    if let Some(key) = &arguments.key {
        return public_only(arguments, &Client::open(&file, key)?, &public);
    }
    let remedy = ", or --replace to lose everything encrypted under the secret key";
    let [secret, eval] = outputs::new_keys(&arguments.out, arguments.replace, remedy)?;
    outputs::make_folder(&arguments.out)?;
    Need::keys(file.spec()).check("key generation")?;
    if arguments.public {
        outputs::check(&public, Kind::PublicKey, &[])?;
    }
    stop::listen();
    let (start, before) = (Instant::now(), machine::processor_time());
    let client = Client::generate(&file)?;
    let (mut bar, meter) = (Bar::default(), Meter::keys(file.spec()));
    client.save_keys(&secret, &eval, &mut |made, _| bar.show(&meter.at(made, None)))?;
    drop(bar);
    let cpu_seconds = before.zip(machine::processor_time()).map(|(before, after)| after - before);
    if arguments.public {
        client.save_public_key(&public)?;
    }
    let report = Report {
        secret_key: secret.display().to_string(),
        eval_key: eval.display().to_string(),
        public_key: arguments.public.then(|| public.display().to_string()),
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
        report.public_key.iter().try_for_each(|path| text::print(&format!("{path}: {FOR_SENDERS}\n")))?;
    }
    Ok(Outcome::Success)
}

/// Makes the public key of a secret key that is there.
fn public_only(arguments: &Keygen, client: &Client, public: &Path) -> anyhow::Result<Outcome> {
    outputs::make_folder(&arguments.out)?;
    outputs::check(public, Kind::PublicKey, &[])?;
    client.save_public_key(public)?;
    let report = PublicReport { public_key: public.display().to_string(), key_set: client.key_set().to_string() };
    if arguments.json {
        text::print_json(&report)?;
    } else {
        text::print(&format!("{}: {FOR_SENDERS}\n", report.public_key))?;
    }
    Ok(Outcome::Success)
}
