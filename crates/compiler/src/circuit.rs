//! Networks as the passes see them: affine maps, quadratics, sums over positions.
//!
//! [`crate::lower`] turns a graph into a circuit node by node; the passes rewrite it. In the end only inputs, affine
//! maps, bare squares and sums are left, each of which is one encrypted step.

pub mod display;
mod kernel;

pub use kernel::{Kernel, sum, sum_of_squares};

/// Index of a value in its circuit.
pub type ValueId = usize;

/// One value: channels on a ring of positions.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// The nodes of the network that it realises.
    pub nodes: Vec<String>,
    /// Number of channels.
    pub channels: usize,
    /// Number of positions it is laid out on.
    pub positions: usize,
    /// Where those are on the image's grid, in networks with zero padding.
    pub plane: Option<Plane>,
    /// Whether it is the same at every position.
    pub pooled: bool,
    /// Whether it is the output; [`Circuit::sort`] keeps it.
    pub logits: bool,
    /// How it comes about.
    pub operation: Operation,
}

/// The pixels of a value with zero padding: `(r, c)` is at `(dilation r, dilation c)` of the image's grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Plane {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Distance of neighbours on the grid: the product of all strides.
    pub dilation: usize,
}

impl Plane {
    /// Whether a row and a column of the grid belong to it. Those between its pixels do: they are pixels of the network
    /// on an image that is moved by less than a stride.
    fn contains(&self, row: i64, column: i64) -> bool {
        let inside = |at: i64, extent: usize| (0..(extent * self.dilation) as i64).contains(&at);
        inside(row, self.height) && inside(column, self.width)
    }
}

/// How a value comes about.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// The image: per channel, colour and tap, see [`umbra_program::InputLayout`].
    Input(Vec<(usize, i64)>),
    /// Sum of linear maps, plus a bias per channel.
    Affine(Affine),
    /// `c + b x + a x^2`, `[c, b, a]` per channel.
    Polynomial(ValueId, Vec<[f64; 3]>),
    /// `x^2`.
    Square(ValueId),
    /// The sum over windows of so many rows and columns: in planes next to one another, on the ring one at every
    /// position, or a single one of all positions.
    Sum(ValueId, [usize; 2]),
}

/// Sum of linear maps, plus a bias per channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// What is summed.
    pub terms: Vec<Term>,
    /// Per output channel.
    pub bias: Vec<f64>,
    /// What the bias is more at each position of the grid, per output channel; `None` for nothing. A constant that
    /// passes through a convolution with zero padding is not the same at the border.
    pub border: Option<Vec<Vec<f64>>>,
}

impl Affine {
    /// Without border.
    #[must_use]
    pub fn new(terms: Vec<Term>, bias: Vec<f64>) -> Self {
        Self { terms, bias, border: None }
    }

    /// `y = factor y + shift`, channel by channel.
    pub fn rescale(&mut self, factor: &[f64], shift: &[f64]) {
        self.terms.iter_mut().for_each(|t| t.kernel.scale_rows(factor));
        self.bias.iter_mut().zip(factor.iter().zip(shift)).for_each(|(b, (f, s))| *b = f * *b + s);
        for (plane, f) in self.border.iter_mut().flatten().zip(factor) {
            plane.iter_mut().for_each(|b| *b *= f);
        }
    }

    /// Adds to the bias what kernels make of constants.
    pub fn add_response(&mut self, (bias, border): Response) {
        self.bias.iter_mut().zip(bias).for_each(|(b, more)| *b += more);
        match (&mut self.border, border) {
            (Some(own), Some(more)) => {
                own.iter_mut().flatten().zip(more.into_iter().flatten()).for_each(|(b, more)| *b += more);
            }
            (own @ None, more) => *own = more,
            (Some(_), None) => {}
        }
    }
}

/// A bias and its border.
pub type Response = (Vec<f64>, Option<Vec<Vec<f64>>>);

/// A linear map of one value.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// The value.
    pub source: ValueId,
    /// The map.
    pub kernel: Kernel,
}

/// The grid of the image, sides padded to powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Positions a row.
    pub pitch: usize,
    /// Positions in all.
    pub positions: usize,
}

impl Grid {
    /// Rows and columns of a tap, `pitch rows + columns` with columns in `[-pitch/2, pitch/2)`.
    #[must_use]
    pub fn split(&self, tap: i64) -> (i64, i64) {
        let pitch = self.pitch as i64;
        let rows = (tap + pitch / 2).div_euclid(pitch);
        (rows, tap - rows * pitch)
    }

