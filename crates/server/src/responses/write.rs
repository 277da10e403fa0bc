//! Responses, whole and as a stream.

use super::Asked;
use super::tools::{Kind, input};
use crate::turn::{Delta, Event, Finish, Piece, TokenLogprob};
use crate::wire::{Encoder, Outcome, Sse, Stamp, Usage, logprobs};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// A whole response: what a stream of the same answer would end with.
pub fn complete(asked: Arc<Asked>, stamp: &Stamp, outcome: &Outcome) -> Value {
    let mut writer = Writer::new(asked, stamp.clone());
    let mut unsent = Sse::default();
    let choice = outcome.choices.first().cloned().unwrap_or_default();
    writer.usage = outcome.usage;
    let mut deltas = vec![
        Delta::Reasoning(Piece { text: choice.reasoning, logprobs: Vec::new() }),
        Delta::Content(Piece { text: choice.content, logprobs: choice.content_logprobs }),
    ];
    for (index, call) in choice.calls.into_iter().enumerate() {
        let is_whole = serde_json::from_str::<Map<String, Value>>(&call.arguments).is_ok();
        deltas.push(Delta::CallStart { index, id: call.id, name: call.name });
        deltas.push(Delta::CallArguments { index, fragment: call.arguments });
        deltas.extend(is_whole.then_some(Delta::CallEnd { index }));
    }
    for delta in deltas {
        writer.part(delta, &mut unsent);
    }
    writer.end(&choice.finish.unwrap_or(Finish::Stop), &mut unsent)
}

/// The item that is being written.
enum Open {
    Reasoning { text: String },
    Message { text: String, tokens: Vec<TokenLogprob> },
    Call { call_id: String, name: String, arguments: String },
}

/// Writes a stream.
pub struct Writer {
    asked: Arc<Asked>,
    stamp: Stamp,
    usage: Usage,
    /// Number of the next event.
    number: u64,
    /// Items that are complete.
    output: Vec<Value>,
    open: Option<Open>,
}

fn text_part(text: &str, tokens: Option<&[TokenLogprob]>) -> Value {
    let mut part = json!({"type": "output_text", "text": text, "annotations": []});
    if let Some(tokens) = tokens {
        part["logprobs"] = logprobs(tokens);
    }
    part
}

impl Writer {
    /// A writer of one response.
    pub fn new(asked: Arc<Asked>, stamp: Stamp) -> Self {
        Self { asked, stamp, usage: Usage::default(), number: 0, output: Vec::new(), open: None }
    }

    fn send(&mut self, name: &str, mut members: Value, out: &mut Sse) {
        let mut event = json!({"type": name, "sequence_number": self.number});
        if let (Some(event), Some(members)) = (event.as_object_mut(), members.as_object_mut()) {
            event.append(members);
        }
        self.number += 1;
        out.named(name, &event);
    }

    /// An event about the item that is being written.
    fn tell(&mut self, name: &str, mut members: Value, out: &mut Sse) {
        members["item_id"] = json!(self.item_id());
        members["output_index"] = json!(self.output.len());
        self.send(name, members, out);
    }

    fn kind(&self, name: &str) -> &Kind {
        self.asked.offer.kind(name)
    }

    fn item_id(&self) -> String {
        let prefix = match &self.open {
            Some(Open::Reasoning { .. }) => "rs",
            Some(Open::Call { name, .. }) if *self.kind(name) == Kind::Custom => "ctc",
            Some(Open::Call { .. }) => "fc",
            Some(Open::Message { .. }) | None => "msg",
        };
        format!("{prefix}_{}{}", self.stamp.id, self.output.len())
    }

    /// The item that is being written, as far as it is there.
    fn item(&self, status: &str) -> Value {
        let id = self.item_id();
        let is_done = status != "in_progress";
        match &self.open {
            Some(Open::Reasoning { text }) => {
                let summary: &[Value] = if is_done { &[json!({"type": "summary_text", "text": text})] } else { &[] };
                json!({"id": id, "type": "reasoning", "status": status, "summary": summary})
            }
            Some(Open::Call { call_id, name, arguments }) => match self.kind(name) {
                Kind::Custom => json!({
                    "id": id, "type": "custom_tool_call", "status": status, "call_id": call_id, "name": name,
                    "input": if is_done { input(arguments) } else { String::new() },
                }),
                kind => {
                    let mut item = json!({
                        "id": id, "type": "function_call", "status": status, "name": name, "call_id": call_id,
                        "arguments": arguments,
                    });
                    if let Kind::Inside { namespace, name } = kind {
                        item["namespace"] = json!(namespace);
                        item["name"] = json!(name);
                    }
                    item
                }
            },
            Some(Open::Message { text, tokens }) => {
                let tokens = self.asked.shows_logprobs.then_some(tokens.as_slice());
                let content: &[Value] = if is_done { &[text_part(text, tokens)] } else { &[] };
                json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": content})
            }
            None => Value::Null,
        }
    }

    fn begin(&mut self, item: Open, out: &mut Sse) {
        self.close("completed", out);
        self.open = Some(item);
        let (index, item) = (self.output.len(), self.item("in_progress"));
        self.send("response.output_item.added", json!({"output_index": index, "item": item}), out);
        match self.open {
            Some(Open::Reasoning { .. }) => {
                let part = json!({"type": "summary_text", "text": ""});
                self.tell("response.reasoning_summary_part.added", json!({"summary_index": 0, "part": part}), out);
            }
            Some(Open::Message { .. }) => {
                let part = text_part("", None);
                self.tell("response.content_part.added", json!({"content_index": 0, "part": part}), out);
            }
            Some(Open::Call { .. }) | None => {}
        }
    }

