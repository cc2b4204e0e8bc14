//! What figures are compared with: a ReLU network.

use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;

use umbra::model::Graph;
use umbra_file::read_file;

/// A ReLU network that was trained for comparison.
#[derive(Clone, Debug, Deserialize)]
pub struct Baseline {
    pub name: String,
    dataset: String,
    /// In percent, over the whole test set.
    pub accuracy_plain: f64,
}

/// Baselines are about a kilobyte.
const MAX_BASELINE: u64 = 1 << 20;

impl Baseline {
    pub fn read(path: &Path, graph: &Graph) -> anyhow::Result<Self> {
        let name = path.display();
        let text = read_file(path, "--baseline", MAX_BASELINE)?;
        let expected = "expected what umbra_train export writes of a ReLU network";
        let baseline: Self = serde_json::from_slice(&text).with_context(|| format!("--baseline {name}: {expected}"))?;
        if !(0.0..=100.0).contains(&baseline.accuracy_plain) {
            bail!(
                "--baseline {name}: accuracy_plain is {}, expected a percentage; {expected}",
                baseline.accuracy_plain
            );
        }
        let dataset = &graph.description().dataset;
        if baseline.dataset != *dataset {
            bail!("--baseline {name}: of {}, expected {dataset}, as the network's", baseline.dataset);
        }
        Ok(baseline)
    }
}
