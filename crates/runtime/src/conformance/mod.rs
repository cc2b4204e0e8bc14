//! What every back end must pass.
//!
//! Implement [`Subject`] for the back end, and call [`run`] from a test:
//!
//! ```ignore
//! #[test]
//! fn conforms() {
//!     umbra_runtime::conformance::run(&MyBackEnd).assert_passed();
//! }
//! ```
//!
//! The suite runs small programs, of one step and of several, on fresh random inputs, and compares what comes out with
//! a slow, obvious evaluation on plain slots. Errors must be within a stated multiple of the predicted noise
//! ([`umbra_ckks::noise`]), levels and scales those that the program says. It runs what must be refused, runs that are
//! stopped, and counts what is done. A report names the seed that all of it came from.
//!
//! Back ends on real ciphertexts have their client here ([`CkksClient`]), and must agree with one another to the bit:
//! [`agree`].
//!
//! Modules, each importing from those before it only: `report`, `client`, `programs`, `plain`, `counting`,
//! `subject`, `checks`.

mod checks;
mod client;
mod counting;
mod plain;
mod programs;
mod report;
mod subject;

use umbra_ckks::Ciphertext;

pub use client::CkksClient;
pub use counting::Counting;
pub use report::{Outcome, Report, Verdict};
pub use subject::{CpuSubject, Subject};

/// Runs all checks, from a random seed.
pub fn run<S: Subject>(subject: &S) -> Report {
    run_seeded(subject, rand::random())
}

/// Runs all checks from a seed: the same programs, inputs and order. Keys and encryption are random all the same.
pub fn run_seeded<S: Subject>(subject: &S, seed: u64) -> Report {
    Report { seed, outcomes: checks::all(subject, seed) }
}

/// Checks that two back ends on real ciphertexts give the same bits for the same inputs and keys: any two that are
/// exact do.
pub fn agree<A, B>(one: &A, other: &B) -> Report
where
    A: Subject<Host = Ciphertext, Client = CkksClient>,
    B: Subject<Host = Ciphertext, Client = CkksClient>,
{
    let seed = rand::random();
    Report { seed, outcomes: vec![checks::agreement(one, other, seed)] }
}
