//! What a compilation may be asked for.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use umbra_model::Graph;

use crate::{CompileError, CostModel};

/// A pass that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Pass {
    /// Batch norms, residual additions and pooling divisors become part of convolutions and linear layers.
    Fuse,
    /// Quadratics become bare squares.
    Redistribute,
    /// A convolution and the square after it share one rescale.
    TowerReuse,
    /// Rotations are split into baby and giant steps.
    Bsgs,
    /// Giants are paired: weights are complex, and the imaginary part of a sum is another giant's.
    PairGiants,
    /// Unused channel slots of the picture hold shifted copies.
    InputExpansion,
    /// Biases make up for what rounded weights add on average.
    BiasCorrection,
}

impl Pass {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Fuse,
        Self::Redistribute,
        Self::TowerReuse,
        Self::Bsgs,
        Self::PairGiants,
        Self::InputExpansion,
        Self::BiasCorrection,
    ];

    /// The name on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fuse => "fuse",
            Self::Redistribute => "redistribute",
            Self::TowerReuse => "tower-reuse",
            Self::Bsgs => "bsgs",
            Self::PairGiants => "pair-giants",
            Self::InputExpansion => "input-expansion",
            Self::BiasCorrection => "bias-correction",
        }
    }
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Pass {
    type Err = CompileError;

    fn from_str(name: &str) -> Result<Self, CompileError> {
        Self::ALL.into_iter().find(|p| p.name() == name).ok_or_else(|| CompileError::Option {
            option: "pass",
            found: name.into(),
            expected: format!("one of {}", Self::ALL.map(Self::name).join(", ")),
        })
    }
}

/// Which layout a program is to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LayoutChoice {
    /// The channels of one picture side by side in a ciphertext: the shortest wait for one picture.
    #[default]
    Cyclic,
    /// One channel a ciphertext, many pictures or the members of an ensemble side by side: the most pictures a second.
    Channel,
    /// The one of the two that takes less time a picture.
    Auto,
}

impl LayoutChoice {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cyclic, Self::Channel, Self::Auto];

    /// The name on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cyclic => "cyclic",
            Self::Channel => "channel",
            Self::Auto => "auto",
        }
    }
}

impl fmt::Display for LayoutChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for LayoutChoice {
    type Err = CompileError;

    fn from_str(name: &str) -> Result<Self, CompileError> {
        Self::ALL.into_iter().find(|l| l.name() == name).ok_or_else(|| CompileError::Option {
            option: "layout",
            found: name.into(),
            expected: format!("one of {}", Self::ALL.map(Self::name).join(", ")),
        })
    }
}

/// Who averages over the members of an ensemble.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Average {
    /// The client gets the logits of every member, and averages probabilities.
    #[default]
    Client,
    /// The server averages logits.
    Server,
}

impl FromStr for Average {
    type Err = CompileError;

    fn from_str(name: &str) -> Result<Self, CompileError> {
        match name {
            "client" => Ok(Self::Client),
            "server" => Ok(Self::Server),
            _ => {
                Err(CompileError::Option { option: "average", found: name.into(), expected: "client or server".into() })
            }
        }
    }
}

/// Whether steps of the channel layout add the inputs that share a weight before they multiply them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AddFirst {
    /// Where the cost model says that it takes less time: with few distinct weights in each output channel.
    #[default]
    Auto,
    /// Wherever weights are the same in all slots.
    Always,
    /// Nowhere.
    Never,
}

impl AddFirst {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Always, Self::Never];

    /// The name on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

impl fmt::Display for AddFirst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for AddFirst {
    type Err = CompileError;

    fn from_str(name: &str) -> Result<Self, CompileError> {
        Self::ALL.into_iter().find(|a| a.name() == name).ok_or_else(|| CompileError::Option {
            option: "add-first",
            found: name.into(),
            expected: format!("one of {}", Self::ALL.map(Self::name).join(", ")),
        })
    }
}

/// Options of [`crate::compile`].
#[derive(Clone, Debug, PartialEq)]
pub struct CompileOptions {
    /// Passes switched off.
    pub without: BTreeSet<Pass>,
    /// Base-2 logarithm of the ring degree; the smallest that the network fits in where not given.
    pub log_n: Option<u32>,
    /// Wanted standard deviation of a logit's error. Where security does not leave enough modulus, the result is less exact. Where not
    /// given: a thousandth of the range of the network's logits, of the narrowest one in an ensemble, but 0.014 to 0.03.
    pub logit_error: Option<f64>,
    /// Wanted limit on the bytes of the evaluation-key file.
    pub key_bytes: u64,
    /// Rates for estimates and choices.
    pub cost: CostModel,
    /// What slots stand for.
    pub layout: LayoutChoice,
    /// Pictures at once in the channel layout; as many as there is room for where not given.
    pub batch: Option<usize>,
    /// Who averages over the members of an ensemble.
    pub average: Average,
    /// Whether inputs that share a weight are added before they are multiplied.
    pub add_first: AddFirst,
}

