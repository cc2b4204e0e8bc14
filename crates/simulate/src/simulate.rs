//! The simulated interpreter: plain slots, rounded weights, predicted noise.

use crate::SimulateError;
use crate::dense::Dense;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use umbra_ckks::{CkksError, Diagonal, Encoder, Parameters, noise, rounded_weight};
use umbra_program::{LayoutError, Linear, Logits, Operation, Program, layout};

/// A program prepared for simulation.
#[derive(Debug)]
pub struct Simulator<'p> {
    program: &'p Program,
    steps: Vec<Simulated>,
    /// Deviation of a fresh ciphertext's slots.
    input_noise: f64,
}

/// What simulation needs to know of a step.
#[derive(Debug, Default)]
struct Simulated {
    /// Deviation of the noise that the step adds to each slot of its result.
    noise: f64,
    /// Weights as encoded: for each diagonal one period; none where they have masks, or are in `dense`.
    weights: Vec<Vec<f64>>,
    dense: Option<Dense>,
    /// Their scale, for each input ciphertext.
    weight_scales: Vec<f64>,
}

impl<'p> Simulator<'p> {
    /// Rounds all weights and predicts all noise.
    ///
    /// # Errors
    /// [`SimulateError::OtherParameters`]; [`SimulateError::Engine`] for weights that cannot be encoded or gadgets
    /// that do not serve; [`SimulateError::Program`] for noise that no number can hold.
    pub fn new(program: &'p Program, parameters: &Parameters) -> Result<Self, SimulateError> {
        if parameters.literal() != &program.parameters {
            return Err(SimulateError::OtherParameters);
        }
        let states = program.states();
        let (of_input, of_steps) = imaginary_noise(program);
        let part = |reaches: bool| if reaches { std::f64::consts::SQRT_2 } else { 1.0 };
        let steps = (program.steps.iter().enumerate())
            .map(|(index, step)| {
                let fail = |source| SimulateError::Engine { step: index, node: step.node.clone(), source };
                let scale_of =
                    |register: usize| states[index].get(register).copied().flatten().map_or(1.0, |s| s.scale);
                let rescaled = step.level_out < step.level_in;
                let part = part(of_steps[index]);
                let rounding = part * noise::rescale(parameters.log_n()) / step.scale_out;
                let switch = |gadget, rounding| {
                    let noise = noise::key_switch(parameters, step.level_in, gadget, rounding).map_err(fail)?;
                    Ok::<f64, SimulateError>(part * noise)
                };
                let simulated = match &step.operation {
                    Operation::Square { source, gadget } => {
                        let switch = switch(*gadget, true)? / scale_of(*source).powi(2);
                        Simulated { noise: switch.hypot(if rescaled { rounding } else { 0.0 }), ..Simulated::default() }
                    }
                    Operation::RotateSum { rotations, gadget, .. } => {
                        let switches = switch(*gadget, true)? * (rotations.len() as f64).sqrt();
                        Simulated { noise: switches / step.scale_out, ..Simulated::default() }
                    }
                    Operation::Linear(linear) => {
                        let inputs =
                            inputs_of(linear, |r| states[index].get(r).copied().flatten().map_or(0, |s| s.ciphertexts));
                        let weights = Rounding::new(linear).all(&inputs).map_err(fail)?;
                        let switch = switch(linear.gadget, false)?;
                        let factor = parameters.rescale_factor(step.level_in, step.level_out);
                        let switching = switching_noise(linear, &inputs, switch, &scale_of, step.scale_out * factor);
                        let weight_scales = inputs.iter().map(|i| i.1).collect();
                        let dense = Dense::new(linear, &weights, program.slots());
                        let weights = if dense.is_some() { Vec::new() } else { weights };
                        Simulated { noise: switching.hypot(rounding), weights, dense, weight_scales }
                    }
                };
                // Digits far larger than the special primes: the powers of two between them overflow. Left out, such noise would
                // make the result look exact.
                if !simulated.noise.is_finite() {
                    return Err(SimulateError::Noise { step: index, node: step.node.clone() });
                }
                Ok(simulated)
            })
            .collect::<Result<_, SimulateError>>()?;
        let input_noise = part(of_input) * noise::fresh_secret(parameters.log_n()) / program.input.scale;
        Ok(Self { program, steps, input_noise })
    }

