//! The plan of a network that may have any parameters: many chains are tried, and the fastest plan that is exact is
//! taken.
//!
//! What a plan takes depends on how many primes each level has, and falls and rises by a tenth between chains that are
//! a bit apart. So several aims at the precision give several chains each; those that are not exact enough are told
//! apart before keys are searched for, which takes most time.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use umbra_ring::primes;

use super::{Draft, Plan, SLACK, Scaled, TOLERANCE, refine, security_limit};
use crate::bsgs::{self, Inputs, Split};
use crate::chain::{self, Chain};
use crate::keys::Choice;
use crate::levels::{Context, Effort, Place};
use crate::packing::Packing;
use crate::{CompileError, CompileOptions};

/// Special primes beyond the chain's own at most.
const MAX_SPECIAL: usize = 12;
/// Shares of the wanted error's variance that are aimed at.
const AIMS: [f64; 10] = [1.0, 1.1, 1.2, 1.3, 1.4, 1.55, 1.7, 2.0, 2.4, 2.8];
/// Chains that are tried for an aim.
const CHAINS: usize = 4;
/// How much slower a program may be for each bit of precision that it gains towards the wanted one.
const TIME_FOR_A_BIT: f64 = 1.6;
/// Bits of precision beyond the wanted ones that are worth as much: room for the network when it is retrained, whose
/// gains will differ (a quarter of a bit among the shipped ones, see decision 15).
const RESERVE: f64 = 0.25;
/// Bytes of evaluation keys that are wished for where no limit is given.
const KEY_BYTES: u64 = 900_000_000;

/// The best plan of those whose chain is made for the circuit.
pub(super) fn free(
    context: &Context<'_>,
    options: &CompileOptions,
    logit_error: f64,
    wanted: f64,
    (shifts, shared): (usize, &Arc<dyn Packing>),
) -> Result<Plan, CompileError> {
    let limit = security_limit(context.log_n)?;
    let sizes = Sizes { context, places: context.place(), limit, coarsest: wanted * 60f64.exp2() };
    let known = Mutex::new(BTreeMap::new());
    let best_of = |(index, (places, chain)): (usize, (Vec<Place>, Chain))| -> Result<Option<Found>, CompileError> {
        let draft = Draft::new(context, &chain, places, Effort::Quick);
        let pools = extra_primes(&chain, context.log_n, limit)?.into_iter();
        let plans = pools
            .filter_map(|extra| finish(context, options, (&draft, &chain), extra, (limit, shifts, shared), &known));
        Ok(plans.map(|plan| Found::new(plan, options, logit_error, index)).reduce(Found::better))
    };
    let chains = sizes.exact_chains(wanted, TOLERANCE * logit_error)?;
    let found = chains.into_par_iter().enumerate().map(best_of);
    let either = |a: Option<Found>, b: Option<Found>| Ok(a.into_iter().chain(b).reduce(Found::better));
    match found.try_reduce(|| None, either)? {
        Some(Found { worth: Worth { fits: true, .. }, plan, .. }) => Ok(refine::refine(plan, context, options)),
        Some(Found { smallest, .. }) => {
            let limit = options.key_bytes.unwrap_or_default();
            Err(CompileError::KeyBytes { limit, smallest, log_n: context.log_n })
        }
        None => Err(sizes.too_deep()),
    }
}

/// How large moduli must be for the errors that are allowed: a share of the logits' variance to each rounding.
struct Sizes<'c> {
    context: &'c Context<'c>,
    places: Vec<Place>,
    /// Bits that security allows.
    limit: u32,
    /// The largest share.
    coarsest: f64,
}

