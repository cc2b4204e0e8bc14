//! What a path or a name is: a network in the clear, a compiled program, a client file. And programs out of it.

use std::io::Read;
use std::path::{Path, PathBuf};

use umbra_compiler::{CompileOptions, Stage, compile_ensemble, ensemble_digest, network_digest};
use umbra_file::{FileBytes, Kind};
use umbra_foreign::Foreign;
use umbra_image::ImageSpec;
use umbra_model::zoo::{ResNet, Vgg};
use umbra_model::{Graph, Manifest, ModelError};
use umbra_program::Program;
use umbra_wire::{ClientFile, LoadedProgram};

use crate::UmbraError;
use crate::memory::Need;

/// Name of the network that ships.
pub const SHIPPED: &str = "r20-16-cifar10-cyclic";
const MANIFEST: &[u8] = include_bytes!("../../../zoo/r20-16-cifar10-cyclic/manifest.json");
const WEIGHTS: &[u8] = include_bytes!("../../../zoo/r20-16-cifar10-cyclic/r20-16.safetensors");

/// Names that are read as programs and client files whatever is in them, so that errors speak of those.
const EXTENSIONS: [&str; 2] = ["umbra", "client"];

/// A network as it was given.
#[derive(Clone, Debug)]
pub enum Network {
    /// In the clear.
    Graph(Box<Graph>),
    /// Compiled.
    Program(LoadedProgram),
    /// What clients have of it: no weights.
    Client(ClientFile),
}

impl Network {
    /// Reads a folder, a manifest, a program or a client file; the name of the shipped network where no such file
    /// exists.
    ///
    /// # Errors
    /// [`UmbraError::Model`], [`UmbraError::Wire`], [`UmbraError::File`].
    pub fn open(path: &Path) -> Result<Self, UmbraError> {
        if !path.exists() && path.as_os_str() == SHIPPED {
            return Ok(Self::Graph(Box::new(shipped()?)));
        }
        if !is_ours(path) {
            return Ok(Self::Graph(Box::new(Graph::load(path)?)));
        }
        if let Some(found) = Foreign::of_file(path).filter(Foreign::is_format) {
            return Err(ModelError::foreign_network(path.into(), found, "a program or client file").into());
        }
        match FileBytes::kind(path)? {
            Some(Kind::ClientFile) => Ok(Self::Client(ClientFile::open(path)?)),
            _ => Ok(Self::Program(LoadedProgram::open(path)?)),
        }
    }

    /// A network with random weights: `DEPTHxWIDTH` or `vgg16`, with `-padded` for zero padding.
    ///
    /// # Errors
    /// [`UmbraError::RandomNetwork`]; [`UmbraError::Graph`] for a depth that there is no network of.
    pub fn random(name: &str) -> Result<Self, UmbraError> {
        Ok(Self::Graph(Box::new(random_graph(name)?)))
    }

    /// The images that it takes.
    #[must_use]
    pub fn image(&self) -> &ImageSpec {
        match self {
            Self::Graph(graph) => graph.input(),
            Self::Program(program) => &program.program().client.image,
            Self::Client(file) => &file.spec().image,
        }
    }

    /// The program: compiled here, together with further members of an ensemble, where it was not.
    ///
    /// # Errors
    /// [`UmbraError::Memory`]; [`UmbraError::Compile`]; [`UmbraError::AlreadyCompiled`] for options that come too late;
    /// [`UmbraError::NoWeights`].
    pub fn program(&self, options: &CompileOptions, members: &[Graph]) -> Result<LoadedProgram, UmbraError> {
        match self {
            Self::Graph(graph) => {
                let graphs: Vec<&Graph> = std::iter::once(&**graph).chain(members).collect();
                Need::compilation(graphs.iter().map(|graph| graph.parameters()).sum()).check("compilation")?;
                Ok(LoadedProgram::new(compile_ensemble(&graphs, options)?)?)
            }
            Self::Program(program) => {
                self.check_options(options, members)?;
                Ok(program.clone())
            }
            Self::Client(file) => Err(no_weights(file)),
        }
    }

    /// Checks that options of compilation and further members are for a network that is still to be compiled.
    ///
    /// # Errors
    /// [`UmbraError::AlreadyCompiled`] with the first that comes too late.
    pub fn check_options(&self, options: &CompileOptions, members: &[Graph]) -> Result<(), UmbraError> {
        match (self, given(options, members)) {
            (Self::Graph(_), _) | (_, None) => Ok(()),
            (_, Some(option)) => Err(UmbraError::AlreadyCompiled { option }),
        }
    }

    /// What clients need of it: of a network in the clear, of the program that it becomes by default.
    ///
    /// # Errors
    /// [`UmbraError::Compile`].
    pub fn client_file(&self) -> Result<ClientFile, UmbraError> {
        match self {
            Self::Graph(_) => Ok(self.program(&CompileOptions::default(), &[])?.client().clone()),
            Self::Program(program) => Ok(program.client().clone()),
            Self::Client(file) => Ok(file.clone()),
        }
    }

