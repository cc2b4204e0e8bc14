//! The bound on log2(QP) for 128-bit security.

use crate::error::CkksError;

/// Security level of every parameter set, bits (classical).
pub const SECURITY_BITS: u32 = 128;

/// Largest `log2(QP)` at 128-bit classical security for a uniform ternary secret and errors of standard deviation 3.19
/// (Bossuat et al., "Security Guidelines for Implementing Homomorphic Encryption", eprint 2024/463, Table 5.2).
///
/// # Errors
/// [`CkksError::NoSecurityBound`] outside N = 2^12 to 2^17.
pub fn max_log_qp(log_n: u32) -> Result<u32, CkksError> {
    match log_n {
        12 => Ok(107),
        13 => Ok(214),
        14 => Ok(430),
        15 => Ok(868),
        16 => Ok(1747),
        17 => Ok(3523),
        _ => Err(CkksError::NoSecurityBound { log_n }),
    }
}
