//! `umbra completions`.

use clap::CommandFactory;

use crate::arguments::{Arguments, Completions};
use crate::outcome::Outcome;

/// Prints a completion script.
pub fn run(arguments: &Completions) -> anyhow::Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "umbra", &mut script);
    crate::text::print(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Success)
}
