//! From a network to a [`Program`]: a list of encrypted operations with their levels, scales, rotations and keys.
//!
//! The passes, in the order [`compile`] runs them, each in a file of its name:
//! [`circuit`] (the network as affine maps and quadratics), [`fuse`], [`redistribute`], [`merge`] (ensembles), [`packing`], [`precision`] (what each
//! rounding does to the logits), [`levels`] (tower reuse, scales), [`chain`] (primes), [`gadgets`], [`bsgs`] and [`keys`] (chosen
//! by the [`cost`] model).

#![forbid(unsafe_code)]

pub mod bsgs;
pub mod chain;
pub mod circuit;
mod compile;
pub mod cost;
mod digest;
mod emit;
mod error;
pub mod fuse;
pub mod gadgets;
pub mod keys;
pub mod levels;
pub mod merge;
mod noise;
mod options;
pub mod packing;
mod plan;
pub mod precision;
pub mod redistribute;
mod sharing;

pub use compile::{compile, compile_ensemble};
pub use cost::CostModel;
pub use digest::{ensemble_digest, network_digest};
pub use error::CompileError;
pub use options::{AddFirst, Average, CompileOptions, LayoutChoice, Pass};
