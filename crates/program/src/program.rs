//! Programs: what an encrypted inference does, step by step, with levels, scales, rotations and keys.
//!
//! A register holds one or more ciphertexts of the same level and scale; [`crate::layout`] says what their slots stand
//! for. Rotating by `r` means `rot_r(x)[i] = x[(i + r) mod n]` with `n = N/2` slots.
//!
//! Whoever holds a [`Program`] made by the compiler or decoded from a file may rely on what [`Program::check`] checks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use umbra_ckks::{Bsgs, Diagonal, Gadget, KeyId, KeyKind, Level};

use crate::ClientSpec;

/// A compiled network.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// What clients need: parameters, keys, how images go in and logits come out.
    pub client: ClientSpec,
    /// BLAKE3 of the network (nodes and weights).
    pub network: [u8; 32],
    /// Number of registers.
    pub registers: usize,
    /// Register that holds the encrypted image before the first step.
    pub input: Register,
    /// Register that holds the encrypted logits after the last step.
    pub output: Register,
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// Estimates and reasons, for people.
    pub report: Report,
}

/// The number of a register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Register(pub u16);

impl Register {
    /// Position in a list of registers.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The nodes of the network that it realises, for people.
    pub node: String,
    /// What it does.
    pub operation: Operation,
    /// The register written. It may be one of those read.
    pub destination: Register,
    /// Level at which it works. Operands at higher levels are aligned to it by a mod switch, which needs its primes to
    /// be a subset of theirs.
    pub level_in: Level,
    /// Level of the result: where lower than `level_in`, the step ends with a (rational) rescale.
    pub level_out: Level,
    /// Scale of the result.
    pub scale_out: f64,
    /// What it costs and how far off its result is.
    pub estimate: Estimate,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Squares every ciphertext of `source` and relinearizes; then rescales where `level_out < level_in`.
    Square {
        /// Register read.
        source: Register,
        /// Gadget of the relinearization key.
        gadget: Gadget,
    },
    /// A linear transform by periodic diagonals, plus a bias.
    Linear(Box<Linear>),
    /// `source + sum_r rot_r(source)`, all rotations of one decomposition; same level and scale.
    RotateSum {
        /// Register read.
        source: Register,
        /// Rotations, none of them 0.
        rotations: Vec<i64>,
        /// Gadget of the rotation keys.
        gadget: Gadget,
    },
}

/// Name of an operation in reports.
#[must_use]
pub fn operation_name(operation: &Operation) -> &'static str {
    match operation {
        Operation::Square { .. } => "square",
        Operation::Linear(_) => "linear",
        Operation::RotateSum { .. } => "rotate-sum",
    }
}

/// `y_o = bias_o + sum_{i, r} w_{o,i,r} (.) rot_r(x_i)` where every rotation is split as `r = outer + inner + baby`:
///
/// `y_o = bias_o + sum_outer rot_outer( sum_inner rot_inner( sum_{i, baby} rot_{-(outer+inner)}(w_{o,i,r}) (.)
/// rot_baby(x_i) ) )`
///
/// where `i` runs over all ciphertexts of all inputs, in order. With complex packing of giant steps a diagonal may be
/// the imaginary part of a weight: then `r = outer + inner + baby + imaginary`, see [`umbra_ckks::linear`]; the scale
/// of the result is twice that of the products.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// Registers read. All products have the same scale.
    pub inputs: Vec<LinearInput>,
    /// The rotations.
    pub plan: Bsgs,
    /// The nonzero diagonals, sorted by (output, outer, inner, input, baby, imaginary).
    pub diagonals: Vec<Diagonal>,
    /// Length of a diagonal: it repeats with this period over the slots. Channels per ciphertext of the result.
    pub period: usize,
    /// What diagonals are multiplied by, slot by slot: one period of the masks each, a power of two and at least that
    /// of the diagonals. Empty where there are none.
    pub masks: Vec<Vec<bool>>,
    /// Per ciphertext of the result, one period: that of the masks where there are any.
    pub bias: Vec<Vec<f64>>,
    /// Gadget of the rotation keys; it serves `level_in` even where nothing is rotated.
    pub gadget: Gadget,
    /// Whether inputs that share a weight are added before they are multiplied ([`crate::sharing`]): only for weights
    /// of period 1 without masks and pairs. The result is the same.
    pub add_first: bool,
}

impl Linear {
    /// Number of ciphertexts of the result.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// Period of the plaintexts: of the masks, or of the diagonals where there are none.
    #[must_use]
    pub fn plaintext_period(&self) -> usize {
        self.masks.first().map_or(self.period, Vec::len)
    }

