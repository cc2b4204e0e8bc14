//! Weights with masks, encoded while they are used.
//!
//! With zero padding a weight is a plaintext of the period of the image: its number where its tap reads a pixel, 0
//! elsewhere. There are as many such plaintexts as weights, thousands of times larger than they: they would not fit
//! into memory. But all are multiples of few masks. Before rounding, a plaintext is its weight times the mask's
//! polynomial; that is rounded, reduced and transformed for one limb at a time, in the mask's subring, which is small
//! next to the ring.
//!
//! Rounding comes after the multiplication, so that masks cost no level of their own: the plaintext is as exact as its
//! scale allows, and exactly the weight where it has no mask.

use std::collections::BTreeMap;
use std::ops::Range;

use num_complex::Complex64;

use crate::tables::Tables;
use umbra_ckks::{CkksError, Encoder, TransformSpec};
use umbra_ring::{Modulus, Polys, subring::SubringNtt};

/// Plaintexts that are encoded at a time: their values in one block fill a line of the cache.
const TILE: usize = 16;
/// Bytes of the encoded weights that a thread holds at a time, about.
const CHUNK_BYTES: usize = 160 << 20;
/// Rows that a chunk has at least: the inputs are rotated anew for each.
const CHUNK_ROWS: usize = 8;
/// Bits that an integer coefficient may have: its multiples by a prime's inverse are rounded in double precision.
const COEFFICIENT_BITS: i32 = 50;

/// The masked weights of a transform.
#[derive(Debug)]
pub(crate) struct Masked {
    log_m: u32,
    /// The polynomials of masks, rotated as far as giants ask, at scale 1.
    patterns: Vec<Vec<f64>>,
    /// Sorted by place.
    weights: Vec<Weight>,
}

/// A multiple of a pattern.
#[derive(Clone, Copy, Debug)]
struct Weight {
    /// Where it is among the entries of the tiles.
    place: usize,
    pattern: usize,
    /// The weight times its scale.
    factor: f64,
}

impl Masked {
    /// Prepares the weights of a checked `spec` whose diagonals have these `places`.
    ///
    /// # Errors
    /// [`CkksError::NotFinite`]; [`CkksError::Overflow`] when a coefficient exceeds 2^50.
    pub(crate) fn new(spec: &TransformSpec<'_>, places: &[usize]) -> Result<Self, CkksError> {
        const OP: &str = "linear transform";
        let span = spec.masks.first().map_or(spec.period, Vec::len);
        let log_m = span.ilog2() + 1;
        let encoder = Encoder::new(log_m);
        let embed = |slots: Vec<f64>| -> Vec<f64> {
            encoder.embed(&slots.into_iter().map(|v| Complex64::new(v, 0.0)).collect::<Vec<_>>())
        };
        let mut patterns: Vec<Vec<f64>> = Vec::new();
        // The largest coefficient of each: there are many weights to a pattern.
        let mut largest: Vec<f64> = Vec::new();
        let mut known = BTreeMap::new();
        let mut weights = Vec::with_capacity(places.len());
        for (index, (d, &place)) in spec.diagonals.iter().zip(places).enumerate() {
            if d.values.iter().any(|v| !v.is_finite()) {
                return Err(CkksError::NotFinite { op: OP, index });
            }
            let scale = spec.weight_scales[d.input as usize];
            let giant = spec.plan.giant(d);
            // A single number has the pattern of its mask; weights that differ from slot to slot have one of their own.
            let (key, weight) = match d.values[..] {
                [value] => ((d.mask, giant, None), f64::from(value)),
                _ => ((d.mask, giant, Some(index)), 1.0),
            };
            let pattern = *known.entry(key).or_insert_with(|| {
                let mut unit = d.clone();
                if key.2.is_none() {
                    unit.values = vec![1.0];
                }
                let pattern = embed(unit.rotated_plaintext(spec.plan, spec.masks).collect());
                largest.push(pattern.iter().fold(0.0f64, |a, c| a.max(c.abs())));
                patterns.push(pattern);
                patterns.len() - 1
            });
            let factor = weight * scale;
            let largest = largest[pattern] * factor.abs();
            if largest >= f64::from(COEFFICIENT_BITS).exp2() {
                let available = COEFFICIENT_BITS.into();
                return Err(CkksError::Overflow { op: OP, value: largest / scale, scale, available });
            }
            weights.push(Weight { place, pattern, factor });
        }
        weights.sort_unstable_by_key(|w| w.place);
        Ok(Self { log_m, patterns, weights })
    }

