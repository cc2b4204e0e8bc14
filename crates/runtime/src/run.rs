//! The run: the one interpreter of programs.

use std::fmt;
use std::ops::{ControlFlow, Deref};
use std::sync::Arc;
use std::time::Instant;

use umbra_ckks::{Gadget, KeyId, Level, Parameters, TransformSpec, or_out_of_memory};
use umbra_evaluate::LinearTransform;
use umbra_program::{Linear, Operation, Program, Register, RegisterState, Step, operation_name, state_of};

use crate::backend::{At, Backend};
use crate::cpu::Cpu;
use crate::error::RuntimeError;
use crate::liveness::released;

/// A program that is ready to run on a back end any number of times, its weights encoded.
pub struct Prepared<B: Backend, P = Arc<Program>> {
    program: P,
    backend: B,
    steps: Vec<PreparedStep<B::Transform>>,
    /// Keys in the order of their first use.
    keys: Vec<KeyId>,
}

/// Progress: one step is done.
#[derive(Clone, Copy, Debug)]
pub struct StepReport<'a> {
    /// Index of the step.
    pub index: usize,
    /// Number of steps.
    pub count: usize,
    /// The network nodes that it realises.
    pub node: &'a str,
    /// `square`, `linear` or `rotate-sum`.
    pub operation: &'static str,
    /// Level at which it worked.
    pub level: Level,
    /// Seconds it took.
    pub seconds: f64,
}

/// What becomes of a run after a step: it goes on, or it stops ([`RuntimeError::Cancelled`]).
pub type Progress<'p> = dyn FnMut(&StepReport<'_>) -> ControlFlow<()> + Send + 'p;

/// Progress that nobody watches.
pub fn to_the_end(_: &StepReport<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

impl<B: Backend, P: Deref<Target = Program> + Sync> Prepared<B, P> {
    /// Encodes the weights of a checked program.
    ///
    /// # Errors
    /// [`RuntimeError::OtherParameters`]; [`RuntimeError::OutOfMemory`]; [`RuntimeError::Step`] when weights cannot be
    /// encoded; [`RuntimeError::Register`] for a program that would not pass its check.
    pub fn new(program: P, backend: B) -> Result<Self, RuntimeError<B::Error>> {
        if backend.parameters().literal() != &program.client.parameters {
            return Err(RuntimeError::OtherParameters);
        }
        check_registers(&program)?;
        let flow: Vec<_> = program.steps.iter().map(|step| (sources(&step.operation), step.destination)).collect();
        let released = released(program.registers, &flow, program.output);
        let steps = (program.steps.iter().zip(program.states()).zip(released).enumerate())
            .map(|(index, ((step, before), released))| {
                let work =
                    or_out_of_memory(|| Work::new(&backend, index, step, &before)).map_err(RuntimeError::from)?;
                let work = work.map_err(|source| failed(index, step, source))?;
                let (level_in, level_out, scale_out) = (step.level_in, step.level_out, step.scale_out);
                Ok(PreparedStep { at: At { step: index, level_in, level_out, scale_out }, work, released })
            })
            .collect::<Result<_, RuntimeError<B::Error>>>()?;
        let keys = program.keys_in_order();
        Ok(Self { program, backend, steps, keys })
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &P {
        &self.program
    }

    /// The back end.
    #[must_use]
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The parameters.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        self.backend.parameters()
    }

    /// Runs the program on its input ciphertexts and returns the output ciphertexts. `progress` is called after each
    /// step.
    ///
    /// A register is freed after the last step that reads it, everything when the run ends, whether well, with an error
    /// or because it was stopped.
    ///
    /// # Errors
    /// Before any work, [`RuntimeError::InputCount`], [`RuntimeError::InputLevel`], [`RuntimeError::InputScale`] and,
    /// for ciphertexts of other parameters or of another key set, [`RuntimeError::Input`]. Then [`RuntimeError::Step`],
    /// above all when a key is missing, [`RuntimeError::OutOfMemory`], and [`RuntimeError::Cancelled`] after `progress`
    /// broke off. Of back ends elsewhere, [`RuntimeError::Begin`] and [`RuntimeError::Output`].
    pub fn run<'k>(
        &'k self,
        keys: &'k B::Keys<'k>,
        input: Vec<B::Host>,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<B::Host>, RuntimeError<B::Error>> {
        or_out_of_memory(|| self.backend.within(keys, &self.keys, || self.run_here(keys, input, progress)))
            .unwrap_or_else(|error| Err(error.into()))
    }

    fn run_here<'k>(
        &'k self,
        keys: &'k B::Keys<'k>,
        input: Vec<B::Host>,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<B::Host>, RuntimeError<B::Error>> {
        let (program, backend) = (&*self.program, &self.backend);
        let mut run = backend.begin(keys).map_err(|source| RuntimeError::Begin { source })?;
        self.check_input(&run, &input)?;
        let mut registers: Vec<Vec<B::Ciphertext>> = (0..program.registers).map(|_| Vec::new()).collect();
        registers[program.input.index()] = (input.into_iter().enumerate())
            .map(|(index, c)| backend.upload(&mut run, c).map_err(|source| RuntimeError::Input { index, source }))
            .collect::<Result<_, _>>()?;
        for (prepared, step) in self.steps.iter().zip(&program.steps) {
            let (start, index) = (Instant::now(), prepared.at.step);
            let result = prepared.run(backend, &mut run, &registers).map_err(|source| failed(index, step, source))?;
            registers[step.destination.index()] = result;
            prepared.released.iter().for_each(|register| registers[register.index()] = Vec::new());
            let report = StepReport {
                index,
                count: self.steps.len(),
                node: &step.node,
                operation: operation_name(&step.operation),
                level: step.level_in,
                seconds: start.elapsed().as_secs_f64(),
            };
            if progress(&report).is_break() {
                return Err(RuntimeError::Cancelled { step: index });
            }
        }
        let output = std::mem::take(&mut registers[program.output.index()]);
        (output.into_iter().enumerate())
            .map(|(index, c)| backend.download(&mut run, c).map_err(|source| RuntimeError::Output { index, source }))
            .collect()
    }

    fn check_input(&self, run: &B::Run<'_>, input: &[B::Host]) -> Result<(), RuntimeError<B::Error>> {
        let layout = &self.program.client.input;
        let (found, expected) = (input.len(), layout.ciphertexts.len());
        if found != expected {
            return Err(RuntimeError::InputCount { found, expected });
        }
        for (index, c) in input.iter().enumerate() {
            let inspected = self.backend.inspect(run, c).map_err(|source| RuntimeError::Input { index, source });
            let (level, scale) = inspected?;
            if level != layout.level {
                return Err(RuntimeError::InputLevel { index, found: level, expected: layout.level });
            }
            // Clients encrypt at the very scale that the program names.
            if scale != layout.scale {
                return Err(RuntimeError::InputScale { index, found: scale, expected: layout.scale });
            }
        }
        Ok(())
    }
}

impl<P> Prepared<Cpu, P> {
    /// Bytes of the encoded weights.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.steps.iter().filter_map(|step| step.work.transform()).map(LinearTransform::bytes).sum()
    }
}

