//! Damaged and hostile files through every decoder.
//!
//! `tests/corpus/<decoder>/` holds what that decoder must refuse; nothing may make any other decoder panic. Files that fuzzing
//! finds go there too. `cargo test -p umbra-cli --test corpus -- --ignored` writes those made here anew.

use std::path::{Path, PathBuf};

#[path = "../../../fuzz/decoders.rs"]
#[allow(dead_code)]
mod decoders;

use decoders::{DECODERS, loaded, network};
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
            assert!(decoder(&bytes).is_err(), "{} was accepted", path.display());
            for (_, other) in DECODERS {
                let _ = other(&bytes);
            }
            count += 1;
        }
    }
    assert!(count >= 50, "{count} files only");
}

/// Part of the message for files that say in their name what is wrong: whatever else could be would hide that it is checked.
const REASONS: [(&str, &[(&str, &str)]); 5] = [
    (
        "program",
        &[
            ("another-kind", "a secret key"),
            ("control-characters", "the program's name"),
            ("insecure", "less than 128 bits"),
            ("mask-neither-0-nor-1", "slot of a mask"),
            ("masks-huge", "8 times 4611686018427387904"),
            ("masks-many", "number of masks"),
            ("masks-of-other-length", "record 2 "),
            ("masks-without-record", "1 times 8 numbers of 1 bytes"),
            ("nan-weight", "diagonal"),
            ("not-a-prime", "8193"),
            ("outputs-huge", "18446744073709551615 times"),
            ("pair-with-masks", "distance of pairs"),
            ("pair-without-parts", "a multiple of 24"),
            ("part-neither-0-nor-1", "part of a weight"),
            ("period-huge", "times 4611686018427387904"),
            ("period-zero", "times 0 numbers"),
            ("prime-index", "60000"),
            ("records-missing", "record 1 "),
            ("records-too-many", "number of records"),
            ("registers", "number of registers"),
            ("ring-degree", "ring degree"),
            ("rotation-index", "index of a rotation"),
        ],
    ),
    (
        "secret_key",
        &[
            ("coefficient", "coefficient"),
            ("no-record", "0 bytes"),
            ("other-parameters", "other parameters"),
            ("short", "1000 bytes"),
            ("unknown-field", "hello"),
        ],
    ),
    (
        "evaluation_keys",
        &[
            ("gadget", "gadget 9"),
            ("level", "level 1152921504606846976"),
            ("more-records", "number of records"),
            ("no-records", "number of records"),
            ("other-parameters", "other parameters"),
            ("residue", "residue"),
            ("short-record", "4 bytes"),
            ("twice", "second key"),
            ("unknown-field", "more"),
        ],
    ),
    (
        "ciphertexts",
        &[
            ("form", "hello"),
            ("form-of-other-length", "65536"),
            ("level", "level is"),
            ("no-records", "number of ciphertexts"),
            ("other-program", "other program"),
            ("residue", "residue"),
            ("role", "content is"),
            ("scale-huge", "scale is"),
            ("scale-zero", "scale is 0"),
            ("short-record", "4 bytes"),
        ],
    ),
    (
        "manifest",
        &[
            ("classes", "number of class names"),
            ("control-characters", "printable"),
            ("cycle", "cycle"),
            ("huge-picture", "height"),
            ("operator", "relu"),
            ("samples", "\"samples\""),
            ("shape", "stem.conv"),
            ("tensor-missing", "nowhere"),
            ("version", "99"),
        ],
    ),
];

