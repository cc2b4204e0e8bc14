//! `umbra man`.

use clap::CommandFactory;
use clap_mangen::Man;

use umbra_file::AtomicFile;

use crate::arguments::{self, Arguments};
use crate::outcome::Outcome;
use crate::outputs::make_folder;

/// Prints the main manual page, or writes all of them.
pub fn run(arguments: &arguments::Man) -> anyhow::Result<Outcome> {
    let mut command = Arguments::command();
    command.build();
    let Some(folder) = &arguments.out else {
        crate::text::print(&page(command, "umbra")?)?;
        return Ok(Outcome::Success);
    };
    make_folder(folder)?;
    let parts: Vec<_> = command.get_subcommands().filter(|c| c.get_name() != "help").cloned().collect();
    AtomicFile::write(&folder.join("umbra.1"), false, page(command, "umbra")?.as_bytes())?;
    for part in parts {
        let name = format!("umbra-{}", part.get_name());
        let path = folder.join(format!("{name}.1"));
        AtomicFile::write(&path, false, page(part, &name)?.as_bytes())?;
    }
    Ok(Outcome::Success)
}

fn page(command: clap::Command, title: &str) -> anyhow::Result<String> {
    let mut text = Vec::new();
    Man::new(command).title(title).render(&mut text)?;
    Ok(String::from_utf8(text)?)
}
