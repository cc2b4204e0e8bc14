//! Baby-step giant-step: splitting rotations into babies, which share one decomposition, and giants.

use std::collections::{BTreeMap, BTreeSet};

use crate::packing::{Diagonals, Packing, Rotation};
use umbra_ckks::{Bsgs, Diagonal, KeyKind};

/// Babies of a split at most, but for the one without giants.
const MAX_BABIES: usize = 160;

/// A way to split the rotations of one affine map: `rest = inner + baby` with babies in `[-offset, block - offset)` and inner
/// giants at multiples of `block`; rows of pixels are the outer giants. Where giants are paired, half of them are those of the
/// other half and a distance, and have the imaginary parts of weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    block: i64,
    offset: i64,
    /// Whether rows are part of the babies: more of them, and fewer giants.
    hoisted_rows: bool,
    pairs: Option<Pairs>,
    /// Nonzero babies, inner and outer giants.
    pub babies: BTreeSet<i64>,
    /// See [`Self::babies`].
    pub inner: BTreeSet<i64>,
    /// See [`Self::babies`].
    pub outer: BTreeSet<i64>,
    /// Key switches of giants, for one ciphertext of the result, but for those that take pairs apart.
    pub giants: usize,
    /// Weights in place of each rotation: less than one where weights are complex.
    pub weights: f64,
    /// Baby rotations over all ciphertexts read.
    pub rotated: usize,
    /// Ciphertexts read that are rotated at all.
    pub decomposed: usize,
}

/// Which giants are the second ones of pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pairs {
    /// Whether rows are paired, or else inner giants.
    rows: bool,
    /// The least of the second ones.
    from: i64,
    /// Of the two of a pair.
    distance: i64,
}

/// Where a rotation is in a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    outer: i64,
    inner: i64,
    baby: i64,
    imaginary: bool,
}

/// The rotations of each ciphertext read: how often each set of them occurs.
pub type Inputs = BTreeMap<BTreeSet<Rotation>, usize>;

/// The rotations of each ciphertext that some diagonals read.
#[must_use]
pub fn inputs(diagonals: &Diagonals) -> Inputs {
    let mut each: BTreeMap<usize, BTreeSet<Rotation>> = BTreeMap::new();
    for (_, input, rotation) in diagonals.keys() {
        each.entry(*input).or_default().insert(*rotation);
    }
    let mut sets = Inputs::new();
    each.into_values().for_each(|set| *sets.entry(set).or_default() += 1);
    sets
}

impl Split {
    /// The split of a set of rotations by a block size and an offset.
    #[must_use]
    pub fn new(inputs: &Inputs, packing: &Packing, (block, offset): (i64, i64), hoisted_rows: bool) -> Self {
        Self::with(inputs, packing, (block, offset), hoisted_rows, None)
    }

    fn with(
        inputs: &Inputs,
        packing: &Packing,
        (block, offset): (i64, i64),
        hoisted_rows: bool,
        pairs: Option<Pairs>,
    ) -> Self {
        let mut split = Self {
            block,
            offset,
            hoisted_rows,
            pairs,
            babies: BTreeSet::new(),
            inner: BTreeSet::new(),
            outer: BTreeSet::new(),
            giants: 0,
            weights: 1.0,
            rotated: 0,
            decomposed: 0,
        };
        let mut giants = BTreeSet::new();
        let (mut weights, mut all) = (0, 0);
        for (rotations, count) in inputs {
            let mut babies = BTreeSet::new();
            let mut own = BTreeSet::new();
            for rotation in rotations {
                let place = split.of(*rotation, packing);
                giants.insert((place.outer, place.inner));
                own.insert(Place { imaginary: false, ..place });
                for (set, r) in
                    [(&mut babies, place.baby), (&mut split.inner, place.inner), (&mut split.outer, place.outer)]
                {
                    if r != 0 {
                        set.insert(r);
                    }
                }
            }
            weights += count * own.len();
            all += count * rotations.len();
            split.rotated += count * babies.len();
            split.decomposed += if babies.is_empty() { 0 } else { *count };
            split.babies.extend(babies);
        }
        split.weights = weights as f64 / all.max(1) as f64;
        split.giants = giants.iter().filter(|(_, inner)| *inner != 0).count() + split.outer.len();
        split
    }

    /// All rotations are babies: what is done without the pass.
    #[must_use]
    pub fn none(inputs: &Inputs, packing: &Packing) -> Self {
        Self::new(inputs, packing, (0, 0), true)
    }

