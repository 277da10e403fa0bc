//! The engine: a DeepSeek V4 model from a GGUF file, its exact logits, sequences and sampling.
//!
//! Data's way: tokens → [`Engine::step`] → forward pass over a [`backend::Backend`] → logits → [`sampler`].
//! The engine knows no text, no chat and no HTTP.
//!
//! | file | content |
//! |---|---|
//! | `config.rs` | hyper-parameters from metadata |
//! | `weights.rs` | tensors bound to their places |
//! | `backend.rs` | the operations that a device provides |
//! | `forward.rs` | the one forward pass |
//! | `engine.rs` | sequences, steps, chunked prefill |
//! | `mtp.rs` | drafts by the multi-token block |
//! | `speculation.rs` | how many tokens to draft |
//! | `steering.rs` | directions that outputs of layers lose or gain |
//! | `importance.rs` | squares of what goes into products |
//! | `prefix.rs` | checkpoints to continue from |
//! | `disk.rs` | the same on disk |
//! | `scheduler/` | continuous batching of many sequences |
//! | `kv/` | pages, frontier, rounding |
//! | `cpu/` | the CPU backend |
//! | `rope.rs` | rotary embedding |
//! | `sampler.rs` | from logits to a token |

pub mod backend;
pub mod config;
pub mod cpu;
pub mod disk;
mod engine;
mod error;
mod forward;
pub mod importance;
pub mod kv;
mod mtp;
pub mod prefix;
pub mod rope;
pub mod sampler;
pub mod scheduler;
pub mod speculation;
pub mod steering;
pub mod weights;

pub use backend::Precision;
pub use config::{Config, LayerKind};
pub use engine::{CHUNK_MAX, Engine, EngineOptions, Identity, Logits, Rows, Sequence};
pub use error::{Error, Result};
pub use forward::{draft_sequence_bytes, draft_step_bytes, step_bytes};
pub use mtp::{DrafterOptions, Pairing, Wish};

/// Index into the vocabulary.
pub type TokenId = u32;
