//! What slots stand for: from images to slots, and from slots to logits.
//!
//! There are three packings, each in a file of its own that answers the same questions:
//!
//! - multiplexed (channel-interleaved): the channels of an image next to one another, those of several networks too;
//! - one channel per ciphertext: one position of all images of a batch next to one another;
//! - the same with masks for zero padding: the images of a batch one after the other.
//!
//! A new packing is a new file here, a new [`Packing`], and a line in `Packing::rules`.

mod channel;
mod multiplexed;
mod padded;

use serde::{Deserialize, Serialize};
use umbra_ckks::Level;

use crate::{ClientSpec, LayoutError};

/// How channels and images share slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// Multiplexed (channel-interleaved): the value of channel `j` at position `p`, in a value with period `C`, is in
    /// ciphertext `j / C`, slot `p C + j mod C`.
    #[default]
    Multiplexed,
    /// One channel per ciphertext: that of batch slot `m` is in ciphertext `j`, slot `p D + m`, where `D` is the
    /// distance of positions.
    Channel,
    /// One channel per ciphertext, with masks for zero padding: that of batch slot `m` is in ciphertext `j`, slot `m P
    /// + p` of `P` positions. Networks of an ensemble have ciphertexts of their own.
    Padded,
}

/// What slots stand for, and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// How channels and images share slots.
    pub packing: Packing,
    /// Images that are classified at once.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub images: usize,
    /// Networks that see each of them: an ensemble where more than one.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub members: usize,
    /// Whether the logits are the mean over the networks. Otherwise each has its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub averaged: bool,
}

impl Default for Layout {
    fn default() -> Self {
        Self { packing: Packing::Multiplexed, images: 1, members: 1, averaged: false }
    }
}

/// How an image becomes ciphertexts.
///
/// The normalised image `[channels, height, width]` is laid out on `P` positions `p = pitch * row + column` (pitch: the
/// width padded to a power of two; positions without pixel are 0). Channel slot `c` of ciphertext `k` at position `p`
/// is `image[colour][(p + tap) mod P]` where `ciphertexts[k][c] = Some((colour, tap))`, and 0 where it is `None`. With
/// one channel per ciphertext there is one `c` a ciphertext. Which slot that is, [`Packing`] says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputLayout {
    /// Number of positions `P`, a power of two.
    pub positions: usize,
    /// Positions a row.
    pub pitch: usize,
    /// Per ciphertext, per channel slot (`n / P` of them; one with one channel per ciphertext): colour and tap, or
    /// nothing.
    pub ciphertexts: Vec<Vec<Option<(usize, i64)>>>,
    /// Level of the fresh ciphertexts.
    pub level: Level,
    /// Their scale.
    pub scale: f64,
}

/// Where the logits are after the last step.
///
/// With `k = period / step`, logit `j` of batch slot `m` is the value of slot `p * period + (j % k) * step + m` of
/// ciphertext `j / k`, at every `p`; every other slot holds nothing but what the server adds at random. The mean over
/// an ensemble is in the first batch slot of each image. With zero padding that of batch slot `m` is the value of slot
/// `m * period + (j % k) * step`, of the first network, and of the others in the slots after it; in batch slots without
/// image are the logits of a black one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputLayout {
    /// Level of its ciphertexts.
    pub level: Level,
    /// Their scale.
    pub scale: f64,
    /// Distance in slots at which a logit occurs again.
    pub period: usize,
    /// Distance in slots of the logits of one ciphertext.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub step: usize,
    /// Number of logits.
    pub classes: usize,
    /// Standard deviation of what the server adds at random to slots without logit, so that they tell nothing of the
    /// image (noise flooding); 0 where it adds nothing.
    #[serde(default, skip_serializing_if = "is_none_added")]
    pub flooding: f64,
}

/// Output slots that hold no logit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeSlots {
    /// Whether each slot of one period is one.
    pub is_free: Vec<bool>,
    /// Whether a slot holds the same in every period: all that differs is noise.
    pub repeats: bool,
}

/// Decrypted logits and the evidence that they are sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Logits {
    /// One a class: the mean over its copies.
    pub values: Vec<f64>,
    /// What is left where nothing should be.
    pub residuals: Residuals,
}

