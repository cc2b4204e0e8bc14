//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use umbra::compiler::{AddFirst, Average, CompileError, PackingChoice, Pass, Stage};
use umbra::network::SHIPPED;

/// Encrypted image classification: a server classifies an image that it cannot see.
#[derive(Debug, Parser)]
#[command(name = "umbra", version, about, propagate_version = true)]
pub struct Arguments {
    /// Number of threads [default: one a processor]. Results do not depend on it.
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Encrypt, classify and decrypt one image, and compare with the plaintext result.
    Demo(Demo),
    /// Operator: compile a network to a program for the server and a client file for clients.
    Compile(Compile),
    /// Give a network few distinct weights, so that encrypted inputs which share one are multiplied once.
    Cluster(Cluster),
    /// Tell what an encrypted inference will take, before any key exists.
    Estimate(Estimate),
    /// Classify a data set in the clear, simulated, or encrypted.
    Eval(Eval),
    /// Client: make a secret key and the evaluation keys for the server.
    Keygen(Keygen),
    /// Client: encrypt an image, or a batch of them.
    Encrypt(Encrypt),
    /// Server: classify encrypted images.
    Infer(Infer),
    /// Client: decrypt a result.
    Decrypt(Decrypt),
    /// Tell what a file is and what it belongs to.
    Inspect(Inspect),
    /// Measure on this machine.
    #[command(subcommand)]
    Bench(Bench),
    /// Print a script that completes commands in a shell.
    Completions(Completions),
    /// Print the manual page, or write one a command to a folder.
    Man(Man),
}

/// A network: a folder with a manifest, a manifest, a compiled program, or the name of a shipped network.
#[derive(Args, Debug)]
pub struct NetworkArgument {
    /// Folder with manifest.json, manifest, compiled program (.umbra), or the shipped network r20-16-cifar10-cyclic.
    #[arg(value_name = "NETWORK")]
    pub network: PathBuf,
}

/// What clients have of a network.
#[derive(Args, Debug)]
pub struct ClientArgument {
    /// Client file (.client). What it was written with does, too: the program (.umbra), or the network.
    #[arg(value_name = "CLIENT_FILE")]
    pub client: PathBuf,
}

#[derive(Args, Debug)]
pub struct Demo {
    /// Network to use.
    #[arg(long, value_name = "NETWORK", default_value = SHIPPED)]
    pub network: PathBuf,
    /// Network in the clear to compare with, where --network is a compiled program.
    #[arg(long, value_name = "NETWORK")]
    pub reference: Option<PathBuf>,
    /// Shipped CIFAR-10 test image: airplane, automobile, cat, dog, frog, horse, ship, truck.
    #[arg(long, alias = "picture", value_name = "NAME", default_value = "ship", conflicts_with = "image")]
    pub sample: String,
    /// PNG or JPEG file of any size instead of a shipped image.
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// Folder to keep all files in: program, keys, ciphertexts.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Report as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

/// How a network is compiled.
#[derive(Args, Debug, Default)]
pub struct Compilation {
    /// Switch a pass off, to see what it is worth; may be repeated.
    #[arg(
        long, value_name = "PASS",
        value_parser = named(&Pass::ALL.map(Pass::name), &["pair-giants"], str::parse::<Pass>)
    )]
    pub without: Vec<Pass>,
    /// Wanted standard deviation of a logit's error [default: a thousandth of the range of the network's logits, but
    /// 0.014 to 0.03]: a smaller one takes more time and larger keys.
    #[arg(long, value_name = "X")]
    pub logit_error: Option<f64>,
    /// Wanted limit on the size of the evaluation keys in bytes [default: 900000000]: fewer take more time.
    #[arg(long, value_name = "N")]
    pub key_bytes: Option<u64>,
    /// What slots hold: multiplexed, all channels of one image, the shortest wait; channel, one channel of many images
    /// or networks, the most a second; auto, whichever takes less time an image.
    #[arg(
        long, alias = "layout", value_name = "PACKING", default_value = PackingChoice::Multiplexed.name(),
        value_parser = named(&PackingChoice::ALL.map(PackingChoice::name), &["cyclic"], str::parse::<PackingChoice>)
    )]
    pub packing: PackingChoice,
    /// Images that are classified at once with one channel per ciphertext [default: as many as fit].
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Further network of an ensemble, of the same architecture; may be repeated. In multiplexed packing networks run
    /// side by side. With one channel per ciphertext an image takes as many batch slots as there are networks (the next
    /// power of two), but for zero padding: then all classify the whole batch.
    #[arg(long, value_name = "NETWORK")]
    pub member: Vec<PathBuf>,
    /// Who averages over an ensemble: client, from the logits of every network, or server.
    #[arg(long, value_name = "PARTY", default_value = "client")]
    pub average: Average,
    /// Add inputs that share a weight before multiplying them, with one channel per ciphertext: always, never, or auto,
    /// where it is faster. For networks of umbra cluster, whose output channels have few distinct weights.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub add_first: AddFirst,
    /// Client file or program whose keys are to serve the new program, too: of the same network before it was trained
    /// again. Refused where they cannot.
    #[arg(long, value_name = "FILE")]
    pub compatible_with: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Compile {
    #[command(flatten)]
    pub network: NetworkArgument,
    /// Program to write, for the server, or - for standard output.
    #[arg(short, long, value_name = "FILE", required_unless_present = "dump")]
    pub out: Option<PathBuf>,
    /// Client file to write, without weights [default: next to the program, named .client].
    #[arg(long, value_name = "FILE")]
    pub client: Option<PathBuf>,
    /// Print what a pass leaves of the network, and write nothing.
    #[arg(
        long, value_name = "STAGE", conflicts_with_all = ["out", "client", "json"],
        value_parser = named(&Stage::ALL.map(Stage::name), &[], str::parse::<Stage>)
    )]
    pub dump: Option<Stage>,
    #[command(flatten)]
    pub compilation: Compilation,
    /// Report as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

