//! What logits will be off by: the program as it is written, simulated on sample images.
//!
//! Plans are made with a linear prediction, in which every rounded weight is a random number. Of a small network there
//! are few weights, and the one way in which they are rounded may be far from the average. So a program that is
//! finished is simulated: its weights as they are encoded, its biases as they are corrected, its noise as it is
//! predicted for its gadgets.

use rayon::prelude::*;
use umbra_ckks::Parameters;
use umbra_model::{Graph, Reference};
use umbra_program::{LayoutError, Logits, Operation, Program};
use umbra_simulate::{SimulateError, Simulator};

use crate::CompileError;
use crate::samples::Samples;

/// Products that simulation may take, some seconds.
const WORK: f64 = 2e10;
/// Images that are simulated at least.
const FEWEST: usize = 2;
/// Products that encoding a coefficient of a weight with a mask is worth: with masks, it is done for every batch.
const ENCODING: f64 = 30.0;

/// Of drawn images, the part with the largest errors that is left out: some are unlike any that the network will see.
const STRANGE: f64 = 1.0 / 16.0;

/// Root mean square of the simulated errors of the logits over images, and how many there were; `None` where
/// simulation would take too long. Not finite where a result would be refused.
pub(crate) fn simulate(
    program: &Program,
    graphs: &[&Graph],
    samples: &Samples,
) -> Result<Option<(f64, usize)>, CompileError> {
    let images = &samples.images;
    let layout = program.client.layout;
    let batches = (WORK / work_of_a_batch(program)) as usize;
    let images = &images[..images.len().min(batches.saturating_mul(layout.images))];
    if images.len() < FEWEST {
        return Ok(None);
    }
    let references: Vec<Reference<f64>> = graphs.iter().map(|graph| Reference::new(graph)).collect();
    let parameters = Parameters::new(program.client.parameters.clone())?;
    let simulator = Simulator::new(program, &parameters)?;
    let exact = |image: &Vec<f32>| logits(&references, layout.averaged, image);
    let of_batch = |(index, images): (usize, &[Vec<f32>])| squares(&simulator, images, index as u64, &exact);
    // Collected first: the sum does not depend on the number of threads.
    let each: Vec<Vec<f64>> = images.par_chunks(layout.images).enumerate().map(of_batch).collect::<Result<_, _>>()?;
    let mut each: Vec<f64> = each.into_iter().flatten().collect();
    each.sort_by(f64::total_cmp);
    if samples.are_drawn() {
        each.truncate(each.len() - (STRANGE * each.len() as f64) as usize);
    }
    Ok(Some(((each.iter().sum::<f64>() / each.len() as f64).sqrt(), images.len())))
}

/// Mean squares of the errors of each image of a batch.
fn squares(
    simulator: &Simulator<'_>,
    images: &[Vec<f32>],
    seed: u64,
    exact: &impl Fn(&Vec<f32>) -> Vec<f64>,
) -> Result<Vec<f64>, CompileError> {
    let vectors = simulator.program().client.layout.vectors();
    match simulator.run_batch(images, images.len() * vectors, seed) {
        Ok(found) => {
            let found = found.chunks(vectors.max(1)).zip(images);
            Ok(found.map(|(found, image)| mean_square(found, &exact(image))).collect())
        }
        // The overflow of one image spoils its batch.
        Err(SimulateError::Layout(LayoutError::ZeroSlots { .. })) => match images {
            [_] => Ok(vec![f64::INFINITY]),
            _ => {
                let each = images.chunks(1).map(|one| squares(simulator, one, seed, exact));
                Ok(each.collect::<Result<Vec<_>, _>>()?.concat())
            }
        },
        Err(error) => Err(error.into()),
    }
}

/// Mean square of the errors of all logits of an image; infinite where one of its results is refused.
fn mean_square(found: &[Result<Logits, LayoutError>], exact: &[f64]) -> f64 {
    let Ok(found) = found.iter().map(Result::as_ref).collect::<Result<Vec<_>, _>>() else { return f64::INFINITY };
    let found = found.iter().flat_map(|logits| &logits.values);
    found.zip(exact).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / exact.len().max(1) as f64
}

/// The logits of an image in the clear, one vector after the other as in results.
fn logits(references: &[Reference<f64>], averaged: bool, image: &[f32]) -> Vec<f64> {
    // Samples have the size that the networks take.
    let members: Vec<Vec<f64>> = references.iter().map(|r| r.forward(image).unwrap_or_default()).collect();
    if !averaged {
        return members.concat();
    }
    let mut mean = vec![0.0; members.first().map_or(0, Vec::len)];
    for member in &members {
        mean.iter_mut().zip(member).for_each(|(mean, x)| *mean += x / members.len() as f64);
    }
    mean
}

/// Products that a simulated run takes.
fn work_of_a_batch(program: &Program) -> f64 {
    let slots = f64::from(program.client.parameters.log_n - 1).exp2();
    let of_step = |operation: &Operation| match operation {
        Operation::Linear(linear) if linear.masks.is_empty() => linear.diagonals.len() as f64 * slots,
        Operation::Linear(linear) => {
            linear.diagonals.len() as f64 * (slots + ENCODING * linear.plaintext_period() as f64)
        }
        Operation::Square { .. } | Operation::RotateSum { .. } => slots,
    };
    program.steps.iter().map(|step| of_step(&step.operation)).sum::<f64>().max(1.0)
}

#[cfg(test)]
mod tests {
    use umbra_model::stand_ins;
    use umbra_model::zoo::ResNet;

    use super::*;
    use crate::options::{CompileOptions, PackingChoice, Pass};
    use crate::packing::Kind;
    use crate::{emit, fuse, lower, plan, redistribute};

    /// One plan, written with corrected biases and with others: weights add something else at every position.
    #[test]
    fn biases_are_corrected_by_position() {
        let network = ResNet { widths: vec![4], blocks: 1, height: 8, width: 8, circular: false, ..ResNet::default() };
        let graph = network.build().unwrap();
        let graph = graph.with_samples(stand_ins(network.build().unwrap().input(), 16, 1)).unwrap();
        let graphs = [&graph];
        let samples = Samples::of(&graphs);
        let mut circuit = lower::lower(&graph).unwrap();
        fuse::fuse(&mut circuit);
        redistribute::redistribute(&mut circuit).unwrap();
        let options = CompileOptions { packing: PackingChoice::Channel, ..CompileOptions::default() };
        let without = CompileOptions { without: [Pass::BiasCorrection].into(), ..options.clone() };
        let plan = plan::at_degree((&graphs, &samples), &circuit, &options, 14, Kind::Padded).unwrap();
        let error = |options: &CompileOptions| {
            let program = emit::program(&graphs, &plan, options, [0; 32]);
            simulate(&program, &graphs, &samples).unwrap().unwrap().0
        };
        let (corrected, plain) = (error(&options), error(&without));
        assert!(corrected < 0.9 * plain, "{corrected} {plain}");
    }
}
