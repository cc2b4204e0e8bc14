//! Products with matrices of integers in registers: for every width, and with 52-bit products (AVX-512 IFMA).

use std::arch::x86_64::*;

use super::grouped::{self, GROUP, GroupedMatrix, LINE};
use super::integers::{self, IntegerMatrix, ROWS};
use super::simd::{Lanes, Spread};
use super::wide::{self, join_even_odd, splat};
use crate::modulus::Modulus;

/// Calls `$tile::<.., R>($row)` for runs of `R` = 8 (where registers allow), 4, 2 and 1 rows, which never cross a group
/// of eight.
macro_rules! row_tiles {
    ($rows:expr, $most:expr, |$row:ident, $count:ident| $call:expr) => {{
        let mut $row = 0;
        while $row < $rows {
            let left = $rows - $row;
            macro_rules! run {
                ($size:literal) => {{
                    const $count: usize = $size;
                    $call;
                    $row += $size;
                }};
            }
            if left >= 8 && $most >= 8 {
                run!(8)
            } else if left >= 4 {
                run!(4)
            } else if left >= 2 {
                run!(2)
            } else {
                run!(1)
            }
        }
    }};
}

/// Finishes with the reference what is left of operands from `from` on.
fn rest(
    from: usize,
    inputs: &[&[u32]],
    outputs: &mut [&mut [u32]],
    reference: impl FnOnce(&[&[u32]], &mut [&mut [u32]]),
) {
    if outputs.first().is_some_and(|o| from < o.len()) {
        let inputs: Vec<&[u32]> = inputs.iter().map(|i| &i[from..]).collect();
        let mut outputs: Vec<&mut [u32]> = outputs.iter_mut().map(|o| &mut o[from..]).collect();
        reference(&inputs, &mut outputs);
    }
}

impl<V: Lanes> Spread<V> {
    /// The canonical residues of sums within `2^52` and `2^22 p` of zero: reduced twice, since the first time leaves
    /// them over `2^32`.
    #[inline(always)]
    unsafe fn residues(&self, r2: V, even: V, odd: V) -> V {
        // SAFETY: the caller has V's instructions.
        unsafe {
            // Within p / 2^10 + p / 2 of zero.
            let x = self.canonical(self.redc(even, odd));
            self.mul(x, r2)
        }
    }
}

/// [`super::Kernels::multiply_integers`].
#[inline(always)]
pub(super) unsafe fn multiply_integers<V: Lanes>(
    m: &Modulus,
    matrix: &IntegerMatrix,
    inputs: &[&[u32]],
    outputs: &mut [&mut [u32]],
) {
    let whole = outputs.first().map_or(0, |o| o.len()) / V::LANES * V::LANES;
    // SAFETY: the caller has V's instructions and checked that there are as many rows as outputs, and that all operands
    // are of one length, at least `whole`.
    unsafe { row_tiles!(outputs.len(), V::TILE, |r, N| integers_tile::<V, N>(m, matrix, r, inputs, outputs, whole)) }
    rest(whole, inputs, outputs, |i, o| integers::multiply_integers(m, matrix, i, o));
}

/// `N` rows from `row`, in one group of eight.
#[inline(always)]
unsafe fn integers_tile<V: Lanes, const N: usize>(
    m: &Modulus,
    matrix: &IntegerMatrix,
    row: usize,
    inputs: &[&[u32]],
    outputs: &mut [&mut [u32]],
    whole: usize,
) {
    let outputs = &mut outputs[row..row + N];
    let weights = &matrix.weights[row / ROWS * ROWS * inputs.len()..][..ROWS * inputs.len()];
    // SAFETY: the caller has V's instructions, and operands of at least `whole` entries, a multiple of LANES; `weights`
    // has eight for each column, of which these rows' are the ones from `row % 8` on.
    unsafe {
        let s = Spread::<V>::new(m);
        let r2 = V::splat(m.r2());
        for at in (0..whole).step_by(V::LANES) {
            let (mut even, mut odd) = ([V::splat(0); N], [V::splat(0); N]);
            let mut w = weights.as_ptr().add(row % ROWS);
            for input in inputs {
                let x = V::load(input.as_ptr().add(at));
                let xo = x.odd();
                for r in 0..N {
                    // Products take the low halves, which are the weights as words of 32 bits.
                    let weight = V::splat(*w.add(r) as u32);
                    even[r] = even[r].add64(x.mul_even(weight));
                    odd[r] = odd[r].add64(xo.mul_even(weight));
                }
                w = w.wrapping_add(ROWS);
            }
            for r in 0..N {
                s.residues(r2, even[r], odd[r]).store(outputs[r].as_mut_ptr().add(at));
            }
        }
    }
}

