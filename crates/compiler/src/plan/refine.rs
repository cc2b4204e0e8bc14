//! Sizes of fine primes: a chain has them in whole bits, so that its steps are not quite those that were wanted. What a
//! plan takes depends on how many primes there are at each level, not on their sizes: they are chosen once more for the
//! most exact logits.

use umbra_ring::primes;

use super::{Plan, SLACK, excess, injected, logit_error};
use crate::CompileOptions;
use crate::chain::Chain;
use crate::keys::Search;
use crate::levels::{self, Context, Effort, Place};
use crate::precision::Injected;

/// Bits by which sizes change.
const STEPS: [f64; 4] = [1.0, 0.5, 0.25, 0.1];
/// Sizes of fine primes, bits.
const SIZES: std::ops::Range<f64> = 20.0..29.9;
/// Of the logits' variance, what a change has to leave at most.
const WORTHWHILE: f64 = 0.995;

/// The plan with the most exact logits, by coordinate descent over sizes of one prime and of two at once.
pub(super) fn refine(mut plan: Plan, context: &Context<'_>, options: &CompileOptions) -> Plan {
    let fine = plan.chain.big..plan.chain.primes.len();
    for step in STEPS {
        let singles = fine.clone().flat_map(|k| [vec![(k, step)], vec![(k, -step)]]);
        let others = |a: usize| fine.clone().filter(move |b| *b != a);
        let pairs = fine.clone().flat_map(|a| others(a).map(move |b| vec![(a, step), (b, -step)]));
        let changes: Vec<Vec<(usize, f64)>> = singles.chain(pairs).collect();
        let mut moved = true;
        while moved {
            moved = false;
            for change in &changes {
                let trial = resized(&plan, context, options, change);
                if let Some(trial) = trial.filter(|t| t.logit_error < plan.logit_error * WORTHWHILE.sqrt()) {
                    trial.put_into(&mut plan);
                    moved = true;
                }
            }
        }
    }
    plan
}

/// A plan with fine primes that are larger by so many bits; `None` where security, precision of key switching or the
/// order of levels do not allow it, or where a value has no room.
fn resized(plan: &Plan, context: &Context<'_>, options: &CompileOptions, change: &[(usize, f64)]) -> Option<Resized> {
    let mut pool = plan.pool.clone();
    for (prime, by) in change {
        let log2 = f64::from(pool[*prime]).log2() + by;
        let found = primes::nearest(context.log_n, log2, 1, &pool).ok()?;
        pool[*prime] = *found.first().filter(|_| SIZES.contains(&log2))?;
    }
    let mut chain = plan.chain.clone();
    chain.primes.copy_from_slice(&pool[..plan.chain.primes.len()]);
    let mut places = plan.places.clone();
    let search = Search {
        chain: &chain,
        pool: &pool,
        log_n: context.log_n,
        limit: f64::from(plan.limit) - SLACK,
        excess: excess(&plan.circuit, &places),
        shapes: &[],
        classes: &[],
        model: &options.cost,
    };
    let ascending = (1..chain.levels.len()).all(|level| chain.log_q(level - 1) + 1.0 < chain.log_q(level));
    if !(ascending && search.allows(&plan.choice)) {
        return None;
    }
    levels::balance(context, &plan.circuit, &plan.gains, &mut places, &chain, Effort::Near);
    if levels::short_of_room(context, &plan.circuit, &plan.gains, &places, &chain).is_some() {
        return None;
    }
    let injected = injected(context, &plan.circuit, &places, (&chain, &pool), &plan.choice);
    let logit_error = logit_error(&injected, &plan.gains);
    Some(Resized { chain, pool, places, injected, logit_error })
}

/// What other sizes change in a plan.
struct Resized {
    chain: Chain,
    pool: Vec<u32>,
    places: Vec<Place>,
    injected: Vec<Injected>,
    logit_error: f64,
}

impl Resized {
    fn put_into(self, plan: &mut Plan) {
        let Self { chain, pool, places, injected, logit_error } = self;
        (plan.chain, plan.pool, plan.places) = (chain, pool, places);
        (plan.injected, plan.logit_error) = (injected, logit_error);
    }
}
