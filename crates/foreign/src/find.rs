//! Files of others, where they are.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::{Foreign, START};

/// So many files of a folder are looked at.
const MAX_FILES: usize = 1000;

impl Foreign {
    /// What a regular file is; `None` where nothing is known of it, or it cannot be read.
    #[must_use]
    pub fn of_file(path: &Path) -> Option<Self> {
        // Opening anything else might wait.
        if !path.metadata().ok()?.is_file() {
            return None;
        }
        let mut start = Vec::with_capacity(START);
        File::open(path).ok()?.take(START as u64).read_to_end(&mut start).ok()?;
        Self::of(&start, &path.file_name()?.to_string_lossy().to_lowercase())
    }

    /// The first file of a folder, by name, that is of a format of others.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Option<(PathBuf, Self)> {
        let mut paths: Vec<_> =
            fs::read_dir(folder).ok()?.take(MAX_FILES).flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths.into_iter().find_map(|path| {
            let found = Self::of_file(&path).filter(Self::is_format)?;
            Some((path, found))
        })
    }
}
