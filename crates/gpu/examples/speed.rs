//! Speed of a model on a GPU: load, prefill and decode at several lengths, sequences together, and where the time goes.
//!
//! `cargo run --release -p ds4-gpu --example speed -- FILE [--device N] [--exact] [--lengths 512,2048,8192,16384] [--chunk N] [--batch 16]
//! [--profile] [--vector CROSS_CHECK.json] [--mtp FILE [--draft 4]]`
//!
//! `--vector` compares with recorded logits of the same file: {"prompt": ids, "steps": [{"input_id", "top": [[id, logit]…], "every_500th"}]}, the
//! first step behind the whole prompt, the others one id each. Decoding feeds fixed ids, so that nothing depends on what a model of random weights would say.
//!
//! `--mtp` measures greedy answers with each number of drafts up to `--draft`, behind the last length or, with `--text FILE`, behind that file's text: tokens a second, how
//! often the i-th draft is right, what steps and drafts take.

use ds4_engine::Precision;
use ds4_engine::kv::DRAFTS_MAX;
use ds4_engine::kv::RowFormat;
use ds4_engine::sampler::argmax;
use ds4_engine::{Config, DrafterOptions, Engine, EngineOptions, Logits, Pairing, Rows, Sequence, TokenId, Wish};
use ds4_gguf::File;
use ds4_gpu::{Gpu, GpuBackend, GpuOptions, measure};
use ds4_tokenizer::Tokenizer;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Tokens decoded to measure a speed, after as many to warm up.
const DECODED: usize = 48;
/// Tokens of an answer with drafts.
const DRAFTED: usize = 128;

struct Args {
    file: String,
    device: Option<usize>,
    exact: bool,
    lengths: Vec<usize>,
    chunk: usize,
    batch: usize,
    profile: bool,
    vector: Option<String>,
    mtp: Option<String>,
    draft: usize,
    text: Option<String>,
}

fn args() -> Result<Args, Box<dyn Error>> {
    let mut args = Args {
        file: String::new(),
        device: None,
        exact: false,
        lengths: vec![512, 2048, 8192, 16384],
        chunk: 2048,
        batch: 16,
        profile: false,
        vector: None,
        mtp: None,
        draft: 4,
        text: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--device" => args.device = Some(value()?.parse()?),
            "--exact" => args.exact = true,
            "--profile" => args.profile = true,
            "--vector" => args.vector = Some(value()?),
            "--mtp" => args.mtp = Some(value()?),
            "--draft" => args.draft = value()?.parse::<usize>()?.min(DRAFTS_MAX),
            "--text" => args.text = Some(value()?),
            "--lengths" => args.lengths = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--chunk" => args.chunk = value()?.parse()?,
            "--batch" => args.batch = value()?.parse()?,
            _ if args.file.is_empty() => args.file = word,
            _ => return Err(format!("{word} is not understood").into()),
        }
    }
    if args.file.is_empty() {
        return Err("which file?".into());
    }
    Ok(args)
}

fn token(i: usize, vocab: usize) -> TokenId {
    ((i * 7919 + 13) % vocab) as TokenId
}

fn decode(
    engine: &mut Engine<GpuBackend>,
    sequences: &mut [Sequence<GpuBackend>],
    steps: usize,
) -> ds4_engine::Result<f64> {
    let vocab = engine.config().vocab;
    let begin = Instant::now();
    for step in 0..steps {
        let next: Vec<[TokenId; 1]> = (0..sequences.len()).map(|i| [token(step + 31 * i, vocab)]).collect();
        let mut rows: Vec<Rows<'_, GpuBackend>> = sequences
            .iter_mut()
            .zip(&next)
            .map(|(sequence, tokens)| Rows { sequence, tokens, logits: Logits::Last })
            .collect();
        engine.step(&mut rows, &|| false)?;
    }
    Ok(begin.elapsed().as_secs_f64())
}