    /// The same split with its inner giants in pairs, and with its rows in pairs, where there are two or more.
    fn paired(&self, inputs: &Inputs, packing: &Packing) -> impl Iterator<Item = Self> {
        let rows: BTreeSet<i64> = inputs.keys().flatten().map(|r| r.rows).collect();
        let inner: BTreeSet<i64> = self.inner.iter().copied().chain([0]).collect();
        [(true, rows), (false, inner)].into_iter().filter_map(|(rows, giants)| {
            let giants: Vec<i64> = giants.into_iter().collect();
            let from = *giants.get(giants.len().div_ceil(2))?;
            let pairs = Pairs { rows, from, distance: packing.canonical(from - giants[0]) };
            Some(Self::with(inputs, packing, (self.block, self.offset), self.hoisted_rows, Some(pairs)))
        })
    }

    fn of(&self, rotation: Rotation, packing: &Packing) -> Place {
        if self.block == 0 {
            let baby = packing.canonical(rotation.rows + rotation.rest);
            return Place { outer: 0, inner: 0, baby, imaginary: false };
        }
        let baby = (rotation.rest + self.offset).rem_euclid(self.block) - self.offset;
        let (mut rows, mut inner, mut imaginary) = (rotation.rows, packing.canonical(rotation.rest - baby), false);
        if let Some(pairs) = self.pairs {
            let giant = if pairs.rows { &mut rows } else { &mut inner };
            if *giant >= pairs.from {
                *giant = packing.canonical(*giant - pairs.distance);
                imaginary = true;
            }
        }
        if self.hoisted_rows {
            Place { outer: 0, inner, baby: packing.canonical(rows + baby), imaginary }
        } else {
            Place { outer: rows, inner, baby: packing.canonical(baby), imaginary }
        }
    }

    /// Whether giants are paired.
    #[must_use]
    pub fn is_paired(&self) -> bool {
        self.pairs.is_some()
    }

    /// What keys are needed for.
    pub fn keys(&self) -> impl Iterator<Item = KeyKind> {
        self.plan().keys().collect::<BTreeSet<_>>().into_iter()
    }

    /// The rotations.
    fn plan(&self) -> Bsgs {
        let list = |set: &BTreeSet<i64>| -> Vec<i64> { std::iter::once(0).chain(set.iter().copied()).collect() };
        Bsgs {
            babies: list(&self.babies),
            inner: list(&self.inner),
            outer: list(&self.outer),
            pair: self.pairs.map(|p| p.distance),
        }
    }

    /// The plan, and the diagonals in the order of a [`crate::Linear`]; `masks` has the mask of each diagonal, or is empty.
    #[must_use]
    pub fn emit(&self, diagonals: &Diagonals, masks: &[Option<u16>], packing: &Packing) -> (Bsgs, Vec<Diagonal>) {
        let plan = self.plan();
        let index = |list: &[i64]| -> BTreeMap<i64, u16> { list.iter().zip(0u16..).map(|(r, i)| (*r, i)).collect() };
        let (babies, inner, outer) = (index(&plan.babies), index(&plan.inner), index(&plan.outer));
        let mut out: Vec<Diagonal> = diagonals
            .iter()
            .zip(masks.iter().copied().chain(std::iter::repeat(None)))
            .map(|((&(o, i, rotation), values), mask)| {
                let place = self.of(rotation, packing);
                Diagonal {
                    output: o as u32,
                    input: i as u32,
                    outer: outer.get(&place.outer).copied().unwrap_or(0),
                    inner: inner.get(&place.inner).copied().unwrap_or(0),
                    baby: babies.get(&place.baby).copied().unwrap_or(0),
                    imaginary: place.imaginary,
                    mask,
                    values: values.iter().map(|v| *v as f32).collect(),
                }
            })
            .collect();
        out.sort_by_key(|d| (d.place(), d.imaginary));
        (plan, out)
    }
}

/// What taking pairs apart costs, in giants.
const APART: f64 = 1.4;

