//! `umbra bench`: what things take on this machine.

mod estimates;
mod leakage;
mod network;
mod paper;
mod passes;
mod plot;
mod predictions;
mod statistics;
mod table;

use crate::arguments::Bench;
use crate::outcome::Outcome;

/// Runs one of the benchmarks.
pub fn run(arguments: &Bench) -> anyhow::Result<Outcome> {
    match arguments {
        Bench::Estimates(a) => estimates::run(a),
        Bench::Network(a) => network::run(a),
        Bench::Paper(a) => paper::run(a),
        Bench::Passes(a) => passes::run(a),
        Bench::Predictions(a) => predictions::run(a),
        Bench::Leakage(a) => leakage::run(a),
    }
}
