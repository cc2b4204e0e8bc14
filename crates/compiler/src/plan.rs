//! Everything that is decided at one ring degree: levels, moduli, key-switching keys, and what errors come of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use umbra_model::Graph;

mod free;
mod refine;

use crate::bsgs::{self, Inputs, Split};
use crate::chain::Chain;
use crate::circuit::{Circuit, Operation};
use crate::compatible::{KeysAtHand, Lack};
use crate::gadgets;
use crate::keys::{Choice, Search, Shape, ShapeKind};
use crate::levels::{self, Context, Effort, Place, SwitchNoise};
use crate::packing::{self, Diagonals, Kind, Packing, Wanted};
use crate::precision::{self, Gain, Injected, Sample};
use crate::samples::Samples;
use crate::{Average, Compatible, CompileError, CompileOptions, Pass};

/// Ring degrees accepted when asked for.
pub(crate) const LOG_N_FORCED: std::ops::RangeInclusive<u32> = 12..=17;
/// Bits by which digits may exceed the special primes at the highest level, where the image's scale pays for it.
pub(crate) const TOP_EXCESS: f64 = 6.0;
/// Bits left unused below the security limit, against rounding of logarithms.
const SLACK: f64 = 1e-3;
/// How far a plan may miss the wanted error and still be what was wanted.
pub(crate) const TOLERANCE: f64 = 1.05;

/// Everything decided, ready to be written out.
#[derive(Debug)]
pub(crate) struct Plan {
    pub circuit: Circuit,
    pub packing: Arc<dyn Packing>,
    pub log_n: u32,
    pub limit: u32,
    pub places: Vec<Place>,
    pub chain: Chain,
    pub pool: Vec<u32>,
    pub diagonals: Vec<Diagonals>,
    pub classes: Vec<Vec<Split>>,
    /// Per value; values without step have none.
    pub shapes: Vec<Option<Shape>>,
    /// Per shape in order of values.
    pub choice: Choice,
    /// With those of alignments.
    pub gains: Vec<Gain>,
    /// What each step adds.
    pub injected: Vec<Injected>,
    /// Per value, simulated.
    pub errors: Vec<f64>,
    /// Per value: how large it is, root mean square.
    pub sizes: Vec<f64>,
    /// Predicted from gains.
    pub logit_error: f64,
    pub shifts: usize,
    pub alignments: usize,
}

/// The plan at a ring degree.
pub(crate) fn at_degree(
    (graphs, images): (&[&Graph], &Samples),
    circuit: &Circuit,
    options: &CompileOptions,
    log_n: u32,
    kind: Kind,
) -> Result<Plan, CompileError> {
    // Whether this is a ring degree at all.
    security_limit(log_n)?;
    let averaged = options.average == Average::Server;
    let shared = kind.pack(circuit, &Wanted { log_n, batch: options.batch, members: graphs.len(), averaged })?;
    let packing = &*shared;
    let (circuit, shifts) = expanded(circuit, packing, options);
    let samples = laid_out(images, graphs[0], &circuit);
    let diagonals = packing::diagonals(packing, &circuit);
    let corrected = options.has(Pass::BiasCorrection).then(|| images.counted());
    let measured = images.measured(graphs[0]);
    let gains = all_gains(&circuit, packing, &diagonals, (&samples, measured), corrected);
    if let Some(id) = gains.iter().position(|g| !(g.value + g.weights.iter().sum::<f64>() + g.mean_square).is_finite())
    {
        return Err(CompileError::OutOfRange { node: circuit.values[id].nodes.join(" + ") });
    }
    let weight_noise = levels::weight_noise(&circuit, packing, &diagonals, &gains);
    let context = Context {
        circuit: &circuit,
        packing,
        log_n,
        tower_reuse: options.has(Pass::TowerReuse),
        gains: &gains,
        weight_noise: &weight_noise,
        largest_logit: graphs.iter().map(|g| largest_logit(g, &gains[circuit.output])).fold(0.0, f64::max),
        excess: TOP_EXCESS,
        parts: if options.has(Pass::Bsgs) && options.has(Pass::ComplexGiants) && packing.packs_giants() {
            2.0
        } else {
            1.0
        },
    };
    let logit_error = options.logit_error(graphs);
    let wanted = logit_error * logit_error / context.roundings().max(1) as f64;
    let mut plan = match &options.compatible_with {
        Some(earlier) => kept(&context, options, earlier, wanted, (shifts, &shared))?,
        None => free::free(&context, options, logit_error, wanted, (shifts, &shared))?,
    };
    let samples = &samples[..measured];
    let errors = |(member, circuit): (usize, &Circuit)| {
        let means: Vec<&[f64]> = plan.gains.iter().map(|g| g.means[member].as_slice()).collect();
        precision::errors(circuit, packing, &plan.diagonals, samples, &plan.injected, &means)
    };
    plan.errors = plan.circuit.members().enumerate().map(errors).reduce(largest_of).unwrap_or_default();
    plan.sizes = samples.first().map(|sample| precision::sizes(&plan.circuit, sample)).unwrap_or_default();
    // Activations may amplify errors without bound.
    if !plan.errors.iter().all(|e| e.is_finite()) {
        return Err(plan.swamped(plan.errors[plan.circuit.output], logit_error, options));
    }
    Ok(plan)
}

