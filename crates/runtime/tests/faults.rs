//! The suite finds what is wrong with a back end: faults are planted in that of the CPU.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};

use umbra_ckks::{
    Bsgs, Ciphertext, CkksError, Gadget, KeyId, KeyStore, Level, Parameters, ParametersLiteral, TransformSpec,
};
use umbra_evaluate::{Evaluator, LinearTransform};
use umbra_program::Program;
use umbra_ring::kernels::Kernels;
use umbra_runtime::conformance::{CkksClient, CpuSubject, Subject, Verdict, agree, run};
use umbra_runtime::{At, Backend, Cpu};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// The last of several rotations is left out.
    DroppedRotation,
    /// Squares are rescaled to one level less than they should be.
    WrongLevel,
    /// The square is the number itself.
    SquareIsInput,
    /// Results come in reverse order.
    ReversedOutputs,
    /// Biases are left out.
    NoBias,
    /// Imaginary parts are rotated by one step too many.
    WrongImaginarySteps,
    /// Errors of rotations are a thousand times those of the input's scale.
    Noisy,
    /// Inputs of any key set and parameters are taken.
    Credulous,
    /// Every other run gives other bits.
    Moody,
    /// Keys that are missing are not missed: there is nothing to add then.
    Forgiving,
}

/// Faults, each with a check that must find it; others may, too.
const FAULTS: [(Fault, &str); 10] = [
    (Fault::DroppedRotation, "rotate and sum"),
    (Fault::WrongLevel, "rescale, also by adding primes"),
    (Fault::SquareIsInput, "square and relinearize"),
    (Fault::ReversedOutputs, "linear transform, real weights"),
    (Fault::NoBias, "linear transform, real weights"),
    (Fault::WrongImaginarySteps, "linear transform, complex packing of giant steps"),
    (Fault::Noisy, "rotate and sum"),
    (Fault::Credulous, "refuses inputs that do not belong"),
    (Fault::Moody, "the same bits again, whatever the threads"),
    (Fault::Forgiving, "refuses to work without a key"),
];

#[test]
fn every_planted_fault_is_reported() {
    for (fault, check) in FAULTS {
        let report = run(&FaultySubject(fault));
        let failed: Vec<&str> = report.failed().collect();
        assert!(failed.contains(&check), "{fault:?}:\n{report}");
    }
}

#[test]
fn nothing_is_reported_without_a_fault() {
    run(&FaultySubject(Fault::None)).assert_passed();
}

#[test]
fn a_back_end_of_other_bits_does_not_agree() {
    let cpu = CpuSubject(Kernels::best());
    let report = agree(&cpu, &FaultySubject(Fault::Moody));
    assert!(matches!(report.outcomes[0].verdict, Verdict::Failed(_)), "{report}");
    agree(&cpu, &FaultySubject(Fault::None)).assert_passed();
}

struct FaultySubject(Fault);

impl Subject for FaultySubject {
    type Host = Ciphertext;
    type Client = CkksClient;
    type Backend<'p> = Faulty;

    fn parameters(&self, literal: ParametersLiteral) -> Result<Parameters, CkksError> {
        Parameters::insecure_for_tests(literal, Kernels::best())
    }

    fn backend(&self, parameters: &Parameters, _: &Program) -> Result<Faulty, Box<dyn Error + Send + Sync>> {
        Ok(Faulty { cpu: Cpu::new(parameters), fault: self.0, odd: AtomicBool::new(false) })
    }

    fn client(&self, parameters: &Parameters, keys: &[KeyId]) -> Result<CkksClient, CkksError> {
        CkksClient::new(parameters, keys)
    }

