//! From logits to what an image shows.

use umbra_image::{ensemble_probabilities, softmax, top_class};
use umbra_program::{ClientSpec, LayoutError, Logits, Residuals};

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

    /// The same for passing on: logits rounded to multiples of `unit`, residuals to hundredths, and probabilities of
    /// the rounded logits, to four digits. The class stays that of the logits as they were. See [`sharing_unit`].
    #[must_use]
    pub fn rounded(&self, unit: f64) -> Self {
        let round = |v: &f64| (v / unit).round() * unit;
        let hundredths = |v: &f64| (v * 100.0).round() / 100.0;
        let logits: Vec<Vec<f64>> = self.logits.iter().map(|l| l.iter().map(round).collect()).collect();
        let probabilities = match &logits[..] {
            [one] => softmax(one),
            members => ensemble_probabilities(members),
        };
        let Residuals { zero_slots, copies } = &self.residuals;
        Self {
            class: self.class,
            probabilities: probabilities.iter().map(|p| (p * 1e4).round() / 1e4).collect(),
            logits,
            residuals: Residuals { zero_slots: hundredths(zero_slots), copies: hundredths(copies) },
        }
    }

    /// The classes from the likeliest to the least likely.
    #[must_use]
    pub fn ranking(&self) -> Vec<usize> {
        let score = if let [one] = &self.logits[..] { one } else { &self.probabilities };
        let mut order: Vec<usize> = (0..score.len()).collect();
        order.sort_by(|&a, &b| score[b].total_cmp(&score[a]));
        order
    }

    /// Why it means little, where the logits are unlike those of training: see [`unlike_logits`].
    #[must_use]
    pub fn unlike(&self, spec: &ClientSpec) -> Option<String> {
        unlike_logits(&self.logits, spec)
    }

    /// The probability of the likeliest class.
    #[must_use]
    pub fn confidence(&self) -> f64 {
        self.probabilities.get(self.class).copied().unwrap_or(f64::NAN)
    }
}

/// What logits of an image have that those of training have not, in words: one beyond their range, or the largest one
/// far from those of samples. `vectors` are those of each network.
#[must_use]
pub fn unlike_logits(vectors: &[Vec<f64>], spec: &ClientSpec) -> Option<String> {
    vectors.iter().find_map(|logits| {
        let outside = |[low, high]: [f64; 2]| logits.iter().copied().find(|v| !(low..=high).contains(v));
        if let Some((value, [low, high])) = spec.logit_range.and_then(|range| Some((outside(range)?, range))) {
            return Some(format!("logit {value:.1} is outside those of training, {low:.1} to {high:.1}"));
        }
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let [low, high] = spec.familiar.filter(|familiar| familiar.is_unlike(largest))?.largest_logit;
        Some(format!("the largest logit is {largest:.1}, those of training images are within {low:.1} to {high:.1}"))
    })
}

/// What numbers are rounded to that are passed on: the power of two that is two to four times the predicted error of a
/// logit. Noise depends on the secret key and is a part of that error, so that rounded numbers tell nothing about it
/// but near the midpoints (SECURITY.md, IND-CPA-D); and they are about as exact as before.
#[must_use]
pub fn sharing_unit(logit_error: f64) -> f64 {
    // Of an error that is nothing, something that 64 bits can hold.
    (2.0 * logit_error).max(2f64.powi(-20)).log2().ceil().exp2()
}
