//! The kernels over registers of 32-bit lanes, written once for every width.
//!
//! Products are 64 bits wide, so they are formed for the even and the odd lanes apart and joined after reduction.
//! Remainders shorter than a register go through the scalar kernels.

use super::scalar;
use super::set::{DIGIT_CHUNK, KeyProduct, MATMUL_CHUNK, QuotientTerm};
use crate::modulus::Modulus;

/// A register of 32-bit lanes. All lanes are treated as unsigned or two's complement as named.
///
/// # Safety
/// Implementations may use instructions that the machine must have; every method's caller vouches for that. `load` and
/// `store` touch `LANES` words at the (unaligned) address.
pub(super) unsafe trait Lanes: Copy {
    const LANES: usize;
    /// Rows of a matrix product handled at once, limited by the number of registers.
    const TILE: usize;
    unsafe fn load(p: *const u32) -> Self;
    unsafe fn store(self, p: *mut u32);
    unsafe fn splat(x: u32) -> Self;
    unsafe fn add32(self, o: Self) -> Self;
    unsafe fn sub32(self, o: Self) -> Self;
    unsafe fn min32(self, o: Self) -> Self;
    /// Signed 64-bit products of the even lanes.
    unsafe fn mul_even(self, o: Self) -> Self;
    /// Unsigned 64-bit products of the even lanes.
    unsafe fn mul_even_unsigned(self, o: Self) -> Self;
    /// Low halves of the products of all lanes.
    unsafe fn mul_low(self, o: Self) -> Self;
    unsafe fn add64(self, o: Self) -> Self;
    unsafe fn sub64(self, o: Self) -> Self;
    /// Unsigned 64-bit lanes over a power of two.
    unsafe fn shift_down64(self, by: u32) -> Self;
    /// `x` in all 64-bit lanes.
    unsafe fn splat64(x: i64) -> Self;
    /// Asks for the cache line at `p`.
    unsafe fn prefetch(p: *const u32);
    /// Odd lanes moved to even places.
    unsafe fn odd(self) -> Self;
    /// High halves of the 64-bit lanes of `even`, in even places, and of `odd`, in odd places.
    unsafe fn join_high(even: Self, odd: Self) -> Self;
    /// Lane `i` of the result is lane `index[i] mod LANES`.
    unsafe fn permute(self, index: Self) -> Self;
    /// The first `LANES / COUNT` lanes, each `COUNT` times (a power of two).
    unsafe fn repeat<const COUNT: usize>(self) -> Self;
    /// Of every `2 DISTANCE` lanes, the first halves of both registers, and the second halves.
    unsafe fn exchange<const DISTANCE: usize>(self, o: Self) -> (Self, Self);
    /// Lanes of `even` and `odd` in turn.
    unsafe fn interleave(even: Self, odd: Self) -> (Self, Self);
    /// Reverses [`Self::interleave`].
    unsafe fn deinterleave(low: Self, high: Self) -> (Self, Self);
}

/// A modulus spread over registers.
#[derive(Clone, Copy)]
pub(super) struct Spread<V> {
    p: V,
    p2: V,
    inv: V,
}

impl<V: Lanes> Spread<V> {
    #[inline(always)]
    pub(super) unsafe fn new(m: &Modulus) -> Self {
        // SAFETY: the caller has V's instructions.
        unsafe { Self { p: V::splat(m.value()), p2: V::splat(2 * m.value()), inv: V::splat(m.inverse_mod_word()) } }
    }

    /// [`Modulus::redc`] of 64-bit sums.
    #[inline(always)]
    pub(super) unsafe fn redc(&self, even: V, odd: V) -> V {
        // SAFETY: the caller has V's instructions.
        unsafe {
            let reduced = |t: V| t.sub64(t.mul_even(self.inv).mul_even(self.p));
            V::join_high(reduced(even), reduced(odd))
        }
    }

