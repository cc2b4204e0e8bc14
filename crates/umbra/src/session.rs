//! Client and server in one process: for demonstrations, measurements, and whoever trusts the machine that it runs on.
//!
//! Everything goes the way it would between two machines: what one party sends to the other becomes bytes, and is
//! checked when it is read. Evaluation keys go over a file, so that their first half need not stay in memory.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use tempfile::TempDir;
use umbra_ckks::Level;
use umbra_client::{Client, ClientError, Prediction};
use umbra_file::Container;
use umbra_program::LayoutError;
use umbra_server::{Server, StepReport};
use umbra_wire::{ContentError, Encrypted, EvaluationKeys, LoadedProgram, Role};

use crate::memory::Need;
use crate::progress::{Meter, Watch};
use crate::{UmbraError, machine};

/// Name of the file of evaluation keys in a session's folder.
pub const EVALUATION_KEYS: &str = "eval.key";

/// A client with its keys, and a server that has the evaluation keys.
#[derive(Debug)]
pub struct Session {
    client: Client,
    server: Server,
    keys: EvaluationKeys,
    setup: SetupTimes,
    /// Removed after the keys are closed.
    _scratch: Option<TempDir>,
}

/// Seconds that came before the first inference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SetupTimes {
    /// Making and writing the keys.
    pub keygen_s: f64,
    /// Encoding the weights.
    pub prepare_s: f64,
    /// Checking and expanding the evaluation keys.
    pub load_s: f64,
}

/// What came of some images, and what it took.
#[derive(Debug)]
pub struct Classified {
    /// One an image, in order.
    pub predictions: Vec<Result<Prediction, LayoutError>>,
    /// What the client sent: a file of encrypted images.
    pub input: Vec<u8>,
    /// What the server sent back: a file of an encrypted result.
    pub output: Vec<u8>,
    /// Seconds of packing, encryption and encoding.
    pub encrypt_s: f64,
    /// Seconds of the evaluation alone.
    pub server_s: f64,
    /// CPU-seconds of it, where the system tells.
    pub cpu_seconds: Option<f64>,
    /// Seconds of decoding, decryption and checks.
    pub decrypt_s: f64,
    /// Step by step.
    pub steps: Vec<StepTime>,
}

/// What a step took.
#[derive(Clone, Debug, Serialize)]
pub struct StepTime {
    /// The network nodes that it realises.
    pub node: String,
    /// What it does.
    pub operation: &'static str,
    /// Level at which it worked.
    pub level: Level,
    /// Rotations of ciphertexts.
    pub rotations: u32,
    /// Seconds that it took.
    pub seconds: f64,
    /// CPU-seconds by the cost model.
    pub estimated_cpu_seconds: f64,
}

impl Session {
    /// With fresh keys; the file of evaluation keys is in a temporary folder, which goes with the session.
    ///
    /// # Errors
    /// [`UmbraError`]: [`UmbraError::Memory`] before any work; [`UmbraError::is_cancelled`] where `watch` stopped it.
    pub fn new(program: &LoadedProgram, watch: Watch<'_>) -> Result<Self, UmbraError> {
        let scratch = tempfile::Builder::new()
            .prefix("umbra-session-")
            .tempdir()
            .map_err(|reason| UmbraError::Scratch { path: std::env::temp_dir(), reason })?;
        let session = Self::in_folder(program, scratch.path(), watch)?;
        Ok(Self { _scratch: Some(scratch), ..session })
    }