/// Integrity residuals of a result, as parts of what is accepted: noise where it is sound, far larger where an
/// activation overflowed or anything was corrupted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Residuals {
    /// Largest magnitude in a slot without logit, of the whole result.
    pub zero_slots: f64,
    /// Largest distance of a copy of a logit from the mean of its copies.
    pub copies: f64,
}

/// Residuals above this betray an overflow where nothing else is known: they are noise, far below one unit of a logit,
/// while a wrapped value is uniform over the whole modulus.
const LIMIT: f64 = 1.0;
/// How many deviations of the flooding a slot without logit may hold: no valid result has more in one of 2^50 slots,
/// with as much again for what the flooding hides.
const FLOODED: f64 = 16.0;
/// How many times the predicted error of a logit copies of one may differ by.
const ERRORS: f64 = 16.0;

/// The questions that a packing answers; see the module.
trait Rules {
    /// Most images at once, of `slots` slots and so many positions, in this layout.
    fn room(&self, layout: &Layout, slots: usize, positions: usize) -> usize;
    /// Channel slots of an input ciphertext.
    fn capacity(&self, slots: usize, positions: usize) -> usize;
    /// Whether positions of images may be padded beyond the next powers of two of their sides.
    fn is_roomy(&self) -> bool;
    /// The period that logits must have, where it is not free.
    fn period(&self, positions: usize) -> Option<usize>;
    /// Smallest distance of two logits of a ciphertext: what else lies between them.
    fn logit_room(&self, layout: &Layout) -> usize;
    /// Whether logits of a ciphertext may have this distance.
    fn allows_step(&self, layout: &Layout, step: usize) -> bool {
        step >= self.logit_room(layout)
    }
    /// Slots an image takes of those that share a position: those of its networks, and some that nothing is in.
    fn spacing(&self, layout: &Layout) -> usize;
    /// The slots of one input ciphertext, whose channel slots hold `channels`.
    fn pack(&self, spec: &ClientSpec, channels: &[Option<(usize, i64)>], images: &[Vec<Vec<f64>>]) -> Vec<f64>;
    /// Whether the logits of a ciphertext occur again and again, one period after the other.
    fn repeats(&self) -> bool {
        true
    }
    /// The vector of logits, of those of a period, that a slot of a period has one of, if any; its class is `k (period
    /// / step) + slot / step`.
    fn vector(&self, layout: &Layout, slot_of_step: usize) -> Option<usize> {
        layout.result(slot_of_step)
    }
    /// Takes the logits out of the slots of output ciphertext `k`.
    fn read(&self, spec: &ClientSpec, k: usize, slots: &[f64], found: &mut Found) {
        read_copies(spec, k, slots, found);
    }
    /// What a report says of a layout.
    fn describe(&self, layout: &Layout) -> Option<String>;
}

/// What is read of a result, vector by vector.
struct Found {
    values: Vec<Vec<f64>>,
    copies: Vec<f64>,
    zero_slots: f64,
}

impl Packing {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Multiplexed, Self::Channel, Self::Padded];

    fn rules(self) -> &'static dyn Rules {
        match self {
            Self::Multiplexed => &multiplexed::Multiplexed,
            Self::Channel => &channel::Channel,
            Self::Padded => &padded::Padded,
        }
    }
}

impl Layout {
    /// Whether images come in batches: several at once, each with a verdict of its own.
    #[must_use]
    pub fn is_batched(&self) -> bool {
        self.packing != Packing::Multiplexed
    }

    /// Vectors of logits of an image.
    #[must_use]
    pub fn vectors(&self) -> usize {
        if self.averaged { 1 } else { self.members }
    }

    /// Vectors of logits in a result, image by image.
    #[must_use]
    pub fn results(&self) -> usize {
        self.images * self.vectors()
    }

    /// Slots an image takes of those that share a position: its networks', and some that nothing is in.
    #[must_use]
    pub fn spacing(&self) -> usize {
        self.packing.rules().spacing(self)
    }

    /// Which of the vectors of logits in a result a batch slot has, if any.
    #[must_use]
    pub fn result(&self, batch_slot: usize) -> Option<usize> {
        let (image, vector) = (batch_slot / self.spacing(), batch_slot % self.spacing());
        (image < self.images && vector < self.vectors()).then(|| image * self.vectors() + vector)
    }

