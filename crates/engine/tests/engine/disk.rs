//! States on disk: they come back bit for bit, conversations outlive the scheduler, and little is written.

use crate::common::{Seen, job, prompt};
use ds4_engine::Precision;
use ds4_engine::backend::Backend;
use ds4_engine::cpu::{CpuBackend, CpuOptions};
use ds4_engine::disk::{Disk, Role};
use ds4_engine::kv::RowFormat;
use ds4_engine::sampler::argmax;
use ds4_engine::scheduler::{Scheduler, SchedulerOptions};
use ds4_engine::{Config, Engine, EngineOptions, Logits, Rows, Sequence, TokenId};
use ds4_gguf::File;
use ds4_store::{Options, Store};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const DEMO: &str = "../../models/demo/ds4-demo-q2.gguf";
const SMALL: &str = "tests/data/s-q8.gguf";

/// A directory that goes when the test ends.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("ds4-disk-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn engine(model: &str, precision: Precision, rows: RowFormat) -> Engine<CpuBackend> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(model);
    let file = Arc::new(File::open(&path).unwrap());
    let config = Config::from_file(&file).unwrap();
    let backend = CpuBackend::new(&config, CpuOptions { precision, threads: 2, rows }).unwrap();
    Engine::new(file, config, backend, EngineOptions { context: 32768, chunk: 256 }).unwrap()
}

fn demo() -> Engine<CpuBackend> {
    engine(DEMO, Precision::Fast, RowFormat::Native)
}

/// What a disk reported.
type Reports = Arc<Mutex<Vec<String>>>;

fn disk(dir: &Dir, engine: &Engine<CpuBackend>) -> (Disk<CpuBackend>, Reports) {
    let store = Store::open(&dir.0, Options { min_free: 0, ..Options::default() }).unwrap();
    let reports: Reports = Arc::default();
    let told = Arc::clone(&reports);
    let report = move |what: &str| told.lock().unwrap().push(what.to_owned());
    let disk = Disk::start(Arc::new(store), engine.shared_backend(), engine.identity(), report).unwrap();
    (disk, reports)
}

fn read(engine: &mut Engine<CpuBackend>, sequence: &mut Sequence<CpuBackend>, tokens: &[TokenId]) -> Vec<f32> {
    engine.prefill(sequence, tokens, Logits::Last, &mut |_| (), &|| false).unwrap()
}

/// The logits after each of `n` greedy tokens, in bits.
fn go_on(
    engine: &mut Engine<CpuBackend>,
    sequence: &mut Sequence<CpuBackend>,
    first: TokenId,
    n: usize,
) -> Vec<Vec<u32>> {
    let mut next = first;
    let mut all = Vec::new();
    for _ in 0..n {
        let tokens = [next];
        let logits = engine.step(&mut [Rows { sequence, tokens: &tokens, logits: Logits::Last }], &|| false).unwrap();
        next = argmax(&logits);
        all.push(logits.into_iter().map(f32::to_bits).collect());
    }
    all
}

/// Saves states of several lengths, opens everything anew, and compares what follows.
fn round_trip(model: &str, precision: Precision, rows: RowFormat) {
    let dir = Dir::new();
    let mut engine = engine(model, precision, rows);
    let vocab = engine.config().vocab as u32;
    let all: Vec<TokenId> = prompt(3, 520).into_iter().map(|token| token % vocab).collect();
    let lengths = [33, 100, 127, 128, 129, 255, 256, 300, 511];
    let (saving, reports) = disk(&dir, &engine);
    let mut saved = Vec::new();
    let mut sequence = engine.sequence().unwrap();
    for length in lengths {
        let start = sequence.len();
        read(&mut engine, &mut sequence, &all[start..length]);
        saved.push(sequence.clone());
    }
    let states = saved.iter().rev().cloned().collect();
    saving.finish(states);
    // A longer one covers what it begins with, so each is saved on its own as well.
    for state in &saved {
        let alone = Dir::new();
        let (disk, _) = self::disk(&alone, &engine);
        disk.finish(vec![state.clone()]);
        let (mut disk, told) = self::disk(&alone, &engine);
        let found = disk.longest(&all, 0).unwrap();
        assert_eq!(found.tokens, state.len());
        disk.load(found);
        let mut restored = disk.restored(Duration::from_secs(60)).unwrap().sequence.unwrap();
        assert_eq!(restored.tokens(), state.tokens());
        let mut state = state.clone();
        let next = all[state.len()];
        let expected = go_on(&mut engine, &mut state, next, 40);
        assert!(go_on(&mut engine, &mut restored, next, 40) == expected, "after {} tokens", found.tokens);
        assert_eq!(restored.tokens(), state.tokens());
        assert!(told.lock().unwrap().is_empty());
    }
    assert!(reports.lock().unwrap().is_empty());
}

