//! One file of each format, as version 1 wrote it: read, checked, run and written again bit by bit.
//!
//! `cargo test -p umbra-cli --test golden -- --ignored` makes them anew, which a change of format must not need: it comes
//! with a new version number and with golden files of its own.

use std::path::{Path, PathBuf};

use umbra_ckks::{Bsgs, Diagonal, GadgetLiteral, ParametersLiteral};
use umbra_client::{Client, decode_secret_key, encode_secret_key, open_secret_key};
use umbra_file::{Container, ContainerFile, Kind, encode};
use umbra_model::{ImageSpec, Normalisation};
use umbra_program::{
    Estimate, InputLayout, Layout, Linear, LinearInput, Operation, OutputLayout, Program, Report, Step,
};
use umbra_ring::primes;
use umbra_server::Server;
use umbra_wire::{EvaluationKeys, LoadedProgram, Role, encode_output, encode_program, read_ciphertexts};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(golden(name)).unwrap()
}

/// The pictures are 2 x 2 gray; the two "logits" are 1/4 plus the sum of the pixels, and 1/4 less twice that.
const PICTURE: [f32; 4] = [0.5, -1.0, 2.0, 0.25];

/// Channel 0 holds the picture; the last step multiplies it and moves it to channel 1 too.
fn program() -> Program {
    let log_n = 12;
    let primes = primes::nearest(log_n, 26.5, 4, &[]).unwrap();
    let (slots, positions) = (1usize << (log_n - 1), 4usize);
    let period = slots / positions;
    let mut channels = vec![None; period];
    channels[0] = Some((0, 0));
    let unit = |at: usize, value: f32| {
        let mut values = vec![0.0; period];
        values[at] = value;
        values
    };
    let diagonal =
        |baby, values| Diagonal { output: 0, input: 0, outer: 0, inner: 0, baby, imaginary: false, mask: None, values };
    let mut bias = vec![0.0; period];
    bias[..2].fill(0.25);
    let sum = |rotation: usize| Operation::RotateSum { source: 0, rotations: vec![rotation as i64], gadget: 0 };
    let estimate = Estimate::default();
    let step = |node: &str, operation, scale_out| Step {
        node: node.into(),
        operation,
        destination: 0,
        level_in: 1,
        level_out: 1,
        scale_out,
        estimate,
    };
    let scale = 24f64.exp2();
    let linear = Linear {
        inputs: vec![LinearInput { source: 0, weight_scale: 16f64.exp2() }],
        plan: Bsgs { babies: vec![-1, 0], inner: vec![0], outer: vec![0], pair: None },
        diagonals: vec![diagonal(0, unit(1, -2.0)), diagonal(1, unit(0, 1.0))],
        period,
        masks: Vec::new(),
        bias: vec![bias],
        gadget: 0,
        add_first: false,
    };
    Program {
        name: "golden".into(),
        network: [7; 32],
        classes: vec!["sum".into(), "twice the sum, negated".into()],
        picture: ImageSpec {
            channels: 1,
            height: 2,
            width: 2,
            normalisation: Normalisation::PerChannel { mean: vec![0.5], std: vec![0.25] },
            clip: None,
        },
        logit_range: Some([-8.0, 8.0]),
        layout: Layout::Cyclic,
        input: InputLayout { register: 0, positions, pitch: 2, ciphertexts: vec![channels], level: 1, scale },
        output: OutputLayout { register: 0, level: 1, scale: 40f64.exp2(), period, step: 1, classes: 2 },
        parameters: ParametersLiteral {
            log_n,
            primes,
            levels: vec![vec![0], vec![0, 1]],
            gadgets: vec![GadgetLiteral { digits: vec![vec![0, 1]], special: vec![2, 3] }],
        },
        registers: 1,
        steps: vec![
            step("pool", sum(period), scale),
            step("pool", sum(2 * period), scale),
            step("fc", Operation::Linear(Box::new(linear)), 40f64.exp2()),
        ],
        report: Report { notes: vec!["made by hand".into()], ..Report::default() },
    }
}

fn expected() -> [f64; 2] {
    let sum: f32 = PICTURE.iter().sum();
    [0.25 + f64::from(sum), 0.25 - 2.0 * f64::from(sum)]
}

