//! Errors of this crate.

use umbra_ckks::CkksError;

/// What can go wrong when a program runs.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The engine refused an operation.
    #[error("step {step} ({node}): {source}")]
    Engine {
        /// Index of the step.
        step: usize,
        /// The network nodes that it realises.
        node: String,
        /// Why.
        source: CkksError,
    },
    /// The parameters are not those of the program.
    #[error("the parameters are not those that the program was compiled for")]
    OtherParameters,
    /// The program uses something this version does not know, or did not pass its check.
    #[error("step {step} ({node}) {what}; compile the network again with this version")]
    Program {
        /// Index of the step.
        step: usize,
        /// The network nodes that it realises.
        node: String,
        /// What is wrong.
        what: &'static str,
    },
    /// Input ciphertexts are not what the program expects.
    #[error("the input has {what} {got}, the program expects {expected}; encrypt the image for this program")]
    Input {
        /// Count, level or scale.
        what: &'static str,
        /// Found.
        got: f64,
        /// Expected.
        expected: f64,
    },
}
