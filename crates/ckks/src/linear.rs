//! Linear transforms by rotations and periodic weights: the engine of encrypted convolutions.
//!
//! `y_o = sum_{i, r} w_{o,i,r} (.) rot_r(x_i)`, every `w` of one period. With `r = outer + inner + baby`,
//!
//! ```text
//! y_o = sum_outer rot_outer( sum_inner rot_inner( sum_{i, baby} rot_{-(outer + inner)}(w_{o,i,r}) (.) rot_baby(x_i) ) )
//! ```
//!
//! (baby step, giant step, with two levels of giants that share keys). The babies of an input share one
//! decomposition ("hoisting", Halevi and Shoup, eprint 2018/244) and stay in the extended basis, where
//! the weighted sums and the giants' results accumulate; there is one division at the end, by P and by
//! the primes that rescaling drops at once.
//!
//! *Pairs.* Inputs are real, so a complex weight does the work of two real ones: with `v_r + i w_r` in place of `v_r`, the sum
//! above is `V` whose real part is one result and whose imaginary part is another, for the same rotations. The other is that of
//! the rotations that are `pair` steps further: `y = Re V + rot_pair(Im V)`. So half of the giants are left, and half of the
//! products. Parts are taken by conjugation: `2 y = V + conj(V) - i rot_pair(V) + i rot_pair(conj(V))`, three automorphisms that
//! share one decomposition; `i` is `X^(N/2)`. Inputs' errors are complex, and both parts of them reach the result.
//!
//! The weighted sums never touch memory as rotated ciphertexts: for one limb and one block of outputs
//! (in which every periodic weight is constant, see [`umbra_ring::subring`]) the rotated inputs are
//! made in a small buffer, and multiplied by the matrix of weights while they are in the cache. Weights are residues, or integers
//! where they are the same in all slots (`weights`).

mod apply;
mod matrices;

pub use matrices::Matrices;
pub(crate) use matrices::Tile;
use matrices::{Row, index_of_zero};

use crate::encoder::{encode, to_blocks};
use crate::keys::KeyKind;
use crate::keyswitch::SwitchPlan;
use crate::weights::Weights;
use crate::{CkksError, Parameters, Plaintext};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A two-level baby-step giant-step plan: all rotations are `outer + inner + baby`. Each list contains 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bsgs {
    /// Hoisted rotations of the inputs.
    pub babies: Vec<i64>,
    /// First giants.
    pub inner: Vec<i64>,
    /// Second giants.
    pub outer: Vec<i64>,
    /// Rotation of the imaginary part of what comes of these, where weights are complex; then the result is doubled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<i64>,
}

impl Bsgs {
    /// What keys are needed for, some possibly twice.
    pub fn keys(&self) -> impl Iterator<Item = KeyKind> {
        let rotations = self.babies.iter().chain(&self.inner).chain(&self.outer);
        let rotations = rotations.filter(|r| **r != 0).map(|r| KeyKind::Rotate(*r));
        rotations.chain(self.pair.into_iter().flat_map(pair_keys))
    }

    /// What a transform with real weights is multiplied by.
    pub fn factor(&self) -> f64 {
        if self.pair.is_some() { 2.0 } else { 1.0 }
    }

    /// By how much what a diagonal multiplies is still to be rotated; its indices must exist.
    pub fn giant(&self, d: &Diagonal) -> i64 {
        let pair = if d.imaginary { self.pair.unwrap_or(0) } else { 0 };
        self.outer[d.outer as usize] + self.inner[d.inner as usize] + pair
    }
}

/// What taking complex sums apart needs.
fn pair_keys(steps: i64) -> [KeyKind; 3] {
    [KeyKind::Conjugate(0), KeyKind::Rotate(steps), KeyKind::Conjugate(steps)]
}

/// Weights that multiply one rotation of one input into one output.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagonal {
    /// Output ciphertext.
    pub output: u32,
    /// Input ciphertext.
    pub input: u32,
    /// Index into [`Bsgs::outer`].
    pub outer: u16,
    /// Index into [`Bsgs::inner`].
    pub inner: u16,
    /// Index into [`Bsgs::babies`].
    pub baby: u16,
    /// Whether it is the imaginary part of its weight: [`Bsgs::pair`] is rotated by as well.
    pub imaginary: bool,
    /// Index of the mask that the weights are multiplied by, slot by slot.
    pub mask: Option<u16>,
    /// One period of weights, not rotated.
    pub values: Vec<f32>,
}

