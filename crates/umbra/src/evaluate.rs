//! Accuracy over a data set: in the clear, simulated, encrypted.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use rayon::prelude::*;
use serde::Serialize;
use umbra_client::{Prediction, unlike_logits};
use umbra_image::{Statistics, ensemble_probabilities, top_class};
use umbra_model::{Graph, Reference};
use umbra_program::LayoutError;
use umbra_simulate::{SimulateError, Simulator};
use umbra_wire::LoadedProgram;

use crate::data::LabelledImages;
use crate::progress::{Meter, Phase, Watch};
use crate::{Session, UmbraError, machine};

/// How images are classified, beside the clear.
#[derive(Clone, Copy, Debug)]
pub enum Mode<'a> {
    /// Only in the clear.
    Plain,
    /// By the program on plain values with the predicted noise.
    Simulated(&'a LoadedProgram),
    /// By the program on ciphertexts.
    Encrypted(&'a Session),
}

/// What came of a data set. What the mode does not compute is nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvaluationReport {
    /// `plain`, `simulated` or `encrypted`.
    pub mode: &'static str,
    /// Images that were classified.
    pub images: usize,
    /// Images of the same class as in the clear.
    pub agree_with_plain: Option<usize>,
    /// Part of the images that is classified right in the clear.
    pub accuracy_plain: f64,
    /// The same, simulated.
    pub accuracy_simulated: Option<f64>,
    /// The same, encrypted.
    pub accuracy_encrypted: Option<f64>,
    /// Largest difference of a logit to the one in the clear.
    pub worst_logit_error: Option<f64>,
    /// Root of the mean square of those differences.
    pub rms_logit_error: Option<f64>,
    /// Results that did not pass the checks after decryption.
    pub refused: usize,
    /// Images, or their logits, that are unlike those of the network's samples, where the program knows these.
    pub unlike: Option<usize>,
    /// Images that one evaluation classifies.
    pub batch: usize,
    /// Of everything.
    pub seconds_per_image: f64,
    /// Of the evaluation alone.
    pub server_seconds_per_image: Option<f64>,
    /// Largest resident memory of the process.
    pub peak_rss_bytes: Option<u64>,
    /// Threads that it ran on.
    pub threads: usize,
}

impl Mode<'_> {
    /// The name in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.phase().name()
    }

    fn phase(&self) -> Phase {
        match self {
            Self::Plain => Phase::Plain,
            Self::Simulated(_) => Phase::Simulated,
            Self::Encrypted(_) => Phase::Encrypted,
        }
    }

    fn program(&self) -> Option<&LoadedProgram> {
        match self {
            Self::Plain => None,
            Self::Simulated(program) => Some(program),
            Self::Encrypted(session) => Some(session.program()),
        }
    }
}

/// Classifies images in the clear, and in another mode too where one is given. `graphs` are the networks that the
/// program was compiled from ([`crate::Network::graphs`]). `watch` is told of each image in one mode after the other.
///
/// # Errors
/// [`UmbraError::Graph`] for images that the network does not take; [`UmbraError::is_cancelled`] where `watch` stopped
/// it. Results that do not pass their checks are counted, not errors.
pub fn evaluate(
    mode: Mode<'_>,
    graphs: &[Graph],
    images: &LabelledImages,
    watch: Watch<'_>,
) -> Result<EvaluationReport, UmbraError> {
    let averaged = mode.program().is_some_and(|program| program.program().client.layout.averaged);
    let plain = plain(graphs, averaged, images, watch)?;
    let other = match mode {
        Mode::Plain => None,
        Mode::Simulated(program) => Some(simulated(program, images, watch)?),
        Mode::Encrypted(session) => Some(encrypted(session, images, watch)?),
    };
    let mut report = report(mode.name(), images, &plain, other.as_ref());
    report.unlike = mode.program().zip(other).and_then(|(program, other)| unlike(program, images, &other));
    Ok(report)
}

