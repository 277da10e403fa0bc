//! Reads the case files into typed conversations.
#![allow(dead_code, reason = "each test uses a part")]

use ds4_chat::{Message, Role, Task, ToolCall};
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
