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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_names_nothing() {
        assert_eq!((Level::new(3), Gadget::new(4)), (Level(3), Gadget(4)));
        assert_eq!((Level::new(1 << 16), Gadget::new(usize::MAX)), (Level(u16::MAX), Gadget(u16::MAX)));
        assert_eq!((Level(7).index(), Gadget(8).index(), Level(9).to_string()), (7, 8, "9".to_string()));
    }
}
