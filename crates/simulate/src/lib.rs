//! Programs on plain slots, with weights rounded as they are encoded and noise drawn from the predicted distribution of every
//! step: what encryption costs in accuracy, without its time.

#![forbid(unsafe_code)]

mod dense;
mod error;
mod simulate;

pub use error::SimulateError;
pub use simulate::Simulator;
