//! Times of the engine's operations at N = 2^15, 128-bit security, on one thread unless `RAYON_NUM_THREADS` says
//! otherwise: `cargo bench -p umbra-evaluate`.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};

use umbra_ckks::{
    Bsgs, Ciphertext, Diagonal, Encoder, Encryptor, Gadget, GadgetLiteral, KeyGenerator, KeyId, KeyKind, Level,
    MemoryKeys, Parameters, ParametersLiteral, TransformSpec, encode_dense,
};
use umbra_evaluate::{Engine, Evaluator, LinearTransform};
use umbra_ring::primes;

const LOG_N: u32 = 15;

/// Level `i` has `limbs[i]` primes of 30 bits; one gadget for each level, with digits of `alpha[i]` primes and as many
/// special primes.
fn parameters(shape: &[(usize, usize)]) -> Parameters {
    let all = primes::nearest(LOG_N, 29.99, 40, &[]).expect("there are hundreds");
    let prefix = |n: usize| (0..n as u16).collect::<Vec<u16>>();
    let gadget = |&(limbs, alpha): &(usize, usize)| GadgetLiteral {
        digits: prefix(limbs).chunks(alpha).map(<[u16]>::to_vec).collect(),
        special: (limbs as u16..(limbs + alpha) as u16).collect(),
    };
    let literal = ParametersLiteral {
        log_n: LOG_N,
        primes: all,
        levels: shape.iter().map(|s| prefix(s.0)).collect(),
        gadgets: shape.iter().map(gadget).collect(),
    };
    Parameters::new(literal).expect("within the bound")
}

/// Runs inside the pool of threads, as programs do: a caller outside sleeps and is woken at every loop.
fn inside<T: Send>(operation: impl FnOnce() -> T + Send) -> T {
    black_box(rayon::scope(|_| operation()))
}

/// The rotations of a 3x3 convolution with `c` channels in a ciphertext.
fn convolution(c: i64, babies: i64) -> (Bsgs, Vec<Diagonal>) {
    let width = 4 * c - 1;
    let inner = (width + babies - 1) / babies;
    let centre = |n: i64| (0..n).map(move |i| i - n / 2);
    let plan = Bsgs {
        babies: centre(babies).collect(),
        inner: centre(inner).map(|i| i * babies).collect(),
        outer: vec![-32 * c, 0, 32 * c],
        imaginary_steps: None,
    };
    let mut diagonals = Vec::new();
    for outer in 0..3 {
        for inner in 0..inner as u16 {
            for baby in 0..babies as u16 {
                let r = plan.inner[inner as usize] + plan.babies[baby as usize];
                if r.abs() < 2 * c {
                    let values = (0..c).map(|i| (i as f32 * 0.7 + r as f32).sin() * 0.1).collect();
                    diagonals.push(Diagonal {
                        output: 0,
                        input: 0,
                        outer,
                        inner,
                        baby,
                        imaginary: false,
                        mask: None,
                        values,
                    });
                }
            }
        }
    }
    (plan, diagonals)
}

fn bench(criterion: &mut Criterion) {
    let shape = [(2, 3), (8, 4), (14, 7), (20, 7), (22, 6)];
    let parameters = parameters(&shape);
    let engine = Engine::new(&parameters);
    let mut generator = KeyGenerator::new(&parameters).expect("entropy");
    let secret = generator.secret_key().expect("a key");
    let values: Vec<f64> = (0..parameters.slots()).map(|i| (i as f64).sin()).collect();
    let encoder = Encoder::new(LOG_N);
    let mut encryptor = Encryptor::new(&parameters).expect("entropy");
    let mut encrypt = |level: Level| -> Ciphertext {
        let plain = encode_dense(&parameters, &encoder, &values, level, 2f64.powi(40)).expect("encodes");
        encryptor.encrypt_seeded(&secret, &plain).expect("encrypts").expand()
    };
    let mut group = criterion.benchmark_group("ckks");
    group.sample_size(10);
    for (i, &(limbs, alpha)) in shape.iter().enumerate() {
        let (level, gadget) = (Level::new(i), Gadget::new(i));
        let x = encrypt(level);
        let mut keys = MemoryKeys::new(&parameters, secret.key_set());
        let name = |op: &str| format!("{op}/{limbs} limbs, digits of {alpha}");
        for kind in [KeyKind::Relinearize, KeyKind::Rotate(1)] {
            let id = KeyId { gadget, kind, level };
            keys.insert(generator.switching_key(&secret, id).expect("a key")).expect("of this key set");
        }
        let evaluator = Evaluator::new(&engine, &keys);
        group.bench_function(name("rotate"), |b| {
            b.iter(|| inside(|| evaluator.rotate(&x, 1, gadget).expect("rotates")))
        });
        group.bench_function(name("square"), |b| b.iter(|| inside(|| evaluator.square(&x, gadget).expect("squares"))));
    }
    for (i, channels, babies) in [(1, 64, 43), (2, 32, 32), (4, 16, 21)] {
        let (level, level_out, gadget) = (Level::new(i), Level::new(i - 1), Gadget::new(i));
        let (plan, diagonals) = convolution(channels, babies);
        let mut keys = MemoryKeys::new(&parameters, secret.key_set());
        for kind in plan.keys() {
            let id = KeyId { gadget, kind, level };
            keys.insert(generator.switching_key(&secret, id).expect("a key")).expect("of this key set");
        }
        let weight_scale = 2f64.powi(12);
        let spec = TransformSpec {
            level,
            gadget,
            level_out,
            weight_scales: &[weight_scale],
            outputs: 1,
            period: channels as usize,
            masks: &[],
            plan: &plan,
            diagonals: &diagonals,
            bias: &[vec![0.5; channels as usize]],
            scale_out: 2f64.powi(40) * weight_scale / parameters.rescale_factor(level, level_out).expect("levels"),
            add_first: false,
        };
        // Scales this low carry no message; the words are processed all the same.
        let transform = LinearTransform::new(&engine, &spec).expect("a transform");
        let x = encrypt(level);
        let evaluator = Evaluator::new(&engine, &keys);
        let name = format!("convolution 3x3/{channels} channels, {} limbs, {babies} babies", shape[i].0);
        group.bench_function(name, |b| b.iter(|| inside(|| evaluator.transform(&[&x], &transform).expect("runs"))));
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
