//! What a file of others is.

use std::fmt;

use Sort::{Archive, Array, Damaged, Image, Model, Pickle, Text, Weights};

/// How many of the first bytes tell what a file is: the magic of tar archives is the last that is looked at.
pub const START: usize = 512;

/// A file that Umbra does not write, recognised by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    what: &'static str,
    sort: Sort,
}

/// What can be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    /// A network of another program.
    Model,
    /// The weights of a network, without its layers.
    Weights,
    /// Files in a file.
    Archive,
    Image,
    /// Objects of Python.
    Pickle,
    /// Numbers.
    Array,
    Text,
    /// In the place of what it should be.
    Damaged,
}

/// Where its magic stands, the magic, and what begins so: what is longer or elsewhere first.
#[rustfmt::skip]
const MAGICS: &[(usize, &[u8], &str, Sort)] = &[
    (0, b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", "a PyTorch file", Model),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes it", Model),
    (4, b"TFL3", "a TensorFlow Lite model", Model),
    (0, b"GGUF", "a GGUF model", Model),
    (0, b"\x93NUMPY", "a NumPy array", Array),
    (0, b"MATLAB 5.0", "a MATLAB file", Array),
    (0, b"PAR1", "a Parquet table", Array),
    (0, b"ARROW1", "an Arrow table", Array),
    (0, b"\0\0\x08\x01", "a file of labels as MNIST has them", Array),
    (0, b"\0\0\x08\x03", "a file of images as MNIST has them", Array),
    (0, b"SQLite format 3\0", "a SQLite data base", Array),
    (0, b"\x1f\x8b", "a gzip archive", Archive),
    (0, b"BZh", "a bzip2 archive", Archive),
    (0, b"\xfd7zXZ\0", "an xz archive", Archive),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive", Archive),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", Archive),
    (0, b"Rar!\x1a\x07", "a RAR archive", Archive),
    (257, b"ustar", "a tar archive", Archive),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image", Image),
    (0, b"\xff\xd8\xff", "a JPEG image", Image),
    (0, b"GIF87a", "a GIF image", Image),
    (0, b"GIF89a", "a GIF image", Image),
    (8, b"WEBP", "a WebP image", Image),
    (4, b"ftypheic", "a HEIC image", Image),
    (4, b"ftypheix", "a HEIC image", Image),
    (4, b"ftypmif1", "a HEIF image", Image),
    (4, b"ftypavif", "an AVIF image", Image),
    (4, b"ftypavis", "an AVIF animation", Image),
    (4, b"ftyp", "a video", Image),
    (0, b"\x1a\x45\xdf\xa3", "a video", Image),
    (0, b"II*\0", "a TIFF image", Image),
    (0, b"MM\0*", "a TIFF image", Image),
    (0, b"8BPS", "a Photoshop image", Image),
    (0, b"\0\0\x01\0", "an icon", Image),
    (0, b"qoif", "a QOI image", Image),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR image", Image),
    (0, b"\xff\x0a", "a JPEG XL image", Image),
    (0, b"\0\0\0\x0cJXL \r\n", "a JPEG XL image", Image),
    (0, b"\0\0\0\x0cjP  \r\n", "a JPEG 2000 image", Image),
    (0, b"P5\n", "a PGM image", Image),
    (0, b"P6\n", "a PPM image", Image),
    (0, b"%PDF-", "a PDF document", Image),
    (0, b"<svg", "an SVG drawing", Image),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself", Damaged),
    (0, b"<!DOCTYPE html", "a web page", Damaged),
    (0, b"<!doctype html", "a web page", Damaged),
    (0, b"<html", "a web page", Damaged),
    (0, b"(dp", "a Python pickle", Pickle),
    (0, b"(lp", "a Python pickle", Pickle),
];

impl Foreign {
    /// What begins with these bytes, [`START`] of them or all there are; `name` is the file's, without folder, which
    /// tells of formats that have no magic. `None` where nothing is known.
    #[must_use]
    pub fn of(start: &[u8], name: &str) -> Option<Self> {
        let some = |what, sort| Some(Self { what, sort });
        if start.is_empty() {
            return some("an empty file", Damaged);
        }
        if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
            return Some(Self::of_zip(start, name));
        }
        let magic = |&&(at, magic, ..): &&(usize, &[u8], _, _)| start.get(at..).is_some_and(|s| s.starts_with(magic));
        if let Some(&(_, _, what, sort)) = MAGICS.iter().find(magic) {
            return some(what, sort);
        }
        match start {
            // An opcode of protocol 2 to 5 begins a mapping, a list, a tuple, a frame or names a class.
            [0x80, 2..=5, b'}' | b']' | b'(' | b'c' | 0x8a | 0x95, ..] => Some(Self::of_pickle(start)),
            [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => some("a BMP image", Image),
            _ if is_safetensors(start) => some("a safetensors file", Weights),
            _ if is_onnx(start, name) => some("an ONNX model", Model),
            [8, 1, 0x12, ..] if name.ends_with(".pb") => some("a TensorFlow model", Model),
            // It may be a manifest.
            _ if start.trim_ascii_start().starts_with(b"{") => None,
            _ if is_text(start) => some("a text file", Text),
            _ => None,
        }
    }

