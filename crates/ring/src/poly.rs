//! Polynomials as limbs.

use zeroize::Zeroize;

use crate::buffer::Buffer;

/// `count` polynomials over one basis of primes, stored limb by limb: all polynomials' residues modulo the first prime,
/// then all modulo the second, and so on.
///
/// Limb-major order keeps what one prime needs together: work is parallel over limbs, and the digits, keys and
/// accumulators of one limb are read in one go. The basis itself (which prime is limb `i`) is the owner's to know.
#[derive(Clone)]
pub struct Polys {
    n: usize,
    count: usize,
    data: Buffer,
}

impl PartialEq for Polys {
    fn eq(&self, other: &Self) -> bool {
        (self.n, self.count) == (other.n, other.count) && self.data[..] == other.data[..]
    }
}

impl Eq for Polys {}

impl std::fmt::Debug for Polys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Polys({} x {} limbs of {})", self.count, self.limbs(), self.n)
    }
}

impl Polys {
    /// All-zero polynomials of degree below `n` (at least 1), `count` (at least 1) of them.
    pub fn zero(n: usize, limbs: usize, count: usize) -> Self {
        let mut out = Self::scratch(n, limbs, count);
        out.data.fill(0);
        out
    }

    /// Polynomials with unspecified residues (whatever a dropped buffer held), for callers that write all of them.
    pub fn scratch(n: usize, limbs: usize, count: usize) -> Self {
        Self { n, count, data: Buffer::scratch(n * limbs * count) }
    }

    /// From words in limb-major order; `None` when the length is not a multiple of `n * count`.
    pub fn from_words(n: usize, count: usize, words: &[u32]) -> Option<Self> {
        (n > 0 && count > 0 && words.len().is_multiple_of(n * count)).then(|| {
            let mut data = Buffer::scratch(words.len());
            data.copy_from_slice(words);
            Self { n, count, data }
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

    /// All words as signed numbers, for centred residues.
    #[inline]
    pub fn signed(&self) -> &[i32] {
        bytemuck::cast_slice(&self.data)
    }

    /// All words as signed numbers, for centred residues.
    #[inline]
    pub fn signed_mut(&mut self) -> &mut [i32] {
        bytemuck::cast_slice_mut(&mut self.data)
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
    pub fn select(&self, limbs: &[usize]) -> Self {
        let mut out = Self::scratch(self.n, limbs.len(), self.count);
        for (&limb, out) in limbs.iter().zip(out.data.chunks_exact_mut(self.n * self.count)) {
            out.copy_from_slice(self.row(limb));
        }
        out
    }
}

impl Zeroize for Polys {
    fn zeroize(&mut self) {
        self.data.zeroize();
    }
}
