//! What the server remembers of answers it gave, so that a conversation that comes back continues from its KV state.
//!
//! Clients send back less than was generated (no reasoning, calls as JSON) and text that tokenises otherwise than it was
//! sampled. [`Replays`] restores what was generated; [`Transcripts`] restores the tokens.

use ds4_chat::{Message, Role};
use ds4_tokenizer::{Error, TokenId, Tokenizer};
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Most bytes of remembered answers.
const REPLAY_BYTES_MAX: usize = 256 << 20;
/// Most tokens of remembered transcripts, four bytes each.
const TRANSCRIPT_TOKENS_MAX: usize = 64 << 20;
/// Most transcripts: each prompt is compared with all of them.
const TRANSCRIPTS_MAX: usize = 1024;

/// What one answer was made of.
#[derive(Debug, Default)]
pub struct Replay {
    /// Ids of its calls.
    pub call_ids: Vec<String>,
    /// Reasoning.
    pub reasoning: String,
    /// The block of calls as it was sampled.
    pub raw_block: Option<String>,
    /// The conversation up to and with this answer, as clients see it.
    pub history: u64,
}

impl Replay {
    fn bytes(&self) -> usize {
        let ids: usize = self.call_ids.iter().map(|id| id.len() + size_of::<String>()).sum();
        size_of::<Self>() + ids + self.reasoning.len() + self.raw_block.as_ref().map_or(0, String::len)
    }
}

/// Answers by the ids of their calls and by the conversation before them. The oldest are forgotten first.
#[derive(Default)]
pub struct Replays {
    by_call: HashMap<String, Arc<Replay>>,
    by_history: HashMap<u64, Arc<Replay>>,
    order: VecDeque<Arc<Replay>>,
    bytes: usize,
}

impl Replays {
    /// Remembers an answer.
    pub fn add(&mut self, replay: Replay) {
        if replay.bytes() > REPLAY_BYTES_MAX {
            return;
        }
        let replay = Arc::new(replay);
        self.bytes += replay.bytes();
        for id in &replay.call_ids {
            self.by_call.insert(id.clone(), Arc::clone(&replay));
        }
        self.by_history.insert(replay.history, Arc::clone(&replay));
        self.order.push_back(replay);
        while self.bytes > REPLAY_BYTES_MAX {
            let Some(old) = self.order.pop_front() else { break };
            self.bytes -= old.bytes();
            let is_old = |found: &mut Arc<Replay>| Arc::ptr_eq(found, &old);
            for id in &old.call_ids {
                if self.by_call.get_mut(id).is_some_and(is_old) {
                    self.by_call.remove(id);
                }
            }
            if self.by_history.get_mut(&old.history).is_some_and(is_old) {
                self.by_history.remove(&old.history);
            }
        }
    }

    /// Gives assistant messages back the reasoning and the blocks that they were generated with. Reasoning that the client
    /// sends stays as it is.
    pub fn restore(&self, messages: &mut [Message]) {
        let mut history = History::default();
        for message in messages.iter_mut() {
            history.add(message);
            if message.role != Role::Assistant {
                continue;
            }
            let ids: Vec<&str> = message.tool_calls.iter().filter_map(|call| call.id.as_deref()).collect();
            let by_call = ids.first().and_then(|id| self.by_call.get(*id));
            let by_call = by_call.filter(|found| found.call_ids.iter().map(String::as_str).eq(ids.iter().copied()));
            let Some(found) = by_call.or_else(|| self.by_history.get(&history.value())) else { continue };
            if message.reasoning.is_empty() {
                message.reasoning.clone_from(&found.reasoning);
            }
            if by_call.is_some() && !message.tool_calls.is_empty() {
                message.raw_block.clone_from(&found.raw_block);
            }
        }
    }
}

/// Identifies a conversation by what clients send of it: not by reasoning, which some leave out.
#[derive(Clone, Default)]
pub struct History(DefaultHasher);

impl History {
    /// The history of `messages`.
    pub fn of(messages: &[Message]) -> Self {
        let mut history = Self::default();
        messages.iter().for_each(|message| history.add(message));
        history
    }

    /// Adds a message.
    pub fn add(&mut self, message: &Message) {
        (message.role as u8).hash(&mut self.0);
        message.content.trim().hash(&mut self.0);
        for call in &message.tool_calls {
            call.id.hash(&mut self.0);
        }
        message.tool_call_id.hash(&mut self.0);
    }

    /// The number so far.
    pub fn value(&self) -> u64 {
        self.0.finish()
    }
}

/// Token sequences that were evaluated, prompts with their answers.
#[derive(Default)]
pub struct Transcripts {
    /// The most recently used last.
    all: VecDeque<Arc<[TokenId]>>,
    tokens: usize,
}

