//! Clustered networks: what they compute, what is written, what is refused.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroUsize;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use umbra_cluster::{Assignment, ClusterError, ClusterMode, ClusterOptions, Clustered, Codebooks, LayerCodes, cluster};
use umbra_model::zoo::{NormPlacement, ResNet};
use umbra_model::{
    BatchNorm, Convolution, Graph, GraphBuilder, ImageSpec, NodeId, Normalisation, Operator, Padding, Pool, Reference,
    Tensor,
};

fn network(seed: u64) -> ResNet {
    ResNet { widths: vec![4, 8], blocks: 1, height: 8, width: 8, classes: 3, seed, ..ResNet::default() }
}

fn build(spec: &ResNet) -> Graph {
    spec.build().expect("a network")
}

fn one(graph: &Graph, mode: ClusterMode, k: usize) -> Clustered {
    let mut clustered = cluster(std::slice::from_ref(graph), &ClusterOptions::new(mode, k)).expect("clusters");
    assert_eq!(clustered.len(), 1);
    clustered.remove(0)
}

fn convolution<'a>(graph: &'a Graph, name: &str) -> &'a Convolution {
    match graph.node(graph.find(name).expect("a node")).operator() {
        Operator::Convolution(convolution) => convolution,
        other => panic!("{name} is {other}"),
    }
}

fn logits(graph: &Graph) -> Vec<f64> {
    let image: Vec<f32> = (0..graph.input().len()).map(|i| ((i * 37 % 101) as f32 - 50.0) / 40.0).collect();
    Reference::<f64>::new(graph).forward(&image).expect("logits")
}

/// Networks with norms before and after the sum, with and without biases, of both geometries.
fn variants() -> Vec<ResNet> {
    let mut specs = Vec::new();
    for (seed, norm) in [(1, NormPlacement::AfterSum), (2, NormPlacement::BeforeSum)] {
        for (bias, circular) in [(false, true), (true, true), (true, false)] {
            specs.push(ResNet { norm, bias, circular, ..network(seed) });
        }
    }
    specs
}

#[test]
fn weights_are_codewords_over_the_factor_of_their_channel() {
    for spec in variants() {
        let graph = build(&spec);
        for (mode, k) in [(ClusterMode::Slice, 5), (ClusterMode::Full, 9)] {
            let clustered = one(&graph, mode, k);
            // The plaintext network, its weights replaced one by one from what the codebooks say.
            let mut builder = GraphBuilder::new(graph.padding(), graph.input().clone()).expect("a graph");
            for (node, after) in graph.nodes().iter().zip(clustered.graph().nodes()).skip(1) {
                let operator = match node.operator() {
                    Operator::Convolution(c) => {
                        let codes =
                            clustered.codebooks().layers().iter().find(|l| l.node == node.name()).expect("codes");
                        let (factors, scales) = (&codes.factors, &codes.scales);
                        let (kernel, row) = (c.kernel(), c.weight.values().len() / c.out_channels());
                        let value = |i: usize| {
                            let book = codes.codebooks[i % kernel] as usize;
                            let codeword = clustered.codebooks().books()[book][codes.index[i] as usize];
                            (codeword * scales[i / row] / factors[i / row]) as f32
                        };
                        let values = (0..c.weight.values().len()).map(value).collect();
                        let weight = Tensor::new("w", c.weight.shape(), values).expect("a tensor");
                        let bias = convolution(clustered.graph(), node.name()).bias.clone();
                        Operator::Convolution(Convolution { weight, bias, stride: c.stride })
                    }
                    // Biases are compared below.
                    Operator::BatchNorm(_) => after.operator().clone(),
                    other => other.clone(),
                };
                builder.add(node.name(), operator, node.inputs()).expect("a node");
            }
            let expected = builder.finish("expected", graph.output()).expect("a network");
            assert_eq!(logits(clustered.graph()), logits(&expected), "{spec:?} {mode}");
            assert_eq!(clustered.graph().nodes(), expected.nodes());
        }
    }
}

