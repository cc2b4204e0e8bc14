//! Parameters and keys of an earlier program, for one that works with them: clients keep their keys when a network is
//! retrained.
//!
//! Otherwise levels are as large as the network's gains want them, so that other weights have other moduli, and keys
//! belong to moduli. Here levels, gadgets and rotations are given. What is left to choose are scales
//! ([`crate::levels::balance`]), the gadget of each level, and the split of each step's rotations.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use umbra_ckks::{Gadget, KeyId, KeyKind, Level, Parameters, ParametersLiteral};
use umbra_program::ClientSpec;

use crate::bsgs::{self, Inputs, Split};
use crate::chain::Chain;
use crate::gadgets;
use crate::keys::{Choice, Search, ShapeKind};
use crate::packing::Packing;
use crate::{CompileError, CompileOptions, Pass};

/// What a program has to make do with, so that whoever has keys for an earlier one needs no others. The earlier
/// program's client specification has it all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compatible {
    /// The parameters. Those of the compiled program are equal to them.
    pub parameters: ParametersLiteral,
    /// The keys there are, of these parameters: [`ClientSpec::keys`] of the earlier program. Each serves all levels of
    /// its gadget up to its own.
    pub keys: Vec<KeyId>,
}

impl Compatible {
    /// Those of an earlier program.
    #[must_use]
    pub fn of(client: &ClientSpec) -> Self {
        Self { parameters: client.parameters.clone(), keys: client.keys.clone() }
    }

    /// Checks that parameters and keys may be those of a program, and have the ring degree asked for.
    pub(crate) fn check(&self, log_n: Option<u32>) -> Result<(), CompileError> {
        let literal = &self.parameters;
        let error = |found: String, expected: &str| CompileError::Option {
            option: "compatible with",
            found,
            expected: format!("{expected}; give the parameters and the keys of one program"),
        };
        Parameters::new(literal.clone()).map_err(|e| error(e.to_string(), "valid parameters"))?;
        if literal.gadgets.is_empty() {
            return Err(error("no key-switching gadget".into(), "at least one"));
        }
        let used = literal.used_primes().len();
        if used < literal.primes.len() {
            let found = format!("{} primes of which {used} are used", literal.primes.len());
            return Err(error(found, "no others than those of levels and gadgets"));
        }
        let exists = |key: &KeyId| {
            let gadget = literal.gadgets.get(key.gadget.index());
            gadget.zip(literal.levels.get(key.level.index())).is_some_and(|(gadget, level)| gadget.serves(level))
        };
        if let Some(key) = self.keys.iter().find(|key| !exists(key)) {
            return Err(error(key.to_string(), "keys that the parameters have"));
        }
        match log_n {
            Some(wanted) if wanted != literal.log_n => {
                Err(CompileError::IncompatibleDegree { wanted, there: literal.log_n })
            }
            _ => Ok(()),
        }
    }

    /// The levels. All primes are in the pool, those of gadgets too.
    pub(crate) fn chain(&self) -> Chain {
        let ParametersLiteral { primes, levels, .. } = &self.parameters;
        Chain { primes: primes.clone(), big: primes.len(), levels: levels.clone() }
    }
}

/// What a step lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// A gadget that serves this level.
    Gadget(usize),
    /// A key.
    Key(KeyId),
}

/// The keys there are, in order.
#[derive(Debug)]
pub(crate) struct KeysAtHand<'a> {
    literal: &'a ParametersLiteral,
    /// By gadget and kind, the highest level served.
    levels: BTreeMap<(Gadget, KeyKind), Level>,
    /// Of any gadget.
    kinds: BTreeSet<KeyKind>,
}

/// How the steps at a level may be done with a gadget.
struct Way {
    gadget: usize,
    /// The first step that lacks a key, and that key.
    lacking: Option<(usize, KeyId)>,
    /// Keys that are not there, over all steps.
    missing: usize,
    /// Whole bits by which digits exceed the special primes more than they should.
    over: f64,
    seconds: f64,
    /// The split of each step.
    splits: Vec<usize>,
}

impl Way {
    /// What can be done at all comes first, then what is exact, then what is fast.
    fn cmp(&self, other: &Self) -> Ordering {
        let by_precision = || self.over.total_cmp(&other.over);
        self.missing.cmp(&other.missing).then_with(by_precision).then_with(|| self.seconds.total_cmp(&other.seconds))
    }
}

