//! `umbra decrypt`.

use std::time::Instant;

use anyhow::Context;
use serde::Serialize;
use umbra_client::Client;
use umbra_model::{softmax, top_class};

use crate::arguments::Decrypt;
use crate::network::Network;
use crate::{Outcome, text};

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    class: &'a str,
    probabilities: Vec<f64>,
    logits: Vec<f64>,
    classes: &'a [String],
    decrypt_s: f64,
    stray: f64,
    spread: f64,
}

/// Decrypts a result, checks it and names the class.
pub fn run(arguments: &Decrypt) -> anyhow::Result<Outcome> {
    let program = Network::open(&arguments.network.network)?.program(&[])?;
    let client = Client::open(&program, &arguments.key)?;
    let start = Instant::now();
    let logits = client.decrypt_from(&arguments.input).map_err(|e| super::about_file(&arguments.input, e))?;
    let decrypt_s = start.elapsed().as_secs_f64();
    let classes = &program.program().classes;
    let top = top_class(&logits.values).context("the result has no largest logit")?;
    let probabilities = softmax(&logits.values);
    let report = Report {
        class: &classes[top],
        probabilities,
        logits: logits.values,
        classes,
        decrypt_s,
        stray: logits.stray,
        spread: logits.spread,
    };
    if arguments.json {
        text::print_json(&report)?;
    } else {
        let mut order: Vec<usize> = (0..classes.len()).collect();
        order.sort_by(|&a, &b| report.logits[b].total_cmp(&report.logits[a]));
        let row = |&i: &usize| {
            vec![
                classes[i].clone(),
                format!("{:.1} %", 100.0 * report.probabilities[i]),
                format!("{:.3}", report.logits[i]),
            ]
        };
        let rows: Vec<Vec<String>> = order.iter().take(10).map(row).collect();
        text::print(&format!("{}\n\n{}", report.class, text::table(&rows)))?;
    }
    Ok(Outcome::Success)
}
