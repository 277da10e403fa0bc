//! Answers, whole and as a stream.

use super::Asked;
use super::input::{self, Live};
use super::output::{Body, Item, Progress, Status, response, summary_part, text_part};
use super::tools::Kind;
use crate::turn::{Delta, Event, Finish, Piece, TokenLogprob};
use crate::wire::{Encoder, Outcome, Sse, Stamp, Usage, logprobs};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Writes a stream. Items are opened when their first text comes and closed when the next begins, so they follow one
/// another, with one exception: where log-probabilities are asked for, those of a call's tokens come at the end and
/// count as the message's, which therefore stays open until then.
pub struct Writer {
    asked: Arc<Asked>,
    stamp: Stamp,
    /// Number of the next event.
    sequence: u64,
    usage: Usage,
    items: Vec<Item>,
    /// Log-probabilities that wait for text to go with.
    waiting: Vec<TokenLogprob>,
}

impl Writer {
    /// A writer of the answer to `asked`.
    pub fn new(asked: Arc<Asked>, stamp: Stamp) -> Self {
        let (items, waiting) = (Vec::new(), Vec::new());
        Self { asked, stamp, sequence: 0, usage: Usage::default(), items, waiting }
    }

    /// The object that a stream of `outcome` would have ended with.
    pub fn whole(mut self, outcome: &Outcome) -> Value {
        let out = &mut Sse::default();
        let choice = outcome.choices.first().cloned().unwrap_or_default();
        self.delta(Delta::Reasoning(Piece { text: choice.reasoning, logprobs: choice.reasoning_logprobs }), out);
        self.delta(Delta::Content(Piece { text: choice.content, logprobs: choice.content_logprobs }), out);
        for (index, call) in choice.calls.into_iter().enumerate() {
            let is_complete = serde_json::from_str::<Map<String, Value>>(&call.arguments).is_ok();
            self.delta(Delta::CallStart { index, id: call.id, name: call.name }, out);
            self.delta(Delta::CallArguments { index, fragment: call.arguments }, out);
            if is_complete {
                self.delta(Delta::CallEnd { index }, out);
            }
        }
        self.usage = outcome.usage;
        match (&outcome.failure, choice.finish) {
            (None, Some(finish)) => self.finish(&finish, out),
            (failure, _) => self.fail(failure.as_deref().unwrap_or("the engine has stopped"), out),
        }
    }

    fn send(&mut self, kind: &str, members: Value, out: &mut Sse) {
        let mut event = json!({"type": kind, "sequence_number": self.sequence});
        if let (Value::Object(event), Value::Object(members)) = (&mut event, members) {
            event.extend(members);
        }
        self.sequence += 1;
        out.named(kind, &event);
    }

    fn response(&self, progress: &Progress<'_>) -> Value {
        response(&self.asked, &self.stamp, &self.items, progress)
    }

    fn delta(&mut self, delta: Delta, out: &mut Sse) {
        match delta {
            Delta::Reasoning(piece) if self.asked.shows_reasoning => self.reasoning(&piece.text, out),
            Delta::Reasoning(_) => {}
            Delta::Content(piece) => self.content(&piece, out),
            Delta::CallStart { id, name, .. } => {
                let target = self.asked.targets.get(&name);
                self.close_for_next(out);
                let body = Body::Call { call_id: id, target, arguments: String::new(), live: Live::default() };
                self.open(body, out);
            }
            Delta::CallArguments { fragment, .. } => self.arguments(&fragment, out),
            Delta::CallEnd { .. } => {
                if let Some(index) = self.find_open(|body| matches!(body, Body::Call { .. })) {
                    self.close(index, Status::Completed, out);
                }
            }
        }
    }

