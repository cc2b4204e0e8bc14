//! Encryption under a public key: its noise, and what it refuses.

mod common;

use common::literal as toy;
use umbra_ckks::{
    CkksError, Decryptor, Encoder, Encryptor, KeyGenerator, Level, Parameters, PublicKey, encode_dense, noise,
};
use umbra_ring::kernels::Kernels;

#[test]
fn noise_is_as_predicted_at_every_level() {
    for log_n in [9, 11] {
        let parameters = Parameters::insecure_for_tests(toy(log_n, 3), Kernels::best()).unwrap();
        let mut generator = KeyGenerator::new(&parameters).unwrap();
        let secret = generator.secret_key().unwrap();
        let (decryptor, encoder) = (Decryptor::new(&secret), Encoder::new(log_n));
        let mut encryptor = Encryptor::new(&parameters).unwrap();
        let values: Vec<f64> = (0..parameters.slots()).map(|i| (i as f64 * 0.37).sin()).collect();
        for level in parameters.levels() {
            let key = generator.public_key(&secret, level).unwrap();
            assert_eq!((key.key_set(), key.level()), (secret.key_set(), level));
            let scale = 2f64.powi(30);
            let plaintext = encode_dense(&parameters, &encoder, &values, level, scale).unwrap();
            let ciphertext = encryptor.encrypt_public(&key, &plaintext).unwrap();
            let again = encryptor.encrypt_public(&key, &plaintext).unwrap();
            assert!(ciphertext.words() != again.words());
            let found = decryptor.decrypt(&ciphertext).unwrap();
            let errors: Vec<f64> = found.danger_raw().iter().zip(&values).map(|(f, v)| (f - v) * scale).collect();
            let measured = (errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64).sqrt();
            let predicted = noise::fresh_public(log_n);
            assert!((0.8..1.25).contains(&(measured / predicted)), "N = 2^{log_n}: {measured} for {predicted}");
            assert!(predicted > 10.0 * noise::fresh_secret(log_n));
        }
    }
}

#[test]
fn keys_travel_as_parts_and_foreign_operands_are_refused() {
    let parameters = Parameters::insecure_for_tests(toy(9, 3), Kernels::best()).unwrap();
    let other = Parameters::insecure_for_tests(toy(10, 3), Kernels::best()).unwrap();
    let mut generator = KeyGenerator::new(&parameters).unwrap();
    let secret = generator.secret_key().unwrap();
    let key = generator.public_key(&secret, Level(2)).unwrap();
    let read = |words: &[u32]| PublicKey::from_parts(&parameters, key.key_set(), key.level(), *key.seed(), words);
    assert_eq!(read(key.words()).unwrap(), key);
    assert!(matches!(read(&key.words()[1..]), Err(CkksError::Length { .. })));
    let mut wrong = key.words().to_vec();
    wrong[0] = u32::MAX;
    assert!(matches!(read(&wrong), Err(CkksError::Residue { .. })));
    assert!(matches!(generator.public_key(&secret, Level(9)), Err(CkksError::NoSuchLevel { .. })));
    let stranger = KeyGenerator::new(&other).unwrap().secret_key().unwrap();
    assert!(matches!(generator.public_key(&stranger, Level(1)), Err(CkksError::OtherParameters { .. })));
    let plaintext = |parameters: &Parameters, level| {
        let values = vec![0.5; parameters.slots()];
        encode_dense(parameters, &Encoder::new(parameters.log_n()), &values, level, 2f64.powi(25)).unwrap()
    };
    let mut encryptor = Encryptor::new(&parameters).unwrap();
    let foreign = encryptor.encrypt_public(&key, &plaintext(&other, Level(1)));
    assert!(matches!(foreign, Err(CkksError::OtherParameters { .. })));
    // A level has no prime that a higher one lacks, or it is refused: those of level 1 are not all in level 0.
    let low = generator.public_key(&secret, Level(0)).unwrap();
    assert!(matches!(
        encryptor.encrypt_public(&low, &plaintext(&parameters, Level(1))),
        Err(CkksError::NotASubset { .. })
    ));
    let ciphertext = encryptor.encrypt_public(&key, &plaintext(&parameters, Level(0))).unwrap();
    let found = Decryptor::new(&secret).decrypt(&ciphertext).unwrap();
    assert!(found.danger_raw().iter().all(|v| (v - 0.5).abs() < 1e-2));
}