/// Splits worth considering: the best for every relative cost of babies, giants and keys. Giants may be in `pairs`.
#[must_use]
pub fn candidates(inputs: &Inputs, packing: &Packing, pairs: bool) -> Vec<Split> {
    let rests = || inputs.keys().flatten().map(|r| r.rest);
    let (low, high) = (rests().min().unwrap_or(0).min(0), rests().max().unwrap_or(0).max(0));
    // Splits with more babies than this need too many keys to be considered.
    let widest = (high - low + 1).min(128);
    // By baby rotations, giants, keys, and whether these are pairs.
    let mut all: BTreeMap<(usize, usize, usize, bool), Split> = BTreeMap::new();
    for block in 1..=widest {
        // Tilings that start at the lowest rotation, or have it in the middle of a block.
        for offset in BTreeSet::from([(-low).rem_euclid(block), block / 2, 0]) {
            for hoisted_rows in [false, true] {
                let split = Split::new(inputs, packing, (block, offset), hoisted_rows);
                let paired: Vec<Split> = if pairs { split.paired(inputs, packing).collect() } else { Vec::new() };
                for split in std::iter::once(split).chain(paired).filter(|s| s.babies.len() <= MAX_BABIES) {
                    let place = (split.rotated, split.giants, split.keys().count(), split.is_paired());
                    all.entry(place).or_insert(split);
                }
            }
        }
    }
    let mut kept = BTreeSet::new();
    for giant in [1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0] {
        for key in [0.0, 0.3, 1.0, 3.0, 10.0, 30.0] {
            let cost = |(babies, giants, keys, paired): &(usize, usize, usize, bool)| {
                let apart = if *paired { APART } else { 0.0 };
                *babies as f64 + giant * (*giants as f64 + apart) + key * *keys as f64
            };
            kept.extend(all.keys().min_by(|a, b| cost(a).total_cmp(&cost(b))).copied());
        }
    }
    all.into_iter().filter(|(place, _)| kept.contains(place)).map(|(_, split)| split).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circuit::{Affine, Circuit, Grid, Kernel, Operation, Term, Value};

    /// A convolution from `channels.0` to `channels.1` channels on 8 x 8 pixels.
    fn convolution(channels: (usize, usize), stride: usize) -> (Circuit, Value, Affine) {
        let value = |channels, positions, operation| Value {
            nodes: vec![],
            channels,
            positions,
            plane: None,
            pooled: false,
            logits: false,
            operation,
        };
        let taps: Vec<i64> = (-1..=1).flat_map(|dr| (-1..=1).map(move |dc| 8 * dr + dc)).collect();
        let weights = vec![1.0; 9 * channels.0 * channels.1];
        let kernel = Kernel::Dense { stride, taps, inputs: channels.0, weights };
        let affine = Affine::new(vec![Term { source: 0, kernel }], vec![0.0; channels.1]);
        let input = value(channels.0, 64, Operation::Input((0..channels.0).map(|c| (c, 0)).collect()));
        let output = value(channels.1, 64 / stride, Operation::Affine(affine.clone()));
        let grid = Grid { pitch: 8, positions: 64 };
        (Circuit { values: vec![input, output.clone()], output: 1, grid, others: vec![] }, output, affine)
    }

    #[test]
    fn every_diagonal_is_covered_once() {
        for (channels, stride) in [((4, 4), 1), ((16, 16), 1), ((8, 16), 2), ((40, 24), 1), ((1, 3), 1), ((3, 40), 2)] {
            let (circuit, value, affine) = convolution(channels, stride);
            // 16 channels a ciphertext at 64 positions.
            let packing = Packing::new(&circuit, 11).unwrap();
            let diagonals = packing.diagonals(&circuit, &value, &affine);
            let inputs = inputs(&diagonals);
            let mut splits = candidates(&inputs, &packing, false);
            assert!(!splits.is_empty() && splits.len() <= 42);
            assert!(!splits.iter().any(Split::is_paired));
            let paired = candidates(&inputs, &packing, true);
            assert!(paired.iter().any(Split::is_paired));
            splits.extend(paired);
            splits.push(Split::none(&inputs, &packing));
            for split in splits {
                let (plan, emitted) = split.emit(&diagonals, &[], &packing);
                assert!(emitted.iter().any(|d| d.imaginary) == split.is_paired());
                assert_eq!(emitted.len(), diagonals.len());
                let total = |d: &Diagonal| {
                    let rotation = plan.giant(d) + plan.babies[d.baby as usize];
                    (d.output as usize, d.input as usize, packing.canonical(rotation))
                };
                let covered: BTreeSet<_> = emitted.iter().map(total).collect();
                let wanted: BTreeSet<_> =
                    diagonals.keys().map(|(o, i, r)| (*o, *i, packing.canonical(r.rows + r.rest))).collect();
                assert_eq!(covered, wanted);
                assert_eq!(covered.len(), diagonals.len());
                for (d, values) in emitted.iter().map(|d| (d, &d.values)) {
                    let (o, i, r) = total(d);
                    let source = diagonals
                        .iter()
                        .find(|((a, b, x), _)| (*a, *b, packing.canonical(x.rows + x.rest)) == (o, i, r));
                    let source = source.unwrap().1;
                    assert!(source.iter().zip(values).all(|(s, v)| (s - f64::from(*v)).abs() < 1e-6));
                }
            }
        }
    }

    #[test]
    fn giants_save_keys() {
        let (circuit, value, affine) = convolution((16, 16), 1);
        let packing = Packing::new(&circuit, 11).unwrap();
        let inputs = inputs(&packing.diagonals(&circuit, &value, &affine));
        let all = Split::none(&inputs, &packing).keys().count();
        assert_eq!(all, 3 * 63 - 1);
        let fewest = candidates(&inputs, &packing, false).iter().map(|s| s.keys().count()).min().unwrap();
        assert!(fewest < 20, "{fewest}");
    }
}
