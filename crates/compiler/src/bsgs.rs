//! Baby-step giant-step: splitting rotations into babies, which share one decomposition, and giants.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use umbra_ckks::{Bsgs, Diagonal, KeyKind};

use crate::options::{CompileOptions, Pass};
use crate::packing::{Diagonals, Packing, Rotation, Tilings};

/// Babies of a split at most, but for the one without giants.
const MAX_BABIES: usize = 160;

/// A way to split the rotations of one affine map: `rest = inner + baby` with babies in `[-offset, block - offset)` and
/// inner giants at multiples of `block`; rows of pixels are the outer giants. With complex packing, half of them are
/// those of the other half and a distance, and have the imaginary parts of weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    block: i64,
    offset: i64,
    /// Whether rows are part of the babies: more of them, and fewer giants.
    hoisted_rows: bool,
    complex: Option<ComplexGiants>,
    /// Nonzero babies, inner and outer giants.
    pub babies: BTreeSet<i64>,
    /// See [`Self::babies`].
    pub inner: BTreeSet<i64>,
    /// See [`Self::babies`].
    pub outer: BTreeSet<i64>,
    /// Key switches of giants, for one ciphertext of the result, but for those of real/imaginary extraction.
    pub giants: usize,
    /// Weights in place of each rotation: less than one where weights are complex.
    pub weights: f64,
    /// Baby rotations over all ciphertexts read.
    pub rotated: usize,
    /// Ciphertexts read that are rotated at all.
    pub decomposed: usize,
}

/// Which giants have the imaginary parts, with complex packing of giant steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ComplexGiants {
    /// Whether rows are packed so, or else inner giants.
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
    pub fn new(inputs: &Inputs, packing: &dyn Packing, (block, offset): (i64, i64), hoisted_rows: bool) -> Self {
        Self::with(inputs, packing, (block, offset), hoisted_rows, None)
    }

    fn with(
        inputs: &Inputs,
        packing: &dyn Packing,
        (block, offset): (i64, i64),
        hoisted_rows: bool,
        complex: Option<ComplexGiants>,
    ) -> Self {
        let mut split = Self {
            block,
            offset,
            hoisted_rows,
            complex,
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
    pub fn none(inputs: &Inputs, packing: &dyn Packing) -> Self {
        Self::new(inputs, packing, (0, 0), true)
    }

    /// The same split with complex packing of its inner giants, and of its rows, where there are two or more.
    fn complex(&self, inputs: &Inputs, packing: &dyn Packing) -> impl Iterator<Item = Self> {
        let rows: BTreeSet<i64> = inputs.keys().flatten().map(|r| r.rows).collect();
        let inner: BTreeSet<i64> = self.inner.iter().copied().chain([0]).collect();
        [(true, rows), (false, inner)].into_iter().filter_map(|(rows, giants)| {
            let giants: Vec<i64> = giants.into_iter().collect();
            let from = *giants.get(giants.len().div_ceil(2))?;
            let complex = ComplexGiants { rows, from, distance: packing.canonical(from - giants[0]) };
            Some(Self::with(inputs, packing, (self.block, self.offset), self.hoisted_rows, Some(complex)))
        })
    }

    fn of(&self, rotation: Rotation, packing: &dyn Packing) -> Place {
        if self.block == 0 {
            let baby = packing.canonical(rotation.rows + rotation.rest);
            return Place { outer: 0, inner: 0, baby, imaginary: false };
        }
        let baby = (rotation.rest + self.offset).rem_euclid(self.block) - self.offset;
        let (mut rows, mut inner, mut imaginary) = (rotation.rows, packing.canonical(rotation.rest - baby), false);
        if let Some(complex) = self.complex {
            let giant = if complex.rows { &mut rows } else { &mut inner };
            if *giant >= complex.from {
                *giant = packing.canonical(*giant - complex.distance);
                imaginary = true;
            }
        }
        if self.hoisted_rows {
            Place { outer: 0, inner, baby: packing.canonical(rows + baby), imaginary }
        } else {
            Place { outer: rows, inner, baby: packing.canonical(baby), imaginary }
        }
    }

    /// Whether giant steps are packed in complex numbers.
    #[must_use]
    pub fn is_complex(&self) -> bool {
        self.complex.is_some()
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
            imaginary_steps: self.complex.map(|p| p.distance),
        }
    }

    /// The plan, and the diagonals in the order of a [`umbra_program::Linear`]; `masks` has the mask of each diagonal,
    /// or is empty.
    #[must_use]
    pub fn emit(&self, diagonals: &Diagonals, masks: &[Option<u16>], packing: &dyn Packing) -> (Bsgs, Vec<Diagonal>) {
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

impl fmt::Display for Split {
    /// The rotations of each kind, but for the one by 0.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |set: &BTreeSet<i64>| match set.len() {
            0 => "none".into(),
            _ => set.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        };
        write!(
            f,
            "baby steps {}; inner giant steps {}; outer giant steps {}",
            list(&self.babies),
            list(&self.inner),
            list(&self.outer)
        )?;
        match self.complex {
            Some(complex) => write!(f, "; imaginary parts {} further", complex.distance),
            None => Ok(()),
        }
    }
}

