//! Decoding.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::DeserializeOwned;

use crate::{ALIGN, DIGEST, Digest, ENTRY, FormatError, Kind, MAGIC, PREAMBLE, VERSION, words_of_bytes};

/// Longest header, in bytes.
pub const MAX_HEADER: u32 = 1 << 20;
/// Most records.
pub const MAX_RECORDS: u32 = 1 << 20;

/// A file whose head and table are checked; records are checked when read.
///
/// `B` holds the bytes: `&[u8]`, `Vec<u8>`, or a [`FileBytes`](crate::FileBytes).
#[derive(Clone, Debug)]
pub struct Container<B> {
    bytes: B,
    kind: Kind,
    context: Digest,
    digest: Digest,
    header: Range<usize>,
    records: Vec<Record>,
}

#[derive(Clone, Debug)]
struct Record {
    range: Range<usize>,
    digest: Digest,
}

/// The fixed part before the header.
pub(crate) struct Preamble {
    pub(crate) kind: Kind,
    context: Digest,
    /// What it says the digest of head, header and table is.
    digest: Digest,
    header_end: u64,
    table: u64,
    count: u32,
}

impl Preamble {
    /// What the first bytes of a file say it holds.
    pub(crate) fn kind(start: &[u8]) -> Option<Kind> {
        let tag = start.strip_prefix(&MAGIC)?.get(2..4)?;
        Kind::from_tag(u16::from_le_bytes([tag[0], tag[1]]))
    }

    /// Reads it from the first bytes of a file, [`PREAMBLE`] of them or all there are, and checks all it says against the
    /// length of the file: what is said to be there is there, and nothing else.
    pub(crate) fn parse(start: &[u8], length: u64) -> Result<Self, FormatError> {
        let prefix = &start[..start.len().min(MAGIC.len())];
        if prefix.is_empty() || !MAGIC.starts_with(prefix) {
            return Err(FormatError::NotUmbra { found: prefix.to_vec() });
        }
        let Some(preamble) = start.first_chunk::<PREAMBLE>() else {
            return Err(FormatError::Truncated { found: length, expected: PREAMBLE as u64 });
        };
        let version = u16::from_le_bytes(field(preamble, 8));
        if version != VERSION {
            return Err(FormatError::Version { found: version });
        }
        let tag = u16::from_le_bytes(field(preamble, 10));
        let kind = Kind::from_tag(tag).ok_or(FormatError::UnknownKind { found: tag })?;
        let header_length = u32::from_le_bytes(field(preamble, 12));
        let table = u64::from_le_bytes(field(preamble, 48));
        let count = u32::from_le_bytes(field(preamble, 56));
        if header_length > MAX_HEADER {
            return Err(malformed("header length", header_length.into(), format!("at most {MAX_HEADER}")));
        }
        if count > MAX_RECORDS {
            return Err(malformed("number of records", count.into(), format!("at most {MAX_RECORDS}")));
        }
        if length > kind.max_length() {
            return Err(malformed("file length", length, format!("at most {} for {kind}", kind.max_length())));
        }
        let reserved = u32::from_le_bytes(field(preamble, 60));
        if reserved != 0 {
            return Err(malformed("a reserved field", reserved.into(), "0".into()));
        }
        let header_end = PREAMBLE as u64 + u64::from(header_length);
        let body = align(header_end);
        if table < body || table % ALIGN != 0 {
            return Err(malformed("table offset", table, format!("a multiple of {ALIGN}, at least {body}")));
        }
        match table.checked_add(u64::from(count) * ENTRY as u64) {
            Some(expected) if length < expected => return Err(FormatError::Truncated { found: length, expected }),
            Some(expected) if length == expected => {}
            Some(expected) => return Err(malformed("file length", length, expected.to_string())),
            None => return Err(malformed("table offset", table, "a position in the file".into())),
        }
        let (context, digest) = (field(preamble, 16).into(), field(preamble, DIGEST).into());
        Ok(Self { kind, context, digest, header_end, table, count })
    }
}

fn malformed(what: &'static str, found: u64, expected: String) -> FormatError {
    FormatError::Malformed { what, found, expected }
}

impl<B: AsRef<[u8]>> Container<B> {
    /// Checks magic, version, kind, all lengths against the number of bytes, and the digest of head, header and table.
    /// Allocates less than the bytes' own length, and only after these checks.
    ///
    /// # Errors
    /// [`FormatError`]; never panics, whatever the bytes.
    pub fn decode(bytes: B) -> Result<Self, FormatError> {
        let all = bytes.as_ref();
        let start = &all[..all.len().min(PREAMBLE)];
        let Preamble { kind, context, digest: stated, header_end, table, count } =
            Preamble::parse(start, all.len() as u64)?;
        let body = align(header_end);
        // All offsets are below the number of bytes from here on and fit in usize.
        let (header, entries) = (PREAMBLE..header_end as usize, &all[table as usize..]);
        let digest = Digest::of_parts([&all[..DIGEST], &all[header.clone()], entries]);
        if digest != stated {
            return Err(FormatError::HeadDigest);
        }
        zeros("padding of the header", &all[header.end..body as usize])?;
        let mut records = Vec::with_capacity(count as usize);
        let mut start = body;
        for entry in entries.as_chunks::<ENTRY>().0 {
            let length = u64::from_le_bytes(field(entry, 0));
            let end = start.checked_add(length).filter(|end| *end <= table);
            let Some(end) = end else {
                return Err(malformed("length of a record", length, format!("at most {}", table - start)));
            };
            let range = start as usize..end as usize;
            records.push(Record { range, digest: field(entry, 8).into() });
            start = align(end);
        }
        if start != table {
            return Err(malformed("end of the last record", start, format!("{table}, where the table is")));
        }
        Ok(Self { bytes, kind, context, digest, header, records })
    }

