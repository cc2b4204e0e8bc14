//! A set of inner loops: what it has, and the entry points that check its operands.

use super::grouped::GroupedMatrix;
use super::integers::IntegerMatrix;
use crate::modulus::Modulus;
use crate::roots::{LastLevel, Narrow, Wide};

/// Largest number of products summed before a reduction: 24 products of a residue within `p / 2` and one within `2^29`
/// reduce to within `24 p / 16 + p / 2 = 2p`, what [`Modulus::canonical`] takes.
pub const MATMUL_CHUNK: usize = 24;
/// Largest number of key-switching digits summed before a reduction.
pub const DIGIT_CHUNK: usize = 6;

/// One column of a fixed-point sum, see [`Kernels::quotient`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotientTerm {
    /// Its factor.
    pub factor: i32,
    /// How far its products are shifted down, below 62.
    pub shift: u32,
}

/// Operands of a key-switching inner product in one limb, see [`Kernels::rotate_product_centred`].
#[derive(Debug, Clone, Copy)]
pub struct KeyProduct<'a> {
    /// The limb's prime.
    pub modulus: &'a Modulus,
    /// Which input each output comes from: a block of [`crate::Automorphism::source`].
    pub source: &'a [u32],
    /// The digits, `n` residues each, one after the other.
    pub digits: &'a [u32],
    /// The key in Montgomery form: for each digit `n` residues of the `b` part and `n` of the `a` part.
    pub key: &'a [u32],
    /// Residues added to the first component before the permutation.
    pub addend: Option<&'a [u32]>,
    /// Ring degree.
    pub n: usize,
}

impl KeyProduct<'_> {
    fn check(&self, out0: usize, out1: usize) {
        let digits = self.digits.len() / self.n;
        assert!(
            out0 == self.source.len()
                && out1 == out0
                && self.digits.len() == digits * self.n
                && self.key.len() == 2 * self.digits.len()
                && self.addend.is_none_or(|a| a.len() == self.n)
                && self.source.len() <= self.n,
            "operands of a key product disagree"
        );
    }
}

/// One set of inner loops. Lengths must agree; a mismatch is a bug in this workspace and panics.
#[expect(clippy::type_complexity, reason = "signatures of the public methods below")]
pub struct Kernels {
    /// `scalar`, `avx2`, `avx512` or `avx512ifma`.
    pub name: &'static str,
    pub(super) add: fn(&Modulus, &mut [u32], &[u32]),
    pub(super) sub: fn(&Modulus, &mut [u32], &[u32]),
    pub(super) mul: fn(&Modulus, &mut [u32], &[u32], &[u32]),
    pub(super) mul_const: fn(&Modulus, &mut [u32], u32),
    pub(super) mul_const_add: fn(&Modulus, &mut [u32], &[u32], u32),
    pub(super) sub_mul_const: fn(&Modulus, &mut [u32], &[u32], u32),
    pub(super) scale_centre: fn(&Modulus, &mut [i32], &[u32], u32),
    pub(super) square: fn(&Modulus, [&mut [u32]; 3], [&[u32]; 2]),
    pub(super) permute: fn(&[u32], &mut [u32], &[u32]),
    pub(super) rotate_product_centred: fn(&KeyProduct<'_>, &mut [i32], &mut [i32]),
    pub(super) rotate_product: fn(&KeyProduct<'_>, bool, &mut [u32], &mut [u32]),
    pub(super) matmul: fn(&[Modulus], &[i32], &[&[i32]], &mut [&mut [u32]]),
    pub(super) multiply_integers: fn(&Modulus, &IntegerMatrix, &[&[u32]], &mut [&mut [u32]]),
    pub(super) multiply_grouped: fn(&Modulus, &GroupedMatrix, &[&[u32]], &mut [&mut [u32]]),
    pub(super) quotient: fn(&[QuotientTerm], &[&[i32]], &mut [i32]),
    pub(super) uniform: fn(&Modulus, &[u8; 32], &mut [u32]),
    pub(super) ntt_forward: fn(&Modulus, &Narrow, &mut [u32]),
    pub(super) ntt_inverse: fn(&Modulus, &Narrow, &LastLevel, &mut [u32]),
    pub(super) wide_ntt: Option<WideNtt>,
}

/// Transforms with 52-bit products, of at least [`crate::roots::WIDE_LOG_N`] levels.
#[derive(Clone, Copy)]
pub(crate) struct WideNtt {
    pub(crate) forward: fn(&Modulus, &Wide, &mut [u32]),
    pub(crate) inverse: fn(&Modulus, &Wide, &LastLevel, &mut [u32]),
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kernels({})", self.name)
    }
}

impl Kernels {
    /// `a += b`.
    #[inline]
    pub fn add(&self, m: &Modulus, a: &mut [u32], b: &[u32]) {
        assert_eq!(a.len(), b.len());
        (self.add)(m, a, b);
    }

