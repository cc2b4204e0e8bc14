//! Umbra: the `ring` crate.
