//! A small program, and everything that can be wrong with it.

use umbra_ckks::{Bsgs, Diagonal, Gadget, GadgetLiteral, KeyKind, Level, ParametersLiteral};
use umbra_image::{ImageSpec, Normalisation};
use umbra_program::{
    ClientSpec, Estimate, InputLayout, Layout, Linear, LinearInput, MAX_CIPHERTEXTS, Operation, OutputLayout, Packing,
    Program, Register, Report, Step,
};

/// Squares a 2 x 2 image after a transform with a baby, an inner and an outer step, and sums over positions.
fn small() -> Program {
    small_at(5)
}

/// As [`small`] with another ring degree.
fn small_at(log_n: u32) -> Program {
    let mut channels = vec![None; (1 << (log_n - 1)) / 4];
    channels[..2].copy_from_slice(&[Some((0, 0)), Some((0, 1))]);
    let primes = umbra_ring::primes::nearest(log_n, 29.0, 5, &[]).unwrap();
    let levels = vec![vec![0, 1], vec![0, 1, 2]];
    let gadgets = vec![GadgetLiteral { digits: vec![vec![0, 1], vec![2]], special: vec![3, 4] }];
    let drop = f64::from(primes[2]);
    let (input_scale, weight_scale) = ((1u64 << 30) as f64, (1u64 << 20) as f64);
    let z_scale = input_scale * weight_scale / drop;
    let diagonal = |outer, inner, baby| Diagonal {
        output: 0,
        input: 0,
        outer,
        inner,
        baby,
        imaginary: false,
        mask: None,
        values: vec![0.5; 4],
    };
    let linear = Linear {
        inputs: vec![LinearInput { source: Register(0), weight_scale }],
        plan: Bsgs { babies: vec![0, 1], inner: vec![0, 2], outer: vec![0, -4], imaginary_steps: None },
        diagonals: vec![diagonal(0, 0, 1), diagonal(0, 1, 0), diagonal(1, 0, 0)],
        period: 4,
        masks: Vec::new(),
        bias: vec![vec![0.25; 4]],
        gadget: Gadget(0),
        add_first: false,
    };
    let step = |operation, level_in, level_out, scale_out| Step {
        node: "n".into(),
        operation,
        destination: Register(0),
        level_in: Level(level_in),
        level_out: Level(level_out),
        scale_out,
        estimate: Estimate::default(),
    };
    let client = ClientSpec {
        name: "small".into(),
        classes: vec!["a".into(), "b".into()],
        image: ImageSpec {
            channels: 1,
            height: 2,
            width: 2,
            normalisation: Normalisation::PerImage { min_std: 0.05 },
            clip: None,
        },
        logit_range: None,
        logit_error: 0.01,
        familiar: None,
        layout: Layout::default(),
        input: InputLayout { positions: 4, pitch: 2, ciphertexts: vec![channels], level: Level(1), scale: input_scale },
        output: OutputLayout {
            level: Level(0),
            scale: z_scale * z_scale,
            period: 4,
            step: 1,
            classes: 2,
            flooding: 0.0,
        },
        parameters: ParametersLiteral { log_n, primes, levels, gadgets },
        keys: Vec::new(),
    };
    keyed(Program {
        client,
        network: [1; 32],
        registers: 1,
        input: Register(0),
        output: Register(0),
        steps: vec![
            step(Operation::Linear(Box::new(linear)), 1, 0, z_scale),
            step(Operation::Square { source: Register(0), gadget: Gadget(0) }, 0, 0, z_scale * z_scale),
            step(
                Operation::RotateSum { source: Register(0), rotations: vec![4, 8, -4], gadget: Gadget(0) },
                0,
                0,
                z_scale * z_scale,
            ),
        ],
        report: Report::default(),
    })
}

/// With the keys that its steps need.
fn keyed(mut program: Program) -> Program {
    program.client.keys = program.key_set();
    program
}

fn linear(program: &mut Program) -> &mut Linear {
    match &mut program.steps[0].operation {
        Operation::Linear(linear) => linear,
        _ => unreachable!(),
    }
}