    /// Where on the grid a tap from `own` reads something of `read`, and not padding.
    #[must_use]
    pub fn mask(&self, own: &Plane, read: &Plane, tap: i64) -> Vec<bool> {
        let (rows, columns) = self.split(tap);
        let dilation = read.dilation as i64;
        let at = |q: usize| ((q / self.pitch) as i64, (q % self.pitch) as i64);
        (0..self.positions)
            .map(|q| {
                let (row, column) = at(q);
                own.contains(row, column) && read.contains(row + dilation * rows, column + dilation * columns)
            })
            .collect()
    }

    /// What a kernel makes of the same number at every pixel of a channel.
    #[must_use]
    pub fn response(&self, kernel: &Kernel, offset: &[f64], planes: Option<(&Plane, &Plane)>) -> Response {
        let whole = kernel.apply(offset, sum);
        let (Kernel::Dense { taps, .. }, Some((own, read))) = (kernel, planes) else {
            return (whole, None);
        };
        let mut border = vec![vec![0.0; self.positions]; whole.len()];
        let mut touched = false;
        for (i, &tap) in taps.iter().enumerate() {
            let mask = self.mask(own, read, tap);
            let parts = kernel.apply(offset, |w| w[i]);
            if mask.iter().all(|m| *m) || parts.iter().all(|p| *p == 0.0) {
                continue;
            }
            touched = true;
            for (plane, part) in border.iter_mut().zip(parts) {
                plane.iter_mut().zip(&mask).filter(|(_, m)| !**m).for_each(|(b, _)| *b -= part);
            }
        }
        (whole, touched.then_some(border))
    }
}

/// Values in topological order.
#[derive(Clone, Debug, PartialEq)]
pub struct Circuit {
    /// Sources before readers.
    pub values: Vec<Value>,
    /// The logits.
    pub output: ValueId,
    /// Where the image's pixels are.
    pub grid: Grid,
    /// Further members of an ensemble: the same values and operations with other numbers.
    pub others: Vec<Circuit>,
}

impl Operation {
    /// The values read, in order.
    #[must_use]
    pub fn sources(&self) -> Vec<ValueId> {
        match self {
            Self::Input(_) => Vec::new(),
            Self::Affine(affine) => affine.terms.iter().map(|t| t.source).collect(),
            Self::Polynomial(source, _) | Self::Square(source) | Self::Sum(source, _) => vec![*source],
        }
    }

    fn renumber(&mut self, new: &[ValueId]) {
        match self {
            Self::Input(_) => {}
            Self::Affine(affine) => affine.terms.iter_mut().for_each(|t| t.source = new[t.source]),
            Self::Polynomial(source, _) | Self::Square(source) | Self::Sum(source, _) => *source = new[*source],
        }
    }
}

impl Circuit {
    /// How many terms, squares, sums and outputs read each value.
    #[must_use]
    pub fn readers(&self) -> Vec<usize> {
        let mut readers = vec![0; self.values.len()];
        self.values.iter().flat_map(|v| v.operation.sources()).for_each(|s| readers[s] += 1);
        readers[self.output] += 1;
        readers
    }

    /// Appends a value; [`Self::sort`] puts it in its place.
    pub fn push(&mut self, value: Value) -> ValueId {
        self.values.push(value);
        self.values.len() - 1
    }

    /// Drops values that the output does not depend on and restores topological order (depth first, so that values are
    /// made shortly before they are read). An image that nothing reads stays.
    pub fn sort(&mut self) {
        let mut order = Vec::new();
        let mut seen = vec![false; self.values.len()];
        // Value, and whether its sources have been visited: no recursion, networks may be deep.
        let mut stack = vec![(self.output, false)];
        stack.extend(self.values.iter().position(|v| matches!(v.operation, Operation::Input(_))).map(|i| (i, false)));
        while let Some((id, expanded)) = stack.pop() {
            if expanded {
                order.push(id);
            } else if !seen[id] {
                seen[id] = true;
                stack.push((id, true));
                let mut sources = self.values[id].operation.sources();
                sources.reverse();
                stack.extend(sources.into_iter().filter(|s| !seen[*s]).map(|s| (s, false)));
            }
        }
        let mut new = vec![usize::MAX; self.values.len()];
        order.iter().enumerate().for_each(|(i, &old)| new[old] = i);
        let mut values: Vec<Option<Value>> = self.values.drain(..).map(Some).collect();
        self.values = order.iter().filter_map(|&old| values[old].take()).collect();
        self.values.iter_mut().for_each(|v| v.operation.renumber(&new));
        self.output = new[self.output];
        self.values.iter_mut().enumerate().for_each(|(i, v)| v.logits = i == self.output);
    }

