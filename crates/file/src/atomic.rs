//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::{Builder, NamedTempFile};

use crate::FileError;

/// What ends the names of temporary files, after random letters and digits.
const SUFFIX: &str = ".tmp";
/// Number of those letters and digits.
const RANDOM: usize = 6;
/// How long ago the last change of a temporary file was at least, before it counts as left behind. A living writer also
/// holds it locked; this leaves the writer time to lock it, and is all there is where locks do not reach, as between
/// machines.
const LEFT_BEHIND: Duration = Duration::from_secs(24 * 3600);

/// A file under construction: written under a temporary name in the folder of its path, renamed by
/// [`AtomicFile::commit`], removed when dropped before. What a process that was killed left behind is removed by the
/// next that writes the same file, a day later.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    out: BufWriter<NamedTempFile>,
}

impl AtomicFile {
    /// Starts a file that will be at `path` (at its target, where that is a symbolic link). A secret file can be read
    /// and written by its owner only (mode 0600); others get what the process's umask leaves of 0666.
    ///
    /// # Errors
    /// [`FileError::NotAFile`] or [`FileError::ReadOnly`] where something is there that must not be replaced,
    /// [`FileError::Write`] where the folder does not take files.
    pub fn create(path: &Path, secret: bool) -> Result<Self, FileError> {
        let path = Self::target(path)?;
        let Some(name) = path.file_name() else {
            return Err(FileError::NotAFile { path });
        };
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let prefix = format!(".{}.", name.to_string_lossy());
        let mut builder = Builder::new();
        builder.prefix(&prefix).suffix(SUFFIX).rand_bytes(RANDOM);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(if secret { 0o600 } else { 0o666 }));
        }
        #[cfg(not(unix))]
        let _ = secret;
        remove_left_behind(folder, &prefix);
        let file = builder.tempfile_in(folder).map_err(|reason| FileError::Write {
            path: path.clone(),
            // The library's message repeats the temporary name; the system's is enough.
            reason: reason.raw_os_error().map_or(reason, io::Error::from_raw_os_error),
        })?;
        // Held until the file is closed, however the process ends. Where there are no locks, nothing is ever taken for
        // left behind.
        let _ = file.as_file().try_lock();
        // No buffer here that a secret would stay in.
        let capacity = if secret { 0 } else { 1 << 18 };
        Ok(Self { path, out: BufWriter::with_capacity(capacity, file) })
    }

    /// Where a file for `path` will be: at its target, where that is a symbolic link.
    ///
    /// # Errors
    /// [`FileError::NotAFile`] or [`FileError::ReadOnly`] where something is there that must not be replaced.
    pub fn target(path: &Path) -> Result<PathBuf, FileError> {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        match fs::metadata(&path) {
            // Replacing would turn a device or pipe into a file.
            Ok(metadata) if !metadata.is_file() => Err(FileError::NotAFile { path }),
            Ok(metadata) if metadata.permissions().readonly() => Err(FileError::ReadOnly { path }),
            _ => Ok(path),
        }
    }

    /// Writes files that belong together: all of them are whole under temporary names before the first gets its own, in
    /// order.
    ///
    /// # Errors
    /// As [`AtomicFile::create`] and [`AtomicFile::commit`]; where it is one of the first, what was at the paths stays.
    pub fn write_together<'a>(files: impl IntoIterator<Item = (&'a Path, &'a [u8])>) -> Result<(), FileError> {
        let begin = |(path, bytes): (&Path, &[u8])| Self::begin(path, false, bytes);
        let begun: Vec<Self> = files.into_iter().map(begin).collect::<Result<_, FileError>>()?;
        begun.into_iter().try_for_each(Self::commit)
    }

    /// Where the file will be.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the content durable, then gives the file its name.
    ///
    /// # Errors
    /// [`FileError::Write`]; the temporary file is removed, and what was at the path stays.
    pub fn commit(self) -> Result<(), FileError> {
        let Self { path, out } = self;
        let write = || -> io::Result<()> {
            let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|e| e.error)?;
            Ok(())
        };
        write().map_err(FileError::write(&path))?;
        // The name itself is durable once the folder is; where folders cannot be synced, the file is whole all the
        // same.
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()).or(Some(Path::new("."))) {
            let _ = File::open(folder).and_then(|f| f.sync_all());
        }
        Ok(())
    }

    /// Writes all of `bytes` to a file that will be at `path`.
    ///
    /// # Errors
    /// As [`AtomicFile::create`] and [`AtomicFile::commit`].
    pub fn begin(path: &Path, secret: bool, bytes: &[u8]) -> Result<Self, FileError> {
        let mut file = Self::create(path, secret)?;
        file.write_all(bytes).and_then(|()| file.flush()).map_err(FileError::write(path))?;
        Ok(file)
    }

    /// Writes all of `bytes` to a file at `path`.
    ///
    /// # Errors
    /// As [`AtomicFile::create`] and [`AtomicFile::commit`].
    pub fn write(path: &Path, secret: bool, bytes: &[u8]) -> Result<(), FileError> {
        Self::begin(path, secret, bytes)?.commit()
    }
}

/// Removes temporary files of this prefix whose writers are gone. What cannot be looked at or removed stays: it is in
/// nobody's way but the disk's.
fn remove_left_behind(folder: &Path, prefix: &str) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let random = name.to_str().and_then(|name| name.strip_prefix(prefix)?.strip_suffix(SUFFIX));
        if random.is_some_and(|r| r.len() == RANDOM && r.bytes().all(|b| b.is_ascii_alphanumeric())) {
            let _ = remove_if_left_behind(&entry);
        }
    }
}

fn remove_if_left_behind(entry: &fs::DirEntry) -> io::Result<()> {
    // Of the entry itself, not of where a link leads.
    let metadata = entry.metadata()?;
    let old = metadata.modified()?.elapsed().is_ok_and(|age| age >= LEFT_BEHIND);
    if metadata.is_file() && old {
        let file = File::open(entry.path())?;
        file.try_lock()?;
        fs::remove_file(entry.path())?;
    }
    Ok(())
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
