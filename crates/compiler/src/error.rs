//! What can be wrong with programs and with networks that are to become programs.

/// A program that does not hold together.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// A value that does not fit, in a step.
    #[error("step {step} ({node:?}): {what} is {found}, expected {expected}; compile the network again")]
    Step {
        /// Index of the step.
        step: usize,
        /// The network nodes it realises.
        node: String,
        /// The quantity.
        what: &'static str,
        /// Its value.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// A value that does not fit, outside the steps.
    #[error("the program's {what} is {found}, expected {expected}; compile the network again")]
    Invalid {
        /// The quantity.
        what: &'static str,
        /// Its value.
        found: String,
        /// What it must be.
        expected: String,
    },
}
