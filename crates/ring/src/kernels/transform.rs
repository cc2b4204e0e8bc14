//! Transforms over registers of 32-bit lanes, written once for every width.
//!
//! Products by roots are Shoup's: `x w - floor(x w' / 2^32) p` with `w' = floor(w 2^32 / p)` is in `[0, 2p)` for every
//! word `x`. Sums are Harvey's (arXiv 1205.2926): words stay below `4p < 2^32` on the way down and below `2p` on the
//! way up. Two levels share one pass over memory, and blocks that fit the first-level cache are finished one by one.

use super::simd::Lanes;
use crate::modulus::Modulus;
use crate::roots::{LastLevel, Narrow, PADDING, narrow_quotient};

/// `log2` of the words of the largest block that is finished in the cache.
const LOG_BLOCK: u32 = 12;

#[derive(Clone, Copy)]
struct Spread<V> {
    p: V,
    p2: V,
}

/// A multiplier with its quotient; `odd` is the quotient's odd lanes in even places.
#[derive(Clone, Copy)]
struct Factor<V> {
    w: V,
    quotient: V,
    odd: V,
}

impl<V: Lanes> Factor<V> {
    #[inline(always)]
    unsafe fn splat(w: u32, quotient: u32) -> Self {
        // SAFETY: the caller has V's instructions.
        unsafe {
            let quotient = V::splat(quotient);
            Self { w: V::splat(w), quotient, odd: quotient }
        }
    }

    #[inline(always)]
    unsafe fn node(roots: &Narrow, node: usize) -> Self {
        // SAFETY: nodes are below N, and tables have N + PADDING entries.
        unsafe { Self::splat(*roots.roots.get_unchecked(node), *roots.quotients.get_unchecked(node)) }
    }

    /// `LANES / DISTANCE` factors from `node`, each in `DISTANCE` lanes.
    #[inline(always)]
    unsafe fn repeated<const DISTANCE: usize>(roots: &Narrow, node: usize) -> Self {
        const { assert!(V::LANES <= PADDING) };
        // SAFETY: node + LANES <= N + PADDING.
        unsafe {
            let w = V::load(roots.roots.as_ptr().add(node)).repeat::<DISTANCE>();
            let quotient = V::load(roots.quotients.as_ptr().add(node)).repeat::<DISTANCE>();
            Self { w, quotient, odd: quotient.odd() }
        }
    }
}

impl<V: Lanes> Spread<V> {
    #[inline(always)]
    unsafe fn new(m: &Modulus) -> Self {
        // SAFETY: the caller has V's instructions.
        unsafe { Self { p: V::splat(m.value()), p2: V::splat(2 * m.value()) } }
    }

    /// `x w` in `[0, 2p)`.
    #[inline(always)]
    unsafe fn mul(&self, x: V, f: Factor<V>) -> V {
        // SAFETY: the caller has V's instructions.
        unsafe {
            let q = V::join_high(x.mul_even_unsigned(f.quotient), x.odd().mul_even_unsigned(f.odd));
            x.mul_low(f.w).sub32(q.mul_low(self.p))
        }
    }

    /// `[0, 4p)` to `[0, 2p)`.
    #[inline(always)]
    unsafe fn halve(&self, x: V) -> V {
        // SAFETY: the caller has V's instructions.
        unsafe { x.min32(x.sub32(self.p2)) }
    }

    /// `[0, 2p)` to `[0, p)`.
    #[inline(always)]
    unsafe fn canonical(&self, x: V) -> V {
        // SAFETY: the caller has V's instructions.
        unsafe { x.min32(x.sub32(self.p)) }
    }

    /// Forward butterfly, `[0, 4p)` to the same.
    #[inline(always)]
    unsafe fn split(&self, a: V, b: V, f: Factor<V>) -> [V; 2] {
        // SAFETY: the caller has V's instructions.
        unsafe {
            let (a, r) = (self.halve(a), self.mul(b, f));
            [a.add32(r), a.add32(self.p2).sub32(r)]
        }
    }

