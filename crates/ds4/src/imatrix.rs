//! `ds4 imatrix`: an importance matrix of a model (`spec/session.md` §10).

use crate::args::{BackendName, ImatrixArgs};
use crate::interrupt::{self, Interrupt};
use crate::model::{Compute, Model};
use crate::output::{self, Bytes};
use crate::progress::Progress;
use anyhow::{Context, Result, bail, ensure};
use ds4_convert::Importance;
use ds4_engine::importance::{Collector, Inputs};
use ds4_engine::kv::RowFormat;
use ds4_engine::{Error, Logits, Precision, TokenId};
use ds4_tokenizer::Tokenizer;
use serde_json::json;
use std::fs::File;
use std::io::{BufWriter, Read};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// What lines between prompts contain.
const SEPARATOR: &str = "===== DS4_IMATRIX_PROMPT";
/// Most bytes of a dataset, which is read whole: some hundred million tokens.
const DATASET_BYTES_MAX: u64 = 1 << 30;
/// Value of a column of an expert that no token came to, as the original program writes it.
const UNSEEN: f32 = 1.0;

pub fn run(args: &ImatrixArgs) -> Result<ExitCode> {
    let started = Instant::now();
    let out = &args.out;
    ensure!(!out.exists(), "{} exists; remove it or choose another name", out.display());
    let model = Model::open(args.model.as_deref())?;
    let prompts = prompts(args, &model.tokenizer()?)?;
    let layers = model.config.layers.len();
    let compute = Compute {
        backend: BackendName::Cpu,
        device: None,
        threads: args.threads,
        precision: if args.exact { Precision::Exact } else { Precision::Fast },
        rows: RowFormat::Native,
        context: args.ctx,
        chunk: Some(args.chunk),
    };
    let collector = Arc::new(Collector::default());
    let mut engine = model.load_observed(&compute, Arc::clone(&collector))?;
    let interrupt = Interrupt::install()?;
    let progress = Progress::start("reading", "tokens", prompts.iter().map(Vec::len).sum());
    let (mut finished, mut tokens, mut chunks) = (0, 0, 0);
    for prompt in &prompts {
        let mut sequence = engine.sequence()?;
        let before = tokens;
        let mut after_chunk = |done: usize| {
            chunks += 1;
            progress.set(before + done);
            tokens = before + done;
        };
        let stop = || interrupt.is_requested();
        match engine.prefill(&mut sequence, prompt, Logits::None, &mut after_chunk, &stop) {
            Err(Error::Interrupted) => break,
            done => done.map(|_| finished += 1)?,
        };
    }
    drop(progress);
    let was_interrupted = interrupt.is_requested();
    if tokens == 0 {
        output::notice("interrupted before the first tokens were read; nothing is written");
        return Ok(interrupt::EXIT_CODE.into());
    }
    let collected = collector.take();
    let unseen = collected.iter().map(|inputs| inputs.rows.iter().filter(|rows| **rows == 0).count()).sum::<usize>();
    let matrices = collected.iter().map(|inputs| inputs.rows.len()).sum::<usize>();
    let observations = u32::try_from(chunks * layers).unwrap_or(u32::MAX);
    let mut importance = Importance::new(Some(observations), Some(args.dataset.display().to_string()));
    collected.into_iter().try_for_each(|inputs| add(&mut importance, &inputs))?;
    let bytes = write(&importance, out)?;
    if was_interrupted {
        let (name, all) = (out.display(), prompts.len());
        output::notice(&format!("interrupted: {name} has what {finished} of {all} prompts, {tokens} tokens, gave"));
    }
    let (entries, seconds) = (importance.entries().len(), started.elapsed().as_secs_f64());
    if args.json {
        output::print_json(&json!({
            "file": out.display().to_string(), "bytes": bytes, "entries": entries, "prompts": finished, "tokens": tokens,
            "matrices": matrices, "matrices_without_tokens": unseen, "seconds": seconds, "interrupted": was_interrupted,
        }))?;
    } else {
        output::print(&format!(
            "{}: {}, {entries} entries from {finished} prompts, {tokens} tokens\n",
            out.display(),
            Bytes(bytes)
        ))?;
        if unseen > 0 {
            output::notice(&format!(
                "no token came to {unseen} of {matrices} matrices, whose columns count the same; more prompts may help"
            ));
        }
    }
    Ok(if was_interrupted { interrupt::EXIT_CODE.into() } else { ExitCode::SUCCESS })
}

