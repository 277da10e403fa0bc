//! What can go wrong between a file and its logits.

use crate::TokenId;

/// Every failure of this crate. Messages are one line: what was found, what was expected, what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not a readable GGUF container, or lacks a key.
    #[error(transparent)]
    Gguf(#[from] ds4_gguf::Error),
    /// A metadata value that no DeepSeek V4 model can have, or that this engine does not implement.
    #[error("key {key} is {found}, expected {expected}; is this a DeepSeek V4 Flash file?")]
    Config {
        /// Metadata key.
        key: String,
        /// Value in the file.
        found: String,
        /// What would do.
        expected: String,
    },
    /// Another model family.
    #[error("general.architecture is \"{0}\"; ds4 runs only \"deepseek4\" files")]
    Architecture(String),
    /// One part of a model that was split over several files.
    #[error("this file is one of {0} parts of a split model; join them first (llama-gguf-split --merge)")]
    Split(u32),
    /// A tensor that the architecture needs is not in the file.
    #[error("tensor {0} is missing; the file is incomplete or not a DeepSeek V4 model")]
    MissingTensor(String),
    /// A file for drafts without a draft block.
    #[error("tensor {0} is missing; this is not the file of a draft block (MTP)")]
    NotADraftBlock(String),
    /// What is wrong with the file of the draft block.
    #[error("draft block: {0}")]
    DraftBlock(Box<Error>),
    /// Something that a backend does not have.
    #[error("this backend has no {0} yet; use --backend cpu")]
    Unsupported(&'static str),
    /// A tensor has other dimensions than the metadata imply.
    #[error("tensor {name} has dimensions {found:?}, expected {expected:?}")]
    Shape {
        /// Tensor name.
        name: String,
        /// Dimensions in the file, the contiguous one first.
        found: Vec<u64>,
        /// Dimensions from the metadata.
        expected: Vec<u64>,
    },
    /// A tensor has a type that no kernel exists for.
    #[error("tensor {name} has type {found}, expected {expected}")]
    Type {
        /// Tensor name.
        name: String,
        /// Type in the file.
        found: String,
        /// Accepted types.
        expected: &'static str,
    },
    /// A table names an expert that does not exist.
    #[error("tensor {name} sends token {token} to expert {expert}, but there are {experts} experts")]
    Expert {
        /// Tensor name.
        name: String,
        /// Row of the table.
        token: usize,
        /// Entry found.
        expert: i32,
        /// Number of experts.
        experts: usize,
    },
    /// A token id outside the vocabulary.
    #[error("token id {token} is outside the vocabulary of {vocab} tokens")]
    Token {
        /// Id given.
        token: TokenId,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// More positions than the model or the caller allows.
    #[error("{tokens} tokens do not fit the context of {context}; shorten the prompt or raise --ctx")]
    Context {
        /// Positions needed.
        tokens: usize,
        /// Positions there are.
        context: usize,
    },
    /// More rows than the buffers of a step hold.
    #[error("a step of {rows} rows exceeds the limit of {most}; split it")]
    TooManyRows {
        /// Rows given.
        rows: usize,
        /// Rows that fit.
        most: usize,
    },
    /// More tokens to take back than the rings of a state allow.
    #[error("{found} tokens cannot be taken back, expected at most {most}")]
    TooManyDrafts {
        /// Tokens that would go.
        found: usize,
        /// Tokens that can.
        most: usize,
    },
    /// A sequence whose last step failed half way.
    #[error("the sequence was left half way by a failed step; go back to a checkpoint")]
    Broken,
    /// A step was asked for nothing.
    #[error("the prompt is empty; give at least one token")]
    Empty,
    /// A buffer of this size cannot be had.
    #[error("{bytes} bytes for {what} could not be allocated; lower --ctx or close other programs")]
    Memory {
        /// Size asked for.
        bytes: usize,
        /// Purpose.
        what: &'static str,
    },
    /// The thread pool did not start.
    #[error("worker threads could not be started: {0}; lower --threads")]
    Threads(String),
    /// A GPU that cannot be used, failed, or has not enough memory.
    #[error("the GPU: {0}")]
    Device(String),
    /// A stored state that is not one of this model.
    #[error("a stored state cannot be used: {0}")]
    Snapshot(&'static str),
    /// The backend was stopped by its caller.
    #[error("interrupted")]
    Interrupted,
}

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;
