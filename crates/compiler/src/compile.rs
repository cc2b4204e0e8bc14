//! The driver: passes in order, choices between their results, and the program.

use umbra_model::{Geometry, Graph};
use umbra_program::Program;

use crate::circuit::{Circuit, Operation, lower};
use crate::plan::{self, LOG_N_FORCED, Plan};
use crate::{Average, CompileError, CompileOptions, LayoutChoice, Pass, digest, emit, fuse, merge, redistribute};

/// Ring degrees offered; the smallest that fits is taken.
const LOG_N: std::ops::RangeInclusive<u32> = 13..=16;
/// How many times the wanted error is still taken before a larger ring is tried.
const ACCEPTABLE: f64 = 4.0;
/// Parts of the wanted error that are aimed at where errors grow beyond their prediction.
const SMALLER: [f64; 2] = [1.0 / 4.0, 1.0 / 16.0];

/// Compiles a network.
///
/// # Errors
/// [`CompileError`] names the node, or what security does not allow, and what to do.
pub fn compile(graph: &Graph, options: &CompileOptions) -> Result<Program, CompileError> {
    compile_ensemble(&[graph], options)
}

/// Compiles networks of one architecture to a program that evaluates all of them on the same picture: in the channel layout a
/// lane each, in the cyclic layout side by side.
///
/// # Errors
/// As [`compile`]; [`CompileError::Member`] for networks that differ in more than their weights.
pub fn compile_ensemble(graphs: &[&Graph], options: &CompileOptions) -> Result<Program, CompileError> {
    let padded = graphs.iter().any(|graph| graph.geometry() == Geometry::Textbook);
    options.check(graphs.len(), padded)?;
    let circuit = passes(graphs, options)?;
    let with = |channel: bool| in_layout(graphs, &circuit, options, channel);
    match options.layout {
        LayoutChoice::Cyclic => with(false),
        LayoutChoice::Channel => with(true),
        LayoutChoice::Auto => match (with(false), with(true)) {
            (Ok(cyclic), Ok(channel)) => {
                let time = |p: &Program| p.report.seconds / p.layout.pictures() as f64;
                let (cyclic_s, channel_s) = (time(&cyclic), time(&channel));
                let mut program = if channel_s < cyclic_s { channel } else { cyclic };
                let note = format!(
                    "core-seconds a picture: {cyclic_s:.2} in the cyclic layout, {channel_s:.2} in the channel layout"
                );
                program.report.notes.push(note);
                Ok(program)
            }
            (Ok(program), Err(_)) | (Err(_), Ok(program)) => Ok(program),
            // With zero padding there is no other layout than the channel layout.
            (Err(error), Err(other)) => Err(if circuit.is_padded() { other } else { error }),
        },
    }
}

/// The passes before the layout: a circuit whose [`Circuit::others`] are the further members.
fn passes(graphs: &[&Graph], options: &CompileOptions) -> Result<Circuit, CompileError> {
    let mut members = Vec::with_capacity(graphs.len());
    for graph in graphs {
        let mut circuit = lower(graph)?;
        if options.has(Pass::Fuse) {
            fuse::fuse(&mut circuit);
        }
        if options.has(Pass::Redistribute) {
            redistribute::redistribute(&mut circuit)?;
        } else {
            redistribute::evaluate_directly(&mut circuit);
        }
        members.push(circuit);
    }
    for (member, (graph, circuit)) in graphs.iter().zip(&members).enumerate().skip(1) {
        let what = if graph.input() != graphs[0].input() {
            "it takes other pictures, or normalises them in another way"
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

/// The program in one of the two layouts, at the smallest ring degree that will do.
fn in_layout(
    graphs: &[&Graph],
    circuit: &Circuit,
    options: &CompileOptions,
    channel: bool,
) -> Result<Program, CompileError> {
    let merged;
    let mut circuit = circuit;
    if graphs.len() > 1 && (!channel || circuit.is_padded()) {
        merged = merge::side_by_side(circuit, options.average == Average::Server);
        circuit = &merged;
    }
    let degrees = match options.log_n {
        Some(log_n) if LOG_N_FORCED.contains(&log_n) => log_n..=log_n,
        Some(log_n) => {
            return Err(CompileError::RingDegree { log_n, low: *LOG_N_FORCED.start(), high: *LOG_N_FORCED.end() });
        }
        None => LOG_N,
    };
    let forced = options.log_n.is_some();
    let wanted = options.logit_error(graphs);
    let (mut refused, mut coarse): (Option<CompileError>, Option<Plan>) = (None, None);
    let mut chosen = None;
    for log_n in degrees {
        match with_smaller_errors(options, wanted, |o| plan::at_degree(graphs, circuit, o, log_n, channel)) {
            Ok(plan) if forced || plan.logit_error <= ACCEPTABLE * wanted => {
                chosen = Some(plan);
                break;
            }
            // It fits, at the price of precision: a larger ring may do better.
            Ok(plan) => {
                if coarse.as_ref().is_none_or(|c| plan.logit_error < c.logit_error) {
                    coarse = Some(plan);
                }
            }
            Err(
                e @ (CompileError::TooDeep { .. }
                | CompileError::Swamped { .. }
                | CompileError::TooLarge { .. }
                | CompileError::TooManyLanes { .. }
                | CompileError::Ring(_)),
            ) => refused = Some(e),
            Err(e) => return Err(e),
        }
    }
    let Some(plan) = chosen.or(coarse) else {
        return Err(refused.unwrap_or(CompileError::RingDegree { log_n: 0, low: *LOG_N.start(), high: *LOG_N.end() }));
    };
    let digests: Vec<[u8; 32]> = graphs.iter().map(|g| digest::network_digest(g)).collect();
    let program = emit::program(graphs, &plan, options, digest::ensemble_digest(&digests));
    program.check()?;
    Ok(program)
}

/// Predictions are linear in errors; where the simulated ones grow beyond that, plans with smaller ones are made.
fn with_smaller_errors(
    options: &CompileOptions,
    wanted: f64,
    plan: impl Fn(&CompileOptions) -> Result<Plan, CompileError>,
) -> Result<Plan, CompileError> {
    let mut outcome = plan(options);
    for part in SMALLER {
        if !matches!(outcome, Err(CompileError::Swamped { .. })) {
            break;
        }
        let smaller = CompileOptions { logit_error: Some(wanted * part), ..options.clone() };
        outcome = plan(&smaller);
    }
    outcome
}