    /// What a stage of compilation leaves, as text.
    ///
    /// # Errors
    /// As [`Self::program`].
    pub fn dump(&self, options: &CompileOptions, members: &[Graph], stage: Stage) -> Result<String, UmbraError> {
        match self {
            Self::Graph(graph) => {
                let graphs: Vec<&Graph> = std::iter::once(&**graph).chain(members).collect();
                Ok(umbra_compiler::dump(&graphs, options, stage)?)
            }
            Self::Program(_) => Err(UmbraError::AlreadyCompiled { option: "dump" }),
            Self::Client(file) => Err(no_weights(file)),
        }
    }

    /// The network in the clear: itself, or the given reference, or the shipped one where the program was compiled from
    /// it.
    ///
    /// # Errors
    /// As [`Self::graphs`].
    pub fn graph(self, reference: Option<&Path>) -> Result<Graph, UmbraError> {
        let references: Vec<PathBuf> = reference.iter().map(|path| path.to_path_buf()).collect();
        let mut graphs = self.graphs(&references)?;
        // There is at least one, and more only where more references were given.
        Ok(graphs.swap_remove(0))
    }

    /// The networks in the clear, of an ensemble more than one: as [`Self::graph`], with a reference for each. There is
    /// at least one.
    ///
    /// # Errors
    /// [`UmbraError::NoReference`], [`UmbraError::OtherReference`], [`UmbraError::ReferenceOfNetwork`],
    /// [`UmbraError::NoWeights`]; those of [`in_the_clear`].
    pub fn graphs(self, references: &[PathBuf]) -> Result<Vec<Graph>, UmbraError> {
        match self {
            Self::Graph(graph) if references.is_empty() => Ok(vec![*graph]),
            Self::Graph(_) => Err(UmbraError::ReferenceOfNetwork),
            Self::Program(program) => compiled_from(program.program(), references),
            Self::Client(file) => Err(no_weights(&file)),
        }
    }
}

/// A network that has to be in the clear.
///
/// # Errors
/// [`UmbraError::NotInTheClear`]; those of [`Network::open`].
pub fn in_the_clear(path: &Path) -> Result<Graph, UmbraError> {
    let found = match Network::open(path)? {
        Network::Graph(graph) => return Ok(*graph),
        Network::Program(_) => "a program",
        Network::Client(_) => "a client file",
    };
    Err(UmbraError::NotInTheClear { path: path.into(), found })
}

/// The network that ships.
///
/// # Errors
/// None but for a damaged build.
pub fn shipped() -> Result<Graph, UmbraError> {
    Ok(Manifest::decode(MANIFEST)?.graph(WEIGHTS)?)
}

/// As [`Network::random`], in the clear.
///
/// # Errors
/// As [`Network::random`].
pub fn random_graph(name: &str) -> Result<Graph, UmbraError> {
    let (size, circular) = name.strip_suffix("-padded").map_or((name, true), |size| (size, false));
    if size == "vgg16" {
        return Ok(Vgg::vgg16(circular).build()?);
    }
    let parsed = size.split_once('x').and_then(|(depth, width)| Some((depth.parse().ok()?, width.parse().ok()?)));
    let Some((depth @ 8..=1000, width @ 1..=1024)) = parsed else {
        return Err(UmbraError::RandomNetwork { name: name.into() });
    };
    Ok(ResNet { circular, ..ResNet::cifar(depth, width) }.build()?)
}

/// The networks that a program was compiled from.
fn compiled_from(program: &Program, references: &[PathBuf]) -> Result<Vec<Graph>, UmbraError> {
    let (name, members) = (|| program.client.name.clone(), program.client.layout.members);
    if references.is_empty() {
        let shipped = shipped()?;
        if network_digest(&shipped) == program.network {
            return Ok(vec![shipped]);
        }
        return Err(UmbraError::NoReference { name: name(), members });
    }
    let graphs = references.iter().map(|path| in_the_clear(path)).collect::<Result<Vec<_>, _>>()?;
    let digests: Vec<[u8; 32]> = graphs.iter().map(network_digest).collect();
    if graphs.len() != members || ensemble_digest(&digests) != program.network {
        return Err(UmbraError::OtherReference { paths: references.to_vec(), name: name(), members });
    }
    Ok(graphs)
}

fn no_weights(file: &ClientFile) -> UmbraError {
    UmbraError::NoWeights { name: file.spec().name.clone() }
}

/// The first option that is not as by default, as it is called on command lines.
fn given(options: &CompileOptions, members: &[Graph]) -> Option<&'static str> {
    let default = CompileOptions::default();
    let differ = [
        ("without", options.without != default.without),
        ("log-n", options.log_n != default.log_n),
        ("logit-error", options.logit_error != default.logit_error),
        ("key-bytes", options.key_bytes != default.key_bytes),
        ("packing", options.packing != default.packing),
        ("batch", options.batch != default.batch),
        ("member", !members.is_empty()),
        ("average", options.average != default.average),
        ("add-first", options.add_first != default.add_first),
        ("compatible-with", options.compatible_with != default.compatible_with),
        ("cost", options.cost != default.cost),
    ];
    differ.into_iter().find(|(_, differs)| *differs).map(|(option, _)| option)
}