impl Sizes<'_> {
    /// Scales, and the bits of the modulus at each level.
    fn at(&self, share: f64) -> (Vec<Place>, Vec<f64>) {
        let mut places = self.places.clone();
        self.context.allot(&mut places, share);
        let targets = self.context.targets(&places);
        (places, targets)
    }

    /// Bits of the highest level.
    fn top(&self, share: f64) -> f64 {
        self.at(share).1.last().copied().unwrap_or(0.0)
    }

    /// Bits that are left with so many special primes.
    fn left(&self, special: usize) -> f64 {
        f64::from(self.limit) - 30.0 * special as f64
    }

    /// Numbers of special primes, and shares to aim at.
    ///
    /// Special primes are traded for precision. With the wanted precision, as many as there is room for. Chains miss
    /// their targets by more or less, so that one for a coarser aim may turn out as exact, and faster.
    fn aims(&self, wanted: f64) -> Vec<(usize, f64)> {
        let room = ((f64::from(self.limit) - self.top(wanted)) / 30.0).floor().max(1.0) as usize;
        (room..=(room + 6).min(MAX_SPECIAL.max(room)))
            .flat_map(|special| AIMS.map(|aim| (special, aim * wanted)))
            // Where not even a coarser aim is within reach, it is the same for all.
            .filter(|(special, aim)| *aim == wanted || self.top(*aim) <= self.left(*special))
            .collect()
    }

    /// The share nearest to the aim with which the modulus stays within a budget of bits.
    fn within(&self, budget: f64, aim: f64) -> Option<f64> {
        if self.top(aim) <= budget {
            return Some(aim);
        }
        if self.top(self.coarsest) > budget {
            return None;
        }
        // The size falls with the share: bisect its logarithm.
        let (mut low, mut high) = (aim.log2(), self.coarsest.log2());
        for _ in 0..40 {
            let middle = (low + high) / 2.0;
            if self.top(middle.exp2()) > budget { low = middle } else { high = middle }
        }
        Some(high.exp2())
    }

    /// Chains beside so many special primes, and the scales that they are for.
    fn chains(&self, special: usize, aim: f64) -> Result<Vec<(Vec<Place>, Chain)>, CompileError> {
        // What chains have too much is known only afterwards: a second round makes up for it.
        let mut budget = self.left(special) - 0.5;
        let mut found = Vec::new();
        for _ in 0..3 {
            let Some(share) = self.within(budget, aim) else { break };
            let (places, targets) = self.at(share);
            match chain::search(self.context.log_n, &targets, CHAINS) {
                Ok(chains) => {
                    let least = chains.iter().map(Chain::log_pool).fold(f64::INFINITY, f64::min);
                    found = chains.into_iter().map(|chain| (places.clone(), chain)).collect();
                    let over = least - self.left(special);
                    if over <= 0.0 {
                        break;
                    }
                    budget -= over;
                }
                Err(CompileError::NoChain { .. }) => break,
                Err(e) => return Err(e),
            }
        }
        Ok(found)
    }

    /// Different chains, and the scales that they are for: those as exact as wanted, or all where none is.
    fn exact_chains(&self, wanted: f64, largest_error: f64) -> Result<Vec<(Vec<Place>, Chain)>, CompileError> {
        let chains = |&(special, aim): &(usize, f64)| self.chains(special, aim);
        let found: Vec<Vec<(Vec<Place>, Chain)>> =
            self.aims(wanted).par_iter().map(chains).collect::<Result<_, _>>()?;
        let mut distinct: Vec<(Vec<Place>, Chain)> = Vec::new();
        for (places, chain) in found.into_iter().flatten() {
            if distinct.iter().all(|(_, other)| *other != chain) {
                distinct.push((places, chain));
            }
        }
        let error = |(places, chain): &(Vec<Place>, Chain)| {
            Scaled::new(self.context, chain, places.clone(), Effort::Quick).error(self.context)
        };
        let errors: Vec<f64> = distinct.par_iter().map(error).collect();
        let exact = |error: f64| error <= largest_error;
        let none = !errors.iter().any(|e| exact(*e));
        Ok(distinct
            .into_iter()
            .zip(errors)
            .filter(|(_, error)| none || exact(*error))
            .map(|(chain, _)| chain)
            .collect())
    }

    fn too_deep(&self) -> CompileError {
        let levels = self.places.iter().map(|p| p.works).max().unwrap_or(0) + 1;
        let needed = self.top(self.coarsest) + 30.0;
        CompileError::TooDeep { needed, limit: self.limit, levels, log_n: self.context.log_n }
    }
}

