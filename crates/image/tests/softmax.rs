//! From logits to classes.

use umbra_image::{ensemble_probabilities, softmax, top_class};

#[test]
fn probabilities_sum_to_one_at_any_scale() {
    for scale in [0.0, 1.0, 1e3, 1e300] {
        let p = softmax(&[scale, -scale, 0.5 * scale]);
        assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(p[0] >= p[2] && p[2] >= p[1]);
    }
    assert!((softmax(&[2f64.ln(), 0.0])[0] - 2.0 / 3.0).abs() < 1e-15);
}

#[test]
fn an_ensemble_is_the_mean_of_its_members() {
    let members = [vec![0.0, 0.0], vec![3f64.ln(), 0.0]];
    let p = ensemble_probabilities(&members);
    assert!((p[0] - 0.625).abs() < 1e-12 && (p[1] - 0.375).abs() < 1e-12);
    assert_eq!(ensemble_probabilities(&members[1..]), softmax(&members[1]));
    assert!(ensemble_probabilities(&[]).is_empty());
}

#[test]
fn the_top_class_is_the_first_largest() {
    assert_eq!(top_class(&[0.0, 3.0, -1.0, 3.0]), Some(1));
    assert_eq!(top_class(&[f64::NEG_INFINITY, 0.0]), Some(1));
    assert_eq!(top_class(&[0.0, f64::NAN]), None);
    assert_eq!(top_class(&[]), None);
}
