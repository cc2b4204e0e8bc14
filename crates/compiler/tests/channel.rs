//! One channel per ciphertext: every batch slot has what the network computes on its image, or what its member
//! computes.

mod common;

use common::{Mode, exact, run_batch, vectors};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use umbra_cluster::{ClusterMode, ClusterOptions, cluster};
use umbra_compiler::{AddFirst, Average, CompileError, CompileOptions, PackingChoice, Pass, compile, compile_ensemble};
use umbra_model::zoo::{Activation, NormPlacement, ResNet, Shortcut, Vgg, random_image};
use umbra_model::{Graph, Reference};
use umbra_program::{Layout, Operation, Packing, Program};

fn layout(packing: Packing, images: usize, members: usize, averaged: bool) -> Layout {
    Layout { packing, images, members, averaged }
}

fn options(batch: Option<usize>) -> CompileOptions {
    CompileOptions { packing: PackingChoice::Channel, batch, logit_error: Some(0.05), ..CompileOptions::default() }
}

fn images(graph: &Graph, count: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| random_image(graph.input(), &mut rng)).collect()
}

fn plain(graph: &Graph, image: &[f32]) -> Vec<f64> {
    Reference::<f64>::new(graph).forward(image).unwrap()
}

fn close(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4)
}

/// Compiles, and compares each batch slot with the reference on an image of its own.
fn agree(graph: &Graph, options: &CompileOptions) -> Program {
    let program = compile(graph, options).unwrap_or_else(|e| panic!("{}: {e}", graph.name()));
    program.check().unwrap();
    let layout = program.client.layout;
    assert!(layout.is_batched() && layout.members == 1, "{layout:?}");
    let count = layout.images;
    let images = images(graph, count, 5);
    let uncorrected = compile(graph, &exact(options)).unwrap();
    let (found, rest) = vectors(&uncorrected, &run_batch(&uncorrected, &images, Mode::Exact));
    assert_eq!(found.len(), count);
    for (image, found) in images.iter().zip(&found) {
        let plain = plain(graph, image);
        assert!(close(&plain, found), "{}: {plain:?} {found:?}", graph.name());
    }
    assert!(rest < 1e-6, "{rest}");
    program
}

fn tiny() -> ResNet {
    ResNet { widths: vec![4, 8], blocks: 1, height: 8, width: 8, classes: 5, ..ResNet::default() }
}

#[test]
fn every_batch_slot_is_the_network_on_its_image() {
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
        // Padded images, gray, more classes than channels; all batch slots there are.
        (ResNet { height: 15, width: 24, channels: 1, classes: 20, seed: 4, ..tiny() }, None),
        // Three stages, odd widths.
        (ResNet { widths: vec![3, 5, 7], height: 16, width: 8, seed: 5, ..tiny() }, Some(2)),
        // Few positions, so that taps meet on the ring, and more classes than positions are left.
        (ResNet { height: 2, width: 2, seed: 6, ..tiny() }, Some(5)),
    ];
    for (network, batch) in networks {
        let program = agree(&network.build().unwrap(), &options(batch));
        if let Some(batch) = batch {
            assert_eq!(program.client.layout.images, batch);
        }
    }
}

#[test]
fn zero_padding_is_exact() {
    let padded = || ResNet { circular: false, ..tiny() };
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
        assert_eq!(program.client.layout, layout(Packing::Padded, batch.unwrap(), 1, false));
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
    assert_eq!(program.client.layout, layout(Packing::Channel, 2, 1, false));
    agree(&graph, &CompileOptions { without: [Pass::Fuse].into(), ..options(Some(2)) });
}

