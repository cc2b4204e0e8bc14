//! Files of others: what they are, and whether image files are whole.
//!
//! [`Foreign`] tells by its first bytes what a file is that was given in the place of another. [`check_png`] and
//! [`check_jpeg`] follow an image file to its end: decoders show what there is of a file that was cut or damaged, and a
//! classifier would take gray for a part of the image.
//!
//! Nothing here decodes pixels. Modules know only those before them in this order: `fault`, `png`, `jpeg`, `kind`,
//! `find`.

#![forbid(unsafe_code)]

mod fault;
mod find;
mod jpeg;
mod kind;
mod png;

pub use fault::Fault;
pub use jpeg::{Jpeg, check_jpeg};
pub use kind::{Foreign, START};
pub use png::{Png, check_png};
