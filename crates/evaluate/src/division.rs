//! Exact division by part of the modulus: mod-down, rescaling, and both at once.
//!
//! From a basis `B` to a basis `T`, with `D` the product of `B \ T` (dropped) and `A` that of `T \ B` (added), a
//! polynomial `x` becomes `round(A x / D)` modulo `T`. Mod-down is `B = Q u P, T = Q`; rescaling is `B = Q_i, T = Q_j`,
//! possibly with added primes ("rational rescaling"); their fusion is `B = Q_i u P, T = Q_j`. One base conversion, one
//! rounding.

use std::ops::Range;

use rayon::prelude::*;

use crate::tables::Tables;
use umbra_ring::{Modulus, Polys, convert::BaseConverter};

/// Most limbs converted and transformed by one task.
pub(crate) const LIMB_GROUP: usize = 4;
/// Coefficients converted at a time, so that all columns of a chunk stay in the first-level cache.
pub(crate) const COEFFICIENT_CHUNK: usize = 1024;

/// A prepared division, see the module.
#[derive(Debug)]
pub(crate) struct BasisDivision {
    target: Vec<u16>,
    /// Positions in the source of the dropped primes, in the converter's order.
    dropped: Vec<usize>,
    /// For each target prime: its position in the source, if common, and `A / D` in Montgomery form.
    kept: Vec<Option<(usize, u32)>>,
    /// `[A x]_D` times `-1/D`.
    converter: BaseConverter,
    dropped_primes: Vec<u16>,
}

impl BasisDivision {
    /// With `exact`, the quotient is the nearest integer; without, it is off by up to half the number of dropped
    /// primes.
    pub(crate) fn new(tables: &Tables<'_>, source: &[u16], target: &[u16], exact: bool) -> Self {
        let dropped: Vec<usize> = (0..source.len()).filter(|&i| !target.contains(&source[i])).collect();
        let dropped_primes: Vec<u16> = dropped.iter().map(|&i| source[i]).collect();
        let added: Vec<u16> = target.iter().copied().filter(|p| !source.contains(p)).collect();
        let product = |primes: &[u16], m: &Modulus| {
            primes.iter().fold(1, |acc, &p| m.mul(acc, tables.modulus(p).value() % m.value()))
        };
        let moduli = |primes: &[u16]| -> Vec<Modulus> { primes.iter().map(|&p| *tables.modulus(p)).collect() };
        let converter = BaseConverter::new(
            &moduli(&dropped_primes),
            &moduli(target),
            exact,
            |m| product(&added, m),
            |m| m.neg(m.inv(product(&dropped_primes, m))),
        );
        let kept = (target.iter())
            .map(|&p| {
                let m = tables.modulus(p);
                let factor = m.to_montgomery(m.mul(product(&added, m), m.inv(product(&dropped_primes, m))));
                source.iter().position(|&s| s == p).map(|i| (i, factor))
            })
            .collect();
        Self { target: target.to_vec(), dropped, kept, converter, dropped_primes }
    }

    /// Divides the chosen polynomials (`columns`) of `x`, all in transformed form.
    pub(crate) fn apply(&self, tables: &Tables<'_>, x: &Polys, columns: &[usize]) -> Polys {
        if self.dropped.is_empty() {
            return self.scale_only(tables, x, columns);
        }
        let prepared = self
            .prepare_dropped(tables, columns.len(), |dropped, column| x.limb(self.dropped[dropped], columns[column]));
        let mut out = Polys::scratch(x.n(), self.target.len(), columns.len());
        for_limb_groups(&mut out, LIMB_GROUP, |range, limbs| {
            self.convert_group(tables, &prepared, columns.len(), range, limbs, |limb, target, column| {
                self.add_kept(tables, limb, target, |position| x.limb(position, columns[column]));
            });
        });
        out
    }

