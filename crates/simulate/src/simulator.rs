//! From images to logits.

use umbra_ckks::Parameters;
use umbra_program::{ClientSpec, LayoutError, Logits, Program};
use umbra_runtime::{Prepared, to_the_end};

use crate::SimulateError;
use crate::backend::{NoiseSeed, Simulation, Slots};

/// A program prepared for simulation.
#[derive(Debug)]
pub struct Simulator<'p> {
    prepared: Prepared<Simulation<'p>, &'p Program>,
}

impl<'p> Simulator<'p> {
    /// Rounds all weights and predicts all noise.
    ///
    /// # Errors
    /// [`SimulateError::Run`] for other parameters than the program's, weights that cannot be encoded and gadgets that
    /// do not serve; [`SimulateError::Noise`] for noise that no number can hold.
    pub fn new(program: &'p Program, parameters: &Parameters) -> Result<Self, SimulateError> {
        Ok(Self { prepared: Prepared::new(program, Simulation::new(program, parameters)?)? })
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &'p Program {
        self.prepared.program()
    }

    /// Logits of a normalised image, the first vector of them, with noise drawn from a seed.
    ///
    /// # Errors
    /// [`SimulateError::Layout`] for what [`ClientSpec::pack`] and [`ClientSpec::read`] refuse.
    pub fn run(&self, image: &[f32], seed: u64) -> Result<Vec<f64>, SimulateError> {
        let first = self.run_batch(&[image], 1, seed)?.into_iter().next();
        let none = LayoutError::Shape { what: "vectors of logits", found: 0, expected: 1 };
        Ok(first.ok_or(none)??.values)
    }

    /// The first `count` vectors of logits for a batch of normalised images, with noise drawn from a seed.
    ///
    /// # Errors
    /// [`SimulateError::Layout`] for what [`ClientSpec::pack`] refuses, and of [`ClientSpec::read`] what it refuses for
    /// the whole batch.
    pub fn run_batch<P: AsRef<[f32]>>(
        &self,
        images: &[P],
        count: usize,
        seed: u64,
    ) -> Result<Vec<Result<Logits, LayoutError>>, SimulateError> {
        let client = self.client();
        let (level, scale) = (client.input.level, client.input.scale);
        let input = client.pack(images)?.into_iter().map(|values| Slots { values, level, scale }).collect();
        let output = self.prepared.run(&NoiseSeed(seed), input, &mut to_the_end)?;
        let output: Vec<&[f64]> = output.iter().map(|slots| &slots.values[..]).collect();
        Ok(client.read(&output, count)?)
    }

    fn client(&self) -> &'p ClientSpec {
        &self.program().client
    }
}
