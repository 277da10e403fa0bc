use crate::{MERGES_MAX, TEXT_BYTES_MAX, TOKEN_BYTES_MAX, VOCABULARY_BYTES_MAX, VOCABULARY_TOKENS_MAX};

/// Why a vocabulary was refused or a text not encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A metadata key is missing or holds something else than it should.
    #[error("the file carries no usable tokenizer: {0}")]
    Metadata(#[from] ds4_gguf::Error),
    /// The file asks for another tokenizer or other splitting rules than this crate implements.
    #[error("`{key}` is `{found}`, but only {accepted:?} is supported; use a DeepSeek V4 file")]
    Unsupported {
        /// The metadata key.
        key: &'static str,
        /// Its value.
        found: String,
        /// The values that are supported.
        accepted: &'static [&'static str],
    },
    /// A vocabulary without tokens, or with more than [`VOCABULARY_TOKENS_MAX`].
    #[error("the vocabulary has {found} tokens, expected 1 to {VOCABULARY_TOKENS_MAX}")]
    TokenCount {
        /// Number of tokens found.
        found: usize,
    },
    /// More merges than [`MERGES_MAX`].
    #[error("the vocabulary has {found} merges, expected at most {MERGES_MAX}")]
    MergeCount {
        /// Number of merges found.
        found: usize,
    },
    /// A token string longer than [`TOKEN_BYTES_MAX`].
    #[error("token {id} is {found} bytes long, expected at most {TOKEN_BYTES_MAX}")]
    TokenTooLong {
        /// Token id.
        id: u32,
        /// Its length in bytes.
        found: usize,
    },
    /// All token strings together exceed [`VOCABULARY_BYTES_MAX`].
    #[error("the token strings exceed {VOCABULARY_BYTES_MAX} bytes together, at token {id}")]
    VocabularyTooLarge {
        /// The token at which the limit was passed.
        id: u32,
    },
    /// Two tokens have the same string, so text could not be encoded unambiguously.
    #[error("tokens {first} and {second} are both `{text}`; token strings must differ")]
    DuplicateToken {
        /// Lower id.
        first: u32,
        /// Higher id.
        second: u32,
        /// Their string.
        text: String,
    },
    /// A byte has no single-character token, so some text could not be encoded.
    #[error("no token stands for byte 0x{byte:02x} (`{character}`); the vocabulary is not a byte-level one")]
    MissingByte {
        /// The byte.
        byte: u8,
        /// Its character in the byte alphabet.
        character: char,
    },
    /// A merge is not two strings with one space between them.
    #[error("merge {index} is `{text}`, expected `LEFT RIGHT`")]
    MergeSyntax {
        /// Position in the merge list, which is the rank.
        index: usize,
        /// The entry.
        text: String,
    },
    /// A merge takes or makes a string that is no token.
    #[error("merge {index} names `{text}`, which is not in the vocabulary")]
    MergeUnknownToken {
        /// Position in the merge list.
        index: usize,
        /// The unknown string.
        text: String,
    },
    /// A pair appears twice, so its rank would be ambiguous.
    #[error("merge {index} repeats the pair `{text}`")]
    DuplicateMerge {
        /// Position in the merge list.
        index: usize,
        /// The pair.
        text: String,
    },
    /// A merge makes a control marker, which would let plain text produce control tokens.
    #[error("merge {index} makes the control token `{text}`, which plain text must never produce")]
    MergeMakesMarker {
        /// Position in the merge list.
        index: usize,
        /// The marker.
        text: String,
    },
    /// Neither the marker's text nor a metadata key tells which token it is.
    #[error("no token is `{text}` and `{key}` does not name one; the model cannot be prompted without it")]
    MissingSpecial {
        /// The marker's official text.
        text: &'static str,
        /// The metadata key that may name it.
        key: &'static str,
    },
    /// A metadata key names a token that cannot serve as a marker.
    #[error("`{key}` is {id}, which {reason}")]
    BadSpecial {
        /// The metadata key.
        key: &'static str,
        /// The id it holds.
        id: u32,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The text is longer than [`TEXT_BYTES_MAX`].
    #[error("the text is {found} bytes long, expected at most {TEXT_BYTES_MAX}; shorten it")]
    TextTooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// The library refused a vocabulary or a piece that passed every check of this crate.
    #[error("the byte-pair merger failed: {0}")]
    Merger(String),
    /// The Unicode class tables could not be built.
    #[error("the Unicode class `{class}` is not available: {cause}")]
    UnicodeClass {
        /// The class, as a pattern.
        class: &'static str,
        /// What the table's source reported.
        cause: String,
    },
}

/// Characters of a string from the file that a message repeats.
const SHOWN_CHARS_MAX: usize = 80;

/// A string from the file as messages repeat it: shortened, and without control characters.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}
