//! Three parties' steps over files, and the commands that report.

mod common;

use common::{fixture, network, picture, umbra};
use serde_json::Value;
use umbra_image::{Image, top_class};
use umbra_model::{Dataset, DatasetKind, Description, Graph, GraphBuilder, Reference};

fn json(arguments: &[&str]) -> Value {
    let output = umbra().current_dir(&fixture("flow").folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn what_is_decrypted_is_what_the_network_says() {
    let files = fixture("flow");
    let report = json(&["decrypt", "net.umbra", "--key", "keys/secret.key", "output.ct", "--json"]);
    let graph = Graph::load(files.path("net")).unwrap();
    let values = graph.input().normalise(Image::load(picture(), graph.input()).unwrap().bytes()).unwrap();
    let plain = Reference::<f64>::new(&graph).forward(&values).unwrap();
    let logits: Vec<f64> = report["logits"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert_eq!(logits.len(), 3);
    let error = logits.iter().zip(&plain).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(error < 0.3, "{error}: {logits:?} {plain:?}");
    let class = &graph.classes()[top_class(&logits).unwrap()];
    assert_eq!(report["class"].as_str(), Some(class.as_str()));
    let sum: f64 = report["probabilities"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-9);
}

#[test]
fn a_network_is_as_good_as_its_program() {
    // Compiled on the fly it is the same program, so that the files fit.
    let arguments = ["decrypt", "net", "--key", "keys/secret.key", "output.ct", "--json"];
    assert_eq!(json(&arguments)["classes"].as_array().unwrap().len(), 3);
}

#[cfg(unix)]
#[test]
fn only_the_owner_reads_the_secret_key() {
    use std::os::unix::fs::PermissionsExt;
    let files = fixture("flow");
    let mode = |name: &str| std::fs::metadata(files.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("keys/secret.key"), 0o600);
    assert_ne!(mode("keys/eval.key") & 0o044, 0);
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let files = fixture("flow");
    for threads in ["1", "3"] {
        let out = format!("threads{threads}.ct");
        umbra()
            .current_dir(&files.folder)
            .args(["--threads", threads, "infer", "net.umbra", "--keys", "keys/eval.key", "input.ct"])
            .args(["--out", &out])
            .assert()
            .success();
        assert!(std::fs::read(files.path(&out)).unwrap() == std::fs::read(files.path("output.ct")).unwrap());
    }
}

#[test]
fn the_demonstration_reports_every_figure() {
    let image = picture();
    let report = json(&["demo", "--network", "net", "--image", image.to_str().unwrap(), "--out", "demo", "--json"]);
    assert_eq!(report["top1_match"], Value::Bool(true));
    assert!(report["max_abs_error"].as_f64().unwrap() < 0.3);
    assert_eq!(report["security_bits"].as_u64(), Some(128));
    for key in [
        "precision_bits",
        "keygen_s",
        "encrypt_s",
        "server_s",
        "decrypt_s",
        "peak_rss_bytes",
        "eval_key_file_bytes",
        "input_ciphertext_bytes",
        "output_ciphertext_bytes",
        "log_n",
        "log_qp",
        "levels",
        "threads",
    ] {
        assert!(report[key].as_f64().is_some_and(|v| v > 0.0), "{key}: {}", report[key]);
    }
    let files = fixture("flow");
    let size = |name: &str| std::fs::metadata(files.path(name)).unwrap().len();
    assert_eq!(report["eval_key_file_bytes"].as_u64(), Some(size("demo/eval.key")));
    assert_eq!(report["input_ciphertext_bytes"].as_u64(), Some(size("demo/input.ct")));
    assert_eq!(report["output_ciphertext_bytes"].as_u64(), Some(size("demo/output.ct")));
    // What it keeps can be used by the other commands.
    let arguments = ["--key", "demo/secret.key", "demo/output.ct", "--json"];
    assert_eq!(json(&[&["decrypt", "demo/network.umbra"][..], &arguments].concat())["class"], report["class"]);
}

#[test]
fn estimates_come_before_keys() {
    let report = json(&["estimate", "net", "--json"]);
    let files = fixture("flow");
    let size = std::fs::metadata(files.path("keys/eval.key")).unwrap().len();
    let estimated = report["eval_key_file_bytes"].as_u64().unwrap();
    assert!(size > estimated && size - estimated < 100_000, "{size} for {estimated}");
    let without = json(&["estimate", "net", "--without", "bsgs", "--json"]);
    assert!(without["eval_key_file_bytes"].as_u64() > report["eval_key_file_bytes"].as_u64());
}

#[test]
fn every_file_can_be_inspected() {
    for (file, kind) in [
        ("net.umbra", "a program"),
        ("keys/secret.key", "a secret key"),
        ("keys/eval.key", "evaluation keys"),
        ("input.ct", "a ciphertext"),
        ("output.ct", "a ciphertext"),
    ] {
        assert_eq!(json(&["inspect", file, "--json"])["kind"].as_str(), Some(kind));
        umbra().current_dir(&fixture("flow").folder).args(["inspect", file]).assert().success();
    }
    assert!(json(&["inspect", "net", "--json"])["parameters"].as_u64().is_some());
}

#[test]
fn a_data_set_is_classified_in_every_mode() {
    let files = fixture("flow");
    let mut spec = network(3);
    (spec.height, spec.width, spec.classes) = (32, 32, 10);
    let random = spec.build().unwrap();
    // Real pictures are unlike random ones: the network is to know some of them.
    let names = ["airplane", "automobile", "cat", "dog", "frog", "horse", "ship", "truck"];
    let load = |name: &str| Image::load(picture().with_file_name(format!("{name}.png")), random.input()).unwrap();
    let samples: Vec<Vec<u8>> = names.iter().map(|name| load(name).bytes().to_vec()).collect();
    let mut builder = GraphBuilder::new(random.geometry(), random.input().clone()).unwrap();
    for node in &random.nodes()[1..] {
        builder.add(node.name(), node.operator().clone(), node.inputs()).unwrap();
    }
    let description = Description { samples: samples.clone(), ..random.description().clone() };
    let graph = builder.finish_with(description, random.ranges().clone(), random.output()).unwrap();
    graph.save(files.path("cifar")).unwrap();
    // Two pictures in the official format, the first of which is no coin's toss between two classes.
    let margin = |sample: &[u8]| {
        let mut logits = Reference::<f64>::new(&graph).forward(&graph.input().normalise(sample).unwrap()).unwrap();
        logits.sort_by(|a, b| b.total_cmp(a));
        logits[0] - logits[1]
    };
    let clearest = samples.iter().max_by(|a, b| margin(a).total_cmp(&margin(b))).unwrap();
    // Five times the error that is asked for.
    assert!(margin(clearest) > 0.07, "{}", margin(clearest));
    let pictures: Vec<u8> = [clearest, &samples[0]].into_iter().flat_map(|p| [&[7], p.as_slice()].concat()).collect();
    assert_eq!(Dataset::decode(DatasetKind::Cifar10, &pictures).unwrap().len(), 2);
    std::fs::write(files.path("batch.bin"), pictures).unwrap();
    for (mode, accuracy) in
        [("plain", "accuracy_plain"), ("simulated", "accuracy_simulated"), ("encrypted", "accuracy_encrypted")]
    {
        let report = json(&["eval", "cifar", "--data", "batch.bin", "--mode", mode, "--limit", "1", "--json"]);
        assert_eq!(report["images"].as_u64(), Some(1));
        assert!(report[accuracy].as_f64().is_some() && report["seconds_per_image"].as_f64().is_some());
        if mode != "plain" {
            assert_eq!(report["agree_with_plain"].as_u64(), Some(1));
            assert!(report["worst_logit_error"].as_f64().unwrap() < 0.3);
        }
    }
}

#[test]
fn completions_and_manual_pages_are_printed() {
    let text = |arguments: &[&str]| String::from_utf8(umbra().args(arguments).output().unwrap().stdout).unwrap();
    assert!(text(&["completions", "bash"]).contains("keygen"));
    assert!(text(&["man"]).contains("umbra"));
    umbra().current_dir(&fixture("flow").folder).args(["man", "--out", "man"]).assert().success();
    assert!(fixture("flow").path("man/umbra-keygen.1").is_file());
}
