//! `umbra bench predictions`, and what `compile` says of samples.

mod common;

use serde_json::Value;

use common::{network, umbra};
use umbra_model::stand_ins;

#[test]
fn predictions_are_compared_with_measurements() {
    let run = |format: &[&str]| {
        let arguments = ["bench", "predictions", "--count", "2", "--seed", "1", "--simulate"];
        umbra().args(arguments).args(format).output().unwrap()
    };
    let output = run(&["--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let networks = report["networks"].as_array().unwrap();
    assert_eq!((networks.len(), report["holding"].as_u64()), (2, Some(2)));
    for network in networks {
        let number = |name: &str| network[name].as_f64().unwrap();
        assert_eq!(number("ratio"), number("measured") / number("predicted"), "{network}");
        assert!(!network["encrypted"].as_bool().unwrap() && (0.5..=1.5).contains(&number("ratio")), "{network}");
    }
    let table = String::from_utf8(run(&[]).stdout).unwrap();
    assert!(table.contains("2 of 2 measured errors are 0.5 to 1.5 times the predicted ones"), "{table}");
}

#[test]
fn compile_says_what_precision_was_measured_on() {
    let folder = tempfile::tempdir().unwrap();
    let graph = network(1).build().unwrap();
    graph.save(folder.path().join("none")).unwrap();
    let with = |count| graph.clone().with_samples(stand_ins(graph.input(), count, 1)).unwrap();
    with(1).save(folder.path().join("one")).unwrap();
    with(16).save(folder.path().join("many")).unwrap();
    let notes = |name: &str| {
        let arguments = ["compile", name, "-o", "a.umbra"];
        let output = umbra().current_dir(folder.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let none = notes("none");
    assert!(none.contains("brings no samples: precision was measured on 64 drawn images"), "{none}");
    assert!(none.contains("root mean square over 64 drawn images, simulated"), "{none}");
    let one = notes("one");
    assert!(one.contains("brings too few samples: precision was measured on 1 sample of the network and 3"), "{one}");
    let many = notes("many");
    assert!(many.contains("root mean square over 16 samples of the network, simulated"), "{many}");
    assert!(!many.contains("drawn"), "{many}");
}
