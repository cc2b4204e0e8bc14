//! A program on slots in the clear: the slow, obvious interpreter that tests compare with.

use num_complex::Complex64;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use umbra_ckks::Encoder;
use umbra_compiler::{CompileOptions, Pass};
use umbra_program::{Operation, Packing, Program};

/// Ciphertexts of a register: slots.
type Register = Vec<Vec<f64>>;

/// Options for a program that is run exactly: no biases that make up for roundings.
#[must_use]
pub fn exact(options: &CompileOptions) -> CompileOptions {
    let mut options = options.clone();
    options.without.insert(Pass::BiasCorrection);
    options
}

/// How exact the interpreter is.
#[allow(dead_code)] // not every test file uses both
#[derive(Clone, Copy, PartialEq)]
pub enum Mode {
    /// Real numbers.
    Exact,
    /// Weights rounded as they are encoded, noise of rescales and of fresh encryption.
    Noisy(u64),
}

fn rotate(x: &[Complex64], r: i64) -> Vec<Complex64> {
    let n = x.len() as i64;
    (0..n).map(|i| x[(i + r).rem_euclid(n) as usize]).collect()
}

fn normal(rng: &mut impl Rng) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// The images `[C, H, W]` in slots.
pub fn pack(program: &Program, images: &[Vec<f32>]) -> Register {
    let layout = &program.client.input;
    let (height, width) = (program.client.image.height, program.client.image.width);
    let positions = layout.positions;
    let value = |image: &[f32], colour: usize, p: usize| {
        let (row, column) = (p / layout.pitch, p % layout.pitch);
        if row < height && column < width { f64::from(image[(colour * height + row) * width + column]) } else { 0.0 }
    };
    let pack = |channels: &Vec<Option<(usize, i64)>>| {
        let mut slots = vec![0.0; program.slots()];
        for (c, channel) in channels.iter().enumerate() {
            let Some((colour, tap)) = *channel else { continue };
            for p in 0..positions {
                let at = (p as i64 + tap).rem_euclid(positions as i64) as usize;
                let width = program.slots() / positions;
                match program.client.layout.packing {
                    Packing::Multiplexed => slots[p * channels.len() + c] = value(&images[0], colour, at),
                    Packing::Padded => {
                        for (i, image) in images.iter().enumerate() {
                            slots[i * positions + p] = value(image, colour, at);
                        }
                    }
                    Packing::Channel => {
                        let members = program.client.layout.members;
                        for (i, image) in images.iter().enumerate() {
                            let first = p * width + i * members.next_power_of_two();
                            slots[first..first + members].fill(value(image, colour, at));
                        }
                    }
                }
            }
        }
        slots
    };
    layout.ciphertexts.iter().map(pack).collect()
}

/// Runs a program on one image; returns every slot of the output register.
#[allow(dead_code)] // not every test file uses it
pub fn run(program: &Program, image: &[f32], mode: Mode) -> Register {
    run_batch(program, &[image.to_vec()], mode)
}

