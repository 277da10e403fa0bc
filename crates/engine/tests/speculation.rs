//! Drafts by the demo model's multi-token block: they change no answer and leave no trace.

mod common;

use common::{Seen, job};
use ds4_engine::backend::Backend;
use ds4_engine::cpu::{CpuBackend, CpuOptions, Precision};
use ds4_engine::kv::{DRAFTS_MAX, RowFormat};
use ds4_engine::sampler::argmax;
use ds4_engine::scheduler::{Scheduler, SchedulerOptions};
use ds4_engine::speculation::Speculation;
use ds4_engine::{Config, DrafterOptions, Engine, EngineOptions, Logits, Pairing, Rows, Sequence, TokenId, Wish};
use ds4_gguf::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const CONTEXT: usize = 2048;

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo")
}

fn engine(pairing: Option<Pairing>) -> Engine<CpuBackend> {
    let open = |name: &str| Arc::new(File::open(&models().join(name)).unwrap());
    let file = open("ds4-demo-q2.gguf");
    let config = Config::from_file(&file).unwrap();
    let options = CpuOptions { precision: Precision::Exact, threads: 2, rows: RowFormat::Native };
    let backend = CpuBackend::new(&config, options).unwrap();
    let drafter = pairing.map(|pairing| DrafterOptions { file: open("ds4-demo-mtp.gguf"), pairing });
    let options = EngineOptions { context: CONTEXT, chunk: 128 };
    Engine::with_drafter(file, config, backend, options, drafter.as_ref()).unwrap()
}

/// Prompts of held-out cases, short ones first.
fn prompts(kind: &str, most: usize) -> Vec<Vec<TokenId>> {
    let text = std::fs::read_to_string(models().join(format!("eval/{kind}.jsonl"))).unwrap();
    let tokens = |line: &str| {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        serde_json::from_value(case["tokens"].clone()).unwrap()
    };
    text.lines().take(most).map(tokens).collect()
}

fn step(engine: &mut Engine<CpuBackend>, sequence: &mut Sequence<CpuBackend>, tokens: &[TokenId]) -> Vec<f32> {
    engine.step(&mut [Rows { sequence, tokens, logits: Logits::All }], &|| false).unwrap()
}

/// All that a later token can see: finished pages and frontier.
fn state(engine: &Engine<CpuBackend>, sequence: &Sequence<CpuBackend>) -> (Vec<Vec<u8>>, Vec<u8>) {
    let (backend, tokens) = (engine.backend(), sequence.len());
    let pages = backend.finished_pages(sequence.cache(), tokens).iter().map(|page| page.bytes().to_vec());
    (pages.collect(), backend.save_frontier(sequence.cache(), tokens).unwrap())
}

#[test]
fn rejected_drafts_leave_no_trace() {
    let mut engine = engine(None);
    let text = common::prompt(5, 420);
    // Around a window of four, a window of 128, the end of a page and the edge of the sliding window; from one row and from a chunk.
    for length in [1, 2, 3, 4, 5, 7, 60, 119, 120, 124, 126, 127, 128, 129, 131, 200, 255, 256, 257, 383] {
        for drafts in [1, 3, DRAFTS_MAX] {
            let (mut plain, mut drafted) = (engine.sequence().unwrap(), engine.sequence().unwrap());
            engine.prefill(&mut plain, &text[..length], Logits::None, &mut |_| (), &|| false).unwrap();
            engine.prefill(&mut drafted, &text[..length], Logits::None, &mut |_| (), &|| false).unwrap();
            let checkpoint = drafted.clone();
            let before = state(&engine, &checkpoint);
            let next = text[length];
            step(&mut engine, &mut plain, &[next]);
            for accepted in [0, drafts / 2] {
                // What is right, then what is not.
                let mut rows = text[length..=length + accepted].to_vec();
                rows.extend(common::prompt(9, drafts - accepted));
                step(&mut engine, &mut drafted, &rows);
                let kept = length + 1 + accepted;
                engine.take_back(&mut drafted, kept).unwrap();
                assert_eq!(drafted.tokens(), &text[..kept]);
                if accepted > 0 {
                    step(&mut engine, &mut plain, &text[length + 1..kept]);
                }
                let (plain, drafted) = (state(&engine, &plain), state(&engine, &drafted));
                assert!(plain == drafted, "{accepted} of {drafts} drafts after {length} tokens");
                if accepted == 0 && drafts > 1 {
                    // From here once more, with some of them right.
                    break;
                }
            }
            assert!(state(&engine, &checkpoint) == before, "a checkpoint made before");
            // The same goes for what comes of it.
            let (a, b) = (plain.len(), drafted.len());
            assert_eq!(a, b);
            let following = &text[a..a + 9];
            assert_eq!(step(&mut engine, &mut plain, following), step(&mut engine, &mut drafted, following));
        }
    }
    let mut sequence = engine.sequence().unwrap();
    step(&mut engine, &mut sequence, &text[..100]);
    assert!(engine.take_back(&mut sequence, 99 - DRAFTS_MAX).is_err());
}

