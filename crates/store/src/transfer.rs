//! One checkpoint in one file, to be carried to another store: `DS4KVEXP`, version (4 bytes), 0 (4), bytes of the checkpoint file
//! (8), the checkpoint file, its pages in order.

use crate::error::{Error, Result};
use crate::files::NewFile;
use crate::format::{CheckpointHead, Key, hash};
use crate::store::{Draft, Saved, Store};
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

const HEAD: &[u8; 16] = b"DS4KVEXP\x01\0\0\0\0\0\0\0";

impl Store {
    /// Writes a checkpoint with all its pages. `progress` is told the bytes written and the bytes there are.
    ///
    /// # Errors
    /// It is damaged or has gone; `out` cannot be written.
    pub fn export(&self, key: Key, out: &mut NewFile, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        let loaded = self.load(key, &|_| false)?;
        let path = self.dir().join(format!("{key}.ckpt"));
        let checkpoint = std::fs::read(&path).map_err(Error::io(&path))?;
        let parts = [&HEAD[..], &(checkpoint.len() as u64).to_le_bytes(), &checkpoint];
        let parts = parts.into_iter().chain(loaded.pages.iter().flatten().map(Vec::as_slice));
        let total = parts.clone().map(|part| part.len() as u64).sum();
        let mut done = 0;
        for part in parts {
            out.write(part)?;
            done += part.len() as u64;
            progress(done, total);
        }
        Ok(())
    }

    /// Saves the checkpoint that [`export`](Self::export) wrote to `path`. Every byte is checked. `progress` is told pages done and pages
    /// there are, as far as the store lacks them.
    ///
    /// # Errors
    /// The file is damaged or no exported checkpoint; those of [`save`](Self::save).
    pub fn import(&self, path: &Path, progress: &dyn Fn(usize, usize)) -> Result<(Key, Saved)> {
        let bad = |what: String| Error::damaged(path, what);
        let file = File::open(path).map_err(Error::io(path))?;
        let length = file.metadata().map_err(Error::io(path))?.len();
        let mut reader = BufReader::new(file);
        let mut start = [0; HEAD.len() + 8];
        reader.read_exact(&mut start).map_err(|_| bad("cut off in its head".to_owned()))?;
        let (head, checkpoint_bytes) = start.split_at(HEAD.len());
        if head != HEAD {
            return Err(bad("not a checkpoint that `ds4 kv export` wrote".to_owned()));
        }
        let checkpoint_bytes = u64::from_le_bytes(checkpoint_bytes.try_into().unwrap_or_default());
        let pages_at = checkpoint_bytes.checked_add(start.len() as u64).filter(|end| *end <= length);
        let pages_at = pages_at.ok_or_else(|| bad("cut off in its checkpoint".to_owned()))?;
        let head = CheckpointHead::read(&mut reader.by_ref().take(checkpoint_bytes), checkpoint_bytes).map_err(bad)?;
        let mut frontier = vec![0; head.frontier_bytes];
        reader.read_exact(&mut frontier).map_err(Error::io(path))?;
        if hash(&frontier) != head.frontier {
            return Err(bad("its frontier has another checksum".to_owned()));
        }
        if length - pages_at != (head.pages.len() * head.page_bytes) as u64 {
            return Err(bad("cut off, or longer than its pages".to_owned()));
        }
        let file = Mutex::new(reader.into_inner());
        let page = |place: usize| {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let mut page = vec![0; head.page_bytes];
            let at = pages_at + (place * head.page_bytes) as u64;
            let read = file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut page));
            read.map_err(|error| error.to_string())?;
            if hash(&page) != head.pages[place] {
                return Err("a page has another checksum".to_owned());
            }
            progress(place + 1, head.pages.len());
            Ok(Cow::Owned(page))
        };
        let draft = Draft {
            identity: head.identity,
            label: &head.label,
            page_tokens: head.page_tokens,
            page_bytes: head.page_bytes,
            tokens: &head.tokens,
            pages: &head.pages,
            page: &page,
            frontier: &frontier,
        };
        let saved = self.save(&draft)?;
        Ok((Key::of_tokens(&head.identity, &head.tokens), saved))
    }
}
