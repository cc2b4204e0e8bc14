//! Evaluation keys: written, sent, received and used one by one.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use umbra_ckks::{CkksError, Gadget, KeyId, KeyKind, KeySetId, KeyStore, Level, MemoryKeys, Parameters, SwitchingKey};
use umbra_file::{AtomicFile, Container, Digest, FileBytes, FileError, FormatError, Kind, Label, Reader, Writer};

use crate::client::{file_id, key_set};
use crate::stream::Tee;
use crate::{ContentError, SEED, WireError, seed_and_words};

/// The header of a file of evaluation keys; the container's context is the digest of the parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysHeader {
    /// What each record holds, sorted by gadget and kind.
    #[serde(with = "umbra_program::key_list")]
    pub keys: Vec<KeyId>,
}

/// Writes evaluation keys one by one, to a file or to any other output. No more than the key at hand is in memory.
#[derive(Debug)]
pub struct EvaluationKeysWriter<W> {
    writer: Writer<W>,
    parameters: Parameters,
    key_set: KeySetId,
    left: std::vec::IntoIter<KeyId>,
}

impl<W: Write> EvaluationKeysWriter<W> {
    /// Starts with the announcement of these keys, which must be sorted by gadget and kind.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn new(out: W, parameters: &Parameters, key_set: KeySetId, keys: &[KeyId]) -> Result<Self, WireError> {
        let (label, header, lengths) = announcement(parameters, key_set, keys)?;
        let writer = Writer::new(out, label, &header, &lengths)?;
        Ok(Self { writer, parameters: parameters.clone(), key_set, left: header.keys.into_iter() })
    }

    /// Bytes of the whole file.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.writer.size()
    }

    /// Appends a key; they must come in the order announced.
    ///
    /// # Errors
    /// [`WireError`], for a key of other parameters or of another key set as well.
    pub fn add(&mut self, key: &SwitchingKey) -> Result<(), WireError> {
        const OP: &str = "write evaluation keys";
        self.parameters.check_same(OP, key.parameters()).map_err(ContentError::from)?;
        if key.key_set() != self.key_set {
            let (expected, found) = (self.key_set, key.key_set());
            return Err(ContentError::from(CkksError::OtherKeySet { op: OP, expected, found }).into());
        }
        let expected = self.left.next();
        if expected != Some(key.id()) {
            return Err(out_of_order(Some(key.id()), expected).into());
        }
        let mut parts = vec![std::borrow::Cow::Borrowed(&key.seed()[..])];
        parts.extend(key.b_words().map(umbra_file::bytes_of_words));
        let parts: Vec<&[u8]> = parts.iter().map(AsRef::as_ref).collect();
        Ok(self.writer.record(&parts)?)
    }

    /// Ends the file, once all keys are in it; returns the output and the digest of the file.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn finish(mut self) -> Result<(W, Digest), WireError> {
        match self.left.next() {
            None => Ok(self.writer.finish()?),
            missing => Err(out_of_order(None, missing).into()),
        }
    }
}

impl EvaluationKeysWriter<AtomicFile> {
    /// Starts a file at `path`, which appears with [`Self::commit`].
    ///
    /// # Errors
    /// [`WireError`].
    pub fn create(path: &Path, parameters: &Parameters, key_set: KeySetId, keys: &[KeyId]) -> Result<Self, WireError> {
        let (label, header, lengths) = announcement(parameters, key_set, keys).map_err(WireError::content(path))?;
        let writer = Writer::create(path, label, &header, &lengths)?;
        Ok(Self { writer, parameters: parameters.clone(), key_set, left: header.keys.into_iter() })
    }

    /// Gives the file its name, once all keys are in it.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn commit(self) -> Result<Digest, WireError> {
        let (file, digest) = self.finish()?;
        file.commit()?;
        Ok(digest)
    }
}

