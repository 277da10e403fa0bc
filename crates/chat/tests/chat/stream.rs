//! Answers in pieces: any cut gives the same, and events are those that a server needs.

use crate::common::{check_events, stream, text};
use ds4_chat::{AnswerStream, BlockStatus, Event, Place, parse_answer};
use proptest::prelude::*;
use serde_json::Value;

const CALL: &str = "\n\n<\u{ff5c}DSML\u{ff5c}tool_calls>\n<\u{ff5c}DSML\u{ff5c}invoke name=\"f\">\n<\u{ff5c}DSML\u{ff5c}parameter name=\"a\" string=\"true\">b</\u{ff5c}DSML\u{ff5c}parameter>\n</\u{ff5c}DSML\u{ff5c}invoke>\n</\u{ff5c}DSML\u{ff5c}tool_calls>";

/// Pieces of hostile and of sensible texts.
const PARTS: &[&str] = &[
    "<think>",
    "</think>",
    "<\u{ff5c}DSML\u{ff5c}tool_calls>",
    "</\u{ff5c}DSML\u{ff5c}tool_calls>",
    "<\u{ff5c}\u{ff5c}DSML\u{ff5c}\u{ff5c}tool_calls>",
    "<|DSML|tool_calls>\n",
    "<tool_calls>",
    "</tool_calls>",
    "<\u{ff5c}DSML\u{ff5c}invoke name=\"f\">",
    "<invoke name=\"g&amp;h\">",
    "<invoke>",
    "</\u{ff5c}DSML\u{ff5c}invoke>",
    "</invoke>",
    "<\u{ff5c}DSML\u{ff5c}parameter name=\"s\" string=\"true\">",
    "<\u{ff5c}DSML\u{ff5c}parameter name=\"j\" string=\"false\">",
    "<parameter name=\"n\">",
    "<parameter name=\u{201c}q\u{201d} string=\u{201c}true\u{201d}>",
    "</\u{ff5c}DSML\u{ff5c}parameter>",
    "</parameter>",
    "<",
    "</",
    "\u{ff5c}",
    "DSML",
    "&",
    "&lt;",
    "&amp;lt;",
    "&#",
    " ",
    "\n\n",
    "\u{3000}",
    "x",
    "\u{1f600}",
    "\"",
    "\\",
    "\u{0}",
    "{ \"k\" : [1, \"a b\"] }",
    "1e400",
    "null",
    "[",
    CALL,
];

/// A piece, and a chance that the next follows from it, so that whole calls come up.
fn texts() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        8 => prop::sample::select(PARTS).prop_map(str::to_owned),
        1 => "\\PC{0,6}",
        2 => calls(),
    ];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

/// A block that is right in most cases.
fn calls() -> impl Strategy<Value = String> {
    let value = prop::collection::vec(prop::sample::select(PARTS), 0..3).prop_map(|parts| parts.concat());
    let parameter = (0..3usize, value, 0..8).prop_map(|(kind, value, marks)| {
        let (open, close) = if marks < 6 { ("\u{ff5c}DSML\u{ff5c}", "\u{ff5c}DSML\u{ff5c}") } else { ("", "") };
        let close = if marks == 5 { "" } else { close };
        let kind = ["", " string=\"true\"", " string=\"false\""][kind];
        let value = if kind.contains("false") { "{\"a\": [1, \" </\"]}" } else { &value };
        format!("<{open}parameter name=\"p\"{kind}>{value}</{close}parameter>\n")
    });
    let invoke = prop::collection::vec(parameter, 0..3).prop_map(|parameters| {
        format!("<\u{ff5c}DSML\u{ff5c}invoke name=\"f\">\n{}</\u{ff5c}DSML\u{ff5c}invoke>\n", parameters.concat())
    });
    prop::collection::vec(invoke, 0..3).prop_map(|invokes| {
        let invokes = invokes.concat();
        format!("\n\n<\u{ff5c}DSML\u{ff5c}tool_calls>\n{invokes}</\u{ff5c}DSML\u{ff5c}tool_calls>")
    })
}

/// Pieces of `text`, their lengths in characters taken from `lengths` in turn.
fn cut<'t>(text: &'t str, lengths: &[usize]) -> Vec<&'t str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let end = rest.char_indices().nth(*length).map_or(rest.len(), |(end, _)| end);
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

