use crate::merge::{Merger, TokenIds};
use crate::specials::MarkerScanner;
use crate::split::CharClasses;
use crate::table::TokenTable;
use crate::{Error, Specials, StreamDecoder, TEXT_BYTES_MAX, TokenId, Vocabulary, alphabet};
use std::sync::Arc;

/// Encodes and decodes text. Immutable but for a lock-free memo; share it behind an [`Arc`].
pub struct Tokenizer {
    table: Arc<TokenTable>,
    specials: Specials,
    markers: MarkerScanner,
    classes: CharClasses,
    merger: Merger,
}

impl Tokenizer {
    /// Checks a vocabulary and builds the tokenizer, about 0.2 s for V4 Flash.
    ///
    /// # Errors
    ///
    /// Every inconsistency that would make encoding ambiguous, incomplete or unsafe is refused: see
    /// the variants of [`Error`]. Token types are not read: markers are known by their text.
    pub fn new(vocabulary: Vocabulary) -> Result<Self, Error> {
        let table = TokenTable::new(&vocabulary.tokens)?;
        let mut vocabulary = vocabulary;
        let ids = TokenIds::new(std::mem::take(&mut vocabulary.tokens), &table)?;
        let specials = Specials::find(&vocabulary, |text| ids.get(text))?;
        let markers = MarkerScanner::new(&specials, &table)?;
        let merger = Merger::new(ids, &vocabulary.merges, &specials)?;
        Ok(Self { table: Arc::new(table), specials, markers, classes: CharClasses::new()?, merger })
    }

    /// Encodes text from outside: no control token can result, `<think>` is seven characters.
    ///
    /// # Errors
    ///
    /// [`Error::TextTooLong`] above [`TEXT_BYTES_MAX`].
    pub fn encode_text(&self, text: &str) -> Result<Vec<TokenId>, Error> {
        check_length(text.len())?;
        let mut ids = Vec::with_capacity(likely_tokens(text));
        self.encode_plain(text, &mut ids)?;
        Ok(ids)
    }

    /// Encodes a rendered prompt: each marker of [`markers`](crate::markers) that the vocabulary has
    /// becomes its control token (`spec/tokenizer.md` §5), the text between them is encoded as by
    /// [`encode_text`](Self::encode_text). Only for text whose markers were put there on purpose.
    ///
    /// # Errors
    ///
    /// [`Error::TextTooLong`] above [`TEXT_BYTES_MAX`].
    pub fn encode_rendered(&self, text: &str) -> Result<Vec<TokenId>, Error> {
        self.encode_segments([(text, true)])
    }

    /// Encodes a prompt made of trusted and other text, in order: markers become control tokens in trusted text only.
    /// Text between two control tokens is encoded as one, wherever it came from, as the model has seen it.
    ///
    /// # Errors
    ///
    /// [`Error::TextTooLong`] if all text together is above [`TEXT_BYTES_MAX`].
    pub fn encode_segments<'t>(
        &self,
        segments: impl IntoIterator<Item = (&'t str, bool)>,
    ) -> Result<Vec<TokenId>, Error> {
        let (mut ids, mut plain, mut bytes) = (Vec::new(), String::new(), 0_usize);
        for (text, is_trusted) in segments {
            bytes = bytes.saturating_add(text.len());
            check_length(bytes)?;
            let mut rest = text;
            while let Some((before, id, after)) = self.markers.split_once(rest).filter(|_| is_trusted) {
                plain.push_str(before);
                self.encode_plain(&plain, &mut ids)?;
                plain.clear();
                ids.push(id);
                rest = after;
            }
            plain.push_str(rest);
        }
        self.encode_plain(&plain, &mut ids)?;
        Ok(ids)
    }

    /// The control tokens.
    pub fn specials(&self) -> &Specials {
        &self.specials
    }

    /// Whether the vocabulary has what conversations are written with.
    pub fn has_chat_markers(&self) -> bool {
        let specials = &self.specials;
        let markers = [specials.user, specials.assistant, specials.think, specials.think_end, specials.dsml];
        markers.iter().all(Option::is_some)
    }

    /// Number of tokens in the vocabulary.
    pub fn vocab_size(&self) -> usize {
        self.table.len()
    }

    /// The bytes that a token contributes to text (`spec/tokenizer.md` §7): possibly a fragment of a
    /// character, a marker's own text, or nothing for an id outside the vocabulary.
    pub fn token_bytes(&self, id: TokenId) -> &[u8] {
        self.table.bytes(id)
    }

    /// The token's string as the file has it, in the byte alphabet; `None` outside the vocabulary.
    pub fn token_str(&self, id: TokenId) -> Option<&str> {
        self.table.string(id)
    }

    /// A decoder for one stream of tokens.
    pub fn decoder(&self) -> StreamDecoder {
        StreamDecoder::new(Arc::clone(&self.table))
    }

    /// The text of a whole sequence, with U+FFFD where its bytes are no valid UTF-8.
    pub fn decode(&self, ids: &[TokenId]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.token_bytes(id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn encode_plain(&self, text: &str, ids: &mut Vec<TokenId>) -> Result<(), Error> {
        let mut mapped = String::new();
        for piece in self.classes.pieces(text) {
            mapped.clear();
            let characters = piece.bytes().filter_map(|byte| alphabet::CHAR_OF_BYTE.get(usize::from(byte)));
            mapped.extend(characters);
            self.merger.encode(&mapped, ids)?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .field("specials", &self.specials)
            .finish_non_exhaustive()
    }
}

fn check_length(bytes: usize) -> Result<(), Error> {
    match bytes {
        found if found > TEXT_BYTES_MAX => Err(Error::TextTooLong { found }),
        _ => Ok(()),
    }
}

/// Four bytes a token is usual for prose and code.
fn likely_tokens(text: &str) -> usize {
    text.len() / 4 + 1
}
