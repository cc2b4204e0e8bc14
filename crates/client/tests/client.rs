//! A client with a client file and nothing else of the program.

use std::io;
use std::ops::ControlFlow;

use umbra_client::{Client, ClientError, read_secret_key};
use umbra_program::testing::{IMAGE, tiny};
use umbra_program::{LayoutError, ProgramError};
use umbra_wire::{ClientFile, Encrypted, EvaluationKeysReader, KeyStore, LoadedProgram, Role, WireError};

fn file() -> ClientFile {
    let program = LoadedProgram::new(tiny()).expect("a program");
    // As it travels: no weight comes with it.
    ClientFile::read(&program.client().encode().expect("bytes")[..]).expect("a client file")
}

fn to_the_end(_: usize, _: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn keys_and_ciphertexts_name_one_key_set() {
    let file = file();
    let client = Client::generate(&file).expect("a client");
    let keys = client.write_evaluation_keys(Vec::new(), &mut to_the_end).expect("keys");
    assert_eq!(keys.len() as u64, client.evaluation_keys_size().expect("a size"));
    let keys = EvaluationKeysReader::open(&keys[..], file.parameters()).expect("keys");
    assert_eq!((keys.key_set(), keys.keys()), (client.key_set(), &file.spec().keys[..]));
    let keys = keys.into_memory().expect("all keys");
    assert_eq!(keys.key_set(), client.key_set());
    let fresh = client.encrypt(&[IMAGE]).expect("an encrypted image").expand();
    assert_eq!((fresh.images, fresh.key_set()), (1, Some(client.key_set())));
    assert_ne!(Client::generate(&file).expect("a client").key_set(), client.key_set());
}

#[test]
fn secret_keys_survive_files_and_streams() {
    let (file, folder) = (file(), tempfile::tempdir().expect("a folder"));
    let client = Client::generate(&file).expect("a client");
    let path = folder.path().join("secret.key");
    client.save_secret_key(&path).expect("a file");
    let again = Client::open(&file, &path).expect("a client");
    assert_eq!(again.key_set(), client.key_set());
    let bytes = std::fs::read(&path).expect("a file");
    assert_eq!(Client::read(&file, &bytes[..]).expect("a client").key_set(), client.key_set());
    for length in [0, 60, bytes.len() - 1] {
        assert!(matches!(read_secret_key(&bytes[..length], file.parameters()), Err(WireError::Stream(_))), "{length}");
    }
    // Of other parameters.
    let mut other = tiny();
    let used = &other.client.parameters.primes;
    other.client.parameters.primes[3] = umbra_ring::primes::nearest(12, 26.5, 1, used).expect("a prime")[0];
    let other = LoadedProgram::new(other).expect("a program");
    assert!(Client::open(other.client(), &path).is_err());
}

#[test]
fn results_are_decrypted_by_their_key_set_alone() {
    let file = file();
    let (client, stranger) = (Client::generate(&file).expect("a client"), Client::generate(&file).expect("a client"));
    // As many ciphertexts at the same level as a result has, of the wrong content.
    let fresh = client.encrypt(&[IMAGE]).expect("an image").expand();
    assert!(matches!(stranger.decrypt(&fresh), Err(ClientError::Engine(_))));
    let none = Encrypted { images: 1, ciphertexts: Vec::new() };
    assert!(matches!(client.decrypt(&none), Err(ClientError::Layout(LayoutError::Shape { .. }))));
    let many = Encrypted { images: 9, ..fresh };
    assert!(matches!(client.decrypt(&many), Err(ClientError::Layout(LayoutError::Batch { .. }))));
}

#[test]
fn images_of_another_size_or_number_are_refused() {
    let client = Client::generate(&file()).expect("a client");
    let error = client.encrypt(&[vec![0.0; 5]]).expect_err("five values");
    assert!(matches!(error, ClientError::Layout(LayoutError::ImageSize { found: 5, expected: 4 })), "{error}");
    let error = client.encrypt(&[IMAGE, IMAGE]).expect_err("two images");
    assert!(matches!(error, ClientError::Layout(LayoutError::Batch { found: 2, limit: 1 })), "{error}");
    assert!(matches!(client.encrypt(&[[f32::NAN; 4]]), Err(ClientError::Engine(_))));
}

#[test]
fn cancelled_key_generation_leaves_nothing_behind() {
    let (file, folder) = (file(), tempfile::tempdir().expect("a folder"));
    let client = Client::generate(&file).expect("a client");
    let (secret, evaluation) = (folder.path().join("secret.key"), folder.path().join("eval.key"));
    let mut stop = |made, _| if made == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let result = client.save_keys(&secret, &evaluation, &mut stop);
    assert!(matches!(result, Err(ClientError::Cancelled)));
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    client.save_keys(&secret, &evaluation, &mut to_the_end).expect("both");
    assert!(secret.exists() && evaluation.exists());
}

/// An output that takes so many bytes.
struct Full(usize);

impl io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        if taken == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn outputs_that_fail_end_key_generation_with_their_reason() {
    let client = Client::generate(&file()).expect("a client");
    for room in [0, 100, 5_000, 150_000] {
        let Err(ClientError::Wire(error)) = client.write_evaluation_keys(Full(room), &mut to_the_end) else {
            panic!("{room}: written")
        };
        assert!(matches!(error, WireError::Stream(_)), "{room}: {error}");
    }
}

#[test]
fn a_client_file_that_does_not_hold_together_makes_no_client() {
    let mut program = tiny();
    program.client.output.step = 3;
    let spec = program.client.clone();
    let digest = umbra_file::Digest::of(b"a program");
    let error = ClientFile::new(spec, digest).expect_err("a step of 3").to_string();
    assert!(error.contains("distance of logits"), "{error}");
    assert!(matches!(program.client.check(), Err(ProgramError::Invalid { .. })));
    assert!(ClientFile::open(std::path::Path::new("no such file")).is_err());
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    assert!(ClientFile::open(&path).is_err());
    assert!(Encrypted::open(&path, &file(), Role::Output).is_err());
}
