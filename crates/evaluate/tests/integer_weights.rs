//! Transforms whose weights are integers against the same transforms with weights as residues: to the bit.

mod common;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use common::{Bench, evaluator_of};
use umbra_ckks::{Bsgs, Ciphertext, Diagonal, Gadget, Level, Parameters, TransformSpec};
use umbra_evaluate::{Engine, Evaluator, LinearTransform};
use umbra_ring::kernels::Kernels;

const LEVELS: (Level, Level) = (Level(4), Level(3));
/// Scale of the inputs: about 58 bits are dropped.
const SCALE: f64 = (1u128 << 80) as f64;

/// What a transform's weights are.
struct Case {
    log_n: u32,
    inputs: usize,
    outputs: usize,
    plan: Bsgs,
    /// Of period 1.
    diagonals: Vec<Diagonal>,
    weight_scale: f64,
    add_first: bool,
}

impl Case {
    /// Weights from `value`, which gets their output and a random number generator.
    fn new(
        rng: &mut StdRng,
        log_n: u32,
        (inputs, outputs): (usize, usize),
        plan: Bsgs,
        value: impl Fn(&mut StdRng, usize) -> f32,
    ) -> Self {
        let mut diagonals = Vec::new();
        for output in 0..outputs {
            for outer in 0..plan.outer.len() as u16 {
                for input in 0..inputs as u32 {
                    for baby in 0..plan.babies.len() as u16 {
                        let values = vec![value(rng, output)];
                        let output = output as u32;
                        diagonals.push(Diagonal {
                            output,
                            input,
                            outer,
                            inner: 0,
                            baby,
                            imaginary: false,
                            mask: None,
                            values,
                        });
                    }
                }
            }
        }
        Self { log_n, inputs, outputs, plan, diagonals, weight_scale: 4096.0, add_first: false }
    }

    fn transform(&self, parameters: &Parameters) -> LinearTransform {
        self.of(parameters, self.outputs, 1, &self.diagonals)
    }

    /// The transform with one more output, whose weight is not the same in all slots: then none of them are integers.
    fn residues(&self, parameters: &Parameters) -> LinearTransform {
        let repeated = |d: &Diagonal| Diagonal { values: d.values.repeat(2), ..d.clone() };
        let mut diagonals: Vec<Diagonal> = self.diagonals.iter().map(repeated).collect();
        diagonals.push(Diagonal { output: self.outputs as u32, values: vec![0.5, -0.25], ..diagonals[0].clone() });
        self.of(parameters, self.outputs + 1, 2, &diagonals)
    }

    fn of(&self, parameters: &Parameters, outputs: usize, period: usize, diagonals: &[Diagonal]) -> LinearTransform {
        let spec = TransformSpec {
            level: LEVELS.0,
            gadget: Gadget(0),
            level_out: LEVELS.1,
            weight_scales: &vec![self.weight_scale; self.inputs],
            outputs,
            period,
            masks: &[],
            plan: &self.plan,
            diagonals,
            bias: &(0..outputs).map(|o| vec![o as f64 * 0.125; period]).collect::<Vec<_>>(),
            scale_out: SCALE * self.weight_scale / parameters.rescale_factor(LEVELS.0, LEVELS.1).unwrap(),
            add_first: self.add_first,
        };
        LinearTransform::new(&Engine::new(parameters), &spec).unwrap()
    }

    /// What becomes of slots.
    fn expected(&self, inputs: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let slots = inputs[0].len();
        let mut out: Vec<Vec<f64>> = (0..self.outputs).map(|o| vec![o as f64 * 0.125; slots]).collect();
        for d in &self.diagonals {
            let steps = self.plan.giant(d) + self.plan.babies[d.baby as usize];
            let mut x = inputs[d.input as usize].clone();
            x.rotate_left(steps.rem_euclid(slots as i64) as usize);
            out[d.output as usize].iter_mut().zip(x).for_each(|(y, x)| *y += f64::from(d.values[0]) * x);
        }
        out
    }

    /// Keys, inputs and what becomes of them.
    fn bench(&self, rng: &mut StdRng) -> (Bench, Vec<Ciphertext>, Vec<Vec<f64>>) {
        let mut bench = Bench::new(self.log_n, 5, Kernels::best());
        self.plan.keys().for_each(|kind| bench.add_key(Gadget(0), kind, LEVELS.0));
        let slots = bench.parameters.slots();
        let mut input = || -> Vec<f64> { (0..slots).map(|_| rng.random_range(-1.0..1.0)).collect() };
        let slots = (0..self.inputs).map(|_| input()).collect::<Vec<_>>();
        let inputs = slots.iter().map(|x| bench.encrypt(x, LEVELS.0, SCALE)).collect();
        (bench, inputs, self.expected(&slots))
    }
}

fn taps() -> Bsgs {
    Bsgs { babies: vec![-9, -8, -7, -1, 0, 1, 7, 8, 9], inner: vec![0], outer: vec![0], imaginary_steps: None }
}

