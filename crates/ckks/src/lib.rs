//! A leveled RNS-CKKS engine for fixed, known circuits.
//!
//! Words used throughout: a *level* is a modulus `Q_i`, given by a set of primes; *rescaling* goes
//! from one level to a lower one and may drop some primes and add others; a *gadget* is a way to
//! split residues into digits and a set of special primes `P` for key switching ("hybrid" key
//! switching, Han and Ki, eprint 2019/688). The *extended basis* of a level and a gadget is the
//! level's primes followed by the special ones.
//!
//! There is no bootstrapping: a circuit's levels, scales and keys are fixed in advance.

#![forbid(unsafe_code)]

pub mod ciphertext;
pub mod division;
pub mod encoder;
pub mod encryption;
mod error;
pub mod evaluator;
pub mod keys;
pub mod keyswitch;
pub mod linear;
mod masked;
pub mod noise;
pub mod parameters;
pub mod precision;
pub mod security;
mod weights;

pub use ciphertext::{Ciphertext, Plaintext};
pub use encoder::Encoder;
pub use encryption::{Decryptor, Encryptor};
pub use error::CkksError;
pub use evaluator::Evaluator;
pub use keys::{KeyGenerator, KeyId, KeyKind, KeyStore, MemoryKeys, SecretKey, SwitchingKey};
pub use linear::{Bsgs, Diagonal, LinearTransform, Matrices, TransformSpec};
pub use parameters::{GadgetLiteral, Parameters, ParametersLiteral};
pub use precision::PrecisionStats;
pub use weights::rounded_weight;
