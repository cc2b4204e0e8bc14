//! Small programs.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use umbra_ckks::{Bsgs, CkksError, Diagonal, Gadget, GadgetLiteral, Level, ParametersLiteral};
use umbra_image::{ImageSpec, Normalisation};
use umbra_program::{
    ClientSpec, Estimate, InputLayout, Layout, Linear, LinearInput, Operation, OutputLayout, Program, Register,
    RegisterState, Report, Step,
};
use umbra_ring::primes;

/// Base-2 logarithm of the ring degree.
pub(super) const LOG_N: u32 = 9;
/// The highest level of [`literal`].
pub(super) const TOP: Level = Level(4);
/// Bits of the scale of inputs, and about of results where the scale of weights is free.
const LOG_SCALE: f64 = 38.0;
/// Bits of the scale of weights: enough for what they are worth, and not more than masked ones may have.
const LOG_WEIGHTS: (f64, f64) = (22.0, 44.0);
/// Scale of weights that are small integers.
const INTEGERS: f64 = 4096.0;
/// Bits between a message's scale and the modulus.
const MARGIN: f64 = 12.0;
/// Bits of the scale of results: as few as leave something of a message, as many as decryption looks at.
const LOG_SCALES: (f64, f64) = (24.0, 76.0);

/// Five levels of about 32 bits above one of 60. Between the lower three a rescale adds a prime to what it drops:
/// levels 1, 3 and 4 have all primes of level 0, level 4 those of 1 and 3, and level 2 has one that level 4 lacks.
/// Gadget 0 serves all levels by several digits, gadget 1 the lowest two by one.
pub(super) fn literal(log_n: u32) -> Result<ParametersLiteral, CkksError> {
    let levels = usize::from(TOP.0) + 1;
    let mut all = primes::nearest(log_n, 30.0, levels + 6, &[])?;
    let fine = all.len() as u16;
    for bits in [28.0, 26.0] {
        let more = primes::nearest(log_n, bits, 1, &all)?;
        all.extend(more);
    }
    let level = |i: usize| -> Vec<u16> {
        let own = if i.is_multiple_of(3) { None } else { Some(fine + (i % 3) as u16 - 1) };
        (0..2 + i as u16).chain(own).collect()
    };
    let top = levels as u16 + 1;
    let mut digits: Vec<Vec<u16>> = (0..top).collect::<Vec<_>>().chunks(3).map(<[u16]>::to_vec).collect();
    digits[0].extend([fine, fine + 1]);
    let low = GadgetLiteral { digits: vec![vec![0, 1, 2, fine, fine + 1]], special: (3..8).collect() };
    Ok(ParametersLiteral {
        log_n,
        primes: all,
        levels: (0..levels).map(level).collect(),
        gadgets: vec![GadgetLiteral { digits, special: (top..top + 5).collect() }, low],
    })
}

/// What a random linear transform is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) outputs: u32,
    /// Period of the weights.
    pub(super) period: usize,
    /// Period of masks, where there are any.
    pub(super) span: Option<usize>,
    /// Complex packing of giant steps.
    pub(super) imaginary_steps: Option<i64>,
    /// Whether weights are multiples of 1/4096, encoded at that scale.
    pub(super) integers: bool,
    /// Whether inputs that share a weight are added first.
    pub(super) add_first: bool,
    /// Which part of the diagonals there is.
    pub(super) density: f64,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            outputs: 1,
            period: 8,
            span: None,
            imaginary_steps: None,
            integers: false,
            add_first: false,
            density: 1.0,
        }
    }
}

/// A program under construction.
pub(super) struct Builder {
    rng: StdRng,
    literal: ParametersLiteral,
    input: RegisterState,
    registers: Vec<Option<Held>>,
    steps: Vec<Step>,
}

/// What a register holds.
#[derive(Clone, Copy)]
struct Held {
    state: RegisterState,
    /// Largest magnitude of its slots, about.
    bound: f64,
}

impl Builder {
    /// A program whose input is so many ciphertexts in register 0.
    pub(super) fn new(seed: u64, literal: &ParametersLiteral, ciphertexts: usize, level: Level, scale: f64) -> Self {
        let input = RegisterState { level, scale, ciphertexts };
        let registers = vec![Some(Held { state: input, bound: 1.0 }), None, None];
        let literal = literal.clone();
        Self { rng: StdRng::seed_from_u64(seed), literal, input, registers, steps: Vec::new() }
    }

