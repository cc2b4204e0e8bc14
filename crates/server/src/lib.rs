//! Umbra: the `server` crate.
