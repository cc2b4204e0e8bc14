//! Tower reuse: levels and scales.
//!
//! One rescale serves a convolution and the square after it: `z` at scale `2^D`, squared `2^2D`, times weights `2^(2D +
//! W)`, rescaled by `D + W` bits to `2^D` (paper, "tower reuse"). Without the pass, squares are rescaled too.
//!
//! How many bits each scale gets is decided by what its rounding does to the logits. The modulus grows by one bit for
//! each bit of any `D` or `W`, so that at the optimum all roundings contribute the same variance.

use crate::circuit::display::Listing;
use crate::circuit::{Affine, Circuit, Kernel, Operation, Term, Value, ValueId, sum_of_squares};
use crate::noise;
use crate::packing::{Diagonals, Packing, sources};
use crate::precision::{Gain, Injected, weight_rounding};

use crate::chain::Chain;

/// Largest deviation that one rounding may add to a value. The prediction is linear in errors: they have to stay small
/// next to values, which are about 1, whatever the logits would bear.
const LARGEST_ROUNDING: f64 = 1.0 / 24.0;
/// Bits that a scale of weights has at least.
const MIN_WEIGHT_BITS: f64 = 6.0;

/// What is done to balance scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// One by one: enough to tell chains apart.
    Quick,
    /// Also two at a time, from scales that are nearly right.
    Near,
    /// As thorough, from any scales, for levels that are given.
    Thorough,
}

impl Effort {
    /// Steps in which scales change, bits.
    fn steps(self) -> &'static [f64] {
        match self {
            Self::Quick | Self::Thorough => &[1.0, 0.5, 0.25, 0.1, 0.05],
            Self::Near => &[0.25, 0.05],
        }
    }

    /// Parts of the logits' variance that a bit of [`Context::strain`] is worth. Errors that are not small next to
    /// values do more than is predicted. Only levels that were made for another network may leave no scales without.
    fn strain_cost(self) -> f64 {
        match self {
            Self::Quick | Self::Near => 30.0,
            Self::Thorough => 0.5,
        }
    }
}

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Level of the value.
    pub level: usize,
    /// Level at which the step that makes it works; rescaled from there to `level`.
    pub works: usize,
    /// Base-2 logarithm of its scale.
    pub bits: f64,
    /// Base-2 logarithm of the scale of its products, before the rescale: affine maps only.
    pub product: f64,
}

/// A circuit with the place of each value: its level, before it that at which its step works where it is rescaled, and
/// its scale.
#[must_use]
pub fn listing<'a>(circuit: &'a Circuit, places: &'a [Place]) -> Listing<'a> {
    circuit.listing(|id| {
        let Place { level, works, bits, .. } = places[id];
        if works > level { format!("level {works}>{level} 2^{bits:.1}") } else { format!("level {level} 2^{bits:.1}") }
    })
}

/// A rounding, at scale 1.
#[derive(Clone, Copy, Default)]
struct Rounding {
    /// Variance of the error it adds to the value that is being made.
    local: f64,
    /// Variance of the error it adds to a logit.
    logit: f64,
}

impl Rounding {
    /// Base-2 logarithm of the scale at which it adds `share` to a logit's variance and not much to the value itself.
    fn bits(self, share: f64) -> f64 {
        let balanced = 0.5 * (self.logit / share).log2();
        let local = 0.5 * self.local.log2() - LARGEST_ROUNDING.log2();
        balanced.max(local).clamp(0.0, 60.0)
    }
}

/// What is known before levels are assigned.
#[derive(Debug)]
pub struct Context<'a> {
    /// The circuit: affine maps, bare squares and sums.
    pub circuit: &'a Circuit,
    /// Its packing.
    pub packing: &'a dyn Packing,
    /// Base-2 logarithm of the ring degree.
    pub log_n: u32,
    /// Whether a convolution and its square share a rescale.
    pub tower_reuse: bool,
    /// What errors do to the logits, and how large values are.
    pub gains: &'a [Gain],
    /// Per value, variance of its products' error through weights rounded to integers, at weight scale 1.
    pub weight_noise: &'a [f64],
    /// Largest magnitude of a logit that must not overflow.
    pub largest_logit: f64,
    /// Bits by which digits may exceed the special primes at the highest level.
    pub excess: f64,
    /// 2 where weights may be complex, else 1: errors are complex, and then both parts of them reach the logits. (The
    /// parts of a complex weight have half the scale that a real one would, and half the variance where they are
    /// rounded.)
    pub parts: f64,
}