#[test]
fn no_channel_has_more_distinct_weights_than_are_counted() {
    let graph = build(&network(3));
    for (mode, k) in [(ClusterMode::Slice, 4), (ClusterMode::Full, 12)] {
        let clustered = one(&graph, mode, k);
        for layer in &clustered.report().layers {
            let c = convolution(clustered.graph(), &layer.node);
            let row = c.weight.values().len() / c.out_channels();
            let distinct =
                |row: &[f32]| row.iter().filter(|w| **w != 0.0).map(|w| w.to_bits()).collect::<BTreeSet<_>>().len();
            let multiplications: usize = c.weight.values().chunks_exact(row).map(distinct).sum();
            assert_eq!(multiplications, layer.multiplications_after, "{}", layer.node);
            let before = convolution(&graph, &layer.node).weight.values().iter().filter(|w| **w != 0.0).count();
            assert_eq!(before, layer.multiplications_before);
            assert!(layer.multiplications_after < before);
        }
    }
}

#[test]
fn fused_biases_are_codewords_unless_they_are_kept() {
    for spec in variants() {
        let graph = build(&spec);
        let clustered = one(&graph, ClusterMode::Full, 6);
        assert!(!clustered.codebooks().biases().is_empty());
        for codes in clustered.codebooks().biases() {
            let after = clustered.graph();
            let node = after.node(after.find(&codes.node).expect("a node"));
            let Operator::BatchNorm(norm) = node.operator() else {
                panic!("{}: every convolution has a norm", codes.node)
            };
            // What comes out of the convolutions before where their inputs are zero.
            let mut zero = vec![0.0f64; norm.shift.values().len()];
            let mut sources = node.inputs().to_vec();
            while let Some(id) = sources.pop() {
                match after.node(id).operator() {
                    Operator::Add => sources.extend(after.node(id).inputs()),
                    Operator::Convolution(Convolution { bias: Some(bias), .. }) => {
                        zero.iter_mut().zip(bias.values()).for_each(|(z, b)| *z += f64::from(*b));
                    }
                    _ => {}
                }
            }
            for (channel, (factor, offset)) in norm.affine().into_iter().enumerate() {
                let codeword = clustered.codebooks().books()[0][codes.index[channel] as usize];
                let bias = offset + factor * zero[channel];
                assert!((bias - codeword).abs() < 1e-5, "{} {channel}: {bias}, codeword {codeword}", codes.node);
            }
        }
        let mut options = ClusterOptions::new(ClusterMode::Full, 6);
        options.keep_biases = true;
        let kept = cluster(std::slice::from_ref(&graph), &options).expect("clusters").remove(0);
        assert!(kept.codebooks().biases().is_empty() && kept.report().bias_mean_squared_error == 0.0);
        for (a, b) in graph.nodes().iter().zip(kept.graph().nodes()) {
            if let Operator::BatchNorm(_) = a.operator() {
                assert_eq!(a, b);
            }
        }
    }
}

#[test]
fn enough_codewords_change_nothing() {
    let graph = build(&network(4));
    let weights: usize = graph
        .nodes()
        .iter()
        .map(|n| if let Operator::Convolution(c) = n.operator() { c.weight.values().len() } else { 0 })
        .sum();
    let mut options = ClusterOptions::new(ClusterMode::Full, weights);
    options.keep_biases = true;
    let same = cluster(std::slice::from_ref(&graph), &options).expect("clusters").remove(0);
    assert_eq!(same.graph().nodes(), graph.nodes());
    assert_eq!(same.report().mean_squared_error, 0.0);
}

#[test]
fn more_codewords_are_never_worse() {
    let graph = build(&network(5));
    for mode in [ClusterMode::Full, ClusterMode::Slice] {
        let errors: Vec<f64> = [1, 2, 4, 8, 16].map(|k| one(&graph, mode, k).report().mean_squared_error).to_vec();
        assert!(errors.windows(2).all(|w| w[1] <= w[0]) && errors[4] < 0.1 * errors[0], "{mode}: {errors:?}");
    }
}

