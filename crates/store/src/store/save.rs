//! Saving: new pages, then the checkpoint.

use super::{CHECKPOINT, RUN, Store, locked};
use crate::TokenId;
use crate::error::{Error, Result};
use crate::files::{self, NewFile};
use crate::format::{CheckpointHead, Hash, Key, RunHead, hash};
use crate::index::Index;
use crate::limits::RUN_PAGES_MAX;
use crate::usage::{self, Usage};
use std::borrow::Cow;
use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Bytes written between two looks at the clock.
const BURST: u64 = 4 << 20;

/// A checkpoint to be saved.
pub struct Draft<'a> {
    /// Model, rounding and arithmetic.
    pub identity: Hash,
    /// The same for people.
    pub label: &'a str,
    /// Tokens of a page.
    pub page_tokens: usize,
    /// Bytes of a page.
    pub page_bytes: usize,
    /// Tokens.
    pub tokens: &'a [TokenId],
    /// Hashes of the finished pages: one for every `page_tokens` tokens.
    pub pages: &'a [Hash],
    /// Bytes of a page. Asked only for those that the store lacks.
    pub page: &'a dyn Fn(usize) -> std::result::Result<Cow<'a, [u8]>, String>,
    /// All that the pages do not hold.
    pub frontier: &'a [u8],
}

/// What a save wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Bytes of pages.
    pub page_bytes: u64,
    /// Bytes of heads and frontier.
    pub other_bytes: u64,
    /// Checkpoints removed to make room.
    pub evicted: u64,
}

