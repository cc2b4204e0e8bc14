//! Networks in the clear: the graph and its weights, the images it takes, and a reference forward to compare with.
//!
//! A [`Graph`] is parsed, not validated: whoever holds one knows that its nodes are in order, its shapes fit and its
//! weights are finite.

#![forbid(unsafe_code)]

mod dataset;
mod error;
mod graph;
mod load;
mod manifest;
mod operator;
mod reference;
mod save;
mod shape;
mod stand_ins;
mod tensor;
pub mod zoo;

pub use dataset::{Dataset, DatasetError, DatasetKind, Split};
pub use error::{GraphError, ModelError};
pub use graph::{Description, Graph, GraphBuilder, Node, NodeId, Range, Ranges};
pub use manifest::Manifest;
pub use operator::{BatchNorm, Convolution, Linear, Operator, Polynomial, Pool, SUPPORTED_OPERATORS};
pub use reference::{Embedding, Layer, Real, Reference};
pub use shape::{Padding, Shape};
pub use stand_ins::stand_ins;
pub use tensor::Tensor;
pub use umbra_image::{ImageSpec, Normalisation};
