//! What bad input gets: exit code 2, one line that names the file, nothing half-written.

mod common;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use common::{Fixture, image, network, refused, refused_with, umbra};
use umbra_ckks::KeyGenerator;
use umbra_client::open_secret_key;
use umbra_server::Server;
use umbra_wire::{EvaluationKeysWriter, LoadedProgram};

fn files() -> &'static Fixture {
    common::fixture("bad_input")
}

const DECRYPT: [&str; 5] = ["decrypt", "net.client", "--key", "keys/secret.key", "output.ct"];
const INFER: [&str; 7] = ["infer", "net.umbra", "--keys", "keys/eval.key", "input.ct", "--out", "no.ct"];

/// A command with one argument replaced.
fn with<'a>(command: &[&'a str], old: &str, new: &'a str) -> Vec<&'a str> {
    command.iter().map(|a| if *a == old { new } else { *a }).collect()
}

/// Every place a file is read, with the name it has there.
fn readers() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![
        ("net.umbra", INFER.to_vec()),
        ("keys/eval.key", INFER.to_vec()),
        ("input.ct", INFER.to_vec()),
        ("net.client", DECRYPT.to_vec()),
        ("keys/secret.key", DECRYPT.to_vec()),
        ("output.ct", DECRYPT.to_vec()),
    ]
}

fn name(file: &str, change: &str) -> String {
    format!("{}-{change}.umbra", file.replace(['/', '.'], "-"))
}

/// In a record; in a client file, which has none, in the digest at its end.
fn flip_late(bytes: &mut [u8]) {
    let position = 4000.min(bytes.len() - 50);
    bytes[position] ^= 1;
}

#[test]
fn damaged_files_are_refused_wherever_they_are_read() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage, &str); 9] = [
        ("empty", Vec::clear, "not an Umbra file"),
        ("truncated", |b| b.truncate(b.len() - 40), "truncated"),
        ("short", |b| b.truncate(60), "truncated"),
        ("garbage", |b| b[0] = b'G', "not an Umbra file"),
        ("version", |b| b[8] = 99, "version 99"),
        ("kind", |b| b[10] = 77, "kind of file, number 77"),
        ("header", |b| b[12..16].fill(0xff), "header length"),
        ("flipped head", |b| b[100] ^= 4, "digest"),
        ("flipped record", |b| flip_late(b), "digest"),
    ];
    for (file, command) in readers() {
        for (what, damage, word) in &damages {
            let damaged = name(file, what);
            files().changed(file, &damaged, damage);
            // A flipped byte may be padding, which has its own message.
            let line = refused(files(), &with(&command, file, &damaged));
            assert!(line.contains(&damaged), "{line}");
            assert!(line.contains(word) || line.contains("corrupted"), "{what}: {line}");
        }
        refused_with(files(), &with(&command, file, "nowhere.umbra"), &["nowhere.umbra", "cannot read"]);
        // A folder is a network where a program or a client file may be one.
        let network = ["net.umbra", "net.client"].contains(&file);
        let expected = if network { "keys/manifest.json: cannot read" } else { "keys: not a regular file" };
        refused_with(files(), &with(&command, file, "keys"), &[expected]);
    }
    assert!(!files().path("no.ct").exists());
}

#[test]
fn files_of_another_kind_are_refused() {
    for (file, command) in readers() {
        for (other, _) in readers() {
            // A program is a client file, too.
            let alike = file.ends_with(".ct") && other.ends_with(".ct") || (file, other) == ("net.client", "net.umbra");
            if alike || file == other {
                continue;
            }
            let weights = (file, other) == ("net.umbra", "net.client");
            let words = if weights {
                ["this is a client file, which has no weights", "give the program"]
            } else {
                ["this is", "expected"]
            };
            refused_with(files(), &with(&command, file, other), &[&[other], &words[..]].concat());
        }
    }
    refused_with(files(), &with(&INFER, "input.ct", "output.ct"), &["output.ct", "encrypted images"]);
    refused_with(files(), &with(&DECRYPT, "output.ct", "input.ct"), &["input.ct", "an encrypted result"]);
}

