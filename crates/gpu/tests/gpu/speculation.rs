//! Drafts on the GPU: they change no answer and leave no trace, and the block guesses what it guesses on the processor. Needs a Vulkan device,
//! which may be software.
//!
//! `DS4_PROMPTS=500 cargo test --release -p ds4-gpu --test gpu drafts_change -- --nocapture` asks 500 held-out prompts, not only a few.

use crate::common::{self, demo, prompts, state};
use crate::support::{devices, right};
use ds4_engine::backend::{Backend, Join, JoinScratch, Segment, Step};
use ds4_engine::config::STREAMS;
use ds4_engine::cpu::{CpuBackend, CpuOptions};
use ds4_engine::kv::{DRAFTS_MAX, RowFormat};
use ds4_engine::rope::Rope;
use ds4_engine::sampler::argmax;
use ds4_engine::speculation::Speculation;
use ds4_engine::weights::{MtpWeights, Weights};
use ds4_engine::{
    Config, DrafterOptions, Engine, EngineOptions, LayerKind, Logits, Pairing, Precision, Rows, Sequence, TokenId, Wish,
};
use ds4_gguf::File;
use ds4_gpu::selftest::Verdict;
use ds4_gpu::selftest::draft::{check_choose, check_join};
use ds4_gpu::{Gpu, GpuBackend, GpuOptions, draft_weight_bytes, weight_bytes};
use std::path::Path;
use std::sync::Arc;

const CONTEXT: usize = 2048;

fn backend(gpu: Gpu, file: &File, precision: Precision, drafter: Option<Arc<File>>) -> GpuBackend {
    let config = Config::from_file(file).unwrap();
    let rows = RowFormat::Native;
    let options =
        GpuOptions { precision, rows, chunk: 128, context: CONTEXT, drafter, tuning: None, loaded: Box::new(|_| ()) };
    GpuBackend::new(gpu, file, &config, options).unwrap()
}

fn engine_on(gpu: Gpu, file: Arc<File>, precision: Precision, pairing: Option<Pairing>) -> Engine<GpuBackend> {
    let drafter = pairing.map(|pairing| DrafterOptions { file: demo("ds4-demo-mtp.gguf"), pairing });
    let backend = backend(gpu, &file, precision, drafter.as_ref().map(|drafter| Arc::clone(&drafter.file)));
    let options = EngineOptions { context: CONTEXT, chunk: 128 };
    let config = Config::from_file(&file).unwrap();
    Engine::with_drafter(file, config, backend, options, drafter.as_ref()).unwrap()
}

fn engine(precision: Precision, pairing: Option<Pairing>) -> Engine<GpuBackend> {
    engine_on(Gpu::open(None).unwrap(), demo("ds4-demo-q2.gguf"), precision, pairing)
}

fn cpu_engine(pairing: Pairing) -> Engine<CpuBackend> {
    let file = demo("ds4-demo-q2.gguf");
    let config = Config::from_file(&file).unwrap();
    let options = CpuOptions { precision: Precision::Exact, threads: 2, rows: RowFormat::Native };
    let backend = CpuBackend::new(&config, options).unwrap();
    let drafter = DrafterOptions { file: demo("ds4-demo-mtp.gguf"), pairing };
    let options = EngineOptions { context: CONTEXT, chunk: 128 };
    Engine::with_drafter(file, config, backend, options, Some(&drafter)).unwrap()
}

fn prefill<B: Backend>(engine: &mut Engine<B>, sequence: &mut Sequence<B>, tokens: &[TokenId]) -> Vec<f32> {
    engine.prefill(sequence, tokens, Logits::Last, &mut |_| (), &|| false).unwrap()
}

fn step(engine: &mut Engine<GpuBackend>, pieces: &mut [(&mut Sequence<GpuBackend>, &[TokenId])]) -> Vec<f32> {
    let rows = pieces.iter_mut().map(|(sequence, tokens)| Rows { sequence, tokens, logits: Logits::All });
    engine.step(&mut rows.collect::<Vec<_>>(), &|| false).unwrap()
}

/// A model of random weights with all kinds of layers.
fn small() -> Arc<File> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/data/s-q8.gguf");
    Arc::new(File::open(&path).unwrap())
}

