//! Files that arrive bit by bit, late, never, or without end.

mod common;

use std::io::{self, Read};
use std::thread;

use common::{key_set, label, sample, sealed};
use proptest::prelude::*;
use serde_json::{Value, json};
use umbra_file::{
    Container, Digest, FormatError, KeySetId, Kind, MAX_HEADER, MAX_RECORDS, Reader, StreamError, Writer, encode,
};

/// Everything that is done with a stream: its records and its digest.
fn read(stream: impl Read) -> Result<(Vec<Vec<u8>>, Digest), StreamError> {
    let mut reader = Reader::open(stream)?;
    reader.header::<Value>()?;
    let (mut records, mut record) = (Vec::new(), Vec::new());
    while let Some(number) = reader.read_record(&mut record)? {
        assert_eq!((number, reader.record_length(number)), (records.len(), Some(record.len() as u64)));
        records.push(record.clone());
    }
    reader.expect_end().map(|(_, digest)| (records, digest))
}

/// The same of a file that is all there.
fn decode(bytes: &[u8]) -> Result<(Vec<Vec<u8>>, Digest), FormatError> {
    let container = Container::decode(bytes)?;
    container.header::<Value>()?;
    let records: Result<_, _> = (0..container.records()).map(|i| Ok(container.record(i)?.to_vec())).collect();
    Ok((records?, container.digest()))
}

/// Gives as much at a time as it is told, with an interruption before each piece, then what `end` says. Remembers the
/// longest piece asked for.
struct Slow<'a> {
    bytes: &'a [u8],
    piece: usize,
    interrupted: bool,
    end: Option<io::ErrorKind>,
    longest: usize,
}

impl<'a> Slow<'a> {
    fn new(bytes: &'a [u8], piece: usize) -> Self {
        Self { bytes, piece, interrupted: false, end: None, longest: 0 }
    }
}

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.longest = self.longest.max(buffer.len());
        self.interrupted = !self.interrupted;
        if self.interrupted {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if let Some(end) = self.end.filter(|_| self.bytes.is_empty()) {
            return Err(end.into());
        }
        let length = buffer.len().min(self.piece);
        self.bytes.read(&mut buffer[..length])
    }
}

#[test]
fn bytes_may_come_one_by_one() {
    let file = sample();
    let all = decode(&file).expect("a good file");
    for piece in [1, 7, 64, 1000] {
        assert_eq!(read(Slow::new(&file, piece)).expect("a good file"), all);
    }
    let reader = Reader::open(&file[..]).expect("a good file");
    assert_eq!((reader.kind(), reader.context()), (Kind::EvaluationKeys, Digest::of(b"parameters")));
    assert_eq!((reader.key_set(), reader.label()), (Some(key_set()), label(Kind::EvaluationKeys)));
    assert_eq!((reader.size(), reader.records(), reader.record_length(4)), (file.len() as u64, 4, None));
    assert_eq!(reader.header_bytes(), Container::decode(&file[..]).expect("a good file").header_bytes());
    assert!(reader.label().expect_key_set(KeySetId::new([1; 16]).expect("not zero")).is_err());
}

#[test]
fn every_changed_byte_is_found() {
    let good = sample();
    for position in 0..good.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[position] ^= change;
            let error = read(&bad[..]).expect_err(&format!("byte {position} changed"));
            let StreamError::Format(error) = error else { panic!("byte {position}: {error:?}") };
            // What a container says as well, but for what it cannot tell apart: it reads the digests before the
            // records.
            let other = decode(&bad).expect_err("changed");
            match (&error, &other) {
                (FormatError::RecordDigest { .. }, FormatError::TrailerDigest) => {}
                // And what it is held against: its own length.
                (FormatError::HeadDigest, FormatError::Truncated { .. } | FormatError::TrailingBytes { .. }) => {
                    assert!((72..80).contains(&position), "byte {position}");
                }
                _ => assert_eq!(error, other, "byte {position}"),
            }
        }
    }
}

#[test]
fn every_early_end_is_told() {
    let file = sample();
    assert!(matches!(read(io::empty()), Err(StreamError::Format(FormatError::NotUmbra { found })) if found.is_empty()));
    for length in 1..file.len() {
        let error = read(Slow::new(&file[..length], 100)).expect_err("an early end");
        let StreamError::Ended { found, expected } = error else { panic!("{length}: {error:?}") };
        assert_eq!(found, length as u64);
        let truncated = FormatError::Truncated { found, expected };
        assert_eq!(decode(&file[..length]), Err(truncated.clone()));
        assert!(
            error.to_string().contains(&format!("ends after {found} of {expected} bytes; send it again")),
            "{error}"
        );
        assert!(truncated.to_string().contains(&format!("ends after {found} of {expected} bytes")), "{truncated}");
    }
}

