//! A program as a table, for people.

use std::fmt;

use crate::{Operation, Program};

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, report, .. } = self;
        let parameters = &client.parameters;
        writeln!(f, "{}: {} steps, {} registers", client.name, self.steps.len(), self.registers)?;
        for note in &report.notes {
            writeln!(f, "  {note}")?;
        }
        writeln!(
            f,
            "  {:.2} CPU-seconds, {} keys, {:.1} MB of keys in a file",
            report.seconds,
            client.keys.len(),
            report.key_bytes as f64 / 1e6
        )?;
        writeln!(
            f,
            "  {:<34} {:>7} {:>5} {:>6} {:>6} {:>6} {:>6} {:>5} {:>5} {:>8} {:>9}",
            "node", "level", "limbs", "log q", "scale", "weight", "diag", "rot", "split", "seconds", "error"
        )?;
        for step in &self.steps {
            let limbs = &parameters.levels[step.level_in.index()];
            let (weight, diagonals) = match &step.operation {
                Operation::Linear(linear) => (
                    linear.inputs.iter().map(|i| format!("{:.1}", i.weight_scale.log2())).collect::<Vec<_>>().join("/"),
                    linear.diagonals.len().to_string(),
                ),
                Operation::Square { .. } => ("square".into(), String::new()),
                Operation::RotateSum { .. } => ("sum".into(), String::new()),
            };
            let node: String = step.node.chars().take(34).collect();
            let levels = if step.level_in == step.level_out {
                step.level_in.to_string()
            } else {
                format!("{}>{}", step.level_in, step.level_out)
            };
            writeln!(
                f,
                "  {node:<34} {levels:>7} {:>5} {:>6.1} {:>6.1} {weight:>6} {diagonals:>6} {:>5} {:>5} {:>8.4} \
                 {:>9.1e}",
                limbs.len(),
                parameters.log2_of(limbs),
                step.scale_out.log2(),
                step.estimate.rotations,
                step.estimate.decompositions,
                step.estimate.seconds,
                step.estimate.error_std
            )?;
        }
        Ok(())
    }
}
