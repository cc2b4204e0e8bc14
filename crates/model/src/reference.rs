//! The network in the clear: what encrypted and simulated runs are compared with.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, ArrayViewMut2};

use crate::{Graph, GraphError, NodeId, Operator, Padding, Pool, Shape};

/// The arithmetic of a [`Reference`]: `f32` (fast, as PyTorch does it) or `f64` (exact next to any encrypted error).
pub trait Real: sealed::Real {}
impl Real for f32 {}
impl Real for f64 {}

mod sealed {
    pub trait Real: ndarray::LinalgScalar + std::ops::AddAssign + Send + Sync {
        fn of(value: f64) -> Self;
        fn to_f64(self) -> f64;
    }
    impl Real for f32 {
        fn of(value: f64) -> Self {
            value as Self
        }
        fn to_f64(self) -> f64 {
            self.into()
        }
    }
    impl Real for f64 {
        fn of(value: f64) -> Self {
            value
        }
        fn to_f64(self) -> f64 {
            self
        }
    }
}

/// A graph prepared for evaluation.
#[derive(Clone, Debug)]
pub struct Reference<T = f32> {
    input: (Embedding, usize),
    steps: Vec<(Step<T>, Vec<NodeId>)>,
    output: NodeId,
    /// How often each node's result is read.
    uses: Vec<usize>,
    polynomials: Vec<(NodeId, NodeId)>,
}

impl<T: Real> Reference<T> {
    /// Prepares the weights of `graph`.
    #[must_use]
    pub fn new(graph: &Graph) -> Self {
        let steps = graph
            .nodes()
            .iter()
            .map(|node| {
                let input = node.inputs().first().map(|&i| graph.node(i).shape());
                let input = input.unwrap_or(node.shape());
                let step = Step::new(node.operator(), graph.padding(), input, node.shape());
                (step, node.inputs().to_vec())
            })
            .collect();
        let mut uses: Vec<usize> = graph.readers().iter().map(Vec::len).collect();
        uses[graph.output().index()] += 1;
        let polynomials = graph
            .iter()
            .filter(|(_, node)| matches!(node.operator(), Operator::Polynomial(_)))
            .map(|(id, node)| (node.inputs()[0], id))
            .collect();
        Self { input: (Embedding::new(graph), graph.input().len()), steps, output: graph.output(), uses, polynomials }
    }

    /// The logits of one normalised image `[C, H, W]` (see [`ImageSpec::normalise`](crate::ImageSpec::normalise)).
    ///
    /// Logits may be infinite or NaN where activations escape their range.
    ///
    /// # Errors
    /// [`GraphError::Invalid`] where the image has another number of values.
    pub fn forward(&self, image: &[f32]) -> Result<Vec<T>, GraphError> {
        self.forward_observed(image, |_, _| ())
    }

    /// As [`Reference::forward`]; hands every node's output, in order, to `observe`: channel by channel, within one by
    /// position.
    ///
    /// # Errors
    /// As [`Reference::forward`].
    pub fn forward_observed(&self, image: &[f32], mut observe: impl FnMut(NodeId, &[T])) -> Result<Vec<T>, GraphError> {
        let (embedding, expected) = &self.input;
        if image.len() != *expected {
            return Err(GraphError::Invalid {
                what: "number of values of the image".into(),
                found: image.len().to_string(),
                expected: expected.to_string(),
            });
        }
        let mut columns = Vec::new();
        let mut left = self.uses.clone();
        let mut values: Vec<Vec<T>> = Vec::with_capacity(self.steps.len());
        for (index, (step, inputs)) in self.steps.iter().enumerate() {
            let result = match inputs.as_slice() {
                [] => embedding.embed(image),
                [first, rest @ ..] => {
                    left[first.index()] -= 1;
                    // The last reader takes the buffer. A sum of a node with itself still needs the original.
                    let first = if left[first.index()] == 0 {
                        Cow::Owned(std::mem::take(&mut values[first.index()]))
                    } else {
                        Cow::Borrowed(values[first.index()].as_slice())
                    };
                    step.apply(first, rest.first().map(|r| values[r.index()].as_slice()), &mut columns)
                }
            };
            for input in inputs.iter().skip(1) {
                left[input.index()] -= 1;
                if left[input.index()] == 0 {
                    values[input.index()] = Vec::new();
                }
            }
            observe(NodeId::new(index), &result);
            values.push(result);
        }
        Ok(std::mem::take(&mut values[self.output.index()]))
    }

