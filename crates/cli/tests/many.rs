//! Many encrypted images a call: keys are loaded once, and what goes wrong with one leaves the others.

mod common;

use serde_json::Value;

use common::{Fixture, fixture, image, refused_with, umbra};

const INFER: [&str; 4] = ["infer", "net.umbra", "--keys", "keys/eval.key"];

/// Two more images beside `input.ct`.
fn files() -> &'static Fixture {
    let files = fixture("many");
    for name in ["a.ct", "b.ct"] {
        let image = image();
        let encrypt = ["encrypt", "net.client", "--key", "keys/secret.key", image.to_str().unwrap(), "--out", name];
        umbra().current_dir(&files.folder).args(encrypt).assert().success();
    }
    files
}

#[test]
fn each_input_has_a_result_in_the_folder_and_one_input_a_file() {
    let files = files();
    let run = |more: &[&str]| {
        let output = umbra().current_dir(&files.folder).args(INFER).args(more).output().unwrap();
        assert!(output.status.success(), "{more:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let report: Value = serde_json::from_str(&run(&["a.ct", "b.ct", "input.ct", "-o", "results", "--json"])).unwrap();
    let results = report["results"].as_array().unwrap();
    assert_eq!(results.len(), 3);
    for (result, name) in results.iter().zip(["a.ct", "b.ct", "input.ct"]) {
        let file = format!("results/{name}");
        assert_eq!((result["input"].as_str(), result["file"].as_str()), (Some(name), Some(&file[..])));
        assert!(result["evaluation_s"].as_f64().is_some_and(|seconds| seconds > 0.0));
        assert_eq!(std::fs::metadata(files.path(&file)).unwrap().len(), result["output_ciphertext_bytes"]);
    }
    assert!(report["failed"].is_null() && report["file"].is_null() && report["server_s"].is_number());
    // As they would be one by one.
    assert!(std::fs::read(files.path("results/input.ct")).unwrap() == std::fs::read(files.path("output.ct")).unwrap());
    let decrypt = ["decrypt", "net.client", "--key", "keys/secret.key", "results/b.ct"];
    umbra().current_dir(&files.folder).args(decrypt).assert().success();
    // One input: a file, or into a folder that is there or is named as one. A line for each result.
    let one: Value = serde_json::from_str(&run(&["a.ct", "-o", "one.ct", "--json"])).unwrap();
    assert_eq!((one["file"].as_str(), one["images"].as_u64()), (Some("one.ct"), Some(1)));
    assert!(one["results"].is_null());
    assert!(run(&["a.ct", "-o", "results"]).starts_with("results/a.ct: "));
    assert!(run(&["a.ct", "-o", "new/"]).starts_with("new/a.ct: "));
    assert_eq!(run(&["a.ct", "b.ct", "-o", "results"]).lines().count(), 2);
}

#[test]
fn a_bad_input_is_found_before_any_work() {
    let files = files();
    files.changed("a.ct", "damaged.ct", |bytes| *bytes.last_mut().unwrap() ^= 1);
    std::fs::create_dir_all(files.path("other")).unwrap();
    std::fs::copy(files.path("a.ct"), files.path("other/a.ct")).unwrap();
    let infer = |more: &[&'static str]| [&INFER[..], more].concat();
    refused_with(files, &infer(&["a.ct", "damaged.ct", "b.ct", "-o", "none"]), &["damaged.ct"]);
    refused_with(files, &infer(&["a.ct", "missing.ct", "-o", "none"]), &["missing.ct"]);
    refused_with(files, &infer(&["a.ct", "output.ct", "-o", "none"]), &["output.ct", "an encrypted result"]);
    assert_eq!(std::fs::read_dir(files.path("none")).unwrap().count(), 0);
    // Two results of one name, results in place of what is read, a file where the folder is to be.
    refused_with(files, &infer(&["a.ct", "other/a.ct", "-o", "none"]), &["a.ct and other/a.ct", "different names"]);
    refused_with(files, &infer(&["a.ct", "b.ct", "-o", "."]), &["this is what is read"]);
    refused_with(files, &infer(&["a.ct", "b.ct", "-o", "net.umbra"]), &["net.umbra", "folder"]);
    // Another client's image among one's own.
    umbra().current_dir(&files.folder).args(["keygen", "net.client", "--out", "other-keys"]).assert().success();
    let image = image();
    let encrypt =
        ["encrypt", "net.client", "--key", "other-keys/secret.key", image.to_str().unwrap(), "--out", "others.ct"];
    umbra().current_dir(&files.folder).args(encrypt).assert().success();
    refused_with(files, &infer(&["a.ct", "others.ct", "-o", "none"]), &["others.ct", "key set", "one client"]);
    assert_eq!(std::fs::read_dir(files.path("none")).unwrap().count(), 0);
}

/// A key that is damaged comes up while the first image is evaluated, whatever loads it: no result appears.
#[test]
fn a_damaged_key_gives_no_result() {
    let files = files();
    let length = std::fs::metadata(files.path("keys/eval.key")).unwrap().len() as usize;
    for place in [length / 8, length / 2, length - 5000] {
        files.changed("keys/eval.key", "damaged.key", |bytes| bytes[place] ^= 1);
        let infer = ["infer", "net.umbra", "--keys", "damaged.key", "a.ct", "-o", "no.ct"];
        refused_with(files, &infer, &["damaged.key", "does not match its digest"]);
        let infer = ["infer", "net.umbra", "--keys", "damaged.key", "a.ct", "b.ct", "-o", "no", "--threads", "3"];
        let output = umbra().current_dir(&files.folder).args(infer).output().unwrap();
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(line.contains("a.ct") && line.contains("and 1 more") && line.contains("0 of 2 results"), "{line}");
        assert!(!files.path("no.ct").exists() && std::fs::read_dir(files.path("no")).unwrap().count() == 0);
    }
}

/// An input that becomes bad while others are evaluated.
#[test]
fn what_is_done_is_kept_and_what_failed_is_named() {
    let files = files();
    let folder = files.path("partly");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let many: Vec<String> = (0..40).map(|i| format!("m{i}.ct")).collect();
    for name in &many {
        std::fs::copy(files.path("a.ct"), files.path(name)).unwrap();
    }
    let child = std::process::Command::new(umbra().get_program())
        .current_dir(&files.folder)
        .args(INFER)
        .args(&many)
        .args(["-o", "partly", "--json"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // After the checks, before the last: the input is spoilt when the first result is there.
    while !folder.join("m0.ct").exists() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    std::fs::write(files.path("m39.ct"), b"nothing").unwrap();
    let output = child.wait_with_output().unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.contains("m39.ct") && line.contains("39 of 40 results were written"), "{line}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["results"].as_array().map(Vec::len), Some(39));
    assert_eq!(report["failed"][0]["input"].as_str(), Some("m39.ct"));
    assert!(folder.join("m38.ct").exists() && !folder.join("m39.ct").exists());
}
