//! `ds4 bench`

use super::{CONTEXT_MAX, ComputeArgs, ModelArgs, tokens};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Most sequences decoded together, and most clients.
const TOGETHER_MAX: u64 = 1024;

const EXAMPLES: &str = "\
At each context length the prompt is read on to it (timed), then --gen-tokens tokens are
generated from a copy of the state (timed), for each batch size. The machine's memory bandwidth
is measured in the same run: `floor` is the share of the time that reading the weights once must
take. Without a prompt the tokens are random. With --url a running server is measured instead:
time to first token, time per token, all clients together.

Examples:
  ds4 bench --ctx-max 4096 --csv now.csv --svg now.svg
  ds4 bench -m model.gguf --prompt-file book.txt --batch 1,4,8 --json now.json
  ds4 bench --url http://127.0.0.1:8000 --batch 1,8 --gen-tokens 64
  ds4 bench compare before.json now.json";

/// `ds4 bench`
#[derive(Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub action: Option<BenchAction>,
    #[command(flatten)]
    pub model: ModelArgs,
    /// Text to read, as plain text
    #[arg(long, value_name = "FILE", conflicts_with_all = ["chat_prompt_file", "url"])]
    pub prompt_file: Option<PathBuf>,
    /// Text to read, as a question in the chat format without thinking
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub chat_prompt_file: Option<PathBuf>,
    /// First context length in tokens
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = tokens(CONTEXT_MAX))]
    pub ctx_start: usize,
    /// Last one
    #[arg(long, value_name = "N", default_value_t = 32768, value_parser = tokens(CONTEXT_MAX))]
    pub ctx_max: usize,
    /// Tokens from one to the next
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = tokens(CONTEXT_MAX))]
    pub step_incr: usize,
    /// Factor from one to the next instead; 1 is off
    #[arg(long, value_name = "F", default_value_t = 1.0, value_parser = factor)]
    pub step_mul: f64,
    /// Tokens generated at each; 0 only reads
    #[arg(short = 'n', long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    pub gen_tokens: u32,
    /// Sequences generated together, or clients at once; several are measured one after another
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1", value_parser = tokens(TOGETHER_MAX))]
    pub batch: Vec<usize>,
    /// Measure this server: http://HOST:PORT. A key is taken from OPENAI_API_KEY
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    #[command(flatten)]
    pub out: BenchOut,
    #[command(flatten, next_help_heading = "Computation")]
    pub compute: BenchCompute,
}

/// Where results go besides standard output.
#[derive(Args)]
pub struct BenchOut {
    /// Write the table as CSV here instead of on standard output
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Write everything as JSON here, for `ds4 bench compare`; - is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw the speeds
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// How the model is evaluated; contexts are set by --ctx-max.
#[derive(Args)]
pub struct BenchCompute {
    /// Most tokens that are evaluated at once [default: 512, on a GPU 2048]
    #[arg(long, value_name = "N", value_parser = tokens(ds4_engine::CHUNK_MAX as u64))]
    pub chunk: Option<usize>,
    /// Exact arithmetic: no rounding of activations to integers. Several times slower
    #[arg(long)]
    pub exact: bool,
}

impl BenchCompute {
    /// The same for a context of `ctx` tokens.
    pub fn with_context(&self, ctx: usize) -> ComputeArgs {
        ComputeArgs::plain(ctx, self.chunk, self.exact)
    }
}

/// What else to do.
#[derive(Subcommand)]
pub enum BenchAction {
    /// Compare two results: how many times the speed of A has B
    Compare {
        /// JSON of the first
        a: PathBuf,
        /// JSON of the second
        b: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

fn factor(text: &str) -> Result<f64, String> {
    let factor: f64 = text.parse().map_err(|_| "expected a number from 1 on")?;
    if (1.0..=1e6).contains(&factor) { Ok(factor) } else { Err("expected a number from 1 on".to_owned()) }
}
