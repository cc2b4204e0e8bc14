//! The questions that the other passes ask of a packing, and what is the same in all of them.

use std::collections::BTreeMap;
use std::fmt;

use umbra_ckks::Level;
use umbra_program::{InputLayout, Layout};

use crate::circuit::{Affine, Circuit, Grid, Operation, Plane, Value, ValueId};

/// A rotation before it is split into steps: `rows` whole rows of pixels, and the rest. With one channel per
/// ciphertext, what taps move by, and by what results are moved to their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rotation {
    /// Rotation by whole rows, in slots, in `(-n/2, n/2]`.
    pub rows: i64,
    /// The rest: between neighbouring pixels and channels.
    pub rest: i64,
}

/// The diagonals of one affine map: by output ciphertext, input ciphertext (over all distinct sources, in order) and
/// rotation. Each is one period of weights, see [`Packing::period`].
pub type Diagonals = BTreeMap<(usize, usize, Rotation), Vec<f64>>;

/// The masks of an affine map, and which of them each diagonal has, in their order; both are empty where no diagonal
/// has one.
pub type Masks = (Vec<Vec<bool>>, Vec<Option<u16>>);

/// A weight of a kernel: which value it makes, and what it multiplies.
#[derive(Clone, Copy, Debug)]
pub struct Weight<'a> {
    /// The value that is made.
    pub value: &'a Value,
    /// The value that is read.
    pub read: &'a Value,
    /// The member of an ensemble whose weight it is.
    pub member: usize,
    /// Channel that is made.
    pub output: usize,
    /// Channel that is read.
    pub input: usize,
    /// Offset of positions of what is read.
    pub tap: i64,
}

/// A diagonal: which ciphertext of the value that is made it belongs to, and which of the value that is read it
/// multiplies.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// The value that is made.
    pub value: &'a Value,
    /// The value that is read.
    pub read: &'a Value,
    /// Ciphertext of the value that is made.
    pub output: usize,
    /// Ciphertext of the value that is read.
    pub input: usize,
    /// The rotation.
    pub rotation: Rotation,
}

/// What one weight of a diagonal multiplies, as [`crate::circuit::Kernel::Dense`] has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Product {
    /// Channel that is made.
    pub output: usize,
    /// Channel that is read.
    pub input: usize,
    /// Offset of positions.
    pub tap: i64,
    /// Stride of positions.
    pub stride: usize,
}

/// Which tilings of rotations into baby and giant steps are worth trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tilings {
    /// Blocks of every size.
    All,
    /// One: every tap is a baby step, and only what moves results to their place is a giant step.
    Taps,
}

/// What is remembered while the diagonals of one value are collected.
#[derive(Debug, Default)]
pub struct Memo {
    /// How rotations have been split: equal ones are split alike, however they came about.
    pub rotations: BTreeMap<i64, Rotation>,
    /// Which taps read anything.
    pub reading: BTreeMap<(Plane, i64), bool>,
}

/// Which slot holds what, and what follows from it. Other passes ask these questions and never which packing it is.
///
/// Slots are those of ciphertexts with `n = N / 2` slots. A *period* is a number of slots after which plaintexts
/// repeat.
pub trait Packing: fmt::Debug + Send + Sync {
    /// Slots of a ciphertext.
    fn slots(&self) -> usize;

    /// The positions of the image.
    fn grid(&self) -> Grid;

    /// What readers of the program are to know of it.
    fn layout(&self) -> Layout;

    /// Distance of a value's neighbouring positions in slots.
    fn distance(&self, value: &Value) -> usize;

    /// Channels of a value in one ciphertext. Where there is room for more channels than the image has, it is filled
    /// with shifted copies ([`super::expand_input`]).
    fn capacity(&self, value: &Value) -> usize;

    /// Ciphertexts of a value.
    fn ciphertexts(&self, value: &Value) -> usize {
        value.channels.div_ceil(self.capacity(value))
    }

    /// Distance in slots of the logits of one ciphertext, of one image and member.
    fn logit_step(&self, logits: &Value) -> usize;

    /// Period of the weights that make a value, before masks. Those of the logits may keep every slot but theirs at 0.
    fn period(&self, value: &Value) -> usize;

    /// Period of the plaintexts that make a value: of the weights, or of their masks.
    fn plaintext_period(&self, value: &Value) -> usize {
        self.period(value)
    }

    /// Visits the slots of a period in which weights and biases of a channel are: those of one member of an ensemble.
    fn visit_slots(&self, value: &Value, member: usize, channel: usize, visit: &mut dyn FnMut(usize));

