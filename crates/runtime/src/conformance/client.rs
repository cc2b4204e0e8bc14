//! A client of real ciphertexts.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use umbra_ckks::{
    Ciphertext, CkksError, Decryptor, Encoder, Encryptor, KeyGenerator, KeyId, KeySetId, KeyStore, Level, MemoryKeys,
    Parameters, SecretKey, SwitchingKey, encode_dense,
};

/// A client with a secret key of its own, whose evaluation keys remember which of them were asked for.
pub struct CkksClient {
    parameters: Parameters,
    secret: SecretKey,
    keys: Remembering,
    encoder: Encoder,
    encryptor: Mutex<Encryptor>,
    decryptor: Decryptor,
}

impl CkksClient {
    /// A fresh key set with these evaluation keys.
    ///
    /// # Errors
    /// Those of key generation.
    pub fn new(parameters: &Parameters, keys: &[KeyId]) -> Result<Self, CkksError> {
        let mut generator = KeyGenerator::new(parameters)?;
        let secret = generator.secret_key()?;
        let mut own = MemoryKeys::new(parameters, secret.key_set());
        for &id in keys {
            own.insert(generator.switching_key(&secret, id)?)?;
        }
        Ok(Self {
            parameters: parameters.clone(),
            keys: Remembering { keys: own, asked: Mutex::default() },
            encoder: Encoder::new(parameters.log_n()),
            encryptor: Mutex::new(Encryptor::new(parameters)?),
            decryptor: Decryptor::new(&secret),
            secret,
        })
    }

    /// The evaluation keys.
    #[must_use]
    pub fn keys(&self) -> &dyn KeyStore {
        &self.keys
    }

    /// Bytes of the evaluation keys in memory.
    #[must_use]
    pub fn key_bytes(&self) -> usize {
        self.keys.keys.bytes()
    }

    /// The keys that were asked for so far, at every level.
    #[must_use]
    pub fn asked(&self) -> Vec<KeyId> {
        self.keys.asked.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// Encrypts one number a slot.
    ///
    /// # Errors
    /// Those of encoding and encryption.
    pub fn encrypt(&self, slots: &[f64], level: Level, scale: f64) -> Result<Ciphertext, CkksError> {
        let plaintext = encode_dense(&self.parameters, &self.encoder, slots, level, scale)?;
        let mut encryptor = self.encryptor.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(encryptor.encrypt_seeded(&self.secret, &plaintext)?.expand())
    }

    /// The slots of a ciphertext.
    ///
    /// # Errors
    /// Those of decryption.
    pub fn decrypt(&self, ciphertext: &Ciphertext) -> Result<Vec<f64>, CkksError> {
        Ok(self.decryptor.decrypt(ciphertext)?.danger_raw().to_vec())
    }
}

/// Keys that remember which of them were asked for.
struct Remembering {
    keys: MemoryKeys,
    asked: Mutex<BTreeSet<KeyId>>,
}

impl KeyStore for Remembering {
    fn key_set(&self) -> KeySetId {
        self.keys.key_set()
    }

    fn key(&self, id: KeyId) -> Result<Arc<SwitchingKey>, CkksError> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        self.keys.key(id)
    }
}
