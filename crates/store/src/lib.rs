//! Checkpoints of KV state on disk: written once, shared by all that continue them, checked when read.
//!
//! A checkpoint is its tokens, the pages of its history and a frontier. Pages are named by the hash of their bytes and lie in
//! *runs*: files with the pages that one save added. A checkpoint file names its pages and carries its frontier. Files never
//! change after they have got their name, runs get theirs before the checkpoint that needs them, and so the index, which is
//! nothing but the heads of all files, can be rebuilt whenever the store is opened. The store knows bytes, no tensors.
//!
//! | file | content |
//! |---|---|
//! | `store.rs` | the store: open, look up, save, load, remove |
//! | `index.rs` | what is there, what it is worth |
//! | `format.rs` | heads of files |
//! | `files.rs` | lock, atomic writes, free space |
//! | `usage.rs` | when and how often a checkpoint was used |
//! | `transfer.rs` | one checkpoint in one file |
//! | `journal.rs` | an append-only list of records |
//! | `radix.rs` | a radix tree over tokens |
//! | `limits.rs`, `error.rs` | bounds, failures |

mod error;
mod files;
pub mod format;
mod index;
mod journal;
pub mod limits;
mod radix;
mod store;
mod transfer;
mod usage;

pub use error::{Error, Result};
pub use files::{NewFile, make_private_dir};
pub use format::{Hash, Key, hash};
pub use index::{Listed, Totals};
pub use journal::Journal;
pub use radix::{Place, Radix};
pub use store::{Access, Draft, Found, Loaded, Options, Removed, Saved, Store};

/// Index into the vocabulary.
pub type TokenId = u32;
