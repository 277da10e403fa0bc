//! Answers against the results recorded from the C parser.

use crate::common;
use ds4_chat::{BlockStatus, parse_answer};
use serde_json::Value;

/// Cases where the result differs on purpose.
const DIFFERENT: [(&str, &str); 6] = [
    ("think-unclosed", "reasoning without an end is reasoning, not content"),
    ("call-inside-unclosed-thinking", "a block that is complete and last is the end of thinking"),
    ("nothink-with-stray-close", "without thinking a stray end marker is text: what stands before it has been sent"),
    ("missing-end", "the end of the text may follow a closed invoke"),
    ("empty-block", "a block without a call is malformed"),
    ("double-bars", "doubled bars are accepted"),
];

/// The recorded block with all the white space before it: the C parser keeps two newlines at most, but a replay is to
/// be byte-exact.
fn with_lead<'t>(text: &'t str, block: &str) -> &'t str {
    let block = block.trim_start();
    let start = text.find(block).expect("block");
    &text[text[..start].trim_end().len()..start + block.len()]
}

#[test]
fn recorded_cases() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../data/ds4/parse_cases.json")).expect("cases");
    assert_eq!(cases.len(), 30);
    for case in &cases {
        let name = case["name"].as_str().expect("name");
        let text = case["text"].as_str().expect("text");
        let answer = parse_answer(text, case["thinking"] == true, true);
        let calls = case["calls"].as_array().into_iter().flatten();
        let same =
            if case["parsed"] == true {
                answer.content == case["content"].as_str().unwrap_or_default()
                    && answer.reasoning == case["reasoning"].as_str().unwrap_or_default()
                    && answer.raw_block.as_deref() == case["raw_block"].as_str().map(|block| with_lead(text, block))
                    && answer.calls.iter().map(|call| (call.name.clone(), call.arguments.clone())).eq(calls
                        .map(|call| (common::text(call, "name"), common::minified(&common::text(call, "arguments")))))
            } else {
                matches!(answer.status, BlockStatus::Malformed | BlockStatus::Unterminated)
            };
        let different = DIFFERENT.iter().any(|(different, _)| *different == name);
        assert_eq!(same, !different, "{name}: {answer:?}");
    }
}

/// A block without an end is given back whole, and without searching all of it for each of its tags.
#[test]
fn hostile_blocks_end() {
    let start = "<\u{ff5c}DSML\u{ff5c}tool_calls>\n<\u{ff5c}DSML\u{ff5c}invoke name=\"f\">\n<\u{ff5c}DSML\u{ff5c}parameter name=\"x\">";
    for filler in ["</", "<parameter name=\"x\">", "</parameter", "\u{ff5c}", "<<<>"] {
        let text = format!("{start}{}>", filler.repeat(200_000));
        let answer = parse_answer(&text, false, true);
        assert!(matches!(answer.status, BlockStatus::Malformed | BlockStatus::Unterminated), "{filler}");
        assert_eq!(answer.content, text);
    }
}

/// A closing invoke tag inside an open parameter is text of that parameter: nothing is accepted, and no call is lost in silence.
#[test]
fn an_open_parameter_leaves_the_block_unterminated() {
    let call = |value: &str| format!("<invoke name=\"f\"><parameter name=\"x\">{value}");
    let text = format!("<tool_calls>{}</parameter></invoke>{}</invoke>", call("1"), call("2"));
    let answer = parse_answer(&text, false, true);
    assert_eq!((answer.status, answer.calls.len()), (BlockStatus::Unterminated, 0));
    assert_eq!(answer.content, text);

    let text = format!("<tool_calls>{}</parameter></invoke>\n", call("1"));
    assert_eq!(parse_answer(&text, false, true).calls.len(), 1);
}

/// The names of attributes are also names that a parameter can have.
#[test]
fn a_parameter_may_be_called_string() {
    let text = "<tool_calls><invoke name=\"f\"><parameter name=\"string\" string=\"false\">1</parameter></invoke></tool_calls>";
    assert_eq!(parse_answer(text, false, true).calls[0].arguments, r#"{"string":1}"#);
}
