//! The numbers of the frame, version 2.

/// First bytes of every file.
pub const MAGIC: [u8; 8] = *b"\x89UMBRA\r\n";
/// The version of the frame that this crate writes.
pub const VERSION: u16 = 2;
/// Longest header, in bytes.
pub const MAX_HEADER: u32 = 1 << 20;
/// Most records.
pub const MAX_RECORDS: u32 = 1 << 20;

/// Magic, version and kind: what stands in the same place in every version.
pub(crate) const OPENING: usize = 12;
/// Fixed part before the header.
pub(crate) const PREAMBLE: usize = 128;
/// Start of the head digest in the preamble, which covers what is before.
pub(crate) const HEAD_DIGEST: usize = 96;
/// Bytes a record in the table of lengths.
pub(crate) const ENTRY: usize = 8;
/// A digest and as many zeros: what follows each record, and the trailer.
pub(crate) const SEAL: usize = 64;
/// Alignment of everything after the preamble.
const ALIGN: u64 = 64;

/// The next multiple of 64; positions in files are far below the largest `u64`.
pub(crate) fn align(position: u64) -> u64 {
    position.div_ceil(ALIGN) * ALIGN
}

/// Number of zeros after a record of this length.
pub(crate) fn padding(length: u64) -> usize {
    (length.wrapping_neg() % ALIGN) as usize
}

/// Bytes that a record takes, with its padding and its seal; `None` where that is no length of a file.
pub(crate) fn room(length: u64) -> Option<u64> {
    length.checked_next_multiple_of(ALIGN)?.checked_add(SEAL as u64)
}

/// Where the table of lengths is, after a header of this length.
pub(crate) fn table(header: u32) -> u64 {
    PREAMBLE as u64 + align(header.into())
}

/// Where the records begin, after a header of this length and a table for so many.
pub(crate) fn body(header: u32, records: u32) -> u64 {
    table(header) + align(u64::from(records) * ENTRY as u64)
}
