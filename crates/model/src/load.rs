//! Networks from files.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::{Graph, Manifest, ModelError};

/// Manifests are tens of kilobytes.
const MAX_MANIFEST: u64 = 4 << 20;
/// Networks that can be encrypted have a few million weights.
const MAX_WEIGHTS: u64 = 2 << 30;

impl Graph {
    /// Reads a manifest (or `manifest.json` in the folder `path`) and the weights file it names.
    ///
    /// # Errors
    /// [`ModelError`], which names the file, the node and what to do.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let mut path = path.as_ref().to_path_buf();
        if path.is_dir() {
            path.push("manifest.json");
        }
        let in_manifest = |reason| ModelError::Graph { path: path.clone(), reason };
        let json = read_file(&path, "a manifest", MAX_MANIFEST)?;
        let manifest = Manifest::decode(&json).map_err(in_manifest)?;
        let weights = path.with_file_name(manifest.weights());
        let weights = read_file(&weights, "weights", MAX_WEIGHTS)?;
        manifest.graph(&weights).map_err(in_manifest)
    }
}

/// The bytes of a regular file of at most `limit` bytes; allocates no more than its length.
///
/// # Errors
/// [`ModelError`] with the path and `what` it is.
pub fn read_file(path: &Path, what: &'static str, limit: u64) -> Result<Vec<u8>, ModelError> {
    let io = |reason| ModelError::Io { path: PathBuf::from(path), what, reason };
    // Before opening: opening a named pipe would wait for its other end.
    let metadata = std::fs::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        return Err(ModelError::NotAFile { path: path.into(), what });
    }
    if metadata.len() > limit {
        return Err(ModelError::TooLarge { path: path.into(), what, found: metadata.len(), limit });
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    let file = File::open(path).map_err(io)?;
    // A file that grows meanwhile is cut here and fails to parse.
    file.take(metadata.len()).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}
