//! What a packing is made for.

use umbra_program::MAX_CIPHERTEXTS;
use umbra_program::layout::logit_step;

use super::questions::Packing;
use crate::circuit::Circuit;
use crate::error::CompileError;

/// What a packing is made for, beside a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Base-2 logarithm of the ring degree.
    pub log_n: u32,
    /// Images of a batch, where packings hold several; `None` for as many as fit.
    pub batch: Option<usize>,
    /// Networks that see each image.
    pub members: usize,
    /// Whether the server averages their logits.
    pub averaged: bool,
}

impl Wanted {
    /// One network at `N = 2^log_n`, with as many images as fit.
    #[must_use]
    pub fn at(log_n: u32) -> Self {
        Self { log_n, batch: None, members: 1, averaged: false }
    }
}

/// Slots of a ciphertext, enough for every position of the image.
pub(super) fn slots_for(circuit: &Circuit, log_n: u32) -> Result<usize, CompileError> {
    // Rings of no such degree have no slots.
    let slots = log_n.checked_sub(1).and_then(|log_slots| 1usize.checked_shl(log_slots)).unwrap_or(0);
    let positions = circuit.grid.positions;
    if positions > slots {
        return Err(CompileError::TooLarge { what: "positions of the image", found: positions, limit: slots, log_n });
    }
    Ok(slots)
}

/// Images in `width` batch slots, `each` of which one takes: as many as are wanted, or as fit.
pub(super) fn images(width: usize, each: usize, wanted: &Wanted) -> Result<usize, CompileError> {
    let images = wanted.batch.unwrap_or((width / each).max(1));
    let used = images.saturating_mul(each);
    if used == 0 || used > width {
        return Err(CompileError::TooManyBatchSlots { found: used, limit: width, log_n: wanted.log_n });
    }
    Ok(images)
}

/// Whether every value fits in a register.
pub(super) fn check_widths(packing: &dyn Packing, circuit: &Circuit) -> Result<(), CompileError> {
    match circuit.values.iter().find(|value| packing.ciphertexts(value) > MAX_CIPHERTEXTS) {
        None => Ok(()),
        Some(value) => {
            Err(CompileError::TooWide { node: value.nodes.join(" + "), found: value.channels, limit: MAX_CIPHERTEXTS })
        }
    }
}

/// Whether the logits of members that are side by side have room: those of one class lie next to one another.
pub(super) fn check_members(packing: &dyn Packing, circuit: &Circuit, wanted: &Wanted) -> Result<(), CompileError> {
    let room = packing.capacity(&circuit.values[circuit.output]);
    if !wanted.averaged && logit_step(wanted.members) > room {
        return Err(CompileError::TooManyBatchSlots { found: wanted.members, limit: room, log_n: wanted.log_n });
    }
    Ok(())
}