fn same_for_any_cut(text: &str, lengths: &[usize], thinking: bool, tools: bool) {
    let (answer, events, done) = stream([text], thinking, tools);
    assert_eq!(answer, parse_answer(text, thinking, tools));
    check_events(&answer, &events);
    let in_pieces = stream(cut(text, lengths), thinking, tools);
    assert_eq!((&answer, &events), (&in_pieces.0, &in_pieces.1), "{text:?}");
    assert_eq!(done.contains(&true), in_pieces.2.contains(&true));
    let place = |pieces: Vec<&str>| {
        let mut stream = AnswerStream::new(thinking, tools);
        pieces.into_iter().for_each(|piece| stream.push(piece, &mut Vec::new()));
        stream.place()
    };
    assert_eq!(place(vec![text]), place(cut(text, lengths)));
    // Decoding stops at once: nothing that comes later changes a block that is complete.
    if let Some(stop) = in_pieces.2.iter().position(|done| *done).filter(|_| answer.status == BlockStatus::Complete) {
        let stopped = stream(cut(text, lengths).into_iter().take(stop + 1), thinking, tools);
        assert_eq!((stopped.0, stopped.1), (answer, events));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_the_same(
        text in texts(),
        lengths in prop::collection::vec(1..9usize, 1..6),
        thinking: bool,
        tools in prop::bool::weighted(0.9),
    ) {
        same_for_any_cut(&text, &lengths, thinking, tools);
        same_for_any_cut(&text, &[1], thinking, tools);
    }

    #[test]
    fn a_string_argument_comes_back(value in "(\\PC|[\n\t\u{0}<&/\u{ff5c}])*", lengths in prop::collection::vec(1..9usize, 1..4)) {
        let escaped = value.replace('&', "&amp;").replace('<', "&lt;");
        let block = CALL.replacen(">b<", &format!(">{escaped}<"), 1);
        let (answer, ..) = stream(cut(&block, &lengths), false, true);
        prop_assert_eq!(&answer.calls[0].arguments, &serde_json::json!({ "a": value }).to_string());
        prop_assert_eq!(answer.raw_block, Some(block));
    }
}

#[test]
fn recorded_parse_cases_in_pieces() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../data/ds4/parse_cases.json")).expect("cases");
    for case in &cases {
        for lengths in [&[1][..], &[2], &[3, 5], &[7, 1, 4]] {
            for tools in [true, false] {
                same_for_any_cut(&text(case, "text"), lengths, case["thinking"] == true, tools);
            }
        }
    }
}

/// Reasoning, content and calls out of a recorded OpenAI stream.
fn recorded(response: &str) -> (String, String, Vec<(String, String)>) {
    let (mut reasoning, mut content, mut calls) = (String::new(), String::new(), Vec::<(String, String)>::new());
    for data in response.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]") {
        let chunk: Value = serde_json::from_str(data).expect("chunk");
        let delta = &chunk["choices"][0]["delta"];
        reasoning.push_str(delta["reasoning_content"].as_str().unwrap_or_default());
        content.push_str(delta["content"].as_str().unwrap_or_default());
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            if call["id"].is_string() {
                calls.push((text(&call["function"], "name"), String::new()));
            }
            calls.last_mut().expect("call").1.push_str(&text(&call["function"], "arguments"));
        }
    }
    (reasoning, content, calls)
}

