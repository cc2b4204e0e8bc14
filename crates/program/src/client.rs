//! What a client needs of a program: no weights, no names of layers.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use umbra_ckks::{KeyId, ParametersLiteral};
use umbra_image::{Familiar, ImageSpec};

use crate::layout::{FreeSlots, InputLayout, Layout, Logits, OutputLayout};
use crate::{LayoutError, ProgramError};

/// How a client makes keys, encrypts images and reads results.
///
/// It says nothing of a network but what shows from outside: the sizes of images and results, and how many levels and
/// which rotations the server needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientSpec {
    /// The network's name.
    pub name: String,
    /// One name a logit.
    pub classes: Vec<String>,
    /// Size and normalisation of the images.
    pub image: ImageSpec,
    /// Range of the logits in training, where known: results far outside are not to be believed.
    pub logit_range: Option<[f64; 2]>,
    /// Predicted standard deviation of a logit's error.
    pub logit_error: f64,
    /// What images and logits of training were like, where known: others are pointed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub familiar: Option<Familiar>,
    /// What slots stand for.
    pub layout: Layout,
    /// How images become ciphertexts.
    pub input: InputLayout,
    /// Where the logits are.
    pub output: OutputLayout,
    /// Parameters of the scheme.
    pub parameters: ParametersLiteral,
    /// The evaluation keys that the server needs, each once, at the highest level of its use.
    #[serde(with = "crate::key_list")]
    pub keys: Vec<KeyId>,
}

impl ClientSpec {
    /// Number of slots of a ciphertext: N/2.
    #[must_use]
    pub fn slots(&self) -> usize {
        1 << (self.parameters.log_n.clamp(1, 31) - 1)
    }

    /// Bytes of the evaluation keys in a file: one half of each; the other comes from a seed.
    #[must_use]
    pub fn key_bytes(&self) -> u64 {
        self.keys.iter().map(|key| key.bytes(&self.parameters)).sum()
    }

    /// Slot vectors of the input ciphertexts for normalised images (each `[channels, height, width]`): as many images
    /// as are classified at once, or fewer; batch slots without image are 0.
    ///
    /// # Errors
    /// [`LayoutError::ImageSize`] for a wrong number of values, [`LayoutError::Batch`] for a wrong number of images.
    pub fn pack<P: AsRef<[f32]>>(&self, images: &[P]) -> Result<Vec<Vec<f64>>, LayoutError> {
        crate::layout::pack(self, images)
    }

    /// Reads the first `count` vectors of logits out of the slots of the output ciphertexts: of the images of a batch,
    /// of the members of an ensemble, or of each image's members image by image ([`Layout::results`]).
    ///
    /// # Errors
    /// [`LayoutError::ZeroSlots`] when the result is not to be believed; [`LayoutError::Batch`] for more vectors than
    /// there are; [`LayoutError::Shape`] for a wrong number of ciphertexts or slots. Of single vectors:
    /// [`LayoutError::Copies`], [`LayoutError::Range`].
    pub fn read(&self, slots: &[&[f64]], count: usize) -> Result<Vec<Result<Logits, LayoutError>>, LayoutError> {
        crate::layout::read(self, slots, count)
    }

    /// The slots of output ciphertext `k` that hold no logit.
    #[must_use]
    pub fn free_slots(&self, k: usize) -> FreeSlots {
        crate::layout::free_slots(self, k)
    }

    /// Checks everything that a client relies on: parameters, keys, layouts, numbers; and that its names can be shown.
    /// The security of the parameters is checked where they are built.
    ///
    /// # Errors
    /// [`ProgramError`] for the first thing that does not fit.
    pub fn check(&self) -> Result<(), ProgramError> {
        crate::check::client(self)
    }

    /// Whether keys made for `other` serve this specification: the parameters are the same, and every key is there.
    #[must_use]
    pub fn accepts_keys_of(&self, other: &Self) -> bool {
        let serves =
            |key: &KeyId, own: &KeyId| key.gadget == own.gadget && key.kind == own.kind && key.level >= own.level;
        self.parameters == other.parameters && self.keys.iter().all(|own| other.keys.iter().any(|key| serves(key, own)))
    }

    /// The name of a class, or its number where there is none of that index.
    #[must_use]
    pub fn class(&self, index: usize) -> Cow<'_, str> {
        self.classes
            .get(index)
            .map_or_else(|| Cow::Owned(format!("class {index}")), |name| Cow::Borrowed(name.as_str()))
    }
}
