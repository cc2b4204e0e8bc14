//! Little memory: whatever the limit, a command does its work or says in one line that it cannot.

#![cfg(target_os = "linux")]

mod common;

use std::process::{Command, Output};

use common::{Fixture, fixture, image, umbra};

/// Runs a command with so many kilobytes of addresses.
fn limited(files: &Fixture, kind: &str, kilobytes: u64, arguments: &[&str]) -> Output {
    let script = format!("ulimit -{kind} {kilobytes} && exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.current_dir(&files.folder).env("RUST_BACKTRACE", "1").env("TMPDIR", &files.folder).args(["-c", &script]);
    command.arg(umbra().get_program()).args(arguments).output().unwrap()
}

/// Checks an outcome under a limit; whether it was a success.
fn ends_well(output: &Output, limit: u64, arguments: &[&str]) -> bool {
    let stderr = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => true,
        Some(2) => {
            assert_eq!(stderr.lines().count(), 1, "{arguments:?} at {limit} kB: {stderr}");
            assert!(stderr.starts_with("umbra: "), "{arguments:?} at {limit} kB: {stderr}");
            false
        }
        code => panic!("{arguments:?} at {limit} kB ended with {code:?}: {stderr}"),
    }
}

#[test]
fn every_limit_ends_in_a_result_or_in_one_line() {
    let files = fixture("memory");
    let image = image();
    let encrypt = ["encrypt", "net.client", "--key", "keys/secret.key", image.to_str().unwrap(), "--out", "limited.ct"];
    // Below that the system does not load the program, whatever it is asked to do.
    let loads = |limit: &u64| limited(files, "v", *limit, &["--version"]).status.success();
    let least = (1..100).map(|step| 2_000 * step).find(loads).unwrap();
    let commands: [&[&str]; 5] = [
        &["infer", "net.umbra", "--keys", "keys/eval.key", "input.ct", "--out", "limited-result.ct"],
        &["keygen", "net.client", "--out", "limited-keys", "--replace"],
        &["compile", "net", "--out", "limited.umbra"],
        &["demo", "--network", "net", "--image", image.to_str().unwrap()],
        &encrypt,
    ];
    for arguments in commands {
        let mut results = Vec::new();
        for limit in (0..20).map(|step| least + 8_000 * step).chain([400_000, 2_000_000]) {
            results.push(ends_well(&limited(files, "v", limit, arguments), limit, arguments));
        }
        assert!(results.last().is_some_and(|ended| *ended), "{arguments:?}: {results:?}");
        assert!(results.contains(&false), "{arguments:?}: {results:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused_before_it_begins() {
    let files = fixture("memory");
    // Much more than the program itself, and less than an evaluation of it: threads need some, too.
    let infer = ["--threads", "1", "infer", "net.umbra", "--keys", "keys/eval.key", "input.ct", "--out", "no.ct"];
    let mut refused = 0;
    for limit in (0..40).map(|step| 20_000 + 1_000 * step) {
        let output = limited(files, "d", limit, &infer);
        if !ends_well(&output, limit, &infer) {
            let line = String::from_utf8_lossy(&output.stderr);
            refused += usize::from(line.contains("this inference needs") && line.contains("ulimit -d"));
        }
    }
    assert!(refused > 0);
}