    /// Inverse butterfly, `[0, 2p)` to the same.
    #[inline(always)]
    unsafe fn merge(&self, a: V, b: V, f: Factor<V>) -> [V; 2] {
        // SAFETY: the caller has V's instructions.
        unsafe { [self.halve(a.add32(b)), self.mul(a.add32(self.p2).sub32(b), f)] }
    }

    /// The last inverse butterfly, to `[0, p)`.
    #[inline(always)]
    unsafe fn merge_last(&self, a: V, b: V, last: &[Factor<V>; 2]) -> [V; 2] {
        // SAFETY: the caller has V's instructions.
        unsafe {
            let (sum, difference) = (a.add32(b), a.add32(self.p2).sub32(b));
            [self.canonical(self.mul(sum, last[0])), self.canonical(self.mul(difference, last[1]))]
        }
    }
}

/// The levels of a block of `2^log_len` words above the registers, outermost first: `true` for two at once.
fn passes<V: Lanes>(log_len: u32) -> impl DoubleEndedIterator<Item = (u32, bool)> {
    let levels = log_len - V::LANES.ilog2();
    let odd = levels % 2;
    (0..odd).map(|level| (level, false)).chain((odd..levels).step_by(2).map(|level| (level, true)))
}

/// Two forward levels of node `node` over `len` words.
#[inline(always)]
unsafe fn split_two<V: Lanes>(s: &Spread<V>, roots: &Narrow, node: usize, x: *mut u32, len: usize) {
    // SAFETY: the caller has V's instructions and passes `len` words, a multiple of 4 LANES.
    unsafe {
        let [f, g0, g1] = [node, 2 * node, 2 * node + 1].map(|node| Factor::node(roots, node));
        let quarter = len / 4;
        for at in (0..quarter).step_by(V::LANES) {
            let p = [0, 1, 2, 3].map(|i| x.add(at + i * quarter));
            let [x0, x2] = s.split(V::load(p[0]), V::load(p[2]), f);
            let [x1, x3] = s.split(V::load(p[1]), V::load(p[3]), f);
            let ([x0, x1], [x2, x3]) = (s.split(x0, x1, g0), s.split(x2, x3, g1));
            x0.store(p[0]);
            x1.store(p[1]);
            x2.store(p[2]);
            x3.store(p[3]);
        }
    }
}

/// One forward level.
#[inline(always)]
unsafe fn split_one<V: Lanes>(s: &Spread<V>, roots: &Narrow, node: usize, x: *mut u32, len: usize) {
    // SAFETY: as in `split_two`, a multiple of 2 LANES.
    unsafe {
        let f = Factor::node(roots, node);
        for at in (0..len / 2).step_by(V::LANES) {
            let p = [x.add(at), x.add(at + len / 2)];
            let [x0, x1] = s.split(V::load(p[0]), V::load(p[1]), f);
            x0.store(p[0]);
            x1.store(p[1]);
        }
    }
}

/// Two inverse levels.
#[inline(always)]
unsafe fn merge_two<V: Lanes>(
    s: &Spread<V>,
    roots: &Narrow,
    node: usize,
    x: *mut u32,
    len: usize,
    last: Option<&[Factor<V>; 2]>,
) {
    // SAFETY: as in `split_two`.
    unsafe {
        let [f, g0, g1] = [node, 2 * node, 2 * node + 1].map(|node| Factor::node(roots, node));
        let quarter = len / 4;
        for at in (0..quarter).step_by(V::LANES) {
            let p = [0, 1, 2, 3].map(|i| x.add(at + i * quarter));
            let [x0, x1] = s.merge(V::load(p[0]), V::load(p[1]), g0);
            let [x2, x3] = s.merge(V::load(p[2]), V::load(p[3]), g1);
            let ([x0, x2], [x1, x3]) = match last {
                Some(last) => (s.merge_last(x0, x2, last), s.merge_last(x1, x3, last)),
                None => (s.merge(x0, x2, f), s.merge(x1, x3, f)),
            };
            x0.store(p[0]);
            x1.store(p[1]);
            x2.store(p[2]);
            x3.store(p[3]);
        }
    }
}

