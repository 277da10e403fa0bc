//! Decoding: token bytes, and streams of tokens.

use crate::common::{hostile_text, small_tokenizer, small_vocabulary};
use ds4_tokenizer::{TokenId, Tokenizer};
use proptest::prelude::*;

/// The ids of single bytes: this vocabulary begins with three control tokens, then bytes in order.
fn byte_id(byte: u8) -> TokenId {
    TokenId(3 + u32::from(byte))
}

#[test]
fn token_bytes_follow_the_alphabet() {
    let tokenizer = small_tokenizer();
    for byte in 0..=255 {
        assert_eq!(tokenizer.token_bytes(byte_id(byte)), [byte]);
    }
    let [space_t] = tokenizer.encode_text(" t").unwrap()[..] else { panic!("` t` is the first merge") };
    assert_eq!(tokenizer.token_bytes(space_t), b" t");
    assert_eq!(tokenizer.token_str(space_t), Some("\u{120}t"));
}

#[test]
fn markers_decode_to_their_text() {
    let tokenizer = small_tokenizer();
    let specials = *tokenizer.specials();
    assert_eq!(tokenizer.token_bytes(specials.bos), "<｜begin▁of▁sentence｜>".as_bytes());
    assert_eq!(tokenizer.token_bytes(specials.dsml.unwrap()), "｜DSML｜".as_bytes());
    assert_eq!(tokenizer.token_bytes(specials.think_end.unwrap()), b"</think>");
    assert_eq!(tokenizer.token_bytes(TokenId(2)), "<｜▁pad▁｜>".as_bytes());
}

#[test]
fn characters_outside_the_alphabet_contribute_nothing() {
    let mut vocabulary = small_vocabulary();
    vocabulary.tokens.push("a\u{2581}b c\u{120}".to_owned());
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    assert_eq!(tokenizer.token_bytes(TokenId(384)), b"abc ");
}

#[test]
fn ids_outside_the_vocabulary_are_empty() {
    let tokenizer = small_tokenizer();
    assert_eq!(tokenizer.vocab_size(), 384);
    for id in [384, u32::MAX] {
        assert_eq!(tokenizer.token_bytes(TokenId(id)), b"");
        assert_eq!(tokenizer.token_str(TokenId(id)), None);
        assert_eq!(tokenizer.decoder().push(TokenId(id)), "");
    }
    assert!(tokenizer.token_str(TokenId(383)).is_some());
}

#[test]
fn a_stream_holds_back_unfinished_characters() {
    let mut decoder = small_tokenizer().decoder();
    let steps: Vec<(String, usize)> =
        "a大".bytes().map(|byte| (decoder.push(byte_id(byte)), decoder.held_back())).collect();
    assert_eq!(steps, [("a".into(), 0), (String::new(), 1), (String::new(), 2), ("大".into(), 0)]);
    assert_eq!(decoder.finish(), "");
    decoder.push(byte_id(0xf0));
    assert_eq!(decoder.finish(), "\u{fffd}");
    assert_eq!(decoder.finish(), "");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_stream_says_what_decode_says(ids in prop::collection::vec(0u32..390, 0..60)) {
        let tokenizer = small_tokenizer();
        let ids: Vec<TokenId> = ids.into_iter().map(TokenId).collect();
        let mut decoder = tokenizer.decoder();
        let mut text = String::new();
        for &id in &ids {
            text.push_str(&decoder.push(id));
            prop_assert!(decoder.held_back() <= 3);
        }
        text.push_str(&decoder.finish());
        prop_assert_eq!(text, tokenizer.decode(&ids));
    }

    /// Valid text reaches the reader complete before `finish`, with at most one character missing
    /// on the way.
    #[test]
    fn valid_text_streams_promptly(text in hostile_text()) {
        let tokenizer = small_tokenizer();
        let mut decoder = tokenizer.decoder();
        let mut seen = String::new();
        let mut bytes_given = 0;
        for id in tokenizer.encode_text(&text).unwrap() {
            seen.push_str(&decoder.push(id));
            bytes_given += tokenizer.token_bytes(id).len();
            prop_assert_eq!(seen.len() + decoder.held_back(), bytes_given);
        }
        prop_assert_eq!(decoder.finish(), "");
        prop_assert_eq!(seen, text);
    }
}
