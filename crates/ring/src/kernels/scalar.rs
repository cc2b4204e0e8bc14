//! The reference kernels: one residue at a time.

use super::grouped::multiply_grouped;
use super::integers::multiply_integers;
use super::set::{DIGIT_CHUNK, Kernels, KeyProduct, MATMUL_CHUNK, QuotientTerm};
use super::uniform::uniform;
use crate::modulus::Modulus;
use crate::roots::{LastLevel, Narrow};

pub(super) const KERNELS: Kernels = Kernels {
    name: "scalar",
    add,
    sub,
    mul,
    mul_const,
    mul_const_add,
    sub_mul_const,
    scale_centre,
    square,
    permute,
    rotate_product_centred,
    rotate_product,
    matmul,
    multiply_integers,
    multiply_grouped,
    quotient,
    uniform,
    ntt_forward,
    ntt_inverse,
    wide_ntt: None,
};

pub(super) fn add(m: &Modulus, a: &mut [u32], b: &[u32]) {
    for (a, &b) in a.iter_mut().zip(b) {
        *a = m.add(*a, b);
    }
}

pub(super) fn sub(m: &Modulus, a: &mut [u32], b: &[u32]) {
    for (a, &b) in a.iter_mut().zip(b) {
        *a = m.sub(*a, b);
    }
}

pub(super) fn mul(m: &Modulus, out: &mut [u32], a: &[u32], b: &[u32]) {
    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *out = m.mul(a, b);
    }
}

pub(super) fn mul_const(m: &Modulus, a: &mut [u32], c: u32) {
    for a in a {
        *a = m.mul_montgomery(*a, c);
    }
}

pub(super) fn mul_const_add(m: &Modulus, a: &mut [u32], b: &[u32], c: u32) {
    for (a, &b) in a.iter_mut().zip(b) {
        *a = m.add(*a, m.mul_montgomery(b, c));
    }
}

pub(super) fn sub_mul_const(m: &Modulus, a: &mut [u32], b: &[u32], c: u32) {
    for (a, &b) in a.iter_mut().zip(b) {
        *a = m.mul_montgomery(m.sub(*a, b), c);
    }
}

pub(super) fn scale_centre(m: &Modulus, out: &mut [i32], a: &[u32], c: u32) {
    for (out, &a) in out.iter_mut().zip(a) {
        *out = m.centre(m.mul_montgomery(a, c));
    }
}

pub(super) fn square(m: &Modulus, [d0, d1, d2]: [&mut [u32]; 3], [c0, c1]: [&[u32]; 2]) {
    for i in 0..c0.len() {
        d0[i] = m.mul(c0[i], c0[i]);
        let cross = m.mul(c0[i], c1[i]);
        d1[i] = m.add(cross, cross);
        d2[i] = m.mul(c1[i], c1[i]);
    }
}

pub(super) fn permute(source: &[u32], out: &mut [u32], a: &[u32]) {
    for (out, &s) in out.iter_mut().zip(source) {
        *out = a[s as usize];
    }
}

/// Both components of a key product at input position `at`, canonical.
fn key_product(p: &KeyProduct<'_>, at: usize) -> [u32; 2] {
    let (m, n) = (p.modulus, p.n);
    let mut out = [p.addend.map_or(0, |a| a[at]), 0];
    for (digits, keys) in p.digits.chunks(DIGIT_CHUNK * n).zip(p.key.chunks(DIGIT_CHUNK * 2 * n)) {
        for (part, out) in out.iter_mut().enumerate() {
            let sum: i64 = (digits.chunks_exact(n).zip(keys.chunks_exact(2 * n)))
                .map(|(digit, key)| digit[at] as i64 * key[part * n + at] as i64)
                .sum();
            *out = m.add(*out, m.canonical(m.redc(sum)));
        }
    }
    out
}

pub(super) fn rotate_product_centred(p: &KeyProduct<'_>, out0: &mut [i32], out1: &mut [i32]) {
    for ((&s, out0), out1) in p.source.iter().zip(out0).zip(out1) {
        let [x0, x1] = key_product(p, s as usize);
        (*out0, *out1) = (p.modulus.centre(x0), p.modulus.centre(x1));
    }
}

pub(super) fn rotate_product(p: &KeyProduct<'_>, add: bool, out0: &mut [u32], out1: &mut [u32]) {
    for ((&s, out0), out1) in p.source.iter().zip(out0).zip(out1) {
        let [x0, x1] = key_product(p, s as usize);
        (*out0, *out1) = if add { (p.modulus.add(*out0, x0), p.modulus.add(*out1, x1)) } else { (x0, x1) };
    }
}

pub(super) fn matmul(rows: &[Modulus], weights: &[i32], inputs: &[&[i32]], outputs: &mut [&mut [u32]]) {
    for (r, (m, out)) in rows.iter().zip(outputs).enumerate() {
        let row = &weights[r * inputs.len()..(r + 1) * inputs.len()];
        for (i, out) in out.iter_mut().enumerate() {
            *out = 0;
            for (row, inputs) in row.chunks(MATMUL_CHUNK).zip(inputs.chunks(MATMUL_CHUNK)) {
                let sum: i64 = row.iter().zip(inputs).map(|(&w, x)| w as i64 * x[i] as i64).sum();
                *out = m.add(*out, m.canonical(m.redc(sum)));
            }
        }
    }
}

pub(super) fn quotient(terms: &[QuotientTerm], y: &[&[i32]], out: &mut [i32]) {
    for (i, out) in out.iter_mut().enumerate() {
        let sum: i64 = terms.iter().zip(y).map(|(t, y)| (y[i] as i64 * t.factor as i64) >> t.shift).sum();
        *out = ((sum + (1 << 31)) >> 32) as i32;
    }
}

/// `x w` for a root and its quotient: Shoup's product is below `2p` for any word `x`.
fn mul_root(m: &Modulus, x: u32, w: u32, quotient: u32) -> u32 {
    let q = ((x as u64 * quotient as u64) >> 32) as u32;
    let r = x.wrapping_mul(w).wrapping_sub(q.wrapping_mul(m.value()));
    r.min(r.wrapping_sub(m.value()))
}

pub(super) fn ntt_forward(m: &Modulus, roots: &Narrow, values: &mut [u32]) {
    let mut blocks = 1;
    while blocks < values.len() {
        let len = values.len() / blocks;
        for (block, node) in values.chunks_exact_mut(len).zip(blocks..) {
            let (w, quotient) = (roots.roots[node], roots.quotients[node]);
            let (low, high) = block.split_at_mut(len / 2);
            for (a, b) in low.iter_mut().zip(high) {
                let r = mul_root(m, *b, w, quotient);
                (*a, *b) = (m.add(*a, r), m.sub(*a, r));
            }
        }
        blocks *= 2;
    }
}

pub(super) fn ntt_inverse(m: &Modulus, roots: &Narrow, last: &LastLevel, values: &mut [u32]) {
    let mut blocks = values.len() / 2;
    while blocks > 0 {
        let len = values.len() / blocks;
        for (block, node) in values.chunks_exact_mut(len).zip(blocks..) {
            let (w, quotient) = (roots.roots[node], roots.quotients[node]);
            let (low, high) = block.split_at_mut(len / 2);
            for (a, b) in low.iter_mut().zip(high) {
                let (sum, difference) = (m.add(*a, *b), m.sub(*a, *b));
                (*a, *b) = match blocks {
                    1 => (m.mul(sum, last.sum), m.mul(difference, last.difference)),
                    _ => (sum, mul_root(m, difference, w, quotient)),
                };
            }
        }
        blocks /= 2;
    }
}
