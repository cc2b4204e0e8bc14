//! An image as the client sees it: the sizes and the normalisation that a network expects, files that become such
//! images, and logits that become classes.
//!
//! [`ImageSpec`] is plain data. It says how bytes `[channels, height, width]` become a network's input.
//! Decoding PNG and JPEG files is behind the feature `decode` (`Image`): a client that has pixels needs no decoder.

#![forbid(unsafe_code)]

mod error;
mod familiar;
#[cfg(feature = "decode")]
mod image;
mod softmax;
mod spec;

#[cfg(feature = "decode")]
pub use error::LoadError;
pub use error::{DecodeError, ImageError};
pub use familiar::{Familiar, Statistics};
#[cfg(feature = "decode")]
pub use image::Image;
pub use softmax::{ensemble_probabilities, softmax, top_class};
pub use spec::{ImageSpec, Normalisation};
