//! Round trips, and what becomes of files that were touched.

use std::fs;
use std::io::{self, Cursor, Seek, SeekFrom, Write};
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};
use umbra_file::{AtomicFile, Container, ContainerFile, Digest, FileError, FormatError, Kind, Writer, encode};

fn sample() -> Vec<u8> {
    let words: Vec<u8> = (0..40u32).flat_map(|i| (i * 0x0101_0101).to_le_bytes()).collect();
    let records: [&[u8]; 4] = [b"first", b"", &words, &[7; 64]];
    encode(
        Kind::EvaluationKeys,
        Digest::of(b"parameters"),
        &json!({"records": ["text", "nothing", "words", "sevens"]}),
        &records,
    )
    .expect("a small file")
}

/// Everything a reader does.
fn read(bytes: &[u8]) -> Result<(), FormatError> {
    let container = Container::decode(bytes)?;
    container.expect_kind(Kind::EvaluationKeys)?;
    container.expect_context(Digest::of(b"parameters"))?;
    container.header::<Value>()?;
    container.verify()
}

#[test]
fn golden_file() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/container-v1.umbra"));
    assert!(fs::read(path).expect("the golden file") == sample(), "the format changed: give it a new version");
    let file = ContainerFile::open(path, Kind::EvaluationKeys, Some(Digest::of(b"parameters"))).expect("a good file");
    assert_eq!(file.container().records(), 4);
    assert_eq!(file.record(0).expect("a record"), b"first");
    assert_eq!(file.words(2).expect("words")[39], 39 * 0x0101_0101);
    assert!(matches!(file.words(2).expect("words"), std::borrow::Cow::Borrowed(_)), "records are aligned in a map");
    assert!(matches!(file.words(0), Err(FileError::Format { reason: FormatError::RecordLength { found: 5, .. }, .. })));
    assert!(matches!(
        file.record(4),
        Err(FileError::Format { reason: FormatError::MissingRecord { record: 4, found: 4 }, .. })
    ));
}

#[test]
fn every_changed_byte_is_found() {
    let good = sample();
    read(&good).expect("a good file");
    for position in 0..good.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[position] ^= change;
            let error = read(&bad).expect_err(&format!("byte {position} changed"));
            match position {
                0..8 => assert!(matches!(error, FormatError::NotUmbra { .. }), "{error:?}"),
                8..10 => assert!(matches!(error, FormatError::Version { .. }), "{error:?}"),
                _ => assert!(!matches!(error, FormatError::NotUmbra { .. }), "{error:?}"),
            }
        }
    }
}

#[test]
fn every_truncation_and_extension_is_found() {
    let good = sample();
    for length in 0..good.len() {
        let error = read(&good[..length]).expect_err("truncated");
        match length {
            0 => assert_eq!(error, FormatError::NotUmbra { found: vec![] }),
            _ => assert!(matches!(error, FormatError::Truncated { .. }), "{length}: {error:?}"),
        }
    }
    let longer = [&good[..], &[0]].concat();
    assert!(matches!(read(&longer), Err(FormatError::Malformed { what: "file length", .. })));
}

/// Lengths that a hostile writer would choose, under a digest that is right for them.
#[test]
fn hostile_lengths_are_errors() {
    let good = sample();
    let table = u64::from_le_bytes(good[48..56].try_into().expect("8 bytes")) as usize;
    let sealed = |position: usize, value: &[u8]| {
        let mut bad = good.clone();
        bad[position..position + value.len()].copy_from_slice(value);
        let header = u32::from_le_bytes(bad[12..16].try_into().expect("4 bytes")) as usize;
        let header = bad.get(96..96usize.saturating_add(header)).unwrap_or_default();
        let digest = Digest::of_parts([&bad[..64], header, &bad[table..]]);
        bad[64..96].copy_from_slice(digest.bytes());
        bad
    };
    assert!(read(&sealed(60, &[0; 4])).is_ok(), "sealing works");
    for value in [0, 1, 63, 64, 1 << 20, 1 << 31, 1 << 32, 1 << 62, u64::MAX - 63, u64::MAX] {
        let narrow = (value as u32).to_le_bytes();
        for (position, value) in [
            (12, &narrow[..]),             // length of the header
            (48, &value.to_le_bytes()),    // offset of the table
            (56, &narrow),                 // number of records
            (table, &value.to_le_bytes()), // length of the first record
            (table + 40, &u64::max(value, 1).to_le_bytes()),
            (table + 120, &u64::max(value, 65).to_le_bytes()),
        ] {
            let bad = sealed(position, value);
            if bad != good {
                read(&bad).expect_err(&format!("{value:?} at {position}"));
            }
        }
    }
}

#[test]
fn other_files_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys.umbra");
    let message = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("write");
        let error = ContainerFile::open(&path, Kind::Program, None).expect_err("a wrong file").to_string();
        assert!(error.starts_with(&path.display().to_string()), "{error}");
        assert!(!error.contains('\n'));
        error
    };
    assert!(message(b"").contains("not an Umbra file"));
    assert!(
        message(b"\x89PNG\r\n\x1a\n....").contains("not an Umbra file (it begins with \"\\x89PNG\\r\\n\\x1a\\n\")")
    );
    assert!(message(&sample()).contains("this is evaluation keys, expected a program"));
    let mut newer = sample();
    newer[8] = 9;
    assert!(message(&newer).contains("version 9, this program reads version 1"));
    fs::write(&path, sample()).expect("write");
    let other = ContainerFile::open(&path, Kind::EvaluationKeys, Some(Digest::of(b"others"))).expect_err("others");
    assert!(other.to_string().contains("other parameters"), "{other}");
    let gone = ContainerFile::open_any(folder.path().join("none")).expect_err("no file").to_string();
    assert!(gone.contains("none: cannot read: No such file"), "{gone}");
    assert!(matches!(ContainerFile::open_any(folder.path()), Err(FileError::NotAFile { .. })));
}

