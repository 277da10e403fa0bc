//! `ds4 download` and `ds4 models`

use crate::published::Target;
use clap::Args;
use std::path::PathBuf;

/// Most requests at once; more bring nothing and look like an attack.
const CONNECTIONS_MAX: i64 = 32;

const DOWNLOAD_EXAMPLES: &str = "\
A broken download goes on where it was: run the same command again. The file gets its name when
its size and SHA-256 are right, and becomes the default model, so that `ds4 chat` needs no -m. A
copy in Hugging Face's cache is linked, not fetched. HF_ENDPOINT (a mirror), HF_TOKEN, HF_HOME,
HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE are honoured.

q2-imatrix has 87 GB (96 GB of memory or more), q4-imatrix 165 GB (192 GB of memory or more), mtp, the
draft model, 3.8 GB. q2 and q4 are older builds without an importance matrix.

Examples:
  ds4 download q2-imatrix
  ds4 download mtp --dir /data/models         the draft model, elsewhere
  HF_ENDPOINT=https://hf-mirror.com ds4 download q2-imatrix";

/// `ds4 download`
#[derive(Args)]
#[command(after_help = DOWNLOAD_EXAMPLES)]
pub struct DownloadArgs {
    /// Which file
    #[arg(value_enum)]
    pub target: Target,
    /// Directory for it [default: $DS4_GGUF_DIR, or $XDG_DATA_HOME/ds4/models, which is ~/.local/share/ds4/models]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Token of Hugging Face [default: HF_TOKEN, or what `hf auth login` stored]. Others see it in the process list
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Requests at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=CONNECTIONS_MAX))]
    pub connections: u16,
    /// Print one JSON object at the end: {"target", "path", "bytes", "sha256", "fetched_bytes", "seconds"}
    #[arg(long)]
    pub json: bool,
}

const MODELS_EXAMPLES: &str = "\
Shows the models in the directory, in the current one and in Hugging Face's cache, unfinished
downloads, and the published files that are not here; of each whether it fits this machine's
memory, and the longest context beside it. The default model is what commands use without -m.

Example:
  ds4 models --json | jq '.models[] | select(.default).path'";

/// `ds4 models`
#[derive(Args)]
#[command(after_help = MODELS_EXAMPLES)]
pub struct ModelsArgs {
    /// Directory of models [default: as of `ds4 download`]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