/// Around a window of four, a window of 128, the end of a page and the edge of the sliding window.
const LENGTHS: [usize; 7] = [1, 3, 119, 127, 128, 131, 257];

#[test]
fn rejected_drafts_leave_no_trace() {
    let text: Vec<TokenId> = (0..340).map(|i| (i * i + 3 * i) % 384).collect();
    for precision in [Precision::Exact, Precision::Fast] {
        let mut engine = engine_on(Gpu::open(None).unwrap(), small(), precision, None);
        let mut whole = engine.sequence().unwrap();
        for length in LENGTHS {
            let known = whole.len();
            prefill(&mut engine, &mut whole, &text[known..length]);
            for (right, wrong) in [(0, DRAFTS_MAX), (3, DRAFTS_MAX - 3)] {
                let kept = length + 1 + right;
                let refused: Vec<TokenId> = (0..wrong as u32).map(|i| (7 * i + 5) % 384).collect();
                let (mut plain, mut drafted, mut other) = (whole.clone(), whole.clone(), whole.clone());
                prefill(&mut engine, &mut other, &text[length..kept]);
                step(&mut engine, &mut [(&mut drafted, &[&text[length..kept], &refused[..]].concat())]);
                engine.take_back(&mut drafted, kept).unwrap();
                // The number of rows chooses kernels: what was refused belongs to another sequence here.
                step(&mut engine, &mut [(&mut plain, &text[length..kept]), (&mut other, &refused)]);
                let is_equal = state(&engine, &plain) == state(&engine, &drafted);
                assert!(is_equal, "{precision:?}, {right} of {} drafts after {length} tokens", right + wrong);
                // And what comes of it, in a short step and in a long one.
                let following = &text[kept..kept + if right == 0 { 20 } else { 1 + DRAFTS_MAX }];
                let [a, b] = [plain, drafted].map(|mut sequence| {
                    (step(&mut engine, &mut [(&mut sequence, following)]), state(&engine, &sequence))
                });
                assert!(a == b, "{precision:?}, after {kept}");
            }
        }
        // The state that all of them came from is as it was.
        let mut fresh = engine.sequence().unwrap();
        let mut known = 0;
        for length in LENGTHS {
            prefill(&mut engine, &mut fresh, &text[known..length]);
            known = length;
        }
        assert!(state(&engine, &fresh) == state(&engine, &whole));
        let least = fresh.len() - DRAFTS_MAX;
        assert!(engine.take_back(&mut fresh, least - 1).is_err());
    }
}

/// Rows of a step of short segments enter the rings while it still reads them: as many rows in one step as in steps of one.
#[test]
fn short_steps_read_what_they_do_not_replace() {
    let text: Vec<TokenId> = (0..340).map(|i| (i * i + 3 * i) % 384).collect();
    for precision in [Precision::Exact, Precision::Fast] {
        let mut engine = engine_on(Gpu::open(None).unwrap(), small(), precision, None);
        let vocab = engine.config().vocab;
        let mut sequence = engine.sequence().unwrap();
        for first in [250, 252, 255] {
            let known = sequence.len();
            prefill(&mut engine, &mut sequence, &text[known..first]);
            let (mut together, mut company) = (sequence.clone(), sequence.clone());
            let rows = &text[first..first + 1 + DRAFTS_MAX];
            let got = step(&mut engine, &mut [(&mut together, rows)]);
            // The same rows in two halves, with others in the rest of the step, so that kernels are the same.
            let mut halves = Vec::new();
            for half in [&rows[..4], &rows[4..]] {
                let mut other = company.clone();
                prefill(&mut engine, &mut other, half);
                let fill = vec![3; rows.len() - half.len()];
                let mut logits = step(&mut engine, &mut [(&mut company, half), (&mut other, &fill)]);
                logits.truncate(half.len() * vocab);
                halves.extend(logits);
            }
            let worst = got.iter().zip(&halves).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // Keys are split by the last position, sums follow the split.
            assert!(worst < 1e-2, "{precision:?}, {worst:e} apart at {first}");
        }
    }
}

