//! The prefix cache: checkpoints of earlier sequences, from which new ones continue.
//!
//! A checkpoint is a [`Sequence`]: its compressed history is shared pages, so that keeping one for every turn of a
//! conversation costs a frontier each, not a history each. A radix tree over tokens finds the longest that begins a prompt.

use crate::backend::Backend;
use crate::{Sequence, TokenId};
use ds4_store::{Place, Radix};
use std::cmp::Reverse;
use std::collections::HashSet;

/// Most checkpoints kept.
pub const CHECKPOINTS_MAX: usize = 1024;

struct Entry<B: Backend> {
    sequence: Sequence<B>,
    /// When it was last used, on the cache's own clock.
    used: u64,
}

/// Checkpoints within a number of bytes. The least recently used ones go first.
pub struct PrefixCache<B: Backend> {
    tree: Radix<Entry<B>>,
    clock: u64,
    bytes: u64,
}

impl<B: Backend> Default for PrefixCache<B> {
    fn default() -> Self {
        Self { tree: Radix::default(), clock: 0, bytes: 0 }
    }
}

impl<B: Backend> PrefixCache<B> {
    /// A fork of the longest checkpoint whose tokens begin `tokens` and leave at least one to evaluate.
    pub fn longest(&mut self, tokens: &[TokenId]) -> Option<Sequence<B>> {
        let place = self.touch(&tokens[..tokens.len().saturating_sub(1)])?;
        self.tree.get(place).map(|entry| entry.sequence.clone())
    }

    /// Counts as used what a sequence of these tokens lives on: the longest checkpoint that begins it, and those where other
    /// conversations branch off. The ones between are of use only to who goes back.
    pub fn touch(&mut self, tokens: &[TokenId]) -> Option<Place> {
        self.clock += 1;
        let along = self.tree.along(tokens);
        let longest = along.last().map(|(_, place)| *place)?;
        for (_, place) in along {
            if (place == longest || self.tree.branches(place) > 1)
                && let Some(entry) = self.tree.get_mut(place)
            {
                entry.used = self.clock;
            }
        }
        Some(longest)
    }

    /// Keeps `sequence`, unless it is empty, was left half way, or is there already.
    pub fn store(&mut self, sequence: Sequence<B>) {
        if sequence.is_empty() || sequence.is_broken() {
            return;
        }
        self.clock += 1;
        let used = self.clock;
        let known = self.tree.place(sequence.tokens()).and_then(|place| self.tree.get_mut(place));
        match known {
            Some(entry) => entry.used = used,
            None => {
                let tokens = sequence.tokens().to_vec();
                self.tree.insert(&tokens, Entry { sequence, used });
            }
        }
    }

    /// Places of all checkpoints, the last used first.
    fn by_use(&self) -> Vec<Place> {
        let mut all: Vec<(u64, Place)> = self.tree.iter().map(|(place, entry)| (entry.used, place)).collect();
        all.sort_unstable_by_key(|(used, _)| Reverse(*used));
        all.into_iter().map(|(_, place)| place).collect()
    }

    /// Drops checkpoints until they take at most `most` bytes. Gives back those of the dropped ones that no other continued, the
    /// last used first: what they hold is nowhere else.
    pub fn shrink(&mut self, backend: &B, most: u64) -> Vec<Sequence<B>> {
        let places = self.by_use();
        let mut counted = HashSet::new();
        let (mut bytes, mut kept) = (0_u64, 0);
        for entry in places.iter().take(CHECKPOINTS_MAX).filter_map(|place| self.tree.get(*place)) {
            let with = bytes.saturating_add(backend.cache_bytes(entry.sequence.cache(), &mut counted));
            if with > most {
                break;
            }
            (bytes, kept) = (with, kept + 1);
        }
        self.bytes = bytes;
        let dropped = &places[kept..];
        let leaves: HashSet<Place> = dropped.iter().copied().filter(|place| self.tree.branches(*place) == 0).collect();
        let dropped = dropped.iter().filter_map(|place| Some((place, self.tree.remove(*place)?)));
        dropped.filter(|(place, _)| leaves.contains(place)).map(|(_, entry)| entry.sequence).collect()
    }

    /// Bytes at the last [`shrink`](Self::shrink).
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Number of checkpoints.
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }
}
