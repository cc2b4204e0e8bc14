//! A leveled RNS-CKKS scheme for fixed, known circuits: parameters, keys, encoding, encryption, and the linear
//! transforms of circuits as plain data. Crate `umbra-evaluate` computes on ciphertexts.
//!
//! Words used throughout: a *level* is a modulus `Q_i`, given by a set of primes; *rescaling* goes from one level to a
//! lower one and may drop some primes and add others; a *mod switch* drops primes only, to align levels; a *gadget* is
//! a way to split residues into *digits*, *dnum* of them at a level, and a set of special primes `P` for key switching
//! ("hybrid" key switching, Han and Ki, eprint 2019/688). The *extended basis* of a level and a gadget is the level's
//! primes followed by the special ones.
//!
//! There is no bootstrapping: a circuit's levels, scales and keys are fixed in advance.
//!
//! # Operands know what they belong to
//! Ciphertexts, plaintexts and keys carry their [`Parameters`], ciphertexts and keys the [`KeySetId`] of
//! their secret key. Every operation refuses what belongs to others, and levels that do not fit, before it computes:
//! whatever the operands, the answer is a result or a [`CkksError`].
//!
//! # For back ends
//! Who computes on ciphertexts reads the primes' tables ([`Parameters::tables`], [`Parameters::kernels`]), levels and
//! gadgets ([`Parameters::level_for`], [`Parameters::gadget_for`]), and the polynomials of operands over the primes of
//! their bases ([`Ciphertext::polys`], [`Plaintext::polys`], [`SwitchingKey::polys`]). What it makes of them becomes a
//! ciphertext by [`Ciphertext::from_polys`]. Nothing of a [`SecretKey`] is among this.
//!
//! # Modules
//! Each imports from those before it only:
//! - plain data: [`index`], [`identity`], [`literal`], [`key_id`], [`error`], [`security`], [`precision`];
//! - tables: [`parameters`], [`noise`];
//! - the scheme: [`ciphertext`], [`encoder`], [`keys`], [`encryption`], [`public`], [`linear`].

#![forbid(unsafe_code)]

pub mod ciphertext;
pub mod encoder;
pub mod encryption;
pub mod error;
pub mod identity;
pub mod index;
pub mod key_id;
pub mod keys;
pub mod linear;
pub mod literal;
pub mod noise;
pub mod parameters;
pub mod precision;
pub mod public;
pub mod security;

pub use ciphertext::{Ciphertext, Plaintext};
pub use encoder::{Encoder, encode, encode_complex, encode_dense};
pub use encryption::{DecryptedValues, Decryptor, Encryptor, SeededCiphertext};
pub use error::CkksError;
pub use identity::{KeySetId, ShortDigest};
pub use index::{Gadget, Level};
pub use key_id::{KeyId, KeyKind};
pub use keys::{KeyGenerator, KeyStore, MemoryKeys, SecretKey, SwitchingKey};
pub use linear::{Bsgs, Diagonal, Matrices, TransformSpec, rounded_weight};
pub use literal::{GadgetLiteral, ParametersLiteral, log2_of, used_primes};
pub use parameters::Parameters;
pub use precision::PrecisionStats;
pub use public::PublicKey;
pub use umbra_ring::{OutOfMemory, or_out_of_memory};
