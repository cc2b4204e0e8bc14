//! Pictures of a data set that a network can classify.

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use umbra_model::{Dataset, DatasetKind, Graph, Split};

/// The first `limit` pictures of the network's classes, each with the network's number of its class.
///
/// # Errors
/// A network for other pictures or classes; files that are not the data set; no such picture.
pub fn pictures(
    path: &Path,
    graph: &Graph,
    split: Split,
    limit: Option<usize>,
) -> anyhow::Result<Vec<(Vec<u8>, usize)>> {
    let input = graph.input();
    let kind = DatasetKind::from_name(&graph.description().dataset)
        .or_else(|| DatasetKind::ALL.into_iter().find(|kind| kind.classes() == graph.classes().len()))
        .context("the network names no data set that can be read and has neither 10 nor 100 classes; use a network for CIFAR-10 or CIFAR-100")?;
    if (input.channels, input.height, input.width) != (3, 32, 32) {
        bail!(
            "{}: pictures of {kind} are 3 x 32 x 32, the network takes {} x {} x {}; use a network for this data set",
            path.display(),
            input.channels,
            input.height,
            input.width,
        );
    }
    let classes = classes(kind, graph.classes()).map_err(|class| {
        anyhow!(
            "{}: {kind} has no class {class:?}; a network for some of its classes has their names in its manifest",
            path.display()
        )
    })?;
    let data = Dataset::open(kind, path, split)?;
    let known = data.iter().filter_map(|(bytes, label)| Some((bytes.to_vec(), classes[label]?)));
    let pictures: Vec<_> = known.take(limit.unwrap_or(usize::MAX)).collect();
    if pictures.is_empty() {
        bail!("{}: no picture of the network's classes; use the data set that it was trained on", path.display());
    }
    Ok(pictures)
}

/// The network's class for each label of the data set, if it knows it: by name, or in their order where it has as many under other
/// names.
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
    use super::classes;
    use umbra_model::DatasetKind;

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
}