impl Diagonal {
    /// Output, outer and inner giant, input and baby: the same for both parts of a weight.
    pub fn place(&self) -> (u32, u16, u16, u32, u16) {
        (self.output, self.outer, self.inner, self.input, self.baby)
    }

    /// One period of the plaintext that it stands for, not rotated: that of the masks where there are any. Its own mask must be
    /// among them.
    #[must_use]
    pub fn plaintext(&self, masks: &[Vec<bool>]) -> Vec<f64> {
        let values = || self.values.iter().map(|&v| f64::from(v));
        let own = self.mask.and_then(|m| masks.get(usize::from(m)));
        match (own, masks.first()) {
            (Some(mask), _) => values().cycle().zip(mask).map(|(v, m)| if *m { v } else { 0.0 }).collect(),
            (None, Some(any)) => values().cycle().take(any.len()).collect(),
            (None, None) => values().collect(),
        }
    }
}

/// A linear transform in numbers.
#[derive(Debug, Clone)]
pub struct TransformSpec<'a> {
    /// Level of the products.
    pub level: usize,
    /// Gadget of the rotations.
    pub gadget: usize,
    /// Level of the outputs; lower than `level` to rescale.
    pub level_out: usize,
    /// Scale of each input's weights.
    pub weight_scales: &'a [f64],
    /// Number of output ciphertexts.
    pub outputs: usize,
    /// Period of all weights, a power of two; of biases too, where there are no masks.
    pub period: usize,
    /// What weights may be multiplied by, slot by slot: each of one period, a power of two from that of the weights on, which is
    /// that of the biases then. With masks, weights are encoded anew for every use: there are too many plaintexts to keep.
    pub masks: &'a [Vec<bool>],
    /// Rotations.
    pub plan: &'a Bsgs,
    /// Weights.
    pub diagonals: &'a [Diagonal],
    /// One period of biases for each output.
    pub bias: &'a [Vec<f64>],
    /// Scale of the outputs, at which biases are encoded.
    pub scale_out: f64,
    /// Whether to add rotated inputs that share a weight before multiplying them by it. Makes no difference to the result, and takes
    /// effect where weights are the same in all slots and not too large for it ([`umbra_ring::kernels::GroupedMatrix`]).
    pub add_first: bool,
}

/// A linear transform with encoded weights, for one level and gadget.
#[derive(Debug)]
pub struct LinearTransform {
    level: usize,
    gadget: usize,
    level_out: usize,
    weight_scales: Vec<f64>,
    scale_out: f64,
    plan: Bsgs,
    switch: Arc<SwitchPlan>,
    rows: Vec<Row>,
    /// (input, baby) of each rotated input.
    columns: Vec<(u32, u16)>,
    /// Rows that read the same inputs, with the columns they read: what is zero for a whole input is left out.
    tiles: Vec<Tile>,
    blocks: usize,
    /// For each limb what the terms of `2 y` are multiplied by, in either half of the residues; empty without pairs.
    parts: Vec<[[i32; 4]; 2]>,
    weights: Weights,
    bias: Vec<Plaintext>,
}

