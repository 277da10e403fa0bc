//! What was typed. One file a command; a flag's documentation is its help.

mod bench;
mod chat;
mod config;
mod debug;
mod devices;
mod doctor;
mod download;
mod eval;
mod imatrix;
mod inspect;
mod kv;
mod quantize;
mod run;
mod selftest;
mod serve;
mod steer;
mod tokenize;

pub use bench::{BenchAction, BenchArgs};
pub use chat::{ChatArgs, FormatArgs};
pub use config::{CompletionsArgs, ConfigArgs, ManArgs, ServiceAction, ServiceArgs};
pub use debug::{Debug, DebugCases, DebugCompare, DebugGreedy, DebugLogits, DebugTinyModel, DebugVector, KvMode};
pub use devices::DevicesArgs;
pub use doctor::DoctorArgs;
pub use download::{DownloadArgs, ModelsArgs};
pub use eval::{EvalArgs, VectorsArgs};
pub use imatrix::ImatrixArgs;
pub use inspect::InspectArgs;
pub use kv::{KeepArgs, Kv, KvExport, KvImport, KvLs, KvPrune, KvShow, KvVerify, SessionsArgs, StoreArgs};
pub use quantize::QuantizeArgs;
pub use run::{ComputeArgs, DraftArgs, OnOff, RunArgs, SamplingArgs};
pub use selftest::SelftestArgs;
pub use serve::ServeArgs;
pub use steer::{DirectionArgs, SteerArgs};
pub use tokenize::TokenizeArgs;

use clap::builder::RangedU64ValueParser;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Most tokens of a context that a flag accepts: 4,096 times the trained one, and low enough that byte
/// counts of any model stay within 64 bits.
pub const CONTEXT_MAX: u64 = 1 << 32;

const EXAMPLES: &str = "\
Examples:
  ds4 debug tiny-model tiny.gguf                      make a small random model to try things with
  ds4 inspect tiny.gguf                               what is in it, and what memory it needs
  ds4 run --raw -m tiny.gguf -p \"Once\" -n 64         complete a text
  ds4 chat                                            talk with the demo model

A model file is a GGUF file of DeepSeek V4 Flash. `ds4 COMMAND --help` has the flags of each.
Exit codes: 0 done, 1 failed (one line on standard error says why), 2 wrong usage, 130 ended
by Ctrl-C.";

/// Run DeepSeek V4 Flash on one machine.
#[derive(Parser)]
#[command(name = "ds4", version, max_term_width = 100, after_help = EXAMPLES, disable_help_flag = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Print help
    // The short form, so that the help of a command fits on a screen.
    #[arg(short, long, global = true, action = ArgAction::HelpShort)]
    help: Option<bool>,
}

/// Commands.
#[derive(Subcommand)]
pub enum Command {
    /// Answer a question, or complete a text
    Run(Box<RunArgs>),
    /// Talk with the model in the terminal
    Chat(Box<ChatArgs>),
    /// Answer the OpenAI and Anthropic APIs over HTTP, and show a chat page
    Serve(Box<ServeArgs>),
    /// Fetch a published model, resumed and verified
    Download(DownloadArgs),
    /// List models: which are here, which fit this machine
    Models(ModelsArgs),
    /// Look at the machine and the set-up, and say what to do about what is not right
    Doctor(DoctorArgs),
    /// Measure speed: the engine at context lengths, or a running server
    Bench(Box<BenchArgs>),
    /// Ask questions with known answers and grade what comes
    Eval(Box<EvalArgs>),
    /// Compare with recorded log-probabilities of the official model
    Vectors(VectorsArgs),
    /// Show or begin the file of settings
    Config(ConfigArgs),
    /// Run the server as a service of the user
    Service(ServiceArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Write man pages
    Man(ManArgs),
    /// Look after the KV states on disk, from which conversations continue
    #[command(subcommand)]
    Kv(Kv),
    /// List the conversations of `ds4 chat --session`
    Sessions(SessionsArgs),
    /// Show what a model file holds and what memory its contexts need
    Inspect(InspectArgs),
    /// List the GPUs that --backend gpu can use
    Devices(DevicesArgs),
    /// Check that a GPU computes what it should, and measure how fast
    Selftest(SelftestArgs),
    /// Show the tokens of a text
    Tokenize(TokenizeArgs),
    /// Write a model with tensors of other types
    Quantize(QuantizeArgs),
    /// Measure which columns of the weights matter, for `ds4 quantize --imatrix`
    Imatrix(ImatrixArgs),
    /// Make a direction for --steer of two sets of prompts
    Direction(DirectionArgs),
    /// Numbers for other programs to check, and a small model to check with
    #[command(subcommand)]
    Debug(Debug),
}

/// Devices.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug, Default)]
pub enum BackendName {
    /// A GPU where there is one and the model fits, else the processor
    #[default]
    Auto,
    /// A GPU, by Vulkan or Metal
    Gpu,
    /// The processor
    Cpu,
}

/// Options of every command that loads a model.
#[derive(Args, Clone)]
pub struct ModelArgs {
    /// GGUF file of a DeepSeek V4 model [default: the demo model inside the program]
    #[arg(short, long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Device to compute on
    #[arg(long, value_enum, value_name = "NAME", default_value_t)]
    pub backend: BackendName,
    /// Which GPU, as `ds4 devices` counts [default: the first that is no software]
    #[arg(long, value_name = "N")]
    pub device: Option<usize>,
    /// Threads; 0 means one a core
    #[arg(short, long, default_value_t = 0, value_name = "N")]
    pub threads: usize,
}

/// A number of tokens from 1 to `max`.
fn tokens(max: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=max)
}
