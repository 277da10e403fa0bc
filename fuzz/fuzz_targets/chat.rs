//! An answer cut anywhere gives the same events and the same result, in output linear in the text; stop strings
//! likewise.
#![no_main]

use ds4_chat::{Answer, AnswerStream, BlockStatus, Event, Place, StopStrings, parse_answer};
use libfuzzer_sys::fuzz_target;

/// A byte that no text needs stands for one of these, so that the fuzzer finds the grammar.
const PARTS: [&str; 22] = [
    "<think>",
    "</think>",
    "\u{ff5c}DSML\u{ff5c}",
    "tool_calls>",
    "<\u{ff5c}DSML\u{ff5c}tool_calls>",
    "</\u{ff5c}DSML\u{ff5c}tool_calls>",
    "<\u{ff5c}DSML\u{ff5c}invoke name=\"f\">",
    "</\u{ff5c}DSML\u{ff5c}invoke>",
    "<\u{ff5c}DSML\u{ff5c}parameter name=\"s\" string=\"true\">",
    "<\u{ff5c}DSML\u{ff5c}parameter name=\"j\" string=\"false\">",
    "<\u{ff5c}DSML\u{ff5c}parameter name=\"n\">",
    "</\u{ff5c}DSML\u{ff5c}parameter>",
    "<tool_calls>",
    "</tool_calls>",
    "<invoke name=\"g\">",
    "</invoke>",
    "<parameter name=\"p\">",
    "</parameter>",
    "\u{ff5c}",
    "&lt;",
    "&amp;",
    "\u{1f600}",
];

/// Most bytes of events per byte of text: a control character in a string takes six, and is given again as content if
/// the block turns out to be broken. A call costs its braces on top.
const GROWTH_MAX: usize = 8;

fn text(data: &[u8]) -> String {
    let mut bytes = Vec::new();
    for &byte in data {
        match byte.checked_sub(0xd0).and_then(|part| PARTS.get(usize::from(part))) {
            Some(part) => bytes.extend_from_slice(part.as_bytes()),
            None => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn cut<'t>(text: &'t str, lengths: &[u8]) -> Vec<&'t str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut lengths = lengths.iter().cycle();
    while !rest.is_empty() {
        let length = lengths.next().map_or(1, |length| 1 + usize::from(length % 11));
        let end = rest.char_indices().nth(length).map_or(rest.len(), |(end, _)| end);
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// The answer, the merged events, and where the text ended.
fn stream(pieces: &[&str], thinking: bool, tools: bool) -> (Answer, Vec<Event>, bool, Place) {
    let mut stream = AnswerStream::new(thinking, tools);
    let mut events = Vec::new();
    pieces.iter().for_each(|piece| stream.push(piece, &mut events));
    let (done, place) = (stream.is_done(), stream.place());
    let answer = stream.finish(&mut events);
    let mut merged: Vec<Event> = Vec::new();
    for event in events {
        match (merged.last_mut(), event) {
            (Some(Event::Reasoning(last)), Event::Reasoning(text))
            | (Some(Event::Content(last)), Event::Content(text)) => last.push_str(&text),
            (Some(Event::CallArguments { fragment: last, .. }), Event::CallArguments { fragment, .. }) => {
                last.push_str(&fragment);
            }
            (_, event) => merged.push(event),
        }
    }
    (answer, merged, done, place)
}

fuzz_target!(|data: &[u8]| {
    let Some((&[flags, count], data)) = data.split_first_chunk::<2>() else { return };
    let (thinking, tools) = (flags & 1 == 1, flags & 6 != 0);
    let (lengths, data) = data.split_at(data.len().min(usize::from(count % 8)));
    let text = text(data);

    let whole = stream(&[&text], thinking, tools);
    let pieces = cut(&text, lengths);
    assert_eq!(whole, stream(&pieces, thinking, tools));
    let (answer, events, ..) = whole;
    assert_eq!(answer, parse_answer(&text, thinking, tools));

    let mut size = 0;
    let (mut reasoning, mut content) = (String::new(), String::new());
    let mut arguments: Vec<String> = Vec::new();
    for event in &events {
        size += match event {
            Event::Reasoning(text) => {
                reasoning.push_str(text);
                text.len()
            }
            Event::Content(text) => {
                content.push_str(text);
                text.len()
            }
            Event::CallStart { index, name } => {
                assert_eq!(*index, arguments.len());
                arguments.push(String::new());
                name.len()
            }
            Event::CallArguments { index, fragment } => {
                arguments[*index].push_str(fragment);
                fragment.len()
            }
            Event::CallEnd { .. } => 0,
        };
    }
    assert!(size <= GROWTH_MAX * text.len());
    assert_eq!((&reasoning, &content), (&answer.reasoning, &answer.content));
    if answer.status == BlockStatus::Complete {
        assert!(answer.calls.iter().map(|call| &call.arguments).eq(&arguments));
    } else {
        assert!(answer.calls.is_empty());
    }

    let stops = || StopStrings::new(vec![String::from_utf8_lossy(lengths).into_owned(), "</".to_owned()]);
    let run = |pieces: &[&str]| {
        let (mut stops, mut out, mut hit) = (stops(), String::new(), None);
        pieces.iter().for_each(|piece| hit = stops.push(piece, &mut out));
        stops.finish(&mut out);
        (out, hit)
    };
    assert_eq!(run(&[&text]), run(&pieces));
});
