//! `ds4 kv`: the KV states on disk.

use crate::args::{Kv, KvExport, KvImport, KvLs, KvPrune, KvShow, KvVerify, StoreArgs};
use crate::model;
use crate::output::{self, Bytes};
use crate::progress::Progress;
use crate::sessions::{self, age};
use anyhow::{Context, Result, bail};
use ds4_store::{Access, Key, Listed, NewFile, Options, Removed, Store};
use ds4_tokenizer::TokenId;
use serde_json::{Value, json};
use std::process::ExitCode;

pub fn run(command: Kv) -> Result<ExitCode> {
    match command {
        Kv::Ls(args) => ls(&args),
        Kv::Show(args) => show(&args),
        Kv::Prune(args) => prune(&args),
        Kv::Verify(args) => return verify(&args),
        Kv::Export(args) => export(&args),
        Kv::Import(args) => import(&args),
    }
    .map(|()| ExitCode::SUCCESS)
}

fn open(args: &StoreArgs, access: Access) -> Result<Store> {
    let dir = sessions::dir(args.kv_dir.as_deref())?;
    if !dir.is_dir() && access == Access::Read {
        bail!("there are no KV states in {}; `ds4 serve --kv-dir` and `ds4 chat --session` make them", dir.display());
    }
    let store = Store::open(&dir, Options { access, max_bytes: u64::MAX, min_free: 0, write_rate: u64::MAX })?;
    tell_problems(&store);
    Ok(store)
}

fn tell_problems(store: &Store) {
    store.take_problems().iter().for_each(|problem| output::notice(problem));
}

/// A state for programs.
fn as_json(state: &Listed) -> Value {
    let Listed { key, identity, label, tokens, own_bytes, page_bytes, created, used, hits, is_continued } = state;
    let identity: String = identity.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "name": key.to_string(), "identity": identity, "model": label, "tokens": tokens, "own_bytes": own_bytes, "page_bytes": page_bytes,
        "created": created, "used": used, "hits": hits, "continued": is_continued,
    })
}

fn ls(args: &KvLs) -> Result<()> {
    let store = open(&args.store, Access::Read)?;
    let (states, totals) = (store.list(), store.totals());
    if args.store.json {
        let states: Vec<Value> = states.iter().map(as_json).collect();
        return output::print_json(&json!({"states": states, "pages": totals.pages, "bytes": totals.bytes}));
    }
    let mut text = String::new();
    for state in &states {
        let Listed { key, label, tokens, own_bytes, page_bytes, used, is_continued, .. } = state;
        let (label, age, end) = (output::printable(label), age(*used), if *is_continued { "" } else { ", an end" });
        let (own, pages) = (Bytes(*own_bytes), Bytes(*page_bytes));
        text += &format!("{key}  {tokens:>8} tokens  {own:>10} + {pages:>10}  used {age:>8} ago  {label}{end}\n");
    }
    let (count, bytes, pages) = (states.len(), Bytes(totals.bytes), totals.pages);
    text += &format!("{count} states, {pages} pages that they share, {bytes} in all\n");
    output::print(&text)
}

fn show(args: &KvShow) -> Result<()> {
    let store = open(&args.store, Access::Read)?;
    let key = store.resolve(&args.name)?;
    let state = store.listed(key).context("the state has gone")?;
    let text = if args.text { Some(text(&store, key, args)?) } else { None };
    if args.store.json {
        let mut shown = as_json(&state);
        shown["text"] = json!(text);
        return output::print_json(&shown);
    }
    let Listed { label, tokens, own_bytes, page_bytes, created, used, hits, is_continued, .. } = state;
    let label = output::printable(&label);
    output::print(&format!(
        "name       {key}\nmodel      {label}\ntokens     {tokens}\nown bytes  {}\npages      {}\n\
         saved      {} ago\nused       {} ago, weight of its uses {hits:.2}\ncontinued  {is_continued}\n",
        Bytes(own_bytes),
        Bytes(page_bytes),
        age(created),
        age(used),
    ))?;
    text.map_or(Ok(()), |text| output::print(&format!("\n{text}\n")))
}

