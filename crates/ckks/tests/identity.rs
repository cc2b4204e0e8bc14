//! Encoding, encryption, keys, and what is made of parts refuse what belongs to other parameters, to another key set or
//! to another level: with the error that says so, never by a panic or a wrong result.

mod common;

use common::{Bench, assert_other_key_set, assert_other_parameters, elsewhere, literal};
use umbra_ckks::{
    Ciphertext, CkksError, Encoder, Gadget, KeyGenerator, KeyId, KeyKind, KeySetId, KeyStore, Level, MemoryKeys,
    Parameters, Plaintext, SecretKey, SeededCiphertext, SwitchingKey, encode, encode_dense, noise,
};
use umbra_ring::{Polys, kernels::Kernels};

const LOG_N: u32 = 9;
const LEVEL: Level = Level(3);
const NO_LEVEL: Level = Level(5);
const GADGET: Gadget = Gadget(0);
const SCALE: f64 = (1u64 << 40) as f64;
const RELINEARIZE: KeyId = KeyId { gadget: GADGET, kind: KeyKind::Relinearize, level: LEVEL };

/// Keys, a ciphertext and a plaintext of one owner.
struct Party {
    bench: Bench,
    ciphertext: Ciphertext,
    plaintext: Plaintext,
}

impl Party {
    fn new(parameters: &Parameters) -> Self {
        let mut bench = Bench::of(parameters.clone());
        bench.add_key(GADGET, KeyKind::Relinearize, LEVEL);
        let ciphertext = bench.encrypt(&vec![0.5; parameters.slots()], LEVEL, SCALE);
        let plaintext = encode(parameters, &[0.25], LEVEL, SCALE).unwrap();
        Self { bench, ciphertext, plaintext }
    }
}

fn home() -> Parameters {
    Parameters::insecure_for_tests(literal(LOG_N, 5), Kernels::best()).unwrap()
}

#[test]
fn twins_are_the_same_parameters() {
    let own = Party::new(&home());
    // Other tables of the same parameters, on other kernels.
    let twin = Parameters::insecure_for_tests(literal(LOG_N, 5), Kernels::scalar()).unwrap();
    assert_eq!(twin, own.bench.parameters);
    let c = &own.ciphertext;
    let moved = Ciphertext::from_words(&twin, c.key_set(), LEVEL, SCALE, c.words()).unwrap();
    assert_eq!(&moved, c);
    let (got, want) = (own.bench.decryptor.decrypt(&moved).unwrap(), own.bench.decryptor.decrypt(c).unwrap());
    assert_eq!(got.danger_raw(), want.danger_raw());
}

#[test]
fn operations_refuse_other_parameters() {
    let here = home();
    let mut own = Party::new(&here);
    for there in elsewhere(LOG_N) {
        let other = Party::new(&there);
        let refused = |result: Result<(), CkksError>, what: &str| assert_other_parameters(result, &here, &there, what);
        refused(here.check_same("check", &there), "check_same");
        refused(own.bench.decryptor.decrypt(&other.ciphertext).map(drop), "decrypt");
        let dense = encode(&here, &vec![0.5; here.slots()], LEVEL, SCALE).unwrap();
        let foreign = encode(&there, &vec![0.5; there.slots()], LEVEL, SCALE).unwrap();
        refused(own.bench.encryptor.encrypt_seeded(&own.bench.secret, &foreign).map(drop), "encrypt a message");
        refused(own.bench.encryptor.encrypt_seeded(&other.bench.secret, &dense).map(drop), "encrypt with a key");
        let mut generator = KeyGenerator::new(&here).unwrap();
        refused(generator.switching_key(&other.bench.secret, RELINEARIZE).map(drop), "make a key");
        let key = other.bench.make_key(RELINEARIZE).unwrap();
        assert_eq!((key.parameters(), key.key_set()), (&there, other.bench.secret.key_set()));
        refused(own.bench.keys.insert(key), "insert a key");
    }
}

