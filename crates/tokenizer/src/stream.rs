use crate::TokenId;
use crate::table::TokenTable;
use std::sync::Arc;

/// Assembles UTF-8 from fragments of bytes.
///
/// The text of all calls together is that of [`String::from_utf8_lossy`] over all bytes together,
/// however they are cut. At most 3 bytes, an unfinished character, are held back between calls.
#[derive(Clone, Debug, Default)]
pub struct Utf8Assembler {
    /// The beginning of a character that may still be completed.
    pending: Vec<u8>,
}

impl Utf8Assembler {
    /// An assembler that holds nothing back.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `bytes` and appends to `text` what is now certain: complete characters, and U+FFFD for
    /// each sequence that no continuation can make valid.
    pub fn push(&mut self, bytes: &[u8], text: &mut String) {
        self.pending.extend_from_slice(bytes);
        let mut rest = self.pending.as_slice();
        let held_back = loop {
            let error = match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    break 0;
                }
                Err(error) => error,
            };
            let (valid, broken) = rest.split_at(error.valid_up_to());
            text.push_str(&String::from_utf8_lossy(valid));
            let Some(broken_len) = error.error_len() else {
                break broken.len();
            };
            text.push(char::REPLACEMENT_CHARACTER);
            rest = broken.get(broken_len..).unwrap_or(&[]);
        };
        self.pending.drain(..self.pending.len() - held_back);
    }

    /// Ends the stream: a character that is still unfinished becomes U+FFFD. The assembler is then
    /// as new.
    pub fn finish(&mut self, text: &mut String) {
        if !self.pending.is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
            self.pending.clear();
        }
    }

    /// Number of bytes held back, 0 to 3.
    pub fn held_back(&self) -> usize {
        self.pending.len()
    }
}

/// Turns a stream of token ids into text. Made by [`Tokenizer::decoder`](crate::Tokenizer::decoder);
/// it owns all it needs, so it may outlive the tokenizer.
#[derive(Clone, Debug)]
pub struct StreamDecoder {
    table: Arc<TokenTable>,
    assembler: Utf8Assembler,
}

impl StreamDecoder {
    pub(crate) fn new(table: Arc<TokenTable>) -> Self {
        Self { table, assembler: Utf8Assembler::new() }
    }

    /// The text that `id` completes. Empty while a character is unfinished, and for an id outside
    /// the vocabulary.
    pub fn push(&mut self, id: TokenId) -> String {
        let mut text = String::new();
        self.assembler.push(self.table.bytes(id), &mut text);
        text
    }

    /// Ends the stream: U+FFFD if a character is still unfinished, else nothing. The decoder can
    /// then be used for another stream.
    pub fn finish(&mut self) -> String {
        let mut text = String::new();
        self.assembler.finish(&mut text);
        text
    }

    /// Number of bytes held back, 0 to 3.
    pub fn held_back(&self) -> usize {
        self.assembler.held_back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assemble(chunks: &[&[u8]]) -> String {
        let mut assembler = Utf8Assembler::new();
        let mut text = String::new();
        for chunk in chunks {
            assembler.push(chunk, &mut text);
            assert!(assembler.held_back() <= 3);
        }
        assembler.finish(&mut text);
        text
    }

    #[test]
    fn a_character_appears_when_its_last_byte_arrives() {
        let mut assembler = Utf8Assembler::new();
        let mut text = String::new();
        for &byte in &"😀".as_bytes()[..3] {
            assembler.push(&[byte], &mut text);
            assert_eq!(text, "");
        }
        assembler.push(&[0x80, b'!'], &mut text);
        assert_eq!((text.as_str(), assembler.held_back()), ("😀!", 0));
    }

    #[test]
    fn broken_sequences_are_replaced_as_soon_as_they_are_known() {
        let mut assembler = Utf8Assembler::new();
        let mut text = String::new();
        assembler.push(&[0xe2, 0x82], &mut text);
        assert_eq!(text, "");
        assembler.push(b"a", &mut text);
        assert_eq!(text, "\u{fffd}a");
        assembler.push(&[0xff], &mut text);
        assert_eq!(text, "\u{fffd}a\u{fffd}");
    }

    #[test]
    fn finish_replaces_an_unfinished_character_and_starts_afresh() {
        let mut assembler = Utf8Assembler::new();
        let mut text = String::new();
        assembler.push(&[b'x', 0xf0, 0x9f], &mut text);
        assembler.finish(&mut text);
        assembler.finish(&mut text);
        assembler.push(b"y", &mut text);
        assert_eq!(text, "x\u{fffd}y");
    }

    /// Bytes that make and break UTF-8 sequences far more often than random ones.
    fn byte_soup() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop::sample::select(
            [0x41, 0x7f, 0x80, 0xa0, 0xbf, 0xc0, 0xc3, 0xe0, 0xe2, 0xed, 0xef, 0xf0, 0xf4, 0xf5, 0xff].as_slice(),
        );
        prop::collection::vec(byte, 0..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn cuts_do_not_matter(bytes in byte_soup(), cuts in prop::collection::vec(0usize..40, 0..8)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            prop_assert_eq!(assemble(&chunks), String::from_utf8_lossy(&bytes));
        }
    }
}