/// What shares the codewords that weights are replaced by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClusterMode {
    /// All convolutions of the network, with their biases.
    Full,
    /// One column of the kernels of one convolution.
    Slice,
    /// The networks of an ensemble: one index map for all, for each member values of its own.
    Ensemble,
}

#[derive(Args, Debug)]
pub struct Cluster {
    /// Folder with manifest.json, manifest, or the shipped network r20-16-cifar10-cyclic.
    #[arg(value_name = "NETWORK")]
    pub network: PathBuf,
    /// What shares a codebook.
    #[arg(long, value_enum)]
    pub mode: ClusterMode,
    /// Codewords of a codebook.
    #[arg(long, value_name = "K")]
    pub k: usize,
    /// Another network of the ensemble; may be repeated.
    #[arg(long, value_name = "NETWORK")]
    pub member: Vec<PathBuf>,
    /// Seed of the starts in mode ensemble; the other modes find the optimum and have none.
    #[arg(long, value_name = "S", default_value = "1")]
    pub seed: u64,
    /// Number of starts in mode ensemble, of which the best is taken.
    #[arg(long, value_name = "R", default_value = "3")]
    pub restarts: NonZeroUsize,
    /// Leave biases as they are in modes full and ensemble; they cost no multiplications.
    #[arg(long)]
    pub keep_biases: bool,
    /// Which codeword a weight becomes.
    #[arg(long, value_enum, default_value = "auto")]
    pub assign: Assign,
    /// Folder with the official binary files of CIFAR-10 or CIFAR-100, for calibration (the training set is used), one
    /// such file, or a folder with a folder of images for each class; without it, the few sample images that networks
    /// carry are.
    #[arg(long, value_name = "DIR|FILE")]
    pub data: Option<PathBuf>,
    /// Number of images of --data, from the first.
    #[arg(long, value_name = "N", default_value = "128", requires = "data")]
    pub limit: NonZeroUsize,
    /// Folder to write the network to; in mode ensemble its members go to member-1, member-2, ... in it.
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
    /// Report as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Estimate {
    /// Folder with manifest.json, manifest, compiled program (.umbra), client file (.client), or the shipped network
    /// r20-16-cifar10-cyclic.
    #[arg(value_name = "NETWORK")]
    pub network: PathBuf,
    #[command(flatten)]
    pub compilation: Compilation,
    /// Report as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

/// Which codeword a weight becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Assign {
    /// Compensated where there are images for calibration, else nearest; the report says which.
    Auto,
    /// The nearest, as in the paper.
    Nearest,
    /// One that makes up for the errors of the weights before it, on images for calibration; kept biases are corrected.
    Compensated,
}

