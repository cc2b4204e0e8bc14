//! Decoding of what arrives bit by bit.

use std::io::{self, Read};

use serde::de::DeserializeOwned;
use zeroize::Zeroize;

use crate::frame::{OPENING, PREAMBLE, SEAL, body, padding};
use crate::head::{Head, header, unseal};
use crate::preamble::{Preamble, Version, field, zeros};
use crate::{Digest, FormatError, KeySetId, Kind, Label, StreamError};

/// How much a buffer grows before anything came that needs the room.
const CHUNK: usize = 1 << 16;

/// Reads a file record by record, from its beginning to its end: from a disk, a pipe, a connection.
///
/// Once it is open, all sizes are known and checked against the head digest. Records are checked one by one, so that
/// each can be used at once; what ties them together, the digest of the file, is known and checked with
/// [`Reader::finish`]. A reader takes no byte that is not of the file, and holds one record in memory at most: the
/// caller's. After an error it gives no more.
#[derive(Debug)]
pub struct Reader<R> {
    source: Source<R>,
    head: Head,
    header: Vec<u8>,
    /// Number of records read.
    read: usize,
    broken: bool,
}

impl<R: Read> Reader<R> {
    /// Reads and checks preamble, header and table: magic, version, kind, key set, lengths, head digest. Memory grows
    /// as bytes arrive. The input needs no buffer of its own: reads are few, and as long as can be.
    ///
    /// # Errors
    /// [`StreamError`]; never panics, whatever comes.
    pub fn open(reader: R) -> Result<Self, StreamError> {
        let mut source = Source { reader, position: 0, expected: PREAMBLE as u64 };
        let mut start = [0; PREAMBLE];
        let opening = source.up_to(&mut start[..OPENING])?;
        let end = Version::of(&start[..opening])?.preamble();
        let end = opening + source.up_to(&mut start[opening..end])?;
        let preamble = Preamble::parse(&start[..end])?;
        source.expected = preamble.length;
        let mut bytes = start.to_vec();
        let rest = body(preamble.header, preamble.records) - PREAMBLE as u64;
        source.append(&mut bytes, rest, false)?;
        let head = Head::parse(preamble, &bytes)?;
        let header = bytes[header(&head.preamble)].to_vec();
        Ok(Self { source, head, header, read: 0, broken: false })
    }

    /// What it is and what it belongs to.
    #[must_use]
    pub fn label(&self) -> Label {
        self.head.preamble.label
    }

    /// What it holds.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.label().kind()
    }

    /// The digest of what it belongs to.
    #[must_use]
    pub fn context(&self) -> Digest {
        self.label().context()
    }

    /// The key set that it belongs to; `None` for kinds that have none.
    #[must_use]
    pub fn key_set(&self) -> Option<KeySetId> {
        self.label().key_set()
    }

    /// Length of the whole file in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.head.preamble.length
    }

    /// The header as it is in the file.
    #[must_use]
    pub fn header_bytes(&self) -> &[u8] {
        &self.header
    }

    /// The header, parsed.
    ///
    /// # Errors
    /// [`FormatError::Header`].
    pub fn header<T: DeserializeOwned>(&self) -> Result<T, FormatError> {
        serde_json::from_slice(&self.header).map_err(|e| FormatError::Header { reason: e.to_string() })
    }

    /// Number of records.
    #[must_use]
    pub fn records(&self) -> usize {
        self.head.lengths.len()
    }

    /// Length of a record in bytes, if there is such a record.
    #[must_use]
    pub fn record_length(&self, record: usize) -> Option<u64> {
        self.head.lengths.get(record).copied()
    }

    /// Reads the next record into `buffer`, in place of what is there, and checks its digest. Returns its number;
    /// `None` where all records were read already.
    ///
    /// The buffer grows as bytes arrive, whatever length the file claims, and is used again as it is for the next
    /// record. Of a kind that is secret no copy stays behind where it grew; give it a [`Zeroizing`](zeroize::Zeroizing)
    /// buffer, which is wiped when dropped. After an error the buffer is empty.
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn read_record(&mut self, buffer: &mut Vec<u8>) -> Result<Option<usize>, StreamError> {
        let secret = self.kind().is_secret();
        clear(buffer, secret);
        let record = self.read;
        self.usable()?;
        let Some(length) = self.record_length(record) else { return Ok(None) };
        let read = self.read_next(length, buffer, secret);
        if read.is_err() {
            self.broken = true;
            clear(buffer, secret);
        }
        read.map(|()| Some(record))
    }

    fn read_next(&mut self, length: u64, buffer: &mut Vec<u8>, secret: bool) -> Result<(), StreamError> {
        self.source.append(buffer, length, secret)?;
        let mut tail = [0; 63 + SEAL];
        let tail = &mut tail[63 - padding(length)..];
        self.source.exact(tail)?;
        let (padding, seal) = tail.split_at(tail.len() - SEAL);
        let digest = unseal(&field(seal, 0))?;
        if Digest::of(buffer) != digest {
            return Err(FormatError::RecordDigest { record: self.read }.into());
        }
        zeros("padding of a record", padding)?;
        self.head.identity.update(digest.bytes());
        self.read += 1;
        Ok(())
    }

    /// Reads the last bytes and checks the digest of the file; returns the input, which stands behind the file, and the
    /// digest.
    ///
    /// # Errors
    /// [`StreamError`]; [`StreamError::Format`] with [`FormatError::UnreadRecords`] where records are left.
    pub fn finish(mut self) -> Result<(R, Digest), StreamError> {
        let digest = self.end()?;
        Ok((self.source.reader, digest))
    }

    /// As [`Reader::finish`], of an input that must end with the file. Waits for the end where the other side keeps a
    /// connection open.
    ///
    /// # Errors
    /// As [`Reader::finish`]; [`StreamError::Format`] with [`FormatError::TrailingBytes`] where more comes.
    pub fn expect_end(mut self) -> Result<(R, Digest), StreamError> {
        let digest = self.end()?;
        match self.source.up_to(&mut [0])? {
            0 => Ok((self.source.reader, digest)),
            _ => Err(FormatError::TrailingBytes { expected: self.size() }.into()),
        }
    }

    fn end(&mut self) -> Result<Digest, StreamError> {
        self.usable()?;
        let (read, records) = (self.read, self.records());
        if read < records {
            return Err(FormatError::UnreadRecords { read, records }.into());
        }
        let mut seal = [0; SEAL];
        self.source.exact(&mut seal)?;
        let digest = self.head.identity.digest();
        match unseal(&seal)? == digest {
            true => Ok(digest),
            false => Err(FormatError::TrailerDigest.into()),
        }
    }

    /// Whether the input stands where the next record begins.
    fn usable(&self) -> Result<(), StreamError> {
        match self.broken {
            true => Err(self.source.failed(io::Error::other("reading failed before"))),
            false => Ok(()),
        }
    }
}

