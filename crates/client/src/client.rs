//! The client's side of one program.

use std::path::Path;
use std::sync::mpsc::sync_channel;

use umbra_ckks::encryption::encode_dense;
use umbra_ckks::{Ciphertext, Decryptor, Encoder, Encryptor, KeyGenerator, SecretKey};
use umbra_program::{LayoutError, Logits, layout};
use umbra_wire::{EvaluationKeysWriter, LoadedProgram, Role, SeededCiphertext};

use crate::secret::begin_secret_key;
use crate::{ClientError, open_secret_key, save_secret_key};

/// Keys waiting to be written: enough to keep both sides busy, few enough for the memory.
const WAITING: usize = 1;

/// A program and a secret key for it.
#[derive(Debug)]
pub struct Client {
    program: LoadedProgram,
    secret: SecretKey,
    encoder: Encoder,
    decryptor: Decryptor,
}

impl Client {
    /// With a fresh secret key.
    ///
    /// # Errors
    /// [`ClientError::Engine`] where the operating system gives no randomness.
    pub fn generate(program: &LoadedProgram) -> Result<Self, ClientError> {
        let secret = KeyGenerator::new(program.parameters())?.secret_key()?;
        Ok(Self::new(program, secret))
    }

    /// With the secret key in a file.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn open(program: &LoadedProgram, secret_key: &Path) -> Result<Self, ClientError> {
        let secret = open_secret_key(secret_key, program.parameters())?;
        Ok(Self::new(program, secret))
    }

    /// With this secret key, which must be of the program's parameters.
    #[must_use]
    pub fn new(program: &LoadedProgram, secret: SecretKey) -> Self {
        let parameters = program.parameters();
        let decryptor = Decryptor::new(parameters, &secret);
        Self { program: program.clone(), encoder: Encoder::new(parameters.log_n()), decryptor, secret }
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &LoadedProgram {
        &self.program
    }

    /// Writes the secret key to a file that only its owner can read.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn save_secret_key(&self, path: &Path) -> Result<(), ClientError> {
        Ok(save_secret_key(path, self.program.parameters(), &self.secret)?)
    }

    /// Writes the secret key and the evaluation keys: both are whole before either gets its name. See [`Self::save_secret_key`] and
    /// [`Self::write_evaluation_keys`].
    ///
    /// # Errors
    /// [`ClientError`]; unless it is the second name that could not be given, what was at the paths stays.
    pub fn save_keys(
        &self,
        secret: &Path,
        evaluation: &Path,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(), ClientError> {
        let secret = begin_secret_key(secret, self.program.parameters(), &self.secret)?;
        self.write_evaluation_keys(evaluation, progress)?;
        Ok(secret.commit().map_err(umbra_wire::WireError::from)?)
    }

    /// Makes the evaluation keys that the program needs and writes them to a file, one by one: never more than three of them
    /// are in memory. `progress` is called with the number of keys made and the number of all.
    ///
    /// # Errors
    /// [`ClientError`]; no file of that name appears then.
    pub fn write_evaluation_keys(
        &self,
        path: &Path,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(), ClientError> {
        let parameters = self.program.parameters();
        let ids = self.program.program().key_set();
        let mut writer = EvaluationKeysWriter::create(path, parameters, &ids)?;
        let mut generator = KeyGenerator::new(parameters)?;
        std::thread::scope(|scope| {
            let (send, receive) = sync_channel(WAITING);
            // Hashing and writing go on beside the making of the next key.
            let writing = scope.spawn(move || {
                receive.iter().try_for_each(|key| writer.add(&key))?;
                Ok::<_, umbra_wire::WireError>(writer)
            });
            for (made, &id) in ids.iter().enumerate() {
                let key = generator.switching_key(&self.secret, id)?;
                // The other side hangs up when it cannot write; its error says why.
                if send.send(key).is_err() {
                    break;
                }
                progress(made + 1, ids.len());
            }
            drop(send);
            match writing.join() {
                Ok(writer) => Ok(writer?.commit().map(drop)?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Encrypts a normalised picture, `[channels, height, width]`.
    ///
    /// # Errors
    /// [`ClientError::Layout`] for a picture of another size, [`ClientError::Engine`] for values that are no finite numbers.
    pub fn encrypt(&self, picture: &[f32]) -> Result<Vec<SeededCiphertext>, ClientError> {
        self.encrypt_batch(&[picture])
    }

    /// Encrypts normalised pictures, each `[channels, height, width]`: as many as the program classifies at once, or fewer.
    ///
    /// # Errors
    /// As [`Self::encrypt`], and for a number of pictures that the program has no lanes for.
    pub fn encrypt_batch<P: AsRef<[f32]>>(&self, pictures: &[P]) -> Result<Vec<SeededCiphertext>, ClientError> {
        let (parameters, program) = (self.program.parameters(), self.program.program());
        let (level, scale, _) = self.program.end(Role::Input);
        let mut encryptor = Encryptor::new(parameters)?;
        let encrypt = |slots: Vec<f64>| {
            let plaintext = encode_dense(parameters, &self.encoder, &slots, level, scale)?;
            Ok(encryptor.encrypt_seeded(&self.secret, &plaintext)?)
        };
        layout::pack(program, pictures)?.into_iter().map(encrypt).collect()
    }

    /// Decrypts a result and checks that it is one: slots that must be zero, copies that must agree, the range of the logits.
    ///
    /// The logits are for the key's owner. Their last bits depend on the secret key (SECURITY.md, IND-CPA-D): round them
    /// before handing them on.
    ///
    /// # Errors
    /// [`ClientError::Layout`] where a check fails.
    pub fn decrypt(&self, result: &[Ciphertext]) -> Result<Logits, ClientError> {
        self.decrypt_lanes(result, 1)?.into_iter().next().unwrap_or(Err(LayoutError::Batch { got: 0, limit: 1 }.into()))
    }

    /// Decrypts the first `count` lanes of a result, as [`Self::decrypt`] does: the pictures of a batch, or the members of an
    /// ensemble. The outer error is of all lanes, inner ones are of single lanes.
    ///
    /// # Errors
    /// [`ClientError::Layout`] where a check fails, or there are fewer lanes.
    pub fn decrypt_lanes(
        &self,
        result: &[Ciphertext],
        count: usize,
    ) -> Result<Vec<Result<Logits, ClientError>>, ClientError> {
        let values: Vec<_> = result.iter().map(|ciphertext| self.decryptor.decrypt(ciphertext)).collect();
        let slots: Vec<&[f64]> = values.iter().map(|v| v.danger_raw()).collect();
        let lanes = layout::read_lanes(self.program.program(), &slots, count)?;
        Ok(lanes.into_iter().map(|lane| lane.map_err(ClientError::from)).collect())
    }

    /// Encrypts a normalised picture to a file; returns its length in bytes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn encrypt_to(&self, path: &Path, picture: &[f32]) -> Result<u64, ClientError> {
        self.encrypt_batch_to(path, &[picture])
    }

    /// Encrypts normalised pictures to one file; returns its length in bytes.
    ///
    /// # Errors
    /// As [`Self::encrypt_batch`], and those of files.
    pub fn encrypt_batch_to<P: AsRef<[f32]>>(&self, path: &Path, pictures: &[P]) -> Result<u64, ClientError> {
        let bytes = umbra_wire::encode_input(&self.program, &self.encrypt_batch(pictures)?)?;
        umbra_file::AtomicFile::write(path, false, &bytes)?;
        Ok(bytes.len() as u64)
    }

    /// Decrypts a result from a file.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn decrypt_from(&self, path: &Path) -> Result<Logits, ClientError> {
        self.decrypt(&umbra_wire::read_ciphertexts(path, &self.program, Role::Output)?)
    }
    /// Decrypts the first `count` lanes of a result from a file.
    ///
    /// # Errors
    /// As [`Self::decrypt_lanes`], and those of files.
    pub fn decrypt_lanes_from(
        &self,
        path: &Path,
        count: usize,
    ) -> Result<Vec<Result<Logits, ClientError>>, ClientError> {
        self.decrypt_lanes(&umbra_wire::read_ciphertexts(path, &self.program, Role::Output)?, count)
    }
}
