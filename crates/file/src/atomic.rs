//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::FileError;

/// A file under construction: written under a temporary name in the folder of its path, renamed by [`AtomicFile::commit`],
/// removed when dropped before.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    out: BufWriter<NamedTempFile>,
}

impl AtomicFile {
    /// Starts a file that will be at `path` (at its target, where that is a symbolic link). A secret file can be read and written
    /// by its owner only (mode 0600); others get what the process's umask leaves of 0666.
    ///
    /// # Errors
    /// [`FileError::NotAFile`] or [`FileError::ReadOnly`] where something is there that must not be replaced,
    /// [`FileError::Write`] where the folder does not take files.
    pub fn create(path: &Path, secret: bool) -> Result<Self, FileError> {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        match fs::metadata(&path) {
            // Replacing would turn a device or pipe into a file.
            Ok(metadata) if !metadata.is_file() => return Err(FileError::NotAFile { path }),
            Ok(metadata) if metadata.permissions().readonly() => return Err(FileError::ReadOnly { path }),
            _ => {}
        }
        let Some(name) = path.file_name() else {
            return Err(FileError::NotAFile { path });
        };
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let prefix = format!(".{}.", name.to_string_lossy());
        let mut builder = Builder::new();
        builder.prefix(&prefix).suffix(".tmp");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(if secret { 0o600 } else { 0o666 }));
        }
        #[cfg(not(unix))]
        let _ = secret;
        let file = builder.tempfile_in(folder).map_err(|reason| FileError::Write {
            path: path.clone(),
            // The library's message repeats the temporary name; the system's is enough.
            reason: reason.raw_os_error().map_or(reason, io::Error::from_raw_os_error),
        })?;
        // No buffer here that a secret would stay in.
        let capacity = if secret { 0 } else { 1 << 18 };
        Ok(Self { path, out: BufWriter::with_capacity(capacity, file) })
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
        // The name itself is durable once the folder is; where folders cannot be synced, the file is whole all the same.
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()).or(Some(Path::new("."))) {
            let _ = File::open(folder).and_then(|f| f.sync_all());
        }
        Ok(())
    }

    /// Writes all of `bytes` to a file at `path`.
    ///
    /// # Errors
    /// As [`AtomicFile::create`] and [`AtomicFile::commit`].
    pub fn write(path: &Path, secret: bool, bytes: &[u8]) -> Result<(), FileError> {
        let mut file = Self::create(path, secret)?;
        file.write_all(bytes).map_err(FileError::write(path))?;
        file.commit()
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.out.seek(position)
    }
}