#[test]
fn members_share_the_index_map() {
    let graphs: Vec<Graph> = (1..=3).map(|seed| build(&network(seed))).collect();
    let mut options = ClusterOptions::new(ClusterMode::Ensemble, 40);
    let members = cluster(&graphs, &options).expect("clusters");
    assert_eq!(members.len(), 3);
    for (member, graph) in members.iter().zip(&graphs) {
        for (layer, first) in member.codebooks().layers().iter().zip(members[0].codebooks().layers()) {
            assert!(layer.index == first.index && layer.codebooks == first.codebooks, "{}", layer.node);
        }
        assert_eq!(member.codebooks().biases(), members[0].codebooks().biases());
        assert_eq!(member.report().multiplications_after, members[0].report().multiplications_after);
        let relative = member.report().relative_error;
        assert!(relative > 0.0 && relative < 0.9, "{relative}");
        assert_ne!(member.graph().nodes(), graph.nodes());
    }
    assert_ne!(members[0].codebooks().books(), members[1].codebooks().books());
    // Reproducible, whatever the threads; another seed is another start.
    let with = |threads: usize, options: &ClusterOptions| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        let clustered = pool.install(|| cluster(&graphs, options)).expect("clusters");
        clustered.iter().map(|c| c.codebooks().clone()).collect::<Vec<_>>()
    };
    let two = with(2, &options);
    assert_eq!(with(1, &options), two);
    options.seed = 2;
    assert_ne!(with(1, &options), two);
    // More starts from the same seed include the one: the best is never worse.
    let squared_error = |restarts: usize| -> f64 {
        let mut options = options.clone();
        options.keep_biases = true;
        options.restarts = NonZeroUsize::new(restarts).expect("not zero");
        let members = cluster(&graphs, &options).expect("clusters");
        members.iter().map(|m| m.report().mean_squared_error).sum()
    };
    assert!(squared_error(6) <= squared_error(1) * (1.0 + 1e-9));
}

#[test]
fn single_networks_do_not_depend_on_threads() {
    let graph = build(&network(6));
    for mode in [ClusterMode::Slice, ClusterMode::Full] {
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| one(&graph, mode, 7)).codebooks().clone()
        };
        assert_eq!(with(1), with(3));
    }
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    for (number, spec) in variants().iter().enumerate() {
        for mode in [ClusterMode::Full, ClusterMode::Slice] {
            let clustered = one(&build(spec), mode, 10);
            let path = folder.path().join(format!("{number}-{mode}"));
            clustered.save(&path).expect("written");
            let graph = Graph::load(&path).expect("an ordinary network");
            assert_eq!(&graph, clustered.graph());
            assert!(graph.name().ends_with(&format!(", {mode} 10")), "{}", graph.name());
            assert_eq!(graph.description().training["clustering"]["k"], 10);
            let codebooks = Codebooks::load(&path, &graph).expect("its codebooks");
            assert_eq!(&codebooks, clustered.codebooks());
            assert_eq!(codebooks.mode(), mode);
            // Written again it is the same file.
            let file = || std::fs::read(path.join("clusters.safetensors")).expect("a file");
            let before = file();
            codebooks.save(&path).expect("written");
            assert!(before == file());
        }
    }
}

#[test]
fn codebooks_of_something_else_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let graph = build(&network(7));
    one(&graph, ClusterMode::Slice, 6).save(folder.path()).expect("written");
    let path = folder.path().join("clusters.safetensors");
    let message = |graph: &Graph| Codebooks::load(folder.path(), graph).expect_err("refused").to_string();
    let text = message(&graph);
    assert!(text.contains("clusters.safetensors") && text.contains("are not its codewords"), "{text}");
    let norms = build(&ResNet { norm: NormPlacement::BeforeSum, ..network(7) });
    assert!(message(&norms).contains("factors of its batch norms"), "{}", message(&norms));
    let wider = build(&ResNet { widths: vec![4, 16], ..network(7) });
    assert!(message(&wider).contains("values, expected"), "{}", message(&wider));
    let good = std::fs::read(&path).expect("a file");
    let clustered = Graph::load(folder.path()).expect("a network");
    Codebooks::load(folder.path(), &clustered).expect("its codebooks");
    let replaced = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let mut bytes = good.clone();
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).expect("in the header");
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    let is = |bytes: &[u8], word: &str| {
        std::fs::write(&path, bytes).expect("written");
        let text = message(&clustered);
        assert!(text.contains(word) && !text.contains('\n'), "{text}: no {word}");
    };
    is(&[], "not a valid safetensors file");
    is(&good[..good.len() - 1], "not a valid safetensors file");
    is(&replaced("umbra-clusters", "umbra-clustara"), "no \"umbra-clusters\" in its metadata");
    is(&replaced("\"2 slice\"", "\"2 slide\""), "expected version 2 and full, slice or ensemble");
    is(&replaced("\"2 slice\"", "\"1 slice\""), "\"1 slice\", expected version 2");
    is(&replaced("stem.conv.weight.index", "stem.conv.weight.ondex"), "\"stem.conv.weight.index\" is missing");
    is(&replaced("codebook.0", "codebuch.0"), "expected less than 0");
    // The last tensor is an index map: a code that is not in the codebook. The first are reals: one that is not finite.
    let mut bytes = good.clone();
    let end = bytes.len();
    bytes[end - 4..].fill(0xff);
    is(&bytes, "expected less than");
    let mut bytes = good.clone();
    let data = 8 + u64::from_le_bytes(good[..8].try_into().expect("8 bytes")) as usize;
    bytes[data..data + 8].copy_from_slice(&f64::NAN.to_le_bytes());
    is(&bytes, "has the value NaN, expected finite ones");
    // The scales of the stem, all one: none, and one that is not positive.
    is(&replaced("stem.conv.weight.scales", "stem.conv.weight.skales"), "\"stem.conv.weight.scales\" is missing");
    let (_, header) = safetensors::SafeTensors::read_metadata(&good).expect("a header");
    let (start, _) = header.info("stem.conv.weight.scales").expect("scales").data_offsets;
    let mut bytes = good.clone();
    bytes[data + start..data + start + 8].copy_from_slice(&(-1.0f64).to_le_bytes());
    is(&bytes, "has the value -1, expected positive ones");
    std::fs::remove_file(&path).expect("removed");
    assert!(message(&clustered).contains("cannot read codebooks"));
}

