//! `umbra bench paper` from beginning to end, on small networks and few images.

mod common;

use std::path::Path;

use serde_json::Value;

use common::umbra;
use umbra_model::zoo::ResNet;

#[test]
fn tables_and_plots_say_what_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let network = |seed| ResNet { widths: vec![2], blocks: 1, seed, ..ResNet::default() };
    network(1).build().unwrap().save(path("net")).unwrap();
    network(2).build().unwrap().save(path("net2")).unwrap();
    // Three images in the format of CIFAR-10.
    let record = |label: u8| std::iter::once(label).chain((0..3072).map(move |i| (i as u8).wrapping_mul(label + 3)));
    let dataset = network(1).build().unwrap().description().dataset.clone();
    let baseline = format!(r#"{{"name": "R8", "dataset": {dataset:?}, "accuracy_plain": 33.5, "epochs": 3}}"#);
    std::fs::write(path("baseline.json"), baseline).unwrap();
    std::fs::create_dir(path("data")).unwrap();
    for part in ["test_batch", "data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"] {
        std::fs::write(path("data").join(part).with_extension("bin"), (0..3).flat_map(record).collect::<Vec<u8>>())
            .unwrap();
    }
    let paper = |out: &str| {
        let mut command = umbra();
        command.current_dir(folder.path()).args(["bench", "paper", "net", "--member", "net2", "--data", "data"]);
        command
            .args([
                "--baseline",
                "baseline.json",
                "--sample",
                "1",
                "--runs",
                "1",
                "--k",
                "4,16",
                "--ensemble-k",
                "8",
                "--passes",
                "8x2",
                "--out",
                out,
            ])
            .unwrap()
    };
    let output = paper("out");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let out = path("out");
    let json = |name: &str| -> Value { serde_json::from_slice(&std::fs::read(out.join(name)).unwrap()).unwrap() };
    let rows = |name: &str| json(name).as_array().unwrap().len();
    // The baseline; in the clear, clustered with two numbers of codewords in two ways, one of them calibrated on the
    // training images; one image, a batch: simulated and encrypted; the ensemble: in both packings, in the clear, and
    // clustered.
    assert_eq!(rows("accuracy.json"), 1 + 1 + 2 * 2 + 2 * 2 + 2 * 2 + 1 + 1);
    let accuracy = json("accuracy.json");
    assert!(accuracy.as_array().unwrap().iter().all(|row| row["accuracy, %"].is_number()), "{accuracy}");
    assert_eq!((&accuracy[0]["network"], &accuracy[0]["accuracy, %"]), (&"R8, ReLU".into(), &33.5.into()));
    // One image in both packings, a full batch, the ensemble in both packings, two numbers of codewords, the ensemble
    // clustered.
    assert_eq!(rows("latency.json"), 5 + 2 + 1);
    let latency = json("latency.json");
    assert!(latency.as_array().unwrap().iter().all(|row| row["seconds for each"].is_number()), "{latency}");
    assert_eq!(rows("levels.json"), 8);
    for name in ["accuracy", "latency", "levels"] {
        assert!(out.join(name).with_extension("csv").is_file() && out.join(name).with_extension("md").is_file());
    }
    let page = std::fs::read_to_string(out.join("paper.md")).unwrap();
    for plot in ["clusters.svg", "times.svg", "levels.svg"] {
        assert!(page.contains(plot) && std::fs::read_to_string(out.join(plot)).unwrap().starts_with("<svg"));
    }

    // Run again, nothing is measured anew; what is lost, is.
    let made = |name: &str| std::fs::metadata(out.join(name)).unwrap().modified().unwrap();
    let before = [made("jobs/plain.json"), made("jobs/multiplexed-time.json")];
    std::fs::remove_file(out.join("jobs/multiplexed-time.json")).unwrap();
    assert!(paper("out").status.success());
    assert_eq!(made("jobs/plain.json"), before[0]);
    assert!(made("jobs/multiplexed-time.json") > before[1]);
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], words: &[&str]| {
        let output = umbra()
            .current_dir(folder.path())
            .args(["bench", "paper", "--out", "out"])
            .args(arguments)
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    refused(&["missing", "--data", "x"], &["missing"]);
    refused(&["--data", "x"], &["eval", "x"]);
    refused(&["--data", "x", "--k", "0"], &["--k"]);
    let baseline = folder.path().join("baseline.json");
    let with = |text: &str, words: &[&str]| {
        std::fs::write(&baseline, text).unwrap();
        refused(&["--data", "x", "--baseline", "baseline.json"], &[&["--baseline baseline.json"], words].concat());
    };
    with("{}", &["umbra_train export"]);
    with(r#"{"name": "R", "dataset": "CIFAR-10", "accuracy_plain": 910}"#, &["910", "percentage"]);
    with(r#"{"name": "R", "dataset": "CIFAR-100", "accuracy_plain": 70}"#, &["CIFAR-100", "CIFAR-10"]);
    refused(&["--data", "x", "--baseline", "none.json"], &["none.json", "--baseline", "No such file"]);
    assert!(!Path::new(&folder.path().join("out/paper.md")).exists());
}