    /// [`Modulus::canonical`].
    #[inline(always)]
    pub(super) unsafe fn canonical(&self, t: V) -> V {
        // SAFETY: the caller has V's instructions.
        unsafe {
            let x = t.add32(self.p2);
            let x = x.min32(x.sub32(self.p2));
            x.min32(x.sub32(self.p))
        }
    }

    /// Reduced product of residues: from `-p / 2` to `3 p / 4`.
    #[inline(always)]
    unsafe fn product(&self, a: V, b: V) -> V {
        // SAFETY: the caller has V's instructions.
        unsafe { self.redc(a.mul_even(b), a.odd().mul_even(b.odd())) }
    }

    #[inline(always)]
    pub(super) unsafe fn mul(&self, a: V, b: V) -> V {
        // SAFETY: the caller has V's instructions.
        unsafe { self.canonical(self.product(a, b)) }
    }

    #[inline(always)]
    unsafe fn add(&self, a: V, b: V) -> V {
        // SAFETY: the caller has V's instructions.
        unsafe {
            let s = a.add32(b);
            s.min32(s.sub32(self.p))
        }
    }

    #[inline(always)]
    unsafe fn sub(&self, a: V, b: V) -> V {
        // SAFETY: the caller has V's instructions.
        unsafe {
            let d = a.sub32(b);
            d.min32(d.add32(self.p))
        }
    }

    /// [`Modulus::centre`]: of `x` and `x - p` the one nearer to zero, for `x` from `-p / 2` to `3 p / 2`. Adding
    /// `h = (p - 1) / 2` makes both comparable without signs: `min(x + h, x + h - p)`.
    #[inline(always)]
    unsafe fn centre(&self, half: V, x: V) -> V {
        // SAFETY: the caller has V's instructions.
        unsafe { self.add(x, half).sub32(half) }
    }
}

macro_rules! elementwise {
    ($len:expr, $lanes:expr, |$i:ident| $body:block, |$tail:ident| $rest:block) => {{
        let whole = $len / $lanes * $lanes;
        let mut $i = 0;
        while $i < whole {
            $body
            $i += $lanes;
        }
        if whole < $len {
            let $tail = whole..$len;
            $rest
        }
    }};
}

#[inline(always)]
pub(super) unsafe fn add<V: Lanes>(m: &Modulus, a: &mut [u32], b: &[u32]) {
    let (pa, pb) = (a.as_mut_ptr(), b.as_ptr());
    // SAFETY: the caller has V's instructions; i + LANES <= len of both (checked equal).
    unsafe {
        let s = Spread::<V>::new(m);
        elementwise!(a.len(), V::LANES, |i| { s.add(V::load(pa.add(i)), V::load(pb.add(i))).store(pa.add(i)) }, |t| {
            scalar::add(m, &mut a[t.clone()], &b[t])
        });
    }
}

#[inline(always)]
pub(super) unsafe fn sub<V: Lanes>(m: &Modulus, a: &mut [u32], b: &[u32]) {
    let (pa, pb) = (a.as_mut_ptr(), b.as_ptr());
    // SAFETY: as in `add`.
    unsafe {
        let s = Spread::<V>::new(m);
        elementwise!(a.len(), V::LANES, |i| { s.sub(V::load(pa.add(i)), V::load(pb.add(i))).store(pa.add(i)) }, |t| {
            scalar::sub(m, &mut a[t.clone()], &b[t])
        });
    }
}

#[inline(always)]
pub(super) unsafe fn mul<V: Lanes>(m: &Modulus, out: &mut [u32], a: &[u32], b: &[u32]) {
    let (po, pa, pb) = (out.as_mut_ptr(), a.as_ptr(), b.as_ptr());
    // SAFETY: as in `add`, three equal lengths.
    unsafe {
        let s = Spread::<V>::new(m);
        let r2 = V::splat(m.r2());
        elementwise!(
            a.len(),
            V::LANES,
            |i| { s.mul(s.mul(V::load(pa.add(i)), V::load(pb.add(i))), r2).store(po.add(i)) },
            |t| { scalar::mul(m, &mut out[t.clone()], &a[t.clone()], &b[t]) }
        );
    }
}

