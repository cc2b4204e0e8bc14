//! Linear transforms: the engine of encrypted convolutions. [`umbra_ckks::linear`] says what they are.
//!
//! The babies of an input share one decomposition ("hoisting", Halevi and Shoup, eprint 2018/244) and stay in the
//! extended basis, where the weighted sums and the giants' results accumulate; there is one division at the end, by P
//! and by the primes that rescaling drops at once.
//!
//! With complex packing of giant steps, the real/imaginary extraction of a sum `V`, `y = Re V + rot_s(Im V)`, is by
//! conjugation:
//!
//! ```text
//! 2 y = V + conj(V) - i rot_s(V) + i rot_s(conj(V))
//! ```
//!
//! These are three automorphisms that share one decomposition; `i` is `X^(N/2)`. Inputs' errors are complex, and both
//! parts of them reach the result.
//!
//! The weighted sums never touch memory as rotated ciphertexts: for one limb and one block of outputs (in which every
//! periodic weight is constant, see [`umbra_ring::subring`]) the rotated inputs are made in a small buffer, and
//! multiplied by the matrix of weights while they are in the cache. Weights are residues, or integers where they are
//! the same in all slots (`weights`).
//!
//! Modules, each importing from those before it only: `tiles` (where weights lie), `masked`, `weights` (encoded),
//! `transform` (the whole of it), `apply` (to ciphertexts).

mod apply;
mod masked;
mod tiles;
mod transform;
mod weights;

pub use transform::LinearTransform;
