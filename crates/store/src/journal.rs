//! An append-only list of records in one file. What a crash cut off is dropped; the oldest records go when it gets long.
//!
//! `DS4KVLOG`, version (4 bytes), then for each record: bytes (4), the first 8 bytes of its SHA-256, the record.

use crate::error::{Error, Result};
use crate::files::{NewFile, append_to};
use crate::format::hash;
use crate::limits::RECORD_BYTES_MAX;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

const HEAD: &[u8; 12] = b"DS4KVLOG\x01\0\0\0";
/// Bytes before a record: its length and its checksum.
const FRAME: usize = 4 + 8;

/// A journal that is open to be appended to. Who opens it must have the directory for itself.
pub struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    max_bytes: u64,
}

/// The whole records of a journal, and the bytes that they and its head take.
fn parse(bytes: &[u8]) -> (Vec<&[u8]>, usize) {
    let Some(mut rest) = bytes.strip_prefix(HEAD) else { return (Vec::new(), 0) };
    let (mut records, mut read) = (Vec::new(), HEAD.len());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some((sum, after)) = after.split_first_chunk::<8>() else { break };
        if length > RECORD_BYTES_MAX {
            break;
        }
        let Some(record) = after.get(..length).filter(|record| hash(record)[..8] == *sum) else { break };
        records.push(record);
        read += FRAME + length;
        rest = &after[length..];
    }
    (records, read)
}

fn frame(record: &[u8]) -> Vec<u8> {
    // `append` lets no longer ones through.
    let mut bytes = (record.len() as u32).to_le_bytes().to_vec();
    bytes.extend(&hash(record)[..8]);
    bytes.extend(record);
    bytes
}

impl Journal {
    /// Opens or makes the journal at `path`, and gives its records, the oldest first. From the first one on that is no good, all are
    /// dropped.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(path: &Path, max_bytes: u64) -> Result<(Self, Vec<Vec<u8>>)> {
        let mut file = append_to(path)?;
        let mut bytes = Vec::new();
        // A longer one is of other bounds, or not ours.
        let limit = max_bytes.saturating_add(RECORD_BYTES_MAX as u64 + FRAME as u64);
        Read::by_ref(&mut file).take(limit).read_to_end(&mut bytes).map_err(Error::io(path))?;
        let (records, read) = parse(&bytes);
        let records: Vec<Vec<u8>> = records.into_iter().map(<[u8]>::to_vec).collect();
        file.set_len(read as u64).map_err(Error::io(path))?;
        if read == 0 {
            file.write_all(HEAD).map_err(Error::io(path))?;
        }
        let bytes = read.max(HEAD.len()) as u64;
        let mut journal = Self { path: path.to_owned(), file, bytes, max_bytes };
        journal.shorten()?;
        Ok((journal, records))
    }

    /// Reads the records of a journal without changing it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(path: &Path, max_bytes: u64) -> Result<Vec<Vec<u8>>> {
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(Error::io(path))?;
        let limit = max_bytes.saturating_add(RECORD_BYTES_MAX as u64 + FRAME as u64);
        file.take(limit).read_to_end(&mut bytes).map_err(Error::io(path))?;
        Ok(parse(&bytes).0.into_iter().map(<[u8]>::to_vec).collect())
    }

    /// Appends a record.
    ///
    /// # Errors
    /// It is longer than [`RECORD_BYTES_MAX`], or cannot be written: then the journal stays as it was.
    pub fn append(&mut self, record: &[u8]) -> Result<()> {
        if record.len() > RECORD_BYTES_MAX {
            return Err(Error::Invalid(format!("a record of {} bytes, at most {RECORD_BYTES_MAX}", record.len())));
        }
        let framed = frame(record);
        if let Err(error) = self.file.write_all(&framed) {
            // Half a record would hide those after it.
            let _ = self.file.set_len(self.bytes);
            return Err(Error::io(&self.path)(error));
        }
        self.bytes += framed.len() as u64;
        self.shorten()
    }

    /// Leaves the newest half of what may be there, if there is more.
    fn shorten(&mut self) -> Result<()> {
        if self.bytes <= self.max_bytes {
            return Ok(());
        }
        let mut bytes = Vec::new();
        File::open(&self.path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(Error::io(&self.path))?;
        let (records, _) = parse(&bytes);
        let mut kept = 0;
        let fits = |record: &&&[u8]| {
            kept += (FRAME + record.len()) as u64;
            kept <= self.max_bytes / 2
        };
        let newest: Vec<&[u8]> = records.iter().rev().take_while(fits).copied().collect();
        let mut file = NewFile::create(self.path.clone())?;
        file.write(HEAD)?;
        for record in newest.iter().rev() {
            file.write(&frame(record))?;
        }
        file.commit()?;
        self.file = append_to(&self.path)?;
        self.bytes = self.file.metadata().map_err(Error::io(&self.path))?.len();
        Ok(())
    }
}
