//! Parts that several reports have.

use std::path::Path;

use serde::Serialize;

use umbra::client::{ClientError, Prediction};
use umbra::estimate::{ClientCosts, Costs};
use umbra::image::Statistics;
use umbra::program::{ClientSpec, Operation, Residuals, Step, operation_name};
use umbra::wire::LoadedProgram;
use umbra_ckks::Level;

use crate::text;

/// One image's result.
#[derive(Serialize)]
pub struct ImageReport {
    pub class: String,
    pub probabilities: Vec<f64>,
    /// Of an ensemble that the client averages: nothing here, and those of each network in `members`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logits: Vec<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Vec<f64>>,
    pub residuals: Residuals,
    /// Why the class means little, where logits are unlike those of training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unlike: Option<String>,
    /// Classes from the likeliest to the least likely.
    #[serde(skip)]
    pub ranking: Vec<usize>,
}

impl ImageReport {
    pub fn new(prediction: Prediction, class: String) -> Self {
        let ranking = prediction.ranking();
        let Prediction { probabilities, logits, residuals, .. } = prediction;
        let (logits, members) = match <[Vec<f64>; 1]>::try_from(logits) {
            Ok([one]) => (one, Vec::new()),
            Err(members) => (Vec::new(), members),
        };
        Self { class, probabilities, logits, members, residuals, unlike: None, ranking }
    }
}

/// What is to be said of a normalised image that is unlike those which the network was trained on.
pub fn unlike_note(spec: &ClientSpec, values: &[f32]) -> Option<String> {
    let why = spec.familiar?.unlike(&Statistics::of(values, &spec.image))?;
    Some(format!("this image is unlike those that the network was trained on, and its class will mean little: {why}"))
}

/// Names the file in an error that does not know it: a result that is not to be believed, or of another key set.
pub fn about_file(path: &Path, error: ClientError) -> anyhow::Error {
    match error {
        ClientError::Layout(_) | ClientError::Engine(_) => anyhow::anyhow!("{}: {error}", path.display()),
        other => other.into(),
    }
}

/// What a client knows of a program beforehand, for people.
pub fn client_rows(costs: &ClientCosts) -> Vec<Vec<String>> {
    let row = |name: &str, value: String| vec![name.to_string(), value];
    vec![
        row("network", costs.network.clone()),
        row("images at once", costs.images.to_string()),
        row("networks at once", costs.networks.to_string()),
        row("security", format!("{} bits", costs.security_bits)),
        row("ring", format!("N = 2^{}", costs.log_n)),
        row("log2 QP", format!("{:.1} of {} allowed", costs.log_qp, costs.log_qp_limit)),
        row("levels", costs.levels.to_string()),
        row("evaluation keys", format!("{} in {} keys", text::bytes(costs.eval_key_file_bytes), costs.eval_keys)),
        row("encrypted images", text::bytes(costs.input_ciphertext_bytes)),
        row("encrypted result", text::bytes(costs.output_ciphertext_bytes)),
        row("key generation", format!("about {}", text::seconds(costs.keygen_s))),
        row("error of a logit", format!("about {:.4} ({:.1} bits)", costs.logit_error_std, costs.precision_bits)),
    ]
}

/// What an inference will take, for people.
pub fn describe_costs(costs: &Costs) -> String {
    let row = |name: &str, value: String| vec![name.to_string(), value];
    let Costs { client, counts, .. } = costs;
    let each = match client.images {
        0 | 1 => String::new(),
        n => format!(", {} an image", text::seconds(costs.server_s / n as f64)),
    };
    let mut rows = client_rows(client);
    rows.extend([
        row("server memory", text::bytes(costs.server_memory_bytes)),
        row("server time", format!("about {} with {} threads{each}", text::seconds(costs.server_s), client.threads)),
        row("first image", format!("about {} with loading of keys", text::seconds(costs.server_s + costs.load_s))),
        row("rotations", format!("{} hoisted, {} full", counts.hoisted_rotations, counts.full_rotations)),
    ]);
    text::table(&rows)
}

/// A program, step by step.
#[derive(Serialize)]
pub struct ProgramReport<'a> {
    name: String,
    costs: Costs,
    without: Vec<String>,
    notes: Vec<String>,
    steps: Vec<StepReport<'a>>,
}

#[derive(Serialize)]
struct StepReport<'a> {
    node: &'a str,
    operation: &'static str,
    level_in: Level,
    level_out: Level,
    scale_out_log2: f64,
    diagonals: usize,
    estimate: umbra::program::Estimate,
}

impl<'a> ProgramReport<'a> {
    /// The report of a program.
    pub fn new(program: &'a LoadedProgram) -> anyhow::Result<Self> {
        let costs = Costs::of(program)?;
        let program = program.program();
        let step = |step: &'a Step| StepReport {
            node: &step.node,
            operation: operation_name(&step.operation),
            level_in: step.level_in,
            level_out: step.level_out,
            scale_out_log2: step.scale_out.log2(),
            diagonals: match &step.operation {
                Operation::Linear(linear) => linear.diagonals.len(),
                _ => 0,
            },
            estimate: step.estimate,
        };
        Ok(Self {
            name: program.client.name.clone(),
            costs,
            without: program.report.without.clone(),
            notes: program.report.notes.clone(),
            steps: program.steps.iter().map(step).collect(),
        })
    }

    /// For people.
    pub fn describe(&self, program: &LoadedProgram) -> String {
        let head =
            ["step", "does", "level", "scale", "rotations", "keys", "error", "CPU time"].map(String::from).to_vec();
        let mut rows = vec![head];
        for step in &self.steps {
            let estimate = &step.estimate;
            rows.push(vec![
                step.node.to_string(),
                step.operation.to_string(),
                if step.level_in == step.level_out {
                    step.level_in.to_string()
                } else {
                    format!("{} > {}", step.level_in, step.level_out)
                },
                format!("2^{:.1}", step.scale_out_log2),
                estimate.rotations.to_string(),
                text::bytes(estimate.key_bytes),
                format!("{:.1e}", estimate.error_std),
                text::seconds(estimate.seconds),
            ]);
        }
        let notes: String = self.notes.iter().map(|note| format!("  - {note}\n")).collect();
        let gap = if notes.is_empty() { "" } else { "\n" };
        let digest = program.digest();
        format!("{}\n{}{gap}{notes}\n  digest {digest}\n", describe_costs(&self.costs), text::table(&rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_has_logits_and_an_ensemble_members() {
        let prediction = |logits: Vec<Vec<f64>>| {
            let residuals = Residuals { zero_slots: 0.5, copies: 0.25 };
            Prediction { class: 0, probabilities: vec![0.75, 0.25], logits, residuals }
        };
        let json = |logits| serde_json::to_value(ImageReport::new(prediction(logits), "cat".into())).unwrap();
        let one = json(vec![vec![1.0, 0.0]]);
        assert_eq!((one["logits"].as_array().map(Vec::len), one.get("members")), (Some(2), None));
        assert_eq!(one["residuals"], serde_json::json!({"zero_slots": 0.5, "copies": 0.25}));
        let two = json(vec![vec![1.0, 0.0]; 2]);
        assert_eq!((two["members"].as_array().map(Vec::len), two.get("logits")), (Some(2), None));
    }
}