impl Transcripts {
    /// Remembers a sequence. One that it continues is forgotten.
    pub fn add(&mut self, tokens: Arc<[TokenId]>) {
        let before = self.all.len();
        self.all.retain(|old| !tokens.starts_with(old));
        if self.all.len() != before {
            self.tokens = self.all.iter().map(|old| old.len()).sum();
        }
        self.tokens += tokens.len();
        self.all.push_back(tokens);
        while self.tokens > TRANSCRIPT_TOKENS_MAX || self.all.len() > TRANSCRIPTS_MAX {
            let Some(old) = self.all.pop_front() else { break };
            self.tokens -= old.len();
        }
    }

    /// The sequences, to be compared without holding a lock.
    pub fn snapshot(&self) -> Vec<Arc<[TokenId]>> {
        self.all.iter().cloned().collect()
    }
}

/// The tokens of a prompt with as long a prefix as possible taken from one of `transcripts`: the same text, in the
/// tokens that were sampled.
///
/// # Errors
/// Those of [`Tokenizer::encode_text`].
pub fn resume(
    tokenizer: &Tokenizer,
    transcripts: &[Arc<[TokenId]>],
    prompt: Vec<TokenId>,
) -> Result<Vec<TokenId>, Error> {
    let mut best: Option<(Shared, &[TokenId])> = None;
    for transcript in transcripts {
        let shared = share(tokenizer, transcript, &prompt);
        if best.as_ref().is_none_or(|(found, _)| shared.bytes > found.bytes) {
            best = Some((shared, transcript));
        }
    }
    let Some((shared, transcript)) = best.filter(|(shared, _)| shared.differs) else { return Ok(prompt) };
    let mut tokens = transcript.get(..shared.transcript).unwrap_or_default().to_vec();
    let mut rest = prompt.get(shared.prompt..).unwrap_or_default();
    if shared.into_token > 0 {
        // The transcript ends inside this token: what is left of the text up to the next control token is encoded anew.
        let is_control = |id: &TokenId| tokenizer.specials().contains(*id);
        let end = rest.iter().position(is_control).unwrap_or(rest.len());
        let (text, after) = rest.split_at(end);
        let bytes: Vec<u8> = text.iter().flat_map(|id| tokenizer.token_bytes(*id)).copied().collect();
        let Some(text) = bytes.get(shared.into_token..).and_then(|bytes| std::str::from_utf8(bytes).ok()) else {
            return Ok(prompt);
        };
        tokens.extend(tokenizer.encode_text(text)?);
        rest = after;
    }
    tokens.extend_from_slice(rest);
    Ok(tokens)
}

/// How far a transcript and a prompt agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shared {
    /// Tokens of the transcript.
    transcript: usize,
    /// Tokens of the prompt that are wholly covered.
    prompt: usize,
    /// Bytes of the next token of the prompt that are covered.
    into_token: usize,
    /// Bytes of text, control tokens counted as one.
    bytes: usize,
    /// The tokens differ where the text does not.
    differs: bool,
}

/// Compares text, not tokens, but a control token only equals itself. A common prefix ends at the end of the
/// transcript or after a control token: elsewhere tokens must not be cut.
fn share(tokenizer: &Tokenizer, transcript: &[TokenId], prompt: &[TokenId]) -> Shared {
    let is_control = |id: TokenId| tokenizer.specials().contains(id);
    let (mut at, mut best) = (Shared::default(), Shared::default());
    // Bytes of the transcript's token that the prompt has covered.
    let mut covered = 0;
    loop {
        if at.into_token == 0 && covered == 0 {
            let start = at.transcript;
            while let (Some(ours), Some(theirs)) = (transcript.get(at.transcript), prompt.get(at.prompt)) {
                if ours != theirs {
                    break;
                }
                let control = is_control(*ours);
                at.bytes += if control { 1 } else { tokenizer.token_bytes(*ours).len() };
                (at.transcript, at.prompt) = (at.transcript + 1, at.prompt + 1);
                if control {
                    best = at;
                }
            }
            debug_assert!(at.transcript >= start);
        }
        let Some(&ours) = transcript.get(at.transcript) else { return at };
        let Some(&theirs) = prompt.get(at.prompt) else { return best };
        if is_control(ours) || is_control(theirs) {
            return best;
        }
        let ours = tokenizer.token_bytes(ours).get(covered..).unwrap_or_default();
        let theirs = tokenizer.token_bytes(theirs).get(at.into_token..).unwrap_or_default();
        let common = ours.len().min(theirs.len());
        if common == 0 || ours.get(..common) != theirs.get(..common) {
            return best;
        }
        at.differs = true;
        at.bytes += common;
        if common == ours.len() {
            (at.transcript, covered) = (at.transcript + 1, 0);
        } else {
            covered += common;
        }
        if common == theirs.len() {
            (at.prompt, at.into_token) = (at.prompt + 1, 0);
        } else {
            at.into_token += common;
        }
    }
}
