//! Umbra: the `ckks` crate.
