//! Shapes of activations, and what a pixel position means.

use std::fmt;

/// How a network pads its convolutions, and what pixel positions mean (see `docs/network-format.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Pixel `p = pitch * row + column` on the ring `Z_P`. A `k x k` kernel is the set of taps `pitch * dr + dc`, where
    /// `pitch` is that of the *input* at every stage; stride 2 keeps every second position and halves `P`.
    Circular {
        /// Positions a row of the input: its width, padded to a power of two.
        pitch: usize,
        /// `P` at the input: the pitch times the height, padded to a power of two.
        positions: usize,
    },
    /// The usual one: zero padding of `k / 2` on all sides, stride 2 halves rows and columns.
    Zero,
}

impl Padding {
    /// Circular padding of an image of `height` x `width`, both padded (with zeros) up to powers of two.
    #[must_use]
    pub fn circular(height: usize, width: usize) -> Self {
        let pitch = width.next_power_of_two();
        Self::Circular { pitch, positions: pitch * height.next_power_of_two() }
    }

    /// `"circular"` or `"zero"`, as in manifests.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Circular { .. } => "circular",
            Self::Zero => "zero",
        }
    }
}

/// The shape of one node's output. In memory: channel by channel, within one by position (row by row).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Channels on a ring of positions.
    Ring {
        /// Number of channels.
        channels: usize,
        /// Number of positions `P`.
        positions: usize,
    },
    /// Channels on a grid.
    Planar {
        /// Number of channels.
        channels: usize,
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
}

impl Shape {
    /// Number of channels (of features, classes).
    #[must_use]
    pub fn channels(self) -> usize {
        match self {
            Self::Ring { channels, .. } | Self::Planar { channels, .. } => channels,
        }
    }

    /// Number of positions a channel.
    #[must_use]
    pub fn positions(self) -> usize {
        match self {
            Self::Ring { positions, .. } => positions,
            Self::Planar { height, width, .. } => height * width,
        }
    }

    /// Number of values: channels times positions.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // a shape is never empty
    pub fn len(self) -> usize {
        self.channels() * self.positions()
    }

    /// The same positions with another number of channels.
    #[must_use]
    pub fn with_channels(self, channels: usize) -> Self {
        match self {
            Self::Ring { positions, .. } => Self::Ring { channels, positions },
            Self::Planar { height, width, .. } => Self::Planar { channels, height, width },
        }
    }

    /// `channels` values, no positions left: the output of a global pooling or of a linear layer.
    #[must_use]
    pub fn pooled(self, channels: usize) -> Self {
        match self {
            Self::Ring { .. } => Self::Ring { channels, positions: 1 },
            Self::Planar { .. } => Self::Planar { channels, height: 1, width: 1 },
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Ring { channels, positions } => write!(f, "{channels} channels x {positions} positions"),
            Self::Planar { channels, height, width } => write!(f, "{channels} channels x {height} x {width}"),
        }
    }
}
