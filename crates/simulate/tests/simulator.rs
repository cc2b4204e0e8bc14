//! The simulator from images to logits.

use umbra_ckks::{Bsgs, Diagonal, Gadget, GadgetLiteral, Level, Parameters, ParametersLiteral};
use umbra_image::{ImageSpec, Normalisation};
use umbra_program::{
    ClientSpec, Estimate, InputLayout, Layout, LayoutError, Linear, LinearInput, Operation, OutputLayout, Packing,
    Program, Register, Report, Step,
};
use umbra_ring::kernels::Kernels;
use umbra_runtime::RuntimeError;
use umbra_simulate::{SimulateError, Simulator};

/// Numbers are the same to some last bits: Fourier transforms and matrix products use the instructions that a machine
/// has.
const TOLERANCE: f64 = 1e-12;

// Logits of two programs for given seeds, as they were before the simulator was a back end. The order in which noise is
// drawn is part of what a seed means: published accuracies name theirs.

#[test]
fn multiplexed_packing_with_complex_weights() {
    let program = multiplexed();
    let parameters = parameters(&program);
    let simulator = Simulator::new(&program, &parameters).unwrap();
    let image = image(0, 16);
    for (seed, expected) in (1..).zip(MULTIPLEXED) {
        let found = simulator.run_batch(&[&image], 1, seed).unwrap();
        assert_eq!(found.len(), 1);
        assert_close(&found[0].as_ref().unwrap().values, &expected);
    }
    assert_close(&simulator.run(&image, 3).unwrap(), &SINGLE);
}

#[test]
fn a_batch_with_one_channel_per_ciphertext_and_masks() {
    let program = channel();
    let parameters = parameters(&program);
    let simulator = Simulator::new(&program, &parameters).unwrap();
    let images: Vec<Vec<f32>> = (0..4).map(|m| image(100 * m, 32)).collect();
    for (seed, expected) in (1..).zip(CHANNEL) {
        let found = simulator.run_batch(&images, 4, seed).unwrap();
        assert_eq!(found.len(), 4);
        for (found, expected) in found.iter().zip(&expected) {
            assert_close(&found.as_ref().unwrap().values, expected);
        }
    }
}

/// Where one image drives slots to infinity, slots that must be zero hold nothing sensible: that is the whole batch's
/// error.
#[test]
fn an_image_that_overflows_takes_its_batch_with_it() {
    let program = overflowing();
    let parameters = parameters(&program);
    let simulator = Simulator::new(&program, &parameters).unwrap();
    let images = |first: f32| [vec![first; 16], vec![1.0; 16]];
    let found = simulator.run_batch(&images(1.0), 2, 1).unwrap();
    assert!(found.iter().all(|logits| (logits.as_ref().unwrap().values[0] - 1.0).abs() < 1e-3), "{found:?}");
    let overflow = simulator.run_batch(&images(f32::MAX), 2, 1);
    assert!(matches!(overflow, Err(SimulateError::Layout(LayoutError::ZeroSlots { .. }))), "{overflow:?}");
}

#[test]
fn noise_beyond_all_numbers_is_an_error_and_not_none() {
    let program = sum_with_digit_of(1);
    program.check().expect("a program");
    let sum = Simulator::new(&program, &parameters(&program)).and_then(|s| s.run(&[0.5, 0.25], 1)).expect("a sum");
    assert!((sum[0] - 0.75).abs() < 1e-2, "{sum:?}");
    let program = sum_with_digit_of(20);
    program.check().expect("a program");
    let error = Simulator::new(&program, &parameters(&program)).expect_err("infinite noise").to_string();
    assert!(error.contains("step 0 (pool)") && error.contains("noise"), "{error}");
}

#[test]
fn other_parameters_and_wrong_images_are_refused() {
    let (program, other) = (sum_with_digit_of(1), sum_with_digit_of(2));
    let refused = Simulator::new(&program, &parameters(&other)).unwrap_err();
    assert_eq!(refused, SimulateError::Run(RuntimeError::OtherParameters));
    let parameters = parameters(&program);
    let simulator = Simulator::new(&program, &parameters).unwrap();
    let size = Err(SimulateError::Layout(LayoutError::ImageSize { found: 3, expected: 2 }));
    assert_eq!(simulator.run(&[0.5; 3], 1), size);
    let batch = simulator.run_batch(&[[0.5; 2]; 2], 1, 1);
    assert_eq!(batch, Err(SimulateError::Layout(LayoutError::Batch { found: 2, limit: 1 })));
    assert!(simulator.run_batch(&[[0.5; 2]], 2, 1).is_err());
}

fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= TOLERANCE, "{found:?}, expected {expected:?}");
    }
}

