//! Images that are like samples, and others.

use umbra_image::{Familiar, ImageSpec, Normalisation, Statistics};

fn spec() -> ImageSpec {
    let normalisation = Normalisation::PerImage { min_std: 0.05 };
    ImageSpec { channels: 3, height: 16, width: 16, normalisation, clip: Some(2.5) }
}

fn statistics(pixel: impl Fn(usize, usize, usize) -> u8) -> Statistics {
    let at = |i: usize| pixel(i / 256, i / 16 % 16, i % 16);
    let bytes: Vec<u8> = (0..768).map(at).collect();
    Statistics::of(&spec().normalise(&bytes).unwrap(), &spec())
}

/// Smooth waves of several lengths and directions.
fn wave(i: usize) -> Statistics {
    statistics(|c, y, x| {
        let phase = (x as f64 * (0.3 + 0.02 * i as f64) + y as f64 * 0.25).sin() + (i as f64 * 0.11 + c as f64).cos();
        (128.0 + 50.0 * phase) as u8
    })
}

#[test]
fn statistics_are_those_of_their_definitions() {
    let white = statistics(|_, _, _| 255);
    assert_eq!((white.mean, white.deviation, white.roughness), (0.0, 0.0, 0.0));
    let checks = statistics(|_, y, x| if (x + y) % 2 == 0 { 255 } else { 0 });
    assert!((checks.roughness - 2.0).abs() < 1e-6 && (checks.deviation - 1.0).abs() < 1e-2, "{checks:?}");
    let noise =
        statistics(|c, y, x| ((c * 7919 + y * 104_729 + x * 1_299_709).wrapping_mul(2_654_435_761) >> 13) as u8);
    assert!((noise.roughness - 1.0).abs() < 0.15, "{noise:?}");
}

#[test]
fn what_is_far_from_all_samples_is_unlike_them() {
    let samples: Vec<(Statistics, f64)> = (0..16).map(|i| (wave(i), 5.0 + 0.1 * i as f64)).collect();
    assert_eq!(Familiar::of(&samples[..7]), None);
    let familiar = Familiar::of(&samples).unwrap();
    assert!((16..24).all(|i| familiar.unlike(&wave(i)).is_none()));
    let white = familiar.unlike(&statistics(|_, _, _| 255)).unwrap();
    assert!(white.contains("deviation") && white.contains("0.000"), "{white}");
    assert!(familiar.unlike(&statistics(|_, y, x| if (y, x) == (5, 5) { 255 } else { 0 })).is_some());
    let checks = familiar.unlike(&statistics(|_, y, x| if (x + y) % 2 == 0 { 255 } else { 0 })).unwrap();
    assert!(checks.contains("roughness"), "{checks}");
    assert!(!familiar.is_unlike(6.0) && familiar.is_unlike(0.0) && familiar.is_unlike(f64::NAN));
}
