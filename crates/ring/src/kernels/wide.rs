//! Residues in 64-bit lanes and their 52-bit products (AVX-512 IFMA), see [`super::ifma`].

use std::arch::x86_64::*;

use crate::modulus::Modulus;
use crate::roots::Wide;

pub(super) type V = __m512i;
pub(super) const EVEN: __mmask16 = 0x5555;

/// Constants of a transform, spread over registers.
#[derive(Clone, Copy)]
pub(super) struct Spread {
    pub(super) p: V,
    /// `2^52 - p`.
    minus_p: V,
    /// `floor(2^52 / p)`.
    reciprocal: V,
    one: V,
    /// `p` in 32-bit lanes.
    pub(super) p32: V,
    /// `p` less a margin of `2^-16`, see [`Self::above_margin`].
    below: V,
}

/// A multiplier and its quotient, spread.
#[derive(Clone, Copy)]
pub(super) struct Factor {
    pub(super) w: V,
    pub(super) quotient: V,
}

#[inline(always)]
pub(super) unsafe fn splat(x: u64) -> V {
    // SAFETY: the caller has AVX-512F, as for every function of this module.
    unsafe { _mm512_set1_epi64(x as i64) }
}

impl Spread {
    #[inline(always)]
    pub(super) unsafe fn new(m: &Modulus) -> Self {
        let p = m.value() as u64;
        // SAFETY: the caller has AVX-512F and IFMA.
        unsafe {
            Self {
                p: splat(p),
                minus_p: splat((1 << 52) - p),
                reciprocal: splat((1 << 52) / p),
                one: splat(1),
                p32: _mm512_set1_epi32(p as i32),
                below: splat(p - (p >> 16) - 1),
            }
        }
    }

    /// `x w` in `[0, 1)`.
    #[inline(always)]
    pub(super) unsafe fn mul(&self, x: V, f: Factor) -> V {
        // SAFETY: the caller has AVX-512F and IFMA.
        unsafe { self.mul_add(_mm512_setzero_si512(), x, f) }
    }

    /// `start + x w`, the product in `[0, 1)`.
    #[inline(always)]
    pub(super) unsafe fn mul_add(&self, start: V, x: V, f: Factor) -> V {
        // SAFETY: the caller has AVX-512F and IFMA.
        unsafe {
            let q = _mm512_madd52hi_epu64(_mm512_setzero_si512(), x, f.quotient);
            _mm512_madd52lo_epu64(_mm512_madd52lo_epu64(start, x, f.w), q, self.minus_p)
        }
    }

    /// `x` in `[0, 1)`.
    #[inline(always)]
    pub(super) unsafe fn reduce(&self, x: V) -> V {
        // SAFETY: the caller has AVX-512F and IFMA.
        unsafe {
            let q = _mm512_madd52hi_epu64(_mm512_setzero_si512(), x, self.reciprocal);
            _mm512_madd52lo_epu64(x, q, self.minus_p)
        }
    }

    /// `x` in `[m, 1 + m)` for a margin `m` of `2^-16` that the excess over 1 of a few products does not use up.
    #[inline(always)]
    pub(super) unsafe fn above_margin(&self, x: V) -> V {
        // SAFETY: the caller has AVX-512F and IFMA.
        unsafe {
            let q = _mm512_madd52hi_epu64(_mm512_setzero_si512(), _mm512_add_epi64(x, self.below), self.reciprocal);
            _mm512_madd52lo_epu64(_mm512_add_epi64(x, self.p), q, self.minus_p)
        }
    }

    /// Forward butterfly.
    #[inline(always)]
    pub(super) unsafe fn split(&self, a: V, b: V, f: Factor) -> [V; 2] {
        // SAFETY: the caller has AVX-512F and IFMA.
        unsafe {
            let r = self.mul(b, f);
            [_mm512_add_epi64(a, r), _mm512_sub_epi64(a, r)]
        }
    }

    /// Inverse butterfly; `b` is at most `bound`, a multiple of `p`.
    #[inline(always)]
    pub(super) unsafe fn merge(&self, a: V, b: V, bound: V, f: Factor) -> [V; 2] {
        // SAFETY: the caller has AVX-512F and IFMA.
        unsafe {
            let difference = _mm512_sub_epi64(_mm512_add_epi64(a, bound), b);
            [_mm512_add_epi64(a, b), self.mul(difference, f)]
        }
    }