    fn reasoning(&mut self, piece: &str, out: &mut Sse) {
        if piece.is_empty() {
            return;
        }
        let index = match self.find_open(|body| matches!(body, Body::Reasoning(_))) {
            Some(index) => index,
            None => {
                self.close_for_next(out);
                self.open(Body::Reasoning(String::new()), out)
            }
        };
        let Some(Item { id, body: Body::Reasoning(text), .. }) = self.items.get_mut(index) else { return };
        text.push_str(piece);
        let members = json!({"item_id": id, "output_index": index, "summary_index": 0, "delta": piece});
        self.send("response.reasoning_summary_text.delta", members, out);
    }

    fn content(&mut self, piece: &Piece, out: &mut Sse) {
        self.waiting.extend_from_slice(&piece.logprobs);
        let found = self.find_open(|body| matches!(body, Body::Message { .. }));
        if piece.text.is_empty() && (found.is_none() || self.waiting.is_empty()) {
            return;
        }
        let index = match found {
            Some(index) => index,
            None => {
                self.close_for_next(out);
                self.open(Body::Message { text: String::new(), tokens: Vec::new() }, out)
            }
        };
        let new = std::mem::take(&mut self.waiting);
        let Some(Item { id, body: Body::Message { text, tokens }, .. }) = self.items.get_mut(index) else { return };
        text.push_str(&piece.text);
        tokens.extend_from_slice(&new);
        let members = json!({"item_id": id, "output_index": index, "content_index": 0, "delta": piece.text, "logprobs": logprobs(&new)});
        self.send("response.output_text.delta", members, out);
    }

    fn arguments(&mut self, fragment: &str, out: &mut Sse) {
        let Some(index) = self.find_open(|body| matches!(body, Body::Call { .. })) else { return };
        let Some(Item { id, body: Body::Call { target, arguments, live, .. }, .. }) = self.items.get_mut(index) else {
            return;
        };
        arguments.push_str(fragment);
        let (kind, delta) = match target.kind {
            Kind::Function => ("response.function_call_arguments.delta", fragment.to_owned()),
            Kind::Custom => ("response.custom_tool_call_input.delta", live.push(fragment)),
            Kind::Search => ("", String::new()),
        };
        if delta.is_empty() {
            return;
        }
        let members = json!({"item_id": id, "output_index": index, "delta": delta});
        self.send(kind, members, out);
    }

    /// The last item of a kind, unless it is closed.
    fn find_open(&self, is_kind: impl Fn(&Body) -> bool) -> Option<usize> {
        self.items.iter().rposition(|item| item.status == Status::InProgress && is_kind(&item.body))
    }

    fn open(&mut self, body: Body, out: &mut Sse) -> usize {
        let index = self.items.len();
        let item = Item::new(&self.stamp, index, body);
        self.send("response.output_item.added", json!({"output_index": index, "item": item.json()}), out);
        let part = match &item.body {
            Body::Reasoning(_) => Some((
                "response.reasoning_summary_part.added",
                json!({"item_id": item.id, "output_index": index, "summary_index": 0, "part": summary_part("")}),
            )),
            Body::Message { .. } => Some((
                "response.content_part.added",
                json!({"item_id": item.id, "output_index": index, "content_index": 0, "part": text_part("", &[])}),
            )),
            Body::Call { .. } => None,
        };
        if let Some((kind, members)) = part {
            self.send(kind, members, out);
        }
        self.items.push(item);
        index
    }

    /// Closes what is open because another item begins. A message that waits for log-probabilities stays open.
    fn close_for_next(&mut self, out: &mut Sse) {
        for index in 0..self.items.len() {
            let status = match self.items.get(index) {
                Some(Item { status: Status::InProgress, body: Body::Message { .. }, .. })
                    if self.asked.has_logprobs =>
                {
                    continue;
                }
                // Only its own end completes a call.
                Some(Item { body: Body::Call { .. }, .. }) => Status::Incomplete,
                _ => Status::Completed,
            };
            self.close(index, status, out);
        }
    }

