//! One channel per ciphertext: batches of images, and ensembles.
//!
//! A ciphertext has `M = n / P` interleaved batch slots: slot `q M + m` is position `q` of batch slot `m`, which is an
//! image of a batch. Of an ensemble of `B` networks, batch slot `i K + j` is image `i` in network `j`, `K` the power of
//! two from `B` on. The grid keeps its `P` positions through strides: position `p` of a value on `P / d` positions is
//! at `q = d p`, and a tap `t` of a convolution that reads it is a rotation by `d t M`. What is computed at the other
//! `q` is the network on a shifted image. A weight is one number for all slots (a batch) or one a network (an
//! ensemble): nothing depends on the position or on the image, so that there are no masks.
//!
//! The logits are the same at every position: each position keeps another of them, so that they share a ciphertext.
//!
//! Positions are a ring: networks with zero padding have a packing of their own ([`super::padded`]).

use umbra_program::Layout;
use umbra_program::layout::logit_step;

use super::questions::{Memo, Packing, Product, Reading, Rotation, Tilings, Weight};
use super::wanted::{Wanted, check_widths, images, slots_for};
use crate::circuit::{Circuit, Grid, Value};
use crate::error::CompileError;
use crate::options::{AddFirst, CompileOptions};

/// See the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    slots: usize,
    grid: Grid,
    /// Images in the batch slots.
    images: usize,
    /// Networks that see each image.
    members: usize,
    /// Whether the server adds the members up.
    averaged: bool,
}

impl Channel {
    /// The packing of a circuit and the other members of its ensemble, all of which see every image of the batch: as
    /// many as fit where no number is given.
    ///
    /// # Errors
    /// [`CompileError::TooLarge`] where an image has more positions than there are slots; [`CompileError::TooWide`]
    /// where a value has more channels than a register may have ciphertexts; [`CompileError::TooManyBatchSlots`].
    pub fn new(circuit: &Circuit, wanted: &Wanted) -> Result<Self, CompileError> {
        let slots = slots_for(circuit, wanted.log_n)?;
        let members = wanted.members;
        let images = images(slots / circuit.grid.positions, logit_step(members), wanted)?;
        let averaged = members > 1 && wanted.averaged;
        let packing = Self { slots, grid: circuit.grid, images, members, averaged };
        check_widths(&packing, circuit)?;
        Ok(packing)
    }

    /// Whether options make sense.
    pub(super) fn check(options: &CompileOptions, members: usize) -> Result<(), CompileError> {
        if options.add_first == AddFirst::Always && members > 1 {
            return Err(CompileError::Option {
                option: "add-first",
                found: options.add_first.to_string(),
                expected: "auto or never for an ensemble, whose weights differ from batch slot to batch slot".into(),
            });
        }
        Ok(())
    }

    /// Batch slots an image.
    fn spacing(&self) -> usize {
        logit_step(self.members)
    }
}

impl Packing for Channel {
    fn slots(&self) -> usize {
        self.slots
    }

    fn grid(&self) -> Grid {
        self.grid
    }

    fn layout(&self) -> Layout {
        Layout {
            packing: umbra_program::Packing::Channel,
            images: self.images,
            members: self.members,
            averaged: self.averaged && self.members > 1,
        }
    }

    fn distance(&self, value: &Value) -> usize {
        self.slots / value.positions
    }

    fn capacity(&self, value: &Value) -> usize {
        if value.logits && value.pooled { value.channels.next_power_of_two().min(value.positions) } else { 1 }
    }

    fn logit_step(&self, logits: &Value) -> usize {
        self.distance(logits)
    }

    fn period(&self, value: &Value) -> usize {
        if value.logits { self.capacity(value) * self.distance(value) } else { self.spacing() }
    }

    fn visit_slots(&self, value: &Value, member: usize, channel: usize, visit: &mut dyn FnMut(usize)) {
        let first = channel % self.capacity(value) * self.distance(value);
        // Weights repeat from image to image; those of the logits leave the batch slots without image at 0.
        let images = if value.logits { self.images } else { 1 };
        let member = if self.averages(value) { 0 } else { member };
        (0..images).for_each(|image| visit(first + image * self.spacing() + member));
    }

