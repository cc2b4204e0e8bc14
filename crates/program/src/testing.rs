//! A tiny program with secure parameters, for tests of whoever reads, runs or sends programs. Behind the feature
//! `testing`.

use umbra_ckks::{Bsgs, Diagonal, Gadget, GadgetLiteral, Level, ParametersLiteral};
use umbra_image::{ImageSpec, Normalisation};
use umbra_ring::primes;

use crate::{
    ClientSpec, Estimate, InputLayout, Layout, Linear, LinearInput, Operation, OutputLayout, Program, Register, Report,
    Step,
};

/// A normalised image for [`tiny`], 2 x 2 and gray.
pub const IMAGE: [f32; 4] = [0.5, -1.0, 2.0, 0.25];

/// The two "logits" of an image are 1/4 plus the sum of the pixels, and 1/4 less twice that. N = 2^12: keys and
/// inference take milliseconds.
///
/// # Panics
/// Where there are no such primes, which there are.
#[must_use]
#[allow(clippy::expect_used)] // for tests
pub fn tiny() -> Program {
    let log_n = 12;
    let primes = primes::nearest(log_n, 26.5, 4, &[]).expect("primes of 26 bits");
    let (slots, positions) = (1usize << (log_n - 1), 4usize);
    let period = slots / positions;
    // Channel 0 holds the image; the last step multiplies it and moves it to channel 1 too.
    let mut channels = vec![None; period];
    channels[0] = Some((0, 0));
    let unit = |at: usize, value: f32| {
        let mut values = vec![0.0; period];
        values[at] = value;
        values
    };
    let diagonal =
        |baby, values| Diagonal { output: 0, input: 0, outer: 0, inner: 0, baby, imaginary: false, mask: None, values };
    let mut bias = vec![0.0; period];
    bias[..2].fill(0.25);
    let (register, gadget, level) = (Register(0), Gadget(0), Level(1));
    let sum = |rotation: usize| Operation::RotateSum { source: register, rotations: vec![rotation as i64], gadget };
    let step = |node: &str, operation, scale_out| Step {
        node: node.into(),
        operation,
        destination: register,
        level_in: level,
        level_out: level,
        scale_out,
        estimate: Estimate::default(),
    };
    let (scale, scale_out) = (24f64.exp2(), 40f64.exp2());
    let linear = Linear {
        inputs: vec![LinearInput { source: register, weight_scale: 16f64.exp2() }],
        plan: Bsgs { babies: vec![-1, 0], inner: vec![0], outer: vec![0], imaginary_steps: None },
        diagonals: vec![diagonal(0, unit(1, -2.0)), diagonal(1, unit(0, 1.0))],
        period,
        masks: Vec::new(),
        bias: vec![bias],
        gadget,
        add_first: false,
    };
    let client = ClientSpec {
        name: "tiny".into(),
        classes: vec!["sum".into(), "twice the sum, negated".into()],
        image: ImageSpec {
            channels: 1,
            height: 2,
            width: 2,
            normalisation: Normalisation::PerChannel { mean: vec![0.5], std: vec![0.25] },
            clip: None,
        },
        logit_range: Some([-8.0, 8.0]),
        logit_error: 1e-3,
        familiar: None,
        layout: Layout::default(),
        input: InputLayout { positions, pitch: 2, ciphertexts: vec![channels], level, scale },
        output: OutputLayout { level, scale: scale_out, period, step: 1, classes: 2, flooding: 0.0 },
        parameters: ParametersLiteral {
            log_n,
            primes,
            levels: vec![vec![0], vec![0, 1]],
            gadgets: vec![GadgetLiteral { digits: vec![vec![0, 1]], special: vec![2, 3] }],
        },
        keys: Vec::new(),
    };
    let mut program = Program {
        client,
        network: [7; 32],
        registers: 1,
        input: register,
        output: register,
        steps: vec![
            step("pool", sum(period), scale),
            step("pool", sum(2 * period), scale),
            step("fc", Operation::Linear(Box::new(linear)), scale_out),
        ],
        report: Report { notes: vec!["made by hand".into()], ..Report::default() },
    };
    program.client.keys = program.key_set();
    program
}

/// The logits of [`tiny`] for a normalised image.
#[must_use]
pub fn tiny_logits(image: &[f32]) -> Vec<f64> {
    let sum: f64 = image.iter().map(|&v| f64::from(v)).sum();
    vec![0.25 + sum, 0.25 - 2.0 * sum]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tiny_program_passes() {
        assert_eq!(tiny().check(), Ok(()));
    }

    #[test]
    fn keys_come_in_the_order_of_their_use() {
        let mut program = tiny();
        // The last step first, at a lower level, and a key twice.
        program.steps.rotate_right(1);
        program.steps[0].level_in = Level(0);
        program.steps.extend_from_within(..1);
        let rotations = [-1, 512, 1024].map(umbra_ckks::KeyKind::Rotate);
        let order = program.keys_in_order();
        assert_eq!(order.iter().map(|key| key.kind).collect::<Vec<_>>(), rotations);
        assert_eq!(order.iter().map(|key| key.level).collect::<Vec<_>>(), [Level(0), Level(1), Level(1)]);
        let mut sorted = program.key_set();
        sorted.sort_unstable_by_key(|key| order.iter().position(|other| other.kind == key.kind));
        assert_eq!(sorted.len(), order.len());
    }
}
