//! Errors of this crate.

/// What can go wrong when rings are built from outside data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// The ring degree is not a power of two in the supported range.
    #[error("ring degree 2^{log_n} is not supported: expected 2^{min} to 2^{max}")]
    Degree {
        /// Base-2 logarithm that was asked for.
        log_n: u32,
        /// Smallest supported logarithm.
        min: u32,
        /// Largest supported logarithm.
        max: u32,
    },
    /// A modulus is not a prime below 2^30 that is 1 modulo 2N.
    #[error(
        "modulus {value} cannot be used at ring degree 2^{log_n}: expected a prime below 2^30 that is 1 modulo 2^{}",
        log_n + 1
    )]
    Modulus {
        /// The offending modulus.
        value: u32,
        /// Base-2 logarithm of the ring degree.
        log_n: u32,
    },
    /// There are not enough primes of the wanted size.
    #[error("no more primes of about 2^{bits} that are 1 modulo 2^{}: {wanted} wanted", log_n + 1)]
    PrimesExhausted {
        /// Wanted base-2 logarithm of the primes.
        bits: u32,
        /// Base-2 logarithm of the ring degree.
        log_n: u32,
        /// Number of primes wanted.
        wanted: usize,
    },
    /// A Galois element is even or out of range.
    #[error("Galois element {element} is not an odd number below {limit}")]
    GaloisElement {
        /// The offending element.
        element: u32,
        /// 2N.
        limit: u32,
    },
    /// A kernel was named that this machine or build does not have.
    #[error("kernel '{name}' is not available here: set UMBRA_KERNEL to one of {available}, or not at all")]
    Kernel {
        /// The name that was asked for.
        name: String,
        /// Comma-separated names that would do.
        available: String,
    },
}
