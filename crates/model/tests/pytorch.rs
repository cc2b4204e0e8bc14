//! Every network of the zoo that comes with vectors from PyTorch gives the same inputs, activations and logits here.

use std::fs;
use std::path::PathBuf;

use safetensors::{Dtype, SafeTensors};
use umbra_model::{Graph, Reference};

fn floats(tensors: &SafeTensors<'_>, key: &str) -> Vec<f32> {
    let view = tensors.tensor(key).expect(key);
    assert_eq!(view.dtype(), Dtype::F32, "{key}");
    let words = view.data().as_chunks::<4>().0;
    words.iter().map(|w| f32::from_le_bytes(*w)).collect()
}

/// The largest difference, relative to values above 1.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let each = a.iter().zip(b).map(|(a, b)| (a - b).abs() / b.abs().max(1.0));
    each.fold(0.0, f32::max)
}

#[test]
fn the_zoo_agrees_with_pytorch() {
    let zoo = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../zoo"));
    let mut compared = 0;
    for network in fs::read_dir(&zoo).expect("the zoo") {
        let folder = network.expect("an entry").path();
        if !folder.join("manifest.json").exists() {
            continue;
        }
        let graph = Graph::load(&folder).unwrap_or_else(|e| panic!("{e}"));
        let reference = Reference::<f32>::new(&graph);
        let files = fs::read_dir(&folder).expect("a network");
        let files = files.map(|f| f.expect("a file").path());
        for file in files.filter(|f| f.to_string_lossy().ends_with(".vectors.safetensors")) {
            let bytes = fs::read(&file).expect("vectors");
            let vectors = SafeTensors::deserialize(&bytes).expect("vectors");
            // Networks that were exported by version 0.1 have the old name.
            let images = vectors.tensor("images").or_else(|_| vectors.tensor("pictures")).expect("images");
            let (inputs, logits) = (floats(&vectors, "inputs"), floats(&vectors, "logits"));
            let n = images.shape()[0];
            assert!(n > 0);
            for i in 0..n {
                let size = graph.input().len();
                let image = &images.data()[i * size..(i + 1) * size];
                let input = graph.input().normalise(image).expect("an image");
                assert!(difference(&input, &inputs[i * size..(i + 1) * size]) < 1e-5);

                let (found, activations) = reference.activations(&input).expect("a forward");
                let classes = graph.classes().len();
                let error = difference(&found, &logits[i * classes..(i + 1) * classes]);
                assert!(error < 1e-4, "{}: logits of image {i} differ by {error}", graph.name());
                for (id, found) in activations.iter().filter(|_| i < 2) {
                    let key = format!("activation.{}", graph.node(*id).name());
                    let expected = floats(&vectors, &key);
                    let part = &expected[i * found.len()..(i + 1) * found.len()];
                    let error = difference(found, part);
                    assert!(error < 1e-4, "{}: {key} of image {i} differs by {error}", graph.name());
                }
                compared += 1;
            }
        }
    }
    assert!(compared >= 20, "only {compared} images in {}", zoo.display());
}
