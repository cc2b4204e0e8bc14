//! Random small networks of many shapes: what their programs compute on slots is what the networks compute.

mod common;

use std::collections::BTreeSet;

use common::{Mode, exact, logits, run, vectors};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use umbra_compiler::{Average, CompileError, CompileOptions, PackingChoice, Pass, compile, compile_ensemble};
use umbra_model::zoo::{Activation, NormPlacement, ResNet, Shortcut, Vgg, random_image};
use umbra_model::{
    Convolution, Graph, GraphBuilder, ImageSpec, Linear, NodeId, Normalisation, Operator, Padding, Polynomial, Pool,
    Reference, Tensor, stand_ins,
};
use umbra_program::{Operation, Program};

fn options(without: &[Pass]) -> CompileOptions {
    CompileOptions {
        without: without.iter().copied().collect::<BTreeSet<_>>(),
        logit_error: Some(0.05),
        ..CompileOptions::default()
    }
}

/// Compiles, checks, and compares with the reference on an image.
fn agree(graph: &Graph, options: &CompileOptions) -> Program {
    let program = compile(graph, options).unwrap_or_else(|e| panic!("{}: {e}", graph.name()));
    program.check().unwrap();
    assert!(program.report.log_qp <= f64::from(program.report.log_qp_limit));
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let image = random_image(graph.input(), &mut rng);
    let plain = Reference::<f64>::new(graph).forward(&image).unwrap();
    let uncorrected = compile(graph, &exact(options)).unwrap();
    let (found, rest) = logits(&uncorrected, &run(&uncorrected, &image, Mode::Exact));
    for (a, b) in plain.iter().zip(&found) {
        assert!((a - b).abs() < 1e-4, "{} without {:?}: {plain:?} {found:?}", graph.name(), options.without);
    }
    assert!(rest < 1e-6, "{rest}");
    program
}

fn tiny() -> ResNet {
    ResNet { widths: vec![4, 8], blocks: 1, height: 8, width: 8, classes: 5, ..ResNet::default() }
}

#[test]
fn shapes() {
    let networks = [
        tiny(),
        ResNet { activation: Activation::PerChannel, norm: NormPlacement::BeforeSum, bias: true, seed: 2, ..tiny() },
        ResNet { shortcut: Shortcut::ProjectionEverywhere, seed: 3, ..tiny() },
        // Padded images, gray, more classes than channels.
        ResNet { height: 7, width: 12, channels: 1, classes: 20, seed: 4, ..tiny() },
        // Three stages, odd widths.
        ResNet { widths: vec![3, 7, 9], height: 16, width: 8, seed: 5, ..tiny() },
        // Few positions, so that taps meet on the ring.
        ResNet { height: 2, width: 2, seed: 6, ..tiny() },
    ];
    for network in networks {
        agree(&network.build().unwrap(), &options(&[]));
    }
}

#[test]
fn several_ciphertexts() {
    // 4 channels a ciphertext at N = 2^13 and 1,024 positions.
    let network = ResNet { widths: vec![10, 18], blocks: 1, height: 32, width: 32, classes: 30, seed: 7, ..tiny() };
    let program = agree(&network.build().unwrap(), &CompileOptions { logit_error: Some(1.0), ..options(&[]) });
    let widest = program.states().iter().flatten().flatten().map(|s| s.ciphertexts).max();
    assert!(widest >= Some(2), "{widest:?}");
}

