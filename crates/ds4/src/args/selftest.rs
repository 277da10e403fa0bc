//! `ds4 selftest`

use clap::Args;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Every operation of the GPU backend is computed on random inputs and compared with a plain
reference: at small and odd shapes, in the variant that this device takes and in the plain one
that any device could; then at the shapes of DeepSeek V4 Flash, where it is also timed. No model
is needed. Where the model's shapes are tested, the choice of kernels that the first load of a
model makes is made again and kept. All that was found goes to one file, to be sent as docs/selftests/README.md says.
Exit code 1 if something is wrong.

Examples:
  ds4 selftest
  ds4 selftest --small --device 1
  ds4 selftest --only attention --out attention.json";

/// `ds4 selftest`
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct SelftestArgs {
    /// Which GPU, as `ds4 devices` counts [default: the first that is no software]
    #[arg(long, value_name = "N")]
    pub device: Option<usize>,
    /// Only small shapes: the default on a software device
    #[arg(long, conflicts_with = "full")]
    pub small: bool,
    /// The model's shapes also on a software device, which takes long
    #[arg(long)]
    pub full: bool,
    /// Only operations whose name contains this
    #[arg(long, value_name = "WORD", default_value = "", hide_default_value = true)]
    pub only: String,
    /// File for the results [default: ds4-selftest-ADAPTER.json]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}
