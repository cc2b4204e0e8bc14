//! From logits to what an image shows.

use umbra_client::{Logits, Prediction, sharing_unit};
use umbra_program::{LayoutError, Residuals};

fn logits(values: &[f64], copies: f64) -> Result<Logits, LayoutError> {
    Ok(Logits { values: values.to_vec(), residuals: Residuals { zero_slots: 0.25, copies } })
}

#[test]
fn an_ensemble_is_the_mean_of_probabilities_and_the_worst_of_residuals() {
    let found = vec![logits(&[3f64.ln(), 0.0], 0.5), logits(&[0.0, 0.0], 0.125)];
    let [prediction] = &Prediction::of_images(found, 2)[..] else { panic!("one image") };
    let prediction = prediction.as_ref().expect("a prediction");
    assert_eq!((prediction.class, prediction.logits.len()), (0, 2));
    assert!((prediction.probabilities[0] - 0.625).abs() < 1e-12);
    assert_eq!(prediction.residuals, Residuals { zero_slots: 0.25, copies: 0.5 });
    assert_eq!(prediction.confidence(), prediction.probabilities[0]);
}

#[test]
fn an_image_is_refused_where_one_of_its_vectors_is() {
    let refused = LayoutError::Copies { found: 3.0, limit: 1.0 };
    let found =
        vec![logits(&[0.0, 1.0], 0.0), Err(refused.clone()), logits(&[2.0, 1.0], 0.0), logits(&[2.0, 1.0], 0.0)];
    let images = Prediction::of_images(found, 2);
    assert_eq!(images[0], Err(refused));
    assert_eq!(images[1].as_ref().expect("a prediction").class, 0);
    assert_eq!(Prediction::of_images(vec![logits(&[0.0, f64::NAN], 0.0)], 1), [Err(LayoutError::NoClass)]);
}

#[test]
fn what_is_passed_on_has_few_digits_and_the_same_class() {
    for (error, unit) in [(0.014, 0.03125), (0.031, 0.0625), (0.25, 0.5), (0.0, 2f64.powi(-20))] {
        assert_eq!(sharing_unit(error), unit);
    }
    let found = [logits(&[1.0013, 1.0021, -3.1427926], 0.013), logits(&[0.5, 0.51, 0.0], 0.0)];
    for count in [1, 2] {
        let exact = Prediction::new(found[..count].iter().map(|l| l.clone().unwrap()).collect()).unwrap();
        let shared = exact.rounded(0.0625);
        assert_eq!((shared.class, exact.class), (1, 1));
        assert_eq!(shared.logits[0], [1.0, 1.0, -3.125]);
        assert_eq!(shared.residuals, Residuals { zero_slots: 0.25, copies: 0.01 });
        let near =
            |(a, b): (&f64, &f64)| (a - b).abs() < 0.01 && (a * 1e4).fract().abs().min(1.0 - (a * 1e4).fract()) < 1e-6;
        assert!(shared.probabilities.iter().zip(&exact.probabilities).all(near), "{shared:?} {exact:?}");
        assert_ne!(shared.probabilities, exact.probabilities);
    }
}

#[test]
fn ranking_tells_logits_apart_whose_probabilities_are_equal() {
    let found = vec![logits(&[800.0, 0.0, 1.0], 0.0)];
    let prediction = Prediction::of_images(found, 1).remove(0).expect("a prediction");
    assert_eq!(prediction.probabilities[1..], [0.0, 0.0]);
    assert_eq!(prediction.ranking(), [0, 2, 1]);
}