impl<B: Backend, P: Deref<Target = Program>> fmt::Debug for Prepared<B, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prepared({}, {} steps)", self.program.client.name, self.steps.len())
    }
}

/// A step as it is run.
struct PreparedStep<T> {
    at: At,
    work: Work<T>,
    /// Registers to free after it.
    released: Vec<Register>,
}

/// An operation with what it needs.
enum Work<T> {
    Square { source: Register, gadget: Gadget },
    RotateSum { source: Register, rotations: Vec<i64>, gadget: Gadget },
    Linear { sources: Vec<Register>, transform: T },
}

impl<T> Work<T> {
    fn new<B: Backend<Transform = T>>(
        backend: &B,
        index: usize,
        step: &Step,
        before: &[Option<RegisterState>],
    ) -> Result<Self, B::Error> {
        Ok(match &step.operation {
            Operation::Square { source, gadget } => Self::Square { source: *source, gadget: *gadget },
            Operation::RotateSum { source, rotations, gadget } => {
                Self::RotateSum { source: *source, rotations: rotations.clone(), gadget: *gadget }
            }
            Operation::Linear(linear) => {
                let weight_scales = weight_scales(linear, before);
                let transform = backend.prepare(index, &spec(step, linear, &weight_scales))?;
                Self::Linear { sources: sources(&step.operation), transform }
            }
        })
    }

    fn transform(&self) -> Option<&T> {
        match self {
            Self::Linear { transform, .. } => Some(transform),
            Self::Square { .. } | Self::RotateSum { .. } => None,
        }
    }
}

impl<T> PreparedStep<T> {
    fn run<B: Backend<Transform = T>>(
        &self,
        backend: &B,
        run: &mut B::Run<'_>,
        registers: &[Vec<B::Ciphertext>],
    ) -> Result<Vec<B::Ciphertext>, B::Error> {
        let read = |sources: &[Register]| -> Vec<&B::Ciphertext> {
            sources.iter().flat_map(|source| &registers[source.index()]).collect()
        };
        match &self.work {
            Work::Square { source, gadget } => backend.square(run, &self.at, &read(&[*source]), *gadget),
            Work::RotateSum { source, rotations, gadget } => {
                backend.rotate_and_sum(run, &self.at, &read(&[*source]), rotations, *gadget)
            }
            Work::Linear { sources, transform } => backend.transform(run, &self.at, &read(sources), transform),
        }
    }
}

fn failed<E: std::error::Error>(index: usize, step: &Step, source: E) -> RuntimeError<E> {
    RuntimeError::Step { step: index, node: step.node.clone(), source }
}

/// The registers that an operation reads, in order.
fn sources(operation: &Operation) -> Vec<Register> {
    match operation {
        Operation::Square { source, .. } | Operation::RotateSum { source, .. } => vec![*source],
        Operation::Linear(linear) => linear.inputs.iter().map(|input| input.source).collect(),
    }
}

/// Refuses registers that do not exist.
fn check_registers<E: std::error::Error>(program: &Program) -> Result<(), RuntimeError<E>> {
    let registers = program.registers;
    let of_step = |step: &Step| sources(&step.operation).into_iter().chain([step.destination]);
    let mut all = [program.input, program.output].into_iter().chain(program.steps.iter().flat_map(of_step));
    match all.find(|register| register.index() >= registers) {
        Some(register) => Err(RuntimeError::Register { register, registers }),
        None => Ok(()),
    }
}

/// The scale of the weights of each ciphertext read.
fn weight_scales(linear: &Linear, before: &[Option<RegisterState>]) -> Vec<f64> {
    let count = |source| state_of(before, source).map_or(0, |state| state.ciphertexts);
    linear.inputs.iter().flat_map(|i| std::iter::repeat_n(i.weight_scale, count(i.source))).collect()
}

fn spec<'a>(step: &Step, linear: &'a Linear, weight_scales: &'a [f64]) -> TransformSpec<'a> {
    TransformSpec {
        level: step.level_in,
        gadget: linear.gadget,
        level_out: step.level_out,
        weight_scales,
        outputs: linear.outputs(),
        period: linear.period,
        masks: &linear.masks,
        plan: &linear.plan,
        diagonals: &linear.diagonals,
        bias: &linear.bias,
        scale_out: step.scale_out,
        add_first: linear.add_first,
    }
}
