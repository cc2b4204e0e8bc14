//! The owner of the pictures: makes keys, encrypts pictures, decrypts and checks results.
//!
//! The secret key stays here. The evaluation keys and the encrypted pictures go to the server.

#![forbid(unsafe_code)]

mod client;
mod error;
mod secret;

pub use client::Client;
pub use error::ClientError;
pub use secret::{decode_secret_key, encode_secret_key, open_secret_key, save_secret_key};
pub use umbra_program::Logits;