#[test]
fn operations_refuse_other_key_sets() {
    let parameters = home();
    let (mut own, other) = (Party::new(&parameters), Party::new(&parameters));
    let (here, there) = (own.bench.secret.key_set(), other.bench.secret.key_set());
    assert_ne!(here, there);
    assert_other_key_set(own.bench.decryptor.decrypt(&other.ciphertext), here, there, "decrypt");
    let key = other.bench.make_key(RELINEARIZE).unwrap();
    assert_other_key_set(own.bench.keys.insert(key), here, there, "insert a key");
}

#[test]
fn stores_say_which_key_they_lack() {
    let own = Party::new(&home());
    assert!(own.bench.keys.key(KeyId { level: Level(2), ..RELINEARIZE }).is_ok(), "that of a higher level serves");
    for id in [
        KeyId { level: Level(4), ..RELINEARIZE },
        KeyId { kind: KeyKind::Rotate(5), ..RELINEARIZE },
        KeyId { gadget: Gadget(1), ..RELINEARIZE },
    ] {
        assert_eq!(own.bench.keys.key(id).map(drop), Err(CkksError::MissingKey(id)));
    }
}

/// The second gadget serves low levels only, a third there is not.
#[test]
fn gadgets_that_do_not_serve_a_level() {
    let parameters = home();
    let own = Party::new(&parameters);
    for gadget in [Gadget(1), Gadget(2), Gadget(u16::MAX)] {
        for (name, result) in [
            ("noise", noise::key_switch(&parameters, LEVEL, gadget, true).map(drop)),
            ("check_gadget", parameters.check_gadget("check", LEVEL, gadget)),
            ("gadget_for", parameters.gadget_for("look up", LEVEL, gadget).map(drop)),
            ("switching_key", own.bench.make_key(KeyId { gadget, ..RELINEARIZE }).map(drop)),
        ] {
            let refused = matches!(&result, Err(CkksError::Gadget { gadget: g, level: LEVEL, .. }) if *g == gadget);
            assert!(refused, "{name}: {result:?}");
        }
    }
}

#[test]
fn levels_that_do_not_exist() {
    let parameters = home();
    let own = Party::new(&parameters);
    let (c, key_set) = (&own.ciphertext, own.bench.secret.key_set());
    let dense = vec![0.5; parameters.slots()];
    for level in [NO_LEVEL, Level(u16::MAX)] {
        let id = KeyId { level, ..RELINEARIZE };
        for (name, result) in [
            ("encode", encode(&parameters, &[0.5], level, SCALE).map(drop)),
            ("encode_dense", encode_dense(&parameters, &own.bench.encoder, &dense, level, SCALE).map(drop)),
            ("ciphertext", Ciphertext::from_words(&parameters, key_set, level, SCALE, c.words()).map(drop)),
            ("polys", Ciphertext::from_polys(&parameters, key_set, level, SCALE, c.polys().clone()).map(drop)),
            ("seeded", SeededCiphertext::from_parts(&parameters, key_set, level, SCALE, [0; 32], &[]).map(drop)),
            ("switching_key", own.bench.make_key(id).map(drop)),
            ("read a key", SwitchingKey::from_parts(&parameters, key_set, id, [0; 32], &[]).map(drop)),
            ("level", parameters.level(level).map(drop)),
            ("log_q", parameters.log_q(level).map(drop)),
            ("rescale_factor", parameters.rescale_factor(level, Level(0)).map(drop)),
            ("rescale_factor to", parameters.rescale_factor(Level(0), level).map(drop)),
            ("noise", noise::key_switch(&parameters, level, GADGET, false).map(drop)),
            ("level_for", parameters.level_for("look up", level).map(drop)),
            ("gadget_for", parameters.gadget_for("look up", level, GADGET).map(drop)),
            ("check_level", parameters.check_level("check", level)),
            ("check_gadget", parameters.check_gadget("check", level, GADGET)),
        ] {
            let missing = matches!(&result, Err(CkksError::NoSuchLevel { level: l, top: Level(4), .. }) if *l == level);
            assert!(missing, "{name}: {result:?}");
        }
    }
    assert!(parameters.levels().eq((0..5).map(Level)));
    assert_eq!(parameters.top_level(), Level(4));
}

