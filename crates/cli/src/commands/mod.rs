//! One command a file.

pub mod bench;
pub mod cluster;
pub mod compile;
pub mod completions;
pub mod decrypt;
pub mod demo;
pub mod encrypt;
pub mod estimate;
pub mod eval;
pub mod infer;
pub mod inspect;
pub mod keygen;
pub mod man;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail};
use tempfile::TempDir;
use umbra_client::Client;
use umbra_file::{AtomicFile, FileBytes, Kind};
use umbra_wire::LoadedProgram;

use crate::progress::Progress;

/// Exit code of a run that was stopped by the user, as shells have it.
const STOPPED: i32 = 130;

/// Makes a folder where there is none.
fn make_folder(path: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(path).map_err(|reason| {
        anyhow::anyhow!(
            "{}: cannot make this folder: {reason}; check the permissions or write elsewhere",
            path.display()
        )
    })
}

/// The secret key and the evaluation keys of a folder, which must hold neither: they belong together, and what was encrypted under a
/// secret key is lost with it. `remedy` is what else the command offers.
fn new_keys(folder: &Path, replace: bool, remedy: &str) -> anyhow::Result<[PathBuf; 2]> {
    let paths = ["secret.key", "eval.key"].map(|name| folder.join(name));
    for (path, what) in paths.iter().zip(["a secret key", "a file of evaluation keys"]) {
        if !replace && path.symlink_metadata().is_ok() {
            bail!("{}: there is {what} already; use another folder{remedy}", path.display());
        }
        // Both before one is replaced: half of a pair is no use.
        AtomicFile::target(path)?;
    }
    Ok(paths)
}

/// Checks, before the work, that a file of this kind can be written at `out`: into a folder that takes it, not over one of the
/// `inputs`, and over nothing but a file of the same kind. A key, a picture or a network given by mistake would be lost.
fn check_output(out: &Path, kind: Kind, inputs: &[&Path]) -> anyhow::Result<()> {
    let target = AtomicFile::create(out, kind.is_secret())?.path().to_path_buf();
    let is_target = |input: &&&Path| std::fs::canonicalize(input).is_ok_and(|input| input == target);
    if let Some(input) = inputs.iter().find(is_target) {
        bail!("{}: this is what is read ({}); write elsewhere", out.display(), input.display());
    }
    if std::fs::metadata(&target).is_ok_and(|there| there.len() > 0) {
        let found = FileBytes::kind(&target)?;
        if found != Some(kind) {
            let found = found.map_or("another file".into(), |found| found.to_string());
            bail!("{}: there is {found}, which would be lost to {kind}; write elsewhere, or remove it", out.display());
        }
    }
    Ok(())
}

/// Folders of this process for files that nobody is to keep.
static SCRATCH: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A folder for files that nobody is to keep, removed at the end, also where the run is stopped: evaluation keys take a gigabyte.
fn scratch(command: &str) -> anyhow::Result<TempDir> {
    let folder = tempfile::Builder::new().prefix(&format!("umbra-{command}-")).tempdir().with_context(|| {
        format!("{}: cannot make a temporary folder; set TMPDIR to another place", std::env::temp_dir().display())
    })?;
    let folders = || SCRATCH.lock().unwrap_or_else(PoisonError::into_inner);
    folders().push(folder.path().to_path_buf());
    // Where signals are ignored (`nohup`) they stay so, and where there is a handler it is this one.
    let _ = ctrlc::try_set_handler(move || {
        // Again where a file was made meanwhile.
        let gone = |folder: &PathBuf| std::fs::remove_dir_all(folder).is_ok() || !folder.exists();
        for folder in folders().iter() {
            let _ = (0..100).find(|_| gone(folder));
        }
        std::process::exit(STOPPED);
    });
    Ok(folder)
}

/// Writes the evaluation keys to a file, with progress.
fn write_keys(client: &Client, path: &Path) -> anyhow::Result<()> {
    let progress = Progress::items("making keys", client.program().program().key_set().len());
    Ok(client.write_evaluation_keys(path, &mut |made, _| progress.set(made))?)
}

/// For each step, the part of the whole time that is over when it is done, as estimated.
fn finished_parts(program: &LoadedProgram) -> Vec<f64> {
    let steps = &program.program().steps;
    let total: f64 = steps.iter().map(|s| s.estimate.seconds).sum();
    let mut sum = 0.0;
    let mut part = |(i, seconds): (usize, f64)| {
        sum += seconds;
        if total > 0.0 { sum / total } else { (i + 1) as f64 / steps.len() as f64 }
    };
    steps.iter().map(|s| s.estimate.seconds).enumerate().map(&mut part).collect()
}

/// Names the file in an error that does not know it: a result that does not pass its checks.
fn about_file(path: &Path, error: umbra_client::ClientError) -> anyhow::Error {
    match error {
        umbra_client::ClientError::Layout(reason) => anyhow::anyhow!("{}: {reason}", path.display()),
        other => other.into(),
    }
}

/// The vectors of logits of each picture, so many of them, in order: the first error where one was refused.
fn by_picture<T, E>(lanes: Vec<Result<T, E>>, vectors: usize) -> Vec<Result<Vec<T>, E>> {
    let (count, mut lanes) = (lanes.len() / vectors.max(1), lanes.into_iter());
    // Collected before errors are looked for: those of one picture must not leave its other vectors to the next.
    let mut next = || lanes.by_ref().take(vectors).collect::<Vec<_>>().into_iter().collect();
    (0..count).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_member_takes_nothing_from_the_next_picture() {
        let lanes = vec![Err("a"), Ok(1), Ok(2), Ok(3), Ok(4), Err("b")];
        assert_eq!(by_picture(lanes, 2), [Err("a"), Ok(vec![2, 3]), Err("b")]);
        assert_eq!(by_picture(vec![Ok::<_, ()>(1), Ok(2)], 1), [Ok(vec![1]), Ok(vec![2])]);
    }
}
