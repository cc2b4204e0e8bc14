//! Hybrid key switching: decomposition into digits, products with keys, in the extended basis.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use crate::division::{BasisDivision, COEFFICIENT_CHUNK, LIMB_GROUP, for_limb_groups};
use crate::tables::Tables;
use umbra_ckks::{GadgetLiteral, SwitchingKey};
use umbra_ring::{
    Automorphism, Modulus, Polys,
    convert::BaseConverter,
    kernels::{Kernels, KeyProduct},
};

/// A gadget at a level: digits, conversions, special primes.
#[derive(Debug)]
pub(crate) struct SwitchPlan {
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
    /// What gives a prepared limb its own residues back: `D/d mod d` in Montgomery form, centred.
    unscale: Vec<i32>,
}

impl SwitchPlan {
    /// Of a gadget at a level of the primes `basis`, which it serves; `mod_down` divides by its special primes.
    pub(crate) fn new(
        tables: &Tables<'_>,
        literal: &GadgetLiteral,
        basis: &[u16],
        mod_down: Arc<BasisDivision>,
    ) -> Self {
        let extended: Vec<u16> = basis.iter().chain(&literal.special).copied().collect();
        let moduli: Vec<Modulus> = extended.iter().map(|&p| *tables.modulus(p)).collect();
        let mut digits: Vec<DigitPlan> = Vec::new();
        for digit in &literal.digits {
            let own: Vec<usize> = (0..basis.len()).filter(|&i| digit.contains(&basis[i])).collect();
            if own.is_empty() {
                continue;
            }
            let from: Vec<Modulus> = own.iter().map(|&i| moduli[i]).collect();
            let to: Vec<Modulus> = (0..moduli.len()).filter(|i| !own.contains(i)).map(|i| moduli[i]).collect();
            let unscale = (from.iter().enumerate())
                .map(|(i, m)| {
                    let others = from.iter().enumerate().filter(|(j, _)| *j != i);
                    let product = others.fold(1, |acc, (_, o)| m.mul(acc, o.value() % m.value()));
                    m.centre(m.to_montgomery(product))
                })
                .collect();
            digits.push(DigitPlan { own, converter: BaseConverter::new(&from, &to, false, |_| 1, |_| 1), unscale });
        }
        let special_product = (moduli[..basis.len()].iter())
            .map(|m| {
                let product =
                    literal.special.iter().fold(1, |acc, &p| m.mul(acc, tables.modulus(p).value() % m.value()));
                m.to_montgomery(product)
            })
            .collect();
        Self { limbs: basis.len(), extended, digits, special_product, mod_down }
    }

    /// A polynomial over the level's primes, in transformed form, ready to be extended.
    pub(crate) fn prepare_transformed(&self, tables: &Tables<'_>, transformed: Column<'_>) -> Columns {
        debug_assert_eq!(transformed.polys.limbs(), self.limbs);
        let mut columns = Columns::scratch(tables, 1, self.limbs);
        let run = columns.run;
        let mut runs: Vec<Vec<&mut [i32]>> = (0..self.limbs).map(|_| Vec::new()).collect();
        for (i, out) in columns.words.signed_mut().chunks_exact_mut(run).enumerate() {
            runs[i % self.limbs].push(out);
        }
        runs.into_par_iter().enumerate().for_each_init(Vec::new, |scratch, (limb, runs)| {
            scratch.clear();
            scratch.extend_from_slice(transformed.limb(limb));
            tables.table(self.extended[limb]).inverse(scratch);
            for (x, out) in scratch.chunks_exact(run).zip(runs) {
                self.prepare_run(tables.kernels(), limb, x, out);
            }
        });
        columns
    }

    /// As [`Self::prepare_transformed`] of the quotients by P of some polynomials over the extended basis, in
    /// coefficient form, in one pass over memory.
    pub(crate) fn prepare_divided(&self, tables: &Tables<'_>, extended: &Polys, chosen: &[usize]) -> Columns {
        debug_assert_eq!(extended.limbs(), self.extended.len());
        let mut columns = Columns::scratch(tables, chosen.len(), self.limbs);
        let (run, runs) = (columns.run, tables.n() / columns.run);
        let each = columns.words.signed_mut().par_chunks_mut(self.limbs * run).enumerate();
        each.for_each_init(Vec::new, |quotients, (i, out)| {
            let (poly, here) = (chosen[i / runs], i % runs * run..(i % runs + 1) * run);
            quotients.resize(self.limbs * run, 0);
            self.mod_down.divide_run(tables, run, |i| &extended.limb(i, poly)[here.clone()], quotients);
            for (limb, (x, out)) in quotients.chunks_exact(run).zip(out.chunks_exact_mut(run)).enumerate() {
                self.prepare_run(tables.kernels(), limb, x, out);
            }
        });
        columns
    }