impl Context<'_> {
    fn is_rescaled_affine(&self, id: ValueId) -> bool {
        id != self.circuit.output && matches!(self.circuit.values[id].operation, Operation::Affine(_))
    }

    /// Levels, as low as readers allow. Scales are not yet set.
    #[must_use]
    pub fn place(&self) -> Vec<Place> {
        let circuit = self.circuit;
        let mut places = vec![Place { level: 0, works: 0, bits: 0.0, product: 0.0 }; circuit.values.len()];
        for (id, value) in circuit.values.iter().enumerate().rev() {
            let rescaled = match &value.operation {
                Operation::Affine(_) => self.is_rescaled_affine(id),
                Operation::Square(_) => !self.tower_reuse,
                _ => false,
            };
            let works = places[id].level + usize::from(rescaled);
            places[id].works = works;
            for source in value.operation.sources() {
                places[source].level = places[source].level.max(works);
            }
        }
        places
    }

    /// What is rounded when a value is made: the value itself, and the weights that made it.
    fn roundings_of(&self, id: ValueId) -> [Rounding; 2] {
        let gain = &self.gains[id];
        let none = Rounding::default();
        let of_value =
            |variance: f64, gain: f64| Rounding { local: self.parts * variance, logit: self.parts * variance * gain };
        let value = &self.circuit.values[id];
        match &value.operation {
            Operation::Input(_) => {
                let switch = noise::key_switch(self.log_n, 1, self.excess);
                [of_value(noise::fresh(self.log_n).powi(2) + switch * switch, gain.value), none]
            }
            Operation::Affine(_) => {
                let rounding = self.parts * weight_rounding(self.packing, value).powi(2);
                let logit = gain.weights.iter().sum::<f64>() * rounding;
                let weights = Rounding { local: self.parts * self.weight_noise[id], logit };
                if id == self.circuit.output {
                    // Logits are as large as they like.
                    return [none, Rounding { local: 0.0, logit }];
                }
                // Without tower reuse, its square is rounded at the same scale.
                let values = self.circuit.values.iter().zip(self.gains);
                let squares = values.filter(|(v, _)| !self.tower_reuse && v.operation == Operation::Square(id));
                let more: f64 = squares.map(|(_, g)| g.value).sum();
                [of_value(noise::rescale(self.log_n).powi(2), gain.value + more), weights]
            }
            _ => [none, none],
        }
    }

    /// Number of roundings that are balanced against each other.
    #[must_use]
    pub fn roundings(&self) -> usize {
        let all = (0..self.circuit.values.len()).flat_map(|id| self.roundings_of(id));
        all.filter(|r| r.logit > 0.0).count()
    }

    /// Sets scales so that every rounding adds the variance `share` to a logit, or less.
    pub fn allot(&self, places: &mut [Place], share: f64) {
        for (id, value) in self.circuit.values.iter().enumerate() {
            let [own, weights] = self.roundings_of(id).map(|r| r.bits(share));
            let read = value.operation.sources().iter().map(|s| places[*s].bits).fold(0.0, f64::max);
            let place = &mut places[id];
            match &value.operation {
                Operation::Input(_) => place.bits = own,
                Operation::Affine(_) => {
                    // The logits are divided by the number of positions: their weights are small, and so is what they
                    // round.
                    place.product = read + weights.max(MIN_WEIGHT_BITS);
                    place.bits = if id == self.circuit.output { place.product } else { own };
                }
                Operation::Square(_) => place.bits = if self.tower_reuse { 2.0 * read } else { read },
                Operation::Polynomial(..) | Operation::Sum(..) => place.bits = read,
            }
        }
    }

    /// Bits between the scale of the logits and the lowest modulus.
    #[must_use]
    pub fn headroom(&self) -> f64 {
        // A sign, and the range itself.
        1.0 + self.largest_logit.max(1.0).log2()
    }

    /// The wanted base-2 logarithm of each level's modulus.
    #[must_use]
    pub fn targets(&self, places: &[Place]) -> Vec<f64> {
        let levels = places.iter().map(|p| p.works.max(p.level)).max().unwrap_or(0);
        let mut steps = vec![0.0f64; levels + 1];
        for (id, value) in self.circuit.values.iter().enumerate() {
            let place = places[id];
            if place.works > place.level {
                let before = match &value.operation {
                    Operation::Square(source) => 2.0 * places[*source].bits,
                    _ => place.product,
                };
                // Levels must grow, by more than chains miss their targets.
                steps[place.works] = steps[place.works].max(before - place.bits).max(4.0);
            }
        }
        let mut sum = places[self.circuit.output].product + self.headroom();
        steps
            .iter()
            .map(|s| {
                sum += s;
                sum
            })
            .collect()
    }
}

