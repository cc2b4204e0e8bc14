//! Evaluates on CKKS ciphertexts: sums, products, rotations, rescaling, linear transforms. Holds no secret.
//!
//! Ciphertexts, keys and parameters are those of [`umbra_ckks`], whose words and errors this crate shares. An
//! [`Engine`] has what operations prepare and use again; an [`Evaluator`] is an engine with the keys of one key set. A
//! [`LinearTransform`] has encoded weights, for the ciphertexts of all key sets.
//!
//! Results are the same to the bit on every set of kernels and for every number of threads.
//!
//! # Modules
//! Each imports from those before it only: `tables`, `division`, `keyswitch`, `engine`, `evaluator`, [`linear`].

#![forbid(unsafe_code)]

mod division;
mod engine;
mod evaluator;
mod keyswitch;
pub mod linear;
mod tables;

pub use engine::Engine;
pub use evaluator::Evaluator;
pub use linear::LinearTransform;
