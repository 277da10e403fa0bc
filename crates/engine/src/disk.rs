//! Checkpoints on disk: sequences go to a [`Store`] and come back, on threads of their own.
//!
//! Nothing here makes the engine wait. A save takes a fork of a sequence, which costs a frontier; a load is asked for and comes
//! back later. **What is written is bounded**: a frontier may cost no more than the history that was written since, with a start
//! that lets short conversations be saved at once. Only what would be lost, because memory is needed for others or the
//! program ends, is written in any case.

use crate::backend::Backend;
use crate::kv::PAGE_TOKENS;
use crate::{Identity, Result, Sequence, TokenId};
use ds4_store::{Draft, Error, Found, Hash, Key, Saved, Store, hash};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Fewer tokens are read again sooner than they are looked up.
pub const TOKENS_MIN: usize = 16;
/// Bytes of frontiers that may be written before any history.
const CREDIT_START: u64 = 64 << 20;
/// Most saves that wait; each holds a frontier in memory.
const SAVES_MAX: usize = 16;
/// Pauses after a save that failed: from this, doubled each time, to the other.
const PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));
/// Time that the end of the program leaves for saves.
const END_TIMEOUT: Duration = Duration::from_secs(20);

/// What a disk did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// Prompts that continued a checkpoint from disk.
    pub hits: u64,
    /// Prompts for which there was nothing longer than in memory.
    pub misses: u64,
    /// Tokens that need not be read again because of hits.
    pub restored_tokens: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Checkpoints saved.
    pub saves: u64,
    /// Bytes of pages written.
    pub page_bytes: u64,
    /// Bytes of frontiers and heads written.
    pub other_bytes: u64,
    /// Checkpoints removed to make room.
    pub evictions: u64,
    /// Saves and loads that failed.
    pub failures: u64,
    /// Checkpoints that were not saved because too many were waiting.
    pub dropped: u64,
    /// Saves that wait or are under way.
    pub waiting: u64,
    /// Checkpoints there are.
    pub checkpoints: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

/// Whether a checkpoint stays of use when its sequence goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Others may begin there, or it is the end of a turn.
    Lasting,
    /// Only until a longer one is saved.
    Passing,
}

struct Save<B: Backend> {
    sequence: Sequence<B>,
    role: Role,
}

struct Queue<B: Backend> {
    saves: VecDeque<Save<B>>,
    /// The one that is being written.
    current: Option<Vec<TokenId>>,
    credit: u64,
    /// No saves before that, since one failed.
    pause: Option<(Instant, Duration)>,
    /// Set when the program ends.
    deadline: Option<Instant>,
}

/// Pages that are in memory and were named.
struct Pages<B: Backend> {
    /// By address, which belongs to its page as long as the `Weak` is there.
    ids: HashMap<usize, (Weak<B::Page>, Hash)>,
    pages: HashMap<Hash, Weak<B::Page>>,
}

struct Shared<B: Backend> {
    store: Arc<Store>,
    backend: Arc<B>,
    identity: Identity,
    queue: Mutex<Queue<B>>,
    wake: Condvar,
    pages: Mutex<Pages<B>>,
    stats: Mutex<DiskStats>,
    report: Box<dyn Fn(&str) + Send + Sync>,
}

/// A load that ended. Tickets are those of [`Disk::load`].
pub struct Restored<B: Backend> {
    /// Which load.
    pub ticket: u64,
    /// The sequence; `None` if it could not be read, which was reported.
    pub sequence: Option<Sequence<B>>,
}

