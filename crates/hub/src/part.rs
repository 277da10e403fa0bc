//! The unfinished file, `NAME.part`, and how far it is, `NAME.part.json`.

use crate::error::{Error, Result};
use crate::{FILE_BYTES_MAX, Remote};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Most bytes of the record: twelve digits for each of the most pieces.
const RECORD_BYTES_MAX: u64 = 8 << 20;
/// Most pieces of a file.
pub(crate) const PIECES_MAX: u64 = 1 << 18;

/// How far a file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Checksum of what is fetched.
    pub sha256: String,
    /// Size of what is fetched.
    pub bytes: u64,
    /// Size of a piece; the last one may be smaller.
    pub piece: u64,
    /// Bytes that are here of each piece, from its start.
    pub done: Vec<u64>,
}

impl Record {
    /// Nothing yet.
    pub fn new(remote: &Remote, piece: u64) -> Self {
        let piece = piece.max(remote.bytes.div_ceil(PIECES_MAX)).max(1);
        let pieces = remote.bytes.div_ceil(piece);
        Self { sha256: remote.sha256.clone(), bytes: remote.bytes, piece, done: vec![0; pieces as usize] }
    }

    /// First byte and size of a piece.
    pub fn extent(&self, index: usize) -> (u64, u64) {
        let start = index as u64 * self.piece;
        (start, self.piece.min(self.bytes - start))
    }

    /// Bytes that are here.
    pub fn here(&self) -> u64 {
        self.done.iter().sum()
    }

    /// Whether sizes and counts agree: the record may come from anywhere.
    fn is_sound(&self) -> bool {
        let pieces = match (1..=FILE_BYTES_MAX).contains(&self.bytes) && self.piece > 0 {
            true => self.bytes.div_ceil(self.piece),
            false => return false,
        };
        pieces <= PIECES_MAX
            && self.done.len() as u64 == pieces
            && self.done.iter().enumerate().all(|(index, done)| *done <= self.extent(index).1)
    }
}

fn beside(target: &Path, ending: &str) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// A file that is being fetched, locked against other processes.
pub(crate) struct Part {
    pub file: File,
    pub path: PathBuf,
    record: PathBuf,
}

/// What is here of an unfinished file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// Where.
    pub path: PathBuf,
    /// Bytes that are here.
    pub here: u64,
    /// Bytes of the whole file.
    pub bytes: u64,
}

/// How far the download to `target` is, if one has begun.
pub fn unfinished(target: &Path) -> Option<Unfinished> {
    let path = beside(target, ".part");
    let record = read(&beside(target, ".part.json")).filter(|_| path.is_file())?;
    Some(Unfinished { path, here: record.here(), bytes: record.bytes })
}

fn read(path: &Path) -> Option<Record> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(RECORD_BYTES_MAX).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok().filter(Record::is_sound)
}

impl Part {
    /// Opens or makes the unfinished file of `target`.
    pub fn open(target: &Path) -> Result<Self> {
        let (path, record) = (beside(target, ".part"), beside(target, ".part.json"));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path).map_err(Error::io(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse { path }),
            // Some network file systems have no locks.
            Err(TryLockError::Error(_)) => {}
        }
        Ok(Self { file, path, record })
    }

    /// How far an earlier run came with the same file; `Err` says why it is of no use.
    pub fn resume(&self, remote: &Remote) -> std::result::Result<Option<Record>, &'static str> {
        let length = self.file.metadata().map_or(0, |metadata| metadata.len());
        if length == 0 && !self.record.exists() {
            return Ok(None);
        }
        match read(&self.record) {
            None => Err("what an earlier run left cannot be used"),
            Some(record) if record.sha256 != remote.sha256 => Err("another version was published since the last run"),
            Some(record) if record.bytes != remote.bytes || length != remote.bytes => {
                Err("what an earlier run left cannot be used")
            }
            Some(record) => Ok(Some(record)),
        }
    }

    /// Makes the file `bytes` long, without taking room for what is not there.
    pub fn reserve(&self, bytes: u64) -> Result<()> {
        self.file.set_len(bytes).map_err(Error::io(&self.path))
    }

    /// Empties the file.
    pub fn clear(&self) -> Result<()> {
        self.reserve(0)
    }

    /// Bytes of the disk that the file has already.
    pub fn allocated(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        self.file.metadata().map_or(0, |metadata| metadata.blocks().saturating_mul(512))
    }

    /// Writes down how far the file is; what it says is on the disk before it says so.
    pub fn save(&self, record: &Record) -> Result<()> {
        self.file.sync_data().map_err(Error::io(&self.path))?;
        let fresh = beside(&self.record, ".new");
        let text = serde_json::to_vec(record).map_err(|error| Error::Setting(error.to_string()))?;
        let written = File::create(&fresh).and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()));
        written.and_then(|()| std::fs::rename(&fresh, &self.record)).map_err(Error::io(&self.record))
    }

    /// Removes the file and the record.
    pub fn remove(&self) {
        // What stays is noticed by the next run.
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_file(&self.record);
    }

    /// Gives the file its name, which nothing has yet.
    pub fn finish(self, target: &Path) -> Result<()> {
        self.file.sync_all().map_err(Error::io(&self.path))?;
        // A hard link never replaces a file; where there are none, the check before this has to do.
        match std::fs::hard_link(&self.path, target) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(Error::Other { path: target.to_owned(), what: "it appeared meanwhile".to_owned() });
            }
            Err(_) => std::fs::rename(&self.path, target).map_err(Error::io(target))?,
        }
        self.remove();
        if let Some(folder) = target.parent()
            && let Ok(folder) = File::open(folder)
        {
            // The name is there; that it outlives a power cut is a wish.
            let _ = folder.sync_all();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(bytes: u64) -> Remote {
        Remote { repo: "a/b".into(), file: "f".into(), revision: "main".into(), bytes, sha256: "0".repeat(64) }
    }

    #[test]
    fn pieces_cover_the_file() {
        let record = Record::new(&remote(100), 30);
        assert!(record.is_sound());
        let extents: Vec<_> = (0..record.done.len()).map(|index| record.extent(index)).collect();
        assert_eq!(extents, [(0, 30), (30, 30), (60, 30), (90, 10)]);
        assert!(Record::new(&remote(FILE_BYTES_MAX), 1).is_sound());
    }

    #[test]
    fn records_that_lie_are_not_sound() {
        let good = Record::new(&remote(100), 30);
        let changes: [fn(&mut Record); 6] = [
            |record| record.bytes = 0,
            |record| record.bytes = u64::MAX,
            |record| record.bytes = 1000,
            |record| record.piece = 0,
            |record| record.done[3] = 11,
            |record| record.done.push(0),
        ];
        for change in changes {
            let mut record = good.clone();
            change(&mut record);
            assert!(!record.is_sound(), "{record:?}");
        }
    }
}
