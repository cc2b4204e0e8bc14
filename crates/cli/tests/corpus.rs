//! Damaged and hostile files through every decoder.
//!
//! `tests/corpus/<decoder>/` holds what that decoder must refuse; nothing may make any other decoder panic. Files that
//! fuzzing finds go there too. `cargo test -p umbra-cli --test corpus -- --ignored` writes those made here anew.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

#[path = "../../../fuzz/decoders.rs"]
#[allow(dead_code)]
mod decoders;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};

use decoders::{DECODERS, clustered, loaded, network};
use umbra_file::{Container, Digest, KeySetId, Kind, Label, encode};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(folder("golden/v2").join(name)).unwrap()
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
    assert!(count >= 100, "{count} files only");
}

/// Part of the message for files that say in their name what is wrong: whatever else could be would hide that it is
/// checked.
const REASONS: [(&str, &[(&str, &str)]); 10] = [
    (
        "container",
        &[
            ("header-beyond-end", "file length"),
            ("header-digest", "head does not match"),
            ("header-length", "header length"),
            ("key-set-missing", "without the id"),
            ("key-set-too-many", "which it cannot have"),
            ("kind", "number 61166"),
            ("length", "file length"),
            ("longer", "goes on after"),
            ("record-count", "number of records"),
            ("record-digest", "record 0 does not match"),
            ("table", "head does not match"),
            ("trailer", "digest of the file"),
            ("truncated", "it ends after"),
            ("version", "version 99"),
            ("version-1-ciphertext", "encrypt the image again"),
            ("version-1-keys", "make the keys again"),
            ("version-1-program", "compile the network again"),
        ],
    ),
    (
        "client_file",
        &[
            ("a-program", "a program"),
            ("classes", "number of class"),
            ("control-characters", "name"),
            ("familiar", "familiar"),
            ("flooding", "noise flooding"),
            ("insecure", "less than 128 bits"),
            ("key-of-no-gadget", "gadget 9"),
            ("key-twice", "key"),
            ("logit-error", "error"),
            ("record", "number of records"),
            ("unknown-field", "hello"),
        ],
    ),
    (
        "key_stream",
        &[
            ("cut", "the stream ends after"),
            ("goes-on", "64 bytes more"),
            ("other-parameters", "other parameters"),
            ("record-digest", "record 0 does not match"),
        ],
    ),
    (
        "clusters",
        &[
            ("codebook-missing", "codebook"),
            ("code-too-large", "expected less than"),
            ("no-metadata", "umbra-clusters"),
            ("not-finite", "expected finite"),
            ("not-its-codewords", "are not its codewords"),
            ("type", "is of type"),
            ("version", "expected version 2"),
        ],
    ),
    (
        "program",
        &[
            ("another-kind", "a secret key"),
            ("control-characters", "the name is"),
            ("insecure", "less than 128 bits"),
            ("mask-neither-0-nor-1", "slot of a mask"),
            ("masks-huge", "8 times 4611686018427387904"),
            ("masks-many", "number of masks"),
            ("masks-of-other-length", "record 2 "),
            ("masks-without-record", "1 times 8 numbers of 1 bytes"),
            ("nan-weight", "diagonal"),
            ("not-a-prime", "8193"),
            ("outputs-huge", "18446744073709551615 times"),
            ("complex-with-masks", "imaginary"),
            ("complex-without-parts", "a multiple of 24"),
            ("part-neither-0-nor-1", "part of a weight"),
            ("period-huge", "times 4611686018427387904"),
            ("period-zero", "times 0 numbers"),
            ("prime-index", "60000"),
            ("keys-missing", "keys"),
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
            ("key-set-missing", "without the id"),
            ("no-record", "0 bytes"),
            ("other-parameters", "other parameters"),
            ("short", "1000 bytes"),
            ("unknown-field", "hello"),
        ],
    ),
    (
        "public_key",
        &[
            ("level", "level 60"),
            ("more-records", "in one record"),
            ("no-record", "0 bytes"),
            ("other-parameters", "other parameters"),
            ("residue", "residue"),
            ("secret-key", "a secret key"),
            ("short", "4 bytes"),
            ("unknown-field", "hello"),
        ],
    ),
    (
        "evaluation_keys",
        &[
            ("gadget", "gadget 9"),
            ("level", "level 60"),
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
            ("images-none", "number of images is 0"),
            ("images-too-many", "number of images is 2"),
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
            ("huge-image", "height"),
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
        ("client_file", golden("program.client")),
        ("secret_key", golden("secret.key")),
        ("public_key", golden("public.key")),
        ("client_file", golden("familiar.client")),
        ("evaluation_keys", golden("eval.key")),
        ("key_stream", golden("eval.key")),
        ("ciphertexts", golden("input.ct")),
        ("ciphertexts", golden("output.ct")),
        ("ciphertext_stream", golden("input.ct")),
        ("ciphertext_stream", golden("output.ct")),
        ("evaluation_keys", one_key(|_, _| {})),
        ("key_stream", one_key(|_, _| {})),
        ("weights", read("zoo/r20-16-cifar10-cyclic/r20-16.safetensors")),
        ("clusters", clustered().codebooks().encode().unwrap()),
        ("image", read("assets/images/cat.png")),
        ("cifar", vec![3; 3073]),
        ("manifest", serde_json::to_vec(&manifest()).unwrap()),
    ]
}

/// Of [`accepted`], how many have a digest over everything.
const SEALED: usize = 14;

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
    for (name, bytes) in accepted().into_iter().take(SEALED) {
        let (_, decoder) = DECODERS.into_iter().find(|(n, _)| *n == name).unwrap();
        for position in (0..128).chain((128..bytes.len()).step_by(bytes.len() / 97)) {
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
    encode(container.label(), &header, &records).unwrap()
}

/// A file with changes in its preamble, header or table, and digests that fit.
fn resealed(name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = changed(name, change);
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let (header, records) = (word(&bytes, 12), word(&bytes, 64));
    let table = 128 + header.next_multiple_of(64);
    let (header, table) = (128..128 + header, table..table + 8 * records);
    let head = [&bytes[..96], &bytes[header.clone()], &bytes[table.clone()]].concat();
    bytes[96..128].copy_from_slice(Digest::of(&head).bytes());
    let mut identity = [&bytes[..128], &bytes[header], &bytes[table.clone()]].concat();
    let mut end = table.end.next_multiple_of(64);
    for length in bytes[table].chunks_exact(8).map(|length| u64::from_le_bytes(length.try_into().unwrap()) as usize) {
        end += length.next_multiple_of(64);
        identity.extend_from_slice(&bytes[end..end + 32]);
        end += 64;
    }
    bytes[end..end + 32].copy_from_slice(Digest::of(&identity).bytes());
    bytes
}

/// The golden keys but for the first: small enough to be kept a few times.
fn one_key(edit: impl FnOnce(&mut Value, &mut Vec<Vec<u8>>)) -> Vec<u8> {
    edited("eval.key", |header, records| {
        // One entry for each gadget and level, which are one here.
        header["keys"][0]["rotate"].as_array_mut().unwrap().truncate(1);
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

/// What a file says of itself; whose keys it is of, where its kind has keys.
fn label(kind: Kind, context: Digest) -> Label {
    let id = kind.has_key_set().then(|| KeySetId::new([7; 16])).flatten();
    Label::new(kind, context, id).unwrap()
}

/// The tensors of codebooks, by name.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// Codebooks with other tensors or other metadata.
fn codes(change: impl FnOnce(&mut Tensors, &mut HashMap<String, String>)) -> Vec<u8> {
    let bytes = clustered().codebooks().encode().unwrap();
    let (_, head) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut metadata = head.metadata().clone().unwrap_or_default();
    let found = SafeTensors::deserialize(&bytes).unwrap();
    let tensor =
        |(name, view): (String, TensorView<'_>)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()));
    let mut tensors: Tensors = found.tensors().into_iter().map(tensor).collect();
    change(&mut tensors, &mut metadata);
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    safetensors::serialize(views, Some(metadata)).unwrap()
}

fn edit(tensors: &mut Tensors, name: &str, change: impl FnOnce(&mut [u8])) {
    change(&mut tensors.get_mut(name).unwrap().2);
}

/// Gives the linear step this many masks of this many slots; each diagonal has the first. Their record is still to be
/// made.
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
    let old = |name: &str| std::fs::read(folder("golden/v1").join(name)).unwrap();
    write("container", "empty", vec![]);
    write("container", "magic", umbra_file::MAGIC.to_vec());
    write("container", "preamble", changed(secret, |b| b.truncate(127)));
    write("container", "text", b"hello, this is no such file".to_vec());
    write("container", "version", changed(secret, |b| b[8] = 99));
    write("container", "version-1-program", old("program.umbra"));
    write("container", "version-1-keys", old(secret));
    write("container", "version-1-ciphertext", old("output.ct")[..4096].to_vec());
    write("container", "kind", changed(secret, |b| b[10..12].fill(0xee)));
    write("container", "header-length", changed(secret, |b| b[12..16].fill(0xff)));
    write("container", "header-beyond-end", changed(secret, |b| b[12..16].copy_from_slice(&0xf_0000u32.to_le_bytes())));
    write("container", "key-set-missing", resealed(secret, |b| b[48..64].fill(0)));
    write("container", "key-set-too-many", resealed("program.client", |b| b[48] = 1));
    write("container", "record-count", changed(secret, |b| b[64..68].fill(0xff)));
    write("container", "reserved", resealed(secret, |b| b[68] = 1));
    write("container", "length", changed(secret, |b| b[72..80].fill(0xff)));
    write("container", "reserved-end", resealed(secret, |b| b[80] = 1));
    write("container", "header-digest", changed(secret, |b| b[100] ^= 1));
    write("container", "header-padding", changed(secret, |b| b[150] = 1));
    write("container", "table", changed(secret, |b| b[192] ^= 1));
    write("container", "record-digest", changed(secret, |b| b[300] ^= 1));
    write("container", "record-tail", changed(secret, |b| b[4352 + 40] ^= 1));
    write("container", "trailer", changed(secret, |b| b[4416] ^= 1));
    write("container", "truncated", changed(secret, |b| b.truncate(3000)));
    write("container", "longer", changed(secret, |b| b.extend([0; 64])));
    let deep = Value::String("[".repeat(100_000));
    let no_program = |header: &Value| encode(label(Kind::Program, Digest::of(b"")), header, &[]).unwrap();
    write("program", "header-string", no_program(&deep));
    write("program", "header-null", no_program(&Value::Null));

    // 3 records of the linear step, small enough to be kept; its period is 512.
    type Edit = fn(&mut Value, &mut Vec<Vec<u8>>);
    let programs: [(&str, Edit); 22] = [
        ("control-characters", |h, _| h["client"]["name"] = json!("\u{1b}[2J")),
        ("registers", |h, _| h["registers"] = json!(u64::MAX)),
        ("ring-degree", |h, _| h["client"]["parameters"]["log_n"] = json!(63)),
        ("insecure", |h, _| {
            // One special prime more, which makes 136 bits of 107.
            h["client"]["parameters"]["primes"].as_array_mut().unwrap().push(json!(1_073_479_681));
            h["client"]["parameters"]["gadgets"][0]["special"].as_array_mut().unwrap().push(json!(4));
        }),
        ("prime-index", |h, _| h["client"]["parameters"]["levels"][0][0] = json!(60000)),
        ("not-a-prime", |h, _| h["client"]["parameters"]["primes"][0] = json!(8193)),
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
        ("complex-without-parts", |h, _| h["steps"][2]["operation"]["plan"]["imaginary_steps"] = json!(1)),
        ("part-neither-0-nor-1", |h, r| {
            h["steps"][2]["operation"]["plan"]["imaginary_steps"] = json!(1);
            extend_diagonals(&mut r[0], &[2]);
        }),
        ("complex-with-masks", |h, r| {
            h["steps"][2]["operation"]["plan"]["imaginary_steps"] = json!(1);
            h["steps"][2]["operation"]["masks"] = json!([1, 512]);
            extend_diagonals(&mut r[0], &[1, 0]);
            r.insert(2, vec![1; 512]);
        }),
        ("keys-missing", |h, _| h["client"]["keys"] = json!([])),
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
    let other = label(Kind::SecretKey, Digest::of(b"x"));
    write("secret_key", "other-parameters", encode(other, &json!({}), &[&[0; 4096]]).unwrap());
    write("secret_key", "key-set-missing", resealed(secret, |b| b[48..64].fill(0)));

    let publics: [(&str, Edit); 6] = [
        ("level", |h, _| h["level"] = json!(60)),
        ("more-records", |_, r| r.push(vec![0; 4])),
        ("no-record", |_, r| r.clear()),
        ("residue", |_, r| r[0][32..36].fill(0xff)),
        ("short", |_, r| r[0].truncate(4)),
        ("unknown-field", |h, _| h["hello"] = json!(1)),
    ];
    for (name, edit) in publics {
        write("public_key", name, edited("public.key", edit));
    }
    let other = label(Kind::PublicKey, Digest::of(b"x"));
    write("public_key", "other-parameters", encode(other, &json!({"level": 1}), &[&[0; 4096]]).unwrap());
    write("public_key", "secret-key", golden("secret.key"));

    let clients: [(&str, Edit); 11] = [
        ("familiar", |h, _| {
            let range = json!([1.0, -1.0]);
            h["familiar"] = json!({"mean": range, "deviation": range, "roughness": range, "largest_logit": range});
        }),
        ("flooding", |h, _| h["output"]["flooding"] = json!(1e30)),
        ("classes", |h, _| h["classes"] = json!(["one"])),
        ("control-characters", |h, _| h["name"] = json!("\u{1b}[2J")),
        ("insecure", |h, _| {
            h["parameters"]["primes"].as_array_mut().unwrap().push(json!(1_073_479_681));
            h["parameters"]["gadgets"][0]["special"].as_array_mut().unwrap().push(json!(4));
        }),
        ("key-of-no-gadget", |h, _| h["keys"][0]["gadget"] = json!(9)),
        ("key-twice", |h, _| {
            let first = h["keys"][0].clone();
            h["keys"].as_array_mut().unwrap().push(first);
        }),
        ("logit-error", |h, _| h["logit_error"] = json!(-1.0)),
        ("positions-huge", |h, _| h["input"]["positions"] = json!(1u64 << 60)),
        ("record", |_, r| r.push(vec![0; 4])),
        ("unknown-field", |h, _| h["hello"] = json!(1)),
    ];
    for (name, edit) in clients {
        write("client_file", name, edited("program.client", edit));
    }
    write("client_file", "a-program", golden("program.umbra"));

    let keys: [(&str, Edit); 7] = [
        ("no-records", |_, r| r.clear()),
        ("more-records", |_, r| r.push(vec![0; 4])),
        ("short-record", |_, r| r[0].truncate(4)),
        ("gadget", |h, _| h["keys"][0]["gadget"] = json!(9)),
        ("level", |h, _| h["keys"][0]["level"] = json!(60)),
        ("twice", |h, r| {
            let first = h["keys"][0]["rotate"][0].clone();
            h["keys"][0]["rotate"].as_array_mut().unwrap().push(first);
            r.push(r[0].clone());
        }),
        ("residue", |_, r| r[0][32..36].fill(0xff)),
    ];
    for (name, edit) in keys {
        write("evaluation_keys", name, one_key(edit));
    }
    // No keys at all are none that anything is wrong with.
    let no_keys = |context, header| encode(label(Kind::EvaluationKeys, context), &header, &[]).unwrap();
    let context = Digest::from(*loaded().parameters().digest());
    write("evaluation_keys", "unknown-field", no_keys(context, json!({"keys": [], "more": 1})));
    write("evaluation_keys", "other-parameters", no_keys(Digest::of(b"x"), json!({"keys": []})));
    let one = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = one_key(|_, _| {});
        change(&mut bytes);
        bytes
    };
    write("key_stream", "cut", one(&|b| b.truncate(20_000)));
    write("key_stream", "goes-on", one(&|b| b.extend([0; 64])));
    write("key_stream", "record-digest", one(&|b| b[1000] ^= 1));
    write("key_stream", "other-parameters", no_keys(Digest::of(b"x"), json!({"keys": []})));

    let ciphertexts: [(&str, Edit); 11] = [
        ("no-records", |_, r| r.clear()),
        ("short-record", |_, r| r[0].truncate(4)),
        ("level", |h, _| h["level"] = json!(9)),
        ("scale-zero", |h, _| h["scale"] = json!(0.0)),
        ("scale-huge", |h, _| h["scale"] = json!(1e300)),
        ("images-none", |h, _| h["images"] = json!(0)),
        ("images-too-many", |h, _| h["images"] = json!(2)),
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
    let other = label(Kind::Ciphertext, Digest::of(b"x"));
    write("ciphertexts", "other-program", encode(other, &header, &[record]).unwrap());
    write("ciphertext_stream", "cut", changed("input.ct", |b| b.truncate(20_000)));
    write("ciphertext_stream", "record-digest", changed("input.ct", |b| b[1000] ^= 1));

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
    write("manifest", "huge-image", with(&|m| m["input"]["height"] = json!(u64::MAX)));
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

    write("clusters", "empty", vec![]);
    write("clusters", "codebook-missing", codes(|t, _| drop(t.remove("codebook.0"))));
    write("clusters", "code-too-large", codes(|t, _| edit(t, "stem.conv.weight.index", |b| b[..4].fill(0xff))));
    write("clusters", "no-metadata", codes(|_, m| m.clear()));
    write("clusters", "not-finite", codes(|t, _| edit(t, "codebook.0", |b| b[..8].fill(0xff))));
    write("clusters", "not-its-codewords", codes(|t, _| edit(t, "codebook.0", |b| b[7] ^= 0x80)));
    write("clusters", "type", codes(|t, _| t.get_mut("codebook.0").unwrap().0 = Dtype::I64));
    write("clusters", "version", codes(|_, m| drop(m.insert("umbra-clusters".into(), "1 full".into()))));

    let png = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/images/cat.png")).unwrap();
    let mut huge = png.clone();
    huge[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    write("image", "huge.png", huge);
    write("image", "half.png", png[..png.len() / 2].to_vec());
    write("image", "signature.png", png[..8].to_vec());
    write("image", "text.png", b"not an image".to_vec());
    write("image", "start.jpg", vec![0xff, 0xd8, 0xff, 0xe0, 0, 0x10, b'J', b'F', b'I', b'F']);
    write("image", "gif.png", b"GIF89a\x01\0\x01\0\0\0\0".to_vec());

    write("cifar", "empty", vec![]);
    write("cifar", "short", vec![0; 3072]);
    write("cifar", "label", vec![200; 3073]);
    write("cifar", "fine-label", vec![101; 3074]);
}
