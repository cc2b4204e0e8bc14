//! Networks from files.

use std::path::Path;

use umbra_file::read_file;
use umbra_foreign::Foreign;

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
            let folder = path.clone();
            path.push("manifest.json");
            if let Some((file, found)) = Foreign::in_folder(&folder).filter(|_| !path.exists()) {
                return Err(ModelError::NoManifest {
                    folder,
                    file: file.file_name().unwrap_or_default().into(),
                    found: found.what(),
                    remedy: found.remedy_for_network(),
                });
            }
        }
        if let Some(found) = Foreign::of_file(&path) {
            return Err(ModelError::foreign_network(path, found, "a network"));
        }
        let in_manifest = |reason| ModelError::Graph { path: path.clone(), reason };
        let json = read_file(&path, "a manifest", MAX_MANIFEST)?;
        let manifest = Manifest::decode(&json).map_err(in_manifest)?;
        let weights = path.with_file_name(manifest.weights());
        if let Some(found) = Foreign::of_file(&weights).filter(|found| !found.is_weights()) {
            return Err(ModelError::foreign_network(weights, found, "weights in the format safetensors"));
        }
        let weights = read_file(&weights, "weights", MAX_WEIGHTS)?;
        manifest.graph(&weights).map_err(in_manifest)
    }
}