/// Multiplexed packing: a complex transform that is a matrix, a square, a sparse transform of two registers, and a sum.
fn multiplexed() -> Program {
    let prime = |i: usize| f64::from(literal().primes[i]);
    let (input, first_weights, second_weights) = (30f64.exp2(), 28f64.exp2(), 27f64.exp2());
    let first_scale = input * first_weights * 2.0 / prime(4);
    let square_scale = first_scale * first_scale / prime(3);
    let scale = square_scale * second_weights / prime(2);
    let mut diagonals = Vec::new();
    for (outer, inner) in (0..2).flat_map(|outer| (0..4).map(move |inner| (outer, inner))) {
        for (baby, imaginary) in (0..4).flat_map(|baby| [false, true].map(move |imaginary| (baby, imaginary))) {
            let at = diagonals.len() * 16;
            let values = (0..16).map(|c| value(at + c) * 0.1).collect();
            diagonals.push(Diagonal { output: 0, input: 0, outer, inner, baby, imaginary, mask: None, values });
        }
    }
    let first = Linear {
        inputs: vec![LinearInput { source: Register(0), weight_scale: first_weights }],
        plan: Bsgs {
            babies: vec![0, 1, 2, 3],
            inner: vec![0, 4, 8, 12],
            outer: vec![0, -16],
            imaginary_steps: Some(32),
        },
        diagonals,
        period: 16,
        masks: Vec::new(),
        bias: vec![(0..16).map(|c| f64::from(value(c + 5))).collect()],
        gadget: Gadget(0),
        add_first: false,
    };
    let sparse = |input, inner, baby, at: usize| Diagonal {
        output: 0,
        input,
        outer: 0,
        inner,
        baby,
        imaginary: false,
        mask: None,
        values: (0..16).map(|c| value(c + at)).collect(),
    };
    let second = Linear {
        inputs: vec![
            LinearInput { source: Register(2), weight_scale: second_weights },
            LinearInput { source: Register(0), weight_scale: square_scale * second_weights / input },
        ],
        plan: Bsgs { babies: vec![0, 5], inner: vec![0, 37], outer: vec![0], imaginary_steps: None },
        diagonals: vec![sparse(0, 0, 0, 77), sparse(1, 0, 1, 177), sparse(0, 1, 0, 277)],
        bias: vec![vec![0.125; 16]],
        ..first.clone()
    };
    let sum = Operation::RotateSum { source: Register(1), rotations: vec![16, 32, -16], gadget: Gadget(0) };
    Program {
        registers: 3,
        output: Register(1),
        steps: vec![
            step(Operation::Linear(Box::new(first)), 1, (3, 2), first_scale),
            step(Operation::Square { source: Register(1), gadget: Gadget(0) }, 2, (2, 1), square_scale),
            step(Operation::Linear(Box::new(second)), 1, (1, 0), scale),
            step(sum, 1, (0, 0), scale),
        ],
        ..empty(
            (Layout::default(), 1),
            vec![(0..16).map(|tap| Some((0, tap))).collect()],
            OutputLayout { level: Level(0), scale, period: 16, step: 1, classes: 16, flooding: 0.0 },
        )
    }
}

