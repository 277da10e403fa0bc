//! What is in a store, and what it is worth.

use crate::TokenId;
use crate::format::{CheckpointHead, Hash, Key, RunHead};
use crate::radix::{Place, Radix};
use crate::usage::Usage;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Time in which an unused checkpoint's worth halves, in seconds.
const HALF_LIFE: f64 = 24.0 * 3600.0;
/// Worth of a checkpoint that another one continues and no third one branches from: only who goes back needs it.
const SUPERSEDED: f64 = 0.05;

/// A checkpoint of the index.
pub struct Entry {
    pub identity: Hash,
    pub label: Arc<str>,
    pub page_bytes: usize,
    pub page_tokens: usize,
    pub pages: Vec<Hash>,
    /// Bytes of its own file.
    pub bytes: u64,
    pub created: u64,
    pub usage: Usage,
    /// Loads under way; it is not removed meanwhile.
    pub pins: usize,
    place: Place,
}

/// A run of the index.
pub struct Run {
    pub page_bytes: usize,
    pub head_bytes: u64,
    ids: Vec<Hash>,
    /// Pages that checkpoints, or saves under way, name.
    uses: usize,
}

impl Run {
    fn bytes(&self) -> u64 {
        self.head_bytes + (self.ids.len() * self.page_bytes) as u64
    }
}

/// What programs want to know of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Its name.
    pub key: Key,
    /// What wrote it: model, rounding, arithmetic.
    pub identity: Hash,
    /// The same for people.
    pub label: String,
    /// Tokens.
    pub tokens: usize,
    /// Bytes of its own file: tokens, names of pages, frontier.
    pub own_bytes: u64,
    /// Bytes of its pages, which others may share.
    pub page_bytes: u64,
    /// When it was saved, Unix seconds.
    pub created: u64,
    /// When it was last used, Unix seconds.
    pub used: u64,
    /// Number of uses, older ones counted less.
    pub hits: f64,
    /// Whether a longer checkpoint continues it.
    pub is_continued: bool,
}

/// Sums over a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Checkpoints.
    pub checkpoints: usize,
    /// Pages.
    pub pages: usize,
    /// Bytes of all files.
    pub bytes: u64,
}

/// The index: nothing in it that is not in the heads of the files, but for uses.
#[derive(Default)]
pub struct Index {
    checkpoints: HashMap<Key, Entry>,
    trees: HashMap<Hash, Radix<Key>>,
    runs: HashMap<Key, Run>,
    /// Run of a page and place in it.
    pages: HashMap<Hash, (Key, usize)>,
    bytes: u64,
}

impl Index {
    pub fn totals(&self) -> Totals {
        Totals { checkpoints: self.checkpoints.len(), pages: self.pages.len(), bytes: self.bytes }
    }

    pub fn entry(&self, key: Key) -> Option<&Entry> {
        self.checkpoints.get(&key)
    }