/// Another network with its files.
fn others() -> &'static Path {
    static OTHERS: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    OTHERS.get_or_init(|| {
        let folder = files().path("other");
        let mut spec = network(2);
        spec.widths = vec![4, 8];
        spec.build().unwrap().save(folder.join("net")).unwrap();
        let run = |arguments: &[&str]| {
            umbra().current_dir(&folder).args(arguments).assert().success();
        };
        run(&["compile", "net", "--out", "net.umbra"]);
        run(&["keygen", "net.client", "--out", "keys"]);
        let image = image();
        let image = image.to_str().unwrap();
        run(&["encrypt", "net.client", "--key", "keys/secret.key", image, "--out", "input.ct"]);
        folder
    })
}

#[test]
fn files_of_another_program_are_refused() {
    others();
    for file in ["keys/eval.key", "input.ct"] {
        let other = format!("other/{file}");
        refused_with(files(), &with(&INFER, file, &other), &[&other, "another program or other parameters"]);
    }
    refused_with(files(), &with(&DECRYPT, "keys/secret.key", "other/keys/secret.key"), &["other parameters"]);
    for client in ["other/net.umbra", "other/net.client"] {
        let command = with(&DECRYPT, "keys/secret.key", "other/keys/secret.key");
        refused_with(
            files(),
            &with(&command, "net.client", client),
            &["output.ct", "another program or other parameters"],
        );
    }
}

#[test]
fn a_missing_rotation_key_is_named() {
    let program = LoadedProgram::open(&files().path("net.umbra")).unwrap();
    let parameters = program.parameters();
    let secret = open_secret_key(&files().path("keys/secret.key"), parameters).unwrap();
    let mut ids = program.client().spec().keys.clone();
    let missing = ids.pop().unwrap();
    let mut generator = KeyGenerator::new(parameters).unwrap();
    let mut writer =
        EvaluationKeysWriter::create(&files().path("few.key"), parameters, secret.key_set(), &ids).unwrap();
    for id in ids {
        writer.add(&generator.switching_key(&secret, id).unwrap()).unwrap();
    }
    writer.commit().unwrap();
    refused_with(files(), &with(&INFER, "keys/eval.key", "few.key"), &["few.key", &missing.to_string(), "missing"]);
}

/// Keys of another client, in `keys2`.
fn other_keys() -> &'static str {
    static MADE: std::sync::OnceLock<()> = std::sync::OnceLock::new();
    MADE.get_or_init(|| {
        umbra().current_dir(&files().folder).args(["keygen", "net.client", "--out", "keys2"]).assert().success();
    });
    "keys2"
}

#[test]
fn files_of_another_client_are_refused_before_any_work() {
    other_keys();
    refused_with(files(), &with(&DECRYPT, "keys/secret.key", "keys2/secret.key"), &["output.ct", "key set"]);
    refused_with(files(), &with(&INFER, "keys/eval.key", "keys2/eval.key"), &["input.ct", "keys2/eval.key", "key set"]);
    let image = image();
    let encrypt =
        ["encrypt", "net.client", "--key", "keys2/secret.key", image.to_str().unwrap(), "--out", "other-client.ct"];
    umbra().current_dir(&files().folder).args(encrypt).assert().success();
    refused_with(
        files(),
        &with(&INFER, "input.ct", "other-client.ct"),
        &["other-client.ct", "keys/eval.key", "key set"],
    );
    assert!(!files().path("no.ct").exists());

    // Nor does a server that is asked all the same do a single step.
    let program = LoadedProgram::open(&files().path("net.umbra")).unwrap();
    let server = Server::new(&program).unwrap();
    let keys = server.open_keys(&files().path("keys/eval.key")).unwrap();
    let mut steps = 0;
    let mut infer = |name: &str| {
        let input = server.open_input(&files().path(name)).unwrap();
        let found = server.infer(&keys, &input, &mut |_| {
            steps += 1;
            ControlFlow::Continue(())
        });
        (found.map(drop).map_err(|error| error.to_string()), steps)
    };
    let (refused, steps) = infer("other-client.ct");
    assert!(refused.is_err_and(|reason| reason.contains("key set")) && steps == 0);
    assert_eq!(infer("input.ct"), (Ok(()), program.program().steps.len()));
}