/// One channel per ciphertext: weights that are integers, a square, a transform with masks, and a sum; all in one
/// register.
fn channel() -> Program {
    let prime = |i: usize| f64::from(literal().primes[i]);
    let (input, integers, weights) = (30f64.exp2(), 12f64.exp2(), 28f64.exp2());
    let first_scale = input * integers;
    let square_scale = first_scale * first_scale / prime(4) / prime(3);
    let scale = square_scale * weights / prime(2);
    let mut taps = Vec::new();
    for (output, input) in (0..3).flat_map(|output| (0..2).map(move |input| (output, input))) {
        for baby in 0..9 {
            let values = vec![value(taps.len() * 3) * 0.3];
            taps.push(Diagonal { output, input, outer: 0, inner: 0, baby, imaginary: false, mask: None, values });
        }
    }
    let first = Linear {
        inputs: vec![LinearInput { source: Register(0), weight_scale: integers }],
        plan: Bsgs {
            babies: vec![-80, -64, -48, -16, 0, 16, 48, 64, 80],
            inner: vec![0],
            outer: vec![0],
            imaginary_steps: None,
        },
        diagonals: taps,
        period: 1,
        masks: Vec::new(),
        bias: (0..3).map(|o| vec![f64::from(value(o)) * 0.5]).collect(),
        gadget: Gadget(0),
        add_first: true,
    };
    let mut masked = Vec::new();
    for (inner, input) in (0..2).flat_map(|inner| (0..3).map(move |input| (inner, input))) {
        for baby in 0..3 {
            let at: usize = masked.len();
            let (mask, values) = ((at % 4 != 3).then_some((at % 2) as u16), vec![value(at * 7) * 0.5]);
            masked.push(Diagonal { output: 0, input, outer: 0, inner, baby, imaginary: false, mask, values });
        }
    }
    let second = Linear {
        inputs: vec![LinearInput { source: Register(0), weight_scale: weights }],
        plan: Bsgs { babies: vec![-4, 0, 4], inner: vec![0, 8], outer: vec![0], imaginary_steps: None },
        diagonals: masked,
        masks: (0..2).map(|m| (0..64).map(|i| (i * 5 + m) % 3 != 0).collect()).collect(),
        bias: vec![(0..64).map(|i| f64::from(value(i)) * 0.5).collect()],
        add_first: false,
        ..first.clone()
    };
    let sum = Operation::RotateSum { source: Register(0), rotations: vec![128], gadget: Gadget(0) };
    let layout = Layout { packing: Packing::Channel, images: 4, members: 1, averaged: false };
    Program {
        registers: 1,
        output: Register(0),
        steps: vec![
            step(Operation::Linear(Box::new(first)), 0, (3, 3), first_scale),
            step(Operation::Square { source: Register(0), gadget: Gadget(0) }, 0, (3, 1), square_scale),
            step(Operation::Linear(Box::new(second)), 0, (1, 0), scale),
            step(sum, 0, (0, 0), scale),
        ],
        ..empty(
            (layout, 2),
            vec![vec![Some((0, 0))], vec![Some((1, 3))]],
            OutputLayout { level: Level(0), scale, period: 16, step: 4, classes: 4, flooding: 0.0 },
        )
    }
}

/// The sixteenth power of the first pixel of two images: the other slots are multiplied by 0.
fn overflowing() -> Program {
    let scale = 30f64.exp2();
    let square = || Operation::Square { source: Register(0), gadget: Gadget(0) };
    let diagonal = |baby, values: [f32; 16]| Diagonal {
        output: 0,
        input: 0,
        outer: 0,
        inner: 0,
        baby,
        imaginary: false,
        mask: None,
        values: values.into(),
    };
    let own = std::array::from_fn(|c| f32::from(u8::from(c < 2)));
    let linear = Linear {
        inputs: vec![LinearInput { source: Register(0), weight_scale: scale }],
        plan: Bsgs { babies: vec![0, 1], inner: vec![0], outer: vec![0], imaginary_steps: None },
        diagonals: vec![diagonal(0, own), diagonal(1, [0.0; 16])],
        period: 16,
        masks: Vec::new(),
        bias: vec![vec![0.0; 16]],
        gadget: Gadget(0),
        add_first: false,
    };
    let factor = f64::from(literal().primes[4]);
    Program {
        steps: vec![
            step(square(), 0, (3, 3), scale * scale),
            step(square(), 0, (3, 3), scale.powi(4)),
            step(square(), 0, (3, 3), scale.powi(8)),
            step(square(), 0, (3, 3), scale.powi(16)),
            step(Operation::Linear(Box::new(linear)), 0, (3, 2), scale.powi(16) * scale / factor),
        ],
        ..empty(
            (Layout { packing: Packing::Channel, images: 2, members: 1, averaged: false }, 1),
            vec![vec![Some((0, 0))]],
            OutputLayout { level: Level(2), scale, period: 16, step: 2, classes: 1, flooding: 0.0 },
        )
    }
}

/// Adds up the two pixels of an image; the digit has all primes but the special one.
fn sum_with_digit_of(primes: usize) -> Program {
    let (log_n, scale) = (10, 30f64.exp2());
    let slots = 1usize << (log_n - 1);
    let count = primes as u16;
    let rotations = vec![slots as i64 / 2];
    let channels = (0..slots / 2).map(|channel| (channel == 0).then_some((0, 0))).collect();
    let mut program = empty(
        (Layout::default(), 1),
        vec![channels],
        OutputLayout { level: Level(0), scale, period: slots / 2, step: 1, classes: 1, flooding: 0.0 },
    );
    let pool = step(Operation::RotateSum { source: Register(0), rotations, gadget: Gadget(0) }, 0, (0, 0), scale);
    program.steps = vec![Step { node: "pool".into(), ..pool }];
    let client = &mut program.client;
    (client.image.height, client.image.width) = (1, 2);
    (client.input.positions, client.input.pitch, client.input.level) = (2, 2, Level(0));
    client.parameters = ParametersLiteral {
        log_n,
        primes: umbra_ring::primes::nearest(log_n, 29.0, primes + 1, &[]).unwrap(),
        levels: vec![(0..count).collect()],
        gadgets: vec![GadgetLiteral { digits: vec![(0..count).collect()], special: vec![count] }],
    };
    program.client.keys = program.key_set();
    program
}