#[test]
fn damaged_codebooks_never_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    let clustered = one(&build(&network(8)), ClusterMode::Full, 6);
    clustered.save(folder.path()).expect("written");
    let path = folder.path().join("clusters.safetensors");
    let good = std::fs::read(&path).expect("a file");
    for position in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[position] ^= 0x15;
        std::fs::write(&path, bad).expect("written");
        if let Ok(codebooks) = Codebooks::load(folder.path(), clustered.graph()) {
            // Padding of the header, or the last bits of a codeword or a scale, which rounding to the weight hides.
            for (found, layer) in codebooks.layers().iter().zip(clustered.codebooks().layers()) {
                let near = |(a, b): (&f64, &f64)| (a / b - 1.0).abs() < 1e-6;
                assert!(found.scales.iter().zip(&layer.scales).all(near), "byte {position}");
                assert_eq!(LayerCodes { scales: layer.scales.clone(), ..found.clone() }, *layer, "byte {position}");
            }
        }
    }
}

#[test]
fn numbers_of_codewords_that_make_no_sense_are_refused() {
    let graph = build(&network(9));
    let error = |mode, k| cluster(std::slice::from_ref(&graph), &ClusterOptions::new(mode, k)).expect_err("refused");
    // The largest slice is a column of the last convolution.
    let slice = 8 * 8 * 3;
    let weights = |name: &str| convolution(&graph, name).weight.values().len();
    let total: usize =
        ["stem.conv", "l0.conv1", "l0.conv2", "l1.conv1", "l1.conv2", "l1.shortcut"].map(weights).iter().sum();
    let biases = 4 * 3 + 8 * 2;
    for (mode, limit) in [(ClusterMode::Slice, slice), (ClusterMode::Full, total + biases)] {
        for k in [0, limit + 1, usize::MAX] {
            let text = error(mode, k).to_string();
            assert!(text.starts_with(&format!("k is {k}, expected 1 to {limit}, ")), "{text}");
        }
        one(&graph, mode, limit);
    }
}

