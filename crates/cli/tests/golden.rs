//! One file of each format and version. Those of version 2 are read, checked, run and written again bit by bit; those
//! of version 1 are refused with what to do.
//!
//! `cargo test -p umbra-cli --test golden -- --ignored` makes those of version 2 anew, which a change of format must
//! not need: it comes with a new version number and with golden files of its own. Nothing writes version 1 any more.

mod common;

use std::ops::ControlFlow::Continue;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use common::umbra;
use umbra_client::{Client, Sender, decode_secret_key, encode_secret_key, open_secret_key};
use umbra_file::{Container, ContainerFile, FileError, FormatError, Kind, VERSION, encode};
use umbra_image::Familiar;
use umbra_program::Program;
use umbra_program::testing::{IMAGE, tiny, tiny_logits};
use umbra_server::Server;
use umbra_wire::{
    ClientFile, Encrypted, EvaluationKeys, EvaluationKeysReader, LoadedProgram, Role, encode_program,
    encode_public_key, open_public_key,
};

/// Files of version 1, what they are, and what is to be done about them.
const VERSION_1: [(&str, &str); 5] = [
    ("program.umbra", "compile the network again"),
    ("secret.key", "make the keys again with keygen"),
    ("eval.key", "make the keys again with keygen"),
    ("input.ct", "encrypt the image again"),
    ("output.ct", "encrypt the image again"),
];

fn folder(version: u16) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/v{version}"))
}

fn golden(name: &str) -> PathBuf {
    folder(VERSION).join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(golden(name)).unwrap()
}

/// The tiny program, under the name that the files have.
fn program() -> Program {
    let mut program = tiny();
    program.client.name = "golden".into();
    program
}

fn loaded() -> LoadedProgram {
    LoadedProgram::open(&golden("program.umbra")).unwrap()
}

fn close(client: &Client, result: &Encrypted) {
    let found = client.decrypt(result).unwrap().remove(0).unwrap().values;
    let expected = tiny_logits(&IMAGE);
    let error = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(found.len() == expected.len() && error < 1e-2, "{found:?} for {expected:?}");
}

#[test]
#[ignore = "writes the golden files"]
fn write() {
    std::fs::create_dir_all(golden("")).unwrap();
    let program = LoadedProgram::new(program()).unwrap();
    program.save(&golden("program.umbra")).unwrap();
    program.client().save(&golden("program.client")).unwrap();
    let client = Client::generate(program.client()).unwrap();
    client.save_secret_key(&golden("secret.key")).unwrap();
    client.save_evaluation_keys(&golden("eval.key"), &mut |_, _| Continue(())).unwrap();
    client.encrypt_to(&golden("input.ct"), &[IMAGE]).unwrap();
    let server = Server::new(&program).unwrap();
    let keys = server.open_keys(&golden("eval.key")).unwrap();
    let result = server.infer(&keys, &server.open_input(&golden("input.ct")).unwrap(), &mut |_| Continue(())).unwrap();
    server.save_output(&golden("output.ct"), &result).unwrap();
    close(&client, &result);
}

/// A client file with everything that others may lack.
fn familiar() -> ClientFile {
    let mut spec = program().client;
    spec.output.flooding = 0.25;
    spec.familiar = Some(Familiar {
        mean: [-0.5, 0.5],
        deviation: [0.375, 2.5],
        roughness: [0.015625, 0.5],
        largest_logit: [1.0, 12.0],
    });
    ClientFile::new(spec, loaded().digest()).unwrap()
}

/// Of the secret key that is there, so that the other files stay.
#[test]
#[ignore = "writes the golden files that came after the others"]
fn write_public_key_and_familiar() {
    let client = Client::open(loaded().client(), &golden("secret.key")).unwrap();
    client.save_public_key(&golden("public.key")).unwrap();
    familiar().save(&golden("familiar.client")).unwrap();
}

#[test]
fn programs() {
    let program = loaded();
    assert_eq!(**program.program(), self::program());
    assert!(encode_program(program.program()).unwrap() == bytes("program.umbra"));
    // What is not usual is written where it is there, and read back.
    let mut clipped = self::program();
    clipped.client.image.clip = Some(5.0);
    let encoded = encode_program(&clipped).unwrap();
    assert_eq!(**LoadedProgram::decode(&Container::decode(&encoded[..]).unwrap()).unwrap().program(), clipped);
}

