//! Base conversion: from residues modulo the primes of `F` to residues modulo other primes.
//!
//! With `y_i = [x (F/f_i)^-1]_{f_i}`, centred, `x = sum_i y_i F/f_i - u F` for an integer `u` that is
//! `round(sum_i y_i / f_i)` for the centred representative of `x` (Halevi, Polyakov, Shoup, eprint 2018/117, section
//! 2). Leaving `u` out gives a representative a few multiples of `F` from the nearest one, which suffices for
//! key-switching digits; rescaling needs it.

use crate::kernels::{Kernels, QuotientTerm};
use crate::modulus::Modulus;

/// Conversion matrix between two sets of primes.
#[derive(Debug, Clone)]
pub struct BaseConverter {
    from: Vec<Modulus>,
    to: Vec<Modulus>,
    /// `inner (F/f_i)^-1 mod f_i`, in Montgomery form.
    scale: Vec<u32>,
    /// Row per target, column per source (and one for `u`): Montgomery form, centred.
    matrix: Vec<i32>,
    /// `round(2^s / f_i)` and `s - 32`, to sum `y_i / f_i` in fixed point; empty if inexact.
    quotients: Vec<QuotientTerm>,
}

impl BaseConverter {
    /// A converter of `outer * [inner * x]_F`. `inner(m)` is a plain residue that multiplies `x` modulo each source
    /// prime on the way in, `outer(m)` one that multiplies the result modulo each target prime on the way out (both 1
    /// when nothing is to be folded in). With `exact`, `[.]_F` is the centred representative; without, one within
    /// `from.len() / 2` multiples of `F` of it.
    pub fn new(
        from: &[Modulus],
        to: &[Modulus],
        exact: bool,
        inner: impl Fn(&Modulus) -> u32,
        outer: impl Fn(&Modulus) -> u32,
    ) -> Self {
        let product_except = |skip: usize, m: &Modulus| {
            (from.iter().enumerate())
                .filter(|(i, _)| *i != skip)
                .fold(1, |acc, (_, f)| m.mul(acc, f.value() % m.value()))
        };
        let scale = (from.iter().enumerate())
            .map(|(i, f)| f.to_montgomery(f.mul(f.inv(product_except(i, f)), inner(f))))
            .collect();
        let constant = |m: &Modulus, x: u32| m.centre(m.to_montgomery(m.mul(x, outer(m))));
        let matrix = (to.iter())
            .flat_map(|t| {
                let row = (0..from.len()).map(|i| constant(t, product_except(i, t)));
                let whole = exact.then(|| constant(t, t.neg(product_except(usize::MAX, t))));
                row.chain(whole).collect::<Vec<_>>()
            })
            .collect();
        let quotients = if exact {
            (from.iter())
                .map(|f| {
                    // The factor is at most 2^30; primes are at least 65.
                    let shift = 30 + f.value().ilog2();
                    let factor = ((1u64 << shift) + f.value() as u64 / 2) / f.value() as u64;
                    QuotientTerm { factor: factor as i32, shift: shift - 32 }
                })
                .collect()
        } else {
            Vec::new()
        };
        Self { from: from.to_vec(), to: to.to_vec(), scale, matrix, quotients }
    }

    /// Columns of the matrix: inputs that [`Self::convert`] takes.
    pub fn columns(&self) -> usize {
        self.from.len() + usize::from(!self.quotients.is_empty())
    }

    /// `y_i` of source limb `i`.
    pub fn prepare(&self, kernels: &Kernels, i: usize, limb: &[u32], y: &mut [i32]) {
        kernels.scale_centre(&self.from[i], y, limb, self.scale[i]);
    }

    /// `u` from all `y_i` (exact converters only; otherwise nothing is written).
    pub fn quotient(&self, kernels: &Kernels, y: &[&[i32]], u: &mut [i32]) {
        if !self.quotients.is_empty() {
            kernels.quotient(&self.quotients, y, u);
        }
    }

    /// The residues modulo targets `first..first + outputs.len()`, from the prepared columns (`y_i` in order, then `u`
    /// if exact).
    pub fn convert(&self, kernels: &Kernels, first: usize, columns: &[&[i32]], outputs: &mut [&mut [u32]]) {
        let rows = first..first + outputs.len();
        let width = self.columns();
        let weights = &self.matrix[rows.start * width..rows.end * width];
        kernels.matmul(&self.to[rows], weights, columns, outputs);
    }
}
