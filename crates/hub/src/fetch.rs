//! A file in parallel ranges, checked while they arrive.

use crate::client::Client;
use crate::error::{Error, Result};
use crate::part::{Part, Record};
use crate::verify::{READ_BYTES, hex, verify};
use crate::worker::{Place, Quit, work};
use crate::{Progress, Remote, Watch};
use sha2::{Digest, Sha256};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// How often the one who waits is told.
const TELL: Duration = Duration::from_millis(100);
/// How often it is written down how far the file is: what a power cut costs at most.
const SAVE: Duration = Duration::from_secs(5);
/// Bytes of the disk that stay free.
const RESERVE_BYTES: u64 = 64 << 20;

/// How to fetch.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Requests at once.
    pub connections: usize,
    /// Bytes of a piece.
    pub piece: u64,
    /// Tries in a row that bring nothing.
    pub tries: u32,
    /// Pause after the first of them; each later one is twice as long, up to 64 times.
    pub backoff: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { connections: 8, piece: 64 << 20, tries: 8, backoff: Duration::from_millis(500) }
    }
}

/// What a download did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Bytes that came in this run.
    pub came: u64,
    /// Bytes that were here before.
    pub resumed: u64,
}

/// What the workers share.
pub(crate) struct Board<'a> {
    pub part: &'a Part,
    /// The server sends whole files only: one piece, from the start each time.
    pub whole: bool,
    state: Mutex<State>,
    changed: Condvar,
    over: AtomicBool,
    checked: AtomicU64,
    watch: &'a dyn Watch,
}

struct State {
    record: Record,
    next: usize,
    running: usize,
    quit: Option<Quit>,
}

