//! Packing: which slot holds what, and convolutions as periodic diagonals.
//!
//! *Cyclic layout.* With `n` slots and `P` positions, a ciphertext holds `C = n / P` channels, slot `p C + c`. A convolution is
//! `y = sum_r w_r (.) rot_r(x)` with `w_r` of the period of `y`, since `source - destination = t C_in + ci - co` does not depend on
//! the position, for stride 2 neither (where `C_out = 2 C_in`).
//!
//! *Channel layout.* One channel a ciphertext, `M = n / P` interleaved lanes: slot `q M + m` is position `q` of lane `m`, which
//! is a picture of a batch or a member of an ensemble. The grid keeps its `P` positions through strides: position `p` of a value
//! on `P / d` positions is at `q = d p`, and a tap `t` of a convolution that reads it is a rotation by `d t M`. What is computed
//! at the other `q` is the network on a shifted picture. A weight is one number for all slots (a batch) or one a lane (an
//! ensemble): nothing depends on the position, no masks here either.

use std::collections::{BTreeMap, BTreeSet};

use crate::circuit::{Affine, Circuit, Kernel, Operation, Value};
use crate::{CompileError, InputLayout, Layout};

/// Ciphertexts that a value may take at most, see [`crate::Program::check`].
const MAX_CIPHERTEXTS: usize = crate::check::MAX_CIPHERTEXTS;

/// The packing for a number of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    slots: usize,
    pitch: usize,
    lanes: Option<Lanes>,
}

/// The lanes of the channel layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lanes {
    /// Slots a position.
    width: usize,
    /// How many of them are in use.
    used: usize,
    /// Whether each has weights of its own.
    members: bool,
    /// Whether the server adds the members up.
    averaged: bool,
}

/// A rotation before it is split into steps: `rows` whole rows of pixels, and the rest.
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
    /// [`CompileError::TooLarge`] where a picture has more positions than there are slots.
    pub fn new(circuit: &Circuit, log_n: u32) -> Result<Self, CompileError> {
        let slots = 1usize << (log_n - 1);
        let positions = circuit.values.iter().map(|v| v.positions).max().unwrap_or(1);
        if positions > slots {
            return Err(CompileError::TooLarge {
                what: "positions of the picture",
                found: positions,
                limit: slots,
                log_n,
            });
        }
        Ok(Self { slots, pitch: circuit.pitch, lanes: None })
    }

    /// The channel packing of a circuit at `N = 2^log_n`, for a batch of so many pictures (as many as fit where not given); an
    /// ensemble's lanes are its members, whose logits the server adds up where they are to be `averaged`.
    ///
    /// # Errors
    /// [`CompileError::TooLarge`] as for [`Self::new`], and where a value has more channels than a register may have
    /// ciphertexts; [`CompileError::TooManyLanes`].
    pub fn channel(circuit: &Circuit, log_n: u32, batch: Option<usize>, averaged: bool) -> Result<Self, CompileError> {
        let Self { slots, pitch, .. } = Self::new(circuit, log_n)?;
        let width = slots / circuit.values.iter().map(|v| v.positions).max().unwrap_or(1);
        let members = !circuit.others.is_empty();
        let used = if members { circuit.members().len() } else { batch.unwrap_or(width) };
        if used == 0 || used > width {
            return Err(CompileError::TooManyLanes { found: used, limit: width, log_n });
        }
        let packing = Self { slots, pitch, lanes: Some(Lanes { width, used, members, averaged: members && averaged }) };
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

    /// What readers of the program are to know of it.
    #[must_use]
    pub fn layout(&self) -> Layout {
        match self.lanes {
            None => Layout::Cyclic,
            Some(Lanes { used: lanes, members: false, .. }) => Layout::Batch { lanes },
            Some(Lanes { used: lanes, averaged, .. }) => Layout::Ensemble { lanes, averaged },
        }
    }

    /// Distance of neighbouring positions in slots.
    #[must_use]
    pub fn distance(&self, value: &Value) -> usize {
        self.slots / value.positions
    }

    /// Channels a ciphertext. In the channel layout there is one, but for the logits: they are the same at every position, so
    /// that each position may keep another of them.
    #[must_use]
    pub fn capacity(&self, value: &Value) -> usize {
        match self.lanes {
            None => self.distance(value),
            Some(Lanes { averaged: false, .. }) if value.logits && value.pooled => {
                value.channels.next_power_of_two().min(value.positions)
            }
            Some(_) => 1,
        }
    }

    /// Distance in slots of the channels of one ciphertext.
    #[must_use]
    pub fn step(&self, value: &Value) -> usize {
        if self.is_channel() { self.distance(value) } else { 1 }
    }

    /// Period over the slots of the plaintexts that make a value. Those of the logits keep every slot but theirs at 0.
    #[must_use]
    pub fn period(&self, value: &Value) -> usize {
        match self.lanes {
            None => self.distance(value),
            Some(_) if value.logits => self.capacity(value) * self.distance(value),
            Some(Lanes { width, members: true, .. }) => width,
            Some(_) => 1,
        }
    }

    /// The rotations by which the server adds up the members' logits, one after the other; none where it does not.
    ///
    /// They go over a whole period, in which every slot but the members' is 0: so all slots hold the sum in the end, and none a
    /// part of it.
    #[must_use]
    pub fn averaging(&self, value: &Value) -> Vec<i64> {
        if !value.logits || !self.lanes.is_some_and(|l| l.averaged) {
            return Vec::new();
        }
        let period = self.period(value);
        std::iter::successors(Some(1), |r| Some(2 * r))
            .take_while(|r| *r < period)
            .map(|r| self.canonical(r as i64))
            .collect()
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

    /// Visits the slots of a period that belong to a channel.
    pub(crate) fn put(&self, value: &Value, member: usize, channel: usize, mut visit: impl FnMut(usize)) {
        let first = channel % self.capacity(value) * self.step(value);
        match self.lanes {
            Some(Lanes { members: true, .. }) => visit(first + member),
            Some(Lanes { used, .. }) if value.logits => (first..first + used).for_each(visit),
            _ => visit(first),
        }
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
            let mut builder = Builder { packing: self, value, member, known, out };
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
            positions: value.positions,
            pitch: self.pitch,
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

    fn weight(&mut self, first: usize, (co, ci): (usize, usize), tap: i64, read: &Value, weight: f64) {
        if weight == 0.0 {
            return;
        }
        let packing = self.packing;
        let (c_in, c_out) = (packing.distance(read), packing.capacity(self.value));
        let pitch = packing.pitch as i64;
        let step = (ci % c_in) as i64 - (co % c_out) as i64;
        let (rows, rest) = if packing.is_channel() {
            (0, if read.pooled { 0 } else { packing.canonical(tap * c_in as i64) })
        } else if read.pooled {
            // The same at every position: neighbours need not be told apart.
            (0, step.rem_euclid(c_in as i64))
        } else {
            let row = (tap + pitch / 2).div_euclid(pitch);
            (packing.canonical(row * pitch * c_in as i64), (tap - row * pitch) * c_in as i64 + step)
        };
        let rotation = *self.known.entry(packing.canonical(rows + rest)).or_insert(Rotation { rows, rest });
        let period = packing.period(self.value);
        let input = first + ci / packing.capacity(read);
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
    let pitch = circuit.pitch as i64;
    let column = |tap: i64| tap - (tap + pitch / 2).div_euclid(pitch) * pitch;
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
