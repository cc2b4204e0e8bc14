//! Writing a plan out as a program: registers, steps, estimates.

use std::collections::BTreeSet;

use rayon::prelude::*;
use umbra_ckks::{Gadget, GadgetLiteral, Level, ParametersLiteral, log2_of};
use umbra_image::{Familiar, Statistics};
use umbra_model::{Graph, Reference};
use umbra_program::{
    ClientSpec, Estimate, InputLayout, Linear, LinearInput, Operation, OutputLayout, Program, Register, Report, Step,
};

use crate::circuit::{Affine, Operation as Source};
use crate::correction;
use crate::cost::Work;
use crate::flooding::Flooding;
use crate::keys::{Search, Shape, ShapeKind};
use crate::options::{CompileOptions, Pass};
use crate::packing::sources;
use crate::plan::{Plan, used_primes};
use crate::sharing::share;

/// Samples that tell what is familiar at most.
const FAMILIAR: usize = 64;

/// Registers and the values in them.
struct Registers {
    of: Vec<Option<Register>>,
    last_use: Vec<usize>,
    free: Vec<Register>,
    count: usize,
}

impl Registers {
    fn new(plan: &Plan) -> Self {
        let values = &plan.circuit.values;
        let mut last_use = vec![0; values.len()];
        for (id, value) in values.iter().enumerate() {
            value.operation.sources().into_iter().for_each(|s| last_use[s] = id);
        }
        last_use[plan.circuit.output] = usize::MAX;
        Self { of: vec![None; values.len()], last_use, free: Vec::new(), count: 0 }
    }

    /// The register of a value that was made before.
    fn get(&self, id: usize) -> Register {
        self.of[id].unwrap_or_default()
    }

    /// A register for value `id`: that of an operand it is the last to read, another free one, or a new one.
    fn assign(&mut self, id: usize, operands: &[usize]) -> Register {
        let dying: BTreeSet<Register> =
            operands.iter().copied().filter(|s| self.last_use[*s] == id).filter_map(|s| self.of[s]).collect();
        self.free.extend(dying);
        self.free.sort_unstable_by(|a, b| b.cmp(a));
        let register = self.free.pop().unwrap_or_else(|| {
            self.count += 1;
            // Programs have far fewer: their check says so.
            Register((self.count - 1).min(usize::from(u16::MAX)) as u16)
        });
        self.of[id] = Some(register);
        register
    }
}

/// The program of a plan.
pub(crate) fn program(graphs: &[&Graph], plan: &Plan, options: &CompileOptions, network: [u8; 32]) -> Program {
    let graph = graphs[0];
    let renumber = used_primes(plan);
    let map = |list: &Vec<u16>| -> Vec<u16> { list.iter().filter_map(|p| renumber.get(p).copied()).collect() };
    let mut primes = vec![0; renumber.len()];
    renumber.iter().for_each(|(&old, &new)| primes[new as usize] = plan.pool[old as usize]);
    let gadgets = plan.choice.gadgets.iter();
    let parameters = ParametersLiteral {
        log_n: plan.log_n,
        primes,
        levels: plan.chain.levels.iter().map(map).collect(),
        gadgets: gadgets
            .map(|g| GadgetLiteral { digits: g.digits.iter().map(map).collect(), special: map(&g.special) })
            .collect(),
    };
    let mut emitter = Emitter { plan, options, registers: Registers::new(plan), scales: Vec::new(), steps: Vec::new() };
    let (input_register, input) = emitter.values(&parameters);
    let output = plan.circuit.output;
    let mut client = ClientSpec {
        name: graph.name().into(),
        classes: graph.classes().to_vec(),
        image: graph.input().clone(),
        logit_range: logit_range(graphs),
        logit_error: plan.logit_error,
        familiar: familiar(graph),
        layout: plan.packing.layout(),
        input,
        output: OutputLayout {
            level: Level::new(plan.places[output].level),
            scale: emitter.scales[output],
            period: plan.packing.plaintext_period(&plan.circuit.values[output]),
            step: plan.packing.logit_step(&plan.circuit.values[output]),
            classes: graph.classes().len(),
            flooding: 0.0,
        },
        parameters,
        keys: Vec::new(),
    };
    let flooding = Flooding::of(plan, &client, !graph.description().samples.is_empty());
    client.output.flooding = flooding.as_ref().map_or(0.0, |flooding| flooding.deviation);
    let mut program = Program {
        client,
        network,
        registers: emitter.registers.count,
        input: input_register,
        output: emitter.registers.get(output),
        steps: emitter.steps,
        report: Report::default(),
    };
    program.client.keys = program.key_set();
    program.report = report(plan, options, &program);
    program.report.notes.extend(flooding.map(|Flooding { deviation, explained }| {
        format!(
            "slots without logit are flooded with noise of deviation {deviation:.2e}: features of the last layer are \
             explained to at most {:.2} % of their variance",
            100.0 * explained
        )
    }));
    program
}