    /// The logits of one image and the input of every polynomial node, `[C, positions]`.
    ///
    /// # Errors
    /// As [`Reference::forward`].
    #[allow(clippy::type_complexity)]
    pub fn activations(&self, image: &[f32]) -> Result<(Vec<T>, BTreeMap<NodeId, Vec<T>>), GraphError> {
        let mut activations = BTreeMap::new();
        let logits = self.forward_observed(image, |id, values| {
            for (_, polynomial) in self.polynomials.iter().filter(|(source, _)| *source == id) {
                activations.insert(*polynomial, values.to_vec());
            }
        })?;
        Ok((logits, activations))
    }
}

/// Where the pixels of an image go: circular rows are padded up to the pitch.
#[derive(Clone, Copy, Debug)]
pub struct Embedding {
    channels: usize,
    width: usize,
    height: usize,
    pitch: usize,
    positions: usize,
}

impl Embedding {
    /// Of the images of a network.
    #[must_use]
    pub fn new(graph: &Graph) -> Self {
        let input = graph.input();
        Self::of(graph.padding(), input)
    }

    pub(crate) fn of(padding: Padding, input: &crate::ImageSpec) -> Self {
        let (pitch, positions) = match padding {
            Padding::Circular { pitch, positions } => (pitch, positions),
            Padding::Zero => (input.width, input.height * input.width),
        };
        Self { channels: input.channels, width: input.width, height: input.height, pitch, positions }
    }

    /// The planes of a normalised image `[C, H, W]` on their positions: `[C, positions]`.
    #[must_use]
    pub fn embed<T: Real>(&self, image: &[f32]) -> Vec<T> {
        let mut values = vec![T::of(0.0); self.channels * self.positions];
        let planes = image.chunks_exact(self.width * self.height);
        for (plane, out) in planes.zip(values.chunks_exact_mut(self.positions)) {
            let rows = plane.chunks_exact(self.width);
            for (row, out) in rows.zip(out.chunks_exact_mut(self.pitch)) {
                for (x, out) in row.iter().zip(out) {
                    *out = T::of(f64::from(*x));
                }
            }
        }
        values
    }
}

/// One node, with its weights in the arithmetic `T`: for whoever walks a network node by node.
#[derive(Clone, Debug)]
pub struct Layer<T>(Step<T>);

impl<T: Real> Layer<T> {
    /// An operator between the shapes of its first operand and of its result, which must be those of a checked graph.
    #[must_use]
    pub fn new(operator: &Operator, padding: Padding, input: Shape, output: Shape) -> Self {
        Self(Step::new(operator, padding, input, output))
    }

    /// What a convolution multiplies, `[Ci k k, positions]`; of other nodes, the input.
    #[must_use]
    pub fn unfolded(&self, x: &[T]) -> Vec<T> {
        self.0.unfolded(x)
    }

    /// Evaluates the node on its first operand and, of a sum, its second; `columns` is scratch memory.
    pub fn apply(&self, x: Cow<'_, [T]>, other: Option<&[T]>, columns: &mut Vec<T>) -> Vec<T> {
        self.0.apply(x, other, columns)
    }
}

/// As [`Layer`].
#[derive(Clone, Debug)]
pub(crate) enum Step<T> {
    Input,
    Convolution(Window, Array2<T>, Option<Vec<T>>),
    Affine(Vec<(T, T)>),
    Polynomial(Vec<[T; 3]>),
    Add,
    GlobalPool(usize),
    SquarePool { k: usize, height: usize, width: usize },
    RingPool { pitch: usize, positions: usize },
    Linear(Array2<T>, Option<Vec<T>>),
}