fn close(values: &[f64]) {
    let error = values.iter().zip(expected()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(values.len() == 2 && error < 1e-2, "{values:?} for {:?}", expected());
}

#[test]
#[ignore = "writes the golden files"]
fn write() {
    std::fs::create_dir_all(golden("")).unwrap();
    let program = LoadedProgram::new(program()).unwrap();
    program.save(&golden("program.umbra")).unwrap();
    let client = Client::generate(&program).unwrap();
    client.save_secret_key(&golden("secret.key")).unwrap();
    client.write_evaluation_keys(&golden("eval.key"), &mut |_, _| {}).unwrap();
    client.encrypt_to(&golden("input.ct"), &PICTURE).unwrap();
    let server = Server::new(&program).unwrap();
    let keys = server.open_keys(&golden("eval.key")).unwrap();
    let result = server.infer(&keys, server.read_input(&golden("input.ct")).unwrap(), &mut |_| {}).unwrap();
    server.write_output(&golden("output.ct"), &result).unwrap();
    close(&client.decrypt(&result).unwrap().values);
}

#[test]
fn programs() {
    let program = LoadedProgram::open(&golden("program.umbra")).unwrap();
    assert_eq!(**program.program(), self::program());
    assert!(encode_program(program.program()).unwrap() == bytes("program.umbra"));
    // What came later is written where it is there, and read back.
    let mut clipped = self::program();
    clipped.picture.clip = Some(5.0);
    let encoded = encode_program(&clipped).unwrap();
    assert_eq!(**LoadedProgram::decode(&Container::decode(&encoded[..]).unwrap()).unwrap().program(), clipped);
}

#[test]
fn secret_keys() {
    let program = LoadedProgram::open(&golden("program.umbra")).unwrap();
    let file = ContainerFile::open(golden("secret.key"), Kind::SecretKey, None).unwrap();
    let secret = decode_secret_key(file.container(), program.parameters()).unwrap();
    assert!(*encode_secret_key(program.parameters(), &secret).unwrap() == bytes("secret.key"));
}

#[test]
fn evaluation_keys() {
    let program = LoadedProgram::open(&golden("program.umbra")).unwrap();
    let keys = EvaluationKeys::open(&golden("eval.key"), program.parameters()).unwrap();
    keys.expect(&program.program().key_set()).unwrap();
    keys.load_all().unwrap();
    assert_eq!(keys.size(), bytes("eval.key").len() as u64);
}

#[test]
fn ciphertexts() {
    let program = LoadedProgram::open(&golden("program.umbra")).unwrap();
    let secret = open_secret_key(&golden("secret.key"), program.parameters()).unwrap();
    let client = Client::new(&program, secret);
    let server = Server::new(&program).unwrap();
    let keys = server.open_keys(&golden("eval.key")).unwrap();
    let result = server.infer(&keys, server.read_input(&golden("input.ct")).unwrap(), &mut |_| {}).unwrap();
    // The same bits on every machine, with every kernel and number of threads.
    assert!(encode_output(&program, &result).unwrap() == bytes("output.ct"));
    let read = read_ciphertexts(&golden("output.ct"), &program, Role::Output).unwrap();
    close(&client.decrypt(&read).unwrap().values);
}

/// A program whose header was edited, with digests that fit.
fn edited(edit: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let file = bytes("program.umbra");
    let container = Container::decode(&file[..]).unwrap();
    let mut header: serde_json::Value = container.header().unwrap();
    edit(&mut header);
    let records: Vec<&[u8]> = (0..container.records()).map(|r| container.record(r).unwrap()).collect();
    encode(container.kind(), container.context(), &header, &records).unwrap()
}

#[test]
fn headers_that_ask_for_too_much_are_refused() {
    use serde_json::json;
    type Edit = fn(&mut serde_json::Value);
    let edits: [Edit; 16] = [
        |h| h["registers"] = json!(u64::MAX),
        |h| h["parameters"]["log_n"] = json!(63),
        |h| h["parameters"]["log_n"] = json!(11),
        |h| h["parameters"]["levels"][0][0] = json!(60000),
        |h| h["parameters"]["primes"][0] = json!(15),
        |h| h["parameters"]["gadgets"] = json!([]),
        |h| h["steps"][2]["operation"]["period"] = json!(0),
        |h| h["steps"][2]["operation"]["period"] = json!(1u64 << 62),
        |h| h["steps"][2]["operation"]["outputs"] = json!(1u64 << 62),
        |h| h["steps"][2]["operation"]["plan"]["babies"] = json!([0, 1u64 << 40]),
        |h| h["steps"][0]["level_out"] = json!(9),
        |h| h["steps"][0]["destination"] = json!(77),
        |h| h["input"]["scale"] = json!(-1.0),
        |h| h["input"]["positions"] = json!(1u64 << 60),
        |h| h["output"]["classes"] = json!(1u64 << 60),
        |h| h["picture"]["height"] = json!(1u64 << 40),
    ];
    for (i, edit) in edits.into_iter().enumerate() {
        let bytes = edited(edit);
        let container = Container::decode(&bytes[..]).unwrap();
        assert!(LoadedProgram::decode(&container).is_err(), "edit {i}");
    }
    let same = edited(|_| {});
    assert!(LoadedProgram::decode(&Container::decode(&same[..]).unwrap()).is_ok());
}
