//! Drawn images that stand in for those of a network that brings none.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::ImageSpec;
use crate::zoo::gaussian;

/// Brightness of an image, 0 to 1: mean and deviation over images. Data sets of photographs have less (CIFAR-10: 0.48
/// and 0.13), but a few images of one kind may well be darker or brighter than these.
const BRIGHTNESS: [f64; 2] = [0.48, 0.17];
/// Deviation of a colour's brightness from that of the image.
const CAST: f64 = 0.06;
/// Contrast, the deviation of values within an image: mean, deviation over images, least and most (CIFAR-10: 0.20,
/// 0.06, from 0.03 to 0.43).
const CONTRAST: [f64; 4] = [0.20, 0.06, 0.03, 0.40];
/// Part of the variance that the colours of a place have in common.
const COMMON: f64 = 0.9;
/// Smallest and largest radius of a leaf, in sides of the image.
const RADII: [f64; 2] = [0.16, 0.9];
/// Leaves of an image: together they cover nearly all of it several times.
const LEAVES: usize = 200;
/// Points along a side of a pixel at which images of up to so many pixels are looked at; larger ones at one.
const SUBSAMPLES: (usize, usize) = (2, 128 * 128);

/// So many images, bytes `[C, H, W]`, the same for the same spec and seed: what photographs do to a network without
/// being any.
///
/// They are dead leaves (Lee, Mumford, Huang, "Occlusion models for natural images", 2001): discs of all sizes, the
/// number falling with the third power of the radius, that hide each other. Edges and spectrum are those of
/// photographs, and nothing repeats beyond the border. Brightness, colour cast and contrast differ between images as
/// they do in photographs, so that means over an image, which normalisation with fixed statistics keeps, are not all
/// alike.
#[must_use]
pub fn stand_ins(input: &ImageSpec, count: usize, seed: u64) -> Vec<Vec<u8>> {
    (0..count as u64).map(|index| stand_in(input, &mut ChaCha8Rng::seed_from_u64(seed << 32 | index))).collect()
}

fn stand_in(input: &ImageSpec, rng: &mut ChaCha8Rng) -> Vec<u8> {
    let planes = leaves(input, rng);
    let count = planes.iter().map(Vec::len).sum::<usize>() as f64;
    let mean = planes.iter().flatten().sum::<f64>() / count;
    let deviation = (planes.iter().flatten().map(|v| (v - mean).powi(2)).sum::<f64>() / count).sqrt().max(1e-9);
    let brightness = BRIGHTNESS[0] + BRIGHTNESS[1] * gaussian(rng);
    let contrast = (CONTRAST[0] + CONTRAST[1] * gaussian(rng)).clamp(CONTRAST[2], CONTRAST[3]);
    let byte = |v: f64| (255.0 * v).round().clamp(0.0, 255.0) as u8;
    (planes.iter())
        .flat_map(|plane| {
            let level = brightness + CAST * gaussian(rng);
            plane.iter().map(move |v| byte(level + contrast * (v - mean) / deviation))
        })
        .collect()
}

/// A disc, in sides of the image.
struct Leaf {
    centre: [f64; 2],
    radius: f64,
    /// How its brightness changes along rows and columns.
    slope: [f64; 2],
    /// One a channel.
    colours: Vec<f64>,
}

impl Leaf {
    fn random(channels: usize, rng: &mut ChaCha8Rng) -> Self {
        // Density r^-3: the inverse square of the radius is uniform.
        let [least, most] = RADII.map(|r: f64| r.powi(-2));
        let radius = rng.random_range(most..least).powf(-0.5);
        let mut place = || rng.random_range(-0.3..1.3);
        let centre = [place(), place()];
        Self { centre, radius, ..Self::background(channels, rng) }
    }

    /// One without end.
    fn background(channels: usize, rng: &mut ChaCha8Rng) -> Self {
        let common = COMMON.sqrt() * gaussian(rng);
        let colours = (0..channels).map(|_| common + (1.0 - COMMON).sqrt() * gaussian(rng)).collect();
        let slope = [gaussian(rng), gaussian(rng)];
        Self { centre: [0.5; 2], radius: f64::INFINITY, slope, colours }
    }

    fn offset(&self, point: [f64; 2]) -> [f64; 2] {
        [point[0] - self.centre[0], point[1] - self.centre[1]]
    }

    fn covers(&self, point: [f64; 2]) -> bool {
        let [dy, dx] = self.offset(point);
        dy * dy + dx * dx < self.radius * self.radius
    }
}

