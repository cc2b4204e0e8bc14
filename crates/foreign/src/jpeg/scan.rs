//! One scan of a JPEG image.

use super::Tables;
use super::frame::{Component, Frame};
use super::huffman::{Bits, Stop, Table};
use crate::Fault;

/// Bits of the difference between two mean values of blocks, at most, where pixels have 8 (T.81, table F.1).
const MAX_DC: u8 = 11;
/// Bits of another coefficient (table F.2).
const MAX_AC: u8 = 10;

/// What a scan brings.
#[derive(Debug)]
pub struct Scan {
    /// Numbers of components, each with the number of its tables.
    components: Vec<(usize, [usize; 2])>,
    /// Coefficients in zigzag order.
    band: (usize, usize),
    /// The bit that came last before it; 0 for a first pass.
    high: u8,
    /// The lowest bit that it brings.
    low: u8,
}

impl Scan {
    /// Of a scan header: checks that the scan follows those before it, and notes what it brings.
    pub fn parse(segment: &[u8], frame: &mut Frame, tables: &Tables) -> Result<Self, Fault> {
        let damaged = || Fault::damaged("the header of a scan is not as it must be");
        let (&count, rest) = segment.split_first().ok_or_else(damaged)?;
        let (entries, rest) = rest.split_at_checked(2 * usize::from(count)).ok_or_else(damaged)?;
        let &[first, last, bits] = rest else { return Err(damaged()) };
        let (high, low) = (bits >> 4, bits & 15);
        let mut components = Vec::new();
        for &[id, numbers] in entries.as_chunks().0 {
            let number = frame.components.iter().position(|c| c.id == id).ok_or_else(damaged)?;
            let own = [numbers >> 4, numbers & 15].map(usize::from);
            if own.iter().any(|&number| number > 3) || components.iter().any(|&(other, _)| other == number) {
                return Err(damaged());
            }
            components.push((number, own));
        }
        let (band, high, low) = match frame.progressive {
            true => ((usize::from(first), usize::from(last)), high, low),
            // Some writers leave other numbers there.
            false => ((0, 63), 0, 0),
        };
        let mixed = frame.progressive && ((band.0 == 0) != (band.1 == 0) || (band.0 > 0 && components.len() > 1));
        if components.is_empty() || band.0 > band.1 || band.1 > 63 || mixed || low > 13 {
            return Err(damaged());
        }
        let scan = Self { components, band, high, low };
        scan.note(frame)?;
        scan.expect_tables(frame, tables)?;
        Ok(scan)
    }

    /// Notes which bits of which coefficients come.
    fn note(&self, frame: &mut Frame) -> Result<(), Fault> {
        let before = if self.high == 0 { None } else { Some(self.high) };
        for &(number, _) in &self.components {
            for low in &mut frame.components[number].low[self.band.0..=self.band.1] {
                if *low != before || (self.high > 0 && self.low + 1 != self.high) {
                    return Err(Fault::damaged("a scan does not follow those before it"));
                }
                *low = Some(self.low);
            }
        }
        Ok(())
    }

    fn expect_tables(&self, frame: &Frame, tables: &Tables) -> Result<(), Fault> {
        // Refining mean values takes no codes.
        let dc = self.band.0 == 0 && self.high == 0;
        let ac = !frame.progressive || self.band.0 > 0;
        let there =
            |&(_, [d, a]): &(usize, [usize; 2])| (!dc || tables.dc[d].is_some()) && (!ac || tables.ac[a].is_some());
        match self.components.iter().all(there) {
            true => Ok(()),
            false => Err(Fault::damaged("a Huffman table is missing")),
        }
    }
}

