//! From a [`Turn`] to its [`Event`]s: rendering, tokens, and the engine.

use crate::answer::{Answering, Link, Memory, Plan};
use crate::error::ApiError;
use crate::memory::{self, History};
use crate::turn::{Event, Input, ToolChoice, Turn};
use crate::wire::ServerFacts;
use ds4_chat::{Message, Options, Role, Style, ThinkingMode};
use ds4_engine::sampler::Sampler;
use ds4_engine::scheduler::{Follower, Handle, Job, Refused, Stats};
use ds4_tokenizer::{TokenId, Tokenizer};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Answers turns with one engine.
pub struct Service {
    engine: Handle,
    tokenizer: Arc<Tokenizer>,
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
    pub fn new(engine: Handle, tokenizer: Arc<Tokenizer>, facts: ServerFacts) -> Self {
        Self { engine, tokenizer, memory: Arc::default(), facts }
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

    /// The text of the prompt that `turn` makes, control tokens as their names.
    ///
    /// # Errors
    /// As [`Self::prompt_tokens`].
    pub fn prompt_text(&self, turn: &Turn) -> Result<String, ApiError> {
        let tokens = self.prompt_tokens(turn)?;
        Ok(self.tokenizer.decode(&tokens.into_iter().map(TokenId).collect::<Vec<_>>()))
    }

    /// Gives a turn to the engine. `param` names the member of the request that holds the prompt. It takes time for long prompts.
    ///
    /// # Errors
    /// The prompt is empty or does not fit the context; sampling parameters make no sense; the queue is full; the engine
    /// has stopped.
    pub fn start(&self, turn: Turn, param: &'static str) -> Result<Events, ApiError> {
        let Prompt { tokens, checkpoints, history } = self.prompt(&turn)?;
        let context = self.facts.context;
        if tokens.is_empty() {
            return Err(ApiError::param(param, "the prompt is empty"));
        }
        if tokens.len() >= context {
            return Err(ApiError::ContextLength { prompt: tokens.len(), context, param });
        }
        let wanted = turn.max_tokens.or(self.facts.default_max_tokens).unwrap_or(context);
        let max_tokens = wanted.min(context - tokens.len());
        let (sender, receiver) = unbounded_channel();
        let link: Arc<Link> = Arc::default();
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
                thinking: turn.thinking != ThinkingMode::None,
                tools: has_tools(&turn),
                stop: turn.stop.clone(),
                max_tokens,
                logprobs: turn.logprobs,
                call_id_prefix: turn.call_id_prefix,
            };
            let (tokenizer, memory) = (Arc::clone(&self.tokenizer), Arc::clone(&self.memory));
            followers.push(Box::new(Answering::new(
                plan,
                sampler,
                tokenizer,
                memory,
                sender.clone(),
                Arc::clone(&link),
            )));
        }
        let job = Job { tokens, checkpoints, answer_tokens: max_tokens, followers };
        self.engine.submit(job).map_err(|refused| match refused {
            Refused::Full(_) => ApiError::Busy(refused.to_string()),
            Refused::Stopped => ApiError::Unavailable(refused.to_string()),
        })?;
        Ok(Events { receiver, link })
    }

    fn prompt(&self, turn: &Turn) -> Result<Prompt, ApiError> {
        let refused = |error: ds4_tokenizer::Error| ApiError::invalid(error.to_string());
        let (tokens, history) = match &turn.input {
            Input::Tokens(tokens) => (tokens.clone(), None),
            Input::Rendered(text) => (plain(self.tokenizer.encode_rendered(text).map_err(refused)?), None),
            Input::Conversation(messages) => {
                let history = History::of(messages);
                let mut messages = messages.clone();
                self.memory.replays.lock().unwrap_or_else(PoisonError::into_inner).restore(&mut messages);
                let prompt = render(messages, turn, &self.facts)?;
                let segments = prompt.segments().iter().map(|segment| (segment.text.as_str(), segment.trusted));
                let tokens = self.tokenizer.encode_segments(segments).map_err(refused)?;
                let transcripts = self.memory.transcripts.lock().unwrap_or_else(PoisonError::into_inner).snapshot();
                let tokens = memory::resume(&self.tokenizer, &transcripts, tokens).map_err(refused)?;
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

fn render(mut messages: Vec<Message>, turn: &Turn, facts: &ServerFacts) -> Result<ds4_chat::Prompt, ApiError> {
    if has_tools(turn) {
        if messages.first().is_none_or(|first| first.role != Role::System) {
            messages.insert(0, Message::new(Role::System, ""));
        }
        if let Some(first) = messages.first_mut() {
            first.tools = turn.tools.iter().map(|tool| tool.schema.clone()).collect();
        }
    }
    let options = Options {
        style: Style::Official,
        thinking: turn.thinking,
        effort: facts.effort,
        // Reasoning between calls belongs to the task, also when this request offers no tools.
        drop_reasoning: !messages.iter().any(|message| message.role == Role::Tool || !message.tool_calls.is_empty()),
    };
    ds4_chat::render(&messages, &options).map_err(|error| ApiError::invalid(error.to_string()))
}

/// 32 hexadecimal digits that nobody can guess.
pub fn random_id() -> String {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        // No system source: unique at least.
        let (a, b) = (ds4_engine::sampler::fresh_seed(), ds4_engine::sampler::fresh_seed());
        bytes[..8].copy_from_slice(&a.to_le_bytes());
        bytes[8..].copy_from_slice(&b.to_le_bytes());
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The events of a turn. Dropping it cancels what is left.
pub struct Events {
    receiver: UnboundedReceiver<Event>,
    link: Arc<Link>,
}

impl Events {
    /// The next event; `None` after the last. An engine that died ends the events without a [`Event::Finished`].
    pub async fn next(&mut self) -> Option<Event> {
        let event = self.receiver.recv().await;
        if event.is_some() {
            self.link.pending.fetch_sub(1, Ordering::Relaxed);
        }
        event
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.link.gone.store(true, Ordering::Relaxed);
    }
}
