//! Programs with what every party derives from them.

use std::path::Path;
use std::sync::Arc;

use umbra_ckks::Parameters;
use umbra_file::{AtomicFile, Container, Digest, FileBytes, FileError, Kind};
use umbra_program::Program;

use crate::encode::{decode_program, encode_program};
use crate::{ContentError, Role, WireError};

/// A checked program, the digest that names it in other files, and its parameters. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct LoadedProgram {
    program: Arc<Program>,
    digest: Digest,
    parameters: Parameters,
    size: u64,
}

impl LoadedProgram {
    /// A program made by the compiler.
    ///
    /// # Errors
    /// [`ContentError`] where it does not hold together or its parameters are not secure.
    pub fn new(program: Program) -> Result<Self, ContentError> {
        program.check()?;
        let bytes = encode_program(&program)?;
        let container = Container::decode(&bytes[..])?;
        let parameters = Parameters::new(program.parameters.clone())?;
        Ok(Self { program: Arc::new(program), digest: container.digest(), parameters, size: container.size() })
    }

    /// Reads a program from a file.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn open(path: &Path) -> Result<Self, WireError> {
        let container = Container::decode(FileBytes::open(path)?).map_err(FileError::format(path))?;
        Self::decode(&container).map_err(WireError::content(path))
    }

    /// Reads a program from a container.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn decode<B: AsRef<[u8]>>(container: &Container<B>) -> Result<Self, ContentError> {
        container.expect_kind(Kind::Program)?;
        let program = decode_program(container)?;
        let parameters = Parameters::new(program.parameters.clone())?;
        Ok(Self { program: Arc::new(program), digest: container.digest(), parameters, size: container.size() })
    }

    /// Writes the program to a file.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn save(&self, path: &Path) -> Result<(), WireError> {
        let bytes = encode_program(&self.program).map_err(WireError::content(path))?;
        Ok(AtomicFile::write(path, false, &bytes)?)
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// The digest of its file: what ciphertexts are bound to.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its parameters, with their tables.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Bytes of its file.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Level, scale and number of the ciphertexts at one end.
    #[must_use]
    pub fn end(&self, role: Role) -> (usize, f64, usize) {
        let (input, output) = (&self.program.input, &self.program.output);
        match role {
            Role::Input => (input.level, input.scale, input.ciphertexts.len()),
            Role::Output => (output.level, output.scale, output.ciphertexts()),
        }
    }
}