#[inline(always)]
pub(super) unsafe fn mul_const<V: Lanes>(m: &Modulus, a: &mut [u32], c: u32) {
    let pa = a.as_mut_ptr();
    // SAFETY: as in `add`.
    unsafe {
        let s = Spread::<V>::new(m);
        let vc = V::splat(c);
        elementwise!(a.len(), V::LANES, |i| { s.mul(V::load(pa.add(i)), vc).store(pa.add(i)) }, |t| {
            scalar::mul_const(m, &mut a[t], c)
        });
    }
}

#[inline(always)]
pub(super) unsafe fn mul_const_add<V: Lanes>(m: &Modulus, a: &mut [u32], b: &[u32], c: u32) {
    let (pa, pb) = (a.as_mut_ptr(), b.as_ptr());
    // SAFETY: as in `add`.
    unsafe {
        let s = Spread::<V>::new(m);
        let vc = V::splat(c);
        elementwise!(
            a.len(),
            V::LANES,
            |i| { s.add(V::load(pa.add(i)), s.mul(V::load(pb.add(i)), vc)).store(pa.add(i)) },
            |t| { scalar::mul_const_add(m, &mut a[t.clone()], &b[t], c) }
        );
    }
}

#[inline(always)]
pub(super) unsafe fn sub_mul_const<V: Lanes>(m: &Modulus, a: &mut [u32], b: &[u32], c: u32) {
    let (pa, pb) = (a.as_mut_ptr(), b.as_ptr());
    // SAFETY: as in `add`.
    unsafe {
        let s = Spread::<V>::new(m);
        let vc = V::splat(c);
        elementwise!(
            a.len(),
            V::LANES,
            |i| { s.mul(s.sub(V::load(pa.add(i)), V::load(pb.add(i))), vc).store(pa.add(i)) },
            |t| { scalar::sub_mul_const(m, &mut a[t.clone()], &b[t], c) }
        );
    }
}

#[inline(always)]
pub(super) unsafe fn scale_centre<V: Lanes>(m: &Modulus, out: &mut [i32], a: &[u32], c: u32) {
    let (po, pa) = (out.as_mut_ptr().cast::<u32>(), a.as_ptr());
    // SAFETY: as in `add`; i32 and u32 have the same layout.
    unsafe {
        let s = Spread::<V>::new(m);
        let (vc, half) = (V::splat(c), V::splat(m.value() / 2));
        elementwise!(
            a.len(),
            V::LANES,
            |i| { s.centre(half, s.product(V::load(pa.add(i)), vc)).store(po.add(i)) },
            |t| { scalar::scale_centre(m, &mut out[t.clone()], &a[t], c) }
        );
    }
}

#[inline(always)]
pub(super) unsafe fn square<V: Lanes>(m: &Modulus, [d0, d1, d2]: [&mut [u32]; 3], [c0, c1]: [&[u32]; 2]) {
    let (p0, p1, p2) = (d0.as_mut_ptr(), d1.as_mut_ptr(), d2.as_mut_ptr());
    let (q0, q1) = (c0.as_ptr(), c1.as_ptr());
    // SAFETY: as in `add`, five equal lengths.
    unsafe {
        let s = Spread::<V>::new(m);
        let r2 = V::splat(m.r2());
        elementwise!(
            c0.len(),
            V::LANES,
            |i| {
                let (x0, x1) = (V::load(q0.add(i)), V::load(q1.add(i)));
                // Montgomery form of one factor serves two products.
                let (r0, r1) = (s.mul(x0, r2), s.mul(x1, r2));
                s.mul(x0, r0).store(p0.add(i));
                let cross = s.mul(x1, r0);
                s.add(cross, cross).store(p1.add(i));
                s.mul(x1, r1).store(p2.add(i));
            },
            |t| {
                let out = [&mut d0[t.clone()], &mut d1[t.clone()], &mut d2[t.clone()]];
                scalar::square(m, out, [&c0[t.clone()], &c1[t]]);
            }
        );
    }
}

