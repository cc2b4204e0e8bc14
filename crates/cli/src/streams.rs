//! Standard input and output in the place of files: `-`, `/dev/stdin`, `/dev/stdout`.
//!
//! What comes is kept in a scratch folder until the command has read it, and what is written goes to standard output
//! once it is whole: a command that fails sends nothing on. So every check of files holds for streams, too. Images and
//! secret keys never lie there.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use tempfile::TempDir;

use umbra::image::{Image, ImageSpec, LoadError};
use umbra_file::Kind;

use crate::arguments::{Bench, Command, Compile};
use crate::stop;

/// Names in messages.
const INPUT: &str = "standard input";
const OUTPUT: &str = "standard output";

/// Whether standard output is for a file, so that words go to standard error.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// The scratch folder's files, and what they are called in messages.
static NAMES: OnceLock<[(String, &str); 2]> = OnceLock::new();

/// The streams of a command.
pub struct Streams {
    /// Removed at the end.
    _folder: Option<TempDir>,
    output: Option<PathBuf>,
}

impl Streams {
    /// Puts scratch files in the place of streams among the arguments, and reads standard input where it is one.
    ///
    /// # Errors
    /// A stream for two things, or at a terminal; standard input that cannot be read, or has nothing.
    pub fn open(command: &mut Command) -> anyhow::Result<Self> {
        if let Some(key) = secret_key(command).filter(|path| is_input(path)) {
            bail!("--key {}: a secret key is not read from a stream; give its file", key.display());
        }
        if let Some(out) = folder(command).filter(|path| is_output(path)) {
            bail!("--out {}: a folder is written, which is no stream; name one", out.display());
        }
        let images = images(command).iter().filter(|path| is_input(path)).count();
        let inputs: Vec<_> = inputs(command).into_iter().filter(|path| is_input(path)).collect();
        match (images + inputs.len(), io::stdin().is_terminal()) {
            (0, _) => {}
            (1, false) => {}
            (1, true) => bail!("{INPUT} is a terminal; send a file to it, or give its name"),
            (uses, _) => bail!("{INPUT} is asked for {uses} times and can be read once; give files for the others"),
        }
        let mut folder = None;
        for path in inputs {
            *path = place(&mut folder)?.join("input");
            receive(path)?;
        }
        let outputs: Vec<_> = outputs(command)?.into_iter().filter(|path| is_output(path)).collect();
        match (outputs.len(), io::stdout().is_terminal()) {
            (0, _) | (1, false) => {}
            (1, true) => bail!("{OUTPUT} is a terminal, which shows no binary files; send it to a file or a command"),
            _ => bail!("{OUTPUT} can take one file only; name another for one of them"),
        }
        let mut output = None;
        for path in outputs {
            *path = place(&mut folder)?.join("output");
            output = Some(path.clone());
            TAKEN.store(true, Ordering::Relaxed);
        }
        Ok(Self { _folder: folder, output })
    }

    /// Sends what was written on.
    ///
    /// # Errors
    /// Standard output that cannot be written.
    pub fn finish(self) -> anyhow::Result<()> {
        let Some(path) = &self.output else { return Ok(()) };
        let sent = File::open(path).and_then(|mut file| {
            let mut out = io::stdout().lock();
            io::copy(&mut file, &mut out)?;
            out.flush()
        });
        match sent {
            // Not an error of the system's, which would be taken for a reader that has seen enough.
            Err(reason) if reason.kind() == ErrorKind::BrokenPipe => {
                bail!("{OUTPUT} was closed before all was written; see what the command behind it says")
            }
            sent => sent.with_context(|| format!("{OUTPUT} cannot be written; send it elsewhere")),
        }
    }
}

/// Whether standard output is for a file.
pub fn is_taken() -> bool {
    TAKEN.load(Ordering::Relaxed)
}

/// A message with streams under their names.
pub fn named(message: &str) -> String {
    let names = NAMES.get().into_iter().flatten();
    names.fold(message.to_string(), |message, (path, name)| message.replace(path, name))
}

/// An image from a file, or from standard input.
pub fn image(path: &Path, input: &ImageSpec) -> Result<Image, LoadError> {
    match is_input(path) {
        true => Image::read(io::stdin().lock(), Path::new(INPUT), input),
        false => Image::load(path, input),
    }
}