/// Sums of 52-bit products under construction, for 16 entries.
///
/// Products read the low 52 bits of a lane of 64: for an even entry `e` with the odd entry `o` above it, `e + 2^32 o`
/// modulo `2^52`. So the even sum is too large by `2^32` times the odd one, which is taken off at the end; nothing else
/// is spent on telling even entries from odd ones. Sums start at a multiple of the prime that leaves none of them
/// negative.
#[derive(Clone, Copy)]
struct Sums {
    even: __m512i,
    odd: __m512i,
}

impl Sums {
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller has AVX-512F and IFMA, as for all functions here.
        unsafe { Self { even: _mm512_setzero_si512(), odd: _mm512_setzero_si512() } }
    }

    /// For weights of which the negative ones add up to `-negative`.
    #[inline(always)]
    unsafe fn start(p: u32, negative: i64) -> Self {
        let start = negative as u64 * u64::from(p);
        // SAFETY: the caller has AVX-512F and IFMA.
        unsafe { Self { even: splat(start.wrapping_add(start << 32)), odd: splat(start) } }
    }

    /// Adds the products of a weight and sixteen words; `odd` are the odd ones in the places of the even ones.
    #[inline(always)]
    unsafe fn add(&mut self, weight: __m512i, x: __m512i, odd: __m512i) {
        // SAFETY: the caller has AVX-512F and IFMA.
        unsafe {
            self.even = _mm512_madd52lo_epu64(self.even, x, weight);
            self.odd = _mm512_madd52lo_epu64(self.odd, odd, weight);
        }
    }

    /// Adds the product of the next group, of `K` columns. See [`Groups::next`].
    #[inline(always)]
    unsafe fn add_group<const K: usize>(&mut self, groups: &mut Groups) {
        // SAFETY: the caller has AVX-512F and IFMA, and keeps to the conditions of `Groups::next`; a line has 16 words.
        unsafe {
            let (weight, x) = groups.next::<__m512i, K>(0);
            self.add(_mm512_set1_epi64(weight), x, _mm512_srli_epi64::<32>(x));
        }
    }

    #[inline(always)]
    unsafe fn plus(self, o: Self) -> Self {
        // SAFETY: the caller has AVX-512F and IFMA.
        unsafe { Self { even: _mm512_add_epi64(self.even, o.even), odd: _mm512_add_epi64(self.odd, o.odd) } }
    }

    /// The canonical residues of the sums, which are in `[0, 2^52)`.
    #[inline(always)]
    unsafe fn residues(self, s: &wide::Spread) -> __m512i {
        // SAFETY: the caller has AVX-512F and IFMA.
        unsafe {
            let mask = splat((1 << 52) - 1);
            let even = _mm512_sub_epi64(self.even, _mm512_slli_epi64::<32>(self.odd));
            let of = |sum| s.reduce(_mm512_and_si512(sum, mask));
            s.canonical(join_even_odd([of(even), of(self.odd)]))
        }
    }
}