/// A plan, and what it is worth.
struct Found {
    plan: Plan,
    worth: Worth,
    /// Bytes of the smallest keys among this plan and those that it is better than.
    smallest: u64,
}

/// What a plan is worth: the order is that of its fields, then of the chains.
struct Worth {
    /// Whether keys are within the limit.
    fits: bool,
    /// Whether it is as exact as wanted: precision is traded only where it is out of reach.
    exact: bool,
    /// CPU-seconds, with what key bytes and missing precision are worth.
    seconds: f64,
    index: usize,
}

impl Found {
    fn new(plan: Plan, options: &CompileOptions, logit_error: f64, index: usize) -> Self {
        let Choice { seconds, key_bytes, .. } = plan.choice;
        let bits = ((plan.logit_error / logit_error).log2() + RESERVE).max(0.0);
        let price = options.cost.seconds_per_key_gigabyte / 1e9;
        let over = (key_bytes / options.key_bytes.unwrap_or(KEY_BYTES).max(1) as f64).max(1.0);
        let worth = Worth {
            fits: options.key_bytes.is_none_or(|most| key_bytes <= most as f64),
            exact: plan.logit_error <= TOLERANCE * logit_error,
            seconds: (seconds + price * key_bytes) * TIME_FOR_A_BIT.powf(bits) * over,
            index,
        };
        Self { plan, worth, smallest: key_bytes as u64 }
    }

    fn better(self, other: Self) -> Self {
        let smallest = self.smallest.min(other.smallest);
        let order = |found: &Self| {
            let Worth { fits, exact, seconds, index } = found.worth;
            (!fits, !exact, seconds, index)
        };
        let first = order(&self).partial_cmp(&order(&other)).is_none_or(Ordering::is_le);
        Self { smallest, ..if first { self } else { other } }
    }
}

/// Pools of special primes that use up what security allows: as many large ones as fit, or one more and all smaller.
fn extra_primes(chain: &Chain, log_n: u32, limit: u32) -> Result<Vec<Vec<u32>>, CompileError> {
    let left = f64::from(limit) - chain.log_pool() - SLACK;
    let count = ((left / 30.0).floor().max(0.0) as usize).min(MAX_SPECIAL);
    let mut pools = Vec::new();
    if count > 0 {
        pools.push(primes::nearest(log_n, 30.0, count, &chain.primes)?);
    }
    // Sizes of 27 bits and more are worth another limb.
    let size = left / (count + 1) as f64;
    if count < MAX_SPECIAL && size >= 27.0 {
        // Primes scatter around the size asked for: a little less keeps the product within the limit.
        let smaller = primes::nearest(log_n, size - 0.02, count + 1, &chain.primes)?;
        if smaller.iter().map(|p| f64::from(*p).log2()).sum::<f64>() <= left {
            pools.push(smaller);
        }
    }
    Ok(pools)
}

/// Gadgets, splits and errors for a chain, beside more special primes.
fn finish(
    context: &Context<'_>,
    options: &CompileOptions,
    (draft, chain): (&Draft, &Chain),
    extra: Vec<u32>,
    (limit, shifts, shared): (u32, usize, &Arc<dyn Packing>),
    known: &Mutex<BTreeMap<Inputs, Vec<Split>>>,
) -> Option<Plan> {
    let mut pool = chain.primes.clone();
    pool.extend(extra);
    let splits = |set: &Inputs| {
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(set.clone()).or_insert_with_key(|set| bsgs::splits(set, context.packing, options)).clone()
    };
    let classes: Vec<Vec<Split>> = draft.sets.iter().map(splits).collect();
    let steps = draft.steps();
    let search = draft.search(context, options, (chain, &pool), (limit, &steps), &classes);
    let choice = search.run(options.key_bytes.unwrap_or(KEY_BYTES) as f64)?;
    Some(draft.clone().plan(context, (chain.clone(), pool), classes, choice, (limit, shifts, shared)))
}
