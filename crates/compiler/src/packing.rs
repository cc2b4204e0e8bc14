//! Packing: which slot holds what, and convolutions as periodic diagonals.
//!
//! *Cyclic layout.* With `n` slots and `P` positions, a ciphertext holds `C = n / P` channels, slot `p C + c`. A convolution is
//! `y = sum_r w_r (.) rot_r(x)` with `w_r` of the period of `y`, since `source - destination = t C_in + ci - co` does not depend on
//! the position, for stride 2 neither (where `C_out = 2 C_in`).
//!
//! *Channel layout.* One channel a ciphertext, `M = n / P` interleaved lanes: slot `q M + m` is position `q` of lane `m`, which
//! is a picture of a batch. Of an ensemble of `B` networks, lane `i K + j` is picture `i` in network `j`, `K` the power of two from
//! `B` on. The grid keeps its `P` positions through strides: position `p` of a value on `P / d` positions is at `q = d p`, and a
//! tap `t` of a convolution that reads it is a rotation by `d t M`. What is computed at the other `q` is the network on a shifted
//! picture. A weight is one number for all slots (a batch) or one a network (an ensemble): nothing depends on the position or on
//! the picture, no masks here either.
//!
//! *With zero padding* the lanes of the channel layout are blocks: slot `m P + q` is position `q` of lane `m`. What a tap reads
//! beyond the picture, which may be of another lane, is multiplied by 0: a weight becomes a plaintext of period `P`, the weight
//! times the mask of its tap. Rows and columns are both dilated by strides. Lanes are pictures: a weight of its own for each lane
//! would be a plaintext of all slots, so that the members of an ensemble are put side by side first ([`crate::merge`]).

use std::collections::{BTreeMap, BTreeSet};

use crate::CompileError;
use crate::circuit::{Affine, Circuit, Grid, Kernel, Operation, Plane, Value};
use umbra_program::layout::logit_step;
use umbra_program::{InputLayout, Layout};

/// Ciphertexts that a value may take at most, see [`umbra_program::Program::check`].
const MAX_CIPHERTEXTS: usize = umbra_program::MAX_CIPHERTEXTS;

/// The packing for a number of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    slots: usize,
    grid: Grid,
    lanes: Option<Lanes>,
}

/// The lanes of the channel layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lanes {
    /// Slots a position.
    width: usize,
    /// Pictures in them.
    pictures: usize,
    /// Networks that see each picture.
    members: usize,
    /// Whether the server adds the members up.
    averaged: bool,
    /// Whether they are blocks, and weights have masks.
    padded: bool,
}

impl Lanes {
    /// Lanes a picture.
    fn spacing(self) -> usize {
        logit_step(self.members)
    }
}

/// A rotation before it is split into steps: `rows` whole rows of pixels, and the rest. In the channel layout, what taps move by, and
/// by what results are moved to their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rotation {
    /// Rotation by whole rows, in slots, in `(-n/2, n/2]`.
    pub rows: i64,
    /// The rest: between neighbouring pixels and channels.
    pub rest: i64,
}

/// The diagonals of one affine map: by output ciphertext, input ciphertext (over all terms) and rotation.
pub type Diagonals = BTreeMap<(usize, usize, Rotation), Vec<f64>>;

impl Packing {
    /// The cyclic packing of a circuit at `N = 2^log_n`.
    ///
    /// # Errors
    /// [`CompileError::TooLarge`] where a picture has more positions than there are slots, or a value more ciphertexts than a register
    /// may have; [`CompileError::Unsupported`] for zero padding.
    pub fn new(circuit: &Circuit, log_n: u32) -> Result<Self, CompileError> {
        if circuit.is_padded() {
            return Err(CompileError::Unsupported {
                node: "input".into(),
                what: "zero padding (textbook geometry) in the cyclic layout".into(),
                remedy: "use the channel layout, or train the network with cyclic convolutions".into(),
            });
        }
        let packing = Self::of(circuit, log_n)?;
        let most = circuit.values.iter().map(|value| packing.ciphertexts(value)).max().unwrap_or(0);
        if most > MAX_CIPHERTEXTS {
            let what = "ciphertexts of a value";
            return Err(CompileError::TooLarge { what, found: most, limit: MAX_CIPHERTEXTS, log_n });
        }
        Ok(packing)
    }

