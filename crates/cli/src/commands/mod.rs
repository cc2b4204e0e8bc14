//! One command a file.

pub mod bench;
pub mod cluster;
pub mod compile;
pub mod completions;
pub mod decrypt;
pub mod demo;
pub mod encrypt;
pub mod estimate;
pub mod eval;
pub mod infer;
pub mod inspect;
pub mod keygen;
pub mod man;
mod report;
