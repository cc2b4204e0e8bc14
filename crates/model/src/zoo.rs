//! Residual networks with random weights, for tests and for benchmarks of sizes that nobody has trained yet.

use std::borrow::Cow;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::reference::{Embedding, Step};
use crate::{
    BatchNorm, Convolution, Graph, GraphBuilder, GraphError, ImageSpec, Linear, NodeId, Normalisation, Operator,
    Padding, Polynomial, Pool, Tensor, stand_ins,
};

/// The least-squares quadratic of ReLU on [-2, 2], `[c, b, a]` (paper, section on quadratic activations).
pub const RELU_QUADRATIC: [f64; 3] = [0.1875, 0.5, 0.234375];

/// Which quadratics a random network has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// [`RELU_QUADRATIC`] everywhere.
    Shared,
    /// Random ones of similar shape, another for each channel.
    PerChannel,
}

/// Where the batch norms of a block's second half are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormPlacement {
    /// One, after the residual sum: at the activation's input.
    AfterSum,
    /// Before the residual sum, on the convolution and on a projection (He et al.).
    BeforeSum,
}

/// Which shortcuts go through a 1x1 convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortcut {
    /// Those that change the shape; the others are identities.
    ProjectionWhereNeeded,
    /// All of them.
    ProjectionEverywhere,
}

/// The description of a random residual network; [`ResNet::build`] makes it.
///
/// Batch-norm statistics are measured on random images while the network is built, on drawn ones ([`stand_ins`]) where
/// images are normalised with fixed statistics, so that activations of such images stay in about [-2, 2], as in a
/// trained one.
#[derive(Clone, Debug, PartialEq)]
pub struct ResNet {
    /// Channels of each stage. Each stage but the first begins with stride 2.
    pub widths: Vec<usize>,
    /// Blocks (of two convolutions) a stage.
    pub blocks: usize,
    /// Number of logits.
    pub classes: usize,
    /// Channels of the image.
    pub channels: usize,
    /// Rows of the image.
    pub height: usize,
    /// Columns of the image.
    pub width: usize,
    /// Cyclic (default) or zero padding.
    pub circular: bool,
    /// Default: shared.
    pub activation: Activation,
    /// Default: after the sum.
    pub norm: NormPlacement,
    /// Default: where needed.
    pub shortcut: Shortcut,
    /// Whether convolutions have biases. Default: no.
    pub bias: bool,
    /// Of the images. Default: per image.
    pub normalisation: Normalisation,
    /// Of the weights.
    pub seed: u64,
}

impl Default for ResNet {
    fn default() -> Self {
        Self {
            widths: vec![16, 32, 64],
            blocks: 3,
            classes: 10,
            channels: 3,
            height: 32,
            width: 32,
            circular: true,
            activation: Activation::Shared,
            norm: NormPlacement::AfterSum,
            shortcut: Shortcut::ProjectionWhereNeeded,
            bias: false,
            normalisation: Normalisation::PerImage { min_std: 0.05 },
            seed: 1,
        }
    }
}

/// Images that batch-norm statistics are measured on.
const CALIBRATION_IMAGES: usize = 16;
/// Standard deviation of a polynomial's inputs at most.
const TYPICAL: f64 = 0.2;
/// Their largest value on the calibration images at most (before the random shift).
const LARGEST: f64 = 0.8;

impl ResNet {
    /// The network of `depth = 6n + 2` layers on 32 x 32 images with `width`, `2 width` and `4 width` channels:
    /// `cifar(20, 16)` is R20-16, `cifar(20, 64)` is R20-64. Depths in between are rounded down, but for 18: four
    /// stages of two blocks, as ResNet-18.
    #[must_use]
    pub fn cifar(depth: usize, width: usize) -> Self {
        let stages = if depth == 18 { 4 } else { 3 };
        Self {
            widths: (0..stages).map(|stage| width << stage).collect(),
            blocks: (depth.saturating_sub(2) / (2 * stages)).max(1),
            ..Self::default()
        }
    }

