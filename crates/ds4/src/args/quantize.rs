//! `ds4 quantize`

use crate::recipe::Recipe;
use clap::Args;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Norms, sinks, biases and scales stay F32, tables and metadata as they are. Types that already have
more loss than the recipe's gain nothing: start from F16, BF16, F32 or Q8_0. With an importance
matrix, experts of q2 and q4 lose least where it matters most; Q8_0 has no use for one. A run that
was ended, by Ctrl-C or a crash, goes on where it was when the same command is given again.

Examples:
  ds4 quantize model-f16.gguf model-q2.gguf --recipe q2
  ds4 quantize model-f16.gguf model-q2.gguf --recipe q2 --imatrix model.dat
  ds4 quantize DeepSeek-V4-Flash/ model-q4.gguf --recipe q4 --template model-q2.gguf";

/// `ds4 quantize`
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct QuantizeArgs {
    /// GGUF file to read, or the folder of an official checkpoint (safetensors files)
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// File to write; it must not exist
    #[arg(value_name = "OUT.gguf")]
    pub output: PathBuf,
    /// Types of the tensors
    #[arg(long, value_enum)]
    pub recipe: Recipe,
    /// GGUF file of the model whose metadata, tokenizer and order of tensors a checkpoint gets
    #[arg(long, value_name = "FILE")]
    pub template: Option<PathBuf>,
    /// Importance matrix, of `ds4 imatrix` or in llama.cpp's .dat form
    #[arg(long, value_name = "FILE")]
    pub imatrix: Option<PathBuf>,
    /// Fail if a tensor whose type makes use of importance is not in the matrix
    #[arg(long, requires = "imatrix")]
    pub imatrix_strict: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub json: bool,
    /// Threads; 0 means one a core
    #[arg(short, long, default_value_t = 0, value_name = "N")]
    pub threads: usize,
}
