//! The client's side of one program.

use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::sync_channel;

use umbra_ckks::{
    CkksError, Decryptor, Encoder, Encryptor, KeyGenerator, KeySetId, PublicKey, SecretKey, SeededCiphertext,
    SwitchingKey, encode_dense, or_out_of_memory,
};
use umbra_file::{AtomicFile, FileError};
use umbra_program::{LayoutError, Logits};
use umbra_wire::{ClientFile, Encrypted, EvaluationKeysWriter, Role, WireError};

use crate::secret::begin_secret_key;
use crate::{ClientError, Prediction, open_secret_key, read_secret_key};

/// Keys waiting to be written: enough to keep both sides busy, few enough for the memory.
const WAITING: usize = 1;

/// A client file and a secret key for its parameters.
///
/// One secret key serves all programs of the same parameters; see [`umbra_program::ClientSpec::accepts_keys_of`].
#[derive(Debug)]
pub struct Client {
    file: ClientFile,
    secret: SecretKey,
    encoder: Encoder,
    decryptor: Decryptor,
}

/// Called while keys are made, with the number of keys made and of all; may stop it.
pub type KeyProgress<'a> = &'a mut dyn FnMut(usize, usize) -> ControlFlow<()>;

impl Client {
    /// With a fresh secret key.
    ///
    /// # Errors
    /// [`ClientError::Engine`] where the operating system gives no randomness.
    pub fn generate(file: &ClientFile) -> Result<Self, ClientError> {
        let mut generator = KeyGenerator::new(file.parameters())?;
        let secret = or_out_of_memory(|| generator.secret_key())??;
        Self::new(file, secret)
    }

