//! What can go wrong with a store.

use std::io;
use std::path::{Path, PathBuf};

/// Every failure of this crate. Messages are one line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// File or directory.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// Another process has the directory.
    #[error("{dir} is in use by another ds4{holder}; end it, or choose another directory with --kv-dir")]
    Locked {
        /// The directory.
        dir: String,
        /// ` (process N)` if it is known.
        holder: String,
    },
    /// A file is not what its name says.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// The store may only be read.
    #[error("{0} cannot be written; checkpoints there are used, but none is added")]
    ReadOnly(String),
    /// What is to be saved takes more than all of the store may.
    #[error("a checkpoint of {needed} bytes exceeds the limit of {limit} bytes (--kv-disk)")]
    TooLarge {
        /// Bytes of the checkpoint.
        needed: u64,
        /// Limit of the store.
        limit: u64,
    },
    /// The file system is full, or fuller than it may get.
    #[error(
        "{dir} has {free} bytes free; saving {needed} would leave less than the {reserve} that --kv-min-free keeps"
    )]
    Full {
        /// The directory.
        dir: String,
        /// Bytes free.
        free: u64,
        /// Bytes to write.
        needed: u64,
        /// Bytes to leave free.
        reserve: u64,
    },
    /// There is no such checkpoint.
    #[error("no checkpoint {0}; `ds4 kv ls` lists them")]
    Missing(String),
    /// Several checkpoints begin like that.
    #[error("{0} is the beginning of {1} checkpoints; give more of it")]
    Ambiguous(String, usize),
    /// A checkpoint that cannot be stored: a bound of [`limits`](crate::limits) is exceeded, or its parts contradict each other.
    #[error("not a checkpoint: {0}")]
    Invalid(String),
}

impl Error {
    /// An error of the system about `path`.
    pub fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |error| Self::Io { path, error }
    }

    /// A file that is not what it should be.
    pub fn damaged(path: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.into().display().to_string(), what: what.into() }
    }
}

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;
