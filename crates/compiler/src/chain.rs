//! The modulus chain: a set of primes for each level whose product comes close to a wanted size.
//!
//! Levels share one pool: *big* primes just below 2^30, of which a level has the first few, and a handful of *fine*
//! ones of different sizes. With the right fine primes some subset of them makes up for any number of bits modulo 30,
//! so that a rescale (which may drop some primes and add others) can divide by any wanted number of bits.

use std::collections::BTreeMap;
use std::fmt;

use umbra_ckks::log2_of;
use umbra_ring::primes;

use crate::error::CompileError;

/// Fine primes are this many bits smaller than big ones, at most.
const MAX_DEFICIT: u32 = 8;
/// Fine primes at most.
const MAX_FINE: usize = 6;
/// What a bit squared of deviation costs, in limbs.
const DEVIATION_COST: f64 = 3.0;
/// What a prime dropped or added in a rescale costs, in limbs.
const CHANGE_COST: f64 = 0.1;
/// What a bit of modulus beyond the wanted costs at the top, in limbs.
const EXCESS_COST: f64 = 0.5;

/// A chain of levels.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// The pool: big primes, then fine ones.
    pub primes: Vec<u32>,
    /// Number of big primes.
    pub big: usize,
    /// Per level, ascending indices into the pool.
    pub levels: Vec<Vec<u16>>,
}

impl Chain {
    /// Base-2 logarithm of a level's modulus.
    #[must_use]
    pub fn log_q(&self, level: usize) -> f64 {
        log2_of(&self.primes, &self.levels[level])
    }

    /// Base-2 logarithm of the product of all primes.
    #[must_use]
    pub fn log_pool(&self) -> f64 {
        self.primes.iter().map(|p| f64::from(*p).log2()).sum()
    }

    /// Base-2 logarithm of what rescaling from a level to a lower one divides by.
    #[must_use]
    pub fn rescale(&self, from: usize, to: usize) -> f64 {
        self.log_q(from) - self.log_q(to)
    }

    /// Primes that rescaling drops and adds.
    #[must_use]
    pub fn changes(&self, from: usize, to: usize) -> (usize, usize) {
        let missing = |a: &[u16], b: &[u16]| a.iter().filter(|p| !b.contains(p)).count();
        (missing(&self.levels[from], &self.levels[to]), missing(&self.levels[to], &self.levels[from]))
    }

    /// The primes of some levels, ascending.
    #[must_use]
    pub fn union(&self, levels: std::ops::RangeInclusive<usize>) -> Vec<u16> {
        let mut present = vec![false; self.primes.len()];
        self.levels[levels].iter().flatten().for_each(|&p| present[p as usize] = true);
        (0..).zip(present).filter(|(_, present)| *present).map(|(p, _)| p).collect()
    }
}

impl fmt::Display for Chain {
    /// The pool, and each level's size and primes by their index in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = |primes: &[u32]| -> String {
            let each: Vec<String> = primes.iter().map(|p| format!("{:.1}", f64::from(*p).log2())).collect();
            if each.is_empty() { "none".into() } else { each.join(" ") }
        };
        let (big, fine) = self.primes.split_at(self.big);
        writeln!(f, "{} big primes, fine ones of {} bits", big.len(), bits(fine))?;
        for (level, primes) in self.levels.iter().enumerate() {
            let list: Vec<String> = primes.iter().map(ToString::to_string).collect();
            writeln!(f, "level {level:>2}  {:>6.1} bits  {}", self.log_q(level), list.join(" "))?;
        }
        Ok(())
    }
}

/// One way to make a level: the first `big` big primes and a subset of the fine ones.
#[derive(Clone, Copy)]
struct Choice {
    big: usize,
    mask: usize,
    cost: f64,
}

/// Sizes of the primes at hand.
struct Sizes {
    /// `prefix[i]`: log2 of the product of the first `i` big primes.
    prefix: Vec<f64>,
    /// Per deficit from 1, log2 of the primes of that size.
    fine: Vec<Vec<f64>>,
}

