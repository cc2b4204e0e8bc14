//! `umbra estimate`.

use std::time::Instant;

use serde::Serialize;
use umbra_ckks::Parameters;
use umbra_ckks::security::SECURITY_BITS;
use umbra_compiler::CostModel;
use umbra_program::count::{Counts, count};
use umbra_wire::LoadedProgram;

use crate::arguments::Estimate;
use crate::network::Network;
use crate::{Outcome, machine, text};

/// What an inference will take; also part of what other commands report.
#[derive(Clone, Debug, Serialize)]
pub struct Costs {
    pub network: String,
    pub security_bits: u32,
    pub log_n: u32,
    pub log_qp: f64,
    pub log_qp_limit: u32,
    pub levels: usize,
    /// Pictures that one inference classifies.
    pub pictures: usize,
    /// Networks that classify them.
    pub networks: usize,
    pub eval_key_file_bytes: u64,
    pub input_ciphertext_bytes: u64,
    pub output_ciphertext_bytes: u64,
    /// Memory of the server: keys in both halves, weights, working ciphertexts.
    pub server_memory_bytes: u64,
    /// Core-seconds on the machine that the cost model was measured on.
    pub core_seconds_reference: f64,
    /// Time of this machine's transforms over the model's.
    pub machine_factor: f64,
    pub server_s: f64,
    pub keygen_s: f64,
    pub threads: usize,
    /// Expected `-log2` of a logit's error (one standard deviation).
    pub precision_bits: f64,
    pub logit_error_std: f64,
    pub counts: Counts,
}

/// Tells what an inference will take.
pub fn run(arguments: &Estimate) -> anyhow::Result<Outcome> {
    let program = Network::open(&arguments.network.network)?.compiled(&arguments.compilation)?;
    let costs = Costs::of(&program);
    if arguments.json {
        text::print_json(&costs)?;
    } else {
        text::print(&costs.describe())?;
    }
    Ok(Outcome::Success)
}

impl Costs {
    /// From the program's own estimates, scaled by a measurement of this machine that takes some milliseconds.
    pub fn of(program: &LoadedProgram) -> Self {
        let (parameters, digest_bytes) = (program.parameters(), 32);
        let program = &**program.program();
        let (literal, report) = (&program.parameters, &program.report);
        let counts = count(program);
        let limb = 4u64 << literal.log_n;
        let (input, output) = (&program.input, &program.output);
        let limbs = |level: usize| literal.levels[level].len() as u64;
        let machine_factor = machine_factor(parameters);
        let threads = machine::threads();
        let transforms = transform_seconds(parameters);
        // A limb of each digit takes one transform of its error and one pass of sampling and multiplication.
        let keygen = 2.0 * transforms * counts.key_file_bytes as f64 / limb as f64;
        Self {
            network: program.name.clone(),
            security_bits: SECURITY_BITS,
            log_n: literal.log_n,
            log_qp: literal.log_qp(),
            log_qp_limit: report.log_qp_limit,
            levels: literal.levels.len(),
            pictures: program.layout.pictures(),
            networks: program.layout.members(),
            eval_key_file_bytes: counts.key_file_bytes,
            input_ciphertext_bytes: input.ciphertexts.len() as u64 * (limbs(input.level) * limb + digest_bytes),
            output_ciphertext_bytes: output.ciphertexts() as u64 * 2 * limbs(output.level) * limb,
            server_memory_bytes: counts.key_bytes
                + counts.key_file_bytes
                + counts.weight_bytes
                + program.working_bytes(),
            core_seconds_reference: report.seconds,
            machine_factor,
            server_s: report.seconds * machine_factor / threads as f64,
            keygen_s: keygen / threads as f64,
            threads,
            precision_bits: -report.logit_error_std.log2(),
            logit_error_std: report.logit_error_std,
            counts,
        }
    }

    /// For people.
    pub fn describe(&self) -> String {
        let row = |name: &str, value: String| vec![name.to_string(), value];
        let each = match self.pictures {
            0 | 1 => String::new(),
            n => format!(", {} a picture", text::seconds(self.server_s / n as f64)),
        };
        let rows = [
            row("network", self.network.clone()),
            row("pictures at once", self.pictures.to_string()),
            row("networks at once", self.networks.to_string()),
            row("security", format!("{} bits", self.security_bits)),
            row("ring", format!("N = 2^{}", self.log_n)),
            row("log2 QP", format!("{:.1} of {} allowed", self.log_qp, self.log_qp_limit)),
            row("levels", self.levels.to_string()),
            row("evaluation keys", format!("{} in {} keys", text::bytes(self.eval_key_file_bytes), self.counts.keys)),
            row("encrypted picture", text::bytes(self.input_ciphertext_bytes)),
            row("encrypted result", text::bytes(self.output_ciphertext_bytes)),
            row("server memory", text::bytes(self.server_memory_bytes)),
            row("key generation", format!("about {}", text::seconds(self.keygen_s))),
            row("server time", format!("about {} with {} threads{each}", text::seconds(self.server_s), self.threads)),
            row("rotations", format!("{} hoisted, {} full", self.counts.hoisted_rotations, self.counts.full_rotations)),
            row("error of a logit", format!("about {:.4} ({:.1} bits)", self.logit_error_std, self.precision_bits)),
        ];
        text::table(&rows)
    }
}

/// Seconds of one transform of one limb here: the best of some.
fn transform_seconds(parameters: &Parameters) -> f64 {
    let table = parameters.table(0);
    let mut words = vec![1u32; parameters.n()];
    let mut best = f64::INFINITY;
    for _ in 0..32 {
        let start = Instant::now();
        table.forward(&mut words);
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

fn machine_factor(parameters: &Parameters) -> f64 {
    let modelled = CostModel::default().transform * parameters.n() as f64 * f64::from(parameters.log_n());
    transform_seconds(parameters) / modelled
}
