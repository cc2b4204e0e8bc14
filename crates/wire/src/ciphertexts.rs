//! Encrypted images and results.

use std::io::{Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use umbra_ckks::{Ciphertext, KeySetId, Level, SeededCiphertext};
use umbra_file::{Container, ContainerFile, FormatError, Kind, Label, bytes_of_words, encode};

use crate::client::{file_id, key_set};
use crate::{ClientFile, ContentError, WireError, seed_and_words};

/// Which end of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Encrypted images.
    Input,
    /// Encrypted logits.
    Output,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Input => "encrypted images",
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
    /// `c0` and `c1`: results, and fresh ciphertexts under a public key.
    Whole,
}

/// The header of a file of ciphertexts; the container's context is the digest of the program, its key set that of the
/// ciphertexts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CiphertextHeader {
    /// Which end of the program.
    pub role: Role,
    /// How the residues are stored.
    pub form: Form,
    /// Images that were encrypted: no more than the program classifies at once.
    pub images: usize,
    /// Level of all of them.
    pub level: Level,
    /// Scale of all of them.
    pub scale: f64,
}

/// Ciphertexts of one end of a program, and of how many images. Fresh ones are [`SeededCiphertext`]s.
#[derive(Clone, Debug, PartialEq)]
pub struct Encrypted<C = Ciphertext> {
    /// Images that were encrypted.
    pub images: usize,
    /// The ciphertexts, all of one key set.
    pub ciphertexts: Vec<C>,
}

impl Encrypted<SeededCiphertext> {
    /// As the server uses them.
    #[must_use]
    pub fn expand(&self) -> Encrypted {
        let ciphertexts = self.ciphertexts.iter().map(SeededCiphertext::expand).collect();
        Encrypted { images: self.images, ciphertexts }
    }

    /// The bytes of a file of encrypted images.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn encode(&self, client: &ClientFile) -> Result<Vec<u8>, ContentError> {
        let seeded = |c: &SeededCiphertext| [&c.seed()[..], &bytes_of_words(c.words())].concat();
        let records: Vec<Vec<u8>> = self.ciphertexts.iter().map(seeded).collect();
        let key_set = self.ciphertexts.first().map(SeededCiphertext::key_set);
        frame(client, Role::Input, Form::Seeded, self.images, key_set, &records)
    }

    /// Writes encrypted images.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn write(&self, client: &ClientFile, mut out: impl Write) -> Result<(), WireError> {
        out.write_all(&self.encode(client)?).map_err(WireError::write)
    }
}

impl Encrypted {
    /// The key set of the ciphertexts, of which there is at least one in everything that was read.
    #[must_use]
    pub fn key_set(&self) -> Option<KeySetId> {
        self.ciphertexts.first().map(Ciphertext::key_set)
    }

    /// The bytes of a file of an encrypted result.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn encode(&self, client: &ClientFile) -> Result<Vec<u8>, ContentError> {
        self.encode_as(client, Role::Output)
    }

    /// The bytes of a file of images that were encrypted under a public key: no half of them comes from a seed.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn encode_images(&self, client: &ClientFile) -> Result<Vec<u8>, ContentError> {
        self.encode_as(client, Role::Input)
    }

    fn encode_as(&self, client: &ClientFile, role: Role) -> Result<Vec<u8>, ContentError> {
        let records: Vec<_> = self.ciphertexts.iter().map(|c| bytes_of_words(c.words())).collect();
        frame(client, role, Form::Whole, self.images, self.key_set(), &records)
    }

    /// Writes an encrypted result.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn write(&self, client: &ClientFile, mut out: impl Write) -> Result<(), WireError> {
        out.write_all(&self.encode(client)?).map_err(WireError::write)
    }

    /// Reads the ciphertexts of one end of a program from a stream, up to their end and no further.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn read(input: impl Read, client: &ClientFile, role: Role) -> Result<Self, WireError> {
        let bytes = crate::read_whole(input, Kind::Ciphertext)?;
        Ok(Self::decode(&Container::decode(&bytes[..]).map_err(ContentError::from)?, client, role)?)
    }

    /// Reads the ciphertexts of one end of a program from a file; see [`Self::decode`].
    ///
    /// # Errors
    /// [`WireError`].
    pub fn open(path: &Path, client: &ClientFile, role: Role) -> Result<Self, WireError> {
        let file = ContainerFile::open(path, Kind::Ciphertext, None)?;
        Self::decode(file.container(), client, role).map_err(WireError::content(path))
    }

    /// The ciphertexts of one end of a program, after checking that they are for it: program, role, level, scale,
    /// number, lengths, residues.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn decode<B: AsRef<[u8]>>(
        container: &Container<B>,
        client: &ClientFile,
        role: Role,
    ) -> Result<Self, ContentError> {
        container.expect_kind(Kind::Ciphertext)?;
        container.expect_context(client.program())?;
        let key_set = key_set(&container.label())?;
        let header: CiphertextHeader = container.header()?;
        let (level, scale, count) = client.end(role);
        let expect = |what, ok: bool, found: String, expected: String| {
            let remedy = "give the file that was made for this step";
            if ok { Ok(()) } else { Err(ContentError::Mismatch { what, found, expected, remedy }) }
        };
        expect("content", header.role == role, header.role.to_string(), role.to_string())?;
        expect("level", header.level == level, header.level.to_string(), level.to_string())?;
        let close = (header.scale / scale - 1.0).abs() < 1e-12;
        expect("scale", close, header.scale.to_string(), scale.to_string())?;
        let most = client.spec().layout.images;
        let fits = (1..=most).contains(&header.images);
        expect("number of images", fits, header.images.to_string(), format!("1 to {most}"))?;
        let records = container.records();
        expect("number of ciphertexts", records == count, records.to_string(), count.to_string())?;
        let parameters = client.parameters();
        let half = parameters.level(level)?.len() << parameters.log_n();
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
                    SeededCiphertext::from_parts(parameters, key_set, level, scale, seed, &words)?.expand()
                }
                Form::Whole => Ciphertext::from_words(parameters, key_set, level, scale, &container.words(record)?)?,
            })
        };
        let ciphertexts = (0..count).map(read).collect::<Result<_, ContentError>>()?;
        Ok(Self { images: header.images, ciphertexts })
    }
}

fn frame(
    client: &ClientFile,
    role: Role,
    form: Form,
    images: usize,
    key_set: Option<KeySetId>,
    records: &[impl AsRef<[u8]>],
) -> Result<Vec<u8>, ContentError> {
    let (level, scale, _) = client.end(role);
    let header = CiphertextHeader { role, form, images, level, scale };
    let label = Label::new(Kind::Ciphertext, client.program(), key_set.and_then(file_id))?;
    let records: Vec<&[u8]> = records.iter().map(AsRef::as_ref).collect();
    Ok(encode(label, &header, &records)?)
}
