//! Answers of a scheduler that takes the most probable token.

use ds4_engine::backend::Backend;
use ds4_engine::sampler::argmax;
use ds4_engine::scheduler::{End, Follower, Job, Scheduler, SchedulerOptions};
use ds4_engine::speculation::Speculation;
use ds4_engine::{Engine, Sequence, TokenId};
use ds4_gguf::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What came of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub cached: Option<usize>,
    pub tokens: Vec<TokenId>,
    pub end: Option<End>,
}

/// Takes the most probable token `most` times.
struct Greedy {
    most: usize,
    seen: Arc<Mutex<Seen>>,
    gone: Arc<AtomicBool>,
}

impl Follower for Greedy {
    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    fn admitted(&mut self, cached: usize) {
        self.seen.lock().unwrap().cached = Some(cached);
    }

    fn next(&mut self, logits: &mut [f32]) -> Option<TokenId> {
        let token = argmax(logits);
        let tokens = &mut self.seen.lock().unwrap().tokens;
        tokens.push(token);
        (tokens.len() < self.most).then_some(token)
    }

    fn ended(&mut self, why: End) {
        self.seen.lock().unwrap().end = Some(why);
    }
}

/// An answer that is under way.
pub struct Answer {
    seen: Arc<Mutex<Seen>>,
    pub gone: Arc<AtomicBool>,
}

impl Answer {
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }
}

pub fn job(tokens: &[TokenId], checkpoints: &[usize], most: usize, answers: usize) -> (Job, Vec<Answer>) {
    let mut followers: Vec<Box<dyn Follower>> = Vec::new();
    let mut handles = Vec::new();
    for _ in 0..answers {
        let (seen, gone) = (Arc::default(), Arc::default());
        followers.push(Box::new(Greedy { most, seen: Arc::clone(&seen), gone: Arc::clone(&gone) }));
        handles.push(Answer { seen, gone });
    }
    (Job { tokens: tokens.to_vec(), checkpoints: checkpoints.to_vec(), answer_tokens: most, followers }, handles)
}

/// Some text of the vocabulary: any tokens will do.
pub fn prompt(seed: u32, length: usize) -> Vec<TokenId> {
    (0..length as u32).map(|i| 20 + (seed.wrapping_mul(7919).wrapping_add(i.wrapping_mul(i + 31))) % 3000).collect()
}

/// A file of the demo model.
pub fn demo(name: &str) -> Arc<File> {
    Arc::new(File::open(&models().join(name)).unwrap())
}

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo")
}

/// Prompts of held-out cases, short ones first.
pub fn prompts(kind: &str, most: usize) -> Vec<Vec<TokenId>> {
    let text = std::fs::read_to_string(models().join(format!("eval/{kind}.jsonl"))).unwrap();
    let tokens = |line: &str| {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        serde_json::from_value(case["tokens"].clone()).unwrap()
    };
    text.lines().take(most).map(tokens).collect()
}

/// All that a later token can see: finished pages and frontier.
pub fn state<B: Backend>(engine: &Engine<B>, sequence: &Sequence<B>) -> (Vec<Vec<u8>>, Vec<u8>) {
    let (backend, tokens) = (engine.backend(), sequence.len());
    let pages = backend.finished_pages(sequence.cache(), tokens).iter();
    let pages = pages.map(|page| backend.page_bytes(page).unwrap().into_owned()).collect();
    (pages, backend.save_frontier(sequence.cache(), tokens).unwrap())
}

/// Greedy answers of a scheduler with drafts as `speculation` wants them, and how many tokens were drafted and right. The middle of each prompt
/// is a checkpoint, so that equal prompts share.
pub fn answers<B: Backend + 'static>(
    engine: Engine<B>,
    speculation: Option<Speculation>,
    prompts: &[Vec<TokenId>],
    tokens: usize,
) -> (Vec<Seen>, u64, u64) {
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
    (handles.iter().map(Answer::seen).collect(), drafts.drafted.iter().sum(), drafts.accepted.iter().sum())
}
