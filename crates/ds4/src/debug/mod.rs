//! `ds4 debug`: numbers for other programs to check. Exact arithmetic unless `--fast`.

mod cases;
mod compare;

use crate::args::{Debug, DebugGreedy, DebugLogits, DebugTinyModel, DebugVector, KvMode, ModelArgs};
use crate::model::{Compute, Model};
use crate::output::{self, Bytes, print_json};
use crate::single::Single;
use crate::tiny_model;
use anyhow::{Context, Result, bail, ensure};
use ds4_engine::Precision;
use ds4_engine::kv::RowFormat;
use ds4_engine::sampler::{argmax, log_sum_exp, top_logprobs};
use ds4_engine::{Logits, TokenId};
use serde_json::json;
use std::path::Path;

/// Ids of `debug vector`'s samples: every so many-th.
const SAMPLE_EVERY: usize = 500;
/// Top logits of `debug vector`.
const TOP: usize = 20;

pub fn run(command: Debug) -> Result<()> {
    match command {
        Debug::Logits(args) => logits(&args),
        Debug::Greedy(args) => greedy(&args),
        Debug::Vector(args) => vector(&args),
        Debug::TinyModel(args) => tiny_model(&args),
        Debug::Compare(args) => compare::run(&args),
        Debug::Cases(args) => cases::run(&args),
    }
}

/// How a command computes: exactly, unless it is to be fast.
fn compute(args: &ModelArgs, kv: KvMode, fast: bool, context: usize, chunk: usize) -> Compute {
    Compute {
        backend: args.backend,
        device: args.device,
        threads: args.threads,
        precision: if fast { Precision::Fast } else { Precision::Exact },
        rows: match kv {
            KvMode::Plain => RowFormat::Unrounded,
            KvMode::Cache => RowFormat::Native,
        },
        context,
        chunk: Some(chunk),
    }
}

fn open(args: &ModelArgs, kv: KvMode, fast: bool, context: usize, chunk: usize) -> Result<Box<dyn Single>> {
    Model::open(args.model.as_deref())?.load(&compute(args, kv, fast, context, chunk))?.single()
}

/// A list of numbers: JSON, or plain with spaces, newlines or commas.
fn numbers<T: std::str::FromStr>(path: &Path) -> Result<Vec<T>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let parse = |word: &str| match word.parse() {
        Ok(n) => Ok(n),
        Err(_) => bail!("{}: \"{word}\" is not a number that fits", path.display()),
    };
    let separators = [' ', '\n', '\r', '\t', ',', '[', ']'];
    text.split(separators).filter(|w| !w.is_empty()).map(parse).collect()
}

/// Nothing interrupts a debug command but the process's end.
fn never() -> bool {
    false
}

fn logits(args: &DebugLogits) -> Result<()> {
    let ids: Vec<u32> = numbers(&args.ids)?;
    let at: Vec<usize> = numbers(&args.at)?;
    if let Some(p) = at.iter().find(|p| **p >= ids.len()) {
        bail!("position {p} is outside the {} tokens of {}", ids.len(), args.ids.display());
    }
    let chunk = if args.one_by_one { 1 } else { args.chunk };
    let mut engine = open(&args.model, args.kv, args.fast, ids.len(), chunk)?;
    let vocab = engine.vocab();
    let all = engine.prefill(&ids, Logits::All, &mut |_| (), &never)?;
    let rows: Vec<&[f32]> = at.iter().map(|p| &all[p * vocab..(p + 1) * vocab]).collect();
    print_json(&json!({ "logits": rows }))
}

fn greedy(args: &DebugGreedy) -> Result<()> {
    let ids: Vec<u32> = numbers(&args.ids)?;
    let mut engine = open(&args.model, args.kv, args.fast, ids.len() + args.n, 512)?;
    let mut logits = engine.prefill(&ids, Logits::Last, &mut |_| (), &never)?;
    let mut tokens = Vec::with_capacity(args.n);
    while tokens.len() < args.n {
        let token = argmax(&logits);
        tokens.push(token);
        if tokens.len() < args.n {
            logits = engine.step(&[token], Logits::Last, &never)?;
        }
    }
    print_json(&json!({ "tokens": tokens }))
}

fn vector(args: &DebugVector) -> Result<()> {
    let ids: Vec<u32> = numbers(&args.ids)?;
    ensure!(args.steps < ids.len(), "{} steps leave no prompt of {} ids", args.steps, ids.len());
    let mut engine = open(&args.model, KvMode::Cache, args.fast, ids.len(), 512)?;
    let (prompt, single) = ids.split_at(ids.len() - args.steps);
    let mut logits = engine.prefill(prompt, Logits::Last, &mut |_| (), &never)?;
    let mut steps = vec![describe(engine.tokens(), &logits)];
    for token in single {
        logits = engine.step(&[*token], Logits::Last, &never)?;
        steps.push(describe(engine.tokens(), &logits));
    }
    let text = serde_json::to_string(&json!({ "steps": steps }))?;
    std::fs::write(&args.out, text).with_context(|| args.out.display().to_string())
}

fn describe(tokens: &[TokenId], logits: &[f32]) -> serde_json::Value {
    let top: Vec<_> = top_logprobs(logits, TOP).into_iter().map(|t| (t.token, t.logit)).collect();
    json!({
        "position": tokens.len() - 1,
        "input_id": tokens.last(),
        "top": top,
        "every_500th": logits.iter().step_by(SAMPLE_EVERY).collect::<Vec<_>>(),
        "log_sum_exp": log_sum_exp(logits),
    })
}

fn tiny_model(args: &DebugTinyModel) -> Result<()> {
    let kv = if args.full_kv { tiny_model::KvShape::FULL } else { tiny_model::KvShape::TINY };
    let bytes = tiny_model::gguf(args.recipe, args.seed, kv)?;
    std::fs::write(&args.out, &bytes).with_context(|| format!("cannot write {}", args.out.display()))?;
    output::print(&format!("{}: {}\n", args.out.display(), Bytes(bytes.len() as u64)))
}
