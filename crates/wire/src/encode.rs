//! Programs in files.
//!
//! A container of kind *program* whose context is the digest of the network. The header is JSON: everything but the
//! weights. For each linear step, in order, there are three records:
//!
//! 1. of each diagonal output, input, outer, inner and baby, as 32-bit words; where the step has masks, then the number
//!    of its mask from 1 on, or 0 for none; where its weights are complex, then 1 for an imaginary part, or 0;
//! 2. the values of the diagonals, one period each, as 32-bit floats;
//! 3. where the step has masks, these: one period each, a byte a slot, 1 or 0;
//! 4. the biases, one period an output (that of the masks, where there are any), as 64-bit floats.
//!
//! All numbers are little-endian.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use umbra_ckks::{Bsgs, Diagonal, Gadget, Level};
use umbra_file::{Container, Digest, FormatError, Kind, Label, bytes_of_words, encode};
use umbra_program::{ClientSpec, Estimate, Linear, LinearInput, Operation, Program, Register, Report, Step};

use crate::ContentError;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<'a> {
    client: Cow<'a, ClientSpec>,
    registers: usize,
    input: Register,
    output: Register,
    steps: Vec<StepEntry<'a>>,
    report: Cow<'a, Report>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepEntry<'a> {
    node: Cow<'a, str>,
    operation: OperationEntry<'a>,
    destination: Register,
    level_in: Level,
    level_out: Level,
    scale_out: f64,
    estimate: Estimate,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "snake_case")]
enum OperationEntry<'a> {
    Square {
        source: Register,
        gadget: Gadget,
    },
    Linear {
        inputs: Cow<'a, [LinearInput]>,
        plan: Cow<'a, Bsgs>,
        period: usize,
        /// Number and period; not written where there are none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        masks: Option<[usize; 2]>,
        outputs: usize,
        gadget: Gadget,
        /// Written only where set.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        add_first: bool,
    },
    RotateSum {
        source: Register,
        rotations: Cow<'a, [i64]>,
        gadget: Gadget,
    },
}

/// Words of a diagonal in the first record of a step without masks and with real weights.
const DIAGONAL: usize = 5;

/// Masks of a step at most.
const MAX_MASKS: usize = u16::MAX as usize;

/// The bytes of a program's file.
///
/// # Errors
/// [`FormatError::HeaderTooLong`] for a program of more than some thousand steps.
pub fn encode_program(program: &Program) -> Result<Vec<u8>, ContentError> {
    let header = Header {
        client: Cow::Borrowed(&program.client),
        registers: program.registers,
        input: program.input,
        output: program.output,
        steps: program.steps.iter().map(StepEntry::of).collect(),
        report: Cow::Borrowed(&program.report),
    };
    let mut records: Vec<Vec<u8>> = Vec::new();
    for step in &program.steps {
        let Operation::Linear(linear) = &step.operation else { continue };
        let masked = !linear.masks.is_empty();
        let indices = |d: &Diagonal| {
            let mask = masked.then(|| d.mask.map_or(0, |m| u32::from(m) + 1));
            let part = linear.plan.imaginary_steps.map(|_| d.imaginary.into());
            [d.output, d.input, d.outer.into(), d.inner.into(), d.baby.into()].into_iter().chain(mask).chain(part)
        };
        let indices: Vec<u32> = linear.diagonals.iter().flat_map(indices).collect();
        let values: Vec<u32> = linear.diagonals.iter().flat_map(|d| &d.values).map(|v| v.to_bits()).collect();
        records.push(bytes_of_words(&indices).into_owned());
        records.push(bytes_of_words(&values).into_owned());
        if masked {
            records.push(linear.masks.iter().flatten().map(|&m| u8::from(m)).collect());
        }
        records.push(linear.bias.iter().flatten().flat_map(|v| v.to_le_bytes()).collect());
    }
    let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    let label = Label::new(Kind::Program, Digest::from(program.network), None)?;
    Ok(encode(label, &header, &records)?)
}