/// Label, header and lengths of the records of a file of these keys.
fn announcement(
    parameters: &Parameters,
    key_set: KeySetId,
    keys: &[KeyId],
) -> Result<(Label, KeysHeader, Vec<u64>), ContentError> {
    let label = Label::new(Kind::EvaluationKeys, Digest::from(*parameters.digest()), file_id(key_set))?;
    if !keys.is_sorted_by(|a, b| (a.gadget, a.kind) < (b.gadget, b.kind)) {
        let (found, expected) = ("not in order".into(), "each once, sorted by gadget and kind".into());
        let remedy = "take the list of keys of the client file";
        return Err(ContentError::Mismatch { what: "list of keys", found, expected, remedy });
    }
    for key in keys {
        parameters.check_gadget("write evaluation keys", key.level, key.gadget)?;
    }
    let lengths = keys.iter().map(|key| record_length(parameters, key)).collect();
    Ok((label, KeysHeader { keys: keys.to_vec() }, lengths))
}

fn record_length(parameters: &Parameters, key: &KeyId) -> u64 {
    SEED as u64 + key.bytes(parameters.literal())
}

fn out_of_order(found: Option<KeyId>, expected: Option<KeyId>) -> ContentError {
    let name = |key: Option<KeyId>| key.map_or("the end".to_string(), |key| key.to_string());
    let (found, expected) = (name(found), name(expected));
    ContentError::Mismatch { what: "next key", found, expected, remedy: "write the keys in the order announced" }
}

/// What a file of evaluation keys announces, checked before any of them is read: kind, parameters, names, lengths of
/// all records.
struct Announced {
    key_set: KeySetId,
    keys: Vec<KeyId>,
    records: HashMap<(Gadget, KeyKind), usize>,
}

impl Announced {
    fn check(
        label: &Label,
        header: KeysHeader,
        (records, length): (usize, impl Fn(usize) -> Option<u64>),
        parameters: &Parameters,
    ) -> Result<Self, ContentError> {
        label.expect_kind(Kind::EvaluationKeys)?;
        label.expect_context(Digest::from(*parameters.digest()))?;
        let KeysHeader { keys } = header;
        let remedy = "make the keys again";
        if keys.len() != records {
            let (found, expected) = (records.to_string(), keys.len().to_string());
            return Err(ContentError::Mismatch { what: "number of records", found, expected, remedy });
        }
        let mut places = HashMap::with_capacity(keys.len());
        // Equal for all keys of a gadget and level, and dear to compute.
        let mut lengths: HashMap<(Gadget, Level), u64> = HashMap::new();
        for (record, id) in keys.iter().enumerate() {
            let expected = match lengths.get(&(id.gadget, id.level)) {
                Some(&length) => length,
                None => {
                    parameters.check_gadget("read evaluation keys", id.level, id.gadget)?;
                    let length = record_length(parameters, id);
                    lengths.insert((id.gadget, id.level), length);
                    length
                }
            };
            let found = length(record).unwrap_or_default();
            if found != expected {
                return Err(FormatError::RecordLength { record, found, expected: expected.to_string() }.into());
            }
            if places.insert((id.gadget, id.kind), record).is_some() {
                let expected = "one of its name".into();
                return Err(ContentError::Mismatch { what: "second key", found: id.to_string(), expected, remedy });
            }
        }
        Ok(Self { key_set: key_set(label)?, keys, records: places })
    }

    fn find(&self, id: KeyId) -> Option<usize> {
        self.records.get(&(id.gadget, id.kind)).copied().filter(|&record| self.keys[record].level >= id.level)
    }

    fn expect(&self, needed: &[KeyId]) -> Result<(), ContentError> {
        match needed.iter().find(|id| self.find(**id).is_none()) {
            None => Ok(()),
            Some(&key) => Err(ContentError::MissingKey { key }),
        }
    }

    /// The key of a record.
    fn key(&self, parameters: &Parameters, record: usize, bytes: &[u8]) -> Result<SwitchingKey, ContentError> {
        let (seed, words) = seed_and_words(record, bytes)?;
        Ok(SwitchingKey::from_parts(parameters, self.key_set, self.keys[record], seed, &words)?)
    }
}

/// Evaluation keys out of a stream, one by one, each checked as it comes. No more than one of them is in memory.
pub struct EvaluationKeysReader<R> {
    reader: Reader<R>,
    announced: Announced,
    parameters: Parameters,
    buffer: Vec<u8>,
}

