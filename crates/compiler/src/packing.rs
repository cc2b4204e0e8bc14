//! Cyclic packing: which slot holds what, and convolutions as periodic diagonals.
//!
//! With `n` slots and `P` positions, a ciphertext holds `C = n / P` channels, slot `p C + c`. A convolution is
//! `y = sum_r w_r (.) rot_r(x)` with `w_r` of the period of `y`, since `source - destination = t C_in + ci - co` does not depend on
//! the position, for stride 2 neither (where `C_out = 2 C_in`).

use std::collections::{BTreeMap, BTreeSet};

use crate::circuit::{Affine, Circuit, Kernel, Operation, Value};
use crate::{CompileError, InputLayout};

/// The packing for a number of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    slots: usize,
    pitch: usize,
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
    /// The packing of a circuit at `N = 2^log_n`.
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
        Ok(Self { slots, pitch: circuit.pitch })
    }

    /// Channels a ciphertext: the distance of positions in slots.
    #[must_use]
    pub fn period(&self, value: &Value) -> usize {
        self.slots / value.positions
    }

    /// Number of ciphertexts.
    #[must_use]
    pub fn ciphertexts(&self, value: &Value) -> usize {
        value.channels.div_ceil(self.period(value))
    }

    /// The same rotation in `(-n/2, n/2]`.
    #[must_use]
    pub fn canonical(&self, rotation: i64) -> i64 {
        let n = self.slots as i64;
        let r = rotation.rem_euclid(n);
        if r > n / 2 { r - n } else { r }
    }

    /// The diagonals of `value = affine`. Input ciphertexts are counted over the distinct sources in order.
    #[must_use]
    pub fn diagonals(&self, circuit: &Circuit, value: &Value, affine: &Affine) -> Diagonals {
        let mut builder =
            Builder { packing: self, period: self.period(value), known: BTreeMap::new(), out: Diagonals::new() };
        let mut first = 0;
        for source in sources(affine) {
            let read = &circuit.values[source];
            for term in affine.terms.iter().filter(|t| t.source == source) {
                builder.add(first, read, &term.kernel);
            }
            first += self.ciphertexts(read);
        }
        builder.out
    }

    /// The layout of the picture.
    #[must_use]
    pub fn input(&self, value: &Value, channels: &[(usize, i64)], level: usize, scale: f64) -> InputLayout {
        let period = self.period(value);
        let ciphertexts = channels.chunks(period).map(|chunk| {
            let filled = chunk.iter().copied().map(Some);
            filled.chain(std::iter::repeat(None)).take(period).collect()
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
    period: usize,
    /// How rotations have been split: equal ones are split alike, however they came about.
    known: BTreeMap<i64, Rotation>,
    out: Diagonals,
}

impl Builder<'_> {
    fn add(&mut self, first: usize, read: &Value, kernel: &Kernel) {
        let period_in = self.packing.period(read);
        match kernel {
            Kernel::Diagonal(factors) => {
                for (c, &factor) in factors.iter().enumerate() {
                    self.weight(first, (c, c), (0, period_in), read.pooled, factor);
                }
            }
            Kernel::Dense { taps, inputs, weights, .. } => {
                let mut weights = weights.iter();
                for co in 0..weights.len() / (taps.len() * inputs) {
                    for ci in 0..*inputs {
                        for (&tap, &weight) in taps.iter().zip(weights.by_ref()) {
                            self.weight(first, (co, ci), (tap, period_in), read.pooled, weight);
                        }
                    }
                }
            }
        }
    }

    fn weight(&mut self, first: usize, (co, ci): (usize, usize), (tap, c_in): (i64, usize), pooled: bool, weight: f64) {
        if weight == 0.0 {
            return;
        }
        let (packing, c_out) = (self.packing, self.period);
        let pitch = packing.pitch as i64;
        let step = (ci % c_in) as i64 - (co % c_out) as i64;
        let (rows, rest) = if pooled {
            // The same at every position: neighbours need not be told apart.
            (0, step.rem_euclid(c_in as i64))
        } else {
            let row = (tap + pitch / 2).div_euclid(pitch);
            (packing.canonical(row * pitch * c_in as i64), (tap - row * pitch) * c_in as i64 + step)
        };
        let rotation = *self.known.entry(packing.canonical(rows + rest)).or_insert(Rotation { rows, rest });
        let values = self.out.entry((co / c_out, first + ci / c_in, rotation)).or_insert_with(|| vec![0.0; c_out]);
        values[co % c_out] += weight;
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
    let capacity = packing.ciphertexts(value) * packing.period(value);
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
