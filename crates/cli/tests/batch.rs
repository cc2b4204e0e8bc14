//! One channel per ciphertext, over files: a batch of images, and an ensemble of networks.

mod common;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::OnceLock;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use common::{Fixture, refused_with, umbra};
use umbra_client::Client;
use umbra_cluster::{ClusterMode, ClusterOptions, cluster};
use umbra_compiler::{AddFirst, Average, CompileOptions, PackingChoice, compile, compile_ensemble};
use umbra_file::Container;
use umbra_image::{Image, ensemble_probabilities};
use umbra_model::zoo::{ResNet, Shortcut, Vgg, random_image};
use umbra_model::{Graph, Reference};
use umbra_program::Program;
use umbra_program::count;
use umbra_server::Server;
use umbra_simulate::Simulator;
use umbra_wire::{LoadedProgram, decode_program, encode_program};

const IMAGES: [&str; 4] = ["cat", "ship", "frog", "truck"];

fn shipped(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../assets/images/{name}.png"));
    path.to_str().unwrap().to_string()
}

/// A network with a stride, an identity and a projection shortcut.
fn network(seed: u64) -> ResNet {
    let widths = vec![3, 5];
    let base = ResNet { widths, blocks: 1, classes: 3, height: 8, width: 8, seed, ..ResNet::default() };
    ResNet { shortcut: Shortcut::ProjectionWhereNeeded, ..base }
}

/// Networks `net`, `net2`, `wide`, and with zero padding `padded` and `padded2`; program `batch.umbra` for three
/// images with keys in `keys`.
fn files() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("batch");
        // What an earlier run left.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        network(1).build().unwrap().save(folder.join("net")).unwrap();
        network(2).build().unwrap().save(folder.join("net2")).unwrap();
        ResNet { widths: vec![3, 6], ..network(3) }.build().unwrap().save(folder.join("wide")).unwrap();
        for (seed, name) in [(4, "padded"), (5, "padded2")] {
            ResNet { circular: false, ..network(seed) }.build().unwrap().save(folder.join(name)).unwrap();
        }
        let fixture = Fixture { folder };
        run(&fixture, &["compile", "net", "--packing", "channel", "--batch", "3", "-o", "batch.umbra"]);
        run(&fixture, &["keygen", "batch.umbra", "--out", "keys"]);
        fixture
    })
}

fn run(files: &Fixture, arguments: &[&str]) -> String {
    let output = umbra().current_dir(&files.folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&run(files(), &[arguments, &["--json"]].concat())).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn values(graph: &Graph, name: &str) -> Vec<f32> {
    let image = Image::load(shipped(name), graph.input()).unwrap();
    graph.input().normalise(image.bytes()).unwrap()
}

fn plain(net: &str, name: &str) -> Vec<f64> {
    let graph = Graph::load(files().path(net)).unwrap();
    Reference::<f64>::new(&graph).forward(&values(&graph, name)).unwrap()
}

fn close(a: &[f64], b: &[f64], limit: f64) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < limit)
}

/// Encrypts images, evaluates, and returns the logits of each.
fn classify(names: &[&str], out: &str) -> Vec<Vec<f64>> {
    let images: Vec<String> = names.iter().map(|name| shipped(name)).collect();
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    let input = format!("{out}-input.ct");
    run(files(), &[&["encrypt", "batch.umbra", "--key", "keys/secret.key", "-o", &input][..], &images].concat());
    run(files(), &["infer", "batch.umbra", "--keys", "keys/eval.key", &input, "--out", out]);
    // How many they are, the file says.
    let report = json(&["decrypt", "batch.client", "--key", "keys/secret.key", "--raw", out]);
    report["images"].as_array().unwrap().iter().map(|p| numbers(&p["logits"])).collect()
}