#[test]
fn a_restored_state_gives_the_same_logits_bit_for_bit() {
    round_trip(DEMO, Precision::Fast, RowFormat::Native);
    round_trip(DEMO, Precision::Exact, RowFormat::Native);
    round_trip(DEMO, Precision::Exact, RowFormat::Unrounded);
}

#[test]
fn likewise_with_a_conformance_model() {
    round_trip(SMALL, Precision::Exact, RowFormat::Native);
    round_trip(SMALL, Precision::Fast, RowFormat::Native);
}

/// All models of the conformance set: `DS4_MODELS=FOLDER cargo test -p ds4-engine --test engine disk -- --ignored`.
#[test]
#[ignore = "needs the conformance set, named by DS4_MODELS"]
fn likewise_with_every_model_of_a_folder() {
    let folder = std::env::var("DS4_MODELS").expect("the folder of the models");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let models: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|kind| kind == "gguf")).collect();
    assert!(!models.is_empty());
    for model in models {
        for precision in [Precision::Exact, Precision::Fast] {
            round_trip(model.to_str().unwrap(), precision, RowFormat::Native);
        }
    }
}

#[test]
fn a_state_belongs_to_model_rounding_and_arithmetic() {
    let engines = [
        engine(DEMO, Precision::Fast, RowFormat::Native),
        engine(DEMO, Precision::Exact, RowFormat::Native),
        engine(DEMO, Precision::Exact, RowFormat::Unrounded),
        engine(SMALL, Precision::Exact, RowFormat::Native),
        engine("../../models/demo/ds4-demo-q4.gguf", Precision::Exact, RowFormat::Native),
    ];
    let hashes: std::collections::HashSet<_> = engines.iter().map(|engine| engine.identity().hash).collect();
    assert_eq!(hashes.len(), engines.len());
    assert_eq!(demo().identity(), engines[0].identity());
}

fn scheduler(dir: &Dir, kv_bytes: u64) -> (Scheduler<CpuBackend>, Reports) {
    let engine = demo();
    let (disk, reports) = disk(dir, &engine);
    let options = SchedulerOptions { kv_bytes, queue: 64, pause: Duration::from_millis(50) };
    let mut scheduler = Scheduler::new(engine, options);
    scheduler.use_disk(disk);
    (scheduler, reports)
}

fn ask(scheduler: &mut Scheduler<CpuBackend>, tokens: &[TokenId], most: usize) -> Seen {
    let (job, answers) = job(tokens, &[tokens.len() - 1], most, 1);
    scheduler.submit(job);
    while scheduler.step() {}
    answers[0].seen()
}

