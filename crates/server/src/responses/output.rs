//! The items of an answer and the object around them.

use super::Asked;
use super::input::{self, Live};
use super::tools::{Kind, Target};
use crate::turn::TokenLogprob;
use crate::wire::{Stamp, Usage, logprobs};
use serde_json::{Value, json};

/// How far an item has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    InProgress,
    Completed,
    Incomplete,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
        }
    }
}

/// What an item holds.
#[derive(Debug)]
pub enum Body {
    Reasoning(String),
    Message { text: String, tokens: Vec<TokenLogprob> },
    Call { call_id: String, target: Target, arguments: String, live: Live },
}

/// A part of an answer.
#[derive(Debug)]
pub struct Item {
    pub id: String,
    pub status: Status,
    pub body: Body,
}

impl Item {
    /// Item number `index` of an answer. Ids are as hard to guess as the answer's.
    pub fn new(stamp: &Stamp, index: usize, body: Body) -> Self {
        let prefix = match &body {
            Body::Reasoning(_) => "rs",
            Body::Message { .. } => "msg",
            Body::Call { target, .. } => match target.kind {
                Kind::Function => "fc",
                Kind::Custom => "ctc",
                Kind::Search => "tsc",
            },
        };
        Self { id: format!("{prefix}_{}{index:04x}", stamp.id), status: Status::InProgress, body }
    }

    /// The item as far as it has come; while it is in progress, what it is but not what it holds.
    pub fn json(&self) -> Value {
        let is_open = self.status == Status::InProgress;
        let mut item = match &self.body {
            Body::Reasoning(text) => {
                let summary = if is_open { json!([]) } else { json!([summary_part(text)]) };
                json!({"type": "reasoning", "summary": summary})
            }
            Body::Message { text, tokens } => {
                let content = if is_open { json!([]) } else { json!([text_part(text, tokens)]) };
                json!({"type": "message", "role": "assistant", "content": content})
            }
            Body::Call { call_id, target, arguments, .. } => call(call_id, target, arguments, self.status),
        };
        item["id"] = json!(self.id);
        item["status"] = json!(self.status.name());
        item
    }
}

fn call(call_id: &str, target: &Target, arguments: &str, status: Status) -> Value {
    let arguments = if status == Status::InProgress { "" } else { arguments };
    let mut item = match target.kind {
        Kind::Function => json!({"type": "function_call", "name": target.name, "arguments": arguments}),
        Kind::Custom => {
            // Half a script must not look like a whole one to a client that does not read the status. Half the arguments
            // of a function do not: they are no JSON.
            let input = if status == Status::Completed { input::whole(arguments) } else { String::new() };
            json!({"type": "custom_tool_call", "name": target.name, "input": input})
        }
        Kind::Search => {
            let arguments = serde_json::from_str(arguments).unwrap_or_else(|_| json!({}));
            json!({"type": "tool_search_call", "execution": "client", "arguments": arguments})
        }
    };
    item["call_id"] = json!(call_id);
    if let Some(namespace) = &target.namespace {
        item["namespace"] = json!(namespace);
    }
    item
}

/// The part of a reasoning item.
pub fn summary_part(text: &str) -> Value {
    json!({"type": "summary_text", "text": text})
}

/// The part of a message item.
pub fn text_part(text: &str, tokens: &[TokenLogprob]) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs(tokens)})
}

fn usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.prompt_tokens.saturating_sub(usage.cached_tokens),
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    })
}

/// How far an answer has come.
pub enum Progress<'a> {
    Going,
    Done(&'a Usage),
    Cut(&'a Usage),
    Failed(&'a Usage, &'a str),
}

/// The answer as one object.
pub fn response(asked: &Asked, stamp: &Stamp, items: &[Item], progress: &Progress<'_>) -> Value {
    let (status, numbers) = match progress {
        Progress::Going => ("in_progress", Value::Null),
        Progress::Done(numbers) => ("completed", usage(numbers)),
        Progress::Cut(numbers) => ("incomplete", usage(numbers)),
        Progress::Failed(numbers, _) => ("failed", usage(numbers)),
    };
    let error = match progress {
        Progress::Failed(_, why) => json!({"code": "server_error", "message": why}),
        _ => Value::Null,
    };
    let cut = match progress {
        Progress::Cut(_) => json!({"reason": "max_output_tokens"}),
        _ => Value::Null,
    };
    let members = [
        ("id", json!(format!("resp_{}", stamp.id))),
        ("object", json!("response")),
        ("created_at", json!(stamp.created)),
        ("status", json!(status)),
        ("error", error),
        ("incomplete_details", cut),
        ("output", items.iter().map(Item::json).collect()),
        ("usage", numbers),
    ];
    let members = members.into_iter().map(|(key, value)| (key.to_owned(), value));
    Value::Object(members.chain(asked.echo.clone()).collect())
}
