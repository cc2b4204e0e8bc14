//! Files with their path.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::{Container, Digest, FileBytes, FileError, FormatError, Kind};

/// A file: a [`Container`] whose errors name the path.
#[derive(Debug)]
pub struct ContainerFile {
    path: PathBuf,
    container: Container<FileBytes>,
}

impl ContainerFile {
    /// Opens a file of any kind and checks its head and table.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open_any(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let path = path.as_ref();
        let container = Container::decode(FileBytes::open(path)?).map_err(FileError::format(path))?;
        Ok(Self { path: path.into(), container })
    }

    /// Opens a file that must be of this kind, and of this context where one is given.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(path: impl AsRef<Path>, kind: Kind, context: Option<Digest>) -> Result<Self, FileError> {
        let file = Self::open_any(path)?;
        file.located(|c| c.expect_kind(kind))?;
        if let Some(context) = context {
            file.located(|c| c.expect_context(context))?;
        }
        Ok(file)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its content, with errors that do not know the path.
    #[must_use]
    pub fn container(&self) -> &Container<FileBytes> {
        &self.container
    }

    /// Calls a method of the container, or a decoder of its records, and adds the path to the error.
    ///
    /// # Errors
    /// [`FileError::Format`].
    pub fn located<'a, T>(
        &'a self,
        call: impl FnOnce(&'a Container<FileBytes>) -> Result<T, FormatError>,
    ) -> Result<T, FileError> {
        call(&self.container).map_err(FileError::format(&self.path))
    }

    /// See [`Container::header`].
    ///
    /// # Errors
    /// [`FileError::Format`].
    pub fn header<T: DeserializeOwned>(&self) -> Result<T, FileError> {
        self.located(Container::header)
    }

    /// See [`Container::record`].
    ///
    /// # Errors
    /// [`FileError::Format`].
    pub fn record(&self, record: usize) -> Result<&[u8], FileError> {
        self.located(|c| c.record(record))
    }

    /// See [`Container::words`].
    ///
    /// # Errors
    /// [`FileError::Format`].
    pub fn words(&self, record: usize) -> Result<Cow<'_, [u32]>, FileError> {
        self.located(|c| c.words(record))
    }
}
