use crate::{Error, TOKEN_BYTES_MAX, TokenId, VOCABULARY_BYTES_MAX, VOCABULARY_TOKENS_MAX, alphabet};

/// In a token string this character marks a literal: such a token is a control marker that stands
/// for its own text, not for bytes of the alphabet (`spec/tokenizer.md` §7).
const LITERAL_MARK: char = '\u{ff5c}';

/// Each token's string as the file has it, and the bytes that it contributes to text.
#[derive(Debug)]
pub(crate) struct TokenTable {
    strings: String,
    string_ends: Vec<u32>,
    bytes: Vec<u8>,
    bytes_ends: Vec<u32>,
}

impl TokenTable {
    /// Copies the token strings, id order, after checking their number and lengths.
    pub(crate) fn new(tokens: &[String]) -> Result<Self, Error> {
        if tokens.is_empty() || tokens.len() > VOCABULARY_TOKENS_MAX {
            return Err(Error::TokenCount { found: tokens.len() });
        }
        let mut table = Self {
            strings: String::new(),
            string_ends: Vec::with_capacity(tokens.len()),
            bytes: Vec::new(),
            bytes_ends: Vec::with_capacity(tokens.len()),
        };
        for (id, token) in (0u32..).zip(tokens) {
            if token.len() > TOKEN_BYTES_MAX {
                return Err(Error::TokenTooLong { id, found: token.len() });
            }
            if table.strings.len() + token.len() > VOCABULARY_BYTES_MAX {
                return Err(Error::VocabularyTooLarge { id });
            }
            table.strings.push_str(token);
            if token.contains(LITERAL_MARK) {
                table.bytes.extend_from_slice(token.as_bytes());
            } else {
                table.bytes.extend(token.chars().filter_map(alphabet::byte_of_char));
            }
            // Both totals are at most VOCABULARY_BYTES_MAX, which fits.
            table.string_ends.push(table.strings.len() as u32);
            table.bytes_ends.push(table.bytes.len() as u32);
        }
        Ok(table)
    }

    /// Number of tokens.
    pub(crate) fn len(&self) -> usize {
        self.string_ends.len()
    }

    /// The string of a token; `None` outside the vocabulary.
    pub(crate) fn string(&self, id: TokenId) -> Option<&str> {
        let (start, end) = bounds(&self.string_ends, id)?;
        self.strings.get(start..end)
    }

    /// The text bytes of a token; empty outside the vocabulary.
    pub(crate) fn bytes(&self, id: TokenId) -> &[u8] {
        bounds(&self.bytes_ends, id).and_then(|(start, end)| self.bytes.get(start..end)).unwrap_or(&[])
    }
}

fn bounds(ends: &[u32], TokenId(id): TokenId) -> Option<(usize, usize)> {
    let index = id as usize;
    let end = *ends.get(index)? as usize;
    let start = index.checked_sub(1).and_then(|before| ends.get(before)).map_or(0, |&end| end as usize);
    Some((start, end))
}
