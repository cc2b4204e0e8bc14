//! The maps `X -> X^g`, on transformed limbs.
//!
//! On values in bit-reversed order an automorphism is a permutation that maps every aligned block of a power-of-two
//! size to an aligned block of the same size (the low bits of an exponent's bit reversal depend on the low bits of the
//! exponent alone, and `g` is odd). SIMD kernels use that: a register of outputs comes from one aligned register of
//! inputs, shuffled.

use crate::error::RingError;

/// A permutation of transformed residues: output `i` is input `source[i]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Automorphism {
    element: u32,
    source: Vec<u32>,
}

impl Automorphism {
    /// The automorphism `X -> X^element` at ring degree `2^log_n`.
    ///
    /// # Errors
    /// [`RingError::GaloisElement`] unless `element` is odd and below 2N.
    pub fn new(log_n: u32, element: u32) -> Result<Self, RingError> {
        let limit = 2u32 << log_n;
        if element.is_multiple_of(2) || element >= limit {
            return Err(RingError::GaloisElement { element, limit });
        }
        let source = (0..1u32 << log_n)
            .map(|i| {
                let exponent = 2 * (i.reverse_bits() >> (32 - log_n)) + 1;
                let mapped = exponent.wrapping_mul(element) & (limit - 1);
                (mapped >> 1).reverse_bits() >> (32 - log_n)
            })
            .collect();
        Ok(Self { element, source })
    }

    /// `source()[i]` is where output `i` comes from.
    #[inline]
    pub fn source(&self) -> &[u32] {
        &self.source
    }
}

/// The Galois element of a rotation of the slots by `steps` to the left: `5^steps mod 2N`.
pub fn rotation_element(log_n: u32, steps: i64) -> u32 {
    let order = 1i64 << (log_n - 1);
    let mask = (2u32 << log_n) - 1;
    let mut e = steps.rem_euclid(order) as u64;
    let (mut base, mut out) = (5u32, 1u32);
    while e > 0 {
        if e & 1 == 1 {
            out = out.wrapping_mul(base) & mask;
        }
        base = base.wrapping_mul(base) & mask;
        e >>= 1;
    }
    out
}

/// The inverse of an odd `element` modulo `2^(log_n + 1)`.
pub fn inverse_element(log_n: u32, element: u32) -> u32 {
    let mut inverse = element;
    for _ in 0..5 {
        inverse = inverse.wrapping_mul(2u32.wrapping_sub(element.wrapping_mul(inverse)));
    }
    inverse & ((2u32 << log_n) - 1)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;
    use crate::{NttTable, primes};

    #[test]
    fn permutes_like_substitution() {
        let (log_n, n) = (7, 128u32);
        let p = primes::nearest(log_n, 30.0, 1, &[]).unwrap()[0];
        let table = NttTable::new(log_n, p).unwrap();
        let mut rng = StdRng::seed_from_u64(2);
        let a: Vec<u32> = (0..n).map(|_| rng.random_range(0..p)).collect();
        for g in [1, 5, 25, 255, 77] {
            let mut substituted = vec![0; n as usize];
            for (i, &c) in a.iter().enumerate() {
                let e = i as u32 * g % (2 * n);
                substituted[(e % n) as usize] = if e < n { c } else { (p - c) % p };
            }
            table.forward(&mut substituted);
            let mut values = a.clone();
            table.forward(&mut values);
            let map = Automorphism::new(log_n, g).unwrap();
            let permuted: Vec<u32> = map.source().iter().map(|&s| values[s as usize]).collect();
            assert_eq!(permuted, substituted);
            for block in [4usize, 16, 64] {
                for (i, chunk) in map.source().chunks(block).enumerate() {
                    let base = chunk[0] as usize / block;
                    assert!(chunk.iter().all(|&s| s as usize / block == base), "block {i} of {block}");
                }
            }
            assert_eq!(g.wrapping_mul(inverse_element(log_n, g)) % (2 * n), 1);
        }
        assert_eq!(rotation_element(log_n, -1).wrapping_mul(5) % (2 * n), 1);
    }
}
