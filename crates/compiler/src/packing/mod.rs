//! Packing: which slot holds what, and convolutions as periodic diagonals.
//!
//! There are three packings, each in a file that answers all questions ([`Packing`]) about it: [`multiplexed`],
//! [`channel`] and [`padded`]. A new one is a file here and a line in [`Kind`].

pub mod channel;
mod diagonals;
mod expand;
mod kind;
pub mod multiplexed;
pub mod padded;
mod questions;
mod wanted;

pub use channel::Channel;
pub use diagonals::{diagonals, each_product};
pub use expand::expand_input;
pub use kind::Kind;
pub use multiplexed::Multiplexed;
pub use padded::Padded;
pub use questions::{Diagonals, Masks, Memo, Packing, Product, Reading, Rotation, Tilings, Weight, operands, sources};
pub use wanted::Wanted;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::circuit::{Circuit, Kernel, Operation, Plane, Value};
    use crate::options::PackingChoice;
    use crate::testing::{Planes, TAPS, affine, apply, circuit, dense, evaluate, image, input, plane, random, ring};

    /// The slot of a position of a channel's ciphertext, as the documents have it, and the ciphertext.
    type Slot = fn(&dyn Packing, &Value, channel: usize, position: usize) -> (usize, usize);

    /// Position `p` of channel `c` is in slot `p C + c % C` of ciphertext `c / C`.
    fn multiplexed_slot(packing: &dyn Packing, value: &Value, channel: usize, position: usize) -> (usize, usize) {
        let capacity = packing.slots() / value.positions;
        (channel / capacity, position * capacity + channel % capacity)
    }

    /// Position `p` of a value on `P / d` positions is at `q = d p`, slot `q M` in the first batch slot.
    fn channel_slot(packing: &dyn Packing, value: &Value, channel: usize, position: usize) -> (usize, usize) {
        (channel, position * packing.slots() / value.positions)
    }

    /// Pixel `(r, c)` is at `(d r, d c)` on the grid, in the first batch slot.
    fn padded_slot(packing: &dyn Packing, value: &Value, channel: usize, position: usize) -> (usize, usize) {
        let Plane { width, dilation, .. } = value.plane.unwrap();
        (channel, dilation * (position / width * packing.grid().pitch + position % width))
    }

    /// Slots of a value, 0 elsewhere.
    fn pack(packing: &dyn Packing, value: &Value, planes: &Planes, slot: Slot) -> Vec<Vec<f64>> {
        let mut ciphertexts = vec![vec![0.0; packing.slots()]; packing.ciphertexts(value)];
        for (c, plane) in planes.iter().enumerate() {
            for (p, x) in plane.iter().enumerate() {
                let (ciphertext, slot) = slot(packing, value, c, p);
                ciphertexts[ciphertext][slot] = *x;
            }
        }
        ciphertexts
    }

    /// The diagonals of the last value make of packed values what the circuit makes of them.
    fn agree(packing: &dyn Packing, circuit: &Circuit, slot: Slot) {
        let id = circuit.output;
        let diagonals = diagonals(packing, circuit).swap_remove(id);
        let values = evaluate(circuit, &image(circuit, 1));
        let read = operands(&circuit.values[id]);
        let inputs: Vec<Vec<f64>> =
            read.iter().flat_map(|s| pack(packing, &circuit.values[*s], &values[*s], slot)).collect();
        let found = apply(packing, circuit, id, &diagonals, &inputs);
        for (c, plane) in values[id].iter().enumerate() {
            for (p, expected) in plane.iter().enumerate() {
                let (ciphertext, slot) = slot(packing, &circuit.values[id], c, p);
                let found = found[ciphertext][slot];
                assert!((found - expected).abs() < 1e-12, "{packing:?}, channel {c}, position {p}: {found} {expected}");
            }
        }
    }

    /// A convolution and a diagonal, with the output not the logits: their slots are others.
    fn map(values: [Value; 2], channels: [usize; 2], stride: usize, factors: bool) -> Circuit {
        let [read, made] = values;
        let weights = random(9 * channels[0] * channels[1], 3);
        let mut terms = vec![dense(0, stride, &TAPS, channels[0], weights)];
        if factors {
            let factors = random(channels[1], 5);
            terms.push(crate::testing::diagonal(0, &factors));
        }
        let made = Value { operation: affine(terms, &random(channels[1], 6)), ..made };
        let mut circuit = circuit(4, 16, vec![read, made]);
        circuit.values[1].logits = false;
        circuit
    }

    #[test]
    fn diagonals_are_the_map() {
        for (channels, stride) in [([1, 1], 1), ([2, 2], 1), ([3, 5], 1), ([2, 4], 2), ([9, 5], 2)] {
            let factors = stride == 1 && channels[0] == channels[1];
            let on_ring = map(
                [ring(channels[0], 16, input(channels[0])), ring(channels[1], 16 / stride, input(0))],
                channels,
                stride,
                factors,
            );
            agree(&Multiplexed::new(&on_ring, &Wanted::at(7)).unwrap(), &on_ring, multiplexed_slot);
            agree(&Channel::new(&on_ring, &Wanted::at(7)).unwrap(), &on_ring, channel_slot);
            let side = 4 / stride;
            let planes = map(
                [plane(channels[0], [4, 4], 1, input(channels[0])), plane(channels[1], [side, side], stride, input(0))],
                channels,
                stride,
                factors,
            );
            agree(&Padded::new(&planes, &Wanted::at(7)).unwrap(), &planes, padded_slot);
        }
    }

    /// Each packing tells of its diagonals what their weights multiply: all that the kernel has, and nothing twice.
    #[test]
    fn products_are_those_of_the_kernel() {
        for (channels, stride) in [([2, 2], 1), ([3, 5], 1), ([2, 4], 2), ([9, 5], 2)] {
            let on_ring = map(
                [ring(channels[0], 16, input(channels[0])), ring(channels[1], 16 / stride, input(0))],
                channels,
                stride,
                false,
            );
            let side = 4 / stride;
            let planes = map(
                [plane(channels[0], [4, 4], 1, input(channels[0])), plane(channels[1], [side, side], stride, input(0))],
                channels,
                stride,
                false,
            );
            for (kind, circuit) in [(Kind::Multiplexed, &on_ring), (Kind::Channel, &on_ring), (Kind::Padded, &planes)] {
                let packing = kind.pack(circuit, &Wanted::at(7)).unwrap();
                let diagonals = diagonals(&*packing, circuit).swap_remove(1);
                let mut found = Vec::new();
                each_product(&*packing, circuit, &circuit.values[1], &diagonals, |diagonal, operand, product| {
                    assert!(operand == 0 && diagonal < diagonals.len() && product.stride == stride);
                    // Taps are meant on the ring of what is read.
                    let tap = if kind == Kind::Padded { product.tap } else { product.tap.rem_euclid(16) };
                    found.push((product.output, product.input, tap));
                });
                let distinct: BTreeSet<_> = found.iter().copied().collect();
                assert_eq!(distinct.len(), found.len(), "{kind}");
                let taps = TAPS.map(|tap| if kind == Kind::Padded { tap } else { tap.rem_euclid(16) });
                for (co, ci) in (0..channels[1]).flat_map(|co| (0..channels[0]).map(move |ci| (co, ci))) {
                    for tap in taps {
                        assert!(distinct.contains(&(co, ci, tap)), "{kind}: {co} {ci} {tap}");
                    }
                }
            }
        }
    }

    #[test]
    fn choices_are_kinds() {
        use Kind::{Channel, Multiplexed, Padded};
        let of = |choice| [Kind::of(choice, false), Kind::of(choice, true)];
        assert_eq!(of(PackingChoice::Multiplexed), [&[Multiplexed][..], &[Multiplexed]]);
        assert_eq!(of(PackingChoice::Channel), [&[Channel][..], &[Padded]]);
        assert_eq!(of(PackingChoice::Auto), [&[Multiplexed, Channel][..], &[Padded]]);
    }

    #[test]
    fn shifted_copies_save_rotations() {
        let weights: Vec<f64> = (1..=18).map(f64::from).collect();
        let before = circuit(
            4,
            16,
            vec![
                ring(1, 16, input(1)),
                ring(2, 16, affine(vec![dense(0, 1, &TAPS, 1, weights)], &[0.5, 0.0])),
                ring(
                    1,
                    16,
                    affine(vec![crate::testing::diagonal(0, &[3.0]), dense(1, 1, &[0], 2, vec![1.0, 2.0])], &[0.0]),
                ),
            ],
        );
        let packing = Multiplexed::new(&before, &Wanted::at(7)).unwrap();
        let mut after = before.clone();
        assert_eq!(expand_input(&mut after, &packing), [0, -1, 1]);
        assert_eq!(
            after.to_string(),
            "3 values on 16 positions, 4 a row; the output is %2\n\
             %0  3 x 16         input(0 0@-1 0@1)                                          a\n\
             %1  2 x 16         affine(%0 by 3 taps -4 0 4, 18 weights) + 0.5 0            b\n\
             %2  1 x 16 logits  affine(%0 by 1 tap 0, 1 weight; %1 by 1 tap 0, 2 weights)  c\n"
        );
        // Taps of a row follow one another: 1, 2 and 3 are those of the row above, to the left, in the middle and to
        // the right.
        let Operation::Affine(first) = &after.values[1].operation else { panic!() };
        let Kernel::Dense { weights, .. } = &first.terms[0].kernel else { panic!() };
        assert_eq!(weights[..9], [2.0, 5.0, 8.0, 1.0, 4.0, 7.0, 3.0, 6.0, 9.0]);
        let image = image(&before, 1);
        let (a, b) = (evaluate(&before, &image), evaluate(&after, &image));
        let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-12;
        assert!(a[1].iter().flatten().zip(b[1].iter().flatten()).all(near));
        assert!(a[2].iter().flatten().zip(b[2].iter().flatten()).all(near));
        // Two channels a ciphertext, and with one channel per ciphertext, have no room; who squares the image counts on
        // its channels.
        for packing in [Kind::Multiplexed.pack(&before, &Wanted::at(6)), Kind::Channel.pack(&before, &Wanted::at(7))] {
            let mut same = before.clone();
            assert_eq!(expand_input(&mut same, &*packing.unwrap()), [0]);
            assert_eq!(same, before);
        }
        let mut squared = before.clone();
        squared.values[2].operation = Operation::Square(0);
        assert_eq!(expand_input(&mut squared, &packing), [0]);
    }
}
