//! `ds4 debug …`

use super::{CONTEXT_MAX, ModelArgs, tokens};
use crate::recipe::Recipe;
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
    /// Perplexity of a text, and divergence from another form of the same model
    Compare(DebugCompare),
    /// Answers to prompts whose right answers are known
    Cases(DebugCases),
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
    /// As many layers and as wide heads as the published model: its KV state has the same size
    #[arg(long)]
    pub full_kv: bool,
}

/// `ds4 debug compare`
#[derive(Args)]
pub struct DebugCompare {
    #[command(flatten)]
    pub model: ModelArgs,
    /// The model to compare with, computed exactly
    #[arg(long, value_name = "FILE")]
    pub against: PathBuf,
    /// Text in UTF-8
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// The text is cut into pieces of so many tokens
    #[arg(short, long, value_name = "N", default_value_t = 2048, value_parser = tokens(CONTEXT_MAX))]
    pub ctx: usize,
    /// KV rounding
    #[arg(long, value_enum, default_value_t = KvMode::Cache)]
    pub kv: KvMode,
    /// Integer activations instead of exact arithmetic in the model compared
    #[arg(long)]
    pub fast: bool,
}

const CASES_EXAMPLES: &str = "\
A case is a line of JSON: {\"id\", \"kind\", \"tokens\", \"answer\", \"check\"}. tokens are those of the prompt;
check is exact, final_contains (the part after the reasoning contains the answer), tool_call (from the
first call on, exactly the answer) or format (any well-formed answer).

Example:
  ds4 debug cases -m model.gguf models/demo/eval/tools.jsonl";

/// `ds4 debug cases`
#[derive(Args)]
#[command(after_help = CASES_EXAMPLES)]
pub struct DebugCases {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Files of cases
    #[arg(value_name = "CASES.jsonl", required = true)]
    pub files: Vec<PathBuf>,
    /// At most so many cases of each file
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Most tokens of an answer
    #[arg(short, value_name = "N", default_value_t = 400, value_parser = tokens(CONTEXT_MAX))]
    pub n: usize,
    /// Temperature; 0 takes the likeliest token
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    pub temp: f32,
    /// Start of the random numbers
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Exact arithmetic
    #[arg(long)]
    pub exact: bool,
    /// Print one JSON object with every answer
    #[arg(long)]
    pub json: bool,
}
