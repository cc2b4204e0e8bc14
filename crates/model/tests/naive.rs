//! The reference forward against the formulas written out, index by index.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use umbra_model::{
    Convolution, GraphBuilder, GraphError, ImageSpec, Linear, NodeId, Normalisation, Operator, Padding, Pool,
    Reference, Shape, Tensor,
};

fn tensor(shape: &[usize], rng: &mut ChaCha8Rng) -> Tensor {
    let values = (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0));
    Tensor::new("random", shape, values.collect()).expect("a tensor")
}

fn input(channels: usize, height: usize, width: usize) -> ImageSpec {
    let normalisation = Normalisation::PerImage { min_std: 0.05 };
    ImageSpec { channels, height, width, normalisation, clip: None }
}

/// `y[p, co] = bias[co] + sum_{t, ci} K[co, ci, t] x[stride p + t mod P, ci]`, `t = pitch dr + dc`.
fn circular(c: &Convolution, pitch: usize, positions: usize, x: &[f64]) -> Vec<f64> {
    let (k, stride) = (c.kernel() as i64, c.stride);
    let mut y = Vec::new();
    for co in 0..c.out_channels() {
        for p in 0..positions / stride {
            let mut sum = c.bias.as_ref().map_or(0.0, |b| f64::from(b.values()[co]));
            for ci in 0..c.in_channels() {
                for tap in 0..k * k {
                    let t = pitch as i64 * (tap / k - k / 2) + tap % k - k / 2;
                    let q = ((stride * p) as i64 + t).rem_euclid(positions as i64) as usize;
                    let weight = c.weight.values()[((co * c.in_channels() + ci) as i64 * k * k + tap) as usize];
                    sum += f64::from(weight) * x[ci * positions + q];
                }
            }
            y.push(sum);
        }
    }
    y
}

/// Zero padding of `k / 2`.
fn zero_padded(c: &Convolution, height: usize, width: usize, x: &[f64]) -> Vec<f64> {
    let (k, stride) = (c.kernel() as i64, c.stride as i64);
    let (h, w) = (height as i64, width as i64);
    let mut y = Vec::new();
    for co in 0..c.out_channels() {
        for row in 0..(h + stride - 1) / stride {
            for column in 0..(w + stride - 1) / stride {
                let mut sum = c.bias.as_ref().map_or(0.0, |b| f64::from(b.values()[co]));
                for ci in 0..c.in_channels() {
                    for tap in 0..k * k {
                        let (r, q) = (stride * row + tap / k - k / 2, stride * column + tap % k - k / 2);
                        if (0..h).contains(&r) && (0..w).contains(&q) {
                            let weight = c.weight.values()[((co * c.in_channels() + ci) as i64 * k * k + tap) as usize];
                            sum += f64::from(weight) * x[ci * height * width + (r * w + q) as usize];
                        }
                    }
                }
                y.push(sum);
            }
        }
    }
    y
}

#[test]
fn convolutions_are_the_sums_they_stand_for() -> Result<(), GraphError> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for case in 0..200 {
        let (channels, out) = (rng.random_range(1..4), rng.random_range(1..5));
        let (height, width) = (rng.random_range(1..9), rng.random_range(2..9));
        let kernel = [1, 3, 5][rng.random_range(0..3)];
        let stride = rng.random_range(1..3);
        let convolution = Convolution {
            weight: tensor(&[out, channels, kernel, kernel], &mut rng),
            bias: rng.random::<bool>().then(|| tensor(&[out], &mut rng)),
            stride,
        };
        let padding = match rng.random() {
            true => Padding::circular(height, width),
            false => Padding::Zero,
        };
        let mut builder = GraphBuilder::new(padding, input(channels, height, width))?;
        let y = builder.add("conv", Operator::Convolution(convolution.clone()), &[NodeId::INPUT])?;
        let features = builder.shape(y).map_or(0, Shape::len);
        // The identity as a linear layer, to see every value.
        let mut identity = vec![0.0; features * features];
        identity.iter_mut().step_by(features + 1).for_each(|v| *v = 1.0);
        let weight = Tensor::new("identity", [features, features], identity)?;
        let y = builder.add("fc", Operator::Linear(Linear { weight, bias: None }), &[y])?;
        let graph = builder.finish("case", y)?;

        let image: Vec<f32> = (0..channels * height * width).map(|_| rng.random_range(-1.0..1.0)).collect();
        let expected = match padding {
            Padding::Circular { pitch, positions } => {
                let mut x = vec![0.0; channels * positions];
                for (i, v) in image.iter().enumerate() {
                    let (plane, row, column) = (i / (height * width), i / width % height, i % width);
                    x[plane * positions + row * pitch + column] = f64::from(*v);
                }
                circular(&convolution, pitch, positions, &x)
            }
            Padding::Zero => {
                let x: Vec<f64> = image.iter().map(|v| f64::from(*v)).collect();
                zero_padded(&convolution, height, width, &x)
            }
        };
        let found = Reference::<f64>::new(&graph).forward(&image)?;
        assert_eq!(found.len(), expected.len(), "case {case}: {padding:?} {stride}");
        for (f, e) in found.iter().zip(&expected) {
            assert!((f - e).abs() < 1e-12, "case {case}: {padding:?}, stride {stride}: {f} {e}");
        }
        let single = Reference::<f32>::new(&graph).forward(&image)?;
        for (f, e) in single.iter().zip(&expected) {
            assert!((f64::from(*f) - e).abs() < 1e-4);
        }
    }
    Ok(())
}