/// Lets the disk come to rest.
fn rest(scheduler: &mut Scheduler<CpuBackend>) {
    let begin = Instant::now();
    while scheduler.stats().disk.unwrap().waiting > 0 {
        assert!(begin.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn conversations_outlive_memory_and_program() {
    let dir = Dir::new();
    let backend = demo().shared_backend();
    let bytes = backend.sequence_bytes(800);
    let (mut first, _) = scheduler(&dir, 6 * bytes);
    let mut texts: Vec<Vec<TokenId>> = (0..24).map(|i| prompt(i, 300 + i as usize)).collect();
    let mut cold = Scheduler::new(demo(), SchedulerOptions { kv_bytes: 0, ..SchedulerOptions::default() });
    for turn in 0..3 {
        for (i, text) in texts.iter_mut().enumerate() {
            let known = if turn == 0 { 0 } else { text.len() - 41 };
            let seen = ask(&mut first, text, 20);
            rest(&mut first);
            assert_eq!(seen.cached, Some(known), "turn {turn} of conversation {i}");
            if i % 8 == 0 {
                // The answer does not depend on where the state came from; this scheduler keeps nothing.
                assert_eq!(ask(&mut cold, text, 20).tokens, seen.tokens);
            }
            text.extend(&seen.tokens);
            text.extend(prompt(100 * turn + i as u32, 40));
        }
    }
    let disk = first.stats().disk.unwrap();
    assert!(disk.hits >= 18 && disk.failures == 0 && disk.dropped == 0, "{disk:?}");
    first.stop();
    drop(first);
    let (mut second, reports) = scheduler(&dir, 6 * bytes);
    for text in &texts {
        assert_eq!(ask(&mut second, text, 4).cached, Some(text.len() - 41));
    }
    assert!(reports.lock().unwrap().is_empty());
}

#[test]
fn what_memory_has_is_not_read_again() {
    let dir = Dir::new();
    let (mut first, _) = scheduler(&dir, 1 << 30);
    let text = prompt(1, 1000);
    let seen = ask(&mut first, &text, 2);
    assert_eq!(seen.cached, Some(0));
    first.stop();
    drop(first);
    let (mut second, _) = scheduler(&dir, 1 << 30);
    // Another answer begins at the end of a page.
    let branch = [&text[..999], &[5, 6]].concat();
    assert_eq!(ask(&mut second, &branch, 2).cached, Some(896));
    let before = second.stats().disk.unwrap();
    assert!(before.read_bytes > 0);
    // The first one was saved where it ended. Its pages are in memory.
    let more = [&text[..], &seen.tokens, &[7]].concat();
    assert_eq!(ask(&mut second, &more, 2).cached, Some(1001));
    let after = second.stats().disk.unwrap();
    assert_eq!((after.hits, after.restored_tokens), (2, 896 + 1001));
    let frontier = second.engine().backend().saved_frontier_bytes(1001);
    assert!(after.read_bytes - before.read_bytes < frontier + 4 * 1001 + 1000, "no page was read twice");
    assert_eq!(ask(&mut second, &more, 2).cached, Some(1002));
    assert_eq!(second.stats().disk.unwrap().read_bytes, after.read_bytes);
}

#[test]
fn little_more_than_the_history_is_written() {
    let dir = Dir::new();
    let (mut scheduler, _) = scheduler(&dir, 1 << 30);
    let mut text = prompt(1, 500);
    for turn in 0..30 {
        let seen = ask(&mut scheduler, &text, 30);
        rest(&mut scheduler);
        text.extend(&seen.tokens);
        text.extend(prompt(turn, 470));
    }
    let disk = scheduler.stats().disk.unwrap();
    let history = (text.len() / 128 * scheduler.engine().backend().page_size()) as u64;
    assert!(disk.page_bytes <= history, "pages are written once");
    assert!(disk.other_bytes <= disk.page_bytes + (65 << 20), "frontiers cost no more than history, after a start");
}

#[test]
fn a_damaged_store_costs_only_time() {
    let dir = Dir::new();
    let text = prompt(1, 700);
    let (mut first, _) = scheduler(&dir, 1 << 30);
    let expected = ask(&mut first, &text, 10);
    first.stop();
    drop(first);
    for file in std::fs::read_dir(&dir.0).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_some_and(|kind| kind == "run" || kind == "ckpt") {
            let mut bytes = std::fs::read(&file).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            std::fs::write(&file, bytes).unwrap();
        }
    }
    let (mut second, reports) = scheduler(&dir, 1 << 30);
    let seen = ask(&mut second, &text, 10);
    assert_eq!((seen.cached, &seen.tokens), (Some(0), &expected.tokens));
    assert!(second.stats().disk.unwrap().failures >= 1);
    assert!(!reports.lock().unwrap().is_empty());
    // As the conversation goes on, it is saved anew.
    let more = [&text[..], &seen.tokens, &prompt(2, 200)].concat();
    let seen = ask(&mut second, &more, 10);
    assert_eq!(seen.cached, Some(709));
    second.stop();
    drop(second);
    let (mut third, _) = scheduler(&dir, 1 << 30);
    assert_eq!(ask(&mut third, &[&more[..], &seen.tokens, &[1]].concat(), 10).cached, Some(more.len() + 9));
}

#[test]
fn offers_are_limited_by_what_was_written() {
    let dir = Dir::new();
    let mut engine = demo();
    let (disk, _) = disk(&dir, &engine);
    let (mut taken, mut refused) = (0, 0);
    let mut sequence = engine.sequence().unwrap();
    read(&mut engine, &mut sequence, &prompt(0, 40));
    for seed in 0..20_000 {
        let sequence = Sequence::restored(prompt(seed, 40), sequence.cache().clone());
        while disk.stats().waiting > 4 {
            std::thread::sleep(Duration::from_millis(1));
        }
        *if disk.offer(&sequence, Role::Lasting) { &mut taken } else { &mut refused } += 1;
        if refused > 3 {
            break;
        }
    }
    let stats = disk.stats();
    assert!(taken > 0 && refused > 3, "{taken} taken: {stats:?}");
    assert!(stats.other_bytes <= 65 << 20 && stats.page_bytes == 0);
}
