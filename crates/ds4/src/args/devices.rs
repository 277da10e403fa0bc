//! `ds4 devices`

use clap::Args;

const EXAMPLES: &str = "\
Example:
  ds4 devices && ds4 run --backend gpu --device 0 -p \"Hello\"";

/// `ds4 devices`
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct DevicesArgs {
    /// Print a JSON list
    #[arg(long)]
    pub json: bool,
}