    /// `R<depth>-<first width> random`.
    #[must_use]
    pub fn name(&self) -> String {
        let depth = 2 * self.blocks * self.widths.len() + 2;
        format!("R{depth}-{} random", self.widths.first().unwrap_or(&0))
    }

    fn input(&self) -> ImageSpec {
        ImageSpec {
            channels: self.channels,
            height: self.height,
            width: self.width,
            normalisation: self.normalisation.clone(),
            clip: None,
        }
    }

    /// Makes the network; the same description always gives the same one.
    ///
    /// # Errors
    /// [`GraphError`] where sizes are zero or too large, or a stage has no two positions left to halve.
    pub fn build(&self) -> Result<Graph, GraphError> {
        let mut net = Calibrated::new(self, self.input())?;
        let first = self.widths.first().copied().unwrap_or(0);
        let mut x = net.convolution("stem.conv", NodeId::INPUT, first, 3, 1)?;
        x = net.batch_norm("stem.bn", x)?;
        x = net.activation("stem.act", x)?;
        for (stage, &width) in self.widths.iter().enumerate() {
            for block in 0..self.blocks {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let name = format!("l{}", stage * self.blocks + block);
                x = net.block(&name, x, width, stride)?;
            }
        }
        x = net.add("pool", Operator::AveragePool(Pool::Global), &[x])?;
        x = net.linear("fc", x)?;
        net.builder.finish(&self.name(), x)
    }
}

/// A VGG network (Simonyan and Zisserman) with quadratics, random weights and average pooling: stages of 3 x 3
/// convolutions, each with a batch norm, 2 x 2 pooling after every stage, one linear layer; in circular padding, where
/// rows are left, after global pooling.
#[derive(Clone, Debug)]
pub struct Vgg {
    /// Channels of the convolutions, stage by stage.
    pub stages: Vec<Vec<usize>>,
    /// Classes, images, padding, activation and seed; its other fields say nothing here.
    pub common: ResNet,
}

impl Vgg {
    /// VGG-16 as it is for CIFAR: 13 convolutions and one linear layer.
    #[must_use]
    pub fn vgg16(circular: bool) -> Self {
        let stages = vec![vec![64; 2], vec![128; 2], vec![256; 3], vec![512; 3], vec![512; 3]];
        Self { stages, common: ResNet { circular, ..ResNet::default() } }
    }

    /// Makes the network; the same description always gives the same one.
    ///
    /// # Errors
    /// [`GraphError`] where sizes are zero or too large, or a stage has no rows and columns left to pool.
    pub fn build(&self) -> Result<Graph, GraphError> {
        let mut net = Calibrated::new(&self.common, self.common.input())?;
        let mut x = NodeId::INPUT;
        for (stage, widths) in self.stages.iter().enumerate() {
            for (i, &width) in widths.iter().enumerate() {
                let name = |part: &str| format!("s{stage}.{part}{i}");
                x = net.convolution(&name("conv"), x, width, 3, 1)?;
                x = net.batch_norm(&name("bn"), x)?;
                x = net.activation(&name("act"), x)?;
            }
            x = net.add(&format!("s{stage}.pool"), Operator::AveragePool(Pool::Square(2)), &[x])?;
        }
        if self.common.circular {
            x = net.add("pool", Operator::AveragePool(Pool::Global), &[x])?;
        }
        x = net.linear("fc", x)?;
        let depth = self.stages.iter().map(Vec::len).sum::<usize>() + 3;
        net.builder.finish(&format!("VGG-{depth} random"), x)
    }
}

/// A graph under construction, evaluated on the calibration images as it grows.
struct Calibrated<'a> {
    spec: &'a ResNet,
    builder: GraphBuilder,
    padding: Padding,
    rng: ChaCha8Rng,
    /// `[node][image]`.
    values: Vec<Vec<Vec<f32>>>,
}

