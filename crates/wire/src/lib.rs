//! What the parties of an encrypted inference exchange: programs, client files, evaluation keys, encrypted images and
//! results.
//!
//! Every one is a container of `umbra-file`, in a file, in memory or on its way through a stream. Its *context* says
//! what it belongs to: evaluation keys to parameters (their digest), client files and ciphertexts to a program (the
//! digest of its file). Its *key set* says whose keys and ciphertexts they are. Decoders take any bytes, check lengths
//! before they allocate and never panic.
//!
//! # Records, version 2
//!
//! | kind | header | records |
//! |---|---|---|
//! | program | see `encode.rs` | the weights of its linear steps |
//! | client file | [`ClientSpec`](umbra_program::ClientSpec) | none |
//! | evaluation keys | [`KeysHeader`] | one a key, in the header's order: seed and `b` |
//! | public key | the level | one: seed and `b` |
//! | ciphertexts | [`CiphertextHeader`] | one a ciphertext: seed and `c0`, or `c0` and `c1` |
//!
//! A seed has 32 bytes. It stands for the half that is uniform: `a` of a key, `c1` of a fresh ciphertext.
//! The words of an evaluation key are limb by limb and in a limb digit by digit, those of a ciphertext limb by limb.
//!
//! A secret key is never exchanged; nothing here can name one.

#![forbid(unsafe_code)]

mod ciphertexts;
mod client;
mod encode;
mod error;
mod keys;
mod program;
mod public;
mod stream;

pub use ciphertexts::{CiphertextHeader, Encrypted, Form, Role};
pub use client::ClientFile;
pub use encode::{decode_program, encode_program};
pub use error::{ContentError, WireError};
pub use keys::{EvaluationKeys, EvaluationKeysReader, EvaluationKeysWriter, KeysHeader, receive_evaluation_keys};
pub use program::LoadedProgram;
pub use public::{decode_public_key, encode_public_key, open_public_key, read_public_key, save_public_key};
pub use stream::read_whole;

pub use umbra_ckks::{
    Ciphertext, CkksError, KeyId, KeyKind, KeySetId, KeyStore, MemoryKeys, Parameters, PublicKey, SeededCiphertext,
    SwitchingKey,
};

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
