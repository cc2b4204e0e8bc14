//! Words and bytes.

use std::borrow::Cow;

/// The little-endian bytes of words; in place on little-endian machines.
#[must_use]
pub fn bytes_of_words(words: &[u32]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        Cow::Borrowed(bytemuck::cast_slice(words))
    } else {
        Cow::Owned(words.iter().flat_map(|word| word.to_le_bytes()).collect())
    }
}

/// The words that little-endian bytes stand for; in place where alignment and machine allow, `None` where the length is
/// no multiple of 4.
#[must_use]
pub fn words_of_bytes(bytes: &[u8]) -> Option<Cow<'_, [u32]>> {
    let (words, []) = bytes.as_chunks::<4>() else {
        return None;
    };
    match bytemuck::try_cast_slice(bytes) {
        Ok(words) if cfg!(target_endian = "little") => Some(Cow::Borrowed(words)),
        _ => Some(Cow::Owned(words.iter().map(|word| u32::from_le_bytes(*word)).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_at_every_alignment() {
        let words: Vec<u32> = (0..9).map(|i| 0x0123_4567u32.wrapping_mul(i + 1)).collect();
        let bytes = bytes_of_words(&words);
        assert_eq!(bytes[..4], [0x67, 0x45, 0x23, 0x01]);
        for shift in 0..4 {
            let mut shifted = vec![0; shift];
            shifted.extend_from_slice(&bytes);
            assert_eq!(words_of_bytes(&shifted[shift..]).as_deref(), Some(&words[..]));
        }
        assert_eq!(words_of_bytes(&bytes[1..]), None);
    }
}