/// Greedy answers of a scheduler with drafts as `speculation` wants them, and how many tokens were drafted and right.
fn answers(speculation: Option<Speculation>, prompts: &[Vec<TokenId>], tokens: usize) -> (Vec<Seen>, u64, u64) {
    let engine = engine(speculation.is_some().then_some(Pairing::Next));
    let mut scheduler = Scheduler::new(engine, SchedulerOptions::default());
    speculation.into_iter().for_each(|speculation| scheduler.speculate(speculation));
    let mut handles = Vec::new();
    for prompt in prompts {
        let (job, answers) = job(prompt, &[prompt.len() / 2], tokens, 1);
        scheduler.submit(job);
        handles.extend(answers);
        scheduler.step();
    }
    while scheduler.step() {}
    let drafts = scheduler.stats().drafts.unwrap_or_default();
    (handles.iter().map(common::Answer::seen).collect(), drafts.drafted.iter().sum(), drafts.accepted.iter().sum())
}

#[test]
fn drafts_change_no_answer() {
    let mut asked = prompts("arithmetic", 12);
    asked.extend(prompts("about", 6));
    asked.extend(prompts("chat", 6));
    asked.push(asked[3].clone());
    let (plain, ..) = answers(None, &asked, 70);
    for speculation in [Speculation::always(1), Speculation::always(DRAFTS_MAX), Speculation::new(4)] {
        let (drafted, tried, right) = answers(Some(speculation), &asked, 70);
        assert!(right > 100 && right < tried, "{right} of {tried}");
        for (plain, drafted) in plain.iter().zip(&drafted) {
            assert_eq!((&plain.tokens, &plain.end), (&drafted.tokens, &drafted.end));
        }
    }
}

/// Share of first and second drafts that were right over greedy answers.
fn acceptance(pairing: Pairing) -> [f64; 2] {
    let mut engine = engine(Some(pairing));
    let (mut right, mut all) = ([0.0; 2], 0.0);
    for prompt in prompts("arithmetic", 8) {
        let mut sequence = engine.sequence().unwrap();
        let logits = engine.prefill(&mut sequence, &prompt, Logits::Last, &mut |_| (), &|| false).unwrap();
        let mut next = argmax(&logits);
        for _ in 0..60 {
            let drafts = engine.draft(&mut [Wish { sequence: &mut sequence, next, depth: 2 }]).unwrap().remove(0);
            assert_eq!(drafts.len(), 2);
            let vocab = engine.config().vocab;
            let rows = [next, drafts[0]];
            let logits = step(&mut engine, &mut sequence, &rows);
            let (first, second) = (argmax(&logits[..vocab]), argmax(&logits[vocab..]));
            all += 1.0;
            right[0] += f64::from(u8::from(drafts[0] == first));
            right[1] += f64::from(u8::from(drafts[0] == first && drafts[1] == second));
            let kept = sequence.len() - 1;
            engine.take_back(&mut sequence, kept).unwrap();
            next = first;
        }
    }
    right.map(|right| right / all)
}

#[test]
fn the_block_was_trained_on_the_next_token() {
    let (next, same) = (acceptance(Pairing::Next), acceptance(Pairing::Same));
    println!("next {next:?}, same {same:?}");
    assert!(next[0] > 0.6 && next[1] > 0.3, "{next:?}");
    assert!(same[0] < next[0] - 0.3, "{same:?}");
}
