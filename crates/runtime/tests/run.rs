//! The run, by a back end whose ciphertexts are numbers and are counted: registers, inputs, progress, cancellation.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use umbra_ckks::{Bsgs, Diagonal, Gadget, GadgetLiteral, Level, Parameters, ParametersLiteral, TransformSpec};
use umbra_image::{ImageSpec, Normalisation};
use umbra_program::{
    ClientSpec, Estimate, InputLayout, Layout, Linear, LinearInput, Operation, OutputLayout, Program, Register, Report,
    Step,
};
use umbra_ring::kernels::Kernels;
use umbra_runtime::{At, Backend, Prepared, RuntimeError, StepReport, to_the_end};

const SCALE: f64 = (1u64 << 30) as f64;

#[test]
fn steps_run_in_order_and_registers_are_freed_after_their_last_use() {
    let program = program();
    let prepared = Prepared::new(&program, Toy::new(&program)).unwrap();
    let mut seen = Vec::new();
    let (live, toy) = (|| prepared.backend().live(), prepared.backend());
    let output = prepared.run(&7, vec![host(3.0)], &mut |report: &StepReport<'_>| {
        seen.push((report.index, report.count, report.node.to_owned(), report.operation, report.level, live()));
        ControlFlow::Continue(())
    });
    // 9 + 7 is 16, 3 + 16 is 19, three times that is 57, twice that and twice the key is 128.
    let found: Vec<f64> = output.unwrap().iter().map(|host| host.value).collect();
    assert_eq!(found, [128.0, 128.0]);
    let expected = [
        (0, 4, "a", "square", Level(1), 2),
        (1, 4, "b", "linear", Level(1), 1),
        (2, 4, "c", "rotate-sum", Level(0), 1),
        (3, 4, "d", "linear", Level(0), 2),
    ];
    let expected = expected
        .map(|(index, count, node, operation, level, live)| (index, count, node.to_owned(), operation, level, live));
    assert_eq!(seen, expected);
    assert_eq!(toy.live(), 0);
    assert_eq!(toy.ats(), [(0, 1, 1), (1, 1, 0), (2, 0, 0), (3, 0, 0)]);
}

#[test]
fn a_run_that_is_stopped_frees_everything_and_can_be_run_again() {
    let program = program();
    let prepared = Prepared::new(&program, Toy::new(&program)).unwrap();
    let expected = prepared.run(&1, vec![host(0.5)], &mut to_the_end).unwrap();
    for last in 0..program.steps.len() {
        let stopped = prepared.run(&1, vec![host(0.5)], &mut |report: &StepReport<'_>| {
            if report.index == last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(stopped, Err(RuntimeError::Cancelled { step: last }));
        assert_eq!(prepared.backend().live(), 0, "after step {last}");
        assert_eq!(prepared.run(&1, vec![host(0.5)], &mut to_the_end).unwrap(), expected);
    }
}

#[test]
fn inputs_are_checked_before_any_is_taken() {
    let program = program();
    let prepared = Prepared::new(&program, Toy::new(&program)).unwrap();
    let run = |input: Vec<Host>| prepared.run(&1, input, &mut |_: &StepReport<'_>| panic!("a step"));
    let good = host(1.0);
    assert_eq!(run(vec![]), Err(RuntimeError::InputCount { found: 0, expected: 1 }));
    assert_eq!(run(vec![good, good]), Err(RuntimeError::InputCount { found: 2, expected: 1 }));
    let level = RuntimeError::InputLevel { index: 0, found: Level(0), expected: Level(1) };
    assert_eq!(run(vec![Host { level: Level(0), ..good }]), Err(level));
    let scale = RuntimeError::InputScale { index: 0, found: 2.0 * SCALE, expected: SCALE };
    assert_eq!(run(vec![Host { scale: 2.0 * SCALE, ..good }]), Err(scale));
    let scale = run(vec![Host { scale: f64::NAN, ..good }]);
    assert!(matches!(scale, Err(RuntimeError::InputScale { index: 0, .. })), "{scale:?}");
    let foreign = run(vec![Host { value: f64::NAN, ..good }]);
    assert_eq!(foreign, Err(RuntimeError::Input { index: 0, source: Refusal("an input") }));
    assert_eq!(prepared.backend().uploads.load(Ordering::Relaxed), 0);
}

#[test]
fn an_error_names_the_step_and_frees_everything() {
    let program = program();
    let prepared = Prepared::new(&program, Toy::new(&program)).unwrap();
    // The toy refuses to rotate what is infinite.
    let failed = prepared.run(&1, vec![host(f64::MAX)], &mut to_the_end);
    assert_eq!(failed, Err(RuntimeError::Step { step: 2, node: "c".into(), source: Refusal("a sum") }));
    assert_eq!(failed.unwrap_err().to_string(), "step 2 (c): the toy refuses a sum");
    assert_eq!(prepared.backend().live(), 0);
}

#[test]
fn what_was_not_checked_is_refused_and_not_run() {
    type Damage = fn(&mut Program);
    let damages: [Damage; 5] = [
        |p| p.output = Register(3),
        |p| p.input = Register(9),
        |p| p.steps[2].destination = Register(3),
        |p| p.steps[0].operation = Operation::Square { source: Register(7), gadget: Gadget(0) },
        |p| p.registers = 1,
    ];
    for (index, damage) in damages.iter().enumerate() {
        let mut damaged = program();
        damage(&mut damaged);
        let toy = Toy::new(&damaged);
        let refused = Prepared::new(&damaged, toy).err();
        assert!(matches!(refused, Some(RuntimeError::Register { .. })), "damage {index}: {refused:?}");
    }
    let mut other = program();
    other.client.parameters.levels.remove(0);
    let toy = Toy::new(&program());
    assert_eq!(Prepared::new(&other, toy).err(), Some(RuntimeError::OtherParameters));
    // A register that was never written holds nothing.
    let mut empty = program();
    empty.steps[0].operation = Operation::Square { source: Register(2), gadget: Gadget(0) };
    let prepared = Prepared::new(&empty, Toy::new(&empty)).unwrap();
    let found = prepared.run(&1, vec![host(1.0)], &mut to_the_end);
    assert!(found.is_ok(), "{found:?}");
}

/// A run needs no thread of its own, nor a program of its own.
#[test]
fn a_prepared_program_may_own_its_program_and_be_shared() {
    let program = Arc::new(program());
    let prepared = Prepared::new(program.clone(), Toy::new(&program)).unwrap();
    let expected = prepared.run(&1, vec![host(0.5)], &mut to_the_end).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_eq!(prepared.run(&1, vec![host(0.5)], &mut to_the_end).unwrap(), expected));
        }
    });
    assert_eq!(format!("{prepared:?}"), "Prepared(toy, 4 steps)");
}

