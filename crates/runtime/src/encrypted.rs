//! The encrypted interpreter.

use crate::RuntimeError;
use std::sync::Arc;
use std::time::Instant;
use umbra_ckks::{Ciphertext, CkksError, Evaluator, KeyStore, LinearTransform, Parameters, TransformSpec};
use umbra_program::{Operation, Program, Step, operation_name};

/// A program with its weights encoded, ready to run any number of times.
#[derive(Debug)]
pub struct Prepared {
    program: Arc<Program>,
    parameters: Parameters,
    /// One for each step, where that is linear.
    transforms: Vec<Option<LinearTransform>>,
}

/// Progress: one step is done.
#[derive(Debug, Clone)]
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
    pub level: usize,
    /// Seconds it took.
    pub seconds: f64,
}

/// Errors of the engine at a step.
fn at<'a>(index: usize, step: &'a Step) -> impl Fn(CkksError) -> RuntimeError + 'a {
    move |source| RuntimeError::Engine { step: index, node: step.node.clone(), source }
}

impl Prepared {
    /// Encodes the weights of a checked program.
    ///
    /// # Errors
    /// [`RuntimeError::OtherParameters`]; [`RuntimeError::Engine`] when weights cannot be encoded.
    pub fn new(program: Arc<Program>, parameters: &Parameters) -> Result<Self, RuntimeError> {
        if parameters.literal() != &program.parameters {
            return Err(RuntimeError::OtherParameters);
        }
        let states = program.states();
        let transforms = (program.steps.iter().enumerate())
            .map(|(index, step)| {
                let Operation::Linear(linear) = &step.operation else { return Ok(None) };
                let weight_scales: Vec<f64> = (linear.inputs.iter())
                    .flat_map(|input| {
                        let count = states[index].get(input.source).copied().flatten().map_or(0, |s| s.ciphertexts);
                        std::iter::repeat_n(input.weight_scale, count)
                    })
                    .collect();
                let spec = TransformSpec {
                    level: step.level_in,
                    gadget: linear.gadget,
                    level_out: step.level_out,
                    weight_scales: &weight_scales,
                    outputs: linear.outputs(),
                    period: linear.period,
                    masks: &linear.masks,
                    plan: &linear.plan,
                    diagonals: &linear.diagonals,
                    bias: &linear.bias,
                    scale_out: step.scale_out,
                    add_first: linear.add_first,
                };
                LinearTransform::new(parameters, &spec).map(Some).map_err(at(index, step))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { program, parameters: parameters.clone(), transforms })
    }

    /// The program.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// The parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Bytes of the encoded weights.
    pub fn bytes(&self) -> usize {
        self.transforms.iter().flatten().map(LinearTransform::bytes).sum()
    }

    /// Runs the program on its input ciphertexts and returns the output ciphertexts.
    ///
    /// # Errors
    /// [`RuntimeError::Input`] for ciphertexts of another shape; [`RuntimeError::Engine`], above all when a key
    /// is missing.
    pub fn run(
        &self,
        keys: &dyn KeyStore,
        input: Vec<Ciphertext>,
        progress: &mut (dyn FnMut(&StepReport<'_>) + Send),
    ) -> Result<Vec<Ciphertext>, RuntimeError> {
        // From inside the pool of threads: a caller outside would sleep and be woken at every loop.
        rayon::scope(|_| self.run_here(keys, input, progress))
    }

    fn run_here(
        &self,
        keys: &dyn KeyStore,
        input: Vec<Ciphertext>,
        progress: &mut (dyn FnMut(&StepReport<'_>) + Send),
    ) -> Result<Vec<Ciphertext>, RuntimeError> {
        let program = &*self.program;
        self.check_input(&input)?;
        let evaluator = Evaluator::new(&self.parameters, keys);
        let last_use = last_uses(program);
        let mut registers: Vec<Vec<Ciphertext>> = vec![Vec::new(); program.registers];
        registers[program.input.register] = input;
        for (index, step) in program.steps.iter().enumerate() {
            let start = Instant::now();
            let result = self.step(&evaluator, index, step, &registers)?;
            for (register, &last) in registers.iter_mut().zip(&last_use) {
                if last == Some(index) {
                    *register = Vec::new();
                }
            }
            registers[step.destination] = result;
            progress(&StepReport {
                index,
                count: program.steps.len(),
                node: &step.node,
                operation: operation_name(&step.operation),
                level: step.level_in,
                seconds: start.elapsed().as_secs_f64(),
            });
        }
        Ok(std::mem::take(&mut registers[program.output.register]))
    }

    fn check_input(&self, input: &[Ciphertext]) -> Result<(), RuntimeError> {
        let layout = &self.program.input;
        let check = |what, got: f64, expected: f64| {
            if got == expected { Ok(()) } else { Err(RuntimeError::Input { what, got, expected }) }
        };
        check("ciphertexts:", input.len() as f64, layout.ciphertexts.len() as f64)?;
        for c in input {
            check("level", c.level() as f64, layout.level as f64)?;
            check("scale", c.scale(), layout.scale)?;
        }
        Ok(())
    }

    fn step(
        &self,
        evaluator: &Evaluator<'_>,
        index: usize,
        step: &Step,
        registers: &[Vec<Ciphertext>],
    ) -> Result<Vec<Ciphertext>, RuntimeError> {
        let dropped = |c: &Ciphertext| evaluator.drop_to(c, step.level_in);
        match &step.operation {
            Operation::Square { source, gadget } => {
                let square = |c: &Ciphertext| {
                    let square = evaluator.square(&dropped(c)?, *gadget)?;
                    if step.level_out == step.level_in {
                        Ok(square)
                    } else {
                        evaluator.rescale(&square, step.level_out)
                    }
                };
                registers[*source].iter().map(square).collect::<Result<_, _>>().map_err(at(index, step))
            }
            Operation::Linear(linear) => {
                let inputs: Vec<&Ciphertext> = linear.inputs.iter().flat_map(|i| &registers[i.source]).collect();
                let missing = RuntimeError::Program { step: index, node: step.node.clone(), what: "has no weights" };
                let transform = self.transforms[index].as_ref().ok_or(missing)?;
                evaluator.transform(&inputs, transform).map_err(at(index, step))
            }
            Operation::RotateSum { source, rotations, gadget } => {
                let sum = |c: &Ciphertext| evaluator.rotate_and_sum(&dropped(c)?, rotations, *gadget);
                registers[*source].iter().map(sum).collect::<Result<_, _>>().map_err(at(index, step))
            }
        }
    }
}

/// For each register the last step that reads it, so that it can be freed.
fn last_uses(program: &Program) -> Vec<Option<usize>> {
    let mut last = vec![None; program.registers];
    for (index, step) in program.steps.iter().enumerate() {
        match &step.operation {
            Operation::Square { source, .. } | Operation::RotateSum { source, .. } => last[*source] = Some(index),
            Operation::Linear(linear) => linear.inputs.iter().for_each(|i| last[i.source] = Some(index)),
        }
    }
    last[program.output.register] = None;
    last
}
