//! PNG files, chunk by chunk (W3C PNG, third edition, section 5).

use crate::Fault;

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Length, type and checksum of a chunk.
const FRAME: usize = 12;

/// What the chunks of a whole PNG file tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Png {
    /// Frames of its animation; 0 of a still image.
    pub frames: u32,
    /// Whether the image that every decoder shows is the first of them.
    pub still_is_first: bool,
}

/// Follows a PNG file to its last chunk and checks the length and checksum of each, also of those that no decoder
/// needs: a flipped bit anywhere says that the copy is bad. What comes behind the last chunk is not looked at.
///
/// # Errors
/// [`Fault`]; never panics, whatever the bytes, and allocates nothing by their claims.
pub fn check_png(file: &[u8]) -> Result<Png, Fault> {
    let mut rest = file.strip_prefix(SIGNATURE).ok_or_else(|| match SIGNATURE.starts_with(file) {
        true => Fault::ends("it stops in the signature of PNG"),
        false => Fault::damaged("the signature of PNG is not as it must be"),
    })?;
    let (mut png, mut first, mut pixels) = (Png::default(), true, false);
    loop {
        let chunk = chunk(rest)?;
        if first && chunk.name != *b"IHDR" {
            return Err(Fault::damaged(format!("it begins with chunk {}, not with IHDR", shown(chunk.name))));
        }
        match &chunk.name {
            b"IDAT" => pixels = true,
            b"acTL" => png.frames = chunk.content.first_chunk().map_or(0, |count| u32::from_be_bytes(*count)),
            // The control of a frame before the still image makes it a frame.
            b"fcTL" => png.still_is_first |= !pixels,
            b"IEND" if !pixels => return Err(Fault::damaged("it has no chunk IDAT, which holds the pixels")),
            b"IEND" => return Ok(png),
            _ => {}
        }
        first = false;
        rest = &rest[FRAME + chunk.content.len()..];
    }
}

struct Chunk<'a> {
    name: [u8; 4],
    content: &'a [u8],
}

fn chunk(bytes: &[u8]) -> Result<Chunk<'_>, Fault> {
    let Some((length, after)) = bytes.split_first_chunk() else {
        return Err(Fault::ends("the last chunk, IEND, is missing"));
    };
    let Some((name, after)) = after.split_first_chunk::<4>() else {
        return Err(Fault::ends("it stops in the head of a chunk"));
    };
    if !name.iter().all(u8::is_ascii_alphabetic) {
        return Err(Fault::damaged(format!("a chunk is named \"{}\"", name.escape_ascii())));
    }
    let length = u32::from_be_bytes(*length);
    if length > i32::MAX as u32 {
        return Err(Fault::damaged(format!("chunk {} claims {length} bytes", shown(*name))));
    }
    let length = length as usize;
    let Some((content, after)) = after.split_at_checked(length) else {
        let (found, name) = (after.len(), shown(*name));
        return Err(Fault::ends(format!("chunk {name} stops after {found} of {length} bytes")));
    };
    let Some(checksum) = after.first_chunk() else {
        return Err(Fault::ends(format!("the checksum of chunk {} is missing", shown(*name))));
    };
    if crc32fast::hash(&bytes[4..8 + length]) != u32::from_be_bytes(*checksum) {
        return Err(Fault::damaged(format!("chunk {} does not match its checksum", shown(*name))));
    }
    Ok(Chunk { name: *name, content })
}

/// Letters only, as checked.
fn shown(name: [u8; 4]) -> String {
    name.escape_ascii().to_string()
}
