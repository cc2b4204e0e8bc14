//! What an inference will take, before any key exists.

use serde::Serialize;
use umbra_ckks::Level;
use umbra_ckks::security::{SECURITY_BITS, max_log_qp};
use umbra_program::ClientSpec;
use umbra_program::count::{Counts, count};
use umbra_wire::{ClientFile, LoadedProgram};

use crate::calibration::Rates;
use crate::memory::Need;
use crate::{UmbraError, machine};

/// Bytes of a digest or a seed.
const DIGEST: u64 = 32;
/// Bytes of a process before any key: code, heaps of threads in huge pages, tables of small rings.
const PROCESS: u64 = 34_000_000;
/// Bytes of a huge page: larger buffers are whole ones.
const HUGE_PAGE: u64 = 2 << 20;
/// Buffers of one step that wait to be used again while those of another size are in use, for each byte of the largest
/// step's.
const WAITING: u64 = 2;

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
    /// CPU-seconds of an evaluation here over the cost model's.
    pub machine_factor: f64,
    /// Seconds of making the keys here.
    pub keygen_s: f64,
    /// Memory of making them.
    pub keygen_memory_bytes: u64,
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
    /// Seconds that loading of the keys adds to the first inference of a process.
    pub load_s: f64,
    /// Operations and bytes of one inference.
    pub counts: Counts,
}

impl ClientCosts {
    /// From a client file, and the rates of this machine ([`Rates::here`]).
    ///
    /// # Errors
    /// [`UmbraError::Engine`] where the kernels asked for are not there.
    pub fn of(file: &ClientFile) -> Result<Self, UmbraError> {
        Self::with(file, &Rates::here(file.spec().parameters.log_n)?)
    }

    /// From a client file and the rates of a machine with as many threads as this.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn with(file: &ClientFile, rates: &Rates) -> Result<Self, UmbraError> {
        let (spec, literal) = (file.spec(), &file.spec().parameters);
        let limb = 4u64 << literal.log_n;
        let limbs = |level: Level| literal.levels.get(level.index()).map_or(0, Vec::len) as u64;
        let (key_bytes, threads) = (spec.key_bytes(), machine::threads());
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
            machine_factor: rates.evaluation,
            keygen_s: rates.keygen * key_bytes as f64 / threads as f64,
            keygen_memory_bytes: Need::keys(spec).resident,
            threads,
            precision_bits: -spec.logit_error.log2(),
            logit_error_std: spec.logit_error,
        })
    }
}

impl Costs {
    /// From the program's own estimates and the rates of this machine ([`Rates::here`]).
    ///
    /// # Errors
    /// As [`ClientCosts::of`].
    pub fn of(program: &LoadedProgram) -> Result<Self, UmbraError> {
        Self::with(program, &Rates::here(program.client().spec().parameters.log_n)?)
    }

    /// From the program's own estimates and the rates of a machine with as many threads as this.
    ///
    /// # Errors
    /// As [`ClientCosts::of`].
    pub fn with(program: &LoadedProgram, rates: &Rates) -> Result<Self, UmbraError> {
        let client = ClientCosts::with(program.client(), rates)?;
        let seconds = program.program().report.seconds;
        let threads = client.threads as f64;
        Ok(Self {
            server_memory_bytes: Need::inference(program).resident,
            cpu_seconds_reference: seconds,
            server_s: seconds * rates.evaluation / threads,
            load_s: rates.load * client.eval_key_file_bytes as f64 / threads,
            counts: count(program.program()),
            client,
        })
    }
}

impl Need {
    /// Of evaluating a program: evaluation keys in both halves, weights, ciphertexts, tables.
    #[must_use]
    pub fn inference(program: &LoadedProgram) -> Self {
        let (spec, program) = (program.client().spec(), program.program());
        let keys =
            |size: fn(u64) -> u64| spec.keys.iter().map(|key| size(2 * key.bytes(&spec.parameters))).sum::<u64>();
        let (counts, working) = (count(program), WAITING * program.working_bytes());
        let others = PROCESS + tables(spec) + counts.weight_bytes + working;
        // Beside what is in memory, the file of keys is mapped.
        Self { resident: keys(pages) + others, addresses: keys(map) + working + others + spec.key_bytes() }
    }

    /// Of making evaluation keys: a few are in memory at a time.
    #[must_use]
    pub fn keys(spec: &ClientSpec) -> Self {
        let largest = spec.keys.iter().map(|key| 2 * key.bytes(&spec.parameters)).max().unwrap_or(0);
        let secret = (4 * spec.parameters.primes.len() as u64) << spec.parameters.log_n;
        let others = PROCESS + tables(spec) + secret;
        Self { resident: KEYS_AT_ONCE * pages(largest) + others, addresses: KEYS_AT_ONCE * map(largest) + others }
    }

    /// Of client and server in one process.
    #[must_use]
    pub fn session(program: &LoadedProgram) -> Self {
        // Keys are made before any is loaded; the buffers of the last wait to be used again.
        let (server, client) = (Self::inference(program), Self::keys(program.client().spec()));
        let more = |server: u64, client: u64| server.max(client) + tables(program.client().spec());
        Self { resident: more(server.resident, client.resident), addresses: more(server.addresses, client.addresses) }
    }
}

/// Keys that are in memory at a time while keys are made: one in the making, one that waits, one that is written, and
/// the buffer of one that was.
const KEYS_AT_ONCE: u64 = 4;

/// Bytes of the transforms' tables: roots in words of two lengths for both directions.
fn tables(spec: &ClientSpec) -> u64 {
    (20 * spec.parameters.primes.len() as u64) << spec.parameters.log_n
}

/// What a buffer takes of memory.
fn pages(bytes: u64) -> u64 {
    if bytes < HUGE_PAGE { bytes } else { bytes.next_multiple_of(HUGE_PAGE) }
}

/// What a buffer takes of addresses.
fn map(bytes: u64) -> u64 {
    if bytes < HUGE_PAGE { bytes } else { bytes.checked_next_power_of_two().unwrap_or(bytes) }
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
        // With other rates, other times.
        let rates = Rates { evaluation: 2.0 * server.client.machine_factor, ..Rates::default() };
        let slower = Costs::with(&program, &rates).unwrap();
        assert!((slower.server_s / server.server_s - 2.0).abs() < 1e-9);
        assert_eq!(slower.server_memory_bytes, server.server_memory_bytes);
        // One object of both.
        let json = serde_json::to_value(&server).unwrap();
        for key in [
            "network",
            "images",
            "cpu_seconds_reference",
            "eval_key_file_bytes",
            "keygen_s",
            "load_s",
            "server_s",
            "counts",
        ] {
            assert!(!json[key].is_null(), "{key}: {json}");
        }
    }
}