#[test]
fn every_image_of_a_batch_gets_its_class() {
    let found = classify(&IMAGES[..3], "three.ct");
    assert_eq!(found.len(), 3);
    for (name, found) in IMAGES.iter().zip(&found) {
        let plain = plain("net", name);
        assert!(close(&plain, found, 0.3), "{plain:?} {found:?}");
    }
    // Fewer images than batch slots.
    let one = classify(&["ship"], "one.ct");
    assert!(one.len() == 1 && close(&plain("net", "ship"), &one[0], 0.3));
    let table = run(files(), &["decrypt", "batch.umbra", "--key", "keys/secret.key", "three.ct"]);
    assert_eq!(table.lines().count(), 3);
    // Nothing of a batch slot without image is printed.
    let table = run(files(), &["decrypt", "batch.client", "--key", "keys/secret.key", "one.ct"]);
    assert_eq!(table.lines().count(), 1, "{table}");
    // What older versions asked for is a limit.
    for (option, count, lines) in [("--images", "2", 2), ("--pictures", "9", 3)] {
        let limited = ["decrypt", "batch.umbra", "--key", "keys/secret.key", "three.ct", option, count];
        assert_eq!(run(files(), &limited).lines().count(), lines);
    }
}

/// Images whose logits are far apart, next to the error that [`exact`] asks for.
fn apart(graph: &Graph) -> Vec<Vec<f32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let scaled = |factor: f32| random_image(graph.input(), &mut rng).into_iter().map(|x| factor * x).collect();
    [0.25, 2.0, 2.5, 3.0].map(scaled).into()
}

/// The largest error of a logit that those images and these programs may have.
const LIMIT: f64 = 0.01;

/// Programs of a small error, so that batch slots can be told apart.
fn exact() -> CompileOptions {
    CompileOptions { packing: PackingChoice::Channel, logit_error: Some(1e-4), ..CompileOptions::default() }
}

/// Encrypted logits: of each image, in each network where the client averages.
fn evaluate(program: Program, images: &[Vec<f32>]) -> Vec<Vec<f64>> {
    let program = LoadedProgram::new(program).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("eval.key");
    let client = Client::generate(program.client()).unwrap();
    client.save_evaluation_keys(&path, &mut |_, _| ControlFlow::Continue(())).unwrap();
    let server = Server::new(&program).unwrap();
    let keys = server.open_keys(&path).unwrap();
    let input = client.encrypt(images).unwrap().expand();
    let result = server.infer(&keys, &input, &mut |_| ControlFlow::Continue(())).unwrap();
    client.decrypt(&result).unwrap().into_iter().map(|vector| vector.unwrap().values).collect()
}

#[test]
fn every_batch_slot_is_the_network_on_its_image() {
    let graph = Graph::load(files().path("net")).unwrap();
    let plain = images_are_apart(&graph);
    let all = apart(&graph);

    // An ensemble: a batch slot for each image in each network; or one an image, with their mean. In multiplexed
    // packing side by side.
    let other = Graph::load(files().path("net2")).unwrap();
    let reference = Reference::<f64>::new(&other);
    for (packing, batch) in [(PackingChoice::Channel, Some(3)), (PackingChoice::Multiplexed, None)] {
        let images = &all[1..1 + batch.unwrap_or(1)];
        let others: Vec<Vec<f64>> = images.iter().map(|image| reference.forward(image).unwrap()).collect();
        let members: Vec<&Vec<f64>> = plain[1..].iter().zip(&others).flat_map(|(a, b)| [a, b]).collect();
        assert!(members.iter().enumerate().all(|(i, a)| members[..i].iter().all(|b| !close(a, b, 3.0 * LIMIT))));
        let options = CompileOptions { packing, batch, ..exact() };
        let client = compile_ensemble(&[&graph, &other], &options).unwrap();
        let found = evaluate(client, images);
        assert!(found.iter().zip(&members).all(|(a, b)| close(a, b, LIMIT)), "{found:?} {members:?}");
        let options = CompileOptions { average: Average::Server, ..options };
        let found = evaluate(compile_ensemble(&[&graph, &other], &options).unwrap(), images);
        for (found, members) in found.iter().zip(members.chunks(2)) {
            let mean: Vec<f64> = members[0].iter().zip(members[1]).map(|(a, b)| (a + b) / 2.0).collect();
            assert!(close(found, &mean, LIMIT), "{found:?} {mean:?}");
        }
    }
}

#[test]
fn every_batch_slot_is_the_network_on_its_image_with_zero_padding() {
    images_are_apart(&ResNet { circular: false, ..network(1) }.build().unwrap());
    // Pooling on the way, an image whose sides are no powers of two, a linear layer over several positions.
    let common = ResNet { height: 8, width: 12, circular: false, ..network(8) };
    images_are_apart(&Vgg { stages: vec![vec![3], vec![4, 5]], common }.build().unwrap());
}