impl Default for CompileOptions {
    fn default() -> Self {
        Self {
            without: BTreeSet::new(),
            log_n: None,
            logit_error: None,
            key_bytes: 900_000_000,
            cost: CostModel::default(),
            layout: LayoutChoice::default(),
            batch: None,
            average: Average::default(),
            add_first: AddFirst::default(),
        }
    }
}

/// Of the range of a network's logits, the error that is wanted of one. A classifier that is trained with a teacher or without label
/// smoothing has logits several times those of another, and larger differences between classes.
const PART_OF_LOGITS: f64 = 0.001;

/// Smallest and largest error that is wanted so; the smallest where no range is known. Classes that are close stay close in a wide range, and
/// a larger error saves little.
const LOGIT_ERRORS: [f64; 2] = [0.014, 0.03];

impl CompileOptions {
    /// Wanted standard deviation of a logit's error, of these networks.
    pub(crate) fn logit_error(&self, graphs: &[&Graph]) -> f64 {
        let width = |graph: &&Graph| graph.ranges().logits.map(|[least, most]| f64::from(most) - f64::from(least));
        let narrowest = graphs.iter().filter_map(width).reduce(f64::min);
        let [smallest, largest] = LOGIT_ERRORS;
        self.logit_error
            .unwrap_or(narrowest.map_or(smallest, |width| (PART_OF_LOGITS * width).clamp(smallest, largest)))
    }

    /// Whether a pass is on.
    #[must_use]
    pub fn has(&self, pass: Pass) -> bool {
        !self.without.contains(&pass)
    }

    /// Checks everything, for an ensemble of so many members, and networks with zero padding or without.
    pub(crate) fn check(&self, members: usize, padded: bool) -> Result<(), CompileError> {
        let option =
            |option, found: String, expected: &str| CompileError::Option { option, found, expected: expected.into() };
        match (self.layout, self.batch) {
            (_, Some(0)) => return Err(option("batch", "0".into(), "at least 1 picture")),
            (LayoutChoice::Cyclic, Some(batch)) => {
                let expected = "none in the cyclic layout, which holds one picture; use the channel layout";
                return Err(option("batch", batch.to_string(), expected));
            }
            _ => {}
        }
        if self.average == Average::Server && members < 2 {
            return Err(option("average", "server".into(), "an ensemble of at least 2 members"));
        }
        if self.add_first == AddFirst::Always {
            let why = match self.layout {
                LayoutChoice::Channel if padded => {
                    "for a network with zero padding, whose weights differ at the border"
                }
                LayoutChoice::Channel if members > 1 => "for an ensemble, whose weights differ from lane to lane",
                LayoutChoice::Channel => "",
                _ => "outside the channel layout, in which alone a weight is one number; use that layout",
            };
            if !why.is_empty() {
                return Err(option("add-first", "always".into(), &format!("auto or never {why}")));
            }
        }
        if let Some(error) = self.logit_error.filter(|error| !(error.is_finite() && *error > 0.0)) {
            return Err(option("logit error", error.to_string(), "a positive number"));
        }
        let CostModel {
            transform,
            multiply_accumulates,
            integer_products,
            shared_additions,
            key_bytes,
            word,
            seconds_per_key_gigabyte,
        } = self.cost;
        let positive = [transform, multiply_accumulates, integer_products, shared_additions, key_bytes, word]
            .iter()
            .all(|v| v.is_finite() && *v > 0.0);
        if !(positive && seconds_per_key_gigabyte.is_finite() && seconds_per_key_gigabyte >= 0.0) {
            return Err(option("cost model", format!("{:?}", self.cost), "positive rates"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use umbra_model::zoo::ResNet;
    use umbra_model::{GraphBuilder, Ranges};

    /// A network with logits in that range.
    fn network(logits: Option<[f32; 2]>) -> Graph {
        let graph = ResNet { widths: vec![2], blocks: 1, ..ResNet::default() }.build().unwrap();
        let mut builder = GraphBuilder::new(graph.geometry(), graph.input().clone()).unwrap();
        for node in graph.nodes().iter().skip(1) {
            builder.add(node.name(), node.operator().clone(), node.inputs()).unwrap();
        }
        let ranges = Ranges { logits, ..Ranges::default() };
        builder.finish_with(graph.description().clone(), ranges, graph.output()).unwrap()
    }

    #[test]
    fn wanted_errors_grow_with_logits() {
        let (unknown, narrow, wide) = (network(None), network(Some([-3.0, 6.0])), network(Some([-5.0, 20.0])));
        let wider = network(Some([-12.0, 31.0]));
        let default = CompileOptions::default();
        let wanted = |graphs: &[&Graph]| (default.logit_error(graphs) * 1e6).round() / 1e6;
        assert_eq!([wanted(&[&unknown]), wanted(&[&narrow])], [0.014, 0.014]);
        assert_eq!([wanted(&[&wide]), wanted(&[&wider])], [0.025, 0.03]);
        // Members have to be as exact as the one that needs it most, of those that say.
        assert_eq!([wanted(&[&wide, &narrow]), wanted(&[&unknown, &wide])], [0.014, 0.025]);
        let given = CompileOptions { logit_error: Some(0.2), ..default };
        assert_eq!(given.logit_error(&[&narrow]), 0.2);
    }
}
