//! The server's side of one program.

use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;

use umbra_runtime::{Cpu, Flooding, Prepared, StepReport};
use umbra_wire::{
    Encrypted, EvaluationKeys, EvaluationKeysReader, KeyStore, LoadedProgram, MemoryKeys, Role, WireError,
};

use crate::ServerError;

/// Called after each step; may stop the inference.
pub type Progress<'a> = &'a mut (dyn FnMut(&StepReport<'_>) -> ControlFlow<()> + Send);

/// A program whose weights are encoded.
pub struct Server {
    program: LoadedProgram,
    prepared: Prepared<Cpu>,
    flooding: Option<Flooding>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({})", self.program.program().client.name)
    }
}

impl Server {
    /// Encodes the weights of a program.
    ///
    /// # Errors
    /// [`ServerError::Runtime`].
    pub fn new(program: &LoadedProgram) -> Result<Self, ServerError> {
        let prepared = Prepared::new(program.program().clone(), Cpu::new(program.parameters()))?;
        let flooding = Flooding::of(program.program());
        Ok(Self { program: program.clone(), prepared, flooding })
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &LoadedProgram {
        &self.program
    }

    /// Maps a file of evaluation keys and checks that every key the program needs is in it. Keys are read when first
    /// used, or all at once by [`EvaluationKeys::load_all`].
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn open_keys(&self, path: &Path) -> Result<EvaluationKeys, ServerError> {
        let keys = EvaluationKeys::open(path, self.program.parameters())?;
        keys.expect(&self.program.client().spec().keys).map_err(WireError::content(path))?;
        Ok(keys)
    }

    /// Reads evaluation keys from a stream into memory, each checked as it comes; refuses a set that lacks a key before
    /// it reads any.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn read_keys(&self, input: impl Read) -> Result<MemoryKeys, ServerError> {
        let keys = EvaluationKeysReader::open(input, self.program.parameters())?;
        keys.expect(&self.program.client().spec().keys)?;
        Ok(keys.into_memory()?)
    }

    /// Reads encrypted images from a file.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn open_input(&self, path: &Path) -> Result<Encrypted, ServerError> {
        Ok(Encrypted::open(path, self.program.client(), Role::Input)?)
    }

    /// Evaluates the program on encrypted images, and floods what the result holds beyond its logits with noise
    /// ([`Flooding`]). The same images and keys give the same bits again. Ciphertexts of another key set than that of
    /// the keys are refused before any work.
    ///
    /// # Errors
    /// [`ServerError::Runtime`]; [`ServerError::is_cancelled`] where `progress` stopped it.
    pub fn infer(
        &self,
        keys: &dyn KeyStore,
        input: &Encrypted,
        progress: Progress<'_>,
    ) -> Result<Encrypted, ServerError> {
        let mut ciphertexts = self.prepared.run(keys, input.ciphertexts.clone(), progress)?;
        if let Some(flooding) = &self.flooding {
            flooding.add(&mut ciphertexts)?;
        }
        Ok(Encrypted { images: input.images, ciphertexts })
    }

    /// Writes an encrypted result to a file; returns its length in bytes.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn save_output(&self, path: &Path, result: &Encrypted) -> Result<u64, ServerError> {
        let bytes = result.encode(self.program.client())?;
        umbra_file::AtomicFile::write(path, false, &bytes)?;
        Ok(bytes.len() as u64)
    }
}