#[test]
fn keys_are_not_replaced_by_accident() {
    other_keys();
    refused_with(files(), &["keygen", "net.client", "--out", "keys2"], &["keys2/secret.key", "--replace"]);
    refused_with(files(), &["demo", "--network", "net", "--out", "keys2"], &["keys2/secret.key", "another folder"]);
    // Evaluation keys whose secret key is elsewhere.
    std::fs::rename(files().path("keys2/secret.key"), files().path("away.key")).unwrap();
    refused_with(files(), &["keygen", "net.client", "--out", "keys2"], &["keys2/eval.key", "--replace"]);
    std::fs::rename(files().path("away.key"), files().path("keys2/secret.key")).unwrap();
    // Nor one of a pair alone.
    let pair = || ["secret.key", "eval.key"].map(|name| std::fs::read(files().path(&format!("keys2/{name}"))).unwrap());
    let before = pair();
    let mut permissions = std::fs::metadata(files().path("keys2/secret.key")).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(files().path("keys2/secret.key"), permissions).unwrap();
    refused_with(files(), &["keygen", "net.client", "--out", "keys2", "--replace"], &["secret.key", "read-only"]);
    assert!(pair() == before);
}

#[test]
fn a_kernel_that_is_not_there_is_refused() {
    let output = umbra()
        .current_dir(&files().folder)
        .env("UMBRA_KERNEL", "avx3")
        .args(["keygen", "net.umbra", "--out", "never"])
        .output()
        .unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && line.lines().count() == 1, "{line}");
    assert!(line.contains("avx3") && line.contains("scalar"), "{line}");
}

#[test]
fn images_that_are_none_are_refused() {
    let encrypt = |image: &str, out: &str| {
        refused(files(), &["encrypt", "net.umbra", "--key", "keys/secret.key", image, "--out", out])
    };
    std::fs::write(files().path("text.png"), "not an image").unwrap();
    let png = std::fs::read(image()).unwrap();
    std::fs::write(files().path("half.png"), &png[..png.len() / 2]).unwrap();
    let mut huge = png.clone();
    huge[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    std::fs::write(files().path("huge.png"), &huge).unwrap();
    std::fs::write(files().path("empty.png"), []).unwrap();
    for image in ["text.png", "half.png", "huge.png", "empty.png", "absent.png", "keys"] {
        assert!(encrypt(image, "image.ct").contains(image));
    }
    std::fs::write(files().path("gif.png"), b"GIF89a\x01\0\x01\0").unwrap();
    assert!(encrypt("gif.png", "image.ct").contains("gif.png: not a PNG or JPEG image, but a GIF image; convert it"));
    assert!(encrypt("half.png", "image.ct").contains("ends early"));
    let named = "a\u{1b}]0;title\u{7}.png";
    std::fs::write(files().path(named), "").unwrap();
    assert!(
        encrypt(named, "image.ct").contains("\\u{1b}]0;title\\u{7}.png: not a PNG or JPEG image, but an empty file")
    );
    #[cfg(unix)]
    {
        let dead = files().path("dead.png");
        let _ = std::fs::remove_file(&dead);
        std::os::unix::fs::symlink("nowhere.png", &dead).unwrap();
        assert!(encrypt("dead.png", "image.ct").contains("dead.png: cannot read an image"));
        std::process::Command::new("mkfifo").arg(files().path("pipe.png")).status().unwrap();
        assert!(encrypt("pipe.png", "image.ct").contains("pipe.png: not a regular file"));
    }
    assert!(!files().path("image.ct").exists());
    for option in ["--sample", "--picture"] {
        let words = ["--sample", "unicorn", "airplane"];
        refused_with(files(), &["demo", "--network", "net.umbra", option, "unicorn"], &words);
    }
}

#[test]
fn networks_that_do_not_hold_together_are_refused() {
    let manifest: Value = serde_json::from_slice(&std::fs::read(files().path("net/manifest.json")).unwrap()).unwrap();
    let weights = std::fs::read(files().path("net/weights.safetensors")).unwrap();
    let refuse = |case: &str, manifest: String, weights: &[u8], words: &[&str]| {
        let folder = files().path(case);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("manifest.json"), manifest).unwrap();
        std::fs::write(folder.join("weights.safetensors"), weights).unwrap();
        refused_with(files(), &["compile", case, "--out", "no.umbra"], words);
    };
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut manifest = manifest.clone();
        edit(&mut manifest);
        manifest.to_string()
    };
    let last = manifest["nodes"].as_array().unwrap().last().unwrap()["name"].clone();
    refuse("cycle", edited(&|m| m["nodes"][0]["input"] = last.clone()), &weights, &["manifest.json", "cycle"]);
    refuse("operator", edited(&|m| m["nodes"][1]["op"] = json!("relu")), &weights, &["relu", "not supported"]);
    refuse("shape", edited(&|m| m["input"]["channels"] = json!(2)), &weights, &["manifest.json", "expected"]);
    // What a terminal would obey is shown, not sent.
    let escapes = edited(&|m| m["\u{1b}]0;title\u{7}"] = json!(1));
    refuse("escapes", escapes, &weights, &["manifest.json", "unknown field", "\\u{1b}]0;title\\u{7}"]);
    refuse("syntax", "{".into(), &weights, &["manifest.json", "not a valid manifest"]);
    refuse("weights", manifest.to_string(), &weights[..weights.len() / 2], &["safetensors"]);
    let mut nan = weights.clone();
    let end = nan.len();
    nan[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    refuse("nan", manifest.to_string(), &nan, &["finite"]);
    refused_with(files(), &["compile", "net", "--out", "no.umbra", "--without", "magic"], &["magic", "bsgs"]);
    assert!(!files().path("no.umbra").exists());
}

