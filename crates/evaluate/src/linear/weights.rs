//! Encoded weights of a linear transform.
//!
//! A weight is a plaintext: a polynomial of integers, with as many values modulo each prime as it has coefficients.
//! Where all slots have the same weight, it is one integer, of some 10 to 15 bits, the same for all primes. Then one
//! small matrix does for all of them, its products are summed without reductions, and nothing is read from memory but
//! the inputs.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::masked::Masked;
use super::tiles::Tile;
use crate::tables::Tables;
use umbra_ckks::{CkksError, Diagonal, Encoder, TransformSpec, linear::weight_integers};
use umbra_ring::{
    kernels::{GroupedMatrix, IntegerMatrix},
    subring::SubringNtt,
};

/// Where the weights come from.
#[derive(Debug)]
pub(crate) enum Weights {
    /// For each tile one matrix for all limbs and blocks.
    Integers(Vec<IntegerMatrix>),
    /// The same, columns that share a weight together.
    Grouped(Vec<GroupedMatrix>),
    /// For each limb and block the matrices of the tiles, rows x columns, in Montgomery form, centred.
    Encoded(Vec<i32>),
    /// See [`super::masked`].
    Masked(Masked),
}

impl Weights {
    /// The weights of a checked `spec`, whose diagonals have these `places` in the matrices of the tiles, over a basis.
    ///
    /// # Errors
    /// Those of encoding.
    pub(crate) fn new(
        tables: &Tables<'_>,
        spec: &TransformSpec<'_>,
        basis: &[u16],
        places: &[usize],
        tiles: &[Tile],
    ) -> Result<Self, CkksError> {
        if !spec.masks.is_empty() {
            return Ok(Self::Masked(Masked::new(spec, places)?));
        }
        let integers = rounded(spec, places)?;
        let matrices = constants(&integers, Tile::entries_of(tiles)).and_then(|constants| {
            let of = |t: &Tile| (t.rows.len(), t.columns.len(), t.start..t.start + t.entries());
            let tiles = tiles.iter().map(of);
            if spec.add_first {
                Some(Self::Grouped(
                    tiles.map(|(r, c, own)| GroupedMatrix::new(r, c, &constants[own])).collect::<Option<_>>()?,
                ))
            } else {
                Some(Self::Integers(
                    tiles.map(|(r, c, own)| IntegerMatrix::new(r, c, &constants[own])).collect::<Option<_>>()?,
                ))
            }
        });
        if let Some(matrices) = matrices {
            return Ok(matrices);
        }
        Ok(Self::Encoded(encoded(tables, spec, basis, &integers, Tile::entries_of(tiles))))
    }

    /// Whether they are the same for all blocks, and multiply canonical residues.
    pub(crate) fn are_integers(&self) -> bool {
        matches!(self, Self::Integers(_) | Self::Grouped(_))
    }

    /// Bytes that are kept.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Integers(matrices) => matrices.iter().map(IntegerMatrix::bytes).sum(),
            Self::Grouped(matrices) => matrices.iter().map(GroupedMatrix::bytes).sum(),
            Self::Encoded(weights) => size_of_val(&weights[..]),
            Self::Masked(masked) => masked.bytes(),
        }
    }
}

/// The integer polynomials of weights, each with its place among the entries of the tiles, by place.
fn rounded(spec: &TransformSpec<'_>, places: &[usize]) -> Result<Vec<(usize, Vec<i128>)>, CkksError> {
    let encoder = Encoder::new(spec.period.ilog2() + 1);
    // The parts of a complex weight have the same place.
    let mut each: BTreeMap<usize, Vec<&Diagonal>> = BTreeMap::new();
    spec.diagonals.iter().zip(places).for_each(|(d, &place)| each.entry(place).or_default().push(d));
    let each: Vec<(usize, Vec<&Diagonal>)> = each.into_iter().collect();
    (each.par_iter())
        .map(|(place, parts)| {
            let scale = spec.weight_scales[parts[0].input as usize];
            Ok((*place, weight_integers(&encoder, spec.plan, (parts, &[]), scale)?))
        })
        .collect()
}

/// The entries of the matrices of all tiles, where every polynomial is a constant that fits into a word.
fn constants(integers: &[(usize, Vec<i128>)], entries: usize) -> Option<Vec<i32>> {
    let mut weights = vec![0i32; entries];
    for (place, polynomial) in integers {
        let (constant, others) = polynomial.split_first()?;
        if others.iter().any(|c| *c != 0) {
            return None;
        }
        weights[*place] = i32::try_from(*constant).ok()?;
    }
    Some(weights)
}

/// The weights of all limbs and blocks, each in its place among the entries of the tiles.
fn encoded(
    tables: &Tables<'_>,
    spec: &TransformSpec<'_>,
    basis: &[u16],
    integers: &[(usize, Vec<i128>)],
    entries: usize,
) -> Vec<i32> {
    let log_m = spec.period.ilog2() + 1;
    let blocks = 1 << log_m;
    let mut weights = vec![0i32; basis.len() * blocks * entries];
    if integers.is_empty() {
        return weights;
    }
    (weights.par_chunks_mut(blocks * entries)).zip(basis).for_each(|(limb, &prime)| {
        let (table, mut values) = (tables.table(prime), vec![0; blocks]);
        let (m, small) = (table.modulus(), SubringNtt::new(table, log_m));
        for (place, polynomial) in integers {
            values.iter_mut().zip(polynomial).for_each(|(v, &c)| *v = m.reduce_i128(c));
            small.forward(table, &mut values);
            for (block, &v) in values.iter().enumerate() {
                limb[block * entries + place] = m.centre(m.to_montgomery(v));
            }
        }
    });
    weights
}
