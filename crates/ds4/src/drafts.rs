//! `--mtp` and `--draft`: tokens guessed ahead.

use crate::args::DraftArgs;
use crate::model;
use anyhow::Result;
use ds4_engine::speculation::Speculation;
use ds4_engine::{DrafterOptions, Pairing};
use std::sync::Arc;

/// The file with the draft block.
pub struct Drafter {
    /// What messages call it.
    pub name: String,
    /// What the engine is given.
    pub options: DrafterOptions,
}

/// Opens the file with the draft block, if one is wanted.
pub fn open(args: &DraftArgs) -> Result<Option<Drafter>> {
    let Some(path) = &args.mtp else { return Ok(None) };
    let options = DrafterOptions { file: Arc::new(model::open_file(path)?), pairing: Pairing::default() };
    Ok(Some(Drafter { name: path.display().to_string(), options }))
}

/// How many tokens are guessed, if any.
pub fn speculation(args: &DraftArgs) -> Option<Speculation> {
    args.mtp.as_ref().map(|_| Speculation::new(args.draft))
}
