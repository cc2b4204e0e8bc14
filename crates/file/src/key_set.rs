//! Ids of key sets.

use std::fmt;

/// The id of a key set: of a secret key, of the evaluation keys made from it and of what was encrypted under it.
///
/// Whoever makes a secret key draws it at random, so that no two are the same. It is no secret, and it tells which
/// files are of the same client.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeySetId([u8; 16]);

impl KeySetId {
    /// The id of these bytes; `None` for zeros, which stand for no id in files.
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for KeySetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeySetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