#[test]
fn pools_are_means() -> Result<(), GraphError> {
    let image: Vec<f32> = (0..2 * 4 * 6).map(|v| v as f32).collect();
    let mut builder = GraphBuilder::new(Padding::Zero, input(2, 4, 6))?;
    let x = builder.add("square", Operator::AveragePool(Pool::Square(2)), &[NodeId::INPUT])?;
    assert_eq!(builder.shape(x), Some(Shape::Planar { channels: 2, height: 2, width: 3 }));
    let weight = Tensor::new(
        "sum of the second square of each row",
        [1, 12],
        vec![0., 1., 0., 0., 1., 0., 0., 1., 0., 0., 1., 0.],
    )?;
    let x = builder.add("fc", Operator::Linear(Linear { weight, bias: None }), &[x])?;
    let found = Reference::<f64>::new(&builder.finish("squares", x)?).forward(&image)?;
    // Columns 2 and 3: 2.5 + rows 0, 1: 3 -> 5.5; rows 2, 3: 17.5; the second channel is 24 more.
    assert_eq!(found, [5.5 + 17.5 + 29.5 + 41.5]);

    // Cyclic: 4 x 6 becomes 4 x 8, and the padding counts.
    let mut builder = GraphBuilder::new(Padding::circular(4, 6), input(2, 4, 6))?;
    let x = builder.add("pool", Operator::AveragePool(Pool::Global), &[NodeId::INPUT])?;
    let found = Reference::<f64>::new(&builder.finish("global", x)?).forward(&image)?;
    assert_eq!(found, [11.5 * 24.0 / 32.0, 35.5 * 24.0 / 32.0]);

    // Squares on the ring, twice: 32 positions become 16, then 8.
    let plane: Vec<f32> = image[..32].to_vec();
    let mut builder = GraphBuilder::new(Padding::circular(4, 8), input(1, 4, 8))?;
    let mut x = NodeId::INPUT;
    let mut expected: Vec<f64> = plane.iter().map(|v| f64::from(*v)).collect();
    for (name, left) in [("first", 16), ("second", 8)] {
        x = builder.add(name, Operator::AveragePool(Pool::Square(2)), &[x])?;
        assert_eq!(builder.shape(x), Some(Shape::Ring { channels: 1, positions: left }));
        let square = |p: usize| (0..4).map(|i| expected[(2 * p + 8 * (i / 2) + i % 2) % (2 * left)]).sum::<f64>() / 4.0;
        expected = (0..left).map(square).collect();
    }
    let last = builder.add("pool", Operator::AveragePool(Pool::Global), &[x])?;
    let mut found = Vec::new();
    let reference = Reference::<f64>::new(&builder.finish("ring", last)?);
    let mean = reference.forward_observed(&plane, |id, values| {
        if id == x {
            found = values.to_vec()
        }
    })?;
    assert_eq!((found, mean), (expected, vec![15.5]));

    // Other squares there are none, nor is there half of a position.
    let mut builder = GraphBuilder::new(Padding::circular(1, 2), input(1, 1, 2))?;
    assert!(builder.add("four", Operator::AveragePool(Pool::Square(4)), &[NodeId::INPUT]).is_err());
    let x = builder.add("two", Operator::AveragePool(Pool::Square(2)), &[NodeId::INPUT])?;
    assert!(builder.add("half", Operator::AveragePool(Pool::Square(2)), &[x]).is_err());
    Ok(())
}

#[test]
fn sums_reuse_no_buffer_that_is_still_read() -> Result<(), GraphError> {
    let mut builder = GraphBuilder::new(Padding::circular(1, 2), input(1, 1, 2))?;
    let twice = builder.add("twice", Operator::Add, &[NodeId::INPUT, NodeId::INPUT])?;
    let thrice = builder.add("thrice", Operator::Add, &[twice, NodeId::INPUT])?;
    let five = builder.add("five", Operator::Add, &[thrice, twice])?;
    let x = builder.add("pool", Operator::AveragePool(Pool::Global), &[five])?;
    let found = Reference::<f64>::new(&builder.finish("sums", x)?).forward(&[1.0, 3.0])?;
    assert_eq!(found, [10.0]);
    Ok(())
}
