//! Key-switching gadgets: how a range of levels splits residues into digits, and with which special primes.
//!
//! Low levels have dropped most primes: those serve as special primes there, at no cost in security, so that fewer digits do.

use crate::GadgetLiteral;
use crate::chain::{Chain, log2_of};

/// The gadget with the fewest digits for levels `low..=high` and these special primes, if there is one: no digit exceeds the
/// special primes' product by more than `excess` bits, and all primes together stay within `limit` bits.
///
/// `pool` holds the chain's primes and may go on with primes of no level.
#[must_use]
pub fn gadget(
    chain: &Chain,
    pool: &[u32],
    (low, high): (usize, usize),
    special: &[u16],
    excess: f64,
    limit: f64,
) -> Option<GadgetLiteral> {
    let union = chain.union(low..=high);
    let log_p = log2_of(pool, special);
    if special.is_empty() || union.iter().any(|p| special.contains(p)) || log2_of(pool, &union) + log_p > limit {
        return None;
    }
    let is_big = |p: &&u16| (**p as usize) < chain.big;
    let big: Vec<u16> = union.iter().filter(is_big).copied().collect();
    let fine: Vec<u16> = union.iter().filter(|p| !is_big(p)).copied().collect();
    let always = chain.levels[low].iter().filter(is_big).count();
    (1..=big.len().max(1)).find_map(|count| {
        let mut digits: Vec<Vec<u16>> =
            (0..count).map(|d| big[d * big.len() / count..(d + 1) * big.len() / count].to_vec()).collect();
        // Fine primes come and go: they join digits that keep a big prime at every level, so that the digits in use are the
        // first ones at every level.
        let mut lasting = digits.iter().filter(|d| d.first().is_some_and(|p| (*p as usize) < always)).count();
        if lasting == 0 {
            // Levels of fine primes only.
            lasting = 1;
        }
        let mut by_size = fine.clone();
        by_size.sort_by_key(|p| std::cmp::Reverse(pool[*p as usize]));
        for prime in by_size {
            let lightest =
                (0..lasting).min_by(|&a, &b| log2_of(pool, &digits[a]).total_cmp(&log2_of(pool, &digits[b])))?;
            digits[lightest].push(prime);
        }
        digits.iter_mut().for_each(|d| d.sort_unstable());
        let gadget = GadgetLiteral { digits, special: special.to_vec() };
        let fits = (low..=high).all(|level| {
            let size = |digit: &Vec<u16>| -> f64 {
                let kept: Vec<u16> = digit.iter().filter(|p| chain.levels[level].contains(p)).copied().collect();
                log2_of(pool, &kept)
            };
            gadget.digits.iter().all(|d| !d.is_empty() && size(d) <= log_p + excess)
                && gadget.serves(&chain.levels[level])
        });
        fits.then_some(gadget)
    })
}

/// Sets of special primes worth trying for levels `low..=high`: the `k` largest of the pool that those levels do not have.
pub fn specials(chain: &Chain, pool: &[u32], (low, high): (usize, usize)) -> Vec<Vec<u16>> {
    let union = chain.union(low..=high);
    let mut free: Vec<u16> = (0..pool.len() as u16).filter(|p| !union.contains(p)).collect();
    free.sort_by_key(|p| std::cmp::Reverse(pool[*p as usize]));
    (1..=free.len()).map(|k| free[..k].to_vec()).collect()
}

/// Digits of a gadget that have a prime at a level.
#[must_use]
pub fn digits_at(gadget: &GadgetLiteral, level: &[u16]) -> usize {
    gadget.digits.iter().filter(|d| d.iter().any(|p| level.contains(p))).count()
}