#[test]
fn outputs_that_cannot_be_written_leave_nothing_behind() {
    let folder = files().path("outputs");
    std::fs::create_dir_all(&folder).unwrap();
    let out = |path: &str, words: &[&str]| {
        refused_with(files(), &with(&INFER, "no.ct", path), words);
    };
    out("nowhere/out.ct", &["nowhere/out.ct", "make the folder first"]);
    // Results may go to a folder (many.rs), encrypted images not.
    let image = common::image();
    let encrypt = ["encrypt", "net.client", "--key", "keys/secret.key", image.to_str().unwrap(), "--out", "outputs"];
    refused_with(files(), &encrypt, &["outputs", "not a regular file"]);
    let read_only = files().path("outputs/read-only.ct");
    std::fs::write(&read_only, "mine").unwrap();
    let mut permissions = std::fs::metadata(&read_only).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&read_only, permissions).unwrap();
    out("outputs/read-only.ct", &["read-only.ct", "read-only"]);
    assert_eq!(std::fs::read(&read_only).unwrap(), b"mine");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
fn outputs_replace_nothing_but_their_like() {
    let bytes = |name: &str| std::fs::read(files().path(name)).unwrap();
    let copy = |name: &str, to: &str| {
        files().changed(name, to, |_| ());
        bytes(to)
    };
    let (secret, input) = (copy("keys/secret.key", "mine.key"), copy("input.ct", "mine.ct"));
    let manifest = bytes("net/manifest.json");
    let client = bytes("net.client");
    std::fs::copy(common::image(), files().path("mine.png")).unwrap();
    std::fs::copy(common::image(), files().path("other.png")).unwrap();
    let encrypt = |out| ["encrypt", "net.umbra", "--key", "mine.key", "mine.png", "--out", out];
    refused_with(files(), &encrypt("mine.key"), &["mine.key", "this is what is read"]);
    refused_with(files(), &encrypt("mine.png"), &["mine.png", "this is what is read"]);
    refused_with(files(), &encrypt("keys/secret.key"), &["keys/secret.key", "a secret key", "would be lost"]);
    refused_with(files(), &encrypt("other.png"), &["other.png", "another file", "would be lost"]);
    refused_with(files(), &encrypt("net.umbra"), &["net.umbra", "a program", "would be lost"]);
    refused_with(files(), &with(&with(&INFER, "input.ct", "mine.ct"), "no.ct", "mine.ct"), &["mine.ct", "is read"]);
    refused_with(files(), &["compile", "net", "--out", "net/manifest.json"], &["manifest.json", "another file"]);
    let compile = |more: &[&str], words: &[&str]| {
        refused_with(files(), &[&["compile", "net", "--out", "fresh.umbra"], more].concat(), words);
        assert!(!files().path("fresh.umbra").exists() && !files().path("fresh.client").exists());
    };
    compile(&["--client", "keys/secret.key"], &["keys/secret.key", "a secret key", "would be lost"]);
    compile(&["--client", "net.umbra"], &["net.umbra", "a program", "would be lost to a client file"]);
    compile(&["--client", "./fresh.umbra"], &["fresh.umbra", "cannot be one file", "--client"]);
    compile(&["--client", "nowhere/fresh.client"], &["nowhere", "make the folder first"]);
    compile(&["--client", "net.client", "--compatible-with", "net.client"], &["net.client", "this is what is read"]);
    refused_with(
        files(),
        &["compile", "net", "--out", "net.client"],
        &["net.client", "a client file", "would be lost"],
    );
    assert!(bytes("mine.key") == secret && bytes("keys/secret.key") == secret);
    assert!(bytes("mine.ct") == input && bytes("net/manifest.json") == manifest);
    assert!(bytes("net.client") == client);
    assert_eq!(bytes("other.png"), std::fs::read(common::image()).unwrap());
    // One of its kind is.
    umbra().current_dir(&files().folder).args(encrypt("mine.ct")).assert().success();
    assert!(bytes("mine.ct") != input);
}

