//! Umbra: the `runtime` crate.
