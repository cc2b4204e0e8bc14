//! The contract between the half that prepares and the half that is deployed.
//!
//! A [`ClientSpec`] is what a client needs: parameters, keys, how images become ciphertexts and ciphertexts logits. It
//! has no weight. A [`Program`] is that, and what an encrypted inference does, step by step. Compilers make programs;
//! back ends, simulators and counters interpret them. [`layout`] says what slots stand for, [`check`](Program::check)
//! refuses what does not hold together.

#![forbid(unsafe_code)]

mod check;
mod client;
pub mod count;
mod display;
mod error;
pub mod key_list;
pub mod layout;
mod program;
pub mod sharing;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use check::MAX_CIPHERTEXTS;
pub use client::ClientSpec;
pub use count::{Counts, count};
pub use error::{LayoutError, ProgramError};
pub use layout::{FreeSlots, InputLayout, Layout, Logits, OutputLayout, Packing, Residuals};
pub use program::{
    Estimate, Linear, LinearInput, Operation, Program, Register, RegisterState, Report, Step, operation_name, state_of,
};
