//! What was typed.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Run DeepSeek V4 Flash on one machine.
#[derive(Parser)]
#[command(name = "ds4", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Commands.
#[derive(Subcommand)]
pub enum Command {
    /// Print what the engine computes, for checks by other programs
    #[command(subcommand)]
    Debug(Debug),
}

/// Whether KV rows go through the model's own rounding.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub enum KvMode {
    /// No rounding: the bare formulas
    Plain,
    /// FP8, FP4 and F16 as the model prescribes
    Cache,
}

/// Devices.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug, Default)]
pub enum BackendName {
    /// The processor
    #[default]
    Cpu,
}

/// Options of every command that loads a model.
#[derive(Args, Clone)]
pub struct ModelArgs {
    /// GGUF file of a DeepSeek V4 model
    #[arg(short, long, value_name = "FILE")]
    pub model: PathBuf,
    /// Device to compute on
    #[arg(long, value_enum, default_value_t)]
    pub backend: BackendName,
    /// Threads; 0 means one a core
    #[arg(short, long, default_value_t = 0, value_name = "N")]
    pub threads: usize,
}

/// `ds4 debug …`
#[derive(Subcommand)]
pub enum Debug {
    /// Logits at chosen positions: {"logits": [[…]]}
    Logits(DebugLogits),
    /// Greedy continuation: {"tokens": […]}
    Greedy(DebugGreedy),
    /// Top logits and samples of every 500th for the last positions, for comparison with a recorded vector
    Vector(DebugVector),
}

/// `ds4 debug logits`
#[derive(Args)]
pub struct DebugLogits {
    #[command(flatten)]
    pub model: ModelArgs,
    /// JSON list of token ids
    #[arg(long, value_name = "FILE")]
    pub ids: PathBuf,
    /// JSON list of positions whose logits are printed
    #[arg(long, value_name = "FILE")]
    pub at: PathBuf,
    /// KV rounding
    #[arg(long, value_enum, default_value_t = KvMode::Cache)]
    pub kv: KvMode,
    /// Integer activations instead of exact arithmetic
    #[arg(long)]
    pub fast: bool,
    /// Tokens a step
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub chunk: usize,
    /// Feed one token a step, as decoding does
    #[arg(long)]
    pub one_by_one: bool,
}

/// `ds4 debug greedy`
#[derive(Args)]
pub struct DebugGreedy {
    #[command(flatten)]
    pub model: ModelArgs,
    /// JSON list of token ids
    #[arg(long, value_name = "FILE")]
    pub ids: PathBuf,
    /// Tokens to generate
    #[arg(short, value_name = "N")]
    pub n: usize,
    /// KV rounding
    #[arg(long, value_enum, default_value_t = KvMode::Cache)]
    pub kv: KvMode,
    /// Integer activations instead of exact arithmetic
    #[arg(long)]
    pub fast: bool,
}

/// `ds4 debug vector`
#[derive(Args)]
pub struct DebugVector {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Token ids, as a JSON list or separated by white space or commas
    #[arg(long, value_name = "FILE")]
    pub ids: PathBuf,
    /// The last N ids are fed one by one
    #[arg(long, value_name = "N")]
    pub steps: usize,
    /// Where the JSON goes
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Integer activations instead of exact arithmetic
    #[arg(long)]
    pub fast: bool,
}
