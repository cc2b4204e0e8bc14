//! Primes for transforms.

use umbra_ring::primes::{is_prime, nearest};

#[test]
fn agrees_with_trial_division() {
    let slow = |n: u32| n > 1 && (2..=((n as f64).sqrt() as u32 + 1)).all(|d| d >= n || !n.is_multiple_of(d));
    for n in (0..5000).chain((1 << 29)..(1 << 29) + 300) {
        assert_eq!(is_prime(n), slow(n), "{n}");
    }
}

#[test]
fn nearest_are_prime_distinct_and_congruent() {
    for log_n in [12, 15, 16] {
        let mut all: Vec<u32> = Vec::new();
        for (bits, count) in [(30.0, 30), (28.0, 2), (24.5, 3)] {
            let more = nearest(log_n, bits, count, &all).unwrap();
            assert_eq!(more.len(), count);
            for p in more {
                assert!(is_prime(p) && p % (1 << (log_n + 1)) == 1 && !all.contains(&p));
                assert!(((p as f64).log2() - bits).abs() < 0.5, "{p} for {bits}");
                all.push(p);
            }
        }
    }
    assert!(nearest(16, 18.0, 10, &[]).is_err());
}
