//! One frame for every binary file of Umbra: secret keys, evaluation keys, ciphertexts, programs.
//!
//! # Layout, version 1 (integers are little-endian)
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | magic `89 55 4d 42 52 41 0d 0a` (`\x89UMBRA\r\n`: transfers that touch line ends break it visibly) |
//! | 8 | 2 | format version, 1 |
//! | 10 | 2 | kind, see [`Kind`] |
//! | 12 | 4 | length of the header, at most [`MAX_HEADER`] |
//! | 16 | 32 | context: the digest of what the file belongs to (parameters, program) |
//! | 48 | 8 | offset of the table; a multiple of 64 |
//! | 56 | 4 | number of records, at most [`MAX_RECORDS`] |
//! | 60 | 4 | zero |
//! | 64 | 32 | BLAKE3 of bytes 0 to 63, the header and the table: the *digest* of the file |
//! | 96 | | the header, JSON; then zeros up to a multiple of 64 |
//! | | | the records one after the other, each followed by zeros up to a multiple of 64 |
//! | table | 40 each | of every record its length (8) and the BLAKE3 of its bytes (32); the file ends here |
//!
//! Files are no longer than [`Kind::max_length`].
//!
//! The digest covers the table and the table covers the records, so that a file is identified by its digest and nothing of it
//! can change unnoticed. Opening a file reads only its head and its table; a record is checked when it is read. Records are
//! 64-byte aligned, so that words can be used in place from a [`FileBytes`].
//!
//! Decoding ([`Container::decode`]) is a pure function of bytes; [`ContainerFile`] adds the path to its errors, [`Writer`]
//! writes record by record and [`AtomicFile`] makes files appear whole or not at all.

#![deny(unsafe_code)]
#![warn(clippy::undocumented_unsafe_blocks)]

mod atomic;
mod bytes;
mod container;
mod digest;
mod error;
mod kind;
mod open;
mod plain;
mod text;
mod words;
mod writer;

pub use atomic::AtomicFile;
pub use bytes::FileBytes;
pub use container::{Container, MAX_HEADER, MAX_RECORDS};
pub use digest::Digest;
pub use error::{FileError, FormatError};
pub use kind::Kind;
pub use open::ContainerFile;
pub use plain::{ReadError, read_file};
pub use text::is_printable;
pub use words::{bytes_of_words, words_of_bytes};
pub use writer::{Writer, encode};

/// First bytes of every file.
pub const MAGIC: [u8; 8] = *b"\x89UMBRA\r\n";
/// The version of the frame that this crate reads and writes.
pub const VERSION: u16 = 1;

/// Fixed part before the header.
const PREAMBLE: usize = 96;
/// Start of the digest in the preamble.
const DIGEST: usize = 64;
/// Bytes a record in the table.
const ENTRY: usize = 40;
/// Alignment of records.
const ALIGN: u64 = 64;
