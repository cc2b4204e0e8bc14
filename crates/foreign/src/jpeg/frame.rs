//! The size and components of a JPEG image, and what of their coefficients has come.

use crate::Fault;

/// What is known of an image before its first scan, and which coefficients the scans have brought.
#[derive(Debug)]
pub struct Frame {
    pub progressive: bool,
    width: usize,
    height: usize,
    pub components: Vec<Component>,
}

/// One of its colours.
#[derive(Debug)]
pub struct Component {
    pub id: u8,
    /// Blocks of a unit of an interleaved scan, across and down.
    pub sampling: (usize, usize),
    /// Blocks that have pixels, across and down: those of a scan of its own.
    pub blocks: (usize, usize),
    /// Blocks in a row of an interleaved scan.
    pub stride: usize,
    /// By place in zigzag order: the lowest bit of the coefficients that has come.
    pub low: [Option<u8>; 64],
    /// By block: the coefficients that are not zero so far, a bit each. Of progressive images.
    pub seen: Vec<u64>,
}

impl Frame {
    /// Of a frame header; `None` where it is not of 8 bits.
    pub fn parse(segment: &[u8], progressive: bool) -> Result<Option<Self>, Fault> {
        let damaged = || Fault::damaged("the header with its size is not as it must be");
        let (&[bits, h1, h0, w1, w0, count], entries) = segment.split_first_chunk::<6>().ok_or_else(damaged)?;
        let [width, height] = [[w1, w0], [h1, h0]].map(|bytes| usize::from(u16::from_be_bytes(bytes)));
        if bits != 8 {
            return Ok(None);
        }
        let (entries, rest) = entries.as_chunks::<3>();
        if !rest.is_empty() || entries.len() != usize::from(count) || !(1..=4).contains(&count) {
            return Err(damaged());
        }
        let sampling = |entry: &[u8; 3]| (usize::from(entry[1] >> 4), usize::from(entry[1] & 15));
        let factors = || entries.iter().map(sampling);
        if width == 0 || height == 0 || !factors().all(|(h, v)| (1..=4).contains(&h) && (1..=4).contains(&v)) {
            return Err(damaged());
        }
        let most = factors().fold((1, 1), |(h, v), (x, y)| (h.max(x), v.max(y)));
        let units = (width.div_ceil(8 * most.0), height.div_ceil(8 * most.1));
        let components = entries.iter().map(|entry| {
            let (h, v) = sampling(entry);
            let blocks =
                [(width, h, most.0), (height, v, most.1)].map(|(side, own, most)| (side * own).div_ceil(8 * most));
            let stride = units.0 * h;
            let seen = if progressive { vec![0; stride * units.1 * v] } else { Vec::new() };
            let (low, blocks) = ([None; 64], (blocks[0], blocks[1]));
            Component { id: entry[0], sampling: (h, v), blocks, stride, low, seen }
        });
        let components = components.collect();
        Ok(Some(Self { progressive, width, height, components }))
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.width as u32, self.height as u32)
    }

    /// Units of an interleaved scan, across and down.
    pub fn units(&self) -> (usize, usize) {
        let (h, v) = self.sampling();
        (self.width.div_ceil(8 * h), self.height.div_ceil(8 * v))
    }

    /// Blocks of a unit, of the component that has most.
    fn sampling(&self) -> (usize, usize) {
        self.components.iter().fold((1, 1), |(h, v), c| (h.max(c.sampling.0), v.max(c.sampling.1)))
    }

    /// What is missing where the scans stop in this row of units, or of blocks of one component.
    pub fn missing_rows(&self, row: usize, component: Option<usize>) -> String {
        let (_, most) = self.sampling();
        let first = match component {
            None => row * 8 * most,
            Some(component) => row * 8 * most / self.components[component].sampling.1,
        };
        let (first, height) = (first.min(self.height - 1), self.height);
        match self.progressive {
            false => format!("rows {first} to {height} of {height} are missing"),
            true => format!("a pass over the image stops in row {first} of {height}"),
        }
    }

    /// Whether coefficients, or bits of them, never came.
    ///
    /// # Errors
    /// A component of which nothing came.
    pub fn unrefined(&self) -> Result<bool, Fault> {
        match self.components.iter().find(|component| component.low[0].is_none()) {
            Some(component) => Err(Fault::ends(format!("nothing of colour component {} has come", component.id))),
            None => Ok(self.components.iter().any(|component| component.low.iter().any(|low| *low != Some(0)))),
        }
    }
}
