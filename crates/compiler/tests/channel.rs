//! The channel layout: every lane computes what the network computes on its picture, or what its member computes.

mod common;

use common::{Mode, exact, lanes, run_batch};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use umbra_cluster::{ClusterMode, ClusterOptions, cluster};
use umbra_compiler::{AddFirst, Average, CompileError, CompileOptions, LayoutChoice, Pass, compile, compile_ensemble};
use umbra_model::zoo::{Activation, NormPlacement, ResNet, Shortcut, Vgg, random_picture};
use umbra_model::{Graph, Reference};
use umbra_program::{Layout, Operation, Program};

fn options(batch: Option<usize>) -> CompileOptions {
    CompileOptions { layout: LayoutChoice::Channel, batch, logit_error: Some(0.05), ..CompileOptions::default() }
}

fn pictures(graph: &Graph, count: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| random_picture(graph.input(), &mut rng)).collect()
}

fn plain(graph: &Graph, picture: &[f32]) -> Vec<f64> {
    Reference::<f64>::new(graph).forward(picture).unwrap()
}

fn close(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4)
}

/// Compiles, and compares each lane with the reference on a picture of its own.
fn agree(graph: &Graph, options: &CompileOptions) -> Program {
    let program = compile(graph, options).unwrap_or_else(|e| panic!("{}: {e}", graph.name()));
    program.check().unwrap();
    let (Layout::Batch { lanes: count } | Layout::Padded { lanes: count, members: 1, averaged: false }) =
        program.layout
    else {
        panic!("{:?}", program.layout)
    };
    let pictures = pictures(graph, count, 5);
    let uncorrected = compile(graph, &exact(options)).unwrap();
    let (found, rest) = lanes(&uncorrected, &run_batch(&uncorrected, &pictures, Mode::Exact));
    assert_eq!(found.len(), count);
    for (picture, found) in pictures.iter().zip(&found) {
        let plain = plain(graph, picture);
        assert!(close(&plain, found), "{}: {plain:?} {found:?}", graph.name());
    }
    assert!(rest < 1e-6, "{rest}");
    program
}

fn tiny() -> ResNet {
    ResNet { widths: vec![4, 8], blocks: 1, height: 8, width: 8, classes: 5, ..ResNet::default() }
}

#[test]
fn every_lane_is_the_network_on_its_picture() {
    let networks = [
        (tiny(), Some(3)),
        (
            ResNet {
                activation: Activation::PerChannel,
                norm: NormPlacement::BeforeSum,
                bias: true,
                seed: 2,
                ..tiny()
            },
            Some(1),
        ),
        (ResNet { shortcut: Shortcut::ProjectionEverywhere, seed: 3, ..tiny() }, Some(2)),
        // Padded pictures, gray, more classes than channels; all lanes there are.
        (ResNet { height: 15, width: 24, channels: 1, classes: 20, seed: 4, ..tiny() }, None),
        // Three stages, odd widths.
        (ResNet { widths: vec![3, 5, 7], height: 16, width: 8, seed: 5, ..tiny() }, Some(2)),
        // Few positions, so that taps meet on the ring, and more classes than positions are left.
        (ResNet { height: 2, width: 2, seed: 6, ..tiny() }, Some(5)),
    ];
    for (network, batch) in networks {
        let program = agree(&network.build().unwrap(), &options(batch));
        if let Some(batch) = batch {
            assert_eq!(program.layout.pictures(), batch);
        }
    }
}