#[test]
fn adding_first_gives_the_clustered_network_and_fewer_products() {
    let graph = Graph::load(files().path("net")).unwrap();
    let mut four = ClusterOptions::new(ClusterMode::Full, 4);
    four.keep_biases = true;
    let clustered = cluster(std::slice::from_ref(&graph), &four).unwrap();
    let clustered = clustered[0].graph();
    let images = apart(clustered);
    let reference = Reference::<f64>::new(clustered);
    let plain: Vec<Vec<f64>> = images[..3].iter().map(|p| reference.forward(p).unwrap()).collect();
    let with = |add_first| compile(clustered, &CompileOptions { batch: Some(3), add_first, ..exact() }).unwrap();
    let (always, never) = (with(AddFirst::Always), with(AddFirst::Never));
    for program in [&always, &never] {
        let container = encode_program(program).unwrap();
        assert_eq!(&decode_program(&Container::decode(&container[..]).unwrap()).unwrap(), program);
        let loaded = LoadedProgram::new(program.clone()).unwrap();
        let simulator = Simulator::new(loaded.program(), loaded.parameters()).unwrap();
        let simulated = simulator.run_batch(&images[..3], 3, 1).unwrap();
        let simulated: Vec<Vec<f64>> = simulated.into_iter().map(|vector| vector.unwrap().values).collect();
        let encrypted = evaluate(program.clone(), &images[..3]);
        for found in [simulated, encrypted] {
            // Four weights are few: these logits are large, and errors with them.
            let near = |a: &f64, b: &f64| (a - b).abs() < LIMIT * (1.0 + b.abs());
            let mut all = found.iter().flatten().zip(plain.iter().flatten());
            assert!(all.all(|(a, b)| near(a, b)), "{found:?} {plain:?}");
        }
    }
    let (few, all) = (count(&always), count(&never));
    assert_eq!((few.plaintext_products + few.shared_additions, all.shared_additions), (all.plaintext_products, 0));
    // Four at a time at most.
    assert!(few.shared_additions > few.plaintext_products, "{few:?}");
}

/// Evaluates encrypted images, three at once; returns the plain logits of all.
fn images_are_apart(graph: &Graph) -> Vec<Vec<f64>> {
    let reference = Reference::<f64>::new(graph);
    let all = apart(graph);
    let plain: Vec<Vec<f64>> = all.iter().map(|p| reference.forward(p).unwrap()).collect();
    for (i, a) in plain.iter().enumerate() {
        assert!(plain[..i].iter().all(|b| !close(a, b, 2.5 * LIMIT)), "{plain:?}");
    }
    let program = compile(graph, &CompileOptions { batch: Some(3), ..exact() }).unwrap();
    // Through its file.
    let container = encode_program(&program).unwrap();
    assert_eq!(decode_program(&Container::decode(&container[..]).unwrap()).unwrap(), program);
    let found = evaluate(program.clone(), &all[..3]);
    assert!(found.iter().zip(&plain).all(|(a, b)| close(a, b, LIMIT)), "{found:?} {plain:?}");
    // Another image in one batch slot leaves the others what they were.
    let found = evaluate(program, &[all[0].clone(), all[3].clone(), all[2].clone()]);
    for (found, image) in found.iter().zip([0, 3, 2]) {
        assert!(close(found, &plain[image], LIMIT), "{found:?} {plain:?}");
    }
    plain
}

#[test]
fn simulation_has_batch_slots_too() {
    simulates_batches(&Graph::load(files().path("net")).unwrap());
    simulates_batches(&ResNet { circular: false, ..network(1) }.build().unwrap());
}

