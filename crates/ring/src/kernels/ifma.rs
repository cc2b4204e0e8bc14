//! Transforms in 64-bit lanes with 52-bit products (AVX-512 IFMA).
//!
//! With `w' = floor(w 2^52 / p)` and `q = floor(x w' / 2^52)`, `x w - q p` is in `[0, p (1 + x / 2^52))`: three
//! instructions, for any `x` below 2^52. A residue leaves 22 bits to spare, so butterflies correct nothing, they add
//! and subtract. What is multiplied must not be negative; multiples of `p` added once a pass see to that. Memory holds
//! 32-bit words between passes over the whole limb and 64-bit words between passes over a block that stays in the
//! first-level cache. Products do not look above bit 52 of a lane, where sums leave garbage.
//!
//! Bounds in comments count in `p` and leave out the factor `1 + x / 2^52`, which stays below `1 + 2^-4` (the inverse)
//! or `1 + 2^-16` (the forward transform): every bound has that slack.

#![expect(clippy::needless_range_loop, reason = "one index into several arrays of registers")]

use std::arch::x86_64::*;

use super::wide::{EVEN, Factor, Spread, V, join_even_odd, splat};
use crate::modulus::Modulus;
use crate::roots::{LOG_N_RANGE, LastLevel, WIDE_LOG_N, Wide, wide_quotient};

/// A pass works on `2^K <= 8` rows, two registers of each at once to hide latencies.
type Rows = [[V; 2]; 8];

/// `log2` of the words of the largest block that is finished in the cache.
const LOG_BLOCK: u32 = 12;