/// [`super::Kernels::multiply_integers`] with 52-bit products.
pub(super) fn multiply_integers_wide(
    m: &Modulus,
    matrix: &IntegerMatrix,
    inputs: &[&[u32]],
    outputs: &mut [&mut [u32]],
) {
    #[target_feature(enable = "avx512f,avx512ifma")]
    unsafe fn inner(m: &Modulus, matrix: &IntegerMatrix, inputs: &[&[u32]], o: &mut [&mut [u32]], whole: usize) {
        // SAFETY: as in `multiply_integers`.
        unsafe { row_tiles!(o.len(), 8, |r, N| integers_tile_wide::<N>(m, matrix, r, inputs, o, whole)) }
    }
    let whole = outputs.first().map_or(0, |o| o.len()) / 16 * 16;
    // SAFETY: `available` hands this out only after detecting the features; lengths were checked by the caller.
    unsafe { inner(m, matrix, inputs, outputs, whole) }
    rest(whole, inputs, outputs, |i, o| integers::multiply_integers(m, matrix, i, o));
}

/// `N` rows from `row`, in one group of eight.
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn integers_tile_wide<const N: usize>(
    m: &Modulus,
    matrix: &IntegerMatrix,
    row: usize,
    inputs: &[&[u32]],
    outputs: &mut [&mut [u32]],
    whole: usize,
) {
    let outputs = &mut outputs[row..row + N];
    let weights = &matrix.weights[row / ROWS * ROWS * inputs.len()..][..ROWS * inputs.len()];
    // SAFETY: as in `integers_tile`, for registers of 16 words. Sums are in [0, 2^52): weights of a row add up to at
    // most 2^22 in absolute value, words are below p < 2^30, and what the negative ones take off is less than the
    // start.
    unsafe {
        let s = wide::Spread::new(m);
        for at in (0..whole).step_by(16) {
            let mut sums = [Sums::zero(); N];
            for (sums, &negative) in sums.iter_mut().zip(&matrix.negative[row..]) {
                *sums = Sums::start(m.value(), negative);
            }
            let mut w = weights.as_ptr().add(row % ROWS);
            for input in inputs {
                let x = _mm512_loadu_si512(input.as_ptr().add(at).cast());
                let odd = _mm512_srli_epi64::<32>(x);
                for (r, sums) in sums.iter_mut().enumerate() {
                    sums.add(_mm512_set1_epi64(*w.add(r)), x, odd);
                }
                w = w.wrapping_add(ROWS);
            }
            for r in 0..N {
                _mm512_storeu_si512(outputs[r].as_mut_ptr().add(at).cast(), sums[r].residues(&s));
            }
        }
    }
}

/// What rows of a [`GroupedMatrix`] are read from: its groups, and a line of each input.
struct Groups {
    weights: *const i64,
    offsets: *const u32,
    lines: *const u8,
}

/// A line of the first-level cache.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; LINE]);

impl Groups {
    /// From the first row on.
    fn new(matrix: &GroupedMatrix, lines: &[Line]) -> Self {
        let (weights, offsets) = (matrix.weights.as_ptr(), matrix.offsets.as_ptr());
        Self { weights, offsets, lines: lines.as_ptr().cast() }
    }

    /// Weight and sum of the next group, of `K` columns; words from `part` of each line.
    ///
    /// # Safety
    /// The caller has V's instructions, and takes no more groups than the matrix has, of the sizes that they have;
    /// there is a line for each column, of at least `part + LANES` words.
    #[inline(always)]
    unsafe fn next<V: Lanes, const K: usize>(&mut self, part: usize) -> (i64, V) {
        // SAFETY: as vouched for by the caller; offsets are those of lines.
        unsafe {
            let column = |k: usize| V::load(self.lines.add(*self.offsets.add(k) as usize).cast::<u32>().add(part));
            let mut sum = column(0);
            for k in 1..K {
                sum = sum.add32(column(k));
            }
            let weight = *self.weights;
            self.offsets = self.offsets.add(K);
            self.weights = self.weights.add(1);
            (weight, sum)
        }
    }
}