#[test]
fn zero_padding_is_exact() {
    let padded = || ResNet { cyclic: false, ..tiny() };
    let networks = [
        (padded(), Some(3)),
        (
            ResNet {
                activation: Activation::PerChannel,
                norm: NormPlacement::BeforeSum,
                bias: true,
                seed: 2,
                ..padded()
            },
            Some(1),
        ),
        (ResNet { shortcut: Shortcut::ProjectionEverywhere, seed: 3, ..padded() }, Some(2)),
        // Sides that are no powers of two and are halved to odd ones, gray, more classes than channels.
        (ResNet { height: 15, width: 24, channels: 1, classes: 20, seed: 4, ..padded() }, Some(2)),
        // Three stages, odd widths; a tap that reads padding only.
        (ResNet { widths: vec![3, 5, 7], height: 16, width: 4, seed: 5, ..padded() }, Some(2)),
        (ResNet { height: 2, width: 2, seed: 6, ..padded() }, Some(5)),
    ];
    for (network, batch) in networks {
        let program = agree(&network.build().unwrap(), &options(batch));
        assert_eq!(program.layout, Layout::Padded { lanes: batch.unwrap(), members: 1, averaged: false });
    }
    // Pooling between convolutions, a linear layer over several positions, windows of 2 x 2 and of 3 x 6.
    for common in [ResNet { height: 8, width: 12, ..padded() }, ResNet { height: 4, width: 4, bias: true, ..padded() }]
    {
        agree(&Vgg { stages: vec![vec![3, 4], vec![5]], common }.build().unwrap(), &options(Some(2)));
    }
    agree(&ResNet { height: 6, width: 12, seed: 9, ..padded() }.build().unwrap(), &options(Some(2)));
    let graph = ResNet { activation: Activation::PerChannel, bias: true, seed: 8, ..padded() }.build().unwrap();
    for pass in [Pass::Fuse, Pass::Redistribute, Pass::TowerReuse, Pass::Bsgs] {
        agree(&graph, &CompileOptions { without: [pass].into(), ..options(Some(2)) });
    }
}

#[test]
fn squares_are_pooled_on_the_ring() {
    let network = Vgg { stages: vec![vec![3, 4], vec![5]], common: ResNet { blocks: 0, ..tiny() } };
    let graph = network.build().unwrap();
    let program = agree(&graph, &options(Some(2)));
    assert_eq!(program.layout, Layout::Batch { lanes: 2 });
    agree(&graph, &CompileOptions { without: [Pass::Fuse].into(), ..options(Some(2)) });
}

#[test]
fn logits_share_a_ciphertext() {
    let program = agree(&tiny().build().unwrap(), &options(Some(2)));
    assert_eq!(program.output.ciphertexts(), 1);
    assert_eq!(program.input.ciphertexts.len(), 3);
    // One hoisted rotation a tap and stage, no giants; nothing is rotated to be masked.
    let giants = program.steps.iter().any(|step| match &step.operation {
        Operation::Linear(linear) => linear.plan.inner.len() + linear.plan.outer.len() > 2,
        _ => false,
    });
    assert!(!giants);
}

#[test]
fn passes_may_be_switched_off() {
    let graph = ResNet { activation: Activation::PerChannel, bias: true, seed: 8, ..tiny() }.build().unwrap();
    for pass in [Pass::Fuse, Pass::Redistribute, Pass::TowerReuse, Pass::Bsgs, Pass::InputExpansion] {
        agree(&graph, &CompileOptions { without: [pass].into(), ..options(Some(2)) });
    }
}

#[test]
fn lanes_do_not_touch_each_other() {
    for cyclic in [true, false] {
        lanes_are_apart(&ResNet { cyclic, ..tiny() }.build().unwrap());
    }
}

fn lanes_are_apart(graph: &Graph) {
    let program = compile(graph, &options(Some(4))).unwrap();
    let mut batch = pictures(graph, 4, 9);
    let (before, _) = lanes(&program, &run_batch(&program, &batch, Mode::Exact));
    batch[2] = pictures(graph, 1, 10).remove(0);
    let (after, _) = lanes(&program, &run_batch(&program, &batch, Mode::Exact));
    for lane in [0, 1, 3] {
        assert_eq!(before[lane], after[lane]);
    }
    assert!(!close(&before[2], &after[2]));
    // Fewer pictures than lanes.
    let (fewer, _) = lanes(&program, &run_batch(&program, &batch[..2], Mode::Exact));
    assert_eq!(fewer[..2], after[..2]);
}

#[test]
fn the_predicted_error_is_what_comes_out() {
    for cyclic in [true, false] {
        let network = ResNet { widths: vec![4, 8], blocks: 2, height: 16, width: 16, seed: 11, cyclic, ..tiny() };
        predicts_errors(&network.build().unwrap());
    }
}

fn predicts_errors(graph: &Graph) {
    let program = compile(graph, &options(Some(8))).unwrap();
    let pictures = pictures(graph, 8, 12);
    let (found, _) = lanes(&program, &run_batch(&program, &pictures, Mode::Noisy(3)));
    let (mut squares, mut count) = (0.0f64, 0.0f64);
    for (picture, found) in pictures.iter().zip(&found) {
        for (a, b) in plain(graph, picture).iter().zip(found) {
            squares += (a - b) * (a - b);
            count += 1.0;
        }
    }
    let ratio = (squares / count).sqrt() / program.report.logit_error_std;
    assert!((0.2..5.0).contains(&ratio), "{ratio}");
}

