//! What is counted of a program, against what the CPU back end takes: keys and bytes.

use umbra_ckks::{Bsgs, Diagonal, Gadget, GadgetLiteral, KeyId, Level, Parameters, ParametersLiteral};
use umbra_image::{ImageSpec, Normalisation};
use umbra_program::{
    ClientSpec, Estimate, InputLayout, Layout, Linear, LinearInput, Operation, OutputLayout, Program, Register, Report,
    Step, count,
};
use umbra_ring::kernels::Kernels;
use umbra_runtime::conformance::CkksClient;
use umbra_runtime::{Cpu, Prepared, to_the_end};

#[test]
fn keys_and_weights_take_the_bytes_that_are_counted() {
    let program = program();
    program.check().expect("a program");
    let counts = count(&program);
    let parameters =
        Parameters::insecure_for_tests(program.client.parameters.clone(), Kernels::best()).expect("parameters");
    let client = CkksClient::new(&parameters, &program.client.keys).expect("keys");
    let prepared = Prepared::new(&program, Cpu::new(&parameters)).expect("weights");
    assert_eq!(prepared.bytes() as u64, counts.weight_bytes);
    assert_eq!(client.key_bytes() as u64, counts.key_bytes);
    assert_eq!(counts.key_file_bytes * 2, counts.key_bytes);
    let input = &program.client.input;
    let slots = vec![0.5; parameters.slots()];
    let ciphertext = client.encrypt(&slots, input.level, input.scale).expect("a ciphertext");
    prepared.run(client.keys(), vec![ciphertext], &mut to_the_end).expect("a result");
    // Every key is used, and no other is asked for.
    let name = |key: &KeyId| (key.gadget, key.kind);
    let mut asked: Vec<_> = client.asked().iter().map(name).collect();
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked, program.client.keys.iter().map(name).collect::<Vec<_>>());
    assert_eq!(asked.len() as u64, counts.keys);
}

/// All diagonals of a small plan, whose matrix so has no zeros; a square; a sum.
fn program() -> Program {
    let log_n = 8;
    let primes = umbra_ring::primes::nearest(log_n, 29.0, 5, &[]).expect("primes");
    let (scale, weight_scale) = (30f64.exp2(), f64::from(primes[2]));
    let plan = Bsgs { babies: vec![0, 1], inner: vec![0, 2], outer: vec![0, -4], imaginary_steps: None };
    let mut diagonals = Vec::new();
    for (outer, inner) in (0..2).flat_map(|outer| (0..2).map(move |inner| (outer, inner))) {
        for baby in 0..2 {
            let values = vec![0.125, -0.25, 0.5, 0.0625];
            diagonals.push(Diagonal { output: 0, input: 0, outer, inner, baby, imaginary: false, mask: None, values });
        }
    }
    let linear = Linear {
        inputs: vec![LinearInput { source: Register(0), weight_scale }],
        plan,
        diagonals,
        period: 4,
        masks: Vec::new(),
        bias: vec![vec![0.25; 4]],
        gadget: Gadget(0),
        add_first: false,
    };
    let step = |operation, level_in, level_out, scale_out| Step {
        node: "node".into(),
        operation,
        destination: Register(0),
        level_in: Level(level_in),
        level_out: Level(level_out),
        scale_out,
        estimate: Estimate::default(),
    };
    let client = ClientSpec {
        name: "counted".into(),
        classes: vec!["class".into()],
        image: ImageSpec {
            channels: 1,
            height: 2,
            width: 2,
            normalisation: Normalisation::PerImage { min_std: 0.05 },
            clip: None,
        },
        logit_range: None,
        logit_error: 0.0,
        familiar: None,
        layout: Layout::default(),
        input: InputLayout {
            positions: 4,
            pitch: 2,
            ciphertexts: vec![vec![None; (1 << (log_n - 1)) / 4]],
            level: Level(1),
            scale,
        },
        output: OutputLayout { level: Level(0), scale: scale * scale, period: 1, step: 1, classes: 1, flooding: 0.0 },
        parameters: ParametersLiteral {
            log_n,
            primes,
            levels: vec![vec![0, 1], vec![0, 1, 2]],
            gadgets: vec![GadgetLiteral { digits: vec![vec![0, 1], vec![2]], special: vec![3, 4] }],
        },
        keys: Vec::new(),
    };
    let rotations = vec![4, 8];
    let mut program = Program {
        client,
        network: [0; 32],
        registers: 1,
        input: Register(0),
        output: Register(0),
        steps: vec![
            step(Operation::Linear(Box::new(linear)), 1, 0, scale),
            step(Operation::Square { source: Register(0), gadget: Gadget(0) }, 0, 0, scale * scale),
            step(Operation::RotateSum { source: Register(0), rotations, gadget: Gadget(0) }, 0, 0, scale * scale),
        ],
        report: Report::default(),
    };
    program.client.keys = program.key_set();
    program
}