/// How many images are unlike the network's samples, or have logits that are.
fn unlike(program: &LoadedProgram, images: &LabelledImages, results: &Results) -> Option<usize> {
    let spec = &program.program().client;
    let familiar = spec.familiar?;
    let is_unlike = |(values, logits): (&Vec<f32>, &Option<Vec<Vec<f64>>>)| {
        familiar.unlike(&Statistics::of(values, &spec.image)).is_some()
            || logits.as_ref().is_some_and(|logits| unlike_logits(logits, spec).is_some())
    };
    Some(images.values.iter().zip(&results.logits).filter(|image| is_unlike(*image)).count())
}

/// What one mode found.
struct Results {
    /// Logits of each image, of every member of an ensemble that the client averages over; `None` where they were
    /// refused.
    logits: Vec<Option<Vec<Vec<f64>>>>,
    /// Images that were classified at once.
    batch: usize,
    /// In all.
    seconds: f64,
    /// Of the server.
    server: Option<f64>,
}

/// Logits of every network, or their mean.
fn plain(graphs: &[Graph], averaged: bool, images: &LabelledImages, watch: Watch<'_>) -> Result<Results, UmbraError> {
    let references: Vec<Reference<f32>> = graphs.iter().map(Reference::<f32>::new).collect();
    in_batches(Phase::Plain, images, 1, watch, |_, images| {
        let of = |image: &Vec<f32>| {
            let wide = |logits: Vec<f32>| logits.into_iter().map(f64::from).collect::<Vec<f64>>();
            let members = references.iter().map(|r| Ok(wide(r.forward(image)?))).collect::<Result<_, UmbraError>>()?;
            Ok(Some(if averaged { vec![mean(&members)] } else { members }))
        };
        images.iter().map(of).collect()
    })
}

fn mean(members: &Vec<Vec<f64>>) -> Vec<f64> {
    let mut mean = vec![0.0; members.first().map_or(0, Vec::len)];
    for member in members {
        mean.iter_mut().zip(member).for_each(|(mean, x)| *mean += x / members.len() as f64);
    }
    mean
}

fn simulated(program: &LoadedProgram, images: &LabelledImages, watch: Watch<'_>) -> Result<Results, UmbraError> {
    let simulator = Simulator::new(program.program(), program.parameters())?;
    let layout = program.program().client.layout;
    in_batches(Phase::Simulated, images, layout.images, watch, |index, images| {
        match simulator.run_batch(images, images.len() * layout.vectors(), index as u64) {
            Ok(found) => Ok(logits(Prediction::of_images(found, layout.vectors()))),
            // As after decryption: the overflow of one image may spoil all.
            Err(SimulateError::Layout(LayoutError::ZeroSlots { .. })) => Ok(vec![None; images.len()]),
            Err(error) => Err(error.into()),
        }
    })
}

/// Evaluates all images with all threads, so many at once. Seeds are the numbers of the batches.
fn in_batches(
    phase: Phase,
    images: &LabelledImages,
    batch: usize,
    watch: Watch<'_>,
    evaluate: impl Fn(usize, &[Vec<f32>]) -> Result<Vec<Option<Vec<Vec<f64>>>>, UmbraError> + Sync,
) -> Result<Results, UmbraError> {
    let (meter, start) = (Meter::items(phase, images.len()), Instant::now());
    let watched = Mutex::new((0, watch));
    let one = |(index, images): (usize, &[Vec<f32>])| {
        let logits = evaluate(index, images)?;
        let (done, watch) = &mut *watched.lock().unwrap_or_else(PoisonError::into_inner);
        *done += images.len();
        match watch(&meter.at(*done, None)) {
            ControlFlow::Continue(()) => Ok(logits),
            // The others stop where one does.
            ControlFlow::Break(()) => Err(UmbraError::Cancelled),
        }
    };
    let logits = images.values.par_chunks(batch.max(1)).enumerate().map(one).collect::<Result<Vec<_>, _>>()?;
    let logits = logits.into_iter().flatten().collect();
    Ok(Results { logits, batch, seconds: start.elapsed().as_secs_f64(), server: None })
}