fn simulates_batches(graph: &Graph) {
    let options = CompileOptions { batch: Some(3), ..exact() };
    let program = LoadedProgram::new(compile(graph, &options).unwrap()).unwrap();
    let images: Vec<Vec<f32>> = apart(graph)[..3].to_vec();
    let simulator = Simulator::new(program.program(), program.parameters()).unwrap();
    let found = simulator.run_batch(&images, 3, 1).unwrap();
    let reference = Reference::<f64>::new(graph);
    for (image, found) in images.iter().zip(found) {
        let (plain, found) = (reference.forward(image).unwrap(), found.unwrap().values);
        assert!(close(&plain, &found, LIMIT), "{plain:?} {found:?}");
    }
    assert!(simulator.run_batch(&images, 4, 1).is_err());
    assert!(simulator.run_batch(&images, 0, 1).is_err());
    assert!(simulator.run_batch(&vec![images[0].clone(); 4], 3, 1).is_err());
    assert!(simulator.run_batch::<Vec<f32>>(&[], 1, 1).is_err());
}

#[test]
fn an_ensemble_is_averaged_by_client_or_server() {
    let members: Vec<Vec<f64>> = ["net", "net2"].iter().map(|net| plain(net, "ship")).collect();
    for (packing, average) in [("multiplexed", "client"), ("multiplexed", "server")] {
        let name = |what: &str| format!("{packing}-{average}-{what}");
        let (program, keys, input, output) = (name("e.umbra"), name("keys"), name("input.ct"), name("output.ct"));
        let (secret, eval) = (format!("{keys}/secret.key"), format!("{keys}/eval.key"));
        let compile = ["compile", "net", "--member", "net2", "--packing", packing, "--average", average];
        run(files(), &[&compile[..], &["-o", &program]].concat());
        run(files(), &["keygen", &program, "--out", &keys]);
        run(files(), &["encrypt", &program, "--key", &secret, &shipped("ship"), "-o", &input]);
        run(files(), &["infer", &program, "--keys", &eval, &input, "-o", &output]);
        let report = json(&["decrypt", &program, "--key", &secret, &output]);
        if average == "client" {
            let found: Vec<Vec<f64>> = report["members"].as_array().unwrap().iter().map(numbers).collect();
            assert!(found.len() == 2 && found.iter().zip(&members).all(|(a, b)| close(a, b, 0.3)), "{found:?}");
            assert!(close(&numbers(&report["probabilities"]), &ensemble_probabilities(&found), 1e-4));
            assert!(report.get("logits").is_none());
        } else {
            let mean: Vec<f64> = members[0].iter().zip(&members[1]).map(|(a, b)| (a + b) / 2.0).collect();
            assert!(close(&numbers(&report["logits"]), &mean, 0.3), "{report} {mean:?}");
            assert!(report.get("members").is_none());
        }
    }
}

#[test]
fn an_ensemble_with_one_channel_per_ciphertext_classifies_a_batch() {
    for nets in [["net", "net2"], ["padded", "padded2"]] {
        classifies_a_batch(nets);
    }
}

fn classifies_a_batch(nets: [&str; 2]) {
    let names = ["ship", "cat"];
    let plains = names.map(|name| nets.map(|net| plain(net, name)));
    let images = names.map(shipped);
    for average in ["client", "server"] {
        let name = |what: &str| format!("{}-{average}-{what}", nets[0]);
        let (program, keys, input, output) = (name("e.umbra"), name("keys"), name("input.ct"), name("output.ct"));
        let (secret, eval) = (format!("{keys}/secret.key"), format!("{keys}/eval.key"));
        let options = ["--packing", "channel", "--batch", "3", "--average", average, "-o", &program];
        run(files(), &[&["compile", nets[0], "--member", nets[1]], &options[..]].concat());
        run(files(), &["keygen", &program, "--out", &keys]);
        run(files(), &["encrypt", &program, "--key", &secret, &images[0], &images[1], "-o", &input]);
        run(files(), &["infer", &program, "--keys", &eval, &input, "-o", &output]);
        let report = json(&["decrypt", &program, "--key", &secret, &output]);
        let found = report["images"].as_array().unwrap();
        assert_eq!(found.len(), 2);
        for (found, plains) in found.iter().zip(&plains) {
            if average == "client" {
                let members: Vec<Vec<f64>> = found["members"].as_array().unwrap().iter().map(numbers).collect();
                assert!(members.len() == 2 && members.iter().zip(plains).all(|(a, b)| close(a, b, 0.3)), "{members:?}");
                assert!(close(&numbers(&found["probabilities"]), &ensemble_probabilities(&members), 1e-4));
            } else {
                let mean: Vec<f64> = plains[0].iter().zip(&plains[1]).map(|(a, b)| (a + b) / 2.0).collect();
                assert!(close(&numbers(&found["logits"]), &mean, 0.3), "{found} {mean:?}");
            }
        }
        let report = json(&["estimate", &program]);
        assert_eq!((report["images"].as_u64(), report["networks"].as_u64()), (Some(3), Some(2)));
    }
}

