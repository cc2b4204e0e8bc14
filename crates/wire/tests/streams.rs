//! Programs, client files, keys and ciphertexts through streams: whole, cut, stalled, too long, of others.

use std::io::{self, Cursor, ErrorKind, Read};

use umbra_ckks::{Encryptor, KeyGenerator, SecretKey, encode_dense};
use umbra_file::{Container, FormatError, Kind, Label, StreamError, encode};
use umbra_program::testing::{IMAGE, tiny};
use umbra_wire::{
    CiphertextHeader, ClientFile, ContentError, Encrypted, EvaluationKeys, EvaluationKeysReader, EvaluationKeysWriter,
    Form, KeyStore, LoadedProgram, Role, SeededCiphertext, WireError, receive_evaluation_keys,
};

struct Setup {
    program: LoadedProgram,
    generator: KeyGenerator,
    secret: SecretKey,
}

fn setup() -> Setup {
    let program = LoadedProgram::new(tiny()).expect("a program");
    let mut generator = KeyGenerator::new(program.parameters()).expect("a generator");
    let secret = generator.secret_key().expect("a key");
    Setup { program, generator, secret }
}

impl Setup {
    fn keys(&mut self) -> Vec<u8> {
        let (parameters, ids) = (self.program.parameters(), &self.program.client().spec().keys);
        let mut writer =
            EvaluationKeysWriter::new(Vec::new(), parameters, self.secret.key_set(), ids).expect("a writer");
        let size = writer.size();
        for &id in ids {
            writer.add(&self.generator.switching_key(&self.secret, id).expect("a key")).expect("room");
        }
        let (bytes, _) = writer.finish().expect("all keys");
        assert_eq!(bytes.len() as u64, size);
        bytes
    }

    fn encrypted(&self) -> Encrypted<SeededCiphertext> {
        let (parameters, spec) = (self.program.parameters(), self.program.client().spec());
        let slots = spec.pack(&[IMAGE]).expect("an image").remove(0);
        let encoder = umbra_ckks::Encoder::new(parameters.log_n());
        let plaintext = encode_dense(parameters, &encoder, &slots, spec.input.level, spec.input.scale).expect("slots");
        let mut encryptor = Encryptor::new(parameters).expect("randomness");
        let ciphertexts = vec![encryptor.encrypt_seeded(&self.secret, &plaintext).expect("a ciphertext")];
        Encrypted { images: 1, ciphertexts }
    }
}

/// Gives a byte at a time, and then fails.
struct Slow<'a> {
    bytes: &'a [u8],
    then: Option<ErrorKind>,
}

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match (self.bytes.split_first(), self.then) {
            (Some((first, rest)), _) if !buffer.is_empty() => {
                (buffer[0], self.bytes) = (*first, rest);
                Ok(1)
            }
            (None, Some(kind)) => Err(kind.into()),
            _ => Ok(0),
        }
    }
}

#[test]
fn programs_and_client_files_survive_streams_and_leave_what_follows() {
    let program = setup().program;
    let mut sent = Vec::new();
    program.write(&mut sent).expect("memory");
    program.client().write(&mut sent).expect("memory");
    sent.extend_from_slice(b"what follows");
    let mut stream = Cursor::new(&sent);
    let read = LoadedProgram::read(&mut stream).expect("a program");
    assert_eq!((read.program(), read.digest(), read.size()), (program.program(), program.digest(), program.size()));
    let client = ClientFile::read(&mut stream).expect("a client file");
    assert_eq!((client.spec(), client.program()), (program.client().spec(), program.digest()));
    assert_eq!(&sent[stream.position() as usize..], b"what follows");
}

#[test]
fn a_client_file_has_no_weight_and_no_name_of_a_layer() {
    let program = setup().program;
    let bytes = program.client().encode().expect("a client file");
    assert!(bytes.len() < program.size() as usize / 2, "{} of {}", bytes.len(), program.size());
    let text = String::from_utf8_lossy(&bytes);
    for name in ["pool", "fc", "steps", "diagonals", "made by hand"] {
        assert!(!text.contains(name), "{name} is in it");
    }
}