/// One batch after the other: each takes all threads.
fn encrypted(session: &Session, images: &LabelledImages, watch: Watch<'_>) -> Result<Results, UmbraError> {
    let batch = session.program().program().client.layout.images.max(1);
    let (meter, start) = (Meter::items(Phase::Encrypted, images.len()), Instant::now());
    let (mut found, mut server) = (Vec::with_capacity(images.len()), 0.0);
    for images_of_batch in images.values.chunks(batch) {
        let before = found.len() as f64;
        let classified = session.classify(images_of_batch, &mut |step| {
            let part = (before + step.part * images_of_batch.len() as f64) / images.len() as f64;
            watch(&meter.within(before as usize, part, None))
        })?;
        server += classified.server_s;
        found.extend(logits(classified.predictions));
        if watch(&meter.at(found.len(), None)).is_break() && found.len() < images.len() {
            return Err(UmbraError::Cancelled);
        }
    }
    Ok(Results { logits: found, batch, seconds: start.elapsed().as_secs_f64(), server: Some(server) })
}

fn logits(predictions: Vec<Result<Prediction, LayoutError>>) -> Vec<Option<Vec<Vec<f64>>>> {
    predictions.into_iter().map(|prediction| prediction.ok().map(|prediction| prediction.logits)).collect()
}

/// The class: of the logits, or of the mean probabilities of an ensemble.
fn top(members: &[Vec<f64>]) -> Option<usize> {
    match members {
        [one] => top_class(one),
        _ => top_class(&ensemble_probabilities(members)),
    }
}

