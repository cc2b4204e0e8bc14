//! The driver: passes in order, choices between their results, and the program.

use std::borrow::Cow;
use std::fmt::{self, Write};

use umbra_model::{Graph, Padding};
use umbra_program::Program;

use crate::circuit::{Circuit, Operation};
use crate::error::CompileError;
use crate::lower::lower;
use crate::options::{Average, CompileOptions, Pass};
use crate::packing::Kind;
use crate::plan::{self, LOG_N_FORCED, Plan, TOLERANCE};
use crate::samples::Samples;
use crate::stage::Stage;
use crate::{digest, emit, fuse, levels, merge, prediction, redistribute, show};

/// Ring degrees offered; the smallest that fits is taken.
const LOG_N: std::ops::RangeInclusive<u32> = 13..=16;
/// How many times the wanted error is still taken before a larger ring is tried.
const ACCEPTABLE: f64 = 4.0;
/// How many times the predicted or the wanted error the simulated one may be before a smaller one is tried: beyond,
/// activations amplify errors more than a linear prediction knows of. [`ACCEPTABLE`] in the last attempt.
const SWAMPED: f64 = 2.0;
/// Parts of the wanted error that are aimed at where errors grow beyond their prediction.
const SMALLER: [f64; 2] = [1.0 / 4.0, 1.0 / 16.0];

/// Compiles a network.
///
/// # Errors
/// [`CompileError`] names the node, or what security does not allow, and what to do.
pub fn compile(graph: &Graph, options: &CompileOptions) -> Result<Program, CompileError> {
    compile_ensemble(&[graph], options)
}

/// Compiles networks of one architecture to a program that evaluates all of them on the same image: side by side in the
/// multiplexed packing and with zero padding, in batch slots of their own with one channel per ciphertext otherwise.
///
/// # Errors
/// As [`compile`]; [`CompileError::Member`] for networks that differ in more than their weights.
pub fn compile_ensemble(graphs: &[&Graph], options: &CompileOptions) -> Result<Program, CompileError> {
    compile_observed(graphs, options, &mut |_, _| ())
}

/// As [`compile_ensemble`], and shows what each stage leaves: those before [`Stage::Merge`] once a network, then those
/// that lead to the program that is chosen. Where there is no program, the stages before it have been shown.
///
/// # Errors
/// As [`compile_ensemble`].
pub fn compile_observed(
    graphs: &[&Graph],
    options: &CompileOptions,
    observe: &mut dyn FnMut(Stage, &dyn fmt::Display),
) -> Result<Program, CompileError> {
    options.check(graphs.len())?;
    let padded = graphs.iter().any(|graph| graph.padding() == Padding::Zero);
    let kinds = Kind::of(options.packing, padded);
    kinds.iter().try_for_each(|kind| kind.check(options, graphs.len()))?;
    let circuit = passes(graphs, options, observe)?;
    let samples = Samples::of(graphs);
    let compiled = kinds.iter().map(|kind| (*kind, with_packing((graphs, &samples), &circuit, options, *kind)));
    let compiled = cheapest(compiled.collect())?;
    compiled.show(options, observe);
    Ok(compiled.program)
}

/// What a stage leaves, as text: of every network before [`Stage::Merge`], of the program that is chosen from there on.
///
/// # Errors
/// As [`compile_ensemble`], where compilation does not come to the stage.
pub fn dump(graphs: &[&Graph], options: &CompileOptions, stage: Stage) -> Result<String, CompileError> {
    let mut text = String::new();
    let outcome = compile_observed(graphs, options, &mut |of, shown| {
        if of == stage {
            // Strings take all that is written to them.
            let _ = write!(text, "{shown}");
        }
    });
    if text.is_empty() { outcome.map(|_| text) } else { Ok(text) }
}

/// A program, and what it was made of.
struct Compiled<'c> {
    /// Before the packing.
    circuit: Cow<'c, Circuit>,
    plan: Plan,
    program: Program,
}

impl Compiled<'_> {
    fn show(&self, options: &CompileOptions, observe: &mut dyn FnMut(Stage, &dyn fmt::Display)) {
        let Self { circuit, plan, program } = self;
        let packing = &*plan.packing;
        observe(Stage::Merge, circuit);
        let (expanded, _) = plan::expanded(circuit, packing, options);
        observe(Stage::Packing, &show::packed(packing, &expanded));
        observe(Stage::Levels, &levels::listing(&plan.circuit, &plan.places));
        observe(Stage::Chain, &plan.chain);
        observe(Stage::Gadgets, &show::Gadgets(plan));
        observe(Stage::Keys, &show::Keys(plan, program));
        observe(Stage::Emit, program);
    }
}