    /// Changes what is stored for a value without changing the network: from now on `old = factor * new + offset`,
    /// channel by channel, and everything that reads the value makes up for it.
    pub fn reinterpret(&mut self, id: ValueId, factor: &[f64], offset: &[f64]) {
        let mut sums = Vec::new();
        let (grid, read) = (self.grid, self.values[id].plane);
        for (reader, value) in self.values.iter_mut().enumerate() {
            let planes = value.plane.as_ref().zip(read.as_ref());
            match &mut value.operation {
                Operation::Affine(affine) => {
                    for term in 0..affine.terms.len() {
                        if affine.terms[term].source == id {
                            let kernel = &mut affine.terms[term].kernel;
                            let response = grid.response(kernel, offset, planes);
                            kernel.scale_columns(factor);
                            affine.add_response(response);
                        }
                    }
                }
                Operation::Polynomial(source, coefficients) if *source == id => {
                    for ([c, b, a], (f, o)) in coefficients.iter_mut().zip(factor.iter().zip(offset)) {
                        (*c, *b, *a) = (*c + *b * o + *a * o * o, f * (*b + 2.0 * *a * o), *a * f * f);
                    }
                }
                Operation::Sum(source, [rows, columns]) if *source == id => {
                    sums.push((reader, (*rows * *columns) as f64));
                }
                _ => {}
            }
        }
        for (sum, positions) in sums {
            let offset: Vec<f64> = offset.iter().map(|o| o * positions).collect();
            self.reinterpret(sum, factor, &offset);
        }
    }
}

impl Circuit {
    /// Whether convolutions pad with zeros.
    #[must_use]
    pub fn is_padded(&self) -> bool {
        self.values.iter().any(|v| v.plane.is_some())
    }