    pub(super) fn square(mut self, source: u16, destination: u16, gadget: u16, levels: (u16, u16)) -> Self {
        let held = self.held(source);
        let scale = held.state.scale.powi(2) / self.factor(levels);
        let operation = Operation::Square { source: Register(source), gadget: Gadget(gadget) };
        self.push(operation, destination, levels, (scale, held.state.ciphertexts), held.bound.powi(2));
        self
    }

    pub(super) fn rotate_sum(
        mut self,
        source: u16,
        destination: u16,
        rotations: &[i64],
        gadget: u16,
        level: u16,
    ) -> Self {
        let held = self.held(source);
        let bound = held.bound * (1.0 + rotations.len() as f64);
        let (scale, rotations) = (held.state.scale, rotations.to_vec());
        let operation = Operation::RotateSum { source: Register(source), rotations, gadget: Gadget(gadget) };
        self.push(operation, destination, (level, level), (scale, held.state.ciphertexts), bound);
        self
    }

    pub(super) fn linear(mut self, sources: &[u16], destination: u16, shape: &Shape, levels: (u16, u16)) -> Self {
        let held: Vec<Held> = sources.iter().map(|&source| self.held(source)).collect();
        let ciphertexts: usize = held.iter().map(|h| h.state.ciphertexts).sum();
        let (plan, diagonals) = self.diagonals(shape, ciphertexts as u32);
        let product = self.product(held[0].state.scale, shape, levels);
        let factor = self.factor(levels) / plan.factor();
        let input = |(&source, h): (&u16, &Held)| LinearInput {
            source: Register(source),
            weight_scale: product / h.state.scale,
        };
        let span = shape.span.unwrap_or(shape.period);
        let linear = Linear {
            inputs: sources.iter().zip(&held).map(input).collect(),
            plan,
            diagonals,
            period: shape.period,
            masks: self.masks(shape),
            bias: (0..shape.outputs).map(|_| (0..span).map(|_| self.rng.random_range(-0.5..0.5)).collect()).collect(),
            gadget: Gadget(0),
            add_first: shape.add_first,
        };
        let bound = held.iter().fold(0.0, |a: f64, h| a.max(h.bound)) * 2.0 + 0.5;
        let result = (product / factor, shape.outputs as usize);
        self.push(Operation::Linear(Box::new(linear)), destination, levels, result, bound);
        self
    }

