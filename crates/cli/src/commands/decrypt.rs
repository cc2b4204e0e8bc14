//! `umbra decrypt`.

use std::time::Instant;

use serde::Serialize;

use umbra::Network;
use umbra::client::{Client, Prediction, sharing_unit};
use umbra::program::LayoutError;

use super::report::{ImageReport, about_file};
use crate::arguments::Decrypt;
use crate::outcome::Outcome;
use crate::text;

/// What `--json` prints: one image's result where a program classifies one, and a list of them for a batch.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    result: Results,
    classes: &'a [String],
    /// Distance of the numbers that logits are rounded to; nothing where they are as decrypted.
    rounded_to: Option<f64>,
    decrypt_s: f64,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Results {
    One(ImageReport),
    Batch { images: Vec<OfBatch> },
}

#[derive(Serialize)]
#[serde(untagged)]
enum OfBatch {
    Sound(ImageReport),
    Refused { refused: String },
}

/// Decrypts a result, checks it and names the class, of every image of a batch.
pub fn run(arguments: &Decrypt) -> anyhow::Result<Outcome> {
    let client = Client::open(&Network::open(&arguments.client.client)?.client_file()?, &arguments.key)?;
    let spec = client.file().spec();
    let encrypted = client.open_result(&arguments.input)?;
    let start = Instant::now();
    let mut predictions = client.predict(&encrypted).map_err(|error| about_file(&arguments.input, error))?;
    let decrypt_s = start.elapsed().as_secs_f64();
    predictions.truncate(arguments.images.map_or(usize::MAX, usize::from));

    let rounded_to = (!arguments.raw).then(|| sharing_unit(spec.logit_error));
    let report = |prediction: Prediction| {
        let class = spec.class(prediction.class).into_owned();
        let (ranking, unlike) = (prediction.ranking(), prediction.unlike(spec));
        let prediction = rounded_to.map_or(prediction.clone(), |unit| prediction.rounded(unit));
        ImageReport { ranking, unlike, ..ImageReport::new(prediction, class) }
    };
    let result = if spec.layout.is_batched() {
        let image = |prediction: Result<Prediction, LayoutError>| match prediction {
            Ok(prediction) => OfBatch::Sound(report(prediction)),
            Err(error) => OfBatch::Refused { refused: error.to_string() },
        };
        Results::Batch { images: predictions.into_iter().map(image).collect() }
    } else {
        let one = predictions.swap_remove(0).map_err(|error| about_file(&arguments.input, error.into()))?;
        Results::One(report(one))
    };
    let report = Report { result, classes: &spec.classes, rounded_to, decrypt_s };
    if arguments.json {
        text::print_json(&report)?;
    } else {
        text::print(&report.describe())?;
    }
    Ok(if report.refused() { Outcome::Disagreement } else { Outcome::Success })
}

impl Report<'_> {
    /// Whether an image's result did not pass its checks.
    fn refused(&self) -> bool {
        match &self.result {
            Results::One(_) => false,
            Results::Batch { images } => images.iter().any(|image| matches!(image, OfBatch::Refused { .. })),
        }
    }

    /// For people.
    fn describe(&self) -> String {
        let percent = |p: f64| format!("{:.1} %", 100.0 * p);
        match &self.result {
            Results::One(image) => {
                let row = |&i: &usize| {
                    let logits = match &image.members[..] {
                        [] => vec![format!("{:.3}", image.logits[i])],
                        members => members.iter().map(|logits| format!("{:.3}", logits[i])).collect(),
                    };
                    [vec![self.classes[i].clone(), percent(image.probabilities[i])], logits].concat()
                };
                let rows: Vec<Vec<String>> = image.ranking.iter().take(10).map(row).collect();
                let note = image.unlike.as_ref().map_or(String::new(), |why| format!("note: {}\n", doubtful(why)));
                format!("{note}{}\n\n{}", image.class, text::table(&rows))
            }
            Results::Batch { images } => {
                let row = |(i, image): (usize, &OfBatch)| match image {
                    OfBatch::Sound(image) => {
                        let top = image.probabilities.iter().copied().fold(0.0, f64::max);
                        let row = vec![(i + 1).to_string(), image.class.clone(), percent(top)];
                        row.into_iter().chain(image.unlike.as_deref().map(doubtful)).collect()
                    }
                    OfBatch::Refused { refused } => vec![(i + 1).to_string(), "refused".into(), refused.clone()],
                };
                text::table(&images.iter().enumerate().map(row).collect::<Vec<_>>())
            }
        }
    }
}

/// What is to be said of an image whose logits are unlike those of training.
fn doubtful(why: &str) -> String {
    format!("unlike what the network was trained on: {why}")
}