/// Reads a program and checks it ([`Program::check`]). Allocates no more than a few times the container's own size.
///
/// # Errors
/// [`ContentError`]; never panics, whatever the bytes.
pub fn decode_program<B: AsRef<[u8]>>(container: &Container<B>) -> Result<Program, ContentError> {
    container.expect_kind(Kind::Program)?;
    let header: Header<'static> = container.header()?;
    let mut records = Records { container, next: 0 };
    let steps = header.steps.into_iter().map(|step| step.read(&mut records)).collect::<Result<_, _>>()?;
    if records.next != container.records() {
        let (found, expected) = (container.records() as u64, records.next.to_string());
        return Err(FormatError::Malformed { what: "number of records", found, expected }.into());
    }
    let program = Program {
        client: header.client.into_owned(),
        network: *container.context().bytes(),
        registers: header.registers,
        input: header.input,
        output: header.output,
        steps,
        report: header.report.into_owned(),
    };
    program.check()?;
    Ok(program)
}

impl<'a> StepEntry<'a> {
    fn of(step: &'a Step) -> Self {
        let operation = match &step.operation {
            Operation::Square { source, gadget } => OperationEntry::Square { source: *source, gadget: *gadget },
            Operation::RotateSum { source, rotations, gadget } => {
                OperationEntry::RotateSum { source: *source, rotations: Cow::Borrowed(rotations), gadget: *gadget }
            }
            Operation::Linear(linear) => OperationEntry::Linear {
                inputs: Cow::Borrowed(&linear.inputs),
                plan: Cow::Borrowed(&linear.plan),
                period: linear.period,
                masks: linear.masks.first().map(|first| [linear.masks.len(), first.len()]),
                outputs: linear.outputs(),
                gadget: linear.gadget,
                add_first: linear.add_first,
            },
        };
        Self {
            node: Cow::Borrowed(&step.node),
            operation,
            destination: step.destination,
            level_in: step.level_in,
            level_out: step.level_out,
            scale_out: step.scale_out,
            estimate: step.estimate,
        }
    }

    fn read<B: AsRef<[u8]>>(self, records: &mut Records<'_, B>) -> Result<Step, FormatError> {
        let operation = match self.operation {
            OperationEntry::Square { source, gadget } => Operation::Square { source, gadget },
            OperationEntry::RotateSum { source, rotations, gadget } => {
                Operation::RotateSum { source, rotations: rotations.into_owned(), gadget }
            }
            OperationEntry::Linear { inputs, plan, period, masks, outputs, gadget, add_first } => {
                let diagonals = records.diagonals(period, masks.is_some(), plan.imaginary_steps.is_some())?;
                let span = masks.map_or(period, |[_, span]| span);
                let masks = masks.map(|[count, span]| records.masks(span, count)).transpose()?.unwrap_or_default();
                let bias = records.bias(span, outputs)?;
                let (inputs, plan) = (inputs.into_owned(), plan.into_owned());
                Operation::Linear(Box::new(Linear { inputs, plan, diagonals, period, masks, bias, gadget, add_first }))
            }
        };
        Ok(Step {
            node: self.node.into_owned(),
            operation,
            destination: self.destination,
            level_in: self.level_in,
            level_out: self.level_out,
            scale_out: self.scale_out,
            estimate: self.estimate,
        })
    }
}

/// The records, one after the other.
struct Records<'c, B> {
    container: &'c Container<B>,
    next: usize,
}

impl<'c, B: AsRef<[u8]>> Records<'c, B> {
    fn bytes(&mut self) -> Result<(usize, &'c [u8]), FormatError> {
        let record = self.next;
        self.next += 1;
        Ok((record, self.container.record(record)?))
    }

