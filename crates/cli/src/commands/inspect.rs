//! `umbra inspect`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use umbra_file::{ContainerFile, Kind};
use umbra_model::Graph;
use umbra_program::operation_name;
use umbra_program::{Operation, Step};
use umbra_wire::{CiphertextHeader, KeyKind, KeysHeader, LoadedProgram};

use super::estimate::Costs;
use crate::arguments::Inspect;
use crate::{Outcome, text};

/// What every container tells.
#[derive(Serialize)]
struct FileReport<T> {
    file: String,
    kind: String,
    bytes: u64,
    digest: String,
    belongs_to: String,
    records: usize,
    content: T,
}

/// Tells what a file is.
pub fn run(arguments: &Inspect) -> anyhow::Result<Outcome> {
    let path = &arguments.file;
    if path.is_dir() || path.extension().is_some_and(|e| e == "json") {
        return inspect_network(path, arguments.json);
    }
    let file = ContainerFile::open_any(path)?;
    let mut out = Vec::new();
    let head = |kind: Kind| {
        let container = file.container();
        vec![
            vec!["file".into(), path.display().to_string()],
            vec!["kind".into(), kind.to_string()],
            vec!["bytes".into(), text::bytes(container.size())],
            vec!["digest".into(), format!("{}", container.digest())],
            vec!["belongs to".into(), format!("{}", container.context())],
            vec!["records".into(), container.records().to_string()],
        ]
    };
    let kind = file.container().kind();
    out.extend(head(kind));
    // Everything it holds is read and compared with its digest.
    file.located(|container| container.verify())?;
    match kind {
        Kind::Program => {
            let program = LoadedProgram::open(path)?;
            let report = ProgramReport::new(&program);
            let described = report.describe(&program);
            finish(arguments, &file, out, &described, report)
        }
        Kind::EvaluationKeys => {
            let KeysHeader { keys } = file.header()?;
            let mut by_gadget: BTreeMap<u16, Vec<String>> = BTreeMap::new();
            for key in &keys {
                by_gadget.entry(key.gadget).or_default().push(match key.kind {
                    KeyKind::Relinearise => format!("relinearise (level {})", key.level),
                    KeyKind::Rotate(steps) => format!("{steps} (level {})", key.level),
                    KeyKind::Conjugate(steps) => format!("{steps} and conjugate (level {})", key.level),
                });
            }
            let described: String =
                by_gadget.iter().map(|(gadget, keys)| format!("  gadget {gadget}: {}\n", keys.join(", "))).collect();
            finish(arguments, &file, out, &described, keys)
        }
        Kind::Ciphertext => {
            let header: CiphertextHeader = file.header()?;
            let form = format!("{:?}", header.form).to_lowercase();
            out.push(vec!["content".into(), format!("{}, {form}", header.role)]);
            out.push(vec!["level".into(), header.level.to_string()]);
            out.push(vec!["scale".into(), format!("2^{:.3}", header.scale.log2())]);
            finish(arguments, &file, out, "", header)
        }
        _ => finish(arguments, &file, out, "", ()),
    }
}

fn finish(
    arguments: &Inspect,
    file: &ContainerFile,
    rows: Vec<Vec<String>>,
    described: &str,
    content: impl Serialize,
) -> anyhow::Result<Outcome> {
    let container = file.container();
    if arguments.json {
        text::print_json(&FileReport {
            file: file.path().display().to_string(),
            kind: container.kind().to_string(),
            bytes: container.size(),
            digest: format!("{:#}", container.digest()),
            belongs_to: format!("{:#}", container.context()),
            records: container.records(),
            content,
        })?;
    } else {
        let gap = if described.is_empty() { "" } else { "\n" };
        text::print(&format!("{}{gap}{described}", text::table(&rows)))?;
    }
    Ok(Outcome::Success)
}

#[derive(Serialize)]
struct NetworkReport {
    name: String,
    dataset: String,
    classes: Vec<String>,
    nodes: usize,
    parameters: u64,
    multiply_accumulates: u64,
    input: [usize; 3],
}

fn inspect_network(path: &Path, json: bool) -> anyhow::Result<Outcome> {
    let graph = Graph::load(path)?;
    let (description, input) = (graph.description(), graph.input());
    let report = NetworkReport {
        name: description.name.clone(),
        dataset: description.dataset.clone(),
        classes: description.classes.clone(),
        nodes: graph.nodes().len(),
        parameters: graph.parameters(),
        multiply_accumulates: graph.multiply_accumulates(),
        input: [input.channels, input.height, input.width],
    };
    if json {
        text::print_json(&report)?;
    } else {
        let row = |name: &str, value: String| vec![name.to_string(), value];
        let rows = [
            row("network", report.name),
            row("data set", report.dataset),
            row("classes", report.classes.len().to_string()),
            row("nodes", report.nodes.to_string()),
            row("parameters", report.parameters.to_string()),
            row("multiplications", report.multiply_accumulates.to_string()),
            row("pictures", report.input.map(|n| n.to_string()).join(" x ")),
        ];
        text::print(&text::table(&rows))?;
    }
    Ok(Outcome::Success)
}

/// A program, step by step.
#[derive(Serialize)]
pub struct ProgramReport<'a> {
    name: String,
    costs: Costs,
    without: Vec<String>,
    notes: Vec<String>,
    steps: Vec<StepReport<'a>>,
}

#[derive(Serialize)]
struct StepReport<'a> {
    node: &'a str,
    operation: &'static str,
    level_in: usize,
    level_out: usize,
    scale_out_log2: f64,
    diagonals: usize,
    estimate: umbra_program::Estimate,
}

impl<'a> ProgramReport<'a> {
    /// The report of a program.
    pub fn new(program: &'a LoadedProgram) -> Self {
        let costs = Costs::of(program);
        let program = program.program();
        let step = |step: &'a Step| StepReport {
            node: &step.node,
            operation: operation_name(&step.operation),
            level_in: step.level_in,
            level_out: step.level_out,
            scale_out_log2: step.scale_out.log2(),
            diagonals: match &step.operation {
                Operation::Linear(linear) => linear.diagonals.len(),
                _ => 0,
            },
            estimate: step.estimate,
        };
        Self {
            name: program.name.clone(),
            costs,
            without: program.report.without.clone(),
            notes: program.report.notes.clone(),
            steps: program.steps.iter().map(step).collect(),
        }
    }

    /// For people.
    pub fn describe(&self, program: &LoadedProgram) -> String {
        let head =
            ["step", "does", "level", "scale", "rotations", "keys", "error", "core time"].map(String::from).to_vec();
        let mut rows = vec![head];
        for step in &self.steps {
            let estimate = &step.estimate;
            rows.push(vec![
                step.node.to_string(),
                step.operation.to_string(),
                if step.level_in == step.level_out {
                    step.level_in.to_string()
                } else {
                    format!("{} > {}", step.level_in, step.level_out)
                },
                format!("2^{:.1}", step.scale_out_log2),
                estimate.rotations.to_string(),
                text::bytes(estimate.key_bytes),
                format!("{:.1e}", estimate.error_std),
                text::seconds(estimate.seconds),
            ]);
        }
        let notes: String = self.notes.iter().map(|note| format!("  - {note}\n")).collect();
        let gap = if notes.is_empty() { "" } else { "\n" };
        let digest = program.digest();
        format!("{}\n{}{gap}{notes}\n  digest {digest}\n", self.costs.describe(), text::table(&rows))
    }
}
