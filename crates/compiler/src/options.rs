//! What a compilation may be asked for.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use umbra_model::Graph;

use crate::{Compatible, CompileError, CostModel};

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
    /// Giant steps are packed into complex weights: the imaginary part of a sum is that of another giant step.
    ComplexGiants,
    /// Unused channel slots of the image hold shifted copies.
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
        Self::ComplexGiants,
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
            Self::ComplexGiants => "complex-giants",
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
        // What it was called first.
        let name = if name == "pair-giants" { Self::ComplexGiants.name() } else { name };
        Self::ALL.into_iter().find(|p| p.name() == name).ok_or_else(|| CompileError::Option {
            option: "pass",
            found: name.into(),
            expected: format!("one of {}", Self::ALL.map(Self::name).join(", ")),
        })
    }
}

/// Which packing a program is to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PackingChoice {
    /// The channels of one image next to one another in a ciphertext: the shortest wait for one image.
    #[default]
    Multiplexed,
    /// One channel per ciphertext, many images or the members of an ensemble in its slots: the most images a second.
    Channel,
    /// The one of the two that takes less time an image.
    Auto,
}

impl PackingChoice {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Multiplexed, Self::Channel, Self::Auto];

    /// The name on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Multiplexed => "multiplexed",
            Self::Channel => "channel",
            Self::Auto => "auto",
        }
    }
}

impl fmt::Display for PackingChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for PackingChoice {
    type Err = CompileError;

    fn from_str(name: &str) -> Result<Self, CompileError> {
        // What it was called first.
        let name = if name == "cyclic" { Self::Multiplexed.name() } else { name };
        Self::ALL.into_iter().find(|p| p.name() == name).ok_or_else(|| CompileError::Option {
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

/// Whether steps add the inputs that share a weight before they multiply them, with one channel per ciphertext.
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CompileOptions {
    /// Passes switched off.
    pub without: BTreeSet<Pass>,
    /// Base-2 logarithm of the ring degree; the smallest that the network fits in where not given.
    pub log_n: Option<u32>,
    /// Wanted standard deviation of a logit's error. Where security does not leave enough modulus, the result is less
    /// exact. Where not given: a thousandth of the range of the network's logits, of the narrowest one in an ensemble,
    /// but 0.014 to 0.03.
    pub logit_error: Option<f64>,
    /// Limit on the bytes of the evaluation-key file: one that cannot be met is an error. Where not given, smaller keys
    /// are preferred to those beyond 900 MB.
    pub key_bytes: Option<u64>,
    /// Rates for estimates and choices.
    pub cost: CostModel,
    /// What slots stand for.
    pub packing: PackingChoice,
    /// Images at once with one channel per ciphertext; as many as there is room for where not given.
    pub batch: Option<usize>,
    /// Who averages over the members of an ensemble.
    pub average: Average,
    /// Whether inputs that share a weight are added before they are multiplied.
    pub add_first: AddFirst,
    /// Parameters and keys of an earlier program to work with. What they cannot do is an error; `key_bytes` does not
    /// matter then.
    pub compatible_with: Option<Compatible>,
}

/// Of the range of a network's logits, the error that is wanted of one. A classifier that is trained with a teacher or
/// without label smoothing has logits several times those of another, and larger differences between classes.
const PART_OF_LOGITS: f64 = 0.001;

/// Smallest and largest error that is wanted so; the smallest where no range is known. Classes that are close stay
/// close in a wide range, and a larger error saves little.
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

    /// Checks what every packing asks for ([`crate::packing::Kind::check`] has the rest), for an ensemble of so many
    /// members.
    pub(crate) fn check(&self, members: usize) -> Result<(), CompileError> {
        let option =
            |option, found: String, expected: &str| CompileError::Option { option, found, expected: expected.into() };
        if self.batch == Some(0) {
            return Err(option("batch", "0".into(), "at least 1 image"));
        }
        if members == 0 {
            return Err(option("members", "0".into(), "at least 1 network"));
        }
        if self.average == Average::Server && members < 2 {
            return Err(option("average", "server".into(), "an ensemble of at least 2 members"));
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
        self.compatible_with.as_ref().map_or(Ok(()), |earlier| earlier.check(self.log_n))
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
        let mut builder = GraphBuilder::new(graph.padding(), graph.input().clone()).unwrap();
        for node in graph.nodes().iter().skip(1) {
            builder.add(node.name(), node.operator().clone(), node.inputs()).unwrap();
        }
        let ranges = Ranges { logits, ..Ranges::default() };
        builder.finish_with(graph.description().clone(), ranges, graph.output()).unwrap()
    }

    #[test]
    fn names_are_those_of_command_lines() {
        assert!(Pass::ALL.iter().all(|pass| pass.to_string().parse() == Ok(*pass)));
        assert!(PackingChoice::ALL.iter().all(|choice| choice.to_string().parse() == Ok(*choice)));
        assert!(crate::Stage::ALL.iter().all(|stage| stage.to_string().parse() == Ok(*stage)));
        // What they were called first.
        assert_eq!("pair-giants".parse(), Ok(Pass::ComplexGiants));
        assert_eq!("cyclic".parse(), Ok(PackingChoice::Multiplexed));
        let unknown = |error: CompileError| error.to_string();
        assert!(unknown("melt".parse::<Pass>().unwrap_err()).contains("complex-giants, input-expansion"));
        assert!(unknown("spiral".parse::<PackingChoice>().unwrap_err()).contains("multiplexed, channel, auto"));
        assert!(unknown("melt".parse::<crate::Stage>().unwrap_err()).contains("lower, fuse, redistribute"));
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