impl<T: Real> Step<T> {
    pub(crate) fn new(operator: &Operator, padding: Padding, input: Shape, output: Shape) -> Self {
        let vector = |t: &crate::Tensor| -> Vec<T> { t.values().iter().map(|&v| T::of(f64::from(v))).collect() };
        let matrix = |t: &crate::Tensor| {
            let rows = t.shape()[0];
            Array2::from_shape_fn((rows, t.values().len() / rows), |(r, c)| {
                T::of(f64::from(t.values()[r * (t.values().len() / rows) + c]))
            })
        };
        match operator {
            Operator::Input => Self::Input,
            Operator::Convolution(c) => Self::Convolution(
                Window { kernel: c.kernel(), stride: c.stride, padding, input, output },
                matrix(&c.weight),
                c.bias.as_ref().map(vector),
            ),
            Operator::BatchNorm(norm) => {
                Self::Affine(norm.affine().into_iter().map(|(factor, offset)| (T::of(factor), T::of(offset))).collect())
            }
            Operator::Polynomial(p) => {
                Self::Polynomial((0..input.channels()).map(|c| p.coefficients(c).map(T::of)).collect())
            }
            Operator::Add => Self::Add,
            Operator::AveragePool(Pool::Global) => Self::GlobalPool(input.positions()),
            Operator::AveragePool(Pool::Square(k)) => match input {
                Shape::Planar { height, width, .. } => Self::SquarePool { k: *k, height, width },
                Shape::Ring { positions, .. } => {
                    let pitch = if let Padding::Circular { pitch, .. } = padding { pitch } else { positions };
                    Self::RingPool { pitch, positions }
                }
            },
            Operator::Linear(l) => Self::Linear(matrix(&l.weight), l.bias.as_ref().map(vector)),
        }
    }

    /// What a convolution multiplies, `[Ci k k, positions]`; of other nodes, the input.
    fn unfolded(&self, x: &[T]) -> Vec<T> {
        let mut columns = Vec::new();
        match self {
            Self::Convolution(window, ..) => window.unfold(x, &mut columns),
            _ => columns.extend_from_slice(x),
        }
        columns
    }

    /// Evaluates the node; `columns` is scratch memory.
    pub(crate) fn apply(&self, x: Cow<'_, [T]>, other: Option<&[T]>, columns: &mut Vec<T>) -> Vec<T> {
        match self {
            Self::Input => x.into_owned(),
            Self::Convolution(window, weight, bias) => {
                window.unfold(&x, columns);
                product(weight, columns, window.output.positions(), bias.as_deref())
            }
            Self::Linear(weight, bias) => product(weight, &x, 1, bias.as_deref()),
            Self::Affine(channels) => {
                let mut x = x.into_owned();
                let positions = x.len() / channels.len();
                for (plane, &(factor, offset)) in x.chunks_exact_mut(positions).zip(channels) {
                    for v in plane {
                        *v = factor * *v + offset;
                    }
                }
                x
            }
            Self::Polynomial(channels) => {
                let mut x = x.into_owned();
                let positions = x.len() / channels.len();
                for (plane, &[c, b, a]) in x.chunks_exact_mut(positions).zip(channels) {
                    for v in plane {
                        *v = c + *v * (b + a * *v);
                    }
                }
                x
            }
            Self::Add => {
                let mut sum = x.into_owned();
                for (v, y) in sum.iter_mut().zip(other.unwrap_or_default()) {
                    *v += *y;
                }
                sum
            }
            Self::GlobalPool(positions) => x.chunks_exact(*positions).map(|plane| T::of(mean(plane.iter()))).collect(),
            Self::SquarePool { k, height, width } => x
                .chunks_exact(height * width)
                .flat_map(|plane| {
                    let square = move |row: usize, column: usize| {
                        let rows = plane.chunks_exact(*width).skip(row * k).take(*k);
                        T::of(mean(rows.flat_map(|r| &r[column * k..(column + 1) * k])))
                    };
                    (0..height / k).flat_map(move |r| (0..width / k).map(move |c| square(r, c)))
                })
                .collect(),
            Self::RingPool { pitch, positions } => x
                .chunks_exact(*positions)
                .flat_map(|plane| {
                    let square = move |p: usize| [0, 1, *pitch, pitch + 1].map(|tap| plane[(2 * p + tap) % positions]);
                    (0..positions / 2).map(move |p| T::of(mean(square(p).iter())))
                })
                .collect(),
        }
    }
}