/// Reads the codes of a scan, which begin at `position`; returns where the next marker begins.
pub fn read_scan(
    scan: &Scan,
    frame: &mut Frame,
    tables: &Tables,
    file: &[u8],
    position: usize,
) -> Result<usize, Fault> {
    let single = match scan.components[..] {
        [(number, _)] => Some(number),
        _ => None,
    };
    let (columns, rows) = single.map_or(frame.units(), |number| frame.components[number].blocks);
    let mut reader = Reader { scan, tables, bits: Bits::new(file, position), dc: [0; 4], run: 0 };
    let mut restarts = 0u8;
    for unit in 0..columns * rows {
        let row = unit / columns;
        if tables.restart > 0 && unit > 0 && unit % tables.restart == 0 {
            let position = reader.segment_end(row)?;
            reader.bits = Bits::new(file, restart(file, position, restarts)?);
            reader.dc = [0; 4];
            restarts = (restarts + 1) % 8;
        }
        reader.unit(frame, unit % columns, row, single.is_some()).map_err(|stop| fault(stop, frame, row, single))?;
    }
    let position = reader.segment_end(rows)?;
    // Some writers put one behind the last unit, too.
    match file[position..] {
        [0xff, marker, ..] if marker == 0xd0 + restarts && tables.restart > 0 => Ok(position + 2),
        _ => Ok(position),
    }
}

/// Behind the restart marker that must be here.
fn restart(file: &[u8], position: usize, number: u8) -> Result<usize, Fault> {
    match file[position..] {
        [0xff, marker, ..] if marker == 0xd0 + number => Ok(position + 2),
        [0xff, _, ..] => Err(Fault::damaged(format!("restart marker {number} is not where it must be"))),
        _ => Err(Fault::ends(format!("restart marker {number} is missing"))),
    }
}

fn fault(stop: Stop, frame: &Frame, row: usize, single: Option<usize>) -> Fault {
    let missing = frame.missing_rows(row, single);
    match stop {
        Stop::End => Fault::ends(missing),
        Stop::Marker => Fault::damaged(format!("the data of the pixels stops too soon, {missing}")),
        Stop::Code => Fault::damaged(format!("bits that are no code, {missing}")),
        Stop::Value => Fault::damaged(format!("a value that cannot be, {missing}")),
    }
}

/// The codes between two markers.
struct Reader<'a> {
    scan: &'a Scan,
    tables: &'a Tables,
    bits: Bits<'a>,
    /// Mean values of the last blocks, by component.
    dc: [i32; 4],
    /// Blocks to come, without codes of their own.
    run: u32,
}