#[test]
fn every_pass_may_be_switched_off_and_is_worth_something() {
    let graph = ResNet { activation: Activation::PerChannel, bias: true, seed: 8, ..tiny() }.build().unwrap();
    // Of drawn images means are not counted on, and correction is worth less.
    let samples = stand_ins(graph.input(), 16, 1);
    let graph = graph.with_samples(samples).unwrap();
    let full = agree(&graph, &options(&[]));
    let levels = |p: &Program| p.client.parameters.levels.len();
    for pass in Pass::ALL {
        let program = agree(&graph, &options(&[pass]));
        assert_eq!(program.report.without, [pass.name()]);
        match pass {
            Pass::Fuse | Pass::TowerReuse => assert!(levels(&program) > levels(&full), "{pass}"),
            Pass::Redistribute => {
                assert!(levels(&program) > levels(&full), "{pass}");
                assert!(program.report.seconds > full.report.seconds);
            }
            Pass::Bsgs => assert!(program.key_set().len() > 2 * full.key_set().len(), "{pass}"),
            Pass::ComplexGiants => {
                let pairs = |p: &Program| {
                    let linear = p.steps.iter().filter_map(|s| match &s.operation {
                        Operation::Linear(linear) => Some(linear),
                        _ => None,
                    });
                    linear.filter(|l| l.plan.imaginary_steps.is_some()).count()
                };
                assert!(pairs(&program) == 0 && pairs(&full) > 3, "{}", pairs(&full));
                assert!(program.report.seconds > full.report.seconds);
            }
            Pass::InputExpansion => {
                let colours = |p: &Program| p.client.input.ciphertexts.iter().flatten().flatten().count();
                assert!(colours(&program) == 3 && colours(&full) == 9);
            }
            Pass::BiasCorrection => assert!(program.report.log_qp > full.report.log_qp + 1.0, "{pass}"),
            _ => panic!("a pass without test"),
        }
    }
    agree(&graph, &options(&Pass::ALL));
}

fn tensor(shape: &[usize], seed: u64) -> Tensor {
    let count: usize = shape.iter().product();
    let value = |i: usize| ((i as u64 * 2654435761 + seed * 97) % 1000) as f32 / 1000.0 - 0.5;
    Tensor::new("t", shape.to_vec(), (0..count).map(|i| value(i) * 0.4).collect()).unwrap()
}

fn small_input() -> (Padding, ImageSpec) {
    let normalisation = Normalisation::PerChannel { mean: vec![0.5; 2], std: vec![0.25; 2] };
    (Padding::circular(4, 8), ImageSpec { channels: 2, height: 4, width: 8, normalisation, clip: None })
}

fn convolution(outputs: usize, inputs: usize, kernel: usize, stride: usize, seed: u64) -> Operator {
    let weight = tensor(&[outputs, inputs, kernel, kernel], seed);
    Operator::Convolution(Convolution { weight, bias: Some(tensor(&[outputs], seed + 1)), stride })
}

#[test]
fn unusual_graphs() {
    let square = || Operator::Polynomial(Polynomial::Shared([0.1, 0.5, 0.25]));
    // A quadratic of the image, one of a quadratic, two of one value, a value added to itself, a negative
    // coefficient, no activation before the pool, a hidden linear layer behind it, pooling as the last node.
    let (padding, input) = small_input();
    let mut b = GraphBuilder::new(padding, input).unwrap();
    let x = b.add("input square", square(), &[NodeId::INPUT]).unwrap();
    let x = b.add("conv", convolution(6, 2, 5, 1, 1), &[x]).unwrap();
    let x = b.add("negative", Operator::Polynomial(Polynomial::Shared([0.0, 0.2, -0.3])), &[x]).unwrap();
    let twice = b.add("twice", Operator::Add, &[x, x]).unwrap();
    let y = b.add("conv2", convolution(6, 6, 3, 1, 3), &[twice]).unwrap();
    let left = b.add("left", square(), &[y]).unwrap();
    let right = b.add("right", Operator::Polynomial(Polynomial::Shared([0.0, 0.1, 0.4])), &[y]).unwrap();
    let x = b.add("sum", Operator::Add, &[left, right]).unwrap();
    let x = b.add("with y", Operator::Add, &[x, y]).unwrap();
    let x = b.add("down", convolution(5, 6, 3, 2, 5), &[x]).unwrap();
    let x = b.add("pool", Operator::AveragePool(Pool::Global), &[x]).unwrap();
    let hidden = Linear { weight: tensor(&[7, 5], 9), bias: None };
    let x = b.add("hidden", Operator::Linear(hidden), &[x]).unwrap();
    let x = b.add("hidden square", square(), &[x]).unwrap();
    let last = Linear { weight: tensor(&[3, 7], 11), bias: Some(tensor(&[3], 12)) };
    let x = b.add("last", Operator::Linear(last), &[x]).unwrap();
    let graph = b.finish("unusual", x).unwrap();
    agree(&graph, &options(&[]));
    agree(&graph, &options(&[Pass::Redistribute]));
    agree(&graph, &options(&[Pass::Fuse]));

    let (padding, input) = small_input();
    let mut b = GraphBuilder::new(padding, input).unwrap();
    let x = b.add("conv", convolution(3, 2, 1, 2, 1), &[NodeId::INPUT]).unwrap();
    let x = b.add("square", square(), &[x]).unwrap();
    let x = b.add("pool", Operator::AveragePool(Pool::Global), &[x]).unwrap();
    let program = agree(&b.finish("pool last", x).unwrap(), &options(&[]));
    assert_eq!(program.client.parameters.log_n, 13);

    // Pre-activation: sums are read by a quadratic and by the next sum.
    let (padding, input) = small_input();
    let mut b = GraphBuilder::new(padding, input).unwrap();
    let mut x = b.add("stem", convolution(4, 2, 3, 1, 1), &[NodeId::INPUT]).unwrap();
    for i in 0..3 {
        let y = b.add(&format!("square {i}"), square(), &[x]).unwrap();
        let y = b.add(&format!("conv {i}"), convolution(4, 4, 3, 1, 20 + i), &[y]).unwrap();
        x = b.add(&format!("add {i}"), Operator::Add, &[x, y]).unwrap();
    }
    let x = b.add("pool", Operator::AveragePool(Pool::Global), &[x]).unwrap();
    agree(&b.finish("pre-activation", x).unwrap(), &options(&[]));
}

