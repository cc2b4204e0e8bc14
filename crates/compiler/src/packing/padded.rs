//! One channel per ciphertext, with masks for zero padding: batches of images.
//!
//! Batch slots are blocks: slot `m P + q` is position `q` of batch slot `m`. What a tap reads beyond the image, which
//! may be of another batch slot, is multiplied by 0: a weight becomes a plaintext of period `P`, the weight times the
//! mask of its tap. Rows and columns are both dilated by strides. Batch slots are images: a weight of its own for each
//! of them would be a plaintext of all slots, so that the members of an ensemble are put side by side first
//! ([`crate::merge`]).
//!
//! The logits are made at position 0. A ciphertext has several of them: each is rotated to a position of its own by the
//! `rest` of its rotations.

use std::collections::BTreeMap;

use umbra_program::Layout;
use umbra_program::layout::logit_step;

use super::questions::{Diagonals, Masks, Memo, Packing, Product, Reading, Rotation, Tilings, Weight, operands};
use super::wanted::{Wanted, check_members, check_widths, images, slots_for};
use crate::circuit::{Affine, Circuit, Grid, Operation, Plane, Value};
use crate::error::CompileError;
use crate::options::{AddFirst, CompileOptions};

/// See the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padded {
    slots: usize,
    grid: Grid,
    /// Images in the batch slots.
    images: usize,
    /// Networks that see each image.
    members: usize,
    /// Whether the server adds the members up.
    averaged: bool,
}

impl Padded {
    /// The packing of a circuit, whose members are side by side, for a batch of so many images, as many as fit where no
    /// number is given.
    ///
    /// # Errors
    /// [`CompileError::TooLarge`] where an image has more positions than there are slots; [`CompileError::TooWide`]
    /// where a value has more channels than a register may have ciphertexts; [`CompileError::TooManyBatchSlots`] for
    /// larger batches, and for more members than there is room for in a class's logits.
    pub fn new(circuit: &Circuit, wanted: &Wanted) -> Result<Self, CompileError> {
        let slots = slots_for(circuit, wanted.log_n)?;
        let images = images(slots / circuit.grid.positions, 1, wanted)?;
        let Wanted { members, averaged, .. } = *wanted;
        let packing = Self { slots, grid: circuit.grid, images, members, averaged };
        check_widths(&packing, circuit)?;
        check_members(&packing, circuit, wanted)?;
        Ok(packing)
    }

    /// Whether options make sense.
    pub(super) fn check(options: &CompileOptions) -> Result<(), CompileError> {
        if options.add_first == AddFirst::Always {
            return Err(CompileError::Option {
                option: "add-first",
                found: options.add_first.to_string(),
                expected: "auto or never for a network with zero padding, whose weights differ at the border".into(),
            });
        }
        Ok(())
    }
}

impl Packing for Padded {
    fn slots(&self) -> usize {
        self.slots
    }

    fn grid(&self) -> Grid {
        self.grid
    }

    fn layout(&self) -> Layout {
        Layout {
            packing: umbra_program::Packing::Padded,
            images: self.images,
            members: self.members,
            averaged: self.averaged && self.members > 1,
        }
    }

    fn distance(&self, value: &Value) -> usize {
        value.plane.map_or(1, |plane| plane.dilation)
    }

    fn capacity(&self, value: &Value) -> usize {
        if value.logits { value.channels.next_power_of_two().min(self.grid.positions) } else { 1 }
    }

    fn logit_step(&self, _: &Value) -> usize {
        logit_step(self.layout().vectors())
    }

    /// A weight is one number, and its masks make the rest of it.
    fn period(&self, _: &Value) -> usize {
        1
    }

    fn plaintext_period(&self, _: &Value) -> usize {
        self.grid.positions
    }

    fn visit_slots(&self, _: &Value, _: usize, _: usize, visit: &mut dyn FnMut(usize)) {
        visit(0);
    }