#[test]
fn what_follows_is_refused_or_left_alone() {
    let file = sample();
    let two = [&file[..], &file, b"!"].concat();
    let mut rest = &two[..];
    for _ in 0..2 {
        let mut reader = Reader::open(&mut rest).expect("a good file");
        let mut record = Vec::new();
        while reader.read_record(&mut record).expect("a record").is_some() {}
        let (_, digest) = reader.finish().expect("a good file");
        assert_eq!(Ok(digest), Container::decode(&file[..]).map(|container| container.digest()));
    }
    assert_eq!(rest, b"!");
    let expected = FormatError::TrailingBytes { expected: file.len() as u64 };
    let error = read(&two[..]).expect_err("another file follows");
    assert!(matches!(&error, StreamError::Format(reason) if *reason == expected), "{error:?}");
    assert_eq!(decode(&two), Err(expected));
    // One without end.
    assert!(matches!(
        read((&file[..]).chain(io::repeat(0))),
        Err(StreamError::Format(FormatError::TrailingBytes { .. }))
    ));
    assert!(matches!(read(io::repeat(0x89)), Err(StreamError::Format(FormatError::NotUmbra { .. }))));
}

#[test]
fn a_stream_that_stalls_is_told_from_one_that_breaks() {
    let file = sample();
    for length in 0..=file.len() {
        let with = |end| read(Slow { end: Some(end), ..Slow::new(&file[..length], 100) }).expect_err("no end");
        for end in [io::ErrorKind::TimedOut, io::ErrorKind::WouldBlock] {
            let error = with(end);
            assert!(error.to_string().starts_with(&format!("the stream stalled after {length} bytes")), "{error}");
            let StreamError::Stalled { position, reason } = error else { panic!("{length}: {error:?}") };
            assert_eq!((position, reason.kind()), (length as u64, end));
        }
        let error = with(io::ErrorKind::ConnectionReset);
        assert!(error.to_string().contains("check the connection"), "{error}");
        let StreamError::Read { position, reason } = error else { panic!("{length}: {error:?}") };
        assert_eq!((position, reason.kind()), (length as u64, io::ErrorKind::ConnectionReset));
    }
}

#[test]
fn records_are_read_before_the_end_and_none_after_an_error() {
    let file = sample();
    let reader = Reader::open(&file[..]).expect("a good file");
    let error = reader.finish().expect_err("nothing was read");
    assert!(matches!(error, StreamError::Format(FormatError::UnreadRecords { read: 0, records: 4 })), "{error:?}");

    let mut bad = file.clone();
    bad[256] ^= 1; // of the first record
    let mut reader = Reader::open(&bad[..]).expect("a good head");
    let mut record = b"something else".to_vec();
    let error = reader.read_record(&mut record).expect_err("a changed record");
    assert!(matches!(error, StreamError::Format(FormatError::RecordDigest { record: 0 })), "{error:?}");
    assert_eq!(record, b"", "nothing unchecked is handed out");
    let error = reader.read_record(&mut record).expect_err("the others are as bad");
    assert!(matches!(error, StreamError::Read { .. }), "{error:?}");
    assert!(error.to_string().contains("reading failed before"), "{error}");
    assert!(reader.finish().is_err());
}

/// A secret is in the caller's buffer only; it and what it grew out of are wiped by the reader where it cannot know
/// better.
#[test]
fn secrets_are_read_like_everything_else() {
    let secret: Vec<u8> = (0..1_000_000u32).map(|i| i as u8).collect();
    let file = encode(label(Kind::SecretKey), &json!({}), &[&secret, b"short", &secret]).expect("a small file");
    assert_eq!(read(Slow::new(&file, 100_000)).expect("a good file").0, [&secret[..], b"short", &secret]);
    let mut reader = Reader::open(&file[..]).expect("a good file");
    let mut record = zeroize::Zeroizing::new(Vec::new());
    assert_eq!(reader.read_record(&mut record).expect("a record"), Some(0));
    assert_eq!((record.capacity(), &record[..]), (secret.len(), &secret[..]));
}

