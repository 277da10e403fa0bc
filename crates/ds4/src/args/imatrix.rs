//! `ds4 imatrix`

use super::{CONTEXT_MAX, tokens};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use ds4_engine::CHUNK_MAX;
use std::path::PathBuf;

const EXAMPLES: &str = "\
The dataset is a text file of prompts as the model sees them, markers like <｜User｜> included, with a
line that contains ===== DS4_IMATRIX_PROMPT between one prompt and the next; BOS is added where it
is missing. For every weight matrix, and every expert's, the file then holds the mean square of
each column's inputs: what an error there costs. The processor computes, with a gigabyte more
than the model needs itself. Ctrl-C ends early, with what the prompts so far gave.

Example:
  ds4 imatrix -m model-q8.gguf --dataset prompts.txt --out model.dat
  ds4 quantize model-f16.gguf model-q2.gguf --recipe q2 --imatrix model.dat";

/// `ds4 imatrix`
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ImatrixArgs {
    /// GGUF file of a DeepSeek V4 model [default: the demo model inside the program]
    #[arg(short, long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// File of prompts
    #[arg(long, alias = "imatrix-dataset", value_name = "FILE")]
    pub dataset: PathBuf,
    /// Importance matrix to write, in the .dat form; it must not exist
    #[arg(long, alias = "imatrix-out", value_name = "FILE")]
    pub out: PathBuf,
    /// Most prompts [default: all]
    #[arg(long, alias = "imatrix-max-prompts", value_name = "N", value_parser = count())]
    pub max_prompts: Option<usize>,
    /// Most tokens of all prompts together [default: all]
    #[arg(long, alias = "imatrix-max-tokens", value_name = "N", value_parser = count())]
    pub max_tokens: Option<usize>,
    /// Most tokens of a prompt; longer ones are cut there
    #[arg(short, long, value_name = "N", default_value_t = 32768, value_parser = tokens(CONTEXT_MAX))]
    pub ctx: usize,
    /// Most tokens that are evaluated at once
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = tokens(CHUNK_MAX as u64))]
    pub chunk: usize,
    /// Exact arithmetic, several times slower
    #[arg(long)]
    pub exact: bool,
    /// Threads; 0 means one a core
    #[arg(short, long, default_value_t = 0, value_name = "N")]
    pub threads: usize,
    /// Print what was done as JSON
    #[arg(long)]
    pub json: bool,
}

fn count() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}
