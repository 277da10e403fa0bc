//! Answers of a scheduler that takes the most probable token.

#![allow(dead_code, reason = "each test file uses some of it")]

use ds4_engine::TokenId;
use ds4_engine::sampler::argmax;
use ds4_engine::scheduler::{End, Follower, Job};
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