/// A number, and where it would be.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Host {
    value: f64,
    level: Level,
    scale: f64,
}

fn host(value: f64) -> Host {
    Host { value, level: Level(1), scale: SCALE }
}

/// What the toy refuses.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Refusal(&'static str);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the toy refuses {}", self.0)
    }
}

impl std::error::Error for Refusal {}

/// A back end whose key is a number that is added to every square; its numbers are counted while they live.
struct Toy {
    parameters: Parameters,
    live: Arc<AtomicUsize>,
    uploads: AtomicUsize,
    ats: Mutex<Vec<(usize, u16, u16)>>,
}

struct Number {
    value: f64,
    live: Arc<AtomicUsize>,
}

impl Drop for Number {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Toy {
    fn new(program: &Program) -> Self {
        let parameters = Parameters::insecure_for_tests(program.client.parameters.clone(), Kernels::best());
        Self {
            parameters: parameters.unwrap(),
            live: Arc::default(),
            uploads: AtomicUsize::new(0),
            ats: Mutex::default(),
        }
    }

    /// Numbers that live.
    fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Step and levels of every operation.
    fn ats(&self) -> Vec<(usize, u16, u16)> {
        self.ats.lock().unwrap().clone()
    }

    fn number(&self, value: f64) -> Number {
        self.live.fetch_add(1, Ordering::Relaxed);
        Number { value, live: self.live.clone() }
    }

    fn saw(&self, at: &At) {
        self.ats.lock().unwrap().push((at.step, at.level_in.0, at.level_out.0));
    }
}

impl Backend for Toy {
    type Host = Host;
    type Ciphertext = Number;
    /// Numbers of inputs and of outputs, and the bias.
    type Transform = (usize, usize, f64);
    type Keys<'k> = u32;
    type Run<'r> = f64;
    type Error = Refusal;

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn prepare(&self, _: usize, spec: &TransformSpec<'_>) -> Result<(usize, usize, f64), Refusal> {
        Ok((spec.weight_scales.len(), spec.outputs, spec.bias[0][0]))
    }

    fn begin<'r>(&'r self, keys: &'r u32) -> Result<f64, Refusal> {
        Ok(f64::from(*keys))
    }