impl Reader<'_> {
    /// One block of a component, or the blocks of all components of the scan at a place.
    fn unit(&mut self, frame: &mut Frame, column: usize, row: usize, single: bool) -> Result<(), Stop> {
        let scan = self.scan;
        for &(number, tables) in &scan.components {
            let component = &mut frame.components[number];
            let (across, down) = if single { (1, 1) } else { component.sampling };
            for y in row * down..(row + 1) * down {
                for x in column * across..(column + 1) * across {
                    let at = y * component.stride + x;
                    self.block(component, number, tables, at)?;
                }
            }
        }
        Ok(())
    }

    fn block(&mut self, component: &mut Component, number: usize, tables: [usize; 2], at: usize) -> Result<(), Stop> {
        let all = self.tables;
        // Checked before the scan.
        let (dc, ac) = (all.dc[tables[0]].as_ref(), all.ac[tables[1]].as_ref());
        let (table, seen) = match component.seen.get_mut(at) {
            None => {
                self.dc(dc.ok_or(Stop::Code)?, number)?;
                return self.ac(ac.ok_or(Stop::Code)?);
            }
            Some(_) if self.scan.band.0 == 0 => {
                return match self.scan.high {
                    0 => self.dc(dc.ok_or(Stop::Code)?, number),
                    _ => self.bits.take(1).map(drop),
                };
            }
            Some(seen) => (ac.ok_or(Stop::Code)?, seen),
        };
        match self.scan.high {
            0 => self.first(table, seen),
            _ => self.refine(table, seen),
        }
    }

    /// The mean value of a block (F.2.2.1).
    fn dc(&mut self, table: &Table, number: usize) -> Result<(), Stop> {
        let bits = self.bits.decode(table)?;
        if bits > MAX_DC {
            return Err(Stop::Value);
        }
        let value = self.bits.take(bits)? as i32;
        let negative = bits > 0 && value < 1 << (bits - 1);
        let dc = &mut self.dc[number];
        *dc += if negative { value - (1 << bits) + 1 } else { value };
        // Of 8 bits, 64 times over, less a scale of 8.
        if (*dc << self.scan.low).abs() < 1 << MAX_DC { Ok(()) } else { Err(Stop::Value) }
    }

    /// The other coefficients of a block of a sequential image (F.2.2.2).
    fn ac(&mut self, table: &Table) -> Result<(), Stop> {
        let mut place = 1;
        while place < 64 {
            let (run, bits) = split(self.bits.decode(table)?);
            match (run, bits) {
                (15, 0) => place += 16,
                (_, 0) => return Ok(()),
                _ => {
                    place += run + 1;
                    self.value(bits)?;
                }
            }
            // Behind a run of zeros comes a coefficient.
            if place > 64 || (bits == 0 && place > 63) {
                return Err(Stop::Value);
            }
        }
        Ok(())
    }

    /// The first pass over coefficients of a block of a progressive image (G.1.2.2).
    fn first(&mut self, table: &Table, seen: &mut u64) -> Result<(), Stop> {
        if self.run > 0 {
            self.run -= 1;
            return Ok(());
        }
        let (mut place, last) = self.scan.band;
        while place <= last {
            let (run, bits) = split(self.bits.decode(table)?);
            match (run, bits) {
                (15, 0) => place += 16,
                (_, 0) => {
                    self.run = self.blocks(run)? - 1;
                    return Ok(());
                }
                _ => {
                    place += run;
                    if place > last {
                        return Err(Stop::Value);
                    }
                    self.value(bits)?;
                    *seen |= 1 << place;
                    place += 1;
                    continue;
                }
            }
            if place > last {
                return Err(Stop::Value);
            }
        }
        Ok(())
    }

    /// A further pass (G.1.2.3): a bit for each coefficient that is not zero, and coefficients that no longer are.
    fn refine(&mut self, table: &Table, seen: &mut u64) -> Result<(), Stop> {
        let (mut place, last) = self.scan.band;
        while self.run == 0 && place <= last {
            let (mut zeros, bits) = split(self.bits.decode(table)?);
            match (zeros, bits) {
                (15, 0) => {}
                (_, 0) => {
                    self.run = self.blocks(zeros)?;
                    break;
                }
                (_, 1) => drop(self.bits.take(1)?),
                _ => return Err(Stop::Value),
            }
            loop {
                if place > last {
                    return Err(Stop::Value);
                }
                match *seen >> place & 1 {
                    1 => drop(self.bits.take(1)?),
                    _ if zeros == 0 => break,
                    _ => zeros -= 1,
                }
                place += 1;
            }
            *seen |= u64::from(bits) << place;
            place += 1;
        }
        if self.run > 0 {
            let rest = (place..=last).filter(|place| *seen >> place & 1 == 1).count();
            for _ in 0..rest {
                self.bits.take(1)?;
            }
            self.run -= 1;
        }
        Ok(())
    }

    /// The sign and bits of a coefficient.
    fn value(&mut self, bits: u8) -> Result<(), Stop> {
        if bits > MAX_AC { Err(Stop::Value) } else { self.bits.take(bits).map(drop) }
    }

    /// How many blocks have no more coefficients, this one counted.
    fn blocks(&mut self, log2: usize) -> Result<u32, Stop> {
        // At most 14.
        Ok((1 << log2) + self.bits.take(log2 as u8)?)
    }

    /// The end of what stands between two markers, before this row of units: nothing may be left over.
    fn segment_end(&mut self, row: usize) -> Result<usize, Fault> {
        let bits = std::mem::replace(&mut self.bits, Bits::new(&[], 0));
        let (position, clean) = bits.end();
        match clean && std::mem::take(&mut self.run) == 0 {
            true => Ok(position),
            false => Err(Fault::damaged(format!("before row {row} of blocks there is more data than pixels"))),
        }
    }
}

/// A run of zeros and the bits of the value behind it.
fn split(code: u8) -> (usize, u8) {
    (usize::from(code >> 4), code & 15)
}
