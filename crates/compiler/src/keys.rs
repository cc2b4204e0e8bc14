//! Which gadget serves which levels, and which baby-step giant-step splits share their keys.
//!
//! Levels are cut into ranges, each with a gadget and keys of its own, by dynamic programming over the cuts. Within a
//! range, convolutions of the same shape use the same split, chosen by coordinate descent on CPU-seconds plus a price
//! for key bytes.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;
use umbra_ckks::{Gadget, GadgetLiteral, KeyId, KeyKind, Level, ParametersLiteral, log2_of};

use crate::bsgs::Split;
use crate::chain::Chain;
use crate::cost::{CostModel, SwitchSize, Work};
use crate::gadgets::{self, Gadgets, digits_at};

/// A price at which nothing but key bytes counts, CPU-seconds a byte.
const HIGHEST_PRICE: f64 = 1e-5;
/// Prices that are tried for the smallest keys.
const PRICES: i32 = 16;

/// What a step costs, before gadgets and splits are chosen.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Level at which it works.
    pub level: usize,
    /// Primes that its rescale drops and adds.
    pub changes: (usize, usize),
    /// What it does.
    pub kind: ShapeKind,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum ShapeKind {
    /// Squares of so many ciphertexts.
    Square(usize),
    /// A linear transform.
    Linear {
        /// Index of its splits.
        class: usize,
        /// Ciphertexts written.
        outputs: usize,
        /// Number of diagonals.
        diagonals: usize,
        /// Transforms of a limb that making its weights takes, for each limb: 0 where they are made beforehand.
        encoding: f64,
    },
    /// Rotations of so many ciphertexts, a step for each list, each rotation with a decomposition of its own.
    Rotations(Vec<Vec<i64>>, usize),
}

impl Shape {
    /// The keys that the step needs with a split of its class.
    pub fn keys<'a>(&'a self, classes: &'a [Vec<Split>], split: usize) -> Box<dyn Iterator<Item = KeyKind> + 'a> {
        match &self.kind {
            ShapeKind::Square(_) => Box::new(std::iter::once(KeyKind::Relinearize)),
            ShapeKind::Rotations(rotations, _) => Box::new(rotations.iter().flatten().map(|r| KeyKind::Rotate(*r))),
            ShapeKind::Linear { class, .. } => Box::new(classes[*class][split].keys()),
        }
    }
}

/// The choice for all levels.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Gadgets in use.
    pub gadgets: Vec<GadgetLiteral>,
    /// Per level, its gadget.
    pub of_level: Vec<usize>,
    /// Per step, the index of its split (0 where it has none).
    pub splits: Vec<usize>,
    /// CPU-seconds of all steps.
    pub seconds: f64,
    /// Bytes of all keys in a file.
    pub key_bytes: f64,
}

/// What the search works on.
#[derive(Debug)]
pub struct Search<'a> {
    /// The levels.
    pub chain: &'a Chain,
    /// The chain's primes, and more special ones.
    pub pool: &'a [u32],
    /// Base-2 logarithm of the ring degree.
    pub log_n: u32,
    /// The largest modulus that is secure.
    pub limit: f64,
    /// Bits by which digits may exceed the special primes: at the highest level, and below.
    pub excess: (f64, f64),
    /// The steps.
    pub shapes: &'a [Shape],
    /// Per class, the splits to choose from.
    pub classes: &'a [Vec<Split>],
    /// Rates.
    pub model: &'a CostModel,
}

/// A gadget for a range of levels, and what every split costs with it.
#[derive(Clone, Debug)]
struct Range {
    gadget: GadgetLiteral,
    /// CPU-seconds and key bytes that do not depend on splits.
    seconds: f64,
    key_bytes: f64,
    /// Per class that occurs: highest level, and CPU-seconds with each split.
    classes: BTreeMap<usize, (usize, Vec<f64>)>,
    /// Bytes of a key by its highest level, from the range's lowest.
    bytes: Vec<f64>,
    low: usize,
}

/// The keys of every split, numbered.
#[derive(Debug)]
struct KeyTable {
    /// Per class, per split.
    of: Vec<Vec<Vec<usize>>>,
    /// Number of different keys.
    count: usize,
}

