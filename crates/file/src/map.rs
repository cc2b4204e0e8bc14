//! Files mapped into memory.

use std::fs::{self, File};
use std::path::Path;

use memmap2::Mmap;

use crate::FileError;

/// The bytes of a file, paged in as they are read. Base address and records are aligned for words.
///
/// The file must not be changed in place while mapped: shortening it would end the process. The writers of this crate never
/// change a file, they replace it by another of the same name, which leaves maps of the old one intact.
#[derive(Debug)]
pub struct Map(Option<Mmap>);

impl Map {
    /// Maps a regular file, read-only.
    ///
    /// # Errors
    /// [`FileError::Read`], [`FileError::NotAFile`].
    pub fn open(path: &Path) -> Result<Self, FileError> {
        // Before opening: opening a named pipe would wait for its other end.
        if !fs::metadata(path).map_err(FileError::read(path))?.is_file() {
            return Err(FileError::NotAFile { path: path.into() });
        }
        let file = File::open(path).map_err(FileError::read(path))?;
        // Nothing can be mapped of an empty file.
        if file.metadata().map_err(FileError::read(path))?.len() == 0 {
            return Ok(Self(None));
        }
        // SAFETY: the map is private and read-only, its memory stays valid as long as the `Mmap`, which owns it and is not
        // handed out, and every byte pattern is a valid `u8`. What remains is that the file does not change underneath: files
        // of this project are only ever replaced by renaming (`AtomicFile`), which gives the name to another inode; that
        // nobody else writes into them is the documented condition of this type.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file) };
        Ok(Self(Some(map.map_err(FileError::read(path))?)))
    }

    /// Gives the memory behind some bytes back to the system, where it can; they are paged in again when read again.
    pub fn release(&self, bytes: std::ops::Range<usize>) {
        #[cfg(unix)]
        if let Some(map) = &self.0 {
            let (start, end) = (bytes.start.min(map.len()), bytes.end.min(map.len()));
            // SAFETY: the map is read-only and of a file, so that no page of it was ever changed in memory: a page dropped is
            // read from the file again, with the same bytes, as the condition of this type says. References into the map stay
            // valid, since addresses are neither unmapped nor moved.
            #[allow(unsafe_code)]
            let result = unsafe {
                map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end.saturating_sub(start))
            };
            // Advice only: where the system does not take it, the memory stays in use.
            drop(result);
        }
        #[cfg(not(unix))]
        let _ = bytes;
    }
}

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}
