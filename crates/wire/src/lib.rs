//! The files that the parties of an encrypted inference exchange: programs, evaluation keys, ciphertexts.
//!
//! Every one is a container of `umbra-file`. Its *context* says what it belongs to: evaluation keys to parameters (their
//! digest), ciphertexts to a program (the digest of its file). Decoders take any bytes, check lengths before they allocate
//! and never panic.
//!
//! # Records, version 1
//!
//! | kind | header | records |
//! |---|---|---|
//! | evaluation keys | [`KeysHeader`] | one a key, in the header's order: the seed of its `a` half (32 bytes), then the words of its `b` half |
//! | ciphertexts | [`CiphertextHeader`] | one a ciphertext. Seeded: the seed of `c1` (32 bytes), then the words of `c0`. Whole: the words of `c0` and `c1` of each limb |
//!
//! The words of an evaluation key are limb by limb and in a limb digit by digit, those of a ciphertext limb by limb.
//!
//! A secret key is never exchanged; nothing here can name one.

#![forbid(unsafe_code)]

mod ciphertexts;
mod encode;
mod error;
mod keys;
mod program;

pub use ciphertexts::{
    CiphertextHeader, Form, Role, decode_ciphertexts, encode_input, encode_output, read_ciphertexts,
};
pub use encode::{decode_program, encode_program};
pub use error::{ContentError, WireError};
pub use keys::{EvaluationKeys, EvaluationKeysWriter, KeysHeader};
pub use program::LoadedProgram;

pub use umbra_ckks::encryption::SeededCiphertext;
pub use umbra_ckks::{Ciphertext, CkksError, KeyId, KeyKind, KeyStore, Parameters, SwitchingKey};

/// Bytes of a seed.
const SEED: usize = 32;

/// A seed and the words after it.
fn seed_and_words(record: usize, bytes: &[u8]) -> Result<([u8; SEED], std::borrow::Cow<'_, [u32]>), ContentError> {
    let length = || umbra_file::FormatError::RecordLength {
        record,
        found: bytes.len() as u64,
        expected: format!("{SEED} and a multiple of 4"),
    };
    let (seed, words) = bytes.split_first_chunk::<SEED>().ok_or_else(length)?;
    Ok((*seed, umbra_file::words_of_bytes(words).ok_or_else(length)?))
}
