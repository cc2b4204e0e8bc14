//! The network that a command works on: in the clear, compiled, or both.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use umbra_compiler::{AddFirst, Average, CompileOptions, LayoutChoice};
use umbra_model::zoo::{ResNet, Vgg};
use umbra_model::{Graph, ImageSpec, Manifest};
use umbra_program::Program;
use umbra_wire::LoadedProgram;

use crate::arguments::Compilation;

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

    /// A network with random weights: `DEPTHxWIDTH` or `vgg16`, with `-padded` for zero padding.
    pub fn random(size: &str) -> anyhow::Result<Self> {
        Ok(Self::Graph(Box::new(Self::random_graph(size)?)))
    }

    /// As [`Self::random`], in the clear.
    pub fn random_graph(size: &str) -> anyhow::Result<Graph> {
        let (name, cyclic) = size.strip_suffix("-padded").map_or((size, true), |name| (name, false));
        if name == "vgg16" {
            return Ok(Vgg::vgg16(cyclic).build()?);
        }
        let parsed = name.split_once('x').and_then(|(depth, width)| Some((depth.parse().ok()?, width.parse().ok()?)));
        let Some((depth @ 8..=1000, width @ 1..=1024)) = parsed else {
            bail!(
                "random network {size}: expected a depth from 8 to 1000 and a width from 1 to 1024, such as 20x64, or vgg16; \
                 20x64-padded or vgg16-padded for zero padding"
            )
        };
        Ok(ResNet { cyclic, ..ResNet::cifar(depth, width) }.build()?)
    }

    /// The pictures it takes.
    pub fn input(&self) -> &ImageSpec {
        match self {
            Self::Graph(graph) => graph.input(),
            Self::Program(program) => &program.program().picture,
        }
    }

    /// The program: compiled here, in the cyclic layout, where it was not.
    pub fn program(&self, without: &[String]) -> anyhow::Result<LoadedProgram> {
        self.compiled(&Compilation { without: without.to_vec(), ..Compilation::default() })
    }

    /// The program: compiled here as asked where it was not.
    pub fn compiled(&self, how: &Compilation) -> anyhow::Result<LoadedProgram> {
        match self {
            Self::Graph(graph) => Ok(LoadedProgram::new(compile(graph, how)?)?),
            Self::Program(program) => {
                let options = [
                    ("--without", !how.without.is_empty()),
                    ("--logit-error", how.logit_error.is_some()),
                    ("--key-bytes", how.key_bytes.is_some()),
                    ("--layout", how.layout != LayoutChoice::default()),
                    ("--batch", how.batch.is_some()),
                    ("--member", !how.member.is_empty()),
                    ("--average", how.average != Average::default()),
                    ("--add-first", how.add_first != AddFirst::default()),
                ];
                if let Some((option, _)) = options.iter().find(|(_, given)| *given) {
                    bail!("{option}: the program is compiled already; give the network that it was compiled from")
                }
                Ok(program.clone())
            }
        }
    }

    /// A network that has to be in the clear.
    pub fn in_the_clear(path: &Path) -> anyhow::Result<Graph> {
        match Self::open(path)? {
            Self::Graph(graph) => Ok(*graph),
            Self::Program(_) => bail!(
                "{}: this is a program, expected a network in the clear; give a folder with manifest.json",
                path.display()
            ),
        }
    }

    /// The network in the clear: itself, or the given reference, or the shipped one where the program was compiled from it.
    pub fn graph(self, reference: Option<&Path>) -> anyhow::Result<Graph> {
        let references: Vec<PathBuf> = reference.iter().map(|path| path.to_path_buf()).collect();
        let graphs = self.graphs(&references)?;
        // There is at least one, and more only where more references were given.
        graphs.into_iter().next().context("no network in the clear")
    }

    /// The networks in the clear, more than one of an ensemble: as [`Self::graph`], with a reference for each.
    pub fn graphs(self, references: &[PathBuf]) -> anyhow::Result<Vec<Graph>> {
        let program = match self {
            Self::Graph(graph) if references.is_empty() => return Ok(vec![*graph]),
            Self::Graph(_) => bail!("--reference: only for compiled programs; NETWORK itself is in the clear"),
            Self::Program(program) => program,
        };
        let Program { name, network, layout, .. } = &**program.program();
        let members = layout.members();
        if references.is_empty() {
            let shipped = shipped()?;
            if umbra_compiler::network_digest(&shipped) == *network {
                return Ok(vec![shipped]);
            }
            bail!(
                "the plaintext result needs the network {name:?} in the clear, of which this is a compiled program; give its folder with --reference{}",
                if members > 1 { format!(", {members} times for an ensemble of {members}") } else { String::new() }
            );
        }
        let graphs = references.iter().map(|path| Self::in_the_clear(path)).collect::<anyhow::Result<Vec<_>>>()?;
        let digests: Vec<[u8; 32]> = graphs.iter().map(umbra_compiler::network_digest).collect();
        if graphs.len() != members || umbra_compiler::ensemble_digest(&digests) != *network {
            let paths: Vec<String> = references.iter().map(|path| path.display().to_string()).collect();
            if members > 1 || graphs.len() > 1 {
                bail!(
                    "{}: these networks are not the {members} that the program {name:?} was compiled from, in that order; give those or compile again",
                    paths.join(", ")
                );
            }
            bail!(
                "{}: this network is not the one that the program {name:?} was compiled from; give that one or compile again",
                paths.join(", ")
            );
        }
        Ok(graphs)
    }
}

/// The network inside the binary.
pub fn shipped() -> anyhow::Result<Graph> {
    Ok(Manifest::decode(MANIFEST)?.graph(WEIGHTS)?)
}

/// Compiles as asked.
fn compile(graph: &Graph, how: &Compilation) -> anyhow::Result<Program> {
    let Compilation { layout, batch, average, add_first, .. } = *how;
    let mut options = CompileOptions { layout, batch, average, add_first, ..CompileOptions::default() };
    options.logit_error = how.logit_error;
    options.key_bytes = how.key_bytes.unwrap_or(options.key_bytes);
    for name in &how.without {
        options.without.insert(name.parse()?);
    }
    let members = how.member.iter().map(|path| Network::in_the_clear(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let graphs: Vec<&Graph> = std::iter::once(graph).chain(&members).collect();
    Ok(umbra_compiler::compile_ensemble(&graphs, &options)?)
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
