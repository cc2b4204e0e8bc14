//! From a network to a [`Program`](umbra_program::Program): a list of encrypted operations with their levels, scales,
//! rotations and keys.
//!
//! The passes, in the order [`compile`] runs them, each in a file of its name: [`lower`] (the network as a [`circuit`]
//! of affine maps and quadratics), [`fuse`], [`redistribute`], [`merge`] (ensembles), [`packing`], [`precision`] (what
//! each rounding does to the logits), [`levels`] (tower reuse, scales), [`chain`] (primes), [`gadgets`], [`bsgs`] and
//! [`keys`] (chosen by the [`cost`] model). [`dump`] shows what each of them leaves.
//!
//! Modules know only those to their left: `error`, `circuit`, `cost`, `noise`, `stage`; `options`; `lower`, `fuse`,
//! `redistribute`, `merge`; `packing`; `precision`; `chain`; `levels`, `gadgets`, `bsgs`; `keys`; `sharing`; `samples`;
//! `plan`; `correction`; `flooding`; `emit`; `prediction`; `show`; `compile`.

#![forbid(unsafe_code)]

pub mod bsgs;
pub mod chain;
pub mod circuit;
mod compatible;
mod compile;
mod correction;
pub mod cost;
mod digest;
mod emit;
mod error;
mod flooding;
pub mod fuse;
pub mod gadgets;
pub mod keys;
pub mod levels;
pub mod lower;
pub mod merge;
mod noise;
mod options;
pub mod packing;
mod plan;
pub mod precision;
mod prediction;
pub mod redistribute;
mod samples;
mod sharing;
mod show;
mod stage;
#[cfg(test)]
mod testing;

pub use compatible::Compatible;
pub use compile::{compile, compile_ensemble, compile_observed, dump};
pub use cost::{CostModel, SwitchSize, Work};
pub use digest::{ensemble_digest, network_digest};
pub use error::CompileError;
pub use options::{AddFirst, Average, CompileOptions, PackingChoice, Pass};
pub use stage::Stage;