/// The plan with the parameters and the keys of an earlier program: levels, gadgets and rotations are given, scales
/// follow.
fn kept(
    context: &Context<'_>,
    options: &CompileOptions,
    earlier: &Compatible,
    wanted: f64,
    (shifts, shared): (usize, &Arc<dyn Packing>),
) -> Result<Plan, CompileError> {
    let (chain, pool) = (earlier.chain(), &earlier.parameters.primes);
    let mut places = context.place();
    let (needed, there) = (levels::count(&places), chain.levels.len());
    if needed > there {
        return Err(CompileError::IncompatibleLevels { needed, there });
    }
    context.allot(&mut places, wanted);
    let draft = Draft::new(context, &chain, places, Effort::Thorough);
    draft.check_room(context, &chain)?;
    let keys = KeysAtHand::new(earlier);
    let splits = |set: &Inputs| keys.splits(set, context.packing, options);
    let classes: Vec<Vec<Split>> = draft.sets.iter().map(splits).collect();
    let limit = security_limit(context.log_n)?;
    let steps = draft.steps();
    let search = draft.search(context, options, (&chain, pool), (limit, &steps), &classes);
    let choice = keys.choose(&search).map_err(|lack| draft.lacking(lack))?;
    Ok(draft.plan(context, (chain, pool.clone()), classes, choice, (limit, shifts, shared)))
}

/// The circuit with as many shifted copies of the image as there is room for, and their number.
pub(crate) fn expanded(circuit: &Circuit, packing: &dyn Packing, options: &CompileOptions) -> (Circuit, usize) {
    let mut circuit = circuit.clone();
    let expand = options.has(Pass::InputExpansion);
    let shifts = if expand { packing::expand_input(&mut circuit, packing).len() } else { 1 };
    (circuit, shifts)
}

fn largest_of(a: Vec<f64>, b: Vec<f64>) -> Vec<f64> {
    // A number that is none stays, and is found later.
    a.into_iter().zip(b).map(|(a, b)| if a.is_nan() || a > b { a } else { b }).collect()
}

/// Gains, of an ensemble the largest over its members.
fn all_gains(
    circuit: &Circuit,
    packing: &dyn Packing,
    diagonals: &[Diagonals],
    samples: (&[Sample], usize),
    corrected: Option<f64>,
) -> Vec<Gain> {
    let mut gains = precision::gains(circuit, packing, diagonals, samples, corrected);
    for other in &circuit.others {
        for (gain, own) in gains.iter_mut().zip(precision::gains(other, packing, diagonals, samples, corrected)) {
            gain.means.extend(own.means);
            let larger = |a: f64, b: f64| if a.is_nan() || a > b { a } else { b };
            gain.value = larger(gain.value, own.value);
            gain.weights.iter_mut().zip(own.weights).for_each(|(w, own)| *w = larger(*w, own));
            gain.mean_square = larger(gain.mean_square, own.mean_square);
            gain.largest = larger(gain.largest, own.largest);
        }
    }
    if packing.averages(&circuit.values[circuit.output]) {
        // A logit has the errors of all members, each of which has its part of the weights. Those of the logits
        // themselves were seen in every member: they make them together.
        let members = circuit.members().len() as f64;
        for (_, gain) in gains.iter_mut().enumerate().filter(|(id, _)| *id != circuit.output) {
            gain.value *= members;
            gain.weights.iter_mut().for_each(|w| *w *= members);
        }
    }
    gains
}

/// log2(QP) allowed at 128 bits.
fn security_limit(log_n: u32) -> Result<u32, CompileError> {
    let (low, high) = (*LOG_N_FORCED.start(), *LOG_N_FORCED.end());
    umbra_ckks::security::max_log_qp(log_n).map_err(|_| CompileError::RingDegree { log_n, low, high })
}

