//! What every front end of Umbra needs: a command line, a service, a binding to another language, an app.
//!
//! - [`network`]: what a path or a name is, and programs out of it.
//! - [`samples`]: the images that ship. [`data`]: the images of a data set that a network can classify.
//! - [`estimate`]: what an inference will take, before any key exists. [`calibration`]: the rates of this machine.
//! - [`session`]: client and server in one process.
//! - [`evaluate`]: accuracy over a data set, in the clear, simulated or encrypted.
//! - [`leakage`]: what results give away beyond their logits.
//! - [`predictions`]: random networks, and how well the error of their logits is predicted.
//! - [`progress`]: how far a piece of work is, and how to stop it. [`machine`]: what this process used. [`memory`]:
//!   what is left for it.
//!
//! Nothing here prints or ends the process; errors are [`UmbraError`]. Between parties, use the crates of the parties:
//! they are here under their short names. `examples/classify.rs` tells the whole story.
//!
//! Modules know only those before them in this order: `machine`, `memory`, `progress`, `error`, `samples`,
//! `network`, `folders`, `data`, `calibration`, `estimate`, `session`, `evaluate`, `leakage`, `predictions`.

#![forbid(unsafe_code)]

pub mod calibration;
pub mod data;
mod error;
pub mod estimate;
pub mod evaluate;
mod folders;
pub mod leakage;
pub mod machine;
pub mod memory;
pub mod network;
pub mod predictions;
pub mod progress;
pub mod samples;
pub mod session;

pub use error::UmbraError;
pub use network::Network;
pub use session::Session;

pub use umbra_client as client;
pub use umbra_compiler as compiler;
pub use umbra_image as image;
pub use umbra_model as model;
pub use umbra_program as program;
pub use umbra_server as server;
pub use umbra_wire as wire;