/// The splits to choose from for some rotations, whatever keys they need.
#[must_use]
pub fn splits(inputs: &Inputs, packing: &dyn Packing, options: &CompileOptions) -> Vec<Split> {
    if options.has(Pass::Bsgs) {
        candidates(inputs, packing, options.has(Pass::ComplexGiants))
    } else {
        vec![Split::none(inputs, packing)]
    }
}

/// What real/imaginary extraction costs, in giants.
const EXTRACTION: f64 = 1.4;

/// Splits worth considering: the best for every relative cost of babies, giants and keys. `complex` allows complex
/// packing, where the packing has use for that.
#[must_use]
pub fn candidates(inputs: &Inputs, packing: &dyn Packing, complex: bool) -> Vec<Split> {
    // By baby rotations, giants, keys, and whether giants are packed.
    let mut all: BTreeMap<(usize, usize, usize, bool), Split> = BTreeMap::new();
    visit(inputs, packing, complex, |split| {
        let place = (split.rotated, split.giants, split.keys().count(), split.is_complex());
        all.entry(place).or_insert(split);
    });
    let mut kept = BTreeSet::new();
    for giant in [1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0] {
        for key in [0.0, 0.3, 1.0, 3.0, 10.0, 30.0] {
            let cost = |(babies, giants, keys, complex): &(usize, usize, usize, bool)| {
                let extraction = if *complex { EXTRACTION } else { 0.0 };
                *babies as f64 + giant * (*giants as f64 + extraction) + key * *keys as f64
            };
            kept.extend(all.keys().min_by(|a, b| cost(a).total_cmp(&cost(b))).copied());
        }
    }
    all.into_iter().filter(|(place, _)| kept.contains(place)).map(|(_, split)| split).collect()
}

/// All splits that need no other keys than those that `has` knows of.
#[must_use]
pub fn with_keys(inputs: &Inputs, packing: &dyn Packing, complex: bool, has: impl Fn(KeyKind) -> bool) -> Vec<Split> {
    let mut found = Vec::new();
    visit(inputs, packing, complex, |split| {
        if split.keys().all(&has) {
            found.push(split);
        }
    });
    found
}

