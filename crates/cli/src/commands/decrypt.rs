//! `umbra decrypt`.

use std::time::Instant;

use serde::Serialize;

use umbra::Network;
use umbra::client::{Client, Prediction};
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

    let report = |prediction: Prediction| {
        let class = spec.class(prediction.class).into_owned();
        ImageReport::new(prediction, class)
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
    let report = Report { result, classes: &spec.classes, decrypt_s };
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
                let mut order: Vec<usize> = (0..self.classes.len()).collect();
                // Probabilities of logits far apart are equal in 64 bits.
                let score = if image.members.is_empty() { &image.logits } else { &image.probabilities };
                order.sort_by(|&a, &b| score[b].total_cmp(&score[a]));
                let row = |&i: &usize| {
                    let logits = match &image.members[..] {
                        [] => vec![format!("{:.3}", image.logits[i])],
                        members => members.iter().map(|logits| format!("{:.3}", logits[i])).collect(),
                    };
                    [vec![self.classes[i].clone(), percent(image.probabilities[i])], logits].concat()
                };
                let rows: Vec<Vec<String>> = order.iter().take(10).map(row).collect();
                format!("{}\n\n{}", image.class, text::table(&rows))
            }
            Results::Batch { images } => {
                let row = |(i, image): (usize, &OfBatch)| match image {
                    OfBatch::Sound(image) => {
                        let top = image.probabilities.iter().copied().fold(0.0, f64::max);
                        vec![(i + 1).to_string(), image.class.clone(), percent(top)]
                    }
                    OfBatch::Refused { refused } => vec![(i + 1).to_string(), "refused".into(), refused.clone()],
                };
                text::table(&images.iter().enumerate().map(row).collect::<Vec<_>>())
            }
        }
    }
}