    /// Most images at once, of so many slots and positions.
    #[must_use]
    pub fn room(&self, slots: usize, positions: usize) -> usize {
        self.packing.rules().room(self, slots, positions)
    }

    /// Whether logits of a ciphertext may have this distance.
    pub(crate) fn allows_step(&self, step: usize) -> bool {
        self.packing.rules().allows_step(self, step)
    }

    /// Smallest distance of two logits of a ciphertext.
    #[must_use]
    pub fn logit_room(&self) -> usize {
        self.packing.rules().logit_room(self)
    }

    /// One line for people; nothing to say of a single image in a single network.
    #[must_use]
    pub fn describe(&self) -> Option<String> {
        self.packing.rules().describe(self)
    }

    /// Who averages over the networks, in words.
    fn averager(&self) -> &'static str {
        if self.averaged { "the server" } else { "the client" }
    }
}

impl InputLayout {
    /// Channel slots of a ciphertext of `slots` slots.
    pub(crate) fn capacity(&self, packing: Packing, slots: usize) -> usize {
        packing.rules().capacity(slots, self.positions)
    }

    /// Whether positions are those of images of this size.
    pub(crate) fn fits(&self, packing: Packing, height: usize, width: usize) -> bool {
        let powers = [self.pitch, self.positions].iter().all(|n| n.is_power_of_two());
        let room = self.pitch >= width && self.positions / self.pitch.max(1) >= height && self.positions <= 1 << 31;
        (packing.rules().is_roomy() && powers && room) || (self.pitch, self.positions) == ring(height, width)
    }
}

impl OutputLayout {
    /// Number of ciphertexts.
    #[must_use]
    pub fn ciphertexts(&self) -> usize {
        self.classes.div_ceil((self.period / self.step.max(1)).max(1))
    }

    /// The largest magnitude that a slot without logit may have in a result that is to be believed.
    #[must_use]
    pub fn zero_limit(&self) -> f64 {
        LIMIT.max(FLOODED * self.flooding)
    }

    /// The period that logits must have in a packing, where it is not free.
    pub(crate) fn expected_period(packing: Packing, positions: usize) -> Option<usize> {
        packing.rules().period(positions)
    }
}

/// Pitch and positions of images of this size: both sides padded to powers of two.
pub(crate) fn ring(height: usize, width: usize) -> (usize, usize) {
    let pitch = width.next_power_of_two();
    (pitch, pitch * height.next_power_of_two())
}

/// Slots that members take next to one another, and nobody where there are fewer: of a class's logits in multiplexed
/// packing, of an image with one channel per ciphertext.
#[must_use]
pub fn logit_step(members: usize) -> usize {
    members.next_power_of_two()
}

/// See [`ClientSpec::pack`].
pub(crate) fn pack<P: AsRef<[f32]>>(spec: &ClientSpec, images: &[P]) -> Result<Vec<Vec<f64>>, LayoutError> {
    let limit = spec.layout.images;
    if images.is_empty() || images.len() > limit {
        return Err(LayoutError::Batch { found: images.len(), limit });
    }
    let images = images.iter().map(|image| planes(spec, image.as_ref())).collect::<Result<Vec<_>, _>>()?;
    let rules = spec.layout.packing.rules();
    Ok(spec.input.ciphertexts.iter().map(|channels| rules.pack(spec, channels, &images)).collect())
}

/// The colours of an image on the ring of positions.
fn planes(spec: &ClientSpec, image: &[f32]) -> Result<Vec<Vec<f64>>, LayoutError> {
    let size = &spec.image;
    if image.len() != size.len() {
        return Err(LayoutError::ImageSize { found: image.len(), expected: size.len() });
    }
    let mut planes = vec![vec![0.0f64; spec.input.positions]; size.channels];
    for (plane, colour) in planes.iter_mut().zip(image.chunks_exact(size.height * size.width)) {
        for (row, pixels) in colour.chunks_exact(size.width).enumerate() {
            for (out, &pixel) in plane[row * spec.input.pitch..].iter_mut().zip(pixels) {
                *out = pixel.into();
            }
        }
    }
    Ok(planes)
}

