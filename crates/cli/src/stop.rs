//! Being stopped by the user: the work ends after the step at hand, and nothing is left behind.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

use umbra::UmbraError;
use umbra::client::ClientError;
use umbra::server::ServerError;

/// Exit code of a run that was stopped by the user, as shells have it.
pub const EXIT: u8 = 130;

/// Whether the user asked for it.
static ASKED: AtomicBool = AtomicBool::new(false);
/// Folders of this process for files that nobody is to keep.
static SCRATCH: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// From now on, a signal to stop is heard by [`asked`], and a second one ends the process at once.
pub fn listen() {
    // Where signals are ignored (`nohup`) they stay so, and where there is a handler it is this one.
    let _ = ctrlc::try_set_handler(|| {
        if ASKED.swap(true, Ordering::SeqCst) {
            // Again where a file was made meanwhile.
            let gone = |folder: &PathBuf| std::fs::remove_dir_all(folder).is_ok() || !folder.exists();
            for folder in SCRATCH.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                let _ = (0..100).find(|_| gone(folder));
            }
            std::process::exit(EXIT.into());
        }
    });
}

/// Whether the work is to go on.
pub fn asked() -> ControlFlow<()> {
    if ASKED.load(Ordering::SeqCst) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// A folder for files that nobody is to keep, removed at the end, also where the run is stopped: evaluation keys take a
/// gigabyte.
pub fn scratch(command: &str) -> anyhow::Result<TempDir> {
    let folder = tempfile::Builder::new()
        .prefix(&format!("umbra-{command}-"))
        .tempdir()
        .map_err(|reason| UmbraError::Scratch { path: std::env::temp_dir(), reason })?;
    SCRATCH.lock().unwrap_or_else(PoisonError::into_inner).push(folder.path().to_path_buf());
    listen();
    Ok(folder)
}

/// Whether an error says only that the work was stopped.
pub fn is_stop(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(UmbraError::is_cancelled)
        || error.downcast_ref().is_some_and(ServerError::is_cancelled)
        || matches!(error.downcast_ref(), Some(ClientError::Cancelled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stopping_is_told_from_failing() {
        for error in [anyhow::Error::from(UmbraError::Cancelled), ClientError::Cancelled.into()] {
            assert!(is_stop(&error) && is_stop(&error.context("a file")));
        }
        assert!(!is_stop(&UmbraError::UnknownDataset.into()) && !is_stop(&anyhow::anyhow!("stopped")));
    }
}
