//! The shipped network at full size.

mod common;

use std::path::PathBuf;

use common::{Mode, logits, run};
use safetensors::SafeTensors;
use umbra_compiler::{CompileOptions, compile};
use umbra_model::{Graph, Reference};

fn zoo() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../zoo/r20-16-cifar10-cyclic")
}

/// The images of the test vectors, normalised.
fn images(graph: &Graph, count: usize) -> Vec<Vec<f32>> {
    let bytes = std::fs::read(zoo().join("r20-16.vectors.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let images = tensors.tensor("pictures").unwrap();
    images.data().chunks(graph.input().len()).take(count).map(|p| graph.input().normalise(p).unwrap()).collect()
}

#[test]
fn r20_16_fits_at_2_15_and_keeps_its_promise() {
    let graph = Graph::load(zoo()).unwrap();
    let program = compile(&graph, &CompileOptions::default()).unwrap();
    println!("{program}");
    assert_eq!(program.client.parameters.log_n, 15);
    assert!(program.report.log_qp <= 868.0);
    assert_eq!(program.client.parameters.levels.len(), 20);
    assert!(program.report.key_bytes < 1_000_000_000);

    let reference = Reference::<f64>::new(&graph);
    let (mut squares, mut count, mut worst) = (0.0, 0, 0.0f64);
    for (i, image) in images(&graph, 6).iter().enumerate() {
        let plain = reference.forward(image).unwrap();
        if i == 0 {
            let uncorrected = compile(&graph, &common::exact(&CompileOptions::default())).unwrap();
            let (exact, rest) = logits(&uncorrected, &run(&uncorrected, image, Mode::Exact));
            for (a, b) in plain.iter().zip(&exact) {
                assert!((a - b).abs() < 1e-4, "{plain:?} {exact:?}");
            }
            assert!(rest < 1e-9);
        }
        let (noisy, _) = logits(&program, &run(&program, image, Mode::Noisy(i as u64)));
        for (a, b) in plain.iter().zip(&noisy) {
            squares += (a - b).powi(2);
            count += 1;
            worst = worst.max((a - b).abs());
        }
    }
    let measured = (squares / f64::from(count)).sqrt();
    println!("measured {measured:.2e} (worst {worst:.2e}), predicted {:.2e}", program.report.logit_error_std);
    let ratio = measured / program.report.logit_error_std;
    assert!((0.4..2.5).contains(&ratio), "{measured} measured, {} predicted", program.report.logit_error_std);
    assert!(worst < 0.3);
}
