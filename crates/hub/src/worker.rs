//! Pieces of a file, each by one worker at a time.

use crate::client::{Ask, Client, Reply, host};
use crate::error::Error;
use crate::fetch::{Board, Options};
use crate::remote::{Trouble, linked};
use crate::{Remote, Watch};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;
/// Longest that a server can make us wait.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// Tries of a question for size and checksum.
const QUESTION_TRIES: u32 = 4;
/// From this try in vain on a piece's trouble is told.
const TOLD_TRY: u32 = 3;
/// How often a wait looks whether to end.
const GLANCE: Duration = Duration::from_millis(20);

/// Whether a status may pass by itself.
pub(crate) fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 421 | 425 | 429 | 500..=599)
}

impl Options {
    /// Waits before try number `tries`, longer each time; `false` once asked to end.
    fn pause(&self, tries: u32, wait: Option<u64>, stop: &dyn Fn() -> bool) -> bool {
        let until = Instant::now() + self.length_of_pause(tries, wait);
        while Instant::now() < until {
            if stop() {
                return false;
            }
            std::thread::sleep(GLANCE.min(until.saturating_duration_since(Instant::now())));
        }
        !stop()
    }

    fn length_of_pause(&self, tries: u32, wait: Option<u64>) -> Duration {
        let asked = Duration::from_secs(wait.unwrap_or(0)).min(WAIT_MAX);
        (self.backoff * 2u32.saturating_pow(tries.min(6))).max(asked)
    }

    /// Does what `ask` does, again while that may help. Somebody waits for it: few tries, and each is told.
    pub(crate) fn patiently<T>(
        &self,
        watch: &dyn Watch,
        mut ask: impl FnMut() -> std::result::Result<T, Trouble>,
    ) -> crate::Result<T> {
        let mut tries = 0;
        loop {
            match ask() {
                Ok(value) => return Ok(value),
                Err(Trouble::Lasting(error)) => return Err(error),
                Err(Trouble::Passing { host, cause, wait }) => {
                    tries += 1;
                    if tries >= self.tries.min(QUESTION_TRIES) {
                        return Err(Error::Unreachable { host, cause });
                    }
                    let seconds = self.length_of_pause(tries, wait).as_secs_f64();
                    watch.notice(&format!("{host}: {cause}; again in {seconds:.0} s"));
                    if !self.pause(tries, wait, &|| watch.stop()) {
                        return Err(Error::Stopped);
                    }
                }
            }
        }
    }
}

/// Where the bytes are: the hub sends us to storage, whose address lasts an hour or so.
pub(crate) struct Place<'a> {
    client: &'a Client,
    remote: &'a Remote,
    found: Mutex<Option<String>>,
}

impl<'a> Place<'a> {
    pub fn new(client: &'a Client, remote: &'a Remote) -> Self {
        Self { client, remote, found: Mutex::new(None) }
    }

    fn address(&self) -> String {
        let Remote { repo, revision, file, .. } = self.remote;
        format!("{}/{repo}/resolve/{revision}/{file}", self.client.endpoint)
    }

    /// Asks for bytes where they were last found, or the hub where they are.
    fn ask(&self, ask: Ask) -> Result<Reply, Trouble> {
        let known = self.found.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        if let Some(url) = known {
            let reply = self.client.ask(&url, ask);
            // Storage that refuses or has moved: the address is too old.
            let stale = reply.as_ref().is_ok_and(|reply| matches!(reply.status, 300..500) && !is_passing(reply.status));
            if stale {
                self.forget(&url);
            } else {
                return self.client.answered(reply, &url, &self.remote.file);
            }
        }
        let address = self.address();
        let changed = Mutex::new(false);
        let reply = self.client.follow(&address, ask, &|reply| {
            let other = linked(reply).is_some_and(|(_, sha256)| sha256 != self.remote.sha256);
            *changed.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) |= other;
            other
        });
        if *changed.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            return Err(Trouble::Lasting(Error::Changed { file: self.remote.file.clone() }));
        }
        let reply = self.client.answered(reply, &address, &self.remote.file)?;
        // The hub itself is asked each time: only storage has addresses worth keeping.
        if reply.url != address && matches!(reply.status, 200 | 206) {
            *self.found.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(reply.url.clone());
        }
        Ok(reply)
    }

    fn forget(&self, url: &str) {
        let mut found = self.found.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if found.as_deref() == Some(url) {
            *found = None;
        }
    }
}

