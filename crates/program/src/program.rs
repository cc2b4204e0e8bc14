//! Programs: what an encrypted inference does, step by step, with levels, scales, rotations and keys.
//!
//! A register holds one or more ciphertexts of the same level and scale. In the cyclic layout, in a register with *period* `C`,
//! the value of channel `j` at position `p` is in ciphertext `j / C`, slot `p * C + j % C`. In the channel layout that of lane
//! `m` is in ciphertext `j`, slot `p * D + m`, where `D` is the distance of positions; with zero padding slot `m * P + p` of `P`
//! positions. See [`crate::packing`]. Rotating by `r` means
//! `rot_r(x)[i] = x[(i + r) mod n]` with `n = N/2` slots.
//!
//! Whoever holds a [`Program`] made by the compiler or decoded from a file may rely on what [`Program::check`] checks.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use umbra_ckks::{Bsgs, Diagonal, GadgetLiteral, KeyId, KeyKind, ParametersLiteral};
use umbra_image::ImageSpec;

use crate::layout::logit_step;

/// A compiled network.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// The network's name.
    pub name: String,
    /// BLAKE3 of the network (nodes and weights).
    pub network: [u8; 32],
    /// One name a logit.
    pub classes: Vec<String>,
    /// Size and normalisation of the pictures.
    pub picture: ImageSpec,
    /// Range of the logits in training, where known: results far outside are not to be believed.
    pub logit_range: Option<[f64; 2]>,
    /// What slots stand for.
    pub layout: Layout,
    /// How a picture becomes ciphertexts.
    pub input: InputLayout,
    /// Where the logits are.
    pub output: OutputLayout,
    /// Parameters of the scheme.
    pub parameters: ParametersLiteral,
    /// Number of registers.
    pub registers: usize,
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// Estimates and reasons, for people.
    pub report: Report,
}

/// What slots stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "snake_case")]
pub enum Layout {
    /// Channels of one picture, next to one another.
    #[default]
    Cyclic,
    /// Channels of this many networks that see the same picture, next to one another.
    SideBySide {
        /// Networks.
        members: usize,
        /// Whether the logits are the mean over the networks. Otherwise each has its own.
        averaged: bool,
    },
    /// One channel a ciphertext, of this many pictures.
    Batch {
        /// Pictures that are classified at once.
        lanes: usize,
    },
    /// One channel a ciphertext, of this many pictures, one after the other; weights have masks, for zero padding. Networks of an
    /// ensemble have ciphertexts of their own.
    Padded {
        /// Pictures that are classified at once.
        lanes: usize,
        /// Networks that see each of them.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        members: usize,
        /// Whether the logits are the mean over the networks. Otherwise each has its own.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        averaged: bool,
    },
    /// One channel a ciphertext, of these pictures in these networks.
    Ensemble {
        /// Pictures that are classified at once.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        pictures: usize,
        /// Networks that see each of them.
        #[serde(alias = "lanes")]
        members: usize,
        /// Whether the logits are the mean over the networks. Otherwise each lane has those of its own.
        averaged: bool,
    },
}

impl Layout {
    /// Whether this is the cyclic layout.
    #[must_use]
    pub fn is_cyclic(&self) -> bool {
        *self == Self::Cyclic
    }

    /// Whether channels lie next to one another, and not in ciphertexts of their own.
    #[must_use]
    pub fn joins_channels(&self) -> bool {
        matches!(self, Self::Cyclic | Self::SideBySide { .. })
    }

    /// Networks that see the same picture.
    #[must_use]
    pub fn members(&self) -> usize {
        match self {
            Self::SideBySide { members, .. } | Self::Padded { members, .. } | Self::Ensemble { members, .. } => {
                *members
            }
            Self::Cyclic | Self::Batch { .. } => 1,
        }
    }

    /// Whether the logits are the mean over the networks.
    #[must_use]
    pub fn is_averaged(&self) -> bool {
        match self {
            Self::SideBySide { averaged, .. } | Self::Padded { averaged, .. } | Self::Ensemble { averaged, .. } => {
                *averaged
            }
            Self::Cyclic | Self::Batch { .. } => false,
        }
    }

    /// Lanes a picture, of what shares the slots of a ciphertext: its networks, and lanes that nothing is in.
    #[must_use]
    pub fn spacing(&self) -> usize {
        match self {
            Self::Cyclic | Self::Batch { .. } | Self::Padded { .. } => 1,
            Self::SideBySide { members, .. } | Self::Ensemble { members, .. } => logit_step(*members),
        }
    }

    /// Which of the vectors of logits in a result a lane has, if any.
    #[must_use]
    pub fn result(&self, lane: usize) -> Option<usize> {
        let (picture, vector) = (lane / self.spacing(), lane % self.spacing());
        (picture < self.pictures() && vector < self.vectors()).then(|| picture * self.vectors() + vector)
    }