/// As [`small`] with a complex weight; its first step.
fn paired(program: &mut Program) -> &mut Step {
    let linear = linear(program);
    linear.plan.imaginary_steps = Some(3);
    linear.inputs[0].weight_scale /= 2.0;
    let imaginary = Diagonal { imaginary: true, ..linear.diagonals[0].clone() };
    linear.diagonals.insert(1, imaginary);
    &mut program.steps[0]
}

fn paired_linear(program: &mut Program) -> &mut Linear {
    paired(program);
    linear(program)
}

#[test]
fn pairs_pass_and_need_three_keys() {
    let mut program = small();
    let before = program.key_set().len();
    paired(&mut program);
    let program = keyed(program);
    assert_eq!(program.check(), Ok(()));
    let keys = program.key_set();
    assert_eq!(keys.len(), before + 3);
    for kind in [KeyKind::Conjugate(0), KeyKind::Rotate(3), KeyKind::Conjugate(3)] {
        assert!(keys.iter().any(|k| k.kind == kind && k.level == Level(1)), "{kind:?}");
    }
}

#[test]
fn a_sound_program_passes_and_names_its_keys() {
    let program = small();
    assert_eq!(program.check(), Ok(()));
    let (keys, parameters) = (program.key_set(), &program.client.parameters);
    let of = |kind| keys.iter().find(|k| k.kind == kind).copied();
    assert_eq!(keys.len(), 6);
    let relinearize = of(KeyKind::Relinearize).unwrap();
    assert_eq!((relinearize.level, relinearize.primes(parameters)), (Level(0), vec![0, 1]));
    // One digit of two primes and two special ones, N = 32 words each.
    assert_eq!(relinearize.bytes(parameters), 4 * 32 * 4);
    assert_eq!(of(KeyKind::Rotate(1)).unwrap().level, Level(1));
    // Used at both levels.
    assert_eq!(of(KeyKind::Rotate(-4)).unwrap().bytes(parameters), 2 * 5 * 32 * 4);
    assert_eq!(of(KeyKind::Rotate(8)).unwrap().level, Level(0));
    let states = program.states();
    assert_eq!(states.len(), 4);
    assert_eq!(states[1][0].unwrap().level, Level(0));
}

