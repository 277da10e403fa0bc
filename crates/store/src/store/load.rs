//! Loading: a checkpoint and its pages, every byte checked.

use super::{CHECKPOINT, RUN, Store, locked};
use crate::TokenId;
use crate::error::{Error, Result};
use crate::format::{CheckpointHead, Hash, Key, hash};
use crate::usage;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// Threads that read and check pages.
const READERS_MAX: usize = 4;

/// A checkpoint read from disk, every byte checked.
pub struct Loaded {
    /// Tokens.
    pub tokens: Vec<TokenId>,
    /// Names of all pages.
    pub ids: Vec<Hash>,
    /// The pages; `None` where they were said to be there already.
    pub pages: Vec<Option<Vec<u8>>>,
    /// The frontier.
    pub frontier: Vec<u8>,
    /// Bytes read.
    pub bytes: u64,
}

impl Store {
    /// Reads a checkpoint and checks every byte of it, but for pages that `has` knows. It counts as a use.
    ///
    /// # Errors
    /// It has gone or is damaged; then it is not in the store any more.
    pub fn load(&self, key: Key, has: &dyn Fn(&Hash) -> bool) -> Result<Loaded> {
        let mut state = locked(&self.state);
        let Some(entry) = state.index.entry_mut(key) else { return Err(Error::Missing(key.to_string())) };
        entry.pins += 1;
        drop(state);
        let loaded = self.read(key, has);
        let mut state = locked(&self.state);
        if let Some(entry) = state.index.entry_mut(key) {
            entry.pins -= 1;
            if loaded.is_ok() {
                entry.usage.hit(usage::now());
                state.has_new_uses = true;
            }
        }
        drop(state);
        match &loaded {
            Ok(_) => self.note_uses(false),
            Err(fault) => self.drop_faulty(key, fault),
        }
        loaded.map_err(|fault| fault.error)
    }

    /// Removes a checkpoint whose bytes are what was written, but cannot be used: `why` says the reason.
    pub fn reject(&self, key: Key, why: &str) {
        let error = Error::damaged(self.path(key, CHECKPOINT), why);
        self.drop_faulty(key, &Fault { error, run: None });
    }

    fn read(&self, key: Key, has: &dyn Fn(&Hash) -> bool) -> std::result::Result<Loaded, Fault> {
        let path = self.path(key, CHECKPOINT);
        let (head, frontier) = read_checkpoint(&path, key).map_err(|error| Fault { error, run: None })?;
        let mut wanted = Vec::new();
        {
            let state = locked(&self.state);
            for (place, id) in head.pages.iter().enumerate().filter(|(_, id)| !has(id)) {
                let found = state.index.page(id, head.page_bytes);
                let found = found.and_then(|(run, at)| Some((run, at, state.index.run(run)?.head_bytes)));
                let Some((run, at, head_bytes)) = found else {
                    let error = Error::damaged(&path, "a page is missing");
                    return Err(Fault { error, run: None });
                };
                let offset = head_bytes + (at * head.page_bytes) as u64;
                wanted.push(Wanted { place, id: *id, run, offset });
            }
        }
        let mut pages: Vec<Option<Vec<u8>>> = vec![None; head.pages.len()];
        let readers = std::thread::available_parallelism().map_or(1, usize::from).min(READERS_MAX);
        let share = wanted.len().div_ceil(readers).max(1);
        let shares: Vec<_> = std::thread::scope(|scope| {
            let read = |share| scope.spawn(move || self.read_pages(share, head.page_bytes));
            let readers: Vec<_> = wanted.chunks(share).map(read).collect();
            readers.into_iter().map(|reader| reader.join()).collect()
        });
        let mut bytes = head.head_bytes() + head.frontier_bytes as u64;
        for share in shares {
            let share = share.unwrap_or_else(|_| {
                Err(Fault { error: Error::damaged(&self.dir, "a reader ended early"), run: None })
            })?;
            for (place, page) in share {
                bytes += page.len() as u64;
                pages[place] = Some(page);
            }
        }
        // After the pages: new checkpoints would go on naming a page that is damaged and was not looked at.
        if hash(&frontier) != head.frontier {
            return Err(Fault { error: Error::damaged(path, "its frontier has another checksum"), run: None });
        }
        Ok(Loaded { tokens: head.tokens, ids: head.pages, pages, frontier, bytes })
    }

    fn read_pages(&self, wanted: &[Wanted], page_bytes: usize) -> std::result::Result<Vec<(usize, Vec<u8>)>, Fault> {
        let mut open: Option<(Key, File)> = None;
        let mut pages = Vec::with_capacity(wanted.len());
        for Wanted { place, id, run, offset } in wanted {
            let path = self.path(*run, RUN);
            let failed = |error| Fault { error: Error::io(&path)(error), run: Some(*run) };
            let mut file = match open.take() {
                Some((key, file)) if key == *run => file,
                _ => File::open(&path).map_err(failed)?,
            };
            let mut page = vec![0; page_bytes];
            file.seek(SeekFrom::Start(*offset)).and_then(|_| file.read_exact(&mut page)).map_err(failed)?;
            if hash(&page) != *id {
                let error = Error::damaged(&path, "a page has another checksum");
                return Err(Fault { error, run: Some(*run) });
            }
            pages.push((*place, page));
            open = Some((*run, file));
        }
        Ok(pages)
    }

    /// Forgets what could not be read, and deletes it if its content is wrong.
    fn drop_faulty(&self, key: Key, fault: &Fault) {
        let mut state = locked(&self.state);
        let lost = match fault.run {
            Some(run) => state.index.remove_bad_run(run),
            None => state.index.remove_checkpoint(key).map(|_| key).into_iter().collect(),
        };
        let unused = state.index.take_unused_runs();
        let others = if lost.len() > 1 { format!("; {} checkpoints go with it", lost.len()) } else { String::new() };
        state.problems.push(format!("{}{others}", fault.error));
        drop(state);
        let is_damaged = matches!(&fault.error, Error::Damaged { .. });
        let is_missing = matches!(&fault.error, Error::Io { error, .. } if error.kind() == io::ErrorKind::NotFound);
        if !is_damaged && !is_missing {
            // A disk that cannot be read just now: the next start may see more.
            return;
        }
        lost.into_iter().for_each(|key| self.delete(key, CHECKPOINT));
        fault.run.into_iter().chain(unused).for_each(|run| self.delete(run, RUN));
    }
}

/// A page to be read.
struct Wanted {
    place: usize,
    id: Hash,
    run: Key,
    offset: u64,
}

/// Why a checkpoint could not be read, and the run that is to blame if it is not the checkpoint.
struct Fault {
    error: Error,
    run: Option<Key>,
}

/// Reads head and frontier of a checkpoint; the frontier is not checked.
fn read_checkpoint(path: &Path, key: Key) -> Result<(CheckpointHead, Vec<u8>)> {
    let file = File::open(path).map_err(Error::io(path))?;
    let length = file.metadata().map_err(Error::io(path))?.len();
    let mut reader = BufReader::new(file);
    let head = CheckpointHead::read(&mut reader, length).map_err(|fault| Error::damaged(path, fault))?;
    if Key::of_tokens(&head.identity, &head.tokens) != key {
        return Err(Error::damaged(path, "it has the name of another one"));
    }
    let mut frontier = vec![0; head.frontier_bytes];
    reader.read_exact(&mut frontier).map_err(Error::io(path))?;
    Ok((head, frontier))
}
