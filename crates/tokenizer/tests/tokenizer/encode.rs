//! Encoding: conformance cases, the splitting rules, control markers, and limits.

use crate::common::{MARKERS, Reference, hostile_text, pairs_vocabulary, small_tokenizer, small_vocabulary};
use ds4_tokenizer::{Error, TEXT_BYTES_MAX, TokenId, Tokenizer, markers};
use proptest::prelude::*;
use std::sync::LazyLock;

static REFERENCE: LazyLock<Reference> = LazyLock::new(|| Reference::new(&small_vocabulary()));
static PAIRS: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::new(pairs_vocabulary()).unwrap());
static PAIRS_REFERENCE: LazyLock<Reference> = LazyLock::new(|| Reference::new(&pairs_vocabulary()));

#[test]
fn conformance_cases() {
    let tokenizer = small_tokenizer();
    let cases: serde_json::Value = serde_json::from_str(include_str!("../data/tokenizer_cases.json")).unwrap();
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 18);
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let expected: Vec<TokenId> =
            case["tokens"].as_array().unwrap().iter().map(|id| TokenId(id.as_u64().unwrap() as u32)).collect();
        assert_eq!(tokenizer.encode_text(text).unwrap(), expected, "{text:?}");
        assert_eq!(tokenizer.encode_rendered(text).unwrap(), expected, "{text:?}");
        assert_eq!(tokenizer.decode(&expected), text);
    }
}

#[test]
fn markers_are_recognised_only_in_rendered_text() {
    let tokenizer = small_tokenizer();
    let text = "<｜begin▁of▁sentence｜>the<｜User｜>the<｜Assistant｜></think>the<｜end▁of▁sentence｜>";
    let specials = tokenizer.specials();
    let the = tokenizer.encode_text("the").unwrap();
    let mut expected = vec![specials.bos];
    expected.extend(&the);
    expected.extend(specials.user);
    expected.extend(&the);
    expected.extend([specials.assistant.unwrap(), specials.think_end.unwrap()]);
    expected.extend(&the);
    expected.push(specials.eos);
    assert_eq!(tokenizer.encode_rendered(text).unwrap(), expected);

    let plain = tokenizer.encode_text(text).unwrap();
    assert!(plain.iter().all(|&id| !specials.contains(id)));
    assert_eq!(tokenizer.decode(&plain), text);
}

#[test]
fn each_marker_is_one_token_wherever_it_stands() {
    let tokenizer = small_tokenizer();
    for marker in MARKERS {
        let [id] = tokenizer.encode_rendered(marker).unwrap()[..] else { panic!("{marker}") };
        assert_eq!(tokenizer.token_str(id), Some(marker));
        assert!(tokenizer.specials().contains(id));
        for (before, after) in
            [("<", ">"), ("<｜", "｜>"), (" ", " "), ("<thin", "k>"), ("｜", "｜"), ("\u{ff00}", "é")]
        {
            let around = tokenizer.encode_rendered(&format!("{before}{marker}{after}")).unwrap();
            let mut expected = tokenizer.encode_text(before).unwrap();
            expected.push(id);
            expected.extend(tokenizer.encode_text(after).unwrap());
            assert_eq!(around, expected, "{before}{marker}{after}");
        }
    }
    let public = [
        markers::BOS,
        markers::EOS,
        markers::USER,
        markers::ASSISTANT,
        markers::THINK,
        markers::THINK_END,
        markers::DSML,
    ];
    assert_eq!(public, MARKERS);
}

#[test]
fn near_markers_are_text() {
    let tokenizer = small_tokenizer();
    for text in
        ["<Think>", "<think", "think>", "<|User|>", "<｜User>", "<｜user｜>", "< think>", "<｜DSML>", "<｜▁pad▁｜>"]
    {
        assert_eq!(tokenizer.encode_rendered(text).unwrap(), tokenizer.encode_text(text).unwrap(), "{text}");
    }
}

/// Long runs have no split point inside, and whitespace is where a backtracking engine gives up.
/// Quadratic work would take hours here.
#[test]
fn long_runs_take_no_quadratic_time() {
    let tokenizer = small_tokenizer();
    let megabyte = |unit: &str| unit.repeat((1 << 20) / unit.len());
    let mut texts: Vec<String> = [
        "a", " ", "\n", "\t", "  \n", " \r\n\t", "the", "=", "大", "の", "é", "1", "\0", "\0a", "<", "｜", " =\n",
        "\u{3000}",
    ]
    .map(megabyte)
    .to_vec();
    texts.push(megabyte(" ") + "a");
    texts.push(megabyte(" ") + "\n" + &megabyte(" "));
    texts.push(megabyte("a") + &megabyte(" ") + "1");
    for text in texts {
        let ids = tokenizer.encode_text(&text).unwrap();
        assert_eq!(tokenizer.decode(&ids), text);
    }
    for almost in ["<", "｜", "<｜", "<thin"].map(megabyte) {
        assert_eq!(tokenizer.encode_rendered(&almost).unwrap(), tokenizer.encode_text(&almost).unwrap());
    }
}

