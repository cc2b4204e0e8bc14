//! Images on which errors of clustered weights are measured.

use rayon::prelude::*;

use crate::ClusterError;
use umbra_model::{Graph, GraphError, Reference};

/// An image with a value so many times the largest one of the median image, at the same node, counts as out of range.
const OUT_OF_RANGE: f64 = 4.0;

/// The images normalised, but for those that are out of range: squares of squares of what is out of range would be all
/// that moments see.
///
/// # Errors
/// [`ClusterError::NoSamples`] where there are none; images of another size than the network's.
pub(super) fn inputs(graph: &Graph, images: &[Vec<u8>]) -> Result<Vec<Vec<f32>>, ClusterError> {
    if images.is_empty() {
        return Err(ClusterError::NoSamples { network: graph.name().into() });
    }
    let normalise = |bytes: &Vec<u8>| Ok(graph.input().normalise(bytes).map_err(GraphError::from)?);
    let inputs = images.iter().map(normalise).collect::<Result<Vec<_>, ClusterError>>()?;
    let reference = Reference::<f32>::new(graph);
    // Of each image, the largest value of each node.
    let peaks = |image: &Vec<f32>| {
        let mut peaks = Vec::new();
        let peak = |values: &[f32]| {
            values.iter().fold(0.0, |peak: f32, v| if v.abs() > peak || v.is_nan() { v.abs() } else { peak })
        };
        reference.forward_observed(image, |_, values| peaks.push(f64::from(peak(values))))?;
        Ok(peaks)
    };
    let peaks = inputs.par_iter().map(peaks).collect::<Result<Vec<Vec<f64>>, ClusterError>>()?;
    let median = |node: usize| {
        let mut all: Vec<f64> = peaks.iter().map(|peaks| peaks[node]).collect();
        all.sort_unstable_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let limits: Vec<f64> = (0..graph.nodes().len()).map(|node| OUT_OF_RANGE * median(node)).collect();
    let stays = |peaks: &[f64]| peaks.iter().zip(&limits).all(|(peak, limit)| peak <= limit);
    // Where all escape, all are left, to say so.
    let none = !peaks.iter().any(|peaks| stays(peaks));
    Ok(inputs.into_iter().zip(&peaks).filter(|(_, peaks)| none || stays(peaks)).map(|(input, _)| input).collect())
}