#[test]
fn auto_takes_what_costs_less_a_picture() {
    let graph = tiny().build().unwrap();
    let with = |layout, batch| compile(&graph, &CompileOptions { layout, batch, ..options(None) }).unwrap();
    let time = |p: &Program| p.report.seconds / p.layout.pictures() as f64;
    let cyclic = with(LayoutChoice::Cyclic, None);
    for batch in [Some(1), None] {
        let (channel, auto) = (with(LayoutChoice::Channel, batch), with(LayoutChoice::Auto, batch));
        assert!((time(&auto) - time(&cyclic).min(time(&channel))).abs() < 1e-12);
    }
    assert!(!with(LayoutChoice::Auto, None).layout.is_cyclic());
}

fn members(count: u64) -> Vec<Graph> {
    let network = |seed| ResNet { activation: Activation::PerChannel, bias: true, seed, ..tiny() };
    (20..20 + count).map(|seed| network(seed).build().unwrap()).collect()
}

#[test]
fn members_of_an_ensemble_see_every_picture_of_a_batch() {
    let all = members(3);
    for (count, batch) in [(3, Some(1)), (3, Some(2)), (2, Some(5)), (3, None)] {
        let graphs: Vec<&Graph> = all.iter().take(count).collect();
        let options = |batch| exact(&options(batch));
        let client = compile_ensemble(&graphs, &options(batch)).unwrap();
        client.check().unwrap();
        // As many as fit where there is no other number: N = 2^16 has 512 lanes of 64 positions, and a picture takes four for three.
        let fit = (client.slots() / 64) / count.next_power_of_two();
        let filled = batch.unwrap_or(fit);
        assert_eq!(client.layout, Layout::Ensemble { pictures: filled, members: count, averaged: false });
        let pictures = pictures(graphs[0], filled, 13);
        let plains: Vec<Vec<Vec<f64>>> =
            pictures.iter().map(|p| graphs.iter().map(|g| plain(g, p)).collect()).collect();
        let (found, rest) = lanes(&client, &run_batch(&client, &pictures, Mode::Exact));
        assert!(rest < 1e-6, "{rest}");
        assert_eq!(found.len(), filled * count);
        for (plain, found) in plains.iter().flatten().zip(&found) {
            assert!(close(plain, found), "{count} {batch:?}: {plain:?} {found:?}");
        }

        let averaged = CompileOptions { average: Average::Server, ..options(batch) };
        let server = compile_ensemble(&graphs, &averaged).unwrap();
        server.check().unwrap();
        assert_eq!(server.layout, Layout::Ensemble { pictures: filled, members: count, averaged: true });
        let (found, rest) = lanes(&server, &run_batch(&server, &pictures, Mode::Exact));
        // There is nothing of single members.
        assert!(rest < 1e-6, "{rest}");
        assert_eq!(found.len(), filled);
        for (plains, found) in plains.iter().zip(&found) {
            let mean: Vec<f64> = (0..5).map(|j| plains.iter().map(|p| p[j]).sum::<f64>() / count as f64).collect();
            assert!(close(&mean, found), "{count} {batch:?}: {mean:?} {found:?}");
        }
        assert_eq!(client.network, server.network);
        assert_ne!(client.network, compile(graphs[0], &options(None)).unwrap().network);
    }
}

#[test]
fn errors_of_ensembles_are_predicted() {
    let graphs = members(3);
    let graphs: Vec<&Graph> = graphs.iter().collect();
    for average in [Average::Client, Average::Server] {
        let program = compile_ensemble(&graphs, &CompileOptions { average, ..options(Some(8)) }).unwrap();
        let pictures = pictures(graphs[0], 8, 12);
        let (found, _) = lanes(&program, &run_batch(&program, &pictures, Mode::Noisy(3)));
        let exact = |picture: &Vec<f32>| -> Vec<Vec<f64>> {
            let members: Vec<Vec<f64>> = graphs.iter().map(|g| plain(g, picture)).collect();
            if average == Average::Client {
                return members;
            }
            vec![(0..5).map(|j| members.iter().map(|m| m[j] / 3.0).sum()).collect()]
        };
        let exact: Vec<f64> = pictures.iter().flat_map(exact).flatten().collect();
        let found: Vec<f64> = found.into_iter().flatten().collect();
        assert_eq!(exact.len(), found.len());
        let square = exact.iter().zip(&found).map(|(a, b)| (a - b) * (a - b)).sum::<f64>() / exact.len() as f64;
        let ratio = square.sqrt() / program.report.logit_error_std;
        assert!((0.2..5.0).contains(&ratio), "{average:?}: {ratio}");
    }
}

