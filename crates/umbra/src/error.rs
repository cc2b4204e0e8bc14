//! What can go wrong for a front end. Every message is one line with the remedy in it.

use std::io;
use std::path::PathBuf;

use umbra_ckks::CkksError;
use umbra_client::ClientError;
use umbra_compiler::CompileError;
use umbra_file::FileError;
use umbra_image::{DecodeError, ImageError, LoadError};
use umbra_model::{DatasetKind, GraphError, ModelError};
use umbra_program::LayoutError;
use umbra_server::ServerError;
use umbra_simulate::SimulateError;
use umbra_wire::{ContentError, WireError};

use crate::memory::TooLittle;

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UmbraError {
    /// A network or a data set that cannot be read.
    #[error(transparent)]
    Model(Box<ModelError>),
    /// A network that does not hold together.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A network that does not become a program.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// A file that cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A program, client file, key or ciphertext that is not what it should be.
    #[error(transparent)]
    Wire(Box<WireError>),
    /// The same, where there is no file.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] CkksError),
    /// The client's side.
    #[error(transparent)]
    Client(Box<ClientError>),
    /// The server's side.
    #[error(transparent)]
    Server(Box<ServerError>),
    /// A simulation.
    #[error(transparent)]
    Simulate(#[from] SimulateError),
    /// An image that does not fit, or a result that is not to be believed.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Pixels that do not fit the network.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// An image that cannot be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// An image file that cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// No folder for files that nobody is to keep.
    #[error("{}: cannot make a temporary folder: {reason}; set TMPDIR to another place", path.display())]
    Scratch {
        /// Where it was to be.
        path: PathBuf,
        /// The system's answer.
        reason: io::Error,
    },
    /// A name that says nothing of a random network.
    #[error(
        "random network {name}: expected a depth from 8 to 1000 and a width from 1 to 1024, such as 20x64, or vgg16; \
         20x64-padded or vgg16-padded for zero padding"
    )]
    RandomNetwork {
        /// The name given.
        name: String,
    },
    /// No shipped image of that name.
    #[error("no sample is named {name:?}, expected one of {}; give an image file instead", expected.join(", "))]
    NoSample {
        /// The name given.
        name: String,
        /// The names there are.
        expected: Vec<&'static str>,
    },
    /// An option of compilation for what is compiled.
    #[error("option {option}: the program is compiled already; give the network that it was compiled from")]
    AlreadyCompiled {
        /// The option's name on command lines, without dashes.
        option: &'static str,
    },
    /// Weights are needed, and a client file has none.
    #[error("this is the client file of {name:?}, which has no weights; give the program that was written with it")]
    NoWeights {
        /// The network's name.
        name: String,
    },
    /// A network in the clear is needed.
    #[error("{}: this is {found}, expected a network in the clear; give a folder with manifest.json", path.display())]
    NotInTheClear {
        /// The path given.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// A reference for a network that needs none.
    #[error("a reference is for compiled programs only; leave it out, the network itself is in the clear")]
    ReferenceOfNetwork,
    /// A program needs the network that it was compiled from.
    #[error(
        "the plaintext result needs the network {name:?} in the clear, of which this is a compiled program; give its \
         folder as reference{}", times(*members)
    )]
    NoReference {
        /// The network's name.
        name: String,
        /// Networks that the program evaluates.
        members: usize,
    },
    /// References that the program was not compiled from.
    #[error("{}: {}; give {} or compile again", list(paths), others(*members, paths.len(), name), those(*members))]
    OtherReference {
        /// The paths given.
        paths: Vec<PathBuf>,
        /// The network's name.
        name: String,
        /// Networks that the program evaluates.
        members: usize,
    },
    /// A network whose data set is not known.
    #[error(
        "the network names no data set that can be read and has neither 10 nor 100 classes; use a network for \
         CIFAR-10 or CIFAR-100"
    )]
    UnknownDataset,
    /// A network for images of another size than the data set's.
    #[error(
        "{}: images of {kind} are 3 x 32 x 32, the network takes {} x {} x {}; use a network for this data set",
        path.display(), takes[0], takes[1], takes[2]
    )]
    DatasetImages {
        /// Where the data set is.
        path: PathBuf,
        /// The data set.
        kind: DatasetKind,
        /// Channels, rows and columns of the network's images.
        takes: [usize; 3],
    },
    /// A network with a class that the data set does not have.
    #[error(
        "{}: {kind} has no class {class:?}; a network for some of its classes has their names in its manifest",
        path.display()
    )]
    DatasetClass {
        /// Where the data set is.
        path: PathBuf,
        /// The data set.
        kind: DatasetKind,
        /// The class.
        class: String,
    },
    /// A data set without an image of the network's classes.
    #[error("{}: no image of the network's classes; use the data set that it was trained on", path.display())]
    NoImages {
        /// Where the data set is.
        path: PathBuf,
    },
    /// A folder among folders of images that has no class's name.
    #[error(
        "{}: no class of the network has the name of this folder, expected {}; rename it or move it away, or give the \
         folder that has the folders of classes", path.display(), some(expected)
    )]
    UnknownFolder {
        /// The folder.
        path: PathBuf,
        /// The classes.
        expected: Vec<String>,
    },
    /// Images without folders that say their classes.
    #[error(
        "{}: images whose classes are not known; move the images of each class to a folder of its name, one of {}",
        path.display(), some(expected)
    )]
    NoClasses {
        /// The folder.
        path: PathBuf,
        /// The classes.
        expected: Vec<String>,
    },
    /// More images than are kept in memory.
    #[error("{}: more than {limit} images; read fewer, with a limit", path.display())]
    TooManyImages {
        /// The folder.
        path: PathBuf,
        /// The largest number.
        limit: usize,
    },
    /// More memory is needed than there is.
    #[error(transparent)]
    Memory(#[from] TooLittle),
    /// It was stopped by whoever watches its progress.
    #[error("stopped before the end; nothing was written")]
    Cancelled,
}

