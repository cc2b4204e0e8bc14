//! The first bytes of files: which version of the frame they are of, and what that says.

use crate::frame::{HEAD_DIGEST, MAGIC, MAX_HEADER, MAX_RECORDS, OPENING, PREAMBLE, SEAL, VERSION, align, body};
use crate::{Digest, FormatError, KeySetId, Kind, Label};

/// The versions of the frame that are read.
#[derive(Clone, Copy)]
pub(crate) enum Version {
    Two,
}

impl Version {
    /// The version of a file that begins with these bytes, [`OPENING`] of them at least or all there are. Nothing else
    /// tells versions apart.
    pub(crate) fn of(start: &[u8]) -> Result<Self, FormatError> {
        let prefix = &start[..start.len().min(MAGIC.len())];
        if prefix.is_empty() || !MAGIC.starts_with(prefix) {
            return Err(FormatError::NotUmbra { found: prefix.to_vec() });
        }
        if start.len() < OPENING {
            return Err(truncated(start));
        }
        let refused = |found| Err(FormatError::Version { found, kind: Preamble::kind(start) });
        match u16::from_le_bytes(field(start, 8)) {
            // Its keys and ciphertexts name no key set, and nothing in them tells which theirs is.
            1 => refused(1),
            2 => Ok(Self::Two),
            // Of a newer program, or damaged.
            found => refused(found),
        }
    }

    /// Length of its preamble, in bytes; no longer than [`PREAMBLE`].
    pub(crate) fn preamble(self) -> usize {
        match self {
            Self::Two => PREAMBLE,
        }
    }
}

/// The fixed part before the header.
#[derive(Clone, Debug)]
pub(crate) struct Preamble {
    pub(crate) label: Label,
    /// Length of the header in bytes, at most [`MAX_HEADER`].
    pub(crate) header: u32,
    /// Number of records, at most [`MAX_RECORDS`].
    pub(crate) records: u32,
    /// Length of the file in bytes: at least that of a file with so many records, and at most [`Kind::max_length`].
    pub(crate) length: u64,
}

impl Preamble {
    /// What the first bytes of a file say it holds, whatever its version.
    pub(crate) fn kind(start: &[u8]) -> Option<Kind> {
        let tag = start.strip_prefix(&MAGIC)?.get(2..4)?;
        Kind::from_tag(u16::from_le_bytes([tag[0], tag[1]]))
    }

    /// Reads it from the first bytes of a file, [`PREAMBLE`] of them at least or all there are, and checks all that it
    /// says but the head digest.
    pub(crate) fn parse(start: &[u8]) -> Result<Self, FormatError> {
        match Version::of(start)? {
            Version::Two => Self::parse_two(start),
        }
    }

    fn parse_two(start: &[u8]) -> Result<Self, FormatError> {
        let Some(bytes) = start.first_chunk::<PREAMBLE>() else {
            return Err(truncated(start));
        };
        let tag = u16::from_le_bytes(field(bytes, 10));
        let kind = Kind::from_tag(tag).ok_or(FormatError::UnknownKind { found: tag })?;
        let header = u32::from_le_bytes(field(bytes, 12));
        let records = u32::from_le_bytes(field(bytes, 64));
        let length = u64::from_le_bytes(field(bytes, 72));
        if header > MAX_HEADER {
            return Err(FormatError::malformed("header length", header.into(), format!("at most {MAX_HEADER}")));
        }
        if records > MAX_RECORDS {
            return Err(FormatError::malformed("number of records", records.into(), format!("at most {MAX_RECORDS}")));
        }
        let limit = kind.max_length();
        if length > limit {
            return Err(FormatError::malformed("file length", length, format!("at most {limit} for {kind}")));
        }
        let least = body(header, records) + (u64::from(records) + 1) * SEAL as u64;
        if length < least || length != align(length) {
            return Err(FormatError::malformed("file length", length, format!("a multiple of 64, at least {least}")));
        }
        zeros("a reserved byte", &bytes[68..72])?;
        zeros("a reserved byte", &bytes[80..HEAD_DIGEST])?;
        let label = Label::new(kind, field(bytes, 16).into(), KeySetId::new(field(bytes, 48)))?;
        Ok(Self { label, header, records, length })
    }

    /// Its bytes up to the head digest.
    pub(crate) fn encode(&self) -> [u8; HEAD_DIGEST] {
        let mut bytes = [0; HEAD_DIGEST];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &MAGIC);
        put(8, &VERSION.to_le_bytes());
        put(10, &self.label.kind().tag().to_le_bytes());
        put(12, &self.header.to_le_bytes());
        put(16, self.label.context().bytes());
        put(48, &self.label.key_set().map_or([0; 16], |id| *id.bytes()));
        put(64, &self.records.to_le_bytes());
        put(72, &self.length.to_le_bytes());
        bytes
    }

    /// The digest of a head: of these first bytes, the header and the table.
    pub(crate) fn digest(first: &[u8; HEAD_DIGEST], header: &[u8], table: &[u8]) -> Digest {
        Digest::of_parts([&first[..], header, table])
    }

    /// Checks the length of the file.
    pub(crate) fn expect_length(&self, found: u64) -> Result<(), FormatError> {
        let expected = self.length;
        match found {
            _ if found < expected => Err(FormatError::Truncated { found, expected }),
            _ if found > expected => Err(FormatError::TrailingBytes { expected }),
            _ => Ok(()),
        }
    }
}

/// `N` bytes at an offset known to fit.
pub(crate) fn field<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[offset..offset + N]);
    field
}

pub(crate) fn zeros(what: &'static str, padding: &[u8]) -> Result<(), FormatError> {
    match padding.iter().find(|byte| **byte != 0) {
        None => Ok(()),
        Some(&byte) => Err(FormatError::malformed(what, byte.into(), "0".into())),
    }
}

/// Of a file that ends before its preamble does.
fn truncated(all: &[u8]) -> FormatError {
    FormatError::Truncated { found: all.len() as u64, expected: PREAMBLE as u64 }
}
