//! Every decoder, as a function of bytes: what the fuzz targets run, and what the tests replay the corpus through.
//!
//! Each returns whether it accepted the bytes. None may panic, and none may allocate more than the bytes' own length and a
//! constant before lengths and digests are checked.

use umbra_ckks::Parameters;
use umbra_file::Container;
use umbra_model::{Dataset, DatasetKind, Input, Manifest, Normalisation, Picture};
use umbra_wire::{EvaluationKeys, LoadedProgram, Role};

/// A decoder by name.
pub type Decoder = (&'static str, fn(&[u8]) -> bool);

/// All of them.
pub const DECODERS: [Decoder; 9] = [
    ("container", container),
    ("program", program),
    ("secret_key", secret_key),
    ("evaluation_keys", evaluation_keys),
    ("ciphertexts", ciphertexts),
    ("manifest", manifest),
    ("weights", weights),
    ("picture", picture),
    ("cifar", cifar),
];

const PROGRAM: &[u8] = include_bytes!("../crates/cli/tests/golden/program.umbra");
const MANIFEST: &[u8] = include_bytes!("../zoo/r20-16-cifar10-cyclic/manifest.json");

/// The program that keys and ciphertexts are decoded for.
pub fn loaded() -> &'static LoadedProgram {
    static LOADED: std::sync::OnceLock<LoadedProgram> = std::sync::OnceLock::new();
    LOADED.get_or_init(|| {
        let container = Container::decode(PROGRAM).expect("a golden file");
        LoadedProgram::decode(&container).expect("a golden file")
    })
}

fn parameters() -> &'static Parameters {
    loaded().parameters()
}

/// The frame of all binary files, with all records.
pub fn container(bytes: &[u8]) -> bool {
    Container::decode(bytes).is_ok_and(|c| c.verify().is_ok() && c.header::<serde_json::Value>().is_ok())
}

/// Programs.
pub fn program(bytes: &[u8]) -> bool {
    Container::decode(bytes).is_ok_and(|c| LoadedProgram::decode(&c).is_ok())
}

/// Secret keys.
pub fn secret_key(bytes: &[u8]) -> bool {
    Container::decode(bytes).is_ok_and(|c| umbra_client::decode_secret_key(&c, parameters()).is_ok())
}

/// Evaluation keys, each of them loaded.
pub fn evaluation_keys(bytes: &[u8]) -> bool {
    let Ok(container) = Container::decode(bytes) else { return false };
    EvaluationKeys::decode(container, parameters()).is_ok_and(|keys| keys.load_all().is_ok())
}

/// Ciphertexts of both ends of a program.
pub fn ciphertexts(bytes: &[u8]) -> bool {
    let Ok(container) = Container::decode(bytes) else { return false };
    [Role::Input, Role::Output].iter().any(|&role| umbra_wire::decode_ciphertexts(&container, loaded(), role).is_ok())
}

/// Manifests, with no weights.
pub fn manifest(bytes: &[u8]) -> bool {
    Manifest::decode(bytes).is_ok_and(|m| m.graph(&[]).is_ok())
}

/// Weights of the shipped network.
pub fn weights(bytes: &[u8]) -> bool {
    Manifest::decode(MANIFEST).is_ok_and(|m| m.graph(bytes).is_ok())
}

/// PNG and JPEG.
pub fn picture(bytes: &[u8]) -> bool {
    let normalisation = Normalisation::PerPicture { min_std: 0.05 };
    Picture::decode(bytes, &Input { channels: 3, height: 8, width: 8, normalisation, clip: None }).is_ok()
}

/// Both data sets.
pub fn cifar(bytes: &[u8]) -> bool {
    DatasetKind::ALL.into_iter().any(|kind| Dataset::decode(kind, bytes).is_ok())
}
