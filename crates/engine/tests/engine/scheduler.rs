//! The scheduler on the demo model: answers do not depend on company, prefixes are reused, nothing runs for nobody.

use crate::common::{Seen, job, prompt};
use ds4_engine::Precision;
use ds4_engine::cpu::{CpuBackend, CpuOptions};
use ds4_engine::kv::RowFormat;
use ds4_engine::scheduler::{End, Handle, Refused, Scheduler, SchedulerOptions};
use ds4_engine::{Config, Engine, EngineOptions, TokenId};
use ds4_gguf::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const CHUNK: usize = 64;

fn engine() -> Engine<CpuBackend> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo/ds4-demo-q2.gguf");
    let file = Arc::new(File::open(&path).unwrap());
    let config = Config::from_file(&file).unwrap();
    let options = CpuOptions { precision: Precision::Exact, threads: 2, rows: RowFormat::Native };
    let backend = CpuBackend::new(&config, options).unwrap();
    Engine::new(file, config, backend, EngineOptions { context: 2048, chunk: CHUNK }).unwrap()
}

fn scheduler(kv_bytes: u64) -> Scheduler<CpuBackend> {
    Scheduler::new(engine(), SchedulerOptions { kv_bytes, queue: 4, pause: Duration::from_millis(50) })
}

fn run(scheduler: &mut Scheduler<CpuBackend>) {
    while scheduler.step() {}
}

#[test]
fn company_changes_no_answer() {
    let lengths = [1, 3, 64, 65, 200, 333, 17, 128, 90, 5];
    let alone: Vec<Seen> = lengths
        .iter()
        .enumerate()
        .map(|(i, length)| {
            let mut scheduler = scheduler(1 << 30);
            let (job, answers) = job(&prompt(i as u32, *length), &[], 12 + i, 1);
            scheduler.submit(job);
            run(&mut scheduler);
            answers[0].seen()
        })
        .collect();
    let mut together = scheduler(1 << 30);
    let mut answers = Vec::new();
    for (i, length) in lengths.iter().enumerate() {
        let (job, handles) = job(&prompt(i as u32, *length), &[], 12 + i, 1);
        together.submit(job);
        answers.extend(handles);
        together.step();
    }
    run(&mut together);
    for (answer, alone) in answers.iter().zip(&alone) {
        assert_eq!(answer.seen(), *alone);
        assert_eq!(alone.end, Some(End::Done));
    }
}

#[test]
fn several_answers_read_their_prompt_once() {
    let mut scheduler = scheduler(1 << 30);
    let (job, answers) = job(&prompt(1, 150), &[], 5, 3);
    scheduler.submit(job);
    run(&mut scheduler);
    assert_eq!(scheduler.stats().prefill_tokens, 150);
    assert_eq!(scheduler.stats().decode_tokens, 3 * 4);
    for answer in &answers {
        assert_eq!(answer.seen(), answers[0].seen());
        assert_eq!(answer.seen().tokens.len(), 5);
    }
}

#[test]
fn a_prompt_continues_from_the_longest_stored_prefix() {
    let mut scheduler = scheduler(1 << 30);
    let first = prompt(1, 300);
    let mut ask = |tokens: &[TokenId], checkpoints: &[usize]| {
        let (job, answers) = job(tokens, checkpoints, 8, 1);
        scheduler.submit(job);
        run(&mut scheduler);
        answers[0].seen()
    };
    let answer = ask(&first, &[100, 299]);
    assert_eq!(answer.cached, Some(0));
    // The conversation goes on: everything evaluated is there, the last token of the answer was not.
    let mut longer = [&first[..], &answer.tokens].concat();
    longer.extend(prompt(2, 40));
    assert_eq!(ask(&longer, &[]).cached, Some(307));
    // Another answer to the same prompt.
    assert_eq!(ask(&first, &[]), Seen { cached: Some(299), ..answer.clone() });
    // A branch: what is shared ends at a checkpoint.
    let mut branch = first.clone();
    branch[200] += 1;
    let branched = ask(&branch, &[]);
    assert_eq!(branched.cached, Some(100));
    let mut cold = self::scheduler(0);
    let (job, answers) = self::job(&branch, &[], 8, 1);
    cold.submit(job);
    run(&mut cold);
    assert_eq!(answers[0].seen().tokens, branched.tokens);
}