fn text(store: &Store, key: Key, args: &KvShow) -> Result<String> {
    let path = args.model.model.as_deref();
    let tokenizer = model::tokenizer(&model::open(path)?, &model::name(path))?;
    let tokens: Vec<TokenId> = store.tokens(key).into_iter().map(TokenId).collect();
    if let Some(token) = tokens.iter().find(|token| token.0 as usize >= tokenizer.vocab_size()) {
        bail!(
            "token {} is not in the vocabulary of {}; use -m with the model of the state",
            token.0,
            model::name(path)
        );
    }
    Ok(tokenizer.decode(&tokens))
}

fn prune(args: &KvPrune) -> Result<()> {
    let store = open(&args.store, Access::Write)?;
    let removed = match args.to {
        Some(mib) => store.prune(mib.saturating_mul(1 << 20))?,
        None => {
            let keys: Vec<Key> = args.names.iter().map(|name| store.resolve(name)).collect::<Result<_, _>>()?;
            let mut all = Removed::default();
            for key in keys {
                let Removed { checkpoints, bytes } = store.remove(key)?;
                (all.checkpoints, all.bytes) = (all.checkpoints + checkpoints, all.bytes + bytes);
            }
            all
        }
    };
    tell_problems(&store);
    let left = store.totals().bytes;
    if args.store.json {
        let Removed { checkpoints, bytes } = removed;
        return output::print_json(&json!({"removed": checkpoints, "removed_bytes": bytes, "bytes": left}));
    }
    let (bytes, left) = (Bytes(removed.bytes), Bytes(left));
    output::print(&format!("removed {} states with {bytes}; {left} left\n", removed.checkpoints))
}

fn verify(args: &KvVerify) -> Result<ExitCode> {
    let store = open(&args.store, Access::Read)?;
    let keys: Vec<Key> = match args.names.is_empty() {
        true => store.list().into_iter().map(|state| state.key).collect(),
        false => args.names.iter().map(|name| store.resolve(name)).collect::<Result<_, _>>()?,
    };
    let progress = Progress::start("verifying", "states", keys.len());
    let mut damaged = Vec::new();
    for key in &keys {
        if store.load(*key, &|_| false).is_err() {
            damaged.push(key.to_string());
        }
        progress.add(1);
    }
    drop(progress);
    tell_problems(&store);
    let whole = keys.len() - damaged.len();
    if args.store.json {
        output::print_json(&json!({"whole": whole, "damaged": damaged}))?;
    } else {
        output::print(&format!("{whole} whole, {} damaged\n", damaged.len()))?;
    }
    Ok(if damaged.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn export(args: &KvExport) -> Result<()> {
    let store = open(&args.store, Access::Read)?;
    let key = store.resolve(&args.name)?;
    let state = store.listed(key).context("the state has gone")?;
    let mut file = NewFile::create(args.file.clone())?;
    let total = usize::try_from(state.own_bytes + state.page_bytes).unwrap_or(usize::MAX);
    let progress = Progress::start("writing", "bytes", total);
    let mut bytes = 0;
    let written = store.export(key, &mut file, &mut |done, _| {
        bytes = done;
        progress.set(usize::try_from(done).unwrap_or(usize::MAX));
    });
    drop(progress);
    tell_problems(&store);
    written?;
    file.commit()?;
    if args.store.json {
        return output::print_json(&json!({"name": key.to_string(), "bytes": bytes}));
    }
    output::print(&format!("{key}: {} to {}\n", Bytes(bytes), args.file.display()))
}

fn import(args: &KvImport) -> Result<()> {
    let store = open(&args.store, Access::Write)?;
    let progress = Progress::start("reading", "pages", 0);
    let imported = store.import(&args.file, &|done, total| progress.set_of(done, total));
    drop(progress);
    let (key, saved) = imported?;
    let bytes = saved.page_bytes + saved.other_bytes;
    if args.store.json {
        return output::print_json(&json!({"name": key.to_string(), "bytes": bytes}));
    }
    match bytes {
        0 => output::print(&format!("{key} was there already\n")),
        _ => output::print(&format!("{key}: {} added\n", Bytes(bytes))),
    }
}