/// The largest magnitude of a logit that decryption must tell from an overflow.
fn largest_logit(graph: &Graph, logits: &Gain) -> f64 {
    let seen = graph.ranges().logits.map(|[min, max]| 4.0 * f64::from(min.abs().max(max.abs())));
    seen.unwrap_or(8.0 * logits.largest).max(32.0)
}

/// Images on the positions of a circuit.
fn laid_out(samples: &Samples, graph: &Graph, circuit: &Circuit) -> Vec<Sample> {
    let input = graph.input();
    // With zero padding, values have the pixels that there are, and no others.
    let (pitch, positions) = if circuit.is_padded() {
        (input.width, input.height * input.width)
    } else {
        (circuit.grid.pitch, circuit.grid.positions)
    };
    let lay_out = |image: &Vec<f32>| Sample::new(image, (input.height, input.width), pitch, positions);
    samples.images.iter().map(lay_out).collect()
}

/// What a chain makes of a circuit, before gadgets and splits are chosen.
#[derive(Clone)]
struct Draft {
    circuit: Circuit,
    gains: Vec<Gain>,
    places: Vec<Place>,
    alignments: usize,
    diagonals: Vec<Diagonals>,
    /// Different sets of rotations.
    sets: Vec<Inputs>,
    shapes: Vec<Option<Shape>>,
}

/// A circuit on the levels of a chain: aligned, with scales.
struct Scaled {
    circuit: Circuit,
    gains: Vec<Gain>,
    places: Vec<Place>,
    alignments: usize,
}

impl Scaled {
    fn new(context: &Context<'_>, chain: &Chain, mut places: Vec<Place>, effort: Effort) -> Self {
        let mut circuit = context.circuit.clone();
        let mut gains = context.gains.to_vec();
        let alignments = levels::align(&mut circuit, &mut places, &mut gains, chain);
        levels::balance(context, &circuit, &gains, &mut places, chain, effort);
        Self { circuit, gains, places, alignments }
    }

    /// The predicted error of a logit, but for what key switching adds: little, by the choice of gadgets.
    fn error(&self, context: &Context<'_>) -> f64 {
        let injected = context.injected(&self.circuit, &self.places, |_| SwitchNoise::default());
        logit_error(&injected, &self.gains)
    }
}

/// What all errors come to in a logit.
fn logit_error(injected: &[Injected], gains: &[Gain]) -> f64 {
    injected.iter().zip(gains).map(|(i, g)| i.logit_variance(g)).sum::<f64>().sqrt()
}

/// What each step adds, with these gadgets.
fn injected(
    context: &Context<'_>,
    circuit: &Circuit,
    places: &[Place],
    (chain, pool): (&Chain, &[u32]),
    choice: &Choice,
) -> Vec<Injected> {
    context.injected(circuit, places, |level| {
        let gadget = &choice.gadgets[choice.of_level[level]];
        SwitchNoise {
            digits: gadgets::digits_at(gadget, &chain.levels[level]),
            excess: gadgets::excess(gadget, &chain.levels[level], pool),
        }
    })
}

/// What digits may exceed special primes by: at the highest level, and below.
fn excess(circuit: &Circuit, places: &[Place]) -> (f64, f64) {
    (TOP_EXCESS, (levels::switch_margin(circuit, places) - 8.0).clamp(0.0, 12.0))
}

impl Draft {
    fn new(context: &Context<'_>, chain: &Chain, places: Vec<Place>, effort: Effort) -> Self {
        let packing = context.packing;
        let Scaled { circuit, gains, places, alignments } = Scaled::new(context, chain, places, effort);
        let diagonals = packing::diagonals(packing, &circuit);
        let mut sets: Vec<Inputs> = Vec::new();
        let shapes: Vec<Option<Shape>> = (circuit.values.iter().enumerate())
            .map(|(id, _)| shape(packing, chain, &places, (&circuit, id), &diagonals[id], &mut sets))
            .collect();
        Self { circuit, gains, places, alignments, diagonals, sets, shapes }
    }

    fn steps(&self) -> Vec<Shape> {
        self.shapes.iter().flatten().cloned().collect()
    }