fn report(mode: &'static str, images: &LabelledImages, plain: &Results, other: Option<&Results>) -> EvaluationReport {
    let count = images.len();
    let top = |results: &Results, i: usize| results.logits[i].as_deref().and_then(top);
    let accuracy = |results: &Results| {
        let is_right = |i: usize| top(results, i).is_some_and(|class| images.labels.get(i) == Some(&class));
        let right = (0..count).filter(|&i| is_right(i)).count();
        right as f64 / count.max(1) as f64
    };
    let errors: Vec<f64> = other
        .into_iter()
        .flat_map(|other| other.logits.iter().zip(&plain.logits))
        .filter_map(|(a, b)| Some((a.as_ref()?, b.as_ref()?)))
        .flat_map(|(a, b)| a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (a - b).abs()))
        .collect();
    let mean_square = errors.iter().map(|e| e * e).sum::<f64>() / errors.len().max(1) as f64;
    let timed = other.unwrap_or(plain);
    let per_image = |seconds: f64| seconds / count.max(1) as f64;
    EvaluationReport {
        mode,
        images: count,
        agree_with_plain: other
            .map(|other| (0..count).filter(|&i| top(other, i).is_some() && top(other, i) == top(plain, i)).count()),
        accuracy_plain: accuracy(plain),
        accuracy_simulated: other.filter(|_| mode == Phase::Simulated.name()).map(accuracy),
        accuracy_encrypted: other.filter(|_| mode == Phase::Encrypted.name()).map(accuracy),
        worst_logit_error: other.map(|_| errors.iter().copied().fold(0.0, f64::max)),
        rms_logit_error: other.map(|_| mean_square.sqrt()),
        unlike: None,
        refused: timed.logits.iter().filter(|logits| logits.is_none()).count(),
        batch: timed.batch,
        seconds_per_image: per_image(timed.seconds),
        server_seconds_per_image: timed.server.map(per_image),
        peak_rss_bytes: machine::peak_memory(),
        threads: machine::threads(),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use umbra_compiler::{Average, CompileOptions, PackingChoice};
    use umbra_model::zoo::{ResNet, random_image};

    use super::*;
    use crate::Network;
    use crate::progress::unwatched;

    fn small(seed: u64) -> Graph {
        ResNet { widths: vec![2], blocks: 1, height: 8, width: 8, classes: 3, seed, ..ResNet::default() }
            .build()
            .unwrap()
    }

    /// Random images of the classes that the network gives them, but for the last one.
    fn images(graph: &Graph, count: usize) -> LabelledImages {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let values: Vec<Vec<f32>> = (0..count).map(|_| random_image(graph.input(), &mut rng)).collect();
        let reference = Reference::<f32>::new(graph);
        let class = |image: &Vec<f32>| {
            let logits: Vec<f64> = reference.forward(image).unwrap().into_iter().map(f64::from).collect();
            top_class(&logits).unwrap()
        };
        let mut labels: Vec<usize> = values.iter().map(class).collect();
        labels[count - 1] = (labels[count - 1] + 1) % 3;
        LabelledImages { values, labels }
    }

    #[test]
    fn every_mode_is_compared_with_the_clear() {
        let graph = small(1);
        let (images, network) = (images(&graph, 4), Network::Graph(Box::new(graph.clone())));
        let options = CompileOptions { packing: PackingChoice::Channel, batch: Some(3), ..CompileOptions::default() };
        let program = network.program(&options, &[]).unwrap();
        let graphs = [graph];
        let plain = evaluate(Mode::Plain, &graphs, &images, &mut unwatched).unwrap();
        assert_eq!((plain.mode, plain.images, plain.accuracy_plain, plain.batch), ("plain", 4, 0.75, 1));
        assert_eq!((plain.agree_with_plain, plain.worst_logit_error, plain.accuracy_simulated), (None, None, None));

        let mut seen = 0;
        let watch: Watch<'_> = &mut |progress| {
            seen += usize::from(progress.phase == Phase::Simulated);
            ControlFlow::Continue(())
        };
        let simulated = evaluate(Mode::Simulated(&program), &graphs, &images, watch).unwrap();
        assert_eq!((simulated.mode, simulated.batch, seen), ("simulated", 3, 2));
        let session = Session::new(&program, &mut unwatched).unwrap();
        let encrypted = evaluate(Mode::Encrypted(&session), &graphs, &images, &mut unwatched).unwrap();
        assert!(encrypted.server_seconds_per_image.is_some_and(|s| s > 0.0));
        for report in [&simulated, &encrypted] {
            assert_eq!((report.images, report.refused), (4, 0));
            let (worst, rms) = (report.worst_logit_error.unwrap(), report.rms_logit_error.unwrap());
            assert!(0.0 < rms && rms <= worst && worst < 0.2, "{report:?}");
        }
        assert!(simulated.accuracy_encrypted.is_none() && encrypted.accuracy_encrypted.is_some());
    }

    #[test]
    fn an_ensemble_that_the_server_averages_is_compared_with_the_mean() {
        let graphs = [small(1), small(2)];
        let images = images(&graphs[0], 2);
        let options = CompileOptions { average: Average::Server, ..CompileOptions::default() };
        let program = Network::Graph(Box::new(graphs[0].clone())).program(&options, &graphs[1..]).unwrap();
        let report = evaluate(Mode::Simulated(&program), &graphs, &images, &mut unwatched).unwrap();
        assert!(report.worst_logit_error.is_some_and(|error| error < 0.2), "{report:?}");
    }

    #[test]
    fn watchers_stop_every_mode() {
        let graph = small(1);
        let images = images(&graph, 3);
        let program = Network::Graph(Box::new(graph.clone())).program(&CompileOptions::default(), &[]).unwrap();
        let session = Session::new(&program, &mut unwatched).unwrap();
        let graphs = [graph];
        for mode in [Mode::Plain, Mode::Simulated(&program), Mode::Encrypted(&session)] {
            let watch: Watch<'_> = &mut |progress| {
                if progress.phase == mode.phase() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let stopped = evaluate(mode, &graphs, &images, watch);
            assert!(stopped.is_err_and(|error| error.is_cancelled()), "{mode:?}");
        }
    }

    #[test]
    fn refused_results_are_counted_and_agree_with_nothing() {
        let results = |logits| Results { logits, batch: 1, seconds: 2.0, server: Some(1.0) };
        let images = LabelledImages { values: vec![vec![0.0]; 2], labels: vec![0, 1] };
        let plain = results(vec![Some(vec![vec![1.0, 0.0]]), Some(vec![vec![1.0, 0.0]])]);
        let other = results(vec![Some(vec![vec![1.5, 0.0]]), None]);
        let report = report("encrypted", &images, &plain, Some(&other));
        assert_eq!((report.agree_with_plain, report.refused), (Some(1), 1));
        assert_eq!((report.accuracy_plain, report.accuracy_encrypted), (0.5, Some(0.5)));
        assert_eq!((report.worst_logit_error, report.rms_logit_error), (Some(0.5), Some(0.125f64.sqrt())));
        assert_eq!((report.seconds_per_image, report.server_seconds_per_image), (1.0, Some(0.5)));
    }
}