    fn rotation(&self, weight: &Weight<'_>, memo: &mut Memo) -> Option<Rotation> {
        let &Weight { value, read, member, tap, .. } = weight;
        let rows = if read.pooled { 0 } else { self.canonical(tap * self.distance(read) as i64) };
        let rest = if self.averages(value) { member as i64 } else { 0 };
        Some(*memo.rotations.entry(self.canonical(rows + rest)).or_insert(Rotation { rows, rest }))
    }

    fn visit_products(&self, reading: &Reading<'_>, visit: &mut dyn FnMut(Product)) {
        let &Reading { value, read, output, input, rotation } = reading;
        let (distance, capacity) = (self.distance(read), self.capacity(value));
        let stride = if read.pooled { 1 } else { (self.distance(value) / distance).max(1) };
        let tap = (rotation.rows + rotation.rest).div_euclid(distance as i64);
        for c in 0..capacity.min(value.channels.saturating_sub(output * capacity)) {
            visit(Product { output: output * capacity + c, input: input * self.capacity(read), tap, stride });
        }
    }

    /// Rotations are few, and there are no giant steps to pack.
    fn packs_giants(&self) -> bool {
        false
    }

    /// All outputs share the rotations of an input: giant steps would be more.
    fn tilings(&self) -> Tilings {
        Tilings::Taps
    }

    /// They are in the first batch slot of each image, where the other members' parts are rotated to.
    fn averages(&self, value: &Value) -> bool {
        value.logits && self.averaged
    }

    fn belongs(&self, value: &Value, member: usize, rotation: Rotation) -> bool {
        !self.averages(value) || rotation.rest == member as i64
    }
}

#[cfg(test)]
mod tests {
    use umbra_program::MAX_CIPHERTEXTS;

    use super::*;
    use crate::circuit::{Affine, Operation};
    use crate::testing::{affine, circuit, dense, input, ring};

    /// Two channels on four positions, one on two of them; the logits of the mean.
    fn small(seed: f64) -> Circuit {
        circuit(
            2,
            4,
            vec![
                ring(2, 4, input(2)),
                ring(1, 2, affine(vec![dense(0, 2, &[-1, 0], 2, vec![seed, 0.0, 2.0, 3.0])], &[seed])),
                Value { pooled: true, ..ring(1, 2, Operation::Sum(1, [1, 2])) },
                Value { pooled: true, ..ring(2, 2, affine(vec![dense(2, 1, &[0], 1, vec![seed, 5.0])], &[1.0, 2.0])) },
            ],
        )
    }

    #[test]
    fn questions_have_the_answers_of_the_documents() {
        // Sixteen slots, four positions: four batch slots, of which three are in use.
        let small = small(1.0);
        let packing = Channel::new(&small, &Wanted { batch: Some(3), ..Wanted::at(5) }).unwrap();
        let [image, map, _, logits] = &small.values[..] else { panic!() };
        assert_eq!([image, map, logits].map(|value| packing.capacity(value)), [1, 1, 2]);
        assert_eq!([image, map, logits].map(|value| packing.ciphertexts(value)), [2, 1, 1]);
        // A weight is one number; those of the logits leave what is not theirs at 0.
        assert_eq!([image, map, logits].map(|value| packing.period(value)), [1, 1, 16]);
        assert_eq!(
            (packing.layout(), packing.logit_step(logits)),
            (Layout { packing: umbra_program::Packing::Channel, images: 3, members: 1, averaged: false }, 8)
        );
        assert_eq!(packing.pooling(map, [1, 2]), [[8]]);
        assert_eq!(
            (packing.rounds_by_position(), packing.packs_giants(), packing.tilings()),
            (false, false, Tilings::Taps)
        );
        let Operation::Affine(last) = &logits.operation else { panic!() };
        let bias: Vec<f64> =
            [[1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0], [2.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0]].concat();
        assert_eq!(packing.bias(logits, last, false), [bias]);

        let diagonals = super::super::diagonals(&packing, &small);
        let rotation = |rows| Rotation { rows, rest: 0 };
        let expected =
            [((0, 0, rotation(-4)), vec![1.0]), ((0, 1, rotation(-4)), vec![2.0]), ((0, 1, rotation(0)), vec![3.0])];
        assert!(diagonals[1].clone().into_iter().eq(expected), "{:?}", diagonals[1]);
        let weights: Vec<f64> =
            [[1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0], [5.0, 5.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0]].concat();
        assert!(diagonals[3].clone().into_iter().eq([((0, 0, rotation(0)), weights)]), "{:?}", diagonals[3]);
    }

