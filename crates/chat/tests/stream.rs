//! Answers in pieces: any cut gives the same events, and the same answer as the whole text.

mod common;

use ds4_chat::{Answer, AnswerStream, Event, StopStrings, parse_answer};
use proptest::prelude::*;
use serde_json::Value;

/// What a caller has seen, with the pieces of a text joined.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    reasoning: String,
    content: String,
    /// Name, arguments, whether it has ended.
    calls: Vec<(String, String, bool)>,
}

impl Seen {
    fn of(events: Vec<Event>) -> Self {
        let mut seen = Self::default();
        for event in events {
            match event {
                Event::Reasoning(text) => seen.reasoning.push_str(&text),
                Event::Content(text) => seen.content.push_str(&text),
                Event::CallStart { index, name } => {
                    assert_eq!(index, seen.calls.len());
                    seen.calls.push((name, String::new(), false));
                }
                Event::CallArguments { index, fragment } => {
                    assert_eq!(index + 1, seen.calls.len());
                    assert!(!fragment.is_empty());
                    seen.calls[index].1.push_str(&fragment);
                }
                Event::CallEnd { index } => seen.calls[index].2 = true,
            }
        }
        seen
    }
}

fn read<'t>(pieces: impl IntoIterator<Item = &'t str>, thinking: bool, tools: bool) -> (Seen, Answer) {
    let mut stream = AnswerStream::new(thinking, tools);
    let mut events = Vec::new();
    for piece in pieces {
        stream.push(piece, &mut events);
    }
    let answer = stream.finish(&mut events);
    (Seen::of(events), answer)
}

fn characters(text: &str) -> impl Iterator<Item = &str> {
    text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()])
}

/// Checks one text; `cuts` are counted in characters.
fn check(text: &str, cuts: &[usize], thinking: bool, tools: bool) {
    let (whole, answer) = read([text], thinking, tools);
    assert_eq!(answer, parse_answer(text, thinking, tools));
    assert_eq!((&whole.reasoning, &whole.content), (&answer.reasoning, &answer.content), "{text}");
    if answer.raw_block.is_some() {
        let calls = answer.calls.iter().map(|call| (call.name.clone(), call.arguments.clone(), true));
        assert_eq!(whole.calls, calls.collect::<Vec<_>>());
        for call in &answer.calls {
            assert!(serde_json::from_str::<Value>(&call.arguments).is_ok_and(|value| value.is_object()), "{call:?}");
        }
    }
    assert_eq!(read(characters(text), thinking, tools), read([text], thinking, tools), "{text}");
    let mut pieces = Vec::new();
    let mut last = 0;
    for (count, (at, _)) in text.char_indices().enumerate() {
        if cuts.contains(&count) {
            pieces.push(&text[last..at]);
            last = at;
        }
    }
    pieces.push(&text[last..]);
    assert_eq!(read(pieces, thinking, tools), read([text], thinking, tools), "{text}");
}

#[test]
fn recorded_texts_in_pieces() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("data/ds4/parse_cases.json")).expect("cases");
    for case in &cases {
        let text = case["text"].as_str().expect("text");
        for (thinking, tools) in [(false, false), (false, true), (true, false), (true, true)] {
            check(text, &[3, 7, 30, 31, 60], thinking, tools);
        }
    }
}

