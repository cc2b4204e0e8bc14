//! The contract between the half that prepares and the half that is deployed.
//!
//! A [`Program`] is what an encrypted inference does, step by step. Compilers make programs; run-times, simulators and counters
//! interpret them.

#![forbid(unsafe_code)]

mod check;
pub mod count;
mod display;
mod error;
pub mod layout;
pub mod program;
pub mod sharing;

pub use check::MAX_CIPHERTEXTS;
pub use count::{Counts, count};
pub use error::{LayoutError, ProgramError};
pub use layout::Logits;
pub use program::{
    Estimate, InputLayout, Layout, Linear, LinearInput, Operation, OutputLayout, Program, RegisterState, Report, Step,
    operation_name, used_primes,
};
