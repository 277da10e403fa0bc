//! An open file: where its bytes come from, and access to its tensors.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use memmap2::{Mmap, MmapOptions};

use crate::error::Error;
use crate::limits::HEADER_BYTES;
use crate::metadata::Metadata;
use crate::parse::Directory;
use crate::tensor::TensorInfo;
use crate::truncation::Watch;

/// A GGUF file whose directory has been read and checked.
///
/// Shared freely between threads; everything is read-only.
#[derive(Debug)]
pub struct File {
    backing: Backing,
    directory: Directory,
}

/// Where the bytes are.
#[derive(Debug)]
enum Backing {
    Map(Mapped),
    Static(&'static [u8]),
    Owned(Vec<u8>),
}

/// A read-only map of a whole file, and what the file looked like when it was mapped.
#[derive(Debug)]
struct Mapped {
    // Fields drop in this order: the signal handler forgets the range before the range goes away.
    _watch: Watch,
    map: Mmap,
    handle: std::fs::File,
    path: PathBuf,
    modified: Option<SystemTime>,
}

/// How memory of a map will be used, for [`File::advise`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Nothing special; undoes earlier advice.
    Normal,
    /// Once, from front to back: read far ahead. For copying weights to a device.
    Sequential,
    /// Here and there: do not read ahead. For experts that are paged in on demand.
    Random,
    /// Soon: start reading now.
    WillNeed,
}

impl File {
    /// Maps a file read-only and reads its directory.
    ///
    /// Tensor payloads are not read. Their addresses are multiples of [`alignment`](Self::alignment).
    ///
    /// # Errors
    /// The file cannot be mapped, or its directory is not acceptable (see [`Error`]).
    pub fn open(path: &Path) -> Result<File, Error> {
        let mapped = Mapped::open(path)?;
        let directory = Directory::parse(&mapped.map)?;
        Ok(File { backing: Backing::Map(mapped), directory })
    }

    /// Reads the directory of a file that is part of the program.
    ///
    /// # Errors
    /// The directory is not acceptable.
    pub fn from_static(bytes: &'static [u8]) -> Result<File, Error> {
        let directory = Directory::parse(bytes)?;
        Ok(File { backing: Backing::Static(bytes), directory })
    }

    /// Reads the directory of a file in memory.
    ///
    /// # Errors
    /// The directory is not acceptable.
    pub fn from_vec(bytes: Vec<u8>) -> Result<File, Error> {
        let directory = Directory::parse(&bytes)?;
        Ok(File { backing: Backing::Owned(bytes), directory })
    }

    /// The key/value table.
    pub fn metadata(&self) -> &Metadata {
        &self.directory.metadata
    }