#[test]
fn client_files() {
    let client = ClientFile::open(&golden("program.client")).unwrap();
    assert_eq!(**client.spec(), program().client);
    assert_eq!(client.program(), loaded().digest());
    assert!(client.encode().unwrap() == bytes("program.client"));
    // The program says the same.
    assert!(loaded().client().encode().unwrap() == bytes("program.client"));
    // What is there only where it is known.
    let found = ClientFile::open(&golden("familiar.client")).unwrap();
    assert_eq!(found.spec(), familiar().spec());
    assert!(found.encode().unwrap() == bytes("familiar.client"));
}

#[test]
fn public_keys() {
    let program = loaded();
    let key = open_public_key(&golden("public.key"), program.parameters()).unwrap();
    assert!(encode_public_key(&key).unwrap() == bytes("public.key"));
    let secret = open_secret_key(&golden("secret.key"), program.parameters()).unwrap();
    assert_eq!(key.key_set(), secret.key_set());
    // The server works on it as on any other image, and the owner of the secret key decrypts.
    let sender = Sender::new(program.client(), key).unwrap();
    let bytes = sender.encrypt(&[IMAGE]).unwrap().encode_images(program.client()).unwrap();
    let input = Encrypted::read(&bytes[..], program.client(), Role::Input).unwrap();
    let server = Server::new(&program).unwrap();
    let keys = server.open_keys(&golden("eval.key")).unwrap();
    let result = server.infer(&keys, &input, &mut |_| Continue(())).unwrap();
    close(&Client::new(program.client(), secret).unwrap(), &result);
}

#[test]
fn secret_keys() {
    let file = ContainerFile::open(golden("secret.key"), Kind::SecretKey, None).unwrap();
    let secret = decode_secret_key(file.container(), loaded().parameters()).unwrap();
    assert!(*encode_secret_key(&secret).unwrap() == bytes("secret.key"));
}

#[test]
fn evaluation_keys() {
    let program = loaded();
    let keys = EvaluationKeys::open(&golden("eval.key"), program.parameters()).unwrap();
    keys.expect(&program.client().spec().keys).unwrap();
    keys.load_all().unwrap();
    let file = bytes("eval.key");
    assert_eq!(keys.size(), file.len() as u64);
    let stream = EvaluationKeysReader::open(&file[..], program.parameters()).unwrap();
    assert_eq!(stream.keys(), keys.keys());
    assert_eq!(stream.into_memory().unwrap().len(), keys.keys().len());
}

#[test]
fn ciphertexts() {
    let program = loaded();
    let secret = open_secret_key(&golden("secret.key"), program.parameters()).unwrap();
    let client = Client::new(&ClientFile::open(&golden("program.client")).unwrap(), secret).unwrap();
    let server = Server::new(&program).unwrap();
    let keys = server.open_keys(&golden("eval.key")).unwrap();
    let input = server.open_input(&golden("input.ct")).unwrap();
    assert_eq!((input.images, input.key_set()), (1, Some(client.key_set())));
    let result = server.infer(&keys, &input, &mut |_| Continue(())).unwrap();
    // The same bits on every machine, with every kernel and number of threads.
    assert!(result.encode(program.client()).unwrap() == bytes("output.ct"));
    close(&client, &Encrypted::open(&golden("output.ct"), client.file(), Role::Output).unwrap());
}

#[test]
fn files_of_version_1_are_refused_with_what_to_do() {
    for (name, remedy) in VERSION_1 {
        let error = ContainerFile::open_any(folder(1).join(name)).unwrap_err();
        assert!(matches!(&error, FileError::Format { reason: FormatError::Version { found: 1, .. }, .. }), "{error}");
        assert!(error.to_string().contains(remedy), "{error}");
    }
}

