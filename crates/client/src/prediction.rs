//! From logits to what an image shows.

use umbra_image::{ensemble_probabilities, softmax, top_class};
use umbra_program::{LayoutError, Logits, Residuals};

/// What a network, or an ensemble, says of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Index of the likeliest class.
    pub class: usize,
    /// One a class; of an ensemble that the client averages, the mean over its networks.
    pub probabilities: Vec<f64>,
    /// Logits of each network; of one alone, or of one mean where the server averages, one vector.
    pub logits: Vec<Vec<f64>>,
    /// The worst of all vectors.
    pub residuals: Residuals,
}

impl Prediction {
    /// Of the vectors of logits of an image: at least one.
    ///
    /// # Errors
    /// [`LayoutError::NoClass`] where a logit is not a number.
    pub fn new(vectors: Vec<Logits>) -> Result<Self, LayoutError> {
        let worst = |of: fn(&Residuals) -> f64| vectors.iter().map(|l| of(&l.residuals)).fold(0.0, f64::max);
        let residuals = Residuals { zero_slots: worst(|r| r.zero_slots), copies: worst(|r| r.copies) };
        let logits: Vec<Vec<f64>> = vectors.into_iter().map(|l| l.values).collect();
        let (class, probabilities) = match &logits[..] {
            // Probabilities of logits far apart are equal in 64 bits.
            [one] => (top_class(one), softmax(one)),
            members => {
                let probabilities = ensemble_probabilities(members);
                (top_class(&probabilities), probabilities)
            }
        };
        Ok(Self { class: class.ok_or(LayoutError::NoClass)?, probabilities, logits, residuals })
    }

    /// Of so many vectors an image, image by image. An image is refused where one of its vectors is.
    #[must_use]
    pub fn of_images(found: Vec<Result<Logits, LayoutError>>, vectors: usize) -> Vec<Result<Self, LayoutError>> {
        let mut images = Vec::with_capacity(found.len() / vectors.max(1));
        let mut found = found.into_iter().peekable();
        while found.peek().is_some() {
            let own: Vec<Result<Logits, LayoutError>> = found.by_ref().take(vectors.max(1)).collect();
            images.push(own.into_iter().collect::<Result<Vec<_>, _>>().and_then(Self::new));
        }
        images
    }

    /// The classes from the likeliest to the least likely.
    #[must_use]
    pub fn ranking(&self) -> Vec<usize> {
        let score = if let [one] = &self.logits[..] { one } else { &self.probabilities };
        let mut order: Vec<usize> = (0..score.len()).collect();
        order.sort_by(|&a, &b| score[b].total_cmp(&score[a]));
        order
    }

    /// The probability of the likeliest class.
    #[must_use]
    pub fn confidence(&self) -> f64 {
        self.probabilities.get(self.class).copied().unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn ranking_tells_logits_apart_whose_probabilities_are_equal() {
        let found = vec![logits(&[800.0, 0.0, 1.0], 0.0)];
        let prediction = Prediction::of_images(found, 1).remove(0).expect("a prediction");
        assert_eq!(prediction.probabilities[1..], [0.0, 0.0]);
        assert_eq!(prediction.ranking(), [0, 2, 1]);
    }
}