/// A block in 64-bit words.
#[repr(align(64))]
struct Scratch(#[expect(dead_code, reason = "written through pointers")] [u64; 1 << LOG_BLOCK]);

/// The factors of a [`LastLevel`].
#[derive(Clone, Copy)]
struct Last {
    sum: Factor,
    difference: Factor,
}

#[inline(always)]
unsafe fn zeros() -> Rows {
    // SAFETY: the caller has AVX-512F and IFMA.
    unsafe { [[_mm512_setzero_si512(); 2]; 8] }
}

/// Does something to each of `2^K` rows, written out as in [`each`].
macro_rules! rows {
    ($levels:expr, |$j:ident| $body:expr) => {
        rows!(@ $levels, $j, $body; 0, 1, 2, 3, 4, 5, 6, 7)
    };
    (@ $levels:expr, $j:ident, $body:expr; $($row:literal),*) => {
        $(
            if $row < 1usize << $levels {
                let $j: usize = $row;
                $body;
            }
        )*
    };
}

/// Butterflies of a level: the rows of each and its factor's place in the subtree. Written out, for loops of loops are
/// not always unrolled, and rows must be registers.
macro_rules! each {
    (|$a:ident, $b:ident, $f:ident| $body:expr; $x:ident, $factors:expr; $(($i:literal, $j:literal, $k:literal)),*) => {
        $(
            for u in 0..2 {
                let ($a, $b, $f) = ($x[$i][u], $x[$j][u], $factors(u, $k));
                [$x[$i][u], $x[$j][u]] = $body;
            }
        )*
    };
}

/// `K` forward levels over rows; grows values by `K` on either side.
#[inline(always)]
unsafe fn split_rows<const K: usize>(s: &Spread, x: &mut Rows, factors: impl Fn(usize, usize) -> Factor) {
    // SAFETY: the caller has AVX-512F and IFMA.
    unsafe {
        match K {
            1 => {
                each!(|a, b, f| s.split(a, b, f); x, factors; (0, 1, 1));
            }
            2 => {
                each!(|a, b, f| s.split(a, b, f); x, factors; (0, 2, 1), (1, 3, 1), (0, 1, 2), (2, 3, 3));
            }
            _ => {
                each!(|a, b, f| s.split(a, b, f); x, factors; (0, 4, 1), (1, 5, 1), (2, 6, 1), (3, 7, 1));
                each!(|a, b, f| s.split(a, b, f); x, factors; (0, 2, 2), (1, 3, 2), (4, 6, 3), (5, 7, 3));
                each!(|a, b, f| s.split(a, b, f); x, factors; (0, 1, 4), (2, 3, 5), (4, 5, 6), (6, 7, 7));
            }
        }
    }
}

/// What becomes of the rows after an inverse pass.
#[derive(Clone, Copy)]
#[expect(clippy::large_enum_variant, reason = "lives in registers")]
enum Finish {
    /// They stay sums, up to `8 + 12 bound`.
    Keep,
    /// They come below 2, for words of 32 bits.
    Reduce,
    /// They are multiplied and come below 1.
    Last(Last),
}

impl Finish {
    /// The last butterfly of a pass; the difference must not be negative.
    #[inline(always)]
    unsafe fn apply(self, s: &Spread, a: V, b: V, f: Factor) -> [V; 2] {
        // SAFETY: the caller has AVX-512F and IFMA.
        unsafe {
            let (sum, difference) = (_mm512_add_epi64(a, b), _mm512_sub_epi64(a, b));
            match self {
                Self::Keep => [sum, s.mul(difference, f)],
                Self::Reduce => [s.reduce(sum), s.mul(difference, f)],
                Self::Last(last) => [s.mul(sum, last.sum), s.mul(difference, last.difference)],
            }
        }
    }

    /// As [`Self::apply`], of two products: the difference gets 2, and the sum is small as it is.
    #[inline(always)]
    unsafe fn apply_to_products(self, s: &Spread, p2: V, a: V, b: V, f: Factor) -> [V; 2] {
        // SAFETY: the caller has AVX-512F and IFMA.
        unsafe {
            let (sum, difference) = (_mm512_add_epi64(a, b), _mm512_sub_epi64(_mm512_add_epi64(a, p2), b));
            match self {
                Self::Last(last) => [s.mul(sum, last.sum), s.mul(difference, last.difference)],
                _ => [sum, s.mul(difference, f)],
            }
        }
    }
}

/// `K` inverse levels over rows below `bound` (a multiple of `p`, spread).
///
/// No difference may be negative. Row `j` starts with one `bound` for each zero bit of `j`: sums then differ by at
/// least the bound of sums at each level. Products start over below 1: those of the first of three levels get 2 for
/// each zero bit to come; those of the level before the last get nothing, and the last level sees to them.
#[inline(always)]
unsafe fn merge_rows<const K: usize>(
    s: &Spread,
    x: &mut Rows,
    factors: impl Fn(usize, usize) -> Factor,
    bound: V,
    finish: Finish,
) {
    // SAFETY: the caller has AVX-512F and IFMA.
    unsafe {
        let zero = _mm512_setzero_si512();
        let p2 = _mm512_add_epi64(s.p, s.p);
        let p4 = _mm512_add_epi64(p2, p2);
        let bound2 = _mm512_add_epi64(bound, bound);
        let bound3 = _mm512_add_epi64(bound2, bound);
        macro_rules! raise {
            ($($j:literal by $bound:ident),*) => {
                $(
                    for u in 0..2 {
                        x[$j][u] = _mm512_add_epi64(x[$j][u], $bound);
                    }
                )*
            };
        }
        let merge = |start: V, a: V, b: V, f: Factor| -> [V; 2] {
            [_mm512_add_epi64(a, b), s.mul_add(start, _mm512_sub_epi64(a, b), f)]
        };
        match K {
            1 => {
                raise!(0 by bound);
                each!(|a, b, f| finish.apply(s, a, b, f); x, factors; (0, 1, 1));
            }
            2 => {
                raise!(0 by bound2, 1 by bound, 2 by bound);
                each!(|a, b, f| merge(zero, a, b, f); x, factors; (0, 1, 2), (2, 3, 3));
                each!(|a, b, f| finish.apply(s, a, b, f); x, factors; (0, 2, 1));
                each!(|a, b, f| finish.apply_to_products(s, p2, a, b, f); x, factors; (1, 3, 1));
            }
            _ => {
                raise!(0 by bound3, 1 by bound2, 2 by bound2, 3 by bound, 4 by bound2, 5 by bound, 6 by bound);
                each!(|a, b, f| merge(p4, a, b, f); x, factors; (0, 1, 4));
                each!(|a, b, f| merge(p2, a, b, f); x, factors; (2, 3, 5), (4, 5, 6));
                each!(|a, b, f| merge(zero, a, b, f); x, factors; (6, 7, 7));
                each!(|a, b, f| merge(zero, a, b, f); x, factors; (0, 2, 2), (1, 3, 2), (4, 6, 3), (5, 7, 3));
                each!(|a, b, f| finish.apply(s, a, b, f); x, factors; (0, 4, 1), (1, 5, 1));
                each!(|a, b, f| finish.apply_to_products(s, p2, a, b, f); x, factors; (2, 6, 1), (3, 7, 1));
            }
        }
    }
}

/// The two halves of 16 words, even and odd ones.
#[inline(always)]
unsafe fn load_even_odd(x: *const u32) -> [V; 2] {
    // SAFETY: the caller has AVX-512F, and 16 words at `x`; the masked load touches no others.
    unsafe { [_mm512_maskz_loadu_epi32(EVEN, x.cast()), _mm512_srli_epi64::<32>(_mm512_loadu_si512(x.cast()))] }
}

/// `K` forward levels over `len` words at `x`, words below 4 (0 at the least) to such words.
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn split_words<const K: usize>(s: &Spread, roots: &Wide, node: usize, x: *mut u32, len: usize) {
    // SAFETY: the caller passes `len` words, a multiple of `16 << K`, and nodes with plain roots.
    unsafe {
        let factors = roots.subtree::<K>(node);
        let stride = len >> K;
        let p2 = _mm512_add_epi64(s.p, s.p);
        let p4 = _mm512_add_epi64(p2, p2);
        let twice = _mm512_add_epi32(s.p32, s.p32);
        let thrice = _mm512_add_epi32(twice, s.p32);
        for at in (0..stride).step_by(16) {
            let mut rows = zeros();
            rows!(K, |j| {
                rows[j] = load_even_odd(x.add(at + j * stride));
                for x in &mut rows[j] {
                    // One product is subtracted, at worst, at each level before the row is multiplied.
                    *x = match (j, K - j.checked_ilog2().map_or(0, |top| top as usize + 1)) {
                        (0, _) => s.above_margin(*x),
                        (_, 2) => _mm512_add_epi64(*x, p4),
                        (_, 1) => _mm512_add_epi64(*x, p2),
                        _ => *x,
                    };
                }
            });
            split_rows::<K>(s, &mut rows, |_, k| factors[k]);
            rows!(K, |j| {
                // As many products were subtracted as j has ones; the others added, to K + 1 in all.
                let words = join_even_odd(rows[j]);
                let words = match j.count_ones() {
                    0 => words,
                    1 => _mm512_add_epi32(words, s.p32),
                    2 => _mm512_add_epi32(words, twice),
                    _ => _mm512_add_epi32(words, thrice),
                };
                _mm512_storeu_si512(x.add(at + j * stride).cast(), words);
            });
        }
    }
}

/// `K` forward levels from `len` words at `x` below 4 to 64-bit words at `y`, from 4 to 32 with the levels that follow
/// in the block (12 in all).
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn split_into<const K: usize>(s: &Spread, roots: &Wide, node: usize, x: *const u32, y: *mut u64, len: usize) {
    // SAFETY: as in `split_words`, for both pointers; y is aligned.
    unsafe {
        let factors = roots.subtree::<K>(node);
        let stride = len >> K;
        let p16 = _mm512_slli_epi64::<4>(s.p);
        for at in (0..stride).step_by(16) {
            let mut rows = zeros();
            rows!(K, |j| {
                for (u, lanes) in rows[j].iter_mut().enumerate() {
                    *lanes = _mm512_cvtepu32_epi64(_mm256_loadu_si256(x.add(at + j * stride + 8 * u).cast()));
                    // The other half is multiplied at once, and every later value descends from these.
                    if 2 * j < 1 << K {
                        *lanes = _mm512_add_epi64(*lanes, p16);
                    }
                }
            });
            split_rows::<K>(s, &mut rows, |_, k| factors[k]);
            store_rows::<K>(y.add(at), stride, rows);
        }
    }
}

#[inline(always)]
unsafe fn load_rows<const K: usize>(y: *const u64, stride: usize) -> Rows {
    // SAFETY: the callers' blocks have `stride << K` words from 16 aligned ones.
    unsafe {
        let mut rows = zeros();
        rows!(K, |j| rows[j] = [0, 1].map(|u| _mm512_load_si512(y.add(j * stride + 8 * u).cast())));
        rows
    }
}

#[inline(always)]
unsafe fn store_rows<const K: usize>(y: *mut u64, stride: usize, rows: Rows) {
    // SAFETY: as for `load_rows`.
    unsafe {
        rows!(K, |j| {
            _mm512_store_si512(y.add(j * stride).cast(), rows[j][0]);
            _mm512_store_si512(y.add(j * stride + 8).cast(), rows[j][1]);
        });
    }
}

/// `K` forward levels over `len` 64-bit words.
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn split_wide<const K: usize>(s: &Spread, roots: &Wide, node: usize, y: *mut u64, len: usize) {
    // SAFETY: as in `split_words`; y is aligned.
    unsafe {
        let factors = roots.subtree::<K>(node);
        let stride = len >> K;
        for at in (0..stride).step_by(16) {
            let mut rows = load_rows::<K>(y.add(at), stride);
            split_rows::<K>(s, &mut rows, |_, k| factors[k]);
            store_rows::<K>(y.add(at), stride, rows);
        }
    }
}

/// Exchanges in the last levels: which 64-bit lanes of two registers hold the entries a distance of 4, 2, 1 apart. Each
/// way leads back by the same shuffles (in the opposite order).
#[inline(always)]
unsafe fn exchange<const DISTANCE: usize>(a: V, b: V) -> (V, V) {
    // SAFETY: the caller has AVX-512F and IFMA.
    unsafe {
        match DISTANCE {
            4 => (_mm512_shuffle_i64x2::<0x44>(a, b), _mm512_shuffle_i64x2::<0xEE>(a, b)),
            2 => (
                _mm512_permutex2var_epi64(a, _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13), b),
                _mm512_permutex2var_epi64(a, _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15), b),
            ),
            _ => (_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b)),
        }
    }
}

