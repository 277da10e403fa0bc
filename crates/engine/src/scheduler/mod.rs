//! The scheduler: continuous batching of any number of sequences.
//!
//! Each step holds one row of every sequence that decodes and a slice of the prompts that are being read. The slice is as
//! large as the pause that running answers may suffer allows. Sequences are admitted while the memory that they may come
//! to need is there; the rest of the budget holds the prefix cache. With a [`Disk`], prompts continue checkpoints from there
//! too: a job whose state is being loaded waits while others go on.
//!
//! With a [`Speculation`], a sequence that decodes may bring drafts of its next tokens as further rows. Its follower chooses
//! from the logits of each row as ever; drafts that it did not choose are taken back. So it does not matter to an answer whether or how well
//! tokens were drafted: what is chosen, with which random numbers, is the same.

mod drafts;
mod handle;

pub use handle::{Handle, Refused};

use crate::backend::Backend;
use crate::disk::{Disk, DiskStats, Role};
use crate::kv::PAGE_TOKENS;
use crate::prefix::PrefixCache;
use crate::speculation::{DraftStats, Speculation};
use crate::{Engine, Logits, Result, Rows, Sequence, TokenId};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// What a scheduler may use.
#[derive(Clone, Copy, Debug)]
pub struct SchedulerOptions {
    /// Bytes for the KV state of running sequences and for the prefix cache together.
    pub kv_bytes: u64,
    /// Most requests that wait.
    pub queue: usize,
    /// Longest pause between two tokens of a running answer that reading other prompts should cause.
    pub pause: Duration,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        Self { kv_bytes: 4 << 30, queue: 256, pause: Duration::from_millis(500) }
    }
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// [`Follower::next`] ended it.
    Done,
    /// The context is full.
    Context,
    /// The engine failed; the text says why.
    Failed(String),
    /// The scheduler was stopped.
    Stopped,
}

/// The other side of one answer. It is called on the engine's thread, so it must be quick and must not wait.
pub trait Follower: Send {
    /// Whether nobody wants the answer any more. Asked before every step.
    fn is_gone(&self) -> bool;
    /// The sequence runs; `cached` tokens of its prompt were there already.
    fn admitted(&mut self, cached: usize);
    /// Chooses the next token of the answer from its logits, which may be overwritten. `None` ends the answer.
    fn next(&mut self, logits: &mut [f32]) -> Option<TokenId>;
    /// The answer has ended; nothing follows.
    fn ended(&mut self, why: End);
    /// Whether a later prompt is likely to begin with this prompt and this answer, token by token. Asked at the end.
    fn is_repeated(&self) -> bool {
        true
    }
}

/// A prompt to be answered once or several times.
pub struct Job {
    /// The prompt, at least one token.
    pub tokens: Vec<TokenId>,
    /// Lengths of prefixes of the prompt to keep in the prefix cache, ascending. A later prompt is likely to share them.
    pub checkpoints: Vec<usize>,
    /// Most tokens that an answer may add; memory is set aside for them.
    pub answer_tokens: usize,
    /// One for each answer.
    pub followers: Vec<Box<dyn Follower>>,
}

/// What the scheduler did and does. Counters never fall.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Jobs that wait.
    pub queued: usize,
    /// Sequences whose prompt is being read.
    pub prefilling: usize,
    /// Sequences that decode.
    pub decoding: usize,
    /// Bytes set aside for running sequences.
    pub reserved_bytes: u64,
    /// Bytes of the prefix cache.
    pub cache_bytes: u64,
    /// Checkpoints in the prefix cache.
    pub checkpoints: usize,
    /// Prompt tokens evaluated.
    pub prefill_tokens: u64,
    /// Prompt tokens that a checkpoint had already.
    pub cached_tokens: u64,
    /// Tokens of answers evaluated.
    pub decode_tokens: u64,
    /// Steps made.
    pub steps: u64,
    /// Seconds in steps.
    pub step_seconds: f64,
    /// Answers that nobody waited for any more.
    pub cancelled: u64,
    /// Jobs whose state is being loaded from disk.
    pub loading: usize,
    /// What the disk did, if there is one.
    pub disk: Option<DiskStats>,
    /// What drafts came to, if tokens are drafted.
    pub drafts: Option<DraftStats>,
}