#[test]
fn members_that_do_not_fit_are_refused() {
    let graph = build(&network(1));
    let text =
        |mode, members: &[Graph]| cluster(members, &ClusterOptions::new(mode, 8)).expect_err("refused").to_string();
    let alone = text(ClusterMode::Ensemble, std::slice::from_ref(&graph));
    assert!(
        alone.contains("at least two networks") && alone.contains("found 1") && alone.contains("full or slice"),
        "{alone}"
    );
    assert!(text(ClusterMode::Ensemble, &[]).contains("found 0"));
    assert!(text(ClusterMode::Full, &[]).contains("found 0"));
    let two = [graph.clone(), build(&network(2))];
    for mode in [ClusterMode::Full, ClusterMode::Slice] {
        assert!(text(mode, &two).contains("clusters one network, found 2; use mode ensemble"));
    }
    let others: [(ResNet, &[&str]); 5] = [
        (ResNet { widths: vec![4, 9], ..network(2) }, &["\"l1.conv1\"", "[9, 4, 3, 3]", "[8, 4, 3, 3]"]),
        (ResNet { blocks: 2, ..network(2) }, &["node"]),
        (ResNet { bias: true, ..network(2) }, &["\"stem.conv\"", "with bias"]),
        (ResNet { height: 16, ..network(2) }, &["the geometry"]),
        (ResNet { classes: 4, ..network(2) }, &["\"fc\"", "[4, 8]", "[3, 8]"]),
    ];
    for (spec, words) in others {
        let text = text(ClusterMode::Ensemble, &[graph.clone(), build(&network(2)), build(&spec)]);
        for word in ["member 3", "the same architecture"].iter().chain(words) {
            assert!(text.contains(word), "{text}: no {word}");
        }
    }
}

/// A network by hand: a norm that switches channels off, and a convolution whose sum is read twice.
#[test]
fn channels_without_a_factor_become_zero() {
    let input = ImageSpec {
        channels: 1,
        height: 4,
        width: 4,
        normalisation: Normalisation::PerImage { min_std: 0.1 },
        clip: None,
    };
    let mut builder = GraphBuilder::new(Padding::circular(4, 4), input).expect("a graph");
    let tensor = |shape: &[usize], values: Vec<f32>| Tensor::new("t", shape, values).expect("a tensor");
    let weight = tensor(&[3, 1, 3, 3], (0..27).map(|i| (i as f32 - 13.0) / 10.0).collect());
    let x = Operator::Convolution(Convolution { weight, bias: None, stride: 1 });
    let x = builder.add("conv", x, &[NodeId::INPUT]).expect("a node");
    let norm = BatchNorm {
        scale: tensor(&[3], vec![2.0, 0.0, -0.5]),
        shift: tensor(&[3], vec![0.1, 0.2, 0.3]),
        mean: tensor(&[3], vec![0.0, 1.0, 0.0]),
        variance: tensor(&[3], vec![1.0; 3]),
        epsilon: 0.0,
    };
    let x = builder.add("norm", Operator::BatchNorm(norm), &[x]).expect("a node");
    let weight = tensor(&[2, 3, 1, 1], vec![1.0, -2.0, 3.0, 0.5, 0.25, -1.5]);
    let twice = Operator::Convolution(Convolution { weight, bias: Some(tensor(&[2], vec![1.0, 2.0])), stride: 1 });
    let y = builder.add("twice", twice, &[x]).expect("a node");
    let x = builder.add("sum", Operator::Add, &[y, y]).expect("a node");
    let x = builder.add("pool", Operator::AveragePool(Pool::Global), &[x]).expect("a node");
    let graph = builder.finish("by hand", x).expect("a network");
    let clustered = one(&graph, ClusterMode::Full, 4);
    let factors = |layer: usize| clustered.codebooks().layers()[layer].factors.as_slice();
    assert_eq!((factors(0), factors(1)), (&[2.0, 0.0, -0.5][..], &[1.0, 1.0][..]));
    let rows: Vec<&[f32]> = convolution(clustered.graph(), "conv").weight.values().chunks_exact(9).collect();
    assert!(rows[1].iter().all(|w| *w == 0.0) && rows[0].iter().any(|w| *w != 0.0));
    let used: HashMap<&str, usize> =
        clustered.report().layers.iter().map(|l| (l.node.as_str(), l.multiplications_after)).collect();
    assert!(used["conv"] <= 8, "{used:?}");
    // The biases of `twice` are its own; those of `conv` are in the norm.
    let holders: Vec<&str> = clustered.codebooks().biases().iter().map(|b| b.node.as_str()).collect();
    assert_eq!(holders, ["norm", "twice"]);
}

