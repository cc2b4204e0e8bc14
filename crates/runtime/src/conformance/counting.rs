//! A back end that counts what another one is asked to do.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use umbra_ckks::{Diagonal, Gadget, KeyId, Level, Parameters, TransformSpec};
use umbra_program::Counts;

use crate::backend::{At, Backend};

/// Wraps a back end and counts its work, to be compared with what [`umbra_program::count()`] says of the program.
///
/// Of [`Counts`] it knows squares, rotations, decompositions, products, word multiplications and rescales. Where inputs
/// that share a weight are added first, a back end cannot tell from what it is asked how they are grouped: each weight
/// that is not zero is a product.
pub struct Counting<B> {
    inner: B,
    counts: Mutex<Counts>,
}

impl<B> Counting<B> {
    /// Counts what `inner` is asked to do.
    #[must_use]
    pub fn new(inner: B) -> Self {
        Self { inner, counts: Mutex::default() }
    }

    /// What was done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, work: impl FnOnce(&mut Counts)) {
        work(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl<B: Backend> Backend for Counting<B> {
    type Host = B::Host;
    type Ciphertext = B::Ciphertext;
    type Transform = (B::Transform, Counts);
    type Keys<'k>
        = B::Keys<'k>
    where
        Self: 'k;
    type Run<'r>
        = B::Run<'r>
    where
        Self: 'r;
    type Error = B::Error;

    fn parameters(&self) -> &Parameters {
        self.inner.parameters()
    }

    fn prepare(&self, step: usize, spec: &TransformSpec<'_>) -> Result<Self::Transform, B::Error> {
        Ok((self.inner.prepare(step, spec)?, of_transform(spec, self.parameters())))
    }

    fn begin<'r>(&'r self, keys: &'r Self::Keys<'r>) -> Result<Self::Run<'r>, B::Error> {
        self.inner.begin(keys)
    }

    fn within<R: Send>(&self, keys: &Self::Keys<'_>, order: &[KeyId], work: impl FnOnce() -> R + Send) -> R {
        self.inner.within(keys, order, work)
    }

    fn inspect(&self, run: &Self::Run<'_>, input: &B::Host) -> Result<(Level, f64), B::Error> {
        self.inner.inspect(run, input)
    }

    fn upload(&self, run: &mut Self::Run<'_>, input: B::Host) -> Result<B::Ciphertext, B::Error> {
        self.inner.upload(run, input)
    }

    fn download(&self, run: &mut Self::Run<'_>, output: B::Ciphertext) -> Result<B::Host, B::Error> {
        self.inner.download(run, output)
    }

    fn square(
        &self,
        run: &mut Self::Run<'_>,
        at: &At,
        inputs: &[&B::Ciphertext],
        gadget: Gadget,
    ) -> Result<Vec<B::Ciphertext>, B::Error> {
        self.add(|counts| {
            for _ in inputs {
                counts.squares += 1;
                counts.decompositions += 1;
                counts.rescales += u64::from(at.level_out < at.level_in);
            }
        });
        self.inner.square(run, at, inputs, gadget)
    }

    fn rotate_and_sum(
        &self,
        run: &mut Self::Run<'_>,
        at: &At,
        inputs: &[&B::Ciphertext],
        rotations: &[i64],
        gadget: Gadget,
    ) -> Result<Vec<B::Ciphertext>, B::Error> {
        self.add(|counts| {
            for _ in inputs {
                counts.decompositions += 1;
                rotations.iter().for_each(|_| counts.hoisted_rotations += 1);
            }
        });
        self.inner.rotate_and_sum(run, at, inputs, rotations, gadget)
    }

    fn transform(
        &self,
        run: &mut Self::Run<'_>,
        at: &At,
        inputs: &[&B::Ciphertext],
        (transform, own): &Self::Transform,
    ) -> Result<Vec<B::Ciphertext>, B::Error> {
        self.add(|counts| {
            counts.hoisted_rotations += own.hoisted_rotations;
            counts.full_rotations += own.full_rotations;
            counts.decompositions += own.decompositions;
            counts.plaintext_products += own.plaintext_products;
            counts.multiply_accumulates += own.multiply_accumulates;
            counts.rescales += own.rescales;
        });
        self.inner.transform(run, at, inputs, transform)
    }
}

/// Goes through a transform as it is defined, baby steps first, and counts on the way.
fn of_transform(spec: &TransformSpec<'_>, parameters: &Parameters) -> Counts {
    let mut counts = Counts::default();
    let plan = spec.plan;
    for input in 0..spec.weight_scales.len() {
        let used = |baby: usize| spec.diagonals.iter().any(|d| (d.input as usize, d.baby as usize) == (input, baby));
        let rotated = (0..plan.babies.len()).filter(|&baby| plan.babies[baby] != 0 && used(baby)).count() as u64;
        counts.hoisted_rotations += rotated;
        counts.decompositions += u64::from(rotated > 0);
    }
    for output in 0..spec.outputs {
        for (o, &outer) in plan.outer.iter().enumerate() {
            let mut any = false;
            for (i, &inner) in plan.inner.iter().enumerate() {
                let here = |d: &&Diagonal| (d.output as usize, d.outer as usize, d.inner as usize) == (output, o, i);
                // The two parts of a complex weight are one product.
                let products: BTreeSet<(u32, u16)> = (spec.diagonals.iter().filter(here))
                    .filter(|d| !spec.add_first || !is_zero(spec, d))
                    .map(|d| (d.input, d.baby))
                    .collect();
                counts.plaintext_products += products.len() as u64;
                if spec.diagonals.iter().any(|d| here(&d)) {
                    any = true;
                    counts.full_rotations += u64::from(inner != 0);
                }
            }
            counts.full_rotations += u64::from(any && outer != 0);
        }
        if plan.imaginary_steps.is_some() {
            counts.full_rotations += 1;
            counts.hoisted_rotations += 2;
        }
        counts.rescales += u64::from(spec.level_out < spec.level);
    }
    counts.decompositions += counts.full_rotations;
    let literal = parameters.literal();
    let extended = literal.levels[spec.level.index()].len() + literal.gadgets[spec.gadget.index()].special.len();
    counts.multiply_accumulates = counts.plaintext_products * (2 * extended * parameters.n()) as u64;
    counts
}

/// Whether a weight of period 1 is nothing once it is rounded.
fn is_zero(spec: &TransformSpec<'_>, d: &Diagonal) -> bool {
    let scale = spec.weight_scales.get(d.input as usize).copied().unwrap_or(1.0);
    d.values.iter().all(|&value| (f64::from(value) * scale).round() == 0.0)
}
