//! Checksum of a file.

use crate::error::{Error, Result};
use crate::{Progress, Watch};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bytes that are read at once.
pub(crate) const READ_BYTES: usize = 1 << 20;

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of the file at `path`, in hexadecimal digits.
///
/// # Errors
/// It cannot be read, or [`Watch::stop`] said so.
pub fn verify(path: &Path, watch: &dyn Watch) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let total = file.metadata().map_err(Error::io(path))?.len();
    let (mut hasher, mut buffer, mut checked) = (Sha256::new(), vec![0; READ_BYTES], 0);
    loop {
        if watch.stop() {
            return Err(Error::Stopped);
        }
        let read = file.read(&mut buffer).map_err(Error::io(path))?;
        if read == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..read]);
        checked += read as u64;
        watch.progress(Progress { here: total, checked, total });
    }
}
