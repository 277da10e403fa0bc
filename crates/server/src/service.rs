//! From a [`Turn`] to its [`Event`]s: rendering, tokens, and the engine.

use crate::answer::{Answering, Plan};
use crate::error::ApiError;
use crate::memory::{History, Memory};
use crate::turn::{Event, Format, Input, ToolChoice, Turn};
use crate::wire::ServerFacts;
use ds4_chat::{Message, Options, Role, Style, ThinkingMode};
use ds4_engine::sampler::Sampler;
use ds4_engine::scheduler::{Follower, Handle, Job, Refused, Stats};
use ds4_grammar::{Constraint, Grammars, Spec};
use ds4_tokenizer::{TokenId, Tokenizer};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Answers turns with one engine.
pub struct Service {
    engine: Handle,
    tokenizer: Arc<Tokenizer>,
    grammars: Grammars,
    memory: Arc<Memory>,
    facts: ServerFacts,
}

/// A prompt as the engine takes it.
struct Prompt {
    tokens: Vec<u32>,
    /// Lengths of prefixes that later prompts are likely to share.
    checkpoints: Vec<usize>,
    history: Option<History>,
}

impl Service {
    /// Answers with the model behind `engine`, whose vocabulary is that of `tokenizer`.
    ///
    /// # Errors
    /// The vocabulary cannot be used for constrained decoding.
    pub fn new(engine: Handle, tokenizer: Arc<Tokenizer>, facts: ServerFacts) -> Result<Self, ds4_grammar::Error> {
        let grammars = Grammars::new(&tokenizer)?;
        Ok(Self { engine, tokenizer, grammars, memory: Arc::default(), facts })
    }

    /// Remembers the conversations in `dir` and the ones whose tokens are `transcripts`, and keeps answers in `dir`, if `may_write`, so
    /// that conversations continue after a restart. `report` is told what cannot be written.
    ///
    /// # Errors
    /// `dir` cannot be read or written.
    pub fn keep_answers(
        &self,
        dir: &Path,
        may_write: bool,
        transcripts: impl IntoIterator<Item = Vec<u32>>,
        report: impl Fn(&str) + Send + 'static,
    ) -> Result<(), ds4_store::Error> {
        let vocab = self.tokenizer.vocab_size();
        let is_known = |tokens: &Vec<u32>| tokens.iter().all(|token| (*token as usize) < vocab);
        for tokens in transcripts.into_iter().filter(is_known) {
            self.memory.add(tokens.into_iter().map(TokenId).collect(), None);
        }
        self.memory.keep_in(dir, may_write, report)
    }