/// Makes the splits that a packing has use for, of all sizes. `complex` allows complex packing, where the packing has
/// use for that.
fn visit(inputs: &Inputs, packing: &dyn Packing, complex: bool, mut visit: impl FnMut(Split)) {
    match packing.tilings() {
        Tilings::All => {}
        Tilings::Taps => return visit(Split::new(inputs, packing, (1, 0), true)),
    }
    let complex = complex && packing.packs_giants();
    let rests = || inputs.keys().flatten().map(|r| r.rest);
    let (low, high) = (rests().min().unwrap_or(0).min(0), rests().max().unwrap_or(0).max(0));
    // Splits with more babies than this need too many keys to be considered.
    let widest = (high - low + 1).min(128);
    for block in 1..=widest {
        // Tilings that start at the lowest rotation, or have it in the middle of a block.
        for offset in BTreeSet::from([(-low).rem_euclid(block), block / 2, 0]) {
            for hoisted_rows in [false, true] {
                let split = Split::new(inputs, packing, (block, offset), hoisted_rows);
                let complex: Vec<Split> = if complex { split.complex(inputs, packing).collect() } else { Vec::new() };
                std::iter::once(split).chain(complex).filter(|s| s.babies.len() <= MAX_BABIES).for_each(&mut visit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packing::{Channel, Multiplexed, Wanted, diagonals};
    use crate::testing::{affine, circuit, dense, input, ring};

    /// The diagonals of a 3 x 3 convolution from `channels.0` to `channels.1` channels on 8 x 8 pixels, 16 channels a
    /// ciphertext.
    fn convolution(channels: (usize, usize), stride: usize) -> (Multiplexed, Diagonals) {
        let taps: Vec<i64> = (-1..=1).flat_map(|dr| (-1..=1).map(move |dc| 8 * dr + dc)).collect();
        let weights = vec![1.0; 9 * channels.0 * channels.1];
        let affine = affine(vec![dense(0, stride, &taps, channels.0, weights)], &vec![0.0; channels.1]);
        let values = vec![ring(channels.0, 64, input(channels.0)), ring(channels.1, 64 / stride, affine)];
        let circuit = circuit(8, 64, values);
        let packing = Multiplexed::new(&circuit, &Wanted::at(11)).unwrap();
        (packing, diagonals(&packing, &circuit).remove(1))
    }

    #[test]
    fn rotations_are_split_as_by_hand() {
        // A row of three pixels of four channels above, the same row, and that below; rows are 32 slots.
        let rotations = [-32, 0, 32].into_iter().flat_map(|rows| [-4, 0, 4].map(|rest| Rotation { rows, rest }));
        let inputs = Inputs::from([(rotations.collect(), 1)]);
        let (packing, _) = convolution((4, 4), 1);
        let split = |block, hoisted| Split::new(&inputs, &packing, block, hoisted);
        let text = |split: Split| format!("{split}, {} {} {}", split.rotated, split.giants, split.decomposed);
        assert_eq!(
            text(split((16, 8), false)),
            "baby steps -4 4; inner giant steps none; outer giant steps -32 32, 2 2 1"
        );
        assert_eq!(
            text(split((4, 0), false)),
            "baby steps none; inner giant steps -4 4; outer giant steps -32 32, 0 8 0"
        );
        assert_eq!(
            text(split((4, 0), true)),
            "baby steps -32 32; inner giant steps -4 4; outer giant steps none, 2 2 1"
        );
        assert_eq!(
            text(Split::none(&inputs, &packing)),
            "baby steps -36 -32 -28 -4 4 28 32 36; inner giant steps none; outer giant steps none, 8 0 1"
        );
        // The second half of three rows is the last one: it is 64 slots from the first.
        let complex: Vec<String> = split((16, 8), false).complex(&inputs, &packing).map(text).collect();
        assert_eq!(
            complex,
            ["baby steps -4 4; inner giant steps none; outer giant steps -32; imaginary parts 64 further, 2 1 1"]
        );
        let complex = split((16, 8), false).complex(&inputs, &packing).next().unwrap();
        // The middle row has no second one: nine weights are six.
        assert_eq!((complex.is_complex(), complex.weights), (true, 6.0 / 9.0));
        let keys: Vec<KeyKind> = complex.keys().collect();
        assert!(keys.contains(&KeyKind::Conjugate(64)) && keys.contains(&KeyKind::Rotate(-32)) && keys.len() == 6);
    }

    #[test]
    fn one_channel_per_ciphertext_has_one_split() {
        let taps = [-2, -1, 0, 1, 2];
        let affine = affine(vec![dense(0, 1, &taps, 1, vec![1.0; 5])], &[0.0]);
        let circuit = circuit(2, 4, vec![ring(1, 4, input(1)), ring(1, 4, affine)]);
        let packing = Channel::new(&circuit, &Wanted::at(5)).unwrap();
        let inputs = inputs(&diagonals(&packing, &circuit)[1]);
        let splits: Vec<String> = candidates(&inputs, &packing, true).iter().map(Split::to_string).collect();
        // Two to the left is two to the right on four positions.
        assert_eq!(splits, ["baby steps -4 4 8; inner giant steps none; outer giant steps none"]);
    }

    #[test]
    fn every_diagonal_is_covered_once() {
        for (channels, stride) in [((4, 4), 1), ((16, 16), 1), ((8, 16), 2), ((40, 24), 1), ((1, 3), 1), ((3, 40), 2)] {
            let (packing, diagonals) = convolution(channels, stride);
            let inputs = inputs(&diagonals);
            let mut splits = candidates(&inputs, &packing, false);
            assert!(!splits.is_empty() && splits.len() <= 42);
            assert!(!splits.iter().any(Split::is_complex));
            let complex = candidates(&inputs, &packing, true);
            assert!(complex.iter().any(Split::is_complex));
            splits.extend(complex);
            splits.push(Split::none(&inputs, &packing));
            for split in splits {
                let (plan, emitted) = split.emit(&diagonals, &[], &packing);
                assert!(emitted.iter().any(|d| d.imaginary) == split.is_complex());
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
        let (packing, diagonals) = convolution((16, 16), 1);
        let inputs = inputs(&diagonals);
        let all = Split::none(&inputs, &packing).keys().count();
        assert_eq!(all, 3 * 63 - 1);
        let fewest = candidates(&inputs, &packing, false).iter().map(|s| s.keys().count()).min().unwrap();
        assert!(fewest < 20, "{fewest}");
    }
}