impl UmbraError {
    /// Whether nothing is wrong but that the work was stopped.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Cancelled => true,
            Self::Client(error) => matches!(**error, ClientError::Cancelled),
            Self::Server(error) => error.is_cancelled(),
            _ => false,
        }
    }
}

// Boxed, so that results stay small.

impl From<ModelError> for UmbraError {
    fn from(error: ModelError) -> Self {
        Self::Model(error.into())
    }
}

impl From<WireError> for UmbraError {
    fn from(error: WireError) -> Self {
        Self::Wire(error.into())
    }
}

impl From<ClientError> for UmbraError {
    fn from(error: ClientError) -> Self {
        Self::Client(error.into())
    }
}

impl From<ServerError> for UmbraError {
    fn from(error: ServerError) -> Self {
        Self::Server(error.into())
    }
}

fn some(classes: &[String]) -> String {
    let dots = if classes.len() > 10 { ", ..." } else { "" };
    classes.iter().take(10).map(String::as_str).collect::<Vec<_>>().join(", ") + dots
}

fn times(members: usize) -> String {
    if members > 1 { format!(", {members} times for an ensemble of {members}") } else { String::new() }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn others(members: usize, given: usize, name: &str) -> String {
    if members > 1 || given > 1 {
        return format!(
            "these networks are not the {members} that the program {name:?} was compiled from, in that order"
        );
    }
    format!("this network is not the one that the program {name:?} was compiled from")
}

fn those(members: usize) -> &'static str {
    if members > 1 { "those" } else { "that one" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_line_each() {
        let other = |members, paths: &[&str]| UmbraError::OtherReference {
            paths: paths.iter().map(PathBuf::from).collect(),
            name: "R20".into(),
            members,
        };
        let messages = [
            other(1, &["a"]).to_string(),
            other(2, &["a"]).to_string(),
            other(1, &["a", "b"]).to_string(),
            UmbraError::NoReference { name: "R20".into(), members: 3 }.to_string(),
            UmbraError::NoSample { name: "unicorn".into(), expected: vec!["airplane", "cat"] }.to_string(),
        ];
        assert!(messages.iter().all(|message| message.lines().count() == 1 && !message.contains("  ")), "{messages:?}");
        assert!(messages[0].starts_with("a: this network is not the one"), "{}", messages[0]);
        assert!(messages[1].contains("not the 2") && messages[2].contains("not the 1"), "{messages:?}");
        assert!(messages[3].contains("3 times") && messages[4].contains("airplane"), "{messages:?}");
    }

    #[test]
    fn stopped_work_is_told_from_failed_work() {
        assert!(UmbraError::Cancelled.is_cancelled());
        assert!(UmbraError::from(ClientError::Cancelled).is_cancelled());
        assert!(!UmbraError::UnknownDataset.is_cancelled());
    }
}
