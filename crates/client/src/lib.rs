//! Umbra: the `client` crate.
