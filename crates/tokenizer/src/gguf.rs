use crate::specials::{BOS_KEY, EOS_KEY};
use crate::{Error, TokenId, Tokenizer, Vocabulary, error::shown};
use ds4_gguf::{Metadata, StringArray};

const MODEL_KEY: &str = "tokenizer.ggml.model";
/// The name that GGUF gives to byte-level BPE.
const MODELS: &[&str] = &["gpt2"];

const SPLIT_KEY: &str = "tokenizer.ggml.pre";
/// Names of the splitting rules of `spec/tokenizer.md` §3.1, which V3 introduced.
const SPLITS: &[&str] = &["joyai-llm", "deepseek-v3"];

const TOKENS_KEY: &str = "tokenizer.ggml.tokens";
const MERGES_KEY: &str = "tokenizer.ggml.merges";

impl Vocabulary {
    /// Copies the vocabulary out of a file's metadata.
    ///
    /// # Errors
    ///
    /// The keys for tokens or merges are missing, a key has the wrong type, or the file asks for
    /// another kind of tokenizer.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, Error> {
        check_one_of(metadata, MODEL_KEY, MODELS)?;
        check_one_of(metadata, SPLIT_KEY, SPLITS)?;
        let owned = |strings: &StringArray| strings.iter().map(str::to_owned).collect();
        Ok(Self {
            tokens: owned(metadata.str_array(TOKENS_KEY)?),
            merges: owned(metadata.str_array(MERGES_KEY)?),
            bos: metadata.opt_u32(BOS_KEY)?.map(TokenId),
            eos: metadata.opt_u32(EOS_KEY)?.map(TokenId),
        })
    }
}

impl Tokenizer {
    /// Builds the tokenizer that a file's metadata describes.
    ///
    /// # Errors
    ///
    /// Those of [`Vocabulary::from_gguf`] and of [`Tokenizer::new`].
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, Error> {
        Self::new(Vocabulary::from_gguf(metadata)?)
    }
}

/// Files may leave these keys out: nothing else than the one tokenizer could be meant.
fn check_one_of(metadata: &Metadata, key: &'static str, accepted: &'static [&'static str]) -> Result<(), Error> {
    match metadata.opt_str(key)? {
        Some(found) if !accepted.contains(&found) => Err(Error::Unsupported { key, found: shown(found), accepted }),
        _ => Ok(()),
    }
}