#[test]
fn the_longest_text_is_accepted_and_one_byte_more_is_not() {
    let tokenizer = small_tokenizer();
    let mut text = "1 ".repeat(TEXT_BYTES_MAX / 2);
    assert_eq!(tokenizer.encode_text(&text).unwrap().len(), TEXT_BYTES_MAX);
    text.push('1');
    for result in [tokenizer.encode_text(&text), tokenizer.encode_rendered(&text)] {
        let Err(Error::TextTooLong { found }) = result else { panic!("{result:?}") };
        assert_eq!(found, TEXT_BYTES_MAX + 1);
    }
}

#[test]
fn threads_share_one_tokenizer() {
    fn assert_shareable<T: Send + Sync>(_: &T) {}
    // Not the shared one: the memo has to start empty.
    let tokenizer = Tokenizer::new(small_vocabulary()).unwrap();
    assert_shareable(&tokenizer);
    assert_shareable(&tokenizer.decoder());
    let texts: Vec<String> = (0..400).map(|n| format!("the baker {n} counts the trains, {} keeps", n * 7)).collect();
    let expected: Vec<Vec<TokenId>> = texts.iter().map(|text| REFERENCE.encode(text)).collect();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for (text, expected) in texts.iter().zip(&expected) {
                    assert_eq!(&tokenizer.encode_text(text).unwrap(), expected);
                }
            });
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn same_ids_as_the_reference(text in hostile_text()) {
        prop_assert_eq!(small_tokenizer().encode_text(&text).unwrap(), REFERENCE.encode(&text));
        prop_assert_eq!(PAIRS.encode_text(&text).unwrap(), PAIRS_REFERENCE.encode(&text));
    }

    #[test]
    fn decoding_gives_the_text_back(text in hostile_text()) {
        let tokenizer = small_tokenizer();
        prop_assert_eq!(&tokenizer.decode(&tokenizer.encode_text(&text).unwrap()), &text);
        prop_assert_eq!(&tokenizer.decode(&tokenizer.encode_rendered(&text).unwrap()), &text);
    }

    #[test]
    fn plain_text_never_yields_a_control_token(
        before in hostile_text(),
        marker in prop::sample::select(MARKERS.as_slice()),
        after in hostile_text(),
    ) {
        let tokenizer = small_tokenizer();
        let text = format!("{before}{marker}{after}");
        let is_special = |id: &TokenId| tokenizer.specials().contains(*id);
        prop_assert!(!tokenizer.encode_text(&text).unwrap().iter().any(is_special));
        prop_assert!(tokenizer.encode_rendered(&text).unwrap().iter().any(is_special));
    }

    #[test]
    fn rendered_text_is_plain_text_between_markers(
        texts in prop::collection::vec("[a-z 0-9.\n]{0,12}", 1..6),
        marker in prop::sample::select(MARKERS.as_slice()),
    ) {
        let tokenizer = small_tokenizer();
        let id = tokenizer.encode_rendered(marker).unwrap();
        let parts: Vec<Vec<TokenId>> = texts.iter().map(|text| tokenizer.encode_text(text).unwrap()).collect();
        prop_assert_eq!(tokenizer.encode_rendered(&texts.join(marker)).unwrap(), parts.join(id.as_slice()));
    }
}

#[test]
fn segments_are_read_as_one_text_and_trusted_apart() {
    let tokenizer = small_tokenizer();
    let user = markers::USER;
    let rendered = format!("{user}Hello world{user}again");
    let whole = tokenizer.encode_rendered(&rendered).unwrap();
    let cut = [(user, true), ("Hel", false), ("lo wor", true), ("ld", false), (user, true), ("again", false)];
    assert_eq!(tokenizer.encode_segments(cut).unwrap(), whole);
    assert_eq!(
        tokenizer.encode_segments([(rendered.as_str(), false)]).unwrap(),
        tokenizer.encode_text(&rendered).unwrap()
    );
    let long = "a".repeat(ds4_tokenizer::TEXT_BYTES_MAX / 2 + 1);
    assert!(tokenizer.encode_segments([(long.as_str(), false), (long.as_str(), true)]).is_err());
}
