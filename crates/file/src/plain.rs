//! Files that are none of ours: images, manifests, weights, data sets.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A file that cannot be read whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The operating system refused.
    #[error("{}: cannot read {what}: {reason}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// The system's answer.
        reason: io::Error,
    },
    /// A folder, a pipe or a device in the place of a file.
    #[error("{}: not a regular file, expected {what}", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
    },
    /// A file larger than any of its kind.
    #[error("{}: {found} bytes, at most {limit} are accepted for {what}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// Its size in bytes.
        found: u64,
        /// The limit in bytes.
        limit: u64,
    },
}

/// The bytes of a regular file of at most `limit` bytes; allocates no more than its length.
///
/// # Errors
/// [`ReadError`] with the path and `what` it should be.
pub fn read_file(path: &Path, what: &'static str, limit: u64) -> Result<Vec<u8>, ReadError> {
    let io = |reason| ReadError::Io { path: path.into(), what, reason };
    // Before opening: opening a named pipe would wait for its other end.
    let metadata = std::fs::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        return Err(ReadError::NotAFile { path: path.into(), what });
    }
    if metadata.len() > limit {
        return Err(ReadError::TooLarge { path: path.into(), what, found: metadata.len(), limit });
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    let file = File::open(path).map_err(io)?;
    // A file that grows meanwhile is cut here and fails to parse.
    file.take(metadata.len()).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}