/// The program that takes least time an image, with a note where there was a choice; the first error where there is
/// none.
fn cheapest<'c>(outcomes: Vec<(Kind, Result<Compiled<'c>, CompileError>)>) -> Result<Compiled<'c>, CompileError> {
    let mut refused = None;
    let mut found = Vec::new();
    for (kind, outcome) in outcomes {
        match outcome {
            Ok(compiled) => {
                let seconds = compiled.program.report.seconds / compiled.program.client.layout.images as f64;
                found.push((kind, seconds, compiled));
            }
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    let times: Vec<String> = found.iter().map(|(kind, seconds, _)| format!("{seconds:.2} ({kind})")).collect();
    let best = found.into_iter().min_by(|(_, a, _), (_, b, _)| a.total_cmp(b));
    let Some((_, _, mut best)) = best else {
        return Err(refused.unwrap_or(CompileError::RingDegree { log_n: 0, low: *LOG_N.start(), high: *LOG_N.end() }));
    };
    if times.len() > 1 {
        best.program.report.notes.push(format!("CPU-seconds an image: {}", times.join(", ")));
    }
    Ok(best)
}

/// The passes before the packing: a circuit whose [`Circuit::others`] are the further members.
fn passes(
    graphs: &[&Graph],
    options: &CompileOptions,
    observe: &mut dyn FnMut(Stage, &dyn fmt::Display),
) -> Result<Circuit, CompileError> {
    let mut members = Vec::with_capacity(graphs.len());
    for graph in graphs {
        let mut circuit = lower(graph)?;
        observe(Stage::Lower, &circuit);
        if options.has(Pass::Fuse) {
            fuse::fuse(&mut circuit);
        }
        observe(Stage::Fuse, &circuit);
        if options.has(Pass::Redistribute) {
            redistribute::redistribute(&mut circuit)?;
        } else {
            redistribute::evaluate_directly(&mut circuit);
        }
        observe(Stage::Redistribute, &circuit);
        members.push(circuit);
    }
    for (member, (graph, circuit)) in graphs.iter().zip(&members).enumerate().skip(1) {
        let what = if graph.input() != graphs[0].input() {
            "it takes other images, or normalises them in another way"
        } else if graph.classes() != graphs[0].classes() {
            "it has other classes"
        } else if !circuit.same_structure(&members[0]) {
            "its layers have other shapes"
        } else {
            continue;
        };
        return Err(CompileError::Member { member, name: graph.name().into(), what });
    }
    if options.average == Average::Server {
        let part = 1.0 / members.len() as f64;
        for circuit in &mut members {
            if let Operation::Affine(affine) = &mut circuit.values[circuit.output].operation {
                let classes = affine.bias.len();
                affine.rescale(&vec![part; classes], &vec![0.0; classes]);
            }
        }
    }
    let mut circuit = members.remove(0);
    circuit.others = members;
    Ok(circuit)
}

/// The program in one packing, at the smallest ring degree that will do.
fn with_packing<'c>(
    (graphs, samples): (&[&Graph], &Samples),
    circuit: &'c Circuit,
    options: &CompileOptions,
    kind: Kind,
) -> Result<Compiled<'c>, CompileError> {
    let merge = graphs.len() > 1 && kind.merges_members();
    let circuit = if merge {
        Cow::Owned(merge::side_by_side(circuit, options.average == Average::Server))
    } else {
        Cow::Borrowed(circuit)
    };
    let log_n = options.compatible_with.as_ref().map_or(options.log_n, |earlier| Some(earlier.parameters.log_n));
    let degrees = match log_n {
        Some(log_n) if LOG_N_FORCED.contains(&log_n) => log_n..=log_n,
        Some(log_n) => {
            return Err(CompileError::RingDegree { log_n, low: *LOG_N_FORCED.start(), high: *LOG_N_FORCED.end() });
        }
        None => LOG_N,
    };
    let forced = log_n.is_some();
    let wanted = options.logit_error(graphs);
    let write = |plan, times| written((graphs, samples), plan, options, (wanted, times));
    let (mut refused, mut coarse): (Option<CompileError>, Option<Plan>) = (None, None);
    let mut chosen = None;
    for log_n in degrees {
        let attempt = |options: &CompileOptions, times: f64| {
            let plan = plan::at_degree((graphs, samples), &circuit, options, log_n, kind)?;
            if forced || plan.logit_error <= ACCEPTABLE * wanted { write(plan, times).map(Ok) } else { Ok(Err(plan)) }
        };
        match with_smaller_errors(options, wanted, attempt) {
            Ok(Ok(written)) => {
                chosen = Some(written);
                break;
            }
            // It fits, at the price of precision: a larger ring may do better.
            Ok(Err(plan)) => {
                if coarse.as_ref().is_none_or(|c| plan.logit_error < c.logit_error) {
                    coarse = Some(plan);
                }
            }
            Err(
                e @ (CompileError::TooDeep { .. }
                | CompileError::Swamped { .. }
                | CompileError::TooLarge { .. }
                | CompileError::TooManyBatchSlots { .. }
                | CompileError::Ring(_)),
            ) => refused = Some(e),
            Err(e) => return Err(e),
        }
    }
    let (plan, program) = match (chosen, coarse) {
        (Some(written), _) => written,
        (None, Some(plan)) => write(plan, ACCEPTABLE)?,
        (None, None) => {
            let none = CompileError::RingDegree { log_n: 0, low: *LOG_N.start(), high: *LOG_N.end() };
            return Err(refused.unwrap_or(none));
        }
    };
    Ok(Compiled { circuit, plan, program })
}

