//! Ensembles in the cyclic layout, and of networks with zero padding: networks side by side are one network whose channels are theirs,
//! one network's after the other's.
//!
//! Kernels have blocks on their diagonal, so that what a network takes stays as it is: it shares ciphertexts with others where these
//! have room, and has ciphertexts of its own where they have not.

use umbra_program::layout::logit_step;

use crate::circuit::{Affine, Circuit, Kernel, Operation, Term, Value};

/// The members as one circuit: with the sums of their logits where these are averaged, otherwise with logit `c` of member `m` as channel
/// `c step + m`, see [`logit_step`].
///
/// Members are what the passes leave: inputs, affine maps, squares and sums.
#[must_use]
pub fn side_by_side(circuit: &Circuit, averaged: bool) -> Circuit {
    let members: Vec<&Circuit> = circuit.members().collect();
    let mut merged = Circuit { values: Vec::new(), others: Vec::new(), ..*circuit };
    // The picture is one for all, and so is what is made of it before the first weights.
    let mut shared: Vec<bool> = Vec::new();
    for (id, value) in circuit.values.iter().enumerate() {
        let affine = |member: &&Circuit| match &member.values[id].operation {
            Operation::Affine(affine) => Some(affine.clone()),
            _ => None,
        };
        let own: Vec<Affine> = members.iter().filter_map(affine).collect();
        let one = own.is_empty() && value.operation.sources().iter().all(|&s| shared[s]);
        let (channels, place) = Place::of(value, members.len(), id == circuit.output, averaged);
        let mut value = Value { channels: if one { value.channels } else { channels }, ..value.clone() };
        if !own.is_empty() {
            let terms = (0..own[0].terms.len()).map(|term| {
                let source = own[0].terms[term].source;
                let inputs = (merged.values[source].channels, circuit.values[source].channels, shared[source]);
                let kernels = own.iter().map(|affine| &affine.terms[term].kernel);
                Term { source, kernel: blocks(kernels, inputs, channels, place) }
            });
            let mut bias = vec![0.0; channels];
            let positions = own.iter().find_map(|affine| affine.border.as_ref()?.first()).map(Vec::len);
            let mut border = positions.map(|positions| vec![vec![0.0; positions]; channels]);
            for (member, affine) in own.iter().enumerate() {
                affine.bias.iter().enumerate().for_each(|(c, b)| bias[place.at(member, c)] += b);
                for (c, plane) in affine.border.iter().flatten().enumerate() {
                    let to = border.iter_mut().flat_map(|border| border[place.at(member, c)].iter_mut());
                    to.zip(plane).for_each(|(to, b)| *to += b);
                }
            }
            value.operation = Operation::Affine(Affine { border, ..Affine::new(terms.collect(), bias) });
        }
        merged.values.push(value);
        shared.push(one);
    }
    merged
}

/// Where the channels of a member go.
#[derive(Clone, Copy)]
struct Place {
    /// Distance of a member's channels.
    step: usize,
    /// Distance of the same channel of the next member.
    next: usize,
}

impl Place {
    /// The number of channels of all members, and where they are.
    fn of(value: &Value, members: usize, output: bool, averaged: bool) -> (usize, Self) {
        let channels = value.channels;
        match (output, averaged) {
            (true, true) => (channels, Self { step: 1, next: 0 }),
            (true, false) => (channels * logit_step(members), Self { step: logit_step(members), next: 1 }),
            (false, _) => (channels * members, Self { step: 1, next: channels }),
        }
    }

    fn at(self, member: usize, channel: usize) -> usize {
        member * self.next + channel * self.step
    }
}

/// The kernels of all members as one with `outputs` rows. `inputs` are the channels that all of them read, those that each reads, and
/// whether these are the same ones.
fn blocks<'a>(
    kernels: impl Iterator<Item = &'a Kernel>,
    (inputs, each, shared): (usize, usize, bool),
    outputs: usize,
    place: Place,
) -> Kernel {
    let mut merged = Kernel::Dense { stride: 1, taps: vec![0], inputs, weights: Vec::new() };
    let mut diagonal = vec![0.0; outputs];
    let mut dense = shared || place.step != 1 || place.next == 0;
    for (member, kernel) in kernels.enumerate() {
        let first = if shared { 0 } else { member * each };
        if member == 0 {
            let taps = if let Kernel::Dense { taps, .. } = kernel { taps.clone() } else { vec![0] };
            dense |= matches!(kernel, Kernel::Dense { .. });
            let weights = if dense { vec![0.0; outputs * inputs * taps.len()] } else { Vec::new() };
            merged = Kernel::Dense { stride: kernel.stride(), taps, inputs, weights };
        }
        let Kernel::Dense { taps, weights, .. } = &mut merged else { continue };
        match kernel {
            Kernel::Diagonal(factors) if !dense => {
                factors.iter().enumerate().for_each(|(c, f)| diagonal[place.at(member, c)] = *f);
            }
            Kernel::Diagonal(factors) => {
                let rows = factors.iter().enumerate();
                rows.for_each(|(c, f)| weights[place.at(member, c) * inputs + first + c] += f);
            }
            Kernel::Dense { weights: own, .. } => {
                for (i, w) in own.chunks_exact(taps.len()).enumerate() {
                    let (row, column) = (place.at(member, i / each), first + i % each);
                    let to = &mut weights[(row * inputs + column) * taps.len()..][..taps.len()];
                    to.iter_mut().zip(w).for_each(|(to, w)| *to += w);
                }
            }
        }
    }
    if dense { merged } else { Kernel::Diagonal(diagonal) }
}