    /// The tensors in file order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.directory.tensors
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        let Directory { tensors, by_name, .. } = &self.directory;
        let tensor = |&position: &u32| &tensors[position as usize];
        let found = by_name.binary_search_by(|position| tensor(position).name.as_str().cmp(name));
        found.ok().map(|at| tensor(&by_name[at]))
    }

    /// Everything before the payloads: header, metadata and the table of tensors, as they stand in the file.
    pub fn directory_bytes(&self) -> &[u8] {
        // Fits: the directory was checked against the length of these very bytes.
        &self.bytes()[..self.data_start() as usize]
    }

    /// The payload of a tensor of this file, exactly [`TensorInfo::n_bytes`] long.
    ///
    /// Payloads of different tensors may overlap. In a mapped file, reading a part that has been cut
    /// off since raises a signal; see [`check_intact`](Self::check_intact).
    ///
    /// # Panics
    /// If `tensor` was taken from another file and reaches past the end of this one.
    pub fn data(&self, tensor: &TensorInfo) -> &[u8] {
        // Both fit: the directory was checked against the length of these very bytes.
        let start = tensor.offset as usize;
        &self.bytes()[start..start + tensor.n_bytes as usize]
    }

    /// Bytes of the whole file.
    #[allow(clippy::len_without_is_empty, reason = "never empty: there is always a header")]
    pub fn len(&self) -> u64 {
        self.bytes().len() as u64
    }

    /// First byte of the data area. In a file without tensors it may lie past the end.
    pub fn data_start(&self) -> u64 {
        self.directory.data_start
    }

    /// Bytes of alignment: the offset of every payload in the data area is a multiple of it.
    pub fn alignment(&self) -> u64 {
        self.directory.alignment
    }

    /// Version of the format.
    pub fn version(&self) -> u32 {
        self.directory.version
    }

    /// Checks that a mapped file is still what it was: not shortened, not written to.
    ///
    /// One system call, meant to be made before every step. A file replaced by renaming another one
    /// over it stays mapped and passes. Files in memory always pass.
    ///
    /// # Errors
    /// [`Error::Shortened`], [`Error::Modified`], or the system call failed.
    pub fn check_intact(&self) -> Result<(), Error> {
        match &self.backing {
            Backing::Map(mapped) => mapped.check_intact(),
            Backing::Static(_) | Backing::Owned(_) => Ok(()),
        }
    }

    /// Tells the operating system how the whole file will be used. Only a hint: it cannot fail, and
    /// does nothing for files in memory and on systems without such hints.
    pub fn advise(&self, access: Access) {
        self.advise_range(access, 0, self.bytes().len());
    }

    /// Like [`advise`](Self::advise), for the pages of one tensor.
    pub fn advise_tensor(&self, tensor: &TensorInfo, access: Access) {
        self.advise_range(access, tensor.offset as usize, tensor.n_bytes as usize);
    }

    #[cfg(unix)]
    fn advise_range(&self, access: Access, start: usize, len: usize) {
        let Backing::Map(mapped) = &self.backing else { return };
        let advice = match access {
            Access::Normal => memmap2::Advice::Normal,
            Access::Sequential => memmap2::Advice::Sequential,
            Access::Random => memmap2::Advice::Random,
            Access::WillNeed => memmap2::Advice::WillNeed,
        };
        // A refused hint changes nothing but speed.
        let _ = mapped.map.advise_range(advice, start, len);
    }

    #[cfg(not(unix))]
    fn advise_range(&self, _access: Access, _start: usize, _len: usize) {}

    /// Gives back the memory of the pages of `part`, a piece of a payload: a file that is read once from front to back then takes no more
    /// memory than the pieces under way. Read again, they come from the file again. Does nothing for files in memory, and on systems
    /// without such hints.
    #[cfg(unix)]
    #[allow(unsafe_code, reason = "the advice is one that could lose what was written, and nothing is")]
    pub fn release(&self, part: &[u8]) {
        let Backing::Map(mapped) = &self.backing else { return };
        let Some(start) = (part.as_ptr() as usize).checked_sub(mapped.map.as_ptr() as usize) else { return };
        if start + part.len() <= mapped.map.len() {
            // SAFETY: the map is shared and never written to, so dropped pages are read from the file again, with the same bytes.
            let _ = unsafe { mapped.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, part.len()) };
        }
    }

    /// Does nothing on this system.
    #[cfg(not(unix))]
    pub fn release(&self, _part: &[u8]) {}

    fn bytes(&self) -> &[u8] {
        match &self.backing {
            Backing::Map(mapped) => &mapped.map,
            Backing::Static(bytes) => bytes,
            Backing::Owned(bytes) => bytes,
        }
    }
}

impl Mapped {
    fn open(path: &Path) -> Result<Self, Error> {
        let failed = |action| move |source: io::Error| Error::Io { action, path: path.to_owned(), source };
        // Asked before opening: opening a pipe would wait for a writer.
        if !std::fs::metadata(path).map_err(failed("open"))?.is_file() {
            return Err(Error::NotAFile { path: path.to_owned() });
        }
        let handle = std::fs::File::open(path).map_err(failed("open"))?;
        let status = handle.metadata().map_err(failed("examine"))?;
        let len = status.len();
        if len < HEADER_BYTES {
            return Err(Error::TooSmall { len });
        }
        // Slices, and so maps, are limited to `isize::MAX` bytes.
        let map_len = isize::try_from(len).map_err(|_| Error::TooLargeToMap { len })?.unsigned_abs();
        // SAFETY: the map is read-only and only read as bytes, for which every value is valid. Another
        // process can still write to the file, which no mapping can rule out: the effect is other
        // weights, found by `check_intact`. If it shortens the file, access raises SIGBUS, which ends
        // the process; `install_truncation_handler` makes that end orderly.
        #[allow(unsafe_code)]
        let map = unsafe { MmapOptions::new().len(map_len).map(&handle) }.map_err(failed("map"))?;
        Ok(Self {
            _watch: Watch::new(&map, path),
            map,
            handle,
            path: path.to_owned(),
            modified: status.modified().ok(),
        })
    }

    fn check_intact(&self) -> Result<(), Error> {
        let status = self.handle.metadata().map_err(|source| Error::Io {
            action: "examine",
            path: self.path.clone(),
            source,
        })?;
        let (mapped, found) = (self.map.len() as u64, status.len());
        if found < mapped {
            return Err(Error::Shortened { path: self.path.clone(), mapped, found });
        }
        if found > mapped || status.modified().ok() != self.modified {
            return Err(Error::Modified { path: self.path.clone() });
        }
        Ok(())
    }
}