/// Prompts of each kind, so many in all; of tests that are run always a few.
fn asked() -> Vec<Vec<TokenId>> {
    let most: usize = std::env::var("DS4_PROMPTS").map_or(4, |n| n.parse().expect("a number"));
    let few = most.div_ceil(4);
    let mut asked: Vec<Vec<TokenId>> =
        ["arithmetic", "about", "recall", "tools"].iter().flat_map(|kind| prompts(kind, few)).collect();
    let of_tools = prompts("tools", most).into_iter().skip(few);
    asked.extend(of_tools.chain(prompts("chat", most)));
    asked.truncate(most);
    // One that continues from a checkpoint of another.
    asked.push(asked[0].clone());
    asked
}

#[test]
fn drafts_change_no_answer() {
    const TOKENS: usize = 30;
    let asked = asked();
    let (mut tried, mut right, mut tokens) = (0, 0, 0);
    // Some at a time, with another depth each time.
    for (batch, depth) in asked.chunks(9).zip([4, 2, DRAFTS_MAX].into_iter().cycle()) {
        let (plain, ..) = common::answers(engine(Precision::Exact, None), None, batch, TOKENS);
        let drafting = engine(Precision::Exact, Some(Pairing::Next));
        let (drafted, some, of_them) = common::answers(drafting, Some(Speculation::always(depth)), batch, TOKENS);
        for (i, (plain, drafted)) in plain.iter().zip(&drafted).enumerate() {
            assert_eq!((&plain.tokens, &plain.end), (&drafted.tokens, &drafted.end), "prompt {i} of the batch");
            tokens += plain.tokens.len();
        }
        (tried, right) = (tried + some, right + of_them);
    }
    println!("{} answers of {tokens} tokens, {right} of {tried} drafts right", asked.len());
    assert!(right > tokens as u64 / 4 && right <= tried, "{right} of {tried}");
}

/// What the block guesses behind each prompt and a few tokens more, all sequences together.
fn guesses<B: Backend>(engine: &mut Engine<B>, prompts: &[Vec<TokenId>], tokens: &[Vec<TokenId>]) -> Vec<Vec<TokenId>> {
    let mut sequences: Vec<Sequence<B>> = prompts.iter().map(|_| engine.sequence().unwrap()).collect();
    let mut all = Vec::new();
    for (sequence, prompt) in sequences.iter_mut().zip(prompts) {
        prefill(engine, sequence, prompt);
    }
    for round in 0..tokens[0].len() {
        let wishes = sequences.iter_mut().zip(tokens).zip(1..);
        let mut wishes: Vec<Wish<'_, B>> = wishes
            .map(|((sequence, tokens), depth)| Wish { sequence, next: tokens[round], depth: depth % (DRAFTS_MAX + 1) })
            .collect();
        all.extend(engine.draft(&mut wishes).unwrap());
        for (sequence, tokens) in sequences.iter_mut().zip(tokens) {
            let next = &tokens[round..=round];
            engine.step(&mut [Rows { sequence, tokens: next, logits: Logits::None }], &|| false).unwrap();
        }
        // What another sequence has learned, it has learned too.
        sequences[0] = engine.fork(&sequences[0]).unwrap();
    }
    all
}

#[test]
fn the_block_guesses_what_it_guesses_on_the_processor() {
    const ROUNDS: usize = 3;
    let mut asked = prompts("about", 3);
    // Longer than the block's window, and than a pass.
    asked.push(common::prompt(3, 300));
    asked.extend(prompts("arithmetic", 2));
    let following: Vec<Vec<TokenId>> = (0..6).map(|i| common::prompt(i, ROUNDS)).collect();
    for pairing in [Pairing::Next, Pairing::Same] {
        let want = guesses(&mut cpu_engine(pairing), &asked, &following);
        assert_eq!(want.iter().map(Vec::len).sum::<usize>(), ROUNDS * (1 + 2 + 3 + 4 + 5 + 6));
        let got = guesses(&mut engine(Precision::Exact, Some(pairing)), &asked, &following);
        let pairs = || want.iter().flatten().zip(got.iter().flatten());
        let same = pairs().filter(|(want, got)| want == got).count();
        println!("{pairing:?}: {same} of {} equal", pairs().count());
        assert!(want.iter().map(Vec::len).eq(got.iter().map(Vec::len)));
        // A guess that is nearly tied may go the other way, and all behind it.
        assert!(same as f64 >= 0.95 * pairs().count() as f64, "{same} of {}", pairs().count());
    }
}

