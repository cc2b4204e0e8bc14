//! From arguments to options of compilation.

use umbra::Network;
use umbra::compiler::{Compatible, CompileOptions};
use umbra::model::Graph;
use umbra::network::in_the_clear;
use umbra::wire::{ClientFile, LoadedProgram};

use crate::arguments::Compilation;

impl Compilation {
    /// The options, and the further members of an ensemble.
    pub fn options(&self) -> anyhow::Result<(CompileOptions, Vec<Graph>)> {
        let mut options = CompileOptions {
            without: self.without.iter().copied().collect(),
            logit_error: self.logit_error,
            packing: self.packing,
            batch: self.batch,
            average: self.average,
            add_first: self.add_first,
            ..CompileOptions::default()
        };
        options.key_bytes = self.key_bytes;
        if let Some(path) = &self.compatible_with {
            options.compatible_with = Some(Compatible::of(ClientFile::open(path)?.spec()));
        }
        let members = self.member.iter().map(|path| in_the_clear(path)).collect::<Result<_, _>>()?;
        Ok((options, members))
    }

    /// The program: compiled as asked where it was not.
    pub fn program(&self, network: &Network) -> anyhow::Result<LoadedProgram> {
        let (options, members) = self.options()?;
        Ok(network.program(&options, &members)?)
    }
}
