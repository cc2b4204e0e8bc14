//! Transforms against evaluation, against one another and against another library.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tfhe_ntt::prime32::Plan;
use umbra_ring::kernels::Kernels;
use umbra_ring::ntt::LOG_N_RANGE;
use umbra_ring::{NttTable, RingError, primes};

/// Primes of 30, 28, 25 and 22 bits (where there are such), and the smallest.
fn some_primes(log_n: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for bits in [30.0, 28.0, 25.0, 22.0] {
        found.extend(primes::nearest(log_n, bits, 1, &found).unwrap_or_default());
    }
    found.extend((1..).map(|k| (k << (log_n + 1)) + 1).find(|&p| primes::is_prime(p)));
    found
}

fn inputs(rng: &mut StdRng, p: u32, n: usize) -> Vec<Vec<u32>> {
    let mut all = vec![vec![0; n], vec![p - 1; n], (0..n).map(|i| if i % 2 == 0 { p - 1 } else { 0 }).collect()];
    all.push((0..n).map(|_| if rng.random() { p - 1 } else { 0 }).collect());
    all.push((0..n).map(|_| rng.random_range(p - p / 256 - 1..p)).collect());
    all.push((0..n).map(|_| rng.random_range(0..p)).collect());
    all
}

#[test]
fn forward_is_evaluation() {
    let mut rng = StdRng::seed_from_u64(1);
    for kernels in Kernels::available() {
        for log_n in [5, 6, 7, 8, 9, 10] {
            for p in some_primes(log_n) {
                let table = NttTable::with_kernels(kernels, log_n, p).unwrap();
                let m = *table.modulus();
                for a in inputs(&mut rng, p, 1 << log_n).into_iter().skip(3) {
                    let mut values = a.clone();
                    table.forward(&mut values);
                    for (i, &value) in values.iter().enumerate().step_by(1 << (log_n - 5)) {
                        let x = m.to_montgomery(m.pow(table.psi(), table.exponent(i) as u64));
                        let slow = a.iter().rev().fold(0, |acc, &c| m.add(m.mul_montgomery(acc, x), c));
                        assert_eq!(value, slow, "{} N = 2^{log_n}, p = {p}, entry {i}", kernels.name);
                    }
                }
            }
        }
    }
}

/// Every size on every set against the scalar set, which `forward_is_evaluation` checks, and against an independent
/// library wherever that chose the same root or not: its order is ours, so its values differ by an automorphism,
/// which the product of two polynomials does not show.
#[test]
fn all_kernels_agree() {
    let mut rng = StdRng::seed_from_u64(2);
    for log_n in LOG_N_RANGE {
        for p in some_primes(log_n) {
            let reference = NttTable::with_kernels(Kernels::scalar(), log_n, p).unwrap();
            let m = *reference.modulus();
            let sets = Kernels::available().into_iter().skip(1);
            let tables: Vec<NttTable> = sets.map(|k| NttTable::with_kernels(k, log_n, p).unwrap()).collect();
            for a in inputs(&mut rng, p, 1 << log_n) {
                let mut values = a.clone();
                reference.forward(&mut values);
                let (mut coefficients, mut unscaled) = (a.clone(), a.clone());
                reference.inverse(&mut coefficients);
                reference.inverse_unscaled(&mut unscaled);
                let n = (1u32 << log_n) % p;
                assert!(coefficients.iter().zip(&unscaled).all(|(&c, &u)| m.mul(c, n) == u));
                let mut back = values.clone();
                reference.inverse(&mut back);
                assert_eq!(back, a);
                for table in &tables {
                    let run = |f: &dyn Fn(&mut [u32])| {
                        let mut out = a.clone();
                        f(&mut out);
                        out
                    };
                    assert!(run(&|x| table.forward(x)) == values, "forward of {table:?}");
                    assert!(run(&|x| table.inverse(x)) == coefficients, "inverse of {table:?}");
                    assert!(run(&|x| table.inverse_unscaled(x)) == unscaled, "unscaled inverse of {table:?}");
                }
            }
        }
    }
}

#[test]
fn products_agree_with_another_library() {
    let mut rng = StdRng::seed_from_u64(3);
    for log_n in [5, 10, 13, 15] {
        let p = primes::nearest(log_n, 30.0, 1, &[]).unwrap()[0];
        let (table, plan) = (NttTable::new(log_n, p).unwrap(), Plan::try_new(1 << log_n, p).unwrap());
        let m = *table.modulus();
        let [a, b] = [0, 1].map(|_| (0..1 << log_n).map(|_| rng.random_range(0..p)).collect::<Vec<u32>>());
        let product = |forward: &dyn Fn(&mut [u32])| -> Vec<u32> {
            let (mut a, mut b) = (a.clone(), b.clone());
            forward(&mut a);
            forward(&mut b);
            a.iter().zip(&b).map(|(&a, &b)| m.mul(a, b)).collect()
        };
        let mut ours = product(&|x| table.forward(x));
        let mut theirs = product(&|x| plan.fwd(x));
        table.inverse(&mut ours);
        plan.inv(&mut theirs);
        plan.normalize(&mut theirs);
        assert_eq!(ours, theirs);
    }
}

#[test]
fn refuses_what_it_cannot_transform() {
    assert!(matches!(NttTable::new(3, 97), Err(RingError::Degree { .. })));
    assert!(matches!(NttTable::new(10, 97), Err(RingError::Modulus { .. })));
    assert!(matches!(NttTable::new(10, 2049 * 2), Err(RingError::Modulus { .. })));
}
