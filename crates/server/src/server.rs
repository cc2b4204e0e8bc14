//! The server's side of one program.

use std::path::Path;

use umbra_runtime::{Prepared, StepReport};
use umbra_wire::{Ciphertext, EvaluationKeys, KeyStore, LoadedProgram, Role};

use crate::ServerError;

/// A program whose weights are encoded.
pub struct Server {
    program: LoadedProgram,
    prepared: Prepared,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({})", self.program.program().name)
    }
}

impl Server {
    /// Encodes the weights of a program.
    ///
    /// # Errors
    /// [`ServerError::Runtime`].
    pub fn new(program: &LoadedProgram) -> Result<Self, ServerError> {
        let prepared = Prepared::new(program.program().clone(), program.parameters())?;
        Ok(Self { program: program.clone(), prepared })
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &LoadedProgram {
        &self.program
    }

    /// Maps a file of evaluation keys and checks that every key the program needs is in it. Keys are read when first used, or
    /// all at once by [`EvaluationKeys::load_all`].
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn open_keys(&self, path: &Path) -> Result<EvaluationKeys, ServerError> {
        let keys = EvaluationKeys::open(path, self.program.parameters())?;
        keys.expect(&self.program.program().key_set()).map_err(umbra_wire::WireError::content(path))?;
        Ok(keys)
    }

    /// Reads an encrypted picture.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn read_input(&self, path: &Path) -> Result<Vec<Ciphertext>, ServerError> {
        Ok(umbra_wire::read_ciphertexts(path, &self.program, Role::Input)?)
    }

    /// Evaluates the program on an encrypted picture. `progress` is called after each step.
    ///
    /// # Errors
    /// [`ServerError::Runtime`].
    pub fn infer(
        &self,
        keys: &dyn KeyStore,
        input: Vec<Ciphertext>,
        progress: &mut (dyn FnMut(&StepReport) + Send),
    ) -> Result<Vec<Ciphertext>, ServerError> {
        Ok(self.prepared.run(keys, input, progress)?)
    }

    /// Writes an encrypted result; returns its length in bytes.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn write_output(&self, path: &Path, result: &[Ciphertext]) -> Result<u64, ServerError> {
        let bytes = umbra_wire::encode_output(&self.program, result)?;
        umbra_file::AtomicFile::write(path, false, &bytes)?;
        Ok(bytes.len() as u64)
    }
}
