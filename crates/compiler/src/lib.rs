//! Umbra: the `compiler` crate.
