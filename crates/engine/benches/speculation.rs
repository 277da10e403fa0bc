//! Drafts: how often they are right, what they cost, whether they pay.
//!
//! `cargo bench -p ds4-engine --bench speculation -- [--model FILE --mtp FILE] [--exact] [--threads N] WHAT…`, with WHAT of
//!
//! | | |
//! |---|---|
//! | `same` | greedy answers to 500 held-out prompts, in batches, with drafts and without: whether any differs (with `--exact`) |
//! | `right` | how often the i-th draft is right, greedy and at temperature 1, past the first 128 tokens; both pairings |
//! | `cost` | seconds of a step by its rows, and of a pass of the draft block |
//! | `speed` | tokens a second without, with each depth and with the depth that adapts, in turns |
//!
//! Without `--model` it is the demo model, with its held-out cases.

use ds4_engine::Precision;
use ds4_engine::cpu::{CpuBackend, CpuOptions};
use ds4_engine::kv::{DRAFTS_MAX, RowFormat};
use ds4_engine::sampler::{Sampler, SamplingParams, argmax};
use ds4_engine::scheduler::{End, Follower, Job, Scheduler, SchedulerOptions};
use ds4_engine::speculation::{Speculation, choose};
use ds4_engine::{Config, DrafterOptions, Engine, EngineOptions, Logits, Pairing, Rows, Sequence, TokenId, Wish};
use ds4_gguf::File;
use ds4_tokenizer::Tokenizer;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// End of sequence.
const EOS: TokenId = 1;
/// Tokens of an answer that do not count: the block's window fills.
const WARM_UP: usize = 128;

fn argument(name: &str) -> Option<String> {
    let args: Vec<String> = std::env::args().collect();
    args.iter().position(|a| a == name).and_then(|i| args.get(i + 1).cloned())
}

fn has(name: &str) -> bool {
    std::env::args().any(|a| a == name)
}

fn demo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo").join(name)
}

fn open(flag: &str, name: &str) -> Arc<File> {
    Arc::new(File::open(&argument(flag).map_or_else(|| demo(name), PathBuf::from)).expect("a GGUF file"))
}

fn engine(pairing: Option<Pairing>, context: usize) -> Engine<CpuBackend> {
    let file = open("--model", "ds4-demo-q2.gguf");
    let config = Config::from_file(&file).expect("a DeepSeek V4 file");
    let threads = argument("--threads").map_or(0, |n| n.parse().expect("a number"));
    let precision = if has("--exact") { Precision::Exact } else { Precision::Fast };
    let backend =
        CpuBackend::new(&config, CpuOptions { precision, threads, rows: RowFormat::Native }).expect("threads");
    let drafter = pairing.map(|pairing| DrafterOptions { file: open("--mtp", "ds4-demo-mtp.gguf"), pairing });
    let options = EngineOptions { context, chunk: 512 };
    Engine::with_drafter(file, config, backend, options, drafter.as_ref()).expect("a model that fits")
}

/// The held-out prompts of these kinds.
fn prompts(kinds: &[&str]) -> Vec<Vec<TokenId>> {
    let read = |kind: &&str| {
        let text = std::fs::read_to_string(demo(&format!("eval/{kind}.jsonl"))).expect("held-out cases");
        let case = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("a case")["tokens"].clone();
        text.lines().map(|line| serde_json::from_value(case(line)).expect("tokens")).collect::<Vec<_>>()
    };
    kinds.iter().flat_map(read).collect()
}

/// Beginnings of held-out text.
fn texts(n: usize, length: usize) -> Vec<Vec<TokenId>> {
    let file = open("--model", "ds4-demo-q2.gguf");
    let tokenizer = Tokenizer::from_gguf(file.metadata()).expect("a tokenizer");
    let text = std::fs::read_to_string(demo("eval/heldout.txt")).expect("held-out text");
    let ids = tokenizer.encode_text(&text).expect("tokens");
    let piece = |piece: &[ds4_tokenizer::TokenId]| std::iter::once(0).chain(piece.iter().map(|id| id.0)).collect();
    ids.chunks(ids.len() / n).take(n).map(|chunk| piece(&chunk[..length])).collect()
}

/// Greedy until the end of the sequence or `most` tokens.
struct Greedy {
    most: usize,
    tokens: Arc<Mutex<Vec<TokenId>>>,
}

