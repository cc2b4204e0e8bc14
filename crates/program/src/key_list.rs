//! Keys in files (for `serde(with)`): one list of rotations a gadget and level. There are hundreds of keys, and a
//! client file is to stay small.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use umbra_ckks::{Gadget, KeyId, KeyKind, Level};

/// The keys of one gadget and level.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    gadget: Gadget,
    level: Level,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    relinearize: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rotate: Vec<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    conjugate: Vec<i64>,
}

/// Writes keys; their order is lost.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(keys: &[KeyId], serializer: S) -> Result<S::Ok, S::Error> {
    let mut entries: BTreeMap<(Gadget, Level), Entry> = BTreeMap::new();
    for key in keys {
        let (gadget, level) = (key.gadget, key.level);
        let entry = entries.entry((gadget, level)).or_insert_with(|| Entry {
            gadget,
            level,
            relinearize: false,
            rotate: Vec::new(),
            conjugate: Vec::new(),
        });
        match key.kind {
            KeyKind::Relinearize => entry.relinearize = true,
            KeyKind::Rotate(steps) => entry.rotate.push(steps),
            KeyKind::Conjugate(steps) => entry.conjugate.push(steps),
        }
    }
    entries.into_values().collect::<Vec<_>>().serialize(serializer)
}

/// Reads keys, sorted by gadget and kind: the order of a program's keys.
///
/// # Errors
/// Those of the deserializer.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<KeyId>, D::Error> {
    let mut keys = Vec::new();
    for Entry { gadget, level, relinearize, rotate, conjugate } in Vec::<Entry>::deserialize(deserializer)? {
        let kinds = relinearize.then_some(KeyKind::Relinearize).into_iter();
        let kinds = kinds.chain(rotate.into_iter().map(KeyKind::Rotate));
        let kinds = kinds.chain(conjugate.into_iter().map(KeyKind::Conjugate));
        keys.extend(kinds.map(|kind| KeyId { gadget, level, kind }));
    }
    keys.sort_unstable_by_key(|key| (key.gadget, key.kind));
    Ok(keys)
}