/// Means over several stages are of one shape, and laid out differently: they add up in any order.
#[test]
fn means_of_different_stages_add_up() {
    let square = || Operator::Polynomial(Polynomial::Shared([0.1, 0.5, 0.25]));
    let build = |circular: bool, order: [usize; 3], summed: bool| {
        let (padding, input) = small_input();
        let mut b = GraphBuilder::new(if circular { padding } else { Padding::Zero }, input).unwrap();
        let mut x = NodeId::INPUT;
        let mut means = Vec::new();
        // 32 positions, 8, and 2.
        for stage in 0..3 {
            let inputs = if stage == 0 { 2 } else { 6 };
            let stride = stage.min(1) + 1;
            x = b.add(&format!("conv {stage}"), convolution(6, inputs, 3, stride, stage as u64), &[x]).unwrap();
            x = b.add(&format!("square {stage}"), square(), &[x]).unwrap();
            let mean = b.add(&format!("mean {stage}"), Operator::AveragePool(Pool::Global), &[x]).unwrap();
            // Either the means are added, or what heads of their own make of them.
            let head = Operator::Linear(Linear { weight: tensor(&[3, 6], 30 + stage as u64), bias: None });
            means.push(if summed { mean } else { b.add(&format!("head {stage}"), head, &[mean]).unwrap() });
        }
        let first = b.add("first sum", Operator::Add, &[means[order[0]], means[order[1]]]).unwrap();
        let mut x = b.add("sum", Operator::Add, &[first, means[order[2]]]).unwrap();
        if summed {
            x = b.add("square of sum", square(), &[x]).unwrap();
            let last = Linear { weight: tensor(&[3, 6], 11), bias: Some(tensor(&[3], 12)) };
            x = b.add("last", Operator::Linear(last), &[x]).unwrap();
        }
        b.finish(&format!("{circular} {order:?} {summed}"), x).unwrap()
    };
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        for summed in [true, false] {
            for circular in [true, false] {
                let graph = build(circular, order, summed);
                let channel =
                    CompileOptions { packing: PackingChoice::Channel, batch: Some(1), ..options(&[Pass::Bsgs]) };
                agree(&graph, &channel);
                if circular {
                    agree(&graph, &options(&[]));
                    agree(&graph, &options(&[Pass::Fuse]));
                }
            }
        }
    }
}

