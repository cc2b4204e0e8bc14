//! Predicted errors against measured ones, on random networks.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use umbra_compiler::{CompileOptions, PackingChoice};
use umbra_image::{Image, ImageSpec, Normalisation};
use umbra_model::zoo::{RELU_QUADRATIC, ResNet, Vgg};
use umbra_model::{
    Convolution, Graph, GraphBuilder, GraphError, Linear, NodeId, Operator, Padding, Polynomial, Pool, Tensor,
};

use crate::data::LabelledImages;
use crate::evaluate::{Mode, evaluate};
use crate::progress::Watch;
use crate::{Network, Session, UmbraError, samples};

/// Images that errors are measured on.
const IMAGES: usize = 16;
/// Samples of the networks that bring some.
const SAMPLES: usize = 16;

/// A random network, and the images that its errors are measured on.
#[derive(Clone, Debug)]
pub struct Case {
    /// The network.
    pub graph: Graph,
    /// How it is packed.
    pub packing: PackingChoice,
    /// Parts of the photographs that ship, normalised.
    pub images: Vec<Vec<f32>>,
}

/// What was predicted of a case, and what was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What the network is.
    pub network: String,
    /// Channels, rows and columns of its images.
    pub image: [usize; 3],
    /// Their normalisation.
    pub normalisation: String,
    /// Its padding.
    pub padding: &'static str,
    /// The packing.
    pub packing: &'static str,
    /// Samples that it brings.
    pub samples: usize,
    /// Base-2 logarithm of the ring degree.
    pub log_n: u32,
    /// Images that the error was measured on.
    pub images: usize,
    /// Whether it was measured encrypted; simulated otherwise.
    pub encrypted: bool,
    /// Predicted error of a logit, root mean square.
    pub predicted: f64,
    /// The measured one.
    pub measured: f64,
    /// Measured over predicted.
    pub ratio: f64,
}

impl Row {
    /// Measured over predicted of a prediction that holds.
    pub const BOUNDS: [f64; 2] = [0.5, 1.5];

    /// Whether the prediction holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        (Self::BOUNDS[0]..=Self::BOUNDS[1]).contains(&self.ratio)
    }
}

impl Case {
    /// A random one: any normalisation, padding, size and depth, with samples or without, in any packing.
    ///
    /// # Errors
    /// None but for defects.
    pub fn random(seed: u64) -> Result<Self, UmbraError> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let input = random_input(&mut rng);
        let circular = rng.random();
        let graph = random_network(&input, circular, &mut rng)?;
        let packing = if circular && rng.random() { PackingChoice::Multiplexed } else { PackingChoice::Channel };
        let photographs = Photographs::load(&input)?;
        let graph = match rng.random() {
            true => graph.with_samples((0..SAMPLES).map(|i| photographs.part(i, &mut rng)).collect())?,
            false => graph,
        };
        let images = (0..IMAGES).map(|i| input.normalise(&photographs.part(i, &mut rng)));
        Ok(Self { graph, packing, images: images.collect::<Result<_, _>>()? })
    }

    /// Compiles, and measures the error of the logits.
    ///
    /// # Errors
    /// Those of compilation and evaluation; [`UmbraError::is_cancelled`] where `watch` stopped it.
    pub fn measure(&self, encrypted: bool, watch: Watch<'_>) -> Result<Row, UmbraError> {
        let network = Network::Graph(Box::new(self.graph.clone()));
        let options = CompileOptions { packing: self.packing, ..CompileOptions::default() };
        let program = network.program(&options, &[])?;
        let images = LabelledImages { values: self.images.clone(), labels: vec![0; self.images.len()] };
        let graphs = std::slice::from_ref(&self.graph);
        let report = if encrypted {
            evaluate(Mode::Encrypted(&Session::new(&program, watch)?), graphs, &images, watch)?
        } else {
            evaluate(Mode::Simulated(&program), graphs, &images, watch)?
        };
        // An image whose result is refused has no error: the prediction does not hold.
        let measured = if report.refused == 0 { report.rms_logit_error.unwrap_or(0.0) } else { f64::INFINITY };
        let predicted = program.program().report.logit_error_std;
        let input = self.graph.input();
        Ok(Row {
            network: self.graph.name().trim_end_matches(" random").into(),
            image: [input.channels, input.height, input.width],
            normalisation: describe(&input.normalisation),
            padding: self.graph.padding().name(),
            packing: self.packing.name(),
            samples: self.graph.description().samples.len(),
            log_n: program.client().spec().parameters.log_n,
            images: self.images.len(),
            encrypted,
            predicted,
            measured,
            ratio: measured / predicted,
        })
    }
}

fn describe(normalisation: &Normalisation) -> String {
    match normalisation {
        Normalisation::PerImage { .. } => "per image".into(),
        Normalisation::PerChannel { mean, std } => format!("(x - {:.3}) / {:.3}", mean[0], std[0]),
    }
}