/// The planes of an image of leaves, of any brightness and contrast.
fn leaves(input: &ImageSpec, rng: &mut ChaCha8Rng) -> Vec<Vec<f64>> {
    let &ImageSpec { channels, height, width, .. } = input;
    let mut leaves: Vec<Leaf> = (0..LEAVES).map(|_| Leaf::random(channels, rng)).collect();
    leaves.push(Leaf::background(channels, rng));
    let fine = if height * width > SUBSAMPLES.1 { 1 } else { SUBSAMPLES.0 };
    let at = |pixel: usize, sub: usize, side: usize| ((pixel * fine + sub) as f64 + 0.5) / (side * fine) as f64;
    let mut planes = vec![vec![0.0; height * width]; channels];
    for pixel in 0..height * width {
        for sub in 0..fine * fine {
            let point = [at(pixel / width, sub / fine, height), at(pixel % width, sub % fine, width)];
            // The last one covers everything.
            let Some(leaf) = leaves.iter().find(|leaf| leaf.covers(point)) else { continue };
            let [dy, dx] = leaf.offset(point);
            let shade = leaf.slope[0] * dy + leaf.slope[1] * dx;
            planes.iter_mut().zip(&leaf.colours).for_each(|(plane, colour)| plane[pixel] += colour + shade);
        }
    }
    planes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Normalisation;

    fn spec(channels: usize, height: usize, width: usize) -> ImageSpec {
        ImageSpec { channels, height, width, normalisation: Normalisation::PerImage { min_std: 0.05 }, clip: None }
    }

    fn mean(values: impl Iterator<Item = f64> + Clone) -> f64 {
        values.clone().sum::<f64>() / values.count().max(1) as f64
    }

    fn deviation(values: impl Iterator<Item = f64> + Clone) -> f64 {
        let mean_value = mean(values.clone());
        mean(values.map(|v| (v - mean_value).powi(2))).sqrt()
    }

    #[test]
    fn they_have_the_statistics_of_photographs() {
        let images = stand_ins(&spec(3, 32, 32), 200, 7);
        let values = |image: &Vec<u8>| image.iter().map(|b| f64::from(*b) / 255.0).collect::<Vec<_>>();
        let images: Vec<Vec<f64>> = images.iter().map(values).collect();
        let brightness: Vec<f64> = images.iter().map(|i| mean(i.iter().copied())).collect();
        let contrasts: Vec<f64> = images.iter().map(|i| deviation(i.iter().copied())).collect();
        let near = |found: f64, expected: f64, by: f64| assert!((found - expected).abs() < by, "{found} {expected}");
        near(mean(brightness.iter().copied()), 0.48, 0.04);
        near(deviation(brightness.iter().copied()), 0.17, 0.03);
        near(mean(contrasts.iter().copied()), 0.20, 0.03);
        near(deviation(contrasts.iter().copied()), 0.055, 0.02);
        // Neighbours are alike, distant pixels are not: correlations of 10,000 photographs at distances of 1, 4 and 8
        // are 0.89, 0.54 and 0.32.
        let correlation = |distance: usize| {
            let of_image = |image: &Vec<f64>| {
                let plane = &image[..1024];
                let m = mean(plane.iter().copied());
                let rows = plane.chunks(32).flat_map(|row| row.iter().zip(&row[distance..]));
                mean(rows.map(|(a, b)| (a - m) * (b - m))) / deviation(plane.iter().copied()).powi(2).max(1e-9)
            };
            mean(images.iter().map(of_image).collect::<Vec<_>>().into_iter())
        };
        let found = [1, 4, 8].map(correlation);
        let expected = [0.8..0.95, 0.4..0.7, 0.1..0.5];
        assert!(found.iter().zip(&expected).all(|(found, expected)| expected.contains(found)), "{found:?}");
    }

    #[test]
    fn all_specs_have_some_and_seeds_tell_them_apart() {
        for (channels, height, width) in [(1, 1, 1), (1, 28, 28), (5, 7, 40), (3, 1, 1024)] {
            let spec = spec(channels, height, width);
            let images = stand_ins(&spec, 3, 1);
            assert!(images.iter().all(|image| image.len() == spec.len()));
            assert_eq!(images, stand_ins(&spec, 3, 1));
            if height > 1 {
                assert_ne!(images[0], images[1]);
                assert_ne!(images, stand_ins(&spec, 3, 2));
            }
        }
    }
}
