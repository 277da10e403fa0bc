//! One answer while it is generated: it chooses tokens on the engine's thread and tells what they mean.

use crate::memory::{History, Memory, Replay};
use crate::turn::{Delta, Event, Finish, LogprobEntry, Piece, ReplyBudget, ThinkClose, TokenLogprob};
use crate::wire::random_id;
use ds4_chat::{AnswerStream, BlockStatus, Message, Place, Role, StopStrings, ToolCall};
use ds4_engine::sampler::{Sampler, argmax, token_logprob, top_logprobs};
use ds4_engine::scheduler::{End, Follower};
use ds4_grammar::Constraint;
use ds4_tokenizer::{StreamDecoder, TokenId, Tokenizer};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc::UnboundedSender;

/// Most events that may wait for a client; one that reads no faster is taken for gone.
const PENDING_EVENTS_MAX: usize = 16384;

/// What an answer is to be.
pub struct Plan {
    /// Which answer of the turn.
    pub choice: u32,
    /// Tokens of the prompt.
    pub prompt: Arc<[u32]>,
    /// The conversation, if it is one, to recognise it when it comes back.
    pub history: Option<History>,
    /// It begins with reasoning.
    pub thinking: bool,
    /// Later prompts hold its reasoning, whatever it is.
    pub keeps_reasoning: bool,
    /// It may hold calls.
    pub tools: bool,
    /// Texts that end it; none of them empty.
    pub stop: Vec<String>,
    /// Most tokens.
    pub max_tokens: usize,
    /// How many of them reasoning leaves.
    pub budget: Option<ReplyBudget>,
    /// Log-probabilities with this many alternatives.
    pub logprobs: Option<usize>,
    /// How ids of calls begin.
    pub call_id_prefix: &'static str,
    /// What may be sampled; `None`: everything.
    pub constraint: Option<Constraint>,
}

/// An answer that is under way.
pub struct Answering {
    plan: Plan,
    tokenizer: Arc<Tokenizer>,
    memory: Arc<Memory>,
    sampler: Sampler,
    sender: UnboundedSender<Event>,
    /// Events that all answers of the turn sent and nobody has read yet.
    pending: Arc<AtomicUsize>,
    decoder: StreamDecoder,
    stops: StopStrings,
    stream: AnswerStream,
    tokens: Vec<u32>,
    reasoning_tokens: usize,
    /// How reasoning ended.
    closed: Option<ThinkClose>,
    /// Of tokens whose text was not sent yet.
    logprobs: Vec<TokenLogprob>,
    call_ids: Vec<String>,
    is_over: bool,
}

