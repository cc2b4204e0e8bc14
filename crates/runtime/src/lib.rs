//! One program, three interpreters.
//!
//! - [`encrypted::Prepared`] runs a program on ciphertexts.
//! - [`simulate::Simulator`] runs it on plain slots, with weights rounded as they are encoded and noise drawn
//!   from the predicted distribution of every step: what encryption costs in accuracy, without its time.
//! - [`count::count`] adds up operations and bytes.
//!
//! [`layout`] is the border to pictures and logits that client and simulation share.

#![forbid(unsafe_code)]

pub mod count;
mod dense;
pub mod encrypted;
mod error;
pub mod layout;
pub mod simulate;

pub use encrypted::{Prepared, StepReport};
pub use error::RuntimeError;
pub use layout::Logits;
pub use simulate::Simulator;
