//! Encryption under the secret key: its noise, and numbers that may be passed on.

mod common;

use common::literal;
use umbra_ckks::{Decryptor, Encoder, Encryptor, KeyGenerator, Level, Parameters, encode_dense, noise};
use umbra_ring::kernels::Kernels;

#[test]
fn round_trips_with_the_predicted_noise() {
    for log_n in [9, 11] {
        let parameters = Parameters::insecure_for_tests(literal(log_n, 3), Kernels::best()).unwrap();
        let mut generator = KeyGenerator::new(&parameters).unwrap();
        let secret = generator.secret_key().unwrap();
        let mut encryptor = Encryptor::new(&parameters).unwrap();
        let decryptor = Decryptor::new(&secret);
        let encoder = Encoder::new(log_n);
        let values: Vec<f64> = (0..parameters.slots()).map(|i| (i as f64 * 0.37).sin()).collect();
        for level in parameters.levels() {
            let scale = 2f64.powi(25);
            let plaintext = encode_dense(&parameters, &encoder, &values, level, scale).unwrap();
            let seeded = encryptor.encrypt_seeded(&secret, &plaintext).unwrap();
            let got = decryptor.decrypt(&seeded.expand()).unwrap();
            let errors: Vec<f64> = got.danger_raw().iter().zip(&values).map(|(g, v)| (g - v) * scale).collect();
            let measured = (errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64).sqrt();
            let std = noise::fresh_secret(log_n);
            assert!((0.8..1.25).contains(&(measured / std)), "N = 2^{log_n}: {measured} for {std}");
        }
    }
}

#[test]
fn rounding_for_others_hides_the_noise() {
    let log_n = 9;
    let parameters = Parameters::insecure_for_tests(literal(log_n, 3), Kernels::best()).unwrap();
    let secret = KeyGenerator::new(&parameters).unwrap().secret_key().unwrap();
    let (encoder, decryptor) = (Encoder::new(log_n), Decryptor::new(&secret));
    // Multiples of 1/8, which the noise does not take half way to the next.
    let values: Vec<f64> = (0..parameters.slots()).map(|i| (i % 33) as f64 / 8.0 - 2.0).collect();
    let plaintext = encode_dense(&parameters, &encoder, &values, Level(2), 2f64.powi(25)).unwrap();
    let decrypt = || {
        let mut encryptor = Encryptor::new(&parameters).unwrap();
        decryptor.decrypt(&encryptor.encrypt_seeded(&secret, &plaintext).unwrap().expand()).unwrap()
    };
    let (first, second) = (decrypt(), decrypt());
    assert_ne!(first.danger_raw(), second.danger_raw(), "noise is there");
    assert_eq!(first.rounded(3), values);
    assert_eq!(second.rounded(3), values);
    assert!(first.rounded(-1).iter().zip(&values).all(|(r, v)| r % 2.0 == 0.0 && (r - v).abs() <= 1.0 + 1e-3));
}