/// The program of a plan, with the error of its logits as it is simulated on samples: at most so many times the one
/// that is predicted from gains, or the wanted one.
fn written(
    (graphs, samples): (&[&Graph], &Samples),
    plan: Plan,
    options: &CompileOptions,
    (wanted, times): (f64, f64),
) -> Result<(Plan, Program), CompileError> {
    let digests: Vec<[u8; 32]> = graphs.iter().map(|g| digest::network_digest(g)).collect();
    let mut program = emit::program(graphs, &plan, options, digest::ensemble_digest(&digests));
    program.check()?;
    let simulated = prediction::simulate(&program, graphs, samples)?;
    let error = simulated.map_or(plan.errors[plan.circuit.output], |(error, _)| error);
    if error.is_nan() || error >= times * plan.logit_error.max(wanted) {
        return Err(plan.swamped(error, wanted, options));
    }
    // Either may be a little above by chance.
    if options.compatible_with.is_some() && error.min(plan.logit_error) > TOLERANCE * wanted {
        return Err(plan.imprecise(error, wanted));
    }
    let images = samples.describe();
    let found = match simulated {
        Some((_, count)) if count < samples.images.len() => {
            format!("root mean square over the first {count} of {images}, simulated")
        }
        Some(_) => format!("root mean square over {images}, simulated"),
        None => format!("standard deviation, from gains on {images}"),
    };
    let error = simulated.map_or(plan.logit_error, |(error, _)| error);
    program.client.logit_error = error;
    program.report.logit_error_std = error;
    let note = format!("predicted error of a logit: {error:.2e} ({found}), wanted {wanted:.2e}");
    program.report.notes.insert(1, note);
    program.report.notes.extend(samples.warning());
    Ok((plan, program))
}

