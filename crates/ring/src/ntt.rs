//! The negacyclic number-theoretic transform of one limb.
//!
//! Order of the output: entry `i` is the value at `psi^(2 brv(i) + 1)` where `brv` reverses `log N` bits and `psi` is a
//! primitive 2N-th root of unity. Automorphisms ([`crate::automorphism`]) and subring plaintexts ([`crate::subring`])
//! rely on that order.
//!
//! The forward transform splits `X^N + 1` down a binary tree: node `k` (the root is 1, its children `2k` and `2k + 1`)
//! maps `a + b X^(len/2)` to `a + w_k b` and `a - w_k b` with `w_k = psi^brv(k)`. The inverse climbs back with
//! `w_k^-1`. The loops are in [`crate::kernels`]; this module owns the roots.

use crate::error::RingError;
use crate::kernels::Kernels;
use crate::modulus::Modulus;
use crate::primes;
pub use crate::roots::LOG_N_RANGE;
use crate::roots::{LastLevel, Narrow, PADDING, WIDE_LOG_N, Wide, narrow_quotient, wide_quotient};

/// Forward and inverse roots in the form the kernels want.
enum Roots {
    Narrow([Narrow; 2]),
    Wide([Wide; 2]),
}

/// Transform of `N` residues modulo one prime.
pub struct NttTable {
    log_n: u32,
    modulus: Modulus,
    psi: u32,
    kernels: &'static Kernels,
    roots: Roots,
    scaled: LastLevel,
    unscaled: LastLevel,
}

impl std::fmt::Debug for NttTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NttTable(N = 2^{}, p = {}, {:?})", self.log_n, self.modulus.value(), self.kernels)
    }
}

impl NttTable {
    /// Tables for ring degree `2^log_n` and prime `p`, for the selected kernels ([`Kernels::selected`]).
    ///
    /// # Errors
    /// [`RingError::Degree`], or [`RingError::Modulus`] when `p` is not a prime below 2^30 with `p = 1 mod 2N`;
    /// [`RingError::Kernel`].
    pub fn new(log_n: u32, p: u32) -> Result<Self, RingError> {
        Self::with_kernels(Kernels::selected()?, log_n, p)
    }