impl<'a> KeysAtHand<'a> {
    pub(crate) fn new(earlier: &'a Compatible) -> Self {
        let mut levels = BTreeMap::new();
        for key in &earlier.keys {
            let highest = levels.entry((key.gadget, key.kind)).or_insert(key.level);
            *highest = key.level.max(*highest);
        }
        let kinds = earlier.keys.iter().map(|key| key.kind).collect();
        Self { literal: &earlier.parameters, levels, kinds }
    }

    /// The splits of some rotations to choose from: all that there may be keys for. Where there are none, those that
    /// would be chosen from otherwise: one of them tells which key is missing.
    pub(crate) fn splits(&self, set: &Inputs, packing: &dyn Packing, options: &CompileOptions) -> Vec<Split> {
        let has = |kind: KeyKind| self.kinds.contains(&kind);
        let usual = || bsgs::splits(set, packing, options);
        let mut found: Vec<Split> = if options.has(Pass::Bsgs) {
            bsgs::with_keys(set, packing, options.has(Pass::ComplexGiants), has)
        } else {
            Vec::new()
        };
        // The earlier program may have been compiled without the pass.
        found.extend(Some(Split::none(set, packing)).filter(|split| split.keys().all(has)));
        if found.is_empty() { usual() } else { found }
    }

    /// The fastest choice of gadgets and splits for which all keys are there, or the first step of which some are not.
    pub(crate) fn choose(&self, search: &Search<'_>) -> Result<Choice, (usize, Lack)> {
        let levels = self.literal.levels.len();
        let mut choice = Choice {
            gadgets: self.literal.gadgets.clone(),
            of_level: vec![0; levels],
            splits: vec![0; search.shapes.len()],
            seconds: 0.0,
            key_bytes: 0.0,
        };
        let mut lacking: Vec<(usize, Lack)> = Vec::new();
        for level in 0..levels {
            let steps: Vec<usize> = (0..search.shapes.len()).filter(|s| search.shapes[*s].level == level).collect();
            let serving = (0..choice.gadgets.len()).filter(|g| choice.gadgets[*g].serves(&self.literal.levels[level]));
            let ways = serving.map(|gadget| self.way(search, gadget, level, &steps));
            let Some(way) = ways.min_by(Way::cmp) else {
                lacking.extend(steps.first().map(|step| (*step, Lack::Gadget(level))));
                continue;
            };
            lacking.extend(way.lacking.map(|(step, key)| (step, Lack::Key(key))));
            choice.of_level[level] = way.gadget;
            choice.seconds += way.seconds;
            for (step, split) in steps.into_iter().zip(way.splits) {
                choice.splits[step] = split;
            }
        }
        choice.key_bytes = search.key_bytes(&choice);
        match lacking.into_iter().min_by_key(|(step, _)| *step) {
            Some(lack) => Err(lack),
            None => Ok(choice),
        }
    }

    /// The fastest way to do the steps of a level with a gadget, or the one that lacks the fewest keys.
    fn way(&self, search: &Search<'_>, gadget: usize, level: usize, steps: &[usize]) -> Way {
        let literal = &self.literal.gadgets[gadget];
        let there = |kind: &KeyKind| {
            self.levels.get(&(Gadget::new(gadget), *kind)).is_some_and(|highest| highest.index() >= level)
        };
        let top = level + 1 == self.literal.levels.len();
        let allowed = if top { search.excess.0 } else { search.excess.1 };
        let excess = gadgets::excess(literal, &self.literal.levels[level], &self.literal.primes);
        // Less than a bit is none: limits depend on scales, which differ from network to network.
        let over = (excess - allowed).max(0.0).floor();
        let mut way = Way { gadget, lacking: None, missing: 0, over, seconds: 0.0, splits: Vec::new() };
        for &step in steps {
            let shape = &search.shapes[step];
            let count = match shape.kind {
                ShapeKind::Linear { class, .. } => search.classes[class].len(),
                _ => 1,
            };
            let of = |split: usize| {
                let missing = shape.keys(search.classes, split).filter(|kind| !there(kind)).count();
                let seconds = search.work(shape, literal, split).seconds(search.model, search.log_n);
                (missing, seconds, split)
            };
            let best = (0..count).map(of).min_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.total_cmp(&b.1)));
            let (missing, seconds, split) = best.unwrap_or((0, 0.0, 0));
            let first = || shape.keys(search.classes, split).find(|kind| !there(kind));
            let key = |kind| (step, KeyId { gadget: Gadget::new(gadget), kind, level: Level::new(level) });
            way.lacking = way.lacking.or_else(|| first().map(key));
            way.missing += missing;
            way.seconds += seconds;
            way.splits.push(split);
        }
        way
    }
}
