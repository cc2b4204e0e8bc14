//! Encoding.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::head::{Head, Tail, seal};
use crate::{AtomicFile, Digest, FileError, FormatError, Label, StreamError};

/// Writes a file record by record, from its beginning to its end: to a disk, a pipe, a connection.
///
/// All lengths are told at the beginning. Until [`Writer::finish`] the file lacks its last bytes, so that no reader
/// takes an unfinished one. Records go to the output as they are, and no part of them is kept.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    head: Head,
    /// Number of records written.
    written: usize,
    /// Bytes written.
    position: u64,
    /// Whether the output took less than it was given: where the file goes on cannot be told any more.
    broken: bool,
}

impl<W: Write> Writer<W> {
    /// Starts a file with records of these lengths in bytes. Many small writes follow, a few a record: where these are
    /// dear, give a buffered output, but none that keeps a secret.
    ///
    /// # Errors
    /// [`StreamError::Write`]; before anything is written [`StreamError::Format`] with [`FormatError::Header`] where
    /// the header cannot be JSON, or with [`FormatError::HeaderTooLong`], [`FormatError::TooManyRecords`],
    /// [`FormatError::TooLong`].
    pub fn new(out: W, label: Label, header: &impl Serialize, lengths: &[u64]) -> Result<Self, StreamError> {
        let (head, bytes) = Head::encode(label, header, lengths.to_vec())?;
        Self::with_head(out, head, &bytes)
    }

    fn with_head(out: W, head: Head, bytes: &[u8]) -> Result<Self, StreamError> {
        let mut writer = Self { out, head, written: 0, position: 0, broken: false };
        writer.put(bytes)?;
        Ok(writer)
    }

    /// Length of the whole file in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.head.preamble.length
    }

    /// Appends a record made of `parts`, one after the other.
    ///
    /// # Errors
    /// [`StreamError::Write`], after which the file cannot be finished; [`StreamError::Format`] with
    /// [`FormatError::NotAnnounced`], after which the right record can follow.
    pub fn record(&mut self, parts: &[&[u8]]) -> Result<(), StreamError> {
        let (record, found) = (self.written, parts.iter().map(|part| part.len() as u64).sum());
        let announced = self.head.lengths.get(record).copied();
        if announced != Some(found) {
            return Err(FormatError::NotAnnounced { record, found, announced }.into());
        }
        parts.iter().try_for_each(|part| self.put(part))?;
        let digest = Digest::of_parts(parts.iter().copied());
        self.put(Tail::new(found, &digest).bytes())?;
        self.head.identity.update(digest.bytes());
        self.written += 1;
        Ok(())
    }

    /// Appends a record of words.
    ///
    /// # Errors
    /// As [`Writer::record`].
    pub fn words(&mut self, words: &[u32]) -> Result<(), StreamError> {
        self.record(&[&crate::bytes_of_words(words)])
    }

    /// Writes the last bytes; returns the output, flushed, and the digest of the file.
    ///
    /// # Errors
    /// [`StreamError::Write`]; [`StreamError::Format`] with [`FormatError::MissingRecord`] where fewer records were
    /// written than announced.
    pub fn finish(mut self) -> Result<(W, Digest), StreamError> {
        let record = self.written;
        if record < self.head.lengths.len() {
            return Err(FormatError::MissingRecord { record, found: record }.into());
        }
        let digest = self.head.identity.digest();
        self.put(&seal(&digest))?;
        self.out.flush().map_err(|reason| StreamError::Write { position: self.position, reason })?;
        Ok((self.out, digest))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        let position = self.position;
        if self.broken {
            return Err(StreamError::Write { position, reason: io::Error::other("writing failed before") });
        }
        self.out.write_all(bytes).map_err(|reason| {
            self.broken = true;
            StreamError::Write { position, reason }
        })?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}

impl Writer<AtomicFile> {
    /// Starts a file at `path`, which appears with [`Writer::commit`]; mode 0600 where the kind is secret.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn create(path: &Path, label: Label, header: &impl Serialize, lengths: &[u64]) -> Result<Self, FileError> {
        let (head, bytes) = Head::encode(label, header, lengths.to_vec()).map_err(FileError::format(path))?;
        let file = AtomicFile::create(path, label.kind().is_secret())?;
        Self::with_head(file, head, &bytes).map_err(FileError::stream(path))
    }

    /// As [`Writer::record`], with the path in the error.
    ///
    /// # Errors
    /// [`FileError::Write`], [`FileError::Format`].
    pub fn add(&mut self, parts: &[&[u8]]) -> Result<(), FileError> {
        self.record(parts).map_err(FileError::stream(self.out.path()))
    }

    /// As [`Writer::words`], with the path in the error.
    ///
    /// # Errors
    /// As [`Writer::add`].
    pub fn add_words(&mut self, words: &[u32]) -> Result<(), FileError> {
        self.words(words).map_err(FileError::stream(self.out.path()))
    }

    /// Finishes the file, makes it durable and gives it its name. Returns its digest.
    ///
    /// # Errors
    /// [`FileError::Write`], [`FileError::Format`] where records are missing; no file of that name appears then, and
    /// one that was there stays as it was.
    pub fn commit(self) -> Result<Digest, FileError> {
        let path = self.out.path().to_path_buf();
        let (file, digest) = self.finish().map_err(FileError::stream(&path))?;
        file.commit()?;
        Ok(digest)
    }
}

/// A whole file in memory.
///
/// The bytes are written once, where they stay: of a secret in `records`, no copy is left behind in freed memory.
///
/// # Errors
/// [`FormatError::Header`] where the header cannot be JSON, [`FormatError::HeaderTooLong`],
/// [`FormatError::TooManyRecords`], [`FormatError::TooLong`].
pub fn encode(label: Label, header: &impl Serialize, records: &[&[u8]]) -> Result<Vec<u8>, FormatError> {
    let lengths = records.iter().map(|record| record.len() as u64).collect();
    let (Head { preamble, mut identity, .. }, head) = Head::encode(label, header, lengths)?;
    let too_long = |_| FormatError::TooLong { found: preamble.length, limit: usize::MAX as u64 };
    let mut bytes = Vec::with_capacity(usize::try_from(preamble.length).map_err(too_long)?);
    bytes.extend_from_slice(&head);
    for record in records {
        let digest = Digest::of(record);
        bytes.extend_from_slice(record);
        bytes.extend_from_slice(Tail::new(record.len() as u64, &digest).bytes());
        identity.update(digest.bytes());
    }
    bytes.extend_from_slice(&seal(&identity.digest()));
    Ok(bytes)
}
