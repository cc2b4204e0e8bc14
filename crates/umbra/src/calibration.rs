//! Rates of this machine, for estimates.
//!
//! A short measurement does what an inference does, on made-up data of the same ring degree: it makes a few evaluation
//! keys, writes them to a file, loads them, and evaluates a linear transform and a square with them. It counts
//! CPU-seconds, which other work on the machine disturbs little. The rates are kept in the user's cache folder for the
//! next time. They change no program: plans are made with the rates of [`CostModel::default`] everywhere.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use umbra_ckks::{
    Bsgs, Ciphertext, CkksError, Diagonal, Gadget, GadgetLiteral, KeyGenerator, KeyId, KeyKind, KeyStore, Level,
    Parameters, ParametersLiteral, SwitchingKey, TransformSpec,
};
use umbra_compiler::{CostModel, SwitchSize, Work};
use umbra_evaluate::{Engine, Evaluator, LinearTransform};
use umbra_ring::{kernels::Kernels, primes};
use umbra_wire::{EvaluationKeys, EvaluationKeysWriter};

use crate::{UmbraError, machine};

/// What rates depend on beside the machine: raised where the measurement or what it measures changes.
const VERSION: u32 = 1;
/// Most bytes of a cache that is read.
const LONGEST: u64 = 1 << 16;
/// Rounds of evaluation, of which the fastest counts.
const ROUNDS: usize = 3;
/// Scale of ciphertexts and of their products.
const SCALE: f64 = (1u64 << 30) as f64;

/// CPU-seconds of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Of making a byte of evaluation keys, and writing it.
    pub keygen: f64,
    /// Of loading a byte of evaluation keys.
    pub load: f64,
    /// Of evaluation, for a second of the default cost model.
    pub evaluation: f64,
}

impl Rates {
    /// Those of this machine at a ring degree: from the cache, or measured in well under a second. A cache that cannot
    /// be read or written is no error.
    ///
    /// # Errors
    /// [`UmbraError::Engine`] where the kernels asked for are not there.
    pub fn here(log_n: u32) -> Result<Self, UmbraError> {
        let cache = cache_file();
        let key = key(log_n, Kernels::selected().map_err(CkksError::from)?);
        if let Some(rates) = cache.as_deref().and_then(|path| read(path).remove(&key)) {
            return Ok(rates);
        }
        let rates = Self::measure(log_n)?;
        if let Some(path) = cache {
            write(&path, key, rates);
        }
        Ok(rates)
    }

    /// Measured now.
    ///
    /// # Errors
    /// As [`Self::here`], and those of files: there is one of some megabytes in the folder for temporary files.
    pub fn measure(log_n: u32) -> Result<Self, UmbraError> {
        let sample = Sample::new(log_n)?;
        let folder = tempfile::Builder::new()
            .prefix("umbra-calibration-")
            .tempdir()
            .map_err(|reason| UmbraError::Scratch { path: std::env::temp_dir(), reason })?;
        let path = folder.path().join("keys");
        let bytes = sample.keys.iter().map(|key| key.bytes(sample.parameters.literal())).sum::<u64>() as f64;
        let (made, keygen) = timed(|| sample.make_keys(&path));
        // Held, so that loading has fresh memory to fill, as it has in a server's process.
        let made = made?;
        let (keys, load) = timed(|| {
            let keys = EvaluationKeys::open(&path, &sample.parameters)?;
            keys.load_all().map_err(umbra_wire::WireError::from)?;
            Ok::<_, UmbraError>(keys)
        });
        drop(made);
        let evaluation = sample.evaluate(&keys?)?;
        let rates = Self { keygen: keygen / bytes, load: load / bytes, evaluation: evaluation / sample.modelled() };
        if rates.are_possible() { Ok(rates) } else { Ok(Self::default()) }
    }

    /// Whether they are those of some machine: clocks may be coarse, and caches hold anything.
    fn are_possible(&self) -> bool {
        let within = |rate: f64, low: f64, high: f64| rate > low && rate < high;
        within(self.keygen, 1e-11, 1e-6) && within(self.load, 1e-11, 1e-6) && within(self.evaluation, 0.01, 1000.0)
    }
}

impl Default for Rates {
    /// Those of a Sapphire Rapids Xeon of 2.6 GHz.
    fn default() -> Self {
        Self { keygen: 4e-9, load: 1e-9, evaluation: 1.5 }
    }
}

/// Parameters and operations that are like those of a program.
struct Sample {
    parameters: Parameters,
    keys: Vec<KeyId>,
    plan: Bsgs,
    diagonals: Vec<Diagonal>,
}