    /// This circuit, then the further members of its ensemble.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Self> {
        let others = &self.others;
        (0..others.len() + 1).map(move |i| if i == 0 { self } else { &others[i - 1] })
    }

    /// Whether another circuit differs from this one in numbers only.
    #[must_use]
    pub fn same_structure(&self, other: &Self) -> bool {
        let same = |a: &Value, b: &Value| {
            let size = |v: &Value| (v.channels, v.positions, v.plane, v.pooled);
            size(a) == size(b)
                && match (&a.operation, &b.operation) {
                    (Operation::Affine(a), Operation::Affine(b)) => {
                        a.terms.len() == b.terms.len()
                            && a.terms
                                .iter()
                                .zip(&b.terms)
                                .all(|(a, b)| a.source == b.source && a.kernel.same_structure(&b.kernel))
                    }
                    (Operation::Polynomial(a, _), Operation::Polynomial(b, _)) => a == b,
                    (a, b) => a == b,
                }
        };
        (self.output, self.grid, self.values.len()) == (other.output, other.grid, other.values.len())
            && self.values.iter().zip(&other.values).all(|(a, b)| same(a, b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TAPS, affine, circuit, dense, diagonal, image, input, logits, plane, random, ring};

    #[test]
    fn listings_have_a_value_a_line() {
        let taps: Vec<i64> = (-5..5).collect();
        let mut listed = circuit(
            2,
            4,
            vec![
                ring(2, 4, Operation::Input(vec![(0, 0), (1, -1)])),
                ring(1, 4, affine(vec![dense(0, 1, &[-1, 0, 1], 2, vec![1.0, 0.0, 2.0, 3.0, 4.0, 5.0])], &[0.5])),
                ring(1, 4, Operation::Polynomial(1, vec![[0.25, -0.5, 1.0]])),
                ring(1, 2, affine(vec![dense(2, 2, &taps, 1, vec![1.0; 10]), diagonal(2, &[2.0])], &[0.0])),
                ring(1, 2, Operation::Square(3)),
                Value { pooled: true, ..ring(1, 2, Operation::Sum(4, [1, 2])) },
                ring(5, 2, affine(vec![dense(5, 1, &[0], 1, random(5, 1))], &[1e-5, -2.0, 1.0 / 3.0, 0.0, 7.0])),
            ],
        );
        listed.others = vec![listed.clone()];
        assert_eq!(
            listed.to_string(),
            "7 values on 4 positions, 2 a row; the output is %6; 1 more with other numbers\n\
             %0  2 x 4         input(0 1@-1)                                         a\n\
             %1  1 x 4         affine(%0 by 3 taps -1 0 1, 5 weights) + 0.5          b\n\
             %2  1 x 4         polynomial(%1: 0.25 + -0.5 x + 1 x^2)                 c\n\
             %3  1 x 2         affine(%2 by 10 taps, stride 2, 10 weights; %2 by 2)  d\n\
             %4  1 x 2         square(%3)                                            e\n\
             %5  1 x 2 pooled  sum(%4 over 1x2)                                      f\n\
             %6  5 x 2 logits  affine(%5 by 1 tap 0, 5 weights) + -2 to 7            g\n"
        );
        let mut bordered = Affine::new(vec![diagonal(0, &[1.0, -1e-9])], vec![0.0; 2]);
        bordered.border = Some(vec![vec![0.0; 4]; 2]);
        let padded =
            circuit(2, 4, vec![plane(2, [2, 1], 1, input(2)), plane(2, [1, 1], 2, Operation::Affine(bordered))]);
        assert_eq!(
            padded.listing(|id| format!("note {id}")).to_string(),
            "2 values on 4 positions, 2 a row; the output is %1\n\
             %0  2 x 2x1                   note 0  input(0 1)                                    a\n\
             %1  2 x 1x1 dilated 2 logits  note 1  affine(%0 by 1 -1.000e-9) less at the border  b\n"
        );
    }

    #[test]
    fn what_is_stored_may_be_another_multiple() {
        for padded in [false, true] {
            let value = |channels, operation| match padded {
                true => plane(channels, [2, 2], 1, operation),
                false => ring(channels, 8, operation),
            };
            let mut before = circuit(
                4,
                8,
                vec![
                    value(1, input(1)),
                    value(2, affine(vec![dense(0, 1, &TAPS, 1, random(18, 1))], &random(2, 2))),
                    value(2, Operation::Polynomial(1, vec![[0.1, 0.2, 0.3], [-0.4, 0.5, -0.6]])),
                    value(
                        1,
                        affine(vec![dense(1, 1, &TAPS, 2, random(18, 3)), dense(2, 1, &[0], 2, random(2, 4))], &[0.5]),
                    ),
                ],
            );
            if !padded {
                let sum = Value { pooled: true, ..ring(2, 8, Operation::Sum(1, [1, 8])) };
                let sum = before.push(sum);
                let Operation::Affine(last) = &mut before.values[3].operation else { panic!() };
                last.terms.push(dense(sum, 1, &[0], 2, random(2, 5)));
                before.sort();
            }
            // Old values are 2 and -3 times the new ones, and 1 and 0.5 more.
            let (factor, offset) = ([2.0, -3.0], [1.0, 0.5]);
            let mut after = before.clone();
            let Operation::Affine(changed) = &mut after.values[1].operation else { panic!() };
            changed.rescale(&factor.map(|f| 1.0 / f), &[-1.0 / 2.0, 0.5 / 3.0]);
            after.reinterpret(1, &factor, &offset);
            assert_ne!(before, after);
            for seed in 0..3 {
                let image = image(&before, seed);
                let (a, b) = (logits(&before, &image), logits(&after, &image));
                assert!((a[0] - b[0]).abs() < 1e-12, "padded: {padded}, {a:?} {b:?}");
            }
        }
    }

    #[test]
    fn values_are_sorted_and_those_that_nobody_reads_dropped() {
        let identity = |source| affine(vec![diagonal(source, &[1.0])], &[0.0]);
        let mut sorted = circuit(
            1,
            1,
            vec![
                ring(1, 1, identity(3)),
                ring(1, 1, Operation::Square(3)),
                ring(1, 1, Operation::Square(0)),
                ring(1, 1, input(1)),
            ],
        );
        sorted.output = 2;
        sorted.sort();
        let (names, operations): (Vec<_>, Vec<_>) =
            sorted.values.iter().map(|v| (v.nodes.concat(), v.operation.clone())).unzip();
        assert_eq!(names, ["d", "a", "c"]);
        assert_eq!(operations, [input(1), identity(0), Operation::Square(1)]);
        assert_eq!((sorted.output, sorted.values[2].logits, sorted.values[0].logits), (2, true, false));
        assert_eq!(sorted.readers(), [1, 1, 1]);
    }
}
