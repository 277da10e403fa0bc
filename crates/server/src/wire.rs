//! What the APIs have in common: the shape of a stream, and answers collected from events.

use crate::turn::{Delta, Event, Finish, LogprobEntry, ThinkClose, TokenLogprob};
use ds4_engine::sampler::fresh_seed;
use serde_json::{Value, json};

/// Server-sent events, written one after the other.
#[derive(Debug, Default)]
pub struct Sse(String);

impl Sse {
    /// Adds an event with data only.
    pub fn data(&mut self, data: &Value) {
        self.raw(&data.to_string());
    }

    /// Adds an event with a name.
    pub fn named(&mut self, name: &str, data: &Value) {
        self.0.push_str("event: ");
        self.0.push_str(name);
        self.0.push('\n');
        self.data(data);
    }

    /// Adds an event whose data is one line of text that is no JSON, such as `[DONE]`.
    pub fn raw(&mut self, line: &str) {
        self.0.push_str("data: ");
        self.0.push_str(line);
        self.0.push_str("\n\n");
    }

    /// What was written since the last call.
    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.0)
    }
}

/// Writes the events of one turn as an API's stream.
pub trait Encoder: Send {
    /// Writes what `event` means. The turn's [`Event::Started`] is the first.
    fn event(&mut self, event: Event, out: &mut Sse);
    /// What to send when nothing else was sent for a while; clients' watchdogs must accept it.
    fn keep_alive(&self) -> &'static str {
        ": keep-alive\n\n"
    }
}

/// Log-probabilities as OpenAI's APIs write them.
pub fn logprobs(tokens: &[TokenLogprob]) -> Value {
    let entry = |entry: &LogprobEntry| json!({"token": entry.text(), "logprob": entry.finite(), "bytes": entry.bytes});
    let token = |token: &TokenLogprob| {
        let mut value = entry(&token.token);
        value["top_logprobs"] = token.top.iter().map(entry).collect();
        value
    };
    tokens.iter().map(token).collect()
}

/// Who answers, when and under which id.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// Random part of the answer's ids, hexadecimal.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
}

/// 32 hexadecimal digits that nobody can guess.
pub fn random_id() -> String {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        // The system has none to give; the standard library's hash keys were drawn when it had.
        let (a, b) = (fresh_seed(), fresh_seed());
        bytes[..8].copy_from_slice(&a.to_le_bytes());
        bytes[8..].copy_from_slice(&b.to_le_bytes());
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Numbers of a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those of them that a stored prefix had already.
    pub cached_tokens: usize,
    /// Tokens sampled for all choices, end of sequence not counted.
    pub completion_tokens: usize,
    /// Those of them that were reasoning.
    pub reasoning_tokens: usize,
}

impl Usage {
    /// Counts what `event` tells.
    pub fn count(&mut self, event: &Event) {
        match event {
            Event::Started { prompt_tokens, cached_tokens } => {
                self.prompt_tokens = *prompt_tokens;
                self.cached_tokens = *cached_tokens;
            }
            Event::Finished { completion_tokens, reasoning_tokens, .. } => {
                self.completion_tokens += completion_tokens;
                self.reasoning_tokens += reasoning_tokens;
            }
            Event::Delta { .. } | Event::Failed(_) => {}
        }
    }
}

/// A complete call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Id.
    pub id: String,
    /// Name of the tool.
    pub name: String,
    /// JSON text of the arguments.
    pub arguments: String,
}

/// A complete answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    /// Reasoning text.
    pub reasoning: String,
    /// Content.
    pub content: String,
    /// Calls in order.
    pub calls: Vec<Call>,
    /// Log-probabilities of reasoning tokens, if asked for.
    pub reasoning_logprobs: Vec<TokenLogprob>,
    /// Log-probabilities of content tokens, if asked for.
    pub content_logprobs: Vec<TokenLogprob>,
    /// Why it ended; `None` until then.
    pub finish: Option<Finish>,
    /// How reasoning ended, if it did.
    pub closed: Option<ThinkClose>,
}

/// Everything that a turn brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The answers.
    pub choices: Vec<Choice>,
    /// Numbers.
    pub usage: Usage,
    /// Set when the engine failed.
    pub failure: Option<String>,
}

impl Outcome {
    /// Adds what an event brought.
    pub fn add(&mut self, event: Event) {
        self.usage.count(&event);
        match event {
            Event::Started { .. } => {}
            Event::Delta { choice, delta } => self.choice(choice).add(delta),
            Event::Finished { choice, finish, closed, .. } => {
                let choice = self.choice(choice);
                (choice.finish, choice.closed) = (Some(finish), closed);
            }
            Event::Failed(why) => self.failure = Some(why),
        }
    }

    fn choice(&mut self, index: u32) -> &mut Choice {
        let index = index as usize;
        if self.choices.len() <= index {
            self.choices.resize_with(index + 1, Choice::default);
        }
        &mut self.choices[index]
    }
}

impl Choice {
    fn add(&mut self, delta: Delta) {
        match delta {
            Delta::Reasoning(piece) => {
                self.reasoning.push_str(&piece.text);
                self.reasoning_logprobs.extend(piece.logprobs);
            }
            Delta::Content(piece) => {
                self.content.push_str(&piece.text);
                self.content_logprobs.extend(piece.logprobs);
            }
            Delta::CallStart { id, name, .. } => self.calls.push(Call { id, name, arguments: String::new() }),
            Delta::CallArguments { fragment, .. } => {
                if let Some(call) = self.calls.last_mut() {
                    call.arguments.push_str(&fragment);
                }
            }
            Delta::CallEnd { .. } => {}
        }
    }
}

/// What an API needs to know of the server to read a request.
#[derive(Clone, Debug)]
pub struct ServerFacts {
    /// Most tokens of prompt and answer.
    pub context: usize,
    /// Which effort texts the checkpoint was trained with.
    pub effort: ds4_chat::EffortTable,
    /// Most tokens of an answer when the request names none.
    pub default_max_tokens: Option<usize>,
    /// Ignore sampling parameters while thinking, as the official API does.
    pub strict_thinking_sampling: bool,
}
