//! Networks on disk: what is saved is loaded, and what is wrong is named.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use umbra_model::zoo::{Activation, NormPlacement, ResNet, Shortcut};
use umbra_model::{Graph, GraphError, Manifest, ModelError, NodeId, Operator, Reference};

fn small() -> ResNet {
    ResNet { widths: vec![2, 4], blocks: 1, height: 8, width: 8, classes: 3, ..ResNet::default() }
}

/// A small network, its manifest as JSON and its weights.
fn encoded() -> (Value, Vec<u8>) {
    let (manifest, weights) = small().build().expect("a network").encode("w.safetensors").expect("files");
    (serde_json::from_str(&manifest).expect("JSON"), weights)
}

fn graph(manifest: &Value, weights: &[u8]) -> Result<Graph, GraphError> {
    Manifest::decode(manifest.to_string().as_bytes())?.graph(weights)
}

/// The error that a change of the manifest causes.
fn error(change: impl FnOnce(&mut Value)) -> GraphError {
    let (mut manifest, weights) = encoded();
    change(&mut manifest);
    let error = graph(&manifest, &weights).expect_err("a wrong manifest");
    assert!(!error.to_string().contains('\n'), "{error}");
    error
}

fn node<'a>(manifest: &'a mut Value, name: &str) -> &'a mut Value {
    let nodes = manifest["nodes"].as_array_mut().expect("nodes");
    nodes.iter_mut().find(|n| n["name"] == name).expect(name)
}

/// A safetensors file with the given tensors.
fn safetensors(tensors: &[(&str, &str, &[usize], &[u8])]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (key, dtype, shape, bytes) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        header.insert((*key).into(), json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}));
        data.extend_from_slice(bytes);
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

#[test]
fn saved_networks_are_loaded_as_they_were() -> Result<(), ModelError> {
    let folder = tempfile::tempdir().expect("a folder");
    let variants = [
        small(),
        ResNet { activation: Activation::PerChannel, norm: NormPlacement::BeforeSum, bias: true, ..small() },
        ResNet { circular: false, shortcut: Shortcut::ProjectionEverywhere, height: 7, width: 5, ..small() },
    ];
    for (number, spec) in variants.iter().enumerate() {
        let graph = spec.build().expect("a network");
        let path = folder.path().join(format!("network-{number}"));
        graph.save(&path)?;
        assert_eq!(Graph::load(&path)?, graph);
        assert_eq!(Graph::load(path.join("manifest.json"))?, graph);
    }
    let path = folder.path().join("network-0");
    let text = std::fs::read(path.join("manifest.json")).expect("a file");
    let mut manifest: Value = serde_json::from_slice(&text).expect("JSON");
    manifest["input"]["normalisation"]["clip"] = json!(5.0);
    std::fs::write(path.join("manifest.json"), manifest.to_string()).expect("written");
    let clipped = Graph::load(&path)?;
    assert_eq!(clipped.input().clip, Some(5.0));
    clipped.save(folder.path().join("clipped"))?;
    assert_eq!(Graph::load(folder.path().join("clipped"))?, clipped);
    Ok(())
}

#[test]
fn nodes_may_come_in_any_order() {
    let (mut manifest, weights) = encoded();
    let expected = graph(&manifest, &weights).expect("a network");
    manifest["nodes"].as_array_mut().expect("nodes").reverse();
    let found = graph(&manifest, &weights).expect("a network");
    let image = vec![0.5; found.input().len()];
    let logits = |graph: &Graph| Reference::<f64>::new(graph).forward(&image).expect("logits");
    assert_eq!(logits(&found), logits(&expected));
    for (id, node) in found.iter() {
        assert!(node.inputs().iter().all(|input| *input < id));
    }
}

