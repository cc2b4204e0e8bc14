//! Public keys: what a third party encrypts with.

use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use umbra_ckks::{Level, Parameters, PublicKey};
use umbra_file::{
    AtomicFile, Container, Digest, FileBytes, FileError, FormatError, Kind, Label, bytes_of_words, encode,
};

use crate::client::{file_id, key_set};
use crate::{ContentError, SEED, WireError, read_whole, seed_and_words};

/// The header of a public key's file; the container's context is the digest of the parameters, its key set the key's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    level: Level,
}

/// The bytes of a public key's file.
///
/// # Errors
/// [`ContentError`].
pub fn encode_public_key(key: &PublicKey) -> Result<Vec<u8>, ContentError> {
    let context = Digest::from(*key.parameters().digest());
    let label = Label::new(Kind::PublicKey, context, file_id(key.key_set()))?;
    let record = [&key.seed()[..], &bytes_of_words(key.words())].concat();
    Ok(encode(label, &Header { level: key.level() }, &[&record])?)
}

/// Reads a public key for these parameters out of a container.
///
/// # Errors
/// [`ContentError`].
pub fn decode_public_key<B: AsRef<[u8]>>(
    container: &Container<B>,
    parameters: &Parameters,
) -> Result<PublicKey, ContentError> {
    container.expect_kind(Kind::PublicKey)?;
    container.expect_context(Digest::from(*parameters.digest()))?;
    let id = key_set(&container.label())?;
    let Header { level } = container.header()?;
    let expected = SEED + 4 * (parameters.level(level)?.len() << parameters.log_n());
    let found = container.record_length(0).unwrap_or_default();
    if (container.records(), found) != (1, expected) {
        let expected = format!("{expected}, in one record");
        return Err(FormatError::RecordLength { record: 0, found: found as u64, expected }.into());
    }
    let (seed, words) = seed_and_words(0, container.record(0)?)?;
    Ok(PublicKey::from_parts(parameters, id, level, seed, &words)?)
}

/// Writes a public key.
///
/// # Errors
/// [`WireError`].
pub fn save_public_key(path: &Path, key: &PublicKey) -> Result<(), WireError> {
    let bytes = encode_public_key(key).map_err(WireError::content(path))?;
    Ok(AtomicFile::write(path, false, &bytes)?)
}

/// Reads a public key for these parameters.
///
/// # Errors
/// [`WireError`].
pub fn open_public_key(path: &Path, parameters: &Parameters) -> Result<PublicKey, WireError> {
    let container = Container::decode(FileBytes::open(path)?).map_err(FileError::format(path))?;
    decode_public_key(&container, parameters).map_err(WireError::content(path))
}

/// Reads a public key for these parameters from a stream, up to its end and no further.
///
/// # Errors
/// [`WireError`].
pub fn read_public_key(input: impl Read, parameters: &Parameters) -> Result<PublicKey, WireError> {
    let bytes = read_whole(input, Kind::PublicKey)?;
    Ok(decode_public_key(&Container::decode(&bytes[..]).map_err(ContentError::from)?, parameters)?)
}
