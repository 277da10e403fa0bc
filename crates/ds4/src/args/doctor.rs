//! `ds4 doctor`

use super::ModelArgs;
use clap::Args;
use std::net::IpAddr;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Looks at the machine, memory, disk, models, permissions, the port, settings and the set-up of
clients, and says for each thing that is not right what to do. Nothing is changed and nothing
leaves the machine. Paths in the output name your home directory; secrets are not shown. Exit
code 1 if something prevents work.

Examples:
  ds4 doctor
  ds4 doctor --json            for a bug report
  ds4 doctor -m model.gguf --deep    also read the whole file";

/// `ds4 doctor`
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Directory of models [default: as of `ds4 download`]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Directory of KV states [default: as of `ds4 kv`]
    #[arg(long, value_name = "DIR")]
    pub kv_dir: Option<PathBuf>,
    /// Address of the server
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port of the server
    #[arg(long, value_name = "N", default_value_t = 8000)]
    pub port: u16,
    /// File with API keys that `ds4 serve` uses
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// Read the whole model file and look for weights that are no numbers: minutes for 87 GB
    #[arg(long)]
    pub deep: bool,
    /// Print one JSON object: {"version", "findings": [{"area", "state", "finding", "remedy"}]}
    #[arg(long)]
    pub json: bool,
}
