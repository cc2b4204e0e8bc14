//! The counting interpreter: what a run does, before there is one. Back ends are asked to do as much, which the
//! conformance suite of the runtime checks.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::sharing::Sharing;
use crate::{Linear, LinearInput, Operation, Program, Register, state_of};

/// Operations and bytes of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Squares with relinearization.
    pub squares: u64,
    /// Rotations that share a decomposition (babies, rotate-and-sum).
    pub hoisted_rotations: u64,
    /// Rotations with a decomposition of their own (giants).
    pub full_rotations: u64,
    /// Decompositions into digits.
    pub decompositions: u64,
    /// Products of a ciphertext and a periodic plaintext; where inputs that share a weight are added first, of their
    /// sums.
    pub plaintext_products: u64,
    /// Additions of ciphertexts before products, where inputs that share a weight are added first.
    pub shared_additions: u64,
    /// Word multiplications of those products, over all limbs of the extended basis.
    pub multiply_accumulates: u64,
    /// Rescales.
    pub rescales: u64,
    /// Number of evaluation keys.
    pub keys: u64,
    /// Bytes of the evaluation keys in a file.
    pub key_file_bytes: u64,
    /// Bytes of the evaluation keys in memory.
    pub key_bytes: u64,
    /// Bytes of the encoded weights.
    pub weight_bytes: u64,
}

/// Counts what a checked program does.
#[must_use]
pub fn count(program: &Program) -> Counts {
    let literal = &program.client.parameters;
    let keys = program.key_set();
    let file_bytes: u64 = keys.iter().map(|k| k.bytes(literal)).sum();
    let mut counts =
        Counts { keys: keys.len() as u64, key_file_bytes: file_bytes, key_bytes: 2 * file_bytes, ..Counts::default() };
    let states = program.states();
    for (index, step) in program.steps.iter().enumerate() {
        let ciphertexts = |r: Register| state_of(&states[index], r).map_or(0, |s| s.ciphertexts as u64);
        counts.rescales += u64::from(step.level_out < step.level_in)
            * state_of(&states[index + 1], step.destination).map_or(0, |s| s.ciphertexts as u64);
        match &step.operation {
            Operation::Square { source, .. } => {
                counts.squares += ciphertexts(*source);
                counts.decompositions += ciphertexts(*source);
            }
            Operation::RotateSum { source, rotations, .. } => {
                counts.hoisted_rotations += ciphertexts(*source) * rotations.len() as u64;
                counts.decompositions += ciphertexts(*source);
            }
            Operation::Linear(linear) => {
                let plan = &linear.plan;
                let mut babies = BTreeSet::new();
                let (mut inner, mut outer) = (BTreeSet::new(), BTreeSet::new());
                for d in &linear.diagonals {
                    if plan.babies[d.baby as usize] != 0 {
                        babies.insert((d.input, d.baby));
                    }
                    if plan.inner[d.inner as usize] != 0 {
                        inner.insert((d.output, d.outer, d.inner));
                    }
                    if plan.outer[d.outer as usize] != 0 {
                        outer.insert((d.output, d.outer));
                    }
                }
                // Real and imaginary parts are extracted by three rotations of one decomposition.
                let extracted = if plan.imaginary_steps.is_some() { linear.outputs() } else { 0 };
                let full = (inner.len() + outer.len() + extracted) as u64;
                let weights = linear.weights().count() as u64;
                let hoisted: BTreeSet<u32> = babies.iter().map(|b| b.0).collect();
                counts.hoisted_rotations += (babies.len() + 2 * extracted) as u64;
                counts.full_rotations += full;
                counts.decompositions += full + hoisted.len() as u64;
                let integers = linear.has_integers();
                let products = if linear.add_first {
                    let sharing = Sharing::of(linear, &weight_scales(linear, ciphertexts));
                    counts.shared_additions += sharing.additions() as u64;
                    sharing.products as u64
                } else {
                    weights
                };
                counts.plaintext_products += products;
                let special = literal.gadgets[linear.gadget.index()].special.len();
                let limbs = (literal.levels[step.level_in.index()].len() + special) as u64;
                counts.multiply_accumulates += (2 * products * limbs) << literal.log_n;
                // With masks, weights are encoded when they are used. Integers are the same for all limbs, a word each
                // and, where they are shared, half a word for each input.
                if linear.add_first {
                    counts.weight_bytes += 8 * products + 4 * weights;
                } else if integers {
                    counts.weight_bytes += 8 * weights;
                } else if linear.masks.is_empty() {
                    counts.weight_bytes += 4 * weights * limbs * 2 * linear.period as u64;
                }
            }
        }
    }
    counts
}

/// Scale of the weights of each ciphertext read.
fn weight_scales(linear: &Linear, ciphertexts: impl Fn(Register) -> u64) -> Vec<f64> {
    let of = |input: &LinearInput| std::iter::repeat_n(input.weight_scale, ciphertexts(input.source) as usize);
    linear.inputs.iter().flat_map(of).collect()
}