/// The last six forward levels of two blocks of 64: 64-bit words from `y` to canonical ones at `x`. `node` is the first
/// block's.
#[inline(always)]
unsafe fn split_last(s: &Spread, roots: &Wide, node: usize, y: *const u64, x: *mut u32) {
    // SAFETY: the caller passes 128 words each (y aligned); nodes of 64 entries and the three levels below have plain
    // roots.
    unsafe {
        let mut rows = zeros();
        for (j, row) in rows.iter_mut().enumerate() {
            *row = [0, 1].map(|u| _mm512_load_si512(y.add(8 * j + 64 * u).cast()));
        }
        let factors = |u: usize, k: usize| roots.below(node + u, k);
        split_rows::<3>(s, &mut rows, factors);
        // Two registers of entries e..e + 16 exchange lanes so that partners face each other; after the last level they
        // hold the even and the odd entries.
        macro_rules! level {
            ($distance:literal) => {
                for u in 0..2 {
                    for j in 0..4 {
                        let (a, b) = exchange::<$distance>(rows[2 * j][u], rows[2 * j + 1][u]);
                        const COUNT: usize = 8 / $distance;
                        let factors = roots.repeated::<COUNT>((node + u) * 4 * COUNT + j * COUNT);
                        [rows[2 * j][u], rows[2 * j + 1][u]] = s.split(a, b, s.factors(factors));
                    }
                }
            };
        }
        level!(4);
        level!(2);
        level!(1);
        for u in 0..2 {
            for j in 0..4 {
                let words = join_even_odd([s.reduce(rows[2 * j][u]), s.reduce(rows[2 * j + 1][u])]);
                _mm512_storeu_si512(x.add(16 * j + 64 * u).cast(), s.canonical(words));
            }
        }
    }
}