    /// `[x (D/d)^-1]_d`, centred, for the digit of product `D` that a limb `d` belongs to.
    fn prepare_run(&self, kernels: &Kernels, limb: usize, x: &[u32], out: &mut [i32]) {
        // Every prime of the level is in one digit.
        let found = self.digits.iter().find_map(|d| Some((d, d.own.iter().position(|&o| o == limb)?)));
        if let Some((digit, source)) = found {
            digit.converter.prepare(kernels, source, x, out);
        }
    }

    /// All digits of one prepared polynomial in the limbs `range` of the extended basis, transformed: digit after digit
    /// for each limb of `out`.
    fn extend(
        &self,
        tables: &Tables<'_>,
        source: Source<'_>,
        poly: usize,
        range: Range<usize>,
        out: &mut [&mut [u32]],
    ) {
        let Source { columns, transformed } = source;
        let (n, kernels) = (tables.n(), tables.kernels());
        for (d, plan) in self.digits.iter().enumerate() {
            // The limbs that conversion gives, and their first place among its targets.
            let mut converted: Vec<&mut [u32]> = Vec::with_capacity(range.len());
            let first = range.start - plan.own.iter().filter(|&&o| o < range.start).count();
            for (limb, out) in range.clone().zip(out.iter_mut()) {
                let out = &mut out[d * n..(d + 1) * n];
                match (plan.own.iter().position(|&o| o == limb), transformed) {
                    (None, _) => converted.push(out),
                    (Some(_), Some(t)) => out.copy_from_slice(t.limb(limb)),
                    (Some(own), None) => {
                        let m = tables.modulus(self.extended[limb]);
                        for (at, out) in out.chunks_exact_mut(columns.run).enumerate() {
                            let y = columns.limb(poly, at, plan.own[own]);
                            kernels.matmul(&[*m], &[plan.unscale[own]], &[y], &mut [out]);
                        }
                    }
                }
            }
            for at in 0..n / columns.run {
                let inputs: Vec<&[i32]> = plan.own.iter().map(|&o| columns.limb(poly, at, o)).collect();
                let here = at * columns.run..(at + 1) * columns.run;
                let mut outputs: Vec<&mut [u32]> = converted.iter_mut().map(|c| &mut c[here.clone()]).collect();
                if !outputs.is_empty() {
                    plan.converter.convert(kernels, first, &inputs, &mut outputs);
                }
            }
        }
        // All transforms modulo one prime after one another: its roots are as large as two limbs.
        for (limb, out) in range.zip(out) {
            let table = tables.table(self.extended[limb]);
            for (plan, out) in self.digits.iter().zip(out.chunks_exact_mut(n)) {
                if transformed.is_none() || !plan.own.contains(&limb) {
                    table.forward(out);
                }
            }
        }
    }

    /// The digits of one polynomial given in transformed form, in all limbs of the extended basis.
    pub(crate) fn decompose(&self, tables: &Tables<'_>, polynomial: Column<'_>) -> Polys {
        let n = tables.n();
        let columns = self.prepare_transformed(tables, polynomial);
        let source = Source { columns: &columns, transformed: Some(polynomial) };
        let mut out = Polys::scratch(n, self.extended.len(), self.digits.len());
        for_limb_groups(&mut out, LIMB_GROUP, |range, limbs| {
            let mut limbs: Vec<&mut [u32]> = limbs.chunks_exact_mut(self.digits.len() * n).collect();
            self.extend(tables, source, 0, range, &mut limbs);
        });
        out
    }

