//! Lock, atomic writes, free space.

use crate::error::{Error, Result};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// How the name of a file ends that is still being written.
pub const PARTIAL: &str = "partial";
const LOCK: &str = "lock";

/// Makes a directory that only its owner can enter, unless it is there.
pub fn make_private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

fn private() -> OpenOptions {
    let mut options = File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Takes the directory for this process until the file is dropped.
///
/// # Errors
/// Another process has it; the file cannot be made.
pub fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK);
    let mut file =
        private().create(true).read(true).write(true).truncate(false).open(&path).map_err(Error::io(&path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // What stands there is for people only.
            let _ = Read::by_ref(&mut file).take(20).read_to_string(&mut holder);
            let holder = holder.trim().parse::<u32>().map(|pid| format!(" (process {pid})")).unwrap_or_default();
            return Err(Error::Locked { dir: dir.display().to_string(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(Error::io(&path)(error)),
    }
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// Whether an error says that nothing can be written there at all.
pub fn is_read_only(error: &Error) -> bool {
    let Error::Io { error, .. } = error else { return false };
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A file for its owner only that gets its name when it is complete, and vanishes if it never is.
pub struct NewFile {
    file: File,
    partial: PathBuf,
    path: PathBuf,
    is_complete: bool,
}

impl NewFile {
    /// Begins the file that will be `path`.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(path: PathBuf) -> Result<Self> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let partial = path.with_extension(format!("{}-{number}.{PARTIAL}", std::process::id()));
        let file = private().create_new(true).write(true).open(&partial).map_err(Error::io(&partial))?;
        Ok(Self { file, partial, path, is_complete: false })
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::io(&self.partial))
    }

    /// Gives the file its name, once its content is on the disk.
    ///
    /// # Errors
    /// It cannot be written or named; then it vanishes.
    pub fn commit(mut self) -> Result<()> {
        self.file.sync_all().map_err(Error::io(&self.partial))?;
        fs::rename(&self.partial, &self.path).map_err(Error::io(&self.path))?;
        self.is_complete = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_complete {
            // The next to open the store will find it if this fails.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// Makes new names in `dir` last.
pub fn sync_dir(dir: &Path) {
    // Systems that cannot do it keep names anyway, or lose what can be computed again.
    let _ = File::open(dir).and_then(|dir| dir.sync_all());
}

/// Opens or makes a file to append to, for its owner only.
pub fn append_to(path: &Path) -> Result<File> {
    private().create(true).append(true).read(true).open(path).map_err(Error::io(path))
}

/// Bytes that the file system of `dir` still takes from this user. `None` where the system does not tell.
pub fn free_bytes(dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}
