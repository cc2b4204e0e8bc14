//! Multiplexed (channel-interleaved) packing: the channels of one image next to one another.
//!
//! With `n` slots and `P` positions, a ciphertext holds `C = n / P` channels, slot `p C + c`. A convolution is
//! `y = sum_r w_r (.) rot_r(x)` with `w_r` of the period of `y`, since `source - destination = t C_in + ci - co` does
//! not depend on the position, for stride 2 neither (where `C_out = 2 C_in`). The members of an ensemble are one
//! network whose channels are theirs ([`crate::merge`]).
//!
//! Positions are a ring: there is no place for zero padding.

use umbra_program::layout::logit_step;
use umbra_program::{Layout, MAX_CIPHERTEXTS};

use super::questions::{Memo, Packing, Product, Reading, Rotation, Tilings, Weight};
use super::wanted::{Wanted, check_members, slots_for};
use crate::circuit::{Circuit, Grid, Value};
use crate::error::CompileError;
use crate::options::{AddFirst, CompileOptions, PackingChoice};

/// See the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiplexed {
    slots: usize,
    grid: Grid,
    members: usize,
    averaged: bool,
}

impl Multiplexed {
    /// The packing of a circuit, whose members are side by side.
    ///
    /// # Errors
    /// [`CompileError::TooLarge`] where an image has more positions than there are slots, or a value more ciphertexts
    /// than a register may have; [`CompileError::Unsupported`] for zero padding; [`CompileError::TooManyBatchSlots`]
    /// for more members than there is room for in a class's logits.
    pub fn new(circuit: &Circuit, wanted: &Wanted) -> Result<Self, CompileError> {
        if circuit.is_padded() {
            return Err(CompileError::Unsupported {
                node: "input".into(),
                what: "zero padding in the multiplexed packing".into(),
                remedy: "use one channel per ciphertext (channel), or train the network with circular padding".into(),
            });
        }
        let slots = slots_for(circuit, wanted.log_n)?;
        let packing = Self { slots, grid: circuit.grid, members: wanted.members, averaged: wanted.averaged };
        let most = circuit.values.iter().map(|value| packing.ciphertexts(value)).max().unwrap_or(0);
        if most > MAX_CIPHERTEXTS {
            let what = "ciphertexts of a value";
            return Err(CompileError::TooLarge { what, found: most, limit: MAX_CIPHERTEXTS, log_n: wanted.log_n });
        }
        check_members(&packing, circuit, wanted)?;
        Ok(packing)
    }

    /// Whether options make sense.
    pub(super) fn check(options: &CompileOptions) -> Result<(), CompileError> {
        let option = |option, found, expected: &str| CompileError::Option { option, found, expected: expected.into() };
        // Where packings are compared, a batch is for the other one.
        if let (PackingChoice::Multiplexed, Some(batch)) = (options.packing, options.batch) {
            let expected =
                "none in the multiplexed packing, which holds one image; use one channel per ciphertext (channel)";
            return Err(option("batch", batch.to_string(), expected));
        }
        if options.add_first == AddFirst::Always {
            let expected = "auto or never outside the packing with one channel per ciphertext, in which alone a weight \
                            is one number; use that packing (channel)";
            return Err(option("add-first", options.add_first.to_string(), expected));
        }
        Ok(())
    }

    /// The row of pixels that a tap goes to, with columns in `[-pitch/2, pitch/2)`.
    fn row(&self, tap: i64) -> i64 {
        self.grid.split(tap).0
    }
}

impl Packing for Multiplexed {
    fn slots(&self) -> usize {
        self.slots
    }

    fn grid(&self) -> Grid {
        self.grid
    }

    fn layout(&self) -> Layout {
        Layout {
            packing: umbra_program::Packing::Multiplexed,
            images: 1,
            members: self.members,
            averaged: self.averaged && self.members > 1,
        }
    }

    fn distance(&self, value: &Value) -> usize {
        self.slots / value.positions
    }

    fn capacity(&self, value: &Value) -> usize {
        self.distance(value)
    }

    fn logit_step(&self, _: &Value) -> usize {
        logit_step(self.layout().vectors())
    }

    fn period(&self, value: &Value) -> usize {
        self.distance(value)
    }

    fn visit_slots(&self, value: &Value, _: usize, channel: usize, visit: &mut dyn FnMut(usize)) {
        visit(channel % self.capacity(value));
    }

    fn rotation(&self, weight: &Weight<'_>, memo: &mut Memo) -> Option<Rotation> {
        let &Weight { value, read, output, input, tap, .. } = weight;
        let (c_in, c_out) = (self.capacity(read), self.capacity(value));
        let step = (input % c_in) as i64 - (output % c_out) as i64;
        let c_in = c_in as i64;
        let rotation = if read.pooled {
            // The same at every position: neighbours need not be told apart.
            Rotation { rows: 0, rest: step.rem_euclid(c_in) }
        } else {
            let whole = self.row(tap) * self.grid.pitch as i64;
            Rotation { rows: self.canonical(whole * c_in), rest: (tap - whole) * c_in + step }
        };
        Some(*memo.rotations.entry(self.canonical(rotation.rows + rotation.rest)).or_insert(rotation))
    }

    fn visit_products(&self, reading: &Reading<'_>, visit: &mut dyn FnMut(Product)) {
        let &Reading { value, read, output, input, rotation } = reading;
        let (c_in, c_out) = (self.capacity(read), self.capacity(value));
        let stride = if read.pooled { 1 } else { (c_out / c_in).max(1) };
        for c in 0..c_out.min(value.channels.saturating_sub(output * c_out)) {
            // The slot that is read, if the result is in slot c.
            let slot = c as i64 + rotation.rows + rotation.rest;
            let channel = input * c_in + slot.rem_euclid(c_in as i64) as usize;
            if channel < read.channels {
                let tap = slot.div_euclid(c_in as i64);
                visit(Product { output: output * c_out + c, input: channel, tap, stride });
            }
        }
    }