/// A sequence that runs.
struct Active<B: Backend> {
    sequence: Sequence<B>,
    prompt: Arc<[TokenId]>,
    checkpoints: Arc<[usize]>,
    /// Other lengths at which the state is kept: ends of pages, where a frontier is smallest.
    page_ends: Arc<[usize]>,
    /// The state at the last end of a page, to be saved if that of the end is too large.
    at_page_end: Option<Sequence<B>>,
    /// Several only until the prompt is read.
    followers: Vec<Box<dyn Follower>>,
    /// The token to evaluate next, once the prompt is read.
    next: Option<TokenId>,
    /// What may follow it, to be evaluated in the same step.
    drafts: Vec<TokenId>,
    /// Tokens of the longest sequence that can come of it.
    most: usize,
    /// Bytes set aside.
    reserved: u64,
}

impl<B: Backend> Active<B> {
    /// Tokens of the prompt that are still to be read.
    fn unread(&self) -> usize {
        if self.next.is_some() { 0 } else { self.prompt.len() - self.sequence.len() }
    }

    /// The same sequence and prompt, for another follower.
    fn fork(&self, engine: &Engine<B>) -> Result<Self> {
        Ok(Self {
            sequence: engine.fork(&self.sequence)?,
            prompt: Arc::clone(&self.prompt),
            checkpoints: Arc::clone(&self.checkpoints),
            page_ends: Arc::clone(&self.page_ends),
            at_page_end: self.at_page_end.clone(),
            followers: Vec::new(),
            next: None,
            drafts: Vec::new(),
            most: self.most,
            reserved: self.reserved,
        })
    }

    /// How far a slice of at most `rows` tokens reads: not across a checkpoint.
    fn slice_end(&self, rows: usize) -> usize {
        let start = self.sequence.len();
        let end = (start + rows).min(self.prompt.len());
        let next = |stops: &[usize]| stops.iter().copied().find(|at| *at > start).unwrap_or(end);
        end.min(next(&self.checkpoints)).min(next(&self.page_ends))
    }
}

/// A job that waits for its state.
struct Loading {
    ticket: u64,
    job: Job,
    reserved: u64,
}

/// While a long prompt is read, its state is kept every so many tokens: for who goes back, and in case the program ends.
const KEEP_EVERY: usize = 64 * PAGE_TOKENS;
/// How long a scheduler with nothing else to do waits for the disk at a time.
const LOAD_PATIENCE: Duration = Duration::from_millis(10);

/// Where the state of a prompt is kept besides its checkpoints: here and there on the way and, for the disk, at the last end of a page
/// before its last checkpoint.
fn page_ends(prompt: usize, checkpoints: &[usize], has_disk: bool) -> Vec<usize> {
    let last = checkpoints.last().copied().unwrap_or(prompt) / PAGE_TOKENS * PAGE_TOKENS;
    let mut ends: Vec<usize> = (KEEP_EVERY..last).step_by(KEEP_EVERY).collect();
    if has_disk && last > 0 {
        ends.push(last);
    }
    ends
}

/// Runs jobs on an engine, a step at a time. [`Handle::start`] gives it a thread.
pub struct Scheduler<B: Backend> {
    engine: Engine<B>,
    options: SchedulerOptions,
    cache: PrefixCache<B>,
    disk: Option<Disk<B>>,
    speculation: Option<Speculation>,
    queue: VecDeque<Job>,
    loading: Vec<Loading>,
    active: Vec<Active<B>>,
    stats: Stats,
    /// Seconds that a row of prompt costs, a running mean; 0 until measured.
    row_seconds: f64,
    /// The prefix cache may have more than what running sequences leave it.
    is_unsettled: bool,
}

