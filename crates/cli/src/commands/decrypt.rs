//! `umbra decrypt`.

use std::time::Instant;

use anyhow::{Context, bail};
use serde::Serialize;
use umbra_client::{Client, ClientError};
use umbra_image::{ensemble_probabilities, softmax, top_class};
use umbra_program::Logits;

use crate::arguments::Decrypt;
use crate::network::Network;
use crate::{Outcome, text};

/// One picture's result: what `--json` prints for a program that classifies one, and a list of them for a batch.
#[derive(Serialize)]
struct Picture<'a> {
    class: &'a str,
    probabilities: Vec<f64>,
    /// Of an ensemble that the client averages: nothing here, and those of each network in `members`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logits: Vec<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<Vec<f64>>,
    stray: f64,
    spread: f64,
}

#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    result: Results<'a>,
    classes: &'a [String],
    decrypt_s: f64,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Results<'a> {
    One(Picture<'a>),
    Batch { pictures: Vec<OfBatch<'a>> },
}

#[derive(Serialize)]
#[serde(untagged)]
enum OfBatch<'a> {
    Sound(Picture<'a>),
    Refused { refused: String },
}

/// Decrypts a result, checks it and names the class, of every picture of a batch.
pub fn run(arguments: &Decrypt) -> anyhow::Result<Outcome> {
    let program = Network::open(&arguments.network.network)?.program(&[])?;
    let client = Client::open(&program, &arguments.key)?;
    let (classes, layout) = (&program.program().classes, program.program().layout);
    let pictures = layout.pictures();
    let wanted = arguments.pictures.unwrap_or(pictures);
    if wanted == 0 || wanted > pictures {
        bail!("--pictures {wanted}: expected 1 to {pictures}, as many as the program classifies at once");
    }
    let lanes = wanted * layout.vectors();
    let about = |error| super::about_file(&arguments.input, error);
    let start = Instant::now();
    let lanes = client.decrypt_lanes_from(&arguments.input, lanes).map_err(about)?;
    let decrypt_s = start.elapsed().as_secs_f64();

    let result = if layout.joins_channels() {
        let members = lanes.into_iter().collect::<Result<Vec<_>, _>>().map_err(about)?;
        Results::One(Picture::new(members, classes)?)
    } else {
        let picture = |members: Result<Vec<Logits>, ClientError>| match members {
            Ok(members) => Ok(OfBatch::Sound(Picture::new(members, classes)?)),
            Err(error) => Ok(OfBatch::Refused { refused: error.to_string() }),
        };
        let pictures = super::by_picture(lanes, layout.vectors());
        Results::Batch { pictures: pictures.into_iter().map(picture).collect::<anyhow::Result<_>>()? }
    };
    let report = Report { result, classes, decrypt_s };
    if arguments.json {
        text::print_json(&report)?;
    } else {
        text::print(&report.describe())?;
    }
    Ok(if report.refused() { Outcome::Disagreement } else { Outcome::Success })
}

impl<'a> Picture<'a> {
    /// From the logits of a network, or of the members of an ensemble.
    fn new(mut members: Vec<Logits>, classes: &'a [String]) -> anyhow::Result<Self> {
        let worst = |f: fn(&Logits) -> f64| members.iter().map(f).fold(0.0, f64::max);
        let (stray, spread) = (worst(|l| l.stray), worst(|l| l.spread));
        let nothing = "the result has no largest logit";
        if members.len() == 1 {
            let logits = members.remove(0).values;
            let class = &classes[top_class(&logits).context(nothing)?];
            return Ok(Self { class, probabilities: softmax(&logits), logits, members: Vec::new(), stray, spread });
        }
        let members: Vec<Vec<f64>> = members.into_iter().map(|l| l.values).collect();
        let probabilities = ensemble_probabilities(&members);
        let class = &classes[top_class(&probabilities).context(nothing)?];
        Ok(Self { class, probabilities, logits: Vec::new(), members, stray, spread })
    }

    fn top(&self) -> f64 {
        self.probabilities.iter().copied().fold(0.0, f64::max)
    }
}

impl Report<'_> {
    /// Whether a picture's result did not pass its checks.
    fn refused(&self) -> bool {
        match &self.result {
            Results::One(_) => false,
            Results::Batch { pictures } => pictures.iter().any(|p| matches!(p, OfBatch::Refused { .. })),
        }
    }

    /// For people.
    fn describe(&self) -> String {
        let percent = |p: f64| format!("{:.1} %", 100.0 * p);
        match &self.result {
            Results::One(picture) => {
                let mut order: Vec<usize> = (0..self.classes.len()).collect();
                // Probabilities of logits far apart are equal in 64 bits.
                let score = if picture.members.is_empty() { &picture.logits } else { &picture.probabilities };
                order.sort_by(|&a, &b| score[b].total_cmp(&score[a]));
                let row = |&i: &usize| {
                    let logits = match &picture.members[..] {
                        [] => vec![format!("{:.3}", picture.logits[i])],
                        members => members.iter().map(|logits| format!("{:.3}", logits[i])).collect(),
                    };
                    [vec![self.classes[i].clone(), percent(picture.probabilities[i])], logits].concat()
                };
                let rows: Vec<Vec<String>> = order.iter().take(10).map(row).collect();
                format!("{}\n\n{}", picture.class, text::table(&rows))
            }
            Results::Batch { pictures } => {
                let row = |(i, picture): (usize, &OfBatch<'_>)| match picture {
                    OfBatch::Sound(picture) => {
                        vec![(i + 1).to_string(), picture.class.to_string(), percent(picture.top())]
                    }
                    OfBatch::Refused { refused } => vec![(i + 1).to_string(), "refused".into(), refused.clone()],
                };
                text::table(&pictures.iter().enumerate().map(row).collect::<Vec<_>>())
            }
        }
    }
}
