//! What files say about themselves.

use crate::{Digest, FormatError, KeySetId, Kind};

/// What a file is and what it belongs to: its kind, its context and its key set.
///
/// It names a key set exactly where its kind has one ([`Kind::has_key_set`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    kind: Kind,
    context: Digest,
    key_set: Option<KeySetId>,
}

impl Label {
    /// Of a file of this kind that belongs to `context`, the digest of parameters or of a program.
    ///
    /// # Errors
    /// [`FormatError::MissingKeySet`] where the kind has a key set and none is given, [`FormatError::UnexpectedKeySet`]
    /// where it has none and one is given.
    pub fn new(kind: Kind, context: Digest, key_set: Option<KeySetId>) -> Result<Self, FormatError> {
        match key_set {
            None if kind.has_key_set() => Err(FormatError::MissingKeySet { kind }),
            Some(found) if !kind.has_key_set() => Err(FormatError::UnexpectedKeySet { kind, found }),
            _ => Ok(Self { kind, context, key_set }),
        }
    }

    /// What it holds.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The digest of what it belongs to.
    #[must_use]
    pub fn context(&self) -> Digest {
        self.context
    }

    /// The key set that it belongs to; `None` for kinds that have none.
    #[must_use]
    pub fn key_set(&self) -> Option<KeySetId> {
        self.key_set
    }

    /// Checks that it is of this kind.
    ///
    /// # Errors
    /// [`FormatError::WrongKind`].
    pub fn expect_kind(&self, expected: Kind) -> Result<(), FormatError> {
        if self.kind == expected {
            return Ok(());
        }
        Err(FormatError::WrongKind { found: self.kind, expected })
    }

    /// Checks that it belongs to this context.
    ///
    /// # Errors
    /// [`FormatError::WrongContext`].
    pub fn expect_context(&self, expected: Digest) -> Result<(), FormatError> {
        if self.context == expected {
            return Ok(());
        }
        Err(FormatError::WrongContext { found: self.context, expected })
    }

    /// Checks that it belongs to this key set.
    ///
    /// # Errors
    /// [`FormatError::WrongKeySet`], of a kind without key sets [`FormatError::MissingKeySet`].
    pub fn expect_key_set(&self, expected: KeySetId) -> Result<(), FormatError> {
        match self.key_set {
            Some(found) if found == expected => Ok(()),
            Some(found) => Err(FormatError::WrongKeySet { found, expected }),
            None => Err(FormatError::MissingKeySet { kind: self.kind }),
        }
    }
}
