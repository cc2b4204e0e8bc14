//! Key-switching gadgets: how a range of levels splits residues into digits, and with which special primes.
//!
//! Low levels have dropped most primes: those serve as special primes there, at no cost in security, so that fewer
//! digits do.

use umbra_ckks::{GadgetLiteral, log2_of};

use crate::chain::Chain;

/// Makes gadgets for the levels of a chain.
#[derive(Debug)]
pub struct Gadgets<'a> {
    chain: &'a Chain,
    /// Base-2 logarithms of the pool's primes: the chain's, and more that no level has.
    logs: Vec<f64>,
    /// Per level, which primes it has.
    present: Vec<Vec<bool>>,
    /// The largest modulus that is secure, bits.
    limit: f64,
}

impl<'a> Gadgets<'a> {
    /// For a chain and a pool that begins with the chain's primes.
    #[must_use]
    pub fn new(chain: &'a Chain, pool: &[u32], limit: f64) -> Self {
        let mut present = vec![vec![false; pool.len()]; chain.levels.len()];
        for (present, level) in present.iter_mut().zip(&chain.levels) {
            level.iter().for_each(|&p| present[p as usize] = true);
        }
        Self { chain, logs: pool.iter().map(|&p| f64::from(p).log2()).collect(), present, limit }
    }

    fn log2(&self, primes: &[u16]) -> f64 {
        primes.iter().map(|&p| self.logs[p as usize]).sum()
    }

    /// The gadgets worth trying for levels `low..=high`, whose primes are `union`: for every possible number of digits
    /// the one with the fewest special primes. No digit exceeds the special primes' product by more than `excess` bits.
    #[must_use]
    pub fn candidates(&self, (low, high): (usize, usize), union: &[u16], excess: f64) -> Vec<GadgetLiteral> {
        let mut found: Vec<GadgetLiteral> = Vec::new();
        let mut free: Vec<u16> = (0..self.logs.len() as u16).filter(|p| !union.contains(p)).collect();
        free.sort_by(|a, b| self.logs[*b as usize].total_cmp(&self.logs[*a as usize]));
        for count in 1..=free.len() {
            let most = found.last().map_or(usize::MAX, |g| g.digits.len() - 1);
            if most == 0 {
                break;
            }
            found.extend(self.gadget((low, high), union, &free[..count], excess, most));
        }
        found
    }

    /// The gadget with the fewest digits for these special primes, if `most` suffice and security allows it.
    fn gadget(
        &self,
        (low, high): (usize, usize),
        union: &[u16],
        special: &[u16],
        excess: f64,
        most: usize,
    ) -> Option<GadgetLiteral> {
        let log_p = self.log2(special);
        if self.log2(union) + log_p > self.limit {
            return None;
        }
        let is_big = |p: &&u16| (**p as usize) < self.chain.big;
        let big: Vec<u16> = union.iter().filter(is_big).copied().collect();
        let mut fine: Vec<u16> = union.iter().filter(|p| !is_big(p)).copied().collect();
        fine.sort_by(|a, b| self.logs[*b as usize].total_cmp(&self.logs[*a as usize]));
        let always = self.chain.levels[low].iter().filter(is_big).count();
        let fewest = (self.chain.log_q(high) / (log_p + excess)).ceil().max(1.0) as usize;
        (fewest..=most.min(big.len().max(1))).find_map(|count| {
            let mut digits: Vec<Vec<u16>> =
                (0..count).map(|d| big[d * big.len() / count..(d + 1) * big.len() / count].to_vec()).collect();
            // Fine primes come and go: they join digits that keep a big prime at every level, so that the digits in use
            // are the first ones at every level.
            let lasting = digits.iter().filter(|d| d.first().is_some_and(|p| (*p as usize) < always)).count().max(1);
            let mut sizes: Vec<f64> = digits.iter().map(|d| self.log2(d)).collect();
            for &prime in &fine {
                let lightest = (0..lasting).min_by(|&a, &b| sizes[a].total_cmp(&sizes[b]))?;
                digits[lightest].push(prime);
                sizes[lightest] += self.logs[prime as usize];
            }
            digits.iter_mut().for_each(|d| d.sort_unstable());
            // Digits share out the union, which special primes are not in: what is left of [`GadgetLiteral::serves`] is
            // the order.
            let fits = (low..=high).all(|level| {
                let mut before = true;
                digits.iter().all(|digit| {
                    let kept = digit.iter().filter(|p| self.present[level][**p as usize]);
                    let (primes, size) = kept.fold((0, 0.0), |(n, size), &p| (n + 1, size + self.logs[p as usize]));
                    let in_front = before || primes == 0;
                    before = primes > 0;
                    !digit.is_empty() && in_front && size <= log_p + excess
                })
            });
            fits.then(|| GadgetLiteral { digits, special: special.to_vec() })
        })
    }
}

