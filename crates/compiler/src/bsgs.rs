//! Baby-step giant-step: splitting rotations into babies, which share one decomposition, and giants.

use std::collections::{BTreeMap, BTreeSet};

use crate::packing::{Diagonals, Packing, Rotation};
use crate::{Bsgs, Diagonal};

/// Babies of a split at most, but for the one without giants.
const MAX_BABIES: usize = 160;

/// A way to split the rotations of one affine map: `rest = inner + baby` with babies in `[-offset, block - offset)` and inner
/// giants at multiples of `block`; rows of pixels are the outer giants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    block: i64,
    offset: i64,
    /// Whether rows are part of the babies: more of them, and fewer giants.
    hoisted_rows: bool,
    /// Nonzero babies, inner and outer giants.
    pub babies: BTreeSet<i64>,
    /// See [`Self::babies`].
    pub inner: BTreeSet<i64>,
    /// See [`Self::babies`].
    pub outer: BTreeSet<i64>,
    /// Key switches of giants, for one ciphertext of the result.
    pub giants: usize,
}

impl Split {
    /// The split of a set of rotations by a block size and an offset.
    #[must_use]
    pub fn new(
        rotations: &BTreeSet<Rotation>,
        packing: &Packing,
        (block, offset): (i64, i64),
        hoisted_rows: bool,
    ) -> Self {
        let mut split = Self {
            block,
            offset,
            hoisted_rows,
            babies: BTreeSet::new(),
            inner: BTreeSet::new(),
            outer: BTreeSet::new(),
            giants: 0,
        };
        let mut pairs = BTreeSet::new();
        for rotation in rotations {
            let (outer, inner, baby) = split.of(*rotation, packing);
            pairs.insert((outer, inner));
            for (set, r) in [(&mut split.babies, baby), (&mut split.inner, inner), (&mut split.outer, outer)] {
                if r != 0 {
                    set.insert(r);
                }
            }
        }
        split.giants = pairs.iter().filter(|(_, inner)| *inner != 0).count() + split.outer.len();
        split
    }

    /// All rotations are babies: what is done without the pass.
    #[must_use]
    pub fn none(rotations: &BTreeSet<Rotation>, packing: &Packing) -> Self {
        let flat: BTreeSet<Rotation> =
            rotations.iter().map(|r| Rotation { rows: 0, rest: packing.canonical(r.rows + r.rest) }).collect();
        Self::new(&flat, packing, (0, 0), true)
    }

    /// `(outer, inner, baby)`.
    fn of(&self, rotation: Rotation, packing: &Packing) -> (i64, i64, i64) {
        if self.block == 0 {
            return (0, 0, packing.canonical(rotation.rows + rotation.rest));
        }
        let baby = (rotation.rest + self.offset).rem_euclid(self.block) - self.offset;
        let inner = packing.canonical(rotation.rest - baby);
        if self.hoisted_rows {
            (0, inner, packing.canonical(rotation.rows + baby))
        } else {
            (rotation.rows, inner, packing.canonical(baby))
        }
    }

    /// The rotations that need keys.
    pub fn keys(&self) -> impl Iterator<Item = &i64> {
        self.babies.iter().chain(&self.inner).chain(&self.outer)
    }

    /// The plan, and the diagonals in the order of a [`crate::Linear`].
    #[must_use]
    pub fn plan(&self, diagonals: &Diagonals, packing: &Packing) -> (Bsgs, Vec<Diagonal>) {
        let list = |set: &BTreeSet<i64>| -> Vec<i64> { std::iter::once(0).chain(set.iter().copied()).collect() };
        let plan = Bsgs { babies: list(&self.babies), inner: list(&self.inner), outer: list(&self.outer) };
        let index = |list: &[i64]| -> BTreeMap<i64, u16> { list.iter().zip(0u16..).map(|(r, i)| (*r, i)).collect() };
        let (babies, inner, outer) = (index(&plan.babies), index(&plan.inner), index(&plan.outer));
        let mut out: Vec<Diagonal> = diagonals
            .iter()
            .map(|(&(o, i, rotation), values)| {
                let (of_outer, of_inner, of_baby) = self.of(rotation, packing);
                Diagonal {
                    output: o as u32,
                    input: i as u32,
                    outer: outer.get(&of_outer).copied().unwrap_or(0),
                    inner: inner.get(&of_inner).copied().unwrap_or(0),
                    baby: babies.get(&of_baby).copied().unwrap_or(0),
                    values: values.iter().map(|v| *v as f32).collect(),
                }
            })
            .collect();
        out.sort_by_key(|d| (d.output, d.outer, d.inner, d.input, d.baby));
        (plan, out)
    }
}

/// Splits worth considering for a set of rotations: those that no other beats in babies, giants and keys.
#[must_use]
pub fn candidates(rotations: &BTreeSet<Rotation>, packing: &Packing) -> Vec<Split> {
    let low = rotations.iter().map(|r| r.rest).min().unwrap_or(0).min(0);
    let high = rotations.iter().map(|r| r.rest).max().unwrap_or(0).max(0);
    // Splits with more babies than this need too many keys to be considered.
    let widest = (high - low + 1).min(128);
    let mut best: BTreeMap<(usize, usize), Split> = BTreeMap::new();
    for block in 1..=widest {
        // Tilings that start at the lowest rotation, or have it in the middle of a block.
        for offset in BTreeSet::from([(-low).rem_euclid(block), block / 2, 0]) {
            for hoisted_rows in [false, true] {
                let split = Split::new(rotations, packing, (block, offset), hoisted_rows);
                if split.babies.len() > MAX_BABIES {
                    continue;
                }
                let place = (split.babies.len(), split.giants);
                if best.get(&place).is_none_or(|other| split.keys().count() < other.keys().count()) {
                    best.insert(place, split);
                }
            }
        }
    }
    let all: Vec<((usize, usize, usize), Split)> =
        best.into_iter().map(|((babies, giants), s)| ((babies, giants, s.keys().count()), s)).collect();
    let beaten = |a: &(usize, usize, usize)| all.iter().any(|(b, _)| b != a && b.0 <= a.0 && b.1 <= a.1 && b.2 <= a.2);
    all.iter().filter(|(place, _)| !beaten(place)).map(|(_, split)| split.clone()).collect()
}
