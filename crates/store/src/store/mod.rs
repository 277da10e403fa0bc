//! The store: open, look up, remove.
//!
//! | file | content |
//! |---|---|
//! | `scan.rs` | reading the heads of all files |
//! | `save.rs` | new pages, then the checkpoint |
//! | `load.rs` | a checkpoint and its pages, every byte checked |

mod load;
mod save;
mod scan;

pub use load::Loaded;
pub use save::{Draft, Saved};

use crate::TokenId;
use crate::error::{Error, Result};
use crate::files;
use crate::format::{Hash, Key};
use crate::index::{Index, Listed, Totals};
use crate::limits::CHECKPOINTS_MAX;
use crate::usage::{self, Usage};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const CHECKPOINT: &str = "ckpt";
const RUN: &str = "run";
/// Uses are written down at most that often, and at the end.
const USAGE_EVERY: Duration = Duration::from_secs(60);

/// Whether a store may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only looked at, also while another process writes.
    Read,
    /// The only one that writes.
    Write,
}

/// Bounds of a store.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether it may change.
    pub access: Access,
    /// Most bytes of all files.
    pub max_bytes: u64,
    /// Bytes of the file system that are left free.
    pub min_free: u64,
    /// Bytes written a second, so that others get the disk too.
    pub write_rate: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { access: Access::Write, max_bytes: 16 << 30, min_free: 2 << 30, write_rate: 256 << 20 }
    }
}

/// A checkpoint that begins a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub key: Key,
    /// Its tokens.
    pub tokens: usize,
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Checkpoints.
    pub checkpoints: u64,
    /// Bytes of files.
    pub bytes: u64,
}

struct State {
    index: Index,
    problems: Vec<String>,
    /// Uses were counted that are not written down.
    has_new_uses: bool,
    uses_written: Instant,
}

/// A directory of checkpoints. It may be used from several threads; loads go on while something is saved.
pub struct Store {
    dir: PathBuf,
    options: Options,
    /// Held for as long as the store may be written.
    lock: Mutex<Option<File>>,
    state: Mutex<State>,
    writing: Mutex<()>,
    hurries: AtomicBool,
}