/// A block's input on a backend: of tokens that the step has, and of such that the device chose.
fn joined<B: Backend>(backend: &B, tokens: &[TokenId], streams: &[f32]) -> [Vec<f32>; 2] {
    let (file, block) = (demo("ds4-demo-q2.gguf"), demo("ds4-demo-mtp.gguf"));
    let config = Config::from_file(&file).unwrap();
    let embd = Weights::load(&file, backend, &config).unwrap().embd;
    let config = config.of_draft_block();
    let weights = MtpWeights::load(&block, backend, &config).unwrap().joining;
    let rows = tokens.len();
    let buffer = |rows, width| backend.buffer(rows, width).unwrap();
    let pair = |rows| [buffer(rows, config.embd), buffer(rows, config.embd)];
    let mut scratch = JoinScratch { token: pair(rows), streams: pair(STREAMS * rows) };
    let (mut x, mut p) = (buffer(rows, config.stream_width()), buffer(rows, config.stream_width()));
    backend.write(&mut p, streams).unwrap();
    let positions: Vec<usize> = (0..rows).collect();
    let segments = [Segment { rows: 0..rows, start: 0 }];
    // Logits that make the device choose these tokens, behind two others.
    let mut logits = buffer(rows, config.vocab);
    let mut values = vec![-1.0; rows * config.vocab];
    tokens.iter().enumerate().for_each(|(row, token)| values[row * config.vocab + *token as usize] = 0.5);
    backend.write(&mut logits, &values).unwrap();
    let mut chosen = backend.tokens(rows + 2).unwrap();
    backend.choose(rows, &logits, &mut chosen, 2).unwrap();
    assert_eq!(backend.read_tokens(&chosen, rows + 2).unwrap()[2..], *tokens);

    let ropes = [Rope::new(&config, LayerKind::Sliding), Rope::new(&config, LayerKind::Csa)];
    [false, true].map(|is_chosen| {
        let given = if is_chosen { vec![0; rows] } else { tokens.to_vec() };
        let step = Step { config: &config, tokens: &given, positions: &positions, segments: &segments };
        let mut cache = backend.draft_cache().unwrap();
        backend.begin(&step, [&ropes[0], &ropes[1]], &mut [&mut cache]).unwrap();
        let join = Join { weights: &weights, embd: &embd, streams: &p, chosen: is_chosen.then_some((&chosen, 2)) };
        backend.join(&step, join, &mut scratch, &mut x).unwrap();
        backend.read(&x, rows).unwrap()
    })
}

#[test]
fn tokens_and_streams_are_joined_as_on_the_processor() {
    let file = demo("ds4-demo-q2.gguf");
    let config = Config::from_file(&file).unwrap();
    let options = CpuOptions { precision: Precision::Exact, threads: 2, rows: RowFormat::Native };
    let cpu = CpuBackend::new(&config, options).unwrap();
    let gpu = backend(Gpu::open(None).unwrap(), &file, Precision::Exact, Some(demo("ds4-demo-mtp.gguf")));
    // So few that all are multiplied at once, and so many that their streams go through tiles.
    for rows in [1, 5, 128] {
        let tokens = common::prompt(8, rows);
        let n = rows * config.stream_width();
        let streams: Vec<f32> = (0..n).map(|i| ((i * 37 + 11) % 1009) as f32 / 500.0 - 1.0).collect();
        let [want, chosen] = joined(&cpu, &tokens, &streams);
        assert_eq!(want, chosen);
        let [got, chosen] = joined(&gpu, &tokens, &streams);
        assert_eq!(got, chosen);
        let largest = want.iter().map(|v| v.abs()).fold(0.0, f32::max);
        let worst = want.iter().zip(&got).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-5 * largest, "{rows} rows: {worst:e} apart, values up to {largest}");
    }
}

