//! `ds4 inspect`

use super::{CONTEXT_MAX, tokens};
use clap::Args;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  ds4 inspect model.gguf
  ds4 inspect model.gguf --ctx 65536 262144     memory for these contexts
  ds4 inspect model.gguf --tensors | less       with every tensor
  ds4 inspect model.gguf --json | jq .kv";

/// `ds4 inspect`
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct InspectArgs {
    /// GGUF file of a DeepSeek V4 model. Only its directory is read, which takes well under a second
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// List every tensor with its type, size and place
    #[arg(long)]
    pub tensors: bool,
    /// Context lengths, in tokens, whose memory is shown
    #[arg(
        short, long, value_name = "N", num_args = 1.., value_delimiter = ',', value_parser = tokens(CONTEXT_MAX),
        default_values_t = [4096, 32768, 131_072, 1_048_576]
    )]
    pub ctx: Vec<usize>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
