//! Arithmetic in `Z_q[X] / (X^N + 1)` for moduli `q` that are products of word-sized primes.
//!
//! A polynomial is held as one *limb* per prime: `N` residues below 2^30 in 32-bit words ([`Polys`]). Everything above
//! this crate (schemes, networks) is built from five operations on limbs: the number-theoretic transform ([`ntt`]),
//! pointwise arithmetic and small matrix products ([`kernels`]), automorphisms ([`automorphism`]), base conversion
//! ([`convert`]) and sampling ([`sampling`]).
//!
//! Residues are canonical (in `[0, p)`) between operations, so results are the same bit for bit on every kernel and for
//! every number of threads.
//!
//! Modules, each importing from those before it only: `error`, [`modulus`], [`primes`], `roots`, [`kernels`], [`ntt`],
//! [`subring`], [`automorphism`], [`convert`], [`sampling`]; `memory`, `buffer`,
//! [`poly`].

#![warn(clippy::undocumented_unsafe_blocks)]

pub mod automorphism;
mod buffer;
pub mod convert;
mod error;
pub mod kernels;
mod memory;
pub mod modulus;
pub mod ntt;
pub mod poly;
pub mod primes;
mod roots;
pub mod sampling;
pub mod subring;

pub use automorphism::Automorphism;
pub use error::RingError;
pub use memory::{OutOfMemory, or_out_of_memory};
pub use modulus::Modulus;
pub use ntt::NttTable;
pub use poly::Polys;
