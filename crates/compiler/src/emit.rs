//! Writing a plan out as a program: registers, steps, estimates.

use std::collections::BTreeMap;

use umbra_ckks::{Diagonal, Encoder, GadgetLiteral, ParametersLiteral, rounded_weight};
use umbra_model::Graph;
use umbra_program::layout::logit_step;
use umbra_program::{
    Estimate, InputLayout, Layout, Linear, LinearInput, Operation, OutputLayout, Program, Report, Step,
};

use crate::chain::log2_of;
use crate::circuit::{Affine, Operation as Source};
use crate::cost::Work;
use crate::keys::{Search, Shape, ShapeKind};
use crate::packing::{Rotation, sources};
use crate::plan::{Plan, used_primes};
use crate::precision;
use crate::sharing::share;
use crate::{Average, CompileOptions, Pass};

/// Registers and the values in them.
struct Registers {
    of: Vec<Option<usize>>,
    last_use: Vec<usize>,
    free: Vec<usize>,
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
    fn get(&self, id: usize) -> usize {
        self.of[id].unwrap_or(0)
    }

    /// A register for value `id`: that of an operand it is the last to read, another free one, or a new one.
    fn assign(&mut self, id: usize, operands: &[usize]) -> usize {
        let dying: std::collections::BTreeSet<usize> =
            operands.iter().copied().filter(|s| self.last_use[*s] == id).filter_map(|s| self.of[s]).collect();
        self.free.extend(dying);
        self.free.sort_unstable_by(|a, b| b.cmp(a));
        let register = self.free.pop().unwrap_or_else(|| {
            self.count += 1;
            self.count - 1
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
    let input = emitter.values(&parameters);
    let output = plan.circuit.output;
    let (members, by_server) = (graphs.len(), options.average == Average::Server);
    let layout = match plan.packing.layout() {
        Layout::Cyclic if members > 1 => Layout::SideBySide { members, averaged: by_server },
        Layout::Padded { lanes, .. } => Layout::Padded { lanes, members, averaged: by_server },
        layout => layout,
    };
    let step = match layout {
        Layout::SideBySide { .. } | Layout::Padded { .. } => logit_step(layout.vectors()),
        _ => plan.packing.step(&plan.circuit.values[output]),
    };
    let period = plan.packing.plaintext_period(&plan.circuit.values[output]);
    let mut program = Program {
        name: graph.name().into(),
        network,
        classes: graph.classes().to_vec(),
        picture: graph.input().clone(),
        logit_range: logit_range(graphs),
        layout,
        input,
        output: OutputLayout {
            register: emitter.registers.get(output),
            level: plan.places[output].level,
            scale: emitter.scales[output],
            period,
            step,
            classes: graph.classes().len(),
        },
        parameters,
        registers: emitter.registers.count,
        steps: emitter.steps,
        report: Report::default(),
    };
    program.report = report(graphs, plan, options, &program);
    program
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
    /// Emits all steps; returns the layout of the picture.
    fn values(&mut self, parameters: &ParametersLiteral) -> InputLayout {
        let plan = self.plan;
        let mut layout = None;
        let mut index = 0;
        for (id, value) in plan.circuit.values.iter().enumerate() {
            let place = plan.places[id];
            let operands = value.operation.sources();
            let register = self.registers.get(operands.first().copied().unwrap_or(0));
            let read: Vec<(usize, usize)> = match &value.operation {
                Source::Affine(affine) => sources(affine).iter().map(|&s| (s, self.registers.get(s))).collect(),
                _ => Vec::new(),
            };
            let destination = self.registers.assign(id, &operands);
            let scale = place.bits.exp2();
            self.scales.push(scale);
            if let Source::Input(channels) = &value.operation {
                let made = plan.packing.input(value, channels, place.level, scale);
                layout = Some(InputLayout { register: destination, ..made });
                continue;
            }
            let Some(shape) = &plan.shapes[id] else { continue };
            let gadget = plan.choice.of_level[place.works];
            let split = plan.choice.splits[index];
            index += 1;
            let factor = factor(parameters, place.works, place.level);
            let source_scale = |s: usize| self.scales[s];
            let mut outcome = scale;
            let mut work = self.search(&[]).work(shape, &plan.choice.gadgets[gadget], split);
            let operation = match &value.operation {
                Source::Square(source) => {
                    outcome = source_scale(*source) * source_scale(*source) / factor;
                    Operation::Square { source: register, gadget }
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
                        plan.classes[class][split].emit(&plan.diagonals[id], &masked, &plan.packing);
                    let product = scale * factor / bsgs.factor();
                    let weights =
                        read.iter().map(|&(s, source)| LinearInput { source, weight_scale: product / source_scale(s) });
                    let inputs: Vec<LinearInput> = weights.collect();
                    let period = plan.packing.period(value);
                    let bias = plan.packing.bias(value, affine, !masks.is_empty());
                    let mut linear =
                        Linear { inputs, plan: bsgs, diagonals, period, masks, bias, gadget, add_first: false };
                    if self.options.has(Pass::BiasCorrection) && !plan.packing.is_padded() {
                        self.correct(&mut linear, id);
                    }
                    for (member, other) in plan.circuit.others.iter().enumerate() {
                        let Source::Affine(affine) = &other.values[id].operation else { continue };
                        let own = plan.packing.spread(value, member + 1, &affine.bias);
                        let bias = linear.bias.iter_mut().flatten();
                        bias.zip(own.into_iter().flatten()).for_each(|(b, own)| *b += own);
                    }
                    let scales = self.weight_scales(&linear, affine);
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
                level_in: place.works,
                level_out: place.level,
                scale_out: outcome,
                estimate: self.estimate(id, shape, split, work),
            });
        }
        // Every circuit has an input: `Circuit::sort` keeps it.
        layout.unwrap_or_else(|| plan.packing.input(&plan.circuit.values[0], &[], 0, 1.0))
    }

    /// Scale of the weights of each ciphertext read.
    fn weight_scales(&self, linear: &Linear, affine: &Affine) -> Vec<f64> {
        let Plan { circuit, packing, .. } = self.plan;
        (sources(affine).into_iter().zip(&linear.inputs))
            .flat_map(|(s, input)| std::iter::repeat_n(input.weight_scale, packing.ciphertexts(&circuit.values[s])))
            .collect()
    }

    /// Takes from biases what weights add on average because they are encoded as integers.
    fn correct(&self, linear: &mut Linear, id: usize) {
        let Plan { circuit, packing, gains, diagonals, .. } = self.plan;
        let value = &circuit.values[id];
        let Source::Affine(affine) = &value.operation else { return };
        let scales = self.weight_scales(linear, affine);
        let encoder = Encoder::new(packing.period(value).ilog2() + 1);
        let mut errors: BTreeMap<(u32, u32, i64), Vec<f64>> = BTreeMap::new();
        for parts in linear.weights() {
            let parts: Vec<&Diagonal> = parts.iter().collect();
            // What cannot be encoded is refused when the program is loaded.
            let rounded = rounded_weight(&encoder, &linear.plan, (&parts, &[]), scales[parts[0].input as usize]);
            for (d, rounded) in parts.iter().zip(rounded.into_iter().flatten()) {
                let error = rounded.iter().zip(&d.values).map(|(r, w)| r - f64::from(*w)).collect();
                let rotation = linear.plan.giant(d) + linear.plan.babies[usize::from(d.baby)];
                errors.insert((d.output, d.input, packing.canonical(rotation)), error);
            }
        }
        let none = || vec![0.0; linear.period];
        let of = |(output, input, r): &(usize, usize, Rotation)| {
            errors.remove(&(*output as u32, *input as u32, packing.canonical(r.rows + r.rest))).unwrap_or_else(none)
        };
        let errors: Vec<Vec<f64>> = diagonals[id].keys().map(of).collect();
        let mean = precision::mean_error(circuit, packing, value, &diagonals[id], &errors, gains);
        linear.bias.iter_mut().flatten().zip(mean.into_iter().flatten()).for_each(|(b, mean)| *b -= mean);
    }

    fn sum(
        &mut self,
        id: usize,
        shape: &Shape,
        rotations: &[Vec<i64>],
        (register, destination): (usize, usize),
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
                    gadget,
                },
                destination,
                level_in: shape.level,
                level_out: shape.level,
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
                // Taking a sum apart is three rotations of one decomposition.
                let apart = if split.is_paired() { *outputs } else { 0 };
                (split.rotated + giants + 3 * apart, split.decomposed + giants + apart)
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

/// What rescaling divides by, exactly as [`Program::check`] computes it.
fn factor(parameters: &ParametersLiteral, from: usize, to: usize) -> f64 {
    let product = |a: &[u16], b: &[u16]| -> f64 {
        a.iter().filter(|i| !b.contains(i)).map(|&i| f64::from(parameters.primes[i as usize])).product()
    };
    let (from, to) = (&parameters.levels[from], &parameters.levels[to]);
    product(from, to) / product(to, from)
}

fn report(graphs: &[&Graph], plan: &Plan, options: &CompileOptions, program: &Program) -> Report {
    let log2 =
        |list: &mut dyn Iterator<Item = &u16>| -> f64 { list.map(|&p| f64::from(plan.pool[p as usize]).log2()).sum() };
    let gadgets = plan.choice.gadgets.iter().map(|g| log2(&mut g.digits.iter().flatten().chain(&g.special)));
    let top = plan.chain.levels.len() - 1;
    let log_q = plan.chain.log_q(top);
    let log_qp = gadgets.fold(log_q, f64::max);
    let keys = program.key_set();
    let mut notes = vec![
        format!(
            "N = 2^{}: {} levels, log2 Q = {log_q:.1}, log2 QP = {log_qp:.1} of {} allowed at 128-bit security",
            plan.log_n,
            top + 1,
            plan.limit
        ),
        format!(
            "predicted error of a logit: {:.2e} (standard deviation), wanted {:.2e}",
            plan.logit_error,
            options.logit_error(graphs)
        ),
    ];
    for (i, gadget) in plan.choice.gadgets.iter().enumerate() {
        let levels: Vec<usize> = (0..=top).filter(|l| plan.choice.of_level[*l] == i).collect();
        let own: Vec<_> = keys.iter().filter(|k| usize::from(k.gadget) == i).collect();
        notes.push(format!(
            "gadget {i}, levels {} to {}: {} digits, {} special primes ({:.1} bits), {} keys, {:.1} MB",
            levels.first().copied().unwrap_or(0),
            levels.last().copied().unwrap_or(0),
            gadget.digits.len(),
            gadget.special.len(),
            log2_of(&plan.pool, &gadget.special),
            own.len(),
            own.iter().map(|k| k.bytes(&program.parameters)).sum::<u64>() as f64 / 1e6
        ));
    }
    let by = if program.layout.is_averaged() { "server" } else { "client" };
    match program.layout {
        Layout::Cyclic => {}
        Layout::Batch { lanes } => {
            notes.push(format!("channel layout: one channel a ciphertext, {lanes} pictures at once"));
        }
        Layout::Padded { lanes, members, .. } => {
            notes.push(format!(
                "channel layout with masks for zero padding: one channel a ciphertext, {lanes} pictures at once"
            ));
            if members > 1 {
                notes.push(format!("{members} networks, each with ciphertexts of its own, averaged by the {by}"));
            }
        }
        Layout::SideBySide { members, .. } => {
            notes.push(format!("cyclic layout, {members} networks side by side, averaged by the {by}"))
        }
        Layout::Ensemble { pictures, members, .. } => notes.push(format!(
            "channel layout: one channel a ciphertext, {pictures} pictures in {members} networks at once, averaged by the {by}"
        )),
    }
    let linear =
        || program.steps.iter().filter_map(|s| if let Operation::Linear(l) = &s.operation { Some(l) } else { None });
    let (shared, all) = (linear().filter(|l| l.add_first).count(), linear().filter(|l| l.has_integers()).count());
    if shared > 0 {
        notes.push(format!("inputs that share a weight are added before they are multiplied: {shared} of {all} steps"));
    }
    if plan.shifts > 1 {
        notes.push(format!(
            "the picture is encrypted in {} shifted copies: unused channels save rotations",
            plan.shifts
        ));
    }
    if plan.carries > 0 {
        notes.push(format!("{} operands are carried to lower levels whose primes are not all theirs", plan.carries));
    }
    Report {
        log_qp,
        log_qp_limit: plan.limit,
        seconds: program.steps.iter().map(|s| s.estimate.seconds).sum(),
        key_bytes: keys.iter().map(|k| k.bytes(&program.parameters)).sum(),
        logit_error_std: plan.logit_error,
        without: options.without.iter().map(ToString::to_string).collect(),
        notes,
    }
}
