//! Checks of a [`Program`] and of a [`ClientSpec`](crate::ClientSpec): one that was read from a file is hostile.

mod client;
mod demand;
mod step;

use demand::{Demand, GIB, MAX_WORKING};
use step::StepCheck;

use crate::{Operation, Program, ProgramError, RegisterState, Report};

/// Registers a program may have at most.
const MAX_REGISTERS: usize = 1 << 10;
/// Ciphertexts a register may hold at most.
pub const MAX_CIPHERTEXTS: usize = 1 << 9;
/// Ciphertexts that a linear transform may read at most, those of all its inputs.
const MAX_READ: usize = 16 * MAX_CIPHERTEXTS;
/// Steps a program may have at most.
const MAX_STEPS: usize = 1 << 14;
/// Primes, levels and gadgets at most.
const MAX_COUNT: usize = 512;
/// Classes at most.
const MAX_CLASSES: usize = 1 << 16;
/// Relative difference at which scales count as equal.
const SCALE_TOLERANCE: f64 = 1e-9;

pub(crate) use client::client;

impl Program {
    /// Checks everything that running the program relies on: indices, levels, scales, periods, the use of registers,
    /// finite numbers, memory; and that its names can be shown. The security of the parameters is checked where they
    /// are built.
    ///
    /// # Errors
    /// [`ProgramError`] for the first thing that does not fit.
    pub fn check(&self) -> Result<(), ProgramError> {
        self.client.check()?;
        self.check_names()?;
        let mut registers = self.registers()?;
        if self.steps.len() > MAX_STEPS {
            return Err(invalid("number of steps", self.steps.len(), format!("at most {MAX_STEPS}")));
        }
        let mut kept = Demand::default();
        for (index, step) in self.steps.iter().enumerate() {
            let check = StepCheck { program: self, index, step, registers: &registers };
            let state = check.check()?;
            if let Operation::Linear(linear) = &step.operation {
                kept.keep(&check.demand(linear)?);
            }
            registers[step.destination.index()] = Some(state);
        }
        let working = self.working_bytes() as f64;
        if working > MAX_WORKING {
            return Err(invalid("memory for ciphertexts", gib(working), format!("at most {}", gib(MAX_WORKING))));
        }
        if kept.weights > kept.allowed() {
            let expected = format!("at most {}: nearly all of it is zeros or copies of masks", gib(kept.allowed()));
            return Err(invalid("memory for encoded weights", gib(kept.weights), expected));
        }
        let keys = self.key_set();
        if self.client.keys != keys {
            let expected = format!("the {} that the steps need", keys.len());
            return Err(invalid("list of keys", format!("one of {}", self.client.keys.len()), expected));
        }
        let output = &self.client.output;
        let (level, scale, ciphertexts) = (output.level, output.scale, output.ciphertexts());
        match crate::state_of(&registers, self.output) {
            Some(s) if s.level == level && close(s.scale, scale) && s.ciphertexts == ciphertexts => Ok(()),
            state => Err(invalid(
                "output register",
                format!("{state:?}"),
                format!("{ciphertexts} ciphertexts at level {level} and scale {scale}"),
            )),
        }
    }

    /// The registers before the first step.
    fn registers(&self) -> Result<Vec<Option<RegisterState>>, ProgramError> {
        if self.registers == 0 || self.registers > MAX_REGISTERS {
            return Err(invalid("number of registers", self.registers, format!("1 to {MAX_REGISTERS}")));
        }
        let mut registers = vec![None; self.registers];
        let input = &self.client.input;
        match registers.get_mut(self.input.index()) {
            Some(register) => {
                let ciphertexts = input.ciphertexts.len();
                *register = Some(RegisterState { level: input.level, scale: input.scale, ciphertexts });
                Ok(registers)
            }
            None => Err(invalid("input register", self.input, format!("below {}", self.registers))),
        }
    }

    /// What people are shown has nothing in it that a terminal would obey.
    fn check_names(&self) -> Result<(), ProgramError> {
        let Report { without, notes, .. } = &self.report;
        let lists = [("pass left out", without), ("note", notes)];
        let listed = lists.into_iter().flat_map(|(what, list)| list.iter().map(move |text| (what, text)));
        let nodes = self.steps.iter().map(|step| ("node of a step", &step.node));
        printable(listed.chain(nodes))
    }
}

fn printable<'a>(mut texts: impl Iterator<Item = (&'static str, &'a String)>) -> Result<(), ProgramError> {
    match texts.find(|(_, text)| !umbra_file::is_printable(text)) {
        None => Ok(()),
        Some((what, text)) => Err(invalid(what, format!("{text:?}"), "printable characters".into())),
    }
}

fn invalid(what: &'static str, found: impl ToString, expected: String) -> ProgramError {
    ProgramError::Invalid { what, found: found.to_string(), expected }
}

fn gib(bytes: f64) -> String {
    format!("{:.1} GiB", bytes / GIB)
}

fn is_scale(scale: f64) -> bool {
    scale.is_finite() && scale >= 1.0
}

fn close(a: f64, b: f64) -> bool {
    ((a - b) / b).abs() <= SCALE_TOLERANCE
}
