//! Round trips, and what becomes of files that were touched.

mod common;

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use common::{key_set, label, sample, sealed};
use proptest::prelude::*;
use serde_json::{Value, json};
use umbra_file::{
    AtomicFile, Container, ContainerFile, Digest, FileBytes, FileError, FormatError, KeySetId, Kind, Label, MAX_HEADER,
    MAX_RECORDS, StreamError, Writer, encode,
};

/// Everything that is done with a file.
fn read(bytes: &[u8]) -> Result<(), FormatError> {
    let container = Container::decode(bytes)?;
    container.expect_kind(Kind::EvaluationKeys)?;
    container.expect_context(Digest::of(b"parameters"))?;
    container.expect_key_set(key_set())?;
    container.header::<Value>()?;
    container.verify()
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
        let expected = if length < 128 { 128 } else { good.len() as u64 };
        match length {
            0 => assert_eq!(error, FormatError::NotUmbra { found: vec![] }),
            _ => assert_eq!(error, FormatError::Truncated { found: length as u64, expected }),
        }
    }
    let longer = [&good[..], &[0]].concat();
    assert_eq!(read(&longer), Err(FormatError::TrailingBytes { expected: good.len() as u64 }));
}

/// A file with holes takes no room on the disk, and as much memory as it is long once it is read.
#[test]
fn long_files_are_refused_before_they_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("long");
    let mut preamble = encode(label(Kind::Ciphertext), &json!({}), &[]).expect("encodes");
    for (kind, length) in [(Kind::SecretKey, 1u64 << 25), (Kind::Ciphertext, 1 << 38), (Kind::EvaluationKeys, 1 << 40)]
    {
        preamble[10..12].copy_from_slice(&kind.tag().to_le_bytes());
        preamble[72..80].copy_from_slice(&length.to_le_bytes());
        fs::write(&path, &preamble[..128]).expect("written");
        let file = fs::File::options().write(true).open(&path).expect("opened");
        if file.set_len(length).is_err() {
            continue; // not every file system has files so long
        }
        let error = FileBytes::open(&path).expect_err("too long");
        let FileError::Format { reason: FormatError::Malformed { what, found, .. }, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!((what, found), ("file length", length));
        assert_eq!(FileBytes::kind(&path).expect("readable"), Some(kind));
    }
    fs::write(&path, "something else").expect("written");
    assert_eq!(FileBytes::kind(&path).expect("readable"), None);
    // What would be refused is not written either.
    let begin = |length| Writer::new(Vec::new(), label(Kind::SecretKey), &json!({}), &[length]).map(drop);
    let room = (16 << 20) - 256 - 2 * 64;
    assert!(begin(room).is_ok());
    for length in [room + 1, 16 << 20, u64::MAX - 63, u64::MAX] {
        let error = begin(length).expect_err("too long");
        assert!(matches!(error, StreamError::Format(FormatError::TooLong { limit: 0x0100_0000, .. })), "{error:?}");
    }
    let most = vec![0; MAX_RECORDS as usize + 1];
    let begin = |lengths| Writer::new(io::sink(), label(Kind::Program), &json!({}), lengths).map(drop);
    assert!(begin(&most[1..]).is_ok());
    let error = begin(&most).expect_err("too many");
    assert!(matches!(error, StreamError::Format(FormatError::TooManyRecords { .. })), "{error:?}");
}

/// Lengths that a hostile writer would choose, under a digest that is right for them.
#[test]
fn hostile_lengths_are_errors() {
    let good = sample();
    let header = u32::from_le_bytes(good[12..16].try_into().expect("4 bytes")) as usize;
    let table = 128 + header.next_multiple_of(64);
    let end = good.len() - 64;
    assert_eq!(sealed(&good, 0, b""), good, "sealing works");
    for value in [0, 1, 63, 64, 1 << 20, 1 << 31, 1 << 32, 1 << 62, u64::MAX - 63, u64::MAX] {
        let narrow = (value as u32).to_le_bytes();
        for (position, value) in [
            (12, &narrow[..]),          // length of the header
            (64, &narrow),              // number of records
            (72, &value.to_le_bytes()), // length of the file
            (table, &value.to_le_bytes()),
            (table + 8, &u64::max(value, 65).to_le_bytes()),
            (table + 24, &u64::max(value, 65).to_le_bytes()),
        ] {
            let bad = sealed(&good, position, value);
            // With zeros for padding, the first record may as well be so long.
            let as_good = position == table && [63, 64].contains(&value[0]) && value[1..] == [0; 7];
            if bad != good && !as_good {
                read(&bad).expect_err(&format!("{value:?} at {position}"));
            }
        }
    }
    // Bytes that are zero, under digests that are right for other ones.
    for position in [68, 71, 80, 95, 128 + header, table + 32, table + 64 + 5, table + 64 + 64 + 32, end + 32, end + 63]
    {
        let error = read(&sealed(&good, position, &[1])).expect_err(&format!("a one at {position}"));
        assert!(matches!(error, FormatError::Malformed { found: 1, .. }), "{position}: {error:?}");
    }
}

