//! Linear transforms as plain data.

use serde::{Deserialize, Serialize};

use crate::index::{Gadget, Level};
use crate::key_id::KeyKind;

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
    /// Complex packing of giant steps: weights are complex, the imaginary part of what comes of the rotations above is
    /// rotated by this many steps more and added to the real part, and the result is doubled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imaginary_steps: Option<i64>,
}

impl Bsgs {
    /// What keys are needed for, some possibly twice.
    pub fn keys(&self) -> impl Iterator<Item = KeyKind> {
        let rotations = self.babies.iter().chain(&self.inner).chain(&self.outer);
        let rotations = rotations.filter(|r| **r != 0).map(|r| KeyKind::Rotate(*r));
        rotations.chain(self.extraction_keys().into_iter().flatten())
    }

    /// What the real/imaginary extraction of complex sums needs: `conj`, `rot_s` and both, in this order.
    #[must_use]
    pub fn extraction_keys(&self) -> Option<[KeyKind; 3]> {
        self.imaginary_steps.map(|s| [KeyKind::Conjugate(0), KeyKind::Rotate(s), KeyKind::Conjugate(s)])
    }

    /// Places of 0 in the lists of inner and of outer giants.
    #[must_use]
    pub fn zero_giants(&self) -> (u16, u16) {
        let place = |list: &[i64]| list.iter().position(|&x| x == 0).unwrap_or(0) as u16;
        (place(&self.inner), place(&self.outer))
    }

    /// What a transform with real weights is multiplied by.
    #[must_use]
    pub fn factor(&self) -> f64 {
        if self.imaginary_steps.is_some() { 2.0 } else { 1.0 }
    }

    /// By how much what a diagonal multiplies is still to be rotated. An index that does not exist counts for nothing;
    /// transforms refuse it.
    #[must_use]
    pub fn giant(&self, d: &Diagonal) -> i64 {
        let step = |list: &[i64], index: u16| list.get(usize::from(index)).copied().unwrap_or(0);
        let imaginary = if d.imaginary { self.imaginary_steps.unwrap_or(0) } else { 0 };
        step(&self.outer, d.outer).wrapping_add(step(&self.inner, d.inner)).wrapping_add(imaginary)
    }
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
    /// Whether it is the imaginary part of its weight: [`Bsgs::imaginary_steps`] is rotated by as well.
    pub imaginary: bool,
    /// Index of the mask that the weights are multiplied by, slot by slot.
    pub mask: Option<u16>,
    /// One period of weights, not rotated.
    pub values: Vec<f32>,
}

impl Diagonal {
    /// Output, outer and inner giant, input and baby: the same for both parts of a weight.
    #[must_use]
    pub fn place(&self) -> (u32, u16, u16, u32, u16) {
        (self.output, self.outer, self.inner, self.input, self.baby)
    }

    /// One period of the plaintext that it stands for, not rotated: that of the masks where there are any. Its own mask
    /// must be among them.
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

    /// [`Self::plaintext`] as it multiplies what is still to be rotated by the giants of `plan`: rotated back by them.
    pub fn rotated_plaintext(&self, plan: &Bsgs, masks: &[Vec<bool>]) -> impl Iterator<Item = f64> + use<> {
        let (slots, giant) = (self.plaintext(masks), plan.giant(self));
        let period = slots.len() as i64;
        (0..period).map(move |c| slots[c.wrapping_sub(giant).rem_euclid(period) as usize])
    }
}

/// A linear transform in numbers.
#[derive(Debug, Clone)]
pub struct TransformSpec<'a> {
    /// Level of the products.
    pub level: Level,
    /// Gadget of the rotations.
    pub gadget: Gadget,
    /// Level of the outputs; lower than `level` to rescale.
    pub level_out: Level,
    /// Scale of each input's weights.
    pub weight_scales: &'a [f64],
    /// Number of output ciphertexts.
    pub outputs: usize,
    /// Period of all weights, a power of two; of biases too, where there are no masks.
    pub period: usize,
    /// What weights may be multiplied by, slot by slot: each of one period, a power of two from that of the weights on,
    /// which is that of the biases then. With masks, weights are encoded anew for every use: there are too many
    /// plaintexts to keep.
    pub masks: &'a [Vec<bool>],
    /// Rotations.
    pub plan: &'a Bsgs,
    /// Weights.
    pub diagonals: &'a [Diagonal],
    /// One period of biases for each output.
    pub bias: &'a [Vec<f64>],
    /// Scale of the outputs, at which biases are encoded.
    pub scale_out: f64,
    /// Whether to add rotated inputs that share a weight before multiplying them by it. Makes no difference to the
    /// result, and takes effect where weights are the same in all slots and not too large for it
    /// ([`umbra_ring::kernels::GroupedMatrix`]).
    pub add_first: bool,
}
