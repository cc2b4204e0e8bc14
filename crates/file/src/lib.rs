//! Umbra: the `file` crate.