#[test]
fn key_sets_are_where_they_belong() {
    assert_eq!(KeySetId::new([0; 16]), None);
    let other = KeySetId::new([1; 16]).expect("not zero");
    assert_eq!(other.to_string(), "01".repeat(16));
    let context = Digest::of(b"parameters");
    for kind in Kind::ALL {
        let file = encode(label(kind), &json!({}), &[]).expect("a small file");
        let with = |id: [u8; 16]| Container::decode(sealed(&file, 48, &id));
        if kind.has_key_set() {
            let missing = FormatError::MissingKeySet { kind };
            assert_eq!(Label::new(kind, context, None), Err(missing.clone()));
            assert_eq!(with([0; 16]).map(|_| ()), Err(missing));
            let foreign = with([1; 16]).expect("a good file");
            assert_eq!(foreign.key_set(), Some(other));
            assert_eq!(foreign.expect_key_set(other), Ok(()));
            let wrong = FormatError::WrongKeySet { found: other, expected: key_set() };
            assert!(wrong.to_string().contains("use files that were made with the same keys"), "{wrong}");
            assert_eq!(foreign.expect_key_set(key_set()), Err(wrong));
        } else {
            let unexpected = FormatError::UnexpectedKeySet { kind, found: other };
            assert_eq!(Label::new(kind, context, Some(other)), Err(unexpected.clone()));
            assert_eq!(with([1; 16]).map(|_| ()), Err(unexpected));
            let container = with([0; 16]).expect("a good file");
            assert_eq!(container.key_set(), None);
            assert_eq!(container.expect_key_set(other), Err(FormatError::MissingKeySet { kind }));
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
    assert!(message(b"").contains("give a file that Umbra wrote"));
    assert!(
        message(b"\x89PNG\r\n\x1a\n....").contains("not an Umbra file (it begins with \"\\x89PNG\\r\\n\\x1a\\n\")")
    );
    let kind = message(&sample());
    assert!(kind.contains("this is evaluation keys, expected a program; give the other file"), "{kind}");
    let mut newer = sample();
    newer[8] = 9;
    assert!(message(&newer).contains("version 9, this program reads version 2; use the program that wrote it"));
    fs::write(&path, sample()).expect("write");
    let other = ContainerFile::open(&path, Kind::EvaluationKeys, Some(Digest::of(b"others"))).expect_err("others");
    assert!(other.to_string().contains("other parameters"), "{other}");
    let gone = ContainerFile::open_any(folder.path().join("none")).expect_err("no file").to_string();
    assert!(gone.contains("none: cannot read: No such file"), "{gone}");
    assert!(gone.contains("; check the name"), "{gone}");
    assert!(matches!(ContainerFile::open_any(folder.path()), Err(FileError::NotAFile { .. })));
}

#[test]
fn files_appear_whole_or_not_at_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret.key");
    let entries = || fs::read_dir(folder.path()).expect("a folder").count();
    let start = |words: u64| Writer::create(&path, label(Kind::SecretKey), &json!({}), &[4 * words]).expect("a writer");

    let mut writer = start(3);
    writer.add_words(&[1, 2, 3]).expect("a record");
    assert!(!path.exists());
    drop(writer);
    assert_eq!(entries(), 0, "an abandoned file leaves nothing");

    let error = start(3).commit().expect_err("no record yet");
    assert!(matches!(error, FileError::Format { reason: FormatError::MissingRecord { record: 0, .. }, .. }), "{error}");
    assert_eq!(entries(), 0, "neither does one that lacks records");

    let mut writer = start(3);
    let error = writer.add_words(&[1, 2]).expect_err("another record");
    assert!(error.to_string().contains("record 0 of 8 bytes, announced with 12; write"), "{error}");
    writer.add_words(&[1, 2, 3]).expect("a record");
    let error = writer.add_words(&[]).expect_err("one too many");
    assert!(error.to_string().contains("record 1 of 0 bytes, which was not announced; write"), "{error}");
    let digest = writer.commit().expect("a file");
    assert_eq!(entries(), 1);
    let file = ContainerFile::open(&path, Kind::SecretKey, None).expect("a good file");
    assert_eq!(file.container().digest(), digest);

    // Replacing it leaves the map of the old one as it is.
    let mut writer = start(1000);
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
#[derive(Debug)]
struct Disk(Vec<u8>, usize);

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > self.1 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_reported_by_every_step() {
    let write = |size| {
        let disk = Disk(Vec::new(), size);
        let mut writer = Writer::new(disk, label(Kind::Program), &json!({"a": 1}), &[9, 80])?;
        writer.record(&[b"one", b"record"])?;
        writer.words(&[1; 20])?;
        let size = writer.size();
        writer.finish().map(|(Disk(bytes, _), digest)| (bytes, digest, size))
    };
    let (bytes, digest, size) = write(1 << 20).expect("enough space");
    assert_eq!(bytes.len() as u64, size);
    assert_eq!(Container::decode(&bytes[..]).expect("a good file").digest(), digest);
    for size in 0..bytes.len() {
        let error = write(size).expect_err("full");
        let StreamError::Write { position, reason } = &error else { panic!("{error:?}") };
        assert_eq!(reason.kind(), io::ErrorKind::StorageFull);
        assert!(*position <= size as u64);
        assert!(error.to_string().contains("free some space"), "{error}");
    }
    let reason = io::ErrorKind::StorageFull.into();
    let message = FileError::Write { path: "a".into(), reason }.to_string();
    assert!(message.contains("free some space"), "{message}");
}

/// A disk that is full for a while.
#[test]
fn nothing_is_written_behind_a_gap() {
    let mut writer = Writer::new(Disk(Vec::new(), 300), label(Kind::Program), &json!({}), &[200, 1]).expect("a writer");
    writer.record(&[&[1; 200]]).expect_err("full");
    let error = writer.record(&[&[1; 200]]).expect_err("broken");
    assert!(matches!(&error, StreamError::Write { position: 256, .. }), "{error:?}");
    assert!(error.to_string().contains("writing failed before"), "{error}");
    assert!(matches!(writer.finish(), Err(StreamError::Format(FormatError::MissingRecord { record: 0, .. }))));
}

#[test]
fn oversized_headers_cannot_be_written() {
    let header = "x".repeat(1 << 20);
    let too_long = FormatError::HeaderTooLong { found: (1 << 20) + 2, limit: MAX_HEADER };
    assert_eq!(encode(label(Kind::Program), &header, &[]), Err(too_long.clone()));
    let error = Writer::new(Vec::new(), label(Kind::Program), &header, &[]).expect_err("too long");
    assert!(matches!(error, StreamError::Format(reason) if reason == too_long));

    // Of a file on a disk that takes it, the disk is not blamed.
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("program");
    let error = Writer::create(&path, label(Kind::Program), &header, &[]).expect_err("too long");
    assert!(matches!(&error, FileError::Format { reason, .. } if *reason == too_long), "{error}");
    let message = error.to_string();
    assert!(message.contains("1048578 bytes") && message.contains("fewer layers"), "{message}");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);

    let longest = encode(label(Kind::Program), &&header[2..], &[]).expect("just short enough");
    assert!(Container::decode(&longest[..]).is_ok());
}

/// A buffer that grows leaves what it held, a secret key for one, in the memory it was moved from.
#[test]
fn files_in_memory_are_written_in_place() {
    for (header, lengths) in [("", &[][..]), ("h", &[0, 1]), ("a header", &[64, 65, 32768, 7]), ("long", &[1; 100])] {
        let records: Vec<Vec<u8>> = lengths.iter().map(|&length| vec![1; length]).collect();
        let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        let bytes = encode(label(Kind::SecretKey), &header, &records).expect("a small file");
        assert_eq!(bytes.capacity(), bytes.len());
    }
}

/// Everything but evaluation keys is read when opened, and stays as it is whatever becomes of the file.
#[test]
fn files_that_are_read_do_not_change_with_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    for kind in Kind::ALL {
        let bytes = encode(label(kind), &json!({}), &[&[7; 10_000]]).expect("a small file");
        fs::write(&path, &bytes).expect("a file");
        let file = ContainerFile::open(&path, kind, None).expect("a good file");
        let mapped = kind == Kind::EvaluationKeys;
        let shown = format!("{file:?}");
        assert!(shown.contains(if mapped { "mapped" } else { "read" }), "{shown}");
        assert!(!shown.contains("7, 7"), "nothing of the bytes is shown: {shown}");
        if !mapped {
            // In place, as another program might.
            fs::write(&path, b"").expect("a file");
            assert_eq!(file.record(0).expect("a record"), [7; 10_000]);
            file.container().release(0);
            assert_eq!(file.record(0).expect("a record"), [7; 10_000]);
        }
    }
}