/// One inverse level.
#[inline(always)]
unsafe fn merge_one<V: Lanes>(
    s: &Spread<V>,
    roots: &Narrow,
    node: usize,
    x: *mut u32,
    len: usize,
    last: Option<&[Factor<V>; 2]>,
) {
    // SAFETY: as in `split_one`.
    unsafe {
        let f = Factor::node(roots, node);
        for at in (0..len / 2).step_by(V::LANES) {
            let p = [x.add(at), x.add(at + len / 2)];
            let [x0, x1] = match last {
                Some(last) => s.merge_last(V::load(p[0]), V::load(p[1]), last),
                None => s.merge(V::load(p[0]), V::load(p[1]), f),
            };
            x0.store(p[0]);
            x1.store(p[1]);
        }
    }
}

/// Runs `level!(distance)` for the distances within a register, largest first or smallest first.
macro_rules! distances {
    ($lanes:expr, $level:ident, down) => {
        if $lanes == 16 {
            $level!(8);
        }
        $level!(4);
        $level!(2);
        $level!(1);
    };
    ($lanes:expr, $level:ident, up) => {
        $level!(1);
        $level!(2);
        $level!(4);
        if $lanes == 16 {
            $level!(8);
        }
    };
}

/// The last forward levels of `G` groups of two registers, to canonical words. `node` is the first group's.
///
/// Before each level the registers exchange lanes so that partners face each other; after the last they hold the even
/// and the odd entries.
#[inline(always)]
unsafe fn split_last<V: Lanes, const G: usize>(s: &Spread<V>, roots: &Narrow, node: usize, x: *mut u32) {
    // SAFETY: the caller has V's instructions and passes 2 G LANES words.
    unsafe {
        let mut groups: [[V; 2]; G] = std::array::from_fn(|g| [0, 1].map(|i| V::load(x.add((2 * g + i) * V::LANES))));
        macro_rules! level {
            ($distance:literal) => {
                for (g, [a, b]) in groups.iter_mut().enumerate() {
                    let count = V::LANES / $distance;
                    let f = Factor::repeated::<$distance>(roots, (node + g) * count);
                    let (low, high) = a.exchange::<$distance>(*b);
                    [*a, *b] = s.split(low, high, f);
                }
            };
        }
        distances!(V::LANES, level, down);
        for (g, [a, b]) in groups.into_iter().enumerate() {
            let (a, b) = V::interleave(s.canonical(s.halve(a)), s.canonical(s.halve(b)));
            a.store(x.add(2 * g * V::LANES));
            b.store(x.add((2 * g + 1) * V::LANES));
        }
    }
}

/// The first inverse levels of `G` groups of two registers of canonical words.
#[inline(always)]
unsafe fn merge_first<V: Lanes, const G: usize>(s: &Spread<V>, roots: &Narrow, node: usize, x: *mut u32) {
    // SAFETY: as in `split_last`.
    unsafe {
        let mut groups: [[V; 2]; G] = std::array::from_fn(|g| {
            let (a, b) = V::deinterleave(V::load(x.add(2 * g * V::LANES)), V::load(x.add((2 * g + 1) * V::LANES)));
            [a, b]
        });
        macro_rules! level {
            ($distance:literal) => {
                for (g, [a, b]) in groups.iter_mut().enumerate() {
                    let count = V::LANES / $distance;
                    let f = Factor::repeated::<$distance>(roots, (node + g) * count);
                    let [low, high] = s.merge(*a, *b, f);
                    (*a, *b) = low.exchange::<$distance>(high);
                }
            };
        }
        distances!(V::LANES, level, up);
        for (g, [a, b]) in groups.into_iter().enumerate() {
            a.store(x.add(2 * g * V::LANES));
            b.store(x.add((2 * g + 1) * V::LANES));
        }
    }
}