/// The first six inverse levels of two blocks of 64: canonical words from `x` to 64-bit words below 2^8 at `y`.
#[inline(always)]
unsafe fn merge_first(s: &Spread, roots: &Wide, node: usize, x: *const u32, y: *mut u64) {
    // SAFETY: as in `split_last`.
    unsafe {
        let mut rows = zeros();
        for u in 0..2 {
            for j in 0..4 {
                [rows[2 * j][u], rows[2 * j + 1][u]] = load_even_odd(x.add(16 * j + 64 * u));
            }
        }
        // Sums are below 2^level; differences get twice that, since products exceed 1 a little.
        let mut bound = _mm512_add_epi64(s.p, s.p);
        macro_rules! level {
            ($distance:literal) => {
                for u in 0..2 {
                    for j in 0..4 {
                        const COUNT: usize = 8 / $distance;
                        let factors = roots.repeated::<COUNT>((node + u) * 4 * COUNT + j * COUNT);
                        let [a, b] = s.merge(rows[2 * j][u], rows[2 * j + 1][u], bound, s.factors(factors));
                        (rows[2 * j][u], rows[2 * j + 1][u]) = exchange::<$distance>(a, b);
                    }
                }
                bound = _mm512_add_epi64(bound, bound);
            };
        }
        level!(1);
        level!(2);
        level!(4);
        let factors = |u: usize, k: usize| roots.below(node + u, k);
        merge_rows::<3>(s, &mut rows, factors, bound, Finish::Keep);
        for (j, row) in rows.into_iter().enumerate() {
            for (u, lanes) in row.into_iter().enumerate() {
                _mm512_store_si512(y.add(8 * j + 64 * u).cast(), lanes);
            }
        }
    }
}