    /// The weights: one diagonal, or two that are the parts of a complex one.
    pub fn weights(&self) -> impl Iterator<Item = &[Diagonal]> {
        self.diagonals.chunk_by(|a, b| a.place() == b.place())
    }
}

/// One operand of a [`Linear`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearInput {
    /// Register read.
    pub source: Register,
    /// Scale at which the diagonals that multiply it are encoded.
    pub weight_scale: f64,
}

/// Predictions for one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// CPU-seconds.
    pub seconds: f64,
    /// Bytes of evaluation keys read (both halves).
    pub key_bytes: u64,
    /// Standard deviation of the error of a result's slot, in units of the value that the step computes.
    pub error_std: f64,
    /// Rotations applied to ciphertexts, hoisted ones included.
    pub rotations: u32,
    /// Decompositions for key switching.
    pub decompositions: u32,
}

/// Estimates for a whole program, and why it is as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Base-2 logarithm of the largest modulus under which anything is encrypted, special primes included.
    pub log_qp: f64,
    /// What 128-bit security allows.
    pub log_qp_limit: u32,
    /// CPU-seconds of one inference.
    pub seconds: f64,
    /// Bytes of the evaluation keys in a file (one half; the other comes from a seed).
    pub key_bytes: u64,
    /// Standard deviation of a logit's error.
    pub logit_error_std: f64,
    /// Names of the passes that were switched off.
    pub without: Vec<String>,
    /// One line a choice: what was chosen and why.
    pub notes: Vec<String>,
}

/// What a register holds between steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RegisterState {
    /// Level of its ciphertexts.
    pub level: Level,
    /// Their scale.
    pub scale: f64,
    /// Number of ciphertexts.
    pub ciphertexts: usize,
}

impl Program {
    /// Number of slots of a ciphertext: N/2.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.client.slots()
    }

    /// The keys that the steps need, each once, at the highest level of its use. Of a checked program these are
    /// [`ClientSpec::keys`].
    #[must_use]
    pub fn key_set(&self) -> Vec<KeyId> {
        let mut levels: BTreeMap<(Gadget, KeyKind), Level> = BTreeMap::new();
        for KeyId { gadget, kind, level } in self.uses_of_keys() {
            let highest = levels.entry((gadget, kind)).or_insert(level);
            *highest = (*highest).max(level);
        }
        levels.into_iter().map(|((gadget, kind), level)| KeyId { gadget, level, kind }).collect()
    }

    /// The keys that the steps need, each once, in the order and at the level of its first use.
    #[must_use]
    pub fn keys_in_order(&self) -> Vec<KeyId> {
        let mut seen = BTreeSet::new();
        self.uses_of_keys().filter(|key| seen.insert((key.gadget, key.kind))).collect()
    }

    /// Each use of a key, step by step.
    fn uses_of_keys(&self) -> impl Iterator<Item = KeyId> {
        self.steps.iter().flat_map(|step| {
            let (gadget, kinds): (Gadget, Vec<KeyKind>) = match &step.operation {
                Operation::Square { gadget, .. } => (*gadget, vec![KeyKind::Relinearize]),
                Operation::RotateSum { rotations, gadget, .. } => {
                    (*gadget, rotations.iter().map(|&r| KeyKind::Rotate(r)).collect())
                }
                Operation::Linear(linear) => (linear.gadget, linear.plan.keys().collect()),
            };
            kinds.into_iter().map(move |kind| KeyId { gadget, level: step.level_in, kind })
        })
    }

    /// What each register holds before each step and after the last: `states()[step][register]`. The program must have
    /// been checked.
    #[must_use]
    pub fn states(&self) -> Vec<Vec<Option<RegisterState>>> {
        let mut registers = vec![None; self.registers];
        let input = &self.client.input;
        if let Some(register) = registers.get_mut(self.input.index()) {
            let ciphertexts = input.ciphertexts.len();
            *register = Some(RegisterState { level: input.level, scale: input.scale, ciphertexts });
        }
        let mut states = vec![registers.clone()];
        for step in &self.steps {
            let count = |source: Register| state_of(&registers, source).map_or(0, |s| s.ciphertexts);
            let ciphertexts = match &step.operation {
                Operation::Square { source, .. } | Operation::RotateSum { source, .. } => count(*source),
                Operation::Linear(linear) => linear.outputs(),
            };
            let state = RegisterState { level: step.level_out, scale: step.scale_out, ciphertexts };
            if let Some(destination) = registers.get_mut(step.destination.index()) {
                *destination = Some(state);
            }
            states.push(registers.clone());
        }
        states
    }
}

/// What a register holds, of the states between two steps ([`Program::states`]).
#[must_use]
pub fn state_of(states: &[Option<RegisterState>], register: Register) -> Option<RegisterState> {
    states.get(register.index()).copied().flatten()
}
