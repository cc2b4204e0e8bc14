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
    /// A picture has the wrong number of values.
    #[error("the picture has {got} values, the program expects {expected}")]
    Picture {
        /// Found.
        got: usize,
        /// Expected.
        expected: usize,
    },
    /// A wrong number of pictures or of results.
    #[error(
        "{got} pictures or results were asked for, the program has lanes for 1 to {limit}; give as many, or compile with a larger batch"
    )]
    Batch {
        /// Number asked for.
        got: usize,
        /// Number there are.
        limit: usize,
    },
    /// Input ciphertexts are not what the program expects.
    #[error("the input has {what} {got}, the program expects {expected}; encrypt the picture for this program")]
    Input {
        /// Count, level or scale.
        what: &'static str,
        /// Found.
        got: f64,
        /// Expected.
        expected: f64,
    },
    /// Slots that must be zero are not.
    #[error(
        "the result is not valid: slots that must be zero hold up to {stray:.3e} (limit {limit:.3e}); an activation \
         overflowed, or the ciphertext or keys are corrupted or do not belong together"
    )]
    Stray {
        /// Largest magnitude found.
        stray: f64,
        /// Largest magnitude accepted.
        limit: f64,
    },
    /// Copies of a logit differ.
    #[error(
        "the result is not valid: copies of a logit differ by up to {spread:.3e} (limit {limit:.3e}); an activation \
         overflowed, or the ciphertext or keys are corrupted or do not belong together"
    )]
    Spread {
        /// Largest difference found.
        spread: f64,
        /// Largest difference accepted.
        limit: f64,
    },
    /// A logit is far outside the range seen in training.
    #[error(
        "the result is not valid: logit {value:.3} is far outside the trained range [{low:.2}, {high:.2}]; the picture \
         drives activations out of their range (is it of the kind the network was trained on?)"
    )]
    Range {
        /// The logit.
        value: f64,
        /// Lowest in training.
        low: f64,
        /// Highest in training.
        high: f64,
    },
}
