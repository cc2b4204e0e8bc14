//! What can go wrong at the client.

use umbra_ckks::{CkksError, OutOfMemory};
use umbra_file::FileError;
use umbra_program::LayoutError;
use umbra_wire::{ContentError, WireError};

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The content of a file.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Content that is in no file.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] CkksError),
    /// An image that does not fit the program, or a result that is not to be believed.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// There was no memory for keys or ciphertexts.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// A thread that the system did not start.
    #[error("a thread to write the keys was not started: {0}; raise the limits on memory or processes")]
    Thread(std::io::Error),
    /// Key generation was stopped.
    #[error("key generation was cancelled; nothing was written")]
    Cancelled,
}
