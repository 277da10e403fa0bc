//! Every refusal of a vocabulary, and what is tolerated.

use crate::common::{self, small_vocabulary};
use ds4_tokenizer::{
    Error, MERGES_MAX, TOKEN_BYTES_MAX, TokenId, Tokenizer, VOCABULARY_BYTES_MAX, VOCABULARY_TOKENS_MAX, Vocabulary,
    markers,
};

/// The error that the small vocabulary gives after a change, and its message.
fn refusal(change: impl FnOnce(&mut Vocabulary)) -> (Error, String) {
    let mut vocabulary = small_vocabulary();
    change(&mut vocabulary);
    let error = Tokenizer::new(vocabulary).expect_err("must be refused");
    let message = error.to_string();
    (error, message)
}

macro_rules! assert_refused {
    ($change:expr, $pattern:pat, $message:expr) => {{
        let (error, message) = refusal($change);
        assert!(matches!(error, $pattern), "{error:?}");
        assert!(message.contains($message), "{message}");
    }};
}

fn replace(vocabulary: &mut Vocabulary, old: &str, new: &str) {
    let token = vocabulary.tokens.iter_mut().find(|token| *token == old).expect("in the vocabulary");
    *token = new.to_owned();
}

#[test]
fn counts_and_lengths_are_bounded() {
    assert_refused!(|v| v.tokens.clear(), Error::TokenCount { found: 0 }, "0 tokens");
    assert_refused!(
        |v| v.tokens.resize(VOCABULARY_TOKENS_MAX + 1, String::new()),
        Error::TokenCount { .. },
        "1048577 tokens"
    );
    assert_refused!(|v| v.merges.resize(MERGES_MAX + 1, String::new()), Error::MergeCount { .. }, "2097153 merges");
    assert_refused!(
        |v| v.tokens.push("a".repeat(TOKEN_BYTES_MAX + 1)),
        Error::TokenTooLong { id: 384, found: 4097 },
        "token 384 is 4097 bytes"
    );
    assert_refused!(
        |v| v.tokens.resize_with(VOCABULARY_BYTES_MAX / TOKEN_BYTES_MAX + 384, || "a".repeat(TOKEN_BYTES_MAX)),
        Error::VocabularyTooLarge { .. },
        "bytes together"
    );
}

#[test]
fn tokens_must_differ_and_cover_every_byte() {
    assert_refused!(
        |v| v.tokens.push("he".to_owned()),
        Error::DuplicateToken { second: 384, .. },
        "and 384 are both `he`"
    );
    assert_refused!(
        |v| replace(v, "\u{120}", "unused"),
        Error::MissingByte { byte: b' ', character: '\u{120}' },
        "byte 0x20"
    );
}

#[test]
fn merges_must_be_two_known_tokens_that_make_a_third() {
    for bad in ["he", "", " he", "he ", "h e r", "h  e"] {
        assert_refused!(|v| v.merges.push(bad.to_owned()), Error::MergeSyntax { index: 120, .. }, "`LEFT RIGHT`");
    }
    assert_refused!(|v| v.merges.push("qz q".to_owned()), Error::MergeUnknownToken { index: 120, .. }, "`qzq`");
    assert_refused!(
        |v| {
            v.tokens.push("zqz".to_owned());
            v.merges.push("zq z".to_owned());
        },
        Error::MergeUnknownToken { index: 120, .. },
        "`zq`"
    );
    assert_refused!(
        |v| v.merges.push("h e".to_owned()),
        Error::DuplicateMerge { index: 120, .. },
        "repeats the pair `h e`"
    );
}

/// Such a file would let anybody type control tokens.
#[test]
fn merges_must_not_make_a_marker() {
    assert_refused!(
        |v| {
            v.tokens.extend(["<th", "ink>", "ink", "nk"].map(str::to_owned));
            v.merges.extend(["< th", "n k", "i nk", "ink >", "<th ink>"].map(str::to_owned));
            v.tokens.push("th".to_owned());
        },
        Error::MergeMakesMarker { index: 124, .. },
        "`<think>`"
    );
}

