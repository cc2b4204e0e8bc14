//! Roots of unity in the forms that the loops of transforms read; see [`crate::ntt`], which makes them.

use crate::modulus::Modulus;

/// Smallest and largest supported `log2 N`.
pub const LOG_N_RANGE: std::ops::RangeInclusive<u32> = 5..=17;

/// Words past the end of [`Narrow`] tables, so that a whole register may be loaded from any entry.
pub(crate) const PADDING: usize = 16;

/// Smallest `log2 N` that transforms in 64-bit lanes take.
pub(crate) const WIDE_LOG_N: u32 = 7;

/// One direction's roots for arithmetic in 32-bit words (Shoup, "NTL"; Harvey, arXiv 1205.2926).
pub(crate) struct Narrow {
    /// `w_k`, by node.
    pub(crate) roots: Vec<u32>,
    /// `floor(w_k 2^32 / p)`.
    pub(crate) quotients: Vec<u32>,
}

/// One direction's roots for arithmetic in 52-bit words.
pub(crate) struct Wide {
    /// `w_k` of the nodes with at least 16 entries.
    pub(crate) roots: Vec<u64>,
    /// `floor(w_k 2^52 / p)` of all.
    pub(crate) quotients: Vec<u64>,
}

/// What the inverse multiplies by on its last level.
#[derive(Clone, Copy)]
pub(crate) struct LastLevel {
    /// Factor of the sums: `1/N` or 1.
    pub(crate) sum: u32,
    /// Factor of the differences: the same times `w_1^-1`.
    pub(crate) difference: u32,
}

/// `floor(w 2^32 / p)`.
pub(crate) fn narrow_quotient(m: &Modulus, w: u32) -> u32 {
    (((w as u64) << 32) / m.value() as u64) as u32
}

/// `floor(w 2^52 / p)`, in two divisions of machine words.
pub(crate) fn wide_quotient(m: &Modulus, w: u32) -> u64 {
    let p = m.value() as u64;
    let high = (w as u64) << 32;
    ((high / p) << 20) + ((high % p) << 20) / p
}
