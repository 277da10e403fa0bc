//! Reading and generating at context lengths, on this machine.

use super::floor::{Traffic, bandwidth};
use super::result::{Kind, Report, Row, quantile};
use crate::args::BenchArgs;
use crate::interrupt::Interrupt;
use crate::model::{self, Compute, Loaded, Model, on_engine};
use crate::progress::Progress;
use crate::{memory, output, text};
use anyhow::{Context, Result, bail};
use ds4_chat::{Message, Options, Role, ThinkingMode};
use ds4_engine::backend::Backend;
use ds4_engine::kv::{KvLayout, RowFormat};
use ds4_engine::{Engine, Logits, Rows, Sequence};
use ds4_tokenizer::{TokenId, Tokenizer};
use std::time::Instant;

/// Tokens of a step unless told otherwise, on the processor.
const DEFAULT_CHUNK: usize = 512;
/// System text in front of `--chat-prompt-file`.
const SYSTEM: &str = "You are a helpful assistant.";

pub fn measure(args: &BenchArgs, interrupt: &Interrupt) -> Result<Report> {
    let model = Model::open(args.model.model.as_deref())?;
    let tokenizer = model.tokenizer()?;
    let prompt = prompt(args, &tokenizer, model.config.vocab)?;
    if prompt.len() < args.ctx_max {
        let (len, most) = (prompt.len(), args.ctx_max);
        bail!(
            "the prompt has {len} tokens, expected at least --ctx-max {most}; use a longer text or a lower --ctx-max"
        );
    }
    let name = model::name(args.model.model.as_deref());
    let traffic = Traffic::new(&model.file, &model.config);
    let layout = KvLayout::new(&model.config, RowFormat::Native);
    let ctx = args.ctx_max + args.gen_tokens as usize + 1;
    let mut compute = args.compute.with_context(ctx);
    // A step must have room for a row of each sequence.
    let most = args.batch.iter().copied().max().unwrap_or(1);
    compute.chunk = compute.chunk.or((most > DEFAULT_CHUNK).then_some(most)).map(|chunk| chunk.max(most));
    let free = memory::available();
    let loaded = model.load(&Compute::new(&args.model, &compute))?;
    // The processor's memory says nothing of a GPU's.
    let bandwidth = matches!(loaded, Loaded::Cpu(_)).then(|| bandwidth(free));
    let bench = Bench { traffic, layout, bandwidth, eos: tokenizer.specials().eos.0, interrupt };
    let rows = on_engine!(loaded, engine => bench.run(engine, args, &prompt))?;
    let mut report = Report::new(Kind::Local, name);
    report.bandwidth_bytes_per_s = bandwidth;
    report.note = rows.iter().any(|row| row.floor_share.is_some_and(|share| share > 1.0)).then(|| {
        "a floor share above 1 means that the weights fit into the caches, which are faster than memory".to_owned()
    });
    report.rows = rows;
    Ok(report)
}

/// The tokens to read.
fn prompt(args: &BenchArgs, tokenizer: &Tokenizer, vocab: usize) -> Result<Vec<u32>> {
    let ids = |ids: Vec<TokenId>| ids.into_iter().map(|id| id.0).collect();
    if let Some(path) = &args.prompt_file {
        return Ok(ids(tokenizer.encode_text(&text::read_file(path)?)?));
    }
    if let Some(path) = &args.chat_prompt_file {
        let messages = [Message::new(Role::System, SYSTEM), Message::new(Role::User, text::read_file(path)?)];
        let options = Options { thinking: ThinkingMode::None, ..Options::default() };
        let prompt = ds4_chat::render(&messages, &options)?;
        let segments = prompt.segments().iter().map(|segment| (segment.text.as_str(), segment.trusted));
        return Ok(ids(tokenizer.encode_segments(segments)?));
    }
    output::notice("no prompt file: random tokens are read");
    Ok(random_tokens(args.ctx_max, vocab))
}

/// `count` tokens, the same each time.
fn random_tokens(count: usize, vocab: usize) -> Vec<u32> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        // Below 2^32, since the vocabulary is.
        ((state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % vocab as u64) as u32
    };
    (0..count).map(|_| next()).collect()
}

/// Context lengths from `start` to `max`, which is the last.
fn frontiers(start: usize, max: usize, incr: usize, mul: f64) -> Vec<usize> {
    let mut all = Vec::new();
    let mut at = start;
    while at < max {
        all.push(at);
        let further = if mul > 1.0 { (at as f64 * mul).ceil() as usize } else { at.saturating_add(incr) };
        at = further.max(at + 1);
    }
    all.push(max);
    all
}

struct Bench<'a> {
    traffic: Traffic,
    layout: KvLayout,
    /// Bytes a second, of the processor's memory.
    bandwidth: Option<f64>,
    eos: u32,
    interrupt: &'a Interrupt,
}