/// Whether a block of an automorphism's sources can be taken register by register: blocks of `LANES` outputs then come
/// from one aligned block of inputs ([`crate::automorphism`]).
#[inline(always)]
fn by_registers<V: Lanes>(source: &[u32]) -> bool {
    source.len().is_multiple_of(V::LANES)
}

#[inline(always)]
pub(super) unsafe fn permute<V: Lanes>(source: &[u32], out: &mut [u32], a: &[u32]) {
    if !by_registers::<V>(source) {
        return scalar::permute(source, out, a);
    }
    let lanes = V::LANES as u32;
    for (source, out) in source.chunks_exact(V::LANES).zip(out.chunks_exact_mut(V::LANES)) {
        let block = &a[(source[0] / lanes * lanes) as usize..][..V::LANES];
        // SAFETY: the caller has V's instructions; the three slices are LANES long.
        unsafe { V::load(block.as_ptr()).permute(V::load(source.as_ptr())).store(out.as_mut_ptr()) }
    }
}

/// How many registers ahead keys, digits and addends are asked for.
const AHEAD: usize = 12;
/// Most registers of a permutation that are visited in the order of the inputs.
const PIECE: usize = 64;

/// Calls `f(output, input)` for each register of outputs and the aligned place `input` it comes from.
///
/// Pieces of outputs come from aligned pieces of inputs of the same size ([`crate::automorphism`]). Within a piece
/// inputs are visited in order: keys come from memory, one line after the other, and the outputs of a piece stay in the
/// first-level cache.
///
/// # Safety
/// The caller has V's instructions.
#[inline(always)]
unsafe fn for_pieces<V: Lanes>(p: &KeyProduct<'_>, mut f: impl FnMut(usize, usize)) {
    let lanes = V::LANES;
    let registers = p.source.len() / lanes;
    let piece = PIECE.min(1 << registers.trailing_zeros());
    for first in (0..registers).step_by(piece) {
        let at = |register: usize| p.source[register * lanes] as usize / lanes;
        let base = at(first) / piece * piece;
        // Which output each input of the piece belongs to.
        let mut outputs = [0u8; PIECE];
        for i in 0..piece {
            outputs[at(first + i) - base] = i as u8;
        }
        assert!((base + piece) * lanes <= p.n, "a permutation beyond its ring");
        for (i, &output) in outputs[..piece].iter().enumerate() {
            // SAFETY: the caller has V's instructions.
            unsafe { prefetch_key_product::<V>(p, (base + i + AHEAD) * lanes) };
            f((first + output as usize) * lanes, (base + i) * lanes);
        }
    }
}

/// Asks for what [`key_product`] reads at `from`.
#[inline(always)]
unsafe fn prefetch_key_product<V: Lanes>(p: &KeyProduct<'_>, from: usize) {
    // Addresses of lines that may not exist are never read: no bounds to keep.
    let (mut digit, mut key) = (p.digits.as_ptr().wrapping_add(from), p.key.as_ptr().wrapping_add(from));
    if let Some(addend) = p.addend {
        // SAFETY: the caller has V's instructions.
        unsafe { V::prefetch(addend.as_ptr().wrapping_add(from)) };
    }
    for _ in 0..p.digits.len() / p.n {
        // SAFETY: the caller has V's instructions.
        unsafe {
            V::prefetch(digit);
            V::prefetch(key);
            V::prefetch(key.wrapping_add(p.n));
        }
        (digit, key) = (digit.wrapping_add(p.n), key.wrapping_add(2 * p.n));
    }
}

