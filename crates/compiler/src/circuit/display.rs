//! A circuit as a listing, for people and for tests: one value a line.
//!
//! ```text
//! 3 values on 4 positions, 2 a row; the output is %2
//! %0  1 x 4         input(0)                                        input
//! %1  2 x 4         affine(%0 by 3 taps -1 0 1, 6 weights) + 0.5 0  conv + bn
//! %2  2 x 4 logits  square(%1)                                      act
//! ```
//!
//! Of a value: its number, channels and positions (rows x columns in planes), how it comes about, the nodes of the
//! network that it realises.

use std::fmt;

use super::{Affine, Circuit, Kernel, Operation, Value, ValueId};

/// Numbers that are listed; of more the smallest and the largest are.
const LISTED: usize = 4;
/// Channels of the input that are listed.
const LISTED_INPUTS: usize = 12;
/// Taps that are listed; of more only their number is.
const LISTED_TAPS: usize = 9;

/// A [`Circuit`] with a note on every value.
pub struct Listing<'a> {
    circuit: &'a Circuit,
    note: Box<dyn Fn(ValueId) -> String + 'a>,
}

impl Circuit {
    /// The listing, with a note on every value between its size and its operation.
    #[must_use]
    pub fn listing<'a>(&'a self, note: impl Fn(ValueId) -> String + 'a) -> Listing<'a> {
        Listing { circuit: self, note: Box::new(note) }
    }
}

impl fmt::Display for Circuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.listing(|_| String::new()).fmt(f)
    }
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Circuit { values, output, grid, others } = self.circuit;
        write!(
            f,
            "{} values on {} positions, {} a row; the output is %{output}",
            values.len(),
            grid.positions,
            grid.pitch
        )?;
        match others.len() {
            0 => writeln!(f)?,
            others => writeln!(f, "; {others} more with other numbers")?,
        }
        let columns = |(id, value): (ValueId, &Value)| {
            [format!("%{id}"), size(value), (self.note)(id), operation(&value.operation), value.nodes.join(" + ")]
        };
        let rows: Vec<_> = values.iter().enumerate().map(columns).collect();
        let mut widths = [0; 5];
        for row in &rows {
            widths.iter_mut().zip(row).for_each(|(width, cell)| *width = cell.chars().count().max(*width));
        }
        for row in &rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(widths).filter(|(_, width)| *width > 0) {
                line.push_str(&format!("{cell:width$}  "));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Channels, positions, and what is special.
fn size(value: &Value) -> String {
    let mut size = match value.plane {
        Some(plane) => format!("{} x {}x{}", value.channels, plane.height, plane.width),
        None => format!("{} x {}", value.channels, value.positions),
    };
    match value.plane {
        Some(plane) if plane.dilation > 1 => size.push_str(&format!(" dilated {}", plane.dilation)),
        _ => {}
    }
    if value.pooled {
        size.push_str(" pooled");
    }
    if value.logits {
        size.push_str(" logits");
    }
    size
}

fn operation(operation: &Operation) -> String {
    match operation {
        Operation::Input(channels) => {
            let channel = |&(colour, tap): &(usize, i64)| match tap {
                0 => colour.to_string(),
                _ => format!("{colour}@{tap}"),
            };
            let mut listed: Vec<String> = channels.iter().take(LISTED_INPUTS).map(channel).collect();
            if channels.len() > LISTED_INPUTS {
                listed.push("...".into());
            }
            format!("input({})", listed.join(" "))
        }
        Operation::Affine(affine) => self::affine(affine),
        Operation::Polynomial(source, coefficients) => {
            let [c, b, a] = [0, 1, 2].map(|i| coefficients.iter().map(|c| c[i]).collect::<Vec<f64>>());
            format!("polynomial(%{source}: {} + {} x + {} x^2)", numbers(&c), numbers(&b), numbers(&a))
        }
        Operation::Square(source) => format!("square(%{source})"),
        Operation::Sum(source, [rows, columns]) => format!("sum(%{source} over {rows}x{columns})"),
    }
}

fn affine(affine: &Affine) -> String {
    let terms = affine.terms.iter().map(|term| match &term.kernel {
        Kernel::Diagonal(factors) => format!("%{} by {}", term.source, numbers(factors)),
        Kernel::Dense { stride, taps, weights, .. } => {
            let mut text = format!("%{} by {}", term.source, counted(taps.len(), "tap"));
            if taps.len() <= LISTED_TAPS {
                taps.iter().for_each(|tap| text.push_str(&format!(" {tap}")));
            }
            if *stride > 1 {
                text.push_str(&format!(", stride {stride}"));
            }
            let weights = weights.iter().filter(|w| **w != 0.0).count();
            format!("{text}, {}", counted(weights, "weight"))
        }
    });
    let mut text = format!("affine({})", terms.collect::<Vec<_>>().join("; "));
    if affine.bias.iter().any(|b| *b != 0.0) {
        text.push_str(&format!(" + {}", numbers(&affine.bias)));
    }
    if affine.border.is_some() {
        text.push_str(" less at the border");
    }
    text
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Numbers of channels: one where they are all the same, all where they are few.
fn numbers(numbers: &[f64]) -> String {
    let smallest = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if numbers.is_empty() {
        "nothing".into()
    } else if numbers.iter().all(|x| *x == numbers[0]) {
        number(numbers[0])
    } else if numbers.len() <= LISTED {
        numbers.iter().map(|x| number(*x)).collect::<Vec<_>>().join(" ")
    } else {
        format!("{} to {}", number(smallest), number(largest))
    }
}

/// A number to four places.
fn number(x: f64) -> String {
    if x != 0.0 && !(1e-3..1e6).contains(&x.abs()) {
        return format!("{x:.3e}");
    }
    let text = format!("{x:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}
