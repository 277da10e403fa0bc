//! Reads the case files into typed conversations.

use ds4_chat::{Answer, AnswerStream, BlockStatus, Event, Message, ParsedCall, Role, Task, ToolCall};
use serde_json::Value;

/// The string `key` of an object, empty if there is none.
pub fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// JSON text without white space outside strings: the C parser spaces the members of arguments, but clients get them
/// like this, and so does this crate.
pub fn minified(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let mut kept = String::new();
    for c in json.chars() {
        if in_string || !c.is_whitespace() {
            kept.push(c);
        }
        in_string ^= c == '"' && !escaped;
        escaped = in_string && c == '\\' && !escaped;
    }
    kept
}

fn functions(tools: &Value) -> Vec<Value> {
    tools.as_array().into_iter().flatten().map(|tool| tool["function"].clone()).collect()
}

fn message(value: &Value) -> Message {
    let role = match value["role"].as_str().expect("role") {
        "system" => Role::System,
        "developer" => Role::Developer,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        "latest_reminder" => Role::LatestReminder,
        other => panic!("role {other}"),
    };
    let calls = value["tool_calls"].as_array().into_iter().flatten();
    Message {
        reasoning: text(value, "reasoning_content"),
        tool_calls: calls
            .map(|call| ToolCall {
                id: call["id"].as_str().map(str::to_owned),
                name: text(&call["function"], "name"),
                arguments: text(&call["function"], "arguments"),
            })
            .collect(),
        tool_call_id: value["tool_call_id"].as_str().map(str::to_owned),
        tools: functions(&value["tools"]),
        response_format: value.get("response_format").cloned(),
        task: value["task"].as_str().map(|task| match task {
            "action" => Task::Action,
            "query" => Task::Query,
            "title" => Task::Title,
            other => panic!("task {other}"),
        }),
        prefix: value["wo_eos"].as_bool().unwrap_or(false),
        ..Message::new(role, text(value, "content"))
    }
}

/// A conversation from an array, or from an object with `messages` and `tools`.
pub fn conversation(value: &Value) -> Vec<Message> {
    let list = value.get("messages").unwrap_or(value).as_array().expect("messages");
    let mut messages: Vec<Message> = list.iter().map(message).collect();
    if let (Some(tools), Some(first)) = (value.get("tools"), messages.first_mut()) {
        first.tools = functions(tools);
    }
    messages
}

/// Neighbours of one kind as one.
pub fn merged(events: Vec<Event>) -> Vec<Event> {
    let mut merged: Vec<Event> = Vec::new();
    for event in events {
        match (merged.last_mut(), event) {
            (Some(Event::Reasoning(last)), Event::Reasoning(text))
            | (Some(Event::Content(last)), Event::Content(text)) => {
                last.push_str(&text);
            }
            (
                Some(Event::CallArguments { index: last_index, fragment: last }),
                Event::CallArguments { index, fragment },
            ) if *last_index == index => last.push_str(&fragment),
            (_, event) => merged.push(event),
        }
    }
    merged
}

/// The answer, the merged events and, per piece, whether decoding must stop after it.
pub fn stream<'t>(
    pieces: impl IntoIterator<Item = &'t str>,
    thinking: bool,
    tools: bool,
) -> (Answer, Vec<Event>, Vec<bool>) {
    let mut stream = AnswerStream::new(thinking, tools);
    let mut events = Vec::new();
    let done = pieces.into_iter().map(|piece| {
        stream.push(piece, &mut events);
        stream.is_done()
    });
    let done = done.collect();
    let answer = stream.finish(&mut events);
    assert!(events.iter().all(|event| !matches!(event,
        Event::Reasoning(text) | Event::Content(text) | Event::CallArguments { fragment: text, .. } if text.is_empty())));
    (answer, merged(events), done)
}

/// What the documentation of the stream promises about events and answer.
pub fn check_events(answer: &Answer, events: &[Event]) {
    let (mut reasoning, mut content, mut calls) = (String::new(), String::new(), Vec::<ParsedCall>::new());
    let (mut begun, mut open) = (0, false);
    for event in events {
        match event {
            Event::Reasoning(text) => reasoning.push_str(text),
            Event::Content(text) => content.push_str(text),
            Event::CallStart { index, name } => {
                assert!(*index == begun && !open, "{events:?}");
                calls.push(ParsedCall { name: name.clone(), arguments: String::new() });
                (begun, open) = (begun + 1, true);
            }
            Event::CallArguments { index, fragment } => {
                assert!(open && index + 1 == begun, "{events:?}");
                calls[*index].arguments.push_str(fragment);
            }
            Event::CallEnd { index } => {
                assert!(open && index + 1 == begun, "{events:?}");
                assert!(serde_json::from_str::<Value>(&calls[*index].arguments).is_ok_and(|value| value.is_object()));
                open = false;
            }
        }
    }
    assert_eq!((&reasoning, &content), (&answer.reasoning, &answer.content));
    if answer.status == BlockStatus::Complete {
        assert!(!open && !calls.is_empty() && answer.raw_block.is_some());
        assert_eq!(calls, answer.calls);
    } else {
        assert!(answer.calls.is_empty() && answer.raw_block.is_none());
        assert!(answer.status != BlockStatus::Absent || calls.is_empty());
    }
}