    /// Closes what is open because the answer ends. The last item has no end of its own where the answer was cut, and a
    /// call never has.
    fn close_for_good(&mut self, is_cut: bool, out: &mut Sse) {
        for index in 0..self.items.len() {
            let is_last = index + 1 == self.items.len();
            let is_call = matches!(self.items.get(index), Some(Item { body: Body::Call { .. }, .. }));
            let status = if is_call || is_last && is_cut { Status::Incomplete } else { Status::Completed };
            self.close(index, status, out);
        }
    }

    /// Closes an item that is open.
    fn close(&mut self, index: usize, status: Status, out: &mut Sse) {
        let Some(item) = self.items.get_mut(index).filter(|item| item.status == Status::InProgress) else { return };
        item.status = status;
        let mut events: Vec<(&str, Value)> = Vec::new();
        match &item.body {
            Body::Reasoning(text) => events.extend([
                ("response.reasoning_summary_text.done", json!({"summary_index": 0, "text": text})),
                ("response.reasoning_summary_part.done", json!({"summary_index": 0, "part": summary_part(text)})),
            ]),
            Body::Message { text, tokens } => events.extend([
                ("response.output_text.done", json!({"content_index": 0, "text": text, "logprobs": logprobs(tokens)})),
                ("response.content_part.done", json!({"content_index": 0, "part": text_part(text, tokens)})),
            ]),
            // A call that was cut has no whole text to tell.
            Body::Call { .. } if status == Status::Incomplete => {}
            Body::Call { target, arguments, live, .. } => match target.kind {
                Kind::Function => {
                    let members = json!({"name": target.name, "arguments": arguments});
                    events.push(("response.function_call_arguments.done", members));
                }
                Kind::Custom => {
                    let input = input::whole(arguments);
                    if let Some(rest) = input.strip_prefix(live.text.as_str()).filter(|rest| !rest.is_empty()) {
                        events.push(("response.custom_tool_call_input.delta", json!({"delta": rest})));
                    }
                    events.push(("response.custom_tool_call_input.done", json!({"input": input})));
                }
                Kind::Search => {}
            },
        }
        for (_, members) in &mut events {
            members["item_id"] = json!(item.id);
            members["output_index"] = json!(index);
        }
        events.push(("response.output_item.done", json!({"output_index": index, "item": item.json()})));
        for (kind, members) in events {
            self.send(kind, members, out);
        }
    }

    fn begin(&mut self, out: &mut Sse) {
        let response = self.response(&Progress::Going);
        self.send("response.created", json!({"response": response}), out);
        self.send("response.in_progress", json!({"response": response}), out);
    }

    fn finish(&mut self, finish: &Finish, out: &mut Sse) -> Value {
        let is_cut = *finish == Finish::Length;
        self.close_for_good(is_cut, out);
        let (kind, progress) = match is_cut {
            true => ("response.incomplete", Progress::Cut(&self.usage)),
            false => ("response.completed", Progress::Done(&self.usage)),
        };
        let response = self.response(&progress);
        self.send(kind, json!({"response": response}), out);
        response
    }

    fn fail(&mut self, why: &str, out: &mut Sse) -> Value {
        self.close_for_good(true, out);
        let response = self.response(&Progress::Failed(&self.usage, why));
        self.send("response.failed", json!({"response": response}), out);
        response
    }
}

impl Encoder for Writer {
    fn event(&mut self, event: Event, out: &mut Sse) {
        self.usage.count(&event);
        match event {
            Event::Started { .. } => self.begin(out),
            Event::Delta { delta, .. } => self.delta(delta, out),
            Event::Finished { finish, .. } => {
                self.finish(&finish, out);
            }
            Event::Failed(why) => {
                self.fail(&why, out);
            }
        }
    }

    /// Codex's watchdog hears events only, and clients skip those that they do not know; but the SDKs insist that the
    /// first one says that the response was created.
    fn keep_alive(&self) -> &'static str {
        match self.sequence {
            0 => ": keep-alive\n\n",
            _ => "event: keepalive\ndata: {\"type\":\"keepalive\"}\n\n",
        }
    }
}