/// Variance of each affine value's error through weights rounded to integers at scale 1: every diagonal is a plaintext
/// of its own, which multiplies a ciphertext of some mean square.
#[must_use]
pub fn weight_noise(circuit: &Circuit, packing: &dyn Packing, diagonals: &[Diagonals], gains: &[Gain]) -> Vec<f64> {
    let each = circuit.values.iter().zip(diagonals);
    each.map(|(value, diagonals)| {
        let Operation::Affine(affine) = &value.operation else { return 0.0 };
        let squares: Vec<f64> = sources(affine)
            .into_iter()
            .flat_map(|s| std::iter::repeat_n(gains[s].mean_square, packing.ciphertexts(&circuit.values[s])))
            .collect();
        let sum: f64 = diagonals.keys().map(|(_, input, _)| squares.get(*input).copied().unwrap_or(0.0)).sum();
        weight_rounding(packing, value).powi(2) * sum / packing.ciphertexts(value) as f64
    })
    .collect()
}

/// Where a step works at a level whose primes are not all in its operand's, the operand is aligned to it: multiplied
/// by one and rescaled, at a scale where rounding does not matter. Returns the number of alignments.
pub fn align(circuit: &mut Circuit, places: &mut Vec<Place>, gains: &mut Vec<Gain>, chain: &Chain) -> usize {
    let mut alignments = 0;
    let mut id = 0;
    while id < circuit.values.len() {
        let from = places[id].level;
        let reads = |value: &Value| value.operation.sources().contains(&id);
        let reachable = |to: usize| chain.levels[to].iter().all(|p| chain.levels[from].contains(p));
        let mut needed: Vec<usize> = circuit
            .values
            .iter()
            .zip(places.iter())
            .filter(|(v, place)| reads(v) && place.works < from && !reachable(place.works))
            .map(|(_, place)| place.works)
            .collect();
        needed.sort_unstable_by(|a, b| b.cmp(a));
        needed.dedup();
        for level in needed.iter().rev() {
            insert_alignment(circuit, places, id, *level);
            // It does to the logits what its operand does.
            let gain = Gain { weights: vec![0.0], ..gains[id].clone() };
            gains.insert(id + 1, gain);
            alignments += 1;
        }
        id += 1 + needed.len();
    }
    alignments
}

fn insert_alignment(circuit: &mut Circuit, places: &mut Vec<Place>, source: ValueId, level: usize) {
    let at = source + 1;
    let moved = |s: &mut ValueId| *s += usize::from(*s >= at);
    // The other members of an ensemble have the same values in the same places.
    circuit.others.iter_mut().for_each(|other| insert_alignment(other, &mut places.clone(), source, level));
    for (value, place) in circuit.values.iter_mut().zip(places.iter()) {
        let redirect = |s: &mut ValueId| {
            if *s == source && place.works == level {
                *s = at;
            } else {
                moved(s);
            }
        };
        match &mut value.operation {
            Operation::Input(_) => {}
            Operation::Affine(affine) => affine.terms.iter_mut().for_each(|t| redirect(&mut t.source)),
            Operation::Polynomial(s, _) | Operation::Square(s) | Operation::Sum(s, _) => redirect(s),
        }
    }
    moved(&mut circuit.output);
    let read = &circuit.values[source];
    let kernel = Kernel::Diagonal(vec![1.0; read.channels]);
    let affine = Affine::new(vec![Term { source, kernel }], vec![0.0; read.channels]);
    let value = Value { operation: Operation::Affine(affine), logits: false, ..read.clone() };
    let place = Place { level, works: places[source].level, bits: places[source].bits, product: f64::NAN };
    circuit.values.insert(at, value);
    places.insert(at, place);
}

