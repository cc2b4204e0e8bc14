//! CIFAR-10 and CIFAR-100 in their official binary formats (Krizhevsky, 2009).

use std::fmt;
use std::path::{Path, PathBuf};

use crate::ModelError;
use umbra_file::read_file;
use umbra_foreign::Foreign;

/// Which data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DatasetKind {
    /// 10 classes; a record is 1 label byte and 3,072 of image.
    Cifar10,
    /// 100 classes; a record is a coarse label, a fine label and 3,072 bytes of image. The fine label is the class.
    Cifar100,
}

#[rustfmt::skip]
const CIFAR_10: [&str; 10] = [
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
];

#[rustfmt::skip]
const CIFAR_100: [&str; 100] = [
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish",
    "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
    "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange",
    "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine",
    "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk",
    "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
    "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
    "willow_tree", "wolf", "woman", "worm",
];

/// Which images of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// The 50,000 for training.
    Train,
    /// The 10,000 for testing.
    Test,
}

/// Bytes of an image: 1,024 red, 1,024 green, 1,024 blue, row by row.
const IMAGE: usize = 3 * 32 * 32;
/// Both data sets have 60,000 images, 184 MB, in all.
const MAX_FILE: u64 = 1 << 28;

impl DatasetKind {
    /// Every data set that can be read.
    pub const ALL: [Self; 2] = [Self::Cifar10, Self::Cifar100];

    /// The data set of that name, such as `CIFAR-10`, `cifar10`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().replace(['-', '_', ' '], "").as_str() {
            "cifar10" => Some(Self::Cifar10),
            "cifar100" => Some(Self::Cifar100),
            _ => None,
        }
    }

    /// Number of classes.
    #[must_use]
    pub fn classes(self) -> usize {
        self.class_names().len()
    }

    /// Their names, by label, as in the text file beside the official records.
    #[must_use]
    pub fn class_names(self) -> &'static [&'static str] {
        match self {
            Self::Cifar10 => &CIFAR_10,
            Self::Cifar100 => &CIFAR_100,
        }
    }

    /// Whether a folder has an official file of any data set, or a folder with such files in it.
    #[must_use]
    pub fn is_in(folder: &Path) -> bool {
        let files = Self::ALL.iter().flat_map(|kind| [Split::Train, Split::Test].map(|split| kind.files(split)));
        let there = |(inner, names): (&str, &[&str])| {
            names.iter().any(|name| folder.join(name).exists() || folder.join(inner).join(name).exists())
        };
        files.into_iter().any(there)
    }

    /// Whether a file has as many bytes as a whole number of records of any data set.
    #[must_use]
    pub fn fits(file: &Path) -> bool {
        let record = |kind: &Self| (kind.labels().len() + IMAGE) as u64;
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        length > 0 && Self::ALL.iter().any(|kind| length.is_multiple_of(record(kind)))
    }

    /// Upper bounds of the label bytes before each image; the last is the class.
    fn labels(self) -> &'static [u8] {
        match self {
            Self::Cifar10 => &[10],
            Self::Cifar100 => &[20, 100],
        }
    }

    /// The folder that the official archive makes, and the files in it.
    fn files(self, split: Split) -> (&'static str, &'static [&'static str]) {
        match (self, split) {
            (Self::Cifar10, Split::Train) => (
                "cifar-10-batches-bin",
                &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
            ),
            (Self::Cifar10, Split::Test) => ("cifar-10-batches-bin", &["test_batch.bin"]),
            (Self::Cifar100, Split::Train) => ("cifar-100-binary", &["train.bin"]),
            (Self::Cifar100, Split::Test) => ("cifar-100-binary", &["test.bin"]),
        }
    }
}

impl fmt::Display for DatasetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cifar10 => "CIFAR-10",
            Self::Cifar100 => "CIFAR-100",
        })
    }
}