impl<'a> Calibrated<'a> {
    fn new(spec: &'a ResNet, input: ImageSpec) -> Result<Self, GraphError> {
        input.check()?;
        let padding = if spec.circular { Padding::circular(input.height, input.width) } else { Padding::Zero };
        let mut rng = ChaCha8Rng::seed_from_u64(spec.seed);
        let embedding = Embedding::of(padding, &input);
        let images = match input.normalisation {
            Normalisation::PerImage { .. } => {
                (0..CALIBRATION_IMAGES).map(|_| embedding.embed(&random_image(&input, &mut rng))).collect()
            }
            // Fixed statistics keep what images have in common and what they differ in.
            Normalisation::PerChannel { .. } => {
                let drawn = stand_ins(&input, CALIBRATION_IMAGES, rng.random::<u32>().into());
                drawn.iter().filter_map(|bytes| input.normalise(bytes).ok()).map(|x| embedding.embed(&x)).collect()
            }
        };
        Ok(Self { spec, builder: GraphBuilder::new(padding, input)?, padding, rng, values: vec![images] })
    }

    fn add(&mut self, name: &str, operator: Operator, inputs: &[NodeId]) -> Result<NodeId, GraphError> {
        let id = self.builder.add(name, operator.clone(), inputs)?;
        let shapes = inputs.first().and_then(|&i| self.builder.shape(i)).zip(self.builder.shape(id));
        let results = match (shapes, inputs) {
            (Some((input, output)), [first, rest @ ..]) => {
                let step = Step::new(&operator, self.padding, input, output);
                let other = rest.first().map(|r| &self.values[r.index()]);
                self.values[first.index()]
                    .par_iter()
                    .enumerate()
                    .map(|(image, x)| {
                        let other = other.map(|o| o[image].as_slice());
                        step.apply(Cow::Borrowed(x), other, &mut Vec::new())
                    })
                    .collect()
            }
            _ => Vec::new(),
        };
        self.values.push(results);
        Ok(id)
    }

    fn channels(&self, id: NodeId) -> usize {
        self.builder.shape(id).map_or(0, |shape| shape.channels())
    }

    fn block(&mut self, name: &str, x: NodeId, width: usize, stride: usize) -> Result<NodeId, GraphError> {
        let spec = self.spec;
        let mut y = self.convolution(&format!("{name}.conv1"), x, width, 3, stride)?;
        y = self.batch_norm(&format!("{name}.bn1"), y)?;
        y = self.activation(&format!("{name}.act1"), y)?;
        y = self.convolution(&format!("{name}.conv2"), y, width, 3, 1)?;
        if spec.norm == NormPlacement::BeforeSum {
            y = self.batch_norm(&format!("{name}.bn2"), y)?;
        }
        let identity = stride == 1 && self.channels(x) == width;
        let mut shortcut = x;
        if !identity || spec.shortcut == Shortcut::ProjectionEverywhere {
            shortcut = self.convolution(&format!("{name}.shortcut"), x, width, 1, stride)?;
            if spec.norm == NormPlacement::BeforeSum {
                shortcut = self.batch_norm(&format!("{name}.shortcut_bn"), shortcut)?;
            }
        }
        y = self.add(&format!("{name}.add"), Operator::Add, &[y, shortcut])?;
        if spec.norm == NormPlacement::AfterSum {
            y = self.batch_norm(&format!("{name}.bn2"), y)?;
        }
        self.activation(&format!("{name}.act2"), y)
    }

    fn convolution(
        &mut self,
        name: &str,
        x: NodeId,
        out_channels: usize,
        kernel: usize,
        stride: usize,
    ) -> Result<NodeId, GraphError> {
        let in_channels = self.channels(x);
        let std = (1.0 / (in_channels * kernel * kernel) as f64).sqrt();
        let shape = [out_channels, in_channels, kernel, kernel];
        let weight = self.normal(name, &shape, 0.0, std)?;
        let bias = match self.spec.bias {
            true => Some(self.normal(name, &[out_channels], 0.0, 0.1)?),
            false => None,
        };
        let convolution = Convolution { weight, bias, stride };
        self.add(name, Operator::Convolution(convolution), &[x])
    }

