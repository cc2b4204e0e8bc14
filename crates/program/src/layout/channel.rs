//! One channel per ciphertext: one position of all images of a batch, in all networks of an ensemble, next to one
//! another.

use super::{Layout, Rules, logit_step};
use crate::ClientSpec;

pub(super) struct Channel;

impl Rules for Channel {
    fn room(&self, layout: &Layout, slots: usize, positions: usize) -> usize {
        slots / positions.max(1) / self.spacing(layout)
    }

    fn capacity(&self, _: usize, _: usize) -> usize {
        1
    }

    fn is_roomy(&self) -> bool {
        false
    }

    fn period(&self, _: usize) -> Option<usize> {
        None
    }

    fn logit_room(&self, layout: &Layout) -> usize {
        (layout.images - 1) * self.spacing(layout) + layout.vectors()
    }

    fn spacing(&self, layout: &Layout) -> usize {
        logit_step(layout.members)
    }

    fn pack(&self, spec: &ClientSpec, channels: &[Option<(usize, i64)>], images: &[Vec<Vec<f64>>]) -> Vec<f64> {
        let positions = spec.input.positions;
        let mut out = vec![0.0; spec.slots()];
        let Some(Some((colour, tap))) = channels.first() else { return out };
        // All networks of an ensemble see the same image.
        let (each, used) = (self.spacing(&spec.layout), spec.layout.members);
        for (p, out) in out.chunks_exact_mut((spec.slots() / positions.max(1)).max(1)).enumerate() {
            let at = (p as i64 + tap).rem_euclid(positions as i64) as usize;
            for (out, planes) in out.chunks_mut(each).zip(images) {
                out[..used].fill(planes[*colour][at]);
            }
        }
        out
    }

    fn describe(&self, layout: &Layout) -> Option<String> {
        let Layout { images, members, .. } = *layout;
        let by = layout.averager();
        Some(if members > 1 {
            format!("one channel per ciphertext, {images} images in {members} networks at once, averaged by {by}")
        } else {
            format!("one channel per ciphertext, {images} images at once")
        })
    }
}