#[test]
fn parts_of_the_wrong_shape() {
    let parameters = home();
    let own = Party::new(&parameters);
    let (c, key_set) = (&own.ciphertext, own.bench.secret.key_set());
    let same = Ciphertext::from_words(&parameters, key_set, LEVEL, SCALE, c.words()).unwrap();
    assert_eq!(&same, c);
    let other = Ciphertext::from_words(&parameters, KeySetId::from_bytes([7; 16]), LEVEL, SCALE, c.words()).unwrap();
    assert_ne!(&other, c, "of another key set");
    for words in [&c.words()[1..], &[]] {
        let read = Ciphertext::from_words(&parameters, key_set, LEVEL, SCALE, words);
        assert!(matches!(read, Err(CkksError::Length { what: "words", .. })));
        let read = SeededCiphertext::from_parts(&parameters, key_set, LEVEL, SCALE, [0; 32], words);
        assert!(matches!(read, Err(CkksError::Length { what: "words", .. })));
        let read = SwitchingKey::from_parts(&parameters, key_set, RELINEARIZE, [0; 32], words);
        assert!(matches!(read, Err(CkksError::Length { what: "words", .. })));
    }
    let polys = |polys: Polys| Ciphertext::from_polys(&parameters, key_set, LEVEL, SCALE, polys);
    assert_eq!(polys(c.polys().clone()).as_ref(), Ok(c));
    let (n, limbs) = (parameters.n(), c.basis().len());
    for (what, wrong) in [
        ("coefficients", Polys::zero(n / 2, limbs, 2)),
        ("polynomials", Polys::zero(n, limbs, 3)),
        ("limbs", Polys::zero(n, limbs - 1, 2)),
        ("limbs", Polys::zero(n, 0, 2)),
    ] {
        assert!(matches!(polys(wrong), Err(CkksError::Length { what: w, .. }) if w == what), "{what}");
    }
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let made = Ciphertext::from_polys(&parameters, key_set, LEVEL, scale, c.polys().clone());
        assert!(matches!(made, Err(CkksError::BadScale { .. })), "{scale}");
        let read = Ciphertext::from_words(&parameters, key_set, LEVEL, scale, c.words());
        assert!(matches!(read, Err(CkksError::BadScale { .. })), "{scale}");
        assert!(matches!(encode(&parameters, &[0.5], LEVEL, scale), Err(CkksError::BadScale { .. })), "{scale}");
    }
    let coefficients = SecretKey::from_coefficients(&parameters, key_set, &[0; 3]);
    assert!(matches!(coefficients, Err(CkksError::Length { what: "coefficients", expected: 512, found: 3, .. })));
    let dense = vec![0.5; parameters.slots()];
    for log_m in [LOG_N - 1, LOG_N + 1] {
        let encoded = encode_dense(&parameters, &Encoder::new(log_m), &dense, LEVEL, SCALE);
        assert!(matches!(encoded, Err(CkksError::Length { what: "slots of the encoder", .. })));
    }
    let full = encode_dense(&parameters, &own.bench.encoder, &dense, Level(0), SCALE * SCALE);
    assert!(matches!(full, Err(CkksError::Overflow { .. })), "more than the modulus");
    let mut encryptor = own.bench.encryptor;
    let periodic = encryptor.encrypt_seeded(&own.bench.secret, &own.plaintext);
    assert!(matches!(periodic, Err(CkksError::Length { op: "encrypt", .. })));
    assert!(MemoryKeys::new(&parameters, key_set).is_empty());
}
