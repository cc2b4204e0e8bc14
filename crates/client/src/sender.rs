//! Whoever encrypts images for the owner of the secret key, and can decrypt nothing.

use std::io::Read;
use std::path::Path;

use umbra_ckks::{Encoder, Encryptor, KeySetId, PublicKey, encode_dense, or_out_of_memory};
use umbra_file::AtomicFile;
use umbra_wire::{ClientFile, Encrypted, Role, open_public_key, read_public_key};

use crate::ClientError;

/// A client file and a public key for its parameters.
#[derive(Debug)]
pub struct Sender {
    file: ClientFile,
    key: PublicKey,
    encoder: Encoder,
}

impl Sender {
    /// With this public key.
    ///
    /// # Errors
    /// [`ClientError::Engine`] where it is of other parameters.
    pub fn new(file: &ClientFile, key: PublicKey) -> Result<Self, ClientError> {
        let parameters = file.parameters();
        parameters.check_same("use of a public key", key.parameters())?;
        Ok(Self { file: file.clone(), encoder: Encoder::new(parameters.log_n()), key })
    }

    /// With the public key in a file.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn open(file: &ClientFile, public_key: &Path) -> Result<Self, ClientError> {
        Self::new(file, open_public_key(public_key, file.parameters())?)
    }

    /// With the public key from a stream.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn read(file: &ClientFile, public_key: impl Read) -> Result<Self, ClientError> {
        Self::new(file, read_public_key(public_key, file.parameters())?)
    }

    /// The client file.
    #[must_use]
    pub fn file(&self) -> &ClientFile {
        &self.file
    }

    /// The key set whose owner decrypts.
    #[must_use]
    pub fn key_set(&self) -> KeySetId {
        self.key.key_set()
    }

    /// Encrypts normalised images, as [`crate::Client::encrypt`] does: with the noise of public keys
    /// ([`umbra_ckks::noise::fresh_public`]), and in twice the bytes.
    ///
    /// # Errors
    /// As [`crate::Client::encrypt`]; [`ClientError::Engine`] for a key of a level that does not hold the images'.
    pub fn encrypt<P: AsRef<[f32]>>(&self, images: &[P]) -> Result<Encrypted, ClientError> {
        let parameters = self.file.parameters();
        let (level, scale, _) = self.file.end(Role::Input);
        let mut encryptor = Encryptor::new(parameters)?;
        let mut encrypt = |slots: Vec<f64>| {
            let plaintext = encode_dense(parameters, &self.encoder, &slots, level, scale)?;
            Ok(encryptor.encrypt_public(&self.key, &plaintext)?)
        };
        let encrypt = |slots: Vec<f64>| or_out_of_memory(|| encrypt(slots))?;
        let ciphertexts =
            self.file.spec().pack(images)?.into_iter().map(encrypt).collect::<Result<_, ClientError>>()?;
        Ok(Encrypted { images: images.len(), ciphertexts })
    }

    /// Encrypts normalised images to one file; returns its length in bytes.
    ///
    /// # Errors
    /// As [`Self::encrypt`], and those of files.
    pub fn encrypt_to<P: AsRef<[f32]>>(&self, path: &Path, images: &[P]) -> Result<u64, ClientError> {
        let bytes = self.encrypt(images)?.encode_images(&self.file)?;
        AtomicFile::write(path, false, &bytes)?;
        Ok(bytes.len() as u64)
    }
}
