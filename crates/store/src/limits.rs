//! Bounds on what files may claim.

/// Most tokens of a checkpoint: 16 times the trained context.
pub const TOKENS_MAX: usize = 1 << 24;
/// Largest page, in bytes; at full shape a page has 449,132.
pub const PAGE_BYTES_MAX: usize = 64 << 20;
/// Largest frontier, in bytes; at full shape one has at most 16 MB.
pub const FRONTIER_BYTES_MAX: usize = 1 << 30;
/// Most tokens of a page.
pub const PAGE_TOKENS_MAX: usize = 1 << 16;
/// Most pages of a run. Smaller runs are freed sooner, larger ones are fewer files.
pub const RUN_PAGES_MAX: usize = 128;
/// Longest description of a model, in bytes.
pub const LABEL_BYTES_MAX: usize = 256;
/// Most checkpoints of a store; beyond them the least valuable go.
pub const CHECKPOINTS_MAX: usize = 1 << 16;
/// Most files of a directory that are looked at.
pub const FILES_MAX: usize = 1 << 20;
/// Longest record of a journal, in bytes.
pub const RECORD_BYTES_MAX: usize = 64 << 20;
/// Bytes of a file of uses.
pub const USAGE_BYTES_MAX: u64 = 16 << 20;