    fn diagonals(&mut self, period: usize, masked: bool, complex: bool) -> Result<Vec<Diagonal>, FormatError> {
        let words = DIAGONAL + usize::from(masked) + usize::from(complex);
        let (record, bytes) = self.bytes()?;
        let (indices, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() || !indices.len().is_multiple_of(words) {
            let expected = format!("a multiple of {}", 4 * words);
            return Err(FormatError::RecordLength { record, found: bytes.len() as u64, expected });
        }
        let (record, values) = self.bytes()?;
        let period = length(record, values.len(), period, indices.len() / words, 4)?;
        let short = |what, word: u32| {
            u16::try_from(word).map_err(|_| FormatError::Malformed {
                what,
                found: word.into(),
                expected: "below 65536".into(),
            })
        };
        let float = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes);
        (indices.chunks_exact(words).zip(values.chunks_exact(4 * period)))
            .map(|(indices, values)| {
                let word = |i: usize| indices.get(i).map_or(0, |bytes| u32::from_le_bytes(*bytes));
                let rotation = |i| short("index of a rotation", word(i));
                let mask = if masked { word(DIAGONAL).checked_sub(1) } else { None };
                let part = if complex { word(words - 1) } else { 0 };
                if part > 1 {
                    let (what, expected) = ("part of a weight", "0 or 1".into());
                    return Err(FormatError::Malformed { what, found: part.into(), expected });
                }
                Ok(Diagonal {
                    output: word(0),
                    input: word(1),
                    outer: rotation(2)?,
                    inner: rotation(3)?,
                    baby: rotation(4)?,
                    imaginary: part == 1,
                    mask: mask.map(|m| short("number of a mask", m)).transpose()?,
                    values: values.as_chunks::<4>().0.iter().map(float).collect(),
                })
            })
            .collect()
    }

    fn masks(&mut self, period: usize, count: usize) -> Result<Vec<Vec<bool>>, FormatError> {
        // A mask of one byte takes far more in memory; diagonals have 16 bits for a mask's number.
        if count > MAX_MASKS {
            let (what, expected) = ("number of masks", format!("at most {MAX_MASKS}"));
            return Err(FormatError::Malformed { what, found: count as u64, expected });
        }
        let (record, bytes) = self.bytes()?;
        let period = length(record, bytes.len(), period, count, 1)?;
        if let Some(found) = bytes.iter().find(|b| **b > 1) {
            let (what, expected) = ("slot of a mask", "0 or 1".into());
            return Err(FormatError::Malformed { what, found: (*found).into(), expected });
        }
        Ok(bytes.chunks_exact(period).map(|mask| mask.iter().map(|b| *b == 1).collect()).collect())
    }

    fn bias(&mut self, period: usize, outputs: usize) -> Result<Vec<Vec<f64>>, FormatError> {
        let (record, values) = self.bytes()?;
        let period = length(record, values.len(), period, outputs, 8)?;
        let output = |values: &[u8]| values.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect();
        Ok(values.chunks_exact(8 * period).map(output).collect())
    }
}

/// Checks the length of a record of `count` periods of numbers of `size` bytes; returns a period that is not 0.
fn length(record: usize, found: usize, period: usize, count: usize, size: usize) -> Result<usize, FormatError> {
    let expected = period.checked_mul(count).and_then(|n| n.checked_mul(size));
    // An empty record of many empty periods would let a small file ask for much memory.
    if period > 0 && expected == Some(found) && period.checked_mul(size).is_some() {
        return Ok(period);
    }
    let expected = format!("{count} times {period} numbers of {size} bytes");
    Err(FormatError::RecordLength { record, found: found as u64, expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_counted_before_they_are_read() {
        let read = |count: usize| {
            let record = vec![1; count];
            let label = Label::new(Kind::Program, Digest::of(b""), None).expect("a label");
            let bytes = encode(label, &(), &[&record]).expect("a container");
            let container = Container::decode(&bytes[..]).expect("a container");
            Records { container: &container, next: 0 }.masks(1, count)
        };
        assert_eq!(read(MAX_MASKS).expect("masks").len(), MAX_MASKS);
        let error = read(MAX_MASKS + 1).expect_err("more masks than numbers");
        assert!(matches!(error, FormatError::Malformed { what: "number of masks", .. }), "{error}");
    }
}