/// What the samples that the network brings are like.
fn familiar(graph: &Graph) -> Option<Familiar> {
    let reference = Reference::<f32>::new(graph);
    let of = |bytes: &Vec<u8>| {
        let values = graph.input().normalise(bytes).ok()?;
        let logits = reference.forward(&values).ok()?;
        Some((Statistics::of(&values, graph.input()), f64::from(logits.into_iter().fold(f32::NEG_INFINITY, f32::max))))
    };
    let samples: Option<Vec<_>> = graph.description().samples.par_iter().take(FAMILIAR).map(of).collect();
    Familiar::of(&samples?)
}

/// The range of the logits of all members, where all know it.
fn logit_range(graphs: &[&Graph]) -> Option<[f64; 2]> {
    let ranges: Vec<[f64; 2]> =
        graphs.iter().map(|g| g.ranges().logits.map(|r| r.map(f64::from))).collect::<Option<_>>()?;
    ranges.into_iter().reduce(|[a, b], [c, d]| [a.min(c), b.max(d)])
}

struct Emitter<'a> {
    plan: &'a Plan,
    options: &'a CompileOptions,
    registers: Registers,
    /// Exact scale of every value.
    scales: Vec<f64>,
    steps: Vec<Step>,
}

impl Emitter<'_> {
    /// Emits all steps; returns the register and the layout of the image.
    fn values(&mut self, parameters: &ParametersLiteral) -> (Register, InputLayout) {
        let plan = self.plan;
        let mut layout = None;
        let mut index = 0;
        for (id, value) in plan.circuit.values.iter().enumerate() {
            let place = plan.places[id];
            let operands = value.operation.sources();
            let register = self.registers.get(operands.first().copied().unwrap_or(0));
            let read: Vec<(usize, Register)> = match &value.operation {
                Source::Affine(affine) => sources(affine).iter().map(|&s| (s, self.registers.get(s))).collect(),
                _ => Vec::new(),
            };
            let destination = self.registers.assign(id, &operands);
            let scale = place.bits.exp2();
            self.scales.push(scale);
            if let Source::Input(channels) = &value.operation {
                layout = Some((destination, plan.packing.input(value, channels, place.level, scale)));
                continue;
            }
            let Some(shape) = &plan.shapes[id] else { continue };
            let gadget = plan.choice.of_level[place.works];
            let split = plan.choice.splits[index];
            index += 1;
            // Both levels are the chain's, which the parameters have.
            let factor =
                parameters.rescale_factor(Level::new(place.works), Level::new(place.level)).unwrap_or(f64::NAN);
            let source_scale = |s: usize| self.scales[s];
            let mut outcome = scale;
            let mut work = self.search(&[]).work(shape, &plan.choice.gadgets[gadget], split);
            let operation = match &value.operation {
                Source::Square(source) => {
                    outcome = source_scale(*source) * source_scale(*source) / factor;
                    Operation::Square { source: register, gadget: Gadget::new(gadget) }
                }
                Source::Sum(source, _) => {
                    outcome = source_scale(*source);
                    let ShapeKind::Rotations(rotations, _) = &shape.kind else { continue };
                    self.scales[id] = outcome;
                    self.sum(id, shape, rotations, (register, destination), gadget, outcome);
                    continue;
                }
                Source::Affine(affine) => {
                    let ShapeKind::Linear { class, .. } = shape.kind else { continue };
                    let (masks, masked) = plan.packing.masks(&plan.circuit, value, &plan.diagonals[id]);
                    let (bsgs, diagonals) =
                        plan.classes[class][split].emit(&plan.diagonals[id], &masked, &*plan.packing);
                    let product = scale * factor / bsgs.factor();
                    let weights =
                        read.iter().map(|&(s, source)| LinearInput { source, weight_scale: product / source_scale(s) });
                    let inputs: Vec<LinearInput> = weights.collect();
                    let period = plan.packing.period(value);
                    let bias = plan.packing.bias(value, affine, !masks.is_empty());
                    let key_gadget = Gadget::new(gadget);
                    let mut linear = Linear {
                        inputs,
                        plan: bsgs,
                        diagonals,
                        period,
                        masks,
                        bias,
                        gadget: key_gadget,
                        add_first: false,
                    };
                    let scales = self.weight_scales(&linear, affine);
                    if self.options.has(Pass::BiasCorrection) {
                        correction::correct(&mut linear, plan, id, &scales);
                    }
                    for (member, other) in plan.circuit.others.iter().enumerate() {
                        let Source::Affine(affine) = &other.values[id].operation else { continue };
                        let own = plan.packing.spread(value, member + 1, &affine.bias);
                        let bias = linear.bias.iter_mut().flatten();
                        bias.zip(own.into_iter().flatten()).for_each(|(b, own)| *b += own);
                    }
                    let search = self.search(&[]);
                    let gadget = &plan.choice.gadgets[gadget];
                    let size = search.size(gadget, place.works);
                    work = share(&mut linear, self.options.add_first, &scales, (&size, work), &self.options.cost);
                    Operation::Linear(Box::new(linear))
                }
                Source::Input(_) | Source::Polynomial(..) => continue,
            };
            self.scales[id] = outcome;
            self.steps.push(Step {
                node: value.nodes.join(" + "),
                operation,
                destination,
                level_in: Level::new(place.works),
                level_out: Level::new(place.level),
                scale_out: outcome,
                estimate: self.estimate(id, shape, split, work),
            });
        }
        // Every circuit has an input: `Circuit::sort` keeps it.
        layout.unwrap_or_else(|| (Register(0), plan.packing.input(&plan.circuit.values[0], &[], 0, 1.0)))
    }

    /// Scale of the weights of each ciphertext read.
    fn weight_scales(&self, linear: &Linear, affine: &Affine) -> Vec<f64> {
        let Plan { circuit, packing, .. } = self.plan;
        (sources(affine).into_iter().zip(&linear.inputs))
            .flat_map(|(s, input)| std::iter::repeat_n(input.weight_scale, packing.ciphertexts(&circuit.values[s])))
            .collect()
    }

    fn sum(
        &mut self,
        id: usize,
        shape: &Shape,
        rotations: &[Vec<i64>],
        (register, destination): (Register, Register),
        gadget: usize,
        scale: f64,
    ) {
        let value = &self.plan.circuit.values[id];
        let ciphertexts = self.plan.packing.ciphertexts(value);
        for (i, rotations) in rotations.iter().enumerate() {
            let one = Shape { kind: ShapeKind::Rotations(vec![rotations.clone()], ciphertexts), ..shape.clone() };
            let work = self.search(&[]).work(&one, &self.plan.choice.gadgets[gadget], 0);
            let estimate = self.estimate(id, &one, 0, work);
            self.steps.push(Step {
                node: value.nodes.join(" + "),
                operation: Operation::RotateSum {
                    source: if i == 0 { register } else { destination },
                    rotations: rotations.clone(),
                    gadget: Gadget::new(gadget),
                },
                destination,
                level_in: Level::new(shape.level),
                level_out: Level::new(shape.level),
                scale_out: scale,
                estimate,
            });
        }
    }

    fn search<'b>(&'b self, shapes: &'b [Shape]) -> Search<'b> {
        let plan = self.plan;
        Search {
            chain: &plan.chain,
            pool: &plan.pool,
            log_n: plan.log_n,
            limit: f64::from(plan.limit),
            excess: (0.0, 0.0),
            shapes,
            classes: &plan.classes,
            model: &self.options.cost,
        }
    }

    fn estimate(&self, id: usize, shape: &Shape, split: usize, work: Work) -> Estimate {
        let (rotations, decompositions) = match &shape.kind {
            ShapeKind::Square(count) => (0, *count),
            ShapeKind::Rotations(rotations, count) => {
                let rotated = rotations.iter().flatten().count() * count;
                (rotated, rotated)
            }
            ShapeKind::Linear { class, outputs, .. } => {
                let split = &self.plan.classes[*class][split];
                let giants = split.giants * outputs;
                // Real/imaginary extraction of a sum is three rotations of one decomposition.
                let extracted = if split.is_complex() { *outputs } else { 0 };
                (split.rotated + giants + 3 * extracted, split.decomposed + giants + extracted)
            }
        };
        Estimate {
            seconds: work.seconds(&self.options.cost, self.plan.log_n),
            key_bytes: work.key_bytes(self.plan.log_n) as u64,
            error_std: self.plan.errors[id],
            rotations: rotations as u32,
            decompositions: decompositions as u32,
        }
    }
}

