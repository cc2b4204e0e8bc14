//! Images of a data set that a network can classify.

use std::path::{Path, PathBuf};

use umbra_foreign::Foreign;
use umbra_model::{Dataset, DatasetKind, Graph, ModelError, Split};

use crate::UmbraError;
use crate::folders::{ClassFolders, subfolders};

/// Normalised images and their classes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelledImages {
    /// `[channels, height, width]` each.
    pub values: Vec<Vec<f32>>,
    /// The network's number of the class of each.
    pub labels: Vec<usize>,
}

impl LabelledImages {
    /// The first `limit` images for testing of the network's classes.
    ///
    /// # Errors
    /// As [`images`].
    pub fn open(path: &Path, graph: &Graph, limit: Option<usize>) -> Result<Self, UmbraError> {
        let mut labelled = Self::default();
        for (bytes, class) in images(path, graph, Split::Test, limit)? {
            labelled.values.push(graph.input().normalise(&bytes)?);
            labelled.labels.push(class);
        }
        Ok(labelled)
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

/// The first `limit` images of the network's classes as bytes, each with the network's number of its class. `path` is
/// the folder of a data set, one of its files, or a folder with a folder of images for each class.
///
/// # Errors
/// A network for other images or classes; files that are not the data set; no such image.
pub fn images(
    path: &Path,
    graph: &Graph,
    split: Split,
    limit: Option<usize>,
) -> Result<Vec<(Vec<u8>, usize)>, UmbraError> {
    let folders = match path.is_dir() && !DatasetKind::is_in(path) {
        true => class_folders(path, graph.classes(), split)?,
        false => None,
    };
    let images = match folders {
        Some(folders) => folders.images(graph.input(), limit)?,
        None => official(path, graph, split, limit)?,
    };
    if images.is_empty() {
        return Err(UmbraError::NoImages { path: path.into() });
    }
    Ok(images)
}

/// A folder of images for each class; `None` where nothing says that `path` is that, or anything else that is known.
fn class_folders(path: &Path, classes: &[String], split: Split) -> Result<Option<ClassFolders>, UmbraError> {
    if let Some(folders) = ClassFolders::find(path, classes, split)? {
        return Ok(Some(folders));
    }
    let foreign = |(file, found): (PathBuf, Foreign), folder: &Path| match found.is_image() {
        true if folder == path => UmbraError::NoClasses { path: path.into(), expected: classes.to_vec() },
        true => UmbraError::UnknownFolder { path: folder.into(), expected: classes.to_vec() },
        false => ModelError::foreign_data(file, found).into(),
    };
    for folder in std::iter::once(path.to_path_buf()).chain(subfolders(path)?) {
        if let Some(found) = Foreign::in_folder(&folder) {
            return Err(foreign(found, &folder));
        }
    }
    Ok(None)
}

/// Images of the official files.
fn official(
    path: &Path,
    graph: &Graph,
    split: Split,
    limit: Option<usize>,
) -> Result<Vec<(Vec<u8>, usize)>, UmbraError> {
    // Before the network is: what the file is comes first.
    if let Some(found) = Foreign::of_file(path).filter(Foreign::is_format).filter(|_| !DatasetKind::fits(path)) {
        return Err(ModelError::foreign_data(path.into(), found).into());
    }
    let input = graph.input();
    let kind = DatasetKind::from_name(&graph.description().dataset)
        .or_else(|| DatasetKind::ALL.into_iter().find(|kind| kind.classes() == graph.classes().len()))
        .ok_or(UmbraError::UnknownDataset)?;
    let takes = [input.channels, input.height, input.width];
    if takes != [3, 32, 32] {
        return Err(UmbraError::DatasetImages { path: path.into(), kind, takes });
    }
    let classes = classes(kind, graph.classes()).map_err(|class| UmbraError::DatasetClass {
        path: path.into(),
        kind,
        class: class.into(),
    })?;
    let data = Dataset::open(kind, path, split)?;
    let known = data.iter().filter_map(|(bytes, label)| Some((bytes.to_vec(), classes[label]?)));
    Ok(known.take(limit.unwrap_or(usize::MAX)).collect())
}

/// The network's class for each label of the data set, if it knows it: by name, or in their order where it has as many
/// under other names.
///
/// # Errors
/// A class that the data set does not have.
fn classes(kind: DatasetKind, own: &[String]) -> Result<Vec<Option<usize>>, &str> {
    let names = kind.class_names();
    match own.iter().find(|class| !names.contains(&class.as_str())) {
        None => Ok(names.iter().map(|name| own.iter().position(|class| class == name)).collect()),
        Some(_) if own.len() == names.len() => Ok((0..names.len()).map(Some).collect()),
        Some(unknown) => Err(unknown),
    }
}

#[cfg(test)]
mod tests {
    use umbra_model::zoo::ResNet;

    use super::*;

    #[test]
    fn networks_know_all_classes_or_some_by_name() {
        let named = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        let other_names = named(&["x"; 10]);
        assert_eq!(classes(DatasetKind::Cifar10, &other_names), Ok((0..10).map(Some).collect()));
        let some = named(&["ship", "cat"]);
        let labels = classes(DatasetKind::Cifar10, &some).unwrap();
        assert_eq!((labels[8], labels[3]), (Some(0), Some(1)));
        assert_eq!(labels.iter().flatten().count(), 2);
        // All of them in an order of its own.
        let mut all = named(DatasetKind::Cifar10.class_names());
        all.reverse();
        assert_eq!(classes(DatasetKind::Cifar10, &all), Ok((0..10).rev().map(Some).collect()));
        let unknown = named(&["ship", "unicorn"]);
        assert_eq!(classes(DatasetKind::Cifar10, &unknown), Err("unicorn"));
        assert_eq!(DatasetKind::Cifar100.classes(), 100);
    }

    #[test]
    fn the_first_images_are_read_and_normalised() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("batch.bin");
        let record = |label: u8| std::iter::once(label).chain((0..3072).map(move |i| (i % 251) as u8 ^ label));
        std::fs::write(&path, [7, 2, 5].into_iter().flat_map(record).collect::<Vec<u8>>()).unwrap();
        let network = |side, classes| ResNet {
            widths: vec![2],
            blocks: 1,
            height: side,
            width: side,
            classes,
            ..ResNet::default()
        };
        let graph = network(32, 10).build().unwrap();
        let two = LabelledImages::open(&path, &graph, Some(2)).unwrap();
        assert_eq!((two.len(), &two.labels[..]), (2, &[7, 2][..]));
        let bytes: Vec<u8> = record(2).skip(1).collect();
        assert_eq!(two.values[1], graph.input().normalise(&bytes).unwrap());
        assert_eq!(LabelledImages::open(&path, &graph, None).unwrap().len(), 3);

        let refused = |graph: &Graph| LabelledImages::open(&path, graph, None).unwrap_err();
        let small = network(8, 10).build().unwrap();
        assert!(matches!(refused(&small), UmbraError::DatasetImages { takes: [3, 8, 8], .. }));
        assert!(matches!(LabelledImages::open(&path, &graph, Some(0)), Err(UmbraError::NoImages { .. })));
    }
}