#[test]
fn members_with_zero_padding_see_every_picture_of_a_batch() {
    let network = |seed| ResNet { cyclic: false, activation: Activation::PerChannel, bias: true, seed, ..tiny() };
    // A side that is no power of two, and more classes than one ciphertext's slots have room for.
    for base in
        [network(0), ResNet { height: 6, width: 12, ..network(0) }, ResNet { height: 4, width: 4, ..network(0) }]
    {
        let graphs: Vec<Graph> = (20..23).map(|seed| ResNet { seed, ..base.clone() }.build().unwrap()).collect();
        let pictures = pictures(&graphs[0], 2, 14);
        let plains: Vec<Vec<Vec<f64>>> =
            pictures.iter().map(|p| graphs.iter().map(|g| plain(g, p)).collect()).collect();
        let compiled = |average, without: &[Pass]| {
            let options = CompileOptions { average, without: without.iter().copied().collect(), ..options(Some(2)) };
            let program = compile_ensemble(&graphs.iter().collect::<Vec<_>>(), &exact(&options)).unwrap();
            program.check().unwrap();
            assert_eq!((program.layout.members(), program.layout.pictures()), (3, 2));
            let (found, rest) = lanes(&program, &run_batch(&program, &pictures, Mode::Exact));
            assert!(rest < 1e-6, "{rest}");
            found
        };
        for without in [&[][..], &[Pass::Fuse], &[Pass::Redistribute]] {
            let found = compiled(Average::Client, without);
            assert_eq!(found.len(), 6);
            for (plain, found) in plains.iter().flatten().zip(&found) {
                assert!(close(plain, found), "{plain:?} {found:?}");
            }
        }
        let found = compiled(Average::Server, &[]);
        assert_eq!(found.len(), 2);
        for (plains, found) in plains.iter().zip(&found) {
            let mean: Vec<f64> = (0..5).map(|j| plains.iter().map(|p| p[j]).sum::<f64>() / 3.0).collect();
            assert!(close(&mean, found), "{mean:?} {found:?}");
        }
    }
}

#[test]
fn members_must_be_alike() {
    let graphs = members(1);
    let refused = |network: ResNet| {
        let other = network.build().unwrap();
        compile_ensemble(&[&graphs[0], &other], &options(None)).unwrap_err()
    };
    let base = ResNet { activation: Activation::PerChannel, bias: true, seed: 9, ..tiny() };
    let wider = ResNet { widths: vec![4, 9], ..base.clone() };
    assert!(matches!(refused(wider), CompileError::Member { member: 1, .. }));
    assert!(matches!(refused(ResNet { blocks: 2, ..base.clone() }), CompileError::Member { member: 1, .. }));
    assert!(matches!(refused(ResNet { classes: 6, ..base.clone() }), CompileError::Member { member: 1, .. }));
    assert!(matches!(refused(ResNet { height: 4, ..base }), CompileError::Member { member: 1, .. }));
}

/// Steps that add first.
fn adding_first(program: &Program) -> usize {
    let adds = |o: &Operation| matches!(o, Operation::Linear(linear) if linear.add_first);
    program.steps.iter().filter(|s| adds(&s.operation)).count()
}

