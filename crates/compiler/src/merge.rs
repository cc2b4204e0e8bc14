//! Ensembles in the multiplexed packing, and of networks with zero padding: networks side by side are one network whose
//! channels are theirs, one network's after the other's.
//!
//! Kernels have blocks on their diagonal, so that what a network takes stays as it is: it shares ciphertexts with
//! others where these have room, and has ciphertexts of its own where they have not.

use umbra_program::layout::logit_step;

use crate::circuit::{Affine, Circuit, Kernel, Operation, Term, Value};

/// The members as one circuit: with the sums of their logits where these are averaged, otherwise with logit `c` of
/// member `m` as channel `c step + m`, see [`logit_step`].
///
/// Members are what the passes leave: inputs, affine maps, squares and sums.
#[must_use]
pub fn side_by_side(circuit: &Circuit, averaged: bool) -> Circuit {
    let members: Vec<&Circuit> = circuit.members().collect();
    let mut merged = Circuit { values: Vec::new(), others: Vec::new(), ..*circuit };
    // The image is one for all, and so is what is made of it before the first weights.
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

/// The kernels of all members as one with `outputs` rows. `inputs` are the channels that all of them read, those that
/// each reads, and whether these are the same ones.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circuit::Plane;
    use crate::testing::{TAPS, affine, circuit, dense, diagonal, image, input, logits, plane, random, ring};

    /// Three members: the image squared; a convolution of it and the square; a mean; two logits.
    fn members(padded: bool) -> Circuit {
        let member = |seed: u64| {
            let value = |channels, operation| match padded {
                true => plane(channels, [2, 2], 1, operation),
                false => ring(channels, 8, operation),
            };
            let pooled = |channels, operation| Value {
                pooled: !padded,
                plane: padded.then_some(Plane { height: 1, width: 1, dilation: 2 }),
                positions: if padded { 1 } else { 8 },
                ..ring(channels, 8, operation)
            };
            let window = if padded { [2, 2] } else { [1, 8] };
            let mut circuit = circuit(
                4,
                8,
                vec![
                    value(2, input(2)),
                    value(2, Operation::Square(0)),
                    value(
                        2,
                        affine(
                            vec![dense(0, 1, &TAPS, 2, random(36, seed)), diagonal(1, &random(2, seed + 1))],
                            &random(2, seed + 2),
                        ),
                    ),
                    value(2, Operation::Square(2)),
                    pooled(2, Operation::Sum(3, window)),
                    pooled(2, affine(vec![dense(4, 1, &[0], 2, random(4, seed + 3))], &random(2, seed + 4))),
                ],
            );
            if padded {
                let Operation::Affine(affine) = &mut circuit.values[2].operation else { panic!() };
                affine.border = Some(vec![random(8, seed + 5), random(8, seed + 6)]);
            }
            circuit
        };
        let mut circuit = member(10);
        circuit.others = vec![member(20), member(30)];
        circuit
    }

    #[test]
    fn networks_side_by_side_are_the_networks() {
        for padded in [false, true] {
            let before = members(padded);
            let apart = side_by_side(&before, false);
            let averaged = side_by_side(&before, true);
            for seed in 0..3 {
                let image = image(&before, seed);
                let each: Vec<Vec<f64>> = before.members().map(|member| logits(member, &image)).collect();
                // Logit c of member m is channel 4 c + m; nothing is in the fourth.
                let found = logits(&apart, &image);
                assert_eq!(found.len(), 8);
                for (i, found) in found.iter().enumerate() {
                    let expected = each.get(i % 4).map_or(0.0, |logits| logits[i / 4]);
                    assert!((found - expected).abs() < 1e-12, "padded: {padded}, {i}: {found} {expected}");
                }
                for (c, found) in logits(&averaged, &image).iter().enumerate() {
                    let expected: f64 = each.iter().map(|logits| logits[c]).sum();
                    assert!((found - expected).abs() < 1e-12, "padded: {padded}, {c}: {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn what_is_made_of_the_image_without_weights_is_shared() {
        let merged = side_by_side(&members(false), false);
        let channels: Vec<usize> = merged.values.iter().map(|value| value.channels).collect();
        assert_eq!(channels, [2, 2, 6, 6, 6, 8]);
        // Three times 36 weights of the image, two factors of its square: these read the same channels.
        let convolution = "affine(%0 by 9 taps -5 -4 -3 -1 0 1 3 4 5, 108 weights; %1 by 1 tap 0, 6 weights)";
        assert!(merged.to_string().contains(convolution), "{merged}");
    }
}
