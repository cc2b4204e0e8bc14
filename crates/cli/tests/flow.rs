//! Three parties' steps over files, and the commands that report.

mod common;

use serde_json::Value;

use common::{fixture, image, network, refused_with, umbra};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use umbra_image::{Image, top_class};
use umbra_model::zoo::random_image;
use umbra_model::{Dataset, DatasetKind, Description, Graph, GraphBuilder, Reference};

fn json(arguments: &[&str]) -> Value {
    let output = umbra().current_dir(&fixture("flow").folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn what_is_decrypted_is_what_the_network_says() {
    let files = fixture("flow");
    let report = json(&["decrypt", "net.client", "--key", "keys/secret.key", "output.ct", "--raw", "--json"]);
    let graph = Graph::load(files.path("net")).unwrap();
    let values = graph.input().normalise(Image::load(image(), graph.input()).unwrap().bytes()).unwrap();
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

/// Numbers that may be passed on are multiples of something about as large as their error; exact ones are asked for.
#[test]
fn numbers_are_rounded_unless_they_are_asked_for() {
    let decrypt = ["decrypt", "net.client", "--key", "keys/secret.key", "output.ct", "--json"];
    let (shared, raw) = (json(&decrypt), json(&[&decrypt[..], &["--raw"]].concat()));
    let unit = shared["rounded_to"].as_f64().unwrap();
    let error = json(&["estimate", "net.client", "--json"])["logit_error_std"].as_f64().unwrap();
    assert!((2.0 * error..4.0 * error).contains(&unit) && raw["rounded_to"].is_null(), "{unit} for {error}");
    let numbers = |report: &Value, key: &str| -> Vec<f64> {
        report[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    };
    let (rounded, exact) = (numbers(&shared, "logits"), numbers(&raw, "logits"));
    for (rounded, exact) in rounded.iter().zip(&exact) {
        assert!((rounded / unit).fract() == 0.0 && (rounded - exact).abs() <= unit / 2.0, "{rounded} {exact}");
    }
    assert!(exact.iter().any(|v| (v / unit).fract() != 0.0));
    for probability in numbers(&shared, "probabilities") {
        assert!(probability.to_string().len() <= 6, "{probability}");
    }
    for residual in ["zero_slots", "copies"] {
        assert!(shared["residuals"][residual].to_string().len() <= 4, "{shared}");
    }
    assert_eq!(shared["class"], raw["class"]);
}

/// Someone who has the public key encrypts; the owner of the secret key decrypts.
#[test]
fn others_encrypt_with_the_public_key() {
    let files = fixture("flow");
    let key = json(&["keygen", "net.client", "--public", "--key", "keys/secret.key", "--out", "public", "--json"]);
    assert_eq!(key["public_key"].as_str(), Some("public/public.key"));
    assert!(!files.path("public/secret.key").exists() && !files.path("public/eval.key").exists());
    let report = json(&["inspect", "public/public.key", "--json"]);
    assert_eq!((report["kind"].as_str(), &report["key_set"]), (Some("a public key"), &key["key_set"]));
    let image = image();
    let image = image.to_str().unwrap();
    let encrypt = ["encrypt", "net.client", "--public-key", "public/public.key", image, "--out", "sent.ct", "--json"];
    let sent = json(&encrypt)["input_ciphertext_bytes"].as_u64().unwrap();
    // No half of it comes from a seed.
    let own = std::fs::metadata(files.path("input.ct")).unwrap().len();
    assert!((2 * own - 1000..2 * own + 1000).contains(&sent), "{sent} {own}");
    json(&["infer", "net.umbra", "--keys", "keys/eval.key", "sent.ct", "--out", "sent-result.ct", "--json"]);
    let logits = |result: &str| -> Vec<f64> {
        let report = json(&["decrypt", "net.client", "--key", "keys/secret.key", result, "--raw", "--json"]);
        report["logits"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    };
    let (found, expected) = (logits("sent-result.ct"), logits("output.ct"));
    assert!(
        found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 0.1) && found != expected,
        "{found:?} {expected:?}"
    );
    // It is made together with the other keys, too.
    let report = json(&["keygen", "net.client", "--public", "--out", "three", "--json"]);
    assert!(report["public_key"].as_str().is_some_and(|path| files.path(path).exists()));
    let old = ["infer", "net.umbra", "--keys", "three/eval.key", "sent.ct", "--out", "no.ct"];
    refused_with(files, &old, &["sent.ct", "key set"]);
    // One key or the other, of the right kind; and a secret key is never lost to a public one.
    let with = |keys: &[&'static str]| [&["encrypt", "net.client", image, "--out", "no.ct"][..], keys].concat();
    refused_with(files, &with(&[]), &["--key"]);
    refused_with(files, &with(&["--key", "keys/secret.key", "--public-key", "public/public.key"]), &["--public-key"]);
    refused_with(files, &with(&["--public-key", "keys/secret.key"]), &["a secret key", "a public key"]);
    refused_with(files, &with(&["--key", "public/public.key"]), &["a secret key", "a public key"]);
    std::fs::create_dir_all(files.path("taken")).unwrap();
    std::fs::copy(files.path("keys/secret.key"), files.path("taken/public.key")).unwrap();
    let over = ["keygen", "net.client", "--public", "--key", "keys/secret.key", "--out", "taken"];
    refused_with(files, &over, &["taken/public.key", "would be lost"]);
}

/// Images that are nothing like those of training, where the network says what these are like.
#[test]
fn images_unlike_those_of_training_are_pointed_out() {
    let files = fixture("flow");
    let random = network(5).build().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let bytes =
        |values: &[f32]| -> Vec<u8> { values.iter().map(|v| (128.0 + 50.0 * v).clamp(0.0, 255.0) as u8).collect() };
    let samples: Vec<Vec<u8>> = (0..16).map(|_| bytes(&random_image(random.input(), &mut rng))).collect();
    let mut builder = GraphBuilder::new(random.padding(), random.input().clone()).unwrap();
    for node in &random.nodes()[1..] {
        builder.add(node.name(), node.operator().clone(), node.inputs()).unwrap();
    }
    let description = Description { samples, ..random.description().clone() };
    let graph = builder.finish_with(description, random.ranges().clone(), random.output()).unwrap();
    graph.save(files.path("knows")).unwrap();
    json(&["compile", "knows", "--out", "knows.umbra", "--json"]);
    json(&["keygen", "knows.client", "--out", "knows-keys", "--json"]);
    let notes = |name: &str, pixels: &[u8]| {
        image::save_buffer(files.path(name), pixels, 8, 8, image::ColorType::Rgb8).unwrap();
        let encrypt =
            ["encrypt", "knows.client", "--key", "knows-keys/secret.key", name, "--out", "unlike.ct", "--json"];
        json(&encrypt)["notes"].as_array().unwrap().iter().map(|n| n.as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    let unlike = |notes: &[String]| notes.iter().any(|note| note.contains("unlike"));
    let white = notes("white.png", &[255; 192]);
    assert!(unlike(&white), "{white:?}");
    let mut dot = [0; 192];
    dot[96..99].fill(255);
    assert!(unlike(&notes("dot.png", &dot)));
    let like = bytes(&random_image(random.input(), &mut rng));
    let pixels: Vec<u8> = (0..192).map(|i| like[i % 3 * 64 + i / 3]).collect();
    assert!(!unlike(&notes("like.png", &pixels)));
    // What the client says of white once it is decrypted: its logits are those of no sample.
    let report = json(&["inspect", "knows.client", "--json"]);
    assert!(report["content"]["familiar"]["largest_logit"].is_array(), "{report}");
}

#[test]
fn a_network_is_as_good_as_its_program() {
    // Compiled on the fly it is the same program, so that the files fit.
    for network in ["net", "net.umbra"] {
        let arguments = ["decrypt", network, "--key", "keys/secret.key", "output.ct", "--json"];
        assert_eq!(json(&arguments)["classes"].as_array().unwrap().len(), 3);
    }
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
    let image = image();
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
    assert_eq!(report["image"].as_str(), image.to_str());
    for residual in ["zero_slots", "copies"] {
        assert!(report["residuals"][residual].as_f64().is_some_and(|v| (0.0..1.0).contains(&v)), "{report}");
    }
    assert!(report["steps"][0]["estimated_cpu_seconds"].as_f64().is_some_and(|s| s > 0.0));
    let files = fixture("flow");
    let size = |name: &str| std::fs::metadata(files.path(name)).unwrap().len();
    assert_eq!(report["eval_key_file_bytes"].as_u64(), Some(size("demo/eval.key")));
    assert_eq!(report["input_ciphertext_bytes"].as_u64(), Some(size("demo/input.ct")));
    assert_eq!(report["output_ciphertext_bytes"].as_u64(), Some(size("demo/output.ct")));
    // What it keeps can be used by the other commands.
    let arguments = ["--key", "demo/secret.key", "demo/output.ct", "--json"];
    assert_eq!(json(&[&["decrypt", "demo/network.client"][..], &arguments].concat())["class"], report["class"]);
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
    // A client file tells what its owner will have to make and send.
    let client = json(&["estimate", "net.client", "--json"]);
    for key in ["images", "log_n", "eval_key_file_bytes", "input_ciphertext_bytes", "logit_error_std"] {
        assert_eq!(client[key], report[key], "{key}");
    }
    assert!(report["cpu_seconds_reference"].is_number() && client["cpu_seconds_reference"].is_null());
    refused_with(files, &["estimate", "net.client", "--packing", "channel"], &["--packing", "compiled already"]);
}

/// A client has its client file, its keys and its images: no program, no network.
#[test]
fn a_client_needs_no_program() {
    let files = fixture("flow");
    let client = files.path("client");
    std::fs::create_dir_all(&client).unwrap();
    std::fs::copy(files.path("net.client"), client.join("net.client")).unwrap();
    let at = |folder: &std::path::Path, arguments: &[&str]| {
        let output = umbra().current_dir(folder).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let image = image();
    at(&client, &["keygen", "net.client", "--out", "keys"]);
    at(&client, &["encrypt", "net.client", "--key", "keys/secret.key", image.to_str().unwrap(), "--out", "image.ct"]);
    let infer =
        ["infer", "net.umbra", "--keys", "client/keys/eval.key", "client/image.ct", "--out", "client/result.ct"];
    at(&files.folder, &infer);
    let decrypt = at(&client, &["decrypt", "net.client", "--key", "keys/secret.key", "result.ct", "--json"]);
    let (found, expected): (Value, Value) = (
        serde_json::from_str(&decrypt).unwrap(),
        json(&["decrypt", "net.umbra", "--key", "keys/secret.key", "output.ct", "--json"]),
    );
    assert_eq!(found["class"], expected["class"]);
    assert!(found["residuals"]["zero_slots"].is_number() && found["residuals"]["copies"].is_number());
    let mut names: Vec<_> = std::fs::read_dir(&client).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["image.ct", "keys", "net.client", "result.ct"]);
    // All files of a client have one key set, which is another client's no more.
    let key_set = |file: &str| json(&["inspect", file, "--json"])["key_set"].as_str().map(str::to_string);
    let own = key_set("client/keys/secret.key");
    assert!(own.as_ref().is_some_and(|id| id.len() == 32));
    for file in ["client/keys/eval.key", "client/image.ct", "client/result.ct"] {
        assert_eq!(key_set(file), own, "{file}");
    }
    assert_ne!(key_set("keys/secret.key"), own);
    assert_eq!(key_set("net.umbra"), None);
}

#[test]
fn a_client_file_has_no_weights_and_no_names_of_layers() {
    let files = fixture("flow");
    let report = json(&["inspect", "net.client", "--json"]);
    assert_eq!(report["records"].as_u64(), Some(0));
    let program = json(&["inspect", "net.umbra", "--json"]);
    assert_eq!(report["belongs_to"], program["digest"]);
    assert_eq!(report["content"]["classes"].as_array().unwrap().len(), 3);
    assert_eq!(
        report["content"]["keys"].as_array().map(Vec::len).map(|n| n as u64),
        program["content"]["costs"]["counts"]["keys"].as_u64()
    );
    let bytes = std::fs::read(files.path("net.client")).unwrap();
    assert!(bytes.len() < 16 << 10, "{}", bytes.len());
    let text = String::from_utf8_lossy(&bytes);
    let graph = Graph::load(files.path("net")).unwrap();
    assert!(graph.nodes()[1..].iter().all(|node| !text.contains(&format!("{:?}", node.name()))));
    // Its name and place are chosen as those of other outputs.
    let arguments = ["compile", "net", "--out", "named.umbra", "--client", "for-clients", "--json"];
    let report = json(&arguments);
    assert_eq!(report["client_file"].as_str(), Some("for-clients"));
    assert!(std::fs::read(files.path("for-clients")).unwrap() == bytes && !files.path("named.client").exists());
    // And from a program that is there.
    json(&["compile", "net.umbra", "--out", "again.umbra", "--json"]);
    assert!(std::fs::read(files.path("again.client")).unwrap() == bytes);
}

#[test]
fn what_a_pass_leaves_is_printed_and_nothing_written() {
    let files = fixture("flow");
    let names = || {
        let mut names: Vec<_> = std::fs::read_dir(files.path("net")).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    let dump = |stage: &str| {
        let output = umbra().current_dir(files.path("net")).args(["compile", ".", "--dump", stage]).output().unwrap();
        assert!(output.status.success(), "{stage}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let texts: Vec<String> = umbra_compiler::Stage::ALL.map(|stage| dump(stage.name())).into();
    assert!(texts.iter().all(|text| text.ends_with('\n') && text.lines().count() > 1), "{texts:?}");
    assert_ne!(texts[0], texts[texts.len() - 1]);
    assert_eq!(names(), before);
    refused_with(files, &["compile", "net", "--dump", "nothing"], &["nothing", "lower", "emit"]);
    refused_with(files, &["compile", "net.umbra", "--dump", "fuse"], &["--dump", "compiled already"]);
    refused_with(files, &["compile", "net.client", "--dump", "fuse"], &["no weights"]);
    refused_with(files, &["compile", "net"], &["--out"]);
}

/// New weights, old keys.
#[test]
fn keys_survive_retraining() {
    let files = fixture("flow");
    network(7).build().unwrap().save(files.path("retrained")).unwrap();
    for old in ["net.client", "net.umbra"] {
        json(&["compile", "retrained", "--out", "retrained.umbra", "--compatible-with", old, "--json"]);
    }
    let image = image();
    let encrypt =
        ["encrypt", "retrained.client", "--key", "keys/secret.key", image.to_str().unwrap(), "--out", "new.ct"];
    json(&[&encrypt[..], &["--json"]].concat());
    let infer = ["infer", "retrained.umbra", "--keys", "keys/eval.key", "new.ct", "--out", "new-result.ct", "--json"];
    json(&infer);
    let report = json(&["decrypt", "retrained.client", "--key", "keys/secret.key", "new-result.ct", "--json"]);
    let graph = Graph::load(files.path("retrained")).unwrap();
    let values = graph.input().normalise(Image::load(image, graph.input()).unwrap().bytes()).unwrap();
    let plain = Reference::<f64>::new(&graph).forward(&values).unwrap();
    let logits: Vec<f64> = report["logits"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    let error = logits.iter().zip(&plain).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(logits.len() == plain.len() && error < 0.3, "{error}: {logits:?} {plain:?}");
    // Ciphertexts are for one program all the same.
    let old = ["infer", "retrained.umbra", "--keys", "keys/eval.key", "input.ct", "--out", "no.ct"];
    refused_with(files, &old, &["input.ct", "another program"]);
    let old = ["decrypt", "retrained.client", "--key", "keys/secret.key", "output.ct"];
    refused_with(files, &old, &["output.ct", "another program"]);
    // What cannot be met is said, with the remedy.
    let mut deeper = network(8);
    deeper.widths = vec![4, 8];
    deeper.build().unwrap().save(files.path("deeper")).unwrap();
    let compile = ["compile", "deeper", "--out", "deeper.umbra", "--compatible-with", "net.client"];
    refused_with(files, &compile, &["make keys again"]);
    assert!(!files.path("deeper.umbra").exists() && !files.path("deeper.client").exists());
}

/// An image of few pixels is no secret mistake: the warning is seen wherever standard output goes.
#[test]
fn images_that_show_too_little_are_warned_of() {
    let files = fixture("flow");
    let foreign = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../foreign/tests/images");
    std::fs::copy(foreign.join("animation.png"), files.path("animation.png")).unwrap();
    image::RgbImage::new(4, 3).save(files.path("small.png")).unwrap();
    let encrypt = |image: &str, more: &[&str]| {
        let arguments = ["encrypt", "net.client", "--key", "keys/secret.key", image, "--out", "small.ct"];
        let output = umbra().current_dir(&files.folder).args(arguments).args(more).output().unwrap();
        assert!(output.status.success());
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap())
    };
    for more in [&[][..], &["--json"]] {
        let [_, warned] = encrypt("small.png", more);
        assert!(warned.starts_with("warning: the image is small and was enlarged 2.7 times"), "{warned}");
    }
    let [said, warned] = encrypt("animation.png", &[]);
    assert!(said.contains("note: an animation: the first of its 3 frames was taken") && warned.is_empty(), "{said}");
}

#[test]
fn old_names_of_options_work() {
    let files = fixture("flow");
    let run = |arguments: &[&str]| {
        umbra().current_dir(&files.folder).args(arguments).assert().success();
    };
    run(&["compile", "net", "--out", "old.umbra", "--layout", "cyclic", "--without", "pair-giants"]);
    run(&["compile", "net", "--out", "new.umbra", "--packing", "multiplexed", "--without", "complex-giants"]);
    assert!(std::fs::read(files.path("old.umbra")).unwrap() == std::fs::read(files.path("new.umbra")).unwrap());
    run(&["decrypt", "net.client", "--key", "keys/secret.key", "output.ct", "--pictures", "1"]);
    let demo = ["demo", "--network", "net", "--picture", "cat", "--json"];
    assert_eq!(json(&demo)["image"], json(&["demo", "--network", "net", "--sample", "cat", "--json"])["image"]);
}

#[test]
fn every_file_can_be_inspected() {
    for (file, kind) in [
        ("net.umbra", "a program"),
        ("net.client", "a client file"),
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
    // Real images are unlike random ones: the network is to know some of them.
    let names = ["airplane", "automobile", "cat", "dog", "frog", "horse", "ship", "truck"];
    let load = |name: &str| Image::load(image().with_file_name(format!("{name}.png")), random.input()).unwrap();
    let samples: Vec<Vec<u8>> = names.iter().map(|name| load(name).bytes().to_vec()).collect();
    let mut builder = GraphBuilder::new(random.padding(), random.input().clone()).unwrap();
    for node in &random.nodes()[1..] {
        builder.add(node.name(), node.operator().clone(), node.inputs()).unwrap();
    }
    let description = Description { samples: samples.clone(), ..random.description().clone() };
    let graph = builder.finish_with(description, random.ranges().clone(), random.output()).unwrap();
    graph.save(files.path("cifar")).unwrap();
    // Two images in the official format, the first of which is no coin's toss between two classes.
    let margin = |sample: &[u8]| {
        let mut logits = Reference::<f64>::new(&graph).forward(&graph.input().normalise(sample).unwrap()).unwrap();
        logits.sort_by(|a, b| b.total_cmp(a));
        logits[0] - logits[1]
    };
    let clearest = samples.iter().max_by(|a, b| margin(a).total_cmp(&margin(b))).unwrap();
    // Five times the error that is asked for.
    assert!(margin(clearest) > 0.07, "{}", margin(clearest));
    let images: Vec<u8> = [clearest, &samples[0]].into_iter().flat_map(|p| [&[7], p.as_slice()].concat()).collect();
    assert_eq!(Dataset::decode(DatasetKind::Cifar10, &images).unwrap().len(), 2);
    std::fs::write(files.path("batch.bin"), images).unwrap();
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
