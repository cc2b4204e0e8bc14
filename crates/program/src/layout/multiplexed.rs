//! Multiplexed (channel-interleaved) packing: channels of one image next to one another, those of further networks
//! after them.

use super::{Layout, Rules, logit_step};
use crate::ClientSpec;

pub(super) struct Multiplexed;

impl Rules for Multiplexed {
    fn room(&self, layout: &Layout, slots: usize, _: usize) -> usize {
        // One image, in as many networks as there are slots.
        usize::from(self.spacing(layout) <= slots)
    }

    fn capacity(&self, slots: usize, positions: usize) -> usize {
        slots / positions.max(1)
    }

    fn is_roomy(&self) -> bool {
        false
    }

    fn period(&self, _: usize) -> Option<usize> {
        None
    }

    fn logit_room(&self, layout: &Layout) -> usize {
        logit_step(layout.vectors())
    }

    fn allows_step(&self, layout: &Layout, step: usize) -> bool {
        step == self.logit_room(layout)
    }

    fn spacing(&self, layout: &Layout) -> usize {
        logit_step(layout.members)
    }

    fn pack(&self, spec: &ClientSpec, channels: &[Option<(usize, i64)>], images: &[Vec<Vec<f64>>]) -> Vec<f64> {
        let positions = spec.input.positions;
        let mut out = vec![0.0; spec.slots()];
        let Some(planes) = images.first() else { return out };
        for (p, out) in out.chunks_exact_mut(self.capacity(spec.slots(), positions).max(1)).enumerate() {
            for (out, channel) in out.iter_mut().zip(channels) {
                let Some((colour, tap)) = channel else { continue };
                *out = planes[*colour][(p as i64 + tap).rem_euclid(positions as i64) as usize];
            }
        }
        out
    }

    fn describe(&self, layout: &Layout) -> Option<String> {
        let by = layout.averager();
        (layout.members > 1)
            .then(|| format!("multiplexed packing, {} networks side by side, averaged by {by}", layout.members))
    }
}