    fn keys<'k, 'p>(&self, client: &'k CkksClient) -> &'k (dyn KeyStore + 'k)
    where
        Self::Backend<'p>: 'k,
    {
        client.keys()
    }

    fn encrypt(&self, client: &CkksClient, slots: &[f64], level: Level, scale: f64) -> Result<Ciphertext, CkksError> {
        client.encrypt(slots, level, scale)
    }

    fn decrypt(&self, client: &CkksClient, ciphertext: &Ciphertext) -> Result<Vec<f64>, CkksError> {
        client.decrypt(ciphertext)
    }
}

struct Faulty {
    cpu: Cpu,
    fault: Fault,
    /// Whether an odd number of runs was begun.
    odd: AtomicBool,
}

impl Faulty {
    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// A multiple of a ciphertext's scale that is large against noise and small against values.
    fn noisy(&self, run: &Evaluator<'_>, c: &Ciphertext) -> Result<Ciphertext, CkksError> {
        let unit = 1000.0 * umbra_ckks::noise::fresh_secret(self.cpu.parameters().log_n()) / c.scale();
        run.add_plain(c, &umbra_ckks::encode(self.cpu.parameters(), &[unit], c.level(), c.scale())?)
    }
}

impl Backend for Faulty {
    type Host = Ciphertext;
    type Ciphertext = Ciphertext;
    type Transform = LinearTransform;
    type Keys<'k> = dyn KeyStore + 'k;
    type Run<'r> = Evaluator<'r>;
    type Error = CkksError;

    fn parameters(&self) -> &Parameters {
        self.cpu.parameters()
    }

    fn prepare(&self, step: usize, spec: &TransformSpec<'_>) -> Result<LinearTransform, CkksError> {
        let bias: Vec<Vec<f64>> = spec.bias.iter().map(|b| vec![0.0; b.len()]).collect();
        let imaginary_steps = spec.plan.imaginary_steps.map(|steps| steps + 1);
        let plan = Bsgs { imaginary_steps, ..spec.plan.clone() };
        let mut spec = spec.clone();
        if self.has(Fault::NoBias) {
            spec.bias = &bias;
        }
        if self.has(Fault::WrongImaginarySteps) {
            spec.plan = &plan;
        }
        self.cpu.prepare(step, &spec)
    }

    fn begin<'r>(&'r self, keys: &'r (dyn KeyStore + 'r)) -> Result<Evaluator<'r>, CkksError> {
        self.odd.fetch_xor(true, Ordering::Relaxed);
        self.cpu.begin(keys)
    }

    fn inspect(&self, run: &Evaluator<'_>, input: &Ciphertext) -> Result<(Level, f64), CkksError> {
        if self.has(Fault::Credulous) { Ok((input.level(), input.scale())) } else { self.cpu.inspect(run, input) }
    }

    fn upload(&self, run: &mut Evaluator<'_>, input: Ciphertext) -> Result<Ciphertext, CkksError> {
        self.cpu.upload(run, input)
    }

    fn download(&self, run: &mut Evaluator<'_>, output: Ciphertext) -> Result<Ciphertext, CkksError> {
        let moody = self.has(Fault::Moody) && self.odd.load(Ordering::Relaxed);
        if moody { run.mul_integer(&output, -1).and_then(|c| run.mul_integer(&c, -2)) } else { Ok(output) }
    }

    fn square(
        &self,
        run: &mut Evaluator<'_>,
        at: &At,
        inputs: &[&Ciphertext],
        gadget: Gadget,
    ) -> Result<Vec<Ciphertext>, CkksError> {
        if self.has(Fault::SquareIsInput) {
            return inputs.iter().map(|c| run.mod_switch(c, at.level_in)).collect();
        }
        let lower = Level(at.level_out.0.saturating_sub(1));
        let at = if self.has(Fault::WrongLevel) { At { level_out: lower, ..*at } } else { *at };
        self.cpu.square(run, &at, inputs, gadget)
    }

    fn rotate_and_sum(
        &self,
        run: &mut Evaluator<'_>,
        at: &At,
        inputs: &[&Ciphertext],
        rotations: &[i64],
        gadget: Gadget,
    ) -> Result<Vec<Ciphertext>, CkksError> {
        let kept = rotations.len() - usize::from(self.has(Fault::DroppedRotation) && rotations.len() > 1);
        let result = self.cpu.rotate_and_sum(run, at, inputs, &rotations[..kept], gadget);
        match result {
            Err(CkksError::MissingKey(_)) if self.has(Fault::Forgiving) => {
                inputs.iter().map(|c| run.mod_switch(c, at.level_in)).collect()
            }
            Ok(sums) if self.has(Fault::Noisy) => sums.iter().map(|c| self.noisy(run, c)).collect(),
            result => result,
        }
    }

    fn transform(
        &self,
        run: &mut Evaluator<'_>,
        at: &At,
        inputs: &[&Ciphertext],
        transform: &LinearTransform,
    ) -> Result<Vec<Ciphertext>, CkksError> {
        let mut outputs = self.cpu.transform(run, at, inputs, transform)?;
        if self.has(Fault::ReversedOutputs) {
            outputs.reverse();
        }
        Ok(outputs)
    }
}
