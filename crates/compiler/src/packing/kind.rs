//! Which packings there are, and what is asked before there is one.

use std::fmt;
use std::sync::Arc;

use super::channel::Channel;
use super::multiplexed::Multiplexed;
use super::padded::Padded;
use super::questions::Packing;
use super::wanted::Wanted;
use crate::circuit::Circuit;
use crate::error::CompileError;
use crate::options::{CompileOptions, PackingChoice};

/// A kind of packing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// [`Multiplexed`].
    Multiplexed,
    /// [`Channel`].
    Channel,
    /// [`Padded`].
    Padded,
}

impl Kind {
    /// The kinds that are compared for a choice, for networks with zero padding or without. What cannot be made is an
    /// error when it is made, so that there is always one.
    #[must_use]
    pub fn of(choice: PackingChoice, padded: bool) -> &'static [Self] {
        match (choice, padded) {
            (PackingChoice::Multiplexed, _) => &[Self::Multiplexed],
            (PackingChoice::Channel, false) => &[Self::Channel],
            (PackingChoice::Channel | PackingChoice::Auto, true) => &[Self::Padded],
            (PackingChoice::Auto, false) => &[Self::Multiplexed, Self::Channel],
        }
    }

    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Multiplexed => "multiplexed packing",
            Self::Channel => "one channel per ciphertext",
            Self::Padded => "one channel per ciphertext with masks",
        }
    }

    /// Whether options make sense, for an ensemble of so many members.
    ///
    /// # Errors
    /// [`CompileError::Option`] names the one that does not.
    pub fn check(self, options: &CompileOptions, members: usize) -> Result<(), CompileError> {
        match self {
            Self::Multiplexed => Multiplexed::check(options),
            Self::Channel => Channel::check(options, members),
            Self::Padded => Padded::check(options),
        }
    }

    /// Whether the members of an ensemble are one network whose channels are theirs ([`crate::merge`]), or have the
    /// same channels with other weights in other batch slots.
    #[must_use]
    pub fn merges_members(self) -> bool {
        match self {
            Self::Multiplexed | Self::Padded => true,
            Self::Channel => false,
        }
    }

    /// The packing of a circuit.
    ///
    /// # Errors
    /// Where the circuit does not fit: see the packings.
    pub fn pack(self, circuit: &Circuit, wanted: &Wanted) -> Result<Arc<dyn Packing>, CompileError> {
        Ok(match self {
            Self::Multiplexed => Arc::new(Multiplexed::new(circuit, wanted)?),
            Self::Channel => Arc::new(Channel::new(circuit, wanted)?),
            Self::Padded => Arc::new(Padded::new(circuit, wanted)?),
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
