//! `ds4 debug …`

use super::ModelArgs;
use crate::tiny_model::Recipe;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Whether KV rows go through the model's own rounding.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub enum KvMode {
    /// No rounding: the bare formulas
    Plain,
    /// FP8, FP4 and F16 as the model prescribes
    Cache,
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
    /// Write a small random model with the true architecture
    TinyModel(DebugTinyModel),
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

const TINY_MODEL_EXAMPLES: &str = "\
The weights are random, so the text it writes is noise; everything else is that of the real
model: layer kinds, tensor names and types, tokenizer, metadata. The same seed and recipe give
the same bytes.

Example:
  ds4 debug tiny-model tiny.gguf && ds4 run -m tiny.gguf -p \"Hello\" -n 64";

/// `ds4 debug tiny-model`
#[derive(Args)]
#[command(after_help = TINY_MODEL_EXAMPLES)]
pub struct DebugTinyModel {
    /// Where the file goes; an existing one is overwritten
    #[arg(value_name = "OUT.gguf")]
    pub out: PathBuf,
    /// Start of the random numbers
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Types of the tensors
    #[arg(long, value_enum, default_value_t = Recipe::Q2)]
    pub recipe: Recipe,
}
