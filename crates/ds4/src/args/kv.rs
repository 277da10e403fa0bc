//! `ds4 kv`, `ds4 sessions`, and the flags of commands that keep KV states.

use super::ModelArgs;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Keeping KV states.
#[derive(Args, Clone)]
pub struct KeepArgs {
    /// Keep KV states in this directory, which is made if need be: conversations continue at once, also after a restart
    #[arg(long, value_name = "DIR")]
    pub kv_dir: Option<PathBuf>,
    /// Most MiB of them; the least useful ones go first
    #[arg(long, value_name = "MIB", default_value_t = 16384, value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    pub kv_disk: u64,
    /// MiB of the disk that stay free
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(0..=1 << 30))]
    pub kv_min_free: u64,
}

/// Where KV states are, and what to say of them.
#[derive(Args)]
pub struct StoreArgs {
    /// Directory of KV states [default: $XDG_CACHE_HOME/ds4/kv, which is ~/.cache/ds4/kv]
    #[arg(long, value_name = "DIR")]
    pub kv_dir: Option<PathBuf>,
    /// Print JSON, one object
    #[arg(long)]
    pub json: bool,
}

/// `ds4 kv`
#[derive(Subcommand)]
pub enum Kv {
    /// List the states
    Ls(KvLs),
    /// Show one state, and its text
    Show(KvShow),
    /// Remove states: those named, or the least useful ones
    Prune(KvPrune),
    /// Read states and check every byte
    Verify(KvVerify),
    /// Write one state to a file
    Export(KvExport),
    /// Add a state that was exported
    Import(KvImport),
}

/// `ds4 kv ls`
#[derive(Args)]
pub struct KvLs {
    #[command(flatten)]
    pub store: StoreArgs,
}

/// `ds4 kv show`
#[derive(Args)]
pub struct KvShow {
    /// Its name, or the beginning of it
    pub name: String,
    #[command(flatten)]
    pub store: StoreArgs,
    /// Print its text, with the vocabulary of the model
    #[arg(long)]
    pub text: bool,
    #[command(flatten)]
    pub model: ModelArgs,
}

/// `ds4 kv prune`
#[derive(Args)]
#[command(
    after_help = "Examples:\n  ds4 kv prune --to 1024        leave 1 GiB of the most useful states\n  ds4 kv prune 3f9a 77c0        remove these"
)]
pub struct KvPrune {
    /// Names of states, or beginnings of names
    #[arg(required_unless_present = "to", conflicts_with = "to")]
    pub names: Vec<String>,
    /// MiB to leave at most
    #[arg(long, value_name = "MIB")]
    pub to: Option<u64>,
    #[command(flatten)]
    pub store: StoreArgs,
}

/// `ds4 kv verify`
#[derive(Args)]
#[command(after_help = "Exit code 1 if a state is damaged. Nothing is removed.")]
pub struct KvVerify {
    /// Names of states, or beginnings of names [default: all]
    pub names: Vec<String>,
    #[command(flatten)]
    pub store: StoreArgs,
}

/// `ds4 kv export`
#[derive(Args)]
pub struct KvExport {
    /// Its name, or the beginning of it
    pub name: String,
    /// File to write
    pub file: PathBuf,
    #[command(flatten)]
    pub store: StoreArgs,
}

/// `ds4 kv import`
#[derive(Args)]
pub struct KvImport {
    /// File that `ds4 kv export` wrote
    pub file: PathBuf,
    #[command(flatten)]
    pub store: StoreArgs,
}

/// `ds4 sessions`
#[derive(Args)]
pub struct SessionsArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// Forget this one; its KV state goes when room is needed
    #[arg(long, value_name = "NAME")]
    pub delete: Option<String>,
}