/// Whether a path is to be read as one of our binary files: by its name, or by its first bytes.
fn is_ours(path: &Path) -> bool {
    let named = path.extension().is_some_and(|extension| EXTENSIONS.iter().any(|own| extension == *own));
    let begins = || {
        let mut magic = [0; umbra_file::MAGIC.len()];
        // Opening anything but a regular file might wait.
        path.is_file()
            && std::fs::File::open(path).and_then(|mut f| f.read_exact(&mut magic)).is_ok()
            && magic == umbra_file::MAGIC
    };
    (named && !path.is_dir()) || begins()
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use umbra_compiler::PackingChoice;

    use super::*;

    fn small(seed: u64) -> Graph {
        ResNet { widths: vec![2], blocks: 1, height: 8, width: 8, classes: 3, seed, ..ResNet::default() }
            .build()
            .unwrap()
    }

    fn program() -> &'static LoadedProgram {
        static PROGRAM: OnceLock<LoadedProgram> = OnceLock::new();
        let compile = || Network::Graph(Box::new(small(1))).program(&CompileOptions::default(), &[]).unwrap();
        PROGRAM.get_or_init(compile)
    }

    #[test]
    fn a_path_is_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        small(1).save(path("net")).unwrap();
        program().save(&path("net.umbra")).unwrap();
        program().client().save(&path("net.client")).unwrap();
        std::fs::copy(path("net.client"), path("renamed")).unwrap();
        let open = |name: &str| Network::open(&path(name)).unwrap();
        assert!(matches!(open("net"), Network::Graph(_)) && matches!(open("net/manifest.json"), Network::Graph(_)));
        assert!(matches!(open("net.umbra"), Network::Program(_)));
        assert!(matches!(open("net.client"), Network::Client(_)) && matches!(open("renamed"), Network::Client(_)));
        assert!(matches!(Network::open(Path::new(SHIPPED)).unwrap(), Network::Graph(_)));
        let digest = program().digest();
        for name in ["net", "net.umbra", "net.client"] {
            assert_eq!(open(name).client_file().unwrap().program(), digest, "{name}");
            assert_eq!(open(name).image().height, 8);
        }
        for name in ["nowhere.client", "nowhere"] {
            let error = Network::open(&path(name)).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("cannot read"), "{error}");
        }
        assert!(in_the_clear(&path("net.client")).unwrap_err().to_string().contains("this is a client file"));
        assert!(in_the_clear(&path("net")).is_ok());
    }

    #[test]
    fn client_files_have_no_weights_and_programs_are_compiled_already() {
        let default = CompileOptions::default();
        let client = Network::Client(program().client().clone());
        let compiled = Network::Program(program().clone());
        let packing = CompileOptions { packing: PackingChoice::Channel, ..CompileOptions::default() };
        assert!(matches!(client.program(&default, &[]), Err(UmbraError::NoWeights { .. })));
        assert!(matches!(client.clone().graphs(&[]), Err(UmbraError::NoWeights { .. })));
        assert!(matches!(compiled.program(&packing, &[]), Err(UmbraError::AlreadyCompiled { option: "packing" })));
        let member = [small(2)];
        assert!(matches!(compiled.program(&default, &member), Err(UmbraError::AlreadyCompiled { option: "member" })));
        assert!(compiled.program(&default, &[]).is_ok());
    }

    #[test]
    fn programs_know_the_networks_that_they_were_compiled_from() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        small(1).save(path("net")).unwrap();
        small(2).save(path("other")).unwrap();
        let compiled = || Network::Program(program().clone());
        assert_eq!(compiled().graph(Some(&path("net"))).unwrap().name(), small(1).name());
        assert!(matches!(compiled().graph(Some(&path("other"))), Err(UmbraError::OtherReference { .. })));
        assert!(matches!(compiled().graph(None), Err(UmbraError::NoReference { members: 1, .. })));
        let both = [path("net"), path("other")];
        assert!(matches!(compiled().graphs(&both), Err(UmbraError::OtherReference { .. })));
        let graph = || Network::Graph(Box::new(small(1)));
        assert!(graph().graph(None).is_ok());
        assert!(matches!(graph().graph(Some(&path("net"))), Err(UmbraError::ReferenceOfNetwork)));
    }

    #[test]
    fn random_networks_have_names() {
        assert!(matches!(Network::random("8x2"), Ok(Network::Graph(_))));
        for name in ["", "x", "8x0", "7x4", "8x2000", "20x16x4", "-padded", "vgg17"] {
            assert!(matches!(Network::random(name), Err(UmbraError::RandomNetwork { .. })), "{name}");
        }
    }
}
