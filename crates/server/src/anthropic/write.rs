//! Messages, whole and as a stream.

use super::Messages;
use crate::api::Api;
use crate::error::ApiError;
use crate::turn::{Delta, Event, Finish};
use crate::wire::{Call, Encoder, Outcome, Sse, Stamp, Usage};
use serde_json::{Map, Value, json};

/// Clients' watchdogs take this for a sign of life, a comment they do not.
const PING: &str = "event: ping\ndata: {\"type\":\"ping\"}\n\n";

fn id(stamp: &Stamp) -> String {
    format!("msg_{}", stamp.id)
}

fn usage(usage: &Usage) -> Value {
    let cached = usage.cached_tokens.min(usage.prompt_tokens);
    // Anthropic counts the three apart. What was read is stored at once, so none is left for the first.
    json!({
        "input_tokens": 0,
        "output_tokens": usage.completion_tokens,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": usage.prompt_tokens - cached,
    })
}

/// `stop_reason` and `stop_sequence`.
fn stop(finish: Option<&Finish>) -> (&'static str, Option<&str>) {
    match finish {
        Some(Finish::StopString(text)) => ("stop_sequence", Some(text)),
        Some(Finish::Length) => ("max_tokens", None),
        Some(Finish::ToolCalls) => ("tool_use", None),
        Some(Finish::Stop) | None => ("end_turn", None),
    }
}

/// Nothing was generated because nothing was asked for: the prompt was only to be read in advance. The limit of any other
/// answer is at least one token.
fn is_read_only(finish: Option<&Finish>, usage: &Usage) -> bool {
    finish == Some(&Finish::Length) && usage.completion_tokens == 0
}

/// The arguments of a call; of one that was cut off, the members that are whole. Clients look for it behind
/// `max_tokens`, to ask again with a higher limit.
fn input(arguments: &str) -> Map<String, Value> {
    if let Ok(input) = serde_json::from_str(arguments) {
        return input;
    }
    let (mut depth, mut is_string, mut is_escaped, mut whole) = (0_usize, false, false, 0);
    for (at, byte) in arguments.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_string => is_escaped = true,
            b'"' => is_string = !is_string,
            _ if is_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 1 => whole = at,
            _ => {}
        }
    }
    let whole = arguments.get(..whole).unwrap_or_default();
    serde_json::from_str(&format!("{whole}}}")).unwrap_or_default()
}

/// A whole message.
pub fn complete(model: &str, stamp: &Stamp, outcome: &Outcome) -> Value {
    let id = id(stamp);
    let choice = outcome.choices.first().cloned().unwrap_or_default();
    let mut content = Vec::new();
    if !choice.reasoning.is_empty() {
        content.push(json!({"type": "thinking", "thinking": choice.reasoning, "signature": id}));
    }
    let finish = choice.finish.as_ref();
    if !choice.content.is_empty() || choice.calls.is_empty() && !is_read_only(finish, &outcome.usage) {
        content.push(json!({"type": "text", "text": choice.content}));
    }
    let call =
        |call: &Call| json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input(&call.arguments)});
    content.extend(choice.calls.iter().map(call));
    let (reason, sequence) = stop(finish);
    json!({
        "id": id, "type": "message", "role": "assistant", "model": model, "content": content,
        "stop_reason": reason, "stop_sequence": sequence, "usage": usage(&outcome.usage),
    })
}

/// The block that is being written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    Thinking,
    Text,
    Call,
}

/// Writes a stream.
pub struct Writer {
    id: String,
    model: String,
    usage: Usage,
    open: Option<Block>,
    /// Blocks that are complete.
    closed: usize,
    /// There was text or a call.
    has_spoken: bool,
}

impl Writer {
    /// A writer of one message.
    pub fn new(model: &str, stamp: &Stamp) -> Self {
        let (id, model) = (id(stamp), model.to_owned());
        Self { id, model, usage: Usage::default(), open: None, closed: 0, has_spoken: false }
    }

    fn send(name: &str, mut members: Value, out: &mut Sse) {
        let mut data = json!({"type": name});
        if let (Some(data), Some(members)) = (data.as_object_mut(), members.as_object_mut()) {
            data.append(members);
        }
        out.named(name, &data);
    }

    fn delta(&self, delta: Value, out: &mut Sse) {
        Self::send("content_block_delta", json!({"index": self.closed, "delta": delta}), out);
    }

    fn open(&mut self, block: Block, content: Value, out: &mut Sse) {
        self.close(out);
        self.open = Some(block);
        self.has_spoken |= block != Block::Thinking;
        Self::send("content_block_start", json!({"index": self.closed, "content_block": content}), out);
    }

    fn close(&mut self, out: &mut Sse) {
        let Some(block) = self.open.take() else { return };
        if block == Block::Thinking {
            self.delta(json!({"type": "signature_delta", "signature": self.id}), out);
        }
        Self::send("content_block_stop", json!({"index": self.closed}), out);
        self.closed += 1;
    }

    fn part(&mut self, delta: Delta, out: &mut Sse) {
        match delta {
            Delta::Reasoning(piece) if !piece.text.is_empty() => {
                if self.open != Some(Block::Thinking) {
                    self.open(Block::Thinking, json!({"type": "thinking", "thinking": "", "signature": ""}), out);
                }
                self.delta(json!({"type": "thinking_delta", "thinking": piece.text}), out);
            }
            Delta::Content(piece) if !piece.text.is_empty() => {
                if self.open != Some(Block::Text) {
                    self.open(Block::Text, json!({"type": "text", "text": ""}), out);
                }
                self.delta(json!({"type": "text_delta", "text": piece.text}), out);
            }
            Delta::Reasoning(_) | Delta::Content(_) => {}
            Delta::CallStart { id, name, .. } => {
                self.open(Block::Call, json!({"type": "tool_use", "id": id, "name": name, "input": {}}), out);
            }
            Delta::CallArguments { fragment, .. } => {
                self.delta(json!({"type": "input_json_delta", "partial_json": fragment}), out);
            }
            Delta::CallEnd { .. } => self.close(out),
        }
    }

    fn end(&mut self, finish: &Finish, out: &mut Sse) {
        if !self.has_spoken && !is_read_only(Some(finish), &self.usage) {
            self.open(Block::Text, json!({"type": "text", "text": ""}), out);
        }
        self.close(out);
        let (reason, sequence) = stop(Some(finish));
        let delta = json!({"stop_reason": reason, "stop_sequence": sequence});
        Self::send("message_delta", json!({"delta": delta, "usage": usage(&self.usage)}), out);
        Self::send("message_stop", json!({}), out);
    }
}

impl Encoder for Writer {
    fn event(&mut self, event: Event, out: &mut Sse) {
        self.usage.count(&event);
        match event {
            Event::Started { .. } => {
                let message = json!({
                    "id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": [],
                    "stop_reason": null, "stop_sequence": null, "usage": usage(&self.usage),
                });
                Self::send("message_start", json!({"message": message}), out);
            }
            Event::Delta { delta, .. } => self.part(delta, out),
            Event::Finished { finish, .. } => self.end(&finish, out),
            Event::Failed(why) => out.named("error", &Messages::error(&ApiError::Internal(why))),
        }
    }

    fn keep_alive(&self) -> &'static str {
        PING
    }
}