/// Greedy answers with 0 to `most` drafts a step behind `prompt`.
fn drafts(engine: &mut Engine<GpuBackend>, prompt: &[TokenId], most: usize) -> ds4_engine::Result<()> {
    let vocab = engine.config().vocab;
    let mut sequence = engine.sequence()?;
    let logits = engine.prefill(&mut sequence, prompt, Logits::Last, &mut |_| (), &|| false)?;
    println!("greedy answers of {DRAFTED} tokens behind {} tokens:", prompt.len());
    // The first time compiles kernels.
    for depth in (0..=most).flat_map(|depth| [depth, depth]).skip(1) {
        let (mut sequence, mut next) = (engine.fork(&sequence)?, argmax(&logits));
        let (mut tokens, mut steps, mut seconds, mut right) = (0, 0, [0.0; 2], [0; DRAFTS_MAX]);
        while tokens < DRAFTED {
            let begin = Instant::now();
            let mut rows = vec![next];
            rows.extend(engine.draft(&mut [Wish { sequence: &mut sequence, next, depth }])?.remove(0));
            seconds[0] += begin.elapsed().as_secs_f64();
            let begin = Instant::now();
            let piece = Rows { sequence: &mut sequence, tokens: &rows, logits: Logits::All };
            let chosen: Vec<TokenId> = engine.step(&mut [piece], &|| false)?.chunks(vocab).map(argmax).collect();
            let accepted = rows[1..].iter().zip(&chosen).take_while(|(draft, chosen)| draft == chosen).count();
            let kept = sequence.len() + 1 + accepted - rows.len();
            engine.take_back(&mut sequence, kept)?;
            seconds[1] += begin.elapsed().as_secs_f64();
            right[..accepted].iter_mut().for_each(|right| *right += 1);
            (tokens, steps, next) = (tokens + 1 + accepted, steps + 1, chosen[accepted]);
        }
        let [drafting, stepping] = seconds.map(|seconds| 1e3 * seconds / f64::from(steps));
        let shares: Vec<String> =
            right[..depth].iter().map(|n| format!("{:.2}", f64::from(*n) / f64::from(steps))).collect();
        println!(
            "  {depth} drafts: {:7.2} t/s; {drafting:6.2} ms of drafting and {stepping:6.2} ms of a step, right [{}]",
            tokens as f64 / (seconds[0] + seconds[1]),
            shares.join(", ")
        );
    }
    Ok(())
}

/// Times every kernel of `steps` steps: all at once, then each by itself, since stamps around all of them hold all up.
fn profile(
    engine: &mut Engine<GpuBackend>,
    sequences: &mut [Sequence<GpuBackend>],
    steps: usize,
) -> ds4_engine::Result<()> {
    engine.backend().gpu().start_profile(None);
    decode(engine, sequences, steps)?;
    let names = table(engine.backend().gpu(), steps)?;
    println!("  each timed by itself:");
    for name in names {
        engine.backend().gpu().start_profile(Some(&name));
        decode(engine, sequences, steps)?;
        table(engine.backend().gpu(), steps)?;
    }
    Ok(())
}

/// Prints the profile, and returns the kernels' names.
fn table(gpu: &Gpu, steps: usize) -> ds4_engine::Result<Vec<String>> {
    let timings = gpu.end_profile()?;
    for timing in timings.iter().take(30) {
        let (per_step, each) = (timing.seconds / steps as f64, timing.seconds / timing.count as f64);
        println!(
            "    {:28} {:5} x {:9.2} us = {:8.3} ms a step",
            timing.name,
            timing.count / steps,
            each * 1e6,
            per_step * 1e3
        );
    }
    Ok(timings.into_iter().map(|timing| timing.name).collect())
}