const GADGET: Gadget = Gadget(0);
const LEVEL: Level = Level(1);
/// Slots that weights repeat after.
const PERIOD: usize = 16;

impl Sample {
    /// As many limbs as are secure, but no more than make a measurement short.
    fn new(log_n: u32) -> Result<Self, UmbraError> {
        let most = (umbra_ckks::security::max_log_qp(log_n)? / 30) as usize;
        let limbs = most.saturating_sub(1).clamp(3, if log_n > 15 { 10 } else { 16 });
        let (special, top) = (limbs.div_ceil(5), limbs - limbs.div_ceil(5));
        let range = |from: usize, to: usize| (from as u16..to as u16).collect::<Vec<u16>>();
        let primes = primes::nearest(log_n, 29.9, limbs, &[]).map_err(CkksError::from)?;
        let literal = ParametersLiteral {
            log_n,
            primes,
            levels: vec![range(0, top - 1), range(0, top)],
            gadgets: vec![GadgetLiteral {
                digits: range(0, top).chunks(special).map(<[u16]>::to_vec).collect(),
                special: range(top, limbs),
            }],
        };
        let plan = Bsgs { babies: vec![0, 1, 2, 3], inner: vec![0, 4], outer: vec![0, 8, 16], imaginary_steps: None };
        let mut diagonals = Vec::new();
        for (outer, inner, baby) in (0..3).flat_map(|o| (0..2).flat_map(move |i| (0..4).map(move |b| (o, i, b)))) {
            let values = (0..PERIOD).map(|slot| (slot as f32 + f32::from(baby)).sin() * 0.1).collect();
            diagonals.push(Diagonal { output: 0, input: 0, outer, inner, baby, imaginary: false, mask: None, values });
        }
        let kinds: std::collections::BTreeSet<KeyKind> = plan.keys().chain([KeyKind::Relinearize]).collect();
        let keys = kinds.into_iter().map(|kind| KeyId { gadget: GADGET, level: LEVEL, kind }).collect();
        Ok(Self { parameters: Parameters::new(literal)?, keys, plan, diagonals })
    }

    /// As a client does.
    fn make_keys(&self, path: &Path) -> Result<Vec<SwitchingKey>, UmbraError> {
        let mut generator = KeyGenerator::new(&self.parameters)?;
        let secret = generator.secret_key()?;
        let mut writer = EvaluationKeysWriter::create(path, &self.parameters, secret.key_set(), &self.keys)?;
        let mut made = Vec::with_capacity(self.keys.len());
        for &id in &self.keys {
            let key = generator.switching_key(&secret, id)?;
            writer.add(&key)?;
            made.push(key);
        }
        writer.commit()?;
        Ok(made)
    }

    /// CPU-seconds of a transform and a square.
    fn evaluate(&self, keys: &EvaluationKeys) -> Result<f64, UmbraError> {
        let engine = Engine::new(&self.parameters);
        let weight_scale = self.parameters.rescale_factor(LEVEL, Level(0))?;
        let transform = LinearTransform::new(
            &engine,
            &TransformSpec {
                level: LEVEL,
                gadget: GADGET,
                level_out: Level(0),
                weight_scales: &[weight_scale],
                outputs: 1,
                period: PERIOD,
                masks: &[],
                plan: &self.plan,
                diagonals: &self.diagonals,
                bias: &[vec![0.0; PERIOD]],
                scale_out: SCALE,
                add_first: false,
            },
        )?;
        let evaluator = Evaluator::new(&engine, keys);
        // Zeros are as good as any ciphertext.
        let words = vec![0; 2 * self.parameters.level(LEVEL)?.len() * self.parameters.n()];
        let input = Ciphertext::from_words(&self.parameters, keys.key_set(), LEVEL, SCALE, &words)?;
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
            let (done, seconds) = timed(|| {
                rayon::scope(|_| {
                    evaluator.transform(&[&input], &transform)?;
                    evaluator.square(&input, GADGET)
                })
            });
            done?;
            best = best.min(seconds);
        }
        Ok(best)
    }

    /// The same by the default cost model.
    fn modelled(&self) -> f64 {
        let literal = self.parameters.literal();
        let size = SwitchSize {
            log_n: literal.log_n,
            limbs: literal.levels[LEVEL.index()].len(),
            special: literal.gadgets[GADGET.index()].special.len(),
            digits: literal.gadgets[GADGET.index()].digits.len(),
        };
        let babies = self.plan.babies.len() - 1;
        let giants = self.plan.inner.len() * self.plan.outer.len() - 1;
        let work = Work::default()
            .plus(size.decompose(), 1.0)
            .plus(size.babies(babies, babies), 1.0)
            .plus(size.diagonal(), self.diagonals.len() as f64)
            .plus(size.giant(), giants as f64)
            .plus(size.mod_down(2.0, size.special, 1, 0), 1.0)
            .plus(size.square(0, 0), 1.0);
        work.seconds(&CostModel::default(), literal.log_n)
    }
}