    fn of(circuit: &Circuit, log_n: u32) -> Result<Self, CompileError> {
        let (slots, positions) = (1usize << (log_n - 1), circuit.grid.positions);
        if positions > slots {
            return Err(CompileError::TooLarge {
                what: "positions of the picture",
                found: positions,
                limit: slots,
                log_n,
            });
        }
        Ok(Self { slots, grid: circuit.grid, lanes: None })
    }

    /// The channel packing of a circuit at `N = 2^log_n`, for a batch of so many pictures (as many as fit where not given), which
    /// all members of an ensemble see. The server adds up the members' logits where they are to be `averaged`.
    ///
    /// # Errors
    /// [`CompileError::TooLarge`] as for [`Self::new`]; [`CompileError::TooWide`] where a value has more channels than a register
    /// may have ciphertexts; [`CompileError::TooManyLanes`].
    pub fn channel(circuit: &Circuit, log_n: u32, batch: Option<usize>, averaged: bool) -> Result<Self, CompileError> {
        let Self { slots, grid, .. } = Self::of(circuit, log_n)?;
        let width = slots / grid.positions;
        let (members, padded) = (circuit.members().len(), circuit.is_padded());
        let pictures = batch.unwrap_or((width / logit_step(members)).max(1));
        let used = pictures.saturating_mul(logit_step(members));
        if used == 0 || used > width {
            return Err(CompileError::TooManyLanes { found: used, limit: width, log_n });
        }
        let lanes = Lanes { width, pictures, members, averaged: members > 1 && averaged, padded };
        let packing = Self { slots, grid, lanes: Some(lanes) };
        if let Some(value) = circuit.values.iter().find(|v| packing.ciphertexts(v) > MAX_CIPHERTEXTS) {
            return Err(CompileError::TooWide {
                node: value.nodes.join(" + "),
                found: value.channels,
                limit: MAX_CIPHERTEXTS,
            });
        }
        Ok(packing)
    }

    /// Whether this is the channel layout.
    #[must_use]
    pub fn is_channel(&self) -> bool {
        self.lanes.is_some()
    }

    /// Whether this is the channel layout with masks for zero padding.
    #[must_use]
    pub fn is_padded(&self) -> bool {
        self.lanes.is_some_and(|l| l.padded)
    }

    /// What readers of the program are to know of it.
    #[must_use]
    pub fn layout(&self) -> Layout {
        match self.lanes {
            None => Layout::Cyclic,
            Some(Lanes { pictures: lanes, padded: true, .. }) => Layout::Padded { lanes, members: 1, averaged: false },
            Some(Lanes { pictures: lanes, members: 1, .. }) => Layout::Batch { lanes },
            Some(Lanes { pictures, members, averaged, .. }) => Layout::Ensemble { pictures, members, averaged },
        }
    }

    /// Distance of neighbouring positions in slots.
    #[must_use]
    pub fn distance(&self, value: &Value) -> usize {
        value.plane.map_or_else(|| self.slots / value.positions, |plane| plane.dilation)
    }

    /// Channels a ciphertext. In the channel layout there is one, but for the logits: they are the same at every position, so
    /// that each position may keep another of them.
    #[must_use]
    pub fn capacity(&self, value: &Value) -> usize {
        match self.lanes {
            None => self.distance(value),
            Some(_) if value.logits && (value.pooled || value.plane.is_some()) => {
                let positions = if value.plane.is_some() { self.grid.positions } else { value.positions };
                value.channels.next_power_of_two().min(positions)
            }
            Some(_) => 1,
        }
    }

    /// Distance in slots of the channels of one ciphertext.
    #[must_use]
    pub fn step(&self, value: &Value) -> usize {
        if self.is_channel() && !self.is_padded() { self.distance(value) } else { 1 }
    }