    /// As [`Self::new`] for a given set of kernels. All sets give the same words.
    ///
    /// # Errors
    /// As [`Self::new`], except [`RingError::Kernel`].
    pub fn with_kernels(kernels: &'static Kernels, log_n: u32, p: u32) -> Result<Self, RingError> {
        if !LOG_N_RANGE.contains(&log_n) {
            return Err(RingError::Degree { log_n, min: *LOG_N_RANGE.start(), max: *LOG_N_RANGE.end() });
        }
        let unusable = RingError::Modulus { value: p, log_n };
        let m = Modulus::new(p).ok_or(unusable.clone())?;
        if p & ((2 << log_n) - 1) != 1 || !primes::is_prime(p) {
            return Err(unusable);
        }
        // Half of all residues are non-squares, whose ((p-1)/2N)-th power has order 2N.
        let psi = (2..p).map(|g| m.pow(g, ((p - 1) >> (log_n + 1)) as u64)).find(|&x| m.pow(x, 1 << log_n) == p - 1);
        let psi = psi.ok_or(unusable)?;
        let directions = [psi, m.inv(psi)].map(|root| bit_reversed_powers(&m, log_n, root));
        let last = |factor| LastLevel { sum: factor, difference: m.mul(factor, directions[1][1]) };
        let (scaled, unscaled) = (last(m.inv((1u32 << log_n) % p)), last(1));
        let roots = if kernels.wide_ntt().is_some() && log_n >= WIDE_LOG_N {
            Roots::Wide(directions.map(|roots| Wide {
                quotients: roots.iter().map(|&w| wide_quotient(&m, w)).collect(),
                roots: roots[..roots.len() / 8].iter().map(|&w| w as u64).collect(),
            }))
        } else {
            Roots::Narrow(directions.map(|mut roots| {
                roots.resize(roots.len() + PADDING, 0);
                let quotients = roots.iter().map(|&w| narrow_quotient(&m, w)).collect();
                Narrow { roots, quotients }
            }))
        };
        Ok(Self { log_n, modulus: m, psi, kernels, roots, scaled, unscaled })
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

    /// Coefficients to values, in place. Input and output canonical; `values.len() == N`, anything else is a bug in
    /// this workspace and panics.
    #[inline]
    pub fn forward(&self, values: &mut [u32]) {
        self.check(values, self.log_n);
        self.forward_with(values);
    }

    /// Whether [`Self::forward_prefix`] takes polynomials of `2^log_m` coefficients: long enough ones.
    #[inline]
    pub(crate) fn has_prefix(&self, log_m: u32) -> bool {
        let shortest = if matches!(self.roots, Roots::Wide(_)) { WIDE_LOG_N } else { *LOG_N_RANGE.start() };
        (shortest..=self.log_n).contains(&log_m)
    }

    /// The transform of the subring of `M = values.len()` coefficients in `X^(N/M)`, see [`crate::subring`]: its tree
    /// is the top of this one's, with the same roots. [`Self::has_prefix`] must hold, anything else panics.
    #[inline]
    pub(crate) fn forward_prefix(&self, values: &mut [u32]) {
        let log_m = values.len().ilog2();
        assert!(self.has_prefix(log_m), "a subring without transform");
        self.check(values, log_m);
        self.forward_with(values);
    }

    fn forward_with(&self, values: &mut [u32]) {
        match &self.roots {
            Roots::Narrow([roots, _]) => self.kernels.ntt_forward(&self.modulus, roots, values),
            Roots::Wide([roots, _]) => {
                if let Some(wide) = self.kernels.wide_ntt() {
                    (wide.forward)(&self.modulus, roots, values);
                }
            }
        }
    }

    /// Values to coefficients, in place. Input and output canonical.
    #[inline]
    pub fn inverse(&self, values: &mut [u32]) {
        self.inverse_with(&self.scaled, values);
    }

    /// Values to `N` times the coefficients: the inverse without its last scaling, for callers that multiply by a
    /// constant anyway. Output canonical.
    #[inline]
    pub fn inverse_unscaled(&self, values: &mut [u32]) {
        self.inverse_with(&self.unscaled, values);
    }

    fn inverse_with(&self, last: &LastLevel, values: &mut [u32]) {
        self.check(values, self.log_n);
        match &self.roots {
            Roots::Narrow([_, roots]) => self.kernels.ntt_inverse(&self.modulus, roots, last, values),
            Roots::Wide([_, roots]) => {
                if let Some(wide) = self.kernels.wide_ntt() {
                    (wide.inverse)(&self.modulus, roots, last, values);
                }
            }
        }
    }

    /// The kernels read roots by position in `values`: both have one length.
    fn check(&self, values: &[u32], log_len: u32) {
        assert_eq!(values.len(), 1 << log_len, "a transform of the wrong length");
        debug_assert!(values.iter().all(|&x| x < self.modulus.value()));
    }
}

/// `root^brv(k)` for `k < 2^log_n`.
fn bit_reversed_powers(m: &Modulus, log_n: u32, root: u32) -> Vec<u32> {
    let mut powers = vec![1; 1 << log_n];
    // Entries 2^l..2^(l+1) are those below 2^l times root^(N / 2^(l+1)).
    for level in 0..log_n {
        let step = m.to_montgomery(m.pow(root, 1 << (log_n - 1 - level)));
        let (done, next) = powers.split_at_mut(1 << level);
        for (next, &done) in next.iter_mut().zip(done.iter()) {
            *next = m.mul_montgomery(done, step);
        }
    }
    powers
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};
    use tfhe_ntt::prime32::Plan;

    use super::*;

    /// Primes of 30, 28, 25 and 22 bits (where there are such), and the smallest.
    fn some_primes(log_n: u32) -> Vec<u32> {
        let mut found = Vec::new();
        for bits in [30.0, 28.0, 25.0, 22.0] {
            found.extend(primes::nearest(log_n, bits, 1, &found).unwrap_or_default());
        }
        found.extend((1..).map(|k| (k << (log_n + 1)) + 1).find(|&p| primes::is_prime(p)));
        found
    }

    fn inputs(rng: &mut StdRng, p: u32, n: usize) -> Vec<Vec<u32>> {
        let mut all = vec![vec![0; n], vec![p - 1; n], (0..n).map(|i| if i % 2 == 0 { p - 1 } else { 0 }).collect()];
        all.push((0..n).map(|_| if rng.random() { p - 1 } else { 0 }).collect());
        all.push((0..n).map(|_| rng.random_range(p - p / 256 - 1..p)).collect());
        all.push((0..n).map(|_| rng.random_range(0..p)).collect());
        all
    }