/// CPU-seconds of all threads; where the system does not tell them, the time on the clock for each.
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let (start, before) = (std::time::Instant::now(), machine::processor_time());
    let value = work();
    let seconds = match before.zip(machine::processor_time()) {
        Some((before, after)) => after - before,
        None => start.elapsed().as_secs_f64() * machine::threads() as f64,
    };
    (value, seconds)
}

/// Rates by what they depend on.
type Cache = BTreeMap<String, Rates>;

/// Processor, kernels, threads and ring degree that rates are of.
fn key(log_n: u32, kernels: &Kernels) -> String {
    // Builds without optimisation of the whole program are slower.
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    let version = format!("{}.{VERSION} {build}", env!("CARGO_PKG_VERSION"));
    format!("{version}, {}, {}, {} threads, 2^{log_n}", machine::processor(), kernels.name, machine::threads())
}

/// Where the user's caches are.
fn cache_file() -> Option<PathBuf> {
    let at = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = if cfg!(windows) {
        at("LOCALAPPDATA")
    } else if cfg!(target_vendor = "apple") {
        at("HOME").map(|home| home.join("Library/Caches"))
    } else {
        at("XDG_CACHE_HOME").or_else(|| at("HOME").map(|home| home.join(".cache")))
    };
    folder.map(|folder| folder.join("umbra").join("rates.json"))
}

/// What a cache holds that can be true.
fn read(path: &Path) -> Cache {
    let read = || {
        let mut text = String::new();
        // Of a named pipe there would be no end.
        std::fs::metadata(path).ok().filter(|found| found.is_file())?;
        std::fs::File::open(path).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
        serde_json::from_str::<Cache>(&text).ok()
    };
    let mut found = read().unwrap_or_default();
    found.retain(|_, rates| rates.are_possible());
    found
}

/// Adds rates to a cache, where that is possible.
fn write(path: &Path, key: String, rates: Rates) {
    let mut all = read(path);
    all.insert(key, rates);
    let (Some(folder), Ok(text)) = (path.parent(), serde_json::to_string_pretty(&all)) else { return };
    if std::fs::create_dir_all(folder).is_ok()
        && let Ok(mut file) = umbra_file::AtomicFile::create(path, false)
        && file.write_all(text.as_bytes()).is_ok()
    {
        // Without it, it is measured again.
        let _ = file.commit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_measured() {
        for log_n in [13, 15] {
            let rates = Rates::measure(log_n).unwrap();
            assert!(rates.are_possible(), "{rates:?}");
            let sample = Sample::new(log_n).unwrap();
            assert!(sample.modelled() > 0.0 && sample.keys.is_sorted_by_key(|key| (key.gadget, key.kind)));
        }
    }

    #[test]
    fn a_cache_is_kept_and_a_spoilt_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inner/rates.json");
        assert!(read(&path).is_empty());
        let (one, other) = (Rates::default(), Rates { load: 2e-9, ..Rates::default() });
        write(&path, "a".into(), one);
        write(&path, "b".into(), other);
        assert_eq!(read(&path), Cache::from([("a".to_string(), one), ("b".to_string(), other)]));
        for spoilt in ["", "{", "null", "{\"a\": {\"keygen\": 0, \"load\": -1, \"evaluation\": 1e99}}", "\u{0}"] {
            std::fs::write(&path, spoilt).unwrap();
            assert!(read(&path).is_empty(), "{spoilt}");
        }
        // It is written again.
        write(&path, "a".into(), one);
        assert_eq!(read(&path).len(), 1);
        // Where a file is in the way of the folder, nothing happens.
        write(&path.join("deeper/rates.json"), "a".into(), one);
        assert_eq!(read(&path).len(), 1);
    }

    #[test]
    fn rates_belong_to_kernels_and_ring_degree() {
        let [slow, best] = [Kernels::scalar(), Kernels::best()];
        assert_ne!(key(13, slow), key(14, slow));
        assert!(slow.name == best.name || key(13, slow) != key(13, best));
    }
}