#[test]
fn keys_come_one_by_one_and_are_those_that_were_made() {
    let mut setup = setup();
    let bytes = setup.keys();
    let (parameters, ids) = (setup.program.parameters(), &setup.program.client().spec().keys);
    let mut reader = EvaluationKeysReader::open(Slow { bytes: &bytes, then: None }, parameters).expect("a stream");
    assert_eq!((reader.keys(), reader.key_set()), (&ids[..], setup.secret.key_set()));
    reader.expect(ids).expect("all keys");
    let mut count = 0;
    while let Some(key) = reader.next_key().expect("a key") {
        assert_eq!((key.id(), key.key_set()), (ids[count], setup.secret.key_set()));
        count += 1;
    }
    assert_eq!(count, ids.len());
    reader.finish().expect("the end");
    let memory = EvaluationKeysReader::open(&bytes[..], parameters).and_then(EvaluationKeysReader::into_memory);
    let memory = memory.expect("all keys");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("eval.key");
    receive_evaluation_keys(&bytes[..], &path, parameters, ids).expect("a file");
    assert!(std::fs::read(&path).expect("a file") == bytes, "byte for byte");
    let file = EvaluationKeys::open(&path, parameters).expect("keys");
    for &id in ids {
        assert_eq!(file.key(id).expect("a key"), memory.key(id).expect("a key"));
    }
}

#[test]
fn streams_that_end_early_stall_or_go_wrong_are_refused_and_leave_no_file() {
    let mut setup = setup();
    let bytes = setup.keys();
    let (parameters, ids) = (setup.program.parameters(), &setup.program.client().spec().keys);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("eval.key");
    let receive = |bytes: &[u8], then| {
        let result = receive_evaluation_keys(Slow { bytes, then }, &path, parameters, ids);
        assert!(!path.exists());
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing half-written");
        result.expect_err("refused")
    };
    for length in [5, 127, 128, 900, bytes.len() / 2, bytes.len() - 1] {
        let error = receive(&bytes[..length], None);
        assert!(matches!(error, WireError::Stream(StreamError::Ended { .. })), "{length}: {error}");
        let error = receive(&bytes[..length], Some(ErrorKind::TimedOut));
        assert!(matches!(error, WireError::Stream(StreamError::Stalled { .. })), "{length}: {error}");
    }
    // Nothing at all is no file of ours.
    assert!(matches!(receive(&[], None), WireError::Stream(StreamError::Format(FormatError::NotUmbra { .. }))));
    for at in [70, 130, bytes.len() / 2, bytes.len() - 64] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        receive(&changed, None);
    }
    // What follows is somebody else's; whoever wants the end says so.
    let mut longer = bytes.clone();
    longer.push(0);
    receive_evaluation_keys(&longer[..], &path, parameters, ids).expect("a file, and a byte after it");
}

