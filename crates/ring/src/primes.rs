//! Finding primes that are 1 modulo 2N.

use crate::error::RingError;

/// Deterministic Miller-Rabin for 32-bit numbers (bases 2, 7, 61 suffice below 4,759,123,141).
pub fn is_prime(n: u32) -> bool {
    if n < 2 {
        return false;
    }
    for small in [2u32, 3, 5, 7, 11, 13, 61] {
        if n.is_multiple_of(small) {
            return n == small;
        }
    }
    let (n64, s) = (n as u64, (n - 1).trailing_zeros());
    let d = (n - 1) >> s;
    let power = |mut a: u64, mut e: u32| {
        let mut out = 1;
        while e > 0 {
            if e & 1 == 1 {
                out = out * a % n64;
            }
            a = a * a % n64;
            e >>= 1;
        }
        out
    };
    [2u64, 7, 61].iter().all(|&a| {
        let mut x = power(a, d);
        if x == 1 || x == n64 - 1 {
            return true;
        }
        for _ in 1..s {
            x = x * x % n64;
            if x == n64 - 1 {
                return true;
            }
        }
        false
    })
}

/// The `count` primes `p = 1 mod 2^(log_n + 1)` nearest to `2^log2_size` (and below 2^30) that are not in `taken`,
/// nearest first.
///
/// # Errors
/// [`RingError::PrimesExhausted`] when there are not that many within a factor of two.
pub fn nearest(log_n: u32, log2_size: f64, count: usize, taken: &[u32]) -> Result<Vec<u32>, RingError> {
    let step = 1u64 << (log_n + 1);
    let target = log2_size.exp2();
    let (low, high) = ((target / 2.0) as u64, ((target * 2.0) as u64).min((1 << 30) - 1));
    let centre = (target as u64) / step;
    let mut found = Vec::with_capacity(count);
    for distance in 0..=(high / step + 1) {
        let mut both = [centre.checked_sub(distance), centre.checked_add(distance + 1)];
        // Of a pair at about the same distance, the nearer one first.
        both.sort_by(|a, b| {
            let gap = |k: &Option<u64>| k.map_or(f64::MAX, |k| ((k * step + 1) as f64 - target).abs());
            gap(a).total_cmp(&gap(b))
        });
        for k in both.into_iter().flatten() {
            let candidate = k * step + 1;
            if candidate < low.max(3) || candidate > high {
                continue;
            }
            let candidate = candidate as u32;
            if !taken.contains(&candidate) && is_prime(candidate) {
                found.push(candidate);
                if found.len() == count {
                    return Ok(found);
                }
            }
        }
    }
    if count == 0 {
        return Ok(found);
    }
    Err(RingError::PrimesExhausted { bits: log2_size.round() as u32, log_n, wanted: count })
}