/// Both components of a key product for `V::LANES` inputs from `at`, canonical.
#[inline(always)]
unsafe fn key_product<V: Lanes>(s: &Spread<V>, p: &KeyProduct<'_>, at: usize) -> [V; 2] {
    let n = p.n;
    let digits = p.digits.len() / n;
    // SAFETY: the caller has V's instructions and at + LANES <= n; digits hold `digits * n` words and keys twice as
    // many (checked by `KeyProduct::check`).
    unsafe {
        let zero = V::splat(0);
        let mut out = [p.addend.map_or(zero, |a| V::load(a[at..at + V::LANES].as_ptr())), zero];
        let mut first = 0;
        while first < digits {
            let last = (first + DIGIT_CHUNK).min(digits);
            let (mut e0, mut o0, mut e1, mut o1) = (zero, zero, zero, zero);
            for d in first..last {
                let x = V::load(p.digits.as_ptr().add(d * n + at));
                let b = V::load(p.key.as_ptr().add(2 * d * n + at));
                let a = V::load(p.key.as_ptr().add((2 * d + 1) * n + at));
                let xo = x.odd();
                e0 = e0.add64(x.mul_even(b));
                o0 = o0.add64(xo.mul_even(b.odd()));
                e1 = e1.add64(x.mul_even(a));
                o1 = o1.add64(xo.mul_even(a.odd()));
            }
            out[0] = s.add(out[0], s.canonical(s.redc(e0, o0)));
            out[1] = s.add(out[1], s.canonical(s.redc(e1, o1)));
            first = last;
        }
        out
    }
}

#[inline(always)]
pub(super) unsafe fn rotate_product_centred<V: Lanes>(p: &KeyProduct<'_>, out0: &mut [i32], out1: &mut [i32]) {
    if !by_registers::<V>(p.source) {
        return scalar::rotate_product_centred(p, out0, out1);
    }
    let (out0, out1) = (out0.as_mut_ptr(), out1.as_mut_ptr());
    // SAFETY: the caller has V's instructions. `at + LANES <= n` and `to + LANES <= source.len()`, the length of the
    // outputs (checked by `KeyProduct::check`).
    unsafe {
        let s = Spread::<V>::new(p.modulus);
        let half = V::splat(p.modulus.value() / 2);
        for_pieces::<V>(p, |to, at| {
            let index = V::load(p.source.as_ptr().add(to));
            let [x0, x1] = key_product(&s, p, at);
            s.centre(half, x0).permute(index).store(out0.add(to).cast());
            s.centre(half, x1).permute(index).store(out1.add(to).cast());
        });
    }
}

#[inline(always)]
pub(super) unsafe fn rotate_product<V: Lanes>(p: &KeyProduct<'_>, add: bool, out0: &mut [u32], out1: &mut [u32]) {
    if !by_registers::<V>(p.source) {
        return scalar::rotate_product(p, add, out0, out1);
    }
    let (out0, out1) = (out0.as_mut_ptr(), out1.as_mut_ptr());
    // SAFETY: as in `rotate_product_centred`.
    unsafe {
        let s = Spread::<V>::new(p.modulus);
        for_pieces::<V>(p, |to, at| {
            let index = V::load(p.source.as_ptr().add(to));
            let [x0, x1] = key_product(&s, p, at);
            for (x, out) in [(x0, out0.add(to)), (x1, out1.add(to))] {
                let x = x.permute(index);
                if add { s.add(V::load(out), x).store(out) } else { x.store(out) }
            }
        });
    }
}