#[test]
fn every_damage_is_found() {
    type Damage = fn(&mut Program);
    let damages: Vec<Damage> = vec![
        |p| p.client.parameters.log_n = 40,
        |p| p.client.parameters.primes[0] = 15,
        |p| p.client.parameters.primes[1] = p.client.parameters.primes[0],
        |p| p.client.parameters.levels[0] = vec![1, 0],
        |p| p.client.parameters.levels[0] = vec![0, 9],
        |p| p.client.parameters.levels.swap(0, 1),
        |p| p.client.parameters.levels.clear(),
        |p| p.client.parameters.gadgets[0].special.clear(),
        |p| p.client.parameters.gadgets[0].special = vec![2, 3],
        |p| p.client.parameters.gadgets[0].digits[1] = vec![77],
        |p| p.client.parameters.gadgets[0].digits.swap(0, 1),
        |p| p.registers = 0,
        |p| p.registers = usize::MAX,
        |p| p.client.image.height = 0,
        |p| p.client.image.width = usize::MAX,
        |p| p.client.image.normalisation = Normalisation::PerImage { min_std: f64::NAN },
        |p| p.client.image.clip = Some(f64::NAN),
        |p| p.client.input.positions = 8,
        |p| p.client.input.pitch = 1,
        |p| p.client.input.ciphertexts.clear(),
        |p| p.client.input.ciphertexts[0][0] = Some((1, 0)),
        |p| p.client.input.ciphertexts[0][0] = Some((0, i64::MIN)),
        |p| p.client.input.ciphertexts[0].truncate(3),
        |p| p.client.input.level = Level(2),
        |p| p.client.input.scale = f64::INFINITY,
        |p| p.input = Register(1),
        |p| p.input = Register(u16::MAX),
        |p| p.output = Register(1),
        |p| p.client.output.level = Level(1),
        |p| p.client.output.scale *= 2.0,
        |p| p.client.output.period = 3,
        |p| p.client.output.period = 1,
        |p| p.client.output.step = 0,
        |p| p.client.output.step = 2,
        |p| p.client.output.step = usize::MAX,
        |p| p.client.layout.images = 0,
        |p| p.client.layout.images = 2,
        |p| p.client.layout.members = 0,
        |p| p.client.layout.members = 2,
        |p| p.client.layout = Layout { members: usize::MAX, averaged: true, ..Layout::default() },
        |p| p.client.layout = Layout { packing: Packing::Channel, images: 0, ..Layout::default() },
        |p| p.client.layout = Layout { packing: Packing::Channel, images: 2, ..Layout::default() },
        |p| p.client.layout = Layout { packing: Packing::Channel, members: usize::MAX, averaged: true, images: 1 },
        |p| p.client.layout = Layout { packing: Packing::Padded, members: usize::MAX, averaged: true, images: 1 },
        |p| p.client.layout = Layout { packing: Packing::Channel, images: usize::MAX, members: 2, averaged: true },
        |p| p.client.logit_error = f64::NAN,
        |p| p.client.keys.clear(),
        |p| p.client.keys.push(p.client.keys[0]),
        |p| p.client.keys[0].level = Level(9),
        |p| p.client.keys[0].gadget = Gadget(9),
        |p| p.client.output.classes = 3,
        |p| p.client.logit_range = Some([1.0, 0.0]),
        |p| {
            p.client
                .parameters
                .primes
                .push(umbra_ring::primes::nearest(5, 28.0, 1, &p.client.parameters.primes).unwrap()[0])
        },
        |p| p.steps[0].destination = Register(1),
        |p| p.steps[0].level_in = Level(0),
        |p| p.steps[0].level_in = Level(2),
        |p| p.steps[0].level_out = Level(1),
        |p| p.steps[1].level_out = Level(1),
        |p| p.steps[1].level_in = Level(1),
        |p| p.steps[1].scale_out = f64::NAN,
        |p| p.steps[1].estimate.error_std = f64::NAN,
        |p| p.steps[1].operation = Operation::Square { source: Register(0), gadget: Gadget(1) },
        |p| p.steps[1].operation = Operation::Square { source: Register(5), gadget: Gadget(0) },
        |p| p.steps[2].operation = Operation::RotateSum { source: Register(0), rotations: vec![0], gadget: Gadget(0) },
        |p| {
            p.steps[2].operation =
                Operation::RotateSum { source: Register(0), rotations: vec![4, 4], gadget: Gadget(0) }
        },
        |p| p.steps[2].operation = Operation::RotateSum { source: Register(0), rotations: vec![-8], gadget: Gadget(0) },
        |p| linear(p).inputs.clear(),
        |p| linear(p).inputs[0].source = Register(3),
        |p| linear(p).inputs[0].weight_scale = 0.0,
        |p| linear(p).inputs.push(LinearInput { source: Register(0), weight_scale: 3.0 }),
        |p| linear(p).plan.babies = vec![1, 2],
        |p| linear(p).plan.inner = vec![0, 100],
        |p| linear(p).plan.outer.push(0),
        |p| linear(p).diagonals.swap(0, 1),
        |p| linear(p).diagonals[0].imaginary = true,
        |p| linear(p).plan.imaginary_steps = Some(1),
        |p| paired(p).scale_out /= 2.0,
        |p| linear(p).add_first = true,
        |p| paired_linear(p).plan.imaginary_steps = Some(0),
        |p| paired_linear(p).plan.imaginary_steps = Some(100),
        |p| paired_linear(p).masks = vec![vec![true; 4]],
        |p| paired_linear(p).diagonals.swap(0, 1),
        |p| linear(p).diagonals[0].input = 1,
        |p| linear(p).diagonals[2].output = 1,
        |p| linear(p).diagonals[0].baby = 9,
        |p| linear(p).diagonals[0].values.truncate(1),
        |p| linear(p).diagonals[0].values[1] = f32::NAN,
        |p| linear(p).period = 6,
        |p| linear(p).bias.clear(),
        |p| linear(p).bias[0][0] = f64::NAN,
        |p| linear(p).gadget = Gadget(4),
        |p| p.client.classes.clear(),
        |p| p.client.name.push('\u{1b}'),
        |p| p.client.classes[1].push('\n'),
        |p| p.steps[1].node.push('\u{9b}'),
        |p| p.report.notes.push("a\rb".into()),
        |p| p.report.without.push("\u{7f}".into()),
        |p| linear(p).inputs = vec![linear(p).inputs[0]; 16 * MAX_CIPHERTEXTS + 1],
    ];
    for (i, damage) in damages.iter().enumerate() {
        let mut program = small();
        damage(&mut program);
        assert!(program.check().is_err(), "damage {i} passes");
    }
}

