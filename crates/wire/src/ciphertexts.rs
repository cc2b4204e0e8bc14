//! Ciphertexts in files.

use std::path::Path;

use serde::{Deserialize, Serialize};
use umbra_ckks::Ciphertext;
use umbra_ckks::encryption::SeededCiphertext;
use umbra_file::{Container, ContainerFile, FormatError, Kind, bytes_of_words, encode};

use crate::{ContentError, LoadedProgram, WireError, seed_and_words};

/// Which end of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// An encrypted picture.
    Input,
    /// Encrypted logits.
    Output,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Input => "an encrypted picture",
            Self::Output => "an encrypted result",
        })
    }
}

/// How the residues are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// `c0` and the seed of `c1`: fresh ciphertexts under a secret key.
    Seeded,
    /// `c0` and `c1`.
    Whole,
}

/// The header of a file of ciphertexts; the container's context is the digest of the program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CiphertextHeader {
    /// Which end of the program.
    pub role: Role,
    /// How the residues are stored.
    pub form: Form,
    /// Level of all of them.
    pub level: usize,
    /// Scale of all of them.
    pub scale: f64,
}

/// A container with an encrypted picture.
///
/// # Errors
/// [`ContentError`].
pub fn encode_input(program: &LoadedProgram, ciphertexts: &[SeededCiphertext]) -> Result<Vec<u8>, ContentError> {
    let layout = &program.program().input;
    let header = CiphertextHeader { role: Role::Input, form: Form::Seeded, level: layout.level, scale: layout.scale };
    let records: Vec<Vec<u8>> =
        ciphertexts.iter().map(|c| [&c.seed()[..], &bytes_of_words(c.words())].concat()).collect();
    let records: Vec<&[u8]> = records.iter().map(AsRef::as_ref).collect();
    Ok(encode(Kind::Ciphertext, program.digest(), &header, &records)?)
}

/// A container with encrypted logits.
///
/// # Errors
/// [`ContentError`].
pub fn encode_output(program: &LoadedProgram, ciphertexts: &[Ciphertext]) -> Result<Vec<u8>, ContentError> {
    let layout = &program.program().output;
    let header = CiphertextHeader { role: Role::Output, form: Form::Whole, level: layout.level, scale: layout.scale };
    let records: Vec<_> = ciphertexts.iter().map(|c| bytes_of_words(c.words())).collect();
    let records: Vec<&[u8]> = records.iter().map(AsRef::as_ref).collect();
    Ok(encode(Kind::Ciphertext, program.digest(), &header, &records)?)
}

/// The ciphertexts of one end of a program; see [`decode_ciphertexts`].
///
/// # Errors
/// [`WireError`].
pub fn read_ciphertexts(path: &Path, program: &LoadedProgram, role: Role) -> Result<Vec<Ciphertext>, WireError> {
    let file = ContainerFile::open(path, Kind::Ciphertext, None)?;
    decode_ciphertexts(file.container(), program, role).map_err(WireError::content(path))
}

/// The ciphertexts of one end of a program, after checking that they are for it: program, role, level, scale, number,
/// lengths, residues.
///
/// # Errors
/// [`ContentError`].
pub fn decode_ciphertexts<B: AsRef<[u8]>>(
    container: &Container<B>,
    program: &LoadedProgram,
    role: Role,
) -> Result<Vec<Ciphertext>, ContentError> {
    container.expect_kind(Kind::Ciphertext)?;
    container.expect_context(program.digest())?;
    let header: CiphertextHeader = container.header()?;
    let (level, scale, count) = program.end(role);
    let expect = |what, ok: bool, found: String, expected: String| {
        let remedy = "give the file that was made for this step";
        if ok { Ok(()) } else { Err(ContentError::Mismatch { what, found, expected, remedy }) }
    };
    expect("content", header.role == role, header.role.to_string(), role.to_string())?;
    expect("level", header.level == level, header.level.to_string(), level.to_string())?;
    let close = (header.scale / scale - 1.0).abs() < 1e-12;
    expect("scale", close, header.scale.to_string(), scale.to_string())?;
    let records = container.records();
    expect("number of ciphertexts", records == count, records.to_string(), count.to_string())?;
    let parameters = program.parameters();
    let half = parameters.level(level).len() << parameters.log_n();
    let read = |record| {
        let expected = match header.form {
            Form::Seeded => crate::SEED + 4 * half,
            Form::Whole => 8 * half,
        };
        let found = container.record_length(record).unwrap_or_default();
        if found != expected {
            let (found, expected) = (found as u64, expected.to_string());
            return Err(FormatError::RecordLength { record, found, expected }.into());
        }
        Ok(match header.form {
            Form::Seeded => {
                let (seed, words) = seed_and_words(record, container.record(record)?)?;
                SeededCiphertext::from_parts(parameters, level, scale, seed, &words)?.expand(parameters)
            }
            Form::Whole => Ciphertext::from_words(parameters, level, scale, &container.words(record)?)?,
        })
    };
    (0..count).map(read).collect()
}