/// Runs a command, interrupts it as a terminal would once `ready`, and returns its exit code.
#[cfg(target_os = "linux")]
fn interrupted(arguments: &[&str], scratch: &Path, ready: impl Fn() -> bool) -> Option<i32> {
    let binary = umbra();
    // Signals as from a terminal, whatever runs the tests.
    let mut child = std::process::Command::new("env")
        .args(["--default-signal=INT,TERM,HUP"])
        .arg(binary.get_program())
        .args(arguments)
        .current_dir(&files().folder)
        .env("TMPDIR", scratch)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let start = std::time::Instant::now();
    while !ready() && child.try_wait().unwrap().is_none() {
        assert!(start.elapsed().as_secs() < 120, "{arguments:?}: nothing happens");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let stopped = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    child.wait().unwrap().code()
}

/// A gigabyte of evaluation keys is not left in the folder for temporary files.
#[cfg(target_os = "linux")]
#[test]
fn a_stopped_run_leaves_no_keys_behind() {
    let scratch = files().path("scratch");
    std::fs::create_dir_all(&scratch).unwrap();
    let empty = || std::fs::read_dir(&scratch).unwrap().count() == 0;
    let keys = || {
        let folders = std::fs::read_dir(&scratch).unwrap().flatten();
        folders.map(|folder| folder.path().join("eval.key")).any(|path| path.exists())
    };
    let bench = ["bench", "network", "net.umbra", "--runs", "1000000"];
    assert_eq!(interrupted(&bench, &scratch, keys), Some(130));
    assert!(empty());
    // A data set of ten thousand images of one kind.
    let images: Vec<u8> =
        (0..10_000).flat_map(|i| std::iter::once(0).chain((0..3072).map(move |j| (i + j) as u8))).collect();
    std::fs::write(files().path("many.bin"), images).unwrap();
    let mut spec = network(4);
    (spec.height, spec.width, spec.classes) = (32, 32, 10);
    spec.build().unwrap().save(files().path("many")).unwrap();
    let eval = ["eval", "many", "--data", "many.bin", "--mode", "encrypted"];
    assert_eq!(interrupted(&eval, &scratch, keys), Some(130));
    assert!(empty());
}

/// Half a pair of keys is no use.
#[cfg(target_os = "linux")]
#[test]
fn stopped_key_generation_leaves_nothing_behind() {
    // Keys of a deeper network take some seconds.
    let mut deep = network(1);
    (deep.widths, deep.height, deep.width) = (vec![16, 32], 32, 32);
    deep.build().unwrap().save(files().path("deep")).unwrap();
    umbra().current_dir(&files().folder).args(["compile", "deep", "--out", "deep.umbra"]).assert().success();
    let folder = files().path("stopped");
    let begun = || std::fs::read_dir(&folder).is_ok_and(|files| files.count() > 0);
    let keygen = ["keygen", "deep.client", "--out", "stopped"];
    assert_eq!(interrupted(&keygen, &files().folder, begun), Some(130));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

/// A file system without room, as far as it can be had without privileges: a limit on the size of files.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_nothing_behind() {
    let binary = umbra();
    let output = std::process::Command::new("bash")
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "bash"])
        .arg(binary.get_program())
        .args(["keygen", "net.umbra", "--out", "full"])
        .current_dir(&files().folder)
        .output()
        .unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert!(line.lines().count() == 1 && line.contains("full/eval.key") && line.contains("cannot write"), "{line}");
    assert_eq!(std::fs::read_dir(files().path("full")).unwrap().count(), 0);
}

