//! `umbra`: encrypted image classification on the command line.
//!
//! Exit codes: 0 success; 1 where an encrypted result differs from the plaintext one; 2 for anything that is wrong with
//! arguments or files, with one line on standard error; 130 where the user stopped it.
//!
//! What there is to know lives in crate `umbra` and below. Modules know only those before them: `allocator`, `outcome`,
//! `arguments`, `stop`, `streams`, `text`, `image`, `progress`, `outputs`, `compilation`, `commands`.

#![deny(unsafe_code)]

mod allocator;
mod arguments;
mod commands;
mod compilation;
mod image;
mod outcome;
mod outputs;
mod progress;
mod stop;
mod streams;
mod text;

use std::io::Write;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use clap::error::ErrorKind;

use umbra::UmbraError;
use umbra_ckks::or_out_of_memory;

use crate::arguments::{Arguments, Command};
use crate::outcome::Outcome;
use crate::streams::Streams;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

/// Exit code for bad input.
const BAD_INPUT: u8 = 2;
/// Most threads a processor.
const THREADS_A_PROCESSOR: usize = 4;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    match or_out_of_memory(|| run(arguments)).unwrap_or_else(|error| Err(error.into())) {
        Ok(Outcome::Success) => ExitCode::SUCCESS,
        Ok(Outcome::Disagreement) => ExitCode::FAILURE,
        // Whoever read our output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let code = if stop::is_stop(&error) { stop::EXIT } else { BAD_INPUT };
            complain(&in_arguments(&error).unwrap_or_else(|| with_reasons(&error)), code)
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    start_threads(arguments.threads)?;
    let mut command = arguments.command;
    let streams = Streams::open(&mut command)?;
    let outcome = execute(command)?;
    streams.finish()?;
    Ok(outcome)
}

fn execute(command: Command) -> anyhow::Result<Outcome> {
    match command {
        Command::Demo(a) => commands::demo::run(&a),
        Command::Compile(a) => commands::compile::run(&a),
        Command::Cluster(a) => commands::cluster::run(&a),
        Command::Estimate(a) => commands::estimate::run(&a),
        Command::Eval(a) => commands::eval::run(&a),
        Command::Keygen(a) => commands::keygen::run(&a),
        Command::Encrypt(a) => commands::encrypt::run(&a),
        Command::Infer(a) => commands::infer::run(&a),
        Command::Decrypt(a) => commands::decrypt::run(&a),
        Command::Inspect(a) => commands::inspect::run(&a),
        Command::Bench(a) => commands::bench::run(&a),
        Command::Completions(a) => commands::completions::run(&a),
        Command::Man(a) => commands::man::run(&a),
    }
}

/// Starts a thread a processor, or as many as were asked for, or the most that can be of use: each takes memory, and
/// more than there are processors only wait for one another.
fn start_threads(asked: Option<NonZeroUsize>) -> anyhow::Result<()> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = asked.map_or(0, usize::from);
    let threads = wanted.min(THREADS_A_PROCESSOR * processors);
    if threads < wanted {
        text::warn(&format!(
            "--threads {wanted}: this machine has {processors} processors; {threads} threads are started"
        ));
    }
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().with_context(|| match threads {
        0 => "the system does not start a thread a processor; ask for fewer with --threads, or raise the limit on \
              memory (ulimit -v) or processes (ulimit -u)"
            .to_string(),
        threads => format!("--threads {threads}: the system does not start so many threads; ask for fewer"),
    })
}

/// Errors of the library about something that is an argument here, under its name.
fn in_arguments(error: &anyhow::Error) -> Option<String> {
    let error: &UmbraError = error.downcast_ref()?;
    Some(match error {
        UmbraError::AlreadyCompiled { option } => {
            format!("--{option}: the program is compiled already; give the network that it was compiled from")
        }
        UmbraError::NoReference { .. } | UmbraError::ReferenceOfNetwork => format!("--reference: {error}"),
        UmbraError::NoSample { .. } => format!("--sample: {error}"),
        _ => return None,
    })
}

/// The message, and those of its reasons that it does not repeat itself.
fn with_reasons(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |message, reason| {
        let separator = if message.is_empty() { "" } else { ": " };
        if message.contains(&reason) { message } else { message + separator + &reason }
    })
}

/// One line on standard error, with nothing in it that a terminal would obey: it may quote a file.
fn complain(message: &str, code: u8) -> ExitCode {
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "umbra: {}", text::printable(message));
    ExitCode::from(code)
}

/// Help and version as they are; errors of usage in one line.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(BAD_INPUT);
    }
    let text = error.render().to_string();
    let what: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
    let what = what.join(" ");
    complain(&format!("{}; see umbra --help", what.trim_start_matches("error: ")), BAD_INPUT)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}