    /// The program; `output` is the register with its result.
    pub(super) fn finish(self, output: u16) -> Program {
        let RegisterState { level, scale, ciphertexts } = self.held(output).state;
        let slots = 1usize << (self.literal.log_n - 1);
        // Nothing is packed or read by these programs' layouts, which only say how many ciphertexts there are.
        let channels = vec![None; slots / 4];
        let client = ClientSpec {
            name: "conformance".into(),
            classes: vec!["class".into(); ciphertexts],
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
                ciphertexts: vec![channels; self.input.ciphertexts],
                level: self.input.level,
                scale: self.input.scale,
            },
            output: OutputLayout { level, scale, period: 1, step: 1, classes: ciphertexts, flooding: 0.0 },
            parameters: self.literal,
            keys: Vec::new(),
        };
        let mut program = Program {
            client,
            network: [0; 32],
            registers: self.registers.len(),
            input: Register(0),
            output: Register(output),
            steps: self.steps,
            report: Report::default(),
        };
        program.client.keys = program.key_set();
        program
    }

    /// What a register that was written holds.
    fn held(&self, register: u16) -> Held {
        self.registers[usize::from(register)].expect("a register that was written")
    }

    fn factor(&self, (from, to): (u16, u16)) -> f64 {
        self.literal.rescale_factor(Level(from), Level(to)).expect("levels that exist")
    }

    /// Scale of the products of a transform whose first input has this scale.
    fn product(&self, scale: f64, shape: &Shape, levels: (u16, u16)) -> f64 {
        if shape.integers {
            return scale * INTEGERS;
        }
        let free = LOG_SCALE + self.factor(levels).log2() - scale.log2();
        scale * free.clamp(LOG_WEIGHTS.0, LOG_WEIGHTS.1).round().exp2()
    }

    fn push(
        &mut self,
        operation: Operation,
        destination: u16,
        (level_in, level_out): (u16, u16),
        (scale, ciphertexts): (f64, usize),
        bound: f64,
    ) {
        let state = RegisterState { level: Level(level_out), scale, ciphertexts };
        self.registers[usize::from(destination)] = Some(Held { state, bound });
        self.steps.push(Step {
            node: format!("node {}", self.steps.len()),
            operation,
            destination: Register(destination),
            level_in: Level(level_in),
            level_out: Level(level_out),
            scale_out: scale,
            estimate: Estimate::default(),
        });
    }

    fn masks(&mut self, shape: &Shape) -> Vec<Vec<bool>> {
        let Some(span) = shape.span else { return Vec::new() };
        (0..3).map(|_| (0..span).map(|_| self.rng.random_bool(0.7)).collect()).collect()
    }

    /// Random diagonals, in order, whose weights add up to about 1 in each output; all rotations of a plan with giants
    /// of both kinds.
    fn diagonals(&mut self, shape: &Shape, inputs: u32) -> (Bsgs, Vec<Diagonal>) {
        let (babies, inner, outer) = (vec![-1, 0, 1, 2], vec![-4, 0, 4], vec![0, 32, -32]);
        let plan = Bsgs { babies, inner, outer, imaginary_steps: shape.imaginary_steps };
        let parts = &[false, true][..1 + usize::from(shape.imaginary_steps.is_some())];
        let (babies, inner, outer) = (plan.babies.len() as u16, plan.inner.len() as u16, plan.outer.len() as u16);
        let each = f64::from(inputs * u32::from(babies * inner * outer)) * parts.len() as f64;
        let amplitude = 2.0 / (each * shape.density).max(4.0);
        let mut diagonals = Vec::new();
        for output in 0..shape.outputs {
            for (outer, inner) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
                for (input, baby) in (0..inputs).flat_map(|i| (0..babies).map(move |b| (i, b))) {
                    for &imaginary in parts {
                        if !self.rng.random_bool(shape.density) {
                            continue;
                        }
                        let mut value = || {
                            let value: f64 = self.rng.random_range(-amplitude..amplitude);
                            let unit = if shape.integers { INTEGERS } else { (1 << 20) as f64 };
                            ((value * unit).round() / unit) as f32
                        };
                        let values = (0..shape.period).map(|_| value()).collect();
                        let mask =
                            (shape.span.is_some() && self.rng.random_bool(0.8)).then(|| self.rng.random_range(0..3u16));
                        diagonals.push(Diagonal { output, input, outer, inner, baby, imaginary, mask, values });
                    }
                }
            }
        }
        (plan, diagonals)
    }
}

/// A random program of up to `steps` steps on three registers, with every operation that levels, scales and magnitudes
/// allow.
pub(super) fn random(seed: u64, literal: &ParametersLiteral, steps: usize) -> Program {
    let mut rng = StdRng::seed_from_u64(seed);
    let ciphertexts = rng.random_range(1..=2);
    let mut builder = Builder::new(rng.random(), literal, ciphertexts, TOP, LOG_SCALE.exp2());
    let mut last = 0;
    for _ in 0..20 * steps {
        if builder.steps.len() == steps {
            break;
        }
        let (source, destination) = (rng.random_range(0..3u16), rng.random_range(0..3u16));
        let before = builder.steps.len();
        builder = match rng.random_range(0..5) {
            0 | 1 => match builder.square_levels(&mut rng, source) {
                Some(levels) => builder.square(source, destination, 0, levels),
                None => builder,
            },
            2 => match builder.rotate_sum_level(&mut rng, source) {
                Some(level) => {
                    let rotations = [[1, 64], [-3, 16], [128, -32]][rng.random_range(0..3)];
                    builder.rotate_sum(source, destination, &rotations, 0, level)
                }
                None => builder,
            },
            _ => match builder.linear_shape(&mut rng, source) {
                Some((sources, shape, levels)) => builder.linear(&sources, destination, &shape, levels),
                None => builder,
            },
        };
        if builder.steps.len() > before {
            last = destination;
        }
    }
    builder.finish(last)
}

impl Builder {
    /// Levels at which a register can be squared.
    fn square_levels(&self, rng: &mut StdRng, source: u16) -> Option<(u16, u16)> {
        let held = self.registers[usize::from(source)].filter(|h| h.bound < 4.0)?;
        let level = self.aligned(rng, &[source])?;
        let product = held.state.scale.powi(2);
        let out = rng.random_range(level.saturating_sub(2)..=level);
        self.fits((level, out), product).then_some((level, out))
    }

