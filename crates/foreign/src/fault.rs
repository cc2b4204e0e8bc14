//! What is wrong with an image file.

/// Why an image file is not whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It was cut.
    #[error("the file ends early: {missing}")]
    Ends {
        /// What should have come.
        missing: String,
    },
    /// Its bytes are not those that were written.
    #[error("the file is damaged: {what}")]
    Damaged {
        /// What was found.
        what: String,
    },
}

impl Fault {
    pub(crate) fn ends(missing: impl Into<String>) -> Self {
        Self::Ends { missing: missing.into() }
    }

    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }
}
