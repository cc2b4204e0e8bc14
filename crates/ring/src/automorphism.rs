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