/// What is wrong with the bytes of a data set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// Not a whole number of records.
    #[error(
        "{found} bytes are not a whole number of {kind} records of {record} bytes; use the official binary version, \
         complete"
    )]
    Length {
        /// What it was read as.
        kind: DatasetKind,
        /// Bytes of the file.
        found: usize,
        /// Bytes of a record.
        record: usize,
    },
    /// A label that there is not.
    #[error("record {record} has label {found}, {kind} has labels below {limit}; use the official binary version")]
    Label {
        /// What it was read as.
        kind: DatasetKind,
        /// Number of the record.
        record: usize,
        /// The label.
        found: u8,
        /// The number of such labels.
        limit: u8,
    },
}

/// Images with their classes, in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    kind: DatasetKind,
    images: Vec<u8>,
    labels: Vec<u8>,
}

impl Dataset {
    /// Reads one file of records.
    ///
    /// # Errors
    /// [`DatasetError`]: a wrong length, a wrong label.
    pub fn decode(kind: DatasetKind, bytes: &[u8]) -> Result<Self, DatasetError> {
        let limits = kind.labels();
        let record = limits.len() + IMAGE;
        if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
            return Err(DatasetError::Length { kind, found: bytes.len(), record });
        }
        let count = bytes.len() / record;
        let mut dataset = Self { kind, images: Vec::with_capacity(count * IMAGE), labels: Vec::with_capacity(count) };
        for (number, bytes) in bytes.chunks_exact(record).enumerate() {
            let (labels, image) = bytes.split_at(limits.len());
            for (&found, &limit) in labels.iter().zip(limits) {
                if found >= limit {
                    return Err(DatasetError::Label { kind, record: number, found, limit });
                }
            }
            dataset.labels.extend(labels.last());
            dataset.images.extend_from_slice(image);
        }
        Ok(dataset)
    }

    /// Reads a file of records, or the official files of `split` from a folder (or from the folder that the official
    /// archive makes inside it).
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn open(kind: DatasetKind, path: impl AsRef<Path>, split: Split) -> Result<Self, ModelError> {
        let path = path.as_ref();
        let files: Vec<PathBuf> = if path.is_dir() {
            let (folder, names) = kind.files(split);
            let inner = path.join(folder);
            let folder = if inner.is_dir() { &inner } else { path };
            names.iter().map(|name| folder.join(name)).collect()
        } else {
            vec![path.to_path_buf()]
        };
        let mut all = Self { kind, images: Vec::new(), labels: Vec::new() };
        for path in files {
            let part = Self::read(kind, &path).map_err(|error| match Foreign::of_file(&path) {
                // Only now: the first bytes of an image may be those of anything.
                Some(found) => ModelError::foreign_data(path, found),
                None => error,
            })?;
            all.images.extend(part.images);
            all.labels.extend(part.labels);
        }
        Ok(all)
    }

    fn read(kind: DatasetKind, path: &Path) -> Result<Self, ModelError> {
        let bytes = read_file(path, "a file of a data set", MAX_FILE)?;
        Self::decode(kind, &bytes).map_err(|reason| ModelError::Dataset { path: path.into(), reason })
    }

    /// Which one it is.
    #[must_use]
    pub fn kind(&self) -> DatasetKind {
        self.kind
    }

    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// One image, `[3, 32, 32]` bytes, if there are so many: the input of
    /// [`ImageSpec::normalise`](crate::ImageSpec::normalise).
    #[must_use]
    pub fn image(&self, index: usize) -> Option<&[u8]> {
        self.images.chunks_exact(IMAGE).nth(index)
    }

    /// The class of an image.
    #[must_use]
    pub fn label(&self, index: usize) -> Option<usize> {
        self.labels.get(index).map(|&label| label.into())
    }

    /// All images with their classes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], usize)> {
        self.images.chunks_exact(IMAGE).zip(self.labels.iter().map(|&label| usize::from(label)))
    }
}