    /// What it is, with an article.
    #[must_use]
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// Whether it is of a format that another program writes, not just text, or nothing.
    #[must_use]
    pub fn is_format(&self) -> bool {
        !matches!(self.sort, Text | Damaged)
    }

    /// Whether it is an image, of whatever format.
    #[must_use]
    pub fn is_image(&self) -> bool {
        self.sort == Image
    }

    /// Whether it holds the weights of a network in the format that is read.
    #[must_use]
    pub fn is_weights(&self) -> bool {
        self.sort == Weights
    }

    /// What to do where a network was expected.
    #[must_use]
    pub fn remedy_for_network(&self) -> &'static str {
        match self.sort {
            Model | Pickle => {
                "export the network (docs/bring-your-own-network.md), and give the folder with its manifest.json"
            }
            Weights => "weights do not say what the layers are: give the folder with the manifest.json that names them",
            Archive => "unpack it, and give the folder with manifest.json",
            Image => "images are for encrypt: give a folder with manifest.json, or a program",
            Damaged => "download or copy it again",
            Array | Text => "give a folder with manifest.json, a manifest, or a program",
        }
    }

    /// What to do where images with their classes were expected.
    #[must_use]
    pub fn remedy_for_data(&self) -> &'static str {
        match self.sort {
            Archive => "unpack it, and give the folder",
            Image => "give a folder that has a folder of images for each class",
            Damaged => "download or copy it again",
            Model | Weights => "that is for NETWORK: give images with their classes",
            Pickle | Array | Text => {
                "use the binary version of CIFAR (https://www.cs.toronto.edu/~kriz/cifar.html), or a folder of images \
                 for each class"
            }
        }
    }

    /// What to do where a PNG or JPEG image was expected.
    #[must_use]
    pub fn remedy_for_image(&self) -> &'static str {
        match self.sort {
            Archive => "unpack it",
            Damaged => "download or copy it again",
            _ => "convert it to PNG or JPEG",
        }
    }

    /// By its first entry.
    fn of_zip(start: &[u8], name: &str) -> Self {
        let length = start.get(26..28).map_or(0, |bytes| usize::from(u16::from_le_bytes([bytes[0], bytes[1]])));
        let entry = String::from_utf8_lossy(start.get(30..).map_or(&[][..], |rest| &rest[..rest.len().min(length)]));
        let torch = ["/data.pkl", "/version", "/.format_version", "/byteorder", "/.storage_alignment"];
        let extension = |of: &[&str]| of.iter().any(|extension| name.ends_with(extension));
        let (what, sort) = if torch.iter().any(|end| entry.ends_with(end)) || extension(&[".pt", ".pth", ".ckpt"]) {
            ("a PyTorch file", Model)
        } else if entry.ends_with(".npy") || extension(&[".npz"]) {
            ("an archive of NumPy arrays", Array)
        } else if extension(&[".keras"]) {
            ("a Keras model", Model)
        } else if entry == "[Content_Types].xml" {
            ("an office document", Text)
        } else {
            ("a ZIP archive", Archive)
        };
        Self { what, sort }
    }

    /// Data sets in pickles have the names of their parts in them.
    fn of_pickle(start: &[u8]) -> Self {
        let has = |word: &[u8]| start.windows(word.len()).any(|window| window == word);
        let cifar = [&b"batch_label"[..], b"fine_labels", b"coarse_labels", b"fine_label_names", b"label_names"];
        let what =
            if cifar.iter().any(|word| has(word)) { "a batch of CIFAR as a Python pickle" } else { "a Python pickle" };
        Self { what, sort: Pickle }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

/// The length of a header in JSON, and the header.
fn is_safetensors(start: &[u8]) -> bool {
    let Some((length, rest)) = start.split_first_chunk() else { return false };
    let length = u64::from_le_bytes(*length);
    (2..1 << 32).contains(&length) && rest.starts_with(b"{") && is_text(rest.get(..length as usize).unwrap_or(rest))
}

/// A message of protocol buffers: the version of the format, then the name of a producer or another of the first
/// fields of a model.
fn is_onnx(start: &[u8], name: &str) -> bool {
    let version = matches!(start, [8, 1..=32, 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42, ..]);
    version && !name.ends_with(".pb") && !name.ends_with(".pbtxt")
}

fn is_text(start: &[u8]) -> bool {
    let whole = match std::str::from_utf8(start) {
        Ok(_) => true,
        // Cut within a character.
        Err(error) => error.error_len().is_none() && start.len() > 3,
    };
    whole && !start.iter().any(|&byte| byte < 9 || (14..32).contains(&byte) && byte != 27)
}
