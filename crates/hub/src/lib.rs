//! Files from Hugging Face, or a mirror of it, onto a disk.
//!
//! [`Client::find`] asks for a file's size and SHA-256, which the hub keeps in its Git LFS pointer. [`fetch`] brings the file
//! in parallel ranges into `NAME.part`, resumes what an earlier run left there, and gives it its name only when its
//! checksum is right. No other name is ever written, so that a file that is there is whole.
//!
//! | file | content |
//! |---|---|
//! | `settings.rs` | endpoint, token and cache, where Hugging Face's own programs have them |
//! | `client.rs` | requests: redirects, the token, statuses |
//! | `remote.rs` | size and checksum of a published file |
//! | `fetch.rs`, `worker.rs` | ranges in parallel, checked while they arrive |
//! | `part.rs` | the unfinished file and how far it is |
//! | `verify.rs` | checksum of a file |

mod client;
mod error;
mod fetch;
mod part;
mod remote;
pub mod settings;
mod verify;
mod worker;

pub use client::{Client, Limits};
pub use error::{Error, Result};
pub use fetch::{Fetched, Options, fetch};
pub use part::{Unfinished, unfinished};
pub use remote::Remote;
pub use verify::verify;

/// Most bytes of a published file: a limit for arithmetic, 45 times the largest one.
pub const FILE_BYTES_MAX: u64 = 1 << 43;

/// How far a download is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are here.
    pub here: u64,
    /// Bytes whose checksum was computed.
    pub checked: u64,
    /// All bytes.
    pub total: u64,
}

/// Who follows a download, and may end it.
pub trait Watch: Sync {
    /// How far it is; several times a second.
    fn progress(&self, progress: Progress);
    /// Something that a person should know.
    fn notice(&self, message: &str);
    /// Whether to end now.
    fn stop(&self) -> bool;
}
