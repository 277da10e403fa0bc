//! What model files are made from besides other model files.
//!
//! | file | content |
//! |---|---|
//! | `importance.rs` | importance matrices: the `.dat` files of llama.cpp |
//! | `checkpoint.rs` | the official checkpoint: safetensors files, FP8 and FP4 |
//! | `names.rs` | names of tensors in the official checkpoint |
#![deny(missing_docs)]

pub mod checkpoint;
pub mod importance;
pub mod names;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use importance::{Importance, ImportanceError};
