//! A word-sized prime modulus and its scalar arithmetic.

/// A prime `p < 2^30` with the constants of Montgomery reduction by `2^32`.
///
/// *Montgomery form* of `a` is `a * 2^32 mod p`. Multiplying a plain residue by a constant in Montgomery form and
/// reducing gives a plain residue, so only constants (keys, weights, base conversion matrices) are kept in that form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modulus {
    p: u32,
    /// `p^-1 mod 2^32`
    p_inv: u32,
    /// `2^32 mod p`
    r: u32,
    /// `2^64 mod p`
    r2: u32,
}

impl Modulus {
    /// Largest supported bit length.
    pub const MAX_BITS: u32 = 30;

    /// Wraps an odd `2 < p < 2^30`; primality is the caller's to check ([`crate::primes::is_prime`]).
    ///
    /// Returns `None` when `p` is even or out of range.
    pub fn new(p: u32) -> Option<Self> {
        if p < 3 || p.is_multiple_of(2) || p >= 1 << Self::MAX_BITS {
            return None;
        }
        // Newton: each step doubles the number of correct low bits, from 3.
        let mut p_inv = p;
        for _ in 0..4 {
            p_inv = p_inv.wrapping_mul(2u32.wrapping_sub(p.wrapping_mul(p_inv)));
        }
        let r = ((1u64 << 32) % p as u64) as u32;
        let r2 = ((r as u64 * r as u64) % p as u64) as u32;
        Some(Self { p, p_inv, r, r2 })
    }

    /// The prime itself.
    #[inline]
    pub fn value(&self) -> u32 {
        self.p
    }

    /// `p^-1 mod 2^32`, for kernels.
    #[inline]
    pub fn inverse_mod_word(&self) -> u32 {
        self.p_inv
    }

    /// `2^64 mod p`, for kernels.
    #[inline]
    pub fn r2(&self) -> u32 {
        self.r2
    }

    /// Montgomery reduction: `t * 2^-32 mod p`, signed, within `|t| / 2^32 + p / 2` of zero.
    #[inline(always)]
    pub fn redc(&self, t: i64) -> i64 {
        let m = (t as i32).wrapping_mul(self.p_inv as i32);
        (t - m as i64 * self.p as i64) >> 32
    }

    /// Brings a value in `[-2p, 2p)` to `[0, p)`.
    #[inline(always)]
    pub fn canonical(&self, t: i64) -> u32 {
        debug_assert!(t >= -2 * self.p as i64 && t < 2 * self.p as i64);
        let p = self.p;
        let x = (t + 2 * p as i64) as u32;
        let x = x.min(x.wrapping_sub(2 * p));
        x.min(x.wrapping_sub(p))
    }

    /// Any signed number to `[0, p)`.
    #[inline]
    pub fn reduce_i64(&self, x: i64) -> u32 {
        x.rem_euclid(self.p as i64) as u32
    }

    /// Any signed wide number to `[0, p)`.
    #[inline]
    pub fn reduce_i128(&self, x: i128) -> u32 {
        x.rem_euclid(self.p as i128) as u32
    }

    /// `a + b`.
    #[inline(always)]
    pub fn add(&self, a: u32, b: u32) -> u32 {
        let s = a + b;
        s.min(s.wrapping_sub(self.p))
    }

    /// `a - b`.
    #[inline(always)]
    pub fn sub(&self, a: u32, b: u32) -> u32 {
        let d = a.wrapping_sub(b);
        d.min(d.wrapping_add(self.p))
    }

    /// `-a`.
    #[inline(always)]
    pub fn neg(&self, a: u32) -> u32 {
        self.sub(0, a)
    }

    /// `a * b mod p`, the obvious way.
    #[inline]
    pub fn mul(&self, a: u32, b: u32) -> u32 {
        (a as u64 * b as u64 % self.p as u64) as u32
    }

    /// `a * b mod p` where `b` is in Montgomery form.
    #[inline(always)]
    pub fn mul_montgomery(&self, a: u32, b: u32) -> u32 {
        self.canonical(self.redc(a as i64 * b as i64))
    }

    /// `a^e mod p`.
    pub fn pow(&self, mut a: u32, mut e: u64) -> u32 {
        let mut out = 1;
        while e > 0 {
            if e & 1 == 1 {
                out = self.mul(out, a);
            }
            a = self.mul(a, a);
            e >>= 1;
        }
        out
    }

    /// `a^-1 mod p` (0 for 0), p prime.
    pub fn inv(&self, a: u32) -> u32 {
        self.pow(a, self.p as u64 - 2)
    }

    /// Plain to Montgomery form.
    #[inline]
    pub fn to_montgomery(&self, a: u32) -> u32 {
        self.mul(a, self.r)
    }

    /// The representative of `a` nearest to zero.
    #[inline(always)]
    pub fn centre(&self, a: u32) -> i32 {
        if a > self.p / 2 { a as i32 - self.p as i32 } else { a as i32 }
    }

    /// Base-2 logarithm of the prime.
    pub fn log2(&self) -> f64 {
        (self.p as f64).log2()
    }
}