    /// What APIs need to know.
    pub fn facts(&self) -> &ServerFacts {
        &self.facts
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// What the engine did and does.
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// Tokens of the prompt that `turn` makes. It takes time for long prompts.
    ///
    /// # Errors
    /// The conversation cannot be rendered, or is too long to be tokenised.
    pub fn prompt_tokens(&self, turn: &Turn) -> Result<Vec<u32>, ApiError> {
        self.prompt(turn).map(|prompt| prompt.tokens)
    }

    /// Gives a turn to the engine. `param` names the member of the request that holds the prompt. It takes time for long prompts.
    ///
    /// # Errors
    /// The prompt is empty, has tokens outside the vocabulary or does not fit the context; sampling parameters make no sense; the queue is full; the engine
    /// has stopped; a schema cannot be enforced, a call is demanded of no tool.
    pub fn start(&self, turn: &Turn, param: &'static str) -> Result<Events, ApiError> {
        let constraint = self.constraint(turn)?;
        let Prompt { tokens, checkpoints, history } = self.prompt(turn)?;
        let context = self.facts.context;
        if tokens.is_empty() {
            return Err(ApiError::param(param, "the prompt is empty"));
        }
        if let Some(token) = tokens.iter().find(|token| **token as usize >= self.tokenizer.vocab_size()) {
            return Err(ApiError::param(param, format!("token {token} is outside the vocabulary")));
        }
        if tokens.len() >= context {
            return Err(ApiError::ContextLength { prompt: tokens.len(), context, param });
        }
        let wanted = turn.max_tokens.or(self.facts.default_max_tokens).unwrap_or(context);
        let max_tokens = wanted.min(context - tokens.len());
        let (sender, receiver) = unbounded_channel();
        let pending: Arc<AtomicUsize> = Arc::default();
        let prompt: Arc<[u32]> = tokens.as_slice().into();
        let mut followers: Vec<Box<dyn Follower>> = Vec::new();
        for choice in 0..turn.choices {
            let mut sampling = turn.sampling.clone();
            sampling.seed = sampling.seed.wrapping_add(u64::from(choice).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let sampler = Sampler::new(sampling, &tokens).map_err(|error| ApiError::invalid(error.to_string()))?;
            let plan = Plan {
                choice,
                prompt: Arc::clone(&prompt),
                history: history.clone(),
                thinking: begins_with_reasoning(turn),
                keeps_reasoning: keeps_reasoning(turn),
                tools: has_tools(turn),
                stop: turn.stop.clone(),
                max_tokens,
                budget: turn.budget,
                logprobs: turn.logprobs,
                call_id_prefix: turn.call_id_prefix,
                constraint: constraint.clone(),
            };
            let (tokenizer, memory) = (Arc::clone(&self.tokenizer), Arc::clone(&self.memory));
            let (sender, pending) = (sender.clone(), Arc::clone(&pending));
            followers.push(Box::new(Answering::new(plan, sampler, tokenizer, memory, sender, pending)));
        }
        let job = Job { tokens, checkpoints, answer_tokens: max_tokens, followers };
        self.engine.submit(job).map_err(|refused| match refused {
            Refused::Full(_) => ApiError::Busy(refused.to_string()),
            Refused::Stopped => ApiError::Unavailable(refused.to_string()),
        })?;
        Ok(Events { prompt, receiver, pending })
    }

    /// What the answer must look like, if not everything is allowed.
    fn constraint(&self, turn: &Turn) -> Result<Option<Constraint>, ApiError> {
        let demands_call = demands_call(turn);
        let is_bound = demands_call || turn.format != Format::Text;
        if !has_tools(turn) && !is_bound {
            return Ok(None);
        }
        if is_bound && continues(turn) {
            let message = "a message that is to be continued cannot be bound to a format or a call";
            return Err(ApiError::invalid(message));
        }
        let tool = |tool: &crate::turn::Tool| ds4_grammar::Tool {
            name: tool.name.clone(),
            parameters: tool.parameters.clone(),
            strict: tool.strict,
        };
        let tools: Vec<ds4_grammar::Tool> = turn.tools.iter().map(tool).collect();
        let spec = Spec {
            thinking: begins_with_reasoning(turn),
            tools: &tools,
            choice: turn.tool_choice.clone(),
            parallel: turn.parallel_tool_calls,
            format: turn.format.clone(),
        };
        self.grammars.compile(&spec).map(Some).map_err(|error| ApiError::invalid(error.to_string()))
    }

    fn prompt(&self, turn: &Turn) -> Result<Prompt, ApiError> {
        let refused = |error: ds4_tokenizer::Error| ApiError::invalid(error.to_string());
        let (tokens, history) = match &turn.input {
            Input::Tokens(tokens) => (tokens.clone(), None),
            Input::Rendered(text) => (plain(self.tokenizer.encode_rendered(text).map_err(refused)?), None),
            Input::Conversation(messages) => {
                let history = History::of(messages);
                let mut messages = messages.clone();
                self.memory.restore(&mut messages);
                let prompt = render(messages, turn, &self.facts)?;
                let segments = prompt.segments().iter().map(|segment| (segment.text.as_str(), segment.trusted));
                let tokens = self.tokenizer.encode_segments(segments).map_err(refused)?;
                let tokens = self.memory.resume(&self.tokenizer, tokens).map_err(refused)?;
                (plain(tokens), Some(history))
            }
        };
        let checkpoints = self.checkpoints(&tokens);
        Ok(Prompt { tokens, checkpoints, history })
    }

    /// The end of the system text, which other conversations share, and the place where the answer begins, since the
    /// same conversation comes back with another marker behind it.
    fn checkpoints(&self, tokens: &[u32]) -> Vec<usize> {
        let specials = self.tokenizer.specials();
        let is = |id: Option<TokenId>| move |token: &u32| id.is_some_and(|id| id.0 == *token);
        let system = tokens.iter().position(is(specials.user));
        let answer = tokens.iter().rposition(is(specials.assistant)).map(|at| at + 1);
        let mut checkpoints: Vec<usize> = [system, answer].into_iter().flatten().collect();
        checkpoints.retain(|at| *at > 0 && *at < tokens.len());
        checkpoints.sort_unstable();
        checkpoints
    }
}

fn plain(tokens: Vec<TokenId>) -> Vec<u32> {
    tokens.into_iter().map(|token| token.0).collect()
}

fn has_tools(turn: &Turn) -> bool {
    !turn.tools.is_empty() && turn.tool_choice != ToolChoice::None
}

fn demands_call(turn: &Turn) -> bool {
    matches!(turn.tool_choice, ToolChoice::Required | ToolChoice::Named(_))
}

/// Whether the answer is the rest of a message.
fn continues(turn: &Turn) -> bool {
    matches!(&turn.input, Input::Conversation(messages) if messages.last().is_some_and(|last| last.prefix))
}

/// Whether the answer's first token is one of reasoning. A message that is to be continued has its reasoning behind it.
fn begins_with_reasoning(turn: &Turn) -> bool {
    turn.thinking != ThinkingMode::None && !continues(turn)
}

/// Whether tools were called in the conversation.
fn has_calls(messages: &[Message]) -> bool {
    messages.iter().any(|message| message.role == Role::Tool || !message.tool_calls.is_empty())
}

/// Whether later prompts hold the reasoning of this answer also if it calls no tool.
fn keeps_reasoning(turn: &Turn) -> bool {
    match &turn.input {
        Input::Conversation(messages) => has_calls(messages),
        Input::Rendered(_) | Input::Tokens(_) => true,
    }
}

fn render(mut messages: Vec<Message>, turn: &Turn, facts: &ServerFacts) -> Result<ds4_chat::Prompt, ApiError> {
    let format = match &turn.format {
        _ if demands_call(turn) => None,
        Format::Text => None,
        Format::JsonObject => Some(json!({"type": "object"})),
        Format::JsonSchema(schema) => Some(schema.clone()),
    };
    if has_tools(turn) || format.is_some() {
        if messages.first().is_none_or(|first| first.role != Role::System) {
            messages.insert(0, Message::new(Role::System, ""));
        }
        if let Some(first) = messages.first_mut() {
            if has_tools(turn) {
                first.tools = turn.tools.iter().map(|tool| tool.schema.clone()).collect();
            }
            first.response_format = format;
        }
    }
    if messages.last().is_none_or(|last| last.role == Role::System || last.role == Role::Assistant && !last.prefix) {
        // The format opens an answer only after somebody has spoken to the model.
        messages.push(Message::new(Role::User, ""));
    }
    let options = Options {
        style: Style::Official,
        thinking: turn.thinking,
        effort: facts.effort,
        // Reasoning between calls belongs to the task, also when this request offers no tools.
        drop_reasoning: !has_calls(&messages),
    };
    ds4_chat::render(&messages, &options).map_err(|error| ApiError::invalid(error.to_string()))
}

/// The events of a turn. Dropping it cancels what is left.
pub struct Events {
    prompt: Arc<[u32]>,
    receiver: UnboundedReceiver<Event>,
    pending: Arc<AtomicUsize>,
}

impl Events {
    /// The tokens that are answered.
    pub fn prompt(&self) -> &[u32] {
        &self.prompt
    }

    /// The next event; `None` after the last. An engine that died ends the events without a [`Event::Finished`].
    pub async fn next(&mut self) -> Option<Event> {
        let event = self.receiver.recv().await;
        if event.is_some() {
            self.pending.fetch_sub(1, Ordering::Relaxed);
        }
        event
    }
}