impl Follower for Greedy {
    fn is_gone(&self) -> bool {
        false
    }
    fn admitted(&mut self, _: usize) {}
    fn next(&mut self, logits: &mut [f32]) -> Option<TokenId> {
        let mut tokens = self.tokens.lock().expect("no panic");
        tokens.push(argmax(logits));
        tokens.last().copied().filter(|token| *token != EOS && tokens.len() < self.most)
    }
    fn ended(&mut self, why: End) {
        assert_eq!(why, End::Done);
    }
}

fn answers(speculation: Option<Speculation>, prompts: &[Vec<TokenId>], most: usize) -> Vec<Vec<TokenId>> {
    let mut scheduler =
        Scheduler::new(engine(speculation.is_some().then_some(Pairing::Next), 8192), SchedulerOptions::default());
    speculation.into_iter().for_each(|speculation| scheduler.speculate(speculation));
    let mut answers = Vec::new();
    let begin = Instant::now();
    for batch in prompts.chunks(8) {
        for prompt in batch {
            let tokens = Arc::default();
            answers.push(Arc::clone(&tokens));
            let followers: Vec<Box<dyn Follower>> = vec![Box::new(Greedy { most, tokens })];
            scheduler.submit(Job { tokens: prompt.clone(), checkpoints: vec![], answer_tokens: most, followers });
        }
        while scheduler.step() {}
    }
    let (stats, seconds) = (scheduler.stats(), begin.elapsed().as_secs_f64());
    println!("  {} tokens decoded in {} steps, {seconds:.1} s, {:?}", stats.decode_tokens, stats.steps, stats.drafts);
    answers.iter().map(|tokens| tokens.lock().expect("no panic").clone()).collect()
}

fn same() {
    let mut prompts = prompts(&["arithmetic", "about", "chat", "tools"]);
    prompts.truncate(500);
    println!("{} prompts, without drafts", prompts.len());
    let without = answers(None, &prompts, 200);
    for (name, speculation) in [("3 drafts", Speculation::always(3)), ("as many as pay", Speculation::new(4))] {
        println!("{name}");
        let with = answers(Some(speculation), &prompts, 200);
        println!("  {} answers differ", without.iter().zip(&with).filter(|(a, b)| a != b).count());
    }
}

/// What became of drafts in one answer.
#[derive(Default)]
struct Count {
    steps: usize,
    right: [usize; DRAFTS_MAX],
}

/// Takes the best token, or samples at temperature 1 with the default min-p.
struct Chooser(Option<Sampler>);

impl Follower for Chooser {
    fn is_gone(&self) -> bool {
        false
    }
    fn admitted(&mut self, _: usize) {}
    fn next(&mut self, logits: &mut [f32]) -> Option<TokenId> {
        Some(self.0.as_mut().map_or_else(|| argmax(logits), |sampler| sampler.sample(logits)))
    }
    fn ended(&mut self, _: End) {}
}

/// Generates `n` tokens behind `prompt`, `depth` of them drafted at a time; what comes after the first [`WARM_UP`] is counted.
fn generate(engine: &mut Engine<CpuBackend>, prompt: &[TokenId], n: usize, depth: usize, seed: Option<u64>) -> Count {
    let sampler = seed.map(|seed| Sampler::new(SamplingParams { seed, ..SamplingParams::default() }, prompt));
    let mut chooser = Chooser(sampler.transpose().expect("parameters"));
    let mut sequence = engine.sequence().expect("memory");
    let mut logits =
        engine.prefill(&mut sequence, prompt, Logits::Last, &mut |_| (), &|| false).expect("a prompt that fits");
    let mut next = chooser.next(&mut logits).unwrap_or(EOS);
    let mut count = Count::default();
    while sequence.len() < prompt.len() + n {
        let generated = sequence.len() - prompt.len();
        let drafts = engine.draft(&mut [Wish { sequence: &mut sequence, next, depth }]).expect("drafts").remove(0);
        let mut logits = step(engine, &mut sequence, &[&[next], &drafts[..]].concat());
        let rows = logits.chunks_exact_mut(engine.config().vocab).collect();
        let (chosen, accepted) = choose(&mut chooser, rows, &drafts);
        let kept = sequence.len() - drafts.len() + accepted;
        engine.take_back(&mut sequence, kept).expect("room");
        next = chosen.unwrap_or(EOS);
        if generated >= WARM_UP {
            count.steps += 1;
            count.right.iter_mut().take(accepted).for_each(|right| *right += 1);
        }
    }
    count
}

fn step(engine: &mut Engine<CpuBackend>, sequence: &mut Sequence<CpuBackend>, tokens: &[TokenId]) -> Vec<f32> {
    engine.step(&mut [Rows { sequence, tokens, logits: Logits::All }], &|| false).expect("a step")
}

