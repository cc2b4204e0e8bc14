//! The back end under test.

use std::error::Error;

use umbra_ckks::{Ciphertext, CkksError, KeyId, KeyStore, Level, Parameters, ParametersLiteral};
use umbra_program::Program;
use umbra_ring::kernels::Kernels;

use super::client::CkksClient;
use crate::backend::Backend;
use crate::cpu::Cpu;

/// A kind of back end, and a client for it.
pub trait Subject: Sync {
    /// A ciphertext as the client has it.
    type Host: Clone + PartialEq + Send + Sync;
    /// A client: whatever encrypts, decrypts, and holds evaluation keys.
    type Client: Sync;
    /// The back end; it may borrow the program that it is made for.
    type Backend<'p>: Backend<Host = Self::Host>;

    /// Parameters of small rings, on the kernels to be tested ([`Parameters::insecure_for_tests`]).
    ///
    /// # Errors
    /// Those of the parameters.
    fn parameters(&self, literal: ParametersLiteral) -> Result<Parameters, CkksError>;

    /// A back end for a program of these parameters. It may be a damaged one.
    ///
    /// # Errors
    /// Whatever prevents it.
    fn backend<'p>(
        &self,
        parameters: &Parameters,
        program: &'p Program,
    ) -> Result<Self::Backend<'p>, Box<dyn Error + Send + Sync>>;

    /// A new client with these evaluation keys.
    ///
    /// # Errors
    /// Those of key generation.
    fn client(&self, parameters: &Parameters, keys: &[KeyId]) -> Result<Self::Client, CkksError>;

    /// The client's evaluation keys.
    fn keys<'k, 'p>(&self, client: &'k Self::Client) -> &'k <Self::Backend<'p> as Backend>::Keys<'k>
    where
        Self::Backend<'p>: 'k;

    /// Encrypts one number a slot.
    ///
    /// # Errors
    /// Those of encryption.
    fn encrypt(&self, client: &Self::Client, slots: &[f64], level: Level, scale: f64) -> Result<Self::Host, CkksError>;

    /// The slots of a ciphertext.
    ///
    /// # Errors
    /// Those of decryption.
    fn decrypt(&self, client: &Self::Client, ciphertext: &Self::Host) -> Result<Vec<f64>, CkksError>;

    /// Whether the same inputs and keys give the same bits, whatever the number of threads.
    fn is_exact(&self) -> bool {
        true
    }

    /// Whether ciphertexts have keys: what only simulates has none to refuse.
    fn has_keys(&self) -> bool {
        true
    }
}

/// The CPU back end on a set of kernels.
#[derive(Clone, Copy)]
pub struct CpuSubject(pub &'static Kernels);

impl Subject for CpuSubject {
    type Host = Ciphertext;
    type Client = CkksClient;
    type Backend<'p> = Cpu;

    fn parameters(&self, literal: ParametersLiteral) -> Result<Parameters, CkksError> {
        Parameters::insecure_for_tests(literal, self.0)
    }

    fn backend(&self, parameters: &Parameters, _: &Program) -> Result<Cpu, Box<dyn Error + Send + Sync>> {
        Ok(Cpu::new(parameters))
    }

    fn client(&self, parameters: &Parameters, keys: &[KeyId]) -> Result<CkksClient, CkksError> {
        CkksClient::new(parameters, keys)
    }

    fn keys<'k, 'p>(&self, client: &'k CkksClient) -> &'k (dyn KeyStore + 'k)
    where
        Self::Backend<'p>: 'k,
    {
        client.keys()
    }

    fn encrypt(&self, client: &CkksClient, slots: &[f64], level: Level, scale: f64) -> Result<Ciphertext, CkksError> {
        client.encrypt(slots, level, scale)
    }

    fn decrypt(&self, client: &CkksClient, ciphertext: &Ciphertext) -> Result<Vec<f64>, CkksError> {
        client.decrypt(ciphertext)
    }
}
