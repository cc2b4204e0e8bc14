//! The network that a command works on: in the clear, compiled, or both.

use std::io::Read;
use std::path::Path;

use anyhow::bail;
use umbra_compiler::{CompileOptions, Program};
use umbra_model::{Graph, Input, Manifest};
use umbra_wire::LoadedProgram;

/// Name of the network inside the binary.
pub const SHIPPED: &str = "r20-16-cifar10-cyclic";
const MANIFEST: &[u8] = include_bytes!("../../../zoo/r20-16-cifar10-cyclic/manifest.json");
const WEIGHTS: &[u8] = include_bytes!("../../../zoo/r20-16-cifar10-cyclic/r20-16.safetensors");

/// A network as it was given.
pub enum Network {
    /// In the clear.
    Graph(Box<Graph>),
    /// Compiled.
    Program(LoadedProgram),
}

impl Network {
    /// Reads a folder, a manifest or a program; the name of the shipped network where no such file exists.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        if !path.exists() && path.as_os_str() == SHIPPED {
            return Ok(Self::Graph(Box::new(shipped()?)));
        }
        if is_program(path) {
            return Ok(Self::Program(LoadedProgram::open(path)?));
        }
        Ok(Self::Graph(Box::new(Graph::load(path)?)))
    }

    /// The pictures it takes.
    pub fn input(&self) -> &Input {
        match self {
            Self::Graph(graph) => graph.input(),
            Self::Program(program) => &program.program().picture,
        }
    }

    /// The program: compiled here where it was not.
    pub fn program(&self, without: &[String]) -> anyhow::Result<LoadedProgram> {
        match self {
            Self::Graph(graph) => Ok(LoadedProgram::new(compile(graph, without)?)?),
            Self::Program(_) if !without.is_empty() => {
                bail!("--without: the program is compiled already; give the network that it was compiled from")
            }
            Self::Program(program) => Ok(program.clone()),
        }
    }

    /// The network in the clear: itself, or the given reference, or the shipped one where the program was compiled from it.
    pub fn graph(self, reference: Option<&Path>) -> anyhow::Result<Graph> {
        let program = match self {
            Self::Graph(graph) if reference.is_none() => return Ok(*graph),
            Self::Graph(_) => bail!("--reference: only for compiled programs; NETWORK itself is in the clear"),
            Self::Program(program) => program,
        };
        let Program { name, network, .. } = &**program.program();
        let Some(path) = reference else {
            let shipped = shipped()?;
            if umbra_compiler::network_digest(&shipped) == *network {
                return Ok(shipped);
            }
            bail!(
                "the plaintext result needs the network {name:?} in the clear, of which this is a compiled program; give its folder with --reference"
            );
        };
        let Self::Graph(graph) = Self::open(path)? else {
            bail!(
                "{}: this is a program, expected a network in the clear; give a folder with manifest.json",
                path.display()
            );
        };
        if umbra_compiler::network_digest(&graph) != *network {
            bail!(
                "{}: this network is not the one that the program {name:?} was compiled from; give that one or compile again",
                path.display()
            );
        }
        Ok(*graph)
    }
}

/// The network inside the binary.
pub fn shipped() -> anyhow::Result<Graph> {
    Ok(Manifest::decode(MANIFEST)?.graph(WEIGHTS)?)
}

/// Compiles with all passes but these.
pub fn compile(graph: &Graph, without: &[String]) -> anyhow::Result<Program> {
    let mut options = CompileOptions::default();
    for name in without {
        options.without.insert(name.parse()?);
    }
    Ok(umbra_compiler::compile(graph, &options)?)
}

/// Whether a path is to be read as one of our binary files: by its name, or by its first bytes.
fn is_program(path: &Path) -> bool {
    let named = path.extension().is_some_and(|e| e == "umbra");
    let begins = || {
        let mut magic = [0; umbra_file::MAGIC.len()];
        // Opening anything but a regular file might wait.
        path.is_file()
            && std::fs::File::open(path).and_then(|mut f| f.read_exact(&mut magic)).is_ok()
            && magic == umbra_file::MAGIC
    };
    (named && !path.is_dir()) || begins()
}