    /// Bytes that are kept.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.weights[..]) + self.patterns.iter().map(|p| size_of_val(&p[..])).sum::<usize>()
    }

    /// The weights of the entries `places`, modulo one prime.
    pub(crate) fn encode(&self, tables: &Tables<'_>, prime: u16, places: Range<usize>) -> Strip {
        let table = tables.table(prime);
        let m = *table.modulus();
        let size = 1usize << self.log_m;
        let small = SubringNtt::new(table, self.log_m);
        // The factor that puts words in Montgomery form, in that form itself.
        let montgomery = m.to_montgomery(m.to_montgomery(1));
        let (first, stride) = (places.start, places.len().next_multiple_of(TILE));
        let mut weights = {
            let first = self.weights.partition_point(|w| w.place < first);
            self.weights[first..].iter().peekable()
        };
        let mut values = Polys::scratch(stride, 1, size);
        // Values of one plaintext lie together when they are made, those of one block when they are used. A line more
        // than a plaintext's values apart, so that they do not compete for the same lines of the cache.
        let mut tile = vec![0u32; TILE * (size + TILE)];
        for at in (0..stride).step_by(TILE) {
            for (place, out) in (first + at..).zip(tile.chunks_exact_mut(size + TILE)) {
                let out = &mut out[..size];
                let Some(weight) = weights.next_if(|w| w.place == place) else {
                    out.fill(0);
                    continue;
                };
                multiple(&m, &self.patterns[weight.pattern], weight.factor, out);
                tables.kernels().mul_const(&m, out, montgomery);
                small.forward(table, out);
                out.iter_mut().for_each(|v| *v = m.centre(*v) as u32);
            }
            for (block, entries) in values.words_mut().chunks_exact_mut(stride).enumerate() {
                let column = tile.iter().skip(block).step_by(size + TILE);
                entries[at..at + TILE].iter_mut().zip(column).for_each(|(entry, v)| *entry = *v);
            }
        }
        Strip { entries: places.len(), stride, values }
    }
}

/// Encoded weights of some entries modulo one prime, in Montgomery form, centred: block by block.
pub(crate) struct Strip {
    entries: usize,
    stride: usize,
    values: Polys,
}

impl Strip {
    /// The weights in a block.
    pub(crate) fn block(&self, block: usize) -> &[i32] {
        bytemuck::cast_slice(&self.values.words()[block * self.stride..][..self.entries])
    }
}

/// Ranges of rows whose weights, `width` a row with `blocks` values each, are encoded at a time.
pub(crate) fn row_chunks(rows: usize, width: usize, blocks: usize) -> impl Iterator<Item = Range<usize>> {
    let fit = CHUNK_BYTES / (4 * width * blocks).max(1);
    let chunk = (fit / CHUNK_ROWS * CHUNK_ROWS).max(CHUNK_ROWS);
    (0..rows).step_by(chunk).map(move |first| first..(first + chunk).min(rows))
}

/// `round(factor * pattern) mod p`, canonical; the products stay below 2^50.
fn multiple(m: &Modulus, pattern: &[f64], factor: f64, out: &mut [u32]) {
    // Added to a number below 2^51 it leaves no room for a fraction: the sum is rounded to an integer, in its low bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let p = f64::from(m.value());
    let inverse = p.recip();
    for (out, &c) in out.iter_mut().zip(pattern) {
        let x = (factor * c + ROUND) - ROUND;
        // A quotient that is off by one leaves a remainder that is still between -p and p; both products are exact.
        let remainder = x - ((x * inverse + ROUND) - ROUND) * p;
        let word = (remainder + ROUND).to_bits() as u32;
        *out = word.min(word.wrapping_add(m.value()));
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn multiples_are_rounded_and_reduced() {
        let mut rng = StdRng::seed_from_u64(3);
        for p in [1_073_479_681u32, 536_813_569, 65537] {
            let m = Modulus::new(p).unwrap();
            for bits in [0, 10, 29, 30, 49] {
                let factor = 2f64.powi(bits) * rng.random_range(0.5..1.0);
                let pattern: Vec<f64> = (0..1000).map(|_| rng.random_range(-1.0..1.0)).collect();
                let mut out = vec![0; pattern.len()];
                multiple(&m, &pattern, factor, &mut out);
                for (c, out) in pattern.iter().zip(out) {
                    let exact = (factor * c).round_ties_even() as i128;
                    assert_eq!(out, m.reduce_i128(exact), "{factor} * {c} mod {p}");
                }
            }
        }
    }

    #[test]
    fn chunks_cover_all_rows() {
        for (rows, width, blocks) in [(1, 9, 8), (64, 576, 2048), (300, 2304, 8192), (7, 1, 1 << 16)] {
            let chunks: Vec<Range<usize>> = row_chunks(rows, width, blocks).collect();
            assert!(chunks.iter().cloned().flatten().eq(0..rows));
            assert!(chunks.iter().all(|c| c.len() <= CHUNK_ROWS || 4 * c.len() * width * blocks <= CHUNK_BYTES));
        }
    }
}
