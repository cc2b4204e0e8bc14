//! JPEG files, marker by marker and bit by bit (ITU-T T.81).
//!
//! Whether the data of pixels is whole shows only where it is read: a walk through its codes that keeps no
//! coefficients.

mod frame;
mod huffman;
mod scan;

use crate::Fault;

use frame::Frame;
use huffman::Table;
use scan::{Scan, read_scan};

/// More scans are refused: each goes over all blocks, however few bytes it has.
const MAX_SCANS: usize = 100;

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const DHT: u8 = 0xc4;
const DRI: u8 = 0xdd;

/// What the markers of a whole JPEG file tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Jpeg {
    /// A progressive image whose last passes are missing, though the file ends as it should: it is blurred.
    pub unrefined: bool,
    /// Behind the image comes another one.
    pub more_images: bool,
}

/// The parts that a scan is read with.
#[derive(Debug, Default)]
struct Tables {
    dc: [Option<Table>; 4],
    ac: [Option<Table>; 4],
    /// Units between restart markers; 0 for none.
    restart: usize,
}

/// Follows a JPEG file to its end marker: segments, Huffman codes, restart markers, the number of blocks. Of the forms
/// of JPEG those that are in use are followed, sequential and progressive with 8 bits; `None` for others. What comes
/// behind the end marker is not looked at but for another image: cameras put previews and depth there.
///
/// `size` is the width and height that the decoder found.
///
/// # Errors
/// [`Fault`]; never panics, whatever the bytes. Of a progressive image a word a block is allocated, an eighth of what
/// its pixels take.
pub fn check_jpeg(file: &[u8], size: (u32, u32)) -> Result<Option<Jpeg>, Fault> {
    let mut walk = Walk { file, position: 0 };
    if walk.marker()? != SOI {
        return Err(Fault::damaged("it does not begin as JPEG files do"));
    }
    let (mut tables, mut frame, mut scans) = (Tables::default(), None::<Frame>, 0);
    loop {
        match walk.marker()? {
            EOI => break,
            SOS => {
                let frame = frame.as_mut().ok_or_else(|| Fault::damaged("its pixels come before their size"))?;
                scans += 1;
                if scans > MAX_SCANS {
                    return Err(Fault::damaged(format!("it has more than {MAX_SCANS} scans")));
                }
                let scan = Scan::parse(walk.segment()?, frame, &tables)?;
                walk.position = read_scan(&scan, frame, &tables, file, walk.position)?;
            }
            DHT => tables.add(walk.segment()?)?,
            DRI => match *walk.segment()? {
                [high, low] => tables.restart = u16::from_be_bytes([high, low]).into(),
                _ => return Err(Fault::damaged("the distance of restart markers has not two bytes")),
            },
            // Sizes of the frame: baseline, extended, progressive.
            kind @ 0xc0..=0xc2 => {
                if frame.is_some() {
                    return Err(Fault::damaged("it has two sizes"));
                }
                match Frame::parse(walk.segment()?, kind == 0xc2)? {
                    Some(parsed) if parsed.size() == size => frame = Some(parsed),
                    Some(parsed) => {
                        let ((width, height), (w, h)) = (parsed.size(), size);
                        return Err(Fault::damaged(format!("it says {width} x {height} pixels, and {w} x {h}")));
                    }
                    None => return Ok(None),
                }
            }
            // Lossless, hierarchical, arithmetic coding.
            0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => return Ok(None),
            // Without content; a restart marker out of place is passed over where its scan has ended.
            0x01 | 0xd0..=0xd7 => {}
            SOI => return Err(Fault::damaged("another image begins inside of it")),
            _ => drop(walk.segment()?),
        }
    }
    let frame = frame.ok_or_else(|| Fault::ends("it has no pixels"))?;
    let mut behind = &file[walk.position..];
    while let [0, rest @ ..] = behind {
        behind = rest;
    }
    Ok(Some(Jpeg { unrefined: frame.unrefined()?, more_images: behind.starts_with(&[0xff, SOI, 0xff]) }))
}

impl Tables {
    /// Takes the Huffman tables of a segment.
    fn add(&mut self, mut segment: &[u8]) -> Result<(), Fault> {
        while let [place, rest @ ..] = segment {
            let tables = match place >> 4 {
                0 => &mut self.dc,
                1 => &mut self.ac,
                class => return Err(Fault::damaged(format!("a Huffman table is of class {class}"))),
            };
            let Some(slot) = tables.get_mut(usize::from(place & 15)) else {
                return Err(Fault::damaged(format!("a Huffman table has number {}", place & 15)));
            };
            let (table, after) = Table::parse(rest)?;
            *slot = Some(table);
            segment = after;
        }
        Ok(())
    }
}

/// A place in the file, between segments.
struct Walk<'a> {
    file: &'a [u8],
    position: usize,
}

impl<'a> Walk<'a> {
    /// The next marker, which must be here.
    fn marker(&mut self) -> Result<u8, Fault> {
        loop {
            match self.file[self.position..] {
                // A fill byte.
                [0xff, 0xff, ..] => self.position += 1,
                [0xff, marker, ..] if marker > 0 => {
                    self.position += 2;
                    return Ok(marker);
                }
                [] | [0xff] => return Err(Fault::ends("the end of the image is missing")),
                _ => return Err(Fault::damaged(format!("there is no marker at byte {}", self.position))),
            }
        }
    }

    /// The content of the segment whose marker was read.
    fn segment(&mut self) -> Result<&'a [u8], Fault> {
        let ends = || Fault::ends("it stops before the image does");
        let (length, _) = self.file[self.position..].split_first_chunk().ok_or_else(ends)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let range = self.position + 2..self.position + length.max(2);
        if length < 2 {
            return Err(Fault::damaged(format!("a segment has length {length}")));
        }
        self.position = range.end;
        self.file.get(range).ok_or_else(ends)
    }
}