#[test]
fn logits_share_a_ciphertext() {
    let program = agree(&tiny().build().unwrap(), &options(Some(2)));
    assert_eq!(program.client.output.ciphertexts(), 1);
    assert_eq!(program.client.input.ciphertexts.len(), 3);
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
fn batch_slots_do_not_touch_each_other() {
    for circular in [true, false] {
        batch_slots_are_apart(&ResNet { circular, ..tiny() }.build().unwrap());
    }
}

fn batch_slots_are_apart(graph: &Graph) {
    let program = compile(graph, &options(Some(4))).unwrap();
    let mut batch = images(graph, 4, 9);
    let (before, _) = vectors(&program, &run_batch(&program, &batch, Mode::Exact));
    batch[2] = images(graph, 1, 10).remove(0);
    let (after, _) = vectors(&program, &run_batch(&program, &batch, Mode::Exact));
    for slot in [0, 1, 3] {
        assert_eq!(before[slot], after[slot]);
    }
    assert!(!close(&before[2], &after[2]));
    // Fewer images than batch slots.
    let (fewer, _) = vectors(&program, &run_batch(&program, &batch[..2], Mode::Exact));
    assert_eq!(fewer[..2], after[..2]);
}

#[test]
fn the_predicted_error_is_what_comes_out() {
    for circular in [true, false] {
        let network = ResNet { widths: vec![4, 8], blocks: 2, height: 16, width: 16, seed: 11, circular, ..tiny() };
        predicts_errors(&network.build().unwrap());
    }
}

fn predicts_errors(graph: &Graph) {
    let program = compile(graph, &options(Some(8))).unwrap();
    let images = images(graph, 8, 12);
    let (found, _) = vectors(&program, &run_batch(&program, &images, Mode::Noisy(3)));
    let (mut squares, mut count) = (0.0f64, 0.0f64);
    for (image, found) in images.iter().zip(&found) {
        for (a, b) in plain(graph, image).iter().zip(found) {
            squares += (a - b) * (a - b);
            count += 1.0;
        }
    }
    let ratio = (squares / count).sqrt() / program.report.logit_error_std;
    assert!((0.2..5.0).contains(&ratio), "{ratio}");
}

#[test]
fn auto_takes_what_costs_less_an_image() {
    let graph = tiny().build().unwrap();
    let with = |packing, batch| compile(&graph, &CompileOptions { packing, batch, ..options(None) }).unwrap();
    let time = |p: &Program| p.report.seconds / p.client.layout.images as f64;
    let circular = with(PackingChoice::Multiplexed, None);
    for batch in [Some(1), None] {
        let (channel, auto) = (with(PackingChoice::Channel, batch), with(PackingChoice::Auto, batch));
        assert!((time(&auto) - time(&circular).min(time(&channel))).abs() < 1e-12);
    }
    assert!(with(PackingChoice::Auto, None).client.layout.is_batched());
}

fn members(count: u64) -> Vec<Graph> {
    let network = |seed| ResNet { activation: Activation::PerChannel, bias: true, seed, ..tiny() };
    (20..20 + count).map(|seed| network(seed).build().unwrap()).collect()
}

#[test]
fn members_of_an_ensemble_see_every_image_of_a_batch() {
    let all = members(3);
    for (count, batch) in [(3, Some(1)), (3, Some(2)), (2, Some(5)), (3, None)] {
        let graphs: Vec<&Graph> = all.iter().take(count).collect();
        let options = |batch| exact(&options(batch));
        let client = compile_ensemble(&graphs, &options(batch)).unwrap();
        client.check().unwrap();
        // As many as fit where there is no other number: N = 2^16 has 512 batch slots of 64 positions, and an image
        // takes four for three.
        let fit = (client.slots() / 64) / count.next_power_of_two();
        let filled = batch.unwrap_or(fit);
        assert_eq!(client.client.layout, layout(Packing::Channel, filled, count, false));
        let images = images(graphs[0], filled, 13);
        let plains: Vec<Vec<Vec<f64>>> = images.iter().map(|p| graphs.iter().map(|g| plain(g, p)).collect()).collect();
        let (found, rest) = vectors(&client, &run_batch(&client, &images, Mode::Exact));
        assert!(rest < 1e-6, "{rest}");
        assert_eq!(found.len(), filled * count);
        for (plain, found) in plains.iter().flatten().zip(&found) {
            assert!(close(plain, found), "{count} {batch:?}: {plain:?} {found:?}");
        }

        // Averaged on the server it fits at a smaller ring degree too, where batches are smaller.
        let log_n = Some(client.client.parameters.log_n);
        let averaged = CompileOptions { average: Average::Server, log_n, ..options(batch) };
        let server = compile_ensemble(&graphs, &averaged).unwrap();
        server.check().unwrap();
        assert_eq!(server.client.layout, layout(Packing::Channel, filled, count, true));
        let (found, rest) = vectors(&server, &run_batch(&server, &images, Mode::Exact));
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
        let images = images(graphs[0], 8, 12);
        let (found, _) = vectors(&program, &run_batch(&program, &images, Mode::Noisy(3)));
        let exact = |image: &Vec<f32>| -> Vec<Vec<f64>> {
            let members: Vec<Vec<f64>> = graphs.iter().map(|g| plain(g, image)).collect();
            if average == Average::Client {
                return members;
            }
            vec![(0..5).map(|j| members.iter().map(|m| m[j] / 3.0).sum()).collect()]
        };
        let exact: Vec<f64> = images.iter().flat_map(exact).flatten().collect();
        let found: Vec<f64> = found.into_iter().flatten().collect();
        assert_eq!(exact.len(), found.len());
        let square = exact.iter().zip(&found).map(|(a, b)| (a - b) * (a - b)).sum::<f64>() / exact.len() as f64;
        let ratio = square.sqrt() / program.report.logit_error_std;
        assert!((0.2..5.0).contains(&ratio), "{average:?}: {ratio}");
    }
}

#[test]
fn members_with_zero_padding_see_every_image_of_a_batch() {
    let network = |seed| ResNet { circular: false, activation: Activation::PerChannel, bias: true, seed, ..tiny() };
    // A side that is no power of two, and more classes than one ciphertext's slots have room for.
    for base in
        [network(0), ResNet { height: 6, width: 12, ..network(0) }, ResNet { height: 4, width: 4, ..network(0) }]
    {
        let graphs: Vec<Graph> = (20..23).map(|seed| ResNet { seed, ..base.clone() }.build().unwrap()).collect();
        let images = images(&graphs[0], 2, 14);
        let plains: Vec<Vec<Vec<f64>>> = images.iter().map(|p| graphs.iter().map(|g| plain(g, p)).collect()).collect();
        let compiled = |average, without: &[Pass]| {
            let options = CompileOptions { average, without: without.iter().copied().collect(), ..options(Some(2)) };
            let program = compile_ensemble(&graphs.iter().collect::<Vec<_>>(), &exact(&options)).unwrap();
            program.check().unwrap();
            assert_eq!((program.client.layout.members, program.client.layout.images), (3, 2));
            let (found, rest) = vectors(&program, &run_batch(&program, &images, Mode::Exact));
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

/// Level alignments: the steps that a note of the report counts.
fn alignments(program: &Program) -> usize {
    let count = |note: &String| note.strip_prefix("level alignment of ")?.split(' ').next()?.parse::<usize>().ok();
    program.report.notes.iter().find_map(count).unwrap_or(0)
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
        // So do level alignments, whose weights are all one.
        assert_eq!(adding_first(&always), 5 + alignments(&always));
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
    for packing in [PackingChoice::Multiplexed, PackingChoice::Auto] {
        let error = refused(&[&graph], CompileOptions { packing, ..options(None) });
        assert!(error.contains("one channel per ciphertext"), "{error}");
    }
    let zero_padded = ResNet { circular: false, ..tiny() }.build().unwrap();
    assert!(refused(&[&zero_padded], options(None)).contains("zero padding"));
    let two = members(2);
    assert!(refused(&two.iter().collect::<Vec<_>>(), options(None)).contains("ensemble"));
    assert!("sometimes".parse::<AddFirst>().unwrap_err().to_string().contains("always, never"));
}

#[test]
fn what_the_packing_cannot_have_is_named() {
    let graph = tiny().build().unwrap();
    let refused = |options: CompileOptions| compile(&graph, &options).unwrap_err();
    assert!(matches!(refused(options(Some(0))), CompileError::Option { option: "batch", .. }));
    let circular = CompileOptions { packing: PackingChoice::Multiplexed, ..options(Some(2)) };
    assert!(matches!(refused(circular), CompileError::Option { option: "batch", .. }));
    // At N = 2^16 there are 512 batch slots of 64 positions.
    assert_eq!(refused(options(Some(513))), CompileError::TooManyBatchSlots { found: 513, limit: 512, log_n: 16 });
    let average = CompileOptions { average: Average::Server, ..options(None) };
    assert!(matches!(refused(average), CompileError::Option { option: "average", .. }));
    // Three members take four batch slots an image.
    let three = members(3);
    let three: Vec<&Graph> = three.iter().collect();
    let error = compile_ensemble(&three, &options(Some(129))).unwrap_err();
    assert_eq!(error, CompileError::TooManyBatchSlots { found: 516, limit: 512, log_n: 16 });
    let wide = ResNet { widths: vec![600], height: 2, width: 2, ..tiny() }.build().unwrap();
    assert!(matches!(compile(&wide, &options(None)), Err(CompileError::TooWide { found: 600, .. })));
    let zero_padded = ResNet { circular: false, ..tiny() }.build().unwrap();
    assert!(matches!(compile(&zero_padded, &CompileOptions::default()), Err(CompileError::Unsupported { .. })));
    let circular = compile_ensemble(&[&zero_padded, &zero_padded], &CompileOptions::default());
    assert!(matches!(circular, Err(CompileError::Unsupported { .. })));
    // The logits of nine members take 16 slots a class, and an image has eight: 2 x 2 pixels, and as much room to
    // their right.
    let small = ResNet { circular: false, height: 2, width: 2, ..tiny() }.build().unwrap();
    let error = compile_ensemble(&[&small; 9], &options(None)).unwrap_err();
    assert_eq!(error, CompileError::TooManyBatchSlots { found: 9, limit: 8, log_n: 16 });
}