#[test]
fn commands_say_what_to_do_about_version_1() {
    let old = |name: &str| folder(1).join(name).to_str().unwrap().to_string();
    let new = |name: &str| golden(name).to_str().unwrap().to_string();
    let out = std::env::temp_dir().join("umbra-never-written.ct").to_str().unwrap().to_string();
    let (program, client) = (new("program.umbra"), new("program.client"));
    let (secret, keys, input) = (new("secret.key"), new("eval.key"), new("input.ct"));
    let infer = |program: &str, keys: &str, input: &str| {
        ["infer", program, "--keys", keys, input, "--out", &out].map(str::to_string).to_vec()
    };
    let decrypt = |key: &str, result: &str| ["decrypt", &client, "--key", key, result].map(str::to_string).to_vec();
    let mut commands = vec![
        ("program.umbra", infer(&old("program.umbra"), &keys, &input)),
        ("eval.key", infer(&program, &old("eval.key"), &input)),
        ("input.ct", infer(&program, &keys, &old("input.ct"))),
        ("secret.key", decrypt(&old("secret.key"), &new("output.ct"))),
        ("output.ct", decrypt(&secret, &old("output.ct"))),
        ("program.umbra", ["keygen", &old("program.umbra"), "--out", &out].map(str::to_string).to_vec()),
        ("program.umbra", ["estimate", &old("program.umbra")].map(str::to_string).to_vec()),
    ];
    commands.extend(VERSION_1.map(|(name, _)| (name, vec!["inspect".to_string(), old(name)])));
    for (name, arguments) in commands {
        let output = umbra().args(&arguments).output().unwrap();
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), line.lines().count()), (Some(2), 1), "{arguments:?}: {line}");
        let (_, remedy) = VERSION_1.iter().find(|(n, _)| *n == name).unwrap();
        assert!(["version 1", name, *remedy].iter().all(|word| line.contains(word)), "{arguments:?}: {line}");
    }
    assert!(!Path::new(&out).exists());
}

/// A program whose header was edited, with digests that fit.
fn edited(edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let file = bytes("program.umbra");
    let container = Container::decode(&file[..]).unwrap();
    let mut header: Value = container.header().unwrap();
    edit(&mut header);
    let records: Vec<&[u8]> = (0..container.records()).map(|r| container.record(r).unwrap()).collect();
    encode(container.label(), &header, &records).unwrap()
}

#[test]
fn headers_that_ask_for_too_much_are_refused() {
    type Edit = fn(&mut Value);
    let edits: [Edit; 18] = [
        |h| h["registers"] = json!(u64::MAX),
        |h| h["input"] = json!(u16::MAX),
        |h| h["output"] = json!(1u64 << 40),
        |h| h["client"]["parameters"]["log_n"] = json!(63),
        |h| h["client"]["parameters"]["log_n"] = json!(11),
        |h| h["client"]["parameters"]["levels"][0][0] = json!(60000),
        |h| h["client"]["parameters"]["primes"][0] = json!(15),
        |h| h["client"]["parameters"]["gadgets"] = json!([]),
        |h| h["client"]["input"]["scale"] = json!(-1.0),
        |h| h["client"]["input"]["positions"] = json!(1u64 << 60),
        |h| h["client"]["output"]["classes"] = json!(1u64 << 60),
        |h| h["client"]["image"]["height"] = json!(1u64 << 40),
        |h| h["steps"][2]["operation"]["period"] = json!(0),
        |h| h["steps"][2]["operation"]["period"] = json!(1u64 << 62),
        |h| h["steps"][2]["operation"]["outputs"] = json!(1u64 << 62),
        |h| h["steps"][2]["operation"]["plan"]["babies"] = json!([0, 1u64 << 40]),
        |h| h["steps"][0]["level_out"] = json!(9),
        |h| h["steps"][0]["destination"] = json!(77),
    ];
    for (i, edit) in edits.into_iter().enumerate() {
        let bytes = edited(edit);
        let container = Container::decode(&bytes[..]).unwrap();
        assert!(LoadedProgram::decode(&container).is_err(), "edit {i}");
    }
    let same = edited(|_| {});
    assert!(LoadedProgram::decode(&Container::decode(&same[..]).unwrap()).is_ok());
}