    /// Pictures that are classified at once.
    #[must_use]
    pub fn pictures(&self) -> usize {
        match self {
            Self::Batch { lanes: pictures }
            | Self::Padded { lanes: pictures, .. }
            | Self::Ensemble { pictures, .. } => *pictures,
            Self::Cyclic | Self::SideBySide { .. } => 1,
        }
    }

    /// Vectors of logits of a picture.
    #[must_use]
    pub fn vectors(&self) -> usize {
        if self.is_averaged() { 1 } else { self.members() }
    }

    /// Vectors of logits in a result, picture by picture.
    #[must_use]
    pub fn results(&self) -> usize {
        self.pictures() * self.vectors()
    }
}

/// How a picture becomes ciphertexts.
///
/// The normalised picture `[channels, height, width]` is laid out on `P` positions `p = pitch * row + column` (pitch: the
/// width padded to a power of two; positions without pixel are 0). Slot `(p, c)` of ciphertext `k` is
/// `picture[colour][(p + tap) mod P]` where `ciphertexts[k][c] = Some((colour, tap))`, and 0 where it is `None`. In the channel
/// layout there is one `c` a ciphertext, and slots `p n / P + m` hold the picture of lane `m`, which is the same for all networks of
/// an ensemble (see [`crate::packing`]); with zero padding slots `m P + p`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputLayout {
    /// Register that holds the encrypted picture before the first step.
    pub register: usize,
    /// Number of positions `P`, a power of two.
    pub positions: usize,
    /// Positions a row.
    pub pitch: usize,
    /// Per ciphertext, per channel slot (`n / P` of them; one in the channel layout): colour and tap, or nothing.
    pub ciphertexts: Vec<Vec<Option<(usize, i64)>>>,
    /// Level of the fresh ciphertexts.
    pub level: usize,
    /// Their scale.
    pub scale: f64,
}

/// Where the logits are after the last step.
///
/// With `k = period / step`, logit `j` of lane `m` is the value of slot `p * period + (j % k) * step + m` of ciphertext `j / k`, at
/// every `p`; every other slot holds 0. The mean over an ensemble is in the first lane of each picture. With zero padding that of lane
/// `m` is the value of slot `m * period + (j % k) * step`, of the first network, and of the others in the slots after it; in lanes
/// without picture are the logits of a black one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputLayout {
    /// Register.
    pub register: usize,
    /// Level of its ciphertexts.
    pub level: usize,
    /// Their scale.
    pub scale: f64,
    /// Distance in slots at which a logit occurs again.
    pub period: usize,
    /// Distance in slots of the logits of one ciphertext; 1 in the cyclic layout.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub step: usize,
    /// Number of logits.
    pub classes: usize,
}

impl OutputLayout {
    /// Number of ciphertexts.
    #[must_use]
    pub fn ciphertexts(&self) -> usize {
        self.classes.div_ceil((self.period / self.step.max(1)).max(1))
    }
}

fn one() -> usize {
    1
}

fn is_one(n: &usize) -> bool {
    *n == 1
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The nodes of the network that it realises, for people.
    pub node: String,
    /// What it does.
    pub operation: Operation,
    /// The register written. It may be one of those read.
    pub destination: usize,
    /// Level at which it works. Operands at higher levels are dropped to it, which needs its primes to be a subset of theirs.
    pub level_in: usize,
    /// Level of the result: where lower than `level_in`, the step ends with a (rational) rescale.
    pub level_out: usize,
    /// Scale of the result.
    pub scale_out: f64,
    /// What it costs and how far off its result is.
    pub estimate: Estimate,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Squares every ciphertext of `source` and relinearises; then rescales where `level_out < level_in`.
    Square {
        /// Register read.
        source: usize,
        /// Gadget of the relinearisation key.
        gadget: usize,
    },
    /// A linear transform by periodic diagonals, plus a bias.
    Linear(Box<Linear>),
    /// `source + sum_r rot_r(source)`, all rotations of one decomposition; same level and scale.
    RotateSum {
        /// Register read.
        source: usize,
        /// Rotations, none of them 0.
        rotations: Vec<i64>,
        /// Gadget of the rotation keys.
        gadget: usize,
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
/// `y_o = bias_o + sum_outer rot_outer( sum_inner rot_inner( sum_{i, baby} rot_{-(outer+inner)}(w_{o,i,r}) (.) rot_baby(x_i) ) )`
///
/// where `i` runs over all ciphertexts of all inputs, in order. With pairs a diagonal may be the imaginary part of a weight: then
/// `r = outer + inner + baby + pair`, see [`umbra_ckks::linear`]; the scale of the result is twice that of the products.
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
    /// What diagonals are multiplied by, slot by slot: one period of the masks each, a power of two and at least that of the
    /// diagonals. Empty where there are none.
    pub masks: Vec<Vec<bool>>,
    /// Per ciphertext of the result, one period: that of the masks where there are any.
    pub bias: Vec<Vec<f64>>,
    /// Gadget of the rotation keys; it serves `level_in` even where nothing is rotated.
    pub gadget: usize,
    /// Whether inputs that share a weight are added before they are multiplied ([`crate::sharing`]): only for weights of period 1
    /// without masks and pairs. The result is the same.
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
    pub source: usize,
    /// Scale at which the diagonals that multiply it are encoded.
    pub weight_scale: f64,
}

/// Predictions for one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// Core-seconds.
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
    /// Core-seconds of one inference.
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
    pub level: usize,
    /// Their scale.
    pub scale: f64,
    /// Number of ciphertexts.
    pub ciphertexts: usize,
}

