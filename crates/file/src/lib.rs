//! One frame for every binary file of Umbra: secret keys, evaluation keys, ciphertexts, programs, client files.
//!
//! # Layout, version 2 (integers are little-endian)
//!
//! The preamble, 128 bytes:
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | magic `89 55 4d 42 52 41 0d 0a` (`\x89UMBRA\r\n`: transfers that touch line ends break it visibly) |
//! | 8 | 2 | format version, 2 |
//! | 10 | 2 | kind, see [`Kind`] |
//! | 12 | 4 | length of the header, at most [`MAX_HEADER`] |
//! | 16 | 32 | context: the digest of what the file belongs to (parameters, program) |
//! | 48 | 16 | key set, see [`KeySetId`]; zeros for kinds that have none |
//! | 64 | 4 | number of records, at most [`MAX_RECORDS`] |
//! | 68 | 4 | zeros |
//! | 72 | 8 | length of the file, at most [`Kind::max_length`] |
//! | 80 | 16 | zeros |
//! | 96 | 32 | the *head digest*: BLAKE3 of bytes 0 to 95, the header and the table |
//!
//! Then follow, each with zeros up to a multiple of 64:
//!
//! | bytes | |
//! |---|---|
//! | header length | the header, JSON |
//! | 8 a record | the table: the length of each record |
//! | length of a record, then 64 | of each record its bytes; after their zeros the BLAKE3 of them (32) and zeros (32) |
//! | 64 | the trailer: the *digest* of the file (32) and zeros (32). The file ends here |
//!
//! The digest of the file is the BLAKE3 of the preamble, the header, the table and the digests of all records in order.
//! It identifies the file, and nothing of the file can change unnoticed.
//!
//! All sizes stand at the beginning, under the head digest, and every record is followed by its digest. So a [`Writer`]
//! goes back to nothing, and a [`Reader`] knows how much will come before the first record does, and can use each
//! record when it is there. Of a whole file ([`Container`]), opening reads the head and the digests; a record is
//! checked when it is read. Records are 64-byte aligned, so that words can be used in place from a [`FileBytes`].
//!
//! [`Container::decode`] and [`encode`] are pure functions of bytes; [`ContainerFile`] adds the path to errors, and
//! [`AtomicFile`] makes files appear whole or not at all.
//!
//! # Versions
//!
//! The first 12 bytes (magic, version, kind) stay what they are in every version. Files of version 1 are refused with
//! what to do ([`FormatError::Version`]): their keys and ciphertexts name no key set. From version 2 on, files stay
//! readable. Version 3 would come like this:
//!
//! 1. `Version` in `preamble.rs` gets a variant, and its number an arm in `Version::of`, the only place that tells
//!    versions apart. `Preamble::parse` gets an arm for it; the one of version 2 stays. Both turn into the same
//!    [`Label`], header and records, so that nobody who reads files sees a difference.
//! 2. [`VERSION`] becomes 3: what is written is of the newest version only.
//! 3. `tests/golden/v3` gets files of every kind. Those of version 2 stay, and must still be read; only writing them
//!    again, byte for byte, ends.
//! 4. Where content cannot be carried over, its kind is refused in that version as version 1 is now, with the remedy.

#![deny(unsafe_code)]
#![warn(clippy::undocumented_unsafe_blocks)]

mod atomic;
mod bytes;
mod container;
mod digest;
mod error;
mod frame;
mod head;
mod key_set;
mod kind;
mod label;
mod open;
mod plain;
mod preamble;
mod reader;
mod text;
mod words;
mod writer;

pub use atomic::AtomicFile;
pub use bytes::FileBytes;
pub use container::Container;
pub use digest::Digest;
pub use error::{FileError, FormatError, StreamError};
pub use frame::{MAGIC, MAX_HEADER, MAX_RECORDS, VERSION};
pub use key_set::KeySetId;
pub use kind::Kind;
pub use label::Label;
pub use open::ContainerFile;
pub use plain::{ReadError, read_file};
pub use reader::Reader;
pub use text::is_printable;
pub use words::{bytes_of_words, words_of_bytes};
pub use writer::{Writer, encode};