#[test]
fn pools_of_squares_are_left_to_the_convolution_after_them() {
    // Three convolutions, two pools of squares, of which the last one ends in the mean of all, one linear layer: a
    // level each.
    let network = Vgg { stages: vec![vec![3, 4], vec![5]], common: ResNet { blocks: 0, ..tiny() } };
    let program = agree(&network.build().unwrap(), &options(&[]));
    assert_eq!(program.client.parameters.levels.len(), 4);
    let unfused = agree(&network.build().unwrap(), &options(&[Pass::Fuse]));
    assert!(unfused.client.parameters.levels.len() > 4);
    agree(&network.build().unwrap(), &options(&[Pass::Redistribute, Pass::TowerReuse, Pass::Bsgs]));
    agree(&Vgg { stages: vec![vec![3], vec![20], vec![33]], ..network }.build().unwrap(), &options(&[]));

    // The image pooled, a pool of a pool, two readers, one of them a batch norm, a stride and a sum behind it.
    let (padding, input) = small_input();
    let mut b = GraphBuilder::new(padding, input).unwrap();
    let pool = || Operator::AveragePool(Pool::Square(2));
    let square = || Operator::Polynomial(Polynomial::Shared([0.1, 0.5, 0.25]));
    let x = b.add("pool", pool(), &[NodeId::INPUT]).unwrap();
    let x = b.add("conv", convolution(4, 2, 3, 1, 1), &[x]).unwrap();
    let x = b.add("square", square(), &[x]).unwrap();
    let x = b.add("pool 2", pool(), &[x]).unwrap();
    let left = b.add("left", convolution(4, 4, 3, 1, 2), &[x]).unwrap();
    let x = b.add("sum", Operator::Add, &[left, x]).unwrap();
    let x = b.add("square 2", square(), &[x]).unwrap();
    let x = b.add("pool 3", pool(), &[x]).unwrap();
    let x = b.add("down", convolution(6, 4, 3, 2, 4), &[x]).unwrap();
    let x = b.add("square 3", square(), &[x]).unwrap();
    let x = b.add("last pool", Operator::AveragePool(Pool::Global), &[x]).unwrap();
    let graph = b.finish("pools", x).unwrap();
    agree(&graph, &options(&[]));
    agree(&graph, &options(&[Pass::Fuse]));
}

#[test]
fn networks_run_side_by_side() {
    // Small ones share ciphertexts; the others have three at first, of ten channels each, and the image squared
    // before any weights.
    let small = |seed| ResNet { activation: Activation::PerChannel, bias: true, seed, ..tiny() }.build().unwrap();
    let wide = |seed| {
        let spec = ResNet { widths: vec![10, 18], blocks: 1, height: 32, width: 32, classes: 30, ..tiny() };
        ResNet { shortcut: Shortcut::ProjectionEverywhere, seed, ..spec }.build().unwrap()
    };
    let squared = |seed| {
        let (padding, input) = small_input();
        let mut b = GraphBuilder::new(padding, input).unwrap();
        let square = || Operator::Polynomial(Polynomial::Shared([0.1, 0.5, 0.25 + 0.01 * seed as f64]));
        let x = b.add("input square", square(), &[NodeId::INPUT]).unwrap();
        let x = b.add("conv", convolution(2, 2, 3, 1, seed), &[x]).unwrap();
        let x = b.add("sum", Operator::Add, &[x, NodeId::INPUT]).unwrap();
        let x = b.add("square", square(), &[x]).unwrap();
        let x = b.add("pool", Operator::AveragePool(Pool::Global), &[x]).unwrap();
        b.finish("squared", x).unwrap()
    };
    let ensembles: [Vec<Graph>; 3] =
        [(1..4).map(small).collect(), (1..3).map(wide).collect(), (1..4).map(squared).collect()];
    for graphs in &ensembles {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let image = random_image(graphs[0].input(), &mut rng);
        let plains: Vec<Vec<f64>> = graphs.iter().map(|g| Reference::<f64>::new(g).forward(&image).unwrap()).collect();
        let close = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4);
        let compiled = |graphs: &[Graph], average, without: &[Pass]| {
            let options = CompileOptions { average, logit_error: Some(1.0), ..exact(&options(without)) };
            let program = compile_ensemble(&graphs.iter().collect::<Vec<_>>(), &options).unwrap();
            program.check().unwrap();
            assert_eq!(program.client.layout.members, graphs.len());
            program
        };
        for without in [&[][..], &[Pass::Fuse], &[Pass::Redistribute]] {
            let client = compiled(graphs, Average::Client, without);
            let (found, rest) = vectors(&client, &run(&client, &image, Mode::Exact));
            assert!(rest < 1e-6 && found.len() == graphs.len(), "{rest}");
            assert!(plains.iter().zip(&found).all(|(a, b)| close(a, b)), "{plains:?} {found:?}");
        }
        let server = compiled(graphs, Average::Server, &[]);
        let members = graphs.len() as f64;
        let mean: Vec<f64> = (0..plains[0].len()).map(|j| plains.iter().map(|p| p[j]).sum::<f64>() / members).collect();
        let (found, rest) = logits(&server, &run(&server, &image, Mode::Exact));
        assert!(rest < 1e-6 && close(&mean, &found), "{mean:?} {found:?}");
    }
    // Another last member does not move the logits of the others.
    let mut others: Vec<Graph> = (1..3).map(small).collect();
    others.push(small(9));
    let image = random_image(others[0].input(), &mut ChaCha8Rng::seed_from_u64(6));
    let of = |graphs: &[Graph]| {
        let options = CompileOptions { logit_error: Some(0.05), ..exact(&options(&[])) };
        let program = compile_ensemble(&graphs.iter().collect::<Vec<_>>(), &options).unwrap();
        vectors(&program, &run(&program, &image, Mode::Exact)).0
    };
    let (before, after) = (of(&ensembles[0]), of(&others));
    for (a, b) in before.iter().zip(&after).take(2) {
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9), "{a:?} {b:?}");
    }
    assert!((before[2][0] - after[2][0]).abs() > 1e-3);
}

