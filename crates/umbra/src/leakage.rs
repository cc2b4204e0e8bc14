//! What the owner of the keys can read in results beyond the logits: features of the last layer, predicted from slots
//! without logit.
//!
//! Ridge regression, and the part of the features' variance that it explains of images that it was not fitted to: each
//! image is predicted from all others (leave-one-out, in closed form), and the penalty is the one that does best. So
//! nothing is explained by there being more slots than images, and results that are noise come out at 0 or below.

use nalgebra::{DMatrix, DVector, SymmetricEigen};
use rayon::prelude::*;
use serde::Serialize;
use umbra_model::{Graph, NodeId, Reference};

use crate::progress::{Meter, Phase, Watch};
use crate::{Session, UmbraError};

/// Penalties, as parts of the mean eigenvalue of the slots' covariance.
const PENALTIES: [i32; 12] = [-9, -7, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4];

/// What results give away.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeakageReport {
    /// Images that were evaluated.
    pub images: usize,
    /// Features of the last layer.
    pub features: usize,
    /// Slots without logit in a result.
    pub slots: usize,
    /// Root mean square of what they hold.
    pub rms: f64,
    /// Parts of the features' variance that are explained by the means over periods of what is in slots without logit.
    pub explained_by_means: f64,
    /// By what differs from period to period, in all slots, those of the logits too.
    pub explained_by_noise: f64,
    /// By the imaginary parts of all slots.
    pub explained_by_imaginary: f64,
}

impl LeakageReport {
    /// The largest part that is explained.
    #[must_use]
    pub fn explained(&self) -> f64 {
        self.explained_by_means.max(self.explained_by_noise).max(self.explained_by_imaginary)
    }
}

/// Evaluates images one by one, each in the first batch slot, and predicts the features of the last layer from the rest
/// of the results.
///
/// # Errors
/// [`UmbraError::Graph`] for images that the network does not take; [`UmbraError::is_cancelled`] where `watch` stopped
/// it.
pub fn leakage(
    session: &Session,
    graph: &Graph,
    images: &[Vec<f32>],
    watch: Watch<'_>,
) -> Result<LeakageReport, UmbraError> {
    let reference = Reference::<f64>::new(graph);
    let meter = Meter::items(Phase::Encrypted, images.len());
    let (mut features, mut seen) = (Vec::new(), Vec::new());
    for image in images {
        features.push(last_features(graph, &reference, image)?);
        seen.push(Seen::of(session, image)?);
        if watch(&meter.at(seen.len(), None)).is_break() {
            return Err(UmbraError::Cancelled);
        }
    }
    let features = standardised(&features);
    let squares: f64 = seen.iter().flat_map(|s| &s.means).map(|v| v * v).sum();
    let slots = seen.first().map_or(0, |s| s.means.len());
    let by = |what: fn(&Seen) -> &Vec<f64>| {
        let rows: Vec<&Vec<f64>> = seen.iter().map(what).collect();
        explained(&rows, &features)
    };
    Ok(LeakageReport {
        images: images.len(),
        features: features.ncols(),
        slots,
        rms: (squares / (slots * images.len()).max(1) as f64).sqrt(),
        explained_by_means: by(|s| &s.means),
        explained_by_noise: by(|s| &s.noise),
        explained_by_imaginary: by(|s| &s.imaginary),
    })
}

/// What the last layer reads.
fn last_features(graph: &Graph, reference: &Reference<f64>, image: &[f32]) -> Result<Vec<f64>, UmbraError> {
    let last: Vec<NodeId> = graph.node(graph.output()).inputs().to_vec();
    let mut features = Vec::new();
    reference.forward_observed(image, |id, values| {
        if last.contains(&id) {
            features.extend_from_slice(values);
        }
    })?;
    Ok(features)
}

/// A result as the key's owner sees it, without the logits.
struct Seen {
    /// Of slots without logit: the mean over periods, or each where periods differ.
    means: Vec<f64>,
    /// Differences of slots from the mean over periods.
    noise: Vec<f64>,
    /// Imaginary parts.
    imaginary: Vec<f64>,
}

impl Seen {
    fn of(session: &Session, image: &[f32]) -> Result<Self, UmbraError> {
        let spec = session.client().file().spec();
        let mut seen = Self { means: Vec::new(), noise: Vec::new(), imaginary: Vec::new() };
        for (k, slots) in session.danger_slots(&[image])?.into_iter().enumerate() {
            let free = spec.free_slots(k);
            let period = if free.repeats { free.is_free.len() } else { slots.len() };
            let mut means = vec![0.0; period];
            let part = period as f64 / slots.len() as f64;
            slots.iter().zip((0..period).cycle()).for_each(|([re, _], c)| means[c] += part * re);
            let is_free = |c: usize| free.is_free[c % free.is_free.len()];
            seen.noise.extend(slots.iter().zip((0..period).cycle()).map(|([re, _], c)| re - means[c]));
            seen.imaginary.extend(slots.iter().map(|[_, im]| *im));
            seen.means.extend((0..period).filter(|c| is_free(*c)).map(|c| means[c]));
        }
        Ok(seen)
    }
}

