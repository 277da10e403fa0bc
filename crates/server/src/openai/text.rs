//! `/tokenize` and `/detokenize`

use crate::error::ApiError;
use crate::fields::{Fields, body};
use ds4_tokenizer::{TokenId, Tokenizer};
use serde_json::{Value, json};

/// `{"content", "parse_special"}` to `{"tokens"}`.
pub fn tokenize(bytes: &[u8], tokenizer: &Tokenizer) -> Result<Value, ApiError> {
    let body = body(bytes)?;
    let fields = Fields::new(&body, "")?;
    let text = fields.text("content")?.ok_or_else(|| fields.wrong("content", "a string"))?;
    let encoded = match fields.flag("parse_special")?.unwrap_or(false) {
        true => tokenizer.encode_rendered(text),
        false => tokenizer.encode_text(text),
    };
    let tokens = encoded.map_err(|error| ApiError::param("content", error.to_string()))?;
    Ok(json!({"tokens": tokens.iter().map(|token| token.0).collect::<Vec<_>>()}))
}

/// `{"tokens"}` to `{"content"}`.
pub fn detokenize(bytes: &[u8], tokenizer: &Tokenizer) -> Result<Value, ApiError> {
    let body = body(bytes)?;
    let fields = Fields::new(&body, "")?;
    let values = fields.array("tokens")?.ok_or_else(|| fields.wrong("tokens", "an array of token ids"))?;
    let token = |value: &Value| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.filter(|id| (*id as usize) < tokenizer.vocab_size()).map(TokenId)
    };
    let tokens: Option<Vec<TokenId>> = values.iter().map(token).collect();
    let tokens = tokens.ok_or_else(|| fields.wrong("tokens", "ids inside the vocabulary"))?;
    Ok(json!({"content": tokenizer.decode(&tokens)}))
}