/// Digits of a gadget that have a prime at a level.
#[must_use]
pub fn digits_at(gadget: &GadgetLiteral, level: &[u16]) -> usize {
    gadget.digits.iter().filter(|d| d.iter().any(|p| level.contains(p))).count()
}

/// Bits by which the largest digit at a level exceeds the special primes; `pool` has the primes.
#[must_use]
pub fn excess(gadget: &GadgetLiteral, level: &[u16], pool: &[u32]) -> f64 {
    let kept = |digit: &Vec<u16>| -> f64 {
        digit.iter().filter(|p| level.contains(p)).map(|&p| f64::from(pool[p as usize]).log2()).sum()
    };
    gadget.digits.iter().map(kept).fold(0.0, f64::max) - log2_of(pool, &gadget.special)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain;
    use umbra_ring::primes;

    #[test]
    fn candidates_serve_every_level_within_their_bounds() {
        let targets: Vec<f64> = (0..14).map(|i| 60.0 + 32.3 * f64::from(i)).collect();
        let chain = chain::search(15, &targets, 1).unwrap().remove(0);
        let mut pool = chain.primes.clone();
        pool.extend(primes::nearest(15, 30.0, 6, &pool).unwrap());
        let limit = 868.0;
        let gadgets = Gadgets::new(&chain, &pool, limit);
        let log2 = |list: &[u16]| list.iter().map(|&p| f64::from(pool[p as usize]).log2()).sum::<f64>();
        for low in 0..14 {
            for high in low..14 {
                let union = chain.union(low..=high);
                let found = gadgets.candidates((low, high), &union, 8.0);
                assert!(!found.is_empty(), "{low} to {high}");
                assert!(found.is_sorted_by(|a, b| a.digits.len() > b.digits.len()));
                for gadget in found {
                    let all: Vec<u16> = gadget.digits.iter().flatten().copied().collect();
                    assert_eq!(all.len(), union.len());
                    assert!(log2(&union) + log2(&gadget.special) <= limit);
                    for level in low..=high {
                        assert!(gadget.serves(&chain.levels[level]));
                        for digit in &gadget.digits {
                            let kept: Vec<u16> =
                                digit.iter().filter(|p| chain.levels[level].contains(p)).copied().collect();
                            assert!(log2(&kept) <= log2(&gadget.special) + 8.0);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn gadgets_by_hand() {
        // Three levels of equal primes, and two special ones; five primes are secure.
        let chain = Chain { primes: vec![1 << 30; 3], big: 3, levels: vec![vec![0], vec![0, 1], vec![0, 1, 2]] };
        let pool = [1 << 30; 5];
        let of = |low: usize, high: usize, limit: f64| -> Vec<(Vec<Vec<u16>>, Vec<u16>)> {
            let union = chain.union(low..=high);
            let found = Gadgets::new(&chain, &pool, limit).candidates((low, high), &union, 0.0);
            found.into_iter().map(|gadget| (gadget.digits, gadget.special)).collect()
        };
        // With one special prime a digit for each prime; with two, two digits.
        let one = (vec![vec![0], vec![1], vec![2]], vec![3]);
        assert_eq!(of(0, 2, 150.1), [one.clone(), (vec![vec![0], vec![1, 2]], vec![3, 4])]);
        assert_eq!(of(0, 2, 120.1), [one]);
        assert_eq!(of(0, 2, 119.0), []);
        // Primes that low levels have dropped are special there.
        assert_eq!(of(0, 0, 60.1), [(vec![vec![0]], vec![1])]);
        assert_eq!(of(0, 1, 150.1), [(vec![vec![0], vec![1]], vec![2]), (vec![vec![0, 1]], vec![2, 3])]);
        let gadget = GadgetLiteral { digits: vec![vec![0], vec![1, 2]], special: vec![3, 4] };
        assert_eq!(chain.levels.iter().map(|level| digits_at(&gadget, level)).collect::<Vec<_>>(), [1, 2, 2]);
    }
}
