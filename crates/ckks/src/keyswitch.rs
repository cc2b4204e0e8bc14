//! Hybrid key switching: decomposition into digits, products with keys, in the extended basis.

use crate::division::{BasisDivision, LIMB_GROUP, convert_chunked};
use crate::keys::SwitchingKey;
use crate::{CkksError, Parameters};
use rayon::prelude::*;
use std::sync::Arc;
use umbra_ring::kernels::KeyProduct;
use umbra_ring::{Automorphism, Modulus, Polys, convert::BaseConverter};

/// A gadget at a level: digits, conversions, special primes.
#[derive(Debug)]
pub struct SwitchPlan {
    /// The level's primes, then the special ones.
    pub(crate) extended: Vec<u16>,
    /// How many of those belong to the level.
    pub(crate) limbs: usize,
    digits: Vec<DigitPlan>,
    /// `P mod q` in Montgomery form for each of the level's primes.
    pub(crate) special_product: Vec<u32>,
    /// Division by P.
    pub(crate) mod_down: Arc<BasisDivision>,
}

#[derive(Debug)]
struct DigitPlan {
    /// Positions in the extended basis of the digit's own primes.
    own: Vec<usize>,
    /// To all other primes of the extended basis, in order.
    converter: BaseConverter,
}

impl SwitchPlan {
    pub(crate) fn new(
        parameters: &Parameters,
        op: &'static str,
        level: usize,
        gadget: usize,
    ) -> Result<Self, CkksError> {
        let unserved = CkksError::Gadget { op, gadget, level };
        let literal = parameters.literal().gadgets.get(gadget).ok_or(unserved.clone())?;
        let basis = parameters.level(level);
        if !literal.serves(basis) {
            return Err(unserved);
        }
        let extended: Vec<u16> = basis.iter().chain(&literal.special).copied().collect();
        let moduli: Vec<Modulus> = extended.iter().map(|&p| *parameters.modulus(p)).collect();
        let mut digits: Vec<DigitPlan> = Vec::new();
        for digit in &literal.digits {
            let own: Vec<usize> = (0..basis.len()).filter(|&i| digit.contains(&basis[i])).collect();
            if own.is_empty() {
                continue;
            }
            let from: Vec<Modulus> = own.iter().map(|&i| moduli[i]).collect();
            let to: Vec<Modulus> = (0..moduli.len()).filter(|i| !own.contains(i)).map(|i| moduli[i]).collect();
            digits.push(DigitPlan { own, converter: BaseConverter::new(&from, &to, false, |_| 1, |_| 1) });
        }
        let special_product = (moduli[..basis.len()].iter())
            .map(|m| {
                let product =
                    literal.special.iter().fold(1, |acc, &p| m.mul(acc, parameters.modulus(p).value() % m.value()));
                m.to_montgomery(product)
            })
            .collect();
        let mod_down = parameters.division(&extended, basis, false);
        Ok(Self { limbs: basis.len(), extended, digits, special_product, mod_down })
    }

    /// Number of digits at this level.
    pub fn digit_count(&self) -> usize {
        self.digits.len()
    }

