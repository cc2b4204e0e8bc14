//! `umbra bench`: what things take on this machine.

mod network;
mod paper;
mod passes;
mod plot;
mod table;

use crate::Outcome;
use crate::arguments::Bench;

/// Runs one of the benchmarks.
pub fn run(arguments: &Bench) -> anyhow::Result<Outcome> {
    match arguments {
        Bench::Network(a) => network::run(a),
        Bench::Paper(a) => paper::run(a),
        Bench::Passes(a) => passes::run(a),
    }
}

/// Median of some numbers, and the smallest and the largest of them.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Of at least one number.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |i: usize| sorted.get(i).copied().unwrap_or(f64::NAN);
        let (low, high) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
        Self { median: (at(low) + at(high)) / 2.0, min: at(0), max: at(sorted.len().saturating_sub(1)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]).median, 2.0);
        let four = Spread::of([4.0, 1.0, 2.0, 3.0]);
        assert_eq!((four.median, four.min, four.max), (2.5, 1.0, 4.0));
    }
}
