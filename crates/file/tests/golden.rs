//! One small file of each kind and version: those of version 1 are refused with what to do, those of version 2 are read
//! and written again byte by byte.
//!
//! `cargo test -p umbra-file --test golden -- --ignored` makes those of version 2 anew, which a change of format must
//! not need: it comes with a new version number and with golden files of its own. Nothing writes version 1 any more.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::label;
use serde_json::{Value, json};
use umbra_file::{
    Container, ContainerFile, FileBytes, FileError, FormatError, Kind, Reader, StreamError, VERSION, Writer, encode,
};

fn golden(version: u16, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/v{version}")).join(name)
}

/// Name, kind, header, records.
fn samples() -> [(&'static str, Kind, Value, Vec<Vec<u8>>); 6] {
    let words: Vec<u8> = (0..40u32).flat_map(|i| (i * 0x0101_0101).to_le_bytes()).collect();
    let named = json!({"records": ["text", "nothing", "words", "sevens"]});
    [
        ("secret.key", Kind::SecretKey, json!({}), vec![vec![0, 1, 255, 0, 1, 1, 255, 0]]),
        ("eval.key", Kind::EvaluationKeys, named, vec![b"first".to_vec(), Vec::new(), words.clone(), vec![7; 64]]),
        ("image.ct", Kind::Ciphertext, json!({"level": 1}), vec![words.clone(), words]),
        ("program.umbra", Kind::Program, json!({"name": "golden"}), vec![b"weights".to_vec()]),
        ("client.umbra", Kind::ClientFile, json!({"classes": ["cat", "dog"]}), Vec::new()),
        ("public.key", Kind::PublicKey, json!({"level": 1}), vec![vec![9; 48]]),
    ]
}

fn bytes(kind: Kind, header: &Value, records: &[Vec<u8>]) -> Vec<u8> {
    let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    encode(label(kind), header, &records).expect("a small file")
}

#[test]
#[ignore = "writes the golden files"]
fn write() {
    fs::create_dir_all(golden(VERSION, "")).expect("a folder");
    for (name, kind, header, records) in samples() {
        fs::write(golden(VERSION, name), bytes(kind, &header, &records)).expect("written");
    }
}

#[test]
fn version_2_is_read_and_written_again() {
    assert_eq!(samples().map(|(_, kind, ..)| kind), Kind::ALL, "every kind");
    for (name, kind, header, records) in samples() {
        let file = fs::read(golden(2, name)).expect("the golden file");
        assert!(file == bytes(kind, &header, &records), "{name}: the format changed: give it a new version");

        let container = Container::decode(&file[..]).expect("a good file");
        assert_eq!(container.label(), label(kind), "{name}");
        assert_eq!(container.header::<Value>().expect("a header"), header, "{name}");
        let read: Vec<&[u8]> = (0..container.records()).map(|i| container.record(i).expect("a record")).collect();
        assert_eq!(read, records, "{name}");

        let mut reader = Reader::open(&file[..]).expect("a good file");
        assert_eq!(reader.label(), label(kind), "{name}");
        assert_eq!(reader.header::<Value>().expect("a header"), header, "{name}");
        let lengths: Vec<u64> = (0..reader.records()).filter_map(|i| reader.record_length(i)).collect();
        let mut writer = Writer::new(Vec::new(), reader.label(), &header, &lengths).expect("a writer");
        let mut record = Vec::new();
        while reader.read_record(&mut record).expect("a record").is_some() {
            writer.record(&[&record]).expect("a record");
        }
        let (_, digest) = reader.expect_end().expect("a good file");
        assert_eq!(digest, container.digest(), "{name}");
        assert!(writer.finish().expect("all records") == (file, digest), "{name}");
    }
}

#[test]
fn aligned_words_are_read_in_place() {
    let file =
        ContainerFile::open(golden(2, "eval.key"), Kind::EvaluationKeys, Some(label(Kind::EvaluationKeys).context()));
    let file = file.expect("a good file");
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
fn version_1_is_refused_with_what_to_do() {
    let files = [
        ("secret.key", Kind::SecretKey, "make the keys again with keygen"),
        ("eval.key", Kind::EvaluationKeys, "make the keys again with keygen"),
        ("image.ct", Kind::Ciphertext, "encrypt the image again"),
        ("program.umbra", Kind::Program, "compile the network again"),
    ];
    for (name, kind, remedy) in files {
        let path = golden(1, name);
        let file = fs::read(&path).expect("the golden file");
        let expected = FormatError::Version { found: 1, kind: Some(kind) };
        assert_eq!(Container::decode(&file[..]).expect_err("refused"), expected, "{name}");
        let error = Reader::open(&file[..]).expect_err("refused");
        assert!(matches!(&error, StreamError::Format(reason) if *reason == expected), "{error:?}");
        let error = ContainerFile::open_any(&path).expect_err("refused").to_string();
        assert!(error.ends_with(&format!("file format version 1, this program reads version 2; {remedy}")), "{error}");
        assert_eq!(FileBytes::kind(&path).expect("readable"), Some(kind), "it is told what it is all the same");
        // As much of it as tells the version is enough.
        assert_eq!(Container::decode(&file[..12]).expect_err("refused"), expected, "{name}");
    }
}