/// Calls a routine for groups of registers four at a time, or one at a time in tiny transforms.
macro_rules! groups {
    ($len:expr, $routine:ident($s:expr, $roots:expr, $node:expr, $x:expr)) => {
        let count = $len / (2 * V::LANES);
        if count.is_multiple_of(4) {
            for g in (0..count).step_by(4) {
                $routine::<V, 4>($s, $roots, $node * count + g, $x.add(2 * g * V::LANES));
            }
        } else {
            for g in 0..count {
                $routine::<V, 1>($s, $roots, $node * count + g, $x.add(2 * g * V::LANES));
            }
        }
    };
}

fn check<V: Lanes>(roots: &Narrow, values: &[u32]) {
    assert!(
        values.len().is_power_of_two()
            && values.len() >= 2 * V::LANES
            // Roots of a larger degree do as well: those of a subring come first.
            && roots.roots.len() >= values.len() + PADDING
            && roots.quotients.len() == roots.roots.len()
    );
}

#[inline(always)]
pub(super) unsafe fn ntt_forward<V: Lanes>(m: &Modulus, roots: &Narrow, values: &mut [u32]) {
    check::<V>(roots, values);
    let (n, x) = (values.len(), values.as_mut_ptr());
    // SAFETY: the caller has V's instructions; blocks of the tree are ranges of `values`, and nodes below N, which the
    // tables reach, as checked.
    unsafe {
        let s = Spread::<V>::new(m);
        let (mut blocks, mut len) = (1, n);
        while len > 1 << LOG_BLOCK {
            for b in 0..blocks {
                split_two(&s, roots, blocks + b, x.add(b * len), len);
            }
            (blocks, len) = (4 * blocks, len / 4);
        }
        for block in 0..blocks {
            let x = x.add(block * len);
            for (level, two) in passes::<V>(len.ilog2()) {
                let (parts, len) = (1 << level, len >> level);
                for i in 0..parts {
                    let node = (blocks + block) * parts + i;
                    if two {
                        split_two(&s, roots, node, x.add(i * len), len);
                    } else {
                        split_one(&s, roots, node, x.add(i * len), len);
                    }
                }
            }
            groups!(len, split_last(&s, roots, (blocks + block), x));
        }
    }
}

#[inline(always)]
pub(super) unsafe fn ntt_inverse<V: Lanes>(m: &Modulus, roots: &Narrow, last: &LastLevel, values: &mut [u32]) {
    check::<V>(roots, values);
    let (n, x) = (values.len(), values.as_mut_ptr());
    // SAFETY: as in `ntt_forward`.
    unsafe {
        let s = Spread::<V>::new(m);
        let last = [last.sum, last.difference].map(|w| Factor::splat(w, narrow_quotient(m, w)));
        let (mut blocks, mut len) = (1, n);
        while len > 1 << LOG_BLOCK {
            (blocks, len) = (4 * blocks, len / 4);
        }
        for block in 0..blocks {
            let x = x.add(block * len);
            groups!(len, merge_first(&s, roots, (blocks + block), x));
            for (level, two) in passes::<V>(len.ilog2()).rev() {
                let (parts, len) = (1 << level, len >> level);
                for i in 0..parts {
                    let node = (blocks + block) * parts + i;
                    let last = (node == 1).then_some(&last);
                    if two {
                        merge_two(&s, roots, node, x.add(i * len), len, last);
                    } else {
                        merge_one(&s, roots, node, x.add(i * len), len, last);
                    }
                }
            }
        }
        while blocks > 1 {
            (blocks, len) = (blocks / 4, len * 4);
            for b in 0..blocks {
                merge_two(&s, roots, blocks + b, x.add(b * len), len, (blocks == 1).then_some(&last));
            }
        }
    }
}
