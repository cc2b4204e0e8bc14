//! What a node computes.

use std::fmt;

use crate::{GraphError, Shape, Tensor};

/// One operation of a network, with its weights.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Operator {
    /// The normalised image. Every graph has exactly one, as its first node.
    Input,
    /// Convolution, stride 1 or 2, odd kernel. One input.
    Convolution(Convolution),
    /// Batch normalisation with fixed statistics. One input.
    BatchNorm(BatchNorm),
    /// Quadratic activation. One input.
    Polynomial(Polynomial),
    /// Sum of two inputs of the same shape (residual connection).
    Add,
    /// Average over positions. One input.
    AveragePool(Pool),
    /// Matrix times the flattened input (channel-major), plus a bias. One input.
    Linear(Linear),
}

/// The `op` names that manifests may use.
pub const SUPPORTED_OPERATORS: [&str; 6] = ["convolution", "batch_norm", "polynomial", "add", "average_pool", "linear"];

impl Operator {
    /// The name used in manifests; `"input"` for the image.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Convolution(_) => "convolution",
            Self::BatchNorm(_) => "batch_norm",
            Self::Polynomial(_) => "polynomial",
            Self::Add => "add",
            Self::AveragePool(_) => "average_pool",
            Self::Linear(_) => "linear",
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `y[co] = bias[co] + sum weight[co, ci, dr, dc] * x[ci]` at the taps and stride of the graph's geometry.
#[derive(Clone, Debug, PartialEq)]
pub struct Convolution {
    /// `[Co, Ci, k, k]`, `k` odd.
    pub weight: Tensor,
    /// `[Co]`.
    pub bias: Option<Tensor>,
    /// 1 or 2.
    pub stride: usize,
}

impl Convolution {
    /// Output channels `Co`.
    #[must_use]
    pub fn out_channels(&self) -> usize {
        self.weight.shape()[0]
    }

    /// Input channels `Ci`.
    #[must_use]
    pub fn in_channels(&self) -> usize {
        self.weight.shape()[1]
    }

    /// Kernel size `k`.
    #[must_use]
    pub fn kernel(&self) -> usize {
        self.weight.shape()[2]
    }
}

/// `scale * (x - mean) / sqrt(variance + epsilon) + shift`, channel by channel.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// `[C]` (PyTorch: `weight`).
    pub scale: Tensor,
    /// `[C]` (PyTorch: `bias`).
    pub shift: Tensor,
    /// `[C]` (PyTorch: `running_mean`).
    pub mean: Tensor,
    /// `[C]`, not negative (PyTorch: `running_var`).
    pub variance: Tensor,
    /// Added to the variance.
    pub epsilon: f64,
}

impl BatchNorm {
    /// The same map as `(factor, offset)` of each channel: `factor * x + offset`.
    #[must_use]
    pub fn affine(&self) -> Vec<(f64, f64)> {
        let of = |t: &Tensor, c: usize| f64::from(t.values()[c]);
        (0..self.scale.values().len())
            .map(|c| {
                let factor = of(&self.scale, c) / (of(&self.variance, c) + self.epsilon).sqrt();
                (factor, of(&self.shift, c) - factor * of(&self.mean, c))
            })
            .collect()
    }
}

/// `c + b x + a x^2`.
#[derive(Clone, Debug, PartialEq)]
pub enum Polynomial {
    /// The same `[c, b, a]` for every channel.
    Shared([f64; 3]),
    /// `[c, b, a]` of each channel.
    PerChannel(Vec<[f64; 3]>),
}

impl Polynomial {
    /// `[c, b, a]` of one channel; of the last one where there are fewer.
    #[must_use]
    pub fn coefficients(&self, channel: usize) -> [f64; 3] {
        match self {
            Self::Shared(shared) => *shared,
            Self::PerChannel(each) => each.get(channel).or(each.last()).copied().unwrap_or([0.0, 1.0, 0.0]),
        }
    }
}

/// What an average is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// All positions of a channel (in circular padding also those of the zero padding).
    Global,
    /// Squares of `k x k` at stride `k`. In circular padding `k` is 2: position `p` is the mean of `2 p + {0, 1, W, W +
    /// 1}`, and positions are halved.
    Square(usize),
}

/// `y = weight x + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// `[outputs, features]`.
    pub weight: Tensor,
    /// `[outputs]`.
    pub bias: Option<Tensor>,
}

/// Kernels wider than this are refused: no network of this kind has them, and taps are enumerated.
const MAX_KERNEL: usize = 15;