/// How images are classified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// The network in the clear.
    Plain,
    /// The program on plain values with the predicted noise.
    Simulated,
    /// The program on ciphertexts.
    Encrypted,
}

#[derive(Args, Debug)]
pub struct Eval {
    #[command(flatten)]
    pub network: NetworkArgument,
    /// Network in the clear to compare with, where NETWORK is a compiled program; of an ensemble each, in order.
    #[arg(long, value_name = "NETWORK")]
    pub reference: Vec<PathBuf>,
    /// Folder with the official binary files of CIFAR-10 or CIFAR-100 (the test set is used), one such file, or a
    /// folder with a folder of images for each class.
    #[arg(long, value_name = "DIR|FILE")]
    pub data: PathBuf,
    /// How the images are classified.
    #[arg(long, value_enum, default_value = "plain")]
    pub mode: Mode,
    /// Number of images, from the first [default: all].
    #[arg(long, value_name = "N")]
    pub limit: Option<NonZeroUsize>,
    /// Report as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Keygen {
    #[command(flatten)]
    pub client: ClientArgument,
    /// Folder for secret.key, which stays, and eval.key, which goes to the server.
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
    /// Make public.key, too: whoever has it encrypts images for you, and can decrypt nothing.
    #[arg(long)]
    pub public: bool,
    /// Secret key that is there already: only its public key is made.
    #[arg(long, value_name = "FILE", requires = "public", conflicts_with = "replace")]
    pub key: Option<PathBuf>,
    /// Replace a secret key that is there: what was encrypted under it can never be decrypted again.
    #[arg(long)]
    pub replace: bool,
    /// Report as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Encrypt {
    #[command(flatten)]
    pub client: ClientArgument,
    /// Secret key.
    #[arg(long, value_name = "FILE", required_unless_present = "public_key")]
    pub key: Option<PathBuf>,
    /// Public key of whoever is to decrypt the result, in place of a secret key.
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    pub public_key: Option<PathBuf>,
    /// PNG or JPEG image of any size, or - for standard input; several where the program classifies a batch.
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<PathBuf>,
    /// File to write, or - for standard output.
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
    /// Report as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Infer {
    #[command(flatten)]
    pub network: NetworkArgument,
    /// Evaluation keys.
    #[arg(long, value_name = "FILE")]
    pub keys: PathBuf,
    /// Encrypted images, or - for standard input; of several files each is evaluated on its own, with keys that are
    /// loaded once.
    #[arg(value_name = "CIPHERTEXT", required = true)]
    pub inputs: Vec<PathBuf>,
    /// File to write, or - for standard output; of several inputs, or where this is a folder, the folder of the
    /// results, named as their inputs.
    #[arg(short, long, value_name = "FILE|DIR")]
    pub out: PathBuf,
    /// Report as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Decrypt {
    #[command(flatten)]
    pub client: ClientArgument,
    /// Secret key.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Encrypted result, or - for standard input.
    #[arg(value_name = "CIPHERTEXT")]
    pub input: PathBuf,
    /// Results of so many images at most, from the first. How many were encrypted, the file says.
    #[arg(long, alias = "pictures", value_name = "N", hide = true)]
    pub images: Option<NonZeroUsize>,
    /// Exact numbers, for your eyes only: their last digits depend on the secret key, and whoever sees many of them can
    /// attack it. Otherwise numbers are rounded to about the error that they have, and may be passed on.
    #[arg(long)]
    pub raw: bool,
    /// Report as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Inspect {
    /// File of any kind: program, client file, keys, ciphertext, manifest; or - for standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Report as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Bench {
    /// A whole network, encrypted, several times over: medians of every step.
    Network(BenchNetwork),
    /// What `umbra estimate` says, and what commands take: time of keys and server, memory, ratio.
    Estimates(BenchEstimates),
    /// The paper's evaluation on a network of yours: accuracy, clustering, ensembles, time and memory of each packing,
    /// levels of each pass; tables and plots in a folder. Takes hours; stopped and started again, it goes on where it
    /// was.
    Paper(BenchPaper),
    /// Levels, keys and estimated time of residual networks with every combination of the paper's passes on or off.
    Passes(BenchPasses),
    /// What results give away beyond their logits: features of the last layer, predicted from all other slots.
    Leakage(BenchLeakage),
    /// Predicted errors of logits against measured ones: random networks of any normalisation, padding, size and depth,
    /// with samples and without, in all packings, each compiled and run on photographs.
    Predictions(BenchPredictions),
}