/// The prompts of the dataset as tokens, as far as the flags allow.
fn prompts(args: &ImatrixArgs, tokenizer: &Tokenizer) -> Result<Vec<Vec<TokenId>>> {
    let place = || args.dataset.display();
    let text = read(&args.dataset)?;
    let (bos, mut left) = (tokenizer.specials().bos, args.max_tokens.unwrap_or(usize::MAX));
    let mut prompts = Vec::new();
    for (i, text) in split(&text).into_iter().take(args.max_prompts.unwrap_or(usize::MAX)).enumerate() {
        let ids = tokenizer.encode_rendered(text).with_context(|| format!("{}: prompt {}", place(), i + 1))?;
        let missing = (ids.first() != Some(&bos)).then_some(bos);
        let tokens: Vec<TokenId> = missing.into_iter().chain(ids).map(|id| id.0).take(args.ctx.min(left)).collect();
        left -= tokens.len();
        prompts.push(tokens);
        if left == 0 {
            break;
        }
    }
    ensure!(!prompts.is_empty(), "{} holds no prompt, expected text between lines with `{SEPARATOR}`", place());
    Ok(prompts)
}

fn read(path: &Path) -> Result<String> {
    let reading = || format!("cannot read {}, expected a text file", path.display());
    let mut text = String::new();
    // One more than allowed tells a full file from one that goes on.
    File::open(path).and_then(|f| f.take(DATASET_BYTES_MAX + 1).read_to_string(&mut text)).with_context(reading)?;
    if text.len() as u64 > DATASET_BYTES_MAX {
        bail!("{} has more than the {DATASET_BYTES_MAX} bytes that a dataset may have; shorten it", path.display());
    }
    Ok(text)
}

/// What stands between lines that contain [`SEPARATOR`], trimmed, unless it is empty.
fn split(text: &str) -> Vec<&str> {
    let mut prompts = Vec::new();
    let (mut start, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        let end = at + line.len();
        if line.contains(SEPARATOR) {
            prompts.push(&text[start..at]);
            start = end;
        }
        at = end;
    }
    prompts.push(&text[start..]);
    prompts.into_iter().map(str::trim).filter(|prompt| !prompt.is_empty()).collect()
}

/// An entry for each tensor with these inputs.
fn add(importance: &mut Importance, inputs: &Inputs) -> Result<()> {
    let mut values = Vec::with_capacity(inputs.width * inputs.rows.len());
    for i in 0..inputs.rows.len() {
        match inputs.mean_squares(i) {
            Some(means) => values.extend(means),
            None => values.extend(std::iter::repeat_n(UNSEEN, inputs.width)),
        }
    }
    let names = inputs.tensors.join(", ");
    ensure!(values.iter().all(|v| v.is_finite()), "what goes into {names} is not finite; the model file is broken");
    for name in &inputs.tensors {
        importance.push(name.clone(), values.clone());
    }
    Ok(())
}

/// Writes the file under another name first, so that its own stands for a whole one; the number of bytes.
fn write(importance: &Importance, path: &Path) -> Result<u64> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let write = || {
        let file = File::create(&partial)?;
        importance.write(BufWriter::new(&file))?;
        file.sync_all()?;
        std::fs::rename(&partial, path)?;
        Ok::<u64, std::io::Error>(file.metadata()?.len())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{SEPARATOR, split};

    #[test]
    fn prompts_stand_between_marked_lines() {
        let marked = format!("{SEPARATOR} 1 =====\n one\ntwo \n{SEPARATOR} 2 =====\n\n# {SEPARATOR}\nthree");
        assert_eq!(split(&marked), ["one\ntwo", "three"]);
        assert_eq!(split(" all \n of it\n"), ["all \n of it"]);
        assert_eq!(split(&format!("\n{SEPARATOR}\n")), [""; 0]);
    }
}
