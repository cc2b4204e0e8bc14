//! `umbra compile`.

use serde::Serialize;
use umbra_file::Kind;
use umbra_wire::LoadedProgram;

use crate::Outcome;
use crate::arguments::Compile;
use crate::network::Network;
use crate::text;

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    file: String,
    digest: String,
    bytes: u64,
    compile_s: f64,
    #[serde(flatten)]
    program: super::inspect::ProgramReport<'a>,
}

/// Compiles a network to a file.
pub fn run(arguments: &Compile) -> anyhow::Result<Outcome> {
    super::check_output(&arguments.out, Kind::Program, &[])?;
    let network = Network::open(&arguments.network.network)?;
    let start = std::time::Instant::now();
    let program: LoadedProgram = network.compiled(&arguments.compilation)?;
    let compile_s = start.elapsed().as_secs_f64();
    program.save(&arguments.out)?;
    let report = super::inspect::ProgramReport::new(&program);
    if arguments.json {
        let (file, digest) = (arguments.out.display().to_string(), format!("{:#}", program.digest()));
        text::print_json(&Report { file, digest, bytes: program.size(), compile_s, program: report })?;
        return Ok(Outcome::Success);
    }
    text::print(&report.describe(&program))?;
    text::print(&format!(
        "\n{}: {}, compiled in {}\n",
        arguments.out.display(),
        text::bytes(program.size()),
        text::seconds(compile_s)
    ))?;
    Ok(Outcome::Success)
}
