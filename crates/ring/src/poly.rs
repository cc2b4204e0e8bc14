//! Polynomials as limbs.

use aligned_vec::{AVec, ConstAlign, avec};
use zeroize::Zeroize;

/// `count` polynomials over one basis of primes, stored limb by limb: all polynomials' residues
/// modulo the first prime, then all modulo the second, and so on.
///
/// Limb-major order keeps what one prime needs together: work is parallel over limbs, and the
/// digits, keys and accumulators of one limb are read in one go. The basis itself (which prime is
/// limb `i`) is the owner's to know.
#[derive(Clone, PartialEq, Eq)]
pub struct Polys {
    n: usize,
    count: usize,
    data: AVec<u32, ConstAlign<64>>,
}

impl std::fmt::Debug for Polys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Polys({} x {} limbs of {})", self.count, self.limbs(), self.n)
    }
}

impl Polys {
    /// All-zero polynomials of degree below `n` (at least 1), `count` (at least 1) of them.
    pub fn zero(n: usize, limbs: usize, count: usize) -> Self {
        Self { n, count, data: avec![[64]| 0u32; n * limbs * count] }
    }

    /// From words in limb-major order; `None` when the length is not a multiple of `n * count`.
    pub fn from_words(n: usize, count: usize, words: &[u32]) -> Option<Self> {
        (n > 0 && count > 0 && words.len().is_multiple_of(n * count)).then(|| Self {
            n,
            count,
            data: AVec::from_slice(64, words),
        })
    }

    /// Coefficients per polynomial.
    #[inline]
    pub fn n(&self) -> usize {
        self.n
    }

    /// Number of polynomials.
    #[inline]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Number of limbs.
    #[inline]
    pub fn limbs(&self) -> usize {
        self.data.len() / (self.n * self.count)
    }

    /// Words of one limb of all polynomials.
    #[inline]
    pub fn stride(&self) -> usize {
        self.n * self.count
    }

    /// All words, limb-major.
    #[inline]
    pub fn words(&self) -> &[u32] {
        &self.data
    }

    /// All words, limb-major.
    #[inline]
    pub fn words_mut(&mut self) -> &mut [u32] {
        &mut self.data
    }

    /// Residues of polynomial `poly` in limb `limb`.
    #[inline]
    pub fn limb(&self, limb: usize, poly: usize) -> &[u32] {
        let start = (limb * self.count + poly) * self.n;
        &self.data[start..start + self.n]
    }

    /// Residues of polynomial `poly` in limb `limb`.
    #[inline]
    pub fn limb_mut(&mut self, limb: usize, poly: usize) -> &mut [u32] {
        let start = (limb * self.count + poly) * self.n;
        &mut self.data[start..start + self.n]
    }

    /// Limb `limb` of all polynomials, one after the other.
    #[inline]
    pub fn row(&self, limb: usize) -> &[u32] {
        &self.data[limb * self.stride()..(limb + 1) * self.stride()]
    }

    /// A copy with the limbs of the given indices, in that order.
    pub fn select(&self, limbs: impl IntoIterator<Item = usize>) -> Self {
        let mut data = AVec::new(64);
        for limb in limbs {
            data.extend_from_slice(self.row(limb));
        }
        Self { n: self.n, count: self.count, data }
    }
}

impl Zeroize for Polys {
    fn zeroize(&mut self) {
        self.data.as_mut_slice().zeroize();
    }
}
