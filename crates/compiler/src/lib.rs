//! From a network to a [`Program`]: a list of encrypted operations with their levels, scales, rotations and keys.

#![forbid(unsafe_code)]

mod check;
mod error;
pub mod program;

pub use error::ProgramError;
pub use program::{
    Estimate, InputLayout, Linear, LinearInput, Operation, OutputLayout, Program, RegisterState, Report, Step,
};
pub use umbra_ckks::{Bsgs, Diagonal, GadgetLiteral, KeyId, KeyKind, ParametersLiteral};