#[test]
fn half_precision_and_tensors_of_coefficients_are_read() {
    let manifest = json!({
        "format": "umbra-network", "version": 1, "name": "half", "classes": ["a", "b"], "padding": "circular",
        "input": {"channels": 2, "height": 1, "width": 1,
                  "normalisation": {"kind": "per_channel", "mean": [0.5, 0.5], "std": [0.25, 0.5]}},
        "weights": "w.safetensors",
        "nodes": [
            {"name": "act", "op": "polynomial", "input": "input", "coefficients": "c"},
            {"name": "fc", "op": "linear", "input": "act", "weight": "w", "bias": null},
        ],
        "output": "fc",
        "ranges": {"logits": [-1.0, 2.0], "activations": {"act": [-2.0, 2.0]}},
    });
    // F16: 1, 2, -1, 0.5; F32 coefficients [1, 0, 2], [0, 1, 0].
    let half: Vec<u8> = [0x3c00u16, 0x4000, 0xbc00, 0x3800].iter().flat_map(|w| w.to_le_bytes()).collect();
    let single: Vec<u8> = [1f32, 0., 2., 0., 1., 0.].iter().flat_map(|w| w.to_le_bytes()).collect();
    let weights = safetensors(&[("c", "F32", &[2, 3], &single), ("w", "F16", &[2, 2], &half)]);
    let graph = graph(&manifest, &weights).expect("a network");
    assert_eq!(graph.ranges().logits, Some([-1.0, 2.0]));
    assert_eq!(graph.ranges().activations[&graph.find("act").expect("act")], [-2.0, 2.0]);
    let input = graph.input().normalise(&[255, 0]).expect("an image");
    assert_eq!(input, [2.0, -1.0]);
    // act: [1 + 2 * 4, -1]; fc: [9 - 2, -9 - 0.5].
    assert_eq!(Reference::<f64>::new(&graph).forward(&input).expect("logits"), [7.0, -9.5]);
}

#[test]
fn structure_that_does_not_hold_is_named() {
    let is = |error: GraphError, parts: &[&str]| {
        for part in parts {
            assert!(error.to_string().contains(part), "{error}: no {part}");
        }
    };
    let cycle = error(|m| node(m, "stem.conv")["input"] = json!("l0.act2"));
    assert!(matches!(&cycle, GraphError::Cycle { nodes } if nodes.first() == nodes.last() && nodes.len() > 3));
    is(cycle, &["cycle: ", "stem.conv -> stem.bn -> stem.act"]);
    is(error(|m| node(m, "l0.add")["inputs"] = json!(["l0.add", "stem.act"])), &["l0.add -> l0.add"]);
    is(error(|m| node(m, "stem.act")["op"] = json!("relu")), &["\"stem.act\"", "\"relu\"", "polynomial"]);
    is(error(|m| node(m, "l0.bn1")["name"] = json!("l0.act1")), &["two nodes are named \"l0.act1\""]);
    is(error(|m| node(m, "pool")["name"] = json!("input")), &["\"input\""]);
    is(error(|m| node(m, "fc")["input"] = json!("pooling")), &["\"fc\"", "\"pooling\" is not a node"]);
    is(error(|m| m["output"] = json!("logits")), &["\"logits\" is not a node"]);
    is(error(|m| m["output"] = json!("l1.act2")), &["the output's shape", "4 channels x 32 positions"]);
    is(error(|m| m["output"] = json!("pool")), &["number of class names is 3, expected 4"]);
    is(
        error(|m| {
            node(m, "l1.add")["inputs"] = json!(["l1.conv2", "l1.conv2"]);
        }),
        &["\"l1.shortcut\": nothing uses its result"],
    );
}

#[test]
fn shapes_and_values_that_do_not_fit_are_named() {
    let is = |change: fn(&mut Value), parts: &[&str]| {
        let error = error(change).to_string();
        for part in parts {
            assert!(error.contains(part), "{error}: no {part}");
        }
    };
    is(|m| node(m, "l1.conv2")["input"] = json!("stem.act"), &["l1.conv2", "[4, 4, 3, 3]", "[4, 2, 3, 3]"]);
    is(|m| node(m, "l0.add")["inputs"] = json!(["l0.conv2", "l1.act1"]), &["cycle"]);
    is(|m| node(m, "l1.add")["inputs"] = json!(["l1.conv2", "stem.act"]), &["l1.add", "second input"]);
    is(|m| node(m, "l0.add")["inputs"] = json!(["l0.conv2"]), &["l0.add", "number of inputs is 1, expected 2"]);
    is(|m| node(m, "l0.conv1")["stride"] = json!(3), &["l0.conv1", "stride is 3, expected 1 or 2"]);
    is(|m| node(m, "fc")["weight"] = json!("stem.conv.weight"), &["fc", "weight", "[outputs, features]"]);
    is(|m| node(m, "fc")["weight"] = json!("fc.w"), &["fc", "\"fc.w\" is not in \"w.safetensors\""]);
    is(|m| node(m, "pool")["kernel"] = json!(4), &["pool", "global"]);
    is(|m| node(m, "pool")["kernel"] = json!("max"), &["pool", "kernel must be"]);
    is(|m| node(m, "stem.act")["coefficients"] = json!([1, 2]), &["stem.act", "coefficients must be"]);
    is(|m| node(m, "stem.act")["coefficients"] = json!("fc.weight"), &["stem.act", "[3, 4]", "[C, 3]"]);
    is(|m| node(m, "stem.bn")["epsilon"] = json!(-1.0), &["stem.bn", "epsilon is -1"]);
    is(|m| node(m, "stem.bn")["scale"] = json!("l1.bn1.scale"), &["stem.bn", "scale is [4], expected [2]"]);
    is(|m| node(m, "stem.bn")["momentum"] = json!(0.1), &["stem.bn", "momentum"]);
    is(|m| m["input"]["height"] = json!(1u64 << 40), &["input: height is 1099511627776, expected 1 to 1024"]);
    is(|m| m["input"]["width"] = json!(0), &["input: width is 0"]);
    is(|m| m["input"]["normalisation"]["min_std"] = json!(0), &["min_std"]);
    is(|m| m["input"]["normalisation"]["clip"] = json!(-5), &["input: clip is -5, expected a positive number"]);
    is(|m| m["padding"] = json!("hexagonal"), &["hexagonal", "circular", "zero"]);
    is(|m| m["weights"] = json!("../secret"), &["\"weights\"", "same folder"]);
    is(|m| m["weights"] = json!("/etc/passwd"), &["\"weights\"", "same folder"]);
    is(|m| m["ranges"]["logits"] = json!([2.0, 1.0]), &["ranges: logits"]);
    is(|m| m["ranges"]["activations"] = json!({"pool": [0.0, 1.0]}), &["polynomial"]);
    is(|m| m["ranges"]["activations"] = json!({"none": [0.0, 1.0]}), &["none"]);
    is(|m| m["version"] = json!(2), &["version 2", "reads \"umbra-network\" version 1"]);
    is(|m| m["format"] = json!("onnx"), &["\"onnx\""]);
    is(|m| m["nodes"][0] = json!({"op": "add"}), &["node number 0", "\"name\" is missing"]);
    is(|m| m["nodes"][0] = json!([]), &["not a valid manifest"]);
    is(|m| m["layers"] = json!([]), &["layers"]);
}

