//! The report of a demonstration.

use serde::Serialize;

use umbra::program::Residuals;
use umbra::session::StepTime;

use crate::text;

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub struct Report {
    pub network: String,
    pub image: String,
    pub class: String,
    pub plain_class: String,
    pub top1_match: bool,
    /// Largest difference of an encrypted and a plaintext logit.
    pub max_abs_error: f64,
    /// `-log2` of it.
    pub precision_bits: f64,
    pub simulated_max_abs_error: f64,
    pub compile_s: f64,
    pub keygen_s: f64,
    pub encrypt_s: f64,
    /// Encoding of the weights.
    pub prepare_s: f64,
    /// Checking and expanding of the evaluation keys.
    pub load_s: f64,
    /// Evaluation only.
    pub server_s: f64,
    /// CPU-seconds of it.
    pub cpu_seconds: Option<f64>,
    pub decrypt_s: f64,
    pub peak_rss_bytes: Option<u64>,
    pub eval_key_file_bytes: u64,
    pub input_ciphertext_bytes: u64,
    pub output_ciphertext_bytes: u64,
    pub security_bits: u32,
    pub log_n: u32,
    pub log_qp: f64,
    pub levels: usize,
    pub threads: usize,
    pub residuals: Residuals,
    pub logits: Logits,
    pub steps: Vec<StepTime>,
    pub files: Option<String>,
}

/// Logits side by side.
#[derive(Debug, Serialize)]
pub struct Logits {
    pub classes: Vec<String>,
    pub plain: Vec<f64>,
    pub simulated: Vec<f64>,
    pub encrypted: Vec<f64>,
    pub probabilities: Vec<f64>,
}

impl Report {
    /// For people.
    pub fn describe(&self) -> String {
        let Self { logits, .. } = self;
        let verdict = if self.top1_match {
            format!("{} (as in the clear)", self.class)
        } else {
            format!("{}, but {} in the clear: the encrypted result is WRONG", self.class, self.plain_class)
        };
        let summary = format!(
            "largest error {:.4} ({:.1} bits), simulated {:.4}; slots without logit hold {:.1e} of what is \
             accepted, copies differ by {:.1e} of it",
            self.max_abs_error,
            self.precision_bits,
            self.simulated_max_abs_error,
            self.residuals.zero_slots,
            self.residuals.copies
        );
        let folder = self.files.as_ref().map_or(String::new(), |folder| format!("\nfiles are in {folder}\n"));
        format!(
            "\nclass: {verdict}\n\n{}\n  {summary}\n\n{}\n{}\n{}{folder}",
            text::table(&Self::logit_rows(logits)),
            text::table(&self.layer_rows()),
            text::table(&self.step_rows()),
            text::table(&self.figure_rows()),
        )
    }

    /// Best classes first.
    fn logit_rows(logits: &Logits) -> Vec<Vec<String>> {
        let mut rows = vec![["", "probability", "plain", "simulated", "encrypted", "error"].map(String::from).to_vec()];
        let mut order: Vec<usize> = (0..logits.classes.len()).collect();
        order.sort_by(|&a, &b| logits.encrypted[b].total_cmp(&logits.encrypted[a]));
        for i in order.into_iter().take(10) {
            let (plain, encrypted) = (logits.plain[i], logits.encrypted[i]);
            rows.push(vec![
                logits.classes[i].clone(),
                format!("{:.2} %", 100.0 * logits.probabilities[i]),
                format!("{plain:.4}"),
                format!("{:.4}", logits.simulated[i]),
                format!("{encrypted:.4}"),
                format!("{:+.4}", encrypted - plain),
            ]);
        }
        rows
    }

    fn layer_rows(&self) -> Vec<Vec<String>> {
        let mut layers: Vec<(&str, u32, f64)> = Vec::new();
        for step in &self.steps {
            match layers.last_mut() {
                Some((name, rotations, seconds)) if *name == layer(step) => {
                    *rotations += step.rotations;
                    *seconds += step.seconds;
                }
                _ => layers.push((layer(step), step.rotations, step.seconds)),
            }
        }
        let mut rows = vec![["layer", "rotations", "seconds"].map(String::from).to_vec()];
        let row = |(name, rotations, seconds): &(&str, u32, f64)| {
            vec![name.to_string(), rotations.to_string(), format!("{seconds:.3}")]
        };
        rows.extend(layers.iter().map(row));
        rows.push(row(&("all", self.steps.iter().map(|s| s.rotations).sum(), self.server_s)));
        rows
    }

    fn step_rows(&self) -> Vec<Vec<String>> {
        let mut rows = vec![["step", "does", "level", "rotations", "seconds"].map(String::from).to_vec()];
        rows.extend(self.steps.iter().map(|step| {
            let seconds = format!("{:.4}", step.seconds);
            vec![step.node.clone(), step.operation.into(), step.level.to_string(), step.rotations.to_string(), seconds]
        }));
        rows
    }

    fn figure_rows(&self) -> Vec<Vec<String>> {
        let row = |name: &str, value: String| vec![name.to_string(), value];
        vec![
            row("compile", text::seconds(self.compile_s)),
            row("key generation", text::seconds(self.keygen_s)),
            row("encryption", text::seconds(self.encrypt_s)),
            row("server: encode weights", text::seconds(self.prepare_s)),
            row("server: load keys", text::seconds(self.load_s)),
            row("server: evaluate", text::seconds(self.server_s)),
            row("decryption", text::seconds(self.decrypt_s)),
            row("peak memory", self.peak_rss_bytes.map_or("unknown".into(), text::bytes)),
            row("evaluation keys", text::bytes(self.eval_key_file_bytes)),
            row("encrypted image", text::bytes(self.input_ciphertext_bytes)),
            row("encrypted result", text::bytes(self.output_ciphertext_bytes)),
            row("security", format!("{} bits", self.security_bits)),
            row("N", format!("2^{}", self.log_n)),
            row("log2 QP", format!("{:.1}", self.log_qp)),
            row("levels", self.levels.to_string()),
            row("threads", self.threads.to_string()),
        ]
    }
}

/// The layer of a step: the first part of its node's name.
fn layer(step: &StepTime) -> &str {
    step.node.split(['.', ' ', '+', ',']).next().unwrap_or(&step.node)
}
