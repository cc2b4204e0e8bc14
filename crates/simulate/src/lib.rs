//! Programs on plain slots, with weights rounded as they are encoded and noise drawn from the predicted distribution of
//! every step: what encryption costs in accuracy, without its time.
//!
//! [`Simulation`] is a back end of [`umbra_runtime`], driven by the same run as encrypted inference. [`Simulator`] is
//! what it takes from images to logits.
//!
//! Modules, each importing from those before it only: `error`, `noise`, `dense`, `transform`, `backend`, `simulator`.

#![forbid(unsafe_code)]

mod backend;
mod dense;
mod error;
mod noise;
mod simulator;
mod transform;

pub use backend::{NoiseSeed, Simulation, Slots};
pub use error::SimulateError;
pub use simulator::Simulator;
pub use transform::RoundedTransform;
