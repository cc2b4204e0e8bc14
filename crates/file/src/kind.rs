//! What a file is.

use std::fmt;

/// What a file holds. The numbers are part of the format and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u16)]
pub enum Kind {
    /// Whoever has it reads everything encrypted under it.
    SecretKey = 1,
    /// Relinearization and rotation keys, for the server.
    EvaluationKeys = 2,
    /// One or more ciphertexts.
    Ciphertext = 3,
    /// A compiled network.
    Program = 4,
    /// What a client needs to know of a program: no weights.
    ClientFile = 5,
    /// Whoever has it can encrypt for the owner of the secret key, and read nothing.
    PublicKey = 6,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::SecretKey, Self::EvaluationKeys, Self::Ciphertext, Self::Program, Self::ClientFile, Self::PublicKey];

    /// The number in the file.
    #[must_use]
    pub fn tag(self) -> u16 {
        self as u16
    }

    /// The kind of that number.
    #[must_use]
    pub fn from_tag(tag: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.tag() == tag)
    }

    /// Longest file, in bytes. A file with holes can be as long as it likes and take no room on the disk; evaluation
    /// keys are mapped, the others are read into memory.
    #[must_use]
    pub fn max_length(self) -> u64 {
        match self {
            Self::SecretKey => 16 << 20,
            // R32-64 takes 6.7 GB without fusing, at N = 2^16.
            Self::EvaluationKeys => 64 << 30,
            Self::Ciphertext | Self::Program => 4 << 30,
            Self::ClientFile | Self::PublicKey => 64 << 20,
        }
    }

    /// Whether its files belong to a key set and name it ([`KeySetId`](crate::KeySetId)): keys and what they encrypt.
    #[must_use]
    pub fn has_key_set(self) -> bool {
        match self {
            Self::SecretKey | Self::EvaluationKeys | Self::Ciphertext | Self::PublicKey => true,
            Self::Program | Self::ClientFile => false,
        }
    }

    /// Whether only its owner may read it (mode 0600).
    #[must_use]
    pub fn is_secret(self) -> bool {
        self == Self::SecretKey
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SecretKey => "a secret key",
            Self::EvaluationKeys => "evaluation keys",
            Self::Ciphertext => "a ciphertext",
            Self::Program => "a program",
            Self::ClientFile => "a client file",
            Self::PublicKey => "a public key",
        })
    }
}