/// The events are what the C server streams, except that a block without calls comes as content in the end.
#[test]
fn recorded_streams() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../data/ds4/wire_cases.json")).expect("cases");
    assert_eq!(cases.len(), 48);
    let mut streams = 0;
    for case in &cases {
        let chunks: Vec<&str> = case["chunks"].as_array().expect("chunks").iter().filter_map(Value::as_str).collect();
        let (thinking, tools) = (case["thinking"] == true, case["tools"] == true);
        let (answer, events, done) = stream(chunks.iter().copied(), thinking, tools);
        check_events(&answer, &events);
        assert_eq!((&answer, &events), (&stream([chunks.concat().as_str()], thinking, tools).0, &events));
        let closes = case["case"] != "unterminated-block" && tools;
        assert_eq!(done.iter().position(|done| *done), closes.then(|| chunks.len() - 1), "{}", case["case"]);
        if case["api"] != "openai" || case["stream"] != true {
            continue;
        }
        streams += 1;
        let (mut reasoning, mut content, mut calls) = (String::new(), String::new(), Vec::new());
        for event in events {
            match event {
                Event::Reasoning(text) => reasoning.push_str(&text),
                Event::Content(text) => content.push_str(&text),
                Event::CallStart { name, .. } => calls.push((name, String::new())),
                Event::CallArguments { index, fragment } => calls[index].1.push_str(&fragment),
                Event::CallEnd { .. } => {}
            }
        }
        let expected = recorded(case["response"].as_str().expect("response"));
        if answer.status == BlockStatus::Absent || answer.status == BlockStatus::Complete {
            assert_eq!((reasoning, content, calls), expected, "{}", case["case"]);
        } else {
            assert_eq!((reasoning, calls), (expected.0, expected.2), "{}", case["case"]);
            assert!(content.len() > expected.1.len() && content.starts_with(&expected.1));
        }
    }
    assert_eq!(streams, 6);
}

fn at_each_place(text: &str, thinking: bool) -> Vec<(char, Place)> {
    let mut stream = AnswerStream::new(thinking, true);
    let mut places = Vec::new();
    for c in text.chars() {
        places.push((c, stream.place()));
        stream.push(c.encode_utf8(&mut [0; 4]), &mut Vec::new());
    }
    places
}

#[test]
fn places() {
    let is = |text: &str, thinking: bool, place: Place| -> String {
        at_each_place(text, thinking).into_iter().filter(|(_, at)| *at == place).map(|(c, _)| c).collect()
    };
    let block = CALL.replace(">b<", ">a < b &lt; </x> c<").replace(
        "</\u{ff5c}DSML\u{ff5c}invoke>",
        "<\u{ff5c}DSML\u{ff5c}parameter name=\"j\" string=\"false\">[1, \"v </w\", {\"k\": true}]</\u{ff5c}DSML\u{ff5c}parameter>\n<parameter name=\"u\">u</parameter>\n</\u{ff5c}DSML\u{ff5c}invoke>",
    );
    let text = format!("why</think>so{block}");
    assert_eq!(is(&text, true, Place::Reasoning), "why</think>");
    assert!(is(&text, true, Place::Content).starts_with("so\n\n<"));
    // The two characters `</` belong to the string, what comes after them does not until it is disproved. The quote
    // that opens a JSON string is syntax, the one that closes it stands inside.
    assert_eq!(is(&text, true, Place::Payload), "a < b &lt; </> c</v </\"k\"u</");

    let quoted = format!("why{CALL}</think>a");
    assert_eq!(is(&quoted, true, Place::Reasoning), format!("why{CALL}</think>"));
    assert_eq!(is(&quoted, true, Place::Content), "a");
}

/// String arguments flow; only what may be the beginning of a tag or an entity waits.
#[test]
fn long_strings_flow() {
    let head = CALL.split_once("b<").expect("value").0;
    let mut stream = AnswerStream::new(false, true);
    let mut events = Vec::new();
    stream.push(head, &mut events);
    let mut received = String::new();
    let mut push = |stream: &mut AnswerStream, piece: &str, events: &mut Vec<Event>| {
        events.clear();
        stream.push(piece, events);
        received.clear();
        for event in events.iter() {
            let Event::CallArguments { fragment, .. } = event else { panic!("{event:?}") };
            received.push_str(fragment);
        }
        received.clone()
    };
    for (piece, expected) in [
        ("one\n", "one\\n"),
        ("two <", "two "),
        ("/p", ""),
        ("> &a", "</p> "),
        ("mp", ""),
        (";", "&"),
        ("\u{1f600}&no", "\u{1f600}&no"),
        ("</\u{ff5c}DSML\u{ff5c}para", ""),
        ("meter", ""),
        (">", "\""),
    ] {
        assert_eq!(push(&mut stream, piece, &mut events), expected, "{piece}");
    }
}

