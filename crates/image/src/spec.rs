//! The images that a network takes, and how their bytes become its input.

use serde::{Deserialize, Serialize};

use crate::ImageError;

/// Images larger than this on a side are refused: nothing of that size can be packed.
const MAX_SIDE: usize = 1024;
/// Channels of an image at most.
const MAX_CHANNELS: usize = 16;

/// Size and normalisation of the images of a network. In files as the manifest has it, with the bound as a part of the
/// normalisation; what is read is checked where a network or a program is made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "SpecEntry", from = "SpecEntry")]
pub struct ImageSpec {
    /// 3 (red, green, blue) or 1 (gray) for real images.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// From bytes to the network's input.
    pub normalisation: Normalisation,
    /// Bound of a normalised value on either side, where there is one: squares would take a few pixels that are far
    /// outside the range of training out of it altogether. Before encryption, a bound costs nothing.
    pub clip: Option<f64>,
}

/// How bytes `x` of an image become numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Normalisation {
    /// `(x/255 - mean) / max(std, min_std)`: mean and unbiased standard deviation of all values of this image.
    PerImage {
        /// Lower bound of the divisor, for images of a single colour.
        min_std: f64,
    },
    /// `(x/255 - mean[c]) / std[c]` with fixed statistics.
    PerChannel {
        /// One a channel.
        mean: Vec<f64>,
        /// One a channel, positive.
        std: Vec<f64>,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecEntry {
    channels: usize,
    height: usize,
    width: usize,
    normalisation: NormalisationEntry,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum NormalisationEntry {
    #[serde(alias = "per_picture")]
    PerImage {
        min_std: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clip: Option<f64>,
    },
    PerChannel {
        mean: Vec<f64>,
        std: Vec<f64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clip: Option<f64>,
    },
}

impl From<ImageSpec> for SpecEntry {
    fn from(input: ImageSpec) -> Self {
        let ImageSpec { channels, height, width, normalisation, clip } = input;
        let normalisation = match normalisation {
            Normalisation::PerImage { min_std } => NormalisationEntry::PerImage { min_std, clip },
            Normalisation::PerChannel { mean, std } => NormalisationEntry::PerChannel { mean, std, clip },
        };
        Self { channels, height, width, normalisation }
    }
}

impl From<SpecEntry> for ImageSpec {
    fn from(entry: SpecEntry) -> Self {
        let SpecEntry { channels, height, width, normalisation } = entry;
        let (normalisation, clip) = match normalisation {
            NormalisationEntry::PerImage { min_std, clip } => (Normalisation::PerImage { min_std }, clip),
            NormalisationEntry::PerChannel { mean, std, clip } => (Normalisation::PerChannel { mean, std }, clip),
        };
        Self { channels, height, width, normalisation, clip }
    }
}

impl ImageSpec {
    /// Number of values of one image.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Normalises and clips one image: `bytes[C, H, W]`, channel by channel, to as many numbers in the same order.
    ///
    /// # Errors
    /// [`ImageError::Invalid`] where the number of bytes is another.
    pub fn normalise(&self, bytes: &[u8]) -> Result<Vec<f32>, ImageError> {
        if bytes.len() != self.len() {
            return Err(ImageError::Invalid {
                what: "number of values of the image".into(),
                found: bytes.len().to_string(),
                expected: format!("{} x {} x {}", self.channels, self.height, self.width),
            });
        }
        let unit = |&byte: &u8| f64::from(byte) / 255.0;
        let mut values: Vec<f32> = match &self.normalisation {
            Normalisation::PerImage { min_std } => {
                let n = bytes.len() as f64;
                let mean = bytes.iter().map(unit).sum::<f64>() / n;
                let squares: f64 = bytes.iter().map(|b| (unit(b) - mean).powi(2)).sum();
                let std = (squares / (n - 1.0).max(1.0)).sqrt().max(*min_std);
                bytes.iter().map(|b| ((unit(b) - mean) / std) as f32).collect()
            }
            Normalisation::PerChannel { mean, std } => bytes
                .chunks_exact(self.height * self.width)
                .zip(mean.iter().zip(std))
                .flat_map(|(plane, (mean, std))| plane.iter().map(move |b| ((unit(b) - mean) / std) as f32))
                .collect(),
        };
        if let Some(bound) = self.clip {
            values.iter_mut().for_each(|v| *v = v.max(-bound as f32).min(bound as f32));
        }
        Ok(values)
    }

    /// Checks that an image of this kind can be: sizes, bound, normalisation.
    ///
    /// # Errors
    /// [`ImageError::Invalid`] with the first thing that does not fit.
    pub fn check(&self) -> Result<(), ImageError> {
        let invalid = |what: &str, found: String, expected: String| {
            Err(ImageError::Invalid { what: format!("input: {what}"), found, expected })
        };
        let sides = [
            ("channels", self.channels, MAX_CHANNELS),
            ("height", self.height, MAX_SIDE),
            ("width", self.width, MAX_SIDE),
        ];
        for (what, found, limit) in sides {
            if found == 0 || found > limit {
                return invalid(what, found.to_string(), format!("1 to {limit}"));
            }
        }
        let positive = |v: &f64| v.is_finite() && *v > 0.0;
        if let Some(bound) = self.clip.filter(|bound| !positive(bound)) {
            return invalid("clip", bound.to_string(), "a positive number".into());
        }
        match &self.normalisation {
            Normalisation::PerImage { min_std } if !positive(min_std) => {
                invalid("min_std", min_std.to_string(), "a positive number".into())
            }
            Normalisation::PerChannel { mean, std }
                if mean.len() != self.channels
                    || std.len() != self.channels
                    || !mean.iter().all(|v| v.is_finite())
                    || !std.iter().all(positive) =>
            {
                let found = format!("mean {mean:?}, std {std:?}");
                let expected = format!("{} finite means and as many positive deviations", self.channels);
                invalid("normalisation", found, expected)
            }
            _ => Ok(()),
        }
    }
}
