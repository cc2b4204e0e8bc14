//! `umbra bench predictions`: predicted errors of logits against measured ones.

use serde::Serialize;

use umbra::predictions::{Case, Row};

use crate::arguments::BenchPredictions;
use crate::outcome::Outcome;
use crate::progress::Items;
use crate::{stop, text};

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    seed: u32,
    /// Least and largest ratio of a prediction that holds.
    bounds: [f64; 2],
    /// How many do.
    holding: usize,
    networks: Vec<Row>,
}

/// Compiles random networks and runs each; a failure where a prediction does not hold.
pub fn run(arguments: &BenchPredictions) -> anyhow::Result<Outcome> {
    let count = arguments.count.get();
    let items = Items::new("networks", count);
    let mut networks = Vec::new();
    for index in 0..count as u64 {
        let case = Case::random(u64::from(arguments.seed) << 32 | index)?;
        networks.push(case.measure(!arguments.simulate, &mut |_| stop::asked())?);
        items.step();
    }
    drop(items);
    let holding = networks.iter().filter(|row| row.holds()).count();
    let report = Report { seed: arguments.seed, bounds: Row::BOUNDS, holding, networks };
    if arguments.json {
        text::print_json(&report)?;
    } else {
        text::print(&report.describe())?;
    }
    Ok(if holding == count { Outcome::Success } else { Outcome::Disagreement })
}

impl Report {
    /// For people.
    fn describe(&self) -> String {
        let head = [
            "network",
            "image",
            "input",
            "padding",
            "packing",
            "samples",
            "N",
            "run",
            "predicted",
            "measured",
            "ratio",
        ];
        let mut rows = vec![head.map(String::from).to_vec()];
        rows.extend(self.networks.iter().map(|row| {
            let [channels, height, width] = row.image;
            vec![
                row.network.clone(),
                format!("{channels} x {height} x {width}"),
                row.normalisation.clone(),
                row.padding.into(),
                row.packing.into(),
                row.samples.to_string(),
                format!("2^{}", row.log_n),
                if row.encrypted { "encrypted" } else { "simulated" }.into(),
                format!("{:.2e}", row.predicted),
                format!("{:.2e}", row.measured),
                format!("{:.2}", row.ratio),
            ]
        }));
        let [least, most] = self.bounds;
        format!(
            "{}\n{} of {} measured errors are {least} to {most} times the predicted ones (root mean square over images \
             and logits)\n",
            text::table(&rows),
            self.holding,
            self.networks.len(),
        )
    }
}
