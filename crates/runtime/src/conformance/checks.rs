//! The checks.

use std::ops::ControlFlow;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use umbra_ckks::{Ciphertext, Level, Parameters, ParametersLiteral};
use umbra_program::{Operation, Program, count};

use super::client::CkksClient;
use super::counting::Counting;
use super::plain;
use super::programs::{Builder, LOG_N, Shape, TOP, literal, random};
use super::report::{Outcome, Verdict};
use super::subject::Subject;
use crate::backend::Backend;
use crate::error::RuntimeError;
use crate::run::{Prepared, StepReport, to_the_end};

/// Measured errors of single steps may be this many times the predicted ones, as root mean squares over all slots: far
/// more than the fluctuation of some hundred slots.
const OF_ONE_STEP: f64 = 1.5;
/// Those of whole programs: sums of rotations that overlap add up errors that are not independent.
const OF_PROGRAMS: f64 = 8.0;
/// Relative difference up to which scales count as equal.
const SCALE_TOLERANCE: f64 = 1e-9;
/// Random programs a check.
const PROGRAMS: u64 = 4;
/// Their steps.
const STEPS: usize = 6;

/// Runs every check.
pub(super) fn all<S: Subject>(subject: &S, seed: u64) -> Vec<Outcome> {
    let checks: [(&'static str, Check<S>); 16] = [
        ("square and relinearize", square),
        ("rescale, also by adding primes", rescale),
        ("level alignment by mod switch", alignment),
        ("rotate and sum", rotate_and_sum),
        ("linear transform, real weights", real_weights),
        ("linear transform, complex packing of giant steps", complex_weights),
        ("linear transform, masks", masks),
        ("linear transform, integers and adding first", integers),
        ("linear transform, several registers", several_registers),
        ("refuses inputs that do not belong", foreign_inputs),
        ("refuses steps that do not fit", unfit_steps),
        ("refuses to work without a key", missing_keys),
        ("whole programs, step by step", whole_programs),
        ("the same bits again, whatever the threads", determinism),
        ("a run that was stopped leaves nothing behind", cancellation),
        ("does what is counted", counts),
    ];
    let run = |(index, (check, f)): (usize, (&'static str, Check<S>))| {
        let bench = Bench::new(subject, seed.wrapping_add(index as u64));
        Outcome { check, verdict: bench.and_then(|bench| f(&bench)).into() }
    };
    checks.into_iter().enumerate().map(run).collect()
}

/// Whether two back ends give the same bits.
pub(super) fn agreement<A, B>(one: &A, other: &B, seed: u64) -> Outcome
where
    A: Subject<Host = Ciphertext, Client = CkksClient>,
    B: Subject<Host = Ciphertext, Client = CkksClient>,
{
    let check = || -> Checked {
        let (one, other) = (Bench::new(one, seed)?, Bench::new(other, seed)?);
        for program in one.programs() {
            let client = one.client(&program)?;
            let input = one.slots(program.client.input.ciphertexts.len());
            let input = one.encrypt(&client, &program, &input)?;
            let (found, expected) = (other.run(&program, &client, input.clone())?, one.run(&program, &client, input)?);
            require(found == expected, || format!("results differ: {}", steps(&program)))?;
        }
        Ok(())
    };
    Outcome { check: "the same bits from both back ends", verdict: check().into() }
}

/// A check.
type Check<S> = fn(&Bench<'_, S>) -> Checked;

/// What a check says.
type Checked = Result<(), Stop>;

/// Why a check did not pass.
enum Stop {
    Failed(String),
    Skipped(&'static str),
}

impl<E: std::fmt::Display> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<Checked> for Verdict {
    fn from(checked: Checked) -> Self {
        match checked {
            Ok(()) => Self::Passed,
            Err(Stop::Failed(why)) => Self::Failed(why),
            Err(Stop::Skipped(why)) => Self::Skipped(why),
        }
    }
}

fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Stop::Failed(otherwise())) }
}

/// A back end, the parameters of all programs, and a source of random numbers.
struct Bench<'s, S> {
    subject: &'s S,
    literal: ParametersLiteral,
    parameters: Parameters,
    seed: u64,
}

impl<'s, S: Subject> Bench<'s, S> {
    fn new(subject: &'s S, seed: u64) -> Result<Self, Stop> {
        let literal = literal(LOG_N)?;
        let parameters = subject.parameters(literal.clone())?;
        Ok(Self { subject, literal, parameters, seed })
    }