/// Whether a path is standard input.
fn is_input(path: &Path) -> bool {
    ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"].iter().any(|name| path == Path::new(name))
}

fn is_output(path: &Path) -> bool {
    ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].iter().any(|name| path == Path::new(name))
}

/// The arguments that are read, but for secret keys and images.
fn inputs(command: &mut Command) -> Vec<&mut PathBuf> {
    match command {
        Command::Compile(a) => {
            std::iter::once(&mut a.network.network).chain(&mut a.compilation.compatible_with).collect()
        }
        Command::Demo(a) => std::iter::once(&mut a.network).chain(&mut a.reference).collect(),
        Command::Eval(a) => std::iter::once(&mut a.network.network).chain(&mut a.reference).collect(),
        Command::Estimate(a) => vec![&mut a.network],
        Command::Keygen(a) => vec![&mut a.client.client],
        Command::Encrypt(a) => std::iter::once(&mut a.client.client).chain(&mut a.public_key).collect(),
        Command::Infer(a) => [&mut a.network.network, &mut a.keys].into_iter().chain(&mut a.inputs).collect(),
        Command::Decrypt(a) => vec![&mut a.client.client, &mut a.input],
        Command::Inspect(a) => vec![&mut a.file],
        _ => Vec::new(),
    }
}

/// The arguments that are images.
fn images(command: &Command) -> Vec<&Path> {
    match command {
        Command::Encrypt(a) => a.images.iter().map(PathBuf::as_path).collect(),
        Command::Demo(a) => a.image.iter().map(PathBuf::as_path).collect(),
        _ => Vec::new(),
    }
}

/// The folder that is written, of commands that write one.
fn folder(command: &Command) -> Option<&Path> {
    match command {
        Command::Demo(a) => a.out.as_deref(),
        Command::Keygen(a) => Some(&a.out),
        Command::Cluster(a) => Some(&a.out),
        Command::Man(a) => a.out.as_deref(),
        Command::Bench(Bench::Paper(a)) => Some(&a.out),
        _ => None,
    }
}

fn secret_key(command: &Command) -> Option<&Path> {
    match command {
        Command::Encrypt(a) => a.key.as_deref(),
        Command::Keygen(a) => a.key.as_deref(),
        Command::Decrypt(a) => Some(&a.key),
        _ => None,
    }
}

/// The files that are written.
fn outputs(command: &mut Command) -> anyhow::Result<Vec<&mut PathBuf>> {
    Ok(match command {
        Command::Compile(Compile { out, client, .. }) => {
            if client.is_none() && out.as_deref().is_some_and(is_output) {
                bail!("--client: the program goes to {OUTPUT}; name the client file");
            }
            out.iter_mut().chain(client).collect()
        }
        Command::Encrypt(a) => vec![&mut a.out],
        Command::Infer(a) if a.inputs.len() > 1 && is_output(&a.out) => {
            bail!("--out {}: several results are no stream; name a folder for them", a.out.display())
        }
        Command::Infer(a) => vec![&mut a.out],
        _ => Vec::new(),
    })
}

/// The scratch folder, made where there is none.
fn place(folder: &mut Option<TempDir>) -> anyhow::Result<&Path> {
    if folder.is_none() {
        let made = stop::scratch("stream")?;
        let path = |name: &str| made.path().join(name).display().to_string();
        let _ = NAMES.set([(path("input"), INPUT), (path("output"), OUTPUT)]);
        *folder = Some(made);
    }
    folder.as_ref().map(TempDir::path).context("no scratch folder")
}

/// Writes standard input to a file.
fn receive(path: &Path) -> anyhow::Result<()> {
    let limit = Kind::EvaluationKeys.max_length();
    let mut file = File::create_new(path).with_context(|| format!("{INPUT} cannot be kept; set TMPDIR"))?;
    let received = io::copy(&mut io::stdin().lock().take(limit + 1), &mut file)
        .with_context(|| format!("{INPUT} cannot be received; send it again, or set TMPDIR to a larger place"))?;
    match received {
        0 => bail!("{INPUT} has nothing; see what the command before it says, or give a file"),
        _ if received > limit => bail!("{INPUT} has more than {limit} bytes, more than any file of Umbra"),
        _ => Ok(()),
    }
}