/// Relative error of each step's sampled logits, and the place of the recorded first id among ours.
fn compare(engine: &mut Engine<GpuBackend>, path: &str) -> Result<(), Box<dyn Error>> {
    let recorded: serde_json::Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let prompt: Vec<TokenId> = serde_json::from_value(recorded["prompt"].clone())?;
    let mut sequence = engine.sequence()?;
    for (i, step) in recorded["steps"].as_array().into_iter().flatten().enumerate() {
        let next = [serde_json::from_value::<TokenId>(step["input_id"].clone())?];
        let tokens = if i == 0 { &prompt[..] } else { &next[..] };
        let rows = Rows { sequence: &mut sequence, tokens, logits: Logits::Last };
        let logits = engine.step(&mut [rows], &|| false)?;
        let want: Vec<f64> = serde_json::from_value(step["every_500th"].clone())?;
        let pairs = || want.iter().zip(logits.iter().step_by(500).map(|logit| f64::from(*logit)));
        let (error, size): (f64, f64) =
            (pairs().map(|(w, g)| (w - g).powi(2)).sum(), pairs().map(|(w, _)| w * w).sum());
        let first = step["top"][0][0].as_u64().ok_or("no top logits")? as usize;
        let place = logits.iter().filter(|logit| **logit > logits[first]).count();
        println!(
            "step {i}: relative error {:.4} (0.08 allowed), recorded first id is number {place} (0 to 2 allowed)",
            (error / size).sqrt()
        );
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = args()?;
    let begin = Instant::now();
    let file = Arc::new(File::open(Path::new(&args.file))?);
    let config = Config::from_file(&file)?;
    let block = args.mtp.as_ref().map(|path| File::open(Path::new(path)).map(Arc::new)).transpose()?;
    let text = args.text.as_ref().map(std::fs::read_to_string).transpose()?;
    let ids = |text: String| Tokenizer::from_gguf(file.metadata())?.encode_text(&text);
    let text: Option<Vec<TokenId>> = text.map(ids).transpose()?.map(|ids| ids.iter().map(|id| id.0).collect());
    let longest = args.lengths.iter().max().copied().unwrap_or(0);
    let context = longest + 8 * DECODED + args.chunk;
    let options = GpuOptions {
        precision: if args.exact { Precision::Exact } else { Precision::Fast },
        rows: RowFormat::Native,
        chunk: args.chunk,
        context,
        drafter: block.clone(),
        tuning: None,
        loaded: Box::new(|_| ()),
    };
    let opening = Instant::now();
    let gpu = Gpu::open(args.device)?;
    let opening = opening.elapsed().as_secs_f64();
    let backend = GpuBackend::new(gpu, &file, &config, options)?;
    let drafter = block.map(|file| DrafterOptions { file, pairing: Pairing::Next });
    let options = EngineOptions { context, chunk: args.chunk };
    let mut engine = Engine::with_drafter(file, config, backend, options, drafter.as_ref())?;
    engine.backend().gpu().wait()?;
    let load = begin.elapsed().as_secs_f64();
    println!("{}: load {load:.2} s, {opening:.2} s of them to open the device", engine.backend().gpu().info());
    let copy = if engine.backend().gpu().caps().is_software { 16 << 20 } else { 1 << 30 };
    println!("copy {:.0} GB/s (read and written)", measure::copy_bandwidth(engine.backend().gpu(), copy)? / 1e9);
    let vocab = engine.config().vocab;

    if let Some(path) = &args.vector {
        compare(&mut engine, path)?;
    }

    // Compiles the kernels.
    let begin = Instant::now();
    let mut warm = engine.sequence()?;
    let tokens: Vec<TokenId> = (0..args.chunk.min(longest)).map(|i| token(i, vocab)).collect();
    engine.prefill(&mut warm, &tokens, Logits::Last, &mut |_| (), &|| false)?;
    decode(&mut engine, std::slice::from_mut(&mut warm), 2)?;
    println!(
        "first prefill of {} and two tokens, kernels compiled: {:.2} s",
        tokens.len(),
        begin.elapsed().as_secs_f64()
    );
    drop(warm);

    let mut sequence = engine.sequence()?;
    for length in &args.lengths {
        // A prefill of the whole length, then decoding behind it.
        sequence = engine.sequence()?;
        let tokens: Vec<TokenId> = (0..*length).map(|i| token(i, vocab)).collect();
        let begin = Instant::now();
        engine.prefill(&mut sequence, &tokens, Logits::Last, &mut |_| (), &|| false)?;
        let prefill = begin.elapsed().as_secs_f64();
        let one = std::slice::from_mut(&mut sequence);
        decode(&mut engine, one, 8)?;
        let seconds = decode(&mut engine, one, DECODED)?;
        println!(
            "{length:6} tokens: prefill {:8.1} t/s, decode {:7.2} t/s",
            *length as f64 / prefill,
            DECODED as f64 / seconds
        );
    }
    if args.batch > 1 {
        let tokens: Vec<TokenId> = (0..512).map(|i| token(i, vocab)).collect();
        let mut sequences = Vec::new();
        for _ in 0..args.batch {
            let mut one = engine.sequence()?;
            engine.prefill(&mut one, &tokens, Logits::None, &mut |_| (), &|| false)?;
            sequences.push(one);
        }
        decode(&mut engine, &mut sequences, 8)?;
        let seconds = decode(&mut engine, &mut sequences, DECODED)?;
        println!(
            "{} sequences of 512 tokens: decode {:.1} t/s in all",
            args.batch,
            (DECODED * args.batch) as f64 / seconds
        );
        if args.profile {
            profile(&mut engine, &mut sequences, 2)?;
        }
    }
    if engine.has_drafter() {
        let fixed = || (0..sequence.len()).map(|i| token(i, vocab)).collect();
        drafts(&mut engine, &text.unwrap_or_else(fixed), args.draft)?;
    }
    if args.profile {
        println!("decode at {} tokens:", sequence.len());
        profile(&mut engine, std::slice::from_mut(&mut sequence), 2)?;
        println!("prefill of {} tokens behind {}:", args.chunk, sequence.len());
        let tokens: Vec<TokenId> = (0..args.chunk).map(|i| token(i, vocab)).collect();
        engine.backend().gpu().start_profile(None);
        engine.prefill(&mut sequence, &tokens, Logits::Last, &mut |_| (), &|| false)?;
        table(engine.backend().gpu(), 1)?;
    }
    Ok(())
}
