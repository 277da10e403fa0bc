//! What model files are made from besides other model files.
//!
//! | file | content |
//! |---|---|
//! | `importance.rs` | importance matrices: the `.dat` files of llama.cpp |
//! | `names.rs` | names of tensors in the official checkpoint |
#![deny(missing_docs)]

pub mod importance;
pub mod names;

pub use importance::{Importance, ImportanceError};
