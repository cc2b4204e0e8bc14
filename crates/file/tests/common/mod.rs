//! What several tests need.
#![allow(dead_code, reason = "each test uses a part of it")]

use umbra_file::{Digest, KeySetId, Kind, Label, encode};

pub fn key_set() -> KeySetId {
    KeySetId::new(*b"sixteen bytes id").expect("not zero")
}

/// Of a file that belongs to "parameters", and to [`key_set`] where its kind has key sets.
pub fn label(kind: Kind) -> Label {
    Label::new(kind, Digest::of(b"parameters"), kind.has_key_set().then(key_set)).expect("a key set where there is one")
}

/// A few evaluation keys.
pub fn sample() -> Vec<u8> {
    let words: Vec<u8> = (0..40u32).flat_map(|i| (i * 0x0101_0101).to_le_bytes()).collect();
    let records: [&[u8]; 4] = [b"first", b"", &words, &[7; 64]];
    let header = serde_json::json!({"records": ["text", "nothing", "words", "sevens"]});
    encode(label(Kind::EvaluationKeys), &header, &records).expect("a small file")
}

/// Sets bytes of a file, then all digests anew as far as its lengths lead, as a hostile writer would.
pub fn sealed(file: &[u8], at: usize, value: &[u8]) -> Vec<u8> {
    let mut bytes = file.to_vec();
    bytes[at..at + value.len()].copy_from_slice(value);
    reseal(&mut bytes);
    bytes
}

fn reseal(bytes: &mut [u8]) -> Option<()> {
    let number = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let header = number(bytes, 12);
    let table = 128 + header.next_multiple_of(64);
    let size = number(bytes, 64) * 8;
    let head = Digest::of_parts([&bytes[..96], bytes.get(128..128 + header)?, bytes.get(table..table + size)?]);
    bytes[96..128].copy_from_slice(head.bytes());
    let mut identity = [&bytes[..128 + header], &bytes[table..table + size]].concat();
    let mut at = table + size.next_multiple_of(64);
    for entry in bytes[table..table + size].to_vec().as_chunks::<8>().0 {
        let length = usize::try_from(u64::from_le_bytes(*entry)).ok()?;
        let digest = Digest::of(bytes.get(at..at.checked_add(length)?)?);
        at += length.checked_next_multiple_of(64)?;
        bytes.get_mut(at..at + 32)?.copy_from_slice(digest.bytes());
        identity.extend_from_slice(digest.bytes());
        at += 64;
    }
    bytes.get_mut(at..at + 32)?.copy_from_slice(Digest::of(&identity).bytes());
    Some(())
}
