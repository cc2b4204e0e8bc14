//! The inner loops, one set per instruction set, chosen at run time.
//!
//! The `scalar` set is the reference: short and obvious. The SIMD sets are one generic implementation over register
//! types and give the same words, which the tests check for every set the machine has.
//!
//! Modules, each importing from those before it only: `integers` and `grouped` (matrices), `set` (what a set of loops
//! is), `uniform`, `scalar`, `simd`, `transform`, `wide`, `integers_simd`, `ifma`, `chacha`, `x86` (the sets), `select`
//! (which of them).

#[cfg(target_arch = "x86_64")]
mod chacha;
mod grouped;
#[cfg(target_arch = "x86_64")]
mod ifma;
mod integers;
#[cfg(target_arch = "x86_64")]
mod integers_simd;
mod scalar;
mod select;
mod set;
#[cfg(target_arch = "x86_64")]
mod simd;
#[cfg(target_arch = "x86_64")]
mod transform;
mod uniform;
#[cfg(target_arch = "x86_64")]
mod wide;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use grouped::{GROUP, GroupedMatrix};
pub use integers::{IntegerMatrix, MAX_WEIGHTS};
pub use set::{DIGIT_CHUNK, Kernels, KeyProduct, MATMUL_CHUNK, QuotientTerm};
