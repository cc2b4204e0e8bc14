//! Files and folders that commands write: checked before the work.

use std::path::{Path, PathBuf};

use anyhow::bail;

use umbra_file::{AtomicFile, FileBytes, Kind};

/// Makes a folder where there is none.
pub fn make_folder(path: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(path).map_err(|reason| {
        anyhow::anyhow!(
            "{}: cannot make this folder: {reason}; check the permissions or write elsewhere",
            path.display()
        )
    })
}

/// The secret key and the evaluation keys of a folder, which must hold neither: they belong together, and what was
/// encrypted under a secret key is lost with it. `remedy` is what else the command offers.
pub fn new_keys(folder: &Path, replace: bool, remedy: &str) -> anyhow::Result<[PathBuf; 2]> {
    let paths = ["secret.key", umbra::session::EVALUATION_KEYS].map(|name| folder.join(name));
    for (path, what) in paths.iter().zip(["a secret key", "a file of evaluation keys"]) {
        if !replace && path.symlink_metadata().is_ok() {
            bail!("{}: there is {what} already; use another folder{remedy}", path.display());
        }
        // Both before one is replaced: half of a pair is no use.
        AtomicFile::target(path)?;
    }
    Ok(paths)
}

/// Checks, before the work, that a file of this kind can be written at `out`: into a folder that takes it, not over one
/// of the `inputs`, and over nothing but a file of the same kind. A key, an image or a network given by mistake would
/// be lost. Returns where the file will be: two outputs at the same place are the same file.
pub fn check(out: &Path, kind: Kind, inputs: &[&Path]) -> anyhow::Result<PathBuf> {
    let target = place(AtomicFile::create(out, kind.is_secret())?.path());
    let is_target = |input: &&&Path| std::fs::canonicalize(input).is_ok_and(|input| input == target);
    if let Some(input) = inputs.iter().find(is_target) {
        bail!("{}: this is what is read ({}); write elsewhere", out.display(), input.display());
    }
    if std::fs::metadata(&target).is_ok_and(|there| there.len() > 0) {
        let found = FileBytes::kind(&target)?;
        if found != Some(kind) {
            let found = found.map_or("another file".into(), |found| found.to_string());
            bail!("{}: there is {found}, which would be lost to {kind}; write elsewhere, or remove it", out.display());
        }
    }
    Ok(target)
}

/// A path in a folder that is there, by which it is told from others.
fn place(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (std::fs::canonicalize(folder), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_path_buf(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_place_whatever_leads_there() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("inner")).unwrap();
        let at = |name: &str| check(&folder.path().join(name), Kind::Program, &[]).unwrap();
        assert_eq!(at("a.umbra"), at("./inner/../a.umbra"));
        assert_ne!(at("a.umbra"), at("a.client"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