    fn close(&mut self, status: &str, out: &mut Sse) {
        let item = self.item(status);
        match &self.open {
            None => return,
            Some(Open::Reasoning { text }) => {
                let (text, part) = (json!(text), item["summary"][0].clone());
                let done = json!({"summary_index": 0, "text": text});
                self.tell("response.reasoning_summary_text.done", done, out);
                self.tell("response.reasoning_summary_part.done", json!({"summary_index": 0, "part": part}), out);
            }
            Some(Open::Message { text, tokens }) => {
                let done = json!({"content_index": 0, "text": text, "logprobs": logprobs(tokens)});
                let part = item["content"][0].clone();
                self.tell("response.output_text.done", done, out);
                self.tell("response.content_part.done", json!({"content_index": 0, "part": part}), out);
            }
            Some(Open::Call { name, arguments, .. }) => {
                if *self.kind(name) == Kind::Custom {
                    let input = item["input"].clone();
                    self.tell("response.custom_tool_call_input.delta", json!({"delta": input}), out);
                    self.tell("response.custom_tool_call_input.done", json!({"input": input}), out);
                } else {
                    let done = json!({"name": item["name"], "arguments": arguments});
                    self.tell("response.function_call_arguments.done", done, out);
                }
            }
        }
        let index = self.output.len();
        self.send("response.output_item.done", json!({"output_index": index, "item": item}), out);
        self.open = None;
        self.output.push(item);
    }

    fn part(&mut self, delta: Delta, out: &mut Sse) {
        match delta {
            Delta::Reasoning(piece) => {
                if self.asked.shows_reasoning && !piece.text.is_empty() {
                    self.reason(&piece.text, out);
                }
            }
            Delta::Content(piece) => self.say(piece, out),
            Delta::CallStart { id, name, .. } => {
                self.begin(Open::Call { call_id: id, name, arguments: String::new() }, out);
            }
            Delta::CallArguments { fragment, .. } => {
                let Some(Open::Call { name, arguments, .. }) = &mut self.open else { return };
                arguments.push_str(&fragment);
                let name = name.clone();
                // The text of a custom tool is inside of its arguments: it is sent when they are complete.
                if *self.kind(&name) != Kind::Custom {
                    self.tell("response.function_call_arguments.delta", json!({"delta": fragment}), out);
                }
            }
            Delta::CallEnd { .. } => self.close("completed", out),
        }
    }

    fn reason(&mut self, piece: &str, out: &mut Sse) {
        if !matches!(self.open, Some(Open::Reasoning { .. })) {
            self.begin(Open::Reasoning { text: String::new() }, out);
        }
        if let Some(Open::Reasoning { text }) = &mut self.open {
            text.push_str(piece);
        }
        self.tell("response.reasoning_summary_text.delta", json!({"summary_index": 0, "delta": piece}), out);
    }

    fn say(&mut self, piece: Piece, out: &mut Sse) {
        let is_open = matches!(self.open, Some(Open::Message { .. }));
        if piece.text.is_empty() && (piece.logprobs.is_empty() || !is_open) {
            return;
        }
        if !is_open {
            self.begin(Open::Message { text: String::new(), tokens: Vec::new() }, out);
        }
        let delta = json!({"content_index": 0, "delta": piece.text, "logprobs": logprobs(&piece.logprobs)});
        if let Some(Open::Message { text, tokens }) = &mut self.open {
            text.push_str(&piece.text);
            tokens.extend(piece.logprobs);
        }
        self.tell("response.output_text.delta", delta, out);
    }

    /// Ends the stream; the whole response.
    fn end(&mut self, finish: &Finish, out: &mut Sse) -> Value {
        let is_cut = *finish == Finish::Length;
        let status = if is_cut { "incomplete" } else { "completed" };
        self.close(status, out);
        let mut response = self.response(status);
        if is_cut {
            response["incomplete_details"] = json!({"reason": "max_output_tokens"});
        }
        self.send(&format!("response.{status}"), json!({"response": response}), out);
        response
    }

    fn response(&self, status: &str) -> Value {
        let usage = (status != "in_progress").then(|| {
            let Usage { prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens } = self.usage;
            json!({
                "input_tokens": prompt_tokens,
                "input_tokens_details": {
                    "cached_tokens": cached_tokens,
                    "cache_write_tokens": prompt_tokens - cached_tokens.min(prompt_tokens),
                },
                "output_tokens": completion_tokens,
                "output_tokens_details": {"reasoning_tokens": reasoning_tokens},
                "total_tokens": prompt_tokens + completion_tokens,
            })
        });
        let mut response = json!({
            "id": format!("resp_{}", self.stamp.id), "object": "response", "created_at": self.stamp.created,
            "status": status, "model": self.asked.model, "error": null, "incomplete_details": null,
            "output": self.output, "usage": usage, "previous_response_id": null, "store": false, "background": false,
            "truncation": "disabled",
        });
        if let Some(members) = response.as_object_mut() {
            members.extend(self.asked.echo.clone());
        }
        response
    }
}

impl Encoder for Writer {
    fn event(&mut self, event: Event, out: &mut Sse) {
        self.usage.count(&event);
        match event {
            Event::Started { .. } => {
                for name in ["response.created", "response.in_progress"] {
                    let response = self.response("in_progress");
                    self.send(name, json!({"response": response}), out);
                }
            }
            Event::Delta { delta, .. } => self.part(delta, out),
            Event::Finished { finish, .. } => {
                self.end(&finish, out);
            }
            Event::Failed(why) => {
                self.close("incomplete", out);
                let mut response = self.response("failed");
                response["error"] = json!({"code": "server_error", "message": why});
                self.send("response.failed", json!({"response": response}), out);
            }
        }
    }
}
