//! Which sets this machine has, and which one of them is used.

use std::ffi::OsStr;
use std::sync::OnceLock;

use super::scalar;
use super::set::Kernels;
#[cfg(target_arch = "x86_64")]
use super::x86;
use crate::error::RingError;

static SCALAR: Kernels = scalar::KERNELS;

impl Kernels {
    /// The portable reference set.
    pub fn scalar() -> &'static Self {
        &SCALAR
    }

    /// Every set this machine can run, slowest first.
    pub fn available() -> Vec<&'static Self> {
        #[allow(unused_mut, reason = "grows on x86-64 only")]
        let mut sets = vec![&SCALAR];
        #[cfg(target_arch = "x86_64")]
        sets.extend(x86::available());
        sets
    }

    /// The set of a given name.
    ///
    /// # Errors
    /// [`RingError::Kernel`] when this machine has none of that name.
    pub fn named(name: &str) -> Result<&'static Self, RingError> {
        Self::available().into_iter().find(|k| k.name == name).ok_or_else(|| RingError::Kernel {
            name: name.into(),
            available: Self::available().iter().map(|k| k.name).collect::<Vec<_>>().join(", "),
        })
    }

    /// The fastest set of this machine, or the one named in the environment variable `UMBRA_KERNEL`. Decided once.
    ///
    /// # Errors
    /// [`RingError::Kernel`] when this machine has none of that name.
    pub fn selected() -> Result<&'static Self, RingError> {
        static SELECTED: OnceLock<Result<&'static Kernels, RingError>> = OnceLock::new();
        SELECTED.get_or_init(|| Self::select(std::env::var_os("UMBRA_KERNEL").as_deref())).clone()
    }

    /// No name, or an empty one, is the fastest set's.
    pub(super) fn select(name: Option<&OsStr>) -> Result<&'static Self, RingError> {
        match name.filter(|name| !name.is_empty()) {
            Some(name) => Self::named(&name.to_string_lossy()),
            None => Ok(Self::fastest()),
        }
    }

    fn fastest() -> &'static Self {
        Self::available().last().copied().unwrap_or(&SCALAR)
    }

    /// [`Self::selected`], or the fastest set where none has the name that was asked for: for tests and measurements.
    /// What builds tables for others says that there is none.
    pub fn best() -> &'static Self {
        Self::selected().unwrap_or_else(|_| Self::fastest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_selected_by_name_or_refused() {
        let select = |name: &str| Kernels::select(Some(name.as_ref())).map(|k| k.name);
        let fastest = Kernels::available().last().unwrap().name;
        assert_eq!(Kernels::select(None).unwrap().name, fastest);
        assert_eq!(select(""), Ok(fastest));
        for k in Kernels::available() {
            assert_eq!(select(k.name), Ok(k.name));
        }
        let message = select("avx3").unwrap_err().to_string();
        assert!(message.contains("'avx3'") && message.contains("scalar") && message.contains(fastest), "{message}");
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            assert!(matches!(Kernels::select(Some(OsStr::from_bytes(b"\xff"))), Err(RingError::Kernel { .. })));
        }
    }
}
