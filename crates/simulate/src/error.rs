//! What can go wrong in a simulation.

use umbra_program::LayoutError;
use umbra_runtime::RuntimeError;

/// A program that cannot be simulated, or images that it does not take.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SimulateError {
    /// Other parameters, weights that cannot be encoded, or a gadget that does not serve a level.
    #[error(transparent)]
    Run(#[from] RuntimeError),
    /// Digits so much larger than the special primes that the noise is beyond all numbers.
    #[error(
        "step {step} ({node}) adds more noise than a number can hold: the digits of its gadget exceed the special \
         primes; compile the network again with this version"
    )]
    Noise {
        /// Index of the step.
        step: usize,
        /// The network nodes that it realises.
        node: String,
    },
    /// Images or results.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}