/// Finds a chain for `targets`, the wanted log2 of each level's modulus, lowest first. The lowest level and the highest
/// are at least as large as wanted; where the lowest is larger, the others are so too by as much.
///
/// # Errors
/// [`CompileError::Ring`] where there are not enough primes; [`CompileError::NoChain`] where targets do not grow.
pub fn search(log_n: u32, targets: &[f64], most: usize) -> Result<Vec<Chain>, CompileError> {
    let top = targets.last().copied().unwrap_or(0.0);
    if targets.is_empty() || !targets.iter().all(|t| t.is_finite() && *t > 0.0) || !targets.is_sorted_by(|a, b| a < b) {
        return Err(CompileError::NoChain { targets: targets.to_vec() });
    }
    let count = (top / 29.9).ceil() as usize + 1;
    let mut taken = primes::nearest(log_n, 30.0, count, &[])?;
    let big = taken.clone();
    let mut fine: Vec<Vec<u32>> = Vec::new();
    for deficit in 1..=MAX_DEFICIT {
        // Fewer where there are not as many of that size.
        let found = (1..=MAX_FINE).rev().find_map(|c| primes::nearest(log_n, f64::from(30 - deficit), c, &taken).ok());
        let found = found.unwrap_or_default();
        taken.extend(&found);
        fine.push(found);
    }
    let log2 = |p: &u32| f64::from(*p).log2();
    let mut prefix = vec![0.0];
    big.iter().for_each(|p| prefix.push(prefix[prefix.len() - 1] + log2(p)));
    let sizes = Sizes { prefix, fine: fine.iter().map(|f| f.iter().map(log2).collect()).collect() };

    // The lowest level is a handful of primes and cannot have any size: what it has too much, all levels have.
    let mut best: BTreeMap<Vec<usize>, Found> = BTreeMap::new();
    for tolerance in [2.0, 4.0, 8.0, 15.0] {
        for base in sizes.bases(targets[0]) {
            let excess = base - targets[0];
            let shifted: Vec<f64> = targets.iter().map(|t| t + excess).collect();
            let mut template = Vec::new();
            templates(&mut template, &sizes, &mut |template| {
                let Some((cost, choices)) = sizes.assign(template, &shifted, tolerance) else { return };
                let cost = cost + EXCESS_COST * excess;
                let limbs = choices.iter().map(|c| c.big + c.mask.count_ones() as usize).collect();
                let found = best.entry(limbs).or_insert_with(|| Found { cost: f64::INFINITY, ..Found::default() });
                if cost < found.cost {
                    *found = Found { cost, template: template.to_vec(), choices };
                }
            });
        }
        if !best.is_empty() {
            break;
        }
    }
    if best.is_empty() {
        return Err(CompileError::NoChain { targets: targets.to_vec() });
    }
    let mut best: Vec<Found> = best.into_values().collect();
    best.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    best.truncate(most);
    Ok(best.iter().map(|found| found.chain(&big, &fine)).collect())
}

/// Levels that were found.
#[derive(Default)]
struct Found {
    cost: f64,
    template: Vec<usize>,
    choices: Vec<Choice>,
}

impl Found {
    /// The pool: as many big primes as are used, then the template's fine ones.
    fn chain(&self, big: &[u32], fine: &[Vec<u32>]) -> Chain {
        let used = self.choices.iter().map(|c| c.big).max().unwrap_or(0);
        let mut primes = big[..used].to_vec();
        let mut next = vec![0; fine.len()];
        for &deficit in &self.template {
            primes.push(fine[deficit - 1][next[deficit - 1]]);
            next[deficit - 1] += 1;
        }
        let levels = self.choices.iter().map(|choice| {
            let fine = (0..self.template.len()).filter(|i| choice.mask >> i & 1 == 1).map(|i| (used + i) as u16);
            (0..choice.big as u16).chain(fine).collect()
        });
        Chain { levels: levels.collect(), primes, big: used }
    }
}

