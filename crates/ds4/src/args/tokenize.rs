//! `ds4 tokenize`

use clap::Args;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Without --json: the list of ids, then a line for each token with its id and its string in the
vocabulary, where \u{120} is a space and \u{10a} a line break.

Examples:
  ds4 tokenize -m model.gguf -p \"Hello, world!\"
  ds4 tokenize -m model.gguf -f notes.txt --json | jq '.tokens | length'";

/// `ds4 tokenize`
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct TokenizeArgs {
    /// GGUF file of a DeepSeek V4 model, of which only the metadata is read [default: the demo model inside the program]
    #[arg(short, long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub text: TextArgs,
    /// Turn markers such as <think> in the text into their control tokens; otherwise they are plain text
    #[arg(long)]
    pub rendered: bool,
    /// Print one JSON object, {"tokens": […]}
    #[arg(long)]
    pub json: bool,
}

/// One text.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct TextArgs {
    /// The text itself
    #[arg(short = 'p', long = "prompt", value_name = "TEXT")]
    pub prompt: Option<String>,
    /// File with the text, in UTF-8; /dev/stdin is standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}