/// Pieces of which calls are made, whole and broken.
fn syntax() -> impl Strategy<Value = String> {
    let pieces = [
        "<think>",
        "</think>",
        "\n\n",
        " ",
        "<\u{ff5c}DSML\u{ff5c}tool_calls>\n",
        "<\u{ff5c}DSML\u{ff5c}invoke name=\"f\">\n",
        "<\u{ff5c}DSML\u{ff5c}parameter name=\"x\" string=\"true\">",
        "<\u{ff5c}DSML\u{ff5c}parameter name=\"y\" string=\"false\">",
        "<\u{ff5c}DSML\u{ff5c}parameter name=\"z\">",
        "</\u{ff5c}DSML\u{ff5c}parameter>\n",
        "</\u{ff5c}DSML\u{ff5c}invoke>\n",
        "</\u{ff5c}DSML\u{ff5c}tool_calls>",
        "<tool_calls>",
        "<invoke name=\"g\">",
        "<parameter name=\"a\">",
        "</parameter>",
        "</invoke>",
        "</tool_calls>",
        "[1, {\"a\": \"\u{e9}\\\"<\"}]",
        "\"",
        "\\",
        "&lt;",
        "&am",
        "<",
        "</",
        "<\u{ff5c}",
        "caf\u{e9} \u{1f600}",
        "text",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..24).prop_map(|pieces| pieces.concat())
}

/// A block as it should be, with any values.
fn call() -> impl Strategy<Value = String> {
    let value = prop_oneof!["[a-z<>&\"\\\\\u{e9} /]{0,12}", Just("</parameter>".to_owned()), Just("&amp;".to_owned())];
    (value, syntax()).prop_map(|(value, before)| {
        format!(
            "{before}\n\n<\u{ff5c}DSML\u{ff5c}tool_calls>\n<\u{ff5c}DSML\u{ff5c}invoke name=\"f\">\n\
             <\u{ff5c}DSML\u{ff5c}parameter name=\"x\" string=\"true\">{value}</\u{ff5c}DSML\u{ff5c}parameter>\n\
             </\u{ff5c}DSML\u{ff5c}invoke>\n</\u{ff5c}DSML\u{ff5c}tool_calls>"
        )
    })
}

/// The stop string that ends first, by trying every end.
fn naive(text: &str, stops: &[String]) -> (String, Option<usize>) {
    for end in (1..=text.len()).filter(|end| text.is_char_boundary(*end)) {
        let hits =
            stops.iter().enumerate().filter(|(_, stop)| !stop.is_empty() && text[..end].ends_with(stop.as_str()));
        if let Some((index, stop)) = hits.min_by_key(|(index, stop)| (std::cmp::Reverse(stop.len()), *index)) {
            return (text[..end - stop.len()].to_owned(), Some(index));
        }
    }
    (text.to_owned(), None)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn cuts_do_not_matter(
        text in prop_oneof![syntax(), call()],
        cuts in prop::collection::vec(0usize..200, 0..8),
        thinking in any::<bool>(),
        tools in any::<bool>(),
    ) {
        check(&text, &cuts, thinking, tools);
    }

    #[test]
    fn stop_strings_are_found_in_any_cut(
        text in "[ab\u{e9}]{0,24}",
        stops in prop::collection::vec("[ab\u{e9}]{0,4}", 0..4),
    ) {
        let mut finder = StopStrings::new(stops.clone());
        let (mut out, mut hit) = (String::new(), None);
        for piece in characters(&text) {
            hit = finder.push(piece, &mut out);
            prop_assert!(naive(&text, &stops).0.starts_with(&out));
        }
        finder.finish(&mut out);
        prop_assert_eq!((out, hit), naive(&text, &stops));
    }
}

/// A long text in one-character pieces takes time in proportion to its length: quadratic work would take minutes.
#[test]
fn long_texts_are_read_in_linear_time() {
    let start = "<\u{ff5c}DSML\u{ff5c}tool_calls>\n<\u{ff5c}DSML\u{ff5c}invoke name=\"f\">\n<\u{ff5c}DSML\u{ff5c}parameter name=\"x\" string=\"true\">";
    for filler in ["a", "<", "</", "\u{e9}", "&", "\n"] {
        for before in ["", start] {
            let text = format!("{before}{}", filler.repeat(300_000));
            let (_, answer) = read(characters(&text), false, true);
            assert!(answer.calls.is_empty());
            assert_eq!(answer.content, text);
        }
    }
}