    #[test]
    fn members_have_batch_slots_of_their_own() {
        // Three members take four batch slots, of which the last is empty: one image.
        let mut all = small(1.0);
        all.others = vec![small(6.0), small(7.0)];
        let wanted = Wanted { members: 3, ..Wanted::at(5) };
        let packing = Channel::new(&all, &wanted).unwrap();
        assert_eq!(
            packing.layout(),
            Layout { packing: umbra_program::Packing::Channel, images: 1, members: 3, averaged: false }
        );
        let tap = (0, 0, Rotation { rows: -4, rest: 0 });
        assert_eq!(super::super::diagonals(&packing, &all)[1][&tap], [1.0, 6.0, 7.0, 0.0]);
        assert_eq!(packing.spread(&all.values[1], 2, &[9.0]), [[0.0, 0.0, 9.0, 0.0]]);

        // Averaged, each member's part of the logits is rotated to the first batch slot.
        let packing = Channel::new(&all, &Wanted { averaged: true, ..wanted }).unwrap();
        let logits = &all.values[3];
        let diagonals = super::super::diagonals(&packing, &all).remove(3);
        let rests: Vec<i64> = diagonals.keys().map(|(_, _, rotation)| rotation.rest).collect();
        assert_eq!(rests, [0, 1, 2]);
        for ((_, _, rotation), (weights, first)) in diagonals.keys().zip(diagonals.values().zip([1.0, 6.0, 7.0])) {
            let nonzero: Vec<(usize, f64)> = weights.iter().copied().enumerate().filter(|(_, w)| *w != 0.0).collect();
            assert_eq!(nonzero, [(0, first), (8, 5.0)]);
            let members: Vec<usize> = (0..3).filter(|member| packing.belongs(logits, *member, *rotation)).collect();
            assert_eq!(members, [rotation.rest as usize]);
        }
        assert!(packing.averages(logits) && !packing.averages(&all.values[1]));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let small = small(1.0);
        let refused = |circuit: &Circuit, wanted: Wanted| Channel::new(circuit, &wanted).unwrap_err();
        let batch = |batch| Wanted { batch: Some(batch), ..Wanted::at(5) };
        assert_eq!(refused(&small, batch(5)), CompileError::TooManyBatchSlots { found: 5, limit: 4, log_n: 5 });
        let two = Wanted { members: 3, ..batch(2) };
        assert_eq!(refused(&small, two), CompileError::TooManyBatchSlots { found: 8, limit: 4, log_n: 5 });
        assert!(matches!(refused(&small, batch(usize::MAX)), CompileError::TooManyBatchSlots { .. }));
        assert!(matches!(refused(&small, batch(0)), CompileError::TooManyBatchSlots { found: 0, .. }));
        let wide = Value {
            nodes: vec!["wide".into()],
            ..ring(MAX_CIPHERTEXTS + 1, 4, Operation::Affine(Affine::new(vec![], vec![])))
        };
        let wide = circuit(2, 4, vec![ring(1, 4, input(1)), wide]);
        assert!(
            matches!(refused(&wide, Wanted::at(5)), CompileError::TooWide { found, .. } if found == MAX_CIPHERTEXTS + 1)
        );
    }
}
