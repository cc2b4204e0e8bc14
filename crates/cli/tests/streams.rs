//! Standard input and output in the place of files.
#![cfg(unix)]

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use common::{Fixture, image};

fn files() -> &'static Fixture {
    common::fixture("streams")
}

const ENCRYPT: [&str; 4] = ["encrypt", "net.client", "--key", "keys/secret.key"];

fn spawn(arguments: &[&str], input: Stdio) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_umbra"));
    command.current_dir(&files().folder).args(arguments).stdin(input);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn run(arguments: &[&str], input: &Path) -> Output {
    spawn(arguments, std::fs::File::open(input).unwrap().into()).wait_with_output().unwrap()
}

/// The line of a command that is refused, which sends nothing on.
fn refused(arguments: &[&str], input: Stdio) -> String {
    let output = spawn(arguments, input).wait_with_output().unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {line}");
    assert!(line.starts_with("umbra: ") && line.lines().count() == 1, "{arguments:?}: {line}");
    assert!(output.stdout.is_empty(), "{arguments:?}: {} bytes", output.stdout.len());
    line
}

#[test]
fn three_parties_are_a_pipeline() {
    let image = image();
    let umbra = env!("CARGO_BIN_EXE_umbra");
    for (input, out) in [("-", "-"), ("/dev/stdin", "/dev/stdout")] {
        let line = format!(
            "set -o pipefail; cat '{}' | {umbra} encrypt net.client --key keys/secret.key {input} -o {out} \
             | {umbra} infer net.umbra --keys keys/eval.key {input} -o {out} \
             | {umbra} decrypt net.client --key keys/secret.key {input} --json",
            image.display()
        );
        let output = Command::new("bash").current_dir(&files().folder).args(["-c", &line]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let decrypt = ["decrypt", "net.client", "--key", "keys/secret.key", "output.ct", "--json"];
        let expected: serde_json::Value = serde_json::from_slice(&run(&decrypt, &image).stdout).unwrap();
        assert_eq!(found["class"], expected["class"]);
    }
    assert!(!files().path("-").exists());
}

#[test]
fn what_is_sent_is_what_would_be_written() {
    let nothing = Path::new("/dev/null");
    let result = run(&["infer", "net.umbra", "--keys", "keys/eval.key", "-", "-o", "-"], &files().path("input.ct"));
    assert!(result.status.success() && result.stdout == std::fs::read(files().path("output.ct")).unwrap());
    // Words go to standard error, and speak of streams.
    let words = String::from_utf8(result.stderr).unwrap();
    assert!(words.contains("standard output: the encrypted result"), "{words}");

    let program = run(&["compile", "net", "-o", "-", "--client", "piped.client"], nothing);
    assert!(program.status.success() && program.stdout == std::fs::read(files().path("net.umbra")).unwrap());
    let client = run(&["compile", "net", "-o", "piped.umbra", "--client", "-", "--json"], nothing);
    assert!(client.status.success() && client.stdout == std::fs::read(files().path("net.client")).unwrap());
    let report: serde_json::Value = serde_json::from_slice(&client.stderr).unwrap();
    assert_eq!(report["client_file"].as_str(), Some("standard output"));
}

#[test]
fn every_file_but_secrets_is_read_from_a_stream() {
    let success = |arguments: &[&str], file: &str| {
        let output = run(arguments, &files().path(file));
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for file in ["net.umbra", "net.client", "keys/eval.key", "input.ct", "output.ct"] {
        assert!(success(&["inspect", "-"], file).contains("standard input"), "{file}");
    }
    success(&["keygen", "-", "--out", "streamed"], "net.client");
    success(&["estimate", "-"], "net.umbra");
    success(&["infer", "-", "--keys", "keys/eval.key", "input.ct", "--out", "a.ct"], "net.umbra");
    success(&["infer", "net.umbra", "--keys", "-", "input.ct", "--out", "b.ct"], "keys/eval.key");
    success(&["decrypt", "-", "--key", "keys/secret.key", "b.ct"], "net.client");
}

#[test]
fn streams_that_make_no_sense_are_refused() {
    let image = image();
    let image = image.to_str().unwrap();
    let null = Stdio::null;
    let line = refused(&["encrypt", "net.client", "--key", "-", image, "-o", "-"], null());
    assert!(line.contains("--key") && line.contains("secret key"), "{line}");
    let line = refused(&[&ENCRYPT[..], &["-", "-", "-o", "no.ct"]].concat(), null());
    assert!(line.contains("2 times"), "{line}");
    let line = refused(&["infer", "-", "--keys", "keys/eval.key", "/dev/stdin", "-o", "no.ct"], null());
    assert!(line.contains("2 times"), "{line}");
    assert!(refused(&["compile", "net", "-o", "-"], null()).contains("--client"));
    assert!(refused(&["compile", "net", "-o", "-", "--client", "/dev/stdout"], null()).contains("one file only"));
    for command in [&["keygen", "net.client"][..], &["demo", "--network", "net"]] {
        assert!(refused(&[command, &["--out", "-"]].concat(), null()).contains("a folder is written"));
    }
    // What fails sends nothing, and says what it was that it read.
    let infer = ["infer", "net.umbra", "--keys", "keys/eval.key", "-", "-o", "-"];
    assert!(refused(&infer, null()).contains("standard input has nothing"));
    let other = std::fs::File::open(files().path("output.ct")).unwrap();
    assert!(refused(&infer, other.into()).contains("standard input: "));
    let line = refused(&[&ENCRYPT[..], &["-", "-o", "-"]].concat(), null());
    assert!(line.contains("standard input: not a PNG or JPEG image, but an empty file"), "{line}");
    assert!(!files().path("no.ct").exists());
}

#[test]
fn nobody_who_reads_is_an_error() {
    let mut child = spawn(&[&ENCRYPT[..], &["-", "-o", "-"]].concat(), Stdio::piped());
    drop(child.stdout.take());
    // Only now can it go on.
    child.stdin.take().unwrap().write_all(&std::fs::read(image()).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert!(
        line.lines().last().is_some_and(|l| l.contains("standard output was closed before all was written")),
        "{line}"
    );
}