impl<R> std::fmt::Debug for EvaluationKeysReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EvaluationKeysReader({} keys of key set {})", self.announced.keys.len(), self.announced.key_set)
    }
}

impl<R: Read> EvaluationKeysReader<R> {
    /// Reads and checks what is announced: kind, parameters, key set, names of the keys, lengths of all records.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn open(input: R, parameters: &Parameters) -> Result<Self, WireError> {
        let reader = Reader::open(input)?;
        let label = reader.label();
        label.expect_kind(Kind::EvaluationKeys).map_err(ContentError::from)?;
        let header = reader.header().map_err(ContentError::from)?;
        let lengths = (reader.records(), |record| reader.record_length(record));
        let announced = Announced::check(&label, header, lengths, parameters)?;
        Ok(Self { reader, announced, parameters: parameters.clone(), buffer: Vec::new() })
    }

    /// The key set that the keys are of.
    #[must_use]
    pub fn key_set(&self) -> KeySetId {
        self.announced.key_set
    }

    /// The keys that come, in their order.
    #[must_use]
    pub fn keys(&self) -> &[KeyId] {
        &self.announced.keys
    }

    /// Bytes of the whole file.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.reader.size()
    }

    /// Checks that all of `needed` will come, before any of them is read.
    ///
    /// # Errors
    /// [`ContentError::MissingKey`] with the first that will not.
    pub fn expect(&self, needed: &[KeyId]) -> Result<(), ContentError> {
        self.announced.expect(needed)
    }

    /// The next key; `None` after the last one. What ties the keys together is checked by [`Self::finish`].
    ///
    /// # Errors
    /// [`WireError`].
    pub fn next_key(&mut self) -> Result<Option<SwitchingKey>, WireError> {
        let Some(record) = self.reader.read_record(&mut self.buffer)? else { return Ok(None) };
        Ok(Some(self.announced.key(&self.parameters, record, &self.buffer)?))
    }

    /// Checks that all keys were read and that the stream ends as it should; returns the input and the digest of the
    /// file. What follows in the input is not touched.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn finish(self) -> Result<(R, Digest), WireError> {
        Ok(self.reader.finish()?)
    }

    /// Reads all keys that are left into memory, in both halves.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn into_memory(mut self) -> Result<MemoryKeys, WireError> {
        let mut keys = MemoryKeys::new(&self.parameters, self.announced.key_set);
        while let Some(key) = self.next_key()? {
            keys.insert(key).map_err(ContentError::from)?;
        }
        self.finish()?;
        Ok(keys)
    }
}

/// Stores evaluation keys from a stream in a file, byte for byte, each record checked as it comes: all digests, lengths
/// and names. The file appears when all have come; residues are checked when keys are used. Returns its digest.
///
/// # Errors
/// [`WireError`]; no file appears then.
pub fn receive_evaluation_keys(
    input: impl Read,
    path: &Path,
    parameters: &Parameters,
    needed: &[KeyId],
) -> Result<Digest, WireError> {
    let copy = AtomicFile::create(path, false)?;
    let keys = EvaluationKeysReader::open(Tee { input, copy }, parameters)?;
    keys.expect(needed)?;
    let (tee, digest) = crate::stream::drain(keys.reader)?;
    tee.copy.commit()?;
    Ok(digest)
}

/// Evaluation keys in a container, each checked and expanded when it is first used, and kept.
pub struct EvaluationKeys<B = FileBytes> {
    container: Container<B>,
    /// For messages.
    path: Option<PathBuf>,
    parameters: Parameters,
    announced: Announced,
    loaded: Vec<Mutex<Slot>>,
    /// Called with a record that was read and is kept expanded.
    release: fn(&Container<B>, usize),
}

/// What there is of a key in memory.
#[derive(Default)]
enum Slot {
    #[default]
    Empty,
    /// A thread has it in hand, and waits for no other thread.
    Loading,
    Loaded(Arc<SwitchingKey>),
}

/// Empties the slot of a key that was not loaded after all.
struct Loading<'a>(&'a Mutex<Slot>);

