//! Runs programs on ciphertexts.

#![forbid(unsafe_code)]

pub mod encrypted;
mod error;

pub use encrypted::{Prepared, StepReport};
pub use error::RuntimeError;