#[test]
fn the_kernels_of_the_block_alone_follow_the_formulas() {
    for gpu in devices() {
        for (embd, rows) in [(64, 1), (64, 9), (100, 2), (4096, 3)] {
            let mut verdict = Verdict::default();
            check_join(&mut verdict, &gpu, embd, rows).unwrap();
            right(&format!("{rows} rows of {embd}"), &verdict);
        }
        for (width, rows) in [(1, 1), (62, 3), (1000, 2), (8200, 5), (129_280, 2)] {
            let mut verdict = Verdict::default();
            check_choose(&mut verdict, &gpu, width, rows).unwrap();
            right(&format!("{rows} rows of {width} logits"), &verdict);
        }
    }
}

#[test]
fn what_is_copied_and_written_is_read() {
    let file = demo("ds4-demo-q2.gguf");
    let gpu = backend(Gpu::open(None).unwrap(), &file, Precision::Exact, None);
    let (mut a, mut b) = (gpu.buffer(5, 8).unwrap(), gpu.buffer(7, 8).unwrap());
    let values: Vec<f32> = (0..40).map(|i| i as f32).collect();
    gpu.write(&mut a, &values).unwrap();
    gpu.copy_rows(&a, 1..4, &mut b, 3).unwrap();
    gpu.copy_rows(&a, 2..2, &mut b, 0).unwrap();
    let mut want = vec![0.0; 24];
    want.extend(&values[8..32]);
    want.resize(56, 0.0);
    assert_eq!(gpu.read(&b, 7).unwrap(), want);
    assert_eq!(gpu.read_rows(&b, 3..5).unwrap(), values[8..24]);
    assert!(gpu.draft_cache().is_err(), "it was set up without a block");
}

#[test]
fn the_most_probable_token_is_that_of_the_sampler() {
    let file = demo("ds4-demo-q2.gguf");
    for is_plain in [false, true] {
        let gpu = Gpu::open(None).unwrap();
        let caps = if is_plain { gpu.caps().plain() } else { gpu.caps() };
        let gpu = backend(gpu.limited(caps), &file, Precision::Exact, None);
        for width in [1, 3, 1000, 8200] {
            let mut rows: Vec<Vec<f32>> = (0..6)
                .map(|r| (0..width).map(|i| ((i * 7919 + r * 31) % 997) as f32 - 990.0 + r as f32).collect())
                .collect();
            // What is no number, infinite, equal, or a zero of either sign.
            rows[1].iter_mut().step_by(2).for_each(|v| *v = f32::NAN);
            rows[2].fill(f32::NEG_INFINITY);
            rows[3].fill(-0.0);
            rows[3][width / 2] = 0.0;
            rows[4][width - 1] = f32::INFINITY;
            rows[5].fill(f32::MIN);
            let mut logits = gpu.buffer(6, width).unwrap();
            gpu.write(&mut logits, &rows.concat()).unwrap();
            let mut tokens = gpu.tokens(9).unwrap();
            gpu.choose(6, &logits, &mut tokens, 3).unwrap();
            let want: Vec<TokenId> = rows.iter().map(|row| argmax(row)).collect();
            assert_eq!(gpu.read_tokens(&tokens, 9).unwrap()[3..], want, "{width} logits");
        }
    }
}

#[test]
fn a_file_without_the_block_is_refused() {
    let file = demo("ds4-demo-q2.gguf");
    let config = Config::from_file(&file).unwrap();
    let options = GpuOptions {
        precision: Precision::Exact,
        rows: RowFormat::Native,
        chunk: 128,
        context: CONTEXT,
        drafter: Some(Arc::clone(&file)),
        tuning: None,
        loaded: Box::new(|_| ()),
    };
    let error = GpuBackend::new(Gpu::open(None).unwrap(), &file, &config, options).err().unwrap();
    assert!(matches!(error, ds4_engine::Error::DraftBlock(_)), "{error}");
    assert!(draft_weight_bytes(&file).is_err());
    let block = demo("ds4-demo-mtp.gguf");
    assert_eq!(draft_weight_bytes(&block).unwrap(), weight_bytes(&block), "there is nothing else in it");
}
