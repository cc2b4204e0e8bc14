//! Checks of a step.

use std::collections::BTreeSet;

use umbra_ckks::{Diagonal, Gadget, ParametersLiteral};

use super::demand::{Demand, MAX_STRIP, MAX_SUMS};
use super::{MAX_CIPHERTEXTS, MAX_READ, close, gib, is_scale};
use crate::{Linear, Operation, Program, ProgramError, Register, RegisterState, Step, state_of};

/// One step and what the registers hold before it.
pub(super) struct StepCheck<'a> {
    pub(super) program: &'a Program,
    pub(super) index: usize,
    pub(super) step: &'a Step,
    pub(super) registers: &'a [Option<RegisterState>],
}

impl StepCheck<'_> {
    fn error(&self, what: &'static str, found: impl ToString, expected: impl ToString) -> ProgramError {
        ProgramError::Step {
            step: self.index,
            node: self.step.node.clone(),
            what,
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }

    pub(super) fn check(&self) -> Result<RegisterState, ProgramError> {
        let Step { operation, destination, level_in, level_out, scale_out, estimate, .. } = self.step;
        let levels = &self.program.client.parameters.levels;
        if destination.index() >= self.program.registers {
            return Err(self.error("destination", destination, format!("below {}", self.program.registers)));
        }
        if level_in.index() >= levels.len() || level_out > level_in {
            return Err(self.error("level", format!("{level_in} to {level_out}"), "levels that exist, not ascending"));
        }
        if !(is_scale(*scale_out) && estimate.seconds.is_finite() && estimate.error_std.is_finite()) {
            return Err(self.error("scale or estimate", scale_out, "finite numbers"));
        }
        let (scale, ciphertexts) = match operation {
            Operation::Square { source, gadget } => {
                let state = self.source(*source)?;
                self.gadget(*gadget)?;
                (state.scale * state.scale, state.ciphertexts)
            }
            Operation::RotateSum { source, rotations, gadget } => {
                let state = self.source(*source)?;
                self.gadget(*gadget)?;
                self.rotations("rotations", rotations)?;
                if rotations.contains(&0) || level_out != level_in {
                    return Err(self.error("rotations", format!("{rotations:?}"), "nonzero rotations and no rescale"));
                }
                (state.scale, state.ciphertexts)
            }
            Operation::Linear(linear) => (self.linear(linear)?, linear.outputs()),
        };
        let factor = self.program.client.parameters.rescale_factor(*level_in, *level_out);
        let expected = factor.map_or(f64::NAN, |factor| scale / factor);
        if !close(expected, *scale_out) {
            return Err(self.error("scale of the result", scale_out, expected));
        }
        Ok(RegisterState { level: *level_out, scale: *scale_out, ciphertexts })
    }

    fn source(&self, register: Register) -> Result<RegisterState, ProgramError> {
        let Some(state) = state_of(self.registers, register) else {
            return Err(self.error("source", register, "a register written before"));
        };
        let levels = &self.program.client.parameters.levels;
        let own = &levels[self.step.level_in.index()];
        if state.level < self.step.level_in || !own.iter().all(|p| levels[state.level.index()].contains(p)) {
            let expected = format!("level {} or one that contains its primes", self.step.level_in);
            return Err(self.error("level of an operand", state.level, expected));
        }
        Ok(state)
    }

    fn gadget(&self, gadget: Gadget) -> Result<(), ProgramError> {
        let parameters = &self.program.client.parameters;
        let level = &parameters.levels[self.step.level_in.index()];
        match parameters.gadgets.get(gadget.index()) {
            Some(g) if g.serves(level) => Ok(()),
            _ => Err(self.error("gadget", gadget, format!("one that serves level {}", self.step.level_in))),
        }
    }

    fn rotations(&self, what: &'static str, rotations: &[i64]) -> Result<(), ProgramError> {
        let half = (self.program.slots() / 2) as i64;
        if rotations.len() > 1 << 15 || !rotations.iter().all(|r| (-half + 1..=half).contains(r)) {
            return Err(self.error(what, "a rotation out of range", format!("{} to {half}", -half + 1)));
        }
        if rotations.iter().collect::<BTreeSet<_>>().len() != rotations.len() {
            return Err(self.error(what, "a list with repetitions", "distinct rotations"));
        }
        Ok(())
    }

    /// Returns the scale of the products.
    fn linear(&self, linear: &Linear) -> Result<f64, ProgramError> {
        let Linear { inputs, plan, diagonals, period, masks, bias, gadget, add_first } = linear;
        if !period.is_power_of_two() || *period > self.program.slots() {
            return Err(self.error("period", period, format!("a power of two up to {}", self.program.slots())));
        }
        let span = linear.plaintext_period();
        let longer = span.is_power_of_two() && (*period..=self.program.slots()).contains(&span);
        if !longer || masks.len() > usize::from(u16::MAX) || masks.iter().any(|m| m.len() != span) {
            let expected = format!("at most {}, of one power of two from {period} on", u16::MAX);
            return Err(self.error("masks", format!("{} of {span}", masks.len()), expected));
        }
        if bias.is_empty() || bias.len() > MAX_CIPHERTEXTS || bias.iter().any(|b| b.len() != span) {
            return Err(self.error("bias", bias.len(), format!("1 to {MAX_CIPHERTEXTS} ciphertexts of {span} values")));
        }
        if !bias.iter().flatten().all(|v| v.is_finite()) {
            return Err(self.error("bias", "not finite", "finite numbers"));
        }
        let (mut ciphertexts, mut scale) = (0, None);
        for input in inputs {
            let state = self.source(input.source)?;
            ciphertexts += state.ciphertexts;
            let product = state.scale * input.weight_scale;
            if !is_scale(input.weight_scale) || !is_scale(product) || scale.is_some_and(|s| !close(s, product)) {
                return Err(self.error(
                    "scale of the products",
                    product,
                    format!("that of the first input, {scale:?}"),
                ));
            }
            scale = scale.or(Some(product));
        }
        let Some(scale) = scale else { return Err(self.error("number of inputs", 0, "at least 1")) };
        if ciphertexts > MAX_READ {
            return Err(self.error("number of input ciphertexts", ciphertexts, format!("at most {MAX_READ}")));
        }
        for (what, list) in [("babies", &plan.babies), ("inner giants", &plan.inner), ("outer giants", &plan.outer)] {
            self.rotations(what, list)?;
            if !list.contains(&0) {
                return Err(self.error(what, "a list without 0", "one with 0"));
            }
        }
        if let Some(steps) = plan.imaginary_steps {
            self.rotations("rotation of imaginary parts", &[steps])?;
            if steps == 0 || !masks.is_empty() {
                let found = format!("{steps} with {} masks", masks.len());
                return Err(self.error("rotation of imaginary parts", found, "a rotation other than 0, and no masks"));
            }
        }
        if *add_first && !linear.has_integers() {
            let found = format!("weights of period {period}, {} masks", masks.len());
            return Err(self.error(
                "weights that are added up first",
                found,
                "period 1, no masks and no complex weights",
            ));
        }
        self.gadget(*gadget)?;
        let key = |d: &Diagonal| (d.place(), d.imaginary);
        if !diagonals.is_sorted_by(|a, b| key(a) < key(b)) {
            return Err(self.error("list of diagonals", "not in order", "each once, sorted"));
        }
        for d in diagonals {
            let fits = (d.output as usize) < bias.len()
                && (d.input as usize) < ciphertexts
                && (d.outer as usize) < plan.outer.len()
                && (d.inner as usize) < plan.inner.len()
                && (d.baby as usize) < plan.babies.len()
                && d.mask.is_none_or(|m| usize::from(m) < masks.len())
                && (!d.imaginary || plan.imaginary_steps.is_some());
            if !fits || d.values.len() != *period || !d.values.iter().all(|v| v.is_finite()) {
                return Err(self.error("diagonal", format!("{:?}", key(d)), "indices in range, one period of numbers"));
            }
        }
        Ok(scale * plan.factor())
    }

    /// The memory that a checked transform takes, where one step may take as much.
    pub(super) fn demand(&self, linear: &Linear) -> Result<Demand, ProgramError> {
        let ParametersLiteral { log_n, levels, gadgets, .. } = &self.program.client.parameters;
        let limbs = levels[self.step.level_in.index()].len() + gadgets[linear.gadget.index()].special.len();
        let demand = Demand::of(linear, limbs, 1 << log_n);
        for (what, found, limit) in [
            ("memory for sums of products", demand.sums, MAX_SUMS),
            ("memory for masked weights, a thread", demand.strip, MAX_STRIP),
        ] {
            if found > limit {
                return Err(self.error(what, gib(found), format!("at most {}", gib(limit))));
            }
        }
        Ok(demand)
    }
}