impl Bench<'_> {
    /// The rows that could be measured until Ctrl-C.
    fn run<B: Backend>(&self, mut engine: Engine<B>, args: &BenchArgs, prompt: &[u32]) -> Result<Vec<Row>> {
        let frontiers = frontiers(args.ctx_start, args.ctx_max, args.step_incr, args.step_mul);
        let mut sequence = engine.sequence()?;
        let mut rows = Vec::new();
        let generated = args.batch.len() * args.gen_tokens as usize;
        let progress = Progress::start("measuring", "tokens", args.ctx_max + frontiers.len() * generated);
        for &frontier in &frontiers {
            let from = sequence.len();
            let begin = Instant::now();
            let mut report = |done| progress.set(from + done + rows_tokens(&rows));
            let stop = || self.interrupt.is_requested();
            let read = engine.prefill(&mut sequence, &prompt[from..frontier], Logits::Last, &mut report, &stop);
            let seconds = begin.elapsed().as_secs_f64();
            let logits = match read {
                Err(ds4_engine::Error::Interrupted) => break,
                read => read?,
            };
            let prefill_tps = (frontier - from) as f64 / seconds;
            for &batch in &args.batch {
                let Some(times) = self.generate(&mut engine, &sequence, &logits, batch, args.gen_tokens)? else {
                    return Ok(rows);
                };
                rows.push(self.row(frontier, frontier - from, prefill_tps, batch, &times));
                progress.set(frontier + rows_tokens(&rows));
            }
        }
        Ok(rows)
    }

    fn row(&self, frontier: usize, read: usize, prefill_tps: f64, batch: usize, times: &[f64]) -> Row {
        let seconds: f64 = times.iter().sum();
        let steps = times.len();
        let gen_tps = if steps == 0 { 0.0 } else { (steps * batch) as f64 / seconds };
        let median = quantile(times, 0.5);
        let floor = self.bandwidth.map(|rate| self.traffic.step_bytes(frontier + steps / 2, batch) / rate);
        Row {
            ctx_tokens: frontier,
            prefill_tokens: read,
            prefill_tps,
            gen_tokens: steps,
            gen_tps,
            kvcache_bytes: self.layout.sequence_bytes(frontier),
            batch,
            token_ms: median.map(|seconds| seconds * 1e3),
            floor_share: median.zip(floor).map(|(seconds, floor)| floor / seconds),
            ..Row::default()
        }
    }

    /// Seconds of each step that generates a token for `batch` copies of `sequence`; `None` after Ctrl-C.
    fn generate<B: Backend>(
        &self,
        engine: &mut Engine<B>,
        sequence: &Sequence<B>,
        logits: &[f32],
        batch: usize,
        steps: u32,
    ) -> Result<Option<Vec<f64>>> {
        let mut copies: Vec<Sequence<B>> = (0..batch).map(|_| sequence.clone()).collect();
        // Copies begin with different tokens, or they would ask for the same experts.
        let mut tokens = best(logits, batch, self.eos);
        let vocab = engine.config().vocab;
        let mut times = Vec::new();
        for _ in 0..steps {
            let begin = Instant::now();
            let next: Vec<[u32; 1]> = tokens.iter().map(|token| [*token]).collect();
            let mut rows: Vec<Rows<'_, B>> = copies
                .iter_mut()
                .zip(&next)
                .map(|(sequence, tokens)| Rows { sequence, tokens, logits: Logits::Last })
                .collect();
            let logits = match engine.step(&mut rows, &|| self.interrupt.is_requested()) {
                Err(ds4_engine::Error::Interrupted) => return Ok(None),
                logits => logits?,
            };
            tokens = logits.chunks_exact(vocab).filter_map(|logits| best(logits, 1, self.eos).pop()).collect();
            times.push(begin.elapsed().as_secs_f64());
        }
        (times.len() == steps as usize).then_some(Some(times)).context("steps are missing")
    }
}

fn rows_tokens(rows: &[Row]) -> usize {
    rows.iter().map(|row| row.gen_tokens).sum()
}

/// The `count` most probable tokens besides `eos`, over again where there are fewer.
fn best(logits: &[f32], count: usize, eos: u32) -> Vec<u32> {
    let mut ids: Vec<u32> = (0..logits.len() as u32).filter(|id| *id != eos).collect();
    let of = |id: &u32| logits[*id as usize];
    let taken = count.min(ids.len()).max(1);
    if taken < ids.len() {
        ids.select_nth_unstable_by(taken - 1, |a, b| of(b).total_cmp(&of(a)));
    }
    ids.truncate(taken);
    ids.sort_by(|a, b| of(b).total_cmp(&of(a)).then(a.cmp(b)));
    ids.into_iter().cycle().take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_lengths_reach_the_last_one() {
        assert_eq!(frontiers(10, 35, 10, 1.0), [10, 20, 30, 35]);
        assert_eq!(frontiers(10, 10, 10, 1.0), [10]);
        assert_eq!(frontiers(3, 20, 1, 1.5), [3, 5, 8, 12, 18, 20]);
        assert_eq!(frontiers(1, 4, 1, 1.01), [1, 2, 3, 4]);
    }

    #[test]
    fn the_best_tokens_come_first_and_the_end_never() {
        assert_eq!(best(&[0.1, 9.0, 0.3, 0.2], 2, 1), [2, 3]);
        assert_eq!(best(&[0.1, 9.0], 3, 1), [0, 0, 0]);
    }
}
