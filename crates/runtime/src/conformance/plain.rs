//! The slow, obvious evaluation on plain slots, and the noise to expect.

use umbra_ckks::{CkksError, Parameters, noise};
use umbra_program::{Linear, Operation, Program, Register, Step};

/// What a register stands for.
#[derive(Clone, Debug, Default)]
pub(super) struct Value {
    /// Slot vectors of its ciphertexts.
    pub(super) slots: Vec<Vec<f64>>,
    /// Predicted standard deviation of the error in a slot, of the ciphertext where it is largest.
    pub(super) deviation: f64,
    scale: f64,
}

/// What the output register of a program holds for these inputs.
pub(super) fn evaluate(program: &Program, parameters: &Parameters, input: &[Vec<f64>]) -> Result<Value, CkksError> {
    let mut registers = vec![Value::default(); program.registers];
    let scale = program.client.input.scale;
    let encoding = noise::encoding(parameters.slots());
    let deviation = noise::fresh_secret(parameters.log_n()).hypot(encoding) / scale;
    registers[program.input.index()] = Value { slots: input.to_vec(), deviation, scale };
    for step in &program.steps {
        let value = |register: &Register| &registers[register.index()];
        let result = match &step.operation {
            Operation::Square { source, gadget } => {
                let x = value(source);
                let switch = noise::key_switch(parameters, step.level_in, *gadget, true)? / x.scale.powi(2);
                let own = 2.0 * rms(x) * x.deviation;
                let slots = x.slots.iter().map(|x| x.iter().map(|x| x * x).collect()).collect();
                let deviation = hypot(&[own, switch, rounding(parameters, step)]);
                Value { slots, deviation, scale: step.scale_out }
            }
            Operation::RotateSum { source, rotations, gadget } => {
                let x = value(source);
                let switch = noise::key_switch(parameters, step.level_in, *gadget, true)? / x.scale;
                let slots = x.slots.iter().map(|x| sum(x, rotations)).collect();
                let (own, switches) =
                    (x.deviation * (1.0 + rotations.len() as f64).sqrt(), switch * (rotations.len() as f64).sqrt());
                let deviation = hypot(&[own, switches, rounding(parameters, step)]);
                Value { slots, deviation, scale: step.scale_out }
            }
            Operation::Linear(linear) => {
                let inputs: Vec<Operand<'_>> = (linear.inputs.iter())
                    .flat_map(|input| {
                        let x = value(&input.source);
                        x.slots.iter().map(|slots| Operand { slots, of: x, weight_scale: input.weight_scale })
                    })
                    .collect();
                transform(parameters, step, linear, &inputs)?
            }
        };
        registers[step.destination.index()] = result;
    }
    Ok(std::mem::take(&mut registers[program.output.index()]))
}

/// One ciphertext that a transform reads.
struct Operand<'a> {
    slots: &'a [f64],
    of: &'a Value,
    weight_scale: f64,
}

fn transform(
    parameters: &Parameters,
    step: &Step,
    linear: &Linear,
    inputs: &[Operand<'_>],
) -> Result<Value, CkksError> {
    let plan = &linear.plan;
    let complex = plan.imaginary_steps.is_some();
    let span = linear.plaintext_period();
    let switch = noise::key_switch(parameters, step.level_in, linear.gadget, false)?;
    let of_sums = switch / (step.scale_out * parameters.rescale_factor(step.level_in, step.level_out)?);
    let (mut slots, mut deviation) = (Vec::new(), 0.0f64);
    for (output, bias) in linear.bias.iter().enumerate() {
        let mut y: Vec<f64> = bias.iter().copied().cycle().take(parameters.slots()).collect();
        let (mut variance, mut giants) = (0.0, 0.0);
        let own = || linear.diagonals.iter().filter(|d| d.output as usize == output);
        for d in own() {
            let (x, baby) = (&inputs[d.input as usize], plan.babies[d.baby as usize]);
            let weights = d.plaintext(&linear.masks);
            let steps = plan.outer[d.outer as usize] + plan.inner[d.inner as usize] + baby;
            let further = if d.imaginary { plan.imaginary_steps.unwrap_or(0) } else { 0 };
            let moved = rotated(x.slots, steps + further);
            for (y, (x, w)) in y.iter_mut().zip(moved.zip(weights.iter().cycle())) {
                *y += w * x;
            }
            let power = weights.iter().map(|w| w * w).sum::<f64>() / weights.len() as f64;
            let switched = if baby == 0 { 0.0 } else { switch / x.of.scale };
            // Weights are rounded, to integers at their scale.
            let rounded = noise::encoding(span) / x.weight_scale * rms(x.of);
            variance += power * (x.of.deviation.powi(2) + switched.powi(2)) + rounded.powi(2);
        }
        for (o, &outer) in plan.outer.iter().enumerate() {
            let here = || own().filter(|d| d.outer as usize == o);
            giants += if outer != 0 && here().next().is_some() { 1.0 } else { 0.0 };
            for (i, &inner) in plan.inner.iter().enumerate() {
                giants += if inner != 0 && here().any(|d| d.inner as usize == i) { 1.0 } else { 0.0 };
            }
        }
        // Complex weights bring in the imaginary parts of errors. Giants' errors count in both parts, twice; extraction
        // switches thrice.
        let (parts, both, extraction) = if complex { (2.0, 8.0, 3.0) } else { (1.0, 1.0, 0.0) };
        variance = parts * variance + (both * giants + extraction) * of_sums.powi(2);
        deviation = deviation.max(variance.sqrt());
        slots.push(y);
    }
    // The sums are always divided: by the special primes, if by nothing else.
    let last = noise::rescale(parameters.log_n()).hypot(noise::encoding(span)) / step.scale_out;
    Ok(Value { slots, deviation: deviation.hypot(last), scale: step.scale_out })
}

/// Of a rescale at the end of a step, if there is one.
fn rounding(parameters: &Parameters, step: &Step) -> f64 {
    if step.level_out == step.level_in { 0.0 } else { noise::rescale(parameters.log_n()) / step.scale_out }
}

fn sum(x: &[f64], rotations: &[i64]) -> Vec<f64> {
    let mut sum = x.to_vec();
    for &r in rotations {
        sum.iter_mut().zip(rotated(x, r)).for_each(|(s, x)| *s += x);
    }
    sum
}

fn rotated(x: &[f64], steps: i64) -> impl Iterator<Item = f64> {
    (0..x.len() as i64).map(move |i| x[(i + steps).rem_euclid(x.len() as i64) as usize])
}

/// Root mean square of the slots.
fn rms(value: &Value) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for x in value.slots.iter().flatten() {
        sum += x * x;
        count += 1.0;
    }
    (sum / f64::max(count, 1.0)).sqrt()
}

fn hypot(parts: &[f64]) -> f64 {
    parts.iter().map(|p| p * p).sum::<f64>().sqrt()
}