/// How many levels there are.
#[must_use]
pub fn count(places: &[Place]) -> usize {
    places.iter().map(|p| p.works.max(p.level)).max().unwrap_or(0) + 1
}

/// The first value that its level's modulus has no room for, and the bits that it needs. What is not rescaled may
/// overflow as long as the logits do not: sums of residues are as good as sums of numbers.
#[must_use]
pub fn short_of_room(
    context: &Context<'_>,
    circuit: &Circuit,
    gains: &[Gain],
    places: &[Place],
    chain: &Chain,
) -> Option<(ValueId, f64)> {
    let needed = |id: ValueId| {
        if id == circuit.output {
            return places[id].product + context.headroom();
        }
        let rescaled =
            places[id].works > places[id].level || matches!(circuit.values[id].operation, Operation::Input(_));
        if rescaled { places[id].bits + 1.0 + gains[id].largest.max(1.0).log2() } else { 0.0 }
    };
    let all = (0..circuit.values.len()).map(|id| (id, needed(id)));
    // The logits' scale is what leaves them just room enough.
    all.into_iter().find(|(id, needed)| *needed > chain.log_q(places[*id].level) + 1e-6)
}

/// What a chain and a circuit fix for scales.
struct Fixed {
    /// Per value, bits that its rescale divides by.
    rescale: Vec<f64>,
    /// Bits of the logits' scale.
    output: f64,
}

/// Scales that follow from those that may be chosen: of squares and sums, of products (and so of weights) as rescaling
/// needs them.
fn settle(circuit: &Circuit, places: &mut [Place], fixed: &Fixed) {
    for (id, value) in circuit.values.iter().enumerate() {
        let widest = value.operation.sources().iter().map(|s| places[*s].bits).fold(0.0, f64::max);
        let rescale = fixed.rescale[id];
        let place = &mut places[id];
        match &value.operation {
            Operation::Input(_) => {}
            Operation::Affine(_) if id == circuit.output => {
                // All that the lowest modulus has room for, but not absurdly much.
                place.product = fixed.output.clamp(widest, widest + 40.0);
                place.bits = place.product;
            }
            Operation::Affine(_) => {
                if is_alignment(circuit, id) {
                    place.bits = widest;
                }
                // Weights need a scale of at least 1.
                place.product = (place.bits + rescale).max(widest);
                place.bits = place.product - rescale;
            }
            Operation::Square(_) => place.bits = 2.0 * widest - rescale,
            Operation::Polynomial(..) | Operation::Sum(..) => place.bits = widest,
        }
    }
}