fn report(plan: &Plan, options: &CompileOptions, program: &Program) -> Report {
    let gadgets = plan.choice.gadgets.iter();
    let gadgets = gadgets.map(|g| log2_of(&plan.pool, g.digits.iter().flatten().chain(&g.special)));
    let top = plan.chain.levels.len() - 1;
    let log_q = plan.chain.log_q(top);
    let log_qp = gadgets.fold(log_q, f64::max);
    let keys = &program.client.keys;
    let mut notes = vec![format!(
        "N = 2^{}: {} levels, log2 Q = {log_q:.1}, log2 QP = {log_qp:.1} of {} allowed at 128-bit security",
        plan.log_n,
        top + 1,
        plan.limit
    )];
    if options.compatible_with.is_some() {
        notes.push("parameters and keys are those of an earlier program".into());
    }
    for (i, gadget) in plan.choice.gadgets.iter().enumerate() {
        let levels: Vec<usize> = (0..=top).filter(|l| plan.choice.of_level[*l] == i).collect();
        let own: Vec<_> = keys.iter().filter(|k| k.gadget.index() == i).collect();
        notes.push(format!(
            "gadget {i}, levels {} to {}: dnum {}, {} special primes ({:.1} bits), {} keys, {:.1} MB",
            levels.first().copied().unwrap_or(0),
            levels.last().copied().unwrap_or(0),
            gadget.digits.len(),
            gadget.special.len(),
            log2_of(&plan.pool, &gadget.special),
            own.len(),
            own.iter().map(|k| k.bytes(&program.client.parameters)).sum::<u64>() as f64 / 1e6
        ));
    }
    notes.extend(program.client.layout.describe());
    let linear =
        || program.steps.iter().filter_map(|s| if let Operation::Linear(l) = &s.operation { Some(l) } else { None });
    let (shared, all) = (linear().filter(|l| l.add_first).count(), linear().filter(|l| l.has_integers()).count());
    if shared > 0 {
        notes.push(format!("inputs that share a weight are added before they are multiplied: {shared} of {all} steps"));
    }
    if plan.shifts > 1 {
        notes.push(format!("the image is encrypted in {} shifted copies: unused channels save rotations", plan.shifts));
    }
    if plan.alignments > 0 {
        notes.push(format!(
            "level alignment of {} operands, to lower levels whose primes are not all theirs",
            plan.alignments
        ));
    }
    Report {
        log_qp,
        log_qp_limit: plan.limit,
        seconds: program.steps.iter().map(|s| s.estimate.seconds).sum(),
        key_bytes: keys.iter().map(|k| k.bytes(&program.client.parameters)).sum(),
        logit_error_std: plan.logit_error,
        without: options.without.iter().map(ToString::to_string).collect(),
        notes,
    }
}

