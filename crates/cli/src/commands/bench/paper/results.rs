//! What was reported, as tables, plots and one page.

use std::collections::BTreeMap;

use serde_json::Value;

use umbra::model::Graph;
use umbra_file::AtomicFile;

use super::super::plot;
use super::super::table::Table;
use super::baseline::Baseline;
use super::job::Done;
use super::variants::{ASSIGNMENTS, Variant};
use crate::arguments::BenchPaper;

/// Everything that was reported.
pub struct Results<'a> {
    pub graph: &'a Graph,
    pub baseline: Option<Baseline>,
    pub variants: &'a [Variant],
    pub done: &'a BTreeMap<String, Done>,
}

impl Results<'_> {
    fn number(&self, job: &str, pointer: &str) -> Option<f64> {
        self.done.get(job)?.report.pointer(pointer)?.as_f64()
    }

    fn cell(&self, job: &str, pointer: &str, show: impl Fn(f64) -> String) -> String {
        self.number(job, pointer).map_or_else(|| "-".into(), show)
    }

    /// Every row says which of plain, simulated and encrypted it is.
    fn accuracy(&self) -> Table {
        let head = ["network", "how", "images", "accuracy, %", "as in the clear", "worst logit error"];
        let mut table = Table::new(&head);
        if let Some(Baseline { name, accuracy_plain, .. }) = &self.baseline {
            let cells =
                [format!("{name}, ReLU"), "plain, PyTorch".into(), "all".into(), format!("{accuracy_plain:.2}")];
            table.rows.push(cells.into_iter().chain(["-".into(), "-".into()]).collect());
        }
        let mut row = |network: &str, how: &str, job: &str, accuracy: &str| {
            // What is in the clear is compared with nothing, though its job may have been of something else, too.
            let compared = |cell: String| if how == "plain" { "-".into() } else { cell };
            let count = |pointer| self.cell(job, pointer, |n| format!("{n:.0}"));
            table.rows.push(vec![
                network.into(),
                how.into(),
                count("/images"),
                self.cell(job, accuracy, |a| format!("{:.2}", 100.0 * a)),
                compared(count("/agree_with_plain")),
                compared(self.cell(job, "/worst_logit_error", |e| format!("{e:.3}"))),
            ]);
        };
        row("as given", "plain", "plain", "/accuracy_plain");
        for Variant { name, key, networks, clustered, modes, .. } in self.variants {
            let members = networks.len();
            // The packing makes no difference in the clear.
            if members > 1 && clustered.is_none() && !key.starts_with("multiplexed") {
                row(&format!("ensemble of {members}"), "plain", &format!("{key}-simulated"), "/accuracy_plain");
            }
            for how in *modes {
                row(name, how, &format!("{key}-{how}"), &format!("/accuracy_{how}"));
            }
        }
        table
    }

    fn latency(&self) -> Table {
        let head = [
            "packing",
            "images or networks at once",
            "seconds, encrypted",
            "seconds for each",
            "CPU-seconds",
            "peak memory, GB",
            "keys, MB",
        ];
        let mut table = Table::new(&head);
        for variant @ Variant { name, key, clustered, .. } in self.timed() {
            let job = format!("{key}-time");
            let at_once = self.at_once(variant);
            table.rows.push(vec![
                if clustered.is_some() { format!("channel packing, {name}") } else { name.clone() },
                format!("{at_once:.0}"),
                self.cell(&job, "/server_s/median", |s| format!("{s:.2}")),
                self.cell(&job, "/server_s/median", |s| format!("{:.2}", s / at_once)),
                self.cell(&job, "/cpu_seconds/median", |s| format!("{s:.1}")),
                self.cell(&job, "/peak_rss_bytes", |b| format!("{:.1}", b / 1e9)),
                self.cell(&job, "/eval_key_file_bytes", |b| format!("{:.0}", b / 1e6)),
            ]);
        }
        table
    }

    fn timed(&self) -> impl Iterator<Item = &Variant> {
        self.variants.iter().filter(|variant| variant.packing.is_some())
    }

    /// Images, or networks of an ensemble.
    fn at_once(&self, Variant { key, networks, .. }: &Variant) -> f64 {
        let images = self.number(&format!("{key}-time"), "/images").unwrap_or(1.0);
        images.max(networks.len() as f64)
    }

    fn levels(&self) -> Table {
        let rows = self.done.get("passes").and_then(|done| done.report.as_array()).cloned().unwrap_or_default();
        let columns = [
            ("network", "network"),
            ("fuse", "fuse"),
            ("redistribute", "redistribute"),
            ("tower_reuse", "tower reuse"),
            ("levels", "levels"),
            ("towers", "towers"),
            ("log_n", "log2 N"),
            ("log_qp", "log2 QP"),
            ("estimated_cpu_seconds", "CPU-seconds, estimated"),
        ];
        let mut table = Table::new(&columns.map(|c| c.1));
        for row in rows {
            let cell = |(name, _): &(&str, &str)| match &row[*name] {
                Value::Bool(on) => if *on { "on" } else { "off" }.into(),
                Value::String(text) => text.clone(),
                Value::Number(n) if n.is_f64() => format!("{:.1}", n.as_f64().unwrap_or(f64::NAN)),
                Value::Null => "-".into(),
                other => other.to_string(),
            };
            table.rows.push(columns.iter().map(cell).collect());
        }
        table
    }

    pub fn write(&self, arguments: &BenchPaper) -> anyhow::Result<()> {
        let path = |name: &str| arguments.out.join(name);
        let write = |name: &str, bytes: &[u8]| AtomicFile::write(&path(name), false, bytes);
        let mut page = format!(
            "# {}\n\nMade by `umbra bench paper`. Plain and simulated figures are of the images named, encrypted ones \
             of a sample; times are medians on this machine; estimates are named so.\n",
            self.graph.name()
        );
        let tables = [
            ("accuracy", "Accuracy", self.accuracy()),
            ("latency", "Time and memory", self.latency()),
            (
                "levels",
                "Levels, with the paper's passes on and off (random weights, multiplexed packing)",
                self.levels(),
            ),
        ];
        for (name, title, table) in &tables {
            if table.rows.is_empty() {
                continue;
            }
            write(&format!("{name}.md"), table.markdown().as_bytes())?;
            write(&format!("{name}.csv"), table.csv().as_bytes())?;
            write(&format!("{name}.json"), &serde_json::to_vec_pretty(&table.json())?)?;
            page += &format!("\n## {title}\n\n{}", table.markdown());
        }
        for (name, svg) in self.plots()? {
            write(&format!("{name}.svg"), svg.as_bytes())?;
            page += &format!("\n![{name}]({name}.svg)\n");
        }
        write("paper.md", page.as_bytes())?;
        Ok(())
    }

    fn plots(&self) -> anyhow::Result<Vec<(&'static str, String)>> {
        let mut plots = Vec::new();
        let clustered = |assign: &&'static str| -> (String, Vec<(f64, f64)>) {
            let at = |variant: &Variant| {
                let (k, of) = variant.slice?;
                let accuracy = self.number(&format!("{}-plain", variant.key), "/accuracy_plain")?;
                (of == *assign).then_some((k as f64, 100.0 * accuracy))
            };
            let mut points: Vec<(f64, f64)> = self.variants.iter().filter_map(at).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            (format!("slice by slice, {assign} codewords"), points)
        };
        let mut lines: Vec<_> = ASSIGNMENTS.iter().map(clustered).filter(|(_, points)| !points.is_empty()).collect();
        if let Some((_, [(first, _), .., (last, _)])) = lines.first().map(|(name, points)| (name, points.as_slice())) {
            let plain = 100.0 * self.number("plain", "/accuracy_plain").unwrap_or(f64::NAN);
            lines.push(("as given".into(), vec![(*first, plain), (*last, plain)]));
            let axes = ("codewords of a slice", "accuracy in the clear, %");
            plots.push(("clusters", plot::lines("Accuracy against clusters", axes, &lines)?));
        }
        let of_time = |variant: &Variant| {
            let median = self.number(&format!("{}-time", variant.key), "/server_s/median")?;
            Some((variant.key.clone(), median / self.at_once(variant)))
        };
        let times: Vec<(String, f64)> = self.timed().filter_map(of_time).collect();
        plots.push(("times", plot::bars("Encrypted, for each image or member", "seconds", &times)?));
        let levels = self.levels();
        let bars: Vec<(String, f64)> = (levels.rows.iter())
            .filter_map(|row| {
                let off: Vec<&str> = [("fuse", 1), ("redistribute", 2), ("tower reuse", 3)]
                    .iter()
                    .filter(|p| row[p.1] == "off")
                    .map(|p| p.0)
                    .collect();
                let name = match off.len() {
                    0 => "all on".to_string(),
                    1 => format!("no {}", off[0]),
                    3 => "all off".into(),
                    _ => return None,
                };
                Some((format!("{} {name}", row[0]), row[4].parse().ok()?))
            })
            .collect();
        if !bars.is_empty() {
            plots.push(("levels", plot::bars("Levels", "levels", &bars)?));
        }
        Ok(plots)
    }
}