/// Scales that make the most of a chain: levels' sizes are given, so what a value's scale gains, the weights that make
/// it gain too, and the weights that read it lose. The variance of the logits is convex in the logarithms of scales;
/// coordinate descent.
pub fn balance(
    context: &Context<'_>,
    circuit: &Circuit,
    gains: &[Gain],
    places: &mut [Place],
    chain: &Chain,
    effort: Effort,
) {
    let readers: Vec<Vec<ValueId>> = (0..circuit.values.len())
        .map(|id| (0..circuit.values.len()).filter(|r| circuit.values[*r].operation.sources().contains(&id)).collect())
        .collect();
    let input = noise::fresh(context.log_n).powi(2) + noise::key_switch(context.log_n, 1, context.excess).powi(2);
    let rescale = noise::rescale(context.log_n).powi(2);
    // Everything whose scale follows from that of `id`, up to the affine maps that read it.
    let affected = |id: ValueId| -> Vec<ValueId> {
        let (mut all, mut open) = (vec![id], vec![id]);
        while let Some(next) = open.pop() {
            for &reader in &readers[next] {
                if !all.contains(&reader) {
                    all.push(reader);
                    if !is_free(circuit, reader) {
                        open.push(reader);
                    }
                }
            }
        }
        all
    };
    let cost = |places: &[Place], ids: &[ValueId]| -> f64 {
        let at = |variance: f64, bits: f64| variance * (-2.0 * bits).exp2();
        ids.iter()
            .map(|&id| {
                let (value, place, gain) = (&circuit.values[id], &places[id], &gains[id]);
                match &value.operation {
                    Operation::Input(_) => gain.value * at(input, place.bits),
                    Operation::Affine(affine) if !is_alignment(circuit, id) => {
                        let rounding = weight_rounding(context.packing, value).powi(2);
                        let each = sources(affine).into_iter().zip(&gain.weights);
                        let weights: f64 = each.map(|(s, g)| g * at(rounding, place.product - places[s].bits)).sum();
                        let own = if place.works > place.level { gain.value * at(rescale, place.bits) } else { 0.0 };
                        own + weights
                    }
                    Operation::Square(_) if place.works > place.level => gain.value * at(rescale, place.bits),
                    _ => 0.0,
                }
            })
            .sum()
    };
    let moves = moves(circuit, effort, affected);
    let fixed = Fixed {
        rescale: places.iter().map(|p| chain.rescale(p.works, p.level)).collect(),
        output: chain.log_q(places[circuit.output].level) - context.headroom(),
    };
    settle(circuit, places, &fixed);
    let everything: Vec<ValueId> = (0..circuit.values.len()).collect();
    for step in effort.steps() {
        let total = cost(places, &everything);
        let worth = |places: &[Place], ids: &[ValueId]| {
            cost(places, ids) + total * effort.strain_cost() * context.strain(circuit, places, ids)
        };
        for _ in 0..60 {
            let mut moved = false;
            for (ids, affected) in &moves {
                let before = worth(places, affected);
                for by in [*step, -step] {
                    let mut trial = places.to_vec();
                    ids.iter().for_each(|(id, part)| trial[*id].bits += part * by);
                    settle(circuit, &mut trial, &fixed);
                    if worth(&trial, affected) < before - 1e-6 * total {
                        places.copy_from_slice(&trial);
                        moved = true;
                        break;
                    }
                }
            }
            if !moved {
                break;
            }
        }
    }
}

/// Scales that are changed at once, and the values that they affect.
type Move = (Vec<(ValueId, f64)>, Vec<ValueId>);

/// Scales that are changed at once, each by so many times a step, with all values that they affect: each alone, and
/// with each of those whose weights make up for it. Alone, a scale that is at its limit stops the others.
fn moves(circuit: &Circuit, effort: Effort, affected: impl Fn(ValueId) -> Vec<ValueId>) -> Vec<Move> {
    let mut moves = Vec::new();
    for id in (0..circuit.values.len()).filter(|id| is_free(circuit, *id)) {
        let own = affected(id);
        let next: Vec<ValueId> = own.iter().copied().filter(|next| *next != id && is_free(circuit, *next)).collect();
        moves.push((vec![(id, 1.0)], own.clone()));
        for next in next.into_iter().filter(|_| effort != Effort::Quick) {
            let mut both = own.clone();
            both.extend(affected(next).into_iter().filter(|id| !own.contains(id)));
            moves.extend([-1.0, 1.0, 2.0].map(|part| (vec![(id, 1.0), (next, part)], both.clone())));
        }
    }
    moves
}

/// Whether a value's scale may be chosen: the image's, and those of rescaled affine maps that are no copies.
fn is_free(circuit: &Circuit, id: ValueId) -> bool {
    match &circuit.values[id].operation {
        Operation::Input(_) => true,
        Operation::Affine(_) => id != circuit.output && !is_alignment(circuit, id),
        _ => false,
    }
}