#[test]
fn a_broken_block_is_content_at_the_end() {
    let start = CALL.split_once("</").expect("value").0;
    let broken = format!("Text{start}</\u{ff5c}DSML\u{ff5c}parameter>\noops</\u{ff5c}DSML\u{ff5c}tool_calls>");
    let mut stream = AnswerStream::new(false, true);
    let mut events = Vec::new();
    stream.push(&broken, &mut events);
    assert!(stream.is_done());
    let seen = [
        Event::Content("Text".to_owned()),
        Event::CallStart { index: 0, name: "f".to_owned() },
        Event::CallArguments { index: 0, fragment: "{\"a\":\"b\"".to_owned() },
    ];
    assert_eq!(events, seen);
    events.clear();
    let answer = stream.finish(&mut events);
    assert_eq!(events, [Event::Content(broken["Text".len()..].to_owned())]);
    assert_eq!((answer.status, answer.content), (BlockStatus::Malformed, broken.clone()));
    // Once it is finished, nothing happens any more.
    stream.push(CALL, &mut events);
    assert_eq!((stream.finish(&mut events).content, events.len()), (broken, 1));
}

#[test]
fn a_last_block_in_open_thinking_is_a_call() {
    let (answer, events, done) = stream(["why ", CALL, " \n"], true, true);
    assert_eq!((answer.reasoning.as_str(), answer.content.as_str(), answer.calls.len()), ("why", "", 1));
    assert_eq!(answer.raw_block, Some(format!(" {CALL}")));
    assert!(!done.contains(&true), "only the end of the text tells");
    assert!(matches!(events.last(), Some(Event::CallEnd { index: 0 })));

    for after in ["x", "</think>", "<"] {
        let text = format!("why{CALL}{after}");
        let (answer, ..) = stream([text.as_str()], true, true);
        assert_eq!((answer.status, answer.reasoning), (BlockStatus::Absent, text.replace("</think>", "")));
    }
    // A quotation and then a call.
    let (answer, ..) = stream([format!("why{CALL} or{CALL}").as_str()], true, true);
    assert_eq!((answer.reasoning, answer.calls.len()), (format!("why{CALL} or"), 1));
    // What is not a call belongs to the reasoning, also right before the block of one.
    let start = CALL.split_once("\n<\u{ff5c}DSML\u{ff5c}invoke").expect("start").0;
    for quotation in [CALL, start] {
        let (answer, ..) = stream([format!("why{quotation} {CALL}").as_str()], true, true);
        assert_eq!((answer.reasoning, answer.raw_block), (format!("why{quotation}"), Some(format!(" {CALL}"))));
    }
    // What a broken block has read is not searched again: a block inside a block would cost quadratic time.
    let outer = CALL.split_once("true\">b").expect("value").0;
    let (answer, ..) = stream([format!("why{outer}false\">{CALL}").as_str()], true, true);
    assert_eq!((answer.status, answer.calls.len()), (BlockStatus::Absent, 0));
    // An end of thinking inside an argument ends the thinking.
    let (answer, ..) = stream([format!("why{}", CALL.replace(">b", "></think>b")).as_str()], true, true);
    assert!(answer.reasoning.ends_with("string=\"true\">") && answer.content.starts_with("b</"));
    // Without its end tag it may have been cut.
    let (answer, ..) = stream([CALL.rsplit_once("</").expect("end").0], true, true);
    assert_eq!(answer.status, BlockStatus::Absent);
}

#[test]
fn markers_are_text_without_tools() {
    let text = format!("a {CALL} b");
    let (answer, _, done) = stream([text.as_str()], false, false);
    assert_eq!((answer.status, answer.content, done), (BlockStatus::Absent, text.clone(), vec![false]));
    assert_eq!(parse_answer(&text, true, false).reasoning, text);
}

#[test]
fn markers_of_thinking() {
    let parts = |text: &str, thinking| {
        let answer = parse_answer(text, thinking, true);
        (answer.reasoning, answer.content)
    };
    let is = |reasoning: &str, content: &str| (reasoning.to_owned(), content.to_owned());
    assert_eq!(parts("<think>a</think>b", true), is("a", "b"));
    assert_eq!(parts("<think>a</think>b", false), is("a", "b"));
    assert_eq!(parts("</think>b", false), is("", "b"));
    assert_eq!(parts("a</think>b", false), is("", "a</think>b"));
    assert_eq!(parts("a</think>b</think>c", true), is("a", "b</think>c"));
    assert_eq!(parts("<thi", true), is("<thi", ""));
    assert_eq!(parts("</thi", false), is("", "</thi"));
}

