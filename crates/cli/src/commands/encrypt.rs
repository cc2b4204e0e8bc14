//! `umbra encrypt`.

use std::time::Instant;

use serde::Serialize;
use umbra_client::Client;

use crate::arguments::Encrypt;
use crate::network::Network;
use crate::{Outcome, picture, text};

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    file: String,
    input_ciphertext_bytes: u64,
    encrypt_s: f64,
    notes: Vec<String>,
}

/// Encrypts a picture to a file.
pub fn run(arguments: &Encrypt) -> anyhow::Result<Outcome> {
    let program = Network::open(&arguments.network.network)?.program(&[])?;
    let client = Client::open(&program, &arguments.key)?;
    let input = &program.program().picture;
    let picture = picture::load(&arguments.image, input)?;
    let start = Instant::now();
    let bytes = client.encrypt_to(&arguments.out, &input.normalise(picture.bytes())?)?;
    let report = Report {
        file: arguments.out.display().to_string(),
        input_ciphertext_bytes: bytes,
        encrypt_s: start.elapsed().as_secs_f64(),
        notes: picture.notes().to_vec(),
    };
    if arguments.json {
        text::print_json(&report)?;
    } else {
        for note in &report.notes {
            text::print(&format!("note: {note}\n"))?;
        }
        let (size, time) = (text::bytes(bytes), text::seconds(report.encrypt_s));
        text::print(&format!("{}: the encrypted picture, {size}, in {time}\n", report.file))?;
    }
    Ok(Outcome::Success)
}