#[test]
fn files_are_refused_for_what_they_are_named_for() {
    let mut others = Vec::new();
    for (name, files) in REASONS {
        let (_, decoder) = DECODERS.into_iter().find(|(n, _)| *n == name).unwrap();
        for (file, reason) in files {
            let bytes = std::fs::read(folder("corpus").join(name).join(file)).unwrap();
            let found = decoder(&bytes).expect_err(file);
            if !found.contains(reason) {
                others.push(format!("{name}/{file}: expected {reason:?} in: {found}"));
            }
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
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
        ("manifest", serde_json::to_vec(&manifest()).unwrap()),
        ("evaluation_keys", one_key(|_, _| {})),
    ]
}

#[test]
fn good_files_are_accepted_and_their_pieces_are_not() {
    for (name, bytes) in accepted() {
        let (_, decoder) = DECODERS.into_iter().find(|(n, _)| *n == name).unwrap();
        assert_eq!(decoder(&bytes), Ok(()), "{name}");
        for length in (0..bytes.len()).step_by(bytes.len() / 61 + 1) {
            assert!(decoder(&bytes[..length]).is_err(), "{name}: {length} bytes of {}", bytes.len());
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
            assert!(decoder(&changed).is_err(), "{name}: bit {} of byte {position}", position % 8);
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

/// The golden keys but for the first: small enough to be kept a few times.
fn one_key(edit: impl FnOnce(&mut Value, &mut Vec<Vec<u8>>)) -> Vec<u8> {
    edited("eval.key", |header, records| {
        header["keys"].as_array_mut().unwrap().truncate(1);
        records.truncate(1);
        edit(header, records);
    })
}

/// The manifest of the network whose weights manifests are decoded with.
fn manifest() -> Value {
    serde_json::from_str(&network().0).unwrap()
}

/// Appends these words to those of each diagonal.
fn extend_diagonals(record: &mut Vec<u8>, words: &[u32]) {
    let more: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    *record = record.chunks_exact(20).flat_map(|d| [d, &more].concat()).collect();
}

/// Gives the linear step this many masks of this many slots; each diagonal has the first. Their record is still to be made.
fn mask(header: &mut Value, records: &mut [Vec<u8>], masks: [u64; 2]) {
    header["steps"][2]["operation"]["masks"] = json!(masks);
    extend_diagonals(&mut records[0], &[1]);
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

    // 3 records of the linear step, small enough to be kept; its period is 512.
    type Edit = fn(&mut Value, &mut Vec<Vec<u8>>);
    let programs: [(&str, Edit); 21] = [
        ("control-characters", |h, _| h["name"] = json!("\u{1b}[2J")),
        ("registers", |h, _| h["registers"] = json!(u64::MAX)),
        ("ring-degree", |h, _| h["parameters"]["log_n"] = json!(63)),
        ("insecure", |h, _| {
            // One special prime more, which makes 136 bits of 107.
            h["parameters"]["primes"].as_array_mut().unwrap().push(json!(1_073_479_681));
            h["parameters"]["gadgets"][0]["special"].as_array_mut().unwrap().push(json!(4));
        }),
        ("prime-index", |h, _| h["parameters"]["levels"][0][0] = json!(60000)),
        ("not-a-prime", |h, _| h["parameters"]["primes"][0] = json!(8193)),
        ("period-zero", |h, _| h["steps"][2]["operation"]["period"] = json!(0)),
        ("period-huge", |h, _| h["steps"][2]["operation"]["period"] = json!(1u64 << 62)),
        ("outputs-huge", |h, _| h["steps"][2]["operation"]["outputs"] = json!(u64::MAX)),
        ("masks-without-record", |h, r| mask(h, r, [1, 8])),
        ("masks-huge", |h, r| mask(h, r, [8, 1 << 62])),
        ("masks-many", |h, r| {
            mask(h, r, [1 << 16, 1]);
            r.insert(2, vec![1; 1 << 16]);
        }),
        ("masks-of-other-length", |h, r| {
            mask(h, r, [1, 8]);
            r.insert(2, vec![1; 7]);
        }),
        ("mask-neither-0-nor-1", |h, r| {
            mask(h, r, [1, 512]);
            r.insert(2, vec![2; 512]);
        }),
        ("pair-without-parts", |h, _| h["steps"][2]["operation"]["plan"]["pair"] = json!(1)),
        ("part-neither-0-nor-1", |h, r| {
            h["steps"][2]["operation"]["plan"]["pair"] = json!(1);
            extend_diagonals(&mut r[0], &[2]);
        }),
        ("pair-with-masks", |h, r| {
            h["steps"][2]["operation"]["plan"]["pair"] = json!(1);
            h["steps"][2]["operation"]["masks"] = json!([1, 512]);
            extend_diagonals(&mut r[0], &[1, 0]);
            r.insert(2, vec![1; 512]);
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

    let keys: [(&str, Edit); 7] = [
        ("no-records", |_, r| r.clear()),
        ("more-records", |_, r| r.push(vec![0; 4])),
        ("short-record", |_, r| r[0].truncate(4)),
        ("gadget", |h, _| h["keys"][0]["gadget"] = json!(9)),
        ("level", |h, _| h["keys"][0]["level"] = json!(1u64 << 60)),
        ("twice", |h, r| {
            let first = h["keys"][0].clone();
            h["keys"].as_array_mut().unwrap().push(first);
            r.push(r[0].clone());
        }),
        ("residue", |_, r| r[0][32..36].fill(0xff)),
    ];
    for (name, edit) in keys {
        write("evaluation_keys", name, one_key(edit));
    }
    // No keys at all are none that anything is wrong with.
    let no_keys = |context, header| encode(Kind::EvaluationKeys, context, &header, &[]).unwrap();
    let context = Digest::from(*loaded().parameters().digest());
    write("evaluation_keys", "unknown-field", no_keys(context, json!({"keys": [], "more": 1})));
    write("evaluation_keys", "other-parameters", no_keys(Digest::of(b"x"), json!({"keys": []})));

    let ciphertexts: [(&str, Edit); 9] = [
        ("no-records", |_, r| r.clear()),
        ("short-record", |_, r| r[0].truncate(4)),
        ("level", |h, _| h["level"] = json!(u64::MAX)),
        ("scale-zero", |h, _| h["scale"] = json!(0.0)),
        ("scale-huge", |h, _| h["scale"] = json!(1e300)),
        ("role", |h, _| h["role"] = json!("output")),
        ("form", |h, _| h["form"] = json!("hello")),
        ("form-of-other-length", |h, _| h["form"] = json!("whole")),
        ("residue", |_, r| r[0][32..36].fill(0xff)),
    ];
    for (name, edit) in ciphertexts {
        write("ciphertexts", name, edited("input.ct", edit));
    }
    let input = golden("input.ct");
    let input = Container::decode(&input[..]).unwrap();
    let (header, record): (Value, _) = (input.header().unwrap(), input.record(0).unwrap());
    write("ciphertexts", "other-program", encode(Kind::Ciphertext, Digest::of(b"x"), &header, &[record]).unwrap());

    let with = |edit: &dyn Fn(&mut Value)| {
        let mut manifest = manifest();
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
    write("manifest", "tensor-missing", with(&|m| m["nodes"][0]["weight"] = json!("nowhere")));
    write("manifest", "shape", with(&|m| m["input"]["channels"] = json!(1)));
    write("manifest", "classes", with(&|m| m["classes"] = json!(["one"])));
    write("manifest", "control-characters", with(&|m| m["name"] = json!("\u{1b}[2J")));
    write("manifest", "samples", with(&|m| m["samples"] = json!("stem.conv.weight")));
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