    fn search<'a>(
        &self,
        context: &Context<'_>,
        options: &'a CompileOptions,
        (chain, pool): (&'a Chain, &'a [u32]),
        (limit, shapes): (u32, &'a [Shape]),
        classes: &'a [Vec<Split>],
    ) -> Search<'a> {
        Search {
            chain,
            pool,
            log_n: context.log_n,
            limit: f64::from(limit) - SLACK,
            excess: excess(&self.circuit, &self.places),
            shapes,
            classes,
            model: &options.cost,
        }
    }

    /// Checks that no level is too small for the values in it.
    fn check_room(&self, context: &Context<'_>, chain: &Chain) -> Result<(), CompileError> {
        let short = levels::short_of_room(context, &self.circuit, &self.gains, &self.places, chain);
        short.map_or(Ok(()), |(id, needed)| {
            let Place { level, .. } = self.places[id];
            let there = chain.log_q(level);
            Err(CompileError::IncompatibleModulus { node: self.node(id), level, needed, there })
        })
    }

    /// The error for what a step lacks.
    fn lacking(&self, (step, lack): (usize, Lack)) -> CompileError {
        let mut ids = (0..self.shapes.len()).filter(|id| self.shapes[*id].is_some());
        let node = ids.nth(step).map(|id| self.node(id)).unwrap_or_default();
        match lack {
            Lack::Gadget(level) => CompileError::IncompatibleGadget { node, level },
            Lack::Key(key) => CompileError::IncompatibleKey { node, key },
        }
    }

    fn node(&self, id: usize) -> String {
        self.circuit.values[id].nodes.join(" + ")
    }

    /// Everything decided.
    fn plan(
        self,
        context: &Context<'_>,
        (chain, pool): (Chain, Vec<u32>),
        classes: Vec<Vec<Split>>,
        choice: Choice,
        (limit, shifts, shared): (u32, usize, &Arc<dyn Packing>),
    ) -> Plan {
        let injected = injected(context, &self.circuit, &self.places, (&chain, &pool), &choice);
        let logit_error = logit_error(&injected, &self.gains);
        let Self { circuit, gains, places, alignments, diagonals, shapes, .. } = self;
        Plan {
            circuit,
            packing: Arc::clone(shared),
            log_n: context.log_n,
            limit,
            places,
            chain,
            pool,
            diagonals,
            classes,
            shapes,
            choice,
            gains,
            injected,
            errors: Vec::new(),
            sizes: Vec::new(),
            logit_error,
            shifts,
            alignments,
        }
    }
}

impl Plan {
    /// That errors grow beyond their prediction, to this deviation of a logit: where they are largest beside the
    /// values.
    pub(crate) fn swamped(&self, simulated: f64, wanted: f64, options: &CompileOptions) -> CompileError {
        if options.compatible_with.is_some() {
            return self.imprecise(simulated, wanted);
        }
        let shares = self.errors.iter().zip(&self.sizes).map(|(error, size)| error / size.max(f64::MIN_POSITIVE));
        let (id, share) = shares.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default();
        let node = self.circuit.values[id].nodes.join(" + ");
        CompileError::Swamped { node, share, wanted, predicted: self.logit_error, simulated, log_n: self.log_n }
    }

    /// The error that results are not as exact as wanted, which names the step that adds most to it.
    pub(crate) fn imprecise(&self, predicted: f64, wanted: f64) -> CompileError {
        let variances = self.injected.iter().zip(&self.gains).map(|(i, g)| i.logit_variance(g));
        let id = variances.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(id, _)| id);
        let (node, level) = (self.circuit.values[id].nodes.join(" + "), self.places[id].works);
        CompileError::IncompatiblePrecision { predicted, wanted, node, level }
    }
}

/// The shape of a value's step; sets of rotations are collected in `sets`.
fn shape(
    packing: &dyn Packing,
    chain: &Chain,
    places: &[Place],
    (circuit, id): (&Circuit, usize),
    diagonals: &Diagonals,
    sets: &mut Vec<Inputs>,
) -> Option<Shape> {
    let (place, value) = (places[id], &circuit.values[id]);
    let kind = match &value.operation {
        Operation::Input(_) | Operation::Polynomial(..) => return None,
        Operation::Square(_) => ShapeKind::Square(packing.ciphertexts(value)),
        Operation::Sum(source, window) => {
            let rotations = packing.pooling(&circuit.values[*source], *window);
            ShapeKind::Rotations(rotations, packing.ciphertexts(value))
        }
        Operation::Affine(_) => {
            let set = bsgs::inputs(diagonals);
            let class = sets.iter().position(|s| *s == set).unwrap_or_else(|| {
                sets.push(set);
                sets.len() - 1
            });
            let (outputs, diagonals) = (packing.ciphertexts(value), diagonals.len());
            ShapeKind::Linear { class, outputs, diagonals, encoding: packing.encoding(diagonals) }
        }
    };
    Some(Shape { level: place.works, changes: chain.changes(place.works, place.level), kind })
}

/// Primes in use, renumbered: those of the pool that no level and no gadget has are dropped.
pub(crate) fn used_primes(plan: &Plan) -> BTreeMap<u16, u16> {
    umbra_ckks::used_primes(&plan.chain.levels, &plan.choice.gadgets).into_iter().zip(0..).collect()
}