    /// The start of a program with input at a level, of base-2 logarithm of the scale.
    fn build(&self, ciphertexts: usize, level: u16, log_scale: f64) -> Builder {
        Builder::new(self.seed, &self.literal, ciphertexts, Level(level), log_scale.exp2())
    }

    /// Random programs.
    fn programs(&self) -> Vec<Program> {
        (0..PROGRAMS).map(|i| random(self.seed.wrapping_mul(PROGRAMS).wrapping_add(i), &self.literal, STEPS)).collect()
    }

    /// Random slots from -1 to 1, those of so many ciphertexts.
    fn slots(&self, ciphertexts: usize) -> Vec<Vec<f64>> {
        let mut rng = StdRng::seed_from_u64(!self.seed);
        (0..ciphertexts).map(|_| (0..self.parameters.slots()).map(|_| rng.random_range(-1.0..1.0)).collect()).collect()
    }

    fn client(&self, program: &Program) -> Result<S::Client, Stop> {
        Ok(self.subject.client(&self.parameters, &program.client.keys)?)
    }

    fn encrypt(&self, client: &S::Client, program: &Program, slots: &[Vec<f64>]) -> Result<Vec<S::Host>, Stop> {
        let input = &program.client.input;
        let one = |slots: &Vec<f64>| Ok(self.subject.encrypt(client, slots, input.level, input.scale)?);
        slots.iter().map(one).collect()
    }

    fn prepare<'p>(&self, program: &'p Program) -> Result<Prepared<S::Backend<'p>, &'p Program>, Stop> {
        Ok(Prepared::new(program, self.subject.backend(&self.parameters, program)?)?)
    }

    fn run(&self, program: &Program, client: &S::Client, input: Vec<S::Host>) -> Result<Vec<S::Host>, Stop> {
        Ok(self.prepare(program)?.run(self.subject.keys(client), input, &mut to_the_end)?)
    }

    /// Runs a program on random inputs; levels, scales and errors of the result must be those predicted.
    fn expect(&self, program: &Program, multiple: f64) -> Checked {
        self.expect_for(&self.client(program)?, program, multiple)
    }

    /// The same for a client who has the keys.
    fn expect_for(&self, client: &S::Client, program: &Program, multiple: f64) -> Checked {
        program.check()?;
        let slots = self.slots(program.client.input.ciphertexts.len());
        let input = self.encrypt(client, program, &slots)?;
        let prepared = self.prepare(program)?;
        let found = prepared.run(self.subject.keys(client), input, &mut to_the_end)?;
        let expected = plain::evaluate(program, &self.parameters, &slots)?;
        let what = || steps(program);
        require(found.len() == expected.slots.len(), || {
            format!("{} ciphertexts, expected {}: {}", found.len(), expected.slots.len(), what())
        })?;
        let begun = prepared.backend().begin(self.subject.keys(client))?;
        let output = &program.client.output;
        for (index, (found, expected_slots)) in found.iter().zip(&expected.slots).enumerate() {
            let (level, scale) = prepared.backend().inspect(&begun, found)?;
            require(level == output.level, || {
                format!("ciphertext {index} is at level {level}, expected {}: {}", output.level, what())
            })?;
            require((scale / output.scale - 1.0).abs() <= SCALE_TOLERANCE, || {
                let (found, expected) = (scale.log2(), output.scale.log2());
                format!("ciphertext {index} has scale 2^{found:.6}, expected 2^{expected:.6}: {}", what())
            })?;
            let values = self.subject.decrypt(client, found)?;
            require(values.len() == expected_slots.len(), || format!("{} slots: {}", values.len(), what()))?;
            let sum: f64 = values.iter().zip(expected_slots).map(|(f, e)| (f - e).powi(2)).sum();
            let error = (sum / values.len() as f64).sqrt();
            require(error <= multiple * expected.deviation, || {
                let predicted = expected.deviation;
                format!(
                    "ciphertext {index} is off by {error:.2e}, more than {multiple} times {predicted:.2e}: {}",
                    what()
                )
            })?;
        }
        Ok(())
    }

    /// A program that must not be run: it fails when it is prepared or at a step, and gives no result.
    fn expect_refusal(&self, program: &Program, what: &str) -> Checked {
        let client = self.client(program)?;
        let input = self.encrypt(&client, program, &self.slots(program.client.input.ciphertexts.len()))?;
        let backend = self.subject.backend(&self.parameters, program)?;
        let result = Prepared::new(program, backend)
            .and_then(|prepared| prepared.run(self.subject.keys(&client), input, &mut to_the_end));
        match result {
            Err(RuntimeError::Step { .. }) => Ok(()),
            Err(other) => Err(Stop::Failed(format!("{what}: another error: {other}"))),
            Ok(_) => Err(Stop::Failed(format!("{what}: a result"))),
        }
    }
}