/// Checks `operator` on inputs of the given shapes and returns the shape of its output.
pub(crate) fn output_shape(node: &str, operator: &Operator, inputs: &[Shape]) -> Result<Shape, GraphError> {
    let check = Check { node };
    let arity = match operator {
        Operator::Input => 0,
        Operator::Add => 2,
        _ => 1,
    };
    if inputs.len() != arity {
        return Err(check.mismatch("number of inputs", inputs.len(), arity));
    }
    match operator {
        Operator::Input => Err(check.mismatch("operator", "input", "an operator of the network")),
        Operator::Convolution(convolution) => check.convolution(convolution, inputs[0]),
        Operator::BatchNorm(norm) => {
            let parts =
                [("scale", &norm.scale), ("shift", &norm.shift), ("mean", &norm.mean), ("variance", &norm.variance)];
            for (what, tensor) in parts {
                check.tensor(what, tensor, &[inputs[0].channels()])?;
            }
            if !(norm.epsilon.is_finite() && norm.epsilon >= 0.0) {
                return Err(check.mismatch("epsilon", norm.epsilon, "a finite number >= 0"));
            }
            for (channel, &v) in norm.variance.values().iter().enumerate() {
                // A positive sum may still underflow `f32` arithmetic elsewhere; the smallest normal is the bound.
                if v < 0.0 || f64::from(v) + norm.epsilon < f64::from(f32::MIN_POSITIVE) {
                    let found = format!("{v} (epsilon {})", norm.epsilon);
                    return Err(check.mismatch(
                        &format!("variance of channel {channel}"),
                        found,
                        "variance >= 0 and variance + epsilon > 0",
                    ));
                }
            }
            Ok(inputs[0])
        }
        Operator::Polynomial(polynomial) => {
            let each: &[[f64; 3]] = match polynomial {
                Polynomial::Shared(shared) => std::slice::from_ref(shared),
                Polynomial::PerChannel(each) => {
                    let expected = format!("{} channels x 3", inputs[0].channels());
                    if each.len() != inputs[0].channels() {
                        let found = format!("{} x 3", each.len());
                        return Err(check.mismatch("coefficients", found, expected));
                    }
                    each
                }
            };
            match each.iter().flatten().position(|v| !v.is_finite()) {
                None => Ok(inputs[0]),
                Some(index) => Err(GraphError::NotFinite {
                    tensor: format!("{node}: coefficients"),
                    index,
                    found: each[index / 3][index % 3],
                }),
            }
        }
        Operator::Add => {
            if inputs[0] == inputs[1] {
                Ok(inputs[0])
            } else {
                Err(check.mismatch("shape of the second input", inputs[1], inputs[0]))
            }
        }
        Operator::AveragePool(Pool::Global) => Ok(inputs[0].pooled(inputs[0].channels())),
        Operator::AveragePool(Pool::Square(k)) => check.square_pool(*k, inputs[0]),
        Operator::Linear(linear) => {
            let [outputs, _] = check.dims("weight", &linear.weight, "[outputs, features]")?;
            check.tensor("weight", &linear.weight, &[outputs, inputs[0].len()])?;
            if let Some(bias) = &linear.bias {
                check.tensor("bias", bias, &[outputs])?;
            }
            Ok(inputs[0].pooled(outputs))
        }
    }
}

/// Makes errors that name the node.
struct Check<'a> {
    node: &'a str,
}

impl Check<'_> {
    fn mismatch(&self, what: &str, found: impl ToString, expected: impl ToString) -> GraphError {
        GraphError::Mismatch {
            node: self.node.into(),
            what: what.into(),
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }

    fn dims<const D: usize>(&self, what: &str, tensor: &Tensor, expected: &str) -> Result<[usize; D], GraphError> {
        match tensor.dims::<D>() {
            Some(dims) if !dims.contains(&0) => Ok(dims),
            _ => Err(self.mismatch(&format!("shape of the {what}"), format!("{:?}", tensor.shape()), expected)),
        }
    }

    fn tensor(&self, what: &str, tensor: &Tensor, expected: &[usize]) -> Result<(), GraphError> {
        if tensor.shape() == expected {
            return Ok(());
        }
        let (found, expected) = (format!("{:?}", tensor.shape()), format!("{expected:?}"));
        Err(self.mismatch(&format!("shape of the {what}"), found, expected))
    }

    fn convolution(&self, convolution: &Convolution, input: Shape) -> Result<Shape, GraphError> {
        let Convolution { weight, bias, stride } = convolution;
        let [co, _, k, _] = self.dims("weight", weight, "[Co, Ci, k, k]")?;
        self.tensor("weight", weight, &[co, input.channels(), k, k])?;
        if k % 2 == 0 || k > MAX_KERNEL {
            return Err(self.mismatch("kernel size", k, format!("odd, at most {MAX_KERNEL}")));
        }
        if let Some(bias) = bias {
            self.tensor("bias", bias, &[co])?;
        }
        let halve = match stride {
            1 => return Ok(input.with_channels(co)),
            2 => |extent: usize| extent.div_ceil(2),
            _ => return Err(self.mismatch("stride", stride, "1 or 2")),
        };
        match input {
            Shape::Ring { positions: 1, .. } => Err(self.mismatch("input of stride 2", input, "at least 2 positions")),
            Shape::Ring { positions, .. } => Ok(Shape::Ring { channels: co, positions: positions / 2 }),
            Shape::Planar { height, width, .. } => {
                Ok(Shape::Planar { channels: co, height: halve(height), width: halve(width) })
            }
        }
    }

    fn square_pool(&self, k: usize, input: Shape) -> Result<Shape, GraphError> {
        match input {
            Shape::Planar { channels, height, width } if k > 0 && height % k == 0 && width % k == 0 => {
                Ok(Shape::Planar { channels, height: height / k, width: width / k })
            }
            Shape::Planar { .. } => {
                Err(self.mismatch("average_pool kernel", k, format!("a divisor of both sides of the input ({input})")))
            }
            Shape::Ring { channels, positions } if k == 2 && positions > 1 => {
                Ok(Shape::Ring { channels, positions: positions / 2 })
            }
            Shape::Ring { .. } => {
                let expected =
                    format!("\"global\", or 2 where there are positions to halve ({input}), in the circular padding");
                Err(self.mismatch("average_pool kernel", k, expected))
            }
        }
    }
}