#[test]
fn networks_without_convolutions_are_refused() {
    let input = ImageSpec {
        channels: 1,
        height: 4,
        width: 4,
        normalisation: Normalisation::PerImage { min_std: 0.1 },
        clip: None,
    };
    let mut builder = GraphBuilder::new(Padding::circular(4, 4), input).expect("a graph");
    let x = builder.add("pool", Operator::AveragePool(Pool::Global), &[NodeId::INPUT]).expect("a node");
    let graph = builder.finish("flat", x).expect("a network");
    let error = cluster(&[graph], &ClusterOptions::new(ClusterMode::Full, 4)).expect_err("refused");
    assert!(matches!(&error, ClusterError::NothingToCluster { network } if network == "flat"), "{error}");
}

/// Smooth images with some noise: neighbouring positions go together, as in photographs.
fn photographs(graph: &Graph, count: usize, seed: u64) -> Vec<Vec<u8>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let input = graph.input();
    let image = |rng: &mut ChaCha8Rng| -> Vec<u8> {
        let [dx, dy, phase]: [f64; 3] =
            [rng.random_range(-0.5..0.5), rng.random_range(-0.5..0.5), rng.random_range(0.0..6.0)];
        (0..input.len())
            .map(|i| {
                let (row, column) = (i / input.width % input.height, i % input.width);
                let wave = (dx * column as f64 + dy * row as f64 + phase).sin();
                (128.0 + 80.0 * wave + rng.random_range(-30.0..30.0)) as u8
            })
            .collect()
    };
    (0..count).map(|_| image(&mut rng)).collect()
}

fn with_samples(graph: &Graph, samples: Vec<Vec<u8>>) -> Graph {
    let mut builder = GraphBuilder::new(graph.padding(), graph.input().clone()).expect("a builder");
    for node in graph.nodes().iter().skip(1) {
        builder.add(node.name(), node.operator().clone(), node.inputs()).expect("a node");
    }
    let description = umbra_model::Description { samples, ..graph.description().clone() };
    builder.finish_with(description, graph.ranges().clone(), graph.output()).expect("a network")
}

/// Mean square of the difference of logits, on images.
fn difference(a: &Graph, b: &Graph, images: &[Vec<u8>]) -> f64 {
    let logits = |graph: &Graph, image: &Vec<u8>| {
        let image = graph.input().normalise(image).expect("of the right size");
        Reference::<f64>::new(graph).forward(&image).expect("logits")
    };
    let each = images.iter().flat_map(|p| logits(a, p).into_iter().zip(logits(b, p)).collect::<Vec<_>>());
    each.map(|(a, b)| (a - b).powi(2)).sum::<f64>()
}

#[test]
fn compensated_errors_move_logits_less() {
    let (mut nearest, mut compensated) = (0.0, 0.0);
    for spec in variants() {
        let graph = build(&spec);
        let graph = with_samples(&graph, photographs(&graph, 16, 1));
        let fresh = photographs(&graph, 16, 2);
        for (mode, k) in [(ClusterMode::Slice, 6), (ClusterMode::Full, 16)] {
            let mut options = ClusterOptions::new(mode, k);
            options.keep_biases = true;
            let error = |options: &ClusterOptions| {
                let clustered = cluster(std::slice::from_ref(&graph), options).expect("clusters").remove(0);
                assert_eq!(clustered.graph().description().samples, graph.description().samples);
                difference(&graph, clustered.graph(), &fresh)
            };
            nearest += error(&options);
            options.assignment = Assignment::Compensated;
            compensated += error(&options);
        }
    }
    assert!(compensated < 0.2 * nearest, "{compensated} {nearest}");
}

