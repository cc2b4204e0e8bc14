//! Programs with what every party derives from them.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use umbra_ckks::Parameters;
use umbra_file::{AtomicFile, Container, Digest, FileBytes, FileError, Kind};
use umbra_program::Program;

use crate::encode::{decode_program, encode_program};
use crate::{ClientFile, ContentError, WireError};

/// A checked program, the digest that names it in other files, and its parameters. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct LoadedProgram {
    program: Arc<Program>,
    client: ClientFile,
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
        Self::of_checked(program, container.digest(), container.size())
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
        Self::of_checked(decode_program(container)?, container.digest(), container.size())
    }

    /// Reads a program from a stream, up to its end and no further. Memory grows as bytes arrive.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn read(input: impl Read) -> Result<Self, WireError> {
        let bytes = crate::read_whole(input, Kind::Program)?;
        Ok(Self::decode(&Container::decode(&bytes[..]).map_err(ContentError::from)?)?)
    }

    fn of_checked(program: Program, digest: Digest, size: u64) -> Result<Self, ContentError> {
        let parameters = Parameters::new(program.client.parameters.clone())?;
        let client = ClientFile::of_checked(program.client.clone(), digest, parameters);
        Ok(Self { program: Arc::new(program), client, size })
    }

    /// The bytes of its file.
    ///
    /// # Errors
    /// [`ContentError`] for a header that is too long.
    pub fn encode(&self) -> Result<Vec<u8>, ContentError> {
        encode_program(&self.program)
    }

    /// Writes the program.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn write(&self, mut out: impl Write) -> Result<(), WireError> {
        out.write_all(&self.encode()?).map_err(WireError::write)
    }

    /// Writes the program to a file.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn save(&self, path: &Path) -> Result<(), WireError> {
        let bytes = self.encode().map_err(WireError::content(path))?;
        Ok(AtomicFile::write(path, false, &bytes)?)
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// What clients need of it.
    #[must_use]
    pub fn client(&self) -> &ClientFile {
        &self.client
    }

    /// The digest of its file: what ciphertexts are bound to.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.client.program()
    }

    /// Its parameters, with their tables.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        self.client.parameters()
    }

    /// Bytes of its file.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}