/// See [`ClientSpec::read`].
pub(crate) fn read(
    spec: &ClientSpec,
    slots: &[&[f64]],
    count: usize,
) -> Result<Vec<Result<Logits, LayoutError>>, LayoutError> {
    let (wanted, results) = (spec.output.ciphertexts(), spec.layout.results());
    let wrong = |what, found: usize, expected: usize| LayoutError::Shape { what, found, expected };
    if count == 0 || count > results {
        return Err(LayoutError::Batch { found: count, limit: results });
    }
    if slots.len() != wanted {
        return Err(wrong("ciphertexts of logits", slots.len(), wanted));
    }
    if let Some(short) = slots.iter().find(|s| s.len() != spec.slots()) {
        return Err(wrong("slots", short.len(), spec.slots()));
    }
    let classes = spec.output.classes;
    let values = vec![Vec::with_capacity(classes); results];
    let mut found = Found { values, copies: vec![0.0; results], zero_slots: 0.0 };
    let rules = spec.layout.packing.rules();
    slots.iter().enumerate().for_each(|(k, slots)| rules.read(spec, k, slots, &mut found));
    let Found { values, copies, zero_slots } = found;
    let limit = spec.output.zero_limit();
    if !is_sound(zero_slots, limit) {
        return Err(LayoutError::ZeroSlots { found: zero_slots, limit });
    }
    let check = |(values, copies)| {
        let accepted = LIMIT.max(ERRORS * spec.logit_error);
        if !is_sound(copies, accepted) {
            return Err(LayoutError::Copies { found: copies, limit: accepted });
        }
        let residuals = Residuals { zero_slots: zero_slots / limit, copies: copies / accepted };
        let logits = Logits { values, residuals };
        logits.check(spec).map(|()| logits)
    };
    Ok(values.into_iter().zip(copies).take(count).map(check).collect())
}

/// See [`ClientSpec::free_slots`].
pub(crate) fn free_slots(spec: &ClientSpec, k: usize) -> FreeSlots {
    let rules = spec.layout.packing.rules();
    let is_free = (0..spec.output.period).map(|slot| place(spec, rules, k, slot).is_none()).collect();
    FreeSlots { is_free, repeats: rules.repeats() }
}

/// The vector, of those of a period, that a slot of a period of output ciphertext `k` holds a logit of, if any.
fn place(spec: &ClientSpec, rules: &dyn Rules, k: usize, slot: usize) -> Option<usize> {
    let OutputLayout { period, step, classes, .. } = spec.output;
    let class = k * (period / step) + slot / step;
    rules.vector(&spec.layout, slot % step).filter(|_| class < classes)
}

/// Reads an output whose logits occur again and again, one period after the other.
fn read_copies(spec: &ClientSpec, k: usize, slots: &[f64], found: &mut Found) {
    let period = spec.output.period;
    let rules = spec.layout.packing.rules();
    let copies = (slots.len() / period) as f64;
    for c in 0..period {
        let column = || slots.iter().skip(c).step_by(period);
        let Some(result) = place(spec, rules, k, c) else {
            found.zero_slots = column().fold(found.zero_slots, |a, v| larger(a, v.abs()));
            continue;
        };
        let mean = column().sum::<f64>() / copies;
        found.copies[result] = column().fold(found.copies[result], |a, v| larger(a, (v - mean).abs()));
        found.values[result].push(mean);
    }
}

/// The larger of two numbers; none where one of them is none.
fn larger(a: f64, b: f64) -> f64 {
    if b > a || b.is_nan() { b } else { a }
}

fn is_sound(residual: f64, limit: f64) -> bool {
    residual.is_finite() && residual <= limit
}

fn is_none_added(flooding: &f64) -> bool {
    *flooding == 0.0
}

fn one() -> usize {
    1
}

fn is_one(n: &usize) -> bool {
    *n == 1
}

impl Logits {
    /// Whether the logits are in their range.
    fn check(&self, spec: &ClientSpec) -> Result<(), LayoutError> {
        if let Some([low, high]) = spec.logit_range {
            // An image from outside the test set may go somewhat beyond it.
            let margin = high - low;
            if let Some(&value) = self.values.iter().find(|v| !(low - margin..=high + margin).contains(v)) {
                return Err(LayoutError::Range { value, low, high });
            }
        }
        Ok(())
    }
}
