//! `--mtp` and `--draft`: tokens guessed ahead.

use crate::args::DraftArgs;
use crate::model;
use anyhow::{Error, Result, anyhow};
use ds4_engine::speculation::Speculation;
use ds4_engine::{DrafterOptions, Pairing};
use std::sync::Arc;

/// The file with the draft block, if one is wanted.
pub fn open(args: &DraftArgs) -> Result<Option<DrafterOptions>> {
    let open = |path: &std::path::PathBuf| model::open_file(path);
    let file = args.mtp.as_ref().map(open).transpose()?;
    Ok(file.map(|file| DrafterOptions { file: Arc::new(file), pairing: Pairing::default() }))
}

/// How many tokens are guessed, if any.
pub fn speculation(args: &DraftArgs) -> Option<Speculation> {
    args.mtp.as_ref().map(|_| Speculation::new(args.draft))
}

/// The error of an engine that was not loaded, which names the file of the draft block if that is what is wrong.
pub fn named(error: Error, args: &DraftArgs) -> Error {
    match (error.downcast_ref::<ds4_engine::Error>(), &args.mtp) {
        (Some(ds4_engine::Error::DraftBlock(why)), Some(path)) => anyhow!("{}: {why}", path.display()),
        _ => error,
    }
}
