//! From a picture to slots, and from slots to logits.

use crate::{Layout, LayoutError, OutputLayout, Program};

/// Slot vectors of the input ciphertexts for normalised pictures (`[channels, height, width]`): one, or in the batched layout one
/// a lane, where lanes without picture are 0. The networks of an ensemble have a lane each that sees the same picture.
///
/// # Errors
/// [`LayoutError::Image`] for a wrong number of values, [`LayoutError::Batch`] for a wrong number of pictures.
pub fn pack<P: AsRef<[f32]>>(program: &Program, pictures: &[P]) -> Result<Vec<Vec<f64>>, LayoutError> {
    let input = &program.input;
    let limit = program.layout.pictures();
    if pictures.is_empty() || pictures.len() > limit {
        return Err(LayoutError::Batch { got: pictures.len(), limit });
    }
    let planes = pictures.iter().map(|p| planes(program, p.as_ref())).collect::<Result<Vec<_>, _>>()?;
    let (slots, positions) = (program.slots(), input.positions as i64);
    if let Layout::Padded { .. } = program.layout {
        let lane = |channel: &Option<(usize, i64)>, planes: &[Vec<f64>], out: &mut [f64]| {
            let Some((colour, tap)) = channel else { return };
            for (p, out) in out.iter_mut().enumerate() {
                *out = planes[*colour][(p as i64 + tap).rem_euclid(positions) as usize];
            }
        };
        let pack = |channels: &Vec<Option<(usize, i64)>>| {
            let mut out = vec![0.0; slots];
            for (planes, out) in planes.iter().zip(out.chunks_exact_mut(input.positions)) {
                channels.iter().for_each(|channel| lane(channel, planes, out));
            }
            out
        };
        return Ok(input.ciphertexts.iter().map(pack).collect());
    }
    let width = slots / input.positions.max(1);
    // The lanes of each picture, those of them that are in use, and how many slots of a position a channel takes.
    let (each, used, step) = if program.layout.joins_channels() {
        (1, 1, 1)
    } else {
        (program.layout.spacing(), program.layout.members(), width)
    };
    Ok((input.ciphertexts.iter())
        .map(|channels| {
            let mut out = vec![0.0; slots];
            for (p, out) in out.chunks_exact_mut(width.max(1)).enumerate() {
                for (out, channel) in out.chunks_exact_mut(step.max(1)).zip(channels) {
                    let Some((colour, tap)) = channel else { continue };
                    let at = (p as i64 + tap).rem_euclid(positions) as usize;
                    for (lanes, planes) in out.chunks_mut(each).zip(&planes) {
                        lanes[..used].fill(planes[*colour][at]);
                    }
                }
            }
            out
        })
        .collect())
}

/// The colours of a picture on the ring of positions.
fn planes(program: &Program, picture: &[f32]) -> Result<Vec<Vec<f64>>, LayoutError> {
    let (input, size) = (&program.input, &program.picture);
    let expected = size.channels * size.height * size.width;
    if picture.len() != expected {
        return Err(LayoutError::Image { got: picture.len(), expected });
    }
    let mut planes = vec![vec![0.0f64; input.positions]; size.channels];
    for (plane, colour) in planes.iter_mut().zip(picture.chunks_exact(size.height * size.width)) {
        for (row, pixels) in colour.chunks_exact(size.width).enumerate() {
            for (column, &v) in pixels.iter().enumerate() {
                plane[row * input.pitch + column] = v.into();
            }
        }
    }
    Ok(planes)
}

/// Decrypted logits and the evidence that they are sound.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    /// One a class: the mean over its copies.
    pub values: Vec<f64>,
    /// Largest magnitude in a slot that must be zero.
    pub stray: f64,
    /// Largest distance of a copy from its mean.
    pub spread: f64,
}

/// Stray values and spread above this betray an overflow: they are noise, far below one unit of a logit,
/// while a wrapped value is uniform over the whole modulus.
const LIMIT: f64 = 1.0;

/// Reads the first vector of logits out of the slots of the output ciphertexts.
///
/// # Errors
/// As [`read_lanes`], of which it is the first.
pub fn read_logits(program: &Program, slots: &[&[f64]]) -> Result<Logits, LayoutError> {
    let first = read_lanes(program, slots, 1)?.into_iter().next();
    first.unwrap_or(Err(LayoutError::Batch { got: 0, limit: program.layout.results() }))
}