/// Images times features, each of mean 0 and variance 1; those that do not differ are left out.
fn standardised(rows: &[Vec<f64>]) -> DMatrix<f64> {
    let (images, features) = (rows.len(), rows.first().map_or(0, Vec::len));
    let all = DMatrix::from_fn(images, features, |i, j| rows[i][j]);
    let columns: Vec<DVector<f64>> = (all.column_iter())
        .filter_map(|column| {
            let centred = column.add_scalar(-column.mean());
            let norm = centred.norm() / (images as f64).sqrt();
            (norm > 1e-12 * (1.0 + column.amax())).then(|| centred / norm)
        })
        .collect();
    if columns.is_empty() { DMatrix::zeros(images, 0) } else { DMatrix::from_columns(&columns) }
}

/// The part of the features' variance that linear functions of the rows explain of images that they were not fitted to;
/// of the best penalty.
fn explained(rows: &[&Vec<f64>], features: &DMatrix<f64>) -> f64 {
    let images = rows.len();
    let width = rows.first().map_or(0, |row| row.len());
    if width == 0 || images < 3 || features.ncols() == 0 {
        return 0.0;
    }
    let mean: Vec<f64> =
        (0..width).into_par_iter().map(|j| rows.iter().map(|row| row[j]).sum::<f64>() / images as f64).collect();
    let centred: Vec<Vec<f64>> =
        rows.par_iter().map(|row| row.iter().zip(&mean).map(|(v, m)| v - m).collect()).collect();
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let gram: Vec<Vec<f64>> = centred.par_iter().map(|a| centred.iter().map(|b| product(a, b)).collect()).collect();
    let gram = DMatrix::from_fn(images, images, |i, j| gram[i][j]);
    let scale = gram.trace() / images as f64;
    if scale == 0.0 {
        return 0.0;
    }
    let SymmetricEigen { eigenvalues, eigenvectors } = SymmetricEigen::new(gram);
    let turned = eigenvectors.transpose() * features;
    let total = features.norm_squared();
    let with = |penalty: i32| {
        let shrink = eigenvalues.map(|e| e.max(0.0) / (e.max(0.0) + scale * 10f64.powi(penalty)));
        let fitted = &eigenvectors * DMatrix::from_diagonal(&shrink) * &turned;
        let left: f64 = (0..images)
            .map(|i| {
                // The mean is fitted, too.
                let own = (eigenvectors.row(i).component_mul(&eigenvectors.row(i)) * &shrink)[0] + 1.0 / images as f64;
                let residual = features.row(i) - fitted.row(i);
                residual.norm_squared() / (1.0 - own).max(1e-9).powi(2)
            })
            .sum();
        1.0 - left / total
    };
    PENALTIES.iter().map(|p| with(*p)).fold(f64::NEG_INFINITY, f64::max)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use umbra_compiler::{CompileOptions, PackingChoice};
    use umbra_model::zoo::{ResNet, random_image};
    use umbra_wire::LoadedProgram;

    use super::*;
    use crate::Network;
    use crate::progress::unwatched;

    fn random(images: usize, width: usize, seed: u64) -> Vec<Vec<f64>> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..images).map(|_| (0..width).map(|_| rng.random_range(-1.0..1.0)).collect()).collect()
    }

    #[test]
    fn regression_finds_what_is_there_and_nothing_else() {
        let features = random(100, 6, 1);
        let mixed: Vec<Vec<f64>> = random(100, 300, 2)
            .iter()
            .zip(&features)
            .map(|(noise, f)| noise.iter().enumerate().map(|(j, n)| f[j % 6] + 0.5 * n).collect())
            .collect();
        let noise = random(100, 300, 3);
        let by = |rows: &[Vec<f64>]| explained(&rows.iter().collect::<Vec<_>>(), &standardised(&features));
        assert!(by(&features) > 0.999 && by(&mixed) > 0.95, "{} {}", by(&features), by(&mixed));
        assert!(by(&noise) < 0.01, "{}", by(&noise));
    }

    /// With the flooding that the compiler wants, and with none: so many images each.
    fn explained_of(network: &ResNet, options: &CompileOptions, counts: [usize; 2]) -> [LeakageReport; 2] {
        let graph = network.build().unwrap();
        let flooded = Network::Graph(Box::new(graph.clone())).program(options, &[]).unwrap();
        let mut bare = (**flooded.program()).clone();
        assert!(bare.client.output.flooding > 0.0);
        bare.client.output.flooding = 0.0;
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let images: Vec<Vec<f32>> = (0..counts[0]).map(|_| random_image(graph.input(), &mut rng)).collect();
        let programs = [flooded, LoadedProgram::new(bare).unwrap()];
        std::array::from_fn(|i| {
            let session = Session::new(&programs[i], &mut unwatched).unwrap();
            leakage(&session, &graph, &images[..counts[i]], &mut unwatched).unwrap()
        })
    }

    fn small() -> ResNet {
        ResNet { widths: vec![8], blocks: 1, height: 8, width: 8, classes: 3, ..ResNet::default() }
    }

    #[test]
    fn results_give_nothing_away_but_logits() {
        let [flooded, bare] = explained_of(&small(), &CompileOptions::default(), [200, 60]);
        assert!(flooded.explained() < 0.01, "{flooded:?}");
        // What there is without it.
        assert!(bare.explained_by_means > 0.5, "{bare:?}");
    }

    #[test]
    fn nor_do_those_with_zero_padding() {
        let options = CompileOptions { packing: PackingChoice::Channel, batch: Some(1), ..CompileOptions::default() };
        let [flooded, bare] = explained_of(&ResNet { circular: false, ..small() }, &options, [200, 40]);
        assert!(flooded.explained() < 0.01, "{flooded:?}");
        assert!(bare.explained_by_means > 0.5, "{bare:?}");
    }
}