impl KeyTable {
    fn new(classes: &[Vec<Split>]) -> Self {
        let mut numbers: HashMap<KeyKind, usize> = HashMap::new();
        let mut number = |kind: KeyKind| {
            let next = numbers.len();
            *numbers.entry(kind).or_insert(next)
        };
        let of =
            classes.iter().map(|splits| splits.iter().map(|s| s.keys().map(&mut number).collect()).collect()).collect();
        Self { of, count: numbers.len() }
    }
}

/// The best splits of a range.
#[derive(Clone, Debug)]
struct Chosen {
    splits: BTreeMap<usize, usize>,
    seconds: f64,
    key_bytes: f64,
}

impl Search<'_> {
    /// The fastest choice whose keys take at most `key_limit` bytes; where there is none, one with few key bytes.
    /// `None` where no gadget serves some level.
    #[must_use]
    pub fn run(&self, key_limit: f64) -> Option<Choice> {
        let ranges = self.ranges();
        let keys = KeyTable::new(self.classes);
        let price = self.model.seconds_per_key_gigabyte / 1e9;
        let cheapest = self.cut(&ranges, &keys, price)?;
        if cheapest.key_bytes <= key_limit {
            return Some(cheapest);
        }
        // Key bytes fall as their price rises: bisect its logarithm.
        let (mut low, mut high) = (price.max(1e-12), HIGHEST_PRICE);
        let mut best = self.cut(&ranges, &keys, high)?;
        if best.key_bytes > key_limit {
            return self.smallest(&ranges, &keys, (low, best), key_limit);
        }
        for _ in 0..10 {
            let middle = (low * high).sqrt();
            let choice = self.cut(&ranges, &keys, middle)?;
            if choice.key_bytes <= key_limit {
                (high, best) = (middle, choice);
            } else {
                low = middle;
            }
        }
        Some(best)
    }

    /// The fastest choice within the limit among those at several prices from the lowest up, or the smallest one: key
    /// bytes of ranges are reckoned apart, so that the highest price need not have the smallest keys.
    fn smallest(
        &self,
        ranges: &[Vec<Vec<Range>>],
        keys: &KeyTable,
        (low, highest): (f64, Choice),
        key_limit: f64,
    ) -> Option<Choice> {
        let ratio = (HIGHEST_PRICE / low).powf(1.0 / f64::from(PRICES));
        let mut choices = vec![highest];
        for i in 1..PRICES {
            choices.push(self.cut(ranges, keys, low * ratio.powi(i))?);
        }
        let order = |choice: &Choice| match choice.key_bytes <= key_limit {
            true => (false, choice.seconds),
            false => (true, choice.key_bytes),
        };
        choices.into_iter().min_by(|a, b| order(a).partial_cmp(&order(b)).unwrap_or(Ordering::Equal))
    }

    /// For every range of levels, gadgets with as many digits as it takes; the fewest special primes for each number.
    fn ranges(&self) -> Vec<Vec<Vec<Range>>> {
        let levels = self.chain.levels.len();
        let gadgets = Gadgets::new(self.chain, self.pool, self.limit);
        let from = |low: usize| -> Vec<Vec<Range>> {
            let unions: Vec<Vec<u16>> = (low..levels).map(|high| self.chain.union(low..=high)).collect();
            let of = |high: usize| {
                let unions = &unions[..=high - low];
                let excess = if high + 1 == levels { self.excess.0 } else { self.excess.1 };
                let found = gadgets.candidates((low, high), &unions[high - low], excess);
                found.into_iter().map(|g| self.range((low, high), unions, g)).collect()
            };
            (low..levels).map(of).collect()
        };
        (0..levels).into_par_iter().map(from).collect()
    }

    fn cut(&self, ranges: &[Vec<Vec<Range>>], keys: &KeyTable, price: f64) -> Option<Choice> {
        let levels = ranges.len();
        let chosen: Vec<Vec<Option<(Chosen, &Range)>>> = ranges
            .par_iter()
            .map(|from| from.iter().map(|options| Self::best(options, keys, price)).collect())
            .collect();
        // best[i]: the cheapest choice for the levels below i: its worth, its last range, and where that begins.
        let mut best: Vec<Option<(f64, usize)>> = vec![Some((0.0, 0))];
        for end in 1..=levels {
            let options = (0..end).filter_map(|begin| {
                let (last, _) = chosen[begin][end - 1 - begin].as_ref()?;
                Some((best[begin]?.0 + last.worth(price), begin))
            });
            best.push(options.min_by(|a, b| a.0.total_cmp(&b.0)));
        }
        let mut choice = Choice {
            gadgets: Vec::new(),
            of_level: vec![0; levels],
            splits: vec![0; self.shapes.len()],
            seconds: 0.0,
            key_bytes: 0.0,
        };
        let mut end = levels;
        // Ranges from the highest down.
        while end > 0 {
            let (_, begin) = best[end]?;
            let (own, range) = chosen[begin][end - 1 - begin].as_ref()?;
            choice.of_level[begin..end].fill(choice.gadgets.len());
            for (i, shape) in self.shapes.iter().enumerate().filter(|(_, s)| (begin..end).contains(&s.level)) {
                if let ShapeKind::Linear { class, .. } = shape.kind {
                    choice.splits[i] = own.splits.get(&class).copied().unwrap_or(0);
                }
            }
            choice.seconds += own.seconds;
            choice.gadgets.push(range.gadget.clone());
            end = begin;
        }
        choice.key_bytes = self.key_bytes(&choice);
        Some(choice)
    }

    /// Bytes of all keys that a choice needs.
    #[must_use]
    pub fn key_bytes(&self, choice: &Choice) -> f64 {
        let mut highest: BTreeMap<(Gadget, KeyKind), Level> = BTreeMap::new();
        for (shape, split) in self.shapes.iter().zip(&choice.splits) {
            let (gadget, level) = (Gadget::new(choice.of_level[shape.level]), Level::new(shape.level));
            for kind in shape.keys(self.classes, *split) {
                let highest = highest.entry((gadget, kind)).or_insert(level);
                *highest = level.max(*highest);
            }
        }
        let literal = ParametersLiteral {
            log_n: self.log_n,
            primes: self.pool.to_vec(),
            levels: self.chain.levels.clone(),
            gadgets: choice.gadgets.clone(),
        };
        highest.into_iter().map(|((gadget, kind), level)| KeyId { gadget, kind, level }.bytes(&literal) as f64).sum()
    }

    /// Whether gadgets are secure, and as exact as they have to be, at the levels that they are for.
    #[must_use]
    pub fn allows(&self, choice: &Choice) -> bool {
        let top = self.chain.levels.len() - 1;
        let exact = |(level, gadget): (usize, &usize)| {
            let allowed = if level == top { self.excess.0 } else { self.excess.1 };
            gadgets::excess(&choice.gadgets[*gadget], &self.chain.levels[level], self.pool) <= allowed
        };
        let secure = |gadget: &GadgetLiteral| {
            log2_of(self.pool, gadget.digits.iter().flatten().chain(&gadget.special)) <= self.limit
        };
        choice.of_level.iter().enumerate().all(exact) && choice.gadgets.iter().all(secure)
    }

    fn best<'r>(options: &'r [Range], keys: &KeyTable, price: f64) -> Option<(Chosen, &'r Range)> {
        let each = options.iter().map(|range| (Self::choose(range, keys, price), range));
        each.min_by(|a, b| a.0.worth(price).total_cmp(&b.0.worth(price)))
    }

    /// The size of a key switch at a level.
    #[must_use]
    pub fn size(&self, gadget: &GadgetLiteral, level: usize) -> SwitchSize {
        let primes = &self.chain.levels[level];
        SwitchSize {
            log_n: self.log_n,
            limbs: primes.len(),
            special: gadget.special.len(),
            digits: digits_at(gadget, primes),
        }
    }

    /// What a step does with a gadget and a split.
    #[must_use]
    pub fn work(&self, shape: &Shape, gadget: &GadgetLiteral, split: usize) -> Work {
        let size = self.size(gadget, shape.level);
        let (dropped, added) = shape.changes;
        match &shape.kind {
            ShapeKind::Square(count) => Work::default().plus(size.square(dropped, added), *count as f64),
            ShapeKind::Rotations(rotations, count) => {
                let one = size.decompose().plus(size.product(), 1.0).plus(size.mod_down(2.0, size.special, 0, 0), 1.0);
                Work::default().plus(one, (rotations.iter().flatten().count() * count) as f64)
            }
            ShapeKind::Linear { class, outputs, diagonals, encoding } => {
                let split = &self.classes[*class][split];
                let fixed = self.unsplit(&size, shape.changes, *outputs, *encoding);
                fixed.plus(self.split(&size, (*outputs, *diagonals), split), 1.0)
            }
        }
    }

    /// Of a linear transform, what no split changes.
    fn unsplit(&self, size: &SwitchSize, (dropped, added): (usize, usize), outputs: usize, encoding: f64) -> Work {
        let end = size.mod_down(2.0, size.special, dropped, added);
        let limbs = (size.limbs + size.special) as f64;
        Work { transforms: encoding * limbs, ..Work::default() }.plus(end, outputs as f64)
    }

    /// Of a linear transform, rotations and products.
    fn split(&self, size: &SwitchSize, (outputs, diagonals): (usize, usize), split: &Split) -> Work {
        let extraction = if split.is_complex() { size.giant().plus(size.product(), 2.0) } else { Work::default() };
        Work::default()
            .plus(size.diagonal(), diagonals as f64 * split.weights)
            .plus(size.decompose(), split.decomposed as f64)
            .plus(size.babies(split.rotated, split.babies.len()), 1.0)
            .plus(size.giant(), (split.giants * outputs) as f64)
            .plus(extraction, outputs as f64)
    }

    /// What does not depend on the price of keys. `unions`: for each level of the range, the primes from the lowest up
    /// to it.
    fn range(&self, (low, high): (usize, usize), unions: &[Vec<u16>], gadget: GadgetLiteral) -> Range {
        let bytes = |union: &Vec<u16>| {
            let limbs = digits_at(&gadget, union) * (union.len() + gadget.special.len());
            limbs as f64 * f64::from(self.log_n + 2).exp2()
        };
        let bytes: Vec<f64> = unions.iter().map(bytes).collect();
        let sizes: Vec<SwitchSize> = (low..=high).map(|level| self.size(&gadget, level)).collect();
        let (mut seconds, mut relinearize, mut summed) = (0.0, None, 0.0);
        let mut classes: BTreeMap<usize, (usize, Vec<f64>)> = BTreeMap::new();
        for shape in self.shapes.iter().filter(|s| (low..=high).contains(&s.level)) {
            let size = &sizes[shape.level - low];
            let time = |work: Work| work.seconds(self.model, self.log_n);
            match &shape.kind {
                ShapeKind::Linear { class, outputs, diagonals, encoding } => {
                    let splits = &self.classes[*class];
                    let fixed = time(self.unsplit(size, shape.changes, *outputs, *encoding));
                    let (top, times) = classes.entry(*class).or_insert((shape.level, vec![0.0; splits.len()]));
                    *top = shape.level.max(*top);
                    for (split, t) in splits.iter().zip(times) {
                        *t += fixed + time(self.split(size, (*outputs, *diagonals), split));
                    }
                }
                ShapeKind::Square(_) => {
                    seconds += time(self.work(shape, &gadget, 0));
                    relinearize = relinearize.max(Some(shape.level));
                }
                ShapeKind::Rotations(rotations, _) => {
                    seconds += time(self.work(shape, &gadget, 0));
                    summed += rotations.iter().flatten().count() as f64 * bytes[shape.level - low];
                }
            }
        }
        let key_bytes = relinearize.map_or(0.0, |level| bytes[level - low]) + summed;
        Range { gadget, seconds, key_bytes, classes, bytes, low }
    }

    /// The best splits for a range, by coordinate descent.
    fn choose(range: &Range, keys: &KeyTable, price: f64) -> Chosen {
        let bytes_at = |level: usize| range.bytes[level - range.low];
        let mut splits: BTreeMap<usize, usize> = range
            .classes
            .iter()
            .map(|(class, (top, times))| {
                let cost = |s: usize| times[s] + price * bytes_at(*top) * keys.of[*class][s].len() as f64;
                (*class, (0..times.len()).min_by(|&a, &b| cost(a).total_cmp(&cost(b))).unwrap_or(0))
            })
            .collect();
        // Key bytes of the other classes' rotations are known while one class is varied: highest level plus 1, by
        // rotation.
        let tops_of = |splits: &BTreeMap<usize, usize>, except: Option<usize>| -> Vec<usize> {
            let mut tops = vec![0; keys.count];
            for (class, split) in splits.iter().filter(|(c, _)| Some(**c) != except) {
                let top = range.classes[class].0 + 1;
                keys.of[*class][*split].iter().for_each(|&r| tops[r] = top.max(tops[r]));
            }
            tops
        };
        let classes: Vec<usize> = range.classes.keys().copied().collect();
        for class in classes.iter().cycle().take(if classes.len() > 1 { 2 * classes.len() } else { 0 }) {
            let others = tops_of(&splits, Some(*class));
            let (top, times) = &range.classes[class];
            let more = |r: &usize| match others[*r] {
                0 => bytes_at(*top),
                above if above <= *top => bytes_at(*top) - bytes_at(above - 1),
                _ => 0.0,
            };
            let cost = |s: usize| times[s] + price * keys.of[*class][s].iter().map(more).sum::<f64>();
            let costs: Vec<f64> = (0..times.len()).map(cost).collect();
            if let Some(best) = (0..costs.len()).min_by(|&a, &b| costs[a].total_cmp(&costs[b])) {
                splits.insert(*class, best);
            }
        }
        let seconds: f64 = splits.iter().map(|(c, s)| range.classes[c].1[*s]).sum();
        let tops = tops_of(&splits, None);
        let key_bytes = range.key_bytes + tops.iter().filter(|t| **t > 0).map(|t| bytes_at(t - 1)).sum::<f64>();
        Chosen { seconds: range.seconds + seconds, key_bytes, splits }
    }
}

