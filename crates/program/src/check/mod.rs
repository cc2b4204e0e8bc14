//! Checks of a [`Program`]: one that was read from a file is hostile.

mod demand;
mod step;

use std::collections::BTreeSet;

use umbra_ckks::ParametersLiteral;
use umbra_image::ImageSpec;

use demand::{Demand, GIB, MAX_WORKING};
use step::StepCheck;

use crate::program::used_primes;
use crate::{InputLayout, Layout, Operation, OutputLayout, Program, ProgramError, RegisterState, Report};

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

impl Program {
    /// Checks everything that running the program relies on: indices, levels, scales, periods, the use of registers, finite
    /// numbers, memory; and that its names can be shown. The security of the parameters is checked where they are built.
    ///
    /// # Errors
    /// [`ProgramError`] for the first thing that does not fit.
    pub fn check(&self) -> Result<(), ProgramError> {
        self.check_names()?;
        self.check_parameters()?;
        let mut registers = self.check_layouts()?;
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
            registers[step.destination] = Some(state);
        }
        let working = self.working_bytes() as f64;
        if working > MAX_WORKING {
            return Err(invalid("memory for ciphertexts", gib(working), format!("at most {}", gib(MAX_WORKING))));
        }
        if kept.weights > kept.allowed() {
            let expected = format!("at most {}: nearly all of it is zeros or copies of masks", gib(kept.allowed()));
            return Err(invalid("memory for encoded weights", gib(kept.weights), expected));
        }
        let OutputLayout { register, level, scale, .. } = self.output;
        let ciphertexts = self.output.ciphertexts();
        match registers.get(register).copied().flatten() {
            Some(s) if s.level == level && close(s.scale, scale) && s.ciphertexts == ciphertexts => Ok(()),
            state => Err(invalid(
                "output register",
                format!("{state:?}"),
                format!("{ciphertexts} ciphertexts at level {level} and scale {scale}"),
            )),
        }
    }

    /// What people are shown has nothing in it that a terminal would obey.
    fn check_names(&self) -> Result<(), ProgramError> {
        let Report { without, notes, .. } = &self.report;
        let lists = [("class", &self.classes), ("pass left out", without), ("note", notes)];
        let listed = lists.into_iter().flat_map(|(what, list)| list.iter().map(move |text| (what, text)));
        let nodes = self.steps.iter().map(|step| ("node of a step", &step.node));
        let mut all = std::iter::once(("name", &self.name)).chain(listed).chain(nodes);
        match all.find(|(_, text)| !umbra_file::is_printable(text)) {
            None => Ok(()),
            Some((what, text)) => Err(invalid(what, format!("{text:?}"), "printable characters".into())),
        }
    }

    fn check_parameters(&self) -> Result<(), ProgramError> {
        let ParametersLiteral { log_n, primes, levels, gadgets } = &self.parameters;
        if !(4..=17).contains(log_n) {
            return Err(invalid("log2 of the ring degree", log_n, "4 to 17".into()));
        }
        for (what, count) in [
            ("number of primes", primes.len()),
            ("number of levels", levels.len()),
            ("number of gadgets", gadgets.len()),
        ] {
            if count == 0 || count > MAX_COUNT {
                return Err(invalid(what, count, format!("1 to {MAX_COUNT}")));
            }
        }
        if let Some(p) = primes.iter().find(|p| **p >= 1 << 30 || **p % (2 << log_n) != 1) {
            return Err(invalid("prime", p, format!("below 2^30 and 1 modulo 2^{}", log_n + 1)));
        }
        if primes.iter().collect::<BTreeSet<_>>().len() != primes.len() {
            return Err(invalid("list of primes", "one with repetitions", "distinct primes".into()));
        }
        let known = |i: &u16| (*i as usize) < primes.len();
        for level in levels {
            if level.is_empty() || !level.iter().all(known) || !level.is_sorted_by(|a, b| a < b) {
                return Err(invalid("level", format!("{level:?}"), "ascending indices of primes".into()));
            }
        }
        if !levels.is_sorted_by(|a, b| self.log2(a) < self.log2(b)) {
            return Err(invalid("list of levels", "one that does not grow", "ascending moduli".into()));
        }
        for gadget in gadgets {
            let all: Vec<u16> = gadget.digits.iter().flatten().chain(&gadget.special).copied().collect();
            let distinct = all.iter().collect::<BTreeSet<_>>().len() == all.len();
            let full = !gadget.special.is_empty() && !gadget.digits.is_empty();
            if !full || gadget.digits.iter().any(Vec::is_empty) || !distinct || !all.iter().all(known) {
                let expected = "disjoint nonempty digits and special primes";
                return Err(invalid("gadget", format!("{gadget:?}"), expected.into()));
            }
        }
        // Each costs tables as long as the ring.
        let used = used_primes(levels, gadgets).len();
        if used < primes.len() {
            let expected = format!("{used}, those of levels and gadgets");
            return Err(invalid("number of primes", primes.len(), expected));
        }
        Ok(())
    }

    /// Checks pictures, classes, input and output; returns the registers before the first step.
    fn check_layouts(&self) -> Result<Vec<Option<RegisterState>>, ProgramError> {
        if self.registers == 0 || self.registers > MAX_REGISTERS {
            return Err(invalid("number of registers", self.registers, format!("1 to {MAX_REGISTERS}")));
        }
        let ImageSpec { height, width, channels, .. } = self.picture;
        if let Err(reason) = self.picture.check() {
            return Err(invalid("image", reason, "one that a network can take".into()));
        }
        // Both sides are small now.
        let ring = (width.next_power_of_two(), width.next_power_of_two() * height.next_power_of_two());
        let InputLayout { register, positions, pitch, ref ciphertexts, level, scale } = self.input;
        let padded = matches!(self.layout, Layout::Padded { .. });
        // Pictures with zero padding may have more room to the right.
        let roomy = padded
            && [pitch, positions].iter().all(|n| n.is_power_of_two())
            && pitch >= width
            && positions / pitch >= height
            && positions <= 1 << 31;
        if !roomy && ring != (pitch, positions) {
            return Err(invalid(
                "input layout",
                format!("pitch {pitch}, {positions} positions"),
                format!("pitch {}, {} positions", ring.0, ring.1),
            ));
        }
        let slots = self.slots();
        let in_range = |&(colour, tap): &(usize, i64)| colour < channels && tap.unsigned_abs() < positions as u64;
        let width = slots / positions.max(1);
        let joined = self.layout.joins_channels();
        let (members, pictures) = (self.layout.members(), self.layout.pictures());
        if members == 0 || members > slots {
            return Err(invalid("number of networks", members, format!("1 to {slots}")));
        }
        let lanes = if joined { slots } else { width };
        let room = lanes / self.layout.spacing();
        if pictures == 0 || pictures > room {
            return Err(invalid("number of pictures", pictures, format!("1 to {room}")));
        }
        let capacity = if joined { width } else { 1 };
        let fits = |c: &Vec<Option<(usize, i64)>>| {
            positions <= slots && c.len() == capacity && c.iter().flatten().all(in_range)
        };
        if ciphertexts.is_empty() || ciphertexts.len() > MAX_CIPHERTEXTS || !ciphertexts.iter().all(fits) {
            let expected = format!("{capacity} channels a ciphertext");
            return Err(invalid("input layout", "another number of channels or taps out of range", expected));
        }
        if register >= self.registers || level >= self.parameters.levels.len() || !is_scale(scale) {
            return Err(invalid("input", format!("{register}, {level}, {scale}"), "register, level, scale".into()));
        }
        let OutputLayout { period, step, classes, .. } = self.output;
        if classes == 0 || classes > MAX_CLASSES || classes != self.classes.len() {
            return Err(invalid("number of classes", classes, format!("that of the names, {}", self.classes.len())));
        }
        if !period.is_power_of_two() || period > slots {
            return Err(invalid("output period", period, format!("a power of two up to {slots}")));
        }
        // Lanes of vectors of logits; blocks have places of their own.
        let others = if padded { 0 } else { (pictures - 1) * self.layout.spacing() };
        let lanes = others + self.layout.vectors();
        let stepped = step.is_power_of_two() && step <= period && lanes <= step;
        if padded && period != positions {
            return Err(invalid("period of logits", period, format!("{positions} with zero padding")));
        }
        if !stepped || (self.layout.is_cyclic() && step != 1) {
            let expected = format!("a power of two from {lanes} to {period}, 1 in the cyclic layout");
            return Err(invalid("distance of logits", step, expected));
        }
        if self.logit_range.is_some_and(|[min, max]| !(min.is_finite() && max.is_finite() && min <= max)) {
            return Err(invalid("range of the logits", format!("{:?}", self.logit_range), "[min, max]".into()));
        }
        let mut registers = vec![None; self.registers];
        registers[register] = Some(RegisterState { level, scale, ciphertexts: ciphertexts.len() });
        Ok(registers)
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

#[cfg(test)]
mod tests {
    use umbra_ckks::{Bsgs, Diagonal, GadgetLiteral, KeyKind};
    use umbra_image::Normalisation;

    use super::*;
    use crate::{Estimate, Linear, LinearInput, Step};

    /// Squares a 2 x 2 picture after a transform with a baby, an inner and an outer step, and sums over positions.
    fn small() -> Program {
        small_at(5)
    }

    /// As [`small`] with another ring degree.
    fn small_at(log_n: u32) -> Program {
        let mut channels = vec![None; (1 << (log_n - 1)) / 4];
        channels[..2].copy_from_slice(&[Some((0, 0)), Some((0, 1))]);
        let primes = umbra_ring::primes::nearest(log_n, 29.0, 5, &[]).unwrap();
        let levels = vec![vec![0, 1], vec![0, 1, 2]];
        let gadgets = vec![GadgetLiteral { digits: vec![vec![0, 1], vec![2]], special: vec![3, 4] }];
        let drop = f64::from(primes[2]);
        let (input_scale, weight_scale) = ((1u64 << 30) as f64, (1u64 << 20) as f64);
        let z_scale = input_scale * weight_scale / drop;
        let diagonal = |outer, inner, baby| Diagonal {
            output: 0,
            input: 0,
            outer,
            inner,
            baby,
            imaginary: false,
            mask: None,
            values: vec![0.5; 4],
        };
        let linear = Linear {
            inputs: vec![LinearInput { source: 0, weight_scale }],
            plan: Bsgs { babies: vec![0, 1], inner: vec![0, 2], outer: vec![0, -4], pair: None },
            diagonals: vec![diagonal(0, 0, 1), diagonal(0, 1, 0), diagonal(1, 0, 0)],
            period: 4,
            masks: Vec::new(),
            bias: vec![vec![0.25; 4]],
            gadget: 0,
            add_first: false,
        };
        let step = |operation, level_in, level_out, scale_out| Step {
            node: "n".into(),
            operation,
            destination: 0,
            level_in,
            level_out,
            scale_out,
            estimate: Estimate::default(),
        };
        Program {
            name: "small".into(),
            network: [1; 32],
            classes: vec!["a".into(), "b".into()],
            picture: ImageSpec {
                channels: 1,
                height: 2,
                width: 2,
                normalisation: Normalisation::PerImage { min_std: 0.05 },
                clip: None,
            },
            logit_range: None,
            layout: Layout::Cyclic,
            input: InputLayout {
                register: 0,
                positions: 4,
                pitch: 2,
                ciphertexts: vec![channels],
                level: 1,
                scale: input_scale,
            },
            output: OutputLayout { register: 0, level: 0, scale: z_scale * z_scale, period: 4, step: 1, classes: 2 },
            parameters: ParametersLiteral { log_n, primes, levels, gadgets },
            registers: 1,
            steps: vec![
                step(Operation::Linear(Box::new(linear)), 1, 0, z_scale),
                step(Operation::Square { source: 0, gadget: 0 }, 0, 0, z_scale * z_scale),
                step(Operation::RotateSum { source: 0, rotations: vec![4, 8, -4], gadget: 0 }, 0, 0, z_scale * z_scale),
            ],
            report: Report::default(),
        }
    }

    fn linear(program: &mut Program) -> &mut Linear {
        match &mut program.steps[0].operation {
            Operation::Linear(linear) => linear,
            _ => unreachable!(),
        }
    }

    /// As [`small`] with a complex weight; its first step.
    fn paired(program: &mut Program) -> &mut Step {
        let linear = linear(program);
        linear.plan.pair = Some(3);
        linear.inputs[0].weight_scale /= 2.0;
        let imaginary = Diagonal { imaginary: true, ..linear.diagonals[0].clone() };
        linear.diagonals.insert(1, imaginary);
        &mut program.steps[0]
    }

    fn paired_linear(program: &mut Program) -> &mut Linear {
        paired(program);
        linear(program)
    }

    #[test]
    fn pairs_pass_and_need_three_keys() {
        let mut program = small();
        let before = program.key_set().len();
        paired(&mut program);
        assert_eq!(program.check(), Ok(()));
        let keys = program.key_set();
        assert_eq!(keys.len(), before + 3);
        for kind in [KeyKind::Conjugate(0), KeyKind::Rotate(3), KeyKind::Conjugate(3)] {
            assert!(keys.iter().any(|k| k.kind == kind && k.level == 1), "{kind:?}");
        }
    }

    #[test]
    fn a_sound_program_passes_and_names_its_keys() {
        let program = small();
        assert_eq!(program.check(), Ok(()));
        let keys = program.key_set();
        let of = |kind| keys.iter().find(|k| k.kind == kind).copied();
        assert_eq!(keys.len(), 6);
        let relinearise = of(KeyKind::Relinearise).unwrap();
        assert_eq!((relinearise.level, relinearise.primes(&program.parameters)), (0, vec![0, 1]));
        // One digit of two primes and two special ones, N = 32 words each.
        assert_eq!(relinearise.bytes(&program.parameters), 4 * 32 * 4);
        assert_eq!(of(KeyKind::Rotate(1)).unwrap().level, 1);
        // Used at both levels.
        assert_eq!(of(KeyKind::Rotate(-4)).unwrap().bytes(&program.parameters), 2 * 5 * 32 * 4);
        assert_eq!(of(KeyKind::Rotate(8)).unwrap().level, 0);
        let states = program.states();
        assert_eq!(states.len(), 4);
        assert_eq!(states[1][0].unwrap().level, 0);
    }

    #[test]
    fn every_damage_is_found() {
        type Damage = fn(&mut Program);
        let damages: Vec<Damage> = vec![
            |p| p.parameters.log_n = 40,
            |p| p.parameters.primes[0] = 15,
            |p| p.parameters.primes[1] = p.parameters.primes[0],
            |p| p.parameters.levels[0] = vec![1, 0],
            |p| p.parameters.levels[0] = vec![0, 9],
            |p| p.parameters.levels.swap(0, 1),
            |p| p.parameters.levels.clear(),
            |p| p.parameters.gadgets[0].special.clear(),
            |p| p.parameters.gadgets[0].special = vec![2, 3],
            |p| p.parameters.gadgets[0].digits[1] = vec![77],
            |p| p.parameters.gadgets[0].digits.swap(0, 1),
            |p| p.registers = 0,
            |p| p.registers = usize::MAX,
            |p| p.picture.height = 0,
            |p| p.picture.width = usize::MAX,
            |p| p.picture.normalisation = Normalisation::PerImage { min_std: f64::NAN },
            |p| p.picture.clip = Some(f64::NAN),
            |p| p.input.positions = 8,
            |p| p.input.pitch = 1,
            |p| p.input.ciphertexts.clear(),
            |p| p.input.ciphertexts[0][0] = Some((1, 0)),
            |p| p.input.ciphertexts[0][0] = Some((0, i64::MIN)),
            |p| p.input.ciphertexts[0].truncate(3),
            |p| p.input.level = 2,
            |p| p.input.scale = f64::INFINITY,
            |p| p.input.register = 1,
            |p| p.output.register = 1,
            |p| p.output.level = 1,
            |p| p.output.scale *= 2.0,
            |p| p.output.period = 3,
            |p| p.output.period = 1,
            |p| p.output.step = 0,
            |p| p.output.step = 2,
            |p| p.output.step = usize::MAX,
            |p| p.layout = Layout::Batch { lanes: 0 },
            |p| p.layout = Layout::Batch { lanes: 2 },
            |p| p.layout = Layout::SideBySide { members: 2, averaged: false },
            |p| p.layout = Layout::SideBySide { members: usize::MAX, averaged: true },
            |p| p.layout = Layout::Ensemble { pictures: 1, members: usize::MAX, averaged: true },
            |p| p.layout = Layout::Ensemble { pictures: usize::MAX, members: 2, averaged: true },
            |p| p.layout = Layout::Ensemble { pictures: 0, members: 1, averaged: false },
            |p| p.output.classes = 3,
            |p| p.logit_range = Some([1.0, 0.0]),
            |p| p.parameters.primes.push(umbra_ring::primes::nearest(5, 28.0, 1, &p.parameters.primes).unwrap()[0]),
            |p| p.steps[0].destination = 1,
            |p| p.steps[0].level_in = 0,
            |p| p.steps[0].level_in = 2,
            |p| p.steps[0].level_out = 1,
            |p| p.steps[1].level_out = 1,
            |p| p.steps[1].level_in = 1,
            |p| p.steps[1].scale_out = f64::NAN,
            |p| p.steps[1].estimate.error_std = f64::NAN,
            |p| p.steps[1].operation = Operation::Square { source: 0, gadget: 1 },
            |p| p.steps[1].operation = Operation::Square { source: 5, gadget: 0 },
            |p| p.steps[2].operation = Operation::RotateSum { source: 0, rotations: vec![0], gadget: 0 },
            |p| p.steps[2].operation = Operation::RotateSum { source: 0, rotations: vec![4, 4], gadget: 0 },
            |p| p.steps[2].operation = Operation::RotateSum { source: 0, rotations: vec![-8], gadget: 0 },
            |p| linear(p).inputs.clear(),
            |p| linear(p).inputs[0].source = 3,
            |p| linear(p).inputs[0].weight_scale = 0.0,
            |p| linear(p).inputs.push(LinearInput { source: 0, weight_scale: 3.0 }),
            |p| linear(p).plan.babies = vec![1, 2],
            |p| linear(p).plan.inner = vec![0, 100],
            |p| linear(p).plan.outer.push(0),
            |p| linear(p).diagonals.swap(0, 1),
            |p| linear(p).diagonals[0].imaginary = true,
            |p| linear(p).plan.pair = Some(1),
            |p| paired(p).scale_out /= 2.0,
            |p| linear(p).add_first = true,
            |p| paired_linear(p).plan.pair = Some(0),
            |p| paired_linear(p).plan.pair = Some(100),
            |p| paired_linear(p).masks = vec![vec![true; 4]],
            |p| paired_linear(p).diagonals.swap(0, 1),
            |p| linear(p).diagonals[0].input = 1,
            |p| linear(p).diagonals[2].output = 1,
            |p| linear(p).diagonals[0].baby = 9,
            |p| linear(p).diagonals[0].values.truncate(1),
            |p| linear(p).diagonals[0].values[1] = f32::NAN,
            |p| linear(p).period = 6,
            |p| linear(p).bias.clear(),
            |p| linear(p).bias[0][0] = f64::NAN,
            |p| linear(p).gadget = 4,
            |p| p.classes.clear(),
            |p| p.name.push('\u{1b}'),
            |p| p.classes[1].push('\n'),
            |p| p.steps[1].node.push('\u{9b}'),
            |p| p.report.notes.push("a\rb".into()),
            |p| p.report.without.push("\u{7f}".into()),
            |p| linear(p).inputs = vec![linear(p).inputs[0]; MAX_READ + 1],
        ];
        for (i, damage) in damages.iter().enumerate() {
            let mut program = small();
            damage(&mut program);
            assert!(program.check().is_err(), "damage {i} passes");
        }
    }

    /// As [`small`] in a large ring with `count` diagonals, in so many rows and columns of the matrix of weights.
    fn scattered(count: u16, rows: bool, columns: bool) -> Program {
        let mut program = small_at(17);
        let linear = linear(&mut program);
        let list = |long| if long { (0..i64::from(count)).collect() } else { vec![0] };
        linear.plan = Bsgs { babies: list(columns), inner: list(rows), outer: vec![0], pair: None };
        let first = Diagonal { outer: 0, inner: 0, baby: 0, ..linear.diagonals[0].clone() };
        linear.diagonals = (0..count)
            .map(|i| Diagonal { inner: if rows { i } else { 0 }, baby: if columns { i } else { 0 }, ..first.clone() })
            .collect();
        program
    }

    /// Gives it one mask of all slots.
    fn masked(mut program: Program) -> Program {
        let slots = program.slots();
        let linear = linear(&mut program);
        linear.masks = vec![vec![true; slots]];
        linear.bias = vec![vec![0.0; slots]];
        linear.diagonals.iter_mut().for_each(|d| d.mask = Some(0));
        program
    }

    #[test]
    fn small_programs_cannot_ask_for_much_memory() {
        for (program, what) in [
            // 16 million entries of 160 bytes, for 4000 weights.
            (scattered(4000, true, true), "memory for encoded weights"),
            // 4000 plaintexts of 1 MiB.
            (masked(scattered(4000, true, false)), "memory for encoded weights"),
            // 20000 ciphertexts of 5 limbs.
            (scattered(20_000, true, false), "memory for sums"),
            // 8 x 4000 plaintexts of 512 KiB a limb.
            (masked(scattered(4000, false, true)), "memory for masked weights"),
        ] {
            let error = program.check().expect_err(what).to_string();
            assert!(error.contains(what) && error.contains("GiB"), "{what}: {error}");
        }
        // 300 registers of 512 ciphertexts of two limbs.
        let mut program = small_at(17);
        let transform = linear(&mut program);
        transform.bias = vec![vec![0.25; 4]; 512];
        let first = transform.diagonals[0].clone();
        transform.diagonals = (0..512).map(|output| Diagonal { output, ..first.clone() }).collect();
        transform.plan = Bsgs { babies: vec![0, 1], inner: vec![0], outer: vec![0], pair: None };
        let copy = Step { destination: 0, ..program.steps[2].clone() };
        program.steps.extend((1..300).map(|destination| Step { destination, ..copy.clone() }));
        program.registers = 300;
        let error = program.check().expect_err("too much").to_string();
        assert!(error.contains("memory for ciphertexts"), "{error}");
        // Twenty fit: what is wrong then is the output, of one ciphertext.
        program.steps.truncate(20);
        let error = program.check().expect_err("another output").to_string();
        assert!(error.contains("output register"), "{error}");
        // As many weights in one row, and few masked ones.
        for program in
            [scattered(4000, true, false), scattered(20_000, false, true), masked(scattered(200, true, false))]
        {
            assert_eq!(program.check(), Ok(()));
        }
    }
}
