//! The noise of a program, predicted step by step.

use umbra_ckks::{CkksError, Diagonal, Parameters, noise};
use umbra_program::{Linear, Operation, Program, Register, RegisterState, Step, state_of};
use umbra_runtime::RuntimeError;

use crate::SimulateError;

/// Standard deviations of the noise in the slots of a program's ciphertexts, in units of the values there.
#[derive(Debug)]
pub(crate) struct Noise {
    /// That of fresh ciphertexts.
    pub(crate) input: f64,
    /// What each step adds to its result.
    pub(crate) steps: Vec<f64>,
}

impl Noise {
    /// The noise of a checked program whose parameters these are.
    ///
    /// # Errors
    /// [`SimulateError::Run`] for gadgets that do not serve; [`SimulateError::Noise`] for noise that no number can
    /// hold.
    pub(crate) fn of(program: &Program, parameters: &Parameters) -> Result<Self, SimulateError> {
        let (of_input, of_steps) = imaginary_noise(program);
        // Where the imaginary part reaches the result, it counts as much as the real one.
        let part = |reaches: bool| if reaches { std::f64::consts::SQRT_2 } else { 1.0 };
        let steps =
            (program.steps.iter().zip(program.states()).zip(of_steps).enumerate())
                .map(|(index, ((step, before), reaches))| {
                    let noise = of_step(step, &before, parameters, part(reaches))
                        .map_err(|source| RuntimeError::Step { step: index, node: step.node.clone(), source })?;
                    // Digits far larger than the special primes: the powers of two between them overflow. Left out,
                    // such noise would make the result look exact.
                    if !noise.is_finite() {
                        return Err(SimulateError::Noise { step: index, node: step.node.clone() });
                    }
                    Ok(noise)
                })
                .collect::<Result<_, _>>()?;
        let input = part(of_input) * noise::fresh_secret(parameters.log_n()) / program.client.input.scale;
        Ok(Self { input, steps })
    }
}

fn of_step(
    step: &Step,
    before: &[Option<RegisterState>],
    parameters: &Parameters,
    part: f64,
) -> Result<f64, CkksError> {
    let state = |register: Register| state_of(before, register);
    let scale_of = |register: Register| state(register).map_or(1.0, |s| s.scale);
    let rounding = part * noise::rescale(parameters.log_n()) / step.scale_out;
    let switch =
        |gadget, rounding| noise::key_switch(parameters, step.level_in, gadget, rounding).map(|noise| part * noise);
    match &step.operation {
        Operation::Square { source, gadget } => {
            let switch = switch(*gadget, true)? / scale_of(*source).powi(2);
            let rescaled = step.level_out < step.level_in;
            Ok(switch.hypot(if rescaled { rounding } else { 0.0 }))
        }
        Operation::RotateSum { rotations, gadget, .. } => {
            let switches = switch(*gadget, true)? * (rotations.len() as f64).sqrt();
            Ok(switches / step.scale_out)
        }
        Operation::Linear(linear) => {
            let scales: Vec<f64> = (linear.inputs.iter())
                .flat_map(|i| std::iter::repeat_n(scale_of(i.source), state(i.source).map_or(0, |s| s.ciphertexts)))
                .collect();
            let factor = parameters.rescale_factor(step.level_in, step.level_out)?;
            let switch = switch(linear.gadget, false)?;
            Ok(switching_noise(linear, &scales, switch, step.scale_out * factor).hypot(rounding))
        }
    }
}

/// Whether the imaginary part of the noise reaches the result, that of fresh ciphertexts and that which each step adds:
/// only complex weights mix the parts.
fn imaginary_noise(program: &Program) -> (bool, Vec<bool>) {
    let mut matters = vec![false; program.registers];
    let mark = |register: Register, reaches: bool, matters: &mut Vec<bool>| {
        if let Some(own) = matters.get_mut(register.index()) {
            *own |= reaches;
        }
    };
    let mut steps: Vec<bool> = (program.steps.iter().rev())
        .map(|step| {
            let own = matters.get_mut(step.destination.index()).is_some_and(std::mem::take);
            match &step.operation {
                Operation::Square { source, .. } | Operation::RotateSum { source, .. } => {
                    mark(*source, own, &mut matters);
                }
                Operation::Linear(linear) => {
                    let mixes = linear.plan.imaginary_steps.is_some();
                    linear.inputs.iter().for_each(|i| mark(i.source, own || mixes, &mut matters));
                }
            }
            own
        })
        .collect();
    steps.reverse();
    (matters.get(program.input.index()).copied().unwrap_or(false), steps)
}

/// Deviation of what key switching adds to a slot of the result: a baby rotation's noise is multiplied by its weight, a
/// giant's is not. `scales` are those of the input ciphertexts.
fn switching_noise(linear: &Linear, scales: &[f64], switch: f64, sum_scale: f64) -> f64 {
    let mut variance = 0.0;
    for d in &linear.diagonals {
        if linear.plan.babies[d.baby as usize] != 0 {
            let scale = scales.get(d.input as usize).copied().unwrap_or(1.0);
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
    if linear.plan.imaginary_steps.is_some() {
        // Both parts of everything before real/imaginary extraction, that by three switches, and twice of what is added
        // to the sums.
        return (2.0 * variance + 8.0 * of_giants + 3.0 * (switch / sum_scale).powi(2)).sqrt();
    }
    (variance + of_giants).sqrt()
}
