//! How a command ends.

/// How a command ended, where it did not fail.
pub enum Outcome {
    /// All is well.
    Success,
    /// The encrypted result differs from the plaintext one, or from what was predicted.
    Disagreement,
}