    /// Switches polynomials `0..moves.len()` of `columns`, each with its key, and adds the results, rotated, to rows of
    /// `sums`: row `r` is polynomials `2r` and `2r + 1`.
    ///
    /// A pair of `moves` is the row that the first component, to be rotated as well, comes from (if any), and the row
    /// that is added to. Digits never leave the cache.
    pub(crate) fn switch_into(
        &self,
        tables: &Tables<'_>,
        columns: &Columns,
        moves: &[(Option<usize>, usize)],
        keys: &[&BoundKey<'_>],
        sums: &mut Polys,
    ) {
        // As many limbs as have their digits in the cache: all of them read the same columns.
        let group = (2 * LIMB_GROUP / self.digits.len().max(1)).max(LIMB_GROUP);
        let source = Source { columns, transformed: None };
        for_limb_groups(sums, group, |range, limbs| {
            self.switch_group(tables, source, moves, keys, range, limbs);
        });
    }

    /// The quotient by P of what some keys make of one polynomial in transformed form, rotated and added up: two
    /// components over the level's primes, each limb of which `finish(words, limb, component)` may add to while it is
    /// in the cache.
    pub(crate) fn switch(
        &self,
        tables: &Tables<'_>,
        transformed: Column<'_>,
        keys: &[&BoundKey<'_>],
        finish: impl Fn(&mut [u32], usize, usize) + Sync,
    ) -> Polys {
        let n = tables.n();
        let columns = self.prepare_transformed(tables, transformed);
        let source = Source { columns: &columns, transformed: Some(transformed) };
        let moves = vec![(None, 0); keys.len()];
        let sum = |range: Range<usize>, words: &mut [u32]| {
            self.switch_group(tables, source, &moves, keys, range, words);
        };
        let mut special = Polys::scratch(n, self.extended.len() - self.limbs, 2);
        for_limb_groups(&mut special, LIMB_GROUP, |range, words| {
            sum(range.start + self.limbs..range.end + self.limbs, words);
        });
        let prepared = self.mod_down.prepare_dropped(tables, 2, |dropped, column| special.limb(dropped, column));
        // The level's limbs are divided where they are made, and never written before.
        let mut out = Polys::scratch(n, self.limbs, 2);
        for_limb_groups(&mut out, LIMB_GROUP, |range, words| {
            let mut sums = Polys::scratch(n, range.len(), 2);
            sum(range.clone(), sums.words_mut());
            self.mod_down.convert_group(tables, &prepared, 2, range.clone(), words, |out, limb, component| {
                self.mod_down.add_kept(tables, out, limb, |_| sums.limb(limb - range.start, component));
                finish(out, limb, component);
            });
        });
        out
    }

    /// Limbs `range` of what keys make of polynomials, added to rows of `limbs`, which has these limbs only; see
    /// [`Self::switch_into`]. Whatever `limbs` held is forgotten where the source is a single polynomial.
    fn switch_group(
        &self,
        tables: &Tables<'_>,
        source: Source<'_>,
        moves: &[(Option<usize>, usize)],
        keys: &[&BoundKey<'_>],
        range: Range<usize>,
        limbs: &mut [u32],
    ) {
        let (n, stride) = (tables.n(), limbs.len() / range.len());
        let width = self.digits.len() * n;
        let mut digits = Polys::scratch(n, range.len(), self.digits.len());
        for (index, (&(from, to), key)) in moves.iter().zip(keys).enumerate() {
            let single = source.transformed.is_some();
            if !single || index == 0 {
                let poly = if single { 0 } else { index };
                let mut outputs: Vec<&mut [u32]> = digits.words_mut().chunks_exact_mut(width).collect();
                self.extend(tables, source, poly, range.clone(), &mut outputs);
            }
            for (i, limb) in limbs.chunks_exact_mut(stride).enumerate() {
                let m = tables.modulus(self.extended[range.start + i]);
                // The two rows are distinct, so one of them lies wholly before the other.
                let (addend, target) = match from {
                    None => (None, &mut limb[2 * n * to..2 * n * (to + 1)]),
                    Some(from) if from < to => {
                        let (low, high) = limb.split_at_mut(2 * n * to);
                        (Some(&low[2 * n * from..][..n]), &mut high[..2 * n])
                    }
                    Some(from) => {
                        let (low, high) = limb.split_at_mut(2 * n * from);
                        (Some(&high[..n]), &mut low[2 * n * to..2 * n * (to + 1)])
                    }
                };
                let (out0, out1) = target.split_at_mut(n);
                let product = key.product(m, range.start + i, 0..n, digits.row(i), addend);
                tables.kernels().rotate_product(&product, !single || index > 0, out0, out1);
            }
        }
    }

    /// Puts the sum of four terms in the place of each row of `sums`: the row, and its automorphisms by three keys,
    /// each term multiplied by its number in `factors`, which has them for each limb and for either half of the
    /// residues. Polynomial `k` of `columns` is the second component of row `rows[k]`.
    pub(crate) fn extract_parts(
        &self,
        tables: &Tables<'_>,
        columns: &Columns,
        rows: &[usize],
        keys: &[BoundKey<'_>],
        factors: &[[[i32; 4]; 2]],
        sums: &mut Polys,
    ) {
        let (n, stride, kernels) = (tables.n(), sums.stride(), tables.kernels());
        let width = self.digits.len() * n;
        let run = COEFFICIENT_CHUNK.min(n / 2);
        let source = Source { columns, transformed: None };
        for_limb_groups(sums, LIMB_GROUP, |range, limbs| {
            let mut digits = Polys::scratch(n, range.len(), self.digits.len());
            let (mut before, mut terms) = (vec![0; 2 * n], vec![0; 8 * run]);
            for (index, &row) in rows.iter().enumerate() {
                let mut outputs: Vec<&mut [u32]> = digits.words_mut().chunks_exact_mut(width).collect();
                self.extend(tables, source, index, range.clone(), &mut outputs);
                for (i, limb) in limbs.chunks_exact_mut(stride).enumerate() {
                    let (place, m) = (range.start + i, tables.modulus(self.extended[range.start + i]));
                    let row = &mut limb[2 * n * row..2 * n * (row + 1)];
                    before.copy_from_slice(row);
                    let (first, second) = before.split_at(n);
                    for start in (0..n).step_by(run) {
                        let here = start..start + run;
                        let (own, switched) = terms.split_at_mut(2 * run);
                        for (out, x) in own.chunks_exact_mut(run).zip([first, second]) {
                            kernels.scale_centre(m, out, &x[here.clone()], m.to_montgomery(1));
                        }
                        for (key, out) in keys.iter().zip(switched.chunks_exact_mut(2 * run)) {
                            let (out0, out1) = out.split_at_mut(run);
                            let product = key.product(m, place, here.clone(), digits.row(i), Some(first));
                            kernels.rotate_product_centred(&product, out0, out1);
                        }
                        let factors = &factors[place][usize::from(start >= n / 2)];
                        for (component, out) in row.chunks_exact_mut(n).enumerate() {
                            let terms: Vec<&[i32]> = terms.chunks_exact(run).skip(component).step_by(2).collect();
                            kernels.matmul(&[*m], factors, &terms, &mut [&mut out[here.clone()]]);
                        }
                    }
                }
            }
        });
    }

    /// A key and its automorphism, ready for products at this level. `None` where the key lacks a prime.
    pub(crate) fn bind<'a>(&self, key: &'a SwitchingKey, map: Arc<Automorphism>) -> Option<BoundKey<'a>> {
        let row = |p: &u16| key.basis().iter().position(|k| k == p);
        Some(BoundKey { key: key.polys(), rows: self.extended.iter().map(row).collect::<Option<_>>()?, map })
    }
}

/// A switching key restricted to an extended basis, with the permutation it belongs to.
#[derive(Debug)]
pub(crate) struct BoundKey<'a> {
    /// For each digit `b`, then `a`.
    key: &'a Polys,
    /// Limb of the key for each limb of the extended basis.
    rows: Vec<usize>,
    map: Arc<Automorphism>,
}

impl BoundKey<'_> {
    /// The operands of the product with `digits` (one polynomial's, in limb `limb`) for the outputs `range`.
    pub(crate) fn product<'b>(
        &'b self,
        modulus: &'b Modulus,
        limb: usize,
        range: std::ops::Range<usize>,
        digits: &'b [u32],
        addend: Option<&'b [u32]>,
    ) -> KeyProduct<'b> {
        let n = self.map.source().len();
        let key = &self.key.row(self.rows[limb])[..2 * digits.len()];
        KeyProduct { modulus, source: &self.map.source()[range], digits, key, addend, n }
    }

    /// The permutation.
    pub(crate) fn map(&self) -> &Automorphism {
        &self.map
    }
}

