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
