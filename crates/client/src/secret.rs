//! Secret keys in files.
//!
//! A container of kind *secret key* whose context is the digest of the parameters and whose key set is the key's, with
//! an empty header and one record: the coefficients, one signed byte each. Files are readable by their owner only.

use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use umbra_ckks::{KeySetId, Parameters, SecretKey};
use umbra_file::{AtomicFile, Container, Digest, FileBytes, FileError, FormatError, Kind, Label, encode};
use umbra_wire::{ContentError, WireError, read_whole};
use zeroize::Zeroizing;

/// No fields yet; unknown ones are refused.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {}

/// The bytes of a secret key's file. Wiped when dropped.
///
/// # Errors
/// [`ContentError`].
pub fn encode_secret_key(secret: &SecretKey) -> Result<Zeroizing<Vec<u8>>, ContentError> {
    let coefficients: Zeroizing<Vec<u8>> =
        Zeroizing::new(secret.danger_coefficients().iter().map(|c| c.cast_unsigned()).collect());
    let context = Digest::from(*secret.parameters().digest());
    let label = Label::new(Kind::SecretKey, context, umbra_file::KeySetId::new(*secret.key_set().bytes()))?;
    Ok(Zeroizing::new(encode(label, &Header {}, &[&coefficients])?))
}

/// Reads a secret key out of a container.
///
/// # Errors
/// [`ContentError`].
pub fn decode_secret_key<B: AsRef<[u8]>>(
    container: &Container<B>,
    parameters: &Parameters,
) -> Result<SecretKey, ContentError> {
    container.expect_kind(Kind::SecretKey)?;
    container.expect_context(Digest::from(*parameters.digest()))?;
    let id = container.key_set().ok_or(FormatError::MissingKeySet { kind: Kind::SecretKey })?;
    let Header {} = container.header()?;
    let found = container.record_length(0).unwrap_or_default();
    if found != parameters.n() {
        let expected = parameters.n().to_string();
        return Err(FormatError::RecordLength { record: 0, found: found as u64, expected }.into());
    }
    let bytes = container.record(0)?;
    let coefficients: Zeroizing<Vec<i8>> = Zeroizing::new(bytes.iter().map(|b| b.cast_signed()).collect());
    Ok(SecretKey::from_coefficients(parameters, KeySetId::from_bytes(*id.bytes()), &coefficients)?)
}

/// Writes a secret key, readable by its owner only.
///
/// # Errors
/// [`WireError`].
pub fn save_secret_key(path: &Path, secret: &SecretKey) -> Result<(), WireError> {
    Ok(begin_secret_key(path, secret)?.commit()?)
}

/// All of the file but its name.
pub(crate) fn begin_secret_key(path: &Path, secret: &SecretKey) -> Result<AtomicFile, WireError> {
    let bytes = encode_secret_key(secret).map_err(WireError::content(path))?;
    Ok(AtomicFile::begin(path, true, &bytes)?)
}

/// Reads a secret key for these parameters.
///
/// # Errors
/// [`WireError`].
pub fn open_secret_key(path: &Path, parameters: &Parameters) -> Result<SecretKey, WireError> {
    let container = Container::decode(FileBytes::open(path)?).map_err(FileError::format(path))?;
    decode_secret_key(&container, parameters).map_err(WireError::content(path))
}

/// Reads a secret key for these parameters from a stream, up to its end and no further.
///
/// # Errors
/// [`WireError`].
pub fn read_secret_key(input: impl Read, parameters: &Parameters) -> Result<SecretKey, WireError> {
    let bytes = read_whole(input, Kind::SecretKey)?;
    let container = Container::decode(&bytes[..]).map_err(ContentError::from)?;
    Ok(decode_secret_key(&container, parameters)?)
}
