//! The owner of the images: makes keys, encrypts images, decrypts and checks results.
//!
//! All of it rests on a client file ([`umbra_wire::ClientFile`]), which has no weights. The secret key stays here. The
//! evaluation keys and the encrypted images go to the server. A [`Sender`] has a public key in its place, and only
//! encrypts.

#![forbid(unsafe_code)]

mod client;
mod error;
mod prediction;
mod secret;
mod sender;

pub use client::{Client, KeyProgress};
pub use error::ClientError;
pub use prediction::{Prediction, sharing_unit, unlike_logits};
pub use secret::{decode_secret_key, encode_secret_key, open_secret_key, read_secret_key, save_secret_key};
pub use sender::Sender;
pub use umbra_program::Logits;
