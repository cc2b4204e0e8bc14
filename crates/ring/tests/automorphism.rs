//! Automorphisms of transformed polynomials against substitution.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use umbra_ring::automorphism::{inverse_element, rotation_element};
use umbra_ring::{Automorphism, NttTable, primes};

#[test]
fn permutes_like_substitution() {
    let (log_n, n) = (7, 128u32);
    let p = primes::nearest(log_n, 30.0, 1, &[]).unwrap()[0];
    let table = NttTable::new(log_n, p).unwrap();
    let mut rng = StdRng::seed_from_u64(2);
    let a: Vec<u32> = (0..n).map(|_| rng.random_range(0..p)).collect();
    for g in [1, 5, 25, 255, 77] {
        let mut substituted = vec![0; n as usize];
        for (i, &c) in a.iter().enumerate() {
            let e = i as u32 * g % (2 * n);
            substituted[(e % n) as usize] = if e < n { c } else { (p - c) % p };
        }
        table.forward(&mut substituted);
        let mut values = a.clone();
        table.forward(&mut values);
        let map = Automorphism::new(log_n, g).unwrap();
        let permuted: Vec<u32> = map.source().iter().map(|&s| values[s as usize]).collect();
        assert_eq!(permuted, substituted);
        for block in [4usize, 16, 64] {
            for (i, chunk) in map.source().chunks(block).enumerate() {
                let base = chunk[0] as usize / block;
                assert!(chunk.iter().all(|&s| s as usize / block == base), "block {i} of {block}");
            }
        }
        assert_eq!(g.wrapping_mul(inverse_element(log_n, g)) % (2 * n), 1);
    }
    assert_eq!(rotation_element(log_n, -1).wrapping_mul(5) % (2 * n), 1);
}
