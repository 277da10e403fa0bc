//! `ds4 models`: what is here, what is published, what fits.

use crate::args::ModelsArgs;
use crate::memory;
use crate::model::open_file;
use crate::output::{self, Bytes};
use crate::published::{
    CONTEXT_TOKENS, DEFAULT_NAME, KV_FIXED_BYTES, KV_TOKEN_BYTES, REPO, Target, default_model, models_dir,
};
use anyhow::Result;
use ds4_engine::kv::{KvLayout, RowFormat};
use ds4_engine::{Config, step_bytes};
use ds4_gguf::File;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Rows of a step, for the memory of activations: what commands use unless told otherwise.
const CHUNK: usize = 512;
/// Most files of a directory that are looked at.
const FILES_MAX: usize = 1000;

/// A model.
#[derive(Serialize)]
struct Entry {
    /// Name of the published file, if it is one.
    target: Option<&'static str>,
    path: Option<PathBuf>,
    name: Option<String>,
    bytes: u64,
    /// "ready", "unfinished", "unusable", "draft" or "not here".
    state: &'static str,
    /// Bytes that are here of an unfinished one.
    here_bytes: Option<u64>,
    /// Why it is unusable.
    problem: Option<String>,
    /// Whether commands use it without -m.
    default: bool,
    /// Whether weights and a short context fit into memory.
    fits: Option<bool>,
    /// Longest context beside the weights, in tokens.
    context: Option<u64>,
}

#[derive(Serialize)]
struct Listing {
    dir: PathBuf,
    memory_bytes: Option<u64>,
    models: Vec<Entry>,
}

pub fn run(args: &ModelsArgs) -> Result<()> {
    let dir = models_dir(args.dir.as_deref())?;
    let memory = memory::total();
    let default = default_model(args.dir.as_deref()).and_then(|path| path.canonicalize().ok());
    // The same file may be found under several names: links, Hugging Face's cache.
    let mut found: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for path in paths(&dir) {
        if let Ok(real) = path.canonicalize() {
            found.entry(real).or_insert(path);
        }
    }
    let mut models: Vec<Entry> =
        found.iter().map(|(real, path)| here(path, memory, Some(real) == default.as_ref())).collect();
    for target in Target::ALL {
        if models.iter().any(|entry| entry.target == Some(target.name())) {
            continue;
        }
        let partial = ds4_hub::unfinished(&dir.join(target.file()));
        models.push(elsewhere(target, partial, memory));
    }
    if args.json {
        return output::print_json(&Listing { dir, memory_bytes: memory, models });
    }
    let memory = memory.map_or("unknown".to_owned(), |bytes| Bytes(bytes).to_string());
    let mut text = format!("models in {}; memory of this machine {memory}\n", dir.display());
    for entry in &models {
        text += &line(entry);
    }
    output::print(&text)
}

/// Files that may be models: where models are kept, the default of the current directory, Hugging Face's cache.
fn paths(dir: &Path) -> Vec<PathBuf> {
    let is_model = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "gguf") && path.is_file();
    let entries =
        std::fs::read_dir(dir).into_iter().flatten().take(FILES_MAX).filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<PathBuf> = entries.filter(is_model).collect();
    // Links last: a file goes by its own name.
    paths.sort_by_key(|path| (path.is_symlink(), path.clone()));
    let local = PathBuf::from(DEFAULT_NAME);
    paths.extend(Some(local).filter(|path| path.is_file()));
    if let Some(cache) = ds4_hub::settings::cache() {
        let cached = |target: Target| ds4_hub::settings::cached_under_name(&cache, REPO, target.file());
        paths.extend(Target::ALL.into_iter().filter_map(cached));
    }
    paths
}

/// A file that is here.
fn here(path: &Path, memory: Option<u64>, default: bool) -> Entry {
    // A link goes by the name of what it leads to, except into a cache, where that is a checksum.
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let target = [path, &real].into_iter().find_map(|path| Target::of_file(path.file_name()?.to_str()?));
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let entry = Entry {
        target: target.map(Target::name),
        path: Some(path.to_owned()),
        name: None,
        bytes,
        state: "ready",
        here_bytes: None,
        problem: None,
        default,
        fits: None,
        context: None,
    };
    let file = match open_file(path) {
        Ok(file) => file,
        Err(error) => return Entry { state: "unusable", problem: Some(format!("{error:#}")), ..entry },
    };
    if is_draft(&file) {
        return Entry { state: "draft", ..entry };
    }
    match Config::from_file(&file) {
        Err(error) => Entry { state: "unusable", problem: Some(error.to_string()), ..entry },
        Ok(config) => {
            let context = memory.map(|memory| context(&config, memory.saturating_sub(bytes)));
            Entry { name: config.name.clone(), fits: context.map(|tokens| tokens > 0), context, ..entry }
        }
    }
}

fn is_draft(file: &File) -> bool {
    file.tensor("mtp.0.e_proj.weight").is_some() && file.tensor("token_embd.weight").is_none()
}

/// Longest context in `free` bytes, in tokens.
fn context(config: &Config, free: u64) -> u64 {
    let layout = KvLayout::new(config, RowFormat::Native);
    let tokens = memory::largest_context(&layout, free.saturating_sub(step_bytes(config, CHUNK)));
    (tokens as u64).min(config.context as u64)
}

/// A published file that is not here, or not all of it.
fn elsewhere(target: Target, partial: Option<ds4_hub::Unfinished>, memory: Option<u64>) -> Entry {
    let is_main = target != Target::Mtp;
    let context = memory.filter(|_| is_main).map(|memory| {
        let free = memory.saturating_sub(target.data_bytes()).saturating_sub(KV_FIXED_BYTES);
        (free / KV_TOKEN_BYTES).min(CONTEXT_TOKENS)
    });
    Entry {
        target: Some(target.name()),
        path: partial.as_ref().map(|partial| partial.path.clone()),
        name: None,
        bytes: partial.as_ref().map_or(target.data_bytes(), |partial| partial.bytes),
        state: if partial.is_some() { "unfinished" } else { "not here" },
        here_bytes: partial.map(|partial| partial.here),
        problem: None,
        default: false,
        fits: context.map(|tokens| tokens > 0),
        context,
    }
}

fn line(entry: &Entry) -> String {
    let path = entry.path.as_ref().map(|path| output::printable(&path.display().to_string()));
    let name =
        entry.target.map(str::to_owned).or_else(|| entry.name.as_deref().map(output::printable)).unwrap_or_default();
    let state = match (&entry.problem, entry.here_bytes) {
        (Some(problem), _) => format!("unusable: {}", output::printable(problem)),
        (None, Some(here)) => {
            format!("unfinished, {:.1} %: `ds4 download {name}` goes on", here as f64 / entry.bytes as f64 * 100.0)
        }
        (None, None) if entry.state == "not here" => format!("not here: `ds4 download {name}`"),
        (None, None) if entry.state == "draft" => "draft model".to_owned(),
        (None, None) => "ready".to_owned(),
    };
    let fit = match (entry.fits, entry.context) {
        (Some(true), Some(tokens)) => format!(", fits with a context of up to {tokens} tokens"),
        (Some(false), _) => ", larger than memory: weights are read from disk again and again, slow".to_owned(),
        _ => String::new(),
    };
    let default = if entry.default { ", default model" } else { "" };
    let path = path.map_or(String::new(), |path| format!("\n  {path}"));
    format!("{name:<12} {:>10}  {state}{fit}{default}{path}\n", Bytes(entry.bytes))
}