impl Chosen {
    fn worth(&self, price: f64) -> f64 {
        self.seconds + price * self.key_bytes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use umbra_ring::primes;

    use super::*;
    use crate::bsgs;
    use crate::packing::{Multiplexed, Wanted, diagonals};
    use crate::testing::{TAPS, affine, circuit, dense, input, ring};

    /// Three levels, of two convolutions of the same shape and a square each but the lowest, with the splits of the
    /// convolutions.
    struct Small {
        chain: Chain,
        pool: Vec<u32>,
        shapes: Vec<Shape>,
        classes: Vec<Vec<Split>>,
        model: CostModel,
    }

    impl Small {
        fn new() -> Self {
            let affine = affine(vec![dense(0, 1, &TAPS, 4, vec![1.0; 9 * 16])], &[0.0; 4]);
            let circuit = circuit(4, 16, vec![ring(4, 16, input(4)), ring(4, 16, affine)]);
            let packing = Multiplexed::new(&circuit, &Wanted::at(7)).unwrap();
            let diagonals = diagonals(&packing, &circuit).remove(1);
            let classes = vec![bsgs::candidates(&bsgs::inputs(&diagonals), &packing, true)];
            let mut pool = primes::nearest(13, 30.0, 3, &[]).unwrap();
            pool.extend(primes::nearest(13, 26.0, 1, &pool).unwrap());
            let levels = vec![vec![0, 1], vec![0, 1, 3], vec![0, 1, 2, 3]];
            let chain = Chain { primes: pool.clone(), big: 3, levels };
            pool.extend(primes::nearest(13, 30.0, 2, &pool).unwrap());
            let shape = |level, kind| Shape { level, changes: (1, 0), kind };
            let convolution = || ShapeKind::Linear { class: 0, outputs: 1, diagonals: diagonals.len(), encoding: 0.0 };
            let shapes = vec![
                shape(2, convolution()),
                shape(1, ShapeKind::Square(1)),
                shape(1, convolution()),
                shape(0, ShapeKind::Square(1)),
                shape(0, ShapeKind::Rotations(vec![vec![4], vec![8]], 1)),
            ];
            Self { chain, pool, shapes, classes, model: CostModel::default() }
        }

        fn search(&self) -> Search<'_> {
            Search {
                chain: &self.chain,
                pool: &self.pool,
                log_n: 13,
                limit: 218.0,
                excess: (6.0, 6.0),
                shapes: &self.shapes,
                classes: &self.classes,
                model: &self.model,
            }
        }

        /// Seconds and bytes, counted step by step and key by key.
        fn count(&self, gadgets: &[GadgetLiteral], of_level: &[usize], splits: &[usize]) -> (f64, f64) {
            let search = self.search();
            let mut seconds = 0.0;
            let mut keys: BTreeMap<(usize, KeyKind), usize> = BTreeMap::new();
            for (shape, split) in self.shapes.iter().zip(splits) {
                let gadget = of_level[shape.level];
                seconds += search.work(shape, &gadgets[gadget], *split).seconds(&self.model, 13);
                let needed: BTreeSet<KeyKind> = match &shape.kind {
                    ShapeKind::Square(_) => [KeyKind::Relinearize].into(),
                    ShapeKind::Rotations(lists, _) => lists.iter().flatten().map(|r| KeyKind::Rotate(*r)).collect(),
                    ShapeKind::Linear { class, .. } => self.classes[*class][*split].keys().collect(),
                };
                for kind in needed {
                    let top = keys.entry((gadget, kind)).or_default();
                    *top = shape.level.max(*top);
                }
            }
            let bytes = keys.iter().map(|((gadget, _), top)| {
                let gadget = &gadgets[*gadget];
                let served = self.chain.levels[..=*top].iter().filter(|level| gadget.serves(level));
                let primes: BTreeSet<u16> = served.flatten().copied().collect();
                let primes: Vec<u16> = primes.into_iter().collect();
                let limbs = digits_at(gadget, &primes) * (primes.len() + gadget.special.len());
                limbs as f64 * 15f64.exp2()
            });
            (seconds, bytes.sum())
        }
    }