impl Answering {
    /// An answer that begins. `pending` counts the events in `sender`'s channel.
    pub fn new(
        plan: Plan,
        sampler: Sampler,
        tokenizer: Arc<Tokenizer>,
        memory: Arc<Memory>,
        sender: UnboundedSender<Event>,
        pending: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            decoder: tokenizer.decoder(),
            stops: StopStrings::new(plan.stop.clone()),
            stream: AnswerStream::new(plan.thinking, plan.tools),
            tokens: Vec::new(),
            reasoning_tokens: 0,
            closed: None,
            logprobs: Vec::new(),
            call_ids: Vec::new(),
            is_over: false,
            plan,
            sampler,
            tokenizer,
            memory,
            sender,
            pending,
        }
    }

    fn send(&self, event: Event) {
        // A closed channel shows as `gone` before the next step.
        if self.sender.send(event).is_ok() {
            self.pending.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes more text; whether a stop string ended the answer, and which.
    fn read(&mut self, text: &str) -> Option<Finish> {
        let mut certain = String::new();
        let hit = self.stops.push(text, &mut certain);
        let mut events = Vec::new();
        self.stream.push(&certain, &mut events);
        self.tell(events);
        let stop = hit.and_then(|index| self.plan.stop.get(index));
        stop.map(|stop| Finish::StopString(stop.clone()))
    }

    fn tell(&mut self, events: Vec<ds4_chat::Event>) {
        use ds4_chat::Event as Said;
        for event in events {
            let piece = |answering: &mut Self, text| Piece { text, logprobs: std::mem::take(&mut answering.logprobs) };
            let delta = match event {
                Said::Reasoning(text) => Delta::Reasoning(piece(self, text)),
                Said::Content(text) => Delta::Content(piece(self, text)),
                Said::CallStart { index, name } => {
                    let id = format!("{}{}", self.plan.call_id_prefix, random_id());
                    self.call_ids.push(id.clone());
                    Delta::CallStart { index, id, name }
                }
                Said::CallArguments { index, fragment } => Delta::CallArguments { index, fragment },
                Said::CallEnd { index } => Delta::CallEnd { index },
            };
            self.send(Event::Delta { choice: self.plan.choice, delta });
        }
    }

    /// Ends the answer and remembers it.
    fn finish(&mut self, finish: Finish) {
        self.is_over = true;
        if !matches!(finish, Finish::StopString(_)) {
            let rest = self.decoder.finish();
            self.read(&rest);
            let mut held = String::new();
            self.stops.finish(&mut held);
            let mut events = Vec::new();
            self.stream.push(&held, &mut events);
            self.tell(events);
        }
        // The end of the text may stand for the end of a block, but not where the limit cut it off: more calls were to come.
        let is_cut = finish == Finish::Length && !self.stream.is_done();
        let mut events = Vec::new();
        let answer = self.stream.finish(&mut events);
        if !self.call_ids.is_empty() && answer.status != BlockStatus::Complete {
            // The client has seen the beginning of a call; its raw text would only repeat it.
            events.retain(|event| !matches!(event, ds4_chat::Event::Content(_)));
        }
        self.tell(events);
        if !self.logprobs.is_empty() {
            let piece = Piece { text: String::new(), logprobs: std::mem::take(&mut self.logprobs) };
            self.send(Event::Delta { choice: self.plan.choice, delta: Delta::Content(piece) });
        }
        let is_called = answer.status == BlockStatus::Complete && !is_cut;
        let finish = if is_called { Finish::ToolCalls } else { finish };
        self.remember(&answer);
        self.send(Event::Finished {
            choice: self.plan.choice,
            finish,
            completion_tokens: self.tokens.len(),
            reasoning_tokens: self.reasoning_tokens,
            closed: self.closed,
        });
    }

    fn remember(&self, answer: &ds4_chat::Answer) {
        let tokens = self.plan.prompt.iter().chain(&self.tokens).map(|token| TokenId(*token)).collect();
        self.memory.add(tokens, self.replay(answer));
    }

    /// What the answer was made of, if it answers a conversation.
    fn replay(&self, answer: &ds4_chat::Answer) -> Option<Replay> {
        let mut history = self.plan.history.clone()?;
        let mut message = Message::new(Role::Assistant, answer.content.clone());
        let calls = answer.calls.iter().zip(&self.call_ids);
        message.tool_calls = calls
            .map(|(call, id)| ToolCall {
                id: Some(id.clone()),
                name: call.name.clone(),
                arguments: call.arguments.clone(),
            })
            .collect();
        history.add(&message);
        Some(Replay {
            call_ids: self.call_ids.clone(),
            reasoning: answer.reasoning.clone(),
            raw_block: answer.raw_block.clone(),
            history: history.id(),
        })
    }

    /// The next token. Masks the logits.
    fn choose(&mut self, logits: &mut [f32], place: Place) -> Result<u32, ds4_grammar::Error> {
        // What the model said before the mask is what log-probabilities tell.
        let said = self.plan.logprobs.zip(self.plan.constraint.as_ref()).map(|_| logits.to_vec());
        if let Some(constraint) = &mut self.plan.constraint {
            constraint.mask(logits)?;
        }
        // Tags and numbers of a call are not a matter of taste (`spec/chat-format.md` §7.4).
        let token = if place == Place::Syntax { argmax(logits) } else { self.sampler.sample(logits) };
        let token = self.closing(logits, place, token).unwrap_or(token);
        if let Some(constraint) = &mut self.plan.constraint {
            constraint.accept(token)?;
        }
        if let Some(alternatives) = self.plan.logprobs
            && token != self.tokenizer.specials().eos.0
        {
            let logprob = self.logprob(said.as_deref().unwrap_or(logits), token, alternatives);
            self.logprobs.push(logprob);
        }
        Ok(token)
    }

    /// `</think>` if reasoning has to end instead of going on with `token`, so that there is room for the reply.
    fn closing(&mut self, logits: &[f32], place: Place, token: u32) -> Option<u32> {
        let ReplyBudget { soft, hard, rank } = self.plan.budget?;
        // A stop string may hold back the text of a mark that is there already.
        if place != Place::Reasoning || self.closed.is_some() {
            return None;
        }
        let mark = self.tokenizer.specials().think_end.filter(|mark| mark.0 != token)?.0;
        let left = self.plan.max_tokens - self.tokens.len();
        if left <= hard {
            self.closed = Some(ThinkClose::Hard);
        } else if left <= soft && is_among_best(logits, mark, rank) {
            self.closed = Some(ThinkClose::Soft);
        }
        self.closed.map(|_| mark)
    }

    /// Whether nothing but the end may follow.
    fn must_stop(&mut self) -> bool {
        self.plan.constraint.as_mut().is_some_and(Constraint::must_stop)
    }

    fn logprob(&self, logits: &[f32], token: u32, alternatives: usize) -> TokenLogprob {
        let entry = |id, logprob| LogprobEntry { id, bytes: self.tokenizer.token_bytes(TokenId(id)).to_vec(), logprob };
        let top = top_logprobs(logits, alternatives);
        TokenLogprob {
            token: entry(token, token_logprob(logits, token)),
            top: top.iter().map(|best| entry(best.token, best.logprob)).collect(),
        }
    }
}

/// Whether fewer than `rank` tokens are more probable than `token`.
fn is_among_best(logits: &[f32], token: u32, rank: usize) -> bool {
    let Some(own) = logits.get(token as usize).copied().filter(|own| own.is_finite()) else { return false };
    logits.iter().filter(|logit| **logit > own && logit.is_finite()).count() < rank
}

impl Follower for Answering {
    fn is_gone(&self) -> bool {
        self.sender.is_closed() || self.pending.load(Ordering::Relaxed) > PENDING_EVENTS_MAX
    }

    fn admitted(&mut self, cached: usize) {
        if self.plan.choice == 0 {
            self.send(Event::Started { prompt_tokens: self.plan.prompt.len(), cached_tokens: cached });
        }
    }

    fn next(&mut self, logits: &mut [f32]) -> Option<u32> {
        if self.tokens.len() >= self.plan.max_tokens {
            self.finish(Finish::Length);
            return None;
        }
        let place = self.stream.place();
        let token = match self.choose(logits, place) {
            Ok(token) => token,
            Err(error) => {
                self.is_over = true;
                self.send(Event::Failed(error.to_string()));
                return None;
            }
        };
        if token == self.tokenizer.specials().eos.0 {
            self.finish(Finish::Stop);
            return None;
        }
        self.sampler.accept(token);
        self.tokens.push(token);
        self.reasoning_tokens += usize::from(place == Place::Reasoning);
        let text = self.decoder.push(TokenId(token));
        let stopped = self.read(&text);
        if place == Place::Reasoning && self.stream.place() != Place::Reasoning {
            self.closed.get_or_insert(ThinkClose::Natural);
        }
        let finish = match stopped {
            Some(stop) => stop,
            None if self.stream.is_done() || self.must_stop() => Finish::Stop,
            None if self.tokens.len() >= self.plan.max_tokens => Finish::Length,
            None => return Some(token),
        };
        self.finish(finish);
        None
    }

    fn is_repeated(&self) -> bool {
        !self.plan.thinking || self.plan.keeps_reasoning || !self.call_ids.is_empty()
    }

    fn ended(&mut self, why: End) {
        if self.is_over {
            return;
        }
        match why {
            End::Done => {}
            End::Context => self.finish(Finish::Length),
            End::Failed(why) => self.send(Event::Failed(why)),
            End::Stopped => self.send(Event::Failed("the server is shutting down".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_among_best;

    #[test]
    fn the_best_are_counted_without_those_that_cannot_be_sampled() {
        let logits = [1.0, f32::NAN, 3.0, f32::INFINITY, 2.0, f32::NEG_INFINITY];
        for (token, rank, is) in [(2, 1, true), (4, 1, false), (4, 2, true), (0, 2, false), (0, 3, true)] {
            assert_eq!(is_among_best(&logits, token, rank), is, "token {token}, rank {rank}");
        }
        for token in [1, 3, 5, 6] {
            assert!(!is_among_best(&logits, token, 6), "token {token}");
        }
    }
}