    /// Statistics as measured; the scale keeps the calibration images well inside [-2, 2].
    ///
    /// A quadratic network feeds each image's own scale back, squared at every layer, so that an image which stands out
    /// here would escape many layers later: hence the bound on the largest value and not only on the deviation.
    fn batch_norm(&mut self, name: &str, x: NodeId) -> Result<NodeId, GraphError> {
        let channels = self.channels(x);
        let (mut scale, mut mean, mut variance) = (Vec::new(), Vec::new(), Vec::new());
        for channel in 0..channels {
            let samples = || {
                self.values[x.index()].iter().flat_map(|image| {
                    let positions = image.len() / channels;
                    &image[channel * positions..(channel + 1) * positions]
                })
            };
            let n = samples().count().max(1) as f64;
            let m = samples().map(|&v| f64::from(v)).sum::<f64>() / n;
            let v = samples().map(|&v| (f64::from(v) - m).powi(2)).sum::<f64>() / n;
            let peak = samples().fold(0.0, |peak, &v| (f64::from(v) - m).abs().max(peak));
            let deviations = peak / v.sqrt().max(f64::MIN_POSITIVE);
            scale.push((TYPICAL.min(LARGEST / deviations.max(1.0)) * self.rng.random_range(0.8..1.0)) as f32);
            mean.push(m as f32);
            variance.push(v as f32);
        }
        let norm = BatchNorm {
            scale: Tensor::new(name, [channels], scale)?,
            shift: self.normal(name, &[channels], 0.0, 0.1)?,
            mean: Tensor::new(name, [channels], mean)?,
            variance: Tensor::new(name, [channels], variance)?,
            epsilon: 1e-5,
        };
        self.add(name, Operator::BatchNorm(norm), &[x])
    }

    fn activation(&mut self, name: &str, x: NodeId) -> Result<NodeId, GraphError> {
        let polynomial = match self.spec.activation {
            Activation::Shared => Polynomial::Shared(RELU_QUADRATIC),
            // Rounded to f32, so that a saved network is the same one.
            Activation::PerChannel => Polynomial::PerChannel(
                (0..self.channels(x))
                    .map(|_| {
                        let rng = &mut self.rng;
                        [(0.0, 0.25), (0.3, 0.6), (0.15, 0.3)]
                            .map(|(low, high)| f64::from(rng.random_range(low..high) as f32))
                    })
                    .collect(),
            ),
        };
        self.add(name, Operator::Polynomial(polynomial), &[x])
    }

    fn linear(&mut self, name: &str, x: NodeId) -> Result<NodeId, GraphError> {
        let features = self.builder.shape(x).map_or(0, |shape| shape.len());
        let classes = self.spec.classes;
        let std = (4.0 / features.max(1) as f64).sqrt();
        let linear = Linear {
            weight: self.normal(name, &[classes, features], 0.0, std)?,
            bias: Some(self.normal(name, &[classes], 0.0, 0.1)?),
        };
        self.add(name, Operator::Linear(linear), &[x])
    }

    fn normal(&mut self, name: &str, shape: &[usize], mean: f64, std: f64) -> Result<Tensor, GraphError> {
        let length = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let Some(length) = length.filter(|&n| n <= 1 << 28) else {
            return Err(GraphError::Invalid {
                what: format!("weights of {name}"),
                found: format!("{shape:?}"),
                expected: "at most 2^28 values".into(),
            });
        };
        let values = (0..length).map(|_| (mean + std * gaussian(&mut self.rng)) as f32);
        Tensor::new(name, shape, values.collect())
    }
}