/// [`super::Kernels::multiply_grouped`]. Products are signed, so residues are centred: four of them stay within `2^31`
/// of zero.
#[inline(always)]
pub(super) unsafe fn multiply_grouped<V: Lanes>(
    m: &Modulus,
    matrix: &GroupedMatrix,
    inputs: &[&[u32]],
    outputs: &mut [&mut [u32]],
) {
    let whole = outputs.first().map_or(0, |o| o.len()) / LINE * LINE;
    let mut lines = vec![Line([0; LINE]); inputs.len()];
    // SAFETY: the caller has V's instructions and checked that there are as many rows as outputs, as many columns as
    // inputs, and that all operands are of one length, at least `whole`. LANES divides LINE. Groups are taken in the
    // order in which they are there.
    unsafe {
        let s = Spread::<V>::new(m);
        let (r2, half) = (V::splat(m.r2()), V::splat(m.value() / 2));
        for at in (0..whole).step_by(LINE) {
            for (line, input) in lines.iter_mut().zip(inputs) {
                for part in (0..LINE).step_by(V::LANES) {
                    V::load(input.as_ptr().add(at + part)).sub32(half).store(line.0.as_mut_ptr().add(part));
                }
            }
            for part in (0..LINE).step_by(V::LANES) {
                let mut groups = Groups::new(matrix, &lines);
                for (row, out) in matrix.rows.iter().zip(outputs.iter_mut()) {
                    // What centring took off.
                    let start = V::splat64(row.sum * i64::from(m.value() / 2));
                    let (mut even, mut odd) = (start, start);
                    macro_rules! sizes {
                        ($($size:literal),*) => {$(
                            for _ in 0..row.groups[GROUP - $size] {
                                let (weight, x) = groups.next::<V, $size>(part);
                                let weight = V::splat(weight as u32);
                                even = even.add64(x.mul_even(weight));
                                odd = odd.add64(x.odd().mul_even(weight));
                            }
                        )*};
                    }
                    sizes!(4, 3, 2, 1);
                    s.residues(r2, even, odd).store(out.as_mut_ptr().add(at + part));
                }
            }
        }
    }
    rest(whole, inputs, outputs, |i, o| grouped::multiply_grouped(m, matrix, i, o));
}

/// [`super::Kernels::multiply_grouped`] with 52-bit products.
pub(super) fn multiply_grouped_wide(
    m: &Modulus,
    matrix: &GroupedMatrix,
    inputs: &[&[u32]],
    outputs: &mut [&mut [u32]],
) {
    let whole = outputs.first().map_or(0, |o| o.len()) / LINE * LINE;
    // SAFETY: `available` hands this out only after detecting the features; lengths were checked by the caller.
    unsafe { grouped_wide(m, matrix, inputs, outputs, whole) }
    rest(whole, inputs, outputs, |i, o| grouped::multiply_grouped(m, matrix, i, o));
}

#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn grouped_wide(
    m: &Modulus,
    matrix: &GroupedMatrix,
    inputs: &[&[u32]],
    outputs: &mut [&mut [u32]],
    whole: usize,
) {
    let mut lines = vec![Line([0; LINE]); inputs.len()];
    // SAFETY: as in `multiply_grouped`; sums as in `integers_tile_wide`, those of four words below 2^30 being below
    // 2^32.
    unsafe {
        let s = wide::Spread::new(m);
        for at in (0..whole).step_by(LINE) {
            for (line, input) in lines.iter_mut().zip(inputs) {
                _mm512_store_si512(line.0.as_mut_ptr().cast(), _mm512_loadu_si512(input.as_ptr().add(at).cast()));
            }
            let mut groups = Groups::new(matrix, &lines);
            for (row, out) in matrix.rows.iter().zip(outputs.iter_mut()) {
                // Two sums, so that a product need not wait for the one before it.
                let (mut first, mut second) = (Sums::start(m.value(), row.negative), Sums::zero());
                macro_rules! sizes {
                    ($($size:literal),*) => {$(
                        let count = row.groups[GROUP - $size];
                        for _ in 0..count / 2 {
                            first.add_group::<$size>(&mut groups);
                            second.add_group::<$size>(&mut groups);
                        }
                        if count % 2 == 1 {
                            first.add_group::<$size>(&mut groups);
                        }
                    )*};
                }
                sizes!(4, 3, 2, 1);
                _mm512_storeu_si512(out.as_mut_ptr().add(at).cast(), first.plus(second).residues(&s));
            }
        }
    }
}