    fn inspect(&self, _: &f64, input: &Host) -> Result<(Level, f64), Refusal> {
        if input.value.is_nan() { Err(Refusal("an input")) } else { Ok((input.level, input.scale)) }
    }

    fn upload(&self, _: &mut f64, input: Host) -> Result<Number, Refusal> {
        self.uploads.fetch_add(1, Ordering::Relaxed);
        Ok(self.number(input.value))
    }

    fn download(&self, _: &mut f64, output: Number) -> Result<Host, Refusal> {
        Ok(Host { value: output.value, level: Level(0), scale: SCALE })
    }

    fn square(&self, key: &mut f64, at: &At, inputs: &[&Number], _: Gadget) -> Result<Vec<Number>, Refusal> {
        self.saw(at);
        Ok(inputs.iter().map(|x| self.number(x.value * x.value + *key)).collect())
    }

    fn rotate_and_sum(
        &self,
        _: &mut f64,
        at: &At,
        inputs: &[&Number],
        rotations: &[i64],
        _: Gadget,
    ) -> Result<Vec<Number>, Refusal> {
        self.saw(at);
        let sum = |x: &&Number| {
            if x.value.is_infinite() {
                return Err(Refusal("a sum"));
            }
            Ok(self.number(x.value * (1 + rotations.len()) as f64))
        };
        inputs.iter().map(sum).collect()
    }

    fn transform(
        &self,
        key: &mut f64,
        at: &At,
        inputs: &[&Number],
        (count, outputs, bias): &(usize, usize, f64),
    ) -> Result<Vec<Number>, Refusal> {
        self.saw(at);
        if inputs.len() != *count || inputs.is_empty() {
            return Err(Refusal("a number of inputs"));
        }
        let sum: f64 = inputs.iter().map(|x| x.value).sum();
        Ok((0..*outputs).map(|_| self.number(sum + bias * *key)).collect())
    }
}

/// Four steps on three registers. The second reads two of them and overwrites none, the last reads one twice.
fn program() -> Program {
    let log_n = 5;
    let primes = umbra_ring::primes::nearest(log_n, 29.0, 5, &[]).unwrap();
    let linear = |sources: &[u16], outputs: usize, bias: f64| {
        let diagonal = |output| Diagonal {
            output,
            input: 0,
            outer: 0,
            inner: 0,
            baby: 0,
            imaginary: false,
            mask: None,
            values: vec![1.0],
        };
        Operation::Linear(Box::new(Linear {
            inputs: sources.iter().map(|&s| LinearInput { source: Register(s), weight_scale: 1.0 }).collect(),
            plan: Bsgs { babies: vec![0], inner: vec![0], outer: vec![0], imaginary_steps: None },
            diagonals: (0..outputs as u32).map(diagonal).collect(),
            period: 1,
            masks: Vec::new(),
            bias: vec![vec![bias]; outputs],
            gadget: Gadget(0),
            add_first: false,
        }))
    };
    let step = |node: &str, operation, destination, level_in, level_out| Step {
        node: node.into(),
        operation,
        destination: Register(destination),
        level_in: Level(level_in),
        level_out: Level(level_out),
        scale_out: SCALE,
        estimate: Estimate::default(),
    };
    let client = ClientSpec {
        name: "toy".into(),
        classes: vec!["a".into(), "b".into()],
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
        input: InputLayout { positions: 4, pitch: 2, ciphertexts: vec![vec![None; 4]], level: Level(1), scale: SCALE },
        output: OutputLayout { level: Level(0), scale: SCALE, period: 1, step: 1, classes: 2, flooding: 0.0 },
        parameters: ParametersLiteral {
            log_n,
            primes,
            levels: vec![vec![0, 1], vec![0, 1, 2]],
            gadgets: vec![GadgetLiteral { digits: vec![vec![0, 1], vec![2]], special: vec![3, 4] }],
        },
        keys: Vec::new(),
    };
    let sum = Operation::RotateSum { source: Register(2), rotations: vec![4, 8], gadget: Gadget(0) };
    Program {
        client,
        network: [0; 32],
        registers: 3,
        input: Register(0),
        output: Register(0),
        steps: vec![
            step("a", Operation::Square { source: Register(0), gadget: Gadget(0) }, 1, 1, 1),
            step("b", linear(&[0, 1], 1, 0.0), 2, 1, 0),
            step("c", sum, 1, 0, 0),
            step("d", linear(&[1, 1], 2, 2.0), 0, 0, 0),
        ],
        report: Report::default(),
    }
}
