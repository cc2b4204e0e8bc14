//! Deviations of the error in a slot, in units of `1 / scale`: those of the engine, and one that plans need before
//! there are parameters.

pub use umbra_ckks::noise::{encoding, fresh_secret as fresh, rescale};
use umbra_ring::sampling::ERROR_SIGMA;

/// Of a key switch before its division is rounded: `digits` digits of about six primes, that exceed the special primes'
/// product by `excess` bits. See [`umbra_ckks::noise::key_switch`].
pub fn key_switch(log_n: u32, digits: usize, excess: f64) -> f64 {
    let digit = 6.0 / 12.0 * (2.0 * excess).exp2();
    let n = f64::from(log_n).exp2();
    (n * (digits as f64 * n * digit * ERROR_SIGMA * ERROR_SIGMA) / 2.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images that were encrypted under a public key: their noise is lost in what the scale of images has room for, a
    /// key switch at the highest level. So predicted errors hold for them, too.
    #[test]
    fn the_scale_of_images_has_room_for_public_keys() {
        for log_n in 12..=17 {
            let (public, secret) = (umbra_ckks::noise::fresh_public(log_n), fresh(log_n));
            let room = fresh(log_n).hypot(key_switch(log_n, 1, crate::plan::TOP_EXCESS));
            assert!(public > 50.0 * secret && public * public < 0.001 * room * room, "N = 2^{log_n}");
        }
    }
}
