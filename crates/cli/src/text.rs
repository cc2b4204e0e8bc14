//! Numbers and tables for people.

use std::fmt::Write;

use anyhow::Context;

use crate::streams;

/// A number of bytes: `14.7 MB`.
pub fn bytes(count: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    if value < 1000.0 {
        return format!("{count} B");
    }
    let mut unit = "B";
    for next in units {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// A time: `1.23 s`, `4.5 ms`.
pub fn seconds(value: f64) -> String {
    match value {
        v if v >= 60.0 => format!("{:.0} min {:02.0} s", (v.round() / 60.0).floor(), v.round() % 60.0),
        v if v >= 1.0 => format!("{v:.2} s"),
        v => format!("{:.1} ms", v * 1e3),
    }
}

/// Rows with the columns aligned: the first to the left, the others to the right.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::from("  ");
        for (c, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Writing to a string does not fail.
            let _ = if c == 0 { write!(line, "{cell:<width$}") } else { write!(line, "  {cell:>width$}") };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// A report as JSON on standard output.
pub fn print_json(report: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&(serde_json::to_string_pretty(report)? + "\n"))
}

/// Text on standard output, or on standard error where that is for a file. A closed pipe is an error and not a panic.
pub fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let text = streams::named(text);
    if streams::is_taken() {
        // Where standard error is closed there is nobody to tell.
        let _ = std::io::stderr().write_all(text.as_bytes());
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.context("standard output cannot be written; send it elsewhere")
}

/// A warning on standard error, whatever standard output is for.
pub fn warn(text: &str) {
    use std::io::Write as _;
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "warning: {}", printable(text));
}

/// One line with nothing in it that a terminal would obey: it may quote a file or its name.
pub fn printable(text: &str) -> String {
    let line = streams::named(text);
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(14_745_600), "14.7 MB");
        assert_eq!(bytes(1_234_000_000), "1.2 GB");
        assert_eq!(seconds(0.00451), "4.5 ms");
        assert_eq!(seconds(1.234), "1.23 s");
        assert_eq!(seconds(125.0), "2 min 05 s");
        assert_eq!(seconds(119.7), "2 min 00 s");
    }

    #[test]
    fn tables_are_aligned() {
        let rows = [vec!["a".into(), "10".into()], vec!["bcd".into(), "1".into()]];
        assert_eq!(table(&rows), "  a    10\n  bcd   1\n");
    }
}
