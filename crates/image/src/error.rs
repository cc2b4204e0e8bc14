//! What can be wrong with images and their specifications.

/// An image that does not fit a specification, or a specification that fits no image.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A value that does not fit.
    #[error("{what} is {found}, expected {expected}")]
    Invalid {
        /// The quantity.
        what: String,
        /// Its value.
        found: String,
        /// What it must be.
        expected: String,
    },
}

/// A file that is no image that can be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Neither PNG nor JPEG.
    #[error("not a PNG or JPEG image{}; {remedy}", found.map_or(String::new(), |found| format!(", but {found}")))]
    UnknownFormat {
        /// What it is, where that is known.
        found: Option<&'static str>,
        /// What to do.
        remedy: &'static str,
    },
    /// A form of PNG or JPEG that is not read.
    #[error("this form of PNG or JPEG is not read ({reason}); open it in another program and save it again")]
    Unsupported {
        /// What the decoder said.
        reason: String,
    },
    /// Cut, or changed since it was written.
    #[error("{reason}; copy or download the image again")]
    NotWhole {
        /// What is missing or changed.
        reason: String,
    },
    /// Damaged in another way.
    #[error("the image cannot be decoded ({reason}); open it in another program and save it again")]
    Damaged {
        /// What the decoder said.
        reason: String,
    },
    /// Too small to show anything.
    #[error(
        "the image has {width} x {height} pixels, of which {used} would become {wanted}; give one of at least {least}"
    )]
    TooSmall {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// Columns and rows of the part with the network's proportions.
        used: String,
        /// Columns and rows that the network takes.
        wanted: String,
        /// Columns and rows that are accepted.
        least: String,
    },
    /// Larger than is decoded.
    #[error(
        "the image is larger than {side} pixels on a side or takes more than {megabytes} MB to decode; make it smaller"
    )]
    TooLarge {
        /// Most pixels on a side.
        side: u32,
        /// Most memory of a decoded image.
        megabytes: u64,
    },
    /// A network whose input is no image.
    #[error("the network takes {channels} channels, an image has 3 (colour) or 1 (gray); use a network for images")]
    Channels {
        /// Channels of the network.
        channels: usize,
    },
}

/// An image file that cannot be used.
#[cfg(feature = "decode")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] umbra_file::ReadError),
    /// Its content.
    #[error("{}: {reason}", path.display())]
    Decode {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        reason: DecodeError,
    },
}
