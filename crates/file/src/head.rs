//! The head of files: preamble, header and table of lengths.

use std::ops::Range;

use serde::Serialize;

use crate::digest::Hasher;
use crate::frame::{ENTRY, HEAD_DIGEST, MAX_HEADER, MAX_RECORDS, PREAMBLE, SEAL, body, padding, room, table};
use crate::preamble::{Preamble, field, zeros};
use crate::{Digest, FormatError, Label};

/// A head that was checked, or made: nothing about sizes is open after it.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) preamble: Preamble,
    /// Length of each record in bytes; with padding and seals they make up the rest of the file.
    pub(crate) lengths: Vec<u64>,
    /// Becomes the digest of the file, given the digests of all records.
    pub(crate) identity: Hasher,
}

impl Head {
    /// Reads the table from the bytes before the first record, as many as [`body`] says, and checks them.
    pub(crate) fn parse(preamble: Preamble, bytes: &[u8]) -> Result<Self, FormatError> {
        let header = header(&preamble);
        let start = table(preamble.header) as usize;
        let (table, rest) = bytes[start..].split_at(preamble.records as usize * ENTRY);
        let first = field::<HEAD_DIGEST>(bytes, 0);
        if *Preamble::digest(&first, &bytes[header.clone()], table).bytes() != field(bytes, HEAD_DIGEST) {
            return Err(FormatError::HeadDigest);
        }
        zeros("padding of the header", &bytes[header.end..start])?;
        zeros("padding of the table", rest)?;
        let lengths: Vec<u64> = table.as_chunks::<ENTRY>().0.iter().map(|length| u64::from_le_bytes(*length)).collect();
        let expected = total(preamble.header, &lengths);
        if expected != Some(preamble.length) {
            let expected = expected.map_or("lengths of records that fit".into(), |length| length.to_string());
            return Err(FormatError::malformed("file length", preamble.length, expected));
        }
        let identity = identity(&bytes[..PREAMBLE], &bytes[header], table);
        Ok(Self { preamble, lengths, identity })
    }

    /// The head of a file of records of these lengths, and its bytes.
    pub(crate) fn encode(
        label: Label,
        header: &impl Serialize,
        lengths: Vec<u64>,
    ) -> Result<(Self, Vec<u8>), FormatError> {
        let header = serde_json::to_vec(header).map_err(|e| FormatError::Header { reason: e.to_string() })?;
        let header_length = u32::try_from(header.len()).ok().filter(|length| *length <= MAX_HEADER);
        let Some(header_length) = header_length else {
            return Err(FormatError::HeaderTooLong { found: header.len() as u64, limit: MAX_HEADER });
        };
        let Some(records) = u32::try_from(lengths.len()).ok().filter(|records| *records <= MAX_RECORDS) else {
            return Err(FormatError::TooManyRecords { limit: MAX_RECORDS });
        };
        let (length, limit) = (total(header_length, &lengths).unwrap_or(u64::MAX), label.kind().max_length());
        if length > limit {
            return Err(FormatError::TooLong { found: length, limit });
        }
        let preamble = Preamble { label, header: header_length, records, length };
        let table: Vec<u8> = lengths.iter().flat_map(|length| length.to_le_bytes()).collect();
        let first = preamble.encode();
        let digest = Preamble::digest(&first, &header, &table);
        let mut bytes = Vec::with_capacity(body(header_length, records) as usize);
        bytes.extend_from_slice(&first);
        bytes.extend_from_slice(digest.bytes());
        for part in [&header, &table] {
            bytes.extend_from_slice(part);
            bytes.extend_from_slice(&[0; 64][..padding(part.len() as u64)]);
        }
        let identity = identity(&bytes[..PREAMBLE], &header, &table);
        Ok((Self { preamble, lengths, identity }, bytes))
    }
}

/// Where the header is in the bytes of a file.
pub(crate) fn header(preamble: &Preamble) -> Range<usize> {
    PREAMBLE..PREAMBLE + preamble.header as usize
}

/// What follows a record of `length` bytes: zeros up to a multiple of 64, its digest, 32 zeros.
pub(crate) struct Tail {
    bytes: [u8; 63 + SEAL],
    start: usize,
}

impl Tail {
    pub(crate) fn new(length: u64, digest: &Digest) -> Self {
        let mut bytes = [0; 63 + SEAL];
        bytes[63..63 + 32].copy_from_slice(digest.bytes());
        Self { bytes, start: 63 - padding(length) }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// A digest and as many zeros.
pub(crate) fn seal(digest: &Digest) -> [u8; SEAL] {
    let mut bytes = [0; SEAL];
    bytes[..32].copy_from_slice(digest.bytes());
    bytes
}

/// The digest of a [`seal`].
pub(crate) fn unseal(seal: &[u8; SEAL]) -> Result<Digest, FormatError> {
    zeros("a byte after a digest", &seal[32..])?;
    Ok(field(seal, 0).into())
}

/// Length of a file with such records; `None` where that is no number.
fn total(header: u32, lengths: &[u64]) -> Option<u64> {
    // There are at most `MAX_RECORDS` of them.
    let start = body(header, lengths.len() as u32) + SEAL as u64;
    lengths.iter().try_fold(start, |end, length| end.checked_add(room(*length)?))
}

fn identity(preamble: &[u8], header: &[u8], table: &[u8]) -> Hasher {
    let mut identity = Hasher::default();
    [preamble, header, table].into_iter().for_each(|part| identity.update(part));
    identity
}