/// `ROWS` rows of a matrix product over the whole length.
#[inline(always)]
unsafe fn matmul_tile<V: Lanes, const ROWS: usize>(
    rows: &[Modulus],
    weights: &[i32],
    inputs: &[&[i32]],
    outputs: &mut [&mut [u32]],
    whole: usize,
) {
    let cols = inputs.len();
    assert!(rows.len() == ROWS && outputs.len() == ROWS && weights.len() == ROWS * cols);
    // SAFETY: the caller has V's instructions and checked that inputs and outputs are at least `whole` long, a multiple
    // of LANES; weight indices stay below ROWS * cols, asserted above.
    unsafe {
        let zero = V::splat(0);
        let w = weights.as_ptr();
        let mut at = 0;
        while at < whole {
            let mut first = 0;
            loop {
                let last = (first + MATMUL_CHUNK).min(cols);
                let (mut even, mut odd) = ([zero; ROWS], [zero; ROWS]);
                for c in first..last {
                    let x = V::load(inputs.get_unchecked(c).as_ptr().cast::<u32>().add(at));
                    let xo = x.odd();
                    for r in 0..ROWS {
                        let weight = V::splat(*w.add(r * cols + c) as u32);
                        even[r] = even[r].add64(x.mul_even(weight));
                        odd[r] = odd[r].add64(xo.mul_even(weight));
                    }
                }
                for r in 0..ROWS {
                    let s = Spread::<V>::new(&rows[r]);
                    let out = outputs[r].as_mut_ptr().add(at);
                    let sum = s.canonical(s.redc(even[r], odd[r]));
                    let sum = if first == 0 { sum } else { s.add(sum, V::load(out)) };
                    sum.store(out);
                }
                first = last;
                if first >= cols {
                    break;
                }
            }
            at += V::LANES;
        }
    }
}

#[inline(always)]
pub(super) unsafe fn matmul<V: Lanes>(
    rows: &[Modulus],
    weights: &[i32],
    inputs: &[&[i32]],
    outputs: &mut [&mut [u32]],
) {
    let cols = inputs.len();
    let len = outputs.first().map_or(0, |o| o.len());
    let whole = len / V::LANES * V::LANES;
    let mut r = 0;
    while r < rows.len() {
        let tile = match rows.len() - r {
            left if left >= V::TILE => V::TILE,
            left if left >= 4 => 4,
            left if left >= 2 => 2,
            _ => 1,
        };
        let (m, w, o) = (&rows[r..r + tile], &weights[r * cols..(r + tile) * cols], &mut outputs[r..r + tile]);
        // SAFETY: the caller has V's instructions and checked that all lengths are `len >= whole`.
        unsafe {
            match tile {
                8 => matmul_tile::<V, 8>(m, w, inputs, o, whole),
                4 => matmul_tile::<V, 4>(m, w, inputs, o, whole),
                2 => matmul_tile::<V, 2>(m, w, inputs, o, whole),
                _ => matmul_tile::<V, 1>(m, w, inputs, o, whole),
            }
        }
        r += tile;
    }
    if whole < len {
        let inputs: Vec<&[i32]> = inputs.iter().map(|i| &i[whole..]).collect();
        let mut outputs: Vec<&mut [u32]> = outputs.iter_mut().map(|o| &mut o[whole..]).collect();
        scalar::matmul(rows, weights, &inputs, &mut outputs);
    }
}

#[inline(always)]
pub(super) unsafe fn quotient<V: Lanes>(terms: &[QuotientTerm], y: &[&[i32]], out: &mut [i32]) {
    // Shifts are of unsigned lanes: products get 2^62, whose share of the sum is taken off at the start.
    const BIAS: i64 = 1 << 62;
    let start = terms.iter().fold(1 << 31, |start: i64, t| start - (BIAS >> t.shift));
    let po = out.as_mut_ptr();
    // SAFETY: as in `add`; all columns are as long as `out` (checked).
    unsafe {
        let (start, bias) = (V::splat64(start), V::splat64(BIAS));
        elementwise!(
            out.len(),
            V::LANES,
            |i| {
                let (mut even, mut odd) = (start, start);
                for (t, y) in terms.iter().zip(y) {
                    let x = V::load(y.as_ptr().add(i).cast());
                    let factor = V::splat(t.factor as u32);
                    even = even.add64(x.mul_even(factor).add64(bias).shift_down64(t.shift));
                    odd = odd.add64(x.odd().mul_even(factor).add64(bias).shift_down64(t.shift));
                }
                V::join_high(even, odd).store(po.add(i).cast());
            },
            |t| {
                let rest: Vec<&[i32]> = y.iter().map(|y| &y[t.clone()]).collect();
                scalar::quotient(terms, &rest, &mut out[t]);
            }
        );
    }
}
