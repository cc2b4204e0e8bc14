//! Runs programs on ciphertexts.
//!
//! There is one interpreter, [`Prepared::run`]. What computes is a [`Backend`]: a handful of operations on ciphertexts.
//! [`Cpu`] is one, over [`umbra_ckks`]; a simulator on plain slots is another. Every back end has to pass the
//! `conformance` suite, which is behind the feature of that name.
//!
//! What a server gives away is flooded with random values first ([`Flooding`]); a run by itself is deterministic.
//!
//! Modules, each importing from those before it only: `error`, `backend`, `cpu`, `flood`, `liveness`, `run`,
//! `conformance`.

#![forbid(unsafe_code)]

mod backend;
#[cfg(feature = "conformance")]
pub mod conformance;
mod cpu;
mod error;
mod flood;
mod liveness;
mod run;

pub use backend::{At, Backend};
pub use cpu::Cpu;
pub use error::RuntimeError;
pub use flood::Flooding;
pub use run::{Prepared, Progress, StepReport, to_the_end};
