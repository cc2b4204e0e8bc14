//! Distributions of random polynomials.

use umbra_ring::Modulus;
use umbra_ring::kernels::Kernels;
use umbra_ring::sampling::{ERROR_SIGMA, gaussian, normal_pair, small_to_residues, stream, ternary, uniform};

#[test]
fn streams_differ_and_repeat() {
    let m = Modulus::new(1073479681).unwrap();
    let draw = |seed: u8, index: u64| {
        let mut out = vec![0; 64];
        uniform(Kernels::best(), &m, &[seed; 32], ("umbra test", &[index]), &mut out);
        out
    };
    assert_eq!(draw(1, 2), draw(1, 2));
    assert_ne!(draw(1, 2), draw(1, 3));
    assert_ne!(draw(1, 2), draw(2, 2));
}

#[test]
fn normal_numbers_are_normal() {
    let mut rng = stream(&[3; 32], "umbra test", &[]);
    let pairs: Vec<[f64; 2]> = (0..100_000).map(|_| normal_pair(&mut rng)).collect();
    let mean = |f: &dyn Fn(&[f64; 2]) -> f64| pairs.iter().map(f).sum::<f64>() / pairs.len() as f64;
    for i in 0..2 {
        assert!(mean(&|p| p[i]).abs() < 0.02 && (mean(&|p| p[i] * p[i]) - 1.0).abs() < 0.03);
        // Kurtosis, and the part beyond two deviations.
        assert!((mean(&|p| p[i].powi(4)) - 3.0).abs() < 0.15);
        assert!((mean(&|p| f64::from(p[i].abs() > 2.0)) - 0.0455).abs() < 0.004);
    }
    assert!(mean(&|p| p[0] * p[1]).abs() < 0.02);
}

#[test]
fn distributions() {
    let mut rng = stream(&[9; 32], "umbra test", &[]);
    let n = 1 << 18;
    let counts = |x: &[i8], v: i8| x.iter().filter(|&&y| y == v).count() as f64 / n as f64;
    let t = ternary(&mut rng, n);
    for v in -1..=1 {
        assert!((counts(&t, v) - 1.0 / 3.0).abs() < 0.005);
    }
    let g = gaussian(&mut rng, n);
    let variance = g.iter().map(|&x| (x as f64).powi(2)).sum::<f64>() / n as f64;
    let mean = g.iter().map(|&x| x as f64).sum::<f64>() / n as f64;
    assert!((variance.sqrt() - ERROR_SIGMA).abs() < 0.03, "{variance}");
    assert!(mean.abs() < 0.03, "{mean}");
    let total: f64 = (-30..=30i32).map(|k| (-(k as f64).powi(2) / (2.0 * 3.2 * 3.2)).exp()).sum();
    for k in 0..6i8 {
        let want = (-(k as f64).powi(2) / (2.0 * 3.2 * 3.2)).exp() / total;
        for v in [k, -k] {
            assert!((counts(&g, v) - want).abs() < 0.004, "{v}");
        }
    }
    let m = Modulus::new(1073479681).unwrap();
    let mut u = vec![0; n];
    uniform(Kernels::best(), &m, &[9; 32], ("umbra test", &[1]), &mut u);
    assert!(u.iter().all(|&x| x < m.value()));
    let mean = u.iter().map(|&x| x as f64).sum::<f64>() / n as f64 / m.value() as f64;
    assert!((mean - 0.5).abs() < 0.003);
    let mut r = vec![0; 3];
    small_to_residues(&m, &[-2, 0, 3], &mut r);
    assert_eq!(r, [m.value() - 2, 0, 3]);
}