impl<'a> Board<'a> {
    fn new(part: &'a Part, record: Record, whole: bool, watch: &'a dyn Watch) -> Self {
        let state = State { record, next: 0, running: 0, quit: None };
        let (changed, over, checked) = (Condvar::new(), AtomicBool::new(false), AtomicU64::new(0));
        Self { part, whole, state: Mutex::new(state), changed, over, checked, watch }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Numbers are whole between any two statements that hold the lock.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn bytes(&self) -> u64 {
        self.state().record.bytes
    }

    pub fn extent(&self, index: usize) -> (u64, u64) {
        self.state().record.extent(index)
    }

    pub fn done(&self, index: usize) -> u64 {
        self.state().record.done[index]
    }

    pub fn advance(&self, index: usize, bytes: u64) {
        self.state().record.done[index] += bytes;
        self.changed.notify_all();
    }

    pub fn reset(&self, index: usize) {
        self.state().record.done[index] = 0;
    }

    /// The next piece that nobody has.
    pub fn take(&self) -> Option<usize> {
        let mut state = self.state();
        if self.is_over() {
            return None;
        }
        let State { record, next, .. } = &mut *state;
        while *next < record.done.len() {
            let index = *next;
            *next += 1;
            if record.done[index] < record.extent(index).1 {
                return Some(index);
            }
        }
        None
    }

    /// Ends the download; the first reason counts.
    pub fn quit(&self, quit: Quit) {
        self.state().quit.get_or_insert(quit);
        self.over.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    pub fn notice(&self, message: &str) {
        self.watch.notice(message);
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed) || self.watch.stop()
    }

    /// The checksum of the file, read while it grows.
    fn hash(&self) -> Result<Option<String>> {
        let (mut hasher, mut buffer, mut at) = (Sha256::new(), vec![0; READ_BYTES], 0u64);
        let bytes = self.bytes();
        while at < bytes {
            let Some(end) = self.wait_beyond(at) else { return Ok(None) };
            while at < end {
                if self.is_over() {
                    return Ok(None);
                }
                let most = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
                let piece = &mut buffer[..most];
                self.part.file.read_exact_at(piece, at).map_err(Error::io(&self.part.path))?;
                hasher.update(&*piece);
                at += most as u64;
                self.checked.store(at, Ordering::Relaxed);
            }
        }
        Ok(Some(hex(&hasher.finalize())))
    }

    /// Up to where the file is here without a gap, once that is beyond `at`. Pieces count when they are whole.
    fn wait_beyond(&self, at: u64) -> Option<u64> {
        let mut state = self.state();
        loop {
            if self.is_over() {
                return None;
            }
            let record = &state.record;
            let first = usize::try_from(at / record.piece).ok()?;
            let whole = (first..record.done.len()).take_while(|index| record.done[*index] == record.extent(*index).1);
            if let Some(last) = whole.last() {
                let (start, size) = record.extent(last);
                return Some(start + size);
            }
            state = self.changed.wait_timeout(state, TELL).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }
}

/// Brings `remote` to `target`, whose directory exists.
///
/// # Errors
/// See [`Error`]. `target` is there only after success; what came stays beside it for the next run, except bytes that are wrong.
pub fn fetch(client: &Client, remote: &Remote, target: &Path, options: &Options, watch: &dyn Watch) -> Result<Fetched> {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if target.symlink_metadata().is_ok() {
        return is_published(remote, target, watch);
    }
    let part = Part::open(target)?;
    let record = part.resume(remote).unwrap_or_else(|why| {
        watch.notice(&format!("{why}; starting anew"));
        None
    });
    let record = match record {
        Some(record) => record,
        None => {
            part.clear()?;
            Record::new(remote, options.piece)
        }
    };
    let resumed = record.here();
    let room = enough_room(folder, remote.bytes.saturating_sub(part.allocated()));
    let result = room.and_then(|()| part.reserve(remote.bytes)).and_then(|()| {
        match run(client, remote, &part, record, false, options, watch)? {
            Outcome::Checked(sha256) => Ok((sha256, remote.bytes - resumed, resumed)),
            Outcome::NoRanges => {
                watch.notice("the server sends whole files only: one connection, and no resuming");
                let one = Record { piece: remote.bytes, done: vec![0], ..Record::new(remote, remote.bytes) };
                match run(client, remote, &part, one, true, options, watch)? {
                    Outcome::Checked(sha256) => Ok((sha256, remote.bytes, 0)),
                    Outcome::NoRanges => Err(Error::Stopped),
                }
            }
        }
    });
    let (got, came, resumed) = match result {
        Ok(done) => done,
        Err(error) => {
            if unfinished_is_empty(target) || matches!(error, Error::Changed { .. }) {
                part.remove();
            }
            return Err(error);
        }
    };
    if got != remote.sha256 {
        part.remove();
        return Err(Error::Checksum { file: remote.file.clone(), got, expected: remote.sha256.clone() });
    }
    part.finish(target)?;
    Ok(Fetched { came, resumed })
}

/// Whether nothing of the file came yet.
fn unfinished_is_empty(target: &Path) -> bool {
    crate::unfinished(target).is_none_or(|unfinished| unfinished.here == 0)
}

/// Accepts a file that is there already, if it is the right one.
fn is_published(remote: &Remote, target: &Path, watch: &dyn Watch) -> Result<Fetched> {
    let other = |what| Err(Error::Other { path: target.to_owned(), what });
    let bytes = std::fs::metadata(target).map_err(Error::io(target))?.len();
    if bytes != remote.bytes {
        return other(format!("{bytes} bytes, expected {}", remote.bytes));
    }
    watch.notice(&format!("{} is there already; checking it", target.display()));
    let sha256 = verify(target, watch)?;
    if sha256 != remote.sha256 {
        return other(format!("its SHA-256 is {sha256}, expected {}", remote.sha256));
    }
    Ok(Fetched { came: 0, resumed: bytes })
}

fn enough_room(folder: &Path, needed: u64) -> Result<()> {
    // A file system that does not tell is tried.
    let Ok(stat) = rustix::fs::statvfs(folder) else { return Ok(()) };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let needed = needed.saturating_add(RESERVE_BYTES);
    if free >= needed { Ok(()) } else { Err(Error::Space { dir: folder.to_owned(), free, needed }) }
}

enum Outcome {
    /// All bytes are here; their checksum.
    Checked(String),
    NoRanges,
}

/// Fetches what `record` lacks.
fn run(
    client: &Client,
    remote: &Remote,
    part: &Part,
    record: Record,
    whole: bool,
    options: &Options,
    watch: &dyn Watch,
) -> Result<Outcome> {
    let place = Place::new(client, remote);
    let connections = options.connections.clamp(1, record.done.len().max(1));
    let board = Board::new(part, record, whole, watch);
    board.state().running = connections;
    let hashed = thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                work(&board, &place, options);
                board.state().running -= 1;
            });
        }
        let hasher = scope.spawn(|| board.hash());
        let mut saved = Instant::now();
        let mut is_ending = false;
        while !hasher.is_finished() || board.state().running > 0 {
            let state = board.state();
            let waited = board.changed.wait_timeout(state, TELL);
            drop(waited);
            thread::sleep(TELL / 5);
            let (here, total) = (board.state().record.here(), remote.bytes);
            watch.progress(Progress { here, checked: board.checked.load(Ordering::Relaxed), total });
            // Workers may wait for a silent server yet; what came is safe before whoever asked to end loses patience.
            let ends_now = watch.stop() && !std::mem::replace(&mut is_ending, watch.stop());
            if (saved.elapsed() >= SAVE || ends_now) && !whole {
                if let Err(error) = save(&board) {
                    board.quit(Quit::Failed(error));
                }
                saved = Instant::now();
            }
        }
        hasher.join().unwrap_or(Ok(None))
    });
    if !whole {
        save(&board)?;
    }
    let quit = board.state().quit.take();
    match (quit, hashed?) {
        (Some(Quit::Failed(error)), _) => Err(error),
        (Some(Quit::NoRanges), _) => Ok(Outcome::NoRanges),
        (None, Some(sha256)) => Ok(Outcome::Checked(sha256)),
        (Some(Quit::Ended), _) | (None, None) => Err(Error::Stopped),
    }
}

fn save(board: &Board<'_>) -> Result<()> {
    // Taken before the data are synced: what comes meanwhile is not claimed.
    let record = board.state().record.clone();
    board.part.save(&record)
}