    /// `a -= b`.
    #[inline]
    pub fn sub(&self, m: &Modulus, a: &mut [u32], b: &[u32]) {
        assert_eq!(a.len(), b.len());
        (self.sub)(m, a, b);
    }

    /// `out = a * b`, entry by entry, all plain residues.
    #[inline]
    pub fn mul(&self, m: &Modulus, out: &mut [u32], a: &[u32], b: &[u32]) {
        assert!(out.len() == a.len() && a.len() == b.len());
        (self.mul)(m, out, a, b);
    }

    /// `a *= c`, with `c` in Montgomery form.
    #[inline]
    pub fn mul_const(&self, m: &Modulus, a: &mut [u32], c: u32) {
        (self.mul_const)(m, a, c);
    }

    /// `a += b * c`, with `c` in Montgomery form.
    #[inline]
    pub fn mul_const_add(&self, m: &Modulus, a: &mut [u32], b: &[u32], c: u32) {
        assert_eq!(a.len(), b.len());
        (self.mul_const_add)(m, a, b, c);
    }

    /// `a = (a - b) * c`, with `c` in Montgomery form.
    #[inline]
    pub fn sub_mul_const(&self, m: &Modulus, a: &mut [u32], b: &[u32], c: u32) {
        assert_eq!(a.len(), b.len());
        (self.sub_mul_const)(m, a, b, c);
    }

    /// `out` = the centred representative of `a * c`, with `c` in Montgomery form.
    #[inline]
    pub fn scale_centre(&self, m: &Modulus, out: &mut [i32], a: &[u32], c: u32) {
        assert_eq!(a.len(), out.len());
        (self.scale_centre)(m, out, a, c);
    }

    /// `out = (c0^2, 2 c0 c1, c1^2)`.
    #[inline]
    pub fn square(&self, m: &Modulus, out: [&mut [u32]; 3], c: [&[u32]; 2]) {
        assert!(out.iter().all(|o| o.len() == c[0].len()) && c[0].len() == c[1].len());
        (self.square)(m, out, c);
    }

    /// `out[i] = a[source[i]]` for the blocks of an automorphism.
    #[inline]
    pub fn permute(&self, source: &[u32], out: &mut [u32], a: &[u32]) {
        assert!(source.len() == out.len() && source.len() == a.len());
        (self.permute)(source, out, a);
    }

    /// The permuted inner product of digits with a switching key:
    /// `out0[i] = (sum_d digit_d * b_d + addend)[source[i]]`, `out1[i] = (sum_d digit_d * a_d)[source[i]]`, centred.
    /// `source` may be a block of the whole permutation.
    #[inline]
    pub fn rotate_product_centred(&self, p: &KeyProduct<'_>, out0: &mut [i32], out1: &mut [i32]) {
        p.check(out0.len(), out1.len());
        (self.rotate_product_centred)(p, out0, out1);
    }

    /// As [`Self::rotate_product_centred`], canonical, in place of the outputs or added to them.
    #[inline]
    pub fn rotate_product(&self, p: &KeyProduct<'_>, add: bool, out0: &mut [u32], out1: &mut [u32]) {
        p.check(out0.len(), out1.len());
        (self.rotate_product)(p, add, out0, out1);
    }

