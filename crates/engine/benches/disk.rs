//! KV states on disk: what a conversation writes, what it takes, how fast it comes back.
//!
//! `DS4_BENCH_MODEL=FILE cargo bench -p ds4-engine --bench disk -- [--turns N] [--tokens N] [--restore N] [--dir DIR]`
//!
//! A conversation of `--turns` turns and `--tokens` tokens in all is held with the real scheduler and the real disk; then a prefix of
//! `--restore` tokens is loaded into an empty memory, several times. `ds4 debug tiny-model --full-kv` makes a model whose KV state is as
//! large as that of the published one, and which is quick to evaluate.

use ds4_engine::backend::Backend;
use ds4_engine::cpu::{CpuBackend, CpuOptions};
use ds4_engine::disk::Disk;
use ds4_engine::kv::{KvLayout, PAGE_TOKENS, RowFormat};
use ds4_engine::sampler::argmax;
use ds4_engine::scheduler::{End, Follower, Job, Scheduler, SchedulerOptions};
use ds4_engine::{Config, Engine, EngineOptions, TokenId};
use ds4_gguf::File;
use ds4_store::{Options, Store};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const LOADS: usize = 5;
/// Tokens of an answer.
const ANSWER: usize = 100;

fn argument(name: &str) -> Option<String> {
    let args: Vec<String> = std::env::args().collect();
    args.iter().position(|a| a == name).and_then(|i| args.get(i + 1).cloned())
}