    /// Logits of a normalised picture, with noise drawn from a seed.
    ///
    /// # Errors
    /// Those of [`layout::pack`] and [`layout::read_logits`].
    pub fn run(&self, picture: &[f32], seed: u64) -> Result<Vec<f64>, SimulateError> {
        let output = self.evaluate(&[picture], seed)?;
        let output: Vec<&[f64]> = output.iter().map(Vec::as_slice).collect();
        Ok(layout::read_logits(self.program, &output)?.values)
    }

    /// Logits of the first `count` lanes for a batch of normalised pictures, with noise drawn from a seed.
    ///
    /// # Errors
    /// Those of [`layout::pack`] and [`layout::read_lanes`].
    pub fn run_lanes<P: AsRef<[f32]>>(
        &self,
        pictures: &[P],
        count: usize,
        seed: u64,
    ) -> Result<Vec<Result<Logits, LayoutError>>, SimulateError> {
        let output = self.evaluate(pictures, seed)?;
        let output: Vec<&[f64]> = output.iter().map(Vec::as_slice).collect();
        Ok(layout::read_lanes(self.program, &output, count)?)
    }

    /// The slots of the output ciphertexts.
    fn evaluate<P: AsRef<[f32]>>(&self, pictures: &[P], seed: u64) -> Result<Vec<Vec<f64>>, SimulateError> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut registers = vec![Vec::new(); self.program.registers];
        let mut input = layout::pack(self.program, pictures)?;
        disturb(&mut input, self.input_noise, &mut rng);
        registers[self.program.input.register] = input;
        for (index, (step, simulated)) in self.program.steps.iter().zip(&self.steps).enumerate() {
            let mut result: Vec<Vec<f64>> = match &step.operation {
                Operation::Square { source, .. } => {
                    registers[*source].iter().map(|x| x.iter().map(|x| x * x).collect()).collect()
                }
                Operation::RotateSum { source, rotations, .. } => (registers[*source].iter())
                    .map(|x| {
                        let mut sum = x.clone();
                        for &r in rotations {
                            let start = r.rem_euclid(x.len() as i64) as usize;
                            let moved = x[start..].iter().chain(&x[..start]);
                            sum.iter_mut().zip(moved).for_each(|(s, m)| *s += m);
                        }
                        sum
                    })
                    .collect(),
                Operation::Linear(linear) => apply(linear, simulated, &registers)
                    .map_err(|source| SimulateError::Engine { step: index, node: step.node.clone(), source })?,
            };
            disturb(&mut result, simulated.noise, &mut rng);
            registers[step.destination] = result;
        }
        Ok(std::mem::take(&mut registers[self.program.output.register]))
    }
}

/// Whether the imaginary part of the noise reaches the result, that of fresh ciphertexts and that which each step adds: only
/// complex weights mix the parts.
fn imaginary_noise(program: &Program) -> (bool, Vec<bool>) {
    let mut matters = vec![false; program.registers];
    let mut steps: Vec<bool> = (program.steps.iter().rev())
        .map(|step| {
            let own = std::mem::take(&mut matters[step.destination]);
            match &step.operation {
                Operation::Square { source, .. } | Operation::RotateSum { source, .. } => matters[*source] |= own,
                Operation::Linear(linear) => {
                    let mixes = linear.plan.pair.is_some();
                    linear.inputs.iter().for_each(|i| matters[i.source] |= own || mixes);
                }
            }
            own
        })
        .collect();
    steps.reverse();
    (matters[program.input.register], steps)
}

/// For each input ciphertext its register and the scale of its weights.
fn inputs_of(linear: &Linear, count: impl Fn(usize) -> usize) -> Vec<(usize, f64)> {
    linear.inputs.iter().flat_map(|i| std::iter::repeat_n((i.source, i.weight_scale), count(i.source))).collect()
}

