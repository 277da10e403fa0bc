//! Answers of both forms, whole and as a stream.

use super::params::Common;
use crate::error::ApiError;
use crate::turn::{Delta, Event, Finish, Piece, TokenLogprob};
use crate::wire::{Encoder, Outcome, Sse, Stamp, Usage, logprobs};
use serde_json::{Value, json};

/// Chat or text completion.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Chat,
    Text,
}

impl Form {
    fn id(self, stamp: &Stamp) -> String {
        let prefix = if self == Form::Chat { "chatcmpl" } else { "cmpl" };
        format!("{prefix}-{}", stamp.id)
    }
}

fn finish_name(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopString(_) => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
    }
}

fn usage(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.prompt_tokens - usage.cached_tokens.min(usage.prompt_tokens),
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    })
}

fn text_logprobs(tokens: &[TokenLogprob]) -> Value {
    let top = |token: &TokenLogprob| -> Value {
        let all = token.top.iter().map(|entry| (entry.text(), json!(entry.finite())));
        Value::Object(all.collect())
    };
    json!({
        "tokens": tokens.iter().map(|token| token.token.text()).collect::<Vec<_>>(),
        "token_logprobs": tokens.iter().map(|token| token.token.finite()).collect::<Vec<_>>(),
        "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(),
    })
}

/// A whole answer.
pub fn complete(form: Form, asked: &Common, stamp: &Stamp, outcome: &Outcome) -> Value {
    let has_logprobs = asked.turn.logprobs.is_some();
    let choices = outcome.choices.iter().enumerate().map(|(index, choice)| {
        let finish = choice.finish.as_ref().map(finish_name);
        if form == Form::Text {
            let logprobs = has_logprobs.then(|| text_logprobs(&choice.content_logprobs));
            return json!({"text": choice.content, "index": index, "logprobs": logprobs, "finish_reason": finish});
        }
        let mut message = json!({"role": "assistant", "content": choice.content});
        if !choice.reasoning.is_empty() {
            message["reasoning_content"] = json!(choice.reasoning);
        }
        if !choice.calls.is_empty() {
            let call = |call: &crate::wire::Call| {
                json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
            };
            message["tool_calls"] = choice.calls.iter().map(call).collect();
        }
        let found = has_logprobs.then(|| {
            json!({
                "content": logprobs(&choice.content_logprobs),
                "reasoning_content": logprobs(&choice.reasoning_logprobs),
            })
        });
        json!({"index": index, "message": message, "logprobs": found, "finish_reason": finish})
    });
    let object = if form == Form::Chat { "chat.completion" } else { "text_completion" };
    json!({
        "id": form.id(stamp),
        "object": object,
        "created": stamp.created,
        "model": asked.model,
        "choices": choices.collect::<Vec<_>>(),
        "usage": usage(&outcome.usage),
    })
}

/// Writes a stream.
pub struct Writer {
    form: Form,
    id: String,
    created: u64,
    model: String,
    with_usage: bool,
    choices: u32,
    finished: u32,
    usage: Usage,
}

impl Writer {
    /// A writer of the answers to `asked`.
    pub fn new(form: Form, asked: &Common, stamp: Stamp) -> Self {
        Self {
            form,
            id: form.id(&stamp),
            created: stamp.created,
            model: asked.model.clone(),
            with_usage: asked.usage,
            choices: asked.turn.choices,
            finished: 0,
            usage: Usage::default(),
        }
    }

    fn chunk(&self, choices: Value, out: &mut Sse) {
        let object = if self.form == Form::Chat { "chat.completion.chunk" } else { "text_completion" };
        let mut chunk = json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices,
        });
        if self.with_usage {
            let is_last = choices.as_array().is_some_and(Vec::is_empty);
            chunk["usage"] = if is_last { usage(&self.usage) } else { Value::Null };
        }
        out.data(&chunk);
    }

    fn piece(&self, choice: u32, delta: Value, finish: Option<&str>, logprobs: Value, out: &mut Sse) {
        let mut entry = json!({"index": choice, "delta": delta, "finish_reason": finish});
        if !logprobs.is_null() {
            entry["logprobs"] = logprobs;
        }
        self.chunk(json!([entry]), out);
    }

    fn text_piece(&self, choice: u32, piece: &Piece, finish: Option<&str>, out: &mut Sse) {
        let logprobs = (!piece.logprobs.is_empty()).then(|| text_logprobs(&piece.logprobs));
        let entry = json!({"text": piece.text, "index": choice, "logprobs": logprobs, "finish_reason": finish});
        self.chunk(json!([entry]), out);
    }

    fn delta(&self, choice: u32, delta: Delta, out: &mut Sse) {
        if self.form == Form::Text {
            // Reasoning is no part of a completed text.
            if let Delta::Content(piece) = delta {
                self.text_piece(choice, &piece, None, out);
            }
            return;
        }
        let (delta, (member, tokens)) = match delta {
            Delta::Reasoning(Piece { text, logprobs }) => {
                (json!({"reasoning_content": text}), ("reasoning_content", logprobs))
            }
            Delta::Content(Piece { text, logprobs }) => (json!({"content": text}), ("content", logprobs)),
            Delta::CallStart { index, id, name } => {
                let function = json!({"name": name, "arguments": ""});
                let call = json!({"index": index, "id": id, "type": "function", "function": function});
                (json!({"tool_calls": [call]}), ("content", Vec::new()))
            }
            Delta::CallArguments { index, fragment } => {
                let call = json!({"index": index, "function": {"arguments": fragment}});
                (json!({"tool_calls": [call]}), ("content", Vec::new()))
            }
            Delta::CallEnd { .. } => return,
        };
        let found = if tokens.is_empty() { Value::Null } else { json!({member: logprobs(&tokens)}) };
        self.piece(choice, delta, None, found, out);
    }
}

impl Encoder for Writer {
    fn event(&mut self, event: Event, out: &mut Sse) {
        self.usage.count(&event);
        match event {
            Event::Started { .. } => {
                for choice in (0..self.choices).filter(|_| self.form == Form::Chat) {
                    self.piece(choice, json!({"role": "assistant", "content": ""}), None, Value::Null, out);
                }
            }
            Event::Delta { choice, delta } => self.delta(choice, delta, out),
            Event::Finished { choice, finish, .. } => {
                let name = finish_name(&finish);
                match self.form {
                    Form::Chat => self.piece(choice, json!({}), Some(name), Value::Null, out),
                    Form::Text => self.text_piece(choice, &Piece::default(), Some(name), out),
                }
                self.finished += 1;
                if self.finished == self.choices {
                    if self.with_usage {
                        self.chunk(json!([]), out);
                    }
                    out.raw("[DONE]");
                }
            }
            Event::Failed(why) => out.named("error", &super::error(&ApiError::Internal(why))),
        }
    }
}