#[test]
fn weights_that_are_none_are_named() {
    let (manifest, weights) = encoded();
    let text = |weights: &[u8]| graph(&manifest, weights).expect_err("wrong weights").to_string();
    let position = 8 + u64::from_le_bytes(weights[..8].try_into().expect("8 bytes")) as usize;
    for (value, name) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let mut bad = weights.clone();
        bad[position..position + 4].copy_from_slice(&value.to_le_bytes());
        let error = text(&bad);
        assert!(error.contains(&format!("value 0 is {name}")) && error.contains("tensor"), "{error}");
    }
    assert!(text(&[]).contains("not a valid safetensors file"));
    assert!(text(&weights[..weights.len() - 1]).contains("not a valid safetensors file"));
    let huge = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    assert!(text(&huge).contains("not a valid safetensors file"));
    let ints = safetensors(&[("stem.conv.weight", "I64", &[1], &[0; 8])]);
    assert!(text(&ints).contains("is of type I64, expected F32 or F16"));
    let variance = encoded().0.to_string().replace("\"stem.bn.variance\"", "\"stem.bn.shift\"");
    let negative = Manifest::decode(variance.as_bytes()).expect("a manifest").graph(&weights);
    assert!(negative.expect_err("negative variance").to_string().contains("variance of channel"));
}

#[test]
fn bytes_that_are_no_manifest_never_panic() {
    let (manifest, weights) = encoded();
    let json = manifest.to_string().into_bytes();
    for bytes in [&b""[..], b"{", b"[]", b"null", b"\xff\xfe", &b"[".repeat(100_000)] {
        assert!(matches!(Manifest::decode(bytes), Err(GraphError::Syntax { .. })));
    }
    for position in 0..json.len() {
        assert!(Manifest::decode(&json[..position]).is_err());
        let mut bad = json.clone();
        bad[position] ^= 0x05;
        // Some changes are harmless, such as those of a class name.
        let _ = Manifest::decode(&bad).and_then(|manifest| manifest.graph(&weights));
    }
    let head = 8 + u64::from_le_bytes(weights[..8].try_into().expect("8 bytes")) as usize;
    let manifest = Manifest::decode(&json).expect("a manifest");
    for position in 0..head {
        let mut bad = weights.clone();
        bad[position] ^= 0x05;
        let _ = manifest.graph(&bad);
    }
}

#[test]
fn files_that_are_not_there_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let message = |path: &Path| Graph::load(path).expect_err("no network").to_string();
    let missing = message(&folder.path().join("net.json"));
    assert!(missing.contains("net.json: cannot read a manifest: No such file"), "{missing}");
    let (manifest, _) = encoded();
    fs::write(folder.path().join("manifest.json"), manifest.to_string()).expect("a manifest");
    let missing = message(folder.path());
    assert!(missing.contains("w.safetensors: cannot read weights: No such file"), "{missing}");
    fs::create_dir(folder.path().join("w.safetensors")).expect("a folder");
    assert!(message(folder.path()).contains("not a regular file"));
    let large = fs::File::create(folder.path().join("manifest.json")).expect("a file");
    large.set_len(1 << 40).expect("a sparse file");
    assert!(message(folder.path()).contains("1099511627776 bytes, at most"));
}