/// The operations of a program, for messages.
fn steps(program: &Program) -> String {
    let step = |step: &umbra_program::Step| {
        let levels = format!("{}>{}", step.level_in, step.level_out);
        match &step.operation {
            Operation::Square { source, .. } => format!("square r{source} {levels}"),
            Operation::RotateSum { source, rotations, .. } => format!("rotate-sum r{source} {rotations:?} {levels}"),
            Operation::Linear(linear) => {
                let sources: Vec<String> = linear.inputs.iter().map(|i| format!("r{}", i.source)).collect();
                let masks = linear.masks.first().map_or(0, Vec::len);
                let (period, complex) = (linear.period, linear.plan.imaginary_steps.is_some());
                format!("linear {} {levels} period {period} masks {masks} complex {complex}", sources.join("+"))
            }
        }
    };
    program.steps.iter().map(step).collect::<Vec<_>>().join(", ")
}

fn square<S: Subject>(bench: &Bench<'_, S>) -> Checked {
    for (ciphertexts, gadget, levels) in [(1, 0, (4, 4)), (2, 0, (3, 3)), (1, 0, (1, 1)), (3, 1, (1, 1))] {
        let program = bench.build(ciphertexts, levels.0, 34.0).square(0, 1, gadget, levels).finish(1);
        bench.expect(&program, OF_ONE_STEP)?;
    }
    Ok(())
}

fn rescale<S: Subject>(bench: &Bench<'_, S>) -> Checked {
    for (log_scale, levels) in [(36.0, (4, 3)), (52.0, (4, 2)), (36.0, (3, 2)), (36.0, (2, 1)), (35.0, (1, 0))] {
        let program = bench.build(2, levels.0, log_scale).square(0, 0, 0, levels).finish(0);
        bench.expect(&program, OF_ONE_STEP)?;
    }
    Ok(())
}

fn alignment<S: Subject>(bench: &Bench<'_, S>) -> Checked {
    for (from, to) in [(4, 3), (4, 1), (4, 0), (3, 0), (2, 0), (1, 0)] {
        let shape = Shape { outputs: 2, density: 0.5, ..Shape::default() };
        let start = || bench.build(2, from, 24.0);
        bench.expect(&start().rotate_sum(0, 1, &[1, -32], 0, to).finish(1), OF_ONE_STEP)?;
        bench.expect(&start().square(0, 1, 0, (to, to)).finish(1), OF_ONE_STEP)?;
        bench.expect(&start().linear(&[0], 1, &shape, (to, to)).finish(1), OF_ONE_STEP)?;
    }
    Ok(())
}

fn rotate_and_sum<S: Subject>(bench: &Bench<'_, S>) -> Checked {
    let half = bench.parameters.slots() as i64 / 2;
    for (rotations, gadget, level) in [
        (vec![1], 0, 4),
        (vec![-1, 2, -3], 0, 2),
        (vec![half], 1, 0),
        (vec![half, 1 - half, 16, -16], 0, 3),
        (vec![5, -7], 1, 1),
        (Vec::new(), 0, 4),
    ] {
        let program = bench.build(2, level, 30.0).rotate_sum(0, 2, &rotations, gadget, level).finish(2);
        bench.expect(&program, OF_ONE_STEP)?;
    }
    Ok(())
}

/// One transform at some levels and of some numbers of inputs.
fn linear<S: Subject>(bench: &Bench<'_, S>, shape: Shape, inputs: usize, levels: (u16, u16), scale: f64) -> Checked {
    let program = bench.build(inputs, levels.0, scale).linear(&[0], 1, &shape, levels).finish(1);
    bench.expect(&program, OF_ONE_STEP)
}