impl Context<'_> {
    /// Bits that some values' scales lack to keep every rounding small next to values of about 1, and weights at a
    /// sensible scale.
    fn strain(&self, circuit: &Circuit, places: &[Place], ids: &[ValueId]) -> f64 {
        let least = noise::rescale(self.log_n).log2() + self.parts.log2() / 2.0 - LARGEST_ROUNDING.log2();
        ids.iter()
            .map(|&id| match &circuit.values[id].operation {
                Operation::Input(_) => (least - places[id].bits).max(0.0),
                Operation::Affine(affine) => {
                    let weights = affine.terms.iter().map(|t| places[id].product - places[t.source].bits);
                    let lacking = (MIN_WEIGHT_BITS - weights.fold(f64::INFINITY, f64::min)).max(0.0);
                    let own = if id == circuit.output { 0.0 } else { (least - places[id].bits).max(0.0) };
                    lacking + own
                }
                _ => 0.0,
            })
            .sum()
    }

    /// What each step adds to the error of the value it makes.
    #[must_use]
    pub fn injected(
        &self,
        circuit: &Circuit,
        places: &[Place],
        switch: impl Fn(usize) -> SwitchNoise,
    ) -> Vec<Injected> {
        let rescale = noise::rescale(self.log_n).powi(2);
        let at = |variance: f64, bits: f64| variance * (-2.0 * bits).exp2();
        (circuit.values.iter().zip(places).enumerate())
            .map(|(id, (value, place))| {
                let SwitchNoise { digits, excess } = switch(place.works);
                let switched = noise::key_switch(self.log_n, digits, excess).powi(2);
                let mut add = if place.works > place.level { at(rescale, place.bits) } else { 0.0 };
                let mut weights = Vec::new();
                match &value.operation {
                    Operation::Input(_) => add += at(noise::fresh(self.log_n).powi(2), place.bits),
                    Operation::Affine(affine) => {
                        let rounding =
                            if is_alignment(circuit, id) { 0.0 } else { weight_rounding(self.packing, value) };
                        let each = sources(affine).into_iter();
                        weights = each.map(|s| rounding * (places[s].bits - place.product).exp2()).collect();
                        for term in affine.terms.iter().filter(|t| matches!(t.kernel, Kernel::Dense { .. })) {
                            // Every rotated copy has an error of its own; diagonal terms need none.
                            let ones = vec![1.0; circuit.values[term.source].channels];
                            let gains = term.kernel.apply(&ones, sum_of_squares);
                            let gain = gains.iter().sum::<f64>() / gains.len().max(1) as f64;
                            add += at(switched * gain, places[term.source].bits);
                        }
                    }
                    Operation::Square(source) => add += at(switched + rescale, 2.0 * places[*source].bits),
                    Operation::Sum(..) => add += at(switched + rescale, place.bits),
                    Operation::Polynomial(..) => {}
                }
                weights.iter_mut().for_each(|w: &mut f64| *w *= self.parts.sqrt());
                Injected { value: (self.parts * add).sqrt(), weights }
            })
            .collect()
    }
}

/// Bits by which the scale of what is switched exceeds that of the result it goes into, at the least: key switching
/// adds its error at the scale of its operand, rescaling at that of its result. With tower reuse, squares are switched,
/// at twice the bits of the values around them. Images are not counted: the highest level has its own allowance.
#[must_use]
pub fn switch_margin(circuit: &Circuit, places: &[Place]) -> f64 {
    let margin = |(id, value): (ValueId, &Value)| match &value.operation {
        Operation::Affine(affine) if id != circuit.output => (affine.terms.iter())
            .filter(|t| matches!(t.kernel, Kernel::Dense { .. }))
            .filter(|t| !matches!(circuit.values[t.source].operation, Operation::Input(_)))
            .map(|t| places[t.source].bits - places[id].bits)
            .fold(f64::MAX, f64::min),
        Operation::Square(source) if places[id].works > places[id].level => {
            2.0 * places[*source].bits - places[id].bits
        }
        _ => f64::MAX,
    };
    circuit.values.iter().enumerate().map(margin).fold(f64::MAX, f64::min)
}

/// Sizes of key switches in each value: digits' excess over the special primes in bits, and digits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SwitchNoise {
    /// Number of digits.
    pub digits: usize,
    /// Bits by which the largest exceeds the special primes.
    pub excess: f64,
}