fn mean<'a, T: Real>(values: impl Iterator<Item = &'a T>) -> f64 {
    let (sum, n) = values.fold((0.0, 0.0), |(sum, n), v| (sum + v.to_f64(), n + 1.0));
    sum / n
}

/// `weight * x + bias`, `x` of `positions` columns.
fn product<T: Real>(weight: &Array2<T>, x: &[T], positions: usize, bias: Option<&[T]>) -> Vec<T> {
    let (rows, inner) = weight.dim();
    let mut y = vec![T::of(0.0); rows * positions];
    if let Some(bias) = bias {
        for (plane, &b) in y.chunks_exact_mut(positions).zip(bias) {
            plane.fill(b);
        }
    }
    let shapes = (ArrayView2::from_shape((inner, positions), x), ArrayViewMut2::from_shape((rows, positions), &mut y));
    // Both lengths are products of checked shapes, so that both views exist.
    if let (Ok(x), Ok(mut y)) = shapes {
        general_mat_mul(T::of(1.0), weight, &x, T::of(1.0), &mut y);
    }
    y
}

/// The geometry of one convolution.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    kernel: usize,
    stride: usize,
    padding: Padding,
    input: Shape,
    output: Shape,
}

impl Window {
    /// The matrix `[Ci k k, output positions]` whose rows are the input under each tap ("im2col").
    fn unfold<T: Real>(&self, x: &[T], columns: &mut Vec<T>) {
        let (positions, out) = (self.input.positions(), self.output.positions());
        let taps = self.kernel * self.kernel;
        columns.clear();
        columns.resize(self.input.channels() * taps * out, T::of(0.0));
        let blocks = columns.chunks_exact_mut(taps * out);
        for (plane, block) in x.chunks_exact(positions).zip(blocks) {
            for (tap, row) in block.chunks_exact_mut(out).enumerate() {
                let (dr, dc) = (tap / self.kernel, tap % self.kernel);
                match (self.padding, self.input) {
                    (Padding::Circular { pitch, .. }, _) => {
                        let half = (self.kernel / 2) as i64;
                        let shift = pitch as i64 * (dr as i64 - half) + dc as i64 - half;
                        self.cyclic_tap(shift.rem_euclid(positions as i64) as usize, plane, row);
                    }
                    (Padding::Zero, Shape::Planar { height, width, .. }) => {
                        self.planar_tap(dr, dc, (height, width), plane, row);
                    }
                    // ZeroPadded graphs have planar shapes only.
                    (Padding::Zero, Shape::Ring { .. }) => {}
                }
            }
        }
    }

    /// `row[p] = plane[stride p + shift mod P]`.
    fn cyclic_tap<T: Copy>(&self, shift: usize, plane: &[T], row: &mut [T]) {
        if self.stride == 1 {
            let (wrapped, tail) = plane.split_at(shift);
            row[..tail.len()].copy_from_slice(tail);
            row[tail.len()..].copy_from_slice(wrapped);
        } else {
            let source = plane[shift..].iter().chain(&plane[..shift]);
            for (out, v) in row.iter_mut().zip(source.step_by(self.stride)) {
                *out = *v;
            }
        }
    }

    /// `row[r, c] = plane[stride r + dr - k/2, stride c + dc - k/2]`, zero outside; `row` starts as zeros.
    fn planar_tap<T: Copy>(&self, dr: usize, dc: usize, (height, width): (usize, usize), plane: &[T], row: &mut [T]) {
        let half = self.kernel / 2;
        let out_width = width.div_ceil(self.stride);
        for (r, out) in row.chunks_exact_mut(out_width).enumerate() {
            let Some(y) = (r * self.stride + dr).checked_sub(half).filter(|y| *y < height) else {
                continue;
            };
            let source = &plane[y * width..(y + 1) * width];
            for (c, out) in out.iter_mut().enumerate() {
                let x = (c * self.stride + dc).checked_sub(half);
                if let Some(v) = x.and_then(|x| source.get(x)) {
                    *out = *v;
                }
            }
        }
    }
}
