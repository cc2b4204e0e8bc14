//! What can be wrong with programs, with what goes into them and with what comes out.

/// A program or a client specification that does not hold together.
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
    #[error("the {what} is {found}, expected {expected}; compile the network again")]
    Invalid {
        /// The quantity.
        what: &'static str,
        /// Its value.
        found: String,
        /// What it must be.
        expected: String,
    },
}

/// Images that a program does not take, or results that are not to be believed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// An image has the wrong number of values.
    #[error("the image has {found} values, the program expects {expected}")]
    ImageSize {
        /// Found.
        found: usize,
        /// Expected.
        expected: usize,
    },
    /// A wrong number of images or of results.
    #[error(
        "{found} images or results were asked for, the program has batch slots for 1 to {limit}; give as many, or \
         compile with a larger batch"
    )]
    Batch {
        /// Number asked for.
        found: usize,
        /// Number there are.
        limit: usize,
    },
    /// A result of another shape.
    #[error("the result has {found} {what}, the program has {expected}; decrypt with the client file of that program")]
    Shape {
        /// What is counted.
        what: &'static str,
        /// Found.
        found: usize,
        /// Expected.
        expected: usize,
    },
    /// Slots that must be zero are not.
    #[error(
        "the result is not valid: slots that must be zero hold up to {found:.3e} (limit {limit:.3e}); an activation \
         overflowed, or the ciphertext or keys are corrupted"
    )]
    ZeroSlots {
        /// Largest magnitude found.
        found: f64,
        /// Largest magnitude accepted.
        limit: f64,
    },
    /// Copies of a logit differ.
    #[error(
        "the result is not valid: copies of a logit differ by up to {found:.3e} (limit {limit:.3e}); an activation \
         overflowed, or the ciphertext or keys are corrupted"
    )]
    Copies {
        /// Largest difference found.
        found: f64,
        /// Largest difference accepted.
        limit: f64,
    },
    /// A logit is far outside the range seen in training.
    #[error(
        "the result is not valid: logit {value:.3} is far outside the trained range [{low:.2}, {high:.2}]; the image \
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
    /// Logits of which none is the largest.
    #[error("the result is not valid: a logit is not a number; the image drives activations out of their range")]
    NoClass,
}