fn number(name: &str, default: usize) -> usize {
    argument(name).and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[derive(Default)]
struct Seen {
    cached: usize,
    tokens: Vec<TokenId>,
    first: Option<Instant>,
}

struct Greedy(usize, Arc<Mutex<Seen>>);

impl Follower for Greedy {
    fn is_gone(&self) -> bool {
        false
    }

    fn admitted(&mut self, cached: usize) {
        self.1.lock().unwrap().cached = cached;
    }

    fn next(&mut self, logits: &mut [f32]) -> Option<TokenId> {
        let mut seen = self.1.lock().unwrap();
        seen.first.get_or_insert_with(Instant::now);
        let token = argmax(logits);
        seen.tokens.push(token);
        (seen.tokens.len() < self.0).then_some(token)
    }

    fn ended(&mut self, why: End) {
        assert_eq!(why, End::Done);
    }
}

fn engine(path: &Path, context: usize) -> Engine<CpuBackend> {
    let file = Arc::new(File::open(path).unwrap());
    let config = Config::from_file(&file).unwrap();
    let backend = CpuBackend::new(&config, CpuOptions::default()).unwrap();
    Engine::new(file, config, backend, EngineOptions { context, chunk: 512 }).unwrap()
}

fn scheduler(model: &Path, dir: &Path, context: usize) -> Scheduler<CpuBackend> {
    let engine = engine(model, context);
    let store = Store::open(dir, Options { min_free: 0, ..Options::default() }).unwrap();
    let report = |what: &str| eprintln!("{what}");
    let disk = Disk::start(Arc::new(store), engine.shared_backend(), engine.identity(), report).unwrap();
    let mut scheduler = Scheduler::new(engine, SchedulerOptions::default());
    scheduler.use_disk(disk);
    scheduler
}

fn ask(scheduler: &mut Scheduler<CpuBackend>, tokens: &[TokenId], answer: usize) -> (Seen, f64) {
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let begin = Instant::now();
    scheduler.submit(Job {
        tokens: tokens.to_vec(),
        checkpoints: vec![tokens.len() - 1],
        answer_tokens: answer,
        followers: vec![Box::new(Greedy(answer, Arc::clone(&seen)))],
    });
    while scheduler.step() {}
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    let first = seen.first.map_or(0.0, |first| (first - begin).as_secs_f64());
    (seen, first)
}

fn text(seed: usize, n: usize, vocab: usize) -> Vec<TokenId> {
    (0..n).map(|i| (20 + (seed * 7919 + i * (i + 31)) % (vocab - 40)) as TokenId).collect()
}

fn main() {
    let Ok(model) = std::env::var("DS4_BENCH_MODEL") else {
        println!("set DS4_BENCH_MODEL to a model file");
        return;
    };
    let model = PathBuf::from(model);
    let (turns, tokens, restore) = (number("--turns", 30), number("--tokens", 60_000), number("--restore", 32_768));
    let dir = argument("--dir").map_or_else(|| std::env::temp_dir().join("ds4-bench-disk"), PathBuf::from);
    let _ = std::fs::remove_dir_all(&dir);
    let mut scheduler = scheduler(&model, &dir, tokens.max(restore) + 1024);
    let config = scheduler.engine().config().clone();
    let layout = KvLayout::new(&config, RowFormat::Native);
    let mb = |bytes: u64| bytes as f64 / 1e6;
    println!("page: {} bytes, {:.0} a token", layout.page_bytes, layout.page_bytes as f64 / PAGE_TOKENS as f64);
    let frontiers = [4096, 4096 + 64, 4096 + 127].map(|tokens| mb(layout.saved_frontier_bytes(tokens)));
    println!(
        "frontier: {:.2} MB at a multiple of 128, {:.2} MB 64 later, {:.2} MB 127 later",
        frontiers[0], frontiers[1], frontiers[2]
    );

    let begin = Instant::now();
    let mut conversation = Vec::new();
    for turn in 0..turns {
        conversation.extend(text(turn, tokens / turns - ANSWER, config.vocab));
        let (seen, _) = ask(&mut scheduler, &conversation, ANSWER);
        conversation.extend(seen.tokens);
        while scheduler.stats().disk.is_some_and(|disk| disk.waiting > 0) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let disk = scheduler.stats().disk.unwrap();
    println!("conversation: {turns} turns, {} tokens in {:.0} s", conversation.len(), begin.elapsed().as_secs_f64());
    scheduler.stop();
    drop(scheduler);
    let history = (conversation.len() * layout.page_bytes / PAGE_TOKENS) as f64;
    let (pages, others) = (disk.page_bytes as f64, disk.other_bytes as f64);
    println!(
        "written: {:.1} MB of history in pages, {:.1} MB else, {} states: {:.2} x the history",
        pages / 1e6,
        others / 1e6,
        disk.saves,
        (pages + others) / history
    );
    let store = Store::open(&dir, Options::default()).unwrap();
    let totals = store.totals();
    println!(
        "on disk after the end: {} states, {} pages, {:.1} MB",
        totals.checkpoints,
        totals.pages,
        mb(totals.bytes)
    );
    let of_heads: u64 = store.list().iter().map(|state| state.own_bytes).sum();
    println!("of that history: {:.0} bytes a token", (totals.bytes - of_heads) as f64 / conversation.len() as f64);
    drop(store);

    let begin = Instant::now();
    let mut after = self::scheduler(&model, &dir, tokens.max(restore) + 1024);
    println!("opened in {:.3} s", begin.elapsed().as_secs_f64());
    let (seen, first) = ask(&mut after, &[&conversation[..], &[21, 22]].concat(), 2);
    println!("restart: {} of {} tokens from disk, first token after {first:.3} s", seen.cached, conversation.len() + 2);

    // One state of the length asked for, alone in its store.
    let alone = dir.join("alone");
    let mut sequence = after.engine().sequence().unwrap();
    drop(after);
    let mut engine = engine(&model, restore + 1024);
    let tokens = text(99, restore, config.vocab);
    let begin = Instant::now();
    engine.prefill(&mut sequence, &tokens, ds4_engine::Logits::None, &mut |_| (), &|| false).unwrap();
    let read = begin.elapsed().as_secs_f64();
    let open = |engine: &Engine<CpuBackend>| {
        let store = Store::open(&alone, Options { min_free: 0, ..Options::default() }).unwrap();
        Disk::start(Arc::new(store), engine.shared_backend(), engine.identity(), |what| eprintln!("{what}")).unwrap()
    };
    let disk = open(&engine);
    disk.finish(vec![sequence.clone()]);
    let longer = [&tokens[..], &[21]].concat();
    for _ in 0..LOADS {
        let mut disk = open(&engine);
        let begin = Instant::now();
        let found = disk.longest(&longer, 0).unwrap();
        disk.load(found);
        let restored = disk.restored(Duration::from_secs(60)).unwrap().sequence.unwrap();
        let seconds = begin.elapsed().as_secs_f64();
        assert_eq!(restored.len(), restore);
        println!(
            "restore: {restore} tokens, {:.1} MB in {seconds:.3} s ({read:.1} s to read them)",
            mb(disk.stats().read_bytes)
        );
    }
    let _ = engine.backend().name();
    let _ = std::fs::remove_dir_all(&dir);
}
