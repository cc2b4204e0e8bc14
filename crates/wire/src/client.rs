//! Client files: what a client needs of a program, and the program's digest.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use umbra_ckks::{KeySetId, Level, Parameters};
use umbra_file::{AtomicFile, Container, Digest, FileBytes, FileError, Kind, Label, Reader, encode};
use umbra_program::ClientSpec;

use crate::{ContentError, LoadedProgram, Role, WireError};

/// A checked client specification with its parameters, and the digest of the program that it belongs to. Cloning is
/// cheap.
///
/// Keys and ciphertexts are made and read with it. It comes from a client file or from the program itself.
#[derive(Clone, Debug)]
pub struct ClientFile {
    spec: Arc<ClientSpec>,
    program: Digest,
    parameters: Parameters,
}

impl ClientFile {
    /// Of a program of this digest.
    ///
    /// # Errors
    /// [`ContentError`] where it does not hold together or its parameters are not secure.
    pub fn new(spec: ClientSpec, program: Digest) -> Result<Self, ContentError> {
        spec.check()?;
        let parameters = Parameters::new(spec.parameters.clone())?;
        Ok(Self { spec: Arc::new(spec), program, parameters })
    }

    /// As [`Self::new`] for what was checked already.
    pub(crate) fn of_checked(spec: ClientSpec, program: Digest, parameters: Parameters) -> Self {
        Self { spec: Arc::new(spec), program, parameters }
    }

    /// Reads a client file, or the part of a program that clients need.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn open(path: &Path) -> Result<Self, WireError> {
        let container = Container::decode(FileBytes::open(path)?).map_err(FileError::format(path))?;
        Self::decode(&container).map_err(WireError::content(path))
    }

    /// Reads it from a container of a client file or of a program.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn decode<B: AsRef<[u8]>>(container: &Container<B>) -> Result<Self, ContentError> {
        if container.kind() == Kind::Program {
            return Ok(LoadedProgram::decode(container)?.client().clone());
        }
        container.expect_kind(Kind::ClientFile)?;
        no_records(container.records())?;
        Self::new(container.header()?, container.context())
    }

    /// Reads a client file from a stream, up to its end and no further.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn read(input: impl Read) -> Result<Self, WireError> {
        let reader = Reader::open(input)?;
        let label = reader.label();
        label.expect_kind(Kind::ClientFile).map_err(ContentError::from)?;
        no_records(reader.records())?;
        let spec = reader.header().map_err(ContentError::from)?;
        reader.finish()?;
        Ok(Self::new(spec, label.context())?)
    }

    /// The bytes of the client file.
    ///
    /// # Errors
    /// [`ContentError`] for a header that is too long.
    pub fn encode(&self) -> Result<Vec<u8>, ContentError> {
        let label = Label::new(Kind::ClientFile, self.program, None)?;
        Ok(encode(label, &*self.spec, &[])?)
    }

    /// Writes the client file.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn write(&self, mut out: impl Write) -> Result<(), WireError> {
        out.write_all(&self.encode()?).map_err(WireError::write)
    }

    /// Writes the client file to a path.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn save(&self, path: &Path) -> Result<(), WireError> {
        let bytes = self.encode().map_err(WireError::content(path))?;
        Ok(AtomicFile::write(path, false, &bytes)?)
    }

    /// The specification.
    #[must_use]
    pub fn spec(&self) -> &Arc<ClientSpec> {
        &self.spec
    }

    /// The digest of the program: what ciphertexts are bound to.
    #[must_use]
    pub fn program(&self) -> Digest {
        self.program
    }

    /// The parameters, with their tables: what keys are bound to.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Level, scale and number of the ciphertexts at one end.
    #[must_use]
    pub fn end(&self, role: Role) -> (Level, f64, usize) {
        let (input, output) = (&self.spec.input, &self.spec.output);
        match role {
            Role::Input => (input.level, input.scale, input.ciphertexts.len()),
            Role::Output => (output.level, output.scale, output.ciphertexts()),
        }
    }
}

fn no_records(found: usize) -> Result<(), ContentError> {
    if found == 0 {
        return Ok(());
    }
    let (what, expected) = ("number of records", "none".into());
    Err(umbra_file::FormatError::Malformed { what, found: found as u64, expected }.into())
}

/// The id of a key set as files have it.
pub(crate) fn file_id(id: KeySetId) -> Option<umbra_file::KeySetId> {
    umbra_file::KeySetId::new(*id.bytes())
}

/// The id of a key set out of a file.
pub(crate) fn key_set(label: &Label) -> Result<KeySetId, ContentError> {
    let id = label.key_set().ok_or(umbra_file::FormatError::MissingKeySet { kind: label.kind() })?;
    Ok(KeySetId::from_bytes(*id.bytes()))
}