/// A program of images of 4 x 4 pixels, without steps.
fn empty(
    (layout, channels): (Layout, usize),
    ciphertexts: Vec<Vec<Option<(usize, i64)>>>,
    output: OutputLayout,
) -> Program {
    let client = ClientSpec {
        name: "golden".into(),
        classes: vec!["class".into(); output.classes],
        image: ImageSpec {
            channels,
            height: 4,
            width: 4,
            normalisation: Normalisation::PerImage { min_std: 0.05 },
            clip: None,
        },
        logit_range: None,
        logit_error: 0.0,
        familiar: None,
        layout,
        input: InputLayout { positions: 16, pitch: 4, ciphertexts, level: Level(3), scale: 30f64.exp2() },
        output,
        parameters: literal(),
        keys: Vec::new(),
    };
    Program {
        client,
        network: [0; 32],
        registers: 1,
        input: Register(0),
        output: Register(0),
        steps: Vec::new(),
        report: Report::default(),
    }
}

fn step(operation: Operation, destination: u16, (level_in, level_out): (u16, u16), scale_out: f64) -> Step {
    Step {
        node: "n".into(),
        operation,
        destination: Register(destination),
        level_in: Level(level_in),
        level_out: Level(level_out),
        scale_out,
        estimate: Estimate::default(),
    }
}

fn literal() -> ParametersLiteral {
    ParametersLiteral {
        log_n: 9,
        primes: umbra_ring::primes::nearest(9, 29.0, 8, &[]).unwrap(),
        levels: (0..4).map(|level| (0..2 + level).collect()).collect(),
        gadgets: vec![GadgetLiteral { digits: vec![vec![0, 1], vec![2, 3], vec![4]], special: vec![5, 6, 7] }],
    }
}

fn parameters(program: &Program) -> Parameters {
    Parameters::insecure_for_tests(program.client.parameters.clone(), Kernels::best()).unwrap()
}

/// A number from -0.5 to 0.5.
fn value(i: usize) -> f32 {
    ((i * 2_654_435_761) % 1009) as f32 / 1009.0 - 0.5
}

fn image(at: usize, len: usize) -> Vec<f32> {
    (0..len).map(|i| value(at + i) * 0.5).collect()
}

const MULTIPLEXED: [[f64; 16]; 2] = [
    [
        0.5489516042467267,
        0.5561248556361126,
        0.5608385358966967,
        0.547110653537369,
        0.49958833445536405,
        0.4226068309281674,
        0.35424904724501577,
        0.2820231531921182,
        0.18808525331574522,
        0.05352890071860982,
        0.8898497346594867,
        0.6764204116395952,
        0.6307757133450068,
        0.5537704063029443,
        0.5189398485490095,
        0.5145191384672342,
    ],
    [
        0.548951748149315,
        0.5561249034857704,
        0.5608383981461766,
        0.547110839145865,
        0.4995881172557126,
        0.422606567036861,
        0.35424862416779834,
        0.28202327915870473,
        0.18808506893629628,
        0.05352908765241036,
        0.8898493309243106,
        0.6764200263033066,
        0.6307754743114973,
        0.5537707234434593,
        0.5189399906731125,
        0.5145190859608264,
    ],
];
const SINGLE: [f64; 16] = [
    0.5489517800751317,
    0.5561244618193626,
    0.5608383793078865,
    0.5471105624412776,
    0.499588437301296,
    0.4226068570259355,
    0.3542488743421733,
    0.28202291393073575,
    0.18808508180530453,
    0.053528980325776875,
    0.8898499878678556,
    0.6764200167597371,
    0.6307756962054056,
    0.553770186471741,
    0.5189397982208714,
    0.514519287387335,
];
const CHANNEL: [[[f64; 4]; 4]; 2] = [
    [
        [0.042781998955052976, -0.03317946238034328, -0.3014702534837254, -0.03743637268085964],
        [0.17545410172272652, -0.0963692351487138, -0.33026505714227394, 0.09375509732944098],
        [0.11428945318577902, -0.12138748139007419, -0.19743464787261047, 0.030937923794025296],
        [0.08742722871842885, -0.23912064351538015, -0.2608885668679133, 0.2530672161821323],
    ],
    [
        [0.042783704256476866, -0.03318192808288285, -0.3014738154528425, -0.03743704442043823],
        [0.17545189608551606, -0.09637214317729757, -0.33026444073714617, 0.09375878268217942],
        [0.11428970787020505, -0.12138859287745041, -0.19743303511966837, 0.030933780533583727],
        [0.08742633326684757, -0.2391243801844701, -0.26088977695733007, 0.253067728164614],
    ],
];