/// The last six forward levels of `len` 64-bit words, whose first block of 64 is `node`.
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn split_last_all(s: &Spread, roots: &Wide, node: usize, y: *const u64, x: *mut u32, len: usize) {
    for at in (0..len).step_by(128) {
        // SAFETY: the caller passes `len` words each, a multiple of 128.
        unsafe { split_last(s, roots, node + at / 64, y.add(at), x.add(at)) }
    }
}

/// The first six inverse levels of `len` words.
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn merge_first_all(s: &Spread, roots: &Wide, node: usize, x: *const u32, y: *mut u64, len: usize) {
    for at in (0..len).step_by(128) {
        // SAFETY: as in `split_last_all`.
        unsafe { merge_first(s, roots, node + at / 64, x.add(at), y.add(at)) }
    }
}

/// `K` inverse levels over `len` 64-bit words below 2^8.
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn merge_wide<const K: usize>(s: &Spread, roots: &Wide, node: usize, y: *mut u64, len: usize) {
    // SAFETY: as in `split_wide`.
    unsafe {
        let factors = roots.subtree::<K>(node);
        let stride = len >> K;
        let bound = _mm512_slli_epi64::<8>(s.p);
        for at in (0..stride).step_by(16) {
            let mut rows = load_rows::<K>(y.add(at), stride);
            merge_rows::<K>(s, &mut rows, |_, k| factors[k], bound, Finish::Keep);
            store_rows::<K>(y.add(at), stride, rows);
        }
    }
}