    /// `outputs[r] = sum_c weights[r][c] * inputs[c] mod rows[r]`, entry by entry.
    ///
    /// `weights` is row-major, in Montgomery form and centred modulo its row's prime; inputs are centred residues, of
    /// absolute value at most 2^29, of whatever prime.
    #[inline]
    pub fn matmul(&self, rows: &[Modulus], weights: &[i32], inputs: &[&[i32]], outputs: &mut [&mut [u32]]) {
        let len = outputs.first().map_or(0, |o| o.len());
        assert!(
            rows.len() == outputs.len()
                && weights.len() == rows.len() * inputs.len()
                && inputs.iter().all(|i| i.len() == len)
                && outputs.iter().all(|o| o.len() == len),
            "operands of a matrix product disagree"
        );
        (self.matmul)(rows, weights, inputs, outputs);
    }

    /// `outputs[r] = sum_c weights[r][c] * inputs[c]`, entry by entry; inputs are canonical residues of the modulus.
    #[inline]
    pub fn multiply_integers(
        &self,
        m: &Modulus,
        matrix: &IntegerMatrix,
        inputs: &[&[u32]],
        outputs: &mut [&mut [u32]],
    ) {
        check_product((matrix.rows(), matrix.columns()), inputs, outputs);
        (self.multiply_integers)(m, matrix, inputs, outputs);
    }

    /// [`Self::multiply_integers`] with a matrix that has its columns grouped: the same words.
    #[inline]
    pub fn multiply_grouped(&self, m: &Modulus, matrix: &GroupedMatrix, inputs: &[&[u32]], outputs: &mut [&mut [u32]]) {
        check_product((matrix.rows.len(), matrix.columns()), inputs, outputs);
        (self.multiply_grouped)(m, matrix, inputs, outputs);
    }

    /// `out = round(sum_c floor(y[c] * factor[c] / 2^shift[c]) / 2^32)`, entry by entry. Products must stay below 2^60
    /// in absolute value, and the sum below 2^62.
    #[inline]
    pub fn quotient(&self, terms: &[QuotientTerm], y: &[&[i32]], out: &mut [i32]) {
        assert!(
            terms.len() == y.len() && y.iter().all(|y| y.len() == out.len()) && terms.iter().all(|t| t.shift < 62),
            "operands of a quotient disagree"
        );
        (self.quotient)(terms, y, out);
    }

    /// Uniform residues, by rejection, from the ChaCha20 stream of a public key: all sets draw the same. Takes at most
    /// 2^24 at once, far from the end of the stream's 32-bit counter.
    #[inline]
    pub fn uniform(&self, m: &Modulus, key: &[u8; 32], out: &mut [u32]) {
        assert!(out.len() <= 1 << 24, "more residues than one stream gives");
        (self.uniform)(m, key, out);
    }

    /// [`crate::NttTable::forward`] with roots in 32-bit words.
    pub(crate) fn ntt_forward(&self, m: &Modulus, roots: &Narrow, values: &mut [u32]) {
        (self.ntt_forward)(m, roots, values);
    }

    /// [`crate::NttTable::inverse`] with roots in 32-bit words.
    pub(crate) fn ntt_inverse(&self, m: &Modulus, roots: &Narrow, last: &LastLevel, values: &mut [u32]) {
        (self.ntt_inverse)(m, roots, last, values);
    }

    /// The transforms with roots in 52-bit words, if this set has them.
    pub(crate) fn wide_ntt(&self) -> Option<&WideNtt> {
        self.wide_ntt.as_ref()
    }
}

/// That operands fit a matrix of so many rows and columns.
fn check_product((rows, columns): (usize, usize), inputs: &[&[u32]], outputs: &[&mut [u32]]) {
    let len = outputs.first().map_or(0, |o| o.len());
    assert!(
        rows == outputs.len()
            && columns == inputs.len()
            && inputs.iter().all(|i| i.len() == len)
            && outputs.iter().all(|o| o.len() == len),
        "operands of a matrix product disagree"
    );
}
