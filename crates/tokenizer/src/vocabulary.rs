use crate::TokenId;

/// What a file says about its tokens, before any check.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    /// Token strings in the byte alphabet (`spec/tokenizer.md` §2); the index is the id.
    pub tokens: Vec<String>,
    /// Merges as `LEFT RIGHT`, lowest rank first.
    pub merges: Vec<String>,
    /// Begin-of-sequence token, used only when no token has the official marker's text.
    pub bos: Option<TokenId>,
    /// End-of-sequence token, used only when no token has the official marker's text.
    pub eos: Option<TokenId>,
}