#[test]
fn nothing_is_computed_for_nobody() {
    let mut scheduler = scheduler(1 << 30);
    let (reading, reader) = job(&prompt(1, 1000), &[], 50, 1);
    let (waiting, waiter) = job(&prompt(2, 1000), &[], 50, 1);
    scheduler.submit(reading);
    scheduler.submit(waiting);
    for _ in 0..6 {
        scheduler.step();
    }
    let read = scheduler.stats().prefill_tokens;
    assert!(read > 0 && read < 1000, "{read}");
    for answer in reader.iter().chain(&waiter) {
        answer.gone.store(true, Ordering::Release);
    }
    assert!(!scheduler.step(), "the engine is idle at once");
    assert_eq!(scheduler.stats().cancelled, 2);
    assert_eq!(scheduler.stats().prefill_tokens, read);
    // What was read is not lost.
    let (again, answers) = job(&prompt(1, 1000), &[], 2, 1);
    scheduler.submit(again);
    run(&mut scheduler);
    let cached = answers[0].seen().cached.unwrap();
    assert!(cached > 0 && cached as u64 <= read, "{cached} of {read}");
}

#[test]
fn a_long_prompt_does_not_silence_an_answer() {
    let mut scheduler = scheduler(1 << 30);
    let (talking, talker) = job(&prompt(1, 4), &[], 2000, 1);
    scheduler.submit(talking);
    scheduler.step();
    let (long, reader) = job(&prompt(2, 1500), &[], 1, 1);
    scheduler.submit(long);
    let mut steps = 0;
    while reader[0].seen().end.is_none() {
        let before = talker[0].seen().tokens.len();
        scheduler.step();
        steps += 1;
        assert_eq!(talker[0].seen().tokens.len(), before + 1);
    }
    assert!(steps >= 1500 / CHUNK, "{steps}");
}

#[test]
fn prompts_share_a_step_evenly() {
    let mut scheduler = scheduler(1 << 30);
    let (long, _long) = job(&prompt(1, 1500), &[], 1, 1);
    let (short, reader) = job(&prompt(2, 60), &[], 1, 1);
    scheduler.submit(long);
    scheduler.submit(short);
    for _ in 0..2 {
        scheduler.step();
    }
    assert_eq!(reader[0].seen().end, Some(End::Done), "the short one does not wait for the long one");
}

#[test]
fn memory_bounds_what_runs_and_what_is_kept() {
    let engine = engine();
    let layout = ds4_engine::kv::KvLayout::new(engine.config(), RowFormat::Native);
    let room = 2 * layout.sequence_bytes(300);
    let options = SchedulerOptions { kv_bytes: room, ..SchedulerOptions::default() };
    let mut scheduler = Scheduler::new(engine, options);
    let mut answers = Vec::new();
    for i in 0..5 {
        let (job, handles) = job(&prompt(i, 280), &[100, 200], 20, 1);
        scheduler.submit(job);
        answers.extend(handles);
    }
    while scheduler.step() {
        let stats = scheduler.stats();
        assert!(stats.prefilling + stats.decoding <= 2, "{stats:?}");
        assert!(stats.cache_bytes + stats.reserved_bytes <= room, "{stats:?}");
    }
    assert!(answers.iter().all(|answer| answer.seen().end == Some(End::Done)));
    assert!(scheduler.stats().checkpoints > 0);
    // Larger than the budget: it still runs, alone.
    let (large, handles) = job(&prompt(9, 1200), &[], 3, 1);
    scheduler.submit(large);
    run(&mut scheduler);
    assert_eq!(handles[0].seen().end, Some(End::Done));
}

#[test]
fn ends_are_told_apart() {
    let mut scheduler = scheduler(1 << 30);
    let ends = [prompt(1, 2046), prompt(2, 2049), vec![], vec![1_000_000]].map(|tokens| {
        let (job, answers) = job(&tokens, &[], 50, 1);
        scheduler.submit(job);
        run(&mut scheduler);
        answers[0].seen()
    });
    assert_eq!(ends[0].end, Some(End::Context));
    assert_eq!(ends[0].tokens.len(), 3, "one after each of the last three positions");
    for failed in &ends[1..] {
        assert!(matches!(&failed.end, Some(End::Failed(why)) if !why.is_empty()), "{failed:?}");
    }
    let (running, answers) = job(&prompt(3, 20), &[], 50, 1);
    scheduler.submit(running);
    scheduler.step();
    scheduler.stop();
    assert_eq!(answers[0].seen().end, Some(End::Stopped));
}

#[test]
fn a_handle_refuses_what_cannot_wait() {
    let (handle, thread) = Handle::start(scheduler(1)).unwrap();
    let mut answers = Vec::new();
    let mut refused = 0;
    // With one byte of budget they run one by one, so that the others wait.
    for i in 0..20 {
        let (job, handles) = job(&prompt(i, 500), &[], 400, 1);
        match handle.submit(job) {
            Ok(()) => answers.extend(handles),
            Err(why) => {
                assert_eq!(why, Refused::Full(4));
                refused += 1;
            }
        }
    }
    assert!(refused > 0);
    handle.stop();
    thread.join().unwrap();
    assert!(answers.iter().all(|answer| answer.seen().end.is_some()));
    let (late, _answers) = job(&prompt(1, 5), &[], 1, 1);
    assert_eq!(handle.submit(late), Err(Refused::Stopped));
}
