//! What an inference will take, before any key exists.

use std::time::Instant;

use serde::Serialize;
use umbra_ckks::Level;
use umbra_ckks::security::{SECURITY_BITS, max_log_qp};
use umbra_compiler::CostModel;
use umbra_program::count::{Counts, count};
use umbra_ring::NttTable;
use umbra_wire::{ClientFile, LoadedProgram};

use crate::{UmbraError, machine};

/// Bytes of a digest or a seed.
const DIGEST: u64 = 32;

/// What a client knows beforehand, from a client file.
#[derive(Clone, Debug, Serialize)]
pub struct ClientCosts {
    /// The network's name.
    pub network: String,
    /// Classical security of the parameters.
    pub security_bits: u32,
    /// Base-2 logarithm of the ring degree.
    pub log_n: u32,
    /// Base-2 logarithm of the largest modulus, special primes included.
    pub log_qp: f64,
    /// What security allows.
    pub log_qp_limit: u32,
    /// Levels, the lowest included.
    pub levels: usize,
    /// Images that one inference classifies.
    pub images: usize,
    /// Networks that classify them.
    pub networks: usize,
    /// Number of evaluation keys.
    pub eval_keys: usize,
    /// Their bytes in a file.
    pub eval_key_file_bytes: u64,
    /// Bytes of the encrypted images.
    pub input_ciphertext_bytes: u64,
    /// Bytes of the encrypted result.
    pub output_ciphertext_bytes: u64,
    /// Time of this machine's transforms over the cost model's.
    pub machine_factor: f64,
    /// Seconds of making the keys here.
    pub keygen_s: f64,
    /// Threads that it is for.
    pub threads: usize,
    /// Expected `-log2` of a logit's error (one standard deviation).
    pub precision_bits: f64,
    /// Expected standard deviation of a logit's error.
    pub logit_error_std: f64,
}

/// What an inference will take, from a program.
#[derive(Clone, Debug, Serialize)]
pub struct Costs {
    /// What a client knows of it, too.
    #[serde(flatten)]
    pub client: ClientCosts,
    /// Memory of the server: keys in both halves, weights, working ciphertexts.
    pub server_memory_bytes: u64,
    /// CPU-seconds on the machine that the cost model was measured on.
    pub cpu_seconds_reference: f64,
    /// Seconds of one inference here.
    pub server_s: f64,
    /// Operations and bytes of one inference.
    pub counts: Counts,
}

impl ClientCosts {
    /// From a client file, and a measurement of this machine that takes some milliseconds.
    ///
    /// # Errors
    /// [`UmbraError::Engine`] where the kernels asked for are not there.
    pub fn of(file: &ClientFile) -> Result<Self, UmbraError> {
        let (spec, literal) = (file.spec(), &file.spec().parameters);
        let limb = 4u64 << literal.log_n;
        let limbs = |level: Level| literal.levels.get(level.index()).map_or(0, Vec::len) as u64;
        let transform = transform_seconds(file)?;
        let modelled = CostModel::default().transform * (1u64 << literal.log_n) as f64 * f64::from(literal.log_n);
        let key_bytes = spec.key_bytes();
        let threads = machine::threads();
        // A limb of each digit takes one transform of its error and one pass of sampling and multiplication.
        let keygen = 2.0 * transform * key_bytes as f64 / limb as f64;
        Ok(Self {
            network: spec.name.clone(),
            security_bits: SECURITY_BITS,
            log_n: literal.log_n,
            log_qp: literal.log_qp(),
            log_qp_limit: max_log_qp(literal.log_n)?,
            levels: literal.levels.len(),
            images: spec.layout.images,
            networks: spec.layout.members,
            eval_keys: spec.keys.len(),
            eval_key_file_bytes: key_bytes,
            input_ciphertext_bytes: spec.input.ciphertexts.len() as u64 * (limbs(spec.input.level) * limb + DIGEST),
            output_ciphertext_bytes: spec.output.ciphertexts() as u64 * 2 * limbs(spec.output.level) * limb,
            machine_factor: transform / modelled,
            keygen_s: keygen / threads as f64,
            threads,
            precision_bits: -spec.logit_error.log2(),
            logit_error_std: spec.logit_error,
        })
    }
}

impl Costs {
    /// From the program's own estimates, scaled as [`ClientCosts::of`] does.
    ///
    /// # Errors
    /// As [`ClientCosts::of`].
    pub fn of(program: &LoadedProgram) -> Result<Self, UmbraError> {
        let client = ClientCosts::of(program.client())?;
        let program = &**program.program();
        let counts = count(program);
        let seconds = program.report.seconds;
        Ok(Self {
            server_memory_bytes: counts.key_bytes
                + counts.key_file_bytes
                + counts.weight_bytes
                + program.working_bytes(),
            cpu_seconds_reference: seconds,
            server_s: seconds * client.machine_factor / client.threads as f64,
            counts,
            client,
        })
    }
}

/// Seconds of one transform of one limb here: the best of some.
fn transform_seconds(file: &ClientFile) -> Result<f64, UmbraError> {
    let parameters = file.parameters();
    // Checked parameters have primes, which fit the ring degree.
    let prime = parameters.literal().primes.first().copied().unwrap_or_default();
    let table =
        NttTable::with_kernels(parameters.kernels(), parameters.log_n(), prime).map_err(umbra_ckks::CkksError::from)?;
    let mut words = vec![1u32; parameters.n()];
    let mut best = f64::INFINITY;
    for _ in 0..32 {
        let start = Instant::now();
        table.forward(&mut words);
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use umbra_compiler::CompileOptions;
    use umbra_model::zoo::ResNet;

    use super::*;
    use crate::Network;

    #[test]
    fn a_client_file_tells_what_the_program_does_of_keys_and_ciphertexts() {
        let graph = ResNet { widths: vec![2], blocks: 1, height: 8, width: 8, ..ResNet::default() }.build().unwrap();
        let program = Network::Graph(Box::new(graph)).program(&CompileOptions::default(), &[]).unwrap();
        let (server, client) = (Costs::of(&program).unwrap(), ClientCosts::of(program.client()).unwrap());
        assert_eq!(server.client.eval_key_file_bytes, client.eval_key_file_bytes);
        assert_eq!(server.counts.key_file_bytes, client.eval_key_file_bytes);
        assert_eq!(server.counts.keys, client.eval_keys as u64);
        assert!(client.log_qp <= f64::from(client.log_qp_limit) && client.machine_factor > 0.0);
        // One object of both.
        let json = serde_json::to_value(&server).unwrap();
        for key in
            ["network", "images", "cpu_seconds_reference", "eval_key_file_bytes", "keygen_s", "server_s", "counts"]
        {
            assert!(!json[key].is_null(), "{key}: {json}");
        }
    }
}