    /// The digits of polynomials over the level's primes, extended to the whole basis and
    /// transformed: polynomial `i`, digit `d` is polynomial `i * digit_count + d` of the result.
    ///
    /// `coefficients` is in coefficient form; `transformed`, if given, is the same in transformed form
    /// and saves the transforms of the digits' own primes.
    pub(crate) fn decompose(
        &self,
        parameters: &Parameters,
        coefficients: &Polys,
        transformed: Option<&Polys>,
    ) -> Polys {
        let (n, count, kernels) = (parameters.n(), coefficients.count(), parameters.kernels());
        debug_assert_eq!(coefficients.limbs(), self.limbs);
        // Columns of all conversions: polynomial-major, then digit by digit.
        let columns: Vec<(usize, usize)> =
            (0..self.digits.len()).flat_map(|d| (0..self.digits[d].own.len()).map(move |i| (d, i))).collect();
        let mut prepared = Polys::scratch(n, count, self.limbs);
        prepared.signed_mut().par_chunks_mut(n).enumerate().for_each(|(i, out)| {
            let (poly, (digit, source)) = (i / self.limbs, columns[i % self.limbs]);
            let plan = &self.digits[digit];
            plan.converter.prepare(kernels, source, coefficients.limb(plan.own[source], poly), out);
        });
        let digit_count = self.digits.len();
        let mut out = Polys::scratch(n, self.extended.len(), count * digit_count);
        let stride = out.stride();
        out.words_mut().par_chunks_mut(LIMB_GROUP * stride).enumerate().for_each(|(group, limbs)| {
            let first = group * LIMB_GROUP;
            for poly in 0..count {
                let mut start = poly * self.limbs;
                for (d, plan) in self.digits.iter().enumerate() {
                    let place = (poly * digit_count + d) * n;
                    let mut converted = Vec::with_capacity(LIMB_GROUP);
                    for (i, limb) in limbs.chunks_exact_mut(stride).enumerate() {
                        let limb = &mut limb[place..place + n];
                        if !plan.own.contains(&(first + i)) {
                            converted.push(limb);
                            continue;
                        }
                        match transformed {
                            Some(t) => limb.copy_from_slice(t.limb(first + i, poly)),
                            None => {
                                limb.copy_from_slice(coefficients.limb(first + i, poly));
                                parameters.table(self.extended[first + i]).forward(limb);
                            }
                        }
                    }
                    let skipped = plan.own.iter().filter(|&&o| o < first).count();
                    let source = &prepared.signed()[start * n..(start + plan.own.len()) * n];
                    if !converted.is_empty() {
                        convert_chunked(parameters, &plan.converter, first - skipped, source, &mut converted);
                    }
                    let others = (first..).filter(|i| !plan.own.contains(i));
                    for (limb, i) in converted.into_iter().zip(others) {
                        parameters.table(self.extended[i]).forward(limb);
                    }
                    start += plan.own.len();
                }
            }
        });
        out
    }

    /// A key and an automorphism ready for products at this level.
    pub(crate) fn bind<'a>(
        &self,
        parameters: &Parameters,
        key: &'a SwitchingKey,
        level: usize,
    ) -> Result<BoundKey<'a>, CkksError> {
        let rows = (self.extended.iter())
            .map(|p| key.basis.iter().position(|k| k == p))
            .collect::<Option<Vec<usize>>>()
            .ok_or(CkksError::Level { op: "use of an evaluation key", expected: level, got: key.id.level })?;
        Ok(BoundKey { key, rows, map: parameters.automorphism(key.id.element(parameters))? })
    }
}

/// A switching key restricted to an extended basis, with the permutation it belongs to.
#[derive(Debug)]
pub(crate) struct BoundKey<'a> {
    key: &'a SwitchingKey,
    /// Limb of the key for each limb of the extended basis.
    rows: Vec<usize>,
    map: Arc<Automorphism>,
}

impl BoundKey<'_> {
    /// The operands of the product with `digits` (one polynomial's, in limb `limb`) for the outputs
    /// `range`.
    pub(crate) fn product<'b>(
        &'b self,
        modulus: &'b Modulus,
        limb: usize,
        range: std::ops::Range<usize>,
        digits: &'b [u32],
        addend: Option<&'b [u32]>,
    ) -> KeyProduct<'b> {
        let n = self.map.source().len();
        let key = &self.key.polys.row(self.rows[limb])[..2 * digits.len()];
        KeyProduct { modulus, source: &self.map.source()[range], digits, key, addend, n }
    }

    /// The permutation.
    pub(crate) fn map(&self) -> &Automorphism {
        &self.map
    }
}

/// Transformed limbs to coefficients, all limbs in parallel.
pub(crate) fn to_coefficients(parameters: &Parameters, basis: &[u16], polys: &mut Polys) {
    let (n, stride) = (polys.n(), polys.stride());
    polys.words_mut().par_chunks_mut(stride).zip(basis).for_each(|(limb, &prime)| {
        for values in limb.chunks_exact_mut(n) {
            parameters.table(prime).inverse(values);
        }
    });
}

/// One polynomial of each limb, copied out.
pub(crate) fn column(polys: &Polys, column: usize) -> Polys {
    let mut out = Polys::scratch(polys.n(), polys.limbs(), 1);
    let n = polys.n();
    for (limb, out) in out.words_mut().chunks_exact_mut(n).enumerate() {
        out.copy_from_slice(polys.limb(limb, column));
    }
    out
}