/// Nothing is left half done where a thread could panic.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens the store in `dir`, which is made if need be, and reads the heads of its files. A directory that cannot be written is
    /// opened to be read. Files that are no good are told by [`take_problems`](Self::take_problems).
    ///
    /// # Errors
    /// Another process has the directory, or it cannot be read.
    pub fn open(dir: &Path, options: Options) -> Result<Self> {
        let mut problems = Vec::new();
        let lock = match options.access {
            Access::Read => None,
            Access::Write => {
                let lock = files::make_private_dir(dir).map_err(Error::io(dir)).and_then(|()| files::lock(dir));
                match lock {
                    Ok(lock) => Some(lock),
                    Err(error) if files::is_read_only(&error) && dir.is_dir() => {
                        problems.push(Error::ReadOnly(dir.display().to_string()).to_string());
                        None
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        let may_write = lock.is_some();
        let index = scan::scan(dir, may_write, &mut problems)?;
        let state = State { index, problems, has_new_uses: false, uses_written: Instant::now() };
        let (lock, state) = (Mutex::new(lock), Mutex::new(state));
        let store = Self {
            dir: dir.to_owned(),
            options,
            lock,
            state,
            writing: Mutex::new(()),
            hurries: AtomicBool::new(false),
        };
        if may_write {
            let _writing = locked(&store.writing);
            store.make_room(0, &HashSet::new());
        }
        Ok(store)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether checkpoints can be added.
    pub fn may_write(&self) -> bool {
        locked(&self.lock).is_some()
    }

    /// Messages about files that were no good, each once.
    pub fn take_problems(&self) -> Vec<String> {
        std::mem::take(&mut locked(&self.state).problems)
    }

    /// Sums.
    pub fn totals(&self) -> Totals {
        locked(&self.state).index.totals()
    }

    /// All checkpoints, the last used first.
    pub fn list(&self) -> Vec<Listed> {
        let (state, now) = (locked(&self.state), usage::now());
        let mut all: Vec<Listed> = state.index.keys().filter_map(|key| state.index.listed(key, now)).collect();
        all.sort_unstable_by(|a, b| b.used.cmp(&a.used).then(b.tokens.cmp(&a.tokens)).then(a.key.cmp(&b.key)));
        all
    }

    /// The checkpoint whose name begins with `name`.
    ///
    /// # Errors
    /// None or several do.
    pub fn resolve(&self, name: &str) -> Result<Key> {
        let state = locked(&self.state);
        let mut keys = state.index.keys().filter(|key| key.to_string().starts_with(name));
        match (keys.next(), keys.count()) {
            (Some(key), 0) => Ok(key),
            (Some(_), others) => Err(Error::Ambiguous(name.to_owned(), others + 1)),
            (None, _) => Err(Error::Missing(name.to_owned())),
        }
    }

    /// What there is to know of a checkpoint.
    pub fn listed(&self, key: Key) -> Option<Listed> {
        locked(&self.state).index.listed(key, usage::now())
    }

    /// Tokens of a checkpoint; none if it has gone.
    pub fn tokens(&self, key: Key) -> Vec<TokenId> {
        locked(&self.state).index.tokens(key)
    }

    /// The longest checkpoint that begins `tokens` and leaves at least one of them.
    pub fn longest(&self, identity: &Hash, tokens: &[TokenId]) -> Option<Found> {
        let before_last = &tokens[..tokens.len().saturating_sub(1)];
        let along = locked(&self.state).index.along(identity, before_last);
        along.last().map(|(tokens, key)| Found { key: *key, tokens: *tokens })
    }

    /// Whether a checkpoint has all of `tokens`, and maybe more.
    pub fn covers(&self, identity: &Hash, tokens: &[TokenId]) -> bool {
        locked(&self.state).index.continues(identity, tokens)
    }

    /// Lets writes go as fast as they can from now on.
    pub fn hurry(&self) {
        self.hurries.store(true, Ordering::Release);
    }

    fn path(&self, key: Key, kind: &str) -> PathBuf {
        self.dir.join(format!("{key}.{kind}"))
    }

    /// Removes checkpoints, those of `kept` last, until `needed` more bytes are within the limits.
    fn make_room(&self, needed: u64, kept: &HashSet<Key>) -> Removed {
        let mut removed = Removed::default();
        let victims = {
            let state = locked(&self.state);
            let free = files::free_bytes(&self.dir).unwrap_or(u64::MAX);
            let could_be_free = free.saturating_add(state.index.totals().bytes);
            // Where others filled the disk, removing everything would not help.
            let is_hopeless = could_be_free < needed.saturating_add(self.options.min_free) && needed > 0;
            if is_hopeless || self.fits(&state.index, needed) {
                return removed;
            }
            state.index.victims(usage::now(), kept)
        };
        for key in victims {
            let one = self.remove_files(key);
            removed.checkpoints += one.checkpoints;
            removed.bytes += one.bytes;
            if self.fits(&locked(&self.state).index, needed) {
                break;
            }
        }
        removed
    }

    fn fits(&self, index: &Index, needed: u64) -> bool {
        let Totals { checkpoints, bytes, .. } = index.totals();
        let free = files::free_bytes(&self.dir).unwrap_or(u64::MAX);
        let has_free = needed == 0 || bytes == 0 || free >= needed.saturating_add(self.options.min_free);
        bytes.saturating_add(needed) <= self.options.max_bytes && checkpoints < CHECKPOINTS_MAX && has_free
    }

    /// Removes a checkpoint and the runs that only it needed.
    fn remove_files(&self, key: Key) -> Removed {
        let mut state = locked(&self.state);
        let before = state.index.totals().bytes;
        if state.index.remove_checkpoint(key).is_none() {
            return Removed::default();
        }
        let runs = state.index.take_unused_runs();
        let bytes = before - state.index.totals().bytes;
        drop(state);
        // First what names the pages, then the pages: what is listed can be read.
        self.delete(key, CHECKPOINT);
        runs.into_iter().for_each(|run| self.delete(run, RUN));
        Removed { checkpoints: 1, bytes }
    }

    fn delete(&self, key: Key, kind: &str) {
        if !self.may_write() {
            return;
        }
        let path = self.path(key, kind);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            locked(&self.state).problems.push(Error::io(&path)(error).to_string());
        }
    }

    /// Removes a checkpoint.
    ///
    /// # Errors
    /// The store may not be written.
    pub fn remove(&self, key: Key) -> Result<Removed> {
        if !self.may_write() {
            return Err(Error::ReadOnly(self.dir.display().to_string()));
        }
        let _writing = locked(&self.writing);
        Ok(self.remove_files(key))
    }

    /// Removes the least valuable checkpoints until all files have at most `max_bytes`.
    ///
    /// # Errors
    /// The store may not be written.
    pub fn prune(&self, max_bytes: u64) -> Result<Removed> {
        if !self.may_write() {
            return Err(Error::ReadOnly(self.dir.display().to_string()));
        }
        let _writing = locked(&self.writing);
        let victims = locked(&self.state).index.victims(usage::now(), &HashSet::new());
        let mut removed = Removed::default();
        for key in victims {
            if self.totals().bytes <= max_bytes {
                break;
            }
            let one = self.remove_files(key);
            removed.checkpoints += one.checkpoints;
            removed.bytes += one.bytes;
        }
        Ok(removed)
    }

    /// Writes down uses, if there are new ones and it is time, or `is_last`.
    fn note_uses(&self, is_last: bool) {
        if !self.may_write() {
            return;
        }
        let mut state = locked(&self.state);
        if !state.has_new_uses || !(is_last || state.uses_written.elapsed() > USAGE_EVERY) {
            return;
        }
        (state.has_new_uses, state.uses_written) = (false, Instant::now());
        let uses: Vec<(Key, Usage)> = state.index.uses().collect();
        drop(state);
        // A store that forgets its uses only chooses less well what to remove.
        let _ = usage::write(&self.dir, uses.into_iter());
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.note_uses(true);
    }
}
