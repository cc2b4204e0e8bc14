//! `umbra encrypt`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::bail;
use serde::Serialize;
use umbra_client::Client;
use umbra_file::Kind;

use crate::arguments::Encrypt;
use crate::network::Network;
use crate::{Outcome, picture, text};

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    file: String,
    input_ciphertext_bytes: u64,
    encrypt_s: f64,
    pictures: usize,
    notes: Vec<String>,
}

/// Encrypts pictures to a file.
pub fn run(arguments: &Encrypt) -> anyhow::Result<Outcome> {
    let inputs: Vec<&Path> = arguments.images.iter().chain([&arguments.key]).map(PathBuf::as_path).collect();
    super::check_output(&arguments.out, Kind::Ciphertext, &inputs)?;
    let program = Network::open(&arguments.network.network)?.program(&[])?;
    let client = Client::open(&program, &arguments.key)?;
    let input = &program.program().picture;
    let (given, limit) = (arguments.images.len(), program.program().layout.pictures());
    if given > limit {
        bail!(
            "{given} pictures were given, the program classifies at most {limit} at once; give fewer, or compile with a larger --batch"
        );
    }
    let (mut pictures, mut notes) = (Vec::with_capacity(given), Vec::new());
    for path in &arguments.images {
        let picture = picture::load(path, input)?;
        let name = |note: &String| if given > 1 { format!("{}: {note}", path.display()) } else { note.clone() };
        notes.extend(picture.notes().iter().map(name));
        pictures.push(input.normalise(picture.bytes())?);
    }
    let start = Instant::now();
    let bytes = client.encrypt_batch_to(&arguments.out, &pictures)?;
    let report = Report {
        file: arguments.out.display().to_string(),
        input_ciphertext_bytes: bytes,
        encrypt_s: start.elapsed().as_secs_f64(),
        pictures: given,
        notes,
    };
    if arguments.json {
        text::print_json(&report)?;
    } else {
        for note in &report.notes {
            text::print(&format!("note: {note}\n"))?;
        }
        let (size, time) = (text::bytes(bytes), text::seconds(report.encrypt_s));
        let what = if given == 1 { "the encrypted picture".into() } else { format!("{given} encrypted pictures") };
        text::print(&format!("{}: {what}, {size}, in {time}\n", report.file))?;
    }
    Ok(Outcome::Success)
}
