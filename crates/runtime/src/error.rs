//! Errors of this crate.

use std::error::Error;

use umbra_ckks::{CkksError, Level, OutOfMemory};
use umbra_program::Register;

/// What can go wrong when a program runs on a back end whose errors are `E`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError<E: Error + 'static = CkksError> {
    /// The back end's parameters are not those of the program.
    #[error("the parameters are not those that the program was compiled for; use those of the program's file")]
    OtherParameters,
    /// A program that did not pass its check.
    #[error("the program names register {register}, and has {registers}; compile the network again")]
    Register {
        /// The register named.
        register: Register,
        /// The number of registers.
        registers: usize,
    },
    /// Too many or too few inputs.
    #[error("the input has {found} ciphertexts, the program expects {expected}; encrypt the image for this program")]
    InputCount {
        /// Found.
        found: usize,
        /// Expected.
        expected: usize,
    },
    /// An input at another level.
    #[error(
        "input ciphertext {index} is at level {found}, the program expects {expected}; \
         encrypt the image for this program"
    )]
    InputLevel {
        /// Which ciphertext, from 0.
        index: usize,
        /// Found.
        found: Level,
        /// Expected.
        expected: Level,
    },
    /// An input of another scale.
    #[error(
        "input ciphertext {index} has scale 2^{:.3}, the program expects 2^{:.3}; encrypt the image for this program",
        found.log2(),
        expected.log2()
    )]
    InputScale {
        /// Which ciphertext, from 0.
        index: usize,
        /// Found.
        found: f64,
        /// Expected.
        expected: f64,
    },
    /// An input that the back end refused: of other parameters, or of another key set than the keys.
    #[error("input ciphertext {index}: {source}")]
    Input {
        /// Which ciphertext, from 0.
        index: usize,
        /// Why.
        source: E,
    },
    /// The back end could not begin a run.
    #[error("the run could not begin: {source}")]
    Begin {
        /// Why.
        source: E,
    },
    /// The back end refused a step, when it was prepared or when it ran.
    #[error("step {step} ({node}): {source}")]
    Step {
        /// Index of the step.
        step: usize,
        /// The network nodes that it realises.
        node: String,
        /// Why.
        source: E,
    },
    /// An output that the back end could not give back.
    #[error("output ciphertext {index}: {source}")]
    Output {
        /// Which ciphertext, from 0.
        index: usize,
        /// Why.
        source: E,
    },
    /// There was no memory for what was to be computed. The program can run again.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// Whoever watched the progress stopped the run.
    #[error("cancelled after step {step}; the program can run again")]
    Cancelled {
        /// Index of the last step that was done.
        step: usize,
    },
}
