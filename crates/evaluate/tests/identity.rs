//! Every operation refuses what belongs to other parameters, to another key set or to another level: with the error
//! that says so, never by a panic or a wrong result.

mod common;

use std::sync::Arc;

use common::{Bench, assert_other_key_set, assert_other_parameters, elsewhere, evaluator_of, literal};
use umbra_ckks::{
    Bsgs, Ciphertext, CkksError, Diagonal, Gadget, KeyId, KeyKind, KeySetId, KeyStore, Level, Parameters, Plaintext,
    SwitchingKey, TransformSpec, encode,
};
use umbra_evaluate::{Engine, Evaluator, LinearTransform};
use umbra_ring::kernels::Kernels;

const LOG_N: u32 = 9;
const LEVEL: Level = Level(3);
const NO_LEVEL: Level = Level(5);
const GADGET: Gadget = Gadget(0);
const SCALE: f64 = (1u64 << 40) as f64;
const RELINEARIZE: KeyId = KeyId { gadget: GADGET, kind: KeyKind::Relinearize, level: LEVEL };

/// Keys, a ciphertext, a plaintext and a transform of one owner.
struct Party {
    bench: Bench,
    ciphertext: Ciphertext,
    plaintext: Plaintext,
    transform: LinearTransform,
}

impl Party {
    fn new(parameters: &Parameters) -> Self {
        let mut bench = Bench::of(parameters.clone());
        for kind in [KeyKind::Relinearize, KeyKind::Rotate(1)] {
            bench.add_key(GADGET, kind, LEVEL);
        }
        let ciphertext = bench.encrypt(&vec![0.5; parameters.slots()], LEVEL, SCALE);
        let plaintext = encode(parameters, &[0.25], LEVEL, SCALE).unwrap();
        let transform = transform(parameters, (LEVEL, Level(2), GADGET)).unwrap();
        Self { bench, ciphertext, plaintext, transform }
    }

    fn evaluator(&self) -> Evaluator<'_> {
        evaluator_of(&self.bench)
    }
}

/// `0.5 x + 0.25 rot_1(x)` between these levels.
fn transform(
    parameters: &Parameters,
    (level, level_out, gadget): (Level, Level, Gadget),
) -> Result<LinearTransform, CkksError> {
    let plan = Bsgs { babies: vec![0, 1], inner: vec![0], outer: vec![0], imaginary_steps: None };
    let diagonal = |baby: u16, value: f32| {
        let (output, input, outer, inner) = (0, 0, 0, 0);
        Diagonal { output, input, outer, inner, baby, imaginary: false, mask: None, values: vec![value] }
    };
    let factor = parameters.rescale_factor(level, level_out).unwrap_or(1.0);
    let spec = TransformSpec {
        level,
        gadget,
        level_out,
        weight_scales: &[4096.0],
        outputs: 1,
        period: 1,
        masks: &[],
        plan: &plan,
        diagonals: &[diagonal(0, 0.5), diagonal(1, 0.25)],
        bias: &[vec![0.0]],
        scale_out: SCALE * 4096.0 / factor,
        add_first: false,
    };
    LinearTransform::new(&Engine::new(parameters), &spec)
}

fn home() -> Parameters {
    Parameters::insecure_for_tests(literal(LOG_N, 5), Kernels::best()).unwrap()
}

/// What an operation makes of a ciphertext, or of a pair of them, with the transform and the plaintext of the
/// evaluator's owner.
type Operation = (&'static str, fn(&Party, &Evaluator<'_>, &Ciphertext) -> Result<(), CkksError>);

const OPERATIONS: [Operation; 15] = [
    ("add, left", |own, e, c| e.add(c, &own.ciphertext).map(drop)),
    ("add, right", |own, e, c| e.add(&own.ciphertext, c).map(drop)),
    ("sub, left", |own, e, c| e.sub(c, &own.ciphertext).map(drop)),
    ("sub, right", |own, e, c| e.sub(&own.ciphertext, c).map(drop)),
    ("add_plain", |own, e, c| e.add_plain(c, &own.plaintext).map(drop)),
    ("mul_plain", |own, e, c| e.mul_plain(c, &own.plaintext).map(drop)),
    ("mul_integer", |_, e, c| e.mul_integer(c, 3).map(drop)),
    ("mod_switch", |_, e, c| e.mod_switch(c, Level(0)).map(drop)),
    ("rescale", |_, e, c| e.rescale(c, Level(2)).map(drop)),
    ("square", |_, e, c| e.square(c, GADGET).map(drop)),
    ("mul, left", |own, e, c| e.mul(c, &own.ciphertext, GADGET).map(drop)),
    ("mul, right", |own, e, c| e.mul(&own.ciphertext, c, GADGET).map(drop)),
    ("rotate", |_, e, c| e.rotate(c, 1, GADGET).map(drop)),
    ("rotate_and_sum", |_, e, c| e.rotate_and_sum(c, &[], GADGET).and(e.rotate_and_sum(c, &[1], GADGET)).map(drop)),
    ("transform", |own, e, c| e.transform(&[c], &own.transform).map(drop)),
];

