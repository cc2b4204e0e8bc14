//! The images that ship: eight of the CIFAR-10 test set, named after their true classes.

use umbra_image::{Image, ImageSpec};

use crate::UmbraError;

const SAMPLES: [(&str, &[u8]); 8] = [
    ("airplane", include_bytes!("../../../assets/images/airplane.png")),
    ("automobile", include_bytes!("../../../assets/images/automobile.png")),
    ("cat", include_bytes!("../../../assets/images/cat.png")),
    ("dog", include_bytes!("../../../assets/images/dog.png")),
    ("frog", include_bytes!("../../../assets/images/frog.png")),
    ("horse", include_bytes!("../../../assets/images/horse.png")),
    ("ship", include_bytes!("../../../assets/images/ship.png")),
    ("truck", include_bytes!("../../../assets/images/truck.png")),
];

/// Their names.
#[must_use]
pub fn names() -> Vec<&'static str> {
    SAMPLES.iter().map(|(name, _)| *name).collect()
}

/// The image of that name, as a network takes it.
///
/// # Errors
/// [`UmbraError::NoSample`]; [`UmbraError::Decode`] for a network whose input is no image.
pub fn sample(name: &str, input: &ImageSpec) -> Result<Image, UmbraError> {
    let found = SAMPLES.iter().find(|(n, _)| *n == name);
    let (_, bytes) = found.ok_or_else(|| UmbraError::NoSample { name: name.into(), expected: names() })?;
    Ok(Image::decode(bytes, input)?)
}

#[cfg(test)]
mod tests {
    use umbra_image::Normalisation;

    use super::*;

    #[test]
    fn every_sample_decodes_as_it_is() {
        let normalisation = Normalisation::PerImage { min_std: 0.05 };
        let input = ImageSpec { channels: 3, height: 32, width: 32, normalisation, clip: None };
        for name in names() {
            assert!(sample(name, &input).unwrap().notes().is_empty(), "{name}");
        }
        assert!(sample("unicorn", &input).unwrap_err().to_string().contains("airplane"));
    }
}
