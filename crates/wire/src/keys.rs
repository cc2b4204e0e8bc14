//! Evaluation keys in files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use umbra_ckks::{CkksError, KeyId, KeyKind, KeyStore, Parameters, SwitchingKey};
use umbra_file::{Container, Digest, FileBytes, FileError, FormatError, Kind, Writer};

use crate::{ContentError, SEED, WireError, seed_and_words};

/// The header of a file of evaluation keys; the container's context is the digest of the parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysHeader {
    /// What each record holds.
    pub keys: Vec<KeyId>,
}

/// Writes evaluation keys one by one.
#[derive(Debug)]
pub struct EvaluationKeysWriter {
    writer: Writer<umbra_file::AtomicFile>,
    left: std::vec::IntoIter<KeyId>,
}

impl EvaluationKeysWriter {
    /// Starts a file at `path` for these keys.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn create(path: &Path, parameters: &Parameters, keys: &[KeyId]) -> Result<Self, FileError> {
        let header = KeysHeader { keys: keys.to_vec() };
        let writer = Writer::create(path, Kind::EvaluationKeys, Digest::from(*parameters.digest()), &header)?;
        Ok(Self { writer, left: header.keys.into_iter() })
    }

    /// Appends a key; they must come in the order announced.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn add(&mut self, key: &SwitchingKey) -> Result<(), WireError> {
        let expected = self.left.next();
        if expected != Some(key.id()) {
            return Err(out_of_order(Some(key.id()), expected));
        }
        let mut parts = vec![std::borrow::Cow::Borrowed(&key.seed()[..])];
        parts.extend(key.b_words().map(umbra_file::bytes_of_words));
        let parts: Vec<&[u8]> = parts.iter().map(AsRef::as_ref).collect();
        Ok(self.writer.add(&parts)?)
    }

    /// Gives the file its name, once all keys are in it.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn commit(mut self) -> Result<Digest, WireError> {
        match self.left.next() {
            None => Ok(self.writer.commit()?),
            missing => Err(out_of_order(None, missing)),
        }
    }
}

fn out_of_order(found: Option<KeyId>, expected: Option<KeyId>) -> WireError {
    let name = |key: Option<KeyId>| key.map_or("the end".to_string(), |key| key.to_string());
    WireError::Content {
        path: PathBuf::from("evaluation keys"),
        reason: ContentError::Mismatch {
            what: "next key",
            found: name(found),
            expected: name(expected),
            remedy: "write the keys in the order announced",
        },
    }
}

/// Evaluation keys in a container, each checked and expanded when it is first used, and kept.
#[derive(Debug)]
pub struct EvaluationKeys<B = FileBytes> {
    container: Container<B>,
    /// For messages.
    path: Option<PathBuf>,
    parameters: Parameters,
    keys: Vec<KeyId>,
    records: HashMap<(u16, KeyKind), usize>,
    loaded: Vec<Mutex<Option<Arc<SwitchingKey>>>>,
    /// Called with a record that was read and is kept expanded.
    release: fn(&Container<B>, usize),
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
        container.expect_context(Digest::from(*parameters.digest()))?;
        let KeysHeader { keys } = container.header()?;
        let remedy = "make the keys again";
        if keys.len() != container.records() {
            let (found, expected) = (container.records().to_string(), keys.len().to_string());
            return Err(ContentError::Mismatch { what: "number of records", found, expected, remedy });
        }
        let mut records = HashMap::with_capacity(keys.len());
        for (record, id) in keys.iter().enumerate() {
            parameters.switch_plan("read evaluation keys", id.level, id.gadget as usize)?;
            let expected = SEED as u64 + id.bytes(parameters.literal());
            let found = container.record_length(record).unwrap_or_default() as u64;
            if found != expected {
                return Err(FormatError::RecordLength { record, found, expected: expected.to_string() }.into());
            }
            if records.insert((id.gadget, id.kind), record).is_some() {
                let expected = "one of its name".into();
                return Err(ContentError::Mismatch { what: "second key", found: id.to_string(), expected, remedy });
            }
        }
        let loaded = keys.iter().map(|_| Mutex::default()).collect();
        Ok(Self { container, path: None, parameters: parameters.clone(), keys, records, loaded, release: |_, _| {} })
    }

    /// The keys it holds.
    #[must_use]
    pub fn keys(&self) -> &[KeyId] {
        &self.keys
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
        match needed.iter().find(|id| self.find(id.gadget, id.kind, id.level).is_none()) {
            None => Ok(()),
            Some(&key) => Err(ContentError::MissingKey { key }),
        }
    }

    fn find(&self, gadget: u16, kind: KeyKind, level: usize) -> Option<usize> {
        self.records.get(&(gadget, kind)).copied().filter(|&record| self.keys[record].level >= level)
    }

    /// The key of a record: from the container, or as kept.
    fn load(&self, record: usize) -> Result<Arc<SwitchingKey>, ContentError> {
        let mut slot = self.loaded[record].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = &*slot {
            return Ok(key.clone());
        }
        let (seed, words) = seed_and_words(record, self.container.record(record)?)?;
        let key = Arc::new(SwitchingKey::from_parts(&self.parameters, self.keys[record], seed, &words)?);
        (self.release)(&self.container, record);
        *slot = Some(key.clone());
        Ok(key)
    }
}

impl<B: AsRef<[u8]> + Sync> EvaluationKeys<B> {
    /// Checks and expands all keys now.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn load_all(&self) -> Result<(), ContentError> {
        (0..self.keys.len()).into_par_iter().try_for_each(|record| self.load(record).map(drop))
    }
}

impl<B: AsRef<[u8]> + Sync> KeyStore for EvaluationKeys<B> {
    fn key(&self, gadget: usize, kind: KeyKind, level: usize) -> Result<Arc<SwitchingKey>, CkksError> {
        let id = KeyId { gadget: gadget as u16, kind, level };
        let record = self.find(id.gadget, kind, level).ok_or(CkksError::MissingKey(id))?;
        self.load(record).map_err(|reason| {
            let file = self.path.as_ref().map_or(String::new(), |path| format!("{}: ", path.display()));
            CkksError::UnreadableKey { key: id, reason: format!("{file}{reason}") }
        })
    }
}