#[test]
fn wrong_arguments_are_told_in_one_line() {
    for arguments in [
        &["frobnicate"][..],
        &["infer", "net.umbra"],
        &["--threads", "0", "man"],
        &["eval", "net", "--data", "x", "--mode", "y"],
    ] {
        refused_with(files(), arguments, &["--help"]);
    }
    refused_with(files(), &["eval", "net", "--data", "keys/eval.key"], &["CIFAR"]);
    refused_with(files(), &["inspect", "net/weights.safetensors"], &["weights.safetensors", "a safetensors file"]);
}

/// What strangers bring in the place of a network, and what it is called.
#[test]
fn files_of_other_programs_are_named() {
    let safetensors = std::fs::read(files().path("net/weights.safetensors")).unwrap();
    let image = std::fs::read(image()).unwrap();
    let zip = b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\0archive/data.pkl\x80\x02";
    let cases: [(&str, &[u8], &str, &str); 10] = [
        ("x.onnx", b"\x08\x07\x12\x07pytorch\x1a\x051.13:", "an ONNX model", "export the network"),
        ("x.pt", zip, "a PyTorch file", "export the network"),
        ("x.pth", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "a PyTorch file", "export the network"),
        ("x.pkl", b"\x80\x04\x95\x12\0\0\0\0\0\0\0}\x94", "a Python pickle", "export the network"),
        ("x.safetensors", &safetensors, "a safetensors file", "manifest.json that names them"),
        ("x.png", &image, "a PNG image", "images are for encrypt"),
        ("x.tar.gz", b"\x1f\x8b\x08\0\0\0\0\0", "a gzip archive", "unpack it"),
        ("x.h5", b"\x89HDF\r\n\x1a\n\0\0", "an HDF5 file", "export the network"),
        ("x.tflite", b"\x1c\0\0\0TFL3\0\0", "a TensorFlow Lite model", "export the network"),
        ("x.txt", b"a network\n", "a text file", "manifest.json"),
    ];
    for (name, bytes, what, remedy) in cases {
        std::fs::write(files().path(name), bytes).unwrap();
        for command in ["estimate", "inspect"] {
            refused_with(files(), &[command, name], &[name, what, remedy]);
        }
        refused_with(files(), &["compile", name, "--out", "no.umbra"], &[name, what, remedy]);
        // Whatever it is called.
        if what != "a text file" {
            std::fs::write(files().path("renamed.umbra"), bytes).unwrap();
            refused_with(files(), &["estimate", "renamed.umbra"], &["renamed.umbra", what]);
        }
        // As weights, and as all that a folder has.
        let folder = files().path("foreign");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
        if what == "a text file" {
            refused_with(files(), &["estimate", "foreign"], &["manifest.json: cannot read"]);
        } else {
            refused_with(files(), &["estimate", "foreign"], &["foreign: a folder without manifest.json", name, what]);
        }
        std::fs::copy(files().path("net/manifest.json"), folder.join("manifest.json")).unwrap();
        std::fs::write(folder.join("weights.safetensors"), bytes).unwrap();
        if what != "a safetensors file" {
            refused_with(files(), &["estimate", "foreign"], &["weights.safetensors", what, "expected weights"]);
        }
    }
    assert!(!files().path("no.umbra").exists());
}