/// Encodes the weights of a linear transform as the engine does: rotated into place, rounded, rotated back.
struct Rounding<'l> {
    linear: &'l Linear,
    encoder: Encoder,
}

impl<'l> Rounding<'l> {
    fn new(linear: &'l Linear) -> Self {
        Self { linear, encoder: Encoder::new(linear.plaintext_period().ilog2() + 1) }
    }

    /// One period of the plaintext of each part of a weight, encoded at a scale.
    fn of(&self, weight: &[Diagonal], scale: f64) -> Result<Vec<Vec<f64>>, CkksError> {
        let parts: Vec<&Diagonal> = weight.iter().collect();
        rounded_weight(&self.encoder, &self.linear.plan, (&parts, &self.linear.masks), scale)
    }

    /// Those of all diagonals; none with masks, which would be too many.
    fn all(&self, inputs: &[(usize, f64)]) -> Result<Vec<Vec<f64>>, CkksError> {
        if !self.linear.masks.is_empty() {
            return Ok(Vec::new());
        }
        let scale = |d: &Diagonal| inputs.get(d.input as usize).map_or(1.0, |i| i.1);
        let weights: Vec<&[Diagonal]> = self.linear.weights().collect();
        let rounded: Vec<Vec<Vec<f64>>> =
            weights.par_iter().map(|weight| self.of(weight, scale(&weight[0]))).collect::<Result<_, _>>()?;
        Ok(rounded.into_iter().flatten().collect())
    }
}

/// Deviation of what key switching adds to a slot of the result: a baby rotation's noise is multiplied by its
/// weight, a giant's is not.
fn switching_noise(
    linear: &Linear,
    inputs: &[(usize, f64)],
    switch: f64,
    scale_of: &dyn Fn(usize) -> f64,
    sum_scale: f64,
) -> f64 {
    let mut variance = 0.0;
    for d in &linear.diagonals {
        if linear.plan.babies[d.baby as usize] != 0 {
            let scale = inputs.get(d.input as usize).map_or(1.0, |i| scale_of(i.0));
            let w = &d.values;
            let power = w.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>() / w.len() as f64;
            variance += power * (switch / scale).powi(2) / linear.outputs() as f64;
        }
    }
    let count = |a: &Diagonal| (a.output, a.outer, a.inner);
    let mut rows: Vec<_> = linear.diagonals.iter().map(count).collect();
    rows.sort_unstable();
    rows.dedup();
    let mut outer: Vec<_> = rows.iter().map(|r| (r.0, r.1)).collect();
    outer.dedup();
    let giants = rows.iter().filter(|r| linear.plan.inner[r.2 as usize] != 0).count()
        + outer.iter().filter(|r| linear.plan.outer[r.1 as usize] != 0).count();
    let of_giants = giants as f64 / linear.outputs() as f64 * (switch / sum_scale).powi(2);
    if linear.plan.pair.is_some() {
        // Both parts of everything before sums are taken apart, by three switches, and twice of what is added to the sums.
        return (2.0 * variance + 8.0 * of_giants + 3.0 * (switch / sum_scale).powi(2)).sqrt();
    }
    (variance + of_giants).sqrt()
}

fn disturb(registers: &mut [Vec<f64>], deviation: f64, rng: &mut ChaCha8Rng) {
    for x in registers.iter_mut().flatten() {
        let unit: f64 = StandardNormal.sample(rng);
        *x += deviation * unit;
    }
}

