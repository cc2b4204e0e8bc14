//! Base conversion against integers.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use umbra_ring::convert::BaseConverter;
use umbra_ring::kernels::Kernels;
use umbra_ring::{Modulus, primes};

#[test]
fn converts_centred_integers() {
    let mut rng = StdRng::seed_from_u64(6);
    let mut all = primes::nearest(5, 30.0, 6, &[]).unwrap();
    all.extend(primes::nearest(5, 24.0, 2, &all).unwrap());
    let moduli: Vec<Modulus> = all.iter().map(|&p| Modulus::new(p).unwrap()).collect();
    for (from, to) in [(0..1, 1..8), (0..3, 3..8), (4..8, 0..4)] {
        let (from, to) = (&moduli[from], &moduli[to]);
        let product: i128 = from.iter().map(|m| m.value() as i128).product();
        for exact in [true, false] {
            let factor = 12345;
            let outer = 777;
            let converter = BaseConverter::new(from, to, exact, |m| factor % m.value(), |m| outer % m.value());
            let x: Vec<i128> = (0..64).map(|_| rng.random_range(-product / 2..=product / 2)).collect();
            let kernels = Kernels::best();
            let mut y = vec![vec![0i32; 64]; from.len() + 1];
            for (i, m) in from.iter().enumerate() {
                let limb: Vec<u32> = x.iter().map(|&x| m.reduce_i128(x)).collect();
                converter.prepare(kernels, i, &limb, &mut y[i]);
            }
            let (sources, last) = y.split_at_mut(from.len());
            let sources: Vec<&[i32]> = sources.iter().map(Vec::as_slice).collect();
            converter.quotient(kernels, &sources, &mut last[0]);
            let mut columns = sources;
            columns.push(&last[0]);
            let mut out = vec![vec![0; 64]; to.len()];
            let mut outputs: Vec<&mut [u32]> = out.iter_mut().map(Vec::as_mut_slice).collect();
            converter.convert(kernels, 0, &columns[..converter.columns()], &mut outputs);
            for (t, m) in to.iter().enumerate() {
                for (i, &x) in x.iter().enumerate() {
                    let x = num(x, factor as i128, product);
                    let near = |k: i128| {
                        let x = m.reduce_i128(x) as i128 + k * (product % m.value() as i128);
                        m.reduce_i128(x * outer as i128)
                    };
                    if exact {
                        assert_eq!(out[t][i], near(0));
                    } else {
                        let bound = from.len() as i128;
                        assert!((-bound..=bound).any(|k| near(k) == out[t][i]));
                    }
                }
            }
        }
    }

    /// `a * b mod p`, centred, without overflow.
    fn num(a: i128, b: i128, p: i128) -> i128 {
        let mut out = 0i128;
        for bit in (0..32).rev() {
            out = (out * 2).rem_euclid(p);
            if b >> bit & 1 == 1 {
                out = (out + a).rem_euclid(p);
            }
        }
        if out > p / 2 { out - p } else { out }
    }
}