#[test]
fn integers_give_the_same_words_as_residues() {
    let mut rng = StdRng::seed_from_u64(21);
    let giants = Bsgs { babies: vec![0, 1], inner: vec![0], outer: vec![0, 32], imaginary_steps: None };
    let any = |rng: &mut StdRng, _: usize| rng.random_range(-1.0..1.0);
    let some = |rng: &mut StdRng, output: usize| if output == 1 { 0.0 } else { rng.random_range(-1.0..1.0) };
    for case in [
        Case::new(&mut rng, 9, (1, 1), taps(), any),
        Case::new(&mut rng, 10, (3, 11), taps(), some),
        Case::new(&mut rng, 11, (20, 8), taps(), any),
        Case::new(&mut rng, 9, (2, 3), giants, any),
    ] {
        let (bench, inputs, expected) = case.bench(&mut rng);
        let inputs: Vec<&Ciphertext> = inputs.iter().collect();
        let literal = bench.parameters.literal();
        let residues = case.residues(&bench.parameters);
        let want = evaluator_of(&bench).transform(&inputs, &residues).unwrap();
        let want = &want[..case.outputs];
        for (out, expected) in want.iter().zip(&expected) {
            let error = bench.error(out, expected) / out.scale();
            assert!(error < 3e-3, "error {error:.2e}");
        }
        for kernels in Kernels::available() {
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let got = pool.install(|| {
                    let parameters = Parameters::insecure_for_tests(literal.clone(), kernels).unwrap();
                    let transform = case.transform(&parameters);
                    assert!(transform.bytes() < residues.bytes());
                    Evaluator::new(&Engine::new(&parameters), &bench.keys).transform(&inputs, &transform).unwrap()
                });
                assert!(got == want, "{} with {threads} threads", kernels.name);
            }
        }
    }
}

#[test]
fn weights_too_large_for_integers_are_residues() {
    let mut rng = StdRng::seed_from_u64(22);
    let mut case = Case::new(&mut rng, 9, (1, 8), taps(), |_, _| 1.0);
    let (bench, inputs, _) = case.bench(&mut rng);
    let small = case.transform(&bench.parameters).bytes();
    // Nine weights add up to more than 2^22.
    case.weight_scale = 2f64.powi(19);
    let large = case.transform(&bench.parameters);
    assert!(large.bytes() > small, "residues for all limbs");
    let evaluator = evaluator_of(&bench);
    let inputs: Vec<&Ciphertext> = inputs.iter().collect();
    let want = evaluator.transform(&inputs, &case.residues(&bench.parameters)).unwrap();
    assert_eq!(evaluator.transform(&inputs, &large).unwrap(), want[..case.outputs]);
}

#[test]
fn adding_first_gives_the_same_words() {
    let mut rng = StdRng::seed_from_u64(23);
    // So many weights to choose from; the first row has one only, the second none.
    let few = |k: i32| {
        move |rng: &mut StdRng, output: usize| match output {
            0 => 0.625,
            1 => 0.0,
            _ => (rng.random_range(0..k) - k / 2) as f32 / k as f32,
        }
    };
    let giants = Bsgs { babies: vec![0, 1, 2], inner: vec![0], outer: vec![0, 32], imaginary_steps: None };
    let (one, two, many) = (few(1), few(2), few(64));
    for mut case in [
        Case::new(&mut rng, 9, (1, 4), taps(), one),
        Case::new(&mut rng, 10, (4, 9), taps(), two),
        Case::new(&mut rng, 11, (12, 11), taps(), many),
        Case::new(&mut rng, 9, (3, 5), giants, two),
    ] {
        let (bench, inputs, expected) = case.bench(&mut rng);
        let inputs: Vec<&Ciphertext> = inputs.iter().collect();
        let literal = bench.parameters.literal();
        let residues = case.residues(&bench.parameters);
        let want = evaluator_of(&bench).transform(&inputs, &residues).unwrap();
        let want = &want[..case.outputs];
        for (out, expected) in want.iter().zip(&expected) {
            assert!(bench.error(out, expected) / out.scale() < 3e-3);
        }
        case.add_first = true;
        for kernels in Kernels::available() {
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let got = pool.install(|| {
                    let parameters = Parameters::insecure_for_tests(literal.clone(), kernels).unwrap();
                    let transform = case.transform(&parameters);
                    Evaluator::new(&Engine::new(&parameters), &bench.keys).transform(&inputs, &transform).unwrap()
                });
                assert!(got == want, "{} with {threads} threads", kernels.name);
            }
        }
        // Too large for sums without reductions.
        case.weight_scale = 2f64.powi(21);
        let large = case.transform(&bench.parameters);
        let evaluator = evaluator_of(&bench);
        let want = evaluator.transform(&inputs, &case.residues(&bench.parameters)).unwrap();
        assert_eq!(evaluator.transform(&inputs, &large).unwrap(), want[..case.outputs]);
    }
}