/// The linear transform on slots.
fn apply(linear: &Linear, simulated: &Simulated, registers: &[Vec<Vec<f64>>]) -> Result<Vec<Vec<f64>>, CkksError> {
    // Twice each input, one copy after the other: rotations become offsets.
    let inputs: Vec<Vec<f64>> =
        linear.inputs.iter().flat_map(|i| &registers[i.source]).map(|x| [x.as_slice(), x].concat()).collect();
    let slots = inputs.first().map_or(0, |x| x.len() / 2);
    let mut out: Vec<Vec<f64>> =
        (linear.bias.iter()).map(|b| b.iter().copied().cycle().take(slots).collect()).collect();
    if let Some(dense) = &simulated.dense {
        dense.apply(&inputs, &mut out);
        return Ok(out);
    }
    let add = |y: &mut [f64], d: &Diagonal, w: &[f64]| {
        let r = linear.plan.giant(d) + linear.plan.babies[d.baby as usize];
        let start = r.rem_euclid(slots as i64) as usize;
        let x = &inputs[d.input as usize][start..start + slots];
        if let [w] = w[..] {
            y.iter_mut().zip(x).for_each(|(y, x)| *y += w * x);
            return;
        }
        for (y, x) in y.chunks_exact_mut(w.len()).zip(x.chunks_exact(w.len())) {
            for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
                *y += w * x;
            }
        }
    };
    if linear.masks.is_empty() {
        for (d, w) in linear.diagonals.iter().zip(&simulated.weights) {
            add(&mut out[d.output as usize], d, w);
        }
        return Ok(out);
    }
    let rounding = Rounding::new(linear);
    // Diagonals are sorted by output.
    out.par_iter_mut().enumerate().try_for_each(|(output, y)| {
        let first = linear.diagonals.partition_point(|d| (d.output as usize) < output);
        for d in linear.diagonals[first..].iter().take_while(|d| d.output as usize == output) {
            let scale = simulated.weight_scales.get(d.input as usize).copied().unwrap_or(1.0);
            rounding.of(std::slice::from_ref(d), scale)?.iter().for_each(|w| add(y, d, w));
        }
        Ok::<(), CkksError>(())
    })?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;
    use umbra_ckks::{GadgetLiteral, ParametersLiteral};
    use umbra_compiler::{CompileOptions, LayoutChoice, compile, compile_ensemble};
    use umbra_image::{ImageSpec, Normalisation};
    use umbra_model::zoo::{ResNet, Shortcut};
    use umbra_program::{Estimate, InputLayout, Layout, OutputLayout, Report, Step};

    /// Matrix products, and rotation by rotation.
    #[test]
    fn matrices_are_the_same_transforms() {
        let mut rng = ChaCha8Rng::seed_from_u64(rand::random());
        let small = ResNet { widths: vec![4, 8], blocks: 1, height: 8, width: 8, classes: 5, ..ResNet::default() };
        let wide = ResNet { widths: vec![64, 128], shortcut: Shortcut::ProjectionEverywhere, ..small.clone() };
        let graphs: Vec<_> = [&small, &wide, &small].map(|net| net.build().expect("a network")).into();
        let with = |layout| CompileOptions { layout, logit_error: Some(0.05), ..CompileOptions::default() };
        let programs = [
            compile(&graphs[0], &with(LayoutChoice::Cyclic)),
            compile(&graphs[1], &with(LayoutChoice::Cyclic)),
            compile(&graphs[0], &with(LayoutChoice::Channel)),
            compile_ensemble(&[&graphs[0], &graphs[2]], &with(LayoutChoice::Channel)),
        ];
        let mut as_matrices = [0; 4];
        for (program, as_matrices) in programs.into_iter().zip(&mut as_matrices) {
            let program = program.expect("a program");
            let slots = program.slots();
            let states = program.states();
            for (step, states) in program.steps.iter().zip(&states) {
                let Operation::Linear(linear) = &step.operation else { continue };
                let mut slot = || (0..slots).map(|_| rng.random_range(-1.0..1.0)).collect::<Vec<f64>>();
                let registers: Vec<Vec<Vec<f64>>> =
                    states.iter().map(|s| (0..s.map_or(0, |s| s.ciphertexts)).map(|_| slot()).collect()).collect();
                let weights: Vec<Vec<f64>> =
                    linear.diagonals.iter().map(|d| d.values.iter().map(|&w| w.into()).collect()).collect();
                let Some(dense) = Dense::new(linear, &weights, slots) else { continue };
                *as_matrices += 1;
                let with = |weights, dense| Simulated { weights, dense, ..Simulated::default() };
                let found = apply(linear, &with(Vec::new(), Some(dense)), &registers).expect("no masks");
                let expected = apply(linear, &with(weights, None), &registers).expect("no masks");
                for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
                    assert!((found - expected).abs() < 1e-9, "{}: {found}, expected {expected}", step.node);
                }
            }
        }
        // Few channels in a long period would be mostly zeros.
        let [few, others @ ..] = as_matrices;
        assert!(few < 4 && others.iter().all(|&count| count >= 4), "{as_matrices:?}");
    }

    #[test]
    fn a_picture_that_overflows_takes_its_batch_with_it() {
        let net = ResNet { widths: vec![4, 8], blocks: 1, height: 8, width: 8, classes: 5, ..ResNet::default() };
        let graph = net.build().expect("a network");
        let options =
            CompileOptions { layout: LayoutChoice::Channel, logit_error: Some(0.05), ..CompileOptions::default() };
        let program = compile(&graph, &options).expect("a program");
        let parameters = Parameters::new(program.parameters.clone()).expect("parameters");
        let simulator = Simulator::new(&program, &parameters).expect("a simulator");
        let pictures = |first: f32| [vec![first; graph.input().len()], vec![0.5; graph.input().len()]];
        assert!(simulator.run_lanes(&pictures(0.5), 2, 1).is_ok());
        let overflow = simulator.run_lanes(&pictures(f32::MAX), 2, 1);
        assert!(matches!(overflow, Err(SimulateError::Layout(LayoutError::Stray { .. }))), "{overflow:?}");
    }

    /// Adds up the two pixels of a picture; the digit has all primes but the special one.
    fn with_digit_of(primes: usize) -> Program {
        let (log_n, scale) = (10, 30f64.exp2());
        let slots = 1usize << (log_n - 1);
        let count = primes as u16;
        let node = String::from("pool");
        let operation = Operation::RotateSum { source: 0, rotations: vec![slots as i64 / 2], gadget: 0 };
        let channels = (0..slots / 2).map(|channel| (channel == 0).then_some((0, 0))).collect();
        Program {
            name: "sum".into(),
            network: [0; 32],
            classes: vec!["sum".into()],
            picture: ImageSpec {
                channels: 1,
                height: 1,
                width: 2,
                normalisation: Normalisation::PerImage { min_std: 0.05 },
                clip: None,
            },
            logit_range: None,
            layout: Layout::Cyclic,
            input: InputLayout { register: 0, positions: 2, pitch: 2, ciphertexts: vec![channels], level: 0, scale },
            output: OutputLayout { register: 0, level: 0, scale, period: slots / 2, step: 1, classes: 1 },
            parameters: ParametersLiteral {
                log_n,
                primes: umbra_ring::primes::nearest(log_n, 29.0, primes + 1, &[]).expect("primes"),
                levels: vec![(0..count).collect()],
                gadgets: vec![GadgetLiteral { digits: vec![(0..count).collect()], special: vec![count] }],
            },
            registers: 1,
            steps: vec![Step {
                node,
                operation,
                destination: 0,
                level_in: 0,
                level_out: 0,
                scale_out: scale,
                estimate: Estimate::default(),
            }],
            report: Report::default(),
        }
    }

    #[test]
    fn noise_beyond_all_numbers_is_an_error_and_not_none() {
        let kernels = umbra_ring::kernels::Kernels::best();
        let parameters =
            |p: &Program| Parameters::insecure_for_tests(p.parameters.clone(), kernels).expect("parameters");
        let program = with_digit_of(1);
        program.check().expect("a program");
        let few = parameters(&program);
        let sum = Simulator::new(&program, &few).and_then(|s| s.run(&[0.5, 0.25], 1)).expect("a sum");
        assert!((sum[0] - 0.75).abs() < 1e-2, "{sum:?}");
        let program = with_digit_of(20);
        program.check().expect("a program");
        let error = Simulator::new(&program, &parameters(&program)).expect_err("infinite noise").to_string();
        assert!(error.contains("step 0 (pool)") && error.contains("noise"), "{error}");
    }
}