#[test]
fn data_sets_in_another_form_are_named() {
    let refuse = |path: &str, words: &[&str]| {
        refused_with(files(), &["eval", "net", "--data", path], words);
    };
    let write = |path: &str, bytes: &[u8]| {
        let path = files().path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let image = std::fs::read(image()).unwrap();
    let pickle = b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x15testing batch 1 of 1q\x03";
    write("python/cifar-10-batches-py/test_batch", pickle);
    let words = ["test_batch", "a batch of CIFAR as a Python pickle", "binary version"];
    for path in ["python", "python/cifar-10-batches-py", "python/cifar-10-batches-py/test_batch"] {
        refuse(path, &words);
    }
    write("archives/cifar-10-binary.tar.gz", b"\x1f\x8b\x08\0\0\0");
    for path in ["archives", "archives/cifar-10-binary.tar.gz"] {
        refuse(path, &["cifar-10-binary.tar.gz", "a gzip archive", "unpack it"]);
    }
    write("loose/a.png", &image);
    refuse("loose", &["loose", "images whose classes are not known", "0, 1, 2"]);
    refuse("loose/a.png", &["a.png", "a PNG image", "a folder of images for each class"]);
    write("named/cat/a.png", &image);
    refuse("named", &["cat: no class of the network", "0, 1, 2"]);
    write("wrong/0/a.png", &image);
    write("wrong/zero/a.png", &image);
    refuse("wrong", &["zero: no class"]);
    write("broken/0/a.png", &image[..image.len() / 2]);
    refuse("broken", &["a.png", "ends early"]);
    // In the right form, of any size.
    write("right/0/a.png", &image);
    write("right/2/b.png", &image);
    let eval = |limit: &[&str]| {
        let arguments = [&["eval", "net", "--data", "right", "--json"], limit].concat();
        let output = umbra().current_dir(&files().folder).args(arguments).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["images"].as_u64()
    };
    assert_eq!((eval(&[]), eval(&["--limit", "1"])), (Some(2), Some(1)));
}

#[test]
fn classes_have_names_of_their_own_and_threads_a_limit() {
    let text = std::fs::read_to_string(files().path("net/manifest.json")).unwrap();
    let mut manifest: Value = serde_json::from_str(&text).unwrap();
    manifest["classes"][2] = json!(" 0 ");
    let folder = files().path("twice");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    std::fs::copy(files().path("net/weights.safetensors"), folder.join("weights.safetensors")).unwrap();
    refused_with(files(), &["compile", "twice", "--out", "no.umbra"], &["two classes are named \" 0 \""]);

    let run = |threads: &str| {
        let arguments = ["--threads", threads, "infer", "net.umbra", "--keys", "keys/eval.key", "input.ct"];
        let out = ["--out", "threads.ct", "--json"];
        let output = umbra().current_dir(&files().folder).args(arguments).args(out).output().unwrap();
        assert!(output.status.success());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (report["threads"].as_u64().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (threads, said) = run("1000000");
    let processors = std::thread::available_parallelism().unwrap().get() as u64;
    assert_eq!(threads, 4 * processors);
    assert!(said.contains("--threads 1000000") && said.contains("threads are started"), "{said}");
    assert_eq!(run("1"), (1, String::new()));
}
