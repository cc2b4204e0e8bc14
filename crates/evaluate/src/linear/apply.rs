//! Linear transforms of ciphertexts.

use std::collections::{BTreeMap, btree_map::Entry};
use std::ops::Range;
use std::sync::Arc;

use bytemuck::{cast_slice, cast_slice_mut};
use rayon::prelude::*;

use super::masked;
use super::tiles::Tile;
use super::transform::LinearTransform;
use super::weights::Weights;
use crate::evaluator::{Evaluator, add_blocks, check_scales};
use crate::keyswitch::{BoundKey, Column};
use umbra_ckks::{Ciphertext, CkksError, KeyId, KeyKind, SwitchingKey};
use umbra_ring::{
    Polys,
    kernels::{GroupedMatrix, IntegerMatrix},
};

/// What errors call it.
const OP: &str = "linear transform";

/// The weights of a tile in one block.
#[derive(Clone, Copy)]
enum Matrix<'a> {
    Integers(&'a IntegerMatrix),
    Grouped(&'a GroupedMatrix),
    /// In Montgomery form, centred.
    Residues(&'a [i32]),
}

/// Longest run of residues for which rotated inputs are made at a time.
const BLOCK: usize = 1024;
/// Words that the rotated inputs of a run may take, about: they are to stay in the cache, however many inputs there
/// are.
const BUFFER: usize = 1 << 18;
/// Shortest run.
const SHORTEST: usize = 128;

impl Evaluator<'_> {
    /// Applies a linear transform to its input ciphertexts, in order. Inputs at higher levels are mod-switched to that
    /// of the transform.
    ///
    /// # Errors
    /// [`CkksError::OtherParameters`] and [`CkksError::OtherKeySet`]; [`CkksError::Length`] for a wrong number of
    /// inputs, [`CkksError::Scale`] when an input's scale times its weights' does not give the transform's,
    /// [`CkksError::NotASubset`], [`CkksError::MissingKey`].
    pub fn transform(&self, inputs: &[&Ciphertext], transform: &LinearTransform) -> Result<Vec<Ciphertext>, CkksError> {
        let parameters = self.parameters();
        parameters.check_same(OP, &transform.parameters)?;
        inputs.iter().try_for_each(|input| self.check(OP, input))?;
        if inputs.len() != transform.weight_scales.len() {
            let (expected, found) = (transform.weight_scales.len(), inputs.len());
            return Err(CkksError::Length { op: OP, what: "inputs", expected, found });
        }
        let factor = parameters.rescale_factor(transform.level, transform.level_out)?;
        for (input, weight_scale) in inputs.iter().zip(&transform.weight_scales) {
            check_scales(OP, input.scale() * weight_scale * transform.plan.factor() / factor, transform.scale_out)?;
        }
        let inputs = inputs.iter().map(|c| self.mod_switch(c, transform.level)).collect::<Result<Vec<_>, _>>()?;
        let mut sums = self.weighted_sums(&inputs, transform)?;
        self.giants(&mut sums, transform)?;
        self.extract_parts(&mut sums, transform)?;
        let basis = parameters.level_for(OP, transform.level_out)?;
        let division = self.engine().division(&transform.switch.extended, basis, true);
        let (inner, outer) = transform.plan.zero_giants();
        let tables = &self.engine().tables();
        (transform.bias.iter().enumerate())
            .map(|(output, bias)| {
                let row = transform.row(output as u32, outer, inner);
                let mut polys = division.apply(tables, &sums, &[2 * row, 2 * row + 1]);
                for (i, &prime) in basis.iter().enumerate() {
                    add_blocks(tables, prime, polys.limb_mut(i, 0), bias.polys().limb(i, 0));
                }
                self.ciphertext(polys, transform.level_out, transform.scale_out)
            })
            .collect()
    }

    fn transform_key(&self, transform: &LinearTransform, kind: KeyKind) -> Result<Arc<SwitchingKey>, CkksError> {
        self.key(OP, KeyId { gadget: transform.gadget, kind, level: transform.level })
    }

    /// The keys of the given rotations at the transform's level; `None` for no rotation.
    fn rotation_keys(
        &self,
        steps: &[i64],
        used: impl Fn(usize) -> bool,
        transform: &LinearTransform,
    ) -> Result<Vec<Option<Arc<SwitchingKey>>>, CkksError> {
        (steps.iter().enumerate())
            .map(|(i, &s)| (s != 0 && used(i)).then(|| self.transform_key(transform, KeyKind::Rotate(s))).transpose())
            .collect()
    }

    /// For every row the sum of weighted rotated inputs, in the extended basis, times P.
    fn weighted_sums(&self, inputs: &[Ciphertext], transform: &LinearTransform) -> Result<Polys, CkksError> {
        let (tables, switch) = (&self.engine().tables(), &*transform.switch);
        let (n, kernels) = (tables.n(), tables.kernels());
        let used = |baby: usize| transform.columns.iter().any(|c| c.1 as usize == baby);
        let keys = self.rotation_keys(&transform.plan.babies, used, transform)?;
        let bound = (keys.iter())
            .map(|k| k.as_ref().map(|k| self.bind(OP, switch, k, transform.level)).transpose())
            .collect::<Result<Vec<Option<BoundKey<'_>>>, _>>()?;
        let digits: Vec<Option<Polys>> = (inputs.iter().enumerate())
            .map(|(i, c)| {
                let rotated =
                    transform.columns.iter().any(|&(input, b)| input as usize == i && bound[b as usize].is_some());
                rotated.then(|| switch.decompose(tables, Column { polys: c.polys(), index: 1 }))
            })
            .collect();
        let (rows, columns) = (transform.rows.len(), &transform.columns);
        let mut sums = Polys::scratch(n, switch.extended.len(), 2 * rows);
        let stride = sums.stride();
        let block = n / transform.blocks;
        let fits = BUFFER / (2 * columns.len()).next_power_of_two();
        let run = match &transform.weights {
            Weights::Integers(_) | Weights::Grouped(_) | Weights::Encoded(_) => {
                block.min(BLOCK).min(fits.max(SHORTEST))
            }
            // Blocks are short: several at a time.
            Weights::Masked(_) => n.min(block.max(fits.clamp(SHORTEST, BLOCK))),
        };
        sums.words_mut().par_chunks_mut(stride).zip(&switch.extended).enumerate().for_each(|(limb, (sums, &prime))| {
            let m = tables.modulus(prime);
            let moduli = vec![*m; rows];
            // P c0: what the products with keys are added to.
            let lift = (limb < switch.limbs).then(|| switch.special_product[limb]);
            let lifted: Vec<Option<Vec<u32>>> = (inputs.iter())
                .map(|c| {
                    lift.map(|p| {
                        let mut c0 = c.polys().limb(limb, 0).to_vec();
                        kernels.mul_const(m, &mut c0, p);
                        c0
                    })
                })
                .collect();
            // Integers multiply canonical residues, all other weights centred ones.
            let canonical = transform.weights.are_integers();
            let mut rotated = vec![0u32; 2 * run * columns.len()];
            let rotate = |range: Range<usize>, rotated: &mut [u32]| {
                for (&(input, baby), out) in columns.iter().zip(rotated.chunks_exact_mut(2 * run)) {
                    let (out0, out1) = out.split_at_mut(run);
                    let input = input as usize;
                    match (&bound[baby as usize], &digits[input], lift) {
                        (Some(key), Some(digits), _) => {
                            let addend = lifted[input].as_deref();
                            let product = key.product(m, limb, range.clone(), digits.row(limb), addend);
                            if canonical {
                                kernels.rotate_product(&product, false, out0, out1);
                            } else {
                                kernels.rotate_product_centred(&product, cast_slice_mut(out0), cast_slice_mut(out1));
                            }
                        }
                        (_, _, Some(p)) => {
                            for (part, out) in [out0, out1].into_iter().enumerate() {
                                let residues = &inputs[input].polys().limb(limb, part)[range.clone()];
                                if canonical {
                                    out.copy_from_slice(residues);
                                    kernels.mul_const(m, out, p);
                                } else {
                                    kernels.scale_centre(m, cast_slice_mut(out), residues, p);
                                }
                            }
                        }
                        // Without rotation a ciphertext is a multiple of P: zero modulo special primes.
                        (_, _, None) => out.fill(0),
                    }
                }
            };
            // Multiplies rows of a tile, by number in it, over one block.
            let multiply =
                |tile: &Tile, own: Range<usize>, weights: Matrix<'_>, at: usize, rotated: &[u32], sums: &mut [u32]| {
                    let len = run.min(block);
                    for part in 0..2 {
                        let operands: Vec<&[u32]> =
                            tile.columns.iter().map(|&c| &rotated[(2 * c + part) * run + at % run..][..len]).collect();
                        let mut all: Vec<Option<&mut [u32]>> = (sums.chunks_exact_mut(n).skip(part).step_by(2))
                            .map(|s| Some(&mut s[at..at + len]))
                            .collect();
                        // Every row is in one tile.
                        let mut outputs: Vec<&mut [u32]> =
                            tile.rows[own.clone()].iter().filter_map(|&r| all[r].take()).collect();
                        match weights {
                            Matrix::Integers(matrix) => kernels.multiply_integers(m, matrix, &operands, &mut outputs),
                            Matrix::Grouped(matrix) => kernels.multiply_grouped(m, matrix, &operands, &mut outputs),
                            Matrix::Residues(weights) => {
                                let operands: Vec<&[i32]> = operands.into_iter().map(cast_slice).collect();
                                kernels.matmul(&moduli[..outputs.len()], weights, &operands, &mut outputs);
                            }
                        }
                    }
                };
            // One matrix a tile for all blocks.
            let constant = |matrices: &[Matrix<'_>], rotated: &mut [u32], sums: &mut [u32]| {
                for start in (0..n).step_by(run) {
                    rotate(start..start + run, rotated);
                    for (tile, matrix) in transform.tiles.iter().zip(matrices) {
                        multiply(tile, 0..tile.rows.len(), *matrix, start, rotated, sums);
                    }
                }
            };
            match &transform.weights {
                Weights::Integers(matrices) => {
                    constant(&matrices.iter().map(Matrix::Integers).collect::<Vec<_>>(), &mut rotated, sums);
                }
                Weights::Grouped(matrices) => {
                    constant(&matrices.iter().map(Matrix::Grouped).collect::<Vec<_>>(), &mut rotated, sums);
                }
                Weights::Encoded(weights) => {
                    let matrix = Tile::entries_of(&transform.tiles);
                    for start in (0..n).step_by(run) {
                        rotate(start..start + run, &mut rotated);
                        let weights = &weights[(limb * transform.blocks + start / block) * matrix..][..matrix];
                        for tile in &transform.tiles {
                            let own = &weights[tile.start..][..tile.entries()];
                            multiply(tile, 0..tile.rows.len(), Matrix::Residues(own), start, &rotated, sums);
                        }
                    }
                }
                Weights::Masked(masked) => {
                    for tile in &transform.tiles {
                        let width = tile.columns.len();
                        for own in masked::row_chunks(tile.rows.len(), width, transform.blocks) {
                            let first = tile.start + own.start * width;
                            let weights = masked.encode(tables, prime, first..first + own.len() * width);
                            for start in (0..n).step_by(run) {
                                rotate(start..start + run, &mut rotated);
                                for at in (start..start + run).step_by(block) {
                                    let weights = Matrix::Residues(weights.block(at / block));
                                    multiply(tile, own.clone(), weights, at, &rotated, sums);
                                }
                            }
                        }
                    }
                }
            }
        });
        Ok(sums)
    }

    /// Rotates rows by their giants, first the inner ones, and adds them up.
    fn giants(&self, sums: &mut Polys, transform: &LinearTransform) -> Result<(), CkksError> {
        let (zero_inner, zero_outer) = transform.plan.zero_giants();
        let numbered = || transform.rows.iter().enumerate();
        let inner: Vec<Move> = numbered()
            .filter(|(_, r)| r.inner != zero_inner)
            .map(|(from, r)| Move {
                from,
                to: transform.row(r.output, r.outer, zero_inner),
                steps: transform.plan.inner[r.inner as usize],
            })
            .collect();
        let outer: Vec<Move> = numbered()
            .filter(|(_, r)| r.inner == zero_inner && r.outer != zero_outer)
            .map(|(from, r)| Move {
                from,
                to: transform.row(r.output, zero_outer, zero_inner),
                steps: transform.plan.outer[r.outer as usize],
            })
            .collect();
        for moves in inner.chunks(MOVES).chain(outer.chunks(MOVES)) {
            self.rotate_rows(sums, moves, transform)?;
        }
        Ok(())
    }

    /// Real/imaginary extraction: where weights are complex, puts `2 y` in the place of each `V`.
    fn extract_parts(&self, sums: &mut Polys, transform: &LinearTransform) -> Result<(), CkksError> {
        let Some(kinds) = transform.plan.extraction_keys() else { return Ok(()) };
        let (tables, switch) = (&self.engine().tables(), &*transform.switch);
        let n = tables.n();
        let keys =
            (kinds.into_iter()).map(|kind| self.transform_key(transform, kind)).collect::<Result<Vec<_>, _>>()?;
        let keys = (keys.iter())
            .map(|key| self.bind(OP, switch, key, transform.level))
            .collect::<Result<Vec<BoundKey<'_>>, _>>()?;
        let (inner, outer) = transform.plan.zero_giants();
        let rows: Vec<usize> =
            (0..transform.bias.len() as u32).map(|output| transform.row(output, outer, inner)).collect();
        for rows in rows.chunks(MOVES) {
            // The sums themselves are still needed.
            let mut second = Polys::scratch(n, switch.extended.len(), rows.len());
            second.words_mut().par_chunks_mut(n).enumerate().for_each(|(i, values)| {
                let (limb, row) = (i / rows.len(), rows[i % rows.len()]);
                values.copy_from_slice(sums.limb(limb, 2 * row + 1));
                tables.table(switch.extended[limb]).inverse(values);
            });
            let all: Vec<usize> = (0..rows.len()).collect();
            let columns = switch.prepare_divided(tables, &second, &all);
            drop(second);
            switch.extract_parts(tables, &columns, rows, &keys, &transform.parts, sums);
        }
        Ok(())
    }

    /// Adds the rotations of rows to rows, all in the extended basis. No row is both rotated and added to.
    fn rotate_rows(&self, sums: &mut Polys, moves: &[Move], transform: &LinearTransform) -> Result<(), CkksError> {
        let (tables, switch) = (&self.engine().tables(), &*transform.switch);
        let n = tables.n();
        let mut keys = BTreeMap::new();
        for m in moves {
            if let Entry::Vacant(entry) = keys.entry(m.steps) {
                entry.insert(self.transform_key(transform, KeyKind::Rotate(m.steps))?);
            }
        }
        let bound = (keys.iter())
            .map(|(&steps, key)| Ok((steps, self.bind(OP, switch, key, transform.level)?)))
            .collect::<Result<BTreeMap<i64, BoundKey<'_>>, CkksError>>()?;
        // In place: nothing else reads the second component of a row that is rotated.
        let mut rotated = vec![false; sums.count()];
        moves.iter().for_each(|m| rotated[2 * m.from + 1] = true);
        sums.words_mut()
            .par_chunks_mut(n)
            .enumerate()
            .filter(|(i, _)| rotated[i % rotated.len()])
            .for_each(|(i, values)| tables.table(switch.extended[i / rotated.len()]).inverse(values));
        let second: Vec<usize> = moves.iter().map(|m| 2 * m.from + 1).collect();
        let columns = switch.prepare_divided(tables, sums, &second);
        let rows: Vec<(Option<usize>, usize)> = moves.iter().map(|m| (Some(m.from), m.to)).collect();
        let keys: Vec<&BoundKey<'_>> = moves.iter().map(|m| &bound[&m.steps]).collect();
        switch.switch_into(tables, &columns, &rows, &keys, sums);
        Ok(())
    }
}

/// The rotation of row `from`, to be added to row `to`.
#[derive(Debug, Clone, Copy)]
struct Move {
    from: usize,
    to: usize,
    steps: i64,
}

/// Most rows rotated at a time: bounds what is held of them in coefficient form.
const MOVES: usize = 32;