#[cfg(test)]
mod tests {
    use umbra_program::operation_name;

    use super::*;
    use crate::options::{PackingChoice, Pass};
    use crate::testing::residual;

    /// Per step: nodes, what it does, levels, registers read, and the one written.
    fn steps(program: &Program) -> Vec<String> {
        let line = |step: &Step| {
            let read: Vec<usize> = match &step.operation {
                Operation::Square { source, .. } | Operation::RotateSum { source, .. } => vec![source.index()],
                Operation::Linear(linear) => linear.inputs.iter().map(|input| input.source.index()).collect(),
            };
            let Step { node, operation, level_in, level_out, destination, .. } = step;
            format!("{node}: {} {level_in}>{level_out}, {read:?} to {destination}", operation_name(operation))
        };
        program.steps.iter().map(line).collect()
    }

    #[test]
    fn a_step_a_value_at_its_level() {
        let graph = residual(1, 1);
        let options = CompileOptions { logit_error: Some(0.05), ..CompileOptions::default() };
        let program = crate::compile(&graph, &options).unwrap();
        assert_eq!(
            steps(&program),
            [
                "stem: linear 2>1, [0] to 0",
                "act0: square 1>1, [0] to 1",
                // Whoever reads a register last may write it.
                "conv0 + add0: linear 1>0, [0, 1] to 0",
                "last act: square 0>0, [0] to 0",
                "pool: rotate-sum 0>0, [0] to 0",
                "pool: rotate-sum 0>0, [0] to 0",
                "pool + fc: linear 0>0, [0] to 0",
            ]
        );
        assert_eq!((program.registers, program.input, program.output), (2, Register(0), Register(0)));
        let (input, output) = (&program.client.input, &program.client.output);
        assert_eq!((input.level, output.level, output.classes), (Level(2), Level(0), 3));
        // Scales are those of the steps before: exactly what `Program::check` computes.
        program.check().unwrap();
        let seconds: f64 = program.steps.iter().map(|step| step.estimate.seconds).sum();
        assert_eq!(program.report.seconds, seconds);
        assert!(program.steps.iter().all(|step| step.estimate.error_std.is_finite() && step.estimate.seconds > 0.0));
        assert_eq!(program.steps[4].estimate.rotations, 1);
    }

    #[test]
    fn without_tower_reuse_squares_have_levels() {
        let graph = residual(0, 1);
        let without = [Pass::TowerReuse].into();
        let options = CompileOptions {
            logit_error: Some(0.05),
            without,
            packing: PackingChoice::Channel,
            batch: Some(1),
            ..CompileOptions::default()
        };
        let program = crate::compile(&graph, &options).unwrap();
        assert_eq!(steps(&program)[..2], ["stem: linear 2>1, [0] to 0", "last act: square 1>0, [0] to 0"]);
        assert_eq!(program.report.without, ["tower-reuse"]);
    }
}
