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
    /// The content of a file.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Content that is in no file.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The evaluation failed.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}
