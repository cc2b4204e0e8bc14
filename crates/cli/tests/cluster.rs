//! `umbra cluster`: what it writes is a network like any other.

mod common;

use serde_json::Value;

use common::{Fixture, fixture, network, refused_with, umbra};
use umbra_image::Image;

fn files() -> &'static Fixture {
    static MADE: std::sync::OnceLock<()> = std::sync::OnceLock::new();
    let files = fixture("cluster");
    MADE.get_or_init(|| {
        network(2).build().unwrap().save(files.path("other")).unwrap();
        let mut wider = network(3);
        wider.widths = vec![8];
        wider.build().unwrap().save(files.path("wider")).unwrap();
    });
    files
}

fn json(arguments: &[&str]) -> Value {
    let output = umbra().current_dir(&files().folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn clustered_networks_are_compiled_like_any_other() {
    let report = json(&["cluster", "net", "--mode", "slice", "--k", "6", "--out", "slice", "--json"]);
    let member = &report["members"][0];
    assert_eq!((report["mode"].as_str(), report["k"].as_u64()), (Some("slice"), Some(6)));
    // Without sample images there is nothing to compensate errors on.
    assert_eq!(report["assignment"], "nearest");
    let count = |key: &str| member[key].as_u64().unwrap();
    assert!(count("multiplications_after") < count("multiplications_before"));
    assert_eq!(member["layers"].as_array().unwrap().len(), 3);
    assert!(member["layers"][0]["relative_error"].as_f64().unwrap() < 0.5);
    assert!(files().path("slice/clusters.safetensors").is_file());
    let compiled = json(&["compile", "slice", "--out", "slice.umbra", "--json"]);
    assert!(compiled["bytes"].as_u64().unwrap() > 0);
}

#[test]
fn members_of_an_ensemble_get_a_folder_each() {
    let arguments = ["cluster", "net", "--member", "other", "--mode", "ensemble", "--k", "20", "--out", "ensemble"];
    let report = json(&[&arguments[..], &["--seed", "5", "--restarts", "2", "--json"]].concat());
    assert_eq!(report["members"].as_array().unwrap().len(), 2);
    let read = |file: &str| std::fs::read(files().path(file)).unwrap();
    let first = read("ensemble/member-1/clusters.safetensors");
    for member in ["ensemble/member-1", "ensemble/member-2"] {
        assert!(umbra_model::Graph::load(files().path(member)).is_ok());
    }
    // Again, with another number of threads.
    let again = [&["--threads", "3"], &arguments[..9], &["again", "--seed", "5", "--restarts", "2"]].concat();
    umbra().current_dir(&files().folder).args(again).assert().success();
    assert!(read("again/member-1/clusters.safetensors") == first);
}

#[test]
fn arguments_that_do_not_fit_are_refused() {
    let with = |arguments: &[&str], words: &[&str]| {
        let all = [&["cluster"], arguments, &["--out", "no"]].concat();
        refused_with(files(), &all, words);
        assert!(!files().path("no").exists(), "{arguments:?}");
    };
    with(&["net", "--mode", "full", "--k", "0"], &["--k", "expected 1 to"]);
    with(&["net", "--mode", "slice", "--k", "100000"], &["--k", "100000", "expected 1 to", "largest slice"]);
    with(&["net", "--mode", "slice", "--k", "many"], &["--k", "many"]);
    with(&["net", "--mode", "ensemble", "--k", "4"], &["net", "--member", "full or slice"]);
    with(&["net", "--member", "other", "--mode", "slice", "--k", "4"], &["--member", "--mode ensemble"]);
    with(&["net", "--member", "nowhere", "--mode", "ensemble", "--k", "4"], &["nowhere"]);
    with(&["net", "--member", "wider", "--mode", "ensemble", "--k", "4"], &["wider", "[8, 3, 3, 3]", "architecture"]);
    with(&["net.umbra", "--mode", "full", "--k", "4"], &["net.umbra", "program"]);
    with(&["net", "--mode", "some", "--k", "4"], &["full", "slice", "ensemble"]);
    with(&["net", "--mode", "ensemble", "--k", "4", "--restarts", "0"], &["--restarts"]);
    refused_with(files(), &["cluster", "net", "--mode", "full", "--k", "4", "--out", "net"], &["net", "another"]);
    with(&["net", "--mode", "slice", "--k", "4", "--assign", "compensated"], &["--assign", "sample images", "nearest"]);
}

/// Writes real images as the data set has them.
fn records(file: &str) {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let shipped = umbra_model::Graph::load(root.join("zoo/r20-16-cifar10-cyclic")).unwrap();
    let record = |(name, label): (&str, u8)| {
        let image = Image::load(root.join(format!("assets/images/{name}.png")), shipped.input()).unwrap();
        [&[label], image.bytes()].concat()
    };
    let records: Vec<u8> =
        [("cat", 3), ("dog", 5), ("horse", 7), ("ship", 8), ("truck", 9)].into_iter().flat_map(record).collect();
    std::fs::write(files().path(file), records).unwrap();
}

#[test]
fn the_shipped_network_is_compensated() {
    let arguments = ["cluster", "r20-16-cifar10-cyclic", "--mode", "slice", "--k", "8", "--json"];
    let codebooks = |out: &str, more: &[&str]| {
        let report = json(&[&arguments[..], &["--out", out], more].concat());
        assert_eq!(report["assignment"], "compensated");
        let graph = umbra_model::Graph::load(files().path(out)).unwrap();
        let clustering = &graph.description().training["clustering"];
        let codebooks = umbra_cluster::Codebooks::load(files().path(out), &graph).unwrap();
        (clustering["images"].as_u64(), codebooks)
    };
    let shipped = codebooks("shipped", &[]);
    assert_eq!(shipped.0, Some(16));
    records("data.bin");
    let data = codebooks("calibrated", &["--data", "data.bin", "--limit", "4"]);
    assert_eq!(data.0, Some(4));
    assert_ne!(data.1, shipped.1);
    let refused = |more: &[&str], words: &[&str]| {
        refused_with(files(), &[&arguments[..], &["--out", "no"], more].concat(), words)
    };
    refused(&["--limit", "4"], &["--data"]);
    refused(&["--data", "data.bin", "--assign", "nearest"], &["--data", "--assign compensated"]);
    refused(&["--data", "none"], &["none"]);
    refused(&["--data", "net"], &["net", "this is a safetensors file"]);
    refused(&["--data", "data.bin", "--limit", "0"], &["--limit"]);
}
