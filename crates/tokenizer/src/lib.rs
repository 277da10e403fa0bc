//! DeepSeek V4 tokenizer: text to token ids and back, with the vocabulary that a GGUF file carries.
//!
//! Encoding has two halves. `split.rs` cuts text into pieces by the official rules
//! (`spec/tokenizer.md` §3.1); byte-pair merging inside a piece is the `tokenizers` library's.
//! Entry points differ in trust: [`Tokenizer::encode_text`] never yields a control token, whatever the
//! text says, [`Tokenizer::encode_rendered`] turns the seven markers into theirs, and
//! [`Tokenizer::encode_segments`] does one or the other for each part of a prompt.
//!
//! Decoding is a table look-up per token plus UTF-8 assembly: one token may hold a fragment of a
//! character, so [`StreamDecoder`] holds back what is incomplete.

mod alphabet;
mod error;
mod gguf;
mod merge;
mod specials;
mod split;
mod stream;
mod table;
mod tokenizer;
mod vocabulary;

pub use error::Error;
pub use specials::{Specials, markers};
pub use stream::{StreamDecoder, Utf8Assembler};
pub use tokenizer::Tokenizer;
pub use vocabulary::Vocabulary;

/// Index of a token in the vocabulary, which is also its row in the embedding table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub u32);

/// Most bytes that one encode call accepts: 8 bytes for each of the 1,048,576 tokens of the longest
/// context, where prose and code need 3 to 5. Merging takes up to 120 bytes of memory for each byte
/// of the longest piece, so this also bounds what a text without a single split point can cost: 1 GB.
pub const TEXT_BYTES_MAX: usize = 8 << 20;

/// Most tokens in a vocabulary. V4 Flash has 129,280; ids must also stay far below 2³¹.
pub const VOCABULARY_TOKENS_MAX: usize = 1 << 20;

/// Most merges in a vocabulary. V4 Flash has 127,741; each merge makes a token, and a token can be
/// made in a few ways.
pub const MERGES_MAX: usize = 1 << 21;

/// Most bytes in one token's string. V4 Flash's longest, 128 spaces, takes 256.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// Most bytes in all token strings together; offsets into them are stored as `u32`.
/// V4 Flash needs about 1 MB.
pub const VOCABULARY_BYTES_MAX: usize = 64 << 20;