/// `K` inverse levels from `len` 64-bit words below 2^13 at `y` to 32-bit words at `x`: below 3, or canonical after the
/// `last` level.
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn merge_from<const K: usize>(
    s: &Spread,
    roots: &Wide,
    node: usize,
    y: *const u64,
    x: *mut u32,
    len: usize,
    last: Option<Last>,
) {
    // SAFETY: as in `split_into`.
    unsafe {
        let factors = roots.subtree::<K>(node);
        let stride = len >> K;
        let bound = _mm512_slli_epi64::<13>(s.p);
        let low_halves = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        for at in (0..stride).step_by(16) {
            let mut rows = load_rows::<K>(y.add(at), stride);
            match last {
                Some(last) => merge_rows::<K>(s, &mut rows, |_, k| factors[k], bound, Finish::Last(last)),
                None => merge_rows::<K>(s, &mut rows, |_, k| factors[k], bound, Finish::Reduce),
            }
            rows!(K, |j| {
                let mut words = _mm512_permutex2var_epi32(rows[j][0], low_halves, rows[j][1]);
                if last.is_some() {
                    words = s.canonical(words);
                }
                _mm512_storeu_si512(x.add(at + j * stride).cast(), words);
            });
        }
    }
}

/// `K` inverse levels over `len` words below 3, to such words, or canonical after the `last` level.
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn merge_words<const K: usize>(
    s: &Spread,
    roots: &Wide,
    node: usize,
    x: *mut u32,
    len: usize,
    last: Option<Last>,
) {
    // SAFETY: as in `split_words`.
    unsafe {
        let factors = roots.subtree::<K>(node);
        let stride = len >> K;
        let bound = _mm512_slli_epi64::<2>(s.p);
        for at in (0..stride).step_by(16) {
            let mut rows = zeros();
            rows!(K, |j| rows[j] = load_even_odd(x.add(at + j * stride)));
            match last {
                Some(last) => merge_rows::<K>(s, &mut rows, |_, k| factors[k], bound, Finish::Last(last)),
                None => merge_rows::<K>(s, &mut rows, |_, k| factors[k], bound, Finish::Reduce),
            }
            rows!(K, |j| {
                let mut words = join_even_odd(rows[j]);
                if last.is_some() {
                    words = s.canonical(words);
                }
                _mm512_storeu_si512(x.add(at + j * stride).cast(), words);
            });
        }
    }
}

/// How the levels of a transform of `2^log_n` words are shared out: over the whole limb (two passes), over a block of
/// words (two passes); six remain.
const fn schedule(log_n: u32) -> [u32; 4] {
    let over = log_n.saturating_sub(LOG_BLOCK);
    let block = log_n - over - 6;
    let whole = if over > 3 { [over - 2, 2] } else { [over, 0] };
    let inner = if block > 3 { [block / 2, block - block / 2] } else { [block, 0] };
    [whole[0], whole[1], inner[0], inner[1]]
}

/// Every schedule gives all levels to passes there are (of at most three), blocks that the scratch holds, and each
/// block a pass into the scratch and one out of it.
const _: () = {
    let mut log_n = WIDE_LOG_N;
    while log_n <= *LOG_N_RANGE.end() {
        let [whole0, whole1, block0, block1] = schedule(log_n);
        assert!(whole0 <= 3 && whole1 <= 3 && 1 <= block0 && block0 <= 3 && block1 <= 3);
        assert!(whole0 + whole1 + block0 + block1 + 6 == log_n && log_n - whole0 - whole1 <= LOG_BLOCK);
        log_n += 1;
    }
};

/// Calls a pass with its number of levels as a constant; none for no levels.
macro_rules! levels {
    ($k:expr, $pass:ident($($arg:expr),*)) => {
        match $k {
            0 => {}
            1 => $pass::<1>($($arg),*),
            2 => $pass::<2>($($arg),*),
            3 => $pass::<3>($($arg),*),
            _ => unreachable!("a pass of more levels than any schedule has"),
        }
    };
}

/// What the transforms need to stay within their operands: a degree with a schedule, and the roots of all its nodes.
fn check(roots: &Wide, values: &[u32]) {
    let n = values.len();
    assert!(n.is_power_of_two() && (WIDE_LOG_N..=*LOG_N_RANGE.end()).contains(&n.ilog2()), "a transform of {n} words");
    // Roots of a larger degree do as well: those of a subring come first.
    assert!(roots.quotients.len() >= n && roots.roots.len() >= n / 8, "a transform without its roots");
}

