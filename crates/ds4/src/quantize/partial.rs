//! A file while it grows, from which a killed run goes on.
//!
//! `NAME.partial` has the bytes so far. `NAME.partial.json` says what they are part of and how many of them are safely on the
//! disk: it is replaced as a whole, and only after they are.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How much work a killed run loses at most, but for the group of bands under way.
const INTERVAL: Duration = Duration::from_millis(500);
/// Most bytes of the file beside it.
const STATE_BYTES_MAX: u64 = 4096;

/// The growing file. Written from front to back; what an earlier run has written is passed over.
pub struct Partial<'a> {
    path: PathBuf,
    state_path: PathBuf,
    file: File,
    job: String,
    position: &'a Cell<u64>,
    resumed: u64,
    /// When it was last made durable; at first as soon as there is anything.
    saved: Option<Instant>,
}

#[derive(Serialize, Deserialize)]
struct State {
    /// What the bytes depend on.
    job: String,
    /// Bytes that are on the disk.
    bytes: u64,
}

impl<'a> Partial<'a> {
    /// Begins `target`, or goes on with it if a run of the same `job` was ended. `position` tells how much was written.
    ///
    /// # Errors
    /// A file that another run is writing, or that is of another job.
    pub fn open(target: &Path, job: String, position: &'a Cell<u64>) -> Result<Self> {
        let beside = |end: &str| {
            let mut path = target.as_os_str().to_owned();
            path.push(end);
            PathBuf::from(path)
        };
        let (path, state_path) = (beside(".partial"), beside(".partial.json"));
        let writing = || format!("cannot write {}", path.display());
        let mut file = File::options().write(true).create(true).truncate(false).open(&path).with_context(writing)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("another program is writing {}; wait for it", path.display()),
            Err(TryLockError::Error(error)) => return Err(error).with_context(writing),
        }
        let resumed = match read_state(&state_path) {
            Some(state) if state.job != job => bail!(
                "{} is what another input, recipe or matrix began; remove it, or choose another name for the output",
                path.display()
            ),
            Some(state) if file.metadata().is_ok_and(|m| m.len() >= state.bytes) => state.bytes,
            _ => 0,
        };
        file.set_len(resumed).and_then(|()| file.seek(SeekFrom::Start(resumed))).with_context(writing)?;
        position.set(0);
        Ok(Self { path, state_path, file, job, position, resumed, saved: None })
    }

    /// Bytes that an earlier run has written.
    pub fn resumed(&self) -> u64 {
        self.resumed
    }

    /// Makes what is there durable, to go on from later.
    pub fn keep(mut self) -> Result<()> {
        self.save().with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Makes the content durable and gives it its name; the number of bytes.
    pub fn finish(self, target: &Path) -> Result<u64> {
        let moved = self.file.sync_all().and_then(|()| fs::rename(&self.path, target));
        moved.with_context(|| format!("cannot write {}", target.display()))?;
        // What stays would only be of a file that is no longer there.
        let _ = fs::remove_file(&self.state_path);
        Ok(self.file.metadata()?.len())
    }

    /// Gives up.
    pub fn remove(self) {
        // There is nothing to do about files that cannot be removed; their names say what they are.
        let _ = fs::remove_file(&self.state_path);
        let _ = fs::remove_file(&self.path);
    }

    fn save(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        let state = State { job: self.job.clone(), bytes: self.position.get().max(self.resumed) };
        let next = self.state_path.with_extension("json.next");
        let mut file = File::create(&next)?;
        file.write_all(&serde_json::to_vec(&state)?)?;
        file.sync_data()?;
        fs::rename(&next, &self.state_path)?;
        self.saved = Some(Instant::now());
        Ok(())
    }
}

fn read_state(path: &Path) -> Option<State> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(STATE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

impl Write for Partial<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let there = self.resumed.saturating_sub(self.position.get()).min(bytes.len() as u64);
        self.file.write_all(&bytes[there as usize..])?;
        self.position.set(self.position.get() + bytes.len() as u64);
        if self.position.get() > self.resumed && self.saved.is_none_or(|saved| saved.elapsed() > INTERVAL) {
            self.save()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(test: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("ds4-partial-{}-{test}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_kept_file_goes_on_and_passes_over_what_is_there() {
        let folder = folder("resume");
        let target = folder.join("out");
        let position = Cell::new(0);
        let open = |job: &str| Partial::open(&target, job.to_owned(), &position);
        let mut first = open("a").unwrap();
        first.write_all(b"01234").unwrap();
        assert!(open("a").is_err(), "it is being written");
        first.keep().unwrap();
        // What was written after the state was saved does not count.
        let mut more = File::options().append(true).open(folder.join("out.partial")).unwrap();
        more.write_all(b"torn").unwrap();
        drop(more);
        let error = open("b").err().unwrap().to_string();
        assert!(error.contains("another input, recipe or matrix"), "{error}");

        let mut second = open("a").unwrap();
        assert_eq!(second.resumed(), 5);
        for bytes in ["xxx", "yy5", "6"] {
            second.write_all(bytes.as_bytes()).unwrap();
        }
        assert_eq!(second.finish(&target).unwrap(), 7);
        assert_eq!(fs::read(&target).unwrap(), b"0123456");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_file_without_state_begins_again() {
        let folder = folder("begin");
        let (target, position) = (folder.join("out"), Cell::new(0));
        fs::write(folder.join("out.partial"), "left over").unwrap();
        fs::write(folder.join("out.partial.json"), "{").unwrap();
        let mut partial = Partial::open(&target, "a".to_owned(), &position).unwrap();
        assert_eq!(partial.resumed(), 0);
        partial.write_all(b"new").unwrap();
        partial.finish(&target).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        fs::remove_dir_all(&folder).unwrap();
    }
}