#[test]
fn keys_of_others_are_told_apart_before_any_is_read() {
    let mut setup = setup();
    let bytes = setup.keys();
    let mut other = tiny();
    // Another prime.
    let used = &other.client.parameters.primes;
    other.client.parameters.primes[3] = umbra_ring::primes::nearest(12, 26.5, 1, used).expect("a prime")[0];
    let other = LoadedProgram::new(other).expect("a program");
    let error = EvaluationKeysReader::open(&bytes[..], other.parameters()).expect_err("other parameters");
    assert!(matches!(error, WireError::Received(ContentError::Format(FormatError::WrongContext { .. }))), "{error}");
    let reader = EvaluationKeysReader::open(&bytes[..], setup.program.parameters()).expect("keys");
    let mut needed = setup.program.client().spec().keys.clone();
    needed[0].kind = umbra_wire::KeyKind::Rotate(5);
    assert!(matches!(reader.expect(&needed), Err(ContentError::MissingKey { .. })));
    // A writer takes no key of another key set, and none out of order.
    let (parameters, ids) = (setup.program.parameters(), &setup.program.client().spec().keys);
    let stranger = setup.generator.secret_key().expect("a key");
    let mut writer = EvaluationKeysWriter::new(io::sink(), parameters, setup.secret.key_set(), ids).expect("a writer");
    let key = setup.generator.switching_key(&stranger, ids[0]).expect("a key");
    assert!(matches!(writer.add(&key), Err(WireError::Received(ContentError::Engine(_)))));
    let key = setup.generator.switching_key(&setup.secret, ids[1]).expect("a key");
    assert!(matches!(writer.add(&key), Err(WireError::Received(ContentError::Mismatch { .. }))));
    assert!(matches!(writer.finish(), Err(WireError::Received(ContentError::Mismatch { .. }))));
    assert!(EvaluationKeysReader::open(&setup.program.encode().expect("bytes")[..], parameters).is_err());
}

#[test]
fn encrypted_images_survive_and_are_for_their_program_alone() {
    let setup = setup();
    let (client, fresh) = (setup.program.client(), setup.encrypted());
    let spec = client.spec();
    let bytes = fresh.encode(client).expect("bytes");
    let read = Encrypted::read(Slow { bytes: &bytes, then: None }, client, Role::Input).expect("an image");
    assert_eq!(read, fresh.expand());
    assert_eq!(read.key_set(), Some(setup.secret.key_set()));
    let error = Encrypted::read(&bytes[..], client, Role::Output).expect_err("not a result");
    assert!(error.to_string().contains("content"), "{error}");
    let mut renamed = tiny();
    renamed.client.name = "another".into();
    let other = LoadedProgram::new(renamed).expect("a program");
    let error = Encrypted::read(&bytes[..], other.client(), Role::Input).expect_err("another program's");
    assert!(matches!(error, WireError::Received(ContentError::Format(FormatError::WrongContext { .. }))), "{error}");
    // Whole, as results are.
    let whole = Encrypted { images: 1, ciphertexts: read.ciphertexts.clone() };
    let bytes = whole.encode(client).expect("bytes");
    let read = Encrypted::read(&bytes[..], client, Role::Output).expect("a result");
    assert_eq!(read.ciphertexts[0].words(), whole.ciphertexts[0].words());
    assert_eq!(read.ciphertexts[0].scale(), spec.output.scale);
    // One without an owner cannot be written.
    assert!(Encrypted::<SeededCiphertext> { images: 1, ciphertexts: Vec::new() }.encode(client).is_err());
}

#[test]
fn more_images_than_a_program_takes_are_refused() {
    let setup = setup();
    let client = setup.program.client();
    let spec = client.spec();
    let header = |images| CiphertextHeader {
        role: Role::Input,
        form: Form::Seeded,
        images,
        level: spec.input.level,
        scale: spec.input.scale,
    };
    let fresh = setup.encrypted();
    let c = &fresh.ciphertexts[0];
    let record = [&c.seed()[..], &umbra_file::bytes_of_words(c.words())].concat();
    let id = umbra_file::KeySetId::new(*setup.secret.key_set().bytes());
    let label = Label::new(Kind::Ciphertext, client.program(), id).expect("a label");
    for (images, fits) in [(0, false), (1, true), (2, false), (usize::MAX, false)] {
        let bytes = encode(label, &header(images), &[&record]).expect("bytes");
        assert_eq!(Encrypted::read(&bytes[..], client, Role::Input).is_ok(), fits, "{images}");
    }
}