#[test]
fn spellings() {
    let plain = CALL.replace("\u{ff5c}DSML\u{ff5c}", "");
    // The earliest start counts, whatever its spelling.
    let answer = parse_answer(&format!("a{plain}{CALL}"), false, true);
    assert_eq!((answer.content.as_str(), answer.raw_block.as_deref()), ("a", Some(plain.as_str())));
    // The plain tag alone is text.
    for text in ["Write `<tool_calls>`, then", "<tool_calls>", "<tool_calls>\n<p"] {
        assert_eq!(parse_answer(text, false, true).content, text);
    }
    let mention = format!("Write <tool_calls>:{CALL}");
    assert_eq!(parse_answer(&mention, false, true).content, "Write <tool_calls>:");
    // A plain closing tag inside a marked value is text, unless the call goes on behind it.
    let arguments = |value: &str| {
        let mut answer = parse_answer(&CALL.replacen(">b<", &format!(">{value}<"), 1), false, true);
        answer.calls.pop().map(|call| call.arguments)
    };
    assert_eq!(arguments("b</parameter> c").as_deref(), Some(r#"{"a":"b</parameter> c"}"#));
    let bare = CALL.replacen("</\u{ff5c}DSML\u{ff5c}parameter>", "</parameter>", 1);
    assert_eq!(parse_answer(&bare, false, true).calls[0].arguments, r#"{"a":"b"}"#);
    let all_bare = bare.replace("</\u{ff5c}DSML\u{ff5c}", "</");
    assert_eq!(parse_answer(&all_bare, false, true).calls[0].arguments, r#"{"a":"b"}"#);
}

#[test]
fn json_values_keep_their_digits_and_keys() {
    let json = |value: &str| {
        let text = CALL.replace("string=\"true\">b<", &format!("string=\"false\">{value}<"));
        let answer = parse_answer(&text, false, true);
        answer.calls.into_iter().next().map(|call| call.arguments).ok_or(answer.status)
    };
    assert_eq!(
        json("[ 1.50, 1E2, 12345678901234567890123 ]").as_deref(),
        Ok(r#"{"a":[1.50,1E2,12345678901234567890123]}"#)
    );
    assert_eq!(json(r#"{"k": 1, "k": " \" x"}"#).as_deref(), Ok(r#"{"a":{"k":1,"k":" \" x"}}"#));
    assert_eq!(json(" \n").as_deref(), Ok(r#"{"a":null}"#));
    for wrong in ["{", "yes", "1 2", &"[".repeat(100_000)] {
        assert_eq!(json(wrong), Err(BlockStatus::Malformed), "{wrong:.20}");
    }
    // An object whose own end is missing ends with its call.
    let open = CALL.replace("<\u{ff5c}DSML\u{ff5c}parameter name=\"a\"", "<parameter name=\"o\"><parameter name=\"a\"");
    assert_eq!(parse_answer(&open, false, true).calls[0].arguments, r#"{"o":{"a":"b"}}"#);
}

/// Time per character does not grow with the text, whole and one character at a time.
#[test]
fn hostile_texts_take_linear_time() {
    let block = CALL.split_once("</").expect("value").0;
    let json = block.replace("true", "false");
    let tag = block.split_once("<\u{ff5c}DSML\u{ff5c}parameter").expect("tag").0;
    let quote = format!("{tag}<parameter name=\"x\" string=\"false\">");
    for head in ["", "<think>", block, &json, tag, &format!("<think>{block}"), &format!("<think>{json}")] {
        for filler in
            ["<", "</", " ", "&", "</parameter>", "<tool_calls>", "</think", "\"", "<\u{ff5c}DSML\u{ff5c}", &quote]
        {
            let text = format!("{head}{}", filler.repeat(400_000 / filler.len()));
            let begin = std::time::Instant::now();
            let whole = stream([text.as_str()], false, true);
            let in_pieces = stream(cut(&text, &[1]), false, true);
            assert_eq!((whole.0, whole.1), (in_pieces.0, in_pieces.1));
            let seconds = begin.elapsed().as_secs_f64();
            // A quadratic search of 400 kB takes minutes.
            assert!(seconds < 5.0, "{head:?} {filler:?}: {seconds} s");
        }
    }
}
