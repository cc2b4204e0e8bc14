//! The stages of a compilation that can be shown.

use std::fmt;
use std::str::FromStr;

use crate::error::CompileError;

/// A stage of a compilation: what is there after a pass. See [`crate::dump`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// The circuit as the graph has it.
    Lower,
    /// Affine maps of affine maps are one.
    Fuse,
    /// Quadratics are bare squares.
    Redistribute,
    /// The members of an ensemble are one circuit, where the packing has them side by side.
    Merge,
    /// Values are in ciphertexts; unused channels have copies of the image.
    Packing,
    /// Values have levels and scales; operands are at levels that their readers can work at.
    Levels,
    /// Levels have primes.
    Chain,
    /// Ranges of levels have key-switching gadgets.
    Gadgets,
    /// Rotations are baby and giant steps, with keys.
    Keys,
    /// The program.
    Emit,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 10] = [
        Self::Lower,
        Self::Fuse,
        Self::Redistribute,
        Self::Merge,
        Self::Packing,
        Self::Levels,
        Self::Chain,
        Self::Gadgets,
        Self::Keys,
        Self::Emit,
    ];

    /// The name on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lower => "lower",
            Self::Fuse => "fuse",
            Self::Redistribute => "redistribute",
            Self::Merge => "merge",
            Self::Packing => "packing",
            Self::Levels => "levels",
            Self::Chain => "chain",
            Self::Gadgets => "gadgets",
            Self::Keys => "keys",
            Self::Emit => "emit",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Stage {
    type Err = CompileError;

    fn from_str(name: &str) -> Result<Self, CompileError> {
        Self::ALL.into_iter().find(|stage| stage.name() == name).ok_or_else(|| CompileError::Option {
            option: "stage",
            found: name.into(),
            expected: format!("one of {}", Self::ALL.map(Self::name).join(", ")),
        })
    }
}
