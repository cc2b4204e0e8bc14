//! Encoding.

use std::io::{self, Cursor, Seek, SeekFrom, Write};
use std::path::Path;

use serde::Serialize;

use crate::container::align;
use crate::{
    AtomicFile, DIGEST, Digest, ENTRY, FileError, FormatError, Kind, MAGIC, MAX_HEADER, MAX_RECORDS, PREAMBLE, VERSION,
};

/// Writes a file record by record; the head is filled in at the end, so that an unfinished file is no Umbra file.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    /// Bytes 0 to 63 of the preamble, the table's place and size still missing.
    preamble: [u8; DIGEST],
    header: Vec<u8>,
    position: u64,
    /// [`Kind::max_length`].
    limit: u64,
    table: Vec<u8>,
    count: u32,
}

impl<W: Write + Seek> Writer<W> {
    /// Starts a file at the beginning of `out`.
    ///
    /// # Errors
    /// What `out` says; [`io::ErrorKind::InvalidInput`] with a [`FormatError`] inside where the header is longer than
    /// [`MAX_HEADER`] or cannot be JSON.
    pub fn new(out: W, kind: Kind, context: Digest, header: &impl Serialize) -> io::Result<Self> {
        Self::with_header(out, kind, context, header_bytes(header).map_err(invalid)?)
    }

    fn with_header(mut out: W, kind: Kind, context: Digest, Header(header): Header) -> io::Result<Self> {
        let length = header.len() as u32;
        let mut preamble = [0; DIGEST];
        preamble[..8].copy_from_slice(&MAGIC);
        preamble[8..10].copy_from_slice(&VERSION.to_le_bytes());
        preamble[10..12].copy_from_slice(&kind.tag().to_le_bytes());
        preamble[12..16].copy_from_slice(&length.to_le_bytes());
        preamble[16..48].copy_from_slice(context.bytes());
        out.seek(SeekFrom::Start(0))?;
        out.write_all(&[0; PREAMBLE])?;
        out.write_all(&header)?;
        let position = (PREAMBLE + header.len()) as u64;
        let limit = kind.max_length();
        let mut writer = Self { out, preamble, header, position, limit, table: Vec::new(), count: 0 };
        writer.pad()?;
        Ok(writer)
    }

    /// Appends a record made of `parts`, one after the other.
    ///
    /// # Errors
    /// What the output says; [`io::ErrorKind::InvalidInput`] with [`FormatError::TooManyRecords`] or [`FormatError::TooLong`] inside.
    pub fn record(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let count = self.count + 1;
        if count > MAX_RECORDS {
            return Err(invalid(FormatError::TooManyRecords { limit: MAX_RECORDS }));
        }
        let length: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let end = align(self.position + length) + u64::from(count) * ENTRY as u64;
        if end > self.limit {
            return Err(invalid(FormatError::TooLong { found: end, limit: self.limit }));
        }
        for part in parts {
            self.out.write_all(part)?;
        }
        self.table.extend_from_slice(&length.to_le_bytes());
        self.table.extend_from_slice(Digest::of_parts(parts.iter().copied()).bytes());
        self.count = count;
        self.position += length;
        self.pad()
    }

    /// Appends a record of words.
    ///
    /// # Errors
    /// As [`Writer::record`].
    pub fn words(&mut self, words: &[u32]) -> io::Result<()> {
        self.record(&[&crate::bytes_of_words(words)])
    }

    /// Writes the table and the head; returns the output and the digest of the file.
    ///
    /// # Errors
    /// What the output says.
    pub fn finish(mut self) -> io::Result<(W, Digest)> {
        self.preamble[48..56].copy_from_slice(&self.position.to_le_bytes());
        self.preamble[56..60].copy_from_slice(&self.count.to_le_bytes());
        let digest = Digest::of_parts([&self.preamble[..], &self.header, &self.table]);
        self.out.write_all(&self.table)?;
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&self.preamble)?;
        self.out.write_all(digest.bytes())?;
        self.out.flush()?;
        Ok((self.out, digest))
    }

    fn pad(&mut self) -> io::Result<()> {
        let end = align(self.position);
        self.out.write_all(&[0; 64][..(end - self.position) as usize])?;
        self.position = end;
        Ok(())
    }
}

impl Writer<AtomicFile> {
    /// Starts a file at `path`, which appears with [`Writer::commit`]; mode 0600 where the kind is secret.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn create(path: &Path, kind: Kind, context: Digest, header: &impl Serialize) -> Result<Self, FileError> {
        let header = header_bytes(header).map_err(FileError::format(path))?;
        let file = AtomicFile::create(path, kind.is_secret())?;
        Self::with_header(file, kind, context, header).map_err(FileError::write(path))
    }

    /// As [`Writer::record`], with the path in the error.
    ///
    /// # Errors
    /// [`FileError::Write`].
    pub fn add(&mut self, parts: &[&[u8]]) -> Result<(), FileError> {
        self.record(parts).map_err(FileError::write(self.out.path()))
    }

    /// As [`Writer::words`], with the path in the error.
    ///
    /// # Errors
    /// [`FileError::Write`].
    pub fn add_words(&mut self, words: &[u32]) -> Result<(), FileError> {
        self.words(words).map_err(FileError::write(self.out.path()))
    }

    /// Finishes the file, makes it durable and gives it its name. Returns its digest.
    ///
    /// # Errors
    /// [`FileError::Write`]; no file of that name appears then, and one that was there stays as it was.
    pub fn commit(self) -> Result<Digest, FileError> {
        let path = self.out.path().to_path_buf();
        let (file, digest) = self.finish().map_err(FileError::write(&path))?;
        file.commit()?;
        Ok(digest)
    }
}

/// A header as it will be in the file: JSON, no longer than [`MAX_HEADER`].
struct Header(Vec<u8>);

fn header_bytes(header: &impl Serialize) -> Result<Header, FormatError> {
    let bytes = serde_json::to_vec(header).map_err(|e| FormatError::Header { reason: e.to_string() })?;
    if bytes.len() > MAX_HEADER as usize {
        return Err(FormatError::HeaderTooLong { found: bytes.len() as u64, limit: MAX_HEADER });
    }
    Ok(Header(bytes))
}

fn invalid(reason: FormatError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

/// A whole file in memory, for what is sent rather than stored.
///
/// The bytes are written once, where they stay: of a secret in `records`, no copy is left behind in freed memory.
///
/// # Errors
/// [`FormatError::Header`] where the header cannot be JSON, [`FormatError::HeaderTooLong`] where it is longer than
/// [`MAX_HEADER`], [`FormatError::TooManyRecords`], [`FormatError::TooLong`].
pub fn encode(kind: Kind, context: Digest, header: &impl Serialize, records: &[&[u8]]) -> Result<Vec<u8>, FormatError> {
    let header = header_bytes(header)?;
    let head = align((PREAMBLE + header.0.len()) as u64);
    let body: u64 = records.iter().map(|record| align(record.len() as u64)).sum();
    let length = (head + body) as usize + records.len() * ENTRY;
    let write = || {
        let mut writer = Writer::with_header(Cursor::new(Vec::with_capacity(length)), kind, context, header)?;
        records.iter().try_for_each(|record| writer.record(&[record]))?;
        writer.finish()
    };
    match write() {
        Ok((cursor, _)) => Ok(cursor.into_inner()),
        // Memory takes all that is written to it: what can be refused is the content.
        Err(error) => Err(error.downcast().unwrap_or_else(|error| FormatError::Header { reason: error.to_string() })),
    }
}
