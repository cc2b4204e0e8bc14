//! Tables of results: Markdown, CSV and JSON of the same cells.

use std::fmt::Write;

use serde_json::{Map, Value};

/// A head, and rows of as many cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(ToString::to_string).collect(), rows: Vec::new() }
    }

    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
        let rule = format!("|{}", "---|".repeat(self.head.len()));
        let rows = self.rows.iter().map(|row| line(row));
        [line(&self.head), rule].into_iter().chain(rows).fold(String::new(), |out, line| out + &line + "\n")
    }

    pub fn csv(&self) -> String {
        let quoted = |cell: &String| match cell.contains([',', '"', '\n']) {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell.clone(),
        };
        let mut out = String::new();
        for row in std::iter::once(&self.head).chain(&self.rows) {
            // Writing to a string does not fail.
            let _ = writeln!(out, "{}", row.iter().map(quoted).collect::<Vec<_>>().join(","));
        }
        out
    }

    /// An array of objects; cells that are numbers become numbers.
    pub fn json(&self) -> Value {
        let value = |cell: &String| match cell.parse::<f64>() {
            Ok(number) if number.is_finite() => Value::from(number),
            _ => Value::from(cell.as_str()),
        };
        let object = |row: &Vec<String>| -> Value {
            self.head.iter().cloned().zip(row.iter().map(value)).collect::<Map<_, _>>().into()
        };
        self.rows.iter().map(object).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_come_out_in_every_form() {
        let mut table = Table::new(&["network", "keys, MB"]);
        table.rows.push(vec!["R20".into(), "12.5".into()]);
        assert_eq!(table.markdown(), "| network | keys, MB |\n|---|---|\n| R20 | 12.5 |\n");
        assert_eq!(table.csv(), "network,\"keys, MB\"\nR20,12.5\n");
        assert_eq!(table.json(), serde_json::json!([{"network": "R20", "keys, MB": 12.5}]));
    }
}
