//! Networks in the clear: the graph and its weights, the pictures it takes, and a reference forward to compare with.
//!
//! A [`Graph`] is parsed, not validated: whoever holds one knows that its nodes are in order, its shapes fit and its weights
//! are finite.

#![forbid(unsafe_code)]

pub mod cluster;
mod dataset;
mod error;
mod graph;
mod input;
mod load;
mod manifest;
mod operator;
mod picture;
mod reference;
mod save;
mod shape;
mod softmax;
mod tensor;
pub mod zoo;

pub use dataset::{Dataset, DatasetError, DatasetKind, Split};
pub use error::{GraphError, ModelError};
pub use graph::{Description, Graph, GraphBuilder, Node, NodeId, Range, Ranges, is_printable};
pub use input::{Input, Normalisation};
pub use load::read_file;
pub use manifest::Manifest;
pub use operator::{BatchNorm, Convolution, Linear, Operator, Polynomial, Pool, SUPPORTED_OPERATORS};
pub use picture::{Picture, PictureError};
pub use reference::{Real, Reference};
pub use shape::{Geometry, Shape};
pub use softmax::{ensemble_probabilities, softmax, top_class};
pub use tensor::Tensor;