    /// Eight factors from their quotients: `w = floor(w' p / 2^52) + 1`, since `w 2^52 / p` is not an integer.
    #[inline(always)]
    pub(super) unsafe fn factors(&self, quotient: V) -> Factor {
        // SAFETY: the caller has AVX-512F and IFMA.
        unsafe { Factor { w: _mm512_madd52hi_epu64(self.one, quotient, self.p), quotient } }
    }

    /// Words below 2 to canonical ones.
    #[inline(always)]
    pub(super) unsafe fn canonical(&self, x: V) -> V {
        // SAFETY: the caller has AVX-512F and IFMA.
        unsafe { _mm512_min_epu32(x, _mm512_sub_epi32(x, self.p32)) }
    }
}

impl Wide {
    /// One node's factor, spread. The node must be one of those with a plain root.
    #[inline(always)]
    pub(super) unsafe fn factor(&self, node: usize) -> Factor {
        debug_assert!(node < self.roots.len());
        // SAFETY: callers pass nodes below N/8 only, the length of `roots`.
        unsafe {
            Factor { w: splat(*self.roots.get_unchecked(node)), quotient: splat(*self.quotients.get_unchecked(node)) }
        }
    }

    /// The factor of place `k` in the heap of nodes from `node`.
    #[inline(always)]
    pub(super) unsafe fn below(&self, node: usize, k: usize) -> Factor {
        let level = k.ilog2();
        // SAFETY: the caller has AVX-512F and IFMA, and passes a place with a plain root.
        unsafe { self.factor((node << level) + k - (1 << level)) }
    }

    /// The factors of the first `K` levels below and including `node`, as a heap.
    #[inline(always)]
    pub(super) unsafe fn subtree<const K: usize>(&self, node: usize) -> [Factor; 8] {
        // SAFETY: the caller has AVX-512F and IFMA, and passes a node of which these levels have plain roots.
        unsafe {
            let zero = _mm512_setzero_si512();
            let mut out = [Factor { w: zero, quotient: zero }; 8];
            for (k, out) in out.iter_mut().enumerate().take(1 << K).skip(1) {
                *out = self.below(node, k);
            }
            out
        }
    }

    /// `count` quotients from `node`, each repeated in `8 / count` lanes.
    #[inline(always)]
    pub(super) unsafe fn repeated<const COUNT: usize>(&self, node: usize) -> V {
        debug_assert!(node + COUNT <= self.quotients.len());
        // SAFETY: nodes are below N, the length of `quotients`.
        unsafe {
            let q = self.quotients.as_ptr().add(node);
            match COUNT {
                2 => {
                    let two = _mm512_castsi128_si512(_mm_loadu_si128(q.cast()));
                    _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 0, 0, 0, 1, 1, 1, 1), two)
                }
                4 => {
                    let four = _mm512_castsi256_si512(_mm256_loadu_si256(q.cast()));
                    _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3), four)
                }
                _ => _mm512_loadu_si512(q.cast()),
            }
        }
    }
}

/// Low halves of 64-bit lanes as even and odd words.
#[inline(always)]
pub(super) unsafe fn join_even_odd(x: [V; 2]) -> V {
    // SAFETY: the caller has AVX-512F and IFMA.
    unsafe { _mm512_mask_shuffle_epi32::<0b10_10_00_00>(x[0], !EVEN, x[1]) }
}

#[cfg(test)]
mod tests {
    use super::super::set::Kernels;
    use super::*;
    use crate::roots::LastLevel;

    /// Lengths that no schedule is for: the passes would leave their blocks, or leave levels out.
    #[test]
    fn wide_transforms_refuse_lengths_without_a_schedule() {
        let m = Modulus::new(257).unwrap();
        let last = LastLevel { sum: 1, difference: 1 };
        for wide in Kernels::available().iter().filter_map(|k| k.wide_ntt()) {
            for n in [0, 64, 3 << 7, 3 << 15, 1 << 18] {
                let roots = Wide { roots: vec![1; n / 8], quotients: vec![1; n] };
                let refused = |transform: &dyn Fn(&mut [u32])| {
                    let run = || transform(&mut vec![0; n]);
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err()
                };
                assert!(refused(&|values| (wide.forward)(&m, &roots, values)), "forward of {n}");
                assert!(refused(&|values| (wide.inverse)(&m, &roots, &last, values)), "inverse of {n}");
            }
            let short = Wide { roots: vec![1; 128 / 8], quotients: vec![1; 127] };
            let run = || (wide.forward)(&m, &short, &mut [0; 128]);
            assert!(std::panic::catch_unwind(run).is_err(), "roots that end too soon");
        }
    }
}