    /// With the secret key in a file.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn open(file: &ClientFile, secret_key: &Path) -> Result<Self, ClientError> {
        let secret = open_secret_key(secret_key, file.parameters())?;
        Self::new(file, secret)
    }

    /// With the secret key from a stream.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn read(file: &ClientFile, secret_key: impl Read) -> Result<Self, ClientError> {
        let secret = read_secret_key(secret_key, file.parameters())?;
        Self::new(file, secret)
    }

    /// With this secret key.
    ///
    /// # Errors
    /// [`ClientError::Engine`] where it is of other parameters.
    pub fn new(file: &ClientFile, secret: SecretKey) -> Result<Self, ClientError> {
        let parameters = file.parameters();
        parameters.check_same("use of a secret key", secret.parameters())?;
        let decryptor = Decryptor::new(&secret);
        Ok(Self { file: file.clone(), encoder: Encoder::new(parameters.log_n()), decryptor, secret })
    }

    /// The client file.
    #[must_use]
    pub fn file(&self) -> &ClientFile {
        &self.file
    }

    /// The id of the key set: in every file that this client makes.
    #[must_use]
    pub fn key_set(&self) -> KeySetId {
        self.secret.key_set()
    }

    /// Writes the secret key to a file that only its owner can read.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn save_secret_key(&self, path: &Path) -> Result<(), ClientError> {
        Ok(begin_secret_key(path, &self.secret)?.commit()?)
    }

    /// Writes the secret key and the evaluation keys: both are whole before either gets its name. See
    /// [`Self::save_secret_key`] and [`Self::save_evaluation_keys`].
    ///
    /// # Errors
    /// [`ClientError`]; unless it is the second name that could not be given, what was at the paths stays.
    pub fn save_keys(&self, secret: &Path, evaluation: &Path, progress: KeyProgress<'_>) -> Result<(), ClientError> {
        let secret = begin_secret_key(secret, &self.secret)?;
        self.save_evaluation_keys(evaluation, progress)?;
        Ok(secret.commit()?)
    }

    /// Makes the evaluation keys that the program needs and writes them to a file, as [`Self::write_evaluation_keys`]
    /// does.
    ///
    /// # Errors
    /// [`ClientError`]; no file of that name appears then.
    pub fn save_evaluation_keys(&self, path: &Path, progress: KeyProgress<'_>) -> Result<(), ClientError> {
        let (parameters, ids) = (self.file.parameters(), &self.file.spec().keys);
        let writer = EvaluationKeysWriter::create(path, parameters, self.key_set(), ids)?;
        let written = self.write_keys(writer, progress).and_then(|writer| Ok(writer.commit()?));
        written.map(drop).map_err(|error| match error {
            ClientError::Wire(WireError::Stream(reason)) => FileError::stream(path)(reason).into(),
            other => other,
        })
    }

    /// Makes the evaluation keys that the program needs and writes them to any output, one by one: never more than
    /// three of them are in memory. Returns the output.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn write_evaluation_keys<W: Write + Send>(&self, out: W, progress: KeyProgress<'_>) -> Result<W, ClientError> {
        let (parameters, ids) = (self.file.parameters(), &self.file.spec().keys);
        let writer = EvaluationKeysWriter::new(out, parameters, self.key_set(), ids)?;
        Ok(self.write_keys(writer, progress)?.finish()?.0)
    }

    /// A public key for whoever is to encrypt and not to decrypt: for the level of the program's images.
    ///
    /// # Errors
    /// [`ClientError::Engine`] where the operating system gives no randomness; [`ClientError::OutOfMemory`].
    pub fn public_key(&self) -> Result<PublicKey, ClientError> {
        let (level, ..) = self.file.end(Role::Input);
        let mut generator = KeyGenerator::new(self.file.parameters())?;
        Ok(or_out_of_memory(|| generator.public_key(&self.secret, level))??)
    }

    /// Makes a public key and writes it to a file.
    ///
    /// # Errors
    /// As [`Self::public_key`], and those of files.
    pub fn save_public_key(&self, path: &Path) -> Result<(), ClientError> {
        Ok(umbra_wire::save_public_key(path, &self.public_key()?)?)
    }

    /// Bytes that [`Self::write_evaluation_keys`] writes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn evaluation_keys_size(&self) -> Result<u64, ClientError> {
        let (parameters, ids) = (self.file.parameters(), &self.file.spec().keys);
        Ok(EvaluationKeysWriter::new(std::io::sink(), parameters, self.key_set(), ids)?.size())
    }

    fn write_keys<W: Write + Send>(
        &self,
        mut writer: EvaluationKeysWriter<W>,
        progress: KeyProgress<'_>,
    ) -> Result<EvaluationKeysWriter<W>, ClientError> {
        let ids = &self.file.spec().keys;
        let mut generator = KeyGenerator::new(self.file.parameters())?;
        std::thread::scope(|scope| {
            let (send, receive) = sync_channel::<SwitchingKey>(WAITING);
            // Hashing and writing go on beside the making of the next key.
            let write = move || {
                receive.iter().try_for_each(|key| writer.add(&key))?;
                Ok::<_, WireError>(writer)
            };
            let writing = std::thread::Builder::new().spawn_scoped(scope, write).map_err(ClientError::Thread)?;
            for (made, &id) in ids.iter().enumerate() {
                let key = or_out_of_memory(|| generator.switching_key(&self.secret, id))??;
                // The other side hangs up when it cannot write; its error says why.
                if send.send(key).is_err() {
                    break;
                }
                if progress(made + 1, ids.len()).is_break() {
                    return Err(ClientError::Cancelled);
                }
            }
            drop(send);
            match writing.join() {
                Ok(writer) => Ok(writer?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Encrypts normalised images, each `[channels, height, width]`: as many as the program classifies at once, or
    /// fewer.
    ///
    /// # Errors
    /// [`ClientError::Layout`] for images of another size or a number of them that there are no batch slots for,
    /// [`ClientError::Engine`] for values that are no finite numbers.
    pub fn encrypt<P: AsRef<[f32]>>(&self, images: &[P]) -> Result<Encrypted<SeededCiphertext>, ClientError> {
        let parameters = self.file.parameters();
        let (level, scale, _) = self.file.end(Role::Input);
        let mut encryptor = Encryptor::new(parameters)?;
        let mut encrypt = |slots: Vec<f64>| {
            let plaintext = encode_dense(parameters, &self.encoder, &slots, level, scale)?;
            Ok(encryptor.encrypt_seeded(&self.secret, &plaintext)?)
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
        let bytes = self.encrypt(images)?.encode(&self.file)?;
        AtomicFile::write(path, false, &bytes)?;
        Ok(bytes.len() as u64)
    }

    /// Decrypts a result and checks that it is one: slots that must be zero, copies that must agree, the range of the
    /// logits. There is a vector of logits for each image, or for each image and network of an ensemble that the client
    /// averages. The outer error is of the whole result, inner ones are of single vectors.
    ///
    /// The logits are for the key's owner. Their last bits depend on the secret key (SECURITY.md, IND-CPA-D): round
    /// them before handing them on.
    ///
    /// # Errors
    /// [`ClientError::Layout`] where a check fails; [`ClientError::Engine`] for a result of another key set.
    pub fn decrypt(&self, result: &Encrypted) -> Result<Vec<Result<Logits, LayoutError>>, ClientError> {
        let values: Result<_, CkksError> =
            or_out_of_memory(|| result.ciphertexts.iter().map(|c| self.decryptor.decrypt(c)).collect())?;
        let values: Vec<_> = values?;
        let slots: Vec<&[f64]> = values.iter().map(|v| v.danger_raw()).collect();
        let count = result.images * self.file.spec().layout.vectors();
        Ok(self.file.spec().read(&slots, count)?)
    }

    /// All slots of a result's ciphertexts, both parts, as decrypted and without any check: what the key's owner can
    /// see beyond the logits. For measurements; see [`Decryptor::danger_complex`].
    ///
    /// # Errors
    /// [`ClientError::Engine`] for a result of another key set.
    pub fn danger_slots(&self, result: &Encrypted) -> Result<Vec<Vec<[f64; 2]>>, ClientError> {
        let parts = |c| Ok(self.decryptor.danger_complex(c)?.into_iter().map(|v| [v.re, v.im]).collect());
        result.ciphertexts.iter().map(parts).collect()
    }

    /// Decrypts a result to one prediction an image; see [`Self::decrypt`] and [`Prediction`].
    ///
    /// # Errors
    /// As [`Self::decrypt`]; inner errors are of single images.
    pub fn predict(&self, result: &Encrypted) -> Result<Vec<Result<Prediction, LayoutError>>, ClientError> {
        let vectors = self.file.spec().layout.vectors();
        Ok(Prediction::of_images(self.decrypt(result)?, vectors))
    }

    /// Reads a result from a file.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn open_result(&self, path: &Path) -> Result<Encrypted, ClientError> {
        Ok(Encrypted::open(path, &self.file, Role::Output)?)
    }
}
