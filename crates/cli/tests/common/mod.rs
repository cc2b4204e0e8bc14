//! A small random network, compiled, with keys and an encrypted image: made once for all tests of a file.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use assert_cmd::Command;

use umbra_model::zoo::ResNet;

/// The binary under test.
pub fn umbra() -> Command {
    Command::cargo_bin("umbra").unwrap()
}

/// A shipped image.
pub fn image() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/images/cat.png")
}

/// Files of one party after another.
pub struct Fixture {
    pub folder: PathBuf,
}

impl Fixture {
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A copy of a file under another name, changed.
    pub fn changed(&self, name: &str, to: &str, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
        let mut bytes = std::fs::read(self.path(name)).unwrap();
        change(&mut bytes);
        let path = self.path(to);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// A network of one block on 8 x 8 images.
pub fn network(seed: u64) -> ResNet {
    ResNet { widths: vec![4], blocks: 1, classes: 3, height: 8, width: 8, seed, ..ResNet::default() }
}

/// Network `net`, program `net.umbra`, client file `net.client`, keys in `keys`, image `input.ct`, result `output.ct`.
pub fn fixture(test: &str) -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        // What an earlier run left.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        network(1).build().unwrap().save(folder.join("net")).unwrap();
        let fixture = Fixture { folder };
        let run = |arguments: &[&str]| {
            umbra().current_dir(&fixture.folder).args(arguments).assert().success();
        };
        run(&["compile", "net", "--out", "net.umbra"]);
        run(&["keygen", "net.client", "--out", "keys"]);
        let image = image();
        let image = image.to_str().unwrap();
        run(&["encrypt", "net.client", "--key", "keys/secret.key", image, "--out", "input.ct"]);
        run(&["infer", "net.umbra", "--keys", "keys/eval.key", "input.ct", "--out", "output.ct"]);
        fixture
    })
}

/// Runs a command that must fail as bad input does: exit code 2, nothing on standard output, one line on standard
/// error. Returns the line.
pub fn refused(fixture: &Fixture, arguments: &[&str]) -> String {
    let output = umbra().current_dir(&fixture.folder).args(arguments).output().unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {line}");
    assert_eq!(line.lines().count(), 1, "{arguments:?}: {line}");
    assert!(line.starts_with("umbra: ") && !line.contains("panicked"), "{arguments:?}: {line}");
    assert!(!line.trim_end().contains(char::is_control), "{arguments:?}: {line:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}: {:?}", String::from_utf8_lossy(&output.stdout));
    line
}

/// As [`refused`], and every one of `words` is in the line.
pub fn refused_with(fixture: &Fixture, arguments: &[&str], words: &[&str]) {
    let line = refused(fixture, arguments);
    for word in words {
        assert!(line.contains(word), "{arguments:?}: {word:?} is not in {line:?}");
    }
}