fn real_weights<S: Subject>(bench: &Bench<'_, S>) -> Checked {
    let slots = bench.parameters.slots();
    for (period, outputs, inputs, density, levels) in [
        (8, 1, 1, 1.0, (4, 3)),
        (16, 3, 2, 0.4, (3, 2)),
        (1, 2, 1, 1.0, (2, 1)),
        (4, 2, 1, 0.1, (2, 2)),
        (slots, 1, 1, 0.3, (1, 0)),
        (2, 5, 3, 0.02, (4, 4)),
        (8, 2, 1, 0.0, (3, 2)),
    ] {
        let shape = Shape { outputs, period, density, ..Shape::default() };
        linear(bench, shape, inputs, levels, 36.0)?;
    }
    Ok(())
}

fn complex_weights<S: Subject>(bench: &Bench<'_, S>) -> Checked {
    let slots = bench.parameters.slots();
    for (period, steps, outputs, inputs, density, levels) in [
        (8, 12, 1, 1, 1.0, (4, 3)),
        (16, -96, 3, 2, 0.4, (3, 2)),
        (1, 1, 2, 1, 0.1, (2, 2)),
        (slots, -7, 1, 2, 0.3, (2, 1)),
    ] {
        let imaginary_steps = Some(steps);
        linear(bench, Shape { outputs, period, density, imaginary_steps, ..Shape::default() }, inputs, levels, 36.0)?;
    }
    Ok(())
}

fn masks<S: Subject>(bench: &Bench<'_, S>) -> Checked {
    let slots = bench.parameters.slots();
    for (period, span, outputs, inputs, density, levels) in [
        (1, 64, 9, 2, 0.7, (4, 3)),
        (1, 4, 2, 1, 1.0, (3, 2)),
        (1, slots, 2, 2, 0.5, (2, 1)),
        (4, 128, 2, 1, 0.3, (3, 3)),
    ] {
        let span = Some(span);
        linear(bench, Shape { outputs, period, density, span, ..Shape::default() }, inputs, levels, 36.0)?;
    }
    Ok(())
}

fn integers<S: Subject>(bench: &Bench<'_, S>) -> Checked {
    for (outputs, inputs, density, levels) in [(1, 1, 1.0, (4, 4)), (11, 3, 0.5, (4, 3)), (4, 8, 0.3, (3, 2))] {
        for add_first in [false, true] {
            let shape = Shape { outputs, period: 1, density, integers: true, add_first, ..Shape::default() };
            linear(bench, shape, inputs, levels, 60.0)?;
        }
    }
    Ok(())
}

/// Registers of other levels and scales, one of them read twice, and one that is overwritten by what is read from it.
fn several_registers<S: Subject>(bench: &Bench<'_, S>) -> Checked {
    let shape = Shape { outputs: 2, density: 0.5, ..Shape::default() };
    for sources in [[0, 1].as_slice(), &[1, 0], &[1, 1], &[0, 1, 0]] {
        let squared = bench.build(2, 4, 34.0).square(0, 1, 0, (4, 3));
        bench.expect(&squared.linear(sources, 1, &shape, (3, 2)).finish(1), OF_PROGRAMS)?;
    }
    Ok(())
}

fn foreign_inputs<S: Subject>(bench: &Bench<'_, S>) -> Checked {
    let program = bench.build(2, 3, 34.0).square(0, 0, 0, (3, 3)).finish(0);
    let (client, other) = (bench.client(&program)?, bench.client(&program)?);
    let input = &program.client.input;
    let slots = bench.slots(2);
    let encrypt = |client, level, scale| bench.subject.encrypt(client, &slots[0], level, scale);
    let own = || encrypt(&client, input.level, input.scale);
    let prepared = bench.prepare(&program)?;
    // Whatever is wrong with the second of two ciphertexts is found before the first one is worked on.
    let run = |input: Vec<S::Host>| {
        let mut steps = 0;
        let result = prepared.run(bench.subject.keys(&client), input, &mut |_: &StepReport<'_>| {
            steps += 1;
            ControlFlow::Continue(())
        });
        (result.err(), steps)
    };
    let expect = |what: &str, (error, steps): (Option<_>, usize), right: fn(&RuntimeError<_>) -> bool| {
        require(steps == 0, || format!("{what}: worked before refusing"))?;
        match error {
            Some(error) if right(&error) => Ok(()),
            Some(error) => Err(Stop::Failed(format!("{what}: another error: {error}"))),
            None => Err(Stop::Failed(format!("{what}: a result"))),
        }
    };
    let level = run(vec![own()?, encrypt(&client, Level(2), input.scale)?]);
    expect("another level", level, |e| matches!(e, RuntimeError::InputLevel { index: 1, found: Level(2), .. }))?;
    let scale = run(vec![own()?, encrypt(&client, input.level, input.scale * 2.0)?]);
    expect("another scale", scale, |e| matches!(e, RuntimeError::InputScale { index: 1, .. }))?;
    let count = run(vec![own()?]);
    expect("too few", count, |e| matches!(e, RuntimeError::InputCount { found: 1, expected: 2 }))?;
    let foreign = bench.subject.parameters(literal(LOG_N + 1)?)?;
    let client_of_foreign = bench.subject.client(&foreign, &[])?;
    let double = [slots[0].as_slice(), &slots[1]].concat();
    let ciphertext = bench.subject.encrypt(&client_of_foreign, &double, input.level, input.scale)?;
    let parameters = run(vec![own()?, ciphertext]);
    expect("other parameters", parameters, |e| matches!(e, RuntimeError::Input { index: 1, .. }))?;
    if bench.subject.has_keys() {
        let key_set = run(vec![own()?, encrypt(&other, input.level, input.scale)?]);
        expect("another key set", key_set, |e| matches!(e, RuntimeError::Input { index: 1, .. }))?;
    }
    // And the program can still be run.
    expect_result(run(vec![own()?, own()?]).0)
}

