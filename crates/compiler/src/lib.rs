//! From a network to a [`Program`]: a list of encrypted operations with their levels, scales, rotations and keys.

#![forbid(unsafe_code)]

mod check;
mod error;
mod literal;
pub mod program;

pub use error::ProgramError;
pub use literal::{GadgetLiteral, ParametersLiteral};
pub use program::{
    Bsgs, Diagonal, Estimate, InputLayout, KeyId, KeyKind, Linear, LinearInput, Operation, OutputLayout, Program,
    RegisterState, Report, Step,
};
