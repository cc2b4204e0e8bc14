//! What a back end is.

use std::error::Error;

use umbra_ckks::{Gadget, KeyId, Level, Parameters, TransformSpec};

/// The operations that a run of a program needs.
///
/// A back end computes. It knows nothing of registers, of the order of steps or of progress: that is the run's
/// ([`crate::Prepared`]).
///
/// # Levels
/// Each of the three operations does the whole of a step. An operand above [`At::level_in`] is first aligned to it by a
/// mod switch, which needs that level's primes to be among the operand's. Where [`At::level_out`] is lower than
/// [`At::level_in`] the operation ends with a rational rescale, a division by [`Parameters::rescale_factor`]. So a back
/// end may fuse both with the work between them. Results are at `level_out`; their scale is [`At::scale_out`] up to
/// rounding.
///
/// # Refusals
/// Ciphertexts of other parameters or of another key set, operands that cannot be aligned, scales that do not fit, and
/// missing keys are errors, never panics and never results.
pub trait Backend: Sync {
    /// A ciphertext on the host's side: as clients send and get it.
    type Host: Send;
    /// A ciphertext on the back end's side. Dropping it frees what it takes.
    type Ciphertext;
    /// The weights of a linear step, prepared once for any number of runs. They depend on no key.
    type Transform: Send + Sync;
    /// Evaluation keys, or whatever runs of this back end differ in.
    type Keys<'k>: ?Sized + Sync
    where
        Self: 'k;
    /// What the back end holds of one run.
    type Run<'r>
    where
        Self: 'r;
    /// What can go wrong.
    type Error: Error + Send + Sync + 'static;

    /// The parameters of all that it computes on.
    fn parameters(&self) -> &Parameters;

    /// Encodes the weights of the linear step with this index.
    ///
    /// # Errors
    /// Weights that cannot be encoded, indices, levels or gadgets that do not fit.
    fn prepare(&self, step: usize, spec: &TransformSpec<'_>) -> Result<Self::Transform, Self::Error>;

    /// Begins a run.
    ///
    /// # Errors
    /// Keys that this back end cannot use.
    fn begin<'r>(&'r self, keys: &'r Self::Keys<'r>) -> Result<Self::Run<'r>, Self::Error>;

    /// Calls `work`, which is a whole run with `keys`, where this back end's runs are at home: in a pool of threads,
    /// for instance. The run will ask for the keys of `order` about in this order, so that they can be fetched beside
    /// it.
    fn within<R: Send>(&self, _keys: &Self::Keys<'_>, _order: &[KeyId], work: impl FnOnce() -> R + Send) -> R {
        work()
    }

    /// Level and scale of an input. The run asks for those of all inputs before it uploads any.
    ///
    /// # Errors
    /// An input of other parameters, or of another key set than the keys of the run.
    fn inspect(&self, run: &Self::Run<'_>, input: &Self::Host) -> Result<(Level, f64), Self::Error>;

    /// Takes over an input that was inspected. Inputs come in their order.
    ///
    /// # Errors
    /// Lack of room, faults of a device.
    fn upload(&self, run: &mut Self::Run<'_>, input: Self::Host) -> Result<Self::Ciphertext, Self::Error>;

    /// Gives back an output.
    ///
    /// # Errors
    /// Faults of a device.
    fn download(&self, run: &mut Self::Run<'_>, output: Self::Ciphertext) -> Result<Self::Host, Self::Error>;

    /// The square of each input, relinearized. See [`umbra_evaluate::Evaluator::square`].
    ///
    /// # Errors
    /// See [`Backend`]. The relinearization key of `gadget` may be missing.
    fn square(
        &self,
        run: &mut Self::Run<'_>,
        at: &At,
        inputs: &[&Self::Ciphertext],
        gadget: Gadget,
    ) -> Result<Vec<Self::Ciphertext>, Self::Error>;

    /// Each input plus its rotations by each of `rotations`. See [`umbra_evaluate::Evaluator::rotate_and_sum`].
    ///
    /// # Errors
    /// See [`Backend`]. The keys of the rotations and `gadget` may be missing.
    fn rotate_and_sum(
        &self,
        run: &mut Self::Run<'_>,
        at: &At,
        inputs: &[&Self::Ciphertext],
        rotations: &[i64],
        gadget: Gadget,
    ) -> Result<Vec<Self::Ciphertext>, Self::Error>;

    /// A linear transform of its inputs, those of all registers that it reads, in order. See [`umbra_ckks::linear`].
    ///
    /// # Errors
    /// See [`Backend`]. Keys of the transform's rotations may be missing, or inputs be more or fewer than it has.
    fn transform(
        &self,
        run: &mut Self::Run<'_>,
        at: &At,
        inputs: &[&Self::Ciphertext],
        transform: &Self::Transform,
    ) -> Result<Vec<Self::Ciphertext>, Self::Error>;
}

/// Where in a program an operation is, and what its result has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct At {
    /// Index of the step.
    pub step: usize,
    /// Level at which it works.
    pub level_in: Level,
    /// Level of the result.
    pub level_out: Level,
    /// Scale of the result.
    pub scale_out: f64,
}