#[test]
fn small_rows_are_as_precise_as_large_ones() {
    let graph = build(&network(11));
    let graph = with_samples(&graph, photographs(&graph, 8, 3));
    let mut builder = GraphBuilder::new(graph.padding(), graph.input().clone()).expect("a builder");
    // Rows of every convolution are of three sizes.
    for node in graph.nodes().iter().skip(1) {
        let mut operator = node.operator().clone();
        if let Operator::Convolution(c) = &mut operator {
            let row = c.weight.values().len() / c.out_channels();
            let values = c.weight.values().iter().enumerate().map(|(i, w)| w * [1.0, 0.125, 0.01][i / row % 3]);
            c.weight = Tensor::new("w", c.weight.shape(), values.collect()).expect("a tensor");
        }
        builder.add(node.name(), operator, node.inputs()).expect("a node");
    }
    let graph =
        builder.finish_with(graph.description().clone(), graph.ranges().clone(), graph.output()).expect("a network");
    // The largest error of a row over its size.
    let worst = |assignment: Assignment| {
        let mut options = ClusterOptions::new(ClusterMode::Full, 48);
        (options.assignment, options.keep_biases) = (assignment, true);
        let clustered = cluster(std::slice::from_ref(&graph), &options).expect("clusters").remove(0);
        let mut worst = 0.0f64;
        for layer in clustered.codebooks().layers() {
            let (before, after) = (convolution(&graph, &layer.node), convolution(clustered.graph(), &layer.node));
            let row = before.weight.values().len() / before.out_channels();
            let rows = before.weight.values().chunks_exact(row).zip(after.weight.values().chunks_exact(row));
            for (before, after) in rows {
                let square = |difference: f64| difference * difference;
                let error: f64 = before.iter().zip(after).map(|(b, a)| square(f64::from(b - a))).sum();
                worst = worst.max((error / before.iter().map(|b| square(f64::from(*b))).sum::<f64>()).sqrt());
            }
        }
        worst
    };
    let (nearest, compensated) = (worst(Assignment::Nearest), worst(Assignment::Compensated));
    assert!(nearest > 0.5 && compensated < 0.3, "{nearest} {compensated}");
}

#[test]
fn compensated_ensembles_share_the_index_map() {
    let graphs: Vec<Graph> = (1..=3).map(|seed| build(&network(seed))).collect();
    let graphs: Vec<Graph> = graphs.iter().map(|g| with_samples(g, photographs(g, 8, 3))).collect();
    for keep_biases in [false, true] {
        let mut options = ClusterOptions::new(ClusterMode::Ensemble, 40);
        (options.assignment, options.keep_biases) = (Assignment::Compensated, keep_biases);
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| cluster(&graphs, &options)).expect("clusters")
        };
        let members = with(2);
        let folder = tempfile::tempdir().expect("a folder");
        for (member, again) in members.iter().zip(with(1)) {
            assert_eq!(member.codebooks(), again.codebooks());
            assert_eq!(member.codebooks().layers()[1].index, members[0].codebooks().layers()[1].index);
            assert_eq!(member.codebooks().biases(), members[0].codebooks().biases());
            assert_eq!(member.codebooks().biases().is_empty(), keep_biases);
            member.save(folder.path()).expect("written");
            // Weights and clustered biases are codewords to the bit; corrected biases are those of the network.
            let graph = Graph::load(folder.path()).expect("read");
            assert_eq!(&Codebooks::load(folder.path(), &graph).expect("codebooks"), member.codebooks());
        }
    }
}

#[test]
fn images_for_calibration_take_the_place_of_samples() {
    let graph = build(&network(5));
    let compensated = |graph: &Graph, images: Vec<Vec<u8>>| {
        let mut options = ClusterOptions::new(ClusterMode::Slice, 6);
        (options.assignment, options.images) = (Assignment::Compensated, images);
        Ok::<_, ClusterError>(cluster(std::slice::from_ref(graph), &options)?.remove(0))
    };
    // Of little contrast, so that one of full contrast escapes.
    let mut faint = photographs(&graph, 12, 3);
    faint.iter_mut().flatten().for_each(|byte| *byte = 120 + *byte / 16);
    let sampled = compensated(&with_samples(&graph, faint.clone()), Vec::new()).expect("clusters");
    let other = with_samples(&graph, photographs(&graph, 8, 4));
    assert_eq!(compensated(&other, faint.clone()).expect("clusters").codebooks(), sampled.codebooks());
    assert_ne!(compensated(&other, Vec::new()).expect("clusters").codebooks(), sampled.codebooks());
    // It would be most of what moments see.
    faint.insert(3, photographs(&graph, 1, 5).remove(0));
    assert_eq!(compensated(&graph, faint.clone()).expect("clusters").codebooks(), sampled.codebooks());
    faint[0].pop();
    let error = compensated(&graph, faint).expect_err("an image of another size");
    assert!(error.to_string().contains("number of values of the image is 191"), "{error}");
}

#[test]
fn nothing_is_compensated_without_sample_images() {
    let mut options = ClusterOptions::new(ClusterMode::Slice, 4);
    options.assignment = Assignment::Compensated;
    let error = cluster(&[build(&network(1))], &options).expect_err("no samples");
    assert!(matches!(error, ClusterError::NoSamples { .. }), "{error}");
}