    /// What it holds.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The digest of what it belongs to.
    #[must_use]
    pub fn context(&self) -> Digest {
        self.context
    }

    /// The digest of this file: covers all its content.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.bytes.as_ref().len() as u64
    }

    /// Checks that it is of this kind.
    ///
    /// # Errors
    /// [`FormatError::WrongKind`].
    pub fn expect_kind(&self, expected: Kind) -> Result<(), FormatError> {
        if self.kind == expected {
            return Ok(());
        }
        Err(FormatError::WrongKind { found: self.kind, expected })
    }

    /// Checks that it belongs to this context.
    ///
    /// # Errors
    /// [`FormatError::WrongContext`].
    pub fn expect_context(&self, expected: Digest) -> Result<(), FormatError> {
        if self.context == expected {
            return Ok(());
        }
        Err(FormatError::WrongContext { found: self.context, expected })
    }

    /// The header as it is in the file.
    #[must_use]
    pub fn header_bytes(&self) -> &[u8] {
        &self.bytes.as_ref()[self.header.clone()]
    }

    /// The header, parsed.
    ///
    /// # Errors
    /// [`FormatError::Header`].
    pub fn header<T: DeserializeOwned>(&self) -> Result<T, FormatError> {
        serde_json::from_slice(self.header_bytes()).map_err(|e| FormatError::Header { reason: e.to_string() })
    }

    /// Number of records.
    #[must_use]
    pub fn records(&self) -> usize {
        self.records.len()
    }

    /// Length of a record in bytes, if there is such a record.
    #[must_use]
    pub fn record_length(&self, record: usize) -> Option<usize> {
        self.records.get(record).map(|r| r.range.len())
    }

    /// The bytes of a record, after checking its digest.
    ///
    /// # Errors
    /// [`FormatError::MissingRecord`], [`FormatError::RecordDigest`].
    pub fn record(&self, record: usize) -> Result<&[u8], FormatError> {
        let found = self.records.len();
        let Record { range, digest } = self.records.get(record).ok_or(FormatError::MissingRecord { record, found })?;
        let all = self.bytes.as_ref();
        let bytes = &all[range.clone()];
        if Digest::of(bytes) != *digest {
            return Err(FormatError::RecordDigest { record });
        }
        zeros("padding of a record", &all[range.end..align(range.end as u64) as usize])?;
        Ok(bytes)
    }

    /// The little-endian 32-bit words of a record, after checking its digest: in place where the bytes are aligned (as in a
    /// [`FileBytes`](crate::FileBytes)), else copied.
    ///
    /// # Errors
    /// As [`Container::record`], and [`FormatError::RecordLength`] where its length is no multiple of 4.
    pub fn words(&self, record: usize) -> Result<Cow<'_, [u32]>, FormatError> {
        let bytes = self.record(record)?;
        words_of_bytes(bytes).ok_or_else(|| FormatError::RecordLength {
            record,
            found: bytes.len() as u64,
            expected: "a multiple of 4".into(),
        })
    }

    /// Checks every record.
    ///
    /// # Errors
    /// As [`Container::record`].
    pub fn verify(&self) -> Result<(), FormatError> {
        (0..self.records.len()).try_for_each(|record| self.record(record).map(|_| ()))
    }
}

impl Container<crate::FileBytes> {
    /// Gives the memory behind a record back to the system, see [`FileBytes::release`](crate::FileBytes::release): for records that were
    /// read and will not be needed soon.
    pub fn release(&self, record: usize) {
        if let Some(record) = self.records.get(record) {
            self.bytes.release(record.range.clone());
        }
    }
}

/// The next multiple of [`ALIGN`]; positions in files are far below the largest `u64`.
pub(crate) fn align(position: u64) -> u64 {
    position.div_ceil(ALIGN) * ALIGN
}

fn zeros(what: &'static str, padding: &[u8]) -> Result<(), FormatError> {
    match padding.iter().find(|byte| **byte != 0) {
        None => Ok(()),
        Some(byte) => Err(malformed(what, (*byte).into(), "0".into())),
    }
}

/// `N` bytes of an array at an offset known to fit.
fn field<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[offset..offset + N]);
    field
}
