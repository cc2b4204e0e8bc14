//! `umbra encrypt`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::bail;
use serde::Serialize;

use umbra::Network;
use umbra::client::{Client, Sender};
use umbra::wire::ClientFile;
use umbra_file::Kind;

use super::report::unlike_note;
use crate::arguments::Encrypt;
use crate::outcome::Outcome;
use crate::{outputs, streams, text};

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    file: String,
    input_ciphertext_bytes: u64,
    encrypt_s: f64,
    images: usize,
    notes: Vec<String>,
    warnings: Vec<String>,
}

/// What images are encrypted with.
enum Encryption {
    Secret(Client),
    Public(Sender),
}

impl Encryption {
    fn of(arguments: &Encrypt, file: &ClientFile) -> anyhow::Result<Self> {
        Ok(match (&arguments.public_key, &arguments.key) {
            (Some(key), _) => Self::Public(Sender::open(file, key)?),
            (None, Some(key)) => Self::Secret(Client::open(file, key)?),
            (None, None) => bail!("no key was given; give --key or --public-key"),
        })
    }

    /// Bytes of the file.
    fn write(&self, path: &Path, images: &[Vec<f32>]) -> anyhow::Result<u64> {
        Ok(match self {
            Self::Secret(client) => client.encrypt_to(path, images)?,
            Self::Public(sender) => sender.encrypt_to(path, images)?,
        })
    }
}

/// Encrypts images to a file.
pub fn run(arguments: &Encrypt) -> anyhow::Result<Outcome> {
    let inputs = arguments.images.iter().chain(&arguments.key).chain(&arguments.public_key);
    let inputs: Vec<&Path> = inputs.map(PathBuf::as_path).collect();
    outputs::check(&arguments.out, Kind::Ciphertext, &inputs)?;
    let file = Network::open(&arguments.client.client)?.client_file()?;
    let encryption = Encryption::of(arguments, &file)?;
    let spec = file.spec();
    let (given, limit) = (arguments.images.len(), spec.layout.images);
    if given > limit {
        bail!(
            "{given} images were given, the program classifies at most {limit} at once; give fewer, or compile with a \
             larger --batch"
        );
    }
    let (mut images, mut notes, mut warnings) = (Vec::with_capacity(given), Vec::new(), Vec::new());
    for path in &arguments.images {
        let image = streams::image(path, &spec.image)?;
        let name = |note: &String| if given > 1 { format!("{}: {note}", path.display()) } else { note.clone() };
        notes.extend(image.notes().iter().map(name));
        warnings.extend(image.warnings().iter().map(name));
        let values = spec.image.normalise(image.bytes())?;
        notes.extend(unlike_note(spec, &values).iter().map(name));
        images.push(values);
    }
    let start = Instant::now();
    let bytes = encryption.write(&arguments.out, &images)?;
    let report = Report {
        file: arguments.out.display().to_string(),
        input_ciphertext_bytes: bytes,
        encrypt_s: start.elapsed().as_secs_f64(),
        images: given,
        notes,
        warnings,
    };
    report.warnings.iter().for_each(|warning| text::warn(warning));
    if arguments.json {
        text::print_json(&report)?;
    } else {
        for note in &report.notes {
            text::print(&format!("note: {}\n", text::printable(note)))?;
        }
        let (size, time) = (text::bytes(bytes), text::seconds(report.encrypt_s));
        let what = if given == 1 { "the encrypted image".into() } else { format!("{given} encrypted images") };
        let file = text::printable(&report.file);
        text::print(&format!("{file}: {what}, {size}, in {time}\n"))?;
    }
    Ok(Outcome::Success)
}