    /// One period of plaintext for each ciphertext of a value, with a number for each channel, of one member of an
    /// ensemble.
    fn spread(&self, value: &Value, member: usize, numbers: &[f64]) -> Vec<Vec<f64>> {
        let mut out = vec![vec![0.0; self.period(value)]; self.ciphertexts(value)];
        let capacity = self.capacity(value);
        for (c, number) in numbers.iter().enumerate().take(value.channels) {
            let out = &mut out[c / capacity];
            self.visit_slots(value, member, c, &mut |slot| out[slot] += number);
        }
        out
    }

    /// One period of the biases for each ciphertext of a value: of its masks where it is `masked`. They are the first
    /// member's; those of the others are added to them.
    fn bias(&self, value: &Value, affine: &Affine, masked: bool) -> Vec<Vec<f64>> {
        let _ = masked;
        self.spread(value, 0, &affine.bias)
    }

    /// The masks that the diagonals of a value are multiplied by.
    fn masks(&self, circuit: &Circuit, value: &Value, diagonals: &Diagonals) -> Masks {
        let _ = (circuit, value, diagonals);
        Masks::default()
    }

    /// The rotation that brings what a weight multiplies to where its product is; `None` where it multiplies padding
    /// only.
    fn rotation(&self, weight: &Weight<'_>, memo: &mut Memo) -> Option<Rotation>;

    /// Visits what the weights of a diagonal multiply, also where a weight is 0: the other way round from
    /// [`Self::rotation`].
    fn visit_products(&self, reading: &Reading<'_>, visit: &mut dyn FnMut(Product));

    /// Transforms of a limb that making the weights of so many diagonals takes while the program runs, for each limb: 0
    /// where weights are few enough to be kept.
    fn encoding(&self, diagonals: usize) -> f64 {
        let _ = diagonals;
        0.0
    }

    /// Whether a rounded weight has an error of its own at every position. Otherwise its error is the same at all of
    /// them, so that biases can make up for its mean.
    fn rounds_by_position(&self) -> bool {
        false
    }

    /// Whether giant steps may be packed into complex weights: where there are giant steps worth saving.
    fn packs_giants(&self) -> bool;

    /// Which splits of rotations are tried.
    fn tilings(&self) -> Tilings;

    /// The rotations that add up windows of a value that is read, list by list: a sum of it and its rotations, which
    /// takes its place.
    fn pooling(&self, read: &Value, [rows, columns]: [usize; 2]) -> Vec<Vec<i64>> {
        let along = |count: usize, distance: usize| -> Vec<Vec<i64>> {
            let by = |i: usize| self.canonical((i * distance) as i64);
            if count.is_power_of_two() {
                (0..count.ilog2()).map(|k| vec![by(1 << k)]).collect()
            } else {
                vec![(1..count).map(by).collect()]
            }
        };
        let distance = self.distance(read);
        let mut all = along(columns, distance);
        all.extend(along(rows, distance * self.grid().pitch));
        all
    }

    /// Whether a value is the logits that the members of an ensemble make together, each a part of them.
    fn averages(&self, value: &Value) -> bool {
        let _ = value;
        false
    }

    /// Whether a weight of a value under a rotation is one of this member of an ensemble.
    fn belongs(&self, value: &Value, member: usize, rotation: Rotation) -> bool {
        let _ = (value, member, rotation);
        true
    }

    /// The same rotation in `(-n/2, n/2]`.
    fn canonical(&self, rotation: i64) -> i64 {
        let n = self.slots() as i64;
        let r = rotation.rem_euclid(n);
        if r > n / 2 { r - n } else { r }
    }

    /// How the client lays out the image: `channels` are colour and tap of each channel of the `value` that is the
    /// input.
    fn input(&self, value: &Value, channels: &[(usize, i64)], level: usize, scale: f64) -> InputLayout {
        let capacity = self.capacity(value);
        let ciphertexts = channels.chunks(capacity).map(|chunk| {
            let filled = chunk.iter().copied().map(Some);
            filled.chain(std::iter::repeat(None)).take(capacity).collect()
        });
        let grid = self.grid();
        InputLayout {
            positions: grid.positions,
            pitch: grid.pitch,
            ciphertexts: ciphertexts.collect(),
            level: Level::new(level),
            scale,
        }
    }
}

/// The distinct values that an affine map reads, in order of first use.
#[must_use]
pub fn sources(affine: &Affine) -> Vec<ValueId> {
    let mut seen = std::collections::BTreeSet::new();
    affine.terms.iter().map(|t| t.source).filter(|s| seen.insert(*s)).collect()
}

/// The distinct values that a value reads with weights.
#[must_use]
pub fn operands(value: &Value) -> Vec<ValueId> {
    match &value.operation {
        Operation::Affine(affine) => sources(affine),
        _ => Vec::new(),
    }
}