    /// With fresh keys; the file of evaluation keys is [`EVALUATION_KEYS`] in this folder, and stays there. The secret
    /// key is in no file.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn in_folder(program: &LoadedProgram, folder: &Path, watch: Watch<'_>) -> Result<Self, UmbraError> {
        Need::session(program).check("all parties in one process")?;
        let path = folder.join(EVALUATION_KEYS);
        let (client, keygen_s) = timed(|| {
            let client = Client::generate(program.client())?;
            let meter = Meter::keys(program.client().spec());
            client.save_evaluation_keys(&path, &mut |made, _| watch(&meter.at(made, None)))?;
            Ok::<_, UmbraError>(client)
        })?;
        let (server, prepare_s) = timed(|| Server::new(program))?;
        let (keys, load_s) = timed(|| {
            let keys = server.open_keys(&path)?;
            keys.load_all()?;
            Ok::<_, UmbraError>(keys)
        })?;
        Ok(Self { client, server, keys, setup: SetupTimes { keygen_s, prepare_s, load_s }, _scratch: None })
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The evaluation keys, as the server has them.
    #[must_use]
    pub fn keys(&self) -> &EvaluationKeys {
        &self.keys
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &LoadedProgram {
        self.server.program()
    }

    /// What it took to get here.
    #[must_use]
    pub fn setup(&self) -> SetupTimes {
        self.setup
    }

    /// Encrypts normalised images, evaluates and decrypts: as many as the program classifies at once, or fewer. `watch`
    /// is told of each step, and may stop the evaluation after it.
    ///
    /// # Errors
    /// [`UmbraError::Client`] for images that do not fit; [`UmbraError::is_cancelled`] where `watch` stopped it.
    /// Results that are not to be believed are in [`Classified::predictions`].
    pub fn classify<P: AsRef<[f32]>>(&self, images: &[P], watch: Watch<'_>) -> Result<Classified, UmbraError> {
        let file = self.client.file();
        let (input, encrypt_s) = timed(|| Ok::<_, UmbraError>(self.client.encrypt(images)?.encode(file)?))?;
        let received = decode(&input, self.server.program().client(), Role::Input)?;

        let mut steps = Vec::new();
        let meter = Meter::steps(self.program().program());
        let before = machine::processor_time();
        let (result, server_s) = timed(|| {
            self.server.infer(&self.keys, &received, &mut |step| {
                steps.push(self.step_time(step));
                watch(&meter.at(step.index + 1, Some(step.node)))
            })
        })?;
        let cpu_seconds = before.zip(machine::processor_time()).map(|(before, after)| after - before);
        let output = result.encode(file)?;
        drop((received, result));

        let (predictions, decrypt_s) = timed(|| {
            let result = decode(&output, file, Role::Output)?;
            match self.client.predict(&result) {
                // What spoils all of a result spoils each image's.
                Err(ClientError::Layout(refused)) => Ok(vec![Err(refused); images.len()]),
                found => found.map_err(UmbraError::from),
            }
        })?;
        Ok(Classified { predictions, input, output, encrypt_s, server_s, cpu_seconds, decrypt_s, steps })
    }

    /// Encrypts and evaluates normalised images, and decrypts all that there is in the result, logits or not.
    ///
    /// # Errors
    /// As [`Self::classify`].
    pub fn danger_slots<P: AsRef<[f32]>>(&self, images: &[P]) -> Result<Vec<Vec<[f64; 2]>>, UmbraError> {
        let input = self.client.encrypt(images)?.expand();
        let result = self.server.infer(&self.keys, &input, &mut |_| ControlFlow::Continue(()))?;
        Ok(self.client.danger_slots(&result)?)
    }

    fn step_time(&self, report: &StepReport<'_>) -> StepTime {
        let estimate = self.program().program().steps.get(report.index).map(|step| step.estimate).unwrap_or_default();
        StepTime {
            node: report.node.to_string(),
            operation: report.operation,
            level: report.level,
            rotations: estimate.rotations,
            seconds: report.seconds,
            estimated_cpu_seconds: estimate.seconds,
        }
    }
}

/// What one party sent, as the other reads it.
fn decode(bytes: &[u8], file: &umbra_wire::ClientFile, role: Role) -> Result<Encrypted, UmbraError> {
    let container = Container::decode(bytes).map_err(ContentError::from)?;
    Ok(Encrypted::decode(&container, file, role)?)
}

fn timed<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<(T, f64), E> {
    let start = Instant::now();
    let value = work()?;
    Ok((value, start.elapsed().as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use umbra_compiler::CompileOptions;
    use umbra_model::zoo::{ResNet, random_image};
    use umbra_model::{Graph, Reference};

    use super::*;
    use crate::Network;
    use crate::progress::{Phase, unwatched};

    fn small() -> (Graph, LoadedProgram) {
        let graph = ResNet { widths: vec![2], blocks: 1, height: 8, width: 8, classes: 3, ..ResNet::default() };
        let graph = graph.build().unwrap();
        let program = Network::Graph(Box::new(graph.clone())).program(&CompileOptions::default(), &[]).unwrap();
        (graph, program)
    }

    #[test]
    fn images_are_classified_as_in_the_clear_and_every_step_is_seen() {
        let (graph, program) = small();
        let session = Session::new(&program, &mut unwatched).unwrap();
        let image = random_image(graph.input(), &mut ChaCha8Rng::seed_from_u64(1));
        let mut seen = Vec::new();
        let watch: Watch<'_> = &mut |progress| {
            assert_eq!(progress.phase, Phase::Evaluation);
            seen.push((progress.done, progress.part));
            ControlFlow::Continue(())
        };
        let found = session.classify(&[&image], watch).unwrap();
        let prediction = found.predictions[0].as_ref().unwrap();
        let plain = Reference::<f64>::new(&graph).forward(&image).unwrap();
        assert!(prediction.logits[0].iter().zip(&plain).all(|(a, b)| (a - b).abs() < 0.2), "{prediction:?} {plain:?}");
        assert_eq!((seen.len(), found.steps.len()), (program.program().steps.len(), seen.len()));
        assert!(seen.is_sorted_by(|a, b| a.1 <= b.1) && seen.last().unwrap().1 > 0.999, "{seen:?}");
        // Images that do not fit, and more than there is room for.
        assert!(session.classify(&[&image[1..]], &mut unwatched).is_err());
        assert!(session.classify(&[&image, &image], &mut unwatched).is_err());
    }

    #[test]
    fn watchers_stop_the_work_and_nothing_is_left() {
        let (graph, program) = small();
        let folder = tempfile::tempdir().unwrap();
        let stopped = Session::in_folder(&program, folder.path(), &mut |_| ControlFlow::Break(()));
        assert!(stopped.is_err_and(|error| error.is_cancelled()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

        let session = Session::in_folder(&program, folder.path(), &mut unwatched).unwrap();
        let image = random_image(graph.input(), &mut ChaCha8Rng::seed_from_u64(2));
        let mut calls = 0;
        let watch: Watch<'_> = &mut |progress| {
            calls += 1;
            if progress.done == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        assert!(session.classify(&[&image], watch).is_err_and(|error| error.is_cancelled()));
        assert_eq!(calls, 2);
        // And it goes on with another image.
        assert!(session.classify(&[&image], &mut unwatched).unwrap().predictions[0].is_ok());
        drop(session);
        assert!(folder.path().join(EVALUATION_KEYS).exists());
    }
}
