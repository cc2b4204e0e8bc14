//! Damaged and hostile files through every decoder.
//!
//! `tests/corpus/<decoder>/` holds what that decoder must refuse; nothing may make any other decoder panic. Files that fuzzing
//! finds go there too. `cargo test -p umbra-cli --test corpus -- --ignored` writes those made here anew.

use std::path::{Path, PathBuf};

#[path = "../../../fuzz/decoders.rs"]
#[allow(dead_code)]
mod decoders;

use decoders::{DECODERS, loaded};
use serde_json::{Value, json};
use umbra_file::{Container, Digest, Kind, encode};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(folder("golden").join(name)).unwrap()
}

#[test]
fn every_file_of_the_corpus_is_refused() {
    let mut count = 0;
    for (name, decoder) in DECODERS {
        for entry in std::fs::read_dir(folder("corpus").join(name)).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            assert!(!decoder(&bytes), "{} was accepted", path.display());
            for (_, other) in DECODERS {
                other(&bytes);
            }
            count += 1;
        }
    }
    assert!(count >= 50, "{count} files only");
}

/// What each decoder accepts, so that refusing is not all it can do.
fn accepted() -> Vec<(&'static str, Vec<u8>)> {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |path: &str| std::fs::read(assets.join(path)).unwrap();
    vec![
        ("container", golden("program.umbra")),
        ("program", golden("program.umbra")),
        ("secret_key", golden("secret.key")),
        ("evaluation_keys", golden("eval.key")),
        ("ciphertexts", golden("input.ct")),
        ("ciphertexts", golden("output.ct")),
        ("weights", read("zoo/r20-16-cifar10-cyclic/r20-16.safetensors")),
        ("picture", read("assets/pictures/cat.png")),
        ("cifar", vec![3; 3073]),
    ]
}

#[test]
fn good_files_are_accepted_and_their_pieces_are_not() {
    for (name, bytes) in accepted() {
        let (_, decoder) = DECODERS.into_iter().find(|(n, _)| *n == name).unwrap();
        assert!(decoder(&bytes), "{name}");
        for length in (0..bytes.len()).step_by(bytes.len() / 61 + 1) {
            assert!(!decoder(&bytes[..length]), "{name}: {length} bytes of {}", bytes.len());
        }
    }
}

#[test]
fn no_bit_of_a_binary_file_changes_unnoticed() {
    for (name, bytes) in accepted().into_iter().take(6) {
        let (_, decoder) = DECODERS.into_iter().find(|(n, _)| *n == name).unwrap();
        for position in (0..96).chain((96..bytes.len()).step_by(bytes.len() / 97)) {
            let mut changed = bytes.clone();
            changed[position] ^= 1 << (position % 8);
            assert!(!decoder(&changed), "{name}: bit {} of byte {position}", position % 8);
        }
    }
}

/// A file with one change.
fn changed(name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = golden(name);
    change(&mut bytes);
    bytes
}

/// A file with another header and other records, and digests that fit.
fn edited(name: &str, edit: impl FnOnce(&mut Value, &mut Vec<Vec<u8>>)) -> Vec<u8> {
    let file = golden(name);
    let container = Container::decode(&file[..]).unwrap();
    let mut header: Value = container.header().unwrap();
    let mut records: Vec<Vec<u8>> = (0..container.records()).map(|r| container.record(r).unwrap().to_vec()).collect();
    edit(&mut header, &mut records);
    let records: Vec<&[u8]> = records.iter().map(AsRef::as_ref).collect();
    encode(container.kind(), container.context(), &header, &records).unwrap()
}