#[test]
fn graphs_can_be_asked() {
    let graph = small().build().expect("a network");
    assert_eq!(graph.node(NodeId::INPUT).operator(), &Operator::Input);
    let readers = graph.readers();
    let stem = graph.find("stem.act").expect("a node");
    let names: Vec<&str> = readers[stem.index()].iter().map(|&id| graph.node(id).name()).collect();
    assert_eq!(names, ["l0.conv1", "l0.add"]);
    assert!(readers[graph.output().index()].is_empty());
    assert_eq!(graph.find("nowhere"), None);
}

#[test]
fn samples_are_kept_and_wrong_ones_named() -> Result<(), GraphError> {
    let (mut manifest, mut tensors) = (encoded().0, Vec::new());
    let weights = encoded().1;
    let file = safetensors::SafeTensors::deserialize(&weights).expect("weights");
    let images: Vec<u8> = (0..2 * 3 * 8 * 8).map(|i| (i * 7 % 256) as u8).collect();
    let named = file.tensors();
    for (key, view) in &named {
        tensors.push((key.as_str(), "F32", view.shape(), view.data()));
    }
    tensors.push(("samples", "U8", &[2, 3, 8, 8], &images[..]));
    tensors.push(("wide", "U8", &[3, 2, 8, 8], &images[..]));
    tensors.push(("none", "U8", &[0, 3, 8, 8], &[]));
    let many = vec![0; 65 * 192];
    tensors.push(("many", "U8", &[65, 3, 8, 8], &many));
    let weights = safetensors(&tensors);
    let mut with = |key: &str| {
        manifest["samples"] = json!(key);
        graph(&manifest, &weights)
    };
    let found = with("samples")?;
    assert_eq!(found.description().samples, [&images[..192], &images[192..]]);
    // Saved, they come back.
    let (saved, bytes) = found.encode("w.safetensors")?;
    assert_eq!(Manifest::decode(saved.as_bytes())?.graph(&bytes)?, found);
    assert!(with("none")?.description().samples.is_empty());
    for (key, what) in
        [("missing", "lacks"), ("stem.conv.weight", "F32"), ("wide", "[3, 2, 8, 8]"), ("many", "U8 [65, 3, 8, 8]")]
    {
        // The tensor is named: it is looked at before its images are copied.
        let error = with(key).expect_err(key).to_string();
        assert!(error.contains(what) && error.contains("at most 64, C") && !error.contains('\n'), "{key}: {error}");
    }
    Ok(())
}

#[test]
fn control_characters_are_refused_in_whatever_is_shown() {
    for (field, value) in
        [("name", json!("R20\u{1b}[2J")), ("dataset", json!("CIFAR\n10")), ("classes", json!(["a", "b", "c\u{9b}"]))]
    {
        let error = error(|m| m[field] = value);
        assert!(matches!(error, GraphError::Invalid { .. }), "{field}: {error:?}");
        let text = error.to_string();
        assert!(text.contains("printable") && !text.chars().any(char::is_control), "{field}: {text:?}");
    }
    let (mut manifest, weights) = encoded();
    manifest["classes"][0] = json!("Känguru \u{1f998}");
    assert!(graph(&manifest, &weights).is_ok());
}

/// Manifests of version 0.1 named their padding and normalisation otherwise; those of the zoo still do.
#[test]
fn names_of_version_0_1_are_read_and_the_new_ones_written() {
    let folder = tempfile::tempdir().unwrap();
    for (circular, old, new) in [(true, "cyclic", "circular"), (false, "textbook", "zero")] {
        let graph = ResNet { circular, widths: vec![4], blocks: 1, height: 8, width: 8, ..ResNet::default() }.build();
        let graph = graph.unwrap();
        graph.save(folder.path()).unwrap();
        let path = folder.path().join("manifest.json");
        let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!((&manifest["padding"], &manifest["geometry"]), (&json!(new), &Value::Null));
        assert_eq!(manifest["input"]["normalisation"]["kind"], "per_image");
        manifest.as_object_mut().unwrap().remove("padding");
        manifest["geometry"] = json!(old);
        manifest["input"]["normalisation"]["kind"] = json!("per_picture");
        fs::write(&path, manifest.to_string()).unwrap();
        assert_eq!(Graph::load(folder.path()).unwrap(), graph);
    }
}