#[test]
fn files_appear_whole_or_not_at_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret.key");
    let entries = || fs::read_dir(folder.path()).expect("a folder").count();
    let start = || Writer::create(&path, Kind::SecretKey, Digest::of(b"p"), &json!({})).expect("a writer");

    let mut writer = start();
    writer.add_words(&[1, 2, 3]).expect("a record");
    assert!(!path.exists());
    drop(writer);
    assert_eq!(entries(), 0, "an abandoned file leaves nothing");

    let mut writer = start();
    writer.add_words(&[1, 2, 3]).expect("a record");
    let digest = writer.commit().expect("a file");
    assert_eq!(entries(), 1);
    let file = ContainerFile::open(&path, Kind::SecretKey, None).expect("a good file");
    assert_eq!(file.container().digest(), digest);

    // Replacing it leaves the map of the old one as it is.
    let mut writer = start();
    writer.add_words(&[4; 1000]).expect("a record");
    writer.commit().expect("a file");
    assert_eq!(*file.words(0).expect("words"), [1, 2, 3]);
    assert_eq!(ContainerFile::open_any(&path).expect("a good file").words(0).expect("words").len(), 1000);
    assert_eq!(entries(), 1);

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        let public = folder.path().join("eval.key");
        AtomicFile::write(&public, false, b"x").expect("a file");
        assert_eq!(mode(&public) & 0o600, 0o600);
        assert_eq!(mode(&public) & 0o111, 0);
        // Through a link, its target is replaced.
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&public, &link).expect("a link");
        AtomicFile::write(&link, false, b"yy").expect("a file");
        assert_eq!(fs::read(&public).expect("a file"), b"yy");
    }
}

#[test]
fn what_cannot_be_written_is_an_error_with_its_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |path: &Path| AtomicFile::create(path, false).map(drop).expect_err("refused");
    let missing = folder.path().join("no/such/folder/file");
    let error = refused(&missing);
    assert!(matches!(&error, FileError::Write { path, .. } if *path == missing));
    assert!(error.to_string().contains("make the folder first"), "{error}");
    assert!(matches!(refused(folder.path()), FileError::NotAFile { .. }));
    assert!(matches!(refused(Path::new("/")), FileError::NotAFile { .. }));

    let path = folder.path().join("read-only");
    fs::write(&path, b"old").expect("a file");
    let mut permissions = fs::metadata(&path).expect("a file").permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions).expect("permissions");
    assert!(matches!(refused(&path), FileError::ReadOnly { .. }));
    assert_eq!(fs::read(&path).expect("a file"), b"old");
}

/// A disk of a given size.
struct Disk(Cursor<Vec<u8>>, usize);

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.position() as usize + bytes.len() > self.1 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Disk {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.0.seek(position)
    }
}

#[test]
fn a_full_disk_is_reported_by_every_step() {
    let write = |size| {
        let disk = Disk(Cursor::new(Vec::new()), size);
        let mut writer = Writer::new(disk, Kind::Program, Digest::of(b""), &json!({"a": 1}))?;
        writer.record(&[b"one", b"record"])?;
        writer.words(&[1; 20])?;
        writer.finish()
    };
    let (disk, digest) = write(1 << 20).expect("enough space");
    let bytes = disk.0.into_inner();
    assert_eq!(Container::decode(&bytes[..]).expect("a good file").digest(), digest);
    for size in 0..bytes.len() {
        assert_eq!(write(size).map(|_| ()).expect_err("full").kind(), io::ErrorKind::StorageFull);
    }
    let reason = io::ErrorKind::StorageFull.into();
    let message = FileError::Write { path: "a".into(), reason }.to_string();
    assert!(message.contains("free some space"), "{message}");
}

#[test]
fn oversized_headers_cannot_be_written() {
    let header = "x".repeat(1 << 20);
    assert!(matches!(encode(Kind::Program, Digest::of(b""), &header, &[]), Err(FormatError::Header { .. })));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8),
        header in "\\PC{0,80}",
        context: [u8; 32],
        tag in 0..Kind::ALL.len(),
    ) {
        let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        let bytes = encode(Kind::ALL[tag], context.into(), &header, &slices)?;
        let container = Container::decode(&bytes[..])?;
        prop_assert_eq!(container.kind(), Kind::ALL[tag]);
        prop_assert_eq!(container.context(), context.into());
        prop_assert_eq!(container.header::<String>()?, header);
        prop_assert_eq!(container.records(), records.len());
        for (i, record) in records.iter().enumerate() {
            prop_assert_eq!(container.record(i)?, &record[..]);
            prop_assert_eq!(container.record_length(i), Some(record.len()));
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..400), keep in 0..100usize) {
        let good = sample();
        let keep = keep.min(bytes.len());
        bytes[..keep].copy_from_slice(&good[..keep]);
        prop_assert!(read(&bytes).is_err());
    }
}

#[test]
fn released_records_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("released");
    let records: Vec<Vec<u8>> = (0..3u8).map(|i| vec![i + 1; 10_000]).collect();
    let parts: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    let bytes = encode(Kind::Ciphertext, Digest::of(b"x"), &(), &parts).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let container = Container::decode(umbra_file::Map::open(&path).unwrap()).unwrap();
    let first = container.record(1).unwrap();
    (0..5).for_each(|record| container.release(record));
    assert_eq!(first, records[1]);
    assert_eq!(container.verify(), Ok(()));
}