/// One polynomial of several that lie side by side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column<'a> {
    pub(crate) polys: &'a Polys,
    pub(crate) index: usize,
}

impl<'a> Column<'a> {
    fn limb(&self, limb: usize) -> &'a [u32] {
        self.polys.limb(limb, self.index)
    }
}

/// Prepared polynomials; a single one may come with its transformed form, which saves the digits' own limbs.
#[derive(Debug, Clone, Copy)]
struct Source<'a> {
    columns: &'a Columns,
    transformed: Option<Column<'a>>,
}

/// Limbs of polynomials as conversions read them: scaled and centred, a run of coefficients at a time, so that what one
/// run needs is in one place.
#[derive(Debug)]
pub(crate) struct Columns {
    /// By polynomial, run, limb.
    words: Polys,
    run: usize,
    limbs: usize,
}

impl Columns {
    /// With whatever its words hold.
    fn scratch(tables: &Tables<'_>, count: usize, limbs: usize) -> Self {
        let n = tables.n();
        Self { words: Polys::scratch(n, count, limbs), run: COEFFICIENT_CHUNK.min(n), limbs }
    }

    /// Run `at` of a limb.
    fn limb(&self, poly: usize, at: usize, limb: usize) -> &[i32] {
        let runs = self.words.n() / self.run;
        let start = ((poly * runs + at) * self.limbs + limb) * self.run;
        &self.words.signed()[start..start + self.run]
    }
}
