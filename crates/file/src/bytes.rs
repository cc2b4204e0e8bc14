//! The bytes of files.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use memmap2::Mmap;
use zeroize::Zeroizing;

use crate::frame::PREAMBLE;
use crate::preamble::Preamble;
use crate::{FileError, FormatError, Kind};

/// The bytes of a file. Base address and records are aligned for words.
///
/// Evaluation keys, of which there is up to a gigabyte, are mapped and paged in as they are read. Everything else is
/// read into memory, which is wiped when dropped: it stays as it is whatever becomes of the file.
///
/// A file of evaluation keys must not be changed in place while mapped: shortening it would end the process, and other
/// bytes in place of those that were checked would make results wrong. The writers of this crate never change a file,
/// they replace it by another of the same name, which leaves maps of the old one intact; whoever receives such files
/// should do the same: write beside, then rename.
pub struct FileBytes(Source);

enum Source {
    /// The words and the number of bytes.
    Read(Zeroizing<Vec<u64>>, usize),
    Mapped(Mmap),
}

impl FileBytes {
    /// Opens a regular file, after checking that it is as long as its first bytes say.
    ///
    /// # Errors
    /// [`FileError::Read`], [`FileError::NotAFile`], [`FileError::Format`].
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let (mut file, start) = Self::start(path)?;
        let length = file.metadata().map_err(FileError::read(path))?.len();
        let preamble = Preamble::parse(&start).map_err(FileError::format(path))?;
        preamble.expect_length(length).map_err(FileError::format(path))?;
        if preamble.label.kind() == Kind::EvaluationKeys {
            return map(&file).map(|map| Self(Source::Mapped(map))).map_err(FileError::read(path));
        }
        read(&mut file, &start, length).map(Self).map_err(|reason| match reason.kind() {
            // It became shorter.
            io::ErrorKind::UnexpectedEof => {
                let found = file.metadata().map_or(0, |metadata| metadata.len());
                FileError::format(path)(FormatError::Truncated { found, expected: length })
            }
            _ => FileError::read(path)(reason),
        })
    }

    /// What a regular file says it holds, by its first bytes alone; `None` where it is none of ours.
    ///
    /// # Errors
    /// [`FileError::Read`], [`FileError::NotAFile`].
    pub fn kind(path: &Path) -> Result<Option<Kind>, FileError> {
        let (_, start) = Self::start(path)?;
        Ok(Preamble::kind(&start))
    }

    /// The first bytes of a regular file, as many as a preamble has or all there are.
    fn start(path: &Path) -> Result<(File, Vec<u8>), FileError> {
        // Before opening: opening a named pipe would wait for its other end.
        if !fs::metadata(path).map_err(FileError::read(path))?.is_file() {
            return Err(FileError::NotAFile { path: path.into() });
        }
        let mut file = File::open(path).map_err(FileError::read(path))?;
        let mut start = Vec::with_capacity(PREAMBLE);
        file.by_ref().take(PREAMBLE as u64).read_to_end(&mut start).map_err(FileError::read(path))?;
        Ok((file, start))
    }

    /// Gives the memory behind some bytes back to the system, where they are mapped and it can; they are paged in again
    /// when read again.
    pub fn release(&self, bytes: std::ops::Range<usize>) {
        #[cfg(unix)]
        if let Source::Mapped(map) = &self.0 {
            let (start, end) = (bytes.start.min(map.len()), bytes.end.min(map.len()));
            // SAFETY: the map is read-only and of a file, so that no page of it was ever changed in memory: a page
            // dropped is read from the file again, with the same bytes, as the condition of this type says. References
            // into the map stay valid, since addresses are neither unmapped nor moved.
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

/// Reads a file of this length, of which `start` was read already.
fn read(file: &mut File, start: &[u8], length: u64) -> io::Result<Source> {
    let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut words = Zeroizing::new(Vec::new());
    // At once, so that nothing is moved and left behind.
    words.try_reserve_exact(length.div_ceil(8)).map_err(|_| io::ErrorKind::OutOfMemory)?;
    words.resize(length.div_ceil(8), 0);
    let bytes = &mut bytemuck::cast_slice_mut(&mut words[..])[..length];
    let (head, rest) = bytes.split_at_mut(start.len());
    head.copy_from_slice(start);
    file.read_exact(rest)?;
    Ok(Source::Read(words, length))
}

fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is private and read-only, its memory stays valid as long as the `Mmap`, which owns it and is not
    // handed out, and every byte pattern is a valid `u8`. What remains is that the file does not change underneath,
    // which no program can enforce against others that may write to the file. Files of this project are only ever
    // replaced by renaming (`AtomicFile`), which gives the name to another inode; for those that come otherwise it is
    // the documented condition of this type and of SECURITY.md. Where it is broken, pages that are gone end the process
    // (SIGBUS), and pages that changed after their digest was checked give wrong residues: they are read as words, of
    // which every pattern is valid, and checked to be below their prime as they are copied. No secret is ever mapped,
    // see `FileBytes::open`.
    #[allow(unsafe_code)]
    let map = unsafe { Mmap::map(file) };
    map
}

impl AsRef<[u8]> for FileBytes {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Source::Read(words, length) => &bytemuck::cast_slice(words)[..*length],
            Source::Mapped(map) => map,
        }
    }
}

impl fmt::Debug for FileBytes {
    /// Never the bytes, which may be a secret key's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.0 {
            Source::Read(..) => "read",
            Source::Mapped(_) => "mapped",
        };
        write!(f, "FileBytes({} bytes, {how})", self.as_ref().len())
    }
}
