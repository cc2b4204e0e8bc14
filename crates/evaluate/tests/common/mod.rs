//! Small rings and their keys, and evaluators over them.

#![allow(dead_code, unused_imports, reason = "no test uses all of it")]

#[path = "../../../ckks/tests/common/mod.rs"]
mod ckks;

pub use ckks::*;
use umbra_evaluate::{Engine, Evaluator};

/// With the keys that were added, and an engine of its own.
pub fn evaluator_of(bench: &Bench) -> Evaluator<'_> {
    Evaluator::new(&Engine::new(&bench.parameters), &bench.keys)
}
