//! What can be wrong with a file. Every message is one complete line with the remedy in it.

use std::io;
use std::path::{Path, PathBuf};

use crate::{Digest, KeySetId, Kind, VERSION};

/// What is wrong with the bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Another sort of file altogether.
    #[error(
        "not an Umbra file (it begins with \"{}\"); give a file that Umbra wrote, or copy it again",
        found.escape_ascii()
    )]
    NotUmbra {
        /// Its first bytes, 8 at most.
        found: Vec<u8>,
    },
    /// A frame of a version that is not read.
    #[error("file format version {found}, this program reads version {VERSION}; {}", remedy_of_version(*found, *kind))]
    Version {
        /// The version found.
        found: u16,
        /// What the file is, where its number tells.
        kind: Option<Kind>,
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
        "it belongs to another program or other parameters (digest {found}, expected {expected}); use files that were \
         made for the same program"
    )]
    WrongContext {
        /// The context in the file.
        found: Digest,
        /// The context expected.
        expected: Digest,
    },
    /// It belongs to another key set: other keys made it than those in use.
    #[error(
        "it belongs to other keys (key set {found}, expected {expected}); use files that were made with the same keys"
    )]
    WrongKeySet {
        /// The key set in the file.
        found: KeySetId,
        /// The key set expected.
        expected: KeySetId,
    },
    /// No key set where one is needed.
    #[error("{kind} without the id of its key set; give or make a file that belongs to a key set")]
    MissingKeySet {
        /// What the file is.
        kind: Kind,
    },
    /// A key set where the kind has none.
    #[error("{kind} with the id of a key set ({found}), which it cannot have; make the file again")]
    UnexpectedKeySet {
        /// What the file is.
        kind: Kind,
        /// The key set in the file.
        found: KeySetId,
    },
    /// Shorter than it says it is.
    #[error("truncated: it ends after {found} of {expected} bytes; copy or download it again")]
    Truncated {
        /// Length found.
        found: u64,
        /// Length expected, or the least possible.
        expected: u64,
    },
    /// Longer than it says it is.
    #[error("corrupted: it goes on after its {expected} bytes; copy or make the file again")]
    TrailingBytes {
        /// Length expected.
        expected: u64,
    },
    /// Lengths or bytes that no writer makes.
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
    /// The digest of the file is not that of its head and its record digests.
    #[error("corrupted: its records do not match the digest of the file; copy or make the file again")]
    TrailerDigest,
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
    /// A record that is not the next one announced when writing began: nothing of it was written.
    #[error("record {record} of {found} bytes, {}; write the records that were announced", announcement(*announced))]
    NotAnnounced {
        /// Its number.
        record: usize,
        /// Its length.
        found: u64,
        /// The length announced, if there is such a record.
        announced: Option<u64>,
    },
    /// Records that a reader left unread at the end.
    #[error("only {read} of {records} records were read; read the others first")]
    UnreadRecords {
        /// How many were read.
        read: usize,
        /// How many there are.
        records: usize,
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
    /// A file that would not be read again: nothing was written.
    #[error("it would take {found} bytes, of {limit} at most; use a smaller network, or fewer images at once")]
    TooLong {
        /// Its length.
        found: u64,
        /// [`Kind::max_length`].
        limit: u64,
    },
}

impl FormatError {
    pub(crate) fn malformed(what: &'static str, found: u64, expected: String) -> Self {
        Self::Malformed { what, found, expected }
    }
}

/// What can go wrong with a file that is read from a stream or written to one. Positions are bytes since its beginning.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// Nothing came for as long as the other end is allowed to take ([`io::ErrorKind::TimedOut`],
    /// [`io::ErrorKind::WouldBlock`]).
    #[error("the stream stalled after {position} bytes ({reason}); send it again, or allow it more time")]
    Stalled {
        /// How many bytes came before.
        position: u64,
        /// The system's answer.
        reason: io::Error,
    },
    /// The stream cannot be read.
    #[error("cannot read on after {position} bytes: {reason}; {}", remedy_of_reading(reason))]
    Read {
        /// How many bytes came before.
        position: u64,
        /// The system's answer.
        reason: io::Error,
    },
    /// The stream cannot be written.
    #[error("cannot write on after {position} bytes: {reason}; {}", remedy(reason))]
    Write {
        /// How many bytes, at least, were written before.
        position: u64,
        /// The system's answer.
        reason: io::Error,
    },
    /// The stream ended early; what [`FormatError::Truncated`] is of files.
    #[error("the stream ends after {found} of {expected} bytes; send it again")]
    Ended {
        /// How many bytes came.
        found: u64,
        /// Length of the file, or the least possible.
        expected: u64,
    },
    /// What came, or was to be written, is not what it should be.
    #[error(transparent)]
    Format(FormatError),
}

impl From<FormatError> for StreamError {
    fn from(reason: FormatError) -> Self {
        match reason {
            FormatError::Truncated { found, expected } => Self::Ended { found, expected },
            reason => Self::Format(reason),
        }
    }
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

    pub(crate) fn write(path: &Path) -> impl Fn(io::Error) -> Self {
        move |reason| Self::Write { path: path.into(), reason }
    }

    /// Adds the path of the file to what a [`Reader`](crate::Reader) or [`Writer`](crate::Writer) of it says.
    pub fn stream(path: &Path) -> impl Fn(StreamError) -> Self {
        move |reason| match reason {
            StreamError::Stalled { reason, .. } | StreamError::Read { reason, .. } => Self::read(path)(reason),
            StreamError::Write { reason, .. } => Self::write(path)(reason),
            StreamError::Ended { found, expected } => Self::format(path)(FormatError::Truncated { found, expected }),
            StreamError::Format(reason) => Self::format(path)(reason),
        }
    }

    /// Adds the path of the file to what is wrong with its bytes.
    pub fn format(path: &Path) -> impl Fn(FormatError) -> Self {
        move |reason| Self::Format { path: path.into(), reason }
    }
}

/// Of a file whose version is not read: what to do, by what the file is.
fn remedy_of_version(found: u16, kind: Option<Kind>) -> &'static str {
    match kind {
        // No program wrote such a one yet.
        _ if found == 0 || found > VERSION => "use the program that wrote it, or write the file again with this one",
        Some(Kind::Program | Kind::ClientFile) => "compile the network again",
        Some(Kind::SecretKey | Kind::EvaluationKeys | Kind::PublicKey) => "make the keys again with keygen",
        Some(Kind::Ciphertext) => "encrypt the image again",
        None => "write the file again with this program",
    }
}

fn announcement(length: Option<u64>) -> String {
    length.map_or("which was not announced".into(), |length| format!("announced with {length}"))
}

fn remedy_of_reading(reason: &io::Error) -> &'static str {
    match reason.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "check the name, or make the file first",
        io::ErrorKind::PermissionDenied => "ask its owner for permission to read it",
        io::ErrorKind::OutOfMemory => "free some memory, or check that this is the file meant",
        kind if of_connection(kind) => "check the connection and try again",
        _ => "check the disk and try again",
    }
}

fn remedy(reason: &io::Error) -> &'static str {
    match reason.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space or write elsewhere",
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "make the folder first or write elsewhere",
        kind if of_connection(kind) => "check that the other end takes it and try again",
        _ => "check the permissions or write elsewhere",
    }
}

fn of_connection(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected
            | io::ErrorKind::TimedOut
            | io::ErrorKind::WouldBlock
    )
}
