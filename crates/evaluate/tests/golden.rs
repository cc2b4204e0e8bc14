//! Words of every operation on made-up ciphertexts and keys, as they have always been: a change that means to keep
//! results keeps them to the bit.

mod common;

use umbra_ckks::{
    Bsgs, Ciphertext, Diagonal, Gadget, KeyId, KeyKind, KeySetId, Level, MemoryKeys, Parameters, SwitchingKey,
    TransformSpec, encode,
};
use umbra_evaluate::{Engine, Evaluator, LinearTransform};
use umbra_ring::{Modulus, kernels::Kernels, sampling};

const LOG_N: u32 = 9;
const LEVEL: Level = Level(4);
const LEVEL_OUT: Level = Level(2);
const GADGET: Gadget = Gadget(0);
const KEY_SET: KeySetId = KeySetId::from_bytes([9; 16]);
const SCALE: f64 = (1u128 << 80) as f64;
const WEIGHT_SCALE: f64 = 4096.0;

/// Made-up residues modulo some primes, `each` a prime; `number` tells one operand from another.
fn residues(parameters: &Parameters, number: u64, basis: &[u16], each: usize) -> Vec<u32> {
    let mut words = vec![0; basis.len() * each];
    for (out, &prime) in words.chunks_exact_mut(each).zip(basis) {
        let modulus = Modulus::new(parameters.literal().primes[usize::from(prime)]).unwrap();
        let stream = ("umbra golden words", &[number, prime.into()][..]);
        sampling::uniform(parameters.kernels(), &modulus, &[3; 32], stream, out);
    }
    words
}

fn ciphertext(parameters: &Parameters, number: u64) -> Ciphertext {
    let words = residues(parameters, number, parameters.level(LEVEL).unwrap(), 2 * parameters.n());
    Ciphertext::from_words(parameters, KEY_SET, LEVEL, SCALE, &words).unwrap()
}

fn key(parameters: &Parameters, number: u64, kind: KeyKind) -> SwitchingKey {
    let (id, literal) = (KeyId { gadget: GADGET, kind, level: LEVEL }, parameters.literal());
    let mut basis = id.primes(literal);
    basis.extend(&literal.gadgets[GADGET.index()].special);
    let words = residues(parameters, number, &basis, id.dnum(literal) * parameters.n());
    SwitchingKey::from_parts(parameters, KEY_SET, id, [5; 32], &words).unwrap()
}

/// What the weights of a transform are.
#[derive(Clone, Copy)]
enum Weights {
    Constant { add_first: bool },
    Periodic,
    Masked,
    Complex,
}

impl Weights {
    fn plan(self) -> Bsgs {
        let imaginary_steps = matches!(self, Self::Complex).then_some(16);
        Bsgs { babies: vec![-1, 0, 2], inner: vec![0, 4], outer: vec![-32, 0], imaginary_steps }
    }

    /// From two ciphertexts to three.
    fn transform(self, engine: &Engine) -> LinearTransform {
        let plan = self.plan();
        let (period, span) = match self {
            Self::Constant { .. } => (1, 1),
            Self::Periodic | Self::Complex => (8, 8),
            Self::Masked => (4, 64),
        };
        let masks: Vec<Vec<bool>> = match self {
            Self::Masked => [3, 5].map(|n| (0..span).map(|i| i % n > 0).collect()).into(),
            _ => Vec::new(),
        };
        let mut diagonals = Vec::new();
        for i in 0..3 * 2 * 2 * 2 * 3u32 {
            let (output, input, outer) = (i % 3, i / 3 % 2, (i / 6 % 2) as u16);
            let (inner, baby) = ((i / 12 % 2) as u16, (i / 24) as u16);
            for imaginary in [false, true] {
                let value = |c: usize| ((37 * i + 11 * c as u32 + 5 * u32::from(imaginary)) % 128) as f32 / 64.0 - 1.0;
                let values = (0..period).map(value).collect();
                if !imaginary || plan.imaginary_steps.is_some() {
                    let mask = masks.first().and((i % 5 > 0).then_some((i % 2) as u16));
                    diagonals.push(Diagonal { output, input, outer, inner, baby, imaginary, mask, values });
                }
            }
        }
        let factor = plan.factor() / engine.parameters().rescale_factor(LEVEL, LEVEL_OUT).unwrap();
        let spec = TransformSpec {
            level: LEVEL,
            gadget: GADGET,
            level_out: LEVEL_OUT,
            weight_scales: &[WEIGHT_SCALE; 2],
            outputs: 3,
            period,
            masks: &masks,
            plan: &plan,
            diagonals: &diagonals,
            bias: &[0.5, -0.25, 0.125].map(|b| vec![b; span]),
            scale_out: SCALE * WEIGHT_SCALE * factor,
            add_first: matches!(self, Self::Constant { add_first: true }),
        };
        LinearTransform::new(engine, &spec).unwrap()
    }
}

#[test]
fn words_are_what_they_were() {
    let literal = common::literal(LOG_N, 5);
    let parameters = Parameters::insecure_for_tests(literal, Kernels::best()).unwrap();
    let (a, b) = (ciphertext(&parameters, 0), ciphertext(&parameters, 1));
    let mut keys = MemoryKeys::new(&parameters, KEY_SET);
    let extraction = [KeyKind::Conjugate(0), KeyKind::Rotate(16), KeyKind::Conjugate(16), KeyKind::Relinearize];
    let kinds = [-32, -1, 2, 4].map(KeyKind::Rotate).into_iter().chain(extraction);
    for (number, kind) in (2..).zip(kinds) {
        keys.insert(key(&parameters, number, kind)).unwrap();
    }
    let engine = Engine::new(&parameters);
    let evaluator = Evaluator::new(&engine, &keys);
    let plain = encode(&parameters, &[0.5, -0.25, 0.75, 1.0], LEVEL, SCALE).unwrap();
    let mut out = vec![
        evaluator.add(&a, &b).unwrap(),
        evaluator.sub(&a, &b).unwrap(),
        evaluator.add_plain(&a, &plain).unwrap(),
        evaluator.mul_plain(&a, &plain).unwrap(),
        evaluator.mul_integer(&a, -12345).unwrap(),
        evaluator.mod_switch(&a, Level(0)).unwrap(),
        evaluator.rescale(&a, Level(2)).unwrap(),
        evaluator.square(&a, GADGET).unwrap(),
        evaluator.mul(&a, &b, GADGET).unwrap(),
        evaluator.rotate(&a, -32, GADGET).unwrap(),
        evaluator.rotate_and_sum(&a, &[-1, 4], GADGET).unwrap(),
    ];
    out.extend(evaluator.rotate_hoisted(&a, &[2, 4], GADGET).unwrap());
    for weights in [
        Weights::Constant { add_first: false },
        Weights::Constant { add_first: true },
        Weights::Periodic,
        Weights::Masked,
        Weights::Complex,
    ] {
        let transform = weights.transform(&engine);
        out.extend(evaluator.transform(&[&a, &b], &transform).unwrap());
    }
    let mut hasher = blake3::Hasher::new();
    for c in &out {
        hasher.update(&c.scale().to_le_bytes());
        for word in c.words() {
            hasher.update(&word.to_le_bytes());
        }
    }
    assert_eq!(hasher.finalize().to_hex().as_str(), "943d0bdaf13b4b38ef150b0731ddc30f4c961899a16d9bce690c5aba8e35a7c8");
}