/// A normalised random image `[C, H, W]`: neighbouring pixels are alike, as in photographs; mean 0, variance 1.
pub fn random_image(input: &ImageSpec, rng: &mut impl rand::Rng) -> Vec<f32> {
    let (h, w) = (input.height, input.width);
    let noise: Vec<f64> = (0..input.len()).map(|_| gaussian(rng)).collect();
    let smooth: Vec<f64> = (0..input.len())
        .map(|i| {
            let (plane, row, column) = (i / (h * w) * h * w, i / w % h, i % w);
            // Half common to the channels, a 3 x 3 box of its own, some grain.
            let around = |base: usize| -> f64 {
                (0..9).map(|t| noise[base + (row + t / 3) % h * w + (column + t % 3) % w]).sum()
            };
            around(0) + around(plane) + noise[i]
        })
        .collect();
    let n = smooth.len() as f64;
    let mean = smooth.iter().sum::<f64>() / n;
    let std = (smooth.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
    let std = std.max(f64::MIN_POSITIVE);
    smooth.iter().map(|v| ((v - mean) / std) as f32).collect()
}

/// A standard normal number (Box and Muller).
pub(crate) fn gaussian(rng: &mut impl rand::Rng) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reference;

    #[test]
    fn sizes_are_those_of_the_named_networks() -> Result<(), GraphError> {
        let r20 = ResNet::cifar(20, 16).build()?;
        let convolutions = r20.nodes().iter().filter(|n| n.operator().name() == "convolution");
        assert_eq!(convolutions.count(), 19 + 2);
        // 41 M multiply-accumulates in zero padding; circular padding keeps rows, so that later stages are wider.
        let zero_padded = ResNet { circular: false, ..ResNet::cifar(20, 16) }.build()?;
        assert_eq!(zero_padded.multiply_accumulates() / 1_000_000, 40);
        assert_eq!(r20.classes().len(), 10);
        assert_eq!(r20, ResNet::cifar(20, 16).build()?);
        Ok(())
    }

    #[test]
    fn activations_stay_in_range() -> Result<(), GraphError> {
        for circular in [true, false] {
            for (norm, bias) in [(NormPlacement::AfterSum, false), (NormPlacement::BeforeSum, true)] {
                let spec = ResNet {
                    circular,
                    norm,
                    bias,
                    activation: Activation::PerChannel,
                    widths: vec![4, 8, 16],
                    height: 16,
                    width: 16,
                    ..ResNet::default()
                };
                let graph = spec.build()?;
                let mut rng = ChaCha8Rng::seed_from_u64(99);
                let (mut outside, mut all) = (0, 0);
                for _ in 0..10 {
                    let image = random_image(graph.input(), &mut rng);
                    let (logits, activations) = Reference::<f64>::new(&graph).activations(&image)?;
                    assert!(logits.iter().all(|l| l.abs() < 50.0), "{logits:?}");
                    for v in activations.values().flatten() {
                        assert!(v.abs() < 3.0, "{spec:?}: {v}");
                        outside += usize::from(v.abs() > 2.0);
                        all += 1;
                    }
                }
                assert!(outside * 1000 < all, "{spec:?}: {outside} of {all} outside");
            }
        }
        Ok(())
    }

    #[test]
    fn vgg_16_has_its_size() -> Result<(), GraphError> {
        // 313 M multiply-accumulates on 32 x 32 pixels, 14.7 M weights.
        let graph = Vgg::vgg16(false).build()?;
        assert_eq!(graph.name(), "VGG-16 random");
        assert_eq!(graph.multiply_accumulates() / 1_000_000, 313);
        let all = |op: &str| graph.nodes().iter().filter(|n| n.operator().name() == op).count();
        assert_eq!((all("convolution"), all("average_pool"), all("linear")), (13, 5, 1));
        let small = Vgg { common: ResNet { height: 16, ..Vgg::vgg16(false).common }, ..Vgg::vgg16(false) };
        assert!(small.build().is_err(), "five poolings need 32 rows");
        Ok(())
    }

    #[test]
    fn impossible_sizes_are_errors() {
        let tests = [
            ResNet { widths: vec![], ..ResNet::default() },
            ResNet { widths: vec![4; 12], height: 4, width: 4, ..ResNet::default() },
            ResNet { widths: vec![1 << 40], ..ResNet::default() },
            ResNet { height: 0, ..ResNet::default() },
            ResNet { classes: 0, ..ResNet::default() },
            ResNet { width: usize::MAX, ..ResNet::default() },
        ];
        for spec in tests {
            assert!(spec.build().is_err(), "{spec:?}");
        }
    }
}
