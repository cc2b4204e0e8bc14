//! `umbra bench paper`: the shape of the paper's evaluation, as tables and plots.
//!
//! Every figure is what one of the other commands prints with `--json`, run as a process of its own: so peak memory is
//! that of one job, what was measured can be measured again by hand, and a run that was stopped goes on where it was.
//! `jobs/` keeps for each job its arguments and its report; a job whose arguments, networks or version of the program
//! have changed is run again.

mod baseline;
mod job;
mod results;
mod variants;

use std::collections::BTreeMap;

use umbra::compiler::network_digest;
use umbra::network::in_the_clear;

use self::baseline::Baseline;
use self::job::jobs;
use self::results::Results;
use self::variants::variants;
use crate::arguments::BenchPaper;
use crate::outcome::Outcome;
use crate::progress::Items;
use crate::{outputs, text};

/// Runs all jobs that have not been run, then writes the tables and plots.
pub fn run(arguments: &BenchPaper) -> anyhow::Result<Outcome> {
    let graph = in_the_clear(&arguments.network)?;
    let baseline = arguments.baseline.as_deref().map(|path| Baseline::read(path, &graph)).transpose()?;
    for folder in ["jobs", "programs", "networks"] {
        outputs::make_folder(&arguments.out.join(folder))?;
    }
    let variants = variants(arguments, &graph);
    let jobs = jobs(arguments, &variants);
    let items = Items::new("paper", jobs.len());
    let of = identity(arguments)?;
    let mut done = BTreeMap::new();
    for job in &jobs {
        items.set(done.len());
        done.insert(job.name.clone(), job.run(&arguments.out, &of)?);
    }
    drop(items);
    let results = Results { graph: &graph, baseline, variants: &variants, done: &done };
    results.write(arguments)?;
    text::print(&format!("{}\n", arguments.out.join("paper.md").display()))?;
    Ok(Outcome::Success)
}

/// The version of this program, its threads, and the digests of all networks.
fn identity(arguments: &BenchPaper) -> anyhow::Result<String> {
    let mut of = format!("umbra {}, {} threads,", env!("CARGO_PKG_VERSION"), rayon::current_num_threads());
    for path in std::iter::once(&arguments.network).chain(&arguments.member) {
        let digest = network_digest(&in_the_clear(path)?);
        of += &format!(" {:016x}", u64::from_be_bytes(std::array::from_fn(|i| digest[i])));
    }
    Ok(of)
}