/// Runs a program; returns every slot of the output register.
pub fn run_batch(program: &Program, images: &[Vec<f32>], mode: Mode) -> Register {
    let mut rng = ChaCha8Rng::seed_from_u64(match mode {
        Mode::Exact => 0,
        Mode::Noisy(seed) => seed,
    });
    let n = f64::from(program.client.parameters.log_n).exp2();
    // Errors are complex, whatever the values are.
    let add_noise = |x: &mut Vec<Vec<Complex64>>, std: f64, rng: &mut ChaCha8Rng| {
        if mode != Mode::Exact {
            x.iter_mut().flatten().for_each(|x| *x += std * Complex64::new(normal(rng), normal(rng)));
        }
    };
    let rescale = (n * (1.0 + 2.0 * n / 3.0) / 24.0).sqrt();
    let mut registers: Vec<Option<Vec<Vec<Complex64>>>> = vec![None; program.registers];
    let complex = |x: Vec<f64>| x.into_iter().map(Complex64::from).collect();
    let mut input = pack(program, images).into_iter().map(complex).collect();
    add_noise(&mut input, (n / 2.0).sqrt() * 3.2 / program.client.input.scale, &mut rng);
    registers[program.input.index()] = Some(input);
    for step in &program.steps {
        let mut result: Vec<Vec<Complex64>> = match &step.operation {
            Operation::Square { source, .. } => {
                let x = registers[source.index()].as_ref().unwrap();
                x.iter().map(|x| x.iter().map(|x| x * x).collect()).collect()
            }
            Operation::RotateSum { source, rotations, .. } => {
                let x = registers[source.index()].as_ref().unwrap();
                x.iter()
                    .map(|x| {
                        let mut sum = x.clone();
                        for &r in rotations {
                            sum.iter_mut().zip(rotate(x, r)).for_each(|(s, x)| *s += x);
                        }
                        sum
                    })
                    .collect()
            }
            Operation::Linear(linear) => {
                // Term by term as the plan says: babies, then inner, then outer giant steps.
                let mut inputs = Vec::new();
                for input in &linear.inputs {
                    for x in registers[input.source.index()].as_ref().unwrap() {
                        let babies: Vec<Vec<Complex64>> = linear.plan.babies.iter().map(|&b| rotate(x, b)).collect();
                        inputs.push((babies, input.weight_scale));
                    }
                }
                let period = linear.plaintext_period();
                let encoder = Encoder::new(period.ilog2() + 1);
                let mut outputs = Vec::new();
                for (o, bias) in linear.bias.iter().enumerate() {
                    let mut y = vec![Complex64::ZERO; program.slots()];
                    let own = || linear.weights().filter(|parts| parts[0].output as usize == o);
                    for (outer, &of_outer) in linear.plan.outer.iter().enumerate() {
                        let mut by_outer = vec![Complex64::ZERO; program.slots()];
                        for (inner, &of_inner) in linear.plan.inner.iter().enumerate() {
                            let mut by_inner = vec![Complex64::ZERO; program.slots()];
                            let mut any = false;
                            let here = own().filter(|p| (p[0].outer as usize, p[0].inner as usize) == (outer, inner));
                            for parts in here {
                                any = true;
                                let (babies, scale) = &inputs[parts[0].input as usize];
                                let x = &babies[parts[0].baby as usize];
                                let mut weights = vec![Complex64::ZERO; period];
                                for d in parts {
                                    let (unit, pair) = match d.imaginary {
                                        true => (Complex64::I, linear.plan.imaginary_steps.unwrap()),
                                        false => (Complex64::ONE, 0),
                                    };
                                    let masked = |i: usize| d.mask.is_none_or(|m| linear.masks[m as usize][i]);
                                    let values: Vec<Complex64> = (0..period)
                                        .map(|i| if masked(i) { d.values[i % d.values.len()].into() } else { 0.0 })
                                        .map(|w: f64| unit * w)
                                        .collect();
                                    let values = rotate(&values, -(of_outer + of_inner + pair));
                                    weights.iter_mut().zip(values).for_each(|(w, v)| *w += v);
                                }
                                if mode != Mode::Exact {
                                    let integers = encoder.complex_integers(&weights, *scale).unwrap();
                                    let integers: Vec<f64> = integers.iter().map(|&i| i as f64).collect();
                                    weights = encoder.slots_of(&integers).iter().map(|s| s / scale).collect();
                                }
                                for (i, y) in by_inner.iter_mut().enumerate() {
                                    *y += weights[i % period] * x[i];
                                }
                            }
                            if any {
                                by_outer.iter_mut().zip(rotate(&by_inner, of_inner)).for_each(|(y, x)| *y += x);
                            }
                        }
                        y.iter_mut().zip(rotate(&by_outer, of_outer)).for_each(|(y, x)| *y += x);
                    }
                    if let Some(pair) = linear.plan.imaginary_steps {
                        // The imaginary part is what the second giants of pairs make.
                        let second: Vec<Complex64> = y.iter().map(|y| y.im.into()).collect();
                        y.iter_mut().zip(rotate(&second, pair)).for_each(|(y, second)| *y = y.re + second);
                    }
                    y.iter_mut().enumerate().for_each(|(i, y)| *y += bias[i % period]);
                    outputs.push(y);
                }
                outputs
            }
        };
        if step.level_out < step.level_in {
            add_noise(&mut result, rescale / step.scale_out, &mut rng);
        }
        registers[step.destination.index()] = Some(result);
    }
    let output = registers[program.output.index()].take().unwrap();
    output.iter().map(|x| x.iter().map(|x| x.re).collect()).collect()
}

/// The logits, and the largest magnitude in the slots that must be 0.
#[allow(dead_code)] // not every test file uses it
pub fn logits(program: &Program, output: &Register) -> (Vec<f64>, f64) {
    let (found, rest) = vectors(program, output);
    (found[0].clone(), rest)
}

/// The logits of every vector of them, and the largest magnitude in the slots that must be 0.
pub fn vectors(program: &Program, output: &Register) -> (Vec<Vec<f64>>, f64) {
    let layout = &program.client.layout;
    let output_layout = &program.client.output;
    let (period, step, classes) = (output_layout.period, output_layout.step, output_layout.classes);
    let results = layout.results();
    let mut found = vec![vec![f64::NAN; classes]; results];
    let mut rest: f64 = 0.0;
    for (k, slots) in output.iter().enumerate() {
        if layout.packing == Packing::Padded {
            let members = if layout.averaged { 1 } else { layout.members };
            for (image, slots) in slots.chunks_exact(period).enumerate().take(layout.images) {
                for (i, x) in slots.iter().enumerate() {
                    match (k * (period / step) + i / step, i % step) {
                        (class, m) if class < classes && m < members => found[image * members + m][class] = *x,
                        _ => rest = rest.max(x.abs()),
                    }
                }
            }
            continue;
        }
        for (i, x) in slots.iter().enumerate() {
            let class = k * (period / step) + i % period / step;
            match layout.result(i % step) {
                Some(result) if class < classes => found[result][class] = *x,
                _ => rest = rest.max(x.abs()),
            }
        }
    }
    (found, rest)
}