/// All ascending lists of at most [`MAX_FINE`] deficits for which there are primes.
fn templates(template: &mut Vec<usize>, sizes: &Sizes, visit: &mut impl FnMut(&[usize])) {
    visit(template);
    if template.len() == MAX_FINE {
        return;
    }
    for deficit in template.last().copied().unwrap_or(1)..=MAX_DEFICIT as usize {
        let used = template.iter().filter(|d| **d == deficit).count();
        if used < sizes.fine[deficit - 1].len() {
            template.push(deficit);
            templates(template, sizes, visit);
            template.pop();
        }
    }
}

impl Sizes {
    /// Sizes of at least `target` bits for the lowest level: the smallest for every number of big and fine primes.
    fn bases(&self, target: f64) -> Vec<f64> {
        let least = (target / 29.999).ceil().max(1.0) as usize;
        let mut bases = Vec::new();
        for limbs in least..least + 2 {
            for fines in 0..=limbs.min(MAX_FINE) {
                let Some(prefix) = self.prefix.get(limbs - fines) else { continue };
                let mut best = f64::INFINITY;
                self.multisets(fines, 0, *prefix, &mut |size| {
                    if size >= target {
                        best = best.min(size);
                    }
                });
                if best < target + 12.0 {
                    bases.push(best);
                }
            }
        }
        bases
    }

    /// Visits the sizes of `count` more fine primes, of this deficit or larger ones.
    fn multisets(&self, count: usize, deficit: usize, size: f64, visit: &mut impl FnMut(f64)) {
        if count == 0 {
            return visit(size);
        }
        let Some(primes) = self.fine.get(deficit) else { return };
        let mut sum = size;
        for taken in 0..=count.min(primes.len()) {
            self.multisets(count - taken, deficit + 1, sum, visit);
            sum += primes.get(taken).copied().unwrap_or(0.0);
        }
    }

