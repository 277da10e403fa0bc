//! `ds4 serve`

use super::{CONTEXT_MAX, ComputeArgs, KeepArgs, ModelArgs, tokens};
use clap::Args;
use std::net::IpAddr;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Endpoints: /v1/chat/completions, /v1/completions, /v1/responses, /v1/messages, /v1/models,
/tokenize, /detokenize, /apply-template, /health, /ready, /metrics, and a chat page at /.
Ctrl-C lets running answers end for up to 30 s; a second one ends at once.

Examples:
  ds4 serve                                                  the demo model on 127.0.0.1:8000
  ds4 serve -m model.gguf --ctx 100000 --kv-dir ~/.cache/ds4/kv
  ds4 serve -m model.gguf --host 0.0.0.0 --api-key-file keys.txt
  curl http://127.0.0.1:8000/v1/chat/completions -d '{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'";

/// `ds4 serve`
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Address to listen on. Other machines reach the server only with an address that is not 127.0.0.1
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on; 0 lets the system choose
    #[arg(long, value_name = "N", default_value_t = 8000)]
    pub port: u16,
    /// A key that clients must send; may be repeated. --api-key-file keeps it out of the process list
    #[arg(long, value_name = "KEY")]
    pub api_key: Vec<String>,
    /// File with one key a line; empty lines and lines that begin with # are skipped
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// Let web pages of any origin use the server
    #[arg(long)]
    pub cors: bool,
    /// Write requests, prompts and answers to this file, one JSON object a line. It will hold what people write
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Most tokens of an answer when the request names no limit [default: as the context has room for]
    #[arg(short = 'n', long = "tokens", value_name = "N", value_parser = tokens(CONTEXT_MAX))]
    pub tokens: Option<usize>,
    /// Ignore sampling parameters while thinking, as DeepSeek's own API does
    #[arg(long)]
    pub strict_thinking_sampling: bool,
    #[command(flatten, next_help_heading = "Computation")]
    pub compute: ComputeArgs,
    #[command(flatten, next_help_heading = "Sharing")]
    pub share: ShareArgs,
    #[command(flatten, next_help_heading = "KV states on disk")]
    pub keep: KeepArgs,
}

/// How requests share the engine.
#[derive(Args)]
pub struct ShareArgs {
    /// MiB for the KV state of running conversations and of earlier ones to continue from
    #[arg(long, value_name = "MIB", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    pub kv_memory: u64,
    /// Most requests that wait; more are refused with status 429
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub max_queue: usize,
    /// Longest pause between tokens of running answers that reading a new prompt should cause, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 500)]
    pub max_pause: u64,
}