/// As [`small`] in a large ring with `count` diagonals, in so many rows and columns of the matrix of weights.
fn scattered(count: u16, rows: bool, columns: bool) -> Program {
    let mut program = small_at(17);
    let linear = linear(&mut program);
    let list = |long| if long { (0..i64::from(count)).collect() } else { vec![0] };
    linear.plan = Bsgs { babies: list(columns), inner: list(rows), outer: vec![0], imaginary_steps: None };
    let first = Diagonal { outer: 0, inner: 0, baby: 0, ..linear.diagonals[0].clone() };
    linear.diagonals = (0..count)
        .map(|i| Diagonal { inner: if rows { i } else { 0 }, baby: if columns { i } else { 0 }, ..first.clone() })
        .collect();
    program
}

/// Gives it one mask of all slots.
fn masked(mut program: Program) -> Program {
    let slots = program.slots();
    let linear = linear(&mut program);
    linear.masks = vec![vec![true; slots]];
    linear.bias = vec![vec![0.0; slots]];
    linear.diagonals.iter_mut().for_each(|d| d.mask = Some(0));
    program
}

#[test]
fn small_programs_cannot_ask_for_much_memory() {
    for (program, what) in [
        // 16 million entries of 160 bytes, for 4000 weights.
        (scattered(4000, true, true), "memory for encoded weights"),
        // 4000 plaintexts of 1 MiB.
        (masked(scattered(4000, true, false)), "memory for encoded weights"),
        // 20000 ciphertexts of 5 limbs.
        (scattered(20_000, true, false), "memory for sums"),
        // 8 x 4000 plaintexts of 512 KiB a limb.
        (masked(scattered(4000, false, true)), "memory for masked weights"),
    ] {
        let error = program.check().expect_err(what).to_string();
        assert!(error.contains(what) && error.contains("GiB"), "{what}: {error}");
    }
    // 300 registers of 512 ciphertexts of two limbs.
    let mut program = small_at(17);
    let transform = linear(&mut program);
    transform.bias = vec![vec![0.25; 4]; 512];
    let first = transform.diagonals[0].clone();
    transform.diagonals = (0..512).map(|output| Diagonal { output, ..first.clone() }).collect();
    transform.plan = Bsgs { babies: vec![0, 1], inner: vec![0], outer: vec![0], imaginary_steps: None };
    let copy = Step { destination: Register(0), ..program.steps[2].clone() };
    program.steps.extend((1..300).map(|n| Step { destination: Register(n), ..copy.clone() }));
    program.registers = 300;
    let error = program.check().expect_err("too much").to_string();
    assert!(error.contains("memory for ciphertexts"), "{error}");
    // Twenty fit: what is wrong then is the output, of one ciphertext.
    program.steps.truncate(20);
    let error = keyed(program).check().expect_err("another output").to_string();
    assert!(error.contains("output register"), "{error}");
    // As many weights in one row, and few masked ones.
    for program in [scattered(4000, true, false), scattered(10_000, false, true), masked(scattered(200, true, false))] {
        assert_eq!(keyed(program).check(), Ok(()));
    }
    // 105 GB of keys: no file holds as many.
    let error = keyed(scattered(20_000, false, true)).check().expect_err("too many").to_string();
    assert!(error.contains("size of the keys"), "{error}");
}