    pub fn entry_mut(&mut self, key: Key) -> Option<&mut Entry> {
        self.checkpoints.get_mut(&key)
    }

    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.checkpoints.keys().copied()
    }

    pub fn uses(&self) -> impl Iterator<Item = (Key, Usage)> {
        self.checkpoints.iter().map(|(key, entry)| (*key, entry.usage))
    }

    /// The run of a page of `page_bytes` bytes, and which of its pages it is.
    pub fn page(&self, id: &Hash, page_bytes: usize) -> Option<(Key, usize)> {
        let place = self.pages.get(id)?;
        (self.runs.get(&place.0)?.page_bytes == page_bytes).then_some(*place)
    }

    pub fn run(&self, key: Key) -> Option<&Run> {
        self.runs.get(&key)
    }

    pub fn add_run(&mut self, key: Key, head: RunHead) {
        for (i, id) in head.ids.iter().enumerate() {
            self.pages.entry(*id).or_insert((key, i));
        }
        let run = Run { page_bytes: head.page_bytes, head_bytes: head.head_bytes(), ids: head.ids, uses: 0 };
        self.bytes += run.bytes();
        if let Some(before) = self.runs.insert(key, run) {
            self.bytes -= before.bytes();
        }
    }

    fn count(&mut self, pages: &[Hash], change: impl Fn(usize) -> usize) {
        for id in pages {
            if let Some(run) = self.pages.get(id).and_then(|(run, _)| self.runs.get_mut(run)) {
                run.uses = change(run.uses);
            }
        }
    }

    /// Keeps the runs of those pages that are there, until they are [released](Self::release).
    pub fn hold(&mut self, pages: &[Hash]) {
        self.count(pages, |uses| uses + 1);
    }

    /// The opposite. Every held page must be there still, which it is unless it was damaged.
    pub fn release(&mut self, pages: &[Hash]) {
        self.count(pages, |uses| uses.saturating_sub(1));
    }

    /// Takes out the runs that nobody needs: their files may go.
    pub fn take_unused_runs(&mut self) -> Vec<Key> {
        let unused: Vec<Key> = self.runs.iter().filter(|(_, run)| run.uses == 0).map(|(key, _)| *key).collect();
        unused.iter().for_each(|key| self.remove_run(*key));
        unused
    }

    fn remove_run(&mut self, key: Key) {
        let Some(run) = self.runs.remove(&key) else { return };
        self.bytes -= run.bytes();
        for id in run.ids {
            if self.pages.get(&id).is_some_and(|(of, _)| *of == key) {
                self.pages.remove(&id);
            }
        }
    }

    /// Adds a checkpoint.
    ///
    /// # Errors
    /// A page that is not there.
    pub fn add_checkpoint(&mut self, key: Key, head: &CheckpointHead, usage: Usage) -> Result<(), String> {
        let missing = head.pages.iter().filter(|id| self.page(id, head.page_bytes).is_none()).count();
        if missing > 0 {
            return Err(format!("{missing} of its {} pages are missing", head.pages.len()));
        }
        let (place, _) = self.trees.entry(head.identity).or_default().insert(&head.tokens, key);
        self.hold(&head.pages);
        let entry = Entry {
            identity: head.identity,
            label: head.label.as_str().into(),
            page_bytes: head.page_bytes,
            page_tokens: head.page_tokens,
            pages: head.pages.clone(),
            bytes: head.head_bytes() + head.frontier_bytes as u64,
            created: head.created,
            usage,
            pins: 0,
            place,
        };
        self.bytes += entry.bytes;
        self.checkpoints.insert(key, entry);
        Ok(())
    }

    /// Takes a checkpoint out; its runs stay until [`take_unused_runs`](Self::take_unused_runs).
    pub fn remove_checkpoint(&mut self, key: Key) -> Option<Entry> {
        let entry = self.checkpoints.remove(&key)?;
        self.bytes -= entry.bytes;
        if let Some(tree) = self.trees.get_mut(&entry.identity) {
            tree.remove(entry.place);
        }
        self.release(&entry.pages);
        Some(entry)
    }

    /// Takes out a run whose file is no good, with the checkpoints that need it.
    pub fn remove_bad_run(&mut self, run: Key) -> Vec<Key> {
        let needs = |entry: &Entry| entry.pages.iter().any(|id| self.pages.get(id).is_some_and(|(of, _)| *of == run));
        let lost: Vec<Key> = self.checkpoints.iter().filter(|(_, entry)| needs(entry)).map(|(key, _)| *key).collect();
        for key in &lost {
            self.remove_checkpoint(*key);
        }
        self.remove_run(run);
        lost
    }

    fn tree(&self, identity: &Hash) -> Option<&Radix<Key>> {
        self.trees.get(identity)
    }

    /// Checkpoints whose tokens begin `tokens`, the shortest first.
    pub fn along(&self, identity: &Hash, tokens: &[TokenId]) -> Vec<(usize, Key)> {
        let Some(tree) = self.tree(identity) else { return Vec::new() };
        tree.along(tokens).into_iter().filter_map(|(length, place)| Some((length, *tree.get(place)?))).collect()
    }

    /// Whether a checkpoint has these tokens, or more.
    pub fn continues(&self, identity: &Hash, tokens: &[TokenId]) -> bool {
        self.tree(identity).is_some_and(|tree| tree.continues(tokens))
    }

    /// Tokens of a checkpoint.
    pub fn tokens(&self, key: Key) -> Vec<TokenId> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        self.tree(&entry.identity).map(|tree| tree.key(entry.place)).unwrap_or_default()
    }

    /// What there is to know of a checkpoint.
    pub fn listed(&self, key: Key, now: u64) -> Option<Listed> {
        let entry = self.entry(key)?;
        let tree = self.tree(&entry.identity)?;
        Some(Listed {
            key,
            identity: entry.identity,
            label: entry.label.to_string(),
            tokens: tree.length(entry.place),
            own_bytes: entry.bytes,
            page_bytes: (entry.pages.len() * entry.page_bytes) as u64,
            created: entry.created,
            used: entry.usage.used,
            hits: entry.usage.hits_at(now),
            is_continued: tree.branches(entry.place) > 0,
        })
    }

    /// Checkpoints that may go, the least valuable first, but those of `kept` last.
    pub fn victims(&self, now: u64, kept: &HashSet<Key>) -> Vec<Key> {
        let may_go = self.checkpoints.iter().filter(|(_, entry)| entry.pins == 0);
        let worth = |(key, entry): (&Key, &Entry)| (kept.contains(key), self.worth(entry, now), entry.usage.used, *key);
        let mut all: Vec<(bool, f64, u64, Key)> = may_go.map(worth).collect();
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)).then(a.3.cmp(&b.3)));
        all.into_iter().map(|(.., key)| key).collect()
    }

    /// Tokens that need not be read again, times how likely they are wanted, per byte that goes with the checkpoint.
    fn worth(&self, entry: &Entry, now: u64) -> f64 {
        let Some(tree) = self.tree(&entry.identity) else { return 0.0 };
        let length = tree.length(entry.place);
        let above = tree.above(entry.place).map_or(0, |above| tree.length(above));
        let branches = tree.branches(entry.place);
        let own_pages = if branches == 0 { length / entry.page_tokens - above / entry.page_tokens } else { 0 };
        let bytes = entry.bytes as f64 + (own_pages * entry.page_bytes) as f64;
        let age = now.saturating_sub(entry.usage.used) as f64;
        let likely = (1.0 + entry.usage.hits_at(now)) * (-age / HALF_LIFE).exp2();
        let role = if branches == 1 { SUPERSEDED } else { 1.0 };
        role * likely * length as f64 / bytes.max(1.0)
    }
}
