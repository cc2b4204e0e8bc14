//! The back end that computes here.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use umbra_ckks::{Ciphertext, CkksError, Gadget, KeyId, KeyStore, Level, Parameters, TransformSpec};
use umbra_evaluate::{Engine, Evaluator, LinearTransform};

use crate::backend::{At, Backend};

/// The CPU, by the kernels of its parameters.
///
/// It is exact: the same inputs and keys give the same bits, whatever the kernels and however many threads.
#[derive(Clone, Debug)]
pub struct Cpu {
    /// Its tables last from run to run.
    engine: Engine,
}

impl Cpu {
    /// The back end for these parameters.
    #[must_use]
    pub fn new(parameters: &Parameters) -> Self {
        Self { engine: Engine::new(parameters) }
    }
}

impl Backend for Cpu {
    type Host = Ciphertext;
    type Ciphertext = Ciphertext;
    type Transform = LinearTransform;
    type Keys<'k> = dyn KeyStore + 'k;
    type Run<'r> = Evaluator<'r>;
    type Error = CkksError;

    fn parameters(&self) -> &Parameters {
        self.engine.parameters()
    }

    fn prepare(&self, _: usize, spec: &TransformSpec<'_>) -> Result<LinearTransform, CkksError> {
        LinearTransform::new(&self.engine, spec)
    }

    fn begin<'r>(&'r self, keys: &'r (dyn KeyStore + 'r)) -> Result<Evaluator<'r>, CkksError> {
        Ok(Evaluator::new(&self.engine, keys))
    }

    /// From inside the pool of threads: a caller outside would sleep and be woken at every loop.
    ///
    /// Other threads of the pool first load keys, in their order, while the run goes on with those that are there: all
    /// of them are busy from the beginning.
    fn within<R: Send>(&self, keys: &(dyn KeyStore + '_), order: &[KeyId], work: impl FnOnce() -> R + Send) -> R {
        let over = AtomicBool::new(false);
        rayon::scope_fifo(|scope| {
            let over = &over;
            for &id in order {
                scope.spawn_fifo(move |_| {
                    if !over.load(Ordering::Relaxed) {
                        keys.prefetch(id);
                    }
                });
            }
            let result = work();
            // Keys that a run which was stopped did not come to.
            over.store(true, Ordering::Relaxed);
            result
        })
    }

    fn inspect(&self, run: &Evaluator<'_>, input: &Ciphertext) -> Result<(Level, f64), CkksError> {
        const OP: &str = "read an input";
        self.engine.parameters().check_same(OP, input.parameters())?;
        let (expected, found) = (run.key_set(), input.key_set());
        if expected != found {
            return Err(CkksError::OtherKeySet { op: OP, expected, found });
        }
        Ok((input.level(), input.scale()))
    }

    fn upload(&self, _: &mut Evaluator<'_>, input: Ciphertext) -> Result<Ciphertext, CkksError> {
        Ok(input)
    }

    fn download(&self, _: &mut Evaluator<'_>, output: Ciphertext) -> Result<Ciphertext, CkksError> {
        Ok(output)
    }

    fn square(
        &self,
        run: &mut Evaluator<'_>,
        at: &At,
        inputs: &[&Ciphertext],
        gadget: Gadget,
    ) -> Result<Vec<Ciphertext>, CkksError> {
        each(run, at, inputs, |x| run.square(x, gadget))
    }

    fn rotate_and_sum(
        &self,
        run: &mut Evaluator<'_>,
        at: &At,
        inputs: &[&Ciphertext],
        rotations: &[i64],
        gadget: Gadget,
    ) -> Result<Vec<Ciphertext>, CkksError> {
        each(run, at, inputs, |x| run.rotate_and_sum(x, rotations, gadget))
    }

    fn transform(
        &self,
        run: &mut Evaluator<'_>,
        _: &At,
        inputs: &[&Ciphertext],
        transform: &LinearTransform,
    ) -> Result<Vec<Ciphertext>, CkksError> {
        run.transform(inputs, transform)
    }
}

/// Aligns each input, works on it, and rescales the result, one after the other: each of them keeps all threads busy.
fn each(
    run: &Evaluator<'_>,
    at: &At,
    inputs: &[&Ciphertext],
    work: impl Fn(&Ciphertext) -> Result<Ciphertext, CkksError>,
) -> Result<Vec<Ciphertext>, CkksError> {
    let one = |input: &&Ciphertext| {
        let result = work(&*aligned(run, input, at.level_in)?)?;
        if at.level_out == at.level_in { Ok(result) } else { run.rescale(&result, at.level_out) }
    };
    inputs.iter().map(one).collect()
}

fn aligned<'c>(run: &Evaluator<'_>, input: &'c Ciphertext, level: Level) -> Result<Cow<'c, Ciphertext>, CkksError> {
    if input.level() == level { Ok(Cow::Borrowed(input)) } else { run.mod_switch(input, level).map(Cow::Owned) }
}