    #[test]
    fn forward_is_evaluation() {
        let mut rng = StdRng::seed_from_u64(1);
        for kernels in Kernels::available() {
            for log_n in [5, 6, 7, 8, 9, 10] {
                for p in some_primes(log_n) {
                    let table = NttTable::with_kernels(kernels, log_n, p).unwrap();
                    let m = *table.modulus();
                    for a in inputs(&mut rng, p, 1 << log_n).into_iter().skip(3) {
                        let mut values = a.clone();
                        table.forward(&mut values);
                        for (i, &value) in values.iter().enumerate().step_by(1 << (log_n - 5)) {
                            let x = m.to_montgomery(m.pow(table.psi(), table.exponent(i) as u64));
                            let slow = a.iter().rev().fold(0, |acc, &c| m.add(m.mul_montgomery(acc, x), c));
                            assert_eq!(value, slow, "{} N = 2^{log_n}, p = {p}, entry {i}", kernels.name);
                        }
                    }
                }
            }
        }
    }

    /// Every size on every set against the scalar set, which `forward_is_evaluation` checks, and against an independent
    /// library wherever that chose the same root or not: its order is ours, so its values differ by an automorphism,
    /// which the product of two polynomials does not show.
    #[test]
    fn all_kernels_agree() {
        let mut rng = StdRng::seed_from_u64(2);
        for log_n in LOG_N_RANGE {
            for p in some_primes(log_n) {
                let reference = NttTable::with_kernels(Kernels::scalar(), log_n, p).unwrap();
                let m = *reference.modulus();
                let sets = Kernels::available().into_iter().skip(1);
                let tables: Vec<NttTable> = sets.map(|k| NttTable::with_kernels(k, log_n, p).unwrap()).collect();
                for a in inputs(&mut rng, p, 1 << log_n) {
                    let mut values = a.clone();
                    reference.forward(&mut values);
                    let (mut coefficients, mut unscaled) = (a.clone(), a.clone());
                    reference.inverse(&mut coefficients);
                    reference.inverse_unscaled(&mut unscaled);
                    let n = (1u32 << log_n) % p;
                    assert!(coefficients.iter().zip(&unscaled).all(|(&c, &u)| m.mul(c, n) == u));
                    let mut back = values.clone();
                    reference.inverse(&mut back);
                    assert_eq!(back, a);
                    for table in &tables {
                        let run = |f: &dyn Fn(&mut [u32])| {
                            let mut out = a.clone();
                            f(&mut out);
                            out
                        };
                        assert!(run(&|x| table.forward(x)) == values, "forward of {table:?}");
                        assert!(run(&|x| table.inverse(x)) == coefficients, "inverse of {table:?}");
                        assert!(run(&|x| table.inverse_unscaled(x)) == unscaled, "unscaled inverse of {table:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn products_agree_with_another_library() {
        let mut rng = StdRng::seed_from_u64(3);
        for log_n in [5, 10, 13, 15] {
            let p = primes::nearest(log_n, 30.0, 1, &[]).unwrap()[0];
            let (table, plan) = (NttTable::new(log_n, p).unwrap(), Plan::try_new(1 << log_n, p).unwrap());
            let m = *table.modulus();
            let [a, b] = [0, 1].map(|_| (0..1 << log_n).map(|_| rng.random_range(0..p)).collect::<Vec<u32>>());
            let product = |forward: &dyn Fn(&mut [u32])| -> Vec<u32> {
                let (mut a, mut b) = (a.clone(), b.clone());
                forward(&mut a);
                forward(&mut b);
                a.iter().zip(&b).map(|(&a, &b)| m.mul(a, b)).collect()
            };
            let mut ours = product(&|x| table.forward(x));
            let mut theirs = product(&|x| plan.fwd(x));
            table.inverse(&mut ours);
            plan.inv(&mut theirs);
            plan.normalize(&mut theirs);
            assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn refuses_what_it_cannot_transform() {
        assert!(matches!(NttTable::new(3, 97), Err(RingError::Degree { .. })));
        assert!(matches!(NttTable::new(10, 97), Err(RingError::Modulus { .. })));
        assert!(matches!(NttTable::new(10, 2049 * 2), Err(RingError::Modulus { .. })));
    }
}