    /// The cheapest levels with these fine primes, by dynamic programming from the lowest level up.
    fn assign(&self, template: &[usize], targets: &[f64], tolerance: f64) -> Option<(f64, Vec<Choice>)> {
        let fine: Vec<f64> = template
            .iter()
            .enumerate()
            .map(|(i, &deficit)| {
                let nth = template[..i].iter().filter(|d| **d == deficit).count();
                self.fine[deficit - 1][nth]
            })
            .collect();
        let masks: Vec<f64> = (0..1usize << fine.len())
            .map(|m| (0..fine.len()).filter(|i| m >> i & 1 == 1).map(|i| fine[i]).sum())
            .collect();
        let top = targets.len() - 1;
        let mut table: Vec<Vec<(Choice, usize)>> = Vec::with_capacity(targets.len());
        for (level, &target) in targets.iter().enumerate() {
            let mut options: Vec<(Choice, usize)> = Vec::new();
            for (mask, size) in masks.iter().enumerate() {
                if *size > target + 30.0 {
                    continue;
                }
                // A fine prime that the top lacks costs modulus all the same: there is a key that has it.
                let lacking = if level == top { masks[masks.len() - 1] - size } else { 0.0 };
                let first = ((target - size) / 29.99).floor().max(0.0) as usize;
                for big in first..=first + 1 {
                    let Some(prefix) = self.prefix.get(big) else { continue };
                    let error = prefix + size - target;
                    // At the top, what is too much goes into the image's scale.
                    let at_least = level == 0 || level == top;
                    let allowed = match level {
                        0 => -1e-9..=0.5,
                        _ if level == top => -1e-9..=30.0,
                        _ => -tolerance..=tolerance,
                    };
                    if !allowed.contains(&error) || big + mask.count_ones() as usize == 0 {
                        continue;
                    }
                    let deviation =
                        if at_least { EXCESS_COST * (error + lacking) } else { DEVIATION_COST * error * error };
                    let limbs = big as f64 + f64::from(mask.count_ones());
                    let own = Choice { big, mask, cost: limbs + deviation };
                    let reach = |(i, (below, _)): (usize, &(Choice, usize))| {
                        let grows =
                            below.big <= big && self.prefix[below.big] + masks[below.mask] + 1.0 < prefix + size;
                        let changes = (below.mask ^ mask).count_ones() as f64 + big.abs_diff(below.big) as f64;
                        grows.then_some((below.cost + CHANGE_COST * changes, i))
                    };
                    let before = match table.last() {
                        None => Some((0.0, 0)),
                        Some(below) => below.iter().enumerate().filter_map(reach).min_by(|a, b| a.0.total_cmp(&b.0)),
                    };
                    if let Some((cost, from)) = before {
                        options.push((Choice { cost: own.cost + cost, ..own }, from));
                    }
                }
            }
            if options.is_empty() {
                return None;
            }
            table.push(options);
        }
        let cost = |o: &(Choice, usize)| o.0.cost;
        let mut at = (0..table[top].len()).min_by(|&a, &b| cost(&table[top][a]).total_cmp(&cost(&table[top][b])))?;
        let total = table[top][at].0.cost;
        let mut levels = Vec::with_capacity(targets.len());
        for options in table.iter().rev() {
            levels.push(options[at].0);
            at = options[at].1;
        }
        levels.reverse();
        Some((total, levels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_come_close_to_their_targets() {
        for (log_n, base, steps) in [
            (
                15,
                62.0,
                vec![33.7, 31.0, 34.9, 34.2, 33.0, 32.1, 35.5, 33.3, 34.1, 31.9, 33.7, 34.4, 35.0, 33.1, 32.2, 34.8],
            ),
            (14, 55.5, vec![31.3, 30.8, 32.9, 31.1, 30.0]),
            (16, 70.0, vec![12.0, 22.5, 12.0, 22.5, 12.0, 40.1]),
            (13, 60.2, vec![29.0]),
            (13, 44.0, vec![]),
        ] {
            let mut targets = vec![base];
            steps.iter().for_each(|s| targets.push(targets[targets.len() - 1] + s));
            let chain = search(log_n, &targets, 1).unwrap().remove(0);
            let top = targets.len() - 1;
            for (level, target) in targets.iter().enumerate() {
                let excess = chain.log_q(0) - base;
                assert!((0.0..12.0).contains(&excess), "N = 2^{log_n}: base exceeds by {excess}");
                let error = chain.log_q(level) - target - excess;
                let bound = if level == top { -1e-6..25.0 } else { -2.0..2.0 };
                assert!(bound.contains(&error), "N = 2^{log_n}, level {level}: {error}");
                // Not more limbs than the size needs, but for the few fine ones.
                assert!(chain.levels[level].len() <= (chain.log_q(level) / 29.99).ceil() as usize + 1);
                let bigs = chain.levels[level].iter().filter(|p| (**p as usize) < chain.big).count() as u16;
                assert!((0..bigs).all(|p| chain.levels[level].contains(&p)));
                if level > 0 {
                    let below = chain.levels[level - 1].iter().filter(|p| (**p as usize) < chain.big).count() as u16;
                    assert!(below <= bigs);
                }
            }
            assert_eq!(chain.union(0..=top).len(), chain.primes.len());
        }
        assert!(search(15, &[], 1).is_err());
        assert!(search(15, &[60.0, 50.0], 1).is_err());
        assert!(search(15, &[f64::NAN], 1).is_err());
    }

    #[test]
    fn a_chain_by_hand() {
        let primes = vec![(1 << 30) - 1, (1 << 30) + 1, 1 << 28];
        let chain = Chain { primes, big: 2, levels: vec![vec![0], vec![0, 2], vec![0, 1]] };
        assert_eq!(
            chain.to_string(),
            "2 big primes, fine ones of 28.0 bits\n\
             level  0    30.0 bits  0\n\
             level  1    58.0 bits  0 2\n\
             level  2    60.0 bits  0 1\n"
        );
        assert!((chain.rescale(2, 1) - 2.0).abs() < 1e-6 && (chain.log_pool() - 88.0).abs() < 1e-6);
        // One prime goes, another comes.
        assert_eq!((chain.changes(2, 1), chain.changes(1, 0)), ((1, 1), (1, 0)));
        assert_eq!((chain.union(0..=1), chain.union(1..=2)), (vec![0, 2], vec![0, 1, 2]));
    }
}