    /// Period over the slots of the weights that make a value, before masks. Those of the logits keep every slot but theirs at 0.
    #[must_use]
    pub fn period(&self, value: &Value) -> usize {
        match self.lanes {
            None => self.distance(value),
            Some(Lanes { padded: true, .. }) => 1,
            Some(_) if value.logits => self.capacity(value) * self.distance(value),
            Some(lanes) => lanes.spacing(),
        }
    }

    /// Period over the slots of the plaintexts that make a value: of the weights, or of their masks.
    #[must_use]
    pub fn plaintext_period(&self, value: &Value) -> usize {
        if self.is_padded() { self.grid.positions } else { self.period(value) }
    }

    /// The rotations that add up windows, list by list: a sum of a value and its rotations, which takes the place of the value.
    #[must_use]
    pub fn pooling(&self, value: &Value, read: &Value, [rows, columns]: [usize; 2]) -> Vec<Vec<i64>> {
        let along = |count: usize, distance: usize| -> Vec<Vec<i64>> {
            let by = |i: usize| self.canonical((i * distance) as i64);
            if count.is_power_of_two() {
                (0..count.ilog2()).map(|k| vec![by(1 << k)]).collect()
            } else {
                vec![(1..count).map(by).collect()]
            }
        };
        // On the ring the sum has the positions of what it reads, and windows are single rows.
        let distance = self.distance(if self.is_padded() { read } else { value });
        let mut all = along(columns, distance);
        all.extend(along(rows, distance * self.grid.pitch));
        all
    }

    /// Transforms of a limb that making the weights of so many diagonals takes, for each limb: with masks, weights are too many
    /// to be kept.
    #[must_use]
    pub fn encoding(&self, diagonals: usize) -> f64 {
        // A weight's own transform is short; what is done beside it takes about as long.
        let short = 2.0 * self.grid.positions as f64;
        let whole = 2.0 * self.slots as f64;
        let masked = self.is_padded() && self.grid.positions > 1;
        if masked { 2.0 * diagonals as f64 * (short * short.log2()) / (whole * whole.log2()) } else { 0.0 }
    }

    /// Number of ciphertexts.
    #[must_use]
    pub fn ciphertexts(&self, value: &Value) -> usize {
        value.channels.div_ceil(self.capacity(value))
    }

    /// One period of plaintext for each ciphertext of a value, with a number for each channel; those of one member of an
    /// ensemble, whose lane it is, or those of all lanes.
    #[must_use]
    pub fn spread(&self, value: &Value, member: usize, numbers: &[f64]) -> Vec<Vec<f64>> {
        let mut out = vec![vec![0.0; self.period(value)]; self.ciphertexts(value)];
        let capacity = self.capacity(value);
        for (c, number) in numbers.iter().enumerate().take(value.channels) {
            self.put(value, member, c, |slot| out[c / capacity][slot] += number);
        }
        out
    }

    /// One period of the biases for each ciphertext of a value: of those of its masks where it has any.
    #[must_use]
    pub fn bias(&self, value: &Value, affine: &Affine, masked: bool) -> Vec<Vec<f64>> {
        let Some(plane) = value.plane.filter(|_| masked) else { return self.spread(value, 0, &affine.bias) };
        let capacity = self.capacity(value);
        let mut out = vec![vec![0.0; self.grid.positions]; self.ciphertexts(value)];
        let own = self.grid.mask(&plane, &plane, 0);
        for (c, number) in affine.bias.iter().enumerate() {
            let out = &mut out[c / capacity];
            let at = |q: usize| number + affine.border.as_ref().map_or(0.0, |border| border[c][q]);
            if value.logits {
                out[c % capacity] = at(0);
                continue;
            }
            for (q, out) in out.iter_mut().enumerate().filter(|(q, _)| own[*q]) {
                *out = at(q);
            }
        }
        out
    }

