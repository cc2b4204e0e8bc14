//! `umbra bench passes`: what each of the paper's passes is worth, by compiling with every combination of them.

use serde::Serialize;

use umbra::compiler::{CompileError, CompileOptions, Pass, compile};
use umbra::model::Graph;
use umbra::network::random_graph;
use umbra::program::Program;

use super::table::Table;
use crate::arguments::{BenchPasses, TableFormat};
use crate::outcome::Outcome;
use crate::progress::Items;
use crate::text;

/// The passes that are switched, and their columns.
const PASSES: [Pass; 3] = [Pass::Fuse, Pass::Redistribute, Pass::TowerReuse];

/// One compilation. Where the network does not fit, only what is known then.
#[derive(Debug, Serialize)]
struct Row {
    network: String,
    fuse: bool,
    redistribute: bool,
    tower_reuse: bool,
    fits: bool,
    /// Not known where errors grow too large before levels run out.
    levels: Option<usize>,
    /// Primes of the highest level.
    towers: Option<usize>,
    log_n: u32,
    /// Where the network does not fit, the least it would need.
    log_qp: Option<f64>,
    log_qp_limit: Option<u32>,
    eval_key_bytes: Option<u64>,
    /// By the cost model, not measured.
    estimated_cpu_seconds: Option<f64>,
    predicted_logit_error: Option<f64>,
}

impl Row {
    fn new(graph: &Graph, without: &[Pass]) -> Result<Self, CompileError> {
        let options = CompileOptions { without: without.iter().copied().collect(), ..CompileOptions::default() };
        let on = |pass| !without.contains(&pass);
        let row = Self {
            network: graph.name().trim_end_matches(" random").into(),
            fuse: on(Pass::Fuse),
            redistribute: on(Pass::Redistribute),
            tower_reuse: on(Pass::TowerReuse),
            fits: false,
            levels: None,
            towers: None,
            log_n: 0,
            log_qp: None,
            log_qp_limit: None,
            eval_key_bytes: None,
            estimated_cpu_seconds: None,
            predicted_logit_error: None,
        };
        match compile(graph, &options) {
            Ok(program) => Ok(row.of_program(&program)),
            Err(CompileError::TooDeep { needed, limit, levels, log_n }) => {
                Ok(Self { levels: Some(levels), log_n, log_qp: Some(needed), log_qp_limit: Some(limit), ..row })
            }
            Err(CompileError::Swamped { log_n, .. }) => Ok(Self { log_n, ..row }),
            Err(error) => Err(error),
        }
    }

    fn of_program(self, program: &Program) -> Self {
        let (parameters, report) = (&program.client.parameters, &program.report);
        Self {
            fits: true,
            levels: Some(parameters.levels.len()),
            towers: parameters.levels.last().map(Vec::len),
            log_n: parameters.log_n,
            log_qp: Some(report.log_qp),
            log_qp_limit: Some(report.log_qp_limit),
            eval_key_bytes: Some(report.key_bytes),
            estimated_cpu_seconds: Some(report.seconds),
            predicted_logit_error: Some(report.logit_error_std),
            ..self
        }
    }

    const HEAD: [&str; 12] = [
        "network",
        "fuse",
        "redistribute",
        "tower-reuse",
        "levels",
        "towers",
        "N",
        "log2 QP",
        "of",
        "keys, MB",
        "CPU-seconds, estimated",
        "logit error, predicted",
    ];

    fn cells(&self) -> Vec<String> {
        let on = |pass: bool| if pass { "on" } else { "off" }.to_string();
        let or = |value: Option<String>| value.unwrap_or_else(|| "does not fit".into());
        let least = if self.fits { "" } else { "at least " };
        vec![
            self.network.clone(),
            on(self.fuse),
            on(self.redistribute),
            on(self.tower_reuse),
            or(self.levels.map(|l| l.to_string())),
            or(self.towers.map(|t| t.to_string())),
            format!("2^{}", self.log_n),
            or(self.log_qp.map(|bits| format!("{least}{bits:.0}"))),
            or(self.log_qp_limit.map(|bits| bits.to_string())),
            or(self.eval_key_bytes.map(|b| format!("{:.0}", b as f64 / 1e6))),
            or(self.estimated_cpu_seconds.map(|s| format!("{s:.1}"))),
            or(self.predicted_logit_error.map(|e| format!("{e:.3}"))),
        ]
    }
}

/// Compiles every network with every combination, and prints a table.
pub fn run(arguments: &BenchPasses) -> anyhow::Result<Outcome> {
    let graphs = arguments.networks.iter().map(|size| random_graph(size)).collect::<Result<Vec<_>, _>>()?;
    let items = Items::new("passes", graphs.len() << PASSES.len());
    let mut rows = Vec::new();
    for graph in &graphs {
        for off in 0..1usize << PASSES.len() {
            let without: Vec<Pass> = (0..PASSES.len()).filter(|i| off >> i & 1 == 1).map(|i| PASSES[i]).collect();
            rows.push(Row::new(graph, &without)?);
            items.step();
        }
    }
    drop(items);
    match arguments.format {
        TableFormat::Json => text::print_json(&rows)?,
        TableFormat::Markdown => text::print(&table(&rows).markdown())?,
        TableFormat::Csv => text::print(&table(&rows).csv())?,
    }
    Ok(Outcome::Success)
}

fn table(rows: &[Row]) -> Table {
    Table { rows: rows.iter().map(Row::cells).collect(), ..Table::new(&Row::HEAD) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_all_cells() -> Result<(), CompileError> {
        let graph = umbra::model::zoo::ResNet { widths: vec![4], blocks: 1, height: 8, width: 8, ..Default::default() };
        let graph = graph.build().map_err(|_| CompileError::NoChain { targets: Vec::new() })?;
        let rows = [Row::new(&graph, &[])?, Row::new(&graph, &[Pass::TowerReuse])?];
        assert!(rows[1].levels > rows[0].levels);
        let unfit = Row { fits: false, towers: None, eval_key_bytes: None, ..Row::new(&graph, &PASSES)? };
        assert!(unfit.cells().contains(&"does not fit".to_string()));
        let markdown = table(&rows).markdown();
        assert_eq!(markdown.lines().count(), 4);
        assert!(markdown.lines().all(|line| line.matches('|').count() == Row::HEAD.len() + 1));
        let csv = table(&rows).csv();
        assert!(csv.starts_with("network,fuse,") && csv.contains("\"keys, MB\""));
        Ok(())
    }
}