impl LinearTransform {
    /// Encodes the weights.
    ///
    /// # Errors
    /// [`CkksError::Length`] for indices, periods or biases that do not fit together;
    /// [`CkksError::Gadget`], [`CkksError::NoSuchLevel`], and those of encoding.
    pub fn new(parameters: &Parameters, spec: &TransformSpec<'_>) -> Result<Self, CkksError> {
        const OP: &str = "linear transform";
        parameters.check_level(OP, spec.level_out)?;
        let switch = parameters.switch_plan(OP, spec.level, spec.gadget)?;
        let wrong = |what, expected, got| CkksError::Length { op: OP, what, expected, got };
        let span = spec.masks.first().map_or(spec.period, Vec::len);
        if !span.is_power_of_two() || span > parameters.slots() || span < spec.period {
            return Err(wrong("slots of a mask (a power of two)", parameters.slots(), span));
        }
        if let Some(other) = spec.masks.iter().find(|m| m.len() != span) {
            return Err(wrong("slots of a mask", span, other.len()));
        }
        let period = spec.period;
        if !period.is_power_of_two() || period > parameters.slots() {
            return Err(wrong("slots of a period (a power of two)", parameters.slots(), period));
        }
        if spec.bias.len() != spec.outputs {
            return Err(wrong("biases", spec.outputs, spec.bias.len()));
        }
        for list in [&spec.plan.babies, &spec.plan.inner, &spec.plan.outer] {
            if !list.contains(&0) || list.len() > usize::from(u16::MAX) {
                return Err(wrong("zeros in a list of rotations", 1, 0));
            }
        }
        let plan = spec.plan;
        if plan.pair.is_some() && !spec.masks.is_empty() {
            return Err(wrong("masks of complex weights", 0, spec.masks.len()));
        }
        for d in spec.diagonals {
            for (what, got, limit) in [
                ("as output of a diagonal", d.output as usize, spec.outputs),
                ("as input of a diagonal", d.input as usize, spec.weight_scales.len()),
                ("as outer rotation of a diagonal", d.outer.into(), plan.outer.len()),
                ("as inner rotation of a diagonal", d.inner.into(), plan.inner.len()),
                ("as baby rotation of a diagonal", d.baby.into(), plan.babies.len()),
                ("as mask of a diagonal", d.mask.map_or(0, usize::from), spec.masks.len().max(1)),
                ("as part of a weight", d.imaginary.into(), 1 + usize::from(plan.pair.is_some())),
            ] {
                if got >= limit {
                    return Err(wrong(what, limit, got));
                }
            }
            if d.values.len() != period {
                return Err(wrong("weights in a diagonal", period, d.values.len()));
            }
        }
        let matrices = Matrices::of(spec.outputs, plan, spec.diagonals);
        let tiles = matrices.tiles();
        let places = matrices.places(&tiles, spec.diagonals);
        let weights = Weights::new(parameters, spec, &switch.extended, &places, &tiles)?;
        // Integers are the same in all blocks.
        let blocks = if weights.are_integers() { 1 } else { 2 * span };
        let bias = (spec.bias.iter())
            .map(|b| {
                if b.len() != span {
                    return Err(wrong("biases in a period", span, b.len()));
                }
                encode(parameters, b, spec.level_out, spec.scale_out)
            })
            .collect::<Result<_, _>>()?;
        let basis = if plan.pair.is_some() { &switch.extended[..] } else { &[] };
        let parts = basis.iter().map(|&prime| parts(parameters, prime)).collect();
        Ok(Self {
            level: spec.level,
            gadget: spec.gadget,
            level_out: spec.level_out,
            weight_scales: spec.weight_scales.to_vec(),
            scale_out: spec.scale_out,
            plan: plan.clone(),
            switch,
            rows: matrices.rows,
            columns: matrices.columns,
            tiles,
            blocks,
            parts,
            weights,
            bias,
        })
    }

    /// Bytes of the weights that are kept.
    pub fn bytes(&self) -> usize {
        self.weights.bytes()
    }

    /// Row that gathers what is left to be rotated by `outer` and by `inner`.
    fn row(&self, output: u32, outer: u16, inner: u16) -> usize {
        self.rows.binary_search(&Row { output, outer, inner }).unwrap_or(0)
    }
}

/// `1, 1, -i, i` modulo a prime, `i` being `X^(N/2)`: of opposite sign in the two halves of the residues.
fn parts(parameters: &Parameters, prime: u16) -> [[i32; 4]; 2] {
    let m = parameters.modulus(prime);
    let of = |x: u32| m.centre(m.to_montgomery(x));
    let unit = to_blocks(parameters, &[prime], 1, &[vec![0, 1]]);
    [0, 1].map(|half| {
        let i = unit.limb(0, 0)[half];
        [of(1), of(1), of(m.neg(i)), of(i)]
    })
}