fn expect_result<E: std::error::Error>(error: Option<RuntimeError<E>>) -> Checked {
    error.map_or(Ok(()), |error| Err(Stop::Failed(format!("refused what belongs: {error}"))))
}

fn unfit_steps<S: Subject>(bench: &Bench<'_, S>) -> Checked {
    let shape = Shape { density: 0.3, ..Shape::default() };
    // Level 2 has a prime that level 4 lacks, and so has every level that is higher than the operand's.
    for (from, at) in [(4, 2), (1, 3), (2, 4)] {
        let start = || bench.build(1, from, 24.0);
        bench.expect_refusal(&start().square(0, 0, 0, (at, at)).finish(0), "square of what cannot be aligned")?;
        let sum = start().rotate_sum(0, 0, &[1], 0, at).finish(0);
        bench.expect_refusal(&sum, "rotations of what cannot be aligned")?;
        let linear = start().linear(&[0], 0, &shape, (at, at)).finish(0);
        bench.expect_refusal(&linear, "linear transform of what cannot be aligned")?;
    }
    let mut program = bench.build(1, 4, 30.0).linear(&[0], 0, &shape, (4, 3)).finish(0);
    program.steps[0].scale_out *= 2.0;
    bench.expect_refusal(&program, "linear transform to another scale")
}

fn missing_keys<S: Subject>(bench: &Bench<'_, S>) -> Checked {
    if !bench.subject.has_keys() {
        return Err(Stop::Skipped("the back end has no keys"));
    }
    let complex = Shape { imaginary_steps: Some(12), ..Shape::default() };
    let program = bench.build(1, 4, 36.0).linear(&[0], 0, &complex, (4, 3)).square(0, 1, 0, (3, 2));
    let program = program.rotate_sum(1, 1, &[64, -3], 0, 2).finish(1);
    let prepared = bench.prepare(&program)?;
    for missing in &program.client.keys {
        let keys: Vec<_> = program.client.keys.iter().filter(|key| *key != missing).copied().collect();
        let client = bench.subject.client(&bench.parameters, &keys)?;
        let input = bench.encrypt(&client, &program, &bench.slots(1))?;
        match prepared.run(bench.subject.keys(&client), input, &mut to_the_end) {
            Err(RuntimeError::Step { .. }) => {}
            Err(other) => return Err(Stop::Failed(format!("without {missing}: another error: {other}"))),
            Ok(_) => return Err(Stop::Failed(format!("without {missing}: a result"))),
        }
    }
    Ok(())
}

fn whole_programs<S: Subject>(bench: &Bench<'_, S>) -> Checked {
    for program in bench.programs() {
        // Each step by what the program would return if it were the last. Its keys serve lower levels, too.
        let client = bench.client(&program)?;
        for last in 1..=program.steps.len() {
            bench.expect_for(&client, &prefix(&program, last), OF_PROGRAMS)?;
        }
    }
    Ok(())
}

