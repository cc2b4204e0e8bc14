//! The memory that linear transforms ask for, which is no multiple of their bytes in a file.
//!
//! A diagonal of a few bytes may have a row and a column of the matrix of weights to itself (`umbra_ckks::linear`),
//! most of which is zero then but takes room all the same; with masks it may have a plaintext of its own that is as
//! long as they are. Programs of networks have dense matrices (R20-16, R20-64, R32-64 and VGG-16: 93 to 100 % of the
//! entries are weights) and about as many plaintexts as a kernel has taps or a network classes (10 for each member of
//! an ensemble).

use std::collections::BTreeSet;

use umbra_ckks::Matrices;

use umbra_ckks::Diagonal;

use crate::{Linear, Operation, Program, Register, RegisterState, state_of};

/// Encoded weights of all steps that every program may have, bytes: in multiplexed packing VGG-16 has 0.74 GiB, R32-64
/// 0.95.
const FREE: f64 = GIB;
/// How many times the bytes of their nonzero entries matrices may take beyond that.
const SPARSE: f64 = 4.0;
/// Sums of one step at most, bytes. VGG-16 has 1.1 GiB with zero padding; as many outputs as a register has at N =
/// 2^16, with all primes that security allows, have 15 GiB.
pub(super) const MAX_SUMS: f64 = 32.0 * GIB;
/// Masked weights that a thread encodes at a time, bytes: VGG-16 with zero padding has 0.28 GiB, of images of 64 x 64
/// it would have four times that.
pub(super) const MAX_STRIP: f64 = 2.0 * GIB;

/// Ciphertexts at one time, with what a step makes of them, bytes: twice what the sums of a step may take.
pub(super) const MAX_WORKING: f64 = 64.0 * GIB;

/// Bytes.
pub(super) const GIB: f64 = (1u64 << 30) as f64;
/// Rows whose masked weights are encoded at a time, at least.
const STRIP_ROWS: f64 = 8.0;

/// What the server makes of a transform, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Demand {
    /// Weights as they are encoded and kept.
    pub weights: f64,
    /// The part of that which is no zero between them, and no plaintext of a mask.
    pub dense: f64,
    /// Sums under construction.
    pub sums: f64,
    /// Masked weights that a thread encodes at a time.
    pub strip: f64,
}

impl Demand {
    /// The demand of a checked transform, for so many limbs of residues modulo a polynomial of degree `n`.
    pub(super) fn of(linear: &Linear, limbs: usize, n: usize) -> Self {
        let matrices = Matrices::of(linear.outputs(), &linear.plan, &linear.diagonals);
        let (limbs, span) = (limbs as f64, linear.plaintext_period() as f64);
        // Of a polynomial of `2 span` coefficients: its residues, or itself.
        let (residues, coefficients) = (8.0 * span * limbs, 16.0 * span);
        let sums = matrices.rows() as f64 * 8.0 * n as f64 * limbs;
        if linear.masks.is_empty() {
            let (entries, weights) = (matrices.entries() as f64, linear.weights().count() as f64);
            return Self { weights: entries * residues, dense: weights * residues, sums, strip: 0.0 };
        }
        let plaintexts = if linear.period == 1 {
            let place = |d: &Diagonal| (d.mask, linear.plan.giant(d));
            linear.diagonals.iter().map(place).collect::<BTreeSet<_>>().len()
        } else {
            linear.diagonals.len()
        };
        let strip = STRIP_ROWS * matrices.columns() as f64 * 8.0 * span;
        Self { weights: plaintexts as f64 * coefficients, dense: 0.0, sums, strip }
    }

    /// Adds what is kept of another step.
    pub(super) fn keep(&mut self, other: &Self) {
        self.weights += other.weights;
        self.dense += other.dense;
    }

    /// What the weights of all steps together may take.
    pub(super) fn allowed(&self) -> f64 {
        FREE.max(SPARSE * self.dense)
    }
}

impl Program {
    /// The most bytes that ciphertexts take during a step: registers, and of a linear transform the digits of its
    /// inputs and its sums. The steps of the program must have been checked.
    #[must_use]
    pub fn working_bytes(&self) -> u64 {
        let literal = &self.client.parameters;
        let limb = 4u64 << literal.log_n;
        let registers = |state: &[Option<RegisterState>]| -> u64 {
            let bytes = |s: &RegisterState| 2 * s.ciphertexts as u64 * literal.levels[s.level.index()].len() as u64;
            state.iter().flatten().map(bytes).sum::<u64>() * limb
        };
        let transformed = |index: usize, state: &[Option<RegisterState>]| -> u64 {
            let step = &self.steps[index];
            let Operation::Linear(linear) = &step.operation else { return 0 };
            let gadget = &literal.gadgets[linear.gadget.index()];
            let extended = (literal.levels[step.level_in.index()].len() + gadget.special.len()) as u64;
            let count = |source: Register| state_of(state, source).map_or(0, |s| s.ciphertexts as u64);
            let inputs: u64 = linear.inputs.iter().map(|i| count(i.source)).sum();
            let rows = Matrices::of(linear.outputs(), &linear.plan, &linear.diagonals).rows() as u64;
            // Inputs are copied when limbs are dropped, and decomposed.
            (inputs * (gadget.digits.len() as u64 + 2) + 2 * rows) * extended * limb
        };
        let states = self.states();
        (0..self.steps.len()).map(|i| registers(&states[i]) + transformed(i, &states[i])).max().unwrap_or(0)
    }
}
