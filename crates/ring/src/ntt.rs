//! The negacyclic number-theoretic transform of one limb.
//!
//! Order of the output: entry `i` is the value at `psi^(2 brv(i) + 1)` where `brv` reverses
//! `log N` bits and `psi` is a primitive 2N-th root of unity. Automorphisms ([`crate::automorphism`])
//! and subring plaintexts ([`crate::subring`]) rely on that order, so it is checked when a table is
//! built.

use crate::{Modulus, RingError, primes};
use tfhe_ntt::prime32::Plan;

/// Smallest and largest supported `log2 N`.
pub const LOG_N_RANGE: std::ops::RangeInclusive<u32> = 5..=17;

/// Transform of `N` residues modulo one prime.
pub struct NttTable {
    log_n: u32,
    modulus: Modulus,
    psi: u32,
    plan: Plan,
}

impl std::fmt::Debug for NttTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NttTable(N = 2^{}, p = {})", self.log_n, self.modulus.value())
    }
}

impl NttTable {
    /// Tables for ring degree `2^log_n` and prime `p`.
    ///
    /// # Errors
    /// [`RingError::Degree`], or [`RingError::Modulus`] when `p` is not a prime below 2^30 with
    /// `p = 1 mod 2N`.
    pub fn new(log_n: u32, p: u32) -> Result<Self, RingError> {
        if !LOG_N_RANGE.contains(&log_n) {
            return Err(RingError::Degree { log_n, min: *LOG_N_RANGE.start(), max: *LOG_N_RANGE.end() });
        }
        let unusable = RingError::Modulus { value: p, log_n };
        let modulus = Modulus::new(p).ok_or(unusable.clone())?;
        if p & ((2 << log_n) - 1) != 1 || !primes::is_prime(p) {
            return Err(unusable);
        }
        let plan = Plan::try_new(1 << log_n, p).ok_or(unusable)?;
        let mut x = vec![0u32; 1 << log_n];
        x[1] = 1;
        plan.fwd(&mut x);
        let table = Self { log_n, modulus, psi: x[0], plan };
        debug_assert!((0..x.len()).all(|i| x[i] == modulus.pow(x[0], table.exponent(i) as u64)));
        Ok(table)
    }

    /// The prime.
    #[inline]
    pub fn modulus(&self) -> &Modulus {
        &self.modulus
    }

    /// `log2 N`.
    #[inline]
    pub fn log_n(&self) -> u32 {
        self.log_n
    }

    /// The primitive 2N-th root of unity behind the transform.
    #[inline]
    pub fn psi(&self) -> u32 {
        self.psi
    }

    /// The (odd) power of `psi` at which output entry `i` is the value.
    #[inline]
    pub fn exponent(&self, i: usize) -> u32 {
        2 * ((i as u32).reverse_bits() >> (32 - self.log_n)) + 1
    }

    /// Coefficients to values, in place. Input and output canonical; `values.len() == N`.
    #[inline]
    pub fn forward(&self, values: &mut [u32]) {
        self.plan.fwd(values);
    }

    /// Values to coefficients, in place. Input and output canonical.
    #[inline]
    pub fn inverse(&self, values: &mut [u32]) {
        self.plan.inv(values);
        self.plan.normalize(values);
    }

    /// Values to `N` times the coefficients: the inverse without its last scaling, for callers that
    /// multiply by a constant anyway. Output canonical.
    #[inline]
    pub fn inverse_unscaled(&self, values: &mut [u32]) {
        self.plan.inv(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    #[test]
    fn order_and_round_trip() {
        let mut rng = StdRng::seed_from_u64(1);
        for log_n in [5, 8, 11] {
            let p = primes::nearest(log_n, 30.0, 1, &[]).unwrap()[0];
            let table = NttTable::new(log_n, p).unwrap();
            let m = *table.modulus();
            let a: Vec<u32> = (0..1 << log_n).map(|_| rng.random_range(0..p)).collect();
            let mut values = a.clone();
            table.forward(&mut values);
            for (i, &value) in values.iter().enumerate() {
                let x = m.pow(table.psi(), table.exponent(i) as u64);
                let slow = a.iter().rev().fold(0, |acc, &c| m.add(m.mul(acc, x), c));
                assert_eq!(value, slow);
            }
            table.inverse(&mut values);
            assert_eq!(values, a);
        }
    }

    #[test]
    fn refuses_what_it_cannot_transform() {
        assert!(matches!(NttTable::new(3, 97), Err(RingError::Degree { .. })));
        assert!(matches!(NttTable::new(10, 97), Err(RingError::Modulus { .. })));
        assert!(matches!(NttTable::new(10, 2049 * 2), Err(RingError::Modulus { .. })));
    }
}