    /// Adds to a limb of the quotient what the same limb of the source, `source(position)`, contributes.
    pub(crate) fn add_kept<'a>(
        &self,
        tables: &Tables<'_>,
        limb: &mut [u32],
        target: usize,
        source: impl FnOnce(usize) -> &'a [u32],
    ) {
        if let Some((position, factor)) = self.kept[target] {
            let m = tables.modulus(self.target[target]);
            tables.kernels().mul_const_add(m, limb, source(position), factor);
        }
    }

    /// Divides a run of coefficients: `input(i)` is the run in limb `i` of the source, `out` receives it limb after
    /// limb of the target.
    pub(crate) fn divide_run<'a>(
        &self,
        tables: &Tables<'_>,
        run: usize,
        input: impl Fn(usize) -> &'a [u32],
        out: &mut [u32],
    ) {
        let (kernels, width) = (tables.kernels(), self.converter.columns());
        let mut columns = vec![0i32; width * run];
        let (y, quotient) = columns.split_at_mut(self.dropped.len() * run);
        for (i, (y, &position)) in y.chunks_exact_mut(run).zip(&self.dropped).enumerate() {
            self.converter.prepare(kernels, i, input(position), y);
        }
        let y: Vec<&[i32]> = y.chunks_exact(run).collect();
        self.converter.quotient(kernels, &y, quotient);
        let columns: Vec<&[i32]> = columns.chunks_exact(run).collect();
        let mut rows: Vec<&mut [u32]> = out.chunks_exact_mut(run).collect();
        self.converter.convert(kernels, 0, &columns, &mut rows);
        for ((row, &prime), kept) in rows.into_iter().zip(&self.target).zip(&self.kept) {
            if let Some((position, factor)) = *kept {
                kernels.mul_const_add(tables.modulus(prime), row, input(position), factor);
            }
        }
    }

    /// Nothing is dropped: multiply by the added primes.
    fn scale_only(&self, tables: &Tables<'_>, x: &Polys, columns: &[usize]) -> Polys {
        let mut out = Polys::zero(x.n(), self.target.len(), columns.len());
        for (target, kept) in self.kept.iter().enumerate() {
            let Some((position, factor)) = *kept else { continue };
            for (to, &from) in columns.iter().enumerate() {
                let limb = out.limb_mut(target, to);
                limb.copy_from_slice(x.limb(position, from));
                tables.kernels().mul_const(tables.modulus(self.target[target]), limb, factor);
            }
        }
        out
    }

    /// The converter's input columns of `count` polynomials, whose limbs modulo dropped primes are
    /// `limb(dropped, polynomial)`, transformed: polynomial-major, then dropped primes, then the quotient.
    pub(crate) fn prepare_dropped<'a>(
        &self,
        tables: &Tables<'_>,
        count: usize,
        limb: impl Fn(usize, usize) -> &'a [u32] + Sync,
    ) -> Polys {
        let (n, width, kernels) = (tables.n(), self.converter.columns(), tables.kernels());
        let mut prepared = Polys::scratch(n, count, width);
        // All polynomials modulo one prime after one another: they share the roots of their transforms.
        let mut outputs: Vec<(usize, &mut [i32])> = prepared.signed_mut().chunks_exact_mut(n).enumerate().collect();
        outputs.retain(|(i, _)| i % width < self.dropped.len());
        outputs.sort_unstable_by_key(|(i, _)| (i % width, i / width));
        outputs.into_par_iter().for_each_init(Vec::new, |scratch, (i, out)| {
            let dropped = i % width;
            scratch.clear();
            scratch.extend_from_slice(limb(dropped, i / width));
            tables.table(self.dropped_primes[dropped]).inverse(scratch);
            self.converter.prepare(kernels, dropped, scratch, out);
        });
        if width > self.dropped.len() {
            prepared.signed_mut().par_chunks_mut(width * n).for_each(|columns| {
                let (y, u) = columns.split_at_mut(self.dropped.len() * n);
                let y: Vec<&[i32]> = y.chunks_exact(n).collect();
                self.converter.quotient(kernels, &y, u);
            });
        }
        prepared
    }

    /// Target limbs `range` of the conversion of `count` prepared polynomials, transformed, to `limbs`; then
    /// `finish(words, target, polynomial)` of each.
    pub(crate) fn convert_group(
        &self,
        tables: &Tables<'_>,
        prepared: &Polys,
        count: usize,
        range: Range<usize>,
        limbs: &mut [u32],
        finish: impl Fn(&mut [u32], usize, usize),
    ) {
        let (n, width) = (tables.n(), self.converter.columns());
        for column in 0..count {
            let columns = &prepared.signed()[column * width * n..(column + 1) * width * n];
            let mut rows: Vec<&mut [u32]> =
                limbs.chunks_exact_mut(count * n).map(|l| &mut l[column * n..(column + 1) * n]).collect();
            self.convert_chunked(tables, range.start, columns, &mut rows);
        }
        for (limb, target) in limbs.chunks_exact_mut(count * n).zip(range) {
            for (column, row) in limb.chunks_exact_mut(n).enumerate() {
                tables.table(self.target[target]).forward(row);
                finish(row, target, column);
            }
        }
    }

    /// [`BaseConverter::convert`] of whole limbs, a cacheable chunk of coefficients at a time. `columns` are the
    /// converter's columns one after the other.
    fn convert_chunked(&self, tables: &Tables<'_>, first: usize, columns: &[i32], rows: &mut [&mut [u32]]) {
        let n = tables.n();
        let chunk = COEFFICIENT_CHUNK.min(n);
        for at in (0..n).step_by(chunk) {
            let inputs: Vec<&[i32]> = columns.chunks_exact(n).map(|c| &c[at..at + chunk]).collect();
            let mut outputs: Vec<&mut [u32]> = rows.iter_mut().map(|r| &mut r[at..at + chunk]).collect();
            self.converter.convert(tables.kernels(), first, &inputs, &mut outputs);
        }
    }
}

/// Runs `f(limbs, their words)` in parallel over groups of at most `most` limbs, about equally many for each thread.
/// Groups share what conversions read.
pub(crate) fn for_limb_groups(polys: &mut Polys, most: usize, f: impl Fn(Range<usize>, &mut [u32]) + Sync) {
    let (limbs, stride) = (polys.limbs(), polys.stride());
    let count = limbs.div_ceil(most).next_multiple_of(rayon::current_num_threads()).min(limbs);
    let mut rest = polys.words_mut();
    let mut groups = Vec::with_capacity(count);
    for i in 0..count {
        let range = i * limbs / count..(i + 1) * limbs / count;
        let (group, others) = std::mem::take(&mut rest).split_at_mut(range.len() * stride);
        groups.push((range, group));
        rest = others;
    }
    groups.into_par_iter().for_each(|(range, words)| f(range, words));
}
