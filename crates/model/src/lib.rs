//! Umbra: the `model` crate.
