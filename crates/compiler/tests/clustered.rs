//! Clustering outlives the passes: after fusing and redistribution an output channel still has no more distinct weights
//! than clustering counted.

use std::collections::BTreeSet;

use umbra_cluster::{ClusterMode, ClusterOptions, cluster};
use umbra_compiler::circuit::{Kernel, Operation};
use umbra_compiler::{fuse::fuse, lower::lower, redistribute::redistribute};
use umbra_model::zoo::{Activation, NormPlacement, ResNet};

/// Distinct magnitudes of each row of each convolution after the passes, added up.
fn distinct(graph: &umbra_model::Graph) -> (usize, usize) {
    let mut circuit = lower(graph).expect("a circuit");
    fuse(&mut circuit);
    redistribute(&mut circuit).expect("bare squares");
    let (mut weights, mut sum) = (0, 0);
    for value in circuit.values.iter().filter(|v| !v.nodes.iter().any(|n| n == "fc")) {
        let Operation::Affine(affine) = &value.operation else { continue };
        for term in &affine.terms {
            if let Kernel::Dense { taps, inputs, weights: all, .. } = &term.kernel {
                weights += all.len();
                for row in all.chunks_exact(taps.len() * inputs) {
                    let magnitudes = row.iter().filter(|w| **w != 0.0).map(|w| w.abs().to_bits());
                    sum += magnitudes.collect::<BTreeSet<_>>().len();
                }
            }
        }
    }
    (weights, sum)
}

#[test]
fn passes_keep_shared_weights_shared() {
    for activation in [Activation::Shared, Activation::PerChannel] {
        for norm in [NormPlacement::AfterSum, NormPlacement::BeforeSum] {
            let spec = ResNet {
                widths: vec![4, 8],
                blocks: 2,
                height: 8,
                width: 8,
                bias: true,
                activation,
                norm,
                ..ResNet::default()
            };
            let graph = spec.build().expect("a network");
            for (mode, k) in [(ClusterMode::Slice, 6), (ClusterMode::Full, 20)] {
                let clustered = cluster(std::slice::from_ref(&graph), &ClusterOptions::new(mode, k)).expect("clusters");
                let report = clustered[0].report();
                let (weights, after) = distinct(clustered[0].graph());
                assert_eq!(weights, report.multiplications_before, "all convolutions are there");
                assert!(
                    after <= report.multiplications_after,
                    "{activation:?} {norm:?} {mode}: {after} distinct, {} counted",
                    report.multiplications_after
                );
                assert!(report.multiplications_after < weights && distinct(&graph).1 > after);
            }
        }
    }
}
