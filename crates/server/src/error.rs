//! What can go wrong at the server.

use umbra_file::FileError;
use umbra_runtime::RuntimeError;
use umbra_wire::{ContentError, WireError};

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The content of a file or of a stream.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Content that is in neither.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The evaluation failed, or was cancelled.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

impl ServerError {
    /// Whether the inference was stopped by whoever asked for it.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Runtime(RuntimeError::Cancelled { .. }))
    }
}