    fn bias(&self, value: &Value, affine: &Affine, masked: bool) -> Vec<Vec<f64>> {
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

    fn masks(&self, circuit: &Circuit, value: &Value, diagonals: &Diagonals) -> Masks {
        let Some(own) = value.plane else { return Masks::default() };
        let Operation::Affine(affine) = &value.operation else { return Masks::default() };
        // The plane of each ciphertext read.
        let read: Vec<Option<Plane>> = operands(value)
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

    fn rotation(&self, weight: &Weight<'_>, memo: &mut Memo) -> Option<Rotation> {
        let &Weight { value, read, output, tap, .. } = weight;
        let (own, plane) = value.plane.as_ref().zip(read.plane.as_ref())?;
        // Equal rotations are not split alike here: logits of different positions have different masks.
        let rows = tap * plane.dilation as i64;
        if value.logits {
            return Some(Rotation { rows, rest: -((output % self.capacity(value)) as i64) });
        }
        let reads = || self.grid.mask(own, plane, tap).contains(&true);
        memo.reading.entry((*plane, tap)).or_insert_with(reads).then_some(Rotation { rows, rest: 0 })
    }

    fn visit_products(&self, reading: &Reading<'_>, visit: &mut dyn FnMut(Product)) {
        let &Reading { value, read, output, input, rotation } = reading;
        let distance = self.distance(read);
        // The place of a logit is the rest of its rotations.
        let output = output * self.capacity(value) + rotation.rest.unsigned_abs() as usize;
        let stride = (self.distance(value) / distance).max(1);
        visit(Product { output, input: input * self.capacity(read), tap: rotation.rows / distance as i64, stride });
    }

    /// With masks, weights are too many to be kept.
    fn encoding(&self, diagonals: usize) -> f64 {
        if self.grid.positions == 1 {
            return 0.0;
        }
        // A weight's own transform is short; what is done beside it takes about as long.
        let short = 2.0 * self.grid.positions as f64;
        let whole = 2.0 * self.slots as f64;
        2.0 * diagonals as f64 * (short * short.log2()) / (whole * whole.log2())
    }

    /// A mask makes another polynomial of a weight, whose coefficients are rounded each.
    fn rounds_by_position(&self) -> bool {
        true
    }

    /// Rotations are few, and there are no giant steps to pack.
    fn packs_giants(&self) -> bool {
        false
    }

    /// All outputs share the rotations of an input: giant steps would be more.
    fn tilings(&self) -> Tilings {
        Tilings::Taps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{affine, circuit, dense, input, plane};

    /// One channel of 2 x 2 pixels on rows of four, the pixel to the left and itself; a mean, two logits.
    fn small() -> Circuit {
        circuit(
            4,
            8,
            vec![
                plane(1, [2, 2], 1, input(1)),
                plane(1, [2, 2], 1, affine(vec![dense(0, 1, &[-1, 0, 8], 1, vec![1.0, 2.0, 3.0])], &[4.0])),
                plane(1, [1, 1], 2, Operation::Sum(1, [2, 2])),
                plane(2, [1, 1], 2, affine(vec![dense(2, 1, &[0], 1, vec![5.0, 6.0])], &[7.0, 8.0])),
            ],
        )
    }

    #[test]
    fn questions_have_the_answers_of_the_documents() {
        // 32 slots, eight positions: four images.
        let small = small();
        let packing = Padded::new(&small, &Wanted::at(6)).unwrap();
        let [image, map, sum, logits] = &small.values[..] else { panic!() };
        assert_eq!([image, map, logits].map(|value| packing.capacity(value)), [1, 1, 2]);
        assert_eq!([image, map, sum].map(|value| packing.distance(value)), [1, 1, 2]);
        assert_eq!((packing.period(map), packing.plaintext_period(map), packing.logit_step(logits)), (1, 8, 1));
        assert_eq!(
            packing.layout(),
            Layout { packing: umbra_program::Packing::Padded, images: 4, members: 1, averaged: false }
        );
        assert_eq!(packing.pooling(map, [2, 2]), [[1], [4]]);
        assert_eq!(
            (packing.rounds_by_position(), packing.packs_giants(), packing.tilings()),
            (true, false, Tilings::Taps)
        );
        assert!(packing.encoding(10) > 0.0);
        let layout = packing.input(image, &[(0, 0)], 3, 1024.0);
        assert_eq!((layout.positions, layout.pitch, layout.ciphertexts), (8, 4, vec![vec![Some((0, 0))]]));

        let diagonals = super::super::diagonals(&packing, &small);
        let rotation = |rows, rest| Rotation { rows, rest };
        // Two rows below there is nothing: the third weight is none.
        let expected = [((0, 0, rotation(-1, 0)), vec![1.0]), ((0, 0, rotation(0, 0)), vec![2.0])];
        assert!(diagonals[1].clone().into_iter().eq(expected), "{:?}", diagonals[1]);
        let (masks, of) = packing.masks(&small, map, &diagonals[1]);
        let text = |mask: &Vec<bool>| mask.iter().map(|m| if *m { '1' } else { '0' }).collect::<String>();
        assert_eq!(masks.iter().map(text).collect::<Vec<_>>(), ["01000100", "11001100"]);
        assert_eq!(of, [Some(0), Some(1)]);
        let Operation::Affine(affine) = &map.operation else { panic!() };
        assert_eq!(packing.bias(map, affine, true), [[4.0, 4.0, 0.0, 0.0, 4.0, 4.0, 0.0, 0.0]]);
        let border = Affine { border: Some(vec![vec![-1.0, 0.0, 9.0, 9.0, 0.0, 0.0, 9.0, 9.0]]), ..affine.clone() };
        assert_eq!(packing.bias(map, &border, true), [[3.0, 4.0, 0.0, 0.0, 4.0, 4.0, 0.0, 0.0]]);

        // The second logit is rotated from position 0 to position 1.
        let expected = [((0, 0, rotation(0, -1)), vec![6.0]), ((0, 0, rotation(0, 0)), vec![5.0])];
        assert!(diagonals[3].clone().into_iter().eq(expected), "{:?}", diagonals[3]);
        let (masks, of) = packing.masks(&small, logits, &diagonals[3]);
        assert_eq!(masks.iter().map(text).collect::<Vec<_>>(), ["01000000", "10000000"]);
        assert_eq!(of, [Some(0), Some(1)]);
        let Operation::Affine(affine) = &logits.operation else { panic!() };
        assert_eq!(packing.bias(logits, affine, true), [[7.0, 8.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let small = small();
        let refused = |wanted: Wanted| Padded::new(&small, &wanted).unwrap_err();
        let batch = Wanted { batch: Some(5), ..Wanted::at(6) };
        assert_eq!(refused(batch), CompileError::TooManyBatchSlots { found: 5, limit: 4, log_n: 6 });
        // Three members take four slots of a class, and there are two.
        let members = Wanted { members: 3, ..Wanted::at(6) };
        assert_eq!(refused(members), CompileError::TooManyBatchSlots { found: 3, limit: 2, log_n: 6 });
        let averaged = Padded::new(&small, &Wanted { averaged: true, ..members }).unwrap();
        assert_eq!(
            averaged.layout(),
            Layout { packing: umbra_program::Packing::Padded, images: 4, members: 3, averaged: true }
        );
    }
}