    /// The masks that the diagonals of a value are multiplied by, and which of them each diagonal has; none at all where no
    /// diagonal has one.
    #[must_use]
    pub fn masks(&self, circuit: &Circuit, value: &Value, diagonals: &Diagonals) -> (Vec<Vec<bool>>, Vec<Option<u16>>) {
        let (Some(own), true) = (value.plane, self.is_padded()) else { return Default::default() };
        let Operation::Affine(affine) = &value.operation else { return Default::default() };
        // The plane of each ciphertext read.
        let read: Vec<Option<Plane>> = sources(affine)
            .into_iter()
            .flat_map(|s| std::iter::repeat_n(circuit.values[s].plane, self.ciphertexts(&circuit.values[s])))
            .collect();
        let mut known: BTreeMap<(Plane, Rotation), Option<u16>> = BTreeMap::new();
        let mut masks: Vec<Vec<bool>> = Vec::new();
        let of = diagonals.keys().map(|(_, input, rotation)| {
            let plane = read.get(*input).copied().flatten()?;
            *known.entry((plane, *rotation)).or_insert_with(|| {
                let mask = if value.logits {
                    (0..self.grid.positions).map(|q| q as i64 == -rotation.rest).collect()
                } else {
                    self.grid.mask(&own, &plane, rotation.rows / plane.dilation as i64)
                };
                if mask.iter().all(|m| *m) {
                    return None;
                }
                let index = masks.iter().position(|m| *m == mask).unwrap_or_else(|| {
                    masks.push(mask);
                    masks.len() - 1
                });
                u16::try_from(index).ok()
            })
        });
        let of: Vec<Option<u16>> = of.collect();
        // A bias that is not the same everywhere takes a period of masks as well.
        if masks.is_empty() && affine.border.is_some() {
            masks.push(vec![true; self.grid.positions]);
        }
        (masks, of)
    }

    /// Visits the slots of a period that belong to a channel.
    pub(crate) fn put(&self, value: &Value, member: usize, channel: usize, mut visit: impl FnMut(usize)) {
        let first = channel % self.capacity(value) * self.step(value);
        match self.lanes {
            None | Some(Lanes { padded: true, .. }) => visit(first),
            Some(lanes) => {
                let pictures = if value.logits { lanes.pictures } else { 1 };
                let lane = if self.averages(value) { 0 } else { member };
                (0..pictures).for_each(|picture| visit(first + picture * lanes.spacing() + lane));
            }
        }
    }

    /// Whether a value is the logits that the members of an ensemble make together: in the first lane of each picture, where the others'
    /// parts are rotated to.
    #[must_use]
    pub fn averages(&self, value: &Value) -> bool {
        value.logits && self.lanes.is_some_and(|l| l.averaged)
    }

    /// Whether a rounded weight of a value is one of a member of an ensemble.
    #[must_use]
    pub fn belongs(&self, value: &Value, member: usize, rotation: &Rotation) -> bool {
        !self.averages(value) || rotation.rest == member as i64
    }

    /// The same rotation in `(-n/2, n/2]`.
    #[must_use]
    pub fn canonical(&self, rotation: i64) -> i64 {
        let n = self.slots as i64;
        let r = rotation.rem_euclid(n);
        if r > n / 2 { r - n } else { r }
    }

    /// The diagonals of a value that is affine, `None` where it is not: of all members of an ensemble. Input ciphertexts are counted over the distinct sources in order.
    #[must_use]
    pub fn diagonals(&self, circuit: &Circuit, value: &Value, affine: &Affine) -> Diagonals {
        self.diagonals_of(&[(circuit, value, affine)])
    }

    /// The diagonals of one affine value of every member of an ensemble.
    #[must_use]
    pub fn diagonals_of(&self, members: &[(&Circuit, &Value, &Affine)]) -> Diagonals {
        let mut out = Diagonals::new();
        let mut known = BTreeMap::new();
        for (member, (circuit, value, affine)) in members.iter().enumerate() {
            let mut builder = Builder { packing: self, value, member, known, seen: BTreeMap::new(), out };
            let mut first = 0;
            for source in sources(affine) {
                let read = &circuit.values[source];
                for term in affine.terms.iter().filter(|t| t.source == source) {
                    builder.add(first, read, &term.kernel);
                }
                first += self.ciphertexts(read);
            }
            Builder { known, out, .. } = builder;
        }
        out
    }

