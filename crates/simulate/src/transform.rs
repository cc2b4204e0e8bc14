//! Linear transforms on plain slots, with weights rounded as they are encoded.

use rayon::prelude::*;
use umbra_ckks::{CkksError, Diagonal, Encoder, rounded_weight};
use umbra_program::Linear;

use crate::dense::Dense;

/// A linear transform whose weights are rounded.
#[derive(Debug)]
pub struct RoundedTransform<'p> {
    linear: &'p Linear,
    /// Weights as encoded: for each diagonal one period; none where they have masks, or are in `dense`.
    weights: Vec<Vec<f64>>,
    dense: Option<Dense>,
    /// Their scale, for each input ciphertext.
    weight_scales: Vec<f64>,
}

impl<'p> RoundedTransform<'p> {
    /// Rounds the weights, which have these scales for each input ciphertext.
    pub(crate) fn new(linear: &'p Linear, weight_scales: &[f64], slots: usize) -> Result<Self, CkksError> {
        let weights = Rounding::new(linear).all(weight_scales)?;
        let dense = Dense::new(linear, &weights, slots);
        let weights = if dense.is_some() { Vec::new() } else { weights };
        Ok(Self { linear, weights, dense, weight_scales: weight_scales.to_vec() })
    }

    /// Number of input ciphertexts.
    pub(crate) fn inputs(&self) -> usize {
        self.weight_scales.len()
    }

    /// The scale of the weights of each input ciphertext.
    pub(crate) fn weight_scales(&self) -> &[f64] {
        &self.weight_scales
    }

    /// What the products are multiplied by.
    pub(crate) fn factor(&self) -> f64 {
        self.linear.plan.factor()
    }

    /// Transforms as many slot vectors as there are inputs, all of one length.
    pub(crate) fn apply(&self, inputs: &[&[f64]]) -> Result<Vec<Vec<f64>>, CkksError> {
        let linear = self.linear;
        // Twice each input, one copy after the other: rotations become offsets.
        let inputs: Vec<Vec<f64>> = inputs.iter().map(|x| [*x, x].concat()).collect();
        let slots = inputs.first().map_or(0, |x| x.len() / 2);
        let mut out: Vec<Vec<f64>> =
            (linear.bias.iter()).map(|b| b.iter().copied().cycle().take(slots).collect()).collect();
        if let Some(dense) = &self.dense {
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
            for (d, w) in linear.diagonals.iter().zip(&self.weights) {
                add(&mut out[d.output as usize], d, w);
            }
            return Ok(out);
        }
        let rounding = Rounding::new(linear);
        // Diagonals are sorted by output.
        out.par_iter_mut().enumerate().try_for_each(|(output, y)| {
            let first = linear.diagonals.partition_point(|d| (d.output as usize) < output);
            for d in linear.diagonals[first..].iter().take_while(|d| d.output as usize == output) {
                let scale = self.weight_scales.get(d.input as usize).copied().unwrap_or(1.0);
                rounding.of(std::slice::from_ref(d), scale)?.iter().for_each(|w| add(y, d, w));
            }
            Ok::<(), CkksError>(())
        })?;
        Ok(out)
    }
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
    fn all(&self, weight_scales: &[f64]) -> Result<Vec<Vec<f64>>, CkksError> {
        if !self.linear.masks.is_empty() {
            return Ok(Vec::new());
        }
        let scale = |d: &Diagonal| weight_scales.get(d.input as usize).copied().unwrap_or(1.0);
        let weights: Vec<&[Diagonal]> = self.linear.weights().collect();
        let rounded: Vec<Vec<Vec<f64>>> =
            weights.par_iter().map(|weight| self.of(weight, scale(&weight[0]))).collect::<Result<_, _>>()?;
        Ok(rounded.into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use umbra_ckks::{Bsgs, Gadget};

    use super::*;

    const SLOTS: usize = 256;

    /// A transform of some inputs with all diagonals of a plan, in ranges of rotations or in multiples of a step.
    fn transform(
        rng: &mut ChaCha8Rng,
        (inputs, outputs): (u32, u32),
        period: usize,
        step: i64,
        complex: bool,
    ) -> Linear {
        let list = |factor: i64| (0..4).map(|i| i * step * factor).collect::<Vec<i64>>();
        let outer = vec![0, -(SLOTS as i64) / 8];
        let imaginary_steps = complex.then_some(SLOTS as i64 / 4);
        let plan = Bsgs { babies: list(1), inner: list(4), outer, imaginary_steps };
        let mut diagonals = Vec::new();
        for output in 0..outputs {
            for (outer, inner) in (0..2).flat_map(|outer| (0..4).map(move |inner| (outer, inner))) {
                for (input, baby) in (0..inputs).flat_map(|input| (0..4).map(move |baby| (input, baby))) {
                    for imaginary in [false, true].into_iter().take(1 + usize::from(complex)) {
                        let values = (0..period).map(|_| rng.random_range(-1.0..1.0)).collect();
                        let mask = None;
                        diagonals.push(Diagonal { output, input, outer, inner, baby, imaginary, mask, values });
                    }
                }
            }
        }
        let bias = (0..outputs).map(|_| (0..period).map(|_| rng.random_range(-1.0..1.0)).collect()).collect();
        let (masks, gadget) = (Vec::new(), Gadget(0));
        Linear { inputs: Vec::new(), plan, diagonals, period, masks, bias, gadget, add_first: false }
    }

    /// Matrix products, and rotation by rotation.
    #[test]
    fn matrices_are_the_same_transforms() {
        let seed: u64 = rand::random();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for (shape, period, step, complex) in [
            ((1, 1), 16, 1, false),
            ((2, 3), 8, 1, false),
            ((1, 2), 16, 1, true),
            ((3, 2), 1, 2, false),
            ((2, 5), 4, 4, false),
            ((1, 1), 16, 16, true),
        ] {
            let linear = transform(&mut rng, shape, period, step, complex);
            let weights: Vec<Vec<f64>> =
                linear.diagonals.iter().map(|d| d.values.iter().map(|&w| w.into()).collect()).collect();
            let dense = Dense::new(&linear, &weights, SLOTS).expect("few zeros");
            let mut slots = || (0..SLOTS).map(|_| rng.random_range(-1.0..1.0)).collect::<Vec<f64>>();
            let inputs: Vec<Vec<f64>> = (0..shape.0).map(|_| slots()).collect();
            let inputs: Vec<&[f64]> = inputs.iter().map(Vec::as_slice).collect();
            let with = |weights, dense| RoundedTransform { linear: &linear, weights, dense, weight_scales: Vec::new() };
            let found = with(Vec::new(), Some(dense)).apply(&inputs).expect("no masks");
            let expected = with(weights, None).apply(&inputs).expect("no masks");
            for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
                assert!((found - expected).abs() < 1e-9, "seed {seed}, {shape:?}: {found}, expected {expected}");
            }
        }
    }

    #[test]
    fn what_would_be_mostly_zeros_is_no_matrix() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut linear = transform(&mut rng, (1, 1), 64, 1, false);
        linear.diagonals.truncate(3);
        let weights = vec![vec![0.5; 64]; 3];
        assert!(Dense::new(&linear, &weights, SLOTS).is_none());
        // Nor is what repeats after all slots.
        let linear = transform(&mut rng, (1, 1), SLOTS, 1, false);
        assert!(Dense::new(&linear, &vec![vec![0.5; SLOTS]; linear.diagonals.len()], SLOTS).is_none());
    }
}