#[test]
fn estimates_name_the_batch() {
    let report = json(&["estimate", "batch.umbra"]);
    assert_eq!((report["images"].as_u64(), report["networks"].as_u64()), (Some(3), Some(1)));
    let report = json(&["estimate", "net", "--member", "net2", "--packing", "multiplexed"]);
    assert_eq!((report["images"].as_u64(), report["networks"].as_u64()), (Some(1), Some(2)));
    let images = |more: &[&str]| json(&[&["estimate", "net"], more].concat())["images"].as_u64().unwrap();
    let one = images(&["--packing", "auto"]);
    assert!(one > 1 && one == 2 * images(&["--member", "net2", "--packing", "auto"]));
}

#[test]
fn what_does_not_fit_is_refused_in_one_line() {
    let files = files();
    let compile = |options: &[&str], words: &[&str]| {
        refused_with(files, &[&["compile", "net", "-o", "no.umbra"][..], options].concat(), words);
        assert!(!files.path("no.umbra").exists());
    };
    compile(&["--packing", "channel", "--batch", "0"], &["batch", "at least 1"]);
    compile(&["--packing", "channel", "--batch", "100000"], &["100000", "at most", "2^16"]);
    compile(&["--batch", "2"], &["batch", "channel"]);
    compile(&["--add-first", "always"], &["add-first", "always", "one channel per ciphertext"]);
    compile(&["--packing", "auto", "--add-first", "always"], &["add-first", "one channel per ciphertext"]);
    compile(&["--packing", "channel", "--add-first", "sometimes"], &["sometimes", "auto, always, never"]);
    compile(&["--packing", "channel", "--member", "net2", "--add-first", "always"], &["add-first", "ensemble"]);
    compile(&["--packing", "spiral"], &["spiral", "multiplexed, channel, auto"]);
    compile(&["--packing", "channel", "--average", "nobody"], &["nobody", "client or server"]);
    compile(&["--packing", "channel", "--average", "server"], &["server", "ensemble"]);
    compile(
        &["--packing", "channel", "--member", "net2", "--batch", "50000"],
        &["100000", "ensemble", "at most", "2^16"],
    );
    compile(&["--packing", "channel", "--member", "wide"], &["member 1", "shapes"]);
    compile(&["--packing", "channel", "--member", "batch.umbra"], &["batch.umbra", "in the clear"]);
    refused_with(
        files,
        &["compile", "batch.umbra", "--packing", "channel", "-o", "no.umbra"],
        &["--packing", "already"],
    );
    refused_with(
        files,
        &["compile", "batch.umbra", "--add-first", "never", "-o", "no.umbra"],
        &["--add-first", "already"],
    );
    let compile = ["compile", "padded", "-o", "no.umbra"];
    refused_with(files, &compile, &["zero padding", "one channel per ciphertext"]);
    let adding = ["--packing", "channel", "--add-first", "always"];
    refused_with(files, &[&compile[..], &adding].concat(), &["add-first", "zero padding"]);
    let ensemble = ["--packing", "channel", "--member", "net"];
    refused_with(files, &[&compile[..], &ensemble].concat(), &["member 1", "shapes"]);

    let image = shipped("cat");
    let encrypt = ["encrypt", "batch.umbra", "--key", "keys/secret.key", "-o", "no.ct"];
    refused_with(files, &[&encrypt[..], &[image.as_str(); 4]].concat(), &["4 images", "at most 3"]);
    refused_with(files, &encrypt, &["IMAGE"]);
    assert!(!files.path("no.ct").exists());
    let decrypt = ["decrypt", "batch.client", "--key", "keys/secret.key", "three.ct", "--images"];
    refused_with(files, &[&decrypt[..], &["0"]].concat(), &["--images"]);
}
