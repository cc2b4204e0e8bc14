//! Memory that is not there.
//!
//! Nearly every operation makes polynomials. That there is no room for one more unwinds the stack, without a word on
//! standard error, up to whoever began the work and asked with [`or_out_of_memory`]: there it is an error like others.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The system had no memory for a polynomial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of memory: {bytes} bytes more are not to be had; free some, or raise the limit")]
pub struct OutOfMemory {
    /// Bytes that were wanted at last.
    pub bytes: usize,
}

/// Unwinds to the nearest [`or_out_of_memory`], also out of other threads of a pool that work for it.
pub(crate) fn out_of_memory(bytes: usize) -> ! {
    resume_unwind(Box::new(OutOfMemory { bytes }))
}

/// Does the work, or says that there was no memory for it. What it was about to change must be forgotten then. Panics
/// go on as they are.
///
/// # Errors
/// [`OutOfMemory`].
pub fn or_out_of_memory<R>(work: impl FnOnce() -> R) -> Result<R, OutOfMemory> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| match panic.downcast() {
        Ok(error) => *error,
        Err(panic) => resume_unwind(panic),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Polys;

    #[test]
    fn no_memory_is_an_error_and_panics_are_not() {
        // Half of all addresses: more than any machine has.
        let limbs = 1 << 43;
        let result = or_out_of_memory(|| Polys::scratch(1 << 15, limbs, 1).limbs());
        assert_eq!(result, Err(OutOfMemory { bytes: 4 << 58 }));
        // From other threads as well.
        let result = or_out_of_memory(|| rayon::join(|| 1, || Polys::zero(1 << 15, limbs, 1).limbs()));
        assert!(result.is_err_and(|error| error.to_string().contains("out of memory")));
        assert_eq!(or_out_of_memory(|| Polys::scratch(8, 1, 1).limbs()), Ok(1));
        assert!(std::panic::catch_unwind(|| or_out_of_memory(|| panic!("a bug"))).is_err());
    }
}
