//! Huffman tables and the bits that they are of (ITU-T T.81, annexes C and F).

use crate::Fault;

/// Codes of up to this many bits are looked up.
const LOOKUP: u32 = 8;

/// A Huffman table.
#[derive(Clone, Debug)]
pub struct Table {
    /// By the next bits: the length of the code, 0 where it is longer, and its value.
    lookup: [(u8, u8); 1 << LOOKUP],
    /// By length less 1: the code behind the last of that length, in 16 bits from the left.
    end: [u32; 16],
    /// By length less 1: what, added to a code, is the place of its value.
    offset: [i32; 16],
    values: Vec<u8>,
}

impl Table {
    /// A table from the number of codes of each length and their values; returns what follows, too.
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Fault> {
        let short = || Fault::damaged("a Huffman table is shorter than it says");
        let (counts, rest) = bytes.split_first_chunk::<16>().ok_or_else(short)?;
        let total = counts.iter().map(|&count| usize::from(count)).sum();
        let (values, rest) = rest.split_at_checked(total).ok_or_else(short)?;
        let mut table = Self { lookup: [(0, 0); 1 << LOOKUP], end: [0; 16], offset: [0; 16], values: values.to_vec() };
        let (mut code, mut place) = (0u32, 0usize);
        for (length, &count) in (1u32..).zip(counts) {
            let at = length as usize - 1;
            table.offset[at] = place as i32 - code as i32;
            for &value in &values[place..place + usize::from(count)] {
                if code >= 1 << length {
                    return Err(Fault::damaged("a Huffman table has more codes than there can be"));
                }
                if length <= LOOKUP {
                    let first = (code << (LOOKUP - length)) as usize;
                    table.lookup[first..first + (1 << (LOOKUP - length))].fill((length as u8, value));
                }
                code += 1;
            }
            place += usize::from(count);
            table.end[at] = code << (16 - length);
            code <<= 1;
        }
        Ok((table, rest))
    }

    /// The length in bits and the value of the code that these 16 bits begin with.
    fn find(&self, bits: u32) -> Option<(u32, u8)> {
        let (length, value) = self.lookup[(bits >> (16 - LOOKUP)) as usize];
        if length > 0 {
            return Some((length.into(), value));
        }
        let length = (LOOKUP + 1..=16).find(|&length| bits < self.end[length as usize - 1])?;
        let place = (bits >> (16 - length)) as i32 + self.offset[length as usize - 1];
        Some((length, *self.values.get(usize::try_from(place).ok()?)?))
    }
}

/// Why there is no next value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The file ends.
    End,
    /// A marker comes first.
    Marker,
    /// No code begins so.
    Code,
    /// The value cannot be where it is.
    Value,
}

/// The bits between two markers.
#[derive(Debug)]
pub struct Bits<'a> {
    file: &'a [u8],
    /// Of the next byte that is not in the buffer.
    position: usize,
    buffer: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub fn new(file: &'a [u8], position: usize) -> Self {
        Self { file, position, buffer: 0, count: 0 }
    }

    /// The value of the next code.
    pub fn decode(&mut self, table: &Table) -> Result<u8, Stop> {
        if self.count < 16 {
            self.fill();
        }
        // Behind the last bit come ones, as writers pad.
        let bits = match 16u32.checked_sub(self.count) {
            None | Some(0) => (self.buffer >> (self.count - 16)) as u32 & 0xffff,
            Some(missing) => (((self.buffer as u32) << missing) | ((1 << missing) - 1)) & 0xffff,
        };
        match table.find(bits) {
            Some((length, value)) if length <= self.count => {
                self.count -= length;
                Ok(value)
            }
            None if self.count >= 16 => Err(Stop::Code),
            _ => Err(self.stop()),
        }
    }

    /// The next bits, 16 at most, as a number.
    pub fn take(&mut self, bits: u8) -> Result<u32, Stop> {
        let bits = u32::from(bits);
        if self.count < bits {
            self.fill();
            if self.count < bits {
                return Err(self.stop());
            }
        }
        self.count -= bits;
        Ok((self.buffer >> self.count) as u32 & ((1 << bits) - 1))
    }

    /// Where the next marker begins, and whether all that was before it was read: what is left of a byte is padding,
    /// and so are whole bytes of zeros or ones.
    pub fn end(mut self) -> (usize, bool) {
        let mut clean = true;
        loop {
            while self.count >= 8 {
                let byte = (self.buffer >> (self.count / 8 * 8 - 8)) as u8;
                clean &= matches!(byte, 0 | 0xff);
                self.count -= 8;
            }
            let before = self.position;
            self.count = 0;
            self.fill();
            if self.position == before && self.count == 0 {
                return (self.position, clean);
            }
        }
    }

    fn stop(&self) -> Stop {
        // A marker has two bytes.
        if self.position + 1 < self.file.len() { Stop::Marker } else { Stop::End }
    }

    fn fill(&mut self) {
        while self.count <= 56 {
            let (byte, length) = match self.file[self.position..] {
                [0xff, 0, ..] => (0xff, 2),
                // Fill bytes before a marker.
                [0xff, 0xff, ..] => {
                    self.position += 1;
                    continue;
                }
                [0xff, ..] | [] => return,
                [byte, ..] => (byte, 1),
            };
            self.position += length;
            self.buffer = self.buffer << 8 | u64::from(byte);
            self.count += 8;
        }
    }
}