impl Loading<'_> {
    fn set(&self, to: Slot) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*slot, Slot::Loading) {
            *slot = Slot::Empty;
        }
    }
}

impl<B> std::fmt::Debug for EvaluationKeys<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EvaluationKeys({} keys of key set {})", self.announced.keys.len(), self.announced.key_set)
    }
}

impl EvaluationKeys<FileBytes> {
    /// Maps a file of evaluation keys for these parameters.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn open(path: &Path, parameters: &Parameters) -> Result<Self, WireError> {
        let container = Container::decode(FileBytes::open(path)?).map_err(FileError::format(path))?;
        let mut keys = Self::decode(container, parameters).map_err(WireError::content(path))?;
        keys.path = Some(path.into());
        keys.release = Container::release;
        Ok(keys)
    }
}

impl<B: AsRef<[u8]>> EvaluationKeys<B> {
    /// Checks kind, parameters, the names of the keys and the lengths of all records; reads none of them yet.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn decode(container: Container<B>, parameters: &Parameters) -> Result<Self, ContentError> {
        container.expect_kind(Kind::EvaluationKeys)?;
        let length = |record| container.record_length(record).map(|length| length as u64);
        let announced =
            Announced::check(&container.label(), container.header()?, (container.records(), length), parameters)?;
        let loaded = announced.keys.iter().map(|_| Mutex::default()).collect();
        Ok(Self { container, path: None, parameters: parameters.clone(), announced, loaded, release: |_, _| {} })
    }

    /// The keys it holds.
    #[must_use]
    pub fn keys(&self) -> &[KeyId] {
        &self.announced.keys
    }

    /// Bytes of the file.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.container.size()
    }

    /// Checks that all of `needed` are there.
    ///
    /// # Errors
    /// [`ContentError::MissingKey`] with the first that is not.
    pub fn expect(&self, needed: &[KeyId]) -> Result<(), ContentError> {
        self.announced.expect(needed)
    }

    /// The key of a record: from the container, or as kept.
    ///
    /// Several threads may ask for keys in any order, and a thread of a pool may take up other work while it waits. So
    /// no lock is held while a key is loaded, and loading waits for nothing.
    fn load(&self, record: usize) -> Result<Arc<SwitchingKey>, ContentError> {
        let slot = &self.loaded[record];
        loop {
            let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            match &*slot {
                Slot::Loaded(key) => return Ok(key.clone()),
                Slot::Loading => {}
                Slot::Empty => {
                    *slot = Slot::Loading;
                    break;
                }
            }
            drop(slot);
            // Some milliseconds, in which other keys can be loaded.
            if rayon::yield_now() != Some(rayon::Yield::Executed) {
                std::thread::yield_now();
            }
        }
        let loading = Loading(slot);
        let key = Arc::new(self.announced.key(&self.parameters, record, self.container.record(record)?)?);
        (self.release)(&self.container, record);
        loading.set(Slot::Loaded(key.clone()));
        Ok(key)
    }
}

impl<B: AsRef<[u8]> + Sync> EvaluationKeys<B> {
    /// Checks and expands all keys now.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn load_all(&self) -> Result<(), ContentError> {
        (0..self.keys().len()).into_par_iter().try_for_each(|record| self.load(record).map(drop))
    }
}

impl<B: AsRef<[u8]> + Sync> KeyStore for EvaluationKeys<B> {
    fn key_set(&self) -> KeySetId {
        self.announced.key_set
    }

    fn key(&self, id: KeyId) -> Result<Arc<SwitchingKey>, CkksError> {
        let record = self.announced.find(id).ok_or(CkksError::MissingKey(id))?;
        self.load(record).map_err(|reason| {
            let file = self.path.as_ref().map_or(String::new(), |path| format!("{}: ", path.display()));
            CkksError::UnreadableKey { key: id, reason: format!("{file}{reason}") }
        })
    }

    fn prefetch(&self, id: KeyId) {
        if let Some(record) = self.announced.find(id) {
            // Whoever asks for the key is told what is wrong with it.
            let _ = self.load(record);
        }
    }
}
