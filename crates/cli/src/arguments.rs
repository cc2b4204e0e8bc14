//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use umbra_compiler::{AddFirst, Average, LayoutChoice, Pass};

/// Encrypted image classification: a server classifies a picture that it cannot see.
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
    /// Encrypt, classify and decrypt one picture, and compare with the plaintext result.
    Demo(Demo),
    /// Compile a network to a program for encrypted pictures.
    Compile(Compile),
    /// Give a network few distinct weights, so that encrypted inputs which share one are multiplied once.
    Cluster(Cluster),
    /// Tell what an encrypted inference will take, before any key exists.
    Estimate(Estimate),
    /// Classify a data set in the clear, simulated, or encrypted.
    Eval(Eval),
    /// Client: make a secret key and the evaluation keys for the server.
    Keygen(Keygen),
    /// Client: encrypt a picture, or a batch of them.
    Encrypt(Encrypt),
    /// Server: classify an encrypted picture.
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

#[derive(Args, Debug)]
pub struct Demo {
    /// Network to use.
    #[arg(long, value_name = "NETWORK", default_value = crate::network::SHIPPED)]
    pub network: PathBuf,
    /// Network in the clear to compare with, where --network is a compiled program.
    #[arg(long, value_name = "NETWORK")]
    pub reference: Option<PathBuf>,
    /// Shipped CIFAR-10 test picture: airplane, automobile, cat, dog, frog, horse, ship, truck.
    #[arg(long, value_name = "NAME", default_value = "ship", conflicts_with = "image")]
    pub picture: String,
    /// PNG or JPEG file of any size instead of a shipped picture.
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
    #[arg(long, value_name = "PASS", value_parser = PossibleValuesParser::new(Pass::ALL.map(Pass::name)))]
    pub without: Vec<String>,
    /// Wanted standard deviation of a logit's error [default: a thousandth of the range of the network's logits, but 0.014 to
    /// 0.03]: a smaller one takes more time and larger keys.
    #[arg(long, value_name = "X")]
    pub logit_error: Option<f64>,
    /// Wanted limit on the size of the evaluation keys in bytes [default: 900000000]: fewer take more time.
    #[arg(long, value_name = "N")]
    pub key_bytes: Option<u64>,
    /// What slots hold: cyclic, one picture, the shortest wait; channel, many pictures or networks, the most a second; auto,
    /// whichever takes less time a picture.
    #[arg(long, value_name = "LAYOUT", default_value = "cyclic")]
    pub layout: LayoutChoice,
    /// Pictures that are classified at once in the channel layout [default: as many as fit].
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Further network of an ensemble, of the same architecture; may be repeated. In the cyclic layout networks run side by side, in the
    /// channel layout a picture takes as many places of a batch as there are networks (the next power of two), but for zero padding:
    /// then all classify the whole batch.
    #[arg(long, value_name = "NETWORK")]
    pub member: Vec<PathBuf>,
    /// Who averages over an ensemble: client, from the logits of every network, or server.
    #[arg(long, value_name = "PARTY", default_value = "client")]
    pub average: Average,
    /// Add inputs that share a weight before multiplying them, in the channel layout: always, never, or auto, where it is faster.
    /// For networks of umbra cluster, whose output channels have few distinct weights.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub add_first: AddFirst,
}

#[derive(Args, Debug)]
pub struct Compile {
    #[command(flatten)]
    pub network: NetworkArgument,
    /// File to write.
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
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
    /// Folder with the official binary files of CIFAR-10 or CIFAR-100, for calibration (the training set is used), or one such file;
    /// without it, the few sample pictures that networks carry are.
    #[arg(long, value_name = "DIR|FILE")]
    pub data: Option<PathBuf>,
    /// Number of pictures of --data, from the first.
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
    #[command(flatten)]
    pub network: NetworkArgument,
    #[command(flatten)]
    pub compilation: Compilation,
    /// Report as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

/// Which codeword a weight becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Assign {
    /// Compensated where there are pictures for calibration, else nearest; the report says which.
    Auto,
    /// The nearest, as in the paper.
    Nearest,
    /// One that makes up for the errors of the weights before it, on pictures for calibration; kept biases are corrected.
    Compensated,
}

/// How pictures are classified.
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
    /// Folder with the official binary files of CIFAR-10 or CIFAR-100 (the test set is used), or one such file.
    #[arg(long, value_name = "DIR|FILE")]
    pub data: PathBuf,
    /// How the pictures are classified.
    #[arg(long, value_enum, default_value = "plain")]
    pub mode: Mode,
    /// Number of pictures, from the first [default: all].
    #[arg(long, value_name = "N")]
    pub limit: Option<NonZeroUsize>,
    /// Report as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Keygen {
    #[command(flatten)]
    pub network: NetworkArgument,
    /// Folder for secret.key, which stays, and eval.key, which goes to the server.
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
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
    pub network: NetworkArgument,
    /// Secret key.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// PNG or JPEG picture of any size; several where the program classifies a batch.
    #[arg(value_name = "PICTURE", required = true)]
    pub images: Vec<PathBuf>,
    /// File to write.
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
    /// Encrypted picture.
    #[arg(value_name = "CIPHERTEXT")]
    pub input: PathBuf,
    /// File to write.
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
    /// Report as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Decrypt {
    #[command(flatten)]
    pub network: NetworkArgument,
    /// Secret key.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Encrypted result.
    #[arg(value_name = "CIPHERTEXT")]
    pub input: PathBuf,
    /// Pictures that were encrypted, where they are fewer than the program classifies at once.
    #[arg(long, value_name = "N")]
    pub pictures: Option<usize>,
    /// Report as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Inspect {
    /// File of any kind: program, keys, ciphertext, manifest.
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
    /// The paper's evaluation on a network of yours: accuracy, clustering, ensembles, time and memory of each layout, levels of each
    /// pass; tables and plots in a folder. Takes hours; stopped and started again, it goes on where it was.
    Paper(BenchPaper),
    /// Levels, keys and estimated time of residual networks with every combination of the paper's passes on or off.
    Passes(BenchPasses),
}

#[derive(Args, Debug)]
pub struct BenchPaper {
    /// Folder for results, tables and plots.
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
    /// Folder with manifest.json, manifest, or the shipped network r20-16-cifar10-cyclic.
    #[arg(value_name = "NETWORK", default_value = crate::network::SHIPPED)]
    pub network: PathBuf,
    /// Another network of the same architecture, for ensembles of the first 2, 4, ... networks; may be repeated.
    #[arg(long, value_name = "NETWORK")]
    pub member: Vec<PathBuf>,
    /// What `umbra_train export` writes of a ReLU network, to compare with: baseline.json.
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Folder with the official binary files of CIFAR-10 or CIFAR-100 (the test set is used), or one such file.
    #[arg(long, value_name = "DIR|FILE")]
    pub data: PathBuf,
    /// Pictures that are classified in the clear and simulated, from the first [default: all].
    #[arg(long, value_name = "N")]
    pub limit: Option<NonZeroUsize>,
    /// Pictures that are classified encrypted, from the first.
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
    /// Residual networks for the table of passes: depth and width of the first stage; may be repeated, or given with commas.
    #[arg(long, value_name = "DEPTHxWIDTH", default_values = ["18x16", "20x16"], value_delimiter = ',')]
    pub passes: Vec<String>,
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
    #[arg(value_name = "NETWORK", default_value = crate::network::SHIPPED)]
    pub network: PathBuf,
    /// A network for CIFAR-10 with random weights instead: depth and width of the first stage of a residual one, such as 20x64,
    /// or vgg16; 20x64-padded or vgg16-padded with zero padding.
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
