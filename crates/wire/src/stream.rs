//! What comes from streams and is kept whole.

use std::io::{self, Read, Write};

use umbra_file::{Digest, Kind, Reader};
use zeroize::Zeroizing;

use crate::{ContentError, WireError};

/// The bytes of a file of this kind, checked record by record as they come: for kinds that are held in memory as a
/// whole. They are wiped when dropped. Takes no byte beyond the file.
///
/// # Errors
/// [`WireError`].
pub fn read_whole(input: impl Read, kind: Kind) -> Result<Zeroizing<Vec<u8>>, WireError> {
    let reader = Reader::open(Tee { input, copy: Kept(Zeroizing::new(Vec::new())) })?;
    reader.label().expect_kind(kind).map_err(ContentError::from)?;
    let (tee, _) = drain(reader)?;
    Ok(tee.copy.0)
}

/// Reads all records that are left, one at a time, and checks the end; returns the input and the digest of the file.
pub(crate) fn drain<R: Read>(mut reader: Reader<R>) -> Result<(R, Digest), WireError> {
    let mut buffer = Zeroizing::new(Vec::new());
    while reader.read_record(&mut buffer)?.is_some() {}
    Ok(reader.finish()?)
}

/// Copies all that is read.
#[derive(Debug)]
pub(crate) struct Tee<R, W> {
    pub(crate) input: R,
    pub(crate) copy: W,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.copy.write_all(&buffer[..count])?;
        Ok(count)
    }
}

/// Bytes in memory that leave no copies behind as they grow.
struct Kept(Zeroizing<Vec<u8>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.capacity() - self.0.len() < bytes.len() {
            let wanted = (self.0.len() + bytes.len()).max(2 * self.0.capacity());
            let mut larger = Zeroizing::new(Vec::new());
            larger.try_reserve_exact(wanted).map_err(|_| io::ErrorKind::OutOfMemory)?;
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
