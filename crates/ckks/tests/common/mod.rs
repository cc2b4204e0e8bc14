//! Small rings and their keys for tests.

#![allow(dead_code, reason = "no test uses all of it")]

use umbra_ckks::{
    Ciphertext, CkksError, Decryptor, Encoder, Encryptor, Gadget, GadgetLiteral, KeyGenerator, KeyId, KeyKind,
    KeySetId, Level, MemoryKeys, Parameters, ParametersLiteral, SecretKey, SwitchingKey, encode_dense,
};
use umbra_ring::{kernels::Kernels, primes};

/// `levels` levels of about 32 bits above a base of 60 bits, some with fine primes that the next lower level lacks or
/// adds; two gadgets: one for all levels, one with a larger P for the two lowest.
pub fn literal(log_n: u32, levels: usize) -> ParametersLiteral {
    let mut all = primes::nearest(log_n, 30.0, levels + 6, &[]).unwrap();
    let fine = all.len() as u16;
    for bits in [28.0, 26.0] {
        let more = primes::nearest(log_n, bits, 1, &all).unwrap();
        all.extend(more);
    }
    let level = |i: usize| -> Vec<u16> {
        let mut level: Vec<u16> = (0..2 + i as u16).collect();
        if !i.is_multiple_of(3) {
            level.push(fine + (i % 3) as u16 - 1);
        }
        level
    };
    let top = levels as u16 + 1;
    let mut digits: Vec<Vec<u16>> = (0..top).collect::<Vec<_>>().chunks(3).map(<[u16]>::to_vec).collect();
    digits[0].extend([fine, fine + 1]);
    let low = GadgetLiteral { digits: vec![vec![0, 1, 2, fine, fine + 1]], special: (3..8.min(fine)).collect() };
    ParametersLiteral {
        log_n,
        primes: all,
        levels: (0..levels).map(level).collect(),
        gadgets: vec![GadgetLiteral { digits, special: (top..top + 5).collect() }, low],
    }
}

/// The same shape over other primes, one level more over the same primes and others, and another ring degree.
pub fn elsewhere(log_n: u32) -> [Parameters; 3] {
    let here = literal(log_n, 5);
    let mut taken = here.primes.clone();
    for &prime in &here.primes {
        let another = primes::nearest(log_n, f64::from(prime).log2(), 1, &taken).unwrap();
        taken.extend(another);
    }
    let others = taken.split_off(here.primes.len());
    let literals = [ParametersLiteral { primes: others, ..here }, literal(log_n, 6), literal(log_n + 1, 5)];
    literals.map(|literal| Parameters::insecure_for_tests(literal, Kernels::best()).unwrap())
}

pub struct Bench {
    pub parameters: Parameters,
    pub secret: SecretKey,
    pub keys: MemoryKeys,
    pub encoder: Encoder,
    pub encryptor: Encryptor,
    pub decryptor: Decryptor,
    generator: KeyGenerator,
}

impl Bench {
    pub fn new(log_n: u32, levels: usize, kernels: &'static Kernels) -> Self {
        Self::of(Parameters::insecure_for_tests(literal(log_n, levels), kernels).unwrap())
    }

    pub fn of(parameters: Parameters) -> Self {
        let mut generator = KeyGenerator::new(&parameters).unwrap();
        let secret = generator.secret_key().unwrap();
        Self {
            encoder: Encoder::new(parameters.log_n()),
            encryptor: Encryptor::new(&parameters).unwrap(),
            decryptor: Decryptor::new(&secret),
            keys: MemoryKeys::new(&parameters, secret.key_set()),
            parameters,
            secret,
            generator,
        }
    }

    pub fn add_key(&mut self, gadget: Gadget, kind: KeyKind, level: Level) {
        let key = self.generator.switching_key(&self.secret, KeyId { gadget, kind, level }).unwrap();
        self.keys.insert(key).unwrap();
    }

    /// One more key, not among the others.
    pub fn make_key(&self, id: KeyId) -> Result<SwitchingKey, CkksError> {
        KeyGenerator::new(&self.parameters)?.switching_key(&self.secret, id)
    }

    pub fn encrypt(&mut self, values: &[f64], level: Level, scale: f64) -> Ciphertext {
        let plaintext = encode_dense(&self.parameters, &self.encoder, values, level, scale).unwrap();
        self.encryptor.encrypt_seeded(&self.secret, &plaintext).unwrap().expand()
    }

    /// Root mean square of `decrypted - expected`, in units of 1/scale.
    pub fn error(&self, ciphertext: &Ciphertext, expected: &[f64]) -> f64 {
        let got = self.decryptor.decrypt(ciphertext).unwrap();
        let sum: f64 = got.danger_raw().iter().zip(expected).map(|(g, e)| (g - e).powi(2)).sum();
        (sum / expected.len() as f64).sqrt() * ciphertext.scale()
    }
}

/// The error names both parameters, in one line.
pub fn assert_other_parameters<T>(result: Result<T, CkksError>, here: &Parameters, there: &Parameters, what: &str) {
    let error = result.err().unwrap_or_else(|| panic!("{what}: accepted"));
    let CkksError::OtherParameters { expected, found, .. } = error else { panic!("{what}: {error}") };
    assert_eq!((expected, found), (here.short_digest(), there.short_digest()), "{what}");
    let message = error.to_string();
    assert!(!message.contains('\n') && message.contains(&found.to_string()), "{message}");
}

/// The error names both key sets, in one line.
pub fn assert_other_key_set<T>(result: Result<T, CkksError>, here: KeySetId, there: KeySetId, what: &str) {
    let error = result.err().unwrap_or_else(|| panic!("{what}: accepted"));
    let CkksError::OtherKeySet { expected, found, .. } = error else { panic!("{what}: {error}") };
    assert_eq!((expected, found), (here, there), "{what}");
    let message = error.to_string();
    assert!(!message.contains('\n') && message.contains(&found.to_string()), "{message}");
}