/// What is said to be longer than it is, is refused before there is memory for it.
#[test]
fn lengths_are_checked_before_reading() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    for kind in Kind::ALL {
        let mut bytes = encode(label(kind), &json!({}), &[&[7; 100]]).expect("a small file");
        bytes[72..80].copy_from_slice(&kind.max_length().to_le_bytes());
        fs::write(&path, &bytes).expect("a file");
        let error = ContainerFile::open_any(&path).expect_err("a lie");
        assert!(matches!(&error, FileError::Format { reason: FormatError::Truncated { .. }, .. }), "{error}");
    }
}

#[test]
fn temporary_files_left_behind_are_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("eval.key");
    let day = Duration::from_secs(24 * 3600);
    let leave = |name: &str, age: Duration| {
        let path = folder.path().join(name);
        let file = fs::File::create(&path).expect("a file");
        file.set_modified(SystemTime::now() - age).expect("a time");
        (path, file)
    };
    let (dead, _) = leave(".eval.key.aB3xYz.tmp", day * 2);
    let (recent, _) = leave(".eval.key.aB3xY1.tmp", day / 2);
    let (living, writer) = leave(".eval.key.aB3xY2.tmp", day * 2);
    writer.try_lock().expect("a lock");
    // Of other files, or nobody's.
    let others = [".eval.key.old.aB3xYz.tmp", ".eval.key.tmp", ".eval.key.aB3xYz.tmp.keep", "eval.key.aB3xYz.tmp"];
    let others = others.map(|name| leave(name, day * 2).0);

    AtomicFile::write(&path, false, b"keys").expect("a file");
    assert!(!dead.exists());
    assert!(recent.exists(), "its writer may not have locked it yet");
    assert!(living.exists(), "its writer lives");
    assert!(others.iter().all(|path| path.exists()));

    // A writer of this crate holds its file locked.
    let writer = AtomicFile::create(&path, false).expect("a writer");
    let is_ours = |name: &str| name.starts_with(".eval.key.") && !name.contains("aB3x") && name.ends_with(".tmp");
    let entries = fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry"));
    let own: Vec<_> =
        entries.filter(|entry| entry.file_name().to_str().is_some_and(is_ours) && entry.path() != others[1]).collect();
    assert_eq!(own.len(), 1);
    let file = fs::File::options().write(true).open(own[0].path()).expect("a file");
    assert!(matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)));
    file.set_modified(SystemTime::now() - day * 2).expect("a time");
    AtomicFile::write(&path, false, b"other keys").expect("a file");
    writer.commit().expect("it was left alone");
    assert_eq!(fs::read(&path).expect("a file"), b"");
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8),
        header in "\\PC{0,80}",
        context: [u8; 32],
        id: [u8; 16],
        tag in 0..Kind::ALL.len(),
    ) {
        let kind = Kind::ALL[tag];
        let key_set = KeySetId::new(id).filter(|_| kind.has_key_set());
        prop_assume!(key_set.is_some() == kind.has_key_set());
        let label = Label::new(kind, context.into(), key_set)?;
        let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        let bytes = encode(label, &header, &slices)?;
        let container = Container::decode(&bytes[..])?;
        prop_assert_eq!(container.label(), label);
        prop_assert_eq!((container.kind(), container.context(), container.key_set()), (kind, context.into(), key_set));
        prop_assert_eq!(container.header::<String>()?, header);
        prop_assert_eq!(container.records(), records.len());
        for (i, record) in records.iter().enumerate() {
            prop_assert_eq!(container.record(i)?, &record[..]);
            prop_assert_eq!(container.record_length(i), Some(record.len()));
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(
        mut bytes in prop::collection::vec(any::<u8>(), 0..1000),
        keep in 0..1000usize,
    ) {
        let good = sample();
        let keep = keep.min(bytes.len()).min(good.len() - 1);
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
    let bytes = encode(label(Kind::EvaluationKeys), &(), &parts).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let container = Container::decode(FileBytes::open(&path).unwrap()).unwrap();
    let first = container.record(1).unwrap();
    (0..5).for_each(|record| container.release(record));
    assert_eq!(first, records[1]);
    assert_eq!(container.verify(), Ok(()));
}

#[test]
fn files_that_belong_together_are_replaced_together() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (first, second) = (path("first"), path("second"));
    let write = |a: &[u8], b: &[u8]| AtomicFile::write_together([(first.as_path(), a), (second.as_path(), b)]);
    write(b"1", b"2").unwrap();
    assert_eq!((std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap()), (b"1".to_vec(), b"2".to_vec()));
    let mut permissions = std::fs::metadata(&second).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&second, permissions).unwrap();
    let error = write(b"3", b"4").unwrap_err();
    assert!(matches!(error, FileError::ReadOnly { .. }), "{error}");
    assert_eq!(std::fs::read(&first).unwrap(), b"1");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left behind");
}