#[test]
fn client_files_that_ask_for_absurd_sizes_are_refused() {
    let setup = setup();
    let client = setup.program.client();
    let label = Label::new(Kind::ClientFile, client.program(), None).expect("a label");
    let read = |edit: fn(&mut serde_json::Value)| {
        let mut header = serde_json::to_value(&**client.spec()).expect("JSON");
        edit(&mut header);
        ClientFile::read(&encode(label, &header, &[]).expect("bytes")[..])
    };
    assert!(read(|_| {}).is_ok());
    let edits: [fn(&mut serde_json::Value); 12] = [
        |h| h["parameters"]["log_n"] = 63.into(),
        |h| h["parameters"]["log_n"] = 11.into(),
        |h| h["parameters"]["levels"] = vec![vec![0]; 1000].into(),
        |h| h["keys"][0]["rotate"] = (1..70_000).collect::<Vec<i64>>().into(),
        |h| h["keys"][0]["rotate"] = vec![7, 7].into(),
        |h| h["keys"][0]["rotate"] = vec![i64::MIN].into(),
        |h| h["keys"][0]["gadget"] = 9.into(),
        |h| h["layout"]["images"] = u64::MAX.into(),
        |h| h["layout"]["members"] = u64::MAX.into(),
        |h| h["input"]["positions"] = (1u64 << 60).into(),
        |h| h["output"]["classes"] = (1u64 << 60).into(),
        |h| h["image"]["height"] = (1u64 << 40).into(),
    ];
    for (i, edit) in edits.into_iter().enumerate() {
        assert!(read(edit).is_err(), "edit {i}");
    }
    // Nor may there be anything behind the header.
    let bytes = encode(label, &**client.spec(), &[b"weights?"]).expect("bytes");
    assert!(ClientFile::read(&bytes[..]).is_err());
    assert!(ClientFile::decode(&umbra_file::Container::decode(&bytes[..]).expect("a container")).is_err());
}

/// Threads of a pool and others ask for the same keys at once: each is loaded, and none waits for ever.
#[test]
fn keys_are_loaded_by_whoever_needs_them_first() {
    let mut setup = setup();
    let bytes = setup.keys();
    let parameters = setup.program.parameters();
    for threads in [1, 4] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        let container = Container::decode(&bytes[..]).expect("a container");
        let keys = EvaluationKeys::decode(container, parameters).expect("keys");
        let ids = keys.keys().to_vec();
        std::thread::scope(|outside| {
            outside.spawn(|| ids.iter().rev().for_each(|&id| assert_eq!(keys.key(id).expect("a key").id(), id)));
            pool.scope_fifo(|scope| {
                for _ in 0..4 {
                    for &id in &ids {
                        scope.spawn_fifo({
                            let keys = &keys;
                            move |_| keys.prefetch(id)
                        });
                    }
                }
                ids.iter().for_each(|&id| assert_eq!(keys.key(id).expect("a key").id(), id));
            });
        });
        // Once.
        let again: Vec<_> =
            ids.iter().map(|&id| (keys.key(id).expect("a key"), keys.key(id).expect("a key"))).collect();
        assert!(again.iter().all(|(one, other)| std::sync::Arc::ptr_eq(one, other)));
    }
}

/// A key that cannot be loaded is no key for anyone, however often it is asked for.
#[test]
fn a_damaged_key_is_refused_whoever_loads_it() {
    let mut setup = setup();
    let mut bytes = setup.keys();
    let at = bytes.len() - 1000;
    bytes[at] ^= 1;
    let parameters = setup.program.parameters();
    let container = Container::decode(&bytes[..]).expect("a container");
    let keys = EvaluationKeys::decode(container, parameters).expect("keys");
    let last = *keys.keys().last().expect("a key");
    keys.prefetch(last);
    for _ in 0..2 {
        let error = keys.key(last).expect_err("a damaged key").to_string();
        assert!(error.contains("does not match its digest"), "{error}");
    }
    assert!(keys.load_all().is_err() && keys.key(keys.keys()[0]).is_ok());
}
