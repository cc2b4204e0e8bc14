//! One channel per ciphertext with masks for zero padding: the images of a batch one after the other. Networks of an
//! ensemble have ciphertexts of their own.

use super::{Found, Layout, Rules, larger, logit_step, place};
use crate::ClientSpec;

pub(super) struct Padded;

impl Rules for Padded {
    fn room(&self, _: &Layout, slots: usize, positions: usize) -> usize {
        slots / positions.max(1)
    }

    fn capacity(&self, _: usize, _: usize) -> usize {
        1
    }

    fn is_roomy(&self) -> bool {
        // There may be more room to the right.
        true
    }

    fn period(&self, positions: usize) -> Option<usize> {
        Some(positions)
    }

    fn logit_room(&self, layout: &Layout) -> usize {
        // Images have places of their own.
        logit_step(layout.vectors())
    }

    fn spacing(&self, _: &Layout) -> usize {
        1
    }

    fn pack(&self, spec: &ClientSpec, channels: &[Option<(usize, i64)>], images: &[Vec<Vec<f64>>]) -> Vec<f64> {
        let positions = spec.input.positions;
        let mut out = vec![0.0; spec.slots()];
        let Some(Some((colour, tap))) = channels.first() else { return out };
        for (planes, out) in images.iter().zip(out.chunks_exact_mut(positions)) {
            for (p, out) in out.iter_mut().enumerate() {
                *out = planes[*colour][(p as i64 + tap).rem_euclid(positions as i64) as usize];
            }
        }
        out
    }

    fn repeats(&self) -> bool {
        false
    }

    fn vector(&self, layout: &Layout, slot_of_step: usize) -> Option<usize> {
        (slot_of_step < layout.vectors()).then_some(slot_of_step)
    }

    fn read(&self, spec: &ClientSpec, k: usize, slots: &[f64], found: &mut Found) {
        let vectors = spec.layout.vectors();
        // A period is an image, and there are no copies.
        for (slots, values) in slots.chunks_exact(spec.output.period).zip(found.values.chunks_exact_mut(vectors)) {
            for (slot, &v) in slots.iter().enumerate() {
                match place(spec, self, k, slot) {
                    Some(vector) => values[vector].push(v),
                    None => found.zero_slots = larger(found.zero_slots, v.abs()),
                }
            }
        }
    }

    fn describe(&self, layout: &Layout) -> Option<String> {
        let Layout { images, members, .. } = *layout;
        let each = if members > 1 {
            format!("; {members} networks, each with ciphertexts of its own, averaged by {}", layout.averager())
        } else {
            String::new()
        };
        Some(format!("one channel per ciphertext with masks for zero padding, {images} images at once{each}"))
    }
}