#[test]
fn bos_and_eos_are_required() {
    assert_refused!(|v| replace(v, markers::BOS, "<s>"), Error::MissingSpecial { .. }, "tokenizer.ggml.bos_token_id");
    assert_refused!(|v| replace(v, markers::EOS, "</s>"), Error::MissingSpecial { .. }, "tokenizer.ggml.eos_token_id");
}

#[test]
fn other_markers_are_optional() {
    let mut vocabulary = small_vocabulary();
    vocabulary.tokens.truncate(379);
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    let specials = tokenizer.specials();
    assert_eq!((specials.bos, specials.eos), (TokenId(0), TokenId(1)));
    let optional = [specials.user, specials.assistant, specials.think, specials.think_end, specials.dsml];
    assert_eq!(optional, [None; 5]);
    for text in ["<think>", "<｜User｜>"] {
        assert_eq!(tokenizer.encode_rendered(text).unwrap(), tokenizer.encode_text(text).unwrap());
    }
}

#[test]
fn a_marker_with_another_text_can_be_named_by_id() {
    let mut vocabulary = small_vocabulary();
    replace(&mut vocabulary, markers::BOS, "<s>");
    vocabulary.bos = Some(TokenId(0));
    // The official text wins over the key.
    vocabulary.eos = Some(TokenId(2));
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    assert_eq!(tokenizer.specials().bos, TokenId(0));
    assert_eq!(tokenizer.specials().eos, TokenId(1));
    assert_eq!(tokenizer.encode_rendered("<s>").unwrap(), [TokenId(0)]);
    assert_ne!(tokenizer.encode_text("<s>").unwrap(), [TokenId(0)]);
}

#[test]
fn of_two_markers_the_longer_wins() {
    let mut vocabulary = small_vocabulary();
    replace(&mut vocabulary, markers::BOS, "<think");
    vocabulary.bos = Some(TokenId(0));
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    let think = tokenizer.specials().think.unwrap();
    assert_eq!(tokenizer.encode_rendered("<think><think<think>").unwrap(), [think, TokenId(0), think]);
}

#[test]
fn a_named_marker_must_be_fit_for_it() {
    let named = |id: u32, text: &'static str| {
        move |v: &mut Vocabulary| {
            replace(v, markers::BOS, "<s>");
            v.tokens.push(text.to_owned());
            v.bos = Some(TokenId(id));
        }
    };
    assert_refused!(named(385, "x"), Error::DuplicateToken { .. }, "both `x`");
    assert_refused!(named(385, "<t>"), Error::BadSpecial { id: 385, .. }, "outside the vocabulary");
    assert_refused!(named(384, ""), Error::BadSpecial { id: 384, .. }, "without text");
    assert_refused!(named(384, "\u{ff5c}"), Error::BadSpecial { id: 384, .. }, "one character");
    // `he` is what the second merge makes.
    assert_refused!(named(260, "<t>"), Error::MergeMakesMarker { index: 1, .. }, "`he`");
}

#[test]
fn tokens_that_nothing_makes_are_tolerated() {
    let mut vocabulary = small_vocabulary();
    vocabulary.tokens.extend(["".to_owned(), "trains".to_owned(), " spaced ".to_owned()]);
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    // No merge leads to `trains`, so it is not used, the first time or later.
    let expected = common::small_tokenizer().encode_text("trains").unwrap();
    for _ in 0..3 {
        assert_eq!(tokenizer.encode_text("trains").unwrap(), expected);
    }
}

#[test]
fn a_vocabulary_of_bytes_alone_works() {
    let mut vocabulary = small_vocabulary();
    vocabulary.tokens.truncate(259);
    vocabulary.merges.clear();
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    let ids = tokenizer.encode_text("né 大").unwrap();
    let expected: Vec<TokenId> = "né 大".bytes().map(|byte| TokenId(3 + u32::from(byte))).collect();
    assert_eq!(ids, expected);
}