/// A store with a thread that writes and one that reads.
pub struct Disk<B: Backend> {
    shared: Arc<Shared<B>>,
    /// Until the end.
    loads: Option<Sender<(u64, Key)>>,
    restored: Receiver<Restored<B>>,
    threads: Vec<JoinHandle<()>>,
    tickets: u64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: Backend + 'static> Disk<B> {
    /// Uses `store` for the states of one model. `report` is told what went wrong, a line each; it is called on other threads.
    ///
    /// # Errors
    /// The threads cannot be started.
    pub fn start(
        store: Arc<Store>,
        backend: Arc<B>,
        identity: Identity,
        report: impl Fn(&str) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let queue = Queue { saves: VecDeque::new(), current: None, credit: CREDIT_START, pause: None, deadline: None };
        let shared = Arc::new(Shared {
            store,
            backend,
            identity,
            queue: Mutex::new(queue),
            wake: Condvar::new(),
            pages: Mutex::new(Pages { ids: HashMap::new(), pages: HashMap::new() }),
            stats: Mutex::default(),
            report: Box::new(report),
        });
        shared.report_problems();
        let (loads, wanted) = channel();
        let (done, restored) = channel();
        let (of_writer, of_reader) = (Arc::clone(&shared), Arc::clone(&shared));
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let writer = thread("ds4-kv-write").spawn(move || of_writer.write())?;
        let reader = thread("ds4-kv-read").spawn(move || of_reader.read(&wanted, &done))?;
        Ok(Self { shared, loads: Some(loads), restored, threads: vec![writer, reader], tickets: 0 })
    }

    /// What was done.
    pub fn stats(&self) -> DiskStats {
        let totals = self.shared.store.totals();
        let queue = locked(&self.shared.queue);
        let waiting = queue.saves.len() + usize::from(queue.current.is_some());
        drop(queue);
        DiskStats {
            waiting: waiting as u64,
            checkpoints: totals.checkpoints as u64,
            bytes: totals.bytes,
            ..*locked(&self.shared.stats)
        }
    }

    /// A checkpoint that begins `tokens`, leaves at least one of them, and is longer than the `known` tokens that are in memory.
    pub fn longest(&self, tokens: &[TokenId], known: usize) -> Option<Found> {
        let found = self.shared.store.longest(&self.shared.identity.hash, tokens);
        let found = found.filter(|found| found.tokens > known && found.tokens >= TOKENS_MIN);
        let mut stats = locked(&self.shared.stats);
        match found {
            Some(_) => stats.hits += 1,
            None => stats.misses += 1,
        }
        found
    }

    /// Begins to load a checkpoint. Pages that are in memory are not read.
    pub fn load(&mut self, found: Found) -> u64 {
        self.tickets += 1;
        if let Some(loads) = &self.loads {
            // The reader lives as long as this.
            let _ = loads.send((self.tickets, found.key));
        }
        self.tickets
    }

    /// A load that has ended, at most `patience` from now.
    ///
    /// # Errors
    /// None has ended; or, [`RecvTimeoutError::Disconnected`], none will any more.
    pub fn restored(&self, patience: Duration) -> std::result::Result<Restored<B>, RecvTimeoutError> {
        self.restored.recv_timeout(patience)
    }

    /// Saves `sequence` if what was written before allows it. Whether it did, or the store has it already.
    pub fn offer(&self, sequence: &Sequence<B>, role: Role) -> bool {
        let shared = &self.shared;
        let tokens = sequence.tokens();
        if !shared.wants(sequence) {
            return false;
        }
        let mut queue = locked(&shared.queue);
        if shared.has(&queue, tokens) {
            return true;
        }
        if queue.is_paused() || queue.saves.len() >= SAVES_MAX {
            return false;
        }
        let known = shared.store.longest(&shared.identity.hash, tokens).map_or(0, |found| found.tokens);
        let queued = queue.saves.iter().map(|save| save.sequence.tokens());
        let queued = queued.filter(|queued| tokens.starts_with(queued)).map(<[TokenId]>::len).max().unwrap_or(0);
        let pages = tokens.len() / PAGE_TOKENS - known.max(queued) / PAGE_TOKENS;
        let credit = queue.credit.saturating_add((pages * shared.backend.page_size()) as u64);
        let Some(rest) = credit.checked_sub(shared.backend.saved_frontier_bytes(tokens.len())) else { return false };
        queue.credit = rest;
        // What the new one goes on from was not worth more than that.
        queue.saves.retain(|save| save.role == Role::Lasting || !tokens.starts_with(save.sequence.tokens()));
        queue.saves.push_back(Save { sequence: sequence.clone(), role });
        shared.wake.notify_all();
        true
    }

