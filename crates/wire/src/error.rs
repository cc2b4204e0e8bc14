//! What can be wrong with exchanged files. Every message is one line with the remedy in it.

use std::io;
use std::path::{Path, PathBuf};

use umbra_ckks::{CkksError, KeyId};
use umbra_file::{FileError, FormatError, StreamError};
use umbra_program::ProgramError;

/// What is wrong with the content of a file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// The container.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The engine refuses what it holds.
    #[error(transparent)]
    Engine(#[from] CkksError),
    /// A program or a client specification that does not hold together.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// A value in the header that does not fit.
    #[error("its {what} is {found}, expected {expected}; {remedy}")]
    Mismatch {
        /// The value.
        what: &'static str,
        /// What it is.
        found: String,
        /// What it must be.
        expected: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A key that the program needs.
    #[error("{key} is missing; generate the keys again for this program")]
    MissingKey {
        /// The key.
        key: KeyId,
    },
}

/// What is wrong with a file on disk, or with what comes from or goes to a stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// It cannot be read or written, or is no container.
    #[error(transparent)]
    File(#[from] FileError),
    /// The content of a file.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: ContentError,
    },
    /// A stream that fails, stalls, ends early or does not hold together.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The content of a stream.
    #[error(transparent)]
    Received(#[from] ContentError),
}

impl WireError {
    /// Adds the path of the file to what is wrong with its content.
    pub fn content(path: &Path) -> impl Fn(ContentError) -> Self {
        move |reason| Self::Content { path: path.into(), reason }
    }

    /// An output that cannot be written.
    pub(crate) fn write(reason: io::Error) -> Self {
        Self::Stream(StreamError::Write { position: 0, reason })
    }
}