    #[test]
    fn choices_are_counted_right() {
        let small = Small::new();
        for price in [0.0, 1e-11, 1e-9, 1e-7] {
            let search = small.search();
            let choice = search.cut(&search.ranges(), &KeyTable::new(&small.classes), price).unwrap();
            for (level, primes) in small.chain.levels.iter().enumerate() {
                assert!(choice.gadgets[choice.of_level[level]].serves(primes));
            }
            let (seconds, bytes) = small.count(&choice.gadgets, &choice.of_level, &choice.splits);
            assert!((choice.seconds - seconds).abs() < 1e-9 * seconds, "{} {seconds}", choice.seconds);
            assert_eq!(choice.key_bytes, bytes);
        }
    }

    /// With one class in each range, coordinate descent is exact: nothing is better, wherever levels are cut.
    #[test]
    fn nothing_is_better_than_what_is_chosen() {
        let small = Small::new();
        let search = small.search();
        let ranges = search.ranges();
        let keys = KeyTable::new(&small.classes);
        for price in [0.0, 1e-11, 1e-9, 1e-7] {
            let choice = search.cut(&ranges, &keys, price).unwrap();
            let mut best = f64::INFINITY;
            for cuts in [&[0, 3][..], &[0, 1, 3], &[0, 2, 3], &[0, 1, 2, 3]] {
                let mut sum = 0.0;
                for cut in cuts.windows(2) {
                    let mut cheapest = f64::INFINITY;
                    for range in &ranges[cut[0]][cut[1] - 1 - cut[0]] {
                        for (i, split) in small.classes[0].iter().enumerate() {
                            let of_split = range.classes.get(&0).map_or(0.0, |(top, times)| {
                                times[i] + price * range.bytes[top - range.low] * split.keys().count() as f64
                            });
                            cheapest = cheapest.min(range.seconds + price * range.key_bytes + of_split);
                        }
                    }
                    sum += cheapest;
                }
                best = best.min(sum);
            }
            let found = choice.seconds + price * choice.key_bytes;
            assert!((found - best).abs() < 1e-9 * best, "{price}: {found} {best}");
        }
    }

    #[test]
    fn keys_are_limited_at_the_price_of_time() {
        let small = Small::new();
        let search = small.search();
        let free = search.run(f64::INFINITY).unwrap();
        let limited = search.run(free.key_bytes * 0.8).unwrap();
        assert!(limited.key_bytes <= free.key_bytes * 0.8, "{} {}", limited.key_bytes, free.key_bytes);
        assert!(limited.seconds >= free.seconds && search.allows(&free) && search.allows(&limited));
        // Below the lowest digits' size, or beyond what is secure, nothing is allowed.
        assert!(!Search { excess: (-60.0, -60.0), ..small.search() }.allows(&free));
        assert!(!Search { limit: 100.0, ..small.search() }.allows(&free));
        // What cannot be had comes as close as it may.
        assert!(search.run(1.0).unwrap().key_bytes <= limited.key_bytes);
        // Without room for a special prime there is no gadget.
        assert_eq!(Search { limit: 100.0, ..small.search() }.run(f64::INFINITY), None);
    }
}
