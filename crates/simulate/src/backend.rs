//! The back end: slots in place of ciphertexts.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use umbra_ckks::{CkksError, Gadget, Level, Parameters, TransformSpec};
use umbra_program::{Operation, Program};
use umbra_runtime::{At, Backend, RuntimeError};

use crate::SimulateError;
use crate::noise::Noise;
use crate::transform::RoundedTransform;

/// Relative difference up to which two scales count as equal, that of the engine.
const SCALE_TOLERANCE: f64 = 1e-9;
/// What errors call it.
const OP: &str = "simulate";

/// Simulates one program. Has no keys; what its runs differ in is the noise.
#[derive(Debug)]
pub struct Simulation<'p> {
    program: &'p Program,
    parameters: Parameters,
    noise: Noise,
}

/// What a ciphertext stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Slots {
    /// The slots.
    pub values: Vec<f64>,
    /// The level the ciphertext would be at.
    pub level: Level,
    /// The scale it would have.
    pub scale: f64,
}

/// Determines the noise of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NoiseSeed(pub u64);

impl<'p> Simulation<'p> {
    /// Predicts the noise of all steps.
    ///
    /// # Errors
    /// [`SimulateError::Run`] for other parameters than the program's and gadgets that do not serve;
    /// [`SimulateError::Noise`] for noise that no number can hold.
    pub fn new(program: &'p Program, parameters: &Parameters) -> Result<Self, SimulateError> {
        if parameters.literal() != &program.client.parameters {
            return Err(RuntimeError::OtherParameters.into());
        }
        Ok(Self { program, parameters: parameters.clone(), noise: Noise::of(program, parameters)? })
    }

    /// Refuses an operand that could not be aligned to the level of an operation.
    fn check_level(&self, at: &At, input: &Slots) -> Result<(), CkksError> {
        let (from, to) = (self.parameters.level(input.level)?, self.parameters.level(at.level_in)?);
        if to.iter().all(|prime| from.contains(prime)) {
            return Ok(());
        }
        Err(CkksError::NotASubset { op: OP, from: input.level, to: at.level_in })
    }

    /// The results of a step: what it computes, and its noise.
    fn results(&self, run: &mut ChaCha8Rng, at: &At, computed: Vec<Vec<f64>>) -> Vec<Slots> {
        let deviation = self.noise.steps.get(at.step).copied().unwrap_or(0.0);
        let result = |mut values: Vec<f64>| {
            disturb(&mut values, deviation, run);
            Slots { values, level: at.level_out, scale: at.scale_out }
        };
        computed.into_iter().map(result).collect()
    }
}

impl<'p> Backend for Simulation<'p> {
    type Host = Slots;
    type Ciphertext = Slots;
    type Transform = RoundedTransform<'p>;
    type Keys<'k>
        = NoiseSeed
    where
        Self: 'k;
    type Run<'r>
        = ChaCha8Rng
    where
        Self: 'r;
    type Error = CkksError;

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn prepare(&self, step: usize, spec: &TransformSpec<'_>) -> Result<RoundedTransform<'p>, CkksError> {
        match self.program.steps.get(step).map(|step| &step.operation) {
            Some(Operation::Linear(linear)) => {
                RoundedTransform::new(linear, spec.weight_scales, self.parameters.slots())
            }
            Some(Operation::Square { .. } | Operation::RotateSum { .. }) | None => {
                Err(CkksError::Length { op: OP, what: "linear steps of this index", expected: 1, found: 0 })
            }
        }
    }

    fn begin<'r>(&'r self, keys: &'r NoiseSeed) -> Result<ChaCha8Rng, CkksError> {
        Ok(ChaCha8Rng::seed_from_u64(keys.0))
    }

    fn inspect(&self, _: &ChaCha8Rng, input: &Slots) -> Result<(Level, f64), CkksError> {
        let (expected, found) = (self.parameters.slots(), input.values.len());
        if found != expected {
            return Err(CkksError::Length { op: OP, what: "slots", expected, found });
        }
        Ok((input.level, input.scale))
    }

    fn upload(&self, run: &mut ChaCha8Rng, mut input: Slots) -> Result<Slots, CkksError> {
        disturb(&mut input.values, self.noise.input, run);
        Ok(input)
    }

    fn download(&self, _: &mut ChaCha8Rng, output: Slots) -> Result<Slots, CkksError> {
        Ok(output)
    }

    fn square(&self, run: &mut ChaCha8Rng, at: &At, inputs: &[&Slots], _: Gadget) -> Result<Vec<Slots>, CkksError> {
        inputs.iter().try_for_each(|input| self.check_level(at, input))?;
        let squares = inputs.iter().map(|x| x.values.iter().map(|x| x * x).collect()).collect();
        Ok(self.results(run, at, squares))
    }

    fn rotate_and_sum(
        &self,
        run: &mut ChaCha8Rng,
        at: &At,
        inputs: &[&Slots],
        rotations: &[i64],
        _: Gadget,
    ) -> Result<Vec<Slots>, CkksError> {
        inputs.iter().try_for_each(|input| self.check_level(at, input))?;
        let sum = |x: &&Slots| {
            let x = &x.values;
            let mut sum = x.clone();
            for &r in rotations {
                let start = r.rem_euclid(x.len() as i64) as usize;
                let moved = x[start..].iter().chain(&x[..start]);
                sum.iter_mut().zip(moved).for_each(|(s, m)| *s += m);
            }
            sum
        };
        Ok(self.results(run, at, inputs.iter().map(sum).collect()))
    }

    fn transform(
        &self,
        run: &mut ChaCha8Rng,
        at: &At,
        inputs: &[&Slots],
        transform: &RoundedTransform<'p>,
    ) -> Result<Vec<Slots>, CkksError> {
        let (expected, found) = (transform.inputs(), inputs.len());
        if found != expected {
            return Err(CkksError::Length { op: OP, what: "inputs", expected, found });
        }
        let factor = self.parameters.rescale_factor(at.level_in, at.level_out)?;
        for (input, weight_scale) in inputs.iter().zip(transform.weight_scales()) {
            self.check_level(at, input)?;
            let (left, right) = (input.scale * weight_scale * transform.factor() / factor, at.scale_out);
            let close = ((left - right) / right).abs() <= SCALE_TOLERANCE;
            if !close {
                return Err(CkksError::Scale { op: OP, left, right });
            }
        }
        let inputs: Vec<&[f64]> = inputs.iter().map(|x| &x.values[..]).collect();
        let sums = transform.apply(&inputs)?;
        Ok(self.results(run, at, sums))
    }
}

fn disturb(values: &mut [f64], deviation: f64, rng: &mut ChaCha8Rng) {
    for x in values {
        let unit: f64 = StandardNormal.sample(rng);
        *x += deviation * unit;
    }
}
