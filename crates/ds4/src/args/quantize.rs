//! `ds4 quantize`

use crate::recipe::Recipe;
use clap::Args;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Norms, sinks, biases and scales stay F32, tables and metadata as they are. Types that already have
more loss than the recipe's gain nothing: start from F16, BF16, F32 or Q8_0.

Example:
  ds4 quantize model-f16.gguf model-q2.gguf --recipe q2";

/// `ds4 quantize`
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct QuantizeArgs {
    /// GGUF file to read
    #[arg(value_name = "IN.gguf")]
    pub input: PathBuf,
    /// File to write; it must not exist
    #[arg(value_name = "OUT.gguf")]
    pub output: PathBuf,
    /// Types of the tensors
    #[arg(long, value_enum)]
    pub recipe: Recipe,
    /// Threads; 0 means one a core
    #[arg(short, long, default_value_t = 0, value_name = "N")]
    pub threads: usize,
}
