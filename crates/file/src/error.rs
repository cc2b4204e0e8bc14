//! What can be wrong with a file. Every message is one complete line with the remedy in it.

use std::io;
use std::path::{Path, PathBuf};

use crate::{Digest, Kind, VERSION};

/// What is wrong with the bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Another sort of file altogether.
    #[error("not an Umbra file (it begins with \"{}\"); give a file that Umbra wrote, or copy it again", found.escape_ascii())]
    NotUmbra {
        /// Its first bytes, 8 at most.
        found: Vec<u8>,
    },
    /// A frame of another version.
    #[error(
        "file format version {found}, this program reads version {VERSION}; use the program that wrote it, or write the file again with this one"
    )]
    Version {
        /// The version found.
        found: u16,
    },
    /// A kind that this version does not know.
    #[error("unknown kind of file, number {found}; it was written by a newer program or is corrupted")]
    UnknownKind {
        /// The tag found.
        found: u16,
    },
    /// A file of ours, but not the one expected here.
    #[error("this is {found}, expected {expected}; give the other file, or write one of that kind")]
    WrongKind {
        /// What it is.
        found: Kind,
        /// What it should be.
        expected: Kind,
    },
    /// It belongs to other parameters or to another program.
    #[error(
        "it belongs to another program or other parameters (digest {found}, expected {expected}); use files that were made for the same program"
    )]
    WrongContext {
        /// The context in the file.
        found: Digest,
        /// The context expected.
        expected: Digest,
    },
    /// Shorter than it says it is.
    #[error("truncated: {found} bytes of {expected}; copy or download it again")]
    Truncated {
        /// Length found.
        found: u64,
        /// Length expected, or the least possible.
        expected: u64,
    },
    /// Lengths or offsets that no writer makes.
    #[error("corrupted: {what} is {found}, expected {expected}; copy or make the file again")]
    Malformed {
        /// The field.
        what: &'static str,
        /// Its value.
        found: u64,
        /// What it must be.
        expected: String,
    },
    /// The head, header or table changed after writing.
    #[error("corrupted: its head does not match its digest; copy or make the file again")]
    HeadDigest,
    /// A record changed after writing.
    #[error("corrupted: record {record} does not match its digest; copy or make the file again")]
    RecordDigest {
        /// Its number.
        record: usize,
    },
    /// There are not so many records.
    #[error("record {record} is missing, the file has {found}; make the file again")]
    MissingRecord {
        /// The number asked for.
        record: usize,
        /// How many there are.
        found: usize,
    },
    /// A record of an impossible length.
    #[error("record {record} has {found} bytes, expected {expected}; make the file again")]
    RecordLength {
        /// Its number.
        record: usize,
        /// Its length.
        found: u64,
        /// What was expected.
        expected: String,
    },
    /// A header that is not the JSON it should be.
    #[error("its header cannot be understood ({reason}); write the file again with this program")]
    Header {
        /// What the parser said.
        reason: String,
    },
    /// A header that no reader would take: nothing was written.
    #[error("its header would take {found} bytes, the format has room for {limit}; use a network of fewer layers")]
    HeaderTooLong {
        /// Its length.
        found: u64,
        /// [`crate::MAX_HEADER`].
        limit: u32,
    },
    /// More records than the format counts: nothing was written.
    #[error("more than {limit} records; write several files")]
    TooManyRecords {
        /// The largest number.
        limit: u32,
    },
    /// A file that would not be read again: it was not finished.
    #[error("{found} bytes and more, of {limit} at most; use a smaller network, or fewer pictures at once")]
    TooLong {
        /// Length so far.
        found: u64,
        /// [`Kind::max_length`].
        limit: u64,
    },
}

/// What can go wrong with a file on disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file cannot be read.
    #[error("{}: cannot read: {reason}; {}", path.display(), remedy_of_reading(reason))]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        reason: io::Error,
    },
    /// The file cannot be written.
    #[error("{}: cannot write: {reason}; {}", path.display(), remedy(reason))]
    Write {
        /// The file that was to appear.
        path: PathBuf,
        /// The system's answer.
        reason: io::Error,
    },
    /// A folder, pipe or device in the place of a file.
    #[error("{}: not a regular file; give the name of a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// An existing file that must not be replaced.
    #[error("{}: the file exists and is read-only; remove it or write elsewhere", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// Its bytes are not what they should be.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: FormatError,
    },
}

impl FileError {
    pub(crate) fn read(path: &Path) -> impl Fn(io::Error) -> Self {
        move |reason| Self::Read { path: path.into(), reason }
    }

    /// Of what a [`Writer`](crate::Writer) said: what is wrong with the content is no matter of permissions.
    pub(crate) fn write(path: &Path) -> impl Fn(io::Error) -> Self {
        move |reason| match reason.downcast() {
            Ok(reason) => Self::Format { path: path.into(), reason },
            Err(reason) => Self::Write { path: path.into(), reason },
        }
    }

    /// Adds the path of the file to what is wrong with its bytes.
    pub fn format(path: &Path) -> impl Fn(FormatError) -> Self {
        move |reason| Self::Format { path: path.into(), reason }
    }
}

fn remedy_of_reading(reason: &io::Error) -> &'static str {
    match reason.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "check the name, or make the file first",
        io::ErrorKind::PermissionDenied => "ask its owner for permission to read it",
        io::ErrorKind::OutOfMemory => "free some memory, or check that this is the file meant",
        _ => "check the disk and try again",
    }
}

fn remedy(reason: &io::Error) -> &'static str {
    match reason.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space or write elsewhere",
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "make the folder first or write elsewhere",
        _ => "check the permissions or write elsewhere",
    }
}
