//! Whether an image is of the kind that a network was trained on, as far as a few numbers tell.
//!
//! A network has an answer to every image. One of a single colour, noise, or a drawing of a few dots is far from
//! everything that it has seen, and its answer means nothing. Ranges of a few statistics, and of the largest logit, are
//! taken from the samples that a network brings; they are wide, for samples are few.

use serde::{Deserialize, Serialize};

use crate::ImageSpec;

/// Samples that ranges are taken from at least.
const FEWEST: usize = 8;

/// Statistics of a normalised image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    /// Mean over all values.
    pub mean: f64,
    /// Their standard deviation.
    pub deviation: f64,
    /// Mean square of the difference of neighbours, as a part of that of values far apart: 0 where nothing changes from
    /// pixel to pixel, 1 of noise.
    pub roughness: f64,
}

/// Ranges of what samples have, widened: what lies outside is unlike them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Familiar {
    /// Of [`Statistics::mean`].
    pub mean: [f64; 2],
    /// Of [`Statistics::deviation`].
    pub deviation: [f64; 2],
    /// Of [`Statistics::roughness`].
    pub roughness: [f64; 2],
    /// Of the largest logit of an image, in the clear.
    pub largest_logit: [f64; 2],
}

impl Statistics {
    /// Of a normalised image, `[channels, height, width]`.
    #[must_use]
    pub fn of(values: &[f32], spec: &ImageSpec) -> Self {
        let count = values.len().max(1) as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
        let (mut differences, mut pairs) = (0.0, 0usize);
        let mut pair = |a: f32, b: f32| {
            differences += f64::from(a - b).powi(2);
            pairs += 1;
        };
        for plane in values.chunks_exact((spec.height * spec.width).max(1)) {
            let rows = || plane.chunks_exact(spec.width);
            rows().for_each(|row| row.windows(2).for_each(|w| pair(w[0], w[1])));
            rows().zip(rows().skip(1)).for_each(|(a, b)| a.iter().zip(b).for_each(|(a, b)| pair(*a, *b)));
        }
        let roughness = differences / (2.0 * variance * pairs.max(1) as f64);
        Self { mean, deviation: variance.sqrt(), roughness: if roughness.is_finite() { roughness } else { 0.0 } }
    }
}

impl Familiar {
    /// Of samples, each with its largest logit; none where they are too few to tell.
    #[must_use]
    pub fn of(samples: &[(Statistics, f64)]) -> Option<Self> {
        let all = |f: fn(&(Statistics, f64)) -> f64| samples.iter().map(f).collect::<Vec<f64>>();
        // Deviations and roughness are told apart by their ratios.
        let ratios = |f, deviations, least: f64| around(&all(f), deviations, least.ln()).map(f64::exp);
        let found = Self {
            mean: around(&all(|s| s.0.mean), 6.0, 0.5),
            deviation: ratios(|s| s.0.deviation.ln(), 6.0, 2.5),
            roughness: ratios(|s| s.0.roughness.ln(), 4.5, 2.0),
            largest_logit: around(&all(|s| s.1), 4.5, 0.0),
        };
        (samples.len() >= FEWEST && found.is_sound()).then_some(found)
    }

    /// Whether all are ranges.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let Self { mean, deviation, roughness, largest_logit } = self;
        [mean, deviation, roughness, largest_logit].iter().all(|[a, b]| a.is_finite() && b.is_finite() && a <= b)
    }

    /// What an image has that no sample comes near, in words; nothing where it is like them.
    #[must_use]
    pub fn unlike(&self, image: &Statistics) -> Option<String> {
        let far = |what: &str, found: f64, [low, high]: [f64; 2]| {
            let outside = !(low..=high).contains(&found);
            outside.then(|| format!("{what} is {found:.3}, theirs are within {low:.3} to {high:.3}"))
        };
        far("the deviation of its values", image.deviation, self.deviation)
            .or_else(|| far("their mean", image.mean, self.mean))
            .or_else(|| far("the roughness from pixel to pixel", image.roughness, self.roughness))
    }

    /// Whether no sample has a largest logit near this one.
    #[must_use]
    pub fn is_unlike(&self, largest_logit: f64) -> bool {
        let [low, high] = self.largest_logit;
        !(low..=high).contains(&largest_logit)
    }
}

/// So many standard deviations around the mean, but `least` at least.
fn around(values: &[f64], deviations: f64, least: f64) -> [f64; 2] {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let reach = (deviations * variance.sqrt()).max(least);
    [mean - reach, mean + reach]
}
