//! What a request asks of the model and what comes back, whatever API it came by.

use ds4_chat::{Message, ThinkingMode};
use ds4_engine::sampler::SamplingParams;
pub use ds4_grammar::{Format, ToolChoice};
use serde_json::Value;

/// One request for an answer, or for several answers to one prompt.
#[derive(Clone, Debug)]
pub struct Turn {
    /// What stands before the answer.
    pub input: Input,
    /// Whether and how hard the model thinks.
    pub thinking: ThinkingMode,
    /// Tools that may be called. `tool_choice` none leaves them out of the prompt.
    pub tools: Vec<Tool>,
    /// Whether a tool may, must or must not be called.
    pub tool_choice: ToolChoice,
    /// Whether one answer may hold several calls.
    pub parallel_tool_calls: bool,
    /// What the content must look like.
    pub format: Format,
    /// How tokens are chosen. With several answers, each has a seed of its own made from this one.
    pub sampling: SamplingParams,
    /// Most tokens of the answer, reasoning included; `None`: as many as the context has room for.
    pub max_tokens: Option<usize>,
    /// How much of `max_tokens` reasoning must leave for what follows it; `None`: it may take everything.
    pub budget: Option<ReplyBudget>,
    /// Texts that end the answer; none of them empty.
    pub stop: Vec<String>,
    /// Report log-probabilities, with this many alternatives of each token.
    pub logprobs: Option<usize>,
    /// Number of answers, 1 to [`crate::limits::CHOICES_MAX`].
    pub choices: u32,
    /// How ids of tool calls begin: `call_` or `toolu_`.
    pub call_id_prefix: &'static str,
}

/// What is left for a reply when the room runs out while the model thinks (`spec/cli.md` §3). Limits are in tokens that are
/// left of [`Turn::max_tokens`], `</think>` among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyBudget {
    /// With so many left or fewer, reasoning ends as soon as `</think>` is one of the `rank` most probable tokens.
    pub soft: usize,
    /// With so many left, it ends.
    pub hard: usize,
    /// Candidates that are looked at, at least 1.
    pub rank: usize,
}

/// How reasoning ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThinkClose {
    /// The model ended it.
    Natural,
    /// [`ReplyBudget::soft`] took `</think>` from the best candidates.
    Soft,
    /// [`ReplyBudget::hard`] was reached.
    Hard,
}

/// What stands before the answer.
#[derive(Clone, Debug)]
pub enum Input {
    /// A conversation, to be rendered as a prompt. `Message::tools` is empty: tools stand in [`Turn::tools`].
    Conversation(Vec<Message>),
    /// Text that is rendered already: markers in it are control tokens.
    Rendered(String),
    /// Tokens.
    Tokens(Vec<u32>),
}

/// A tool that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Name by which the model calls it.
    pub name: String,
    /// The schema line of the prompt: `{"name": …, "description": …, "parameters": …}`, keys in the client's order.
    pub schema: Value,
    /// JSON schema of the arguments; `{"type":"object"}` where the client gave none.
    pub parameters: Value,
    /// Refuse the request if the arguments' schema cannot be enforced to the letter.
    pub strict: bool,
}

/// Something that happened to a turn, in order. After [`Event::Finished`] of every choice, or [`Event::Failed`], nothing follows.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The request was admitted: always the first event.
    Started {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Those of them that a stored prefix had already.
        cached_tokens: usize,
    },
    /// A part of an answer.
    Delta {
        /// Which answer, from 0.
        choice: u32,
        /// The part.
        delta: Delta,
    },
    /// An answer is complete.
    Finished {
        /// Which answer, from 0.
        choice: u32,
        /// Why it ended.
        finish: Finish,
        /// Tokens sampled, end of sequence not counted.
        completion_tokens: usize,
        /// Those of them before the end of reasoning, `</think>` included.
        reasoning_tokens: usize,
        /// How reasoning ended; `None` if there was none, or the answer ended within.
        closed: Option<ThinkClose>,
    },
    /// The engine failed; the text says why.
    Failed(String),
}

/// A part of an answer. Reasoning comes first, then content, then calls.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    /// Reasoning text.
    Reasoning(Piece),
    /// Content.
    Content(Piece),
    /// A call begins; calls of an answer are numbered from 0 and follow one another.
    CallStart {
        /// Which call.
        index: usize,
        /// Its id, unique and unguessable.
        id: String,
        /// Name of the tool.
        name: String,
    },
    /// More of the JSON text of a call's arguments.
    CallArguments {
        /// Which call.
        index: usize,
        /// Never empty; all of a call together are one JSON object.
        fragment: String,
    },
    /// A call is complete.
    CallEnd {
        /// Which call.
        index: usize,
    },
}

/// Text with the tokens that it is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    /// The text; empty at the end of an answer where only log-probabilities are left.
    pub text: String,
    /// Log-probabilities of its tokens, if asked for. Text is held back where it might be syntax, so tokens and text of
    /// one piece agree only roughly; over the whole answer none is lost.
    pub logprobs: Vec<TokenLogprob>,
}

/// A sampled token, its log-probability and those of its rivals.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The token.
    pub token: LogprobEntry,
    /// The most probable tokens, best first.
    pub top: Vec<LogprobEntry>,
}

/// A token and the natural logarithm of its probability before sampling parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct LogprobEntry {
    /// Token id.
    pub id: u32,
    /// Its bytes, perhaps a fragment of a character.
    pub bytes: Vec<u8>,
    /// ln p.
    pub logprob: f64,
}

/// JSON has no infinity; this is far below what a token that was sampled can have.
const LOGPROB_MIN: f64 = -9999.0;

impl LogprobEntry {
    /// Its text, with replacement characters where it is no whole character.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// ln p as a number that JSON can write.
    pub fn finite(&self) -> f64 {
        self.logprob.max(LOGPROB_MIN)
    }
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it.
    Stop,
    /// This stop string came.
    StopString(String),
    /// `max_tokens` or the end of the context was reached.
    Length,
    /// It ended with calls.
    ToolCalls,
}
