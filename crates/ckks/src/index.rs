//! Indices that are not to be confused: levels and gadgets.

use serde::{Deserialize, Serialize};

/// A level: an index into [`crate::ParametersLiteral::levels`], 0 being the lowest. In JSON it is the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Level(pub u16);

/// A key-switching gadget: an index into [`crate::ParametersLiteral::gadgets`]. In JSON it is the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Gadget(pub u16);

impl Level {
    /// The level of this index. One that does not fit becomes `u16::MAX`, which no parameters have.
    #[must_use]
    pub const fn new(index: usize) -> Self {
        Self(saturated(index))
    }

    /// The index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl Gadget {
    /// The gadget of this index. One that does not fit becomes `u16::MAX`, which no parameters have.
    #[must_use]
    pub const fn new(index: usize) -> Self {
        Self(saturated(index))
    }

    /// The index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Display for Gadget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

const fn saturated(index: usize) -> u16 {
    if index > u16::MAX as usize { u16::MAX } else { index as u16 }
}
