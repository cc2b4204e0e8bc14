//! A folder of images for each class.

use std::fs;
use std::path::{Path, PathBuf};

use umbra_file::ReadError;
use umbra_image::{Image, ImageSpec};
use umbra_model::Split;

use crate::UmbraError;

/// Most bytes of images that are kept: as many as the official files of a data set may have.
const MAX_BYTES: usize = 1 << 28;
/// Most images of a class, of which the names are kept.
const MAX_FILES: usize = 1 << 20;

/// Folders that are named after classes of a network.
#[derive(Debug)]
pub struct ClassFolders {
    root: PathBuf,
    /// By number of the class.
    folders: Vec<(usize, PathBuf)>,
}

impl ClassFolders {
    /// The folders in `root`, or in the one of them that has images for testing or training; `None` where none has the
    /// name of a class.
    ///
    /// # Errors
    /// [`UmbraError::UnknownFolder`] where some are named after classes, and one is not.
    pub fn find(root: &Path, classes: &[String], split: Split) -> Result<Option<Self>, UmbraError> {
        let parts: &[&str] = match split {
            Split::Test => &["test", "val", "valid", "validation"],
            Split::Train => &["train"],
        };
        let part = parts.iter().map(|part| root.join(part)).find(|part| part.is_dir());
        // A class may be named so.
        for root in std::iter::once(root).chain(part.as_deref()) {
            let found = subfolders(root)?;
            let class = |path: &PathBuf| classes.iter().position(|class| path.file_name() == Some(class.as_ref()));
            if !found.iter().any(|path| class(path).is_some()) {
                continue;
            }
            let mut folders = Vec::new();
            for path in found {
                let class = class(&path)
                    .ok_or_else(|| UmbraError::UnknownFolder { path: path.clone(), expected: classes.to_vec() })?;
                folders.push((class, path));
            }
            folders.sort();
            return Ok(Some(Self { root: root.into(), folders }));
        }
        Ok(None)
    }

    /// The first `limit` images as bytes, resized as for encryption, each with the number of its class: the first of
    /// each class by name, then the second of each, and so on.
    ///
    /// # Errors
    /// [`UmbraError::Load`] for whatever in a folder is no image, but for hidden files.
    pub fn images(&self, input: &ImageSpec, limit: Option<usize>) -> Result<Vec<(Vec<u8>, usize)>, UmbraError> {
        let most = MAX_BYTES / input.len().max(1);
        let mut images = Vec::new();
        for (class, path) in self.in_turns()?.into_iter().take(limit.unwrap_or(usize::MAX)) {
            if images.len() == most {
                return Err(UmbraError::TooManyImages { path: self.root.clone(), limit: most });
            }
            images.push((Image::load(path, input)?.bytes().to_vec(), class));
        }
        Ok(images)
    }

    fn in_turns(&self) -> Result<Vec<(usize, PathBuf)>, UmbraError> {
        let mut all = Vec::new();
        for (class, folder) in &self.folders {
            let files = entries(folder)?;
            all.extend(files.into_iter().enumerate().map(|(turn, path)| (turn, *class, path)));
        }
        all.sort();
        Ok(all.into_iter().map(|(_, class, path)| (class, path)).collect())
    }
}

/// The folders in a folder, by name, but for hidden ones.
pub fn subfolders(folder: &Path) -> Result<Vec<PathBuf>, UmbraError> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// What is in a folder, by name, but for what is hidden.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, UmbraError> {
    let failed =
        |reason| umbra_model::ModelError::from(ReadError::Io { path: folder.into(), what: "a folder", reason });
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
        if paths.len() > MAX_FILES {
            return Err(UmbraError::TooManyImages { path: folder.into(), limit: MAX_FILES });
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use umbra_image::Normalisation;

    use super::*;

    const SHIP: &[u8] = include_bytes!("../../../assets/images/ship.png");
    const CAT: &[u8] = include_bytes!("../../../assets/images/cat.png");

    fn classes() -> Vec<String> {
        ["cat", "dog", "ship", "test"].map(String::from).to_vec()
    }

    fn input() -> ImageSpec {
        let normalisation = Normalisation::PerImage { min_std: 0.05 };
        ImageSpec { channels: 3, height: 16, width: 16, normalisation, clip: None }
    }

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        folder
    }

    #[test]
    fn images_of_classes_come_in_turns_and_resized() {
        let folder = folder(&[
            ("ship/b.png", CAT),
            ("ship/a.png", SHIP),
            ("cat/z.png", CAT),
            ("cat/.hidden", b"notes"),
            (".git/config", b"notes"),
            ("README", b"notes"),
        ]);
        let found = ClassFolders::find(folder.path(), &classes(), Split::Test).unwrap().unwrap();
        let images = found.images(&input(), None).unwrap();
        assert_eq!(images.iter().map(|(_, class)| *class).collect::<Vec<_>>(), [0, 2, 2]);
        let expected = |bytes: &[u8]| Image::decode(bytes, &input()).unwrap().bytes().to_vec();
        assert!(images[0].0 == expected(CAT) && images[1].0 == expected(SHIP) && images[2].0 == expected(CAT));
        assert_eq!(found.images(&input(), Some(2)).unwrap(), images[..2]);
    }

    #[test]
    fn splits_are_chosen_and_names_are_strict() {
        let parts = folder(&[("train/cat/a.png", CAT), ("val/ship/a.png", SHIP)]);
        let find = |split| ClassFolders::find(parts.path(), &classes()[..3], split).unwrap().unwrap();
        assert_eq!(find(Split::Test).images(&input(), None).unwrap()[0].1, 2);
        assert_eq!(find(Split::Train).images(&input(), None).unwrap()[0].1, 0);
        let misspelt = folder(&[("cat/a.png", CAT), ("Ship/a.png", SHIP)]);
        let refused = ClassFolders::find(misspelt.path(), &classes(), Split::Test).unwrap_err().to_string();
        assert!(refused.contains("Ship: no class") && refused.contains("cat, dog, ship"), "{refused}");
        let text = folder(&[("cat/a.png", CAT), ("cat/notes.txt", b"notes")]);
        let found = ClassFolders::find(text.path(), &classes(), Split::Test).unwrap().unwrap();
        let refused = found.images(&input(), None).unwrap_err().to_string();
        assert!(refused.contains("notes.txt: not a PNG or JPEG image, but a text file"), "{refused}");
        let others = folder(&[("k0/a.png", CAT)]);
        assert!(ClassFolders::find(others.path(), &classes(), Split::Test).unwrap().is_none());
    }
}