fn random_input(rng: &mut ChaCha8Rng) -> ImageSpec {
    let channels = if rng.random_range(0..4) == 0 { 1 } else { 3 };
    let side = [8, 12, 16, 24, 32][rng.random_range(0..5)];
    // Two poolings halve both sides.
    let width = if rng.random_range(0..3) == 0 && side % 8 == 0 { side / 2 } else { side };
    let fixed = |mean: [f64; 3], std: [f64; 3]| Normalisation::PerChannel {
        mean: mean[..channels].to_vec(),
        std: std[..channels].to_vec(),
    };
    let normalisation = match rng.random_range(0..7) {
        0 => Normalisation::PerImage { min_std: 0.05 },
        1 => fixed([0.0; 3], [1.0; 3]),
        2 => fixed([0.5; 3], [0.5; 3]),
        3 => fixed([0.5; 3], [0.25; 3]),
        4 => fixed([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        5 => fixed([1.0; 3], [0.5; 3]),
        // Bytes as they are.
        _ => fixed([0.0; 3], [1.0 / 255.0; 3]),
    };
    ImageSpec { channels, height: side, width, normalisation, clip: None }
}

fn random_network(input: &ImageSpec, circular: bool, rng: &mut ChaCha8Rng) -> Result<Graph, GraphError> {
    let common = ResNet {
        channels: input.channels,
        height: input.height,
        width: input.width,
        circular,
        normalisation: input.normalisation.clone(),
        classes: rng.random_range(2..13),
        bias: rng.random(),
        seed: rng.random(),
        ..ResNet::default()
    };
    let width = rng.random_range(3..9);
    match rng.random_range(0..5) {
        0 => plain(input, circular, 0, width, rng),
        1 => {
            let depth = rng.random_range(1..4);
            plain(input, circular, depth, width, rng)
        }
        2 => Vgg { stages: vec![vec![width; rng.random_range(1..3)], vec![2 * width]], common }.build(),
        _ => {
            let widths = vec![width, 2 * width];
            ResNet { widths, blocks: rng.random_range(1..4), ..common }.build()
        }
    }
}

/// So many convolutions without batch norms, each with a quadratic; the mean; a linear layer.
fn plain(
    input: &ImageSpec,
    circular: bool,
    depth: usize,
    width: usize,
    rng: &mut ChaCha8Rng,
) -> Result<Graph, GraphError> {
    let padding = if circular { Padding::circular(input.height, input.width) } else { Padding::Zero };
    let mut builder = GraphBuilder::new(padding, input.clone())?;
    // Weights are as small as inputs are large, which may be bytes as they are.
    let size: f64 = match &input.normalisation {
        Normalisation::PerImage { .. } => 1.0,
        Normalisation::PerChannel { mean, std } => {
            mean.iter().zip(std).map(|(mean, std)| (0.7 - mean).abs().max(0.3) / std).fold(0.0, f64::max)
        }
    };
    let mut tensor = |shape: &[usize], deviation: f64| {
        let count = shape.iter().product();
        // Uniform numbers of this deviation.
        let mut value = || rng.random_range(-1.0..1.0) * deviation * 3f64.sqrt();
        Tensor::new("random", shape.to_vec(), (0..count).map(|_| value() as f32).collect())
    };
    let (mut x, mut channels, mut size) = (NodeId::INPUT, input.channels, size);
    for layer in 0..depth {
        let deviation = 0.7 / (size * (9.0 * channels as f64).sqrt());
        let convolution = Convolution {
            weight: tensor(&[width, channels, 3, 3], deviation)?,
            bias: Some(tensor(&[width], 0.1)?),
            stride: 1,
        };
        x = builder.add(&format!("conv{layer}"), Operator::Convolution(convolution), &[x])?;
        let square = Operator::Polynomial(Polynomial::Shared(RELU_QUADRATIC));
        x = builder.add(&format!("act{layer}"), square, &[x])?;
        (channels, size) = (width, 1.0);
    }
    x = builder.add("pool", Operator::AveragePool(Pool::Global), &[x])?;
    let deviation = 2.0 / (size * (channels as f64).sqrt());
    let linear = Linear { weight: tensor(&[5, channels], deviation)?, bias: Some(tensor(&[5], 0.1)?) };
    x = builder.add("fc", Operator::Linear(linear), &[x])?;
    builder.finish(&format!("plain{depth}-{width}"), x)
}

/// The photographs that ship.
struct Photographs {
    input: ImageSpec,
    images: Vec<Image>,
}

impl Photographs {
    /// Side in pixels, as they ship.
    const SIDE: usize = 32;

    fn load(input: &ImageSpec) -> Result<Self, UmbraError> {
        let whole = ImageSpec { height: Self::SIDE, width: Self::SIDE, ..input.clone() };
        let images = samples::names().into_iter().map(|name| samples::sample(name, &whole));
        Ok(Self { input: input.clone(), images: images.collect::<Result<_, _>>()? })
    }

    /// A part of one of them, two thirds of its sides or more, perhaps mirrored, in the size of the input: bytes
    /// `[C, H, W]`.
    fn part(&self, index: usize, rng: &mut ChaCha8Rng) -> Vec<u8> {
        let ImageSpec { channels, height, width, .. } = self.input;
        let bytes = self.images[index % self.images.len()].bytes();
        let side = Self::SIDE as f64 - 1.0;
        let extent = rng.random_range(0.66..1.0) * side;
        let (top, left) = (rng.random_range(0.0..=side - extent), rng.random_range(0.0..=side - extent));
        let mirrored: bool = rng.random();
        let along = |at: usize, count: usize| extent * at as f64 / (count - 1).max(1) as f64;
        let pixel = |plane: &[u8], row: usize, column: usize| {
            let column = if mirrored { width - 1 - column } else { column };
            let (y, x) = (top + along(row, height), left + along(column, width));
            let at = |y: f64, x: f64| f64::from(plane[y.min(side) as usize * Self::SIDE + x.min(side) as usize]);
            let (fy, fx) = (y.fract(), x.fract());
            let of_row = |y: f64| at(y, x) * (1.0 - fx) + at(y, x + 1.0) * fx;
            (of_row(y) * (1.0 - fy) + of_row(y + 1.0) * fy).round() as u8
        };
        let planes = bytes.chunks_exact(Self::SIDE * Self::SIDE).take(channels);
        let all = planes.flat_map(|plane| (0..height * width).map(move |p| (plane, p / width, p % width)));
        all.map(|(plane, row, column)| pixel(plane, row, column)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::unwatched;

    /// A network without samples, and photographs.
    fn case(input: &ImageSpec, circular: bool, depth: usize, packing: PackingChoice, seed: u64) -> Case {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let graph = plain(input, circular, depth, 4, &mut rng).unwrap();
        let photographs = Photographs::load(input).unwrap();
        let images = (0..IMAGES).map(|i| input.normalise(&photographs.part(i, &mut rng)).unwrap());
        Case { graph, packing, images: images.collect() }
    }

    fn fixed(mean: f64, std: f64) -> ImageSpec {
        let normalisation = Normalisation::PerChannel { mean: vec![mean; 3], std: vec![std; 3] };
        ImageSpec { channels: 3, height: 32, width: 32, normalisation, clip: None }
    }

    fn holds(case: &Case, encrypted: bool) -> Row {
        let row = case.measure(encrypted, &mut unwatched).unwrap();
        assert!(row.holds(), "{row:?}");
        row
    }

    /// Inputs that are not centred: a mean and a linear layer.
    #[test]
    fn predictions_hold_for_means_of_raw_images() {
        for (seed, packing) in [(1, PackingChoice::Multiplexed), (2, PackingChoice::Channel)] {
            let row = holds(&case(&fixed(0.0, 1.0), true, 0, packing, seed), true);
            assert!(row.encrypted && row.samples == 0 && row.measured > 0.0, "{row:?}");
        }
    }

    /// Two convolutions, as many squares.
    #[test]
    fn predictions_hold_for_small_networks_without_samples() {
        for (seed, packing) in [(3, PackingChoice::Multiplexed), (4, PackingChoice::Channel)] {
            holds(&case(&fixed(0.5, 0.25), true, 2, packing, seed), true);
        }
    }

    /// The same with zero padding, where errors differ from position to position.
    #[test]
    fn predictions_hold_with_zero_padding() {
        holds(&case(&fixed(0.5, 0.25), false, 2, PackingChoice::Channel, 5), true);
    }

    /// Random networks, simulated; `umbra bench predictions` encrypts.
    #[test]
    fn predictions_hold_for_random_networks() {
        for seed in [0, 3, 5, 9, 12, 15, 21, 24] {
            holds(&Case::random(seed).unwrap(), false);
        }
    }

    #[test]
    fn cases_differ_in_all_ways() {
        let cases: Vec<Case> = (0..40).map(|seed| Case::random(seed).unwrap()).collect();
        let both = |of: &dyn Fn(&Case) -> bool| {
            let count = cases.iter().filter(|case| of(case)).count();
            assert!((5..=35).contains(&count), "{count}");
        };
        both(&|case| case.graph.description().samples.is_empty());
        both(&|case| case.graph.padding() == Padding::Zero);
        both(&|case| case.packing == PackingChoice::Multiplexed);
        both(&|case| case.graph.input().channels == 1);
        both(&|case| matches!(case.graph.input().normalisation, Normalisation::PerImage { .. }));
        both(&|case| case.graph.nodes().len() > 8);
        assert!(cases.iter().all(|case| case.images.len() == IMAGES));
        assert_eq!(Case::random(7).unwrap().images, cases[7].images);
    }
}