/// Lengths that are claimed, under digests that are right for them, take no memory before the bytes are there.
#[test]
fn claims_take_no_memory() {
    const LITTLE: usize = 1 << 16;
    let longest_read = |bytes: &[u8]| {
        let mut slow = Slow::new(bytes, usize::MAX);
        let error = Reader::open(&mut slow).map(drop).expect_err("it ends early");
        assert!(matches!(error, StreamError::Ended { .. }), "{error:?}");
        slow.longest
    };
    let with = |position: usize, value: u64, length: u64| {
        let mut bytes = sample()[..128].to_vec();
        bytes[position..position + 4].copy_from_slice(&(value as u32).to_le_bytes());
        bytes[72..80].copy_from_slice(&length.to_le_bytes());
        bytes
    };
    // Header and table.
    assert_eq!(longest_read(&with(12, MAX_HEADER.into(), 1 << 36)), LITTLE - 128);
    assert_eq!(longest_read(&with(64, MAX_RECORDS.into(), 1 << 36)), LITTLE - 128);

    // A record of 64 GiB less what else there is.
    let mut file = sample();
    let length: u64 = 64 << 30;
    let claimed = length - (file.len() as u64 - 64);
    file[72..80].copy_from_slice(&length.to_le_bytes());
    let file = sealed(&file, 192, &claimed.to_le_bytes());
    for more in [0, 100, 1 << 20] {
        let bytes = [&file[..], &vec![0; more]].concat();
        let mut slow = Slow::new(&bytes, usize::MAX);
        let mut reader = Reader::open(&mut slow).expect("a head like others");
        assert_eq!(reader.record_length(0), Some(claimed));
        let mut record = Vec::new();
        let error = reader.read_record(&mut record).expect_err("not so many bytes");
        assert!(
            matches!(error, StreamError::Ended { found, expected } if found == bytes.len() as u64 && expected == length)
        );
        assert!(record.capacity() <= LITTLE.max(4 * more), "{} bytes for {more}", record.capacity());
        drop(reader);
        assert!(slow.longest <= LITTLE.max(2 * more), "{} bytes for {more}", slow.longest);
    }
}

/// Through a pipe, which holds a few pages: the writer goes back to nothing, and no side keeps what it is done with.
#[test]
fn one_record_at_a_time_is_held() {
    const RECORDS: usize = 48;
    const LENGTH: usize = 1 << 20;
    let (input, output) = io::pipe().expect("a pipe");
    let record = |i: usize| vec![i as u8; LENGTH];
    let writing = thread::spawn(move || {
        let lengths = [LENGTH as u64; RECORDS];
        let mut writer = Writer::new(output, label(Kind::EvaluationKeys), &json!({}), &lengths)?;
        (0..RECORDS).try_for_each(|i| writer.record(&[&record(i)[..5], &record(i)[5..]]))?;
        writer.finish().map(|(_, digest)| digest)
    });
    let mut reader = Reader::open(input).expect("a good head");
    let mut buffer = Vec::new();
    for i in 0..RECORDS {
        assert_eq!(reader.read_record(&mut buffer).expect("a record"), Some(i));
        assert!(buffer == record(i));
        assert_eq!(buffer.capacity(), LENGTH);
    }
    let written = writing.join().expect("no panic").expect("written");
    assert_eq!(reader.expect_end().expect("a good file").1, written);
}

/// A receiver that goes away is an error of the writer.
#[test]
fn writers_say_how_far_they_came() {
    let (input, output) = io::pipe().expect("a pipe");
    let mut writer = Writer::new(output, label(Kind::Program), &json!({}), &[3]).expect("a writer");
    drop(input);
    let error = writer.record(&[b"abc"]).expect_err("nobody reads");
    assert!(
        matches!(&error, StreamError::Write { position: 256, reason } if reason.kind() == io::ErrorKind::BrokenPipe)
    );
    assert!(error.to_string().contains("check that the other end takes it"), "{error}");
}

proptest! {
    #[test]
    fn readers_and_containers_agree(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
        header in "\\PC{0,80}",
        tag in 0..Kind::ALL.len(),
        piece in 1..500usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
    ) {
        let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        let good = encode(label(Kind::ALL[tag]), &header, &slices)?;
        let (read_records, digest) = read(Slow::new(&good, piece))?;
        prop_assert_eq!(&read_records, &records);
        prop_assert_eq!(decode(&good)?, (records, digest));

        let mut bad = good.clone();
        changes.iter().for_each(|(at, value)| bad[at.index(good.len())] = *value);
        bad.truncate(cut.map_or(good.len(), |at| at.index(good.len())));
        prop_assert_eq!(read(Slow::new(&bad, piece)).is_ok(), bad == good);
        prop_assert_eq!(decode(&bad).is_ok(), bad == good);
    }

    #[test]
    fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..1000), keep in 0..1000usize) {
        let good = sample();
        let keep = keep.min(bytes.len()).min(good.len() - 1);
        bytes[..keep].copy_from_slice(&good[..keep]);
        prop_assert!(read(&bytes[..]).is_err());
    }

    /// Behind digests that are right, too.
    #[test]
    fn sealed_bytes_are_read_or_refused(at in 8..700usize, value: [u8; 4]) {
        let good = sample();
        let bad = sealed(&good, at.min(good.len() - 4), &value);
        prop_assert_eq!(read(&bad[..]).is_ok(), decode(&bad).is_ok());
    }
}
