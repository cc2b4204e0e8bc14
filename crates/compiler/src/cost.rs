//! The cost model: CPU-seconds of a step, from operation counts and a table of measured rates.

use serde::{Deserialize, Serialize};

/// Measured rates of one core. The defaults are those of the machine that `docs/performance.md` speaks of; measure a
/// kernel and put its rate here to calibrate estimates for another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostModel {
    /// Seconds of a number-theoretic transform of one limb, for each `N log2 N`.
    pub transform: f64,
    /// Modular multiply-accumulates a second: key products, weights, base conversion.
    pub multiply_accumulates: f64,
    /// Products of residues with integers a second, which need no reductions: weights with one channel per ciphertext.
    pub integer_products: f64,
    /// Additions a second of residues that share an integer, before they are multiplied by it.
    pub shared_additions: f64,
    /// Bytes a second at which keys are read from memory.
    pub key_bytes: f64,
    /// Seconds for each word of other work on a limb: additions, copies, automorphisms.
    pub word: f64,
    /// Seconds that a gigabyte of key file is worth, when time and keys are traded.
    pub seconds_per_key_gigabyte: f64,
}

impl Default for CostModel {
    fn default() -> Self {
        Self {
            // 55 us at N = 2^15, among other work that uses the caches.
            transform: 55e-6 / (32768.0 * 15.0),
            multiply_accumulates: 14e9,
            integer_products: 28e9,
            shared_additions: 43e9,
            key_bytes: 12e9,
            word: 0.45e-9,
            seconds_per_key_gigabyte: 0.2,
        }
    }
}

/// Sizes that a key switch depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwitchSize {
    /// Base-2 logarithm of the ring degree.
    pub log_n: u32,
    /// Primes of the level.
    pub limbs: usize,
    /// Special primes.
    pub special: usize,
    /// Digits that have a prime at the level.
    pub digits: usize,
}

/// Operations counted; all rates are applied in one place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Transforms of one limb.
    pub transforms: f64,
    /// Multiply-accumulates of one limb.
    pub products: f64,
    /// Products of one limb with an integer.
    pub integers: f64,
    /// Limbs that are added before they are multiplied by an integer.
    pub shared: f64,
    /// Words of keys, in limbs.
    pub key_limbs: f64,
    /// Limbs touched otherwise.
    pub limbs: f64,
}

impl Work {
    /// Sum, the other taken `times` times.
    #[must_use]
    pub fn plus(self, other: Self, times: f64) -> Self {
        Self {
            transforms: self.transforms + times * other.transforms,
            products: self.products + times * other.products,
            integers: self.integers + times * other.integers,
            shared: self.shared + times * other.shared,
            key_limbs: self.key_limbs + times * other.key_limbs,
            limbs: self.limbs + times * other.limbs,
        }
    }

    /// Bytes of keys read.
    #[must_use]
    pub fn key_bytes(&self, log_n: u32) -> f64 {
        self.key_limbs * f64::from(log_n + 2).exp2()
    }

    /// CPU-seconds.
    #[must_use]
    pub fn seconds(&self, model: &CostModel, log_n: u32) -> f64 {
        let n = f64::from(log_n).exp2();
        self.transforms * model.transform * n * f64::from(log_n)
            + self.products * n / model.multiply_accumulates
            + self.integers * n / model.integer_products
            + self.shared * n / model.shared_additions
            + self.key_bytes(log_n) / model.key_bytes
            + self.limbs * n * model.word
    }
}

impl SwitchSize {
    fn f(&self) -> (f64, f64, f64) {
        (self.limbs as f64, self.special as f64, self.digits as f64)
    }

    /// Splitting one polynomial in transformed form into extended, transformed digits.
    #[must_use]
    pub fn decompose(&self) -> Work {
        let (l, k, d) = self.f();
        Work { transforms: l + d * (l + k) - l, products: l * (l + k - l / d), limbs: l, ..Work::default() }
    }

    /// Product of digits with one key (both halves), and the permutation.
    #[must_use]
    pub fn product(&self) -> Work {
        let (l, k, d) = self.f();
        let (products, limbs) = (2.0 * d * (l + k), 2.0 * (l + k));
        Work { products, key_limbs: products, limbs, ..Work::default() }
    }

    /// Products of so many baby rotations over all inputs, of which so many are different: a key is read once, and used
    /// for every input while it is in the cache.
    #[must_use]
    pub fn babies(&self, rotated: usize, different: usize) -> Work {
        let one = self.product();
        let all = Work::default().plus(one, rotated as f64);
        Work { key_limbs: one.key_limbs * different as f64, ..all }
    }

    /// Division of `polys` polynomials by P and by `dropped` primes, `added` ones appearing.
    #[must_use]
    pub fn mod_down(&self, polys: f64, special: usize, dropped: usize, added: usize) -> Work {
        let (l, _, _) = self.f();
        let gone = (special + dropped) as f64;
        let left = l - dropped as f64 + added as f64;
        Work {
            transforms: polys * (gone + left),
            products: polys * gone * left,
            limbs: polys * 2.0 * left,
            ..Work::default()
        }
    }

    /// One giant step on a sum in the extended basis: the rotated half is divided by P, split and multiplied by the
    /// key.
    #[must_use]
    pub fn giant(&self) -> Work {
        self.mod_down(1.0, self.special, 0, 0).plus(self.decompose(), 1.0).plus(self.product(), 1.0)
    }

    /// Multiplication of one rotated ciphertext by a periodic plaintext, in the extended basis.
    #[must_use]
    pub fn diagonal(&self) -> Work {
        let (l, k, _) = self.f();
        Work { products: 2.0 * (l + k), ..Work::default() }
    }

    /// Squaring and relinearizing one ciphertext.
    #[must_use]
    pub fn square(&self, dropped: usize, added: usize) -> Work {
        let (l, _, _) = self.f();
        let tensor = Work { products: 3.0 * l, limbs: 3.0 * l, ..Work::default() };
        tensor
            .plus(self.decompose(), 1.0)
            .plus(self.product(), 1.0)
            .plus(self.mod_down(2.0, self.special, dropped, added), 1.0)
    }
}
