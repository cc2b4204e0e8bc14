//! Encoding: periodic vectors, and what is refused.

use num_complex::Complex64;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use umbra_ckks::{CkksError, Encoder};

#[test]
fn a_periodic_vector_lies_in_the_subring() {
    let mut rng = StdRng::seed_from_u64(12);
    let (big, small) = (Encoder::new(8), Encoder::new(4));
    let period: Vec<Complex64> = (0..8).map(|_| Complex64::new(rng.random_range(-1.0..1.0), 0.0)).collect();
    let repeated: Vec<Complex64> = (0..128).map(|j| period[j % 8]).collect();
    let (coefficients, small) = (big.embed(&repeated), small.embed(&period));
    for (i, c) in coefficients.iter().enumerate() {
        let want = if i % 16 == 0 { small[i / 16] } else { 0.0 };
        assert!((c - want).abs() < 1e-12);
    }
}

#[test]
fn refuses_what_it_cannot_encode() {
    let encoder = Encoder::new(4);
    assert!(matches!(encoder.integers(&[0.0; 7], 1.0), Err(CkksError::Length { expected: 8, found: 7, .. })));
    let mut values = [0.0; 8];
    values[3] = f64::NAN;
    assert!(matches!(encoder.integers(&values, 1.0), Err(CkksError::NotFinite { index: 3, .. })));
    assert!(matches!(encoder.integers(&[1.0; 8], 1e40), Err(CkksError::Overflow { .. })));
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(encoder.integers(&[1.0; 8], scale), Err(CkksError::BadScale { .. })), "{scale}");
    }
}