/// Predictions are linear in errors; where the simulated ones are more than so many times as large, plans with smaller
/// ones are made.
fn with_smaller_errors<T>(
    options: &CompileOptions,
    wanted: f64,
    plan: impl Fn(&CompileOptions, f64) -> Result<T, CompileError>,
) -> Result<T, CompileError> {
    let mut outcome = plan(options, SWAMPED);
    for (part, times) in SMALLER.into_iter().zip([SWAMPED, ACCEPTABLE]) {
        if !matches!(outcome, Err(CompileError::Swamped { .. })) {
            break;
        }
        let smaller = CompileOptions { logit_error: Some(wanted * part), ..options.clone() };
        outcome = plan(&smaller, times);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::PackingChoice;
    use crate::testing::residual;

    fn options() -> CompileOptions {
        CompileOptions { logit_error: Some(0.05), ..CompileOptions::default() }
    }

    /// The stages in the order in which they are shown, each with its text.
    fn shown(graphs: &[&Graph], options: &CompileOptions) -> (Vec<(Stage, String)>, Result<Program, CompileError>) {
        let mut shown = Vec::new();
        let outcome = compile_observed(graphs, options, &mut |stage, text| shown.push((stage, text.to_string())));
        (shown, outcome)
    }

    #[test]
    fn every_stage_is_shown() {
        let graph = residual(1, 1);
        let (all, program) = shown(&[&graph], &options());
        let program = program.unwrap();
        assert_eq!(program, compile(&graph, &options()).unwrap());
        assert!(all.iter().map(|(stage, _)| *stage).eq(Stage::ALL));
        for (stage, text) in &all {
            assert!(text.lines().count() > 1 && text.ends_with('\n'), "{stage}: {text}");
            assert_eq!(*text, dump(&[&graph], &options(), *stage).unwrap());
        }
        let of = |stage| all.iter().find(|(of, _)| *of == stage).map(|(_, text)| text.as_str()).unwrap();
        assert_eq!(
            of(Stage::Fuse),
            "7 values on 4 positions, 2 a row; the output is %6\n\
             %0  1 x 4                input(0)                                                         input\n\
             %1  2 x 4                affine(%0 by 9 taps -3 -2 -1 -1 0 1 1 2 3, 18 weights)           stem\n\
             %2  2 x 4                polynomial(%1: 0.25 + 0.5 x + 1 x^2)                             act0\n\
             %3  2 x 4                affine(%1 by 1; %2 by 9 taps -3 -2 -1 -1 0 1 1 2 3, 36 weights)  conv0 + add0\n\
             %4  2 x 4                polynomial(%3: 0.25 + 0.5 x + 1 x^2)                             last act\n\
             %5  2 x 4 pooled         sum(%4 over 1x4)                                                 pool\n\
             %6  3 x 4 pooled logits  affine(%5 by 1 tap 0, 6 weights)                                 pool + fc\n"
        );
        assert!(of(Stage::Lower).contains("affine(%1 by 1; %3 by 1)"), "{}", of(Stage::Lower));
        assert!(of(Stage::Redistribute).contains("square(%1)"), "{}", of(Stage::Redistribute));
        assert_eq!(of(Stage::Merge), of(Stage::Redistribute));
        assert!(of(Stage::Packing).contains("1 ciphertext  input(0 "), "{}", of(Stage::Packing));
        assert!(of(Stage::Levels).contains("level 2>1 2^"), "{}", of(Stage::Levels));
        assert_eq!(of(Stage::Chain).lines().count(), 4);
        assert!(of(Stage::Gadgets).starts_with("gadget 0, levels "), "{}", of(Stage::Gadgets));
        assert!(of(Stage::Keys).contains("relinearize\n") && of(Stage::Keys).contains("sum of rotations by "));
        assert_eq!(of(Stage::Emit), program.to_string());
    }

    #[test]
    fn keys_are_as_small_as_asked_for_or_the_smallest_are_named() {
        let graph = residual(1, 1);
        let limited = |key_bytes| compile(&graph, &CompileOptions { key_bytes: Some(key_bytes), ..options() });
        let free = compile(&graph, &options()).unwrap().report;
        let error = limited(1).unwrap_err();
        let CompileError::KeyBytes { limit: 1, smallest, .. } = error else { panic!("{error}") };
        assert!(smallest < free.key_bytes, "{smallest} {}", free.key_bytes);
        for limit in [smallest, (smallest + free.key_bytes) / 2, free.key_bytes] {
            let report = limited(limit).unwrap().report;
            assert!(report.key_bytes <= limit && report.logit_error_std <= 1.05 * 0.05, "{limit}: {report:?}");
        }
        let error = limited(smallest - 1).unwrap_err();
        assert!(error.to_string().contains(&smallest.to_string()), "{error}");
    }

    #[test]
    fn members_are_shown_one_by_one_until_they_are_merged() {
        let graphs = [residual(1, 1), residual(1, 50)];
        let graphs: Vec<&Graph> = graphs.iter().collect();
        for (packing, merged) in [(PackingChoice::Multiplexed, true), (PackingChoice::Channel, false)] {
            let (all, program) = shown(&graphs, &CompileOptions { packing, ..options() });
            program.unwrap();
            let count = |stage| all.iter().filter(|(of, _)| *of == stage).count();
            let twice = [Stage::Lower, Stage::Fuse, Stage::Redistribute];
            assert!(Stage::ALL.iter().all(|stage| count(*stage) == if twice.contains(stage) { 2 } else { 1 }));
            let text = all.iter().find(|(stage, _)| *stage == Stage::Merge).map(|(_, text)| text).unwrap();
            assert_eq!(text.contains("; 1 more with other numbers"), !merged);
            assert_eq!(text.contains("%1  4 x 4"), merged, "{text}");
        }
    }

    #[test]
    fn what_came_before_an_error_is_shown() {
        let deep = residual(8, 1);
        let options = CompileOptions { log_n: Some(13), ..options() };
        assert!(dump(&[&deep], &options, Stage::Redistribute).unwrap().contains("square(%1)"));
        let error = dump(&[&deep], &options, Stage::Chain).unwrap_err();
        assert!(matches!(error, CompileError::TooDeep { log_n: 13, .. }), "{error}");
        assert!(matches!(compile_ensemble(&[], &options), Err(CompileError::Option { option: "members", .. })));
    }
}