/// The first steps of a program, the last of which writes the output.
fn prefix(program: &Program, steps: usize) -> Program {
    let mut program = program.clone();
    program.steps.truncate(steps);
    if let Some(last) = program.steps.last() {
        let states = program.states();
        program.output = last.destination;
        let output = &mut program.client.output;
        (output.level, output.scale) = (last.level_out, last.scale_out);
        if let Some(state) = states.last().and_then(|states| umbra_program::state_of(states, last.destination)) {
            output.classes = state.ciphertexts;
            program.client.classes = vec!["class".into(); state.ciphertexts];
        }
    }
    program.client.keys = program.key_set();
    program
}

fn determinism<S: Subject>(bench: &Bench<'_, S>) -> Checked {
    if !bench.subject.is_exact() {
        return Err(Stop::Skipped("the back end is not exact"));
    }
    let pools = [1, 3].map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build());
    let pools = pools.into_iter().collect::<Result<Vec<_>, _>>()?;
    for program in bench.programs() {
        let client = bench.client(&program)?;
        let slots = bench.slots(program.client.input.ciphertexts.len());
        let input = bench.encrypt(&client, &program, &slots)?;
        let prepared = bench.prepare(&program)?;
        let run = || prepared.run(bench.subject.keys(&client), input.clone(), &mut to_the_end);
        let expected = run()?;
        require(run()? == expected, || format!("other bits the second time: {}", steps(&program)))?;
        for pool in &pools {
            let found = pool.install(run)?;
            let threads = pool.current_num_threads();
            require(found == expected, || format!("other bits with {threads} threads: {}", steps(&program)))?;
        }
    }
    Ok(())
}

fn cancellation<S: Subject>(bench: &Bench<'_, S>) -> Checked {
    for program in bench.programs().into_iter().take(2) {
        let client = bench.client(&program)?;
        let slots = bench.slots(program.client.input.ciphertexts.len());
        let input = bench.encrypt(&client, &program, &slots)?;
        let prepared = bench.prepare(&program)?;
        let keys = || bench.subject.keys(&client);
        let expected = prepared.run(keys(), input.clone(), &mut to_the_end)?;
        for last in 0..program.steps.len() {
            let stopped = prepared.run(keys(), input.clone(), &mut |report: &StepReport<'_>| {
                if report.index == last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            let right = matches!(stopped, Err(RuntimeError::Cancelled { step }) if step == last);
            require(right, || format!("not stopped after step {last}: {}", steps(&program)))?;
            let found = prepared.run(keys(), input.clone(), &mut to_the_end)?;
            let same = !bench.subject.is_exact() || found == expected;
            require(same, || format!("other bits after a run stopped at step {last}: {}", steps(&program)))?;
        }
    }
    Ok(())
}

fn counts<S: Subject>(bench: &Bench<'_, S>) -> Checked {
    let masked = Shape { span: Some(64), period: 1, outputs: 3, density: 0.3, ..Shape::default() };
    let shared = Shape { integers: true, add_first: true, period: 1, outputs: 2, ..Shape::default() };
    let mut programs = bench.programs();
    programs.push(bench.build(2, TOP.0, 36.0).linear(&[0], 0, &masked, (4, 3)).finish(0));
    programs.push(bench.build(3, TOP.0, 36.0).linear(&[0], 0, &shared, (4, 4)).finish(0));
    for program in programs {
        let client = bench.client(&program)?;
        let slots = bench.slots(program.client.input.ciphertexts.len());
        let input = bench.encrypt(&client, &program, &slots)?;
        let backend = Counting::new(bench.subject.backend(&bench.parameters, &program)?);
        let prepared = Prepared::new(&program, backend)?;
        prepared.run(bench.subject.keys(&client), input, &mut to_the_end)?;
        let (done, said) = (prepared.backend().counts(), count(&program));
        let products = said.plaintext_products + said.shared_additions;
        for (what, done, said) in [
            ("squares", done.squares, said.squares),
            ("hoisted rotations", done.hoisted_rotations, said.hoisted_rotations),
            ("full rotations", done.full_rotations, said.full_rotations),
            ("decompositions", done.decompositions, said.decompositions),
            ("products", done.plaintext_products, products),
            ("rescales", done.rescales, said.rescales),
        ] {
            require(done == said, || format!("{done} {what}, counted {said}: {}", steps(&program)))?;
        }
        if said.shared_additions == 0 {
            let (done, said) = (done.multiply_accumulates, said.multiply_accumulates);
            require(done == said, || format!("{done} word multiplications, counted {said}: {}", steps(&program)))?;
        }
    }
    Ok(())
}
