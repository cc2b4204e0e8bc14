//! Adding first: whether a step adds the inputs that share a weight before it multiplies them.
//!
//! With one channel per ciphertext an output channel is a sum of rotated input channels times weights, each weight a
//! small integer for all slots. Inputs with the same integer, in one row of the matrix, are added [`GROUP`] at a time,
//! and each sum is multiplied once. The result is the same to the bit; what changes is how many products and additions
//! it takes.

use std::collections::BTreeMap;

use umbra_ring::kernels::GROUP;

use crate::Linear;

/// Products and additions of ciphertexts and integers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    /// Weights that are not zero: products where nothing is added first.
    pub weights: usize,
    /// Products where inputs are added first.
    pub products: usize,
}

impl Sharing {
    /// Of a linear step whose input ciphertexts' weights have these scales. Weights count as equal that are so once
    /// rounded.
    #[must_use]
    pub fn of(linear: &Linear, scales: &[f64]) -> Self {
        let mut rows: BTreeMap<_, usize> = BTreeMap::new();
        for d in &linear.diagonals {
            let scale = scales.get(d.input as usize).copied().unwrap_or(1.0);
            let integer = |v: f32| (f64::from(v) * scale).round() as i64;
            let (output, outer, inner, ..) = d.place();
            if let [value] = d.values[..]
                && integer(value) != 0
            {
                *rows.entry((output, outer, inner, integer(value))).or_default() += 1;
            }
        }
        Self { weights: rows.values().sum(), products: rows.values().map(|n| n.div_ceil(GROUP)).sum() }
    }

    /// Additions before products.
    #[must_use]
    pub fn additions(&self) -> usize {
        self.weights - self.products
    }
}

impl Linear {
    /// Whether its weights are the same in all slots: integers, which may be added up before they are multiplied.
    #[must_use]
    pub fn has_integers(&self) -> bool {
        self.period == 1 && self.masks.is_empty() && self.plan.imaginary_steps.is_none()
    }
}