    /// The layout of the picture.
    #[must_use]
    pub fn input(&self, value: &Value, channels: &[(usize, i64)], level: usize, scale: f64) -> InputLayout {
        let capacity = self.capacity(value);
        let ciphertexts = channels.chunks(capacity).map(|chunk| {
            let filled = chunk.iter().copied().map(Some);
            filled.chain(std::iter::repeat(None)).take(capacity).collect()
        });
        InputLayout {
            register: 0,
            positions: self.grid.positions,
            pitch: self.grid.pitch,
            ciphertexts: ciphertexts.collect(),
            level,
            scale,
        }
    }
}

/// The distinct values an affine map reads, in order of first use.
#[must_use]
pub fn sources(affine: &Affine) -> Vec<usize> {
    let mut seen = BTreeSet::new();
    affine.terms.iter().map(|t| t.source).filter(|s| seen.insert(*s)).collect()
}

struct Builder<'a> {
    packing: &'a Packing,
    value: &'a Value,
    /// Member of an ensemble.
    member: usize,
    /// How rotations have been split: equal ones are split alike, however they came about.
    known: BTreeMap<i64, Rotation>,
    /// Which taps read anything.
    seen: BTreeMap<(Plane, i64), bool>,
    out: Diagonals,
}

impl Builder<'_> {
    fn add(&mut self, first: usize, read: &Value, kernel: &Kernel) {
        match kernel {
            Kernel::Diagonal(factors) => {
                for (c, &factor) in factors.iter().enumerate() {
                    self.weight(first, (c, c), 0, read, factor);
                }
            }
            Kernel::Dense { taps, inputs, weights, .. } => {
                let mut weights = weights.iter();
                for co in 0..weights.len() / (taps.len() * inputs) {
                    for ci in 0..*inputs {
                        for (&tap, &weight) in taps.iter().zip(weights.by_ref()) {
                            self.weight(first, (co, ci), tap, read, weight);
                        }
                    }
                }
            }
        }
    }

    /// Whether a tap reads anything but padding.
    fn reads(&mut self, own: &Plane, read: &Plane, tap: i64) -> bool {
        let grid = self.packing.grid;
        *self.seen.entry((*read, tap)).or_insert_with(|| grid.mask(own, read, tap).contains(&true))
    }

    fn weight(&mut self, first: usize, (co, ci): (usize, usize), tap: i64, read: &Value, weight: f64) {
        if weight == 0.0 {
            return;
        }
        let packing = self.packing;
        let (c_in, c_out) = (packing.distance(read), packing.capacity(self.value));
        let input = first + ci / packing.capacity(read);
        if let (Some(own), Some(plane)) = (self.value.plane, read.plane) {
            // Nothing is read where a tap meets padding only.
            if self.value.logits || self.reads(&own, &plane, tap) {
                let rest = if self.value.logits { -((co % c_out) as i64) } else { 0 };
                let rotation = Rotation { rows: tap * plane.dilation as i64, rest };
                self.out.entry((co / c_out, input, rotation)).or_insert_with(|| vec![0.0])[0] += weight;
            }
            return;
        }
        let pitch = packing.grid.pitch as i64;
        let step = (ci % c_in) as i64 - (co % c_out) as i64;
        let (rows, rest) = if packing.is_channel() {
            let taps = if read.pooled { 0 } else { packing.canonical(tap * c_in as i64) };
            (taps, if packing.averages(self.value) { self.member as i64 } else { 0 })
        } else if read.pooled {
            // The same at every position: neighbours need not be told apart.
            (0, step.rem_euclid(c_in as i64))
        } else {
            let row = (tap + pitch / 2).div_euclid(pitch);
            (packing.canonical(row * pitch * c_in as i64), (tap - row * pitch) * c_in as i64 + step)
        };
        let rotation = *self.known.entry(packing.canonical(rows + rest)).or_insert(Rotation { rows, rest });
        let period = packing.period(self.value);
        let values = self.out.entry((co / c_out, input, rotation)).or_insert_with(|| vec![0.0; period]);
        packing.put(self.value, self.member, co, |slot| values[slot] += weight);
    }
}

