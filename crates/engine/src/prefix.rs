//! The prefix cache: checkpoints of earlier sequences, from which new ones continue.
//!
//! A checkpoint is a [`Sequence`]: its compressed history is shared pages, so that keeping one for every turn of a
//! conversation costs a frontier each, not a history each.

use crate::backend::Backend;
use crate::{Sequence, TokenId};
use std::collections::HashSet;

/// Most checkpoints kept: each look-up compares with all of them.
pub const CHECKPOINTS_MAX: usize = 1024;

struct Entry<B: Backend> {
    sequence: Sequence<B>,
    /// When it was last used, on the cache's own clock.
    used: u64,
}

/// Checkpoints within a number of bytes. The least recently used ones go first.
pub struct PrefixCache<B: Backend> {
    entries: Vec<Entry<B>>,
    clock: u64,
    bytes: u64,
}

impl<B: Backend> Default for PrefixCache<B> {
    fn default() -> Self {
        Self { entries: Vec::new(), clock: 0, bytes: 0 }
    }
}

impl<B: Backend> PrefixCache<B> {
    /// A fork of the longest checkpoint whose tokens begin `tokens` and leave at least one to evaluate.
    pub fn longest(&mut self, tokens: &[TokenId]) -> Option<Sequence<B>> {
        self.clock += 1;
        let begins = |entry: &&mut Entry<B>| {
            let stored = entry.sequence.tokens();
            stored.len() < tokens.len() && tokens.starts_with(stored)
        };
        let entry = self.entries.iter_mut().filter(begins).max_by_key(|entry| entry.sequence.len())?;
        entry.used = self.clock;
        Some(entry.sequence.clone())
    }

    /// Keeps `sequence`, unless it is empty, was left half way, or is there already.
    pub fn store(&mut self, sequence: Sequence<B>) {
        self.clock += 1;
        if sequence.is_empty() || sequence.is_broken() {
            return;
        }
        match self.entries.iter_mut().find(|entry| entry.sequence.tokens() == sequence.tokens()) {
            Some(entry) => entry.used = self.clock,
            None => self.entries.push(Entry { sequence, used: self.clock }),
        }
    }

    /// Drops checkpoints until they take at most `most` bytes.
    pub fn shrink(&mut self, backend: &B, most: u64) {
        self.entries.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.used));
        self.entries.truncate(CHECKPOINTS_MAX);
        let mut counted = HashSet::new();
        let (mut bytes, mut kept) = (0_u64, 0);
        for entry in &self.entries {
            let with = bytes.saturating_add(backend.cache_bytes(entry.sequence.cache(), &mut counted));
            if with > most {
                break;
            }
            (bytes, kept) = (with, kept + 1);
        }
        self.entries.truncate(kept);
        self.bytes = bytes;
    }

    /// Bytes at the last [`shrink`](Self::shrink).
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Number of checkpoints.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