#[test]
#[ignore = "writes the corpus"]
fn write() {
    let write = |decoder: &str, name: &str, bytes: Vec<u8>| {
        let folder = folder("corpus").join(decoder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
    };
    let secret = "secret.key";
    write("container", "empty", vec![]);
    write("container", "magic", umbra_file::MAGIC.to_vec());
    write("container", "preamble", changed(secret, |b| b.truncate(95)));
    write("container", "text", b"hello, this is no such file".to_vec());
    write("container", "version", changed(secret, |b| b[8] = 2));
    write("container", "kind", changed(secret, |b| b[10..12].fill(0xee)));
    write("container", "header-length", changed(secret, |b| b[12..16].fill(0xff)));
    write("container", "header-beyond-end", changed(secret, |b| b[12..16].copy_from_slice(&0xf_0000u32.to_le_bytes())));
    write("container", "table-offset", changed(secret, |b| b[48..56].fill(0xff)));
    write("container", "table-offset-unaligned", changed(secret, |b| b[48] ^= 1));
    write("container", "record-count", changed(secret, |b| b[56..60].fill(0xff)));
    write("container", "reserved", changed(secret, |b| b[60] = 1));
    write("container", "head-digest", changed(secret, |b| b[70] ^= 1));
    write("container", "header-padding", changed(secret, |b| b[120] = 1));
    write("container", "record-digest", changed(secret, |b| b[200] ^= 1));
    write("container", "truncated", changed(secret, |b| b.truncate(3000)));
    write("container", "longer", changed(secret, |b| b.extend([0; 64])));
    let deep = Value::String("[".repeat(100_000));
    write("program", "header-string", encode(Kind::Program, Digest::of(b""), &deep, &[]).unwrap());
    write("program", "header-null", encode(Kind::Program, Digest::of(b""), &Value::Null, &[]).unwrap());

    // 3 records of the linear step, small enough to be kept.
    type Edit = fn(&mut Value, &mut Vec<Vec<u8>>);
    let programs: [(&str, Edit); 19] = [
        ("registers", |h, _| h["registers"] = json!(u64::MAX)),
        ("ring-degree", |h, _| h["parameters"]["log_n"] = json!(63)),
        ("insecure", |h, _| h["parameters"]["log_n"] = json!(11)),
        ("prime-index", |h, _| h["parameters"]["levels"][0][0] = json!(60000)),
        ("not-a-prime", |h, _| h["parameters"]["primes"][0] = json!(8193)),
        ("period-zero", |h, _| h["steps"][2]["operation"]["period"] = json!(0)),
        ("period-huge", |h, _| h["steps"][2]["operation"]["period"] = json!(1u64 << 62)),
        ("outputs-huge", |h, _| h["steps"][2]["operation"]["outputs"] = json!(u64::MAX)),
        ("masks-without-record", |h, _| h["steps"][2]["operation"]["masks"] = json!([1, 8])),
        ("masks-huge", |h, _| h["steps"][2]["operation"]["masks"] = json!([1u64 << 40, 1u64 << 40])),
        ("masks-of-other-length", |h, r| {
            h["steps"][2]["operation"]["masks"] = json!([1, 8]);
            r.insert(2, vec![1; 7]);
        }),
        ("mask-neither-0-nor-1", |h, r| {
            h["steps"][2]["operation"]["masks"] = json!([1, 8]);
            let indices = r[0].chunks_exact(20).flat_map(|d| [d, &[1, 0, 0, 0]].concat());
            r[0] = indices.collect();
            r.insert(2, vec![2; 8]);
        }),
        ("pair-without-parts", |h, _| h["steps"][2]["operation"]["plan"]["pair"] = json!(1)),
        ("part-neither-0-nor-1", |h, r| {
            h["steps"][2]["operation"]["plan"]["pair"] = json!(1);
            let indices = r[0].chunks_exact(20).flat_map(|d| [d, &[2, 0, 0, 0]].concat());
            r[0] = indices.collect();
        }),
        ("pair-with-masks", |h, r| {
            h["steps"][2]["operation"]["plan"]["pair"] = json!(1);
            h["steps"][2]["operation"]["masks"] = json!([1, 8]);
            let indices = r[0].chunks_exact(20).flat_map(|d| [d, &[0; 8]].concat());
            r[0] = indices.collect();
            r.insert(2, vec![1; 8]);
        }),
        ("records-missing", |_, r| r.truncate(1)),
        ("records-too-many", |_, r| r.push(vec![0; 4])),
        ("rotation-index", |_, r| r[0][10] = 0xff),
        ("nan-weight", |_, r| r[1][..4].copy_from_slice(&f32::NAN.to_le_bytes())),
    ];
    for (name, edit) in programs {
        write("program", name, edited("program.umbra", edit));
    }
    write("program", "another-kind", golden(secret));

    let secrets: [(&str, Edit); 4] = [
        ("coefficient", |_, r| r[0][17] = 2),
        ("short", |_, r| r[0].truncate(1000)),
        ("no-record", |_, r| r.clear()),
        ("unknown-field", |h, _| h["hello"] = json!(1)),
    ];
    for (name, edit) in secrets {
        write("secret_key", name, edited(secret, edit));
    }
    write(
        "secret_key",
        "other-parameters",
        encode(Kind::SecretKey, Digest::of(b"x"), &json!({}), &[&[0; 4096]]).unwrap(),
    );

    let context = Digest::from(*loaded().parameters().digest());
    let keys = |header: Value, records: &[&[u8]]| encode(Kind::EvaluationKeys, context, &header, records).unwrap();
    let key =
        |gadget: u64, level: u64, steps: i64| json!({"gadget": gadget, "kind": {"rotate": steps}, "level": level});
    write("evaluation_keys", "no-records", keys(json!({"keys": [key(0, 1, 1)]}), &[]));
    write("evaluation_keys", "more-records", keys(json!({"keys": []}), &[b"abcd"]));
    write("evaluation_keys", "gadget", keys(json!({"keys": [key(9, 1, 1)]}), &[b"abcd"]));
    write("evaluation_keys", "level", keys(json!({"keys": [key(0, 1 << 60, 1)]}), &[b"abcd"]));
    write("evaluation_keys", "short-record", keys(json!({"keys": [key(0, 1, 1)]}), &[b"abcd"]));
    write("evaluation_keys", "steps", keys(json!({"keys": [key(0, 1, i64::MIN)]}), &[b""]));
    write("evaluation_keys", "unknown-field", keys(json!({"keys": [], "more": 1}), &[]));
    let other = encode(Kind::EvaluationKeys, Digest::of(b"x"), &json!({"keys": []}), &[]).unwrap();
    write("evaluation_keys", "other-parameters", other);

    let good = json!({"role": "input", "form": "seeded", "level": 1, "scale": 16_777_216.0});
    let ciphertext = |field: &str, value: Value, records: &[&[u8]]| {
        let mut header = good.clone();
        header[field] = value;
        encode(Kind::Ciphertext, loaded().digest(), &header, records).unwrap()
    };
    write("ciphertexts", "no-records", ciphertext("level", json!(1), &[]));
    write("ciphertexts", "short-record", ciphertext("level", json!(1), &[b"abcd"]));
    write("ciphertexts", "level", ciphertext("level", json!(u64::MAX), &[b"abcd"]));
    write("ciphertexts", "scale-zero", ciphertext("scale", json!(0.0), &[b"abcd"]));
    write("ciphertexts", "scale-huge", ciphertext("scale", json!(1e300), &[b"abcd"]));
    write("ciphertexts", "role", ciphertext("role", json!("key"), &[b"abcd"]));
    write("ciphertexts", "form", ciphertext("form", json!("whole"), &[b"abcd"]));
    write("ciphertexts", "other-program", encode(Kind::Ciphertext, Digest::of(b"x"), &good, &[b"abcd"]).unwrap());
    write("ciphertexts", "residue", edited("input.ct", |_, r| r[0][32..36].fill(0xff)));

    let manifest: Value =
        serde_json::from_str(include_str!("../../../zoo/r20-16-cifar10-cyclic/manifest.json")).unwrap();
    let with = |edit: &dyn Fn(&mut Value)| {
        let mut manifest = manifest.clone();
        edit(&mut manifest);
        serde_json::to_vec(&manifest).unwrap()
    };
    write("manifest", "empty", vec![]);
    write("manifest", "deep", "[".repeat(200_000).into_bytes());
    write("manifest", "not-utf8", vec![b'{', b'"', 0xff, 0xfe, b'"', b'}']);
    write("manifest", "cycle", with(&|m| m["nodes"][0]["input"] = json!("fc")));
    write("manifest", "operator", with(&|m| m["nodes"][0]["op"] = json!("relu")));
    write("manifest", "huge-picture", with(&|m| m["input"]["height"] = json!(u64::MAX)));
    write("manifest", "version", with(&|m| m["version"] = json!(99)));
    write("manifest", "nan", b"{\"format\": NaN}".to_vec());

    let mut header = u64::MAX.to_le_bytes().to_vec();
    header.extend(b"{}");
    write("weights", "huge-header", header);
    write("weights", "empty", vec![]);
    let mut none = 2u64.to_le_bytes().to_vec();
    none.extend(b"{}");
    write("weights", "no-tensors", none);

    let png = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/pictures/cat.png")).unwrap();
    let mut huge = png.clone();
    huge[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    write("picture", "huge.png", huge);
    write("picture", "half.png", png[..png.len() / 2].to_vec());
    write("picture", "signature.png", png[..8].to_vec());
    write("picture", "text.png", b"not a picture".to_vec());
    write("picture", "start.jpg", vec![0xff, 0xd8, 0xff, 0xe0, 0, 0x10, b'J', b'F', b'I', b'F']);
    write("picture", "gif.png", b"GIF89a\x01\0\x01\0\0\0\0".to_vec());

    write("cifar", "empty", vec![]);
    write("cifar", "short", vec![0; 3072]);
    write("cifar", "label", vec![200; 3073]);
    write("cifar", "fine-label", vec![101; 3074]);
}