    /// Saves `sequence` in any case, since memory loses it.
    pub fn rescue(&self, sequence: Sequence<B>) {
        let shared = &self.shared;
        if !shared.wants(&sequence) {
            return;
        }
        let mut queue = locked(&shared.queue);
        if shared.has(&queue, sequence.tokens()) {
            return;
        }
        if queue.is_paused() || queue.saves.len() >= SAVES_MAX {
            locked(&shared.stats).dropped += 1;
            return;
        }
        queue.saves.push_back(Save { sequence, role: Role::Lasting });
        shared.wake.notify_all();
    }

    /// Saves each of `sequences`, the first ones first, and what waits, as far as there is time.
    pub fn finish(self, sequences: Vec<Sequence<B>>) {
        let shared = &self.shared;
        let mut queue = locked(&shared.queue);
        for sequence in sequences.into_iter().filter(|sequence| shared.wants(sequence)) {
            if !shared.has(&queue, sequence.tokens()) {
                queue.saves.push_back(Save { sequence, role: Role::Lasting });
            }
        }
        queue.deadline = Some(Instant::now() + END_TIMEOUT);
    }
}

impl<B: Backend> Drop for Disk<B> {
    /// Waits for the threads. Without [`finish`](Disk::finish), what waits to be saved is not.
    fn drop(&mut self) {
        self.shared.store.hurry();
        let mut queue = locked(&self.shared.queue);
        if queue.deadline.is_none() {
            queue.saves.clear();
            queue.deadline = Some(Instant::now());
        }
        drop(queue);
        self.shared.wake.notify_all();
        self.loads = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                (self.shared.report)("a thread that saves or loads KV states ended early");
            }
        }
    }
}

impl<B: Backend> Queue<B> {
    fn is_paused(&self) -> bool {
        self.pause.is_some_and(|(until, _)| Instant::now() < until)
    }

    fn fail(&mut self) {
        let pause = self.pause.map_or(PAUSE.0, |(_, last)| (last * 2).min(PAUSE.1));
        self.pause = Some((Instant::now() + pause, pause));
    }
}

impl<B: Backend> Shared<B> {
    fn report_problems(&self) {
        self.store.take_problems().iter().for_each(|problem| (self.report)(problem));
    }

    /// Whether it makes sense to save it.
    fn wants(&self, sequence: &Sequence<B>) -> bool {
        sequence.len() >= TOKENS_MIN && !sequence.is_broken() && self.store.may_write()
    }

    /// Whether the tokens are saved or will be.
    fn has(&self, queue: &Queue<B>, tokens: &[TokenId]) -> bool {
        let queued = queue.saves.iter().map(|save| save.sequence.tokens()).chain(queue.current.as_deref());
        self.store.covers(&self.identity.hash, tokens) || { queued }.any(|queued| queued.starts_with(tokens))
    }

    /// The writer's thread.
    fn write(&self) {
        loop {
            let mut queue = locked(&self.queue);
            let save = loop {
                queue.current = None;
                match (queue.saves.pop_front(), queue.deadline) {
                    (Some(_), Some(deadline)) if Instant::now() > deadline => {
                        let left = queue.saves.len() + 1;
                        (self.report)(&format!("{left} KV states were not saved: the disk was too slow"));
                        return;
                    }
                    (Some(save), _) => break save,
                    (None, Some(_)) => return,
                    (None, None) => queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
                }
            };
            queue.current = Some(save.sequence.tokens().to_vec());
            drop(queue);
            let saved = self.save(&save.sequence);
            drop(save);
            self.take_note(saved);
        }
    }

    fn save(&self, sequence: &Sequence<B>) -> std::result::Result<Saved, Error> {
        let failed = |error: crate::Error| Error::Invalid(error.to_string());
        let backend = &*self.backend;
        let pages = backend.finished_pages(sequence.cache(), sequence.len());
        let ids: Vec<Hash> = pages.iter().map(|page| self.name(page)).collect::<Result<_>>().map_err(failed)?;
        let frontier = backend.save_frontier(sequence.cache(), sequence.len()).map_err(failed)?;
        self.store.save(&Draft {
            identity: self.identity.hash,
            label: &self.identity.label,
            page_tokens: PAGE_TOKENS,
            page_bytes: backend.page_size(),
            tokens: sequence.tokens(),
            pages: &ids,
            page: &|place| backend.page_bytes(&pages[place]).map_err(|error| error.to_string()),
            frontier: &frontier,
        })
    }

