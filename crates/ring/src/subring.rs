//! Polynomials in `Y = X^(N/M)`: the subring in which periodic slot vectors live.
//!
//! A polynomial with `M` coefficients in `Y` has, in the order of [`crate::ntt`], `M` distinct values, each constant
//! over a block of `N/M` entries. They are found by a transform of size `M` instead of `N`.

use crate::ntt::NttTable;

/// Transform of size `M` that agrees with the big one on polynomials in `Y`.
#[derive(Debug, Clone)]
pub struct SubringNtt {
    /// Montgomery forms of powers of the root in bit-reversed order, as butterflies use them. Empty where the table of
    /// the big transform has them.
    twiddles: Vec<u32>,
}

impl SubringNtt {
    /// For `M = 2^log_m <= N`.
    pub fn new(table: &NttTable, log_m: u32) -> Self {
        let m = table.modulus();
        debug_assert!(log_m <= table.log_n());
        if table.has_prefix(log_m) {
            return Self { twiddles: Vec::new() };
        }
        let root = m.pow(table.psi(), 1 << (table.log_n() - log_m));
        let twiddles = (0..1u32 << log_m)
            .map(|i| m.to_montgomery(m.pow(root, if i == 0 { 0 } else { (i.reverse_bits() >> (32 - log_m)) as u64 })))
            .collect();
        Self { twiddles }
    }

    /// Coefficients in `Y` to block values, in place; canonical in and out. `values.len() == M`.
    pub fn forward(&self, table: &NttTable, values: &mut [u32]) {
        if self.twiddles.is_empty() {
            return table.forward_prefix(values);
        }
        let m = table.modulus();
        let (mut half, mut blocks) = (values.len() / 2, 1);
        while half > 0 {
            for block in 0..blocks {
                let w = self.twiddles[blocks + block];
                let (low, high) = values[2 * half * block..2 * half * (block + 1)].split_at_mut(half);
                for (a, b) in low.iter_mut().zip(high) {
                    let t = m.mul_montgomery(*b, w);
                    (*a, *b) = (m.add(*a, t), m.sub(*a, t));
                }
            }
            (half, blocks) = (half / 2, blocks * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;
    use crate::primes;

    #[test]
    fn blocks_of_the_big_transform() {
        let mut rng = StdRng::seed_from_u64(7);
        let log_n = 10;
        let p = primes::nearest(log_n, 30.0, 1, &[]).unwrap()[0];
        let table = NttTable::new(log_n, p).unwrap();
        for log_m in [1, 2, 5, 8, 10] {
            let small = SubringNtt::new(&table, log_m);
            let gap = 1 << (log_n - log_m);
            let mut values: Vec<u32> = (0..1 << log_m).map(|_| rng.random_range(0..p)).collect();
            let mut big = vec![0; 1 << log_n];
            for (i, &v) in values.iter().enumerate() {
                big[i * gap] = v;
            }
            table.forward(&mut big);
            assert_eq!(small.twiddles.is_empty(), table.has_prefix(log_m));
            small.forward(&table, &mut values);
            for (i, &v) in big.iter().enumerate() {
                assert_eq!(v, values[i / gap], "M = 2^{log_m}, entry {i}");
            }
        }
    }
}
