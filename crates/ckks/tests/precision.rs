//! Error statistics.

use umbra_ckks::PrecisionStats;

#[test]
fn compares() {
    let stats = PrecisionStats::compare(&[1.0, 2.25, 3.0], &[1.0, 2.0, 2.5]);
    assert_eq!((stats.count, stats.max_error, stats.mean_error, stats.min_bits), (3, 0.5, 0.25, 1.0));
    assert!(stats.to_string().contains("bits"));
}