#[derive(Args, Debug)]
pub struct BenchPredictions {
    /// Number of networks.
    #[arg(long, value_name = "N", default_value = "40")]
    pub count: NonZeroUsize,
    /// Determines the networks.
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    pub seed: u32,
    /// Simulate in place of encrypting: minutes become seconds.
    #[arg(long)]
    pub simulate: bool,
    /// Report as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct BenchPaper {
    /// Folder for results, tables and plots.
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
    /// Folder with manifest.json, manifest, or the shipped network r20-16-cifar10-cyclic.
    #[arg(value_name = "NETWORK", default_value = SHIPPED)]
    pub network: PathBuf,
    /// Another network of the same architecture, for ensembles of the first 2, 4, ... networks; may be repeated.
    #[arg(long, value_name = "NETWORK")]
    pub member: Vec<PathBuf>,
    /// What `umbra_train export` writes of a ReLU network, to compare with: baseline.json.
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Folder with the official binary files of CIFAR-10 or CIFAR-100 (the test set is used), one such file, or a
    /// folder with a folder of images for each class.
    #[arg(long, value_name = "DIR|FILE")]
    pub data: PathBuf,
    /// Images that are classified in the clear and simulated, from the first [default: all].
    #[arg(long, value_name = "N")]
    pub limit: Option<NonZeroUsize>,
    /// Images that are classified encrypted, from the first.
    #[arg(long, value_name = "N", default_value = "64")]
    pub sample: NonZeroUsize,
    /// Codewords of slice-wise clustering; may be repeated, or given with commas.
    #[arg(long, value_name = "K", default_values = ["16", "64", "256"], value_delimiter = ',')]
    pub k: Vec<NonZeroUsize>,
    /// Codewords of the largest ensemble, its members clustered together; may be repeated, or given with commas.
    #[arg(long, value_name = "K", default_values = ["1024"], value_delimiter = ',')]
    pub ensemble_k: Vec<NonZeroUsize>,
    /// Evaluations that a time is the median of.
    #[arg(long, value_name = "N", default_value = "3")]
    pub runs: NonZeroUsize,
    /// Residual networks for the table of passes: depth and width of the first stage; may be repeated, or given with
    /// commas.
    #[arg(long, value_name = "DEPTHxWIDTH", default_values = ["18x16", "20x16"], value_delimiter = ',')]
    pub passes: Vec<String>,
}

#[derive(Args, Debug)]
pub struct BenchEstimates {
    /// Folder with manifest.json, manifest, compiled program (.umbra), the shipped network, or a random one by depth
    /// and width of its first stage; with `:channel` at its end as many images as fit at once.
    #[arg(
        value_name = "NETWORK",
        default_values = [SHIPPED, "18x64", "r20-16-cifar10-cyclic:channel", "8x2", "8x8", "14x4"]
    )]
    pub networks: Vec<String>,
    /// Processes that each figure is the median of.
    #[arg(long, value_name = "N", default_value = "3")]
    pub runs: NonZeroUsize,
    /// Report as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct BenchPasses {
    /// Residual networks for CIFAR-10 with random weights: depth and width of the first stage.
    #[arg(value_name = "DEPTHxWIDTH", default_values = ["18x16", "20x16", "32x16", "18x64", "20x64", "32x64"])]
    pub networks: Vec<String>,
    /// How the table is printed.
    #[arg(long, value_enum, default_value = "markdown")]
    pub format: TableFormat,
}

/// How a table is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    /// With bars between columns.
    Markdown,
    /// Comma-separated values.
    Csv,
    /// An array of objects.
    Json,
}

