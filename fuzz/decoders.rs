//! Every decoder, as a function of bytes: what the fuzz targets run, and what the tests replay the corpus through.
//!
//! Each returns why it refused the bytes, if it did. None may panic, and none may allocate more than a few times the
//! bytes' own length and a constant before lengths and digests are checked.

use std::fmt::Display;
use std::sync::OnceLock;

use umbra_ckks::Parameters;
use umbra_cluster::{ClusterMode, ClusterOptions, Clustered, Codebooks, cluster};
use umbra_file::Container;
use umbra_image::{Image, ImageSpec, Normalisation};
use umbra_model::zoo::ResNet;
use umbra_model::{Dataset, DatasetKind, Manifest};
use umbra_wire::{ClientFile, Encrypted, EvaluationKeys, EvaluationKeysReader, LoadedProgram, Role};

/// Nothing, or the message of an error.
pub type Outcome = Result<(), String>;
/// A decoder by name.
pub type Decoder = (&'static str, fn(&[u8]) -> Outcome);

/// All of them.
pub const DECODERS: [Decoder; 14] = [
    ("container", container),
    ("program", program),
    ("client_file", client_file),
    ("secret_key", secret_key),
    ("public_key", public_key),
    ("evaluation_keys", evaluation_keys),
    ("key_stream", key_stream),
    ("ciphertexts", ciphertexts),
    ("ciphertext_stream", ciphertext_stream),
    ("manifest", manifest),
    ("weights", weights),
    ("clusters", clusters),
    ("image", image),
    ("cifar", cifar),
];

const PROGRAM: &[u8] = include_bytes!("../crates/cli/tests/golden/v2/program.umbra");
const MANIFEST: &[u8] = include_bytes!("../zoo/r20-16-cifar10-cyclic/manifest.json");

/// The program that keys and ciphertexts are decoded for.
pub fn loaded() -> &'static LoadedProgram {
    static LOADED: OnceLock<LoadedProgram> = OnceLock::new();
    LOADED.get_or_init(|| {
        let container = Container::decode(PROGRAM).expect("a golden file");
        LoadedProgram::decode(&container).expect("a golden file")
    })
}

fn small() -> ResNet {
    ResNet { widths: vec![2, 4], blocks: 1, height: 8, width: 8, classes: 3, ..ResNet::default() }
}

/// Manifest and weights of a network that has every operator of a ResNet and is small: fuzzing reads all of it each
/// time.
pub fn network() -> &'static (String, Vec<u8>) {
    static NETWORK: OnceLock<(String, Vec<u8>)> = OnceLock::new();
    NETWORK.get_or_init(|| small().build().and_then(|graph| graph.encode("weights.safetensors")).expect("a network"))
}

/// That network with few distinct weights.
pub fn clustered() -> &'static Clustered {
    static CLUSTERED: OnceLock<Clustered> = OnceLock::new();
    CLUSTERED.get_or_init(|| {
        let graph = small().build().expect("a network");
        cluster(&[graph], &ClusterOptions::new(ClusterMode::Full, 8)).expect("codebooks").remove(0)
    })
}

fn parameters() -> &'static Parameters {
    loaded().parameters()
}

fn text(error: impl Display) -> String {
    error.to_string()
}

fn opened(bytes: &[u8]) -> Result<Container<&[u8]>, String> {
    Container::decode(bytes).map_err(text)
}

/// What is read from a stream must be all of it here.
fn at_end(stream: &[u8]) -> Outcome {
    if stream.is_empty() { Ok(()) } else { Err(format!("{} bytes more", stream.len())) }
}

/// The frame of all binary files, with all records.
pub fn container(bytes: &[u8]) -> Outcome {
    let container = opened(bytes)?;
    container.verify().map_err(text)?;
    container.header::<serde_json::Value>().map_err(text).map(drop)
}

/// Programs.
pub fn program(bytes: &[u8]) -> Outcome {
    LoadedProgram::decode(&opened(bytes)?).map_err(text).map(drop)
}