    /// The name of a page.
    fn name(&self, page: &Arc<B::Page>) -> Result<Hash> {
        let address = Arc::as_ptr(page).addr();
        if let Some((_, id)) = locked(&self.pages).ids.get(&address) {
            return Ok(*id);
        }
        let id = hash(&self.backend.page_bytes(page)?);
        locked(&self.pages).add(page, id);
        Ok(id)
    }

    fn take_note(&self, saved: std::result::Result<Saved, Error>) {
        match saved {
            Ok(saved) => {
                let mut stats = locked(&self.stats);
                stats.saves += u64::from(saved.other_bytes > 0);
                stats.page_bytes += saved.page_bytes;
                stats.other_bytes += saved.other_bytes;
                stats.evictions += saved.evicted;
                // Whoever holds the queue may want the numbers.
                drop(stats);
                locked(&self.queue).pause = None;
            }
            Err(error) => {
                locked(&self.stats).failures += 1;
                // One that is too large says nothing about the next.
                if !matches!(error, Error::TooLarge { .. }) {
                    let mut queue = locked(&self.queue);
                    let is_first = queue.pause.is_none();
                    queue.fail();
                    drop(queue);
                    if is_first {
                        (self.report)(&format!("a KV state was not saved: {error}; trying again from time to time"));
                    }
                }
            }
        }
        self.report_problems();
    }

    /// The reader's thread.
    fn read(&self, wanted: &Receiver<(u64, Key)>, done: &Sender<Restored<B>>) {
        while let Ok((ticket, key)) = wanted.recv() {
            let sequence = self.load(key);
            self.report_problems();
            if done.send(Restored { ticket, sequence }).is_err() {
                return;
            }
        }
    }

    fn load(&self, key: Key) -> Option<Sequence<B>> {
        // Held here, what is in memory stays there until the sequence has it.
        let known: RefCell<HashMap<Hash, Arc<B::Page>>> = RefCell::default();
        let has = |id: &Hash| match locked(&self.pages).pages.get(id).and_then(Weak::upgrade) {
            Some(page) => {
                known.borrow_mut().insert(*id, page);
                true
            }
            None => false,
        };
        let failed = || locked(&self.stats).failures += 1;
        let Ok(loaded) = self.store.load(key, &has) else {
            // The store reports what was wrong.
            failed();
            return None;
        };
        let unusable = |error: &crate::Error| {
            failed();
            self.store.reject(key, &error.to_string());
            None
        };
        let mut known = known.into_inner();
        let mut pages = Vec::with_capacity(loaded.pages.len());
        for (id, bytes) in loaded.ids.iter().zip(loaded.pages) {
            let page = match bytes {
                Some(bytes) => {
                    let Ok(page) = self.backend.page(bytes).map(Arc::new) else {
                        failed();
                        return None;
                    };
                    locked(&self.pages).add(&page, *id);
                    known.insert(*id, Arc::clone(&page));
                    page
                }
                // Held since it was asked for.
                None => Arc::clone(&known[id]),
            };
            pages.push(page);
        }
        match self.backend.restore(loaded.tokens.len(), pages, &loaded.frontier) {
            Ok(cache) => {
                let mut stats = locked(&self.stats);
                stats.restored_tokens += loaded.tokens.len() as u64;
                stats.read_bytes += loaded.bytes;
                Some(Sequence::restored(loaded.tokens, cache))
            }
            Err(error) => unusable(&error),
        }
    }
}

impl<B: Backend> Pages<B> {
    fn add(&mut self, page: &Arc<B::Page>, id: Hash) {
        if self.ids.len() >= 64 && self.ids.len().is_power_of_two() {
            self.ids.retain(|_, (page, _)| page.strong_count() > 0);
            self.pages.retain(|_, page| page.strong_count() > 0);
        }
        self.ids.insert(Arc::as_ptr(page).addr(), (Arc::downgrade(page), id));
        self.pages.insert(id, Arc::downgrade(page));
    }
}