#[derive(Args, Debug)]
pub struct BenchNetwork {
    /// Folder with manifest.json, manifest, compiled program (.umbra), or the shipped network r20-16-cifar10-cyclic.
    #[arg(value_name = "NETWORK", default_value = SHIPPED)]
    pub network: PathBuf,
    /// A network for CIFAR-10 with random weights instead: depth and width of the first stage of a residual one, such
    /// as 20x64, or vgg16; 20x64-padded or vgg16-padded with zero padding.
    #[arg(long, value_name = "NAME", conflicts_with = "network")]
    pub random: Option<String>,
    #[command(flatten)]
    pub compilation: Compilation,
    /// Number of evaluations.
    #[arg(long, value_name = "N", default_value = "5")]
    pub runs: NonZeroUsize,
    /// Report as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct BenchLeakage {
    /// Folder with manifest.json, manifest, compiled program (.umbra), or the shipped network r20-16-cifar10-cyclic.
    #[arg(value_name = "NETWORK", default_value = SHIPPED)]
    pub network: PathBuf,
    /// Network in the clear, where NETWORK is a compiled program.
    #[arg(long, value_name = "NETWORK")]
    pub reference: Option<PathBuf>,
    #[command(flatten)]
    pub compilation: Compilation,
    /// Data set whose test images are evaluated [default: random images].
    #[arg(long, value_name = "DIR|FILE")]
    pub data: Option<PathBuf>,
    /// Number of images: one encrypted evaluation each.
    #[arg(long, value_name = "N", default_value = "200")]
    pub images: NonZeroUsize,
    /// Report as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

#[derive(Args, Debug)]
pub struct Man {
    /// Folder for one page a command; without it the main page goes to standard output.
    #[arg(short, long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// One of some names, or of older names that are not shown.
fn named<T: Clone + Send + Sync + 'static>(
    names: &[&'static str],
    old: &[&'static str],
    parse: fn(&str) -> Result<T, CompileError>,
) -> impl TypedValueParser<Value = T> + use<T> {
    let shown = names.iter().copied().map(PossibleValue::new);
    let hidden = old.iter().map(|name| PossibleValue::new(*name).hide(true));
    PossibleValuesParser::new(shown.chain(hidden).collect::<Vec<_>>()).try_map(move |name| parse(&name))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(words: &str) -> Result<Command, clap::Error> {
        Arguments::try_parse_from(words.split(' ')).map(|arguments| arguments.command)
    }

    #[test]
    fn arguments_hold_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn old_names_work_and_are_not_shown() {
        let Ok(Command::Compile(new)) = parse("umbra compile net -o a --packing channel --without complex-giants")
        else {
            panic!("no compilation")
        };
        let Ok(Command::Compile(old)) = parse("umbra compile net -o a --layout channel --without pair-giants") else {
            panic!("no compilation")
        };
        assert_eq!(new.compilation.packing, old.compilation.packing);
        assert_eq!(new.compilation.without, old.compilation.without);
        let Ok(Command::Estimate(estimate)) = parse("umbra estimate net --layout cyclic") else {
            panic!("no estimate")
        };
        assert_eq!(estimate.compilation.packing, PackingChoice::Multiplexed);
        assert!(matches!(parse("umbra demo --picture cat"), Ok(Command::Demo(Demo { sample, .. })) if sample == "cat"));
        let Ok(Command::Decrypt(decrypt)) = parse("umbra decrypt c --key k r --pictures 3") else {
            panic!("no result")
        };
        assert_eq!(decrypt.images, NonZeroUsize::new(3));

        let mut command = Arguments::command();
        let help = |name: &str| {
            let found = command.clone().find_subcommand(name).cloned();
            found.map(|mut command| command.render_long_help().to_string()).unwrap_or_default()
        };
        for name in ["compile", "estimate", "demo", "decrypt", "encrypt", "eval", "infer"] {
            let help = help(name);
            for old in ["--layout", "cyclic,", "pair-giants", "picture"] {
                assert!(!help.contains(old), "{name}: {old} in {help}");
            }
        }
        assert!(!command.render_long_help().to_string().contains("picture"));
    }

    #[test]
    fn what_is_dumped_is_not_written() {
        assert!(matches!(parse("umbra compile net --dump fuse"), Ok(Command::Compile(c)) if c.out.is_none()));
        for words in [
            "net",
            "net --dump fuse -o a",
            "net --dump nothing",
            "net --client b --dump fuse",
            "net --dump fuse --json",
        ] {
            assert!(parse(&format!("umbra compile {words}")).is_err(), "{words}");
        }
    }
}