/// Input expansion: the client fills unused channel slots with shifted copies of the picture, so that the first convolutions
/// rotate less. Channel `(colour, e)` holds the colour's plane moved by `e`; a tap `t` becomes `t - e` on it.
///
/// Shifts along the columns of the widest kernel that reads the picture are used, where they fit into the ciphertexts the
/// picture needs anyway; returns the shifts.
pub fn expand_input(circuit: &mut Circuit, packing: &Packing) -> Vec<i64> {
    let Some(input) = circuit.values.iter().position(|v| matches!(v.operation, Operation::Input(_))) else {
        return vec![0];
    };
    let grid = circuit.grid;
    let column = |tap: i64| grid.split(tap).1;
    let mut shifts = BTreeSet::from([0]);
    for value in &circuit.values {
        match &value.operation {
            Operation::Affine(affine) => {
                for term in affine.terms.iter().filter(|t| t.source == input) {
                    if let Kernel::Dense { taps, .. } = &term.kernel {
                        shifts.extend(taps.iter().map(|&t| column(t)));
                    }
                }
            }
            // Its readers count on the channels that there are.
            operation if operation.sources().contains(&input) => return vec![0],
            _ => {}
        }
    }
    let value = &circuit.values[input];
    let capacity = packing.ciphertexts(value) * packing.capacity(value);
    if shifts.len() == 1 || value.channels * shifts.len() > capacity {
        return vec![0];
    }
    // 0 first: diagonal terms read the unmoved planes.
    let mut shifts: Vec<i64> = shifts.into_iter().collect();
    shifts.sort_by_key(|s| (*s != 0, *s));
    let colours = value.channels;
    for value in &mut circuit.values {
        let Operation::Affine(affine) = &mut value.operation else { continue };
        for term in affine.terms.iter_mut().filter(|t| t.source == input) {
            expand_kernel(&mut term.kernel, colours, &shifts, column);
        }
    }
    let value = &mut circuit.values[input];
    value.channels = colours * shifts.len();
    value.operation = Operation::Input(shifts.iter().flat_map(|&e| (0..colours).map(move |c| (c, e))).collect());
    shifts
}

fn expand_kernel(kernel: &mut Kernel, colours: usize, shifts: &[i64], column: impl Fn(i64) -> i64) {
    match kernel {
        Kernel::Diagonal(factors) => {
            // A map from more channels than it has outputs is no diagonal any more.
            let outputs = factors.len();
            let inputs = colours * shifts.len();
            let mut weights = vec![0.0; outputs * inputs];
            factors.iter().enumerate().for_each(|(c, f)| weights[c * inputs + c] = *f);
            *kernel = Kernel::Dense { stride: 1, taps: vec![0], inputs, weights };
        }
        Kernel::Dense { taps, inputs, weights, .. } => {
            let rows: Vec<i64> = taps.iter().map(|&t| t - column(t)).collect::<BTreeSet<_>>().into_iter().collect();
            let outputs = weights.len() / (taps.len() * *inputs);
            let (wide, height) = (colours * shifts.len(), rows.len());
            let mut expanded = vec![0.0; outputs * wide * height];
            for (i, &weight) in weights.iter().enumerate() {
                let (tap, ci, co) = (taps[i % taps.len()], i / taps.len() % *inputs, i / (taps.len() * *inputs));
                let shift = shifts.iter().position(|&e| e == column(tap));
                let row = rows.iter().position(|&r| r == tap - column(tap));
                if let (Some(shift), Some(row)) = (shift, row) {
                    expanded[(co * wide + shift * colours + ci) * height + row] += weight;
                }
            }
            (*taps, *inputs, *weights) = (rows, wide, expanded);
        }
    }
}