#[test]
fn adding_first_is_decided_by_step() {
    let network = |activation| ResNet { widths: vec![8, 16], activation, seed: 30, ..tiny() }.build().unwrap();
    for activation in [Activation::Shared, Activation::PerChannel] {
        let graph = network(activation);
        let mut options = ClusterOptions::new(ClusterMode::Full, 4);
        options.keep_biases = true;
        let clustered = cluster(std::slice::from_ref(&graph), &options).unwrap();
        let clustered = clustered[0].graph();
        let with = |graph: &Graph, add_first| agree(graph, &CompileOptions { add_first, ..self::options(Some(2)) });
        // Five convolutions, of which one has a shortcut; the last layer's weights differ from slot to slot.
        let always = with(clustered, AddFirst::Always);
        assert_eq!(adding_first(&always), 5);
        // Nothing but how products are taken: estimates, and notes.
        let mut never = with(clustered, AddFirst::Never);
        assert_eq!(adding_first(&never), 0);
        for (step, other) in never.steps.iter_mut().zip(&always.steps) {
            if let (Operation::Linear(linear), Operation::Linear(other)) = (&mut step.operation, &other.operation) {
                linear.add_first = other.add_first;
            }
            step.estimate = other.estimate;
        }
        assert_eq!(never.steps, always.steps);
        // Four different weights are few for 72 and 144 inputs.
        let auto = with(clustered, AddFirst::Auto);
        assert!(adding_first(&auto) >= 3, "{}", adding_first(&auto));
        assert!(auto.report.seconds <= always.report.seconds.min(with(clustered, AddFirst::Never).report.seconds));
        // Few bits make weights equal too, but not as many.
        assert!(adding_first(&with(&graph, AddFirst::Auto)) < adding_first(&auto));
    }
}

#[test]
fn adding_first_where_it_cannot_be_had_is_refused() {
    let refused = |graphs: &[&Graph], options: CompileOptions| {
        let options = CompileOptions { add_first: AddFirst::Always, ..options };
        let error = compile_ensemble(graphs, &options).unwrap_err();
        assert!(matches!(error, CompileError::Option { option: "add-first", .. }), "{error}");
        error.to_string()
    };
    let graph = tiny().build().unwrap();
    for layout in [LayoutChoice::Cyclic, LayoutChoice::Auto] {
        assert!(refused(&[&graph], CompileOptions { layout, ..options(None) }).contains("channel layout"));
    }
    let textbook = ResNet { cyclic: false, ..tiny() }.build().unwrap();
    assert!(refused(&[&textbook], options(None)).contains("zero padding"));
    let two = members(2);
    assert!(refused(&two.iter().collect::<Vec<_>>(), options(None)).contains("ensemble"));
    assert!("sometimes".parse::<AddFirst>().unwrap_err().to_string().contains("always, never"));
}

#[test]
fn what_the_layout_cannot_have_is_named() {
    let graph = tiny().build().unwrap();
    let refused = |options: CompileOptions| compile(&graph, &options).unwrap_err();
    assert!(matches!(refused(options(Some(0))), CompileError::Option { option: "batch", .. }));
    let cyclic = CompileOptions { layout: LayoutChoice::Cyclic, ..options(Some(2)) };
    assert!(matches!(refused(cyclic), CompileError::Option { option: "batch", .. }));
    // At N = 2^16 there are 512 lanes of 64 positions.
    assert_eq!(refused(options(Some(513))), CompileError::TooManyLanes { found: 513, limit: 512, log_n: 16 });
    let average = CompileOptions { average: Average::Server, ..options(None) };
    assert!(matches!(refused(average), CompileError::Option { option: "average", .. }));
    // Three members take four lanes a picture.
    let three = members(3);
    let three: Vec<&Graph> = three.iter().collect();
    let error = compile_ensemble(&three, &options(Some(129))).unwrap_err();
    assert_eq!(error, CompileError::TooManyLanes { found: 516, limit: 512, log_n: 16 });
    let wide = ResNet { widths: vec![600], height: 2, width: 2, ..tiny() }.build().unwrap();
    assert!(matches!(compile(&wide, &options(None)), Err(CompileError::TooWide { found: 600, .. })));
    let textbook = ResNet { cyclic: false, ..tiny() }.build().unwrap();
    assert!(matches!(compile(&textbook, &CompileOptions::default()), Err(CompileError::Unsupported { .. })));
    let cyclic = compile_ensemble(&[&textbook, &textbook], &CompileOptions::default());
    assert!(matches!(cyclic, Err(CompileError::Unsupported { .. })));
    // The logits of nine members take 16 slots a class, and a picture has eight: 2 x 2 pixels, and as much room to their right.
    let small = ResNet { cyclic: false, height: 2, width: 2, ..tiny() }.build().unwrap();
    let error = compile_ensemble(&[&small; 9], &options(None)).unwrap_err();
    assert_eq!(error, CompileError::TooManyLanes { found: 9, limit: 8, log_n: 16 });
}
