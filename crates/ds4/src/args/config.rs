//! `ds4 config`, `ds4 completions`, `ds4 man`, `ds4 service`

use clap::{Args, Subcommand};
use clap_complete::Shell;
use std::path::PathBuf;

const CONFIG_EXAMPLES: &str = "\
A setting is a flag by another way. The first of these counts: the flag, the variable DS4_NAME
(DS4_CTX, DS4_KV_DIR), the command's table in the file, the top of the file, the default. The
file is $DS4_CONFIG, or config.toml in $XDG_CONFIG_HOME/ds4, which is ~/.config/ds4.

Examples:
  ds4 config                       what is set, and where
  ds4 config --init                write a file with comments to edit
  ds4 serve --print-config         every setting of a command, with its origin";

/// `ds4 config`
#[derive(Args)]
#[command(after_help = CONFIG_EXAMPLES)]
pub struct ConfigArgs {
    /// Write a file with comments, unless there is one
    #[arg(long)]
    pub init: bool,
    /// Print one JSON object
    #[arg(long, conflicts_with = "init")]
    pub json: bool,
}

/// `ds4 completions`
#[derive(Args)]
#[command(after_help = "Example:\n  ds4 completions bash > ~/.local/share/bash-completion/completions/ds4")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// `ds4 man`
#[derive(Args)]
#[command(after_help = "Example:\n  ds4 man ~/.local/share/man/man1 && man ds4-serve")]
pub struct ManArgs {
    /// Directory for the pages, ds4.1 and one a command; it is made if need be
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

const SERVICE_EXAMPLES: &str = "\
The server runs as the user who installs it: a unit of systemd on Linux, an agent of launchd on
macOS. It starts at login, and again when it fails. Its settings are those of `ds4 serve`: put
them into the file of `ds4 config`, or behind -- here.

Examples:
  ds4 service install -- --ctx 100000 --kv-dir ~/.cache/ds4/kv
  ds4 service print                            what would be installed
  ds4 service remove";

/// `ds4 service`
#[derive(Args)]
#[command(after_help = SERVICE_EXAMPLES)]
pub struct ServiceArgs {
    #[command(subcommand)]
    pub action: ServiceAction,
}

/// What to do with the service.
#[derive(Subcommand)]
pub enum ServiceAction {
    /// Write the service's file and start it
    Install {
        /// Write the file without starting it
        #[arg(long)]
        no_start: bool,
        /// Flags of `ds4 serve`
        #[arg(last = true, value_name = "FLAGS")]
        flags: Vec<String>,
    },
    /// Stop it and remove its file
    Remove,
    /// Print the file that would be written
    Print {
        /// Flags of `ds4 serve`
        #[arg(last = true, value_name = "FLAGS")]
        flags: Vec<String>,
    },
}