#[test]
fn a_squared_value_is_relinearized_once_per_ciphertext() {
    let program = compile(&tiny().build().unwrap(), &options(&[])).unwrap();
    let squares = program.steps.iter().filter(|s| matches!(s.operation, Operation::Square { .. })).count();
    assert_eq!(squares, 5);
    assert_eq!(program.report.seconds, program.steps.iter().map(|s| s.estimate.seconds).sum::<f64>());
    assert_eq!(program, compile(&tiny().build().unwrap(), &options(&[])).unwrap());
}

#[test]
fn what_cannot_be_compiled_is_named() {
    let zero_padded = ResNet { circular: false, ..tiny() }.build().unwrap();
    assert!(matches!(compile(&zero_padded, &options(&[])), Err(CompileError::Unsupported { .. })));

    let (padding, input) = small_input();
    let mut b = GraphBuilder::new(padding, input.clone()).unwrap();
    let flat = Linear { weight: tensor(&[3, 64], 1), bias: None };
    let x = b.add("flat", Operator::Linear(flat), &[NodeId::INPUT]).unwrap();
    let error = compile(&b.finish("flat", x).unwrap(), &options(&[])).unwrap_err();
    assert!(error.to_string().contains("\"flat\"") && error.to_string().contains("average_pool"), "{error}");

    let mut b = GraphBuilder::new(padding, input).unwrap();
    let x = b.add("conv", convolution(3, 2, 3, 1, 1), &[NodeId::INPUT]).unwrap();
    let line = Polynomial::PerChannel(vec![[0.0, 1.0, 0.2], [0.0, 1.0, 0.0], [0.0, 1.0, 0.2]]);
    let x = b.add("line", Operator::Polynomial(line), &[x]).unwrap();
    let x = b.add("pool", Operator::AveragePool(Pool::Global), &[x]).unwrap();
    let graph = b.finish("line", x).unwrap();
    let error = compile(&graph, &options(&[])).unwrap_err();
    assert_eq!(error, CompileError::Leading { node: "line".into(), channel: 1, found: 0.0 });
    agree(&graph, &options(&[Pass::Redistribute]));

    let deep = ResNet { blocks: 4, ..tiny() }.build().unwrap();
    let forced = |log_n| CompileOptions { log_n: Some(log_n), ..options(&[]) };
    assert!(matches!(compile(&deep, &forced(13)), Err(CompileError::TooDeep { log_n: 13, .. })));
    assert!(matches!(compile(&deep, &forced(18)), Err(CompileError::RingDegree { log_n: 18, .. })));
    let wide = ResNet { widths: vec![1], height: 64, width: 64, ..tiny() }.build().unwrap();
    assert!(matches!(compile(&wide, &forced(12)), Err(CompileError::TooLarge { log_n: 12, .. })));
    let large = ResNet { height: 224, width: 224, widths: vec![2], ..tiny() }.build().unwrap();
    let refused = compile(&large, &CompileOptions::default()).unwrap_err().to_string();
    assert!(refused.contains("65536") && refused.contains("at most 128 x 256"), "{refused}");
    let bad = CompileOptions { logit_error: Some(f64::NAN), ..options(&[]) };
    assert!(matches!(compile(&wide, &bad), Err(CompileError::Option { .. })));
}