impl Store {
    /// Saves a checkpoint: its new pages, then its own file. When this returns, both are on the disk. If it is there already, that is
    /// counted as a use.
    ///
    /// # Errors
    /// The store may not be written, the disk is full, the draft exceeds a bound or contradicts itself.
    pub fn save(&self, draft: &Draft<'_>) -> Result<Saved> {
        let _writing = locked(&self.writing);
        match self.try_save(draft) {
            // Somebody removed the directory: begin anew.
            Err(Error::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound && !self.dir.exists() => {
                files::make_private_dir(&self.dir).map_err(Error::io(&self.dir))?;
                *locked(&self.lock) = Some(files::lock(&self.dir)?);
                let mut state = locked(&self.state);
                state.index = Index::default();
                state.problems.push(format!("{} had been removed; it was made again", self.dir.display()));
                drop(state);
                self.try_save(draft)
            }
            other => other,
        }
    }

    fn try_save(&self, draft: &Draft<'_>) -> Result<Saved> {
        if !self.may_write() {
            return Err(Error::ReadOnly(self.dir.display().to_string()));
        }
        let now = usage::now();
        let head = CheckpointHead {
            identity: draft.identity,
            label: draft.label.to_owned(),
            page_tokens: draft.page_tokens,
            page_bytes: draft.page_bytes,
            created: now,
            tokens: draft.tokens.to_vec(),
            pages: draft.pages.to_vec(),
            frontier_bytes: draft.frontier.len(),
            frontier: hash(draft.frontier),
        };
        head.check().map_err(Error::Invalid)?;
        let key = Key::of_tokens(&head.identity, &head.tokens);
        let kept: HashSet<Key> = {
            let mut state = locked(&self.state);
            if let Some(entry) = state.index.entry_mut(key) {
                entry.usage.used = now;
                state.has_new_uses = true;
                return Ok(Saved::default());
            }
            // What is there stays until the new checkpoint needs it, and is given back by whoever drops `held`.
            state.index.hold(&head.pages);
            state.index.along(&head.identity, &head.tokens).into_iter().map(|(_, key)| key).collect()
        };
        let held = Held { store: self, pages: &head.pages };
        let missing = self.missing(&head);
        let other_bytes = head.head_bytes() + head.frontier_bytes as u64;
        let run_heads = missing.chunks(RUN_PAGES_MAX).map(|places| RunHead::bytes_before(places.len())).sum::<u64>();
        let needed = other_bytes + run_heads + (missing.len() * head.page_bytes) as u64;
        let whole = other_bytes + (head.pages.len() * (head.page_bytes + size_of::<Hash>())) as u64;
        if whole > self.options.max_bytes {
            return Err(Error::TooLarge { needed: whole, limit: self.options.max_bytes });
        }
        let evicted = self.make_room(needed, &kept).checkpoints;
        self.check_free(needed)?;
        for places in missing.chunks(RUN_PAGES_MAX) {
            self.write_run(draft, &head, places)?;
        }
        self.write_file(self.path(key, CHECKPOINT), &[&head.encode(), draft.frontier])?;
        files::sync_dir(&self.dir);
        let mut state = locked(&self.state);
        let usage = Usage { hits: 0.0, used: now };
        let added = state.index.add_checkpoint(key, &head, usage);
        drop((state, held));
        if let Err(what) = added {
            self.delete(key, CHECKPOINT);
            return Err(Error::Invalid(what));
        }
        self.note_uses(false);
        Ok(Saved { page_bytes: (missing.len() * head.page_bytes) as u64, other_bytes, evicted })
    }

    /// Places in `head.pages` of pages that the store lacks, each page once.
    fn missing(&self, head: &CheckpointHead) -> Vec<usize> {
        let state = locked(&self.state);
        let mut seen = HashSet::new();
        let is_missing = |id: &Hash| state.index.page(id, head.page_bytes).is_none();
        let mut missing = Vec::new();
        for (place, id) in head.pages.iter().enumerate() {
            if is_missing(id) && seen.insert(id) {
                missing.push(place);
            }
        }
        missing
    }

    fn write_run(&self, draft: &Draft<'_>, head: &CheckpointHead, places: &[usize]) -> Result<()> {
        let ids: Vec<Hash> = places.iter().map(|place| head.pages[*place]).collect();
        let key = Key::of_pages(&ids);
        let run = RunHead { identity: head.identity, page_bytes: head.page_bytes, ids };
        let mut file = NewFile::create(self.path(key, RUN))?;
        let mut pace = Pace::new(self);
        file.write(&run.encode())?;
        for place in places {
            let page = (draft.page)(*place).map_err(Error::Invalid)?;
            if page.len() != head.page_bytes {
                return Err(Error::Invalid(format!("a page of {} bytes, expected {}", page.len(), head.page_bytes)));
            }
            file.write(&page)?;
            pace.wrote(page.len());
        }
        file.commit()?;
        let mut state = locked(&self.state);
        // The pages of this run were not there when the others were held.
        state.index.release(&head.pages);
        state.index.add_run(key, run);
        state.index.hold(&head.pages);
        Ok(())
    }

    fn write_file(&self, path: PathBuf, parts: &[&[u8]]) -> Result<()> {
        let mut file = NewFile::create(path)?;
        let mut pace = Pace::new(self);
        for part in parts.iter().flat_map(|part| part.chunks(BURST as usize)) {
            file.write(part)?;
            pace.wrote(part.len());
        }
        file.commit()
    }

    fn check_free(&self, needed: u64) -> Result<()> {
        let Some(free) = files::free_bytes(&self.dir) else { return Ok(()) };
        let reserve = self.options.min_free;
        if free >= needed.saturating_add(reserve) {
            return Ok(());
        }
        Err(Error::Full { dir: self.dir.display().to_string(), free, needed, reserve })
    }

    /// Removes those of `pages` that no checkpoint needs.
    fn release(&self, pages: &[Hash]) {
        let mut state = locked(&self.state);
        state.index.release(pages);
        let unused = state.index.take_unused_runs();
        drop(state);
        unused.into_iter().for_each(|run| self.delete(run, RUN));
    }
}

/// Pages that must not go while a checkpoint is saved.
struct Held<'a> {
    store: &'a Store,
    pages: &'a [Hash],
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.store.release(self.pages);
    }
}

/// Keeps writes to the rate that is allowed.
struct Pace<'a> {
    store: &'a Store,
    began: Instant,
    bytes: u64,
    checked: u64,
}

impl<'a> Pace<'a> {
    fn new(store: &'a Store) -> Self {
        Self { store, began: Instant::now(), bytes: 0, checked: 0 }
    }

    fn wrote(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if self.bytes - self.checked < BURST || self.store.hurries.load(Ordering::Acquire) {
            return;
        }
        self.checked = self.bytes;
        let due = Duration::from_secs_f64(self.bytes as f64 / self.store.options.write_rate.max(1) as f64);
        std::thread::sleep(due.saturating_sub(self.began.elapsed()).min(Duration::from_secs(1)));
    }
}