    /// A level at which a register can be rotated.
    fn rotate_sum_level(&self, rng: &mut StdRng, source: u16) -> Option<u16> {
        let held = self.registers[usize::from(source)].filter(|h| h.bound < 16.0)?;
        let level = self.aligned(rng, &[source])?;
        self.fits((level, level), held.state.scale).then_some(level)
    }

    /// A transform of a register, and perhaps of another one.
    fn linear_shape(&self, rng: &mut StdRng, source: u16) -> Option<(Vec<u16>, Shape, (u16, u16))> {
        let held = self.registers[usize::from(source)]?;
        let second = rng.random_range(0..3u16);
        let both = rng.random_bool(0.3) && second != source && self.registers[usize::from(second)].is_some();
        let sources = if both { vec![source, second] } else { vec![source] };
        let level = self.aligned(rng, &sources)?;
        let integers = rng.random_bool(0.2);
        let shape = Shape {
            outputs: rng.random_range(1..=3),
            period: if integers { 1 } else { 1 << rng.random_range(0..8) },
            imaginary_steps: (!integers && rng.random_bool(0.3)).then_some(12),
            integers,
            add_first: integers && rng.random_bool(0.5),
            density: [0.2, 0.7, 1.0][rng.random_range(0..3)],
            span: None,
        };
        let shape = match rng.random_bool(0.2) {
            true if !integers => Shape { span: Some(256), imaginary_steps: None, ..shape },
            _ => shape,
        };
        let out = if integers { level } else { rng.random_range(level.saturating_sub(1)..=level) };
        let product = self.product(held.state.scale, &shape, (level, out));
        let weights = |&source: &u16| (product / self.held(source).state.scale).log2();
        let usable = self.fits((level, out), product)
            && sources.iter().map(weights).all(|bits| (12.0..=LOG_WEIGHTS.1 + 4.0).contains(&bits));
        usable.then_some((sources, shape, (level, out)))
    }

    /// A random level that all registers can be aligned to.
    fn aligned(&self, rng: &mut StdRng, sources: &[u16]) -> Option<u16> {
        let levels = &self.literal.levels;
        let reaches = |to: &u16| {
            let own = &levels[usize::from(*to)];
            sources.iter().all(|&source| {
                let from = self.held(source).state.level;
                from.0 >= *to && own.iter().all(|prime| levels[from.index()].contains(prime))
            })
        };
        sources.iter().all(|&source| self.registers[usize::from(source)].is_some()).then_some(())?;
        let all: Vec<u16> = (0..levels.len() as u16).filter(reaches).collect();
        // Nearly always the highest: there is little to do at the lowest.
        if rng.random_bool(0.7) { all.last().copied() } else { all.get(rng.random_range(0..all.len().max(1))).copied() }
    }

    /// Whether there is room at `level` for what is worked on, and at `out` for the result: twice as much with complex
    /// weights.
    fn fits(&self, (level, out): (u16, u16), product: f64) -> bool {
        let room = |level, scale: f64| scale.log2() + MARGIN < self.literal.log_q(Level(level));
        let scale = product / self.factor((level, out));
        room(level, product) && room(out, scale) && (LOG_SCALES.0..LOG_SCALES.1).contains(&scale.log2())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_programs_are_sound_and_of_every_kind() {
        let literal = literal(LOG_N).expect("parameters");
        let (mut squares, mut sums, mut complex, mut masked, mut shared, mut several, mut total) =
            (0, 0, 0, 0, 0, 0, 0);
        for seed in 0..60 {
            let program = random(seed, &literal, 6);
            assert_eq!(program.check(), Ok(()), "seed {seed}");
            total += program.steps.len();
            for step in &program.steps {
                match &step.operation {
                    Operation::Square { .. } => squares += 1,
                    Operation::RotateSum { .. } => sums += 1,
                    Operation::Linear(linear) => {
                        complex += usize::from(linear.plan.imaginary_steps.is_some());
                        masked += usize::from(!linear.masks.is_empty());
                        shared += usize::from(linear.add_first);
                        several += usize::from(linear.inputs.len() > 1);
                    }
                }
            }
        }
        assert!(total > 200, "{total} steps");
        let kinds = [squares, sums, complex, masked, shared, several];
        assert!(kinds.iter().all(|&count| count >= 5), "{kinds:?}");
    }
}