/// Client files, from a stream; what is no client file there is none in a container, but for programs.
pub fn client_file(mut bytes: &[u8]) -> Outcome {
    let whole = opened(bytes).and_then(|container| ClientFile::decode(&container).map_err(text));
    let read = ClientFile::read(&mut bytes).map_err(text);
    match (&read, &whole) {
        (Ok(read), Ok(whole)) => assert_eq!((read.spec(), read.program()), (whole.spec(), whole.program())),
        (Ok(_), Err(reason)) => assert!(!bytes.is_empty(), "a stream is accepted, a container is not: {reason}"),
        (Err(_), _) => {}
    }
    read?;
    at_end(bytes)
}

/// Secret keys.
pub fn secret_key(bytes: &[u8]) -> Outcome {
    umbra_client::decode_secret_key(&opened(bytes)?, parameters()).map_err(text).map(drop)
}

/// Public keys, from a container and from a stream.
pub fn public_key(mut bytes: &[u8]) -> Outcome {
    let whole = opened(bytes).and_then(|c| umbra_wire::decode_public_key(&c, parameters()).map_err(text));
    let read = umbra_wire::read_public_key(&mut bytes, parameters()).map_err(text);
    if let (Ok(read), Ok(whole)) = (&read, &whole) {
        assert_eq!(read, whole);
    }
    whole?;
    read?;
    at_end(bytes)
}

/// Evaluation keys, each of them loaded.
pub fn evaluation_keys(bytes: &[u8]) -> Outcome {
    let keys = EvaluationKeys::decode(opened(bytes)?, parameters()).map_err(text)?;
    keys.load_all().map_err(text)
}

/// Evaluation keys as they come out of a stream.
pub fn key_stream(mut bytes: &[u8]) -> Outcome {
    let keys = EvaluationKeysReader::open(&mut bytes, parameters()).map_err(text)?;
    keys.into_memory().map_err(text)?;
    at_end(bytes)
}

/// Ciphertexts of both ends of a program; why they are no input where they are neither.
pub fn ciphertexts(bytes: &[u8]) -> Outcome {
    let container = opened(bytes)?;
    let decode = |role| Encrypted::decode(&container, loaded().client(), role).map_err(text).map(drop);
    decode(Role::Input).or_else(|reason| decode(Role::Output).map_err(|_| reason))
}

/// The same out of a stream.
pub fn ciphertext_stream(bytes: &[u8]) -> Outcome {
    let read = |role| {
        let mut stream = bytes;
        Encrypted::read(&mut stream, loaded().client(), role).map_err(text)?;
        at_end(stream)
    };
    read(Role::Input).or_else(|reason| read(Role::Output).map_err(|_| reason))
}

/// Manifests, with the weights of the small network.
pub fn manifest(bytes: &[u8]) -> Outcome {
    Manifest::decode(bytes).and_then(|m| m.graph(&network().1)).map_err(text).map(drop)
}

/// Weights of the shipped network.
pub fn weights(bytes: &[u8]) -> Outcome {
    Manifest::decode(MANIFEST).and_then(|m| m.graph(bytes)).map_err(text).map(drop)
}

/// Codebooks of the small clustered network.
pub fn clusters(bytes: &[u8]) -> Outcome {
    Codebooks::decode(bytes, clustered().graph()).map_err(text).map(drop)
}

/// PNG and JPEG.
pub fn image(bytes: &[u8]) -> Outcome {
    let normalisation = Normalisation::PerImage { min_std: 0.05 };
    let input = ImageSpec { channels: 3, height: 8, width: 8, normalisation, clip: None };
    Image::decode(bytes, &input).map_err(text).map(drop)
}

/// Both data sets; why it is none of the last one where it is neither.
pub fn cifar(bytes: &[u8]) -> Outcome {
    let mut outcome = Ok(());
    for kind in DatasetKind::ALL {
        outcome = Dataset::decode(kind, bytes).map_err(text).map(drop);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}