/// The forward transform of `N` canonical words.
pub(super) fn forward(m: &Modulus, roots: &Wide, values: &mut [u32]) {
    check(roots, values);
    // SAFETY: `available` hands this out only after detecting the features; a degree and roots as checked.
    unsafe { forward_inner(m, roots, values) }
}

#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn forward_inner(m: &Modulus, roots: &Wide, values: &mut [u32]) {
    // SAFETY: the caller has the features and checked operands (`check`). `values` are a power of two of words with a
    // schedule, so that passes get whole blocks of `values` and of the scratch, which holds a block; nodes are those of
    // the schedule's levels, below N, and below N / 8 where plain roots are read. The scratch is written, by the first
    // pass of a block, before it is read.
    unsafe {
        let s = Spread::new(m);
        let (n, x) = (values.len(), values.as_mut_ptr());
        let [whole0, whole1, block0, block1] = schedule(n.ilog2());
        levels!(whole0, split_words(&s, roots, 1, x, n));
        let (parts, part) = (1 << whole0, n >> whole0);
        for i in 0..parts {
            levels!(whole1, split_words(&s, roots, parts + i, x.add(i * part), part));
        }
        let mut scratch = std::mem::MaybeUninit::<Scratch>::uninit();
        let y = scratch.as_mut_ptr().cast::<u64>();
        let (blocks, block) = (parts << whole1, part >> whole1);
        for i in 0..blocks {
            let x = x.add(i * block);
            levels!(block0, split_into(&s, roots, blocks + i, x, y, block));
            // The last levels go two blocks of 64 at a time.
            let part = (block >> block0).max(128);
            for at in (0..block).step_by(part) {
                levels!(block1, split_wide(&s, roots, ((blocks + i) << block0) + at / part, y.add(at), part));
                split_last_all(&s, roots, (blocks + i) * (block / 64) + at / 64, y.add(at), x.add(at), part);
            }
        }
    }
}

/// The inverse transform of `N` canonical words.
pub(super) fn inverse(m: &Modulus, roots: &Wide, last: &LastLevel, values: &mut [u32]) {
    check(roots, values);
    // SAFETY: as in `forward`.
    unsafe { inverse_inner(m, roots, last, values) }
}

#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn inverse_inner(m: &Modulus, roots: &Wide, last: &LastLevel, values: &mut [u32]) {
    // SAFETY: as in `forward_inner`.
    unsafe {
        let s = Spread::new(m);
        let (n, x) = (values.len(), values.as_mut_ptr());
        let factor = |w: u32| Factor { w: splat(w as u64), quotient: splat(wide_quotient(m, w)) };
        let last = Some(Last { sum: factor(last.sum), difference: factor(last.difference) });
        let [whole0, whole1, block0, block1] = schedule(n.ilog2());
        let (parts, part) = (1 << whole0, n >> whole0);
        let (blocks, block) = (parts << whole1, part >> whole1);
        let mut scratch = std::mem::MaybeUninit::<Scratch>::uninit();
        let y = scratch.as_mut_ptr().cast::<u64>();
        for i in 0..blocks {
            let x = x.add(i * block);
            let part = (block >> block0).max(128);
            for at in (0..block).step_by(part) {
                merge_first_all(&s, roots, (blocks + i) * (block / 64) + at / 64, x.add(at), y.add(at), part);
                levels!(block1, merge_wide(&s, roots, ((blocks + i) << block0) + at / part, y.add(at), part));
            }
            let last = if blocks == 1 { last } else { None };
            levels!(block0, merge_from(&s, roots, blocks + i, y, x, block, last));
        }
        for i in 0..parts {
            levels!(whole1, merge_words(&s, roots, parts + i, x.add(i * part), part, None));
        }
        levels!(whole0, merge_words(&s, roots, 1, x, n, last));
    }
}