/// Why a worker gave up a piece.
pub(crate) enum Quit {
    /// The download cannot go on.
    Failed(Error),
    /// The server sends whole files only.
    NoRanges,
    /// Somebody else ended it.
    Ended,
}

/// Fetches pieces until none is left.
pub(crate) fn work(board: &Board<'_>, place: &Place<'_>, options: &Options) {
    while let Some(index) = board.take() {
        if let Err(quit) = fetch_piece(board, place, options, index) {
            board.quit(quit);
            return;
        }
    }
}

fn fetch_piece(board: &Board<'_>, place: &Place<'_>, options: &Options, index: usize) -> Result<(), Quit> {
    let mut tries = 0;
    loop {
        let before = board.done(index);
        let trouble = match transfer(board, place, index) {
            Ok(()) => return Ok(()),
            Err(Stop::Quit(quit)) => return Err(quit),
            Err(Stop::Trouble(Trouble::Lasting(error))) => return Err(Quit::Failed(error)),
            Err(Stop::Trouble(trouble)) => trouble,
        };
        let Trouble::Passing { host, cause, wait } = trouble else { continue };
        // Only tries that bring nothing count: a line that breaks often still gets there.
        tries = if board.done(index) > before && !board.whole { 1 } else { tries + 1 };
        if tries >= options.tries {
            return Err(Quit::Failed(Error::Unreachable { host, cause }));
        }
        if tries >= TOLD_TRY {
            board.notice(&format!("{host}: {cause}; try {} of {}", tries + 1, options.tries));
        }
        if !options.pause(tries, wait, &|| board.is_over()) {
            return Err(Quit::Ended);
        }
    }
}

enum Stop {
    Trouble(Trouble),
    Quit(Quit),
}

/// One request, as far as it goes.
fn transfer(board: &Board<'_>, place: &Place<'_>, index: usize) -> Result<(), Stop> {
    let (start, size) = board.extent(index);
    if board.whole {
        board.reset(index);
    }
    let from = start + board.done(index);
    let end = start + size;
    if from == end {
        return Ok(());
    }
    let ask = if board.whole { Ask::Whole } else { Ask::Range(from, end - 1) };
    let mut reply = place.ask(ask).map_err(Stop::Trouble)?;
    let host = host(&reply.url);
    let passing = |cause: String| Stop::Trouble(Trouble::Passing { host: host.clone(), cause, wait: None });
    match (reply.status, board.whole) {
        (206, false) => check_range(&reply, from, end, board.bytes()).map_err(passing)?,
        (200, true) => {}
        (200, false) => return Err(Stop::Quit(Quit::NoRanges)),
        (status, _) => return Err(passing(format!("status {status}"))),
    }
    let mut body = reply.body.as_reader();
    let mut buffer = vec![0; READ_BYTES];
    let mut at = from;
    while at < end {
        if board.is_over() {
            return Err(Stop::Quit(Quit::Ended));
        }
        let most = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
        let read = body.read(&mut buffer[..most]).map_err(|error| passing(error.to_string()))?;
        if read == 0 {
            return Err(passing(format!("the answer ended {} bytes early", end - at)));
        }
        let written = board.part.file.write_all_at(&buffer[..read], at).map_err(Error::io(&board.part.path));
        written.map_err(|error| Stop::Quit(Quit::Failed(error)))?;
        at += read as u64;
        board.advance(index, read as u64);
    }
    Ok(())
}

/// Whether the reply holds the bytes from `from` up to at most `end` of a file of `bytes` bytes.
fn check_range(reply: &Reply, from: u64, end: u64, bytes: u64) -> Result<(), String> {
    let said = reply.header("content-range").unwrap_or("no range");
    let parsed = said.strip_prefix("bytes ").and_then(|range| {
        let (range, total) = range.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let total = if total == "*" { bytes } else { total.parse().ok()? };
        Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?, total))
    });
    match parsed {
        Some((first, last, total)) if first == from && last < end && total == bytes => Ok(()),
        _ => Err(format!("asked for bytes {from}-{} of {bytes}, it sends {said:?}", end - 1)),
    }
}
