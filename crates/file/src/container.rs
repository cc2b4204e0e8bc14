//! Decoding.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::DeserializeOwned;

use crate::frame::{PREAMBLE, SEAL, align, body};
use crate::head::{Head, header, unseal};
use crate::preamble::{Preamble, field, zeros};
use crate::{Digest, FormatError, KeySetId, Kind, Label, words_of_bytes};

/// A file whose head and digests are checked; the bytes of records are checked when read.
///
/// `B` holds the bytes: `&[u8]`, `Vec<u8>`, or a [`FileBytes`](crate::FileBytes). For bytes that arrive one after the
/// other there is the [`Reader`](crate::Reader).
#[derive(Clone, Debug)]
pub struct Container<B> {
    bytes: B,
    label: Label,
    digest: Digest,
    header: Range<usize>,
    records: Vec<Record>,
}

#[derive(Clone, Debug)]
struct Record {
    range: Range<usize>,
    digest: Digest,
}

impl<B: AsRef<[u8]>> Container<B> {
    /// Checks magic, version, kind, key set, all lengths against the number of bytes, the digest of preamble, header
    /// and table, and that the digest of the file is that of head and record digests. Allocates less than the bytes'
    /// own length, and only after the lengths are checked.
    ///
    /// # Errors
    /// [`FormatError`]; never panics, whatever the bytes.
    pub fn decode(bytes: B) -> Result<Self, FormatError> {
        let all = bytes.as_ref();
        let preamble = Preamble::parse(&all[..all.len().min(PREAMBLE)])?;
        preamble.expect_length(all.len() as u64)?;
        // All offsets are below the number of bytes from here on and fit in usize.
        let mut start = body(preamble.header, preamble.records) as usize;
        let Head { preamble, lengths, mut identity } = Head::parse(preamble, &all[..start])?;
        let mut records = Vec::with_capacity(lengths.len());
        for length in lengths {
            let range = start..start + length as usize;
            let end = align(range.end as u64) as usize;
            let digest = unseal(&field::<SEAL>(all, end))?;
            identity.update(digest.bytes());
            records.push(Record { range, digest });
            start = end + SEAL;
        }
        let digest = identity.digest();
        if unseal(&field::<SEAL>(all, start))? != digest {
            return Err(FormatError::TrailerDigest);
        }
        let (label, header) = (preamble.label, header(&preamble));
        Ok(Self { bytes, label, digest, header, records })
    }

    /// What it is and what it belongs to.
    #[must_use]
    pub fn label(&self) -> Label {
        self.label
    }

    /// What it holds.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.label.kind()
    }

    /// The digest of what it belongs to.
    #[must_use]
    pub fn context(&self) -> Digest {
        self.label.context()
    }

    /// The key set that it belongs to; `None` for kinds that have none.
    #[must_use]
    pub fn key_set(&self) -> Option<KeySetId> {
        self.label.key_set()
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
        self.label.expect_kind(expected)
    }

    /// Checks that it belongs to this context.
    ///
    /// # Errors
    /// [`FormatError::WrongContext`].
    pub fn expect_context(&self, expected: Digest) -> Result<(), FormatError> {
        self.label.expect_context(expected)
    }

    /// Checks that it belongs to this key set.
    ///
    /// # Errors
    /// [`FormatError::WrongKeySet`], of a kind without key sets [`FormatError::MissingKeySet`].
    pub fn expect_key_set(&self, expected: KeySetId) -> Result<(), FormatError> {
        self.label.expect_key_set(expected)
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

    /// The little-endian 32-bit words of a record, after checking its digest: in place where the bytes are aligned (as
    /// in a [`FileBytes`](crate::FileBytes)), else copied.
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
    /// Gives the memory behind a record back to the system, see [`FileBytes::release`](crate::FileBytes::release): for
    /// records that were read and will not be needed soon.
    pub fn release(&self, record: usize) {
        if let Some(record) = self.records.get(record) {
            self.bytes.release(record.range.clone());
        }
    }
}