#[test]
fn everything_accepts_its_own() {
    let own = Party::new(&home());
    for (name, operation) in OPERATIONS {
        operation(&own, &own.evaluator(), &own.ciphertext).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    // Other tables of the same parameters, on other kernels, are the same parameters.
    let twin = Parameters::insecure_for_tests(literal(LOG_N, 5), Kernels::scalar()).unwrap();
    assert_eq!(twin, own.bench.parameters);
    for (name, operation) in OPERATIONS {
        let evaluator = Evaluator::new(&Engine::new(&twin), &own.bench.keys);
        operation(&own, &evaluator, &own.ciphertext).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    let sum = own.evaluator().add(&own.ciphertext, &own.ciphertext).unwrap();
    assert_eq!((sum.parameters(), sum.key_set()), (&own.bench.parameters, own.bench.secret.key_set()));
}

#[test]
fn operations_refuse_other_parameters() {
    let here = home();
    let own = Party::new(&here);
    for there in elsewhere(LOG_N) {
        let other = Party::new(&there);
        let refused = |result: Result<(), CkksError>, what: &str| assert_other_parameters(result, &here, &there, what);
        for (name, operation) in OPERATIONS {
            refused(operation(&own, &own.evaluator(), &other.ciphertext), name);
        }
        let evaluator = own.evaluator();
        refused(evaluator.add_plain(&own.ciphertext, &other.plaintext).map(drop), "add_plain");
        refused(evaluator.mul_plain(&own.ciphertext, &other.plaintext).map(drop), "mul_plain");
        refused(evaluator.transform(&[&own.ciphertext], &other.transform).map(drop), "transform");
    }
}

#[test]
fn operations_refuse_other_key_sets() {
    let parameters = home();
    let (own, other) = (Party::new(&parameters), Party::new(&parameters));
    let (here, there) = (own.bench.secret.key_set(), other.bench.secret.key_set());
    assert_ne!(here, there);
    for (name, operation) in OPERATIONS {
        assert_other_key_set(operation(&own, &own.evaluator(), &other.ciphertext), here, there, name);
        // With keys of somebody else.
        assert_other_key_set(operation(&own, &other.evaluator(), &own.ciphertext), there, here, name);
    }
}

/// Gives one key for all, in the name of a key set.
struct Impostor(KeySetId, Arc<SwitchingKey>);

impl KeyStore for Impostor {
    fn key_set(&self) -> KeySetId {
        self.0
    }

    fn key(&self, _: KeyId) -> Result<Arc<SwitchingKey>, CkksError> {
        Ok(self.1.clone())
    }
}

#[test]
fn keys_of_a_store_are_what_they_are_said_to_be() {
    let here = home();
    let own = Party::new(&here);
    let key_set = own.bench.secret.key_set();
    let square = |key: SwitchingKey| {
        let store = Impostor(key_set, Arc::new(key));
        Evaluator::new(&Engine::new(&here), &store).square(&own.ciphertext, GADGET)
    };
    let key = |id: KeyId| own.bench.make_key(id).unwrap();
    square(key(RELINEARIZE)).unwrap();
    square(key(KeyId { level: Level(4), ..RELINEARIZE })).unwrap();
    for wrong in [
        KeyId { kind: KeyKind::Rotate(1), ..RELINEARIZE },
        KeyId { level: Level(2), ..RELINEARIZE },
        KeyId { gadget: Gadget(1), level: Level(1), ..RELINEARIZE },
    ] {
        assert!(matches!(square(key(wrong)), Err(CkksError::UnreadableKey { key: RELINEARIZE, .. })), "{wrong}");
    }
    let other = Party::new(&here);
    assert_other_key_set(
        square(other.bench.make_key(RELINEARIZE).unwrap()),
        key_set,
        other.bench.secret.key_set(),
        "square",
    );
    for there in elsewhere(LOG_N) {
        let key = Bench::of(there.clone()).make_key(RELINEARIZE).unwrap();
        assert_other_parameters(square(key), &here, &there, "square");
    }
    let missing = own.evaluator().rotate(&own.ciphertext, 5, GADGET);
    let id = KeyId { kind: KeyKind::Rotate(5), ..RELINEARIZE };
    assert_eq!(missing, Err(CkksError::MissingKey(id)));
}

#[test]
fn operations_refuse_other_levels() {
    let parameters = home();
    let mut own = Party::new(&parameters);
    let low = own.bench.encrypt(&vec![0.5; parameters.slots()], Level(1), SCALE);
    let plain = encode(&parameters, &[0.5], Level(1), SCALE).unwrap();
    let (c, evaluator) = (&own.ciphertext, own.evaluator());
    for (name, result) in [
        ("add", evaluator.add(c, &low)),
        ("sub", evaluator.sub(c, &low)),
        ("mul", evaluator.mul(c, &low, GADGET)),
        ("add_plain", evaluator.add_plain(c, &plain)),
        ("mul_plain", evaluator.mul_plain(c, &plain)),
    ] {
        let level = matches!(result, Err(CkksError::Level { expected: LEVEL, found: Level(1), .. }));
        assert!(level, "{name}: {result:?}");
    }
    assert!(matches!(evaluator.rescale(c, LEVEL), Err(CkksError::Level { found: LEVEL, .. })));
    assert!(matches!(evaluator.mod_switch(&low, Level(0)), Ok(c) if c.level() == Level(0)));
    assert!(matches!(evaluator.mod_switch(&low, LEVEL), Err(CkksError::NotASubset { from: Level(1), to: LEVEL, .. })));
    assert!(matches!(
        evaluator.transform(&[&low], &own.transform),
        Err(CkksError::NotASubset { from: Level(1), to: LEVEL, .. })
    ));
    // The second gadget serves low levels only, a third there is not.
    for gadget in [Gadget(1), Gadget(2), Gadget(u16::MAX)] {
        for (name, result) in [
            ("square", evaluator.square(c, gadget).map(drop)),
            ("mul", evaluator.mul(c, c, gadget).map(drop)),
            ("rotate", evaluator.rotate(c, 1, gadget).map(drop)),
            ("rotate_hoisted", evaluator.rotate_hoisted(c, &[1, 1], gadget).map(drop)),
            ("rotate_and_sum", evaluator.rotate_and_sum(c, &[1], gadget).map(drop)),
            ("transform", transform(&parameters, (LEVEL, Level(2), gadget)).map(drop)),
        ] {
            let refused = matches!(&result, Err(CkksError::Gadget { gadget: g, level: LEVEL, .. }) if *g == gadget);
            assert!(refused, "{name}: {result:?}");
        }
    }
    let above = transform(&parameters, (Level(2), LEVEL, GADGET));
    assert!(matches!(above, Err(CkksError::Level { expected: Level(2), found: LEVEL, .. })));
}

#[test]
fn levels_that_do_not_exist() {
    let parameters = home();
    let own = Party::new(&parameters);
    let (c, evaluator) = (&own.ciphertext, own.evaluator());
    for level in [NO_LEVEL, Level(u16::MAX)] {
        for (name, result) in [
            ("mod_switch", evaluator.mod_switch(c, level).map(drop)),
            ("rescale", evaluator.rescale(c, level).map(drop)),
            ("transform", transform(&parameters, (level, Level(0), GADGET)).map(drop)),
            ("transform to", transform(&parameters, (LEVEL, level, GADGET)).map(drop)),
        ] {
            let missing = matches!(&result, Err(CkksError::NoSuchLevel { level: l, top: Level(4), .. }) if *l == level);
            assert!(missing, "{name}: {result:?}");
        }
    }
}

#[test]
fn products_whose_scale_is_no_number() {
    let parameters = home();
    let mut own = Party::new(&parameters);
    let huge = own.bench.encrypt(&vec![0.0; parameters.slots()], LEVEL, 2f64.powi(600));
    let evaluator = own.evaluator();
    for (name, result) in [("square", evaluator.square(&huge, GADGET)), ("mul", evaluator.mul(&huge, &huge, GADGET))] {
        assert!(matches!(result, Err(CkksError::BadScale { .. })), "{name}: {result:?}");
    }
}
