//! Every homomorphic operation against arithmetic on the slots, its error against the predicted noise, at several ring
//! degrees, levels and kernels.

mod common;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use common::{Bench, evaluator_of};
use umbra_ckks::{Bsgs, Ciphertext, CkksError, Diagonal, Gadget, KeyKind, Level, TransformSpec, encode, noise};
use umbra_evaluate::{Engine, Evaluator, LinearTransform};
use umbra_ring::kernels::Kernels;

fn random(rng: &mut StdRng, len: usize) -> Vec<f64> {
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn rotated(x: &[f64], steps: i64) -> Vec<f64> {
    (0..x.len() as i64).map(|i| x[(i + steps).rem_euclid(x.len() as i64) as usize]).collect()
}

fn zip(a: &[f64], b: &[f64], f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()
}

/// The measured deviation is that predicted, within the fluctuation of a few hundred samples.
fn assert_noise(what: &str, measured: f64, predicted: f64) {
    assert!(
        (0.75..1.3).contains(&(measured / predicted)),
        "{what}: measured {measured:.3e}, predicted {predicted:.3e}"
    );
}

fn hypot(parts: &[f64]) -> f64 {
    parts.iter().map(|p| p * p).sum::<f64>().sqrt()
}

#[test]
fn additions_products_and_rescaling() {
    for (seed, log_n) in [(1, 9), (2, 11)] {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut bench = Bench::new(log_n, 5, Kernels::best());
        let slots = bench.parameters.slots();
        let (x, y) = (random(&mut rng, slots), random(&mut rng, slots));
        let fresh = noise::fresh_secret(log_n);
        for level in [0, 2, 4].map(Level) {
            let scale = 2f64.powi(30);
            let (a, b) = (bench.encrypt(&x, level, scale), bench.encrypt(&y, level, scale));
            let evaluator = evaluator_of(&bench);
            let two = hypot(&[fresh, fresh]);
            assert_noise("add", bench.error(&evaluator.add(&a, &b).unwrap(), &zip(&x, &y, |x, y| x + y)), two);
            assert_noise("sub", bench.error(&evaluator.sub(&a, &b).unwrap(), &zip(&x, &y, |x, y| x - y)), two);
            let thrice: Vec<f64> = x.iter().map(|x| -3.0 * x).collect();
            assert_noise("mul_integer", bench.error(&evaluator.mul_integer(&a, -3).unwrap(), &thrice), 3.0 * fresh);
            for period in [1, 8, slots] {
                let w = random(&mut rng, period);
                let spread: Vec<f64> = (0..slots).map(|i| w[i % period]).collect();
                let plain = encode(&bench.parameters, &w, level, scale).unwrap();
                let sum = evaluator.add_plain(&a, &plain).unwrap();
                let want = hypot(&[fresh, noise::encoding(period)]);
                assert_noise("add_plain", bench.error(&sum, &zip(&x, &spread, |x, w| x + w)), want);
                let weights = encode(&bench.parameters, &w, level, 2f64.powi(12)).unwrap();
                let product = evaluator.mul_plain(&a, &weights).unwrap();
                let rms = |v: &[f64]| (v.iter().map(|v| v * v).sum::<f64>() / v.len() as f64).sqrt();
                if period == slots {
                    let want = hypot(&[fresh * rms(&w) * 4096.0, noise::encoding(period) * rms(&x) * scale]);
                    assert_noise("mul_plain", bench.error(&product, &zip(&x, &spread, |x, w| x * w)), want);
                } else {
                    assert!(bench.error(&product, &zip(&x, &spread, |x, w| x * w)) / product.scale() < 4e-3);
                }
            }
            if level > Level(0) {
                let high = bench.encrypt(&x, level, 2f64.powi(52));
                let evaluator = evaluator_of(&bench);
                let low = evaluator.rescale(&high, Level(level.0 - 1)).unwrap();
                assert_eq!(low.level(), Level(level.0 - 1));
                assert_noise("rescale", bench.error(&low, &x), noise::rescale(log_n));
                assert!(matches!(evaluator.rescale(&low, level), Err(CkksError::Level { .. })));
            }
        }
        let (a, b) = (bench.encrypt(&x, Level(4), 2f64.powi(30)), bench.encrypt(&x, Level(3), 2f64.powi(30)));
        let c = bench.encrypt(&x, Level(3), 2f64.powi(31));
        let evaluator = evaluator_of(&bench);
        assert_noise("mod switch", bench.error(&evaluator.mod_switch(&b, Level(0)).unwrap(), &x), fresh);
        assert!(matches!(evaluator.mod_switch(&a, Level(2)), Err(CkksError::NotASubset { .. })));
        assert!(matches!(evaluator.add(&a, &b), Err(CkksError::Level { .. })));
        assert!(matches!(evaluator.add(&b, &c), Err(CkksError::Scale { .. })));
        assert!(matches!(evaluator.square(&a, Gadget(0)), Err(CkksError::MissingKey(_))));
        assert!(matches!(evaluator.square(&a, Gadget(1)), Err(CkksError::Gadget { .. })));
    }
}

#[test]
fn key_switching_with_the_predicted_noise() {
    for (seed, log_n) in [(3, 9), (4, 11)] {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut bench = Bench::new(log_n, 5, Kernels::best());
        for (gadget, level) in [(Gadget(0), Level(4)), (Gadget(1), Level(1))] {
            bench.add_key(gadget, KeyKind::Relinearize, level);
            for steps in [1, -7] {
                bench.add_key(gadget, KeyKind::Rotate(steps), level);
            }
        }
        let slots = bench.parameters.slots();
        let (x, y) = (random(&mut rng, slots), random(&mut rng, slots));
        let fresh = noise::fresh_secret(log_n);
        for (gadget, level) in [(0, 4), (0, 2), (0, 1), (1, 1), (1, 0)] {
            let (gadget, level) = (Gadget(gadget), Level(level));
            let scale = 2f64.powi(22);
            let (a, b) = (bench.encrypt(&x, level, scale), bench.encrypt(&y, level, scale));
            let evaluator = evaluator_of(&bench);
            let switch = noise::key_switch(&bench.parameters, level, gadget, true).unwrap();
            let all = evaluator.rotate_hoisted(&a, &[1, -7], gadget).unwrap();
            for (c, steps) in all.iter().zip([1, -7]) {
                assert_noise("rotate", bench.error(c, &rotated(&x, steps)), hypot(&[fresh, switch]));
                assert_eq!(c, &evaluator.rotate(&a, steps, gadget).unwrap());
            }
            assert_eq!(evaluator.rotate_and_sum(&a, &[], gadget).unwrap(), a);
            let sum = evaluator.rotate_and_sum(&a, &[1, -7], gadget).unwrap();
            let want = zip(&zip(&x, &rotated(&x, 1), |a, b| a + b), &rotated(&x, -7), |a, b| a + b);
            assert!(bench.error(&sum, &want) < 4.0 * hypot(&[fresh, switch]));
            let rms = (1.0f64 / 3.0).sqrt();
            let square = evaluator.square(&a, gadget).unwrap();
            let want = hypot(&[2.0 * fresh * rms * scale, switch]);
            assert_noise("square", bench.error(&square, &zip(&x, &x, |x, y| x * y)), want);
            let product = evaluator.mul(&a, &b, gadget).unwrap();
            let want = hypot(&[fresh * rms * scale, fresh * rms * scale, switch]);
            assert_noise("mul", bench.error(&product, &zip(&x, &y, |x, y| x * y)), want);
        }
    }
}

/// A random transform with every kind of giant, its expected result, and its inputs.
struct Case {
    plan: Bsgs,
    diagonals: Vec<Diagonal>,
    bias: Vec<Vec<f64>>,
    inputs: Vec<Vec<f64>>,
    expected: Vec<Vec<f64>>,
    period: usize,
    masks: Vec<Vec<bool>>,
}

/// With `span`, weights of that period are multiplied by masks of that one; with `imaginary_steps`, they are complex.
fn case(
    rng: &mut StdRng,
    slots: usize,
    (inputs, outputs): (usize, usize),
    period: usize,
    (span, imaginary_steps): (Option<usize>, Option<i64>),
    density: f64,
) -> Case {
    let plan = Bsgs { babies: vec![-1, 0, 1, 2], inner: vec![-4, 0, 4], outer: vec![0, 32, -32], imaginary_steps };
    let inputs: Vec<Vec<f64>> = (0..inputs).map(|_| random(rng, slots)).collect();
    let masks: Vec<Vec<bool>> = match span {
        Some(span) => (0..3).map(|_| (0..span).map(|_| rng.random_bool(0.7)).collect()).collect(),
        None => Vec::new(),
    };
    let bias: Vec<Vec<f64>> = (0..outputs).map(|_| random(rng, span.unwrap_or(period))).collect();
    let spread = |w: &[f64]| -> Vec<f64> { (0..slots).map(|i| w[i % w.len()]).collect() };
    let mut expected: Vec<Vec<f64>> = bias.iter().map(|b| spread(b)).collect();
    let mut diagonals = Vec::new();
    for (output, expected) in expected.iter_mut().enumerate() {
        for (input, x) in inputs.iter().enumerate() {
            for (o, outer) in plan.outer.iter().enumerate() {
                for (g, inner) in plan.inner.iter().enumerate() {
                    let parts = [false, true].into_iter().take(1 + usize::from(imaginary_steps.is_some()));
                    let babies = plan.babies.iter().enumerate();
                    for ((b, baby), imaginary) in babies.flat_map(|b| parts.clone().map(move |part| (b, part))) {
                        if rng.random_range(0.0..1.0) > density {
                            continue;
                        }
                        let further = if imaginary { imaginary_steps.unwrap_or(0) } else { 0 };
                        let values: Vec<f32> = (0..period).map(|_| rng.random_range(-1.0..1.0)).collect();
                        let mut w = spread(&values.iter().map(|&v| v.into()).collect::<Vec<f64>>());
                        let mask = (!masks.is_empty() && rng.random_bool(0.8)).then(|| rng.random_range(0..3));
                        if let Some(mask) = mask {
                            w = (0..slots)
                                .map(|i| if masks[mask][i % masks[mask].len()] { w[i] } else { 0.0 })
                                .collect();
                        }
                        let term = zip(&w, &rotated(x, outer + inner + baby + further), |w, x| w * x);
                        *expected = zip(expected, &term, |e, t| e + t);
                        diagonals.push(Diagonal {
                            output: output as u32,
                            input: input as u32,
                            outer: o as u16,
                            inner: g as u16,
                            baby: b as u16,
                            imaginary,
                            mask: mask.map(|m| m as u16),
                            values,
                        });
                    }
                }
            }
        }
    }
    Case { plan, diagonals, bias, inputs, expected, period, masks }
}

fn add_rotation_keys(bench: &mut Bench, plan: &Bsgs, level: Level) {
    plan.keys().for_each(|kind| bench.add_key(Gadget(0), kind, level));
}

fn run(bench: &mut Bench, case: &Case, level: Level, level_out: Level) -> Vec<Ciphertext> {
    let parameters = bench.parameters.clone();
    let (weight_scale, scale_out) = (2f64.powi(18), 2f64.powi(40));
    let input_scale =
        scale_out * parameters.rescale_factor(level, level_out).unwrap() / weight_scale / case.plan.factor();
    let spec = TransformSpec {
        level,
        gadget: Gadget(0),
        level_out,
        weight_scales: &vec![weight_scale; case.inputs.len()],
        outputs: case.expected.len(),
        period: case.period,
        masks: &case.masks,
        plan: &case.plan,
        diagonals: &case.diagonals,
        bias: &case.bias,
        scale_out,
        add_first: false,
    };
    let engine = Engine::new(&parameters);
    let transform = LinearTransform::new(&engine, &spec).unwrap();
    let inputs: Vec<Ciphertext> = case.inputs.iter().map(|x| bench.encrypt(x, level, input_scale)).collect();
    let evaluator = Evaluator::new(&engine, &bench.keys);
    evaluator.transform(&inputs.iter().collect::<Vec<_>>(), &transform).unwrap()
}

#[test]
fn linear_transforms_equal_naive_sums() {
    for (seed, log_n, shape, (period, span, imaginary_steps), density, levels) in [
        (5, 10, (1, 1), (8, None, None), 1.0, (4, 3)),
        (6, 11, (2, 3), (16, None, None), 0.4, (3, 2)),
        (7, 9, (1, 2), (4, None, None), 0.1, (2, 2)),
        (8, 9, (1, 1), (256, None, None), 0.3, (2, 1)),
        (9, 11, (2, 9), (1, Some(64), None), 0.7, (4, 3)),
        (10, 9, (1, 2), (1, Some(4), None), 1.0, (3, 2)),
        (11, 11, (2, 2), (1, Some(1024), None), 0.5, (2, 1)),
        (12, 10, (1, 2), (4, Some(128), None), 0.3, (3, 2)),
        (13, 10, (1, 1), (8, None, Some(12)), 1.0, (4, 3)),
        (14, 12, (2, 3), (16, None, Some(-96)), 0.4, (3, 2)),
        (15, 9, (1, 2), (1, None, Some(1)), 0.1, (2, 2)),
        (16, 9, (2, 1), (256, None, Some(-7)), 0.3, (2, 1)),
    ] {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut bench = Bench::new(log_n, 5, Kernels::best());
        let case = case(&mut rng, bench.parameters.slots(), shape, period, (span, imaginary_steps), density);
        add_rotation_keys(&mut bench, &case.plan, Level(4));
        for (out, want) in run(&mut bench, &case, Level(levels.0), Level(levels.1)).iter().zip(&case.expected) {
            let error = bench.error(out, want) / out.scale();
            assert!(error < 1e-3, "case {seed}: error {error:.2e}");
        }
    }
}

#[test]
fn same_words_on_every_kernel_and_thread_count() {
    let mut rng = StdRng::seed_from_u64(9);
    let mut bench = Bench::new(9, 5, Kernels::best());
    let slots = bench.parameters.slots();
    let cases = [(8, None, None), (1, Some(64), None), (4, None, Some(16))]
        .map(|(period, span, imaginary_steps)| case(&mut rng, slots, (1, 2), period, (span, imaginary_steps), 0.6));
    cases.iter().for_each(|case| add_rotation_keys(&mut bench, &case.plan, Level(4)));
    bench.add_key(Gadget(0), KeyKind::Relinearize, Level(4));
    let input = bench.encrypt(&cases[0].inputs[0], Level(4), 2f64.powi(40));
    let literal = bench.parameters.literal().clone();
    let mut all: Vec<Vec<Ciphertext>> = Vec::new();
    for kernels in Kernels::available() {
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let out = pool.install(|| {
                let parameters = umbra_ckks::Parameters::insecure_for_tests(literal.clone(), kernels).unwrap();
                let engine = Engine::new(&parameters);
                let evaluator = Evaluator::new(&engine, &bench.keys);
                let mut out = Vec::new();
                for case in &cases {
                    let spec = TransformSpec {
                        level: Level(4),
                        gadget: Gadget(0),
                        level_out: Level(3),
                        weight_scales: &[2f64.powi(18)],
                        outputs: 2,
                        period: case.period,
                        masks: &case.masks,
                        plan: &case.plan,
                        diagonals: &case.diagonals,
                        bias: &case.bias,
                        scale_out: 2f64.powi(58) * case.plan.factor()
                            / parameters.rescale_factor(Level(4), Level(3)).unwrap(),
                        add_first: false,
                    };
                    let transform = LinearTransform::new(&engine, &spec).unwrap();
                    out.extend(evaluator.transform(&[&input], &transform).unwrap());
                }
                out.push(evaluator.square(&out[0], Gadget(0)).unwrap());
                out.push(evaluator.rescale(&out[0], Level(1)).unwrap());
                out
            });
            all.push(out);
        }
    }
    assert!(all.windows(2).all(|w| w[0] == w[1]));
}