fn right() {
    let texts = texts(20, 64);
    println!("share of steps in which the first i drafts are all right, past {WARM_UP} generated tokens");
    for pairing in [Pairing::Next, Pairing::Same] {
        let mut engine = engine(Some(pairing), 8192);
        for (name, seed) in [("greedy", None), ("temperature 1", Some(1))] {
            let mut sum = Count::default();
            for (i, text) in texts.iter().enumerate() {
                let count = generate(&mut engine, text, WARM_UP + 256, DRAFTS_MAX, seed.map(|seed| seed + i as u64));
                sum.steps += count.steps;
                sum.right.iter_mut().zip(count.right).for_each(|(sum, n)| *sum += n);
            }
            let shares = sum.right.map(|right| format!("{:.1}", 100.0 * right as f64 / sum.steps as f64));
            println!("{pairing:?} {name}: {} % of {} steps", shares.join(" "), sum.steps);
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn cost() {
    const ROUNDS: usize = 60;
    let mut engine = engine(Some(Pairing::Next), 8192);
    let prompt = texts(1, 500).remove(0);
    let mut sequence = engine.sequence().expect("memory");
    engine.prefill(&mut sequence, &prompt, Logits::None, &mut |_| (), &|| false).expect("a prompt");
    let mut steps = vec![Vec::new(); 5];
    let mut passes = vec![Vec::new(); 4];
    for _ in 0..ROUNDS {
        for (rows, times) in (1..).zip(&mut steps) {
            let mut fork = engine.fork(&sequence).expect("memory");
            let begin = Instant::now();
            step(&mut engine, &mut fork, &prompt[..rows]);
            times.push(begin.elapsed().as_secs_f64());
        }
        for (depth, times) in (1..).zip(&mut passes) {
            let mut fork = engine.fork(&sequence).expect("memory");
            // What is not seen yet is not part of the cost.
            engine.draft(&mut [Wish { sequence: &mut fork, next: 5, depth: 1 }]).expect("drafts");
            step(&mut engine, &mut fork, &[5]);
            let begin = Instant::now();
            engine.draft(&mut [Wish { sequence: &mut fork, next: 6, depth }]).expect("drafts");
            times.push(begin.elapsed().as_secs_f64());
        }
    }
    let milliseconds =
        |times: Vec<Vec<f64>>| times.into_iter().map(|t| format!("{:.2}", 1e3 * median(t))).collect::<Vec<_>>();
    println!("step of 1, 2, … rows, ms, median of {ROUNDS}: {}", milliseconds(steps).join(" "));
    println!("1, 2, … drafts, ms: {}", milliseconds(passes).join(" "));
}

fn speed() {
    let mut prompts = prompts(&["arithmetic"]);
    prompts.truncate(40);
    for round in 1..=3 {
        println!("round {round}, {} prompts one after the other", prompts.len());
        let ways = [None, Some(Speculation::always(1)), Some(Speculation::always(2)), Some(Speculation::new(4))];
        for speculation in ways {
            let engine = engine(speculation.is_some().then_some(Pairing::Next), 8192);
            let mut scheduler = Scheduler::new(engine, SchedulerOptions { kv_bytes: 1, ..SchedulerOptions::default() });
            speculation.clone().into_iter().for_each(|speculation| scheduler.speculate(speculation));
            let (mut seconds, mut tokens) = (0.0, 0);
            for prompt in &prompts {
                let seen = Arc::default();
                let followers: Vec<Box<dyn Follower>> = vec![Box::new(Greedy { most: 200, tokens: Arc::clone(&seen) })];
                scheduler.submit(Job { tokens: prompt.clone(), checkpoints: vec![], answer_tokens: 200, followers });
                // The first step reads the prompt.
                scheduler.step();
                let begin = Instant::now();
                while scheduler.step() {}
                seconds += begin.elapsed().as_secs_f64();
                tokens += seen.lock().expect("no panic").len() - 1;
            }
            let stats = scheduler.stats();
            let drafts = stats.drafts.unwrap_or_default();
            let (tried, right) = (drafts.drafted.iter().sum::<u64>(), drafts.accepted.iter().sum::<u64>());
            let rate = tokens as f64 / seconds;
            println!(
                "  {rate:.0} tokens/s, {} steps, {right} of {tried} drafts right, {:.2} s drafting",
                stats.steps, drafts.seconds
            );
        }
    }
}

fn main() {
    for (name, run) in [("same", same as fn()), ("right", right), ("cost", cost), ("speed", speed)] {
        if has(name) {
            println!("{name}");
            run();
        }
    }
}