impl Program {
    /// Number of slots of a ciphertext: N/2.
    #[must_use]
    pub fn slots(&self) -> usize {
        1 << (self.parameters.log_n.clamp(1, 31) - 1)
    }

    /// The keys that the steps need, each once, at the highest level of its use.
    #[must_use]
    pub fn key_set(&self) -> Vec<KeyId> {
        let mut levels: BTreeMap<(u16, KeyKind), usize> = BTreeMap::new();
        for step in &self.steps {
            let mut need = |gadget: usize, kind: KeyKind| {
                let level = levels.entry((gadget as u16, kind)).or_default();
                *level = (*level).max(step.level_in);
            };
            match &step.operation {
                Operation::Square { gadget, .. } => need(*gadget, KeyKind::Relinearise),
                Operation::RotateSum { rotations, gadget, .. } => {
                    rotations.iter().for_each(|&r| need(*gadget, KeyKind::Rotate(r)));
                }
                Operation::Linear(linear) => {
                    linear.plan.keys().for_each(|kind| need(linear.gadget, kind));
                }
            }
        }
        levels.into_iter().map(|((gadget, kind), level)| KeyId { gadget, level, kind }).collect()
    }

    /// What each register holds before each step and after the last: `states()[step][register]`. The program must have been
    /// checked.
    #[must_use]
    pub fn states(&self) -> Vec<Vec<Option<RegisterState>>> {
        let mut registers = vec![None; self.registers];
        let InputLayout { register, level, scale, ref ciphertexts, .. } = self.input;
        if let Some(input) = registers.get_mut(register) {
            *input = Some(RegisterState { level, scale, ciphertexts: ciphertexts.len() });
        }
        let mut states = vec![registers.clone()];
        for step in &self.steps {
            let count = |source: usize| registers.get(source).copied().flatten().map_or(0, |s| s.ciphertexts);
            let ciphertexts = match &step.operation {
                Operation::Square { source, .. } | Operation::RotateSum { source, .. } => count(*source),
                Operation::Linear(linear) => linear.outputs(),
            };
            let state = RegisterState { level: step.level_out, scale: step.scale_out, ciphertexts };
            if let Some(destination) = registers.get_mut(step.destination) {
                *destination = Some(state);
            }
            states.push(registers.clone());
        }
        states
    }

    /// Base-2 logarithm of a product of primes; the indices must exist.
    pub fn log2(&self, primes: &[u16]) -> f64 {
        primes.iter().map(|&i| f64::from(self.parameters.primes[i as usize]).log2()).sum()
    }

    /// What rescaling from one level to another divides by.
    pub fn rescale_factor(&self, from: usize, to: usize) -> f64 {
        let levels = &self.parameters.levels;
        let product = |a: &[u16], b: &[u16]| -> f64 {
            a.iter().filter(|i| !b.contains(i)).map(|&i| f64::from(self.parameters.primes[i as usize])).product()
        };
        product(&levels[from], &levels[to]) / product(&levels[to], &levels[from])
    }
}

/// The primes that some level or gadget has.
#[must_use]
pub fn used_primes(levels: &[Vec<u16>], gadgets: &[GadgetLiteral]) -> BTreeSet<u16> {
    let of_gadgets = gadgets.iter().flat_map(|g| g.digits.iter().flatten().chain(&g.special));
    levels.iter().flatten().chain(of_gadgets).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ensembles_of_one_picture_are_read_as_they_were_written_first() {
        let layout: Layout =
            serde_json::from_str(r#"{"kind": "ensemble", "lanes": 3, "averaged": false}"#).expect("a layout");
        assert_eq!(layout, Layout::Ensemble { pictures: 1, members: 3, averaged: false });
        assert_eq!((0..5).map(|lane| layout.result(lane)).collect::<Vec<_>>(), [Some(0), Some(1), Some(2), None, None]);
        let layout = Layout::Ensemble { pictures: 2, members: 3, averaged: true };
        assert_eq!((0..9).filter_map(|lane| Some((lane, layout.result(lane)?))).collect::<Vec<_>>(), [(0, 0), (4, 1)]);
    }
}