/// An input, with the number of bytes that came from it.
#[derive(Debug)]
struct Source<R> {
    reader: R,
    position: u64,
    /// Length of the file, or the least possible.
    expected: u64,
}

impl<R: Read> Source<R> {
    /// Fills the buffer, or as much of it as there is before the end.
    fn up_to(&mut self, buffer: &mut [u8]) -> Result<usize, StreamError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.reader.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => {
                    filled += count;
                    self.position += count as u64;
                }
                Err(reason) if reason.kind() == io::ErrorKind::Interrupted => {}
                Err(reason) => return Err(self.failed(reason)),
            }
        }
        Ok(filled)
    }

    fn exact(&mut self, buffer: &mut [u8]) -> Result<(), StreamError> {
        match self.up_to(buffer)? {
            filled if filled < buffer.len() => {
                Err(StreamError::Ended { found: self.position, expected: self.expected })
            }
            _ => Ok(()),
        }
    }

    /// Appends `length` bytes to the buffer, which grows as they arrive. Of a secret, what it grew out of is wiped.
    fn append(&mut self, buffer: &mut Vec<u8>, length: u64, secret: bool) -> Result<(), StreamError> {
        let end = usize::try_from(length).ok().and_then(|length| buffer.len().checked_add(length));
        let end = end.ok_or_else(|| self.failed(io::ErrorKind::OutOfMemory.into()))?;
        while buffer.len() < end {
            let filled = buffer.len();
            let next = end.min(buffer.capacity().max(CHUNK).max(filled.saturating_mul(2)));
            enlarge(buffer, next, secret).map_err(|reason| self.failed(reason))?;
            buffer.resize(next, 0);
            self.exact(&mut buffer[filled..])?;
        }
        Ok(())
    }

    fn failed(&self, reason: io::Error) -> StreamError {
        let position = self.position;
        match reason.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => StreamError::Stalled { position, reason },
            _ => StreamError::Read { position, reason },
        }
    }
}

/// Makes room for `capacity` bytes, and no more than is needed.
fn enlarge(buffer: &mut Vec<u8>, capacity: usize, secret: bool) -> io::Result<()> {
    if !secret || capacity <= buffer.capacity() {
        return buffer.try_reserve_exact(capacity - buffer.len()).map_err(|_| io::ErrorKind::OutOfMemory.into());
    }
    let mut larger = Vec::new();
    larger.try_reserve_exact(capacity).map_err(|_| io::ErrorKind::OutOfMemory)?;
    larger.extend_from_slice(buffer);
    std::mem::replace(buffer, larger).zeroize();
    Ok(())
}

fn clear(buffer: &mut Vec<u8>, secret: bool) {
    if secret { buffer.zeroize() } else { buffer.clear() }
}
