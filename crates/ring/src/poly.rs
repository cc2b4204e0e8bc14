//! Polynomials as limbs.

use aligned_vec::{AVec, ConstAlign, avec};
use std::sync::{Mutex, PoisonError};
use zeroize::Zeroize;

type Words = AVec<u32, ConstAlign<64>>;

/// Buffers of dropped polynomials, to be used again: fresh memory costs a page fault every 4 KiB, which is
/// as much as a transform. Held back are at most [`POOL_WORDS`].
static POOL: Mutex<Pool> = Mutex::new(Pool { buffers: Vec::new(), words: 0 });

/// Most words held back: 512 MiB.
const POOL_WORDS: usize = 1 << 27;

struct Pool {
    buffers: Vec<Words>,
    words: usize,
}

impl Pool {
    /// The smallest buffer that holds `len` words and is not more than twice as large.
    fn take(&mut self, len: usize) -> Option<Words> {
        let size = |i: usize| self.buffers[i].capacity();
        let best = (0..self.buffers.len()).filter(|&i| (len..=2 * len).contains(&size(i))).min_by_key(|&i| size(i))?;
        let mut buffer = self.buffers.swap_remove(best);
        self.words -= buffer.capacity();
        buffer.resize(len, 0);
        Some(buffer)
    }

    fn put(&mut self, buffer: Words) {
        if self.words + buffer.capacity() <= POOL_WORDS && !buffer.is_empty() {
            self.words += buffer.capacity();
            self.buffers.push(buffer);
        }
    }
}

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
    data: Words,
}

impl Drop for Polys {
    fn drop(&mut self) {
        let data = std::mem::replace(&mut self.data, AVec::new(64));
        POOL.lock().unwrap_or_else(PoisonError::into_inner).put(data);
    }
}

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

    /// Polynomials with unspecified residues (whatever a dropped buffer held), for callers that write all of
    /// them.
    pub fn scratch(n: usize, limbs: usize, count: usize) -> Self {
        let len = n * limbs * count;
        let pooled = POOL.lock().unwrap_or_else(PoisonError::into_inner).take(len);
        Self { n, count, data: pooled.unwrap_or_else(|| avec![[64]| 0u32; len]) }
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
        self.data.as_mut_slice().zeroize();
    }
}
