//! `umbra inspect`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::bail;
use serde::Serialize;

use umbra::estimate::ClientCosts;
use umbra::image::{Familiar, Normalisation};
use umbra::model::Graph;
use umbra::program::Packing;
use umbra::wire::{CiphertextHeader, ClientFile, KeyId, KeyKind, KeysHeader, LoadedProgram};
use umbra_ckks::Gadget;
use umbra_file::{ContainerFile, Kind};
use umbra_foreign::Foreign;

use super::report::{ProgramReport, client_rows};
use crate::arguments::Inspect;
use crate::outcome::Outcome;
use crate::text;

/// What every container tells.
#[derive(Serialize)]
struct FileReport<T> {
    file: String,
    kind: String,
    bytes: u64,
    digest: String,
    belongs_to: String,
    /// Of keys and ciphertexts.
    key_set: Option<String>,
    records: usize,
    content: T,
}

/// Tells what a file is.
pub fn run(arguments: &Inspect) -> anyhow::Result<Outcome> {
    let path = &arguments.file;
    if path.is_dir() || path.extension().is_some_and(|e| e == "json") {
        return inspect_network(path, arguments.json);
    }
    if let Some(found) = Foreign::of_file(path) {
        bail!("{}: this is {found}, not a file of Umbra; {}", path.display(), found.remedy_for_network());
    }
    let file = ContainerFile::open_any(path)?;
    // Everything it holds is read and compared with its digest.
    file.located(|container| container.verify())?;
    match file.container().kind() {
        Kind::Program => {
            let program = LoadedProgram::open(path)?;
            let report = ProgramReport::new(&program)?;
            let described = report.describe(&program);
            finish(arguments, &file, &[], &described, report)
        }
        Kind::ClientFile => {
            let client = ClientFile::open(path)?;
            let report = ClientReport::new(&client)?;
            finish(arguments, &file, &[], &report.describe(), report)
        }
        Kind::EvaluationKeys => {
            let KeysHeader { keys } = file.header()?;
            finish(arguments, &file, &[], &describe_keys(&keys), keys)
        }
        Kind::Ciphertext => {
            let header: CiphertextHeader = file.header()?;
            let form = format!("{:?}", header.form).to_lowercase();
            let rows = [
                row("content", format!("{}, {form}", header.role)),
                row("images", header.images.to_string()),
                row("level", header.level.to_string()),
                row("scale", format!("2^{:.3}", header.scale.log2())),
            ];
            finish(arguments, &file, &rows, "", header)
        }
        _ => finish(arguments, &file, &[], "", ()),
    }
}

fn row(name: &str, value: String) -> Vec<String> {
    vec![name.to_string(), value]
}

fn finish(
    arguments: &Inspect,
    file: &ContainerFile,
    more: &[Vec<String>],
    described: &str,
    content: impl Serialize,
) -> anyhow::Result<Outcome> {
    let container = file.container();
    let (path, kind) = (file.path().display().to_string(), container.kind().to_string());
    let key_set = container.key_set().map(|id| id.to_string());
    if arguments.json {
        text::print_json(&FileReport {
            file: path,
            kind,
            bytes: container.size(),
            digest: format!("{:#}", container.digest()),
            belongs_to: format!("{:#}", container.context()),
            key_set,
            records: container.records(),
            content,
        })?;
        return Ok(Outcome::Success);
    }
    let mut rows = vec![
        row("file", path),
        row("kind", kind),
        row("bytes", text::bytes(container.size())),
        row("digest", container.digest().to_string()),
        row("belongs to", container.context().to_string()),
    ];
    rows.extend(key_set.map(|id| row("key set", id)));
    rows.push(row("records", container.records().to_string()));
    rows.extend_from_slice(more);
    let gap = if described.is_empty() { "" } else { "\n" };
    text::print(&format!("{}{gap}{described}", text::table(&rows)))?;
    Ok(Outcome::Success)
}

fn describe_keys(keys: &[KeyId]) -> String {
    let mut by_gadget: BTreeMap<Gadget, Vec<String>> = BTreeMap::new();
    for key in keys {
        by_gadget.entry(key.gadget).or_default().push(match key.kind {
            KeyKind::Relinearize => format!("relinearize (level {})", key.level),
            KeyKind::Rotate(steps) => format!("{steps} (level {})", key.level),
            KeyKind::Conjugate(steps) => format!("{steps} and conjugate (level {})", key.level),
        });
    }
    by_gadget.iter().map(|(gadget, keys)| format!("  gadget {gadget}: {}\n", keys.join(", "))).collect()
}

/// What a client has of a program: nothing of its weights.
#[derive(Serialize)]
struct ClientReport {
    costs: ClientCosts,
    classes: Vec<String>,
    /// Channels, rows and columns.
    image: [usize; 3],
    normalisation: String,
    packing: Packing,
    logit_range: Option<[f64; 2]>,
    familiar: Option<Familiar>,
    input_level: umbra_ckks::Level,
    output_level: umbra_ckks::Level,
    keys: Vec<KeyId>,
}

impl ClientReport {
    fn new(file: &ClientFile) -> anyhow::Result<Self> {
        let spec = file.spec();
        let image = &spec.image;
        let kind = match image.normalisation {
            Normalisation::PerImage { .. } => "mean and deviation of each image",
            Normalisation::PerChannel { .. } => "fixed mean and deviation of each channel",
        };
        let clip = image.clip.map_or(String::new(), |bound| format!(", at most {bound} on either side"));
        Ok(Self {
            costs: ClientCosts::of(file)?,
            classes: spec.classes.clone(),
            image: [image.channels, image.height, image.width],
            normalisation: format!("{kind}{clip}"),
            packing: spec.layout.packing,
            logit_range: spec.logit_range,
            familiar: spec.familiar,
            input_level: spec.input.level,
            output_level: spec.output.level,
            keys: spec.keys.clone(),
        })
    }

    /// For people.
    fn describe(&self) -> String {
        let mut rows = client_rows(&self.costs);
        let range = |[low, high]: [f64; 2]| format!("{low:.2} to {high:.2}");
        rows.extend([
            row("classes", format!("{}: {}", self.classes.len(), self.classes.join(", "))),
            row("image", self.image.map(|n| n.to_string()).join(" x ")),
            row("normalisation", self.normalisation.clone()),
            row("trained logits", self.logit_range.map_or("not known".into(), range)),
            row("trained images", if self.familiar.is_some() { "known by ranges" } else { "not known" }.into()),
            row("levels, in and out", format!("{} and {}", self.input_level, self.output_level)),
        ]);
        format!("{}\n{}", text::table(&rows), describe_keys(&self.keys))
    }
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
        let rows = [
            row("network", report.name),
            row("data set", report.dataset),
            row("classes", report.classes.len().to_string()),
            row("nodes", report.nodes.to_string()),
            row("parameters", report.parameters.to_string()),
            row("multiplications", report.multiply_accumulates.to_string()),
            row("images", report.input.map(|n| n.to_string()).join(" x ")),
        ];
        text::print(&text::table(&rows))?;
    }
    Ok(Outcome::Success)
}