/// Reads the first `count` vectors of logits out of the slots of the output ciphertexts: of the pictures of a batch, of the
/// members of an ensemble, or of each picture's members picture by picture ([`Layout::results`]).
///
/// # Errors
/// [`LayoutError::Stray`] when the result is not to be believed; [`LayoutError::Batch`] for more lanes than there are;
/// [`LayoutError::Input`] for a wrong number of ciphertexts or slots. Of single lanes: [`LayoutError::Spread`],
/// [`LayoutError::Range`].
pub fn read_lanes(
    program: &Program,
    slots: &[&[f64]],
    count: usize,
) -> Result<Vec<Result<Logits, LayoutError>>, LayoutError> {
    let OutputLayout { period, step, classes, .. } = program.output;
    let (wanted, results) = (program.output.ciphertexts(), program.layout.results());
    let wrong =
        |what, got: usize, expected: usize| LayoutError::Input { what, got: got as f64, expected: expected as f64 };
    if count == 0 || count > results {
        return Err(LayoutError::Batch { got: count, limit: results });
    }
    if slots.len() < wanted {
        return Err(wrong("ciphertexts of logits", slots.len(), wanted));
    }
    if let Some(short) = slots.iter().find(|s| s.len() != program.slots()) {
        return Err(wrong("slots", short.len(), program.slots()));
    }
    let mut values = vec![Vec::with_capacity(classes); results];
    let (mut stray, mut spread) = (0.0f64, vec![0.0f64; results]);
    let capacity = period / step;
    let blocks = matches!(program.layout, Layout::Padded { .. });
    for (k, slots) in slots.iter().take(wanted).enumerate() {
        if blocks {
            // A period is a picture, and there are no copies.
            let vectors = program.layout.vectors();
            for (slots, values) in slots.chunks_exact(period).zip(values.chunks_exact_mut(vectors)) {
                for (slot, &v) in slots.iter().enumerate() {
                    match values.get_mut(slot % step) {
                        Some(values) if k * capacity + slot / step < classes => values.push(v),
                        _ => stray = larger(stray, v.abs()),
                    }
                }
            }
            continue;
        }
        let copies = (slots.len() / period) as f64;
        for c in 0..period {
            let column = || slots.iter().skip(c).step_by(period);
            let (class, result) = (k * capacity + c / step, program.layout.result(c % step));
            let Some(result) = result.filter(|_| class < classes) else {
                stray = column().fold(stray, |a, v| larger(a, v.abs()));
                continue;
            };
            let mean = column().sum::<f64>() / copies;
            spread[result] = column().fold(spread[result], |a, v| larger(a, (v - mean).abs()));
            values[result].push(mean);
        }
    }
    if !sound(stray) {
        return Err(LayoutError::Stray { stray, limit: LIMIT });
    }
    let check = |(values, spread)| {
        let logits = Logits { values, stray, spread };
        logits.check(program).map(|()| logits)
    };
    Ok(values.into_iter().zip(spread).take(count).map(check).collect())
}

/// The larger of two numbers; none where one of them is none.
fn larger(a: f64, b: f64) -> f64 {
    if b > a || b.is_nan() { b } else { a }
}

fn sound(x: f64) -> bool {
    x.is_finite() && x <= LIMIT
}

impl Logits {
    /// Whether copies agree and the logits are in their range.
    fn check(&self, program: &Program) -> Result<(), LayoutError> {
        if !sound(self.spread) {
            return Err(LayoutError::Spread { spread: self.spread, limit: LIMIT });
        }
        if let Some([low, high]) = program.logit_range {
            // A picture from outside the test set may go somewhat beyond it.
            let margin = high - low;
            if let Some(&value) = self.values.iter().find(|v| !(low - margin..=high + margin).contains(v)) {
                return Err(LayoutError::Range { value, low, high });
            }
        }
        Ok(())
    }
}

/// Slots that members take next to one another, and nobody where there are fewer: of a class's logits here, of a picture in the channel
/// layout.
#[must_use]
pub fn logit_step(members: usize) -> usize {
    members.next_power_of_two()
}