    fn packs_giants(&self) -> bool {
        true
    }

    fn tilings(&self) -> Tilings {
        Tilings::All
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{affine, circuit, dense, input, ring};

    #[test]
    fn questions_have_the_answers_of_the_documents() {
        // Eight slots, four positions: two channels a ciphertext. Three channels become one on half the positions, then
        // pooled.
        let small = circuit(
            2,
            4,
            vec![
                ring(3, 4, input(3)),
                ring(1, 2, affine(vec![dense(0, 2, &[-1, 0], 3, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])], &[7.0])),
                Value { pooled: true, ..ring(1, 2, crate::circuit::Operation::Sum(1, [1, 2])) },
                Value { pooled: true, ..ring(2, 2, affine(vec![dense(2, 1, &[0], 1, vec![8.0, 9.0])], &[1.0, 2.0])) },
            ],
        );
        let packing = Multiplexed::new(&small, &Wanted::at(4)).unwrap();
        let [image, map, sum, logits] = &small.values[..] else { panic!() };
        assert_eq!([image, map, logits].map(|value| packing.capacity(value)), [2, 4, 4]);
        assert_eq!([image, map, logits].map(|value| packing.ciphertexts(value)), [2, 1, 1]);
        assert_eq!((packing.period(map), packing.plaintext_period(map), packing.logit_step(logits)), (4, 4, 1));
        assert_eq!(packing.pooling(map, [1, 2]), [[4]]);
        assert_eq!(packing.pooling(image, [2, 3]), [vec![2, 4], vec![4]]);
        assert_eq!([-5, -4, 4, 5].map(|r| packing.canonical(r)), [3, 4, 4, -3]);
        let layout = packing.input(image, &[(0, 0), (1, 0), (2, 0)], 3, 1024.0);
        assert_eq!(layout.ciphertexts, [[Some((0, 0)), Some((1, 0))], [Some((2, 0)), None]]);
        assert_eq!(
            (packing.layout(), packing.rounds_by_position(), packing.packs_giants()),
            (Layout::default(), false, true)
        );
        assert_eq!(
            packing.bias(logits, &crate::circuit::Affine::new(vec![], vec![1.0, 2.0]), false),
            [[1.0, 2.0, 0.0, 0.0]]
        );
        assert_eq!(sum.positions, 2);

        // Channel 0 at position p is slot 4 p of the result, and 4 p + ci under tap 0, 4 p - 2 + ci under tap -1.
        let diagonals = super::super::diagonals(&packing, &small);
        let rotation = |rows, rest| Rotation { rows, rest };
        let expected = [
            ((0, 0, rotation(0, -2)), vec![1.0, 0.0, 0.0, 0.0]),
            ((0, 0, rotation(0, -1)), vec![3.0, 0.0, 0.0, 0.0]),
            ((0, 0, rotation(0, 0)), vec![2.0, 0.0, 0.0, 0.0]),
            ((0, 0, rotation(0, 1)), vec![4.0, 0.0, 0.0, 0.0]),
            ((0, 1, rotation(0, -2)), vec![5.0, 0.0, 0.0, 0.0]),
            ((0, 1, rotation(0, 0)), vec![6.0, 0.0, 0.0, 0.0]),
        ];
        assert!(diagonals[1].clone().into_iter().eq(expected), "{:?}", diagonals[1]);
        // Of pooled values, neighbours need not be told apart.
        let expected =
            [((0, 0, rotation(0, 0)), vec![8.0, 0.0, 0.0, 0.0]), ((0, 0, rotation(0, 3)), vec![0.0, 9.0, 0.0, 0.0])];
        assert!(diagonals[3].clone().into_iter().eq(expected), "{:?}", diagonals[3]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let small = circuit(2, 4, vec![ring(1, 4, input(1)), ring(3, 4, affine(vec![], &[0.0; 3]))]);
        let refused = |circuit: &Circuit, wanted: Wanted| Multiplexed::new(circuit, &wanted).unwrap_err();
        assert!(matches!(refused(&small, Wanted::at(2)), CompileError::TooLarge { found: 4, limit: 2, log_n: 2, .. }));
        assert!(matches!(refused(&small, Wanted::at(0)), CompileError::TooLarge { limit: 0, .. }));
        assert!(matches!(refused(&small, Wanted::at(u32::MAX)), CompileError::TooLarge { limit: 0, .. }));
        let many = circuit(2, 4, vec![ring(1, 4, input(1)), ring(MAX_CIPHERTEXTS + 1, 4, affine(vec![], &[]))]);
        assert!(matches!(refused(&many, Wanted::at(3)), CompileError::TooLarge { limit: MAX_CIPHERTEXTS, .. }));
        let padded = circuit(2, 4, vec![crate::testing::plane(1, [2, 2], 1, input(1))]);
        assert!(matches!(refused(&padded, Wanted::at(4)), CompileError::Unsupported { .. }));
        // Three members take four slots of a class, and there are two.
        let members = Wanted { members: 3, ..Wanted::at(4) };
        assert_eq!(refused(&small, members), CompileError::TooManyBatchSlots { found: 3, limit: 2, log_n: 4 });
        let averaged = Multiplexed::new(&small, &Wanted { averaged: true, ..members }).unwrap();
        assert_eq!(
            averaged.layout(),
            Layout { packing: umbra_program::Packing::Multiplexed, images: 1, members: 3, averaged: true }
        );
    }
}
