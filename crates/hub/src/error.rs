//! What can go wrong, in one line that says what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a file is not here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer, or one that broke off too often.
    #[error(
        "{host} does not deliver: {cause}; check the network and HTTPS_PROXY, or set HF_ENDPOINT to a mirror; run it again to resume"
    )]
    Unreachable {
        /// Host and port.
        host: String,
        /// What happened last.
        cause: String,
    },
    /// The token is missing, wrong or not enough.
    #[error("{host} refuses access (status {status}): {}", if *had_token { "the token is not accepted; make one at huggingface.co/settings/tokens and give it with --token or HF_TOKEN" } else { "a token is needed; give it with --token or HF_TOKEN" })]
    Refused {
        /// Host and port.
        host: String,
        /// HTTP status.
        status: u16,
        /// Whether a token was sent.
        had_token: bool,
    },
    /// No such file.
    #[error("{host} has no file {file} (status {status}); a mirror in HF_ENDPOINT may lack it")]
    NotFound {
        /// Host and port.
        host: String,
        /// Path of the file in its repository.
        file: String,
        /// HTTP status.
        status: u16,
    },
    /// An answer that is not one of the protocol.
    #[error("{host} answers in a way that is not understood: {what}; try another mirror in HF_ENDPOINT, or none")]
    Protocol {
        /// Host and port.
        host: String,
        /// What it said.
        what: String,
    },
    /// The published file was replaced meanwhile.
    #[error("{file} was changed on the server while it was fetched; run it again to get the new one")]
    Changed {
        /// Name of the file.
        file: String,
    },
    /// The bytes are not those that were published.
    #[error("what came for {file} has the SHA-256 {got}, expected {expected}; it was removed, run it again")]
    Checksum {
        /// Name of the file.
        file: String,
        /// What came, in hexadecimal digits.
        got: String,
        /// What was published.
        expected: String,
    },
    /// A file of the name is there, and is another one.
    #[error("{} is there already but is not the published file ({what}); move it away and run it again", .path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// How they differ.
        what: String,
    },
    /// Not enough room.
    #[error("{} has {free} bytes free, {needed} more are needed; make room or use --dir with another disk", .dir.display())]
    Space {
        /// Directory of the file.
        dir: PathBuf,
        /// Free bytes.
        free: u64,
        /// Bytes that are to come, and the reserve.
        needed: u64,
    },
    /// Another process fetches the same file.
    #[error("{} is being written by another process; wait for it, or end it", .path.display())]
    InUse {
        /// The unfinished file.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The setting cannot be used.
    #[error("{0}")]
    Setting(String),
    /// The one who waits asked to end.
    #[error("stopped; run it again to resume")]
    Stopped,
}

impl Error {
    /// Makes an error of `source` that names `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}