impl<B: Backend + 'static> Scheduler<B> {
    /// A scheduler without work.
    pub fn new(engine: Engine<B>, options: SchedulerOptions) -> Self {
        Self {
            engine,
            options,
            cache: PrefixCache::default(),
            disk: None,
            speculation: None,
            queue: VecDeque::new(),
            loading: Vec::new(),
            active: Vec::new(),
            stats: Stats::default(),
            row_seconds: 0.0,
            is_unsettled: false,
        }
    }

    /// Saves states on `disk` and continues those that are there.
    pub fn use_disk(&mut self, disk: Disk<B>) {
        self.disk = Some(disk);
    }

    /// Lets the engine's draft block guess tokens ahead. Without one nothing changes.
    pub fn speculate(&mut self, speculation: Speculation) {
        self.speculation = self.engine.has_drafter().then_some(speculation);
    }

    /// The engine.
    pub fn engine(&self) -> &Engine<B> {
        &self.engine
    }

    /// Lets a job wait for its turn. A prompt that is empty, too long or has tokens outside the vocabulary fails when its turn comes.
    pub fn submit(&mut self, job: Job) {
        self.queue.push_back(job);
    }

    /// What happens and happened.
    pub fn stats(&self) -> Stats {
        Stats {
            queued: self.queue.len(),
            prefilling: self.active.iter().filter(|a| a.next.is_none()).count(),
            decoding: self.active.iter().filter(|a| a.next.is_some()).count(),
            reserved_bytes: self.reserved(),
            cache_bytes: self.cache.bytes(),
            checkpoints: self.cache.len(),
            loading: self.loading.len(),
            disk: self.disk.as_ref().map(Disk::stats),
            drafts: self.speculation.as_ref().map(Speculation::stats),
            ..self.stats
        }
    }

    /// Makes one step. `false` if there is nothing to do.
    pub fn step(&mut self) -> bool {
        self.drop_unwanted();
        self.take_loaded();
        self.admit();
        self.settle();
        if self.active.is_empty() {
            return !self.loading.is_empty();
        }
        if let Err(error) = self.draft() {
            let all = vec![1; self.active.len()];
            self.fail(&all, &error.to_string());
            return true;
        }
        let slices = self.plan();
        let begin = Instant::now();
        let result = self.run(&slices);
        let seconds = begin.elapsed().as_secs_f64();
        self.stats.steps += 1;
        self.stats.step_seconds += seconds;
        match result {
            Ok(logits) => {
                self.measure(&slices, seconds);
                self.deliver(&slices, logits);
            }
            Err(error) => self.fail(&slices, &error.to_string()),
        }
        self.settle();
        true
    }

    /// Ends every job, and saves what is not on disk yet.
    pub fn stop(&mut self) {
        let waiting = self.queue.drain(..).chain(self.loading.drain(..).map(|loading| loading.job));
        waiting.flat_map(|job| job.followers).for_each(|mut follower| follower.ended(End::Stopped));
        for active in std::mem::take(&mut self.active) {
            active.followers.into_iter().for_each(|mut follower| follower.ended(End::Stopped));
            self.cache.store(active.sequence);
        }
        if let Some(disk) = self.disk.take() {
            disk.finish(self.cache.shrink(self.engine.backend(), 0));
        }
    }

    fn reserved(&self) -> u64 {
        let reserved = self.active.iter().map(|active| active.reserved);
        reserved.chain(self.loading.iter().map(|loading| loading.reserved)).fold(0, u64::saturating_add)
    }

    /// Drops answers that nobody waits for. What was computed for them stays in the prefix cache.
    fn drop_unwanted(&mut self) {
        let mut cancelled = 0;
        let mut keep = |followers: &mut Vec<Box<dyn Follower>>| {
            let before = followers.len();
            followers.retain(|follower| !follower.is_gone());
            cancelled += (before - followers.len()) as u64;
            !followers.is_empty()
        };
        self.queue.retain_mut(|job| keep(&mut job.followers));
        self.loading.retain_mut(|loading| keep(&mut loading.job.followers));
        for mut active in std::mem::take(&mut self.active) {
            if keep(&mut active.followers) {
                self.active.push(active);
            } else {
                self.store(active.sequence);
            }
        }
        self.stats.cancelled += cancelled;
    }

    /// Starts waiting jobs, in order, while there is room.
    fn admit(&mut self) {
        while let Some(job) = self.queue.front() {
            let answers = job.followers.len().max(1);
            let tokens = job.tokens.len().saturating_add(job.answer_tokens).min(self.engine.context());
            let bytes = self.engine.sequence_bytes(tokens).saturating_mul(answers as u64);
            let loading = self.loading.iter().map(|loading| loading.job.followers.len());
            let sequences: usize = self.active.iter().map(|active| active.followers.len()).chain(loading).sum();
            let has_room = self.reserved().saturating_add(bytes) <= self.options.kv_bytes
                && sequences + answers <= self.engine.chunk();
            // Alone, a job may have more than the budget: it could never run otherwise.
            let is_alone = self.active.is_empty() && self.loading.is_empty();
            if !has_room && !is_alone {
                break;
            }
            let Some(job) = self.queue.pop_front() else { break };
            self.start(job, bytes);
        }
    }

    /// Starts a job from the longest checkpoint in memory, or asks the disk for a longer one.
    fn start(&mut self, job: Job, reserved: u64) {
        if let Err(error) = self.engine.check_prompt(&job.tokens) {
            return fail(job, &error.to_string());
        }
        let known = self.cache.longest(&job.tokens);
        if let Some(disk) = &mut self.disk
            && let Some(found) = disk.longest(&job.tokens, known.as_ref().map_or(0, Sequence::len))
        {
            let ticket = disk.load(found);
            self.loading.push(Loading { ticket, job, reserved });
            return;
        }
        self.run_from(known, job, reserved);
    }

    /// Lets a job go on from `sequence`, or from nothing.
    fn run_from(&mut self, sequence: Option<Sequence<B>>, mut job: Job, reserved: u64) {
        let sequence = match sequence.map_or_else(|| self.engine.sequence(), Ok) {
            Ok(sequence) => sequence,
            Err(error) => return fail(job, &error.to_string()),
        };
        self.stats.cached_tokens += sequence.len() as u64;
        job.followers.iter_mut().for_each(|follower| follower.admitted(sequence.len()));
        let page_ends = page_ends(job.tokens.len(), &job.checkpoints, self.disk.is_some());
        let most = job.tokens.len().saturating_add(job.answer_tokens);
        self.active.push(Active {
            sequence,
            prompt: job.tokens.into(),
            checkpoints: job.checkpoints.into(),
            page_ends: page_ends.into(),
            at_page_end: None,
            followers: job.followers,
            next: None,
            drafts: Vec::new(),
            most,
            reserved,
        });
        self.is_unsettled = true;
    }

    /// Starts jobs whose state has come from the disk.
    fn take_loaded(&mut self) {
        let mut patience = if self.active.is_empty() { LOAD_PATIENCE } else { Duration::ZERO };
        while !self.loading.is_empty() {
            let Some(disk) = &self.disk else { return };
            let restored = match disk.restored(patience) {
                Ok(restored) => restored,
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => return self.do_without_disk(),
            };
            patience = Duration::ZERO;
            let is_it = |loading: &Loading| loading.ticket == restored.ticket;
            // Nobody may wait for it any more.
            let Some(at) = self.loading.iter().position(is_it) else { continue };
            let Loading { job, reserved, .. } = self.loading.remove(at);
            match restored.sequence {
                Some(sequence) => {
                    self.cache.store(sequence);
                    let sequence = self.cache.longest(&job.tokens);
                    self.run_from(sequence, job, reserved);
                }
                // The store has forgotten it, and may have a shorter one.
                None => self.start(job, reserved),
            }
        }
    }

    /// Lets the jobs that wait for the disk go on from what is in memory, now and in future.
    fn do_without_disk(&mut self) {
        self.disk = None;
        for Loading { job, reserved, .. } in std::mem::take(&mut self.loading) {
            self.start(job, reserved);
        }
    }

    /// Rows of each active sequence in the next step.
    fn plan(&mut self) -> Vec<usize> {
        let of_decoding = self.active.iter().filter(|active| active.next.is_some());
        let decoding: usize = of_decoding.map(|active| 1 + active.drafts.len()).sum();
        let mut room = self.engine.chunk() - decoding.min(self.engine.chunk());
        if decoding > 0 && self.row_seconds > 0.0 {
            let rows = self.options.pause.as_secs_f64() / self.row_seconds;
            room = room.min((rows as usize).saturating_sub(decoding).max(1));
        }
        let mut reading = self.active.iter().filter(|active| active.next.is_none()).count();
        let mut slices = Vec::with_capacity(self.active.len());
        for active in &self.active {
            if active.next.is_some() {
                slices.push(1 + active.drafts.len());
                continue;
            }
            // An equal share for each prompt; what one leaves goes to those after it.
            let share = room.div_ceil(reading.max(1)).min(room);
            let rows = active.slice_end(share) - active.sequence.len();
            reading -= 1;
            room -= rows;
            slices.push(rows);
        }
        slices
    }

    fn run(&mut self, slices: &[usize]) -> Result<Vec<f32>> {
        let mut pieces = Vec::with_capacity(slices.len());
        for (active, rows) in self.active.iter_mut().zip(slices).filter(|(_, rows)| **rows > 0) {
            let Active { sequence, prompt, next, drafts, .. } = active;
            let end = sequence.len() + rows;
            let (tokens, logits) = match &*next {
                Some(token) if drafts.is_empty() => (std::slice::from_ref(token), Logits::Last),
                Some(token) => {
                    // With the drafts behind it, until they are judged.
                    drafts.insert(0, *token);
                    (&drafts[..], Logits::All)
                }
                None if end == prompt.len() => (&prompt[sequence.len()..end], Logits::Last),
                None => (&prompt[sequence.len()..end], Logits::None),
            };
            pieces.push(Rows { sequence, tokens, logits });
        }
        self.engine.step(&mut pieces, &|| false)
    }

    fn measure(&mut self, slices: &[usize], seconds: f64) {
        let rows: usize = slices.iter().sum();
        let has_prompt = self.active.iter().any(|active| active.next.is_none());
        if has_prompt && rows > 0 {
            let now = seconds / rows as f64;
            self.row_seconds = if self.row_seconds == 0.0 { now } else { 0.7 * self.row_seconds + 0.3 * now };
        }
        if let Some(speculation) = &mut self.speculation
            && !has_prompt
        {
            speculation.stepped(rows, seconds);
        }
    }

    /// Hands the logits of a step to the followers and makes the forks, checkpoints and ends that come of it.
    fn deliver(&mut self, slices: &[usize], mut logits: Vec<f32>) {
        let vocab = self.engine.config().vocab;
        let mut rows = logits.chunks_exact_mut(vocab);
        for (mut active, slice) in std::mem::take(&mut self.active).into_iter().zip(slices) {
            if active.next.is_some() {
                self.judge(active, rows.by_ref().take(*slice).collect());
                continue;
            }
            self.stats.prefill_tokens += *slice as u64;
            if *slice > 0 {
                self.keep(&mut active, true);
            }
            if active.unread() > 0 {
                self.active.push(active);
                continue;
            }
            let Some(row) = rows.next() else { continue };
            active.reserved /= active.followers.len().max(1) as u64;
            while active.followers.len() > 1 {
                let mut follower = active.followers.remove(0);
                match active.fork(&self.engine) {
                    Ok(fork) => self.follow(fork, follower, &mut row.to_vec()),
                    Err(error) => follower.ended(End::Failed(error.to_string())),
                }
            }
            if let Some(follower) = active.followers.pop() {
                self.follow(active, follower, row);
            }
        }
    }

    /// Keeps the state of a sequence that has come to a checkpoint or to the end of a page.
    fn keep(&mut self, active: &mut Active<B>, is_reading: bool) {
        let length = active.sequence.len();
        let is_on_the_way = length.is_multiple_of(KEEP_EVERY) && active.page_ends.contains(&length);
        if is_reading && (active.checkpoints.contains(&length) || is_on_the_way) {
            self.store(active.sequence.clone());
        }
        let Some(disk) = &self.disk else { return };
        if !is_reading {
            if length.is_multiple_of(PAGE_TOKENS) {
                active.at_page_end = Some(active.sequence.clone());
            }
        } else if active.page_ends.contains(&length) {
            disk.offer(&active.sequence, Role::Passing);
        } else if active.checkpoints.contains(&length) && active.checkpoints.last() != Some(&length) {
            // Where other conversations begin too.
            disk.offer(&active.sequence, Role::Lasting);
        }
    }

    /// Keeps the state of an answer that has ended.
    fn keep_end(&mut self, active: Active<B>) {
        let Active { sequence, at_page_end, .. } = active;
        if let Some(disk) = &self.disk
            && !disk.offer(&sequence, Role::Lasting)
            && let Some(earlier) = &at_page_end
        {
            disk.offer(earlier, Role::Passing);
        }
        self.store(sequence);
    }

    /// Lets `follower` choose what follows the sequence.
    fn follow(&mut self, mut active: Active<B>, mut follower: Box<dyn Follower>, logits: &mut [f32]) {
        active.next = follower.next(logits);
        self.go_on(active, follower);
    }

    /// Goes on with what was chosen, or ends.
    fn go_on(&mut self, mut active: Active<B>, mut follower: Box<dyn Follower>) {
        let why = match active.next {
            Some(_) if active.sequence.len() < self.engine.context() => {
                active.followers.push(follower);
                self.active.push(active);
                return;
            }
            Some(_) => End::Context,
            None => End::Done,
        };
        if follower.is_repeated() {
            self.keep_end(active);
        }
        follower.ended(why);
    }

    fn store(&mut self, mut sequence: Sequence<B>) {
        self.is_unsettled = true;
        sequence.forget_drafting();
        self.cache.store(sequence);
    }

    /// Makes the prefix cache fit what running sequences leave of the budget.
    fn settle(&mut self) {
        if !std::mem::take(&mut self.is_unsettled) {
            return;
        }
        let rest = self.options.kv_bytes.saturating_sub(self.reserved());
        for active in &self.active {
            self.cache.touch(active.sequence.tokens());
        }
        let dropped = self.cache.shrink(self.engine.backend(), rest);
        if let Some(disk) = &self.disk {
            dropped.into_iter().for_each(|sequence| disk.rescue(sequence));
        }
    }

    /// Ends the sequences that took part in a failed step.
    fn fail(&mut self, slices: &[usize], why: &str) {
        for (mut active, rows) in std::mem::take(&mut self.active).into_iter().zip(slices) {
            if *rows == 0 {
                self.active.push(active);
                continue;
            }
            active.followers.iter_mut().for_each(|follower| follower.ended(End::Failed(why.to_owned())));
        }
    }
}

/// Ends a job that cannot be started.
fn fail(mut job: Job, why: &str) {
    job.followers.iter_mut().for_each(|follower| follower.ended(End::Failed(why.to_owned())));
}