/// Whether a value is a copy of another: its one weight is a constant, which is encoded exactly enough.
fn is_alignment(circuit: &Circuit, id: ValueId) -> bool {
    match &circuit.values[id].operation {
        Operation::Affine(Affine { terms, .. }) => {
            matches!(&terms[..], [Term { kernel: Kernel::Diagonal(d), .. }] if d.iter().all(|d| *d == 1.0))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packing::{self, Multiplexed, Wanted};
    use crate::precision;
    use crate::testing::{affine, circuit, dense, diagonal, evaluate, image, input, random, ring};

    /// A convolution, a square, a convolution added to the first one, a square, logits: every value but the image is 2
    /// x 4.
    fn network() -> Circuit {
        let convolution = |source, seed| dense(source, 1, &[0, 1], 2, random(8, seed));
        circuit(
            2,
            4,
            vec![
                ring(2, 4, input(2)),
                ring(2, 4, affine(vec![convolution(0, 1)], &[0.5, 0.0])),
                ring(2, 4, Operation::Square(1)),
                ring(2, 4, affine(vec![convolution(2, 2), diagonal(1, &[0.5, 2.0])], &[0.0, 0.25])),
                ring(2, 4, Operation::Square(3)),
                ring(2, 4, affine(vec![convolution(4, 3)], &[0.0, 1.0])),
            ],
        )
    }

    /// What the context of a circuit at `N = 2^12` is made of: packing, gains and noise of weights.
    fn measured(circuit: &Circuit) -> (Multiplexed, Vec<Gain>, Vec<f64>) {
        let packing = Multiplexed::new(circuit, &Wanted::at(12)).unwrap();
        let diagonals = packing::diagonals(&packing, circuit);
        let pixels: Vec<f32> = random(8, 9).iter().map(|x| *x as f32).collect();
        let samples = [precision::Sample::new(&pixels, (2, 2), 2, 4)];
        let gains = precision::gains(circuit, &packing, &diagonals, (&samples, 1), None);
        let noise = weight_noise(circuit, &packing, &diagonals, &gains);
        (packing, gains, noise)
    }

    fn context<'a>(
        circuit: &'a Circuit,
        (packing, gains, weight_noise): &'a (Multiplexed, Vec<Gain>, Vec<f64>),
        tower_reuse: bool,
    ) -> Context<'a> {
        let (log_n, largest_logit, excess, parts) = (12, 32.0, 6.0, 1.0);
        Context { circuit, packing, log_n, tower_reuse, gains, weight_noise, largest_logit, excess, parts }
    }

    #[test]
    fn a_rescale_serves_a_convolution_and_its_square() {
        let circuit = network();
        let measured = measured(&circuit);
        let places = |tower_reuse| -> Vec<(usize, usize)> {
            context(&circuit, &measured, tower_reuse).place().iter().map(|p| (p.works, p.level)).collect()
        };
        // The logits are not rescaled; every other map is, and squares work where maps that read them do.
        assert_eq!(places(true), [(2, 2), (2, 1), (1, 1), (1, 0), (0, 0), (0, 0)]);
        assert_eq!(places(false), [(4, 4), (4, 3), (3, 2), (2, 1), (1, 0), (0, 0)]);
    }

    #[test]
    fn scales_follow_from_shares_and_moduli_from_scales() {
        let circuit = network();
        let measured = measured(&circuit);
        let context = context(&circuit, &measured, true);
        // Every map rounds its weights, all but the logits their values; so is the image.
        assert_eq!(context.roundings(), 6);
        let mut places = context.place();
        context.allot(&mut places, 1e-6);
        assert_eq!(places[2].bits, 2.0 * places[1].bits);
        assert_eq!(places[5].bits, places[5].product);
        let targets = context.targets(&places);
        assert_eq!(targets.len(), 3);
        // A sign and 32 beyond the logits' scale; then what rescales divide by.
        assert!((targets[0] - (places[5].product + 6.0)).abs() < 1e-9);
        assert!((targets[1] - targets[0] - (places[3].product - places[3].bits)).abs() < 1e-9);
        assert!((targets[2] - targets[1] - (places[1].product - places[1].bits)).abs() < 1e-9);
        // For a fourth of the variance a bit more of every rounding: up to two of a square, three of the logits.
        let mut finer = context.place();
        context.allot(&mut finer, 1e-6 / 4.0);
        let deeper = context.targets(&finer);
        assert!(deeper.iter().zip(&targets).all(|(a, b)| a > b));
        assert!(finer.iter().zip(&places).all(|(a, b)| (0.0..=3.0 + 1e-9).contains(&(a.bits - b.bits))));
    }

    #[test]
    fn operands_come_to_levels_that_share_no_primes_with_theirs() {
        let before = network();
        let (_, mut gains, _) = measured(&before);
        // The first map stays at level 2, and is read at level 1.
        let place = |works, level| Place { level, works, bits: 30.0, product: 60.0 };
        let mut places = vec![place(2, 2), place(2, 2), place(1, 1), place(1, 0), place(0, 0), place(0, 0)];
        let chain = |levels: [&[u16]; 3]| Chain {
            primes: vec![1 << 30; 4],
            big: 4,
            levels: levels.map(<[u16]>::to_vec).to_vec(),
        };
        let mut nested = (before.clone(), places.clone(), gains.clone());
        assert_eq!(align(&mut nested.0, &mut nested.1, &mut nested.2, &chain([&[0], &[0, 1], &[0, 1, 2]])), 0);
        assert_eq!(nested, (before.clone(), places.clone(), gains.clone()));

        let mut after = before.clone();
        after.others = vec![before.clone()];
        assert_eq!(align(&mut after, &mut places, &mut gains, &chain([&[0], &[0, 3], &[0, 1, 2]])), 1);
        let listed = Circuit { others: vec![], ..after.clone() };
        assert_eq!(
            listing(&listed, &places).to_string(),
            "7 values on 4 positions, 2 a row; the output is %6\n\
             %0  2 x 4         level 2 2^30.0    input(0 1)                                                 a\n\
             %1  2 x 4         level 2 2^30.0    affine(%0 by 2 taps 0 1, 8 weights) + 0.5 0                b\n\
             %2  2 x 4         level 2>1 2^30.0  affine(%1 by 1)                                            b\n\
             %3  2 x 4         level 1 2^30.0    square(%2)                                                 c\n\
             %4  2 x 4         level 1>0 2^30.0  affine(%3 by 2 taps 0 1, 8 weights; %2 by 0.5 2) + 0 0.25  d\n\
             %5  2 x 4         level 0 2^30.0    square(%4)                                                 e\n\
             %6  2 x 4 logits  level 0 2^30.0    affine(%5 by 2 taps 0 1, 8 weights) + 0 1                  f\n"
        );
        assert_eq!((gains.len(), gains[2].value, after.others[0].values.len()), (7, gains[1].value, 7));
        let image = image(&before, 2);
        assert_eq!(evaluate(&before, &image)[5], evaluate(&listed, &image)[6]);
    }

    #[test]
    fn balanced_scales_fit_the_chain_and_are_no_worse() {
        let circuit = network();
        let measured = measured(&circuit);
        let context = context(&circuit, &measured, true);
        let mut places = context.place();
        context.allot(&mut places, 1e-6);
        let chain = crate::chain::search(12, &context.targets(&places), 1).unwrap().remove(0);
        let variance = |places: &[Place]| -> f64 {
            let injected = context.injected(&circuit, places, |_| SwitchNoise { digits: 1, excess: -30.0 });
            injected.iter().zip(&measured.1).map(|(i, g)| i.logit_variance(g)).sum()
        };
        // What follows from the chain, with scales as they were allotted.
        let fixed = Fixed {
            rescale: places.iter().map(|p| chain.rescale(p.works, p.level)).collect(),
            output: chain.log_q(0) - context.headroom(),
        };
        let mut settled = places.clone();
        settle(&circuit, &mut settled, &fixed);
        balance(&context, &circuit, &measured.1, &mut places, &chain, Effort::Thorough);
        assert!(variance(&places) <= variance(&settled) * (1.0 + 1e-9), "{} {}", variance(&places), variance(&settled));
        for (place, rescale) in places.iter().zip(&fixed.rescale).filter(|(p, _)| p.works > p.level) {
            assert!((place.product - place.bits - rescale).abs() < 1e-9);
        }
        assert_eq!(places[2].bits, 2.0 * places[1].bits);
        assert!((places[5].bits - fixed.output).abs() < 1e-9);
    }
}
