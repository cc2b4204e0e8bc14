//! Evaluates programs on encrypted images.
//!
//! Nothing in this crate can name a secret key, let alone decrypt: it sees the engine only through `umbra-wire`, which
//! exports no such type, and does not depend on the engine's crate itself. Both of these must not compile:
//!
//! ```compile_fail,E0432
//! use umbra_ckks::SecretKey;
//! ```
//!
//! ```compile_fail,E0432
//! use umbra_wire::SecretKey;
//! ```
//!
//! while what it needs does:
//!
//! ```
//! use umbra_wire::{Ciphertext, EvaluationKeys, LoadedProgram};
//! ```

#![forbid(unsafe_code)]

mod error;
mod server;

pub use error::ServerError;
pub use server::{Progress, Server};
pub use umbra_runtime::StepReport;
