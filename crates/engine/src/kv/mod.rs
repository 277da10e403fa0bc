//! KV storage in the model's own precision (`spec/model.md` §3, §6).
//!
//! Compressed rows are append-only and live in reference-counted pages of [`PAGE_TOKENS`] tokens, one page for all
//! layers. What cannot be shared, the sliding window and the compressors' open windows, is the *frontier*.
//! A fork copies the frontier and shares the pages; the last page is copied when one side appends to it.
//!
//! | file | content |
//! |---|---|
//! | `rounding.rs` | the FP8, FP4 and F16 rules and the Hadamard rotation |
//! | `layout.rs` | bytes of a row, a page, a context |
//! | `cache.rs` | pages and frontier in host memory |
//! | `frontier.rs` | a frontier as bytes |

mod cache;
mod frontier;
mod layout;
pub mod rounding;

pub use cache::{Cache, CompressorState, Page};
pub use layout::{DRAFTS_MAX, KvLayout, LayerLayout, PAGE_TOKENS, RowFormat};
