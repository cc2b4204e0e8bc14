//! What conversions and transforms read of parameters.

use umbra_ckks::Parameters;
use umbra_ring::{Modulus, NttTable, kernels::Kernels};

/// The primes' tables of parameters, and the kernels that work with them. Prime indices are those of the parameters:
/// they come from its levels, gadgets and keys.
#[derive(Clone, Copy)]
pub(crate) struct Tables<'a> {
    tables: &'a [NttTable],
    kernels: &'static Kernels,
    n: usize,
}

impl<'a> Tables<'a> {
    #[inline]
    pub(crate) fn of(parameters: &'a Parameters) -> Self {
        Self { tables: parameters.tables(), kernels: parameters.kernels(), n: parameters.n() }
    }

    /// Ring degree.
    #[inline]
    pub(crate) fn n(&self) -> usize {
        self.n
    }

    /// Transform tables of a prime.
    #[inline]
    pub(crate) fn table(&self, prime: u16) -> &'a NttTable {
        &self.tables[usize::from(prime)]
    }

    /// Modulus of a prime.
    #[inline]
    pub(crate) fn modulus(&self, prime: u16) -> &'a Modulus {
        self.table(prime).modulus()
    }

    /// The kernels everything runs on.
    #[inline]
    pub(crate) fn kernels(&self) -> &'static Kernels {
        self.kernels
    }
}
