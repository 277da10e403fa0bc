//! What the server remembers of answers it gave, so that a conversation that comes back continues from its KV state.
//!
//! Clients send back less than was generated (no reasoning, calls as JSON) and text that tokenises otherwise than it was
//! sampled. [`Replays`] restores what was generated; [`Transcripts`] restores the tokens.

use ds4_chat::{Message, Role};
use ds4_store::Journal;
use ds4_tokenizer::{Error, TokenId, Tokenizer};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Most bytes of remembered answers.
const REPLAY_BYTES_MAX: usize = 256 << 20;
/// Most tokens of remembered transcripts, four bytes each.
const TRANSCRIPT_TOKENS_MAX: usize = 64 << 20;
/// Most bytes of answers on disk.
const JOURNAL_BYTES_MAX: u64 = 256 << 20;
/// Their file.
const JOURNAL: &str = "answers";
/// Most transcripts: each prompt is compared with all of them.
const TRANSCRIPTS_MAX: usize = 1024;

/// What is remembered of answers. It belongs to no client: who sends a conversation, or the id of a call, has seen it.
#[derive(Default)]
pub struct Memory {
    replays: Mutex<Replays>,
    transcripts: Mutex<Transcripts>,
    /// Where answers go that are to outlive the program.
    journal: OnceLock<Sender<Vec<u8>>>,
}

/// What is remembered stays whole whatever happens while it is held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// Remembers the tokens of a prompt with its answer and, if it answered a conversation, what the answer was made of.
    pub fn add(&self, tokens: Arc<[TokenId]>, replay: Option<Replay>) {
        lock(&self.transcripts).add(tokens);
        let Some(replay) = replay else { return };
        if let Some(journal) = self.journal.get()
            && let Ok(record) = serde_json::to_vec(&replay)
        {
            // Its thread ends before this only if it could not be started.
            let _ = journal.send(record);
        }
        lock(&self.replays).add(replay);
    }

    /// Remembers what was remembered in `dir`, and keeps there what is remembered from now on, if `may_write`. `report` is told what
    /// cannot be written.
    ///
    /// # Errors
    /// What is there cannot be read, or nothing can be added.
    pub fn keep_in(
        &self,
        dir: &Path,
        may_write: bool,
        report: impl Fn(&str) + Send + 'static,
    ) -> Result<(), ds4_store::Error> {
        let path = dir.join(JOURNAL);
        let (journal, records) = match may_write {
            true => Journal::open(&path, JOURNAL_BYTES_MAX).map(|(journal, records)| (Some(journal), records))?,
            // There is none where none was written.
            false => (None, Journal::read(&path, JOURNAL_BYTES_MAX).unwrap_or_default()),
        };
        let replays = records.iter().filter_map(|record| serde_json::from_slice(record).ok());
        replays.for_each(|replay| lock(&self.replays).add(replay));
        let Some(mut journal) = journal else { return Ok(()) };
        let (sender, receiver) = channel::<Vec<u8>>();
        let write = move || {
            let mut fails = false;
            for record in receiver {
                let written = journal.append(&record);
                if let Err(error) = &written
                    && !fails
                {
                    report(&format!("what was answered is not written down: {error}"));
                }
                fails = written.is_err();
            }
        };
        let thread = std::thread::Builder::new().name("ds4-answers".to_owned()).spawn(write);
        thread.map_err(|error| ds4_store::Error::Io { path: path.display().to_string(), error })?;
        // A second directory would be a mistake of the caller; the first one stays.
        let _ = self.journal.set(sender);
        Ok(())
    }

    /// Gives assistant messages back the reasoning and the blocks that they were generated with. Reasoning that the client
    /// sends stays as it is.
    pub fn restore(&self, messages: &mut [Message]) {
        lock(&self.replays).restore(messages);
    }

    /// The tokens of a prompt with as long a prefix as possible as it was sampled.
    ///
    /// # Errors
    /// Those of [`Tokenizer::encode_text`].
    pub fn resume(&self, tokenizer: &Tokenizer, prompt: Vec<TokenId>) -> Result<Vec<TokenId>, Error> {
        let transcripts = lock(&self.transcripts).snapshot();
        resume(tokenizer, &transcripts, prompt)
    }
}

/// What one answer was made of.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Replay {
    /// Ids of its calls.
    pub call_ids: Vec<String>,
    /// Reasoning.
    pub reasoning: String,
    /// The block of calls as it was sampled.
    pub raw_block: Option<String>,
    /// The conversation up to and with this answer, as clients see it.
    pub history: HistoryId,
}

impl Replay {
    fn bytes(&self) -> usize {
        let ids: usize = self.call_ids.iter().map(|id| id.len() + size_of::<String>()).sum();
        size_of::<Self>() + ids + self.reasoning.len() + self.raw_block.as_ref().map_or(0, String::len)
    }
}

/// Answers by the ids of their calls and by the conversation before them. The oldest are forgotten first.
#[derive(Default)]
struct Replays {
    by_call: HashMap<String, Arc<Replay>>,
    by_history: HashMap<HistoryId, Arc<Replay>>,
    order: VecDeque<Arc<Replay>>,
    bytes: usize,
}

impl Replays {
    fn add(&mut self, replay: Replay) {
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

    fn restore(&self, messages: &mut [Message]) {
        let mut history = History::default();
        for message in messages.iter_mut() {
            history.add(message);
            if message.role != Role::Assistant {
                continue;
            }
            let ids: Vec<&str> = message.tool_calls.iter().filter_map(|call| call.id.as_deref()).collect();
            let by_call = ids.first().and_then(|id| self.by_call.get(*id));
            let by_call = by_call.filter(|found| found.call_ids.iter().map(String::as_str).eq(ids.iter().copied()));
            let Some(found) = by_call.or_else(|| self.by_history.get(&history.id())) else { continue };
            if message.reasoning.is_empty() {
                message.reasoning.clone_from(&found.reasoning);
            }
            if by_call.is_some() && !message.tool_calls.is_empty() {
                message.raw_block.clone_from(&found.raw_block);
            }
        }
    }
}

/// Identifies a conversation.
pub type HistoryId = [u8; 32];

/// Makes the id of a conversation from what clients send of it: not from reasoning, which some leave out. The hash is a
/// cryptographic one, since a conversation that is taken for another would get its reasoning.
#[derive(Clone, Default)]
pub struct History(Sha256);

impl History {
    /// The history of `messages`.
    pub fn of(messages: &[Message]) -> Self {
        let mut history = Self::default();
        messages.iter().for_each(|message| history.add(message));
        history
    }

    /// Adds a message.
    pub fn add(&mut self, message: &Message) {
        self.0.update([message.role as u8]);
        let calls = message.tool_calls.iter().map(|call| call.id.as_deref());
        let ids = calls.chain([message.tool_call_id.as_deref()]).map(Option::unwrap_or_default);
        for text in [message.content.trim()].into_iter().chain(ids) {
            self.0.update((text.len() as u64).to_le_bytes());
            self.0.update(text);
        }
        // No text is that long: the list ends here.
        self.0.update(u64::MAX.to_le_bytes());
    }

    /// The id so far.
    pub fn id(&self) -> HistoryId {
        self.0.clone().finalize().into()
    }
}

/// Token sequences that were evaluated, prompts with their answers.
#[derive(Default)]
struct Transcripts {
    /// The newest last.
    all: VecDeque<Arc<[TokenId]>>,
    tokens: usize,
}

impl Transcripts {
    /// A sequence that the new one continues is forgotten.
    fn add(&mut self, tokens: Arc<[TokenId]>) {
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
    fn snapshot(&self) -> Vec<Arc<[TokenId]>> {
        self.all.iter().cloned().collect()
    }
}

/// The tokens of a prompt with as long a prefix as possible taken from one of `transcripts`: the same text, in the
/// tokens that were sampled.
///
/// # Errors
/// Those of [`Tokenizer::encode_text`].
fn resume(tokenizer: &Tokenizer, transcripts: &[Arc<[TokenId]>], prompt: Vec<TokenId>) -> Result<Vec<TokenId>, Error> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use ds4_chat::ToolCall;
    use proptest::prelude::*;
    use std::path::Path;
    use std::sync::LazyLock;

    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo/ds4-demo-q2.gguf");
        let file = ds4_gguf::File::open(&path).expect("the demo model");
        Tokenizer::from_gguf(file.metadata()).expect("its tokenizer")
    });

    /// The tokens of `text` as a model might sample them: piece by piece.
    fn sampled(text: &str, piece: usize) -> Vec<TokenId> {
        let characters: Vec<char> = text.chars().collect();
        let pieces = characters.chunks(piece.max(1)).map(|piece| piece.iter().collect::<String>());
        pieces.flat_map(|piece| TOKENIZER.encode_text(&piece).expect("short")).collect()
    }

    fn canonical(text: &str) -> Vec<TokenId> {
        TOKENIZER.encode_text(text).expect("short")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn the_text_stays_and_the_sampled_tokens_come_back(
            question in "[a-z \u{e9}]{0,20}",
            answer in "[a-z ,\u{e9}\u{1f600}]{0,30}",
            rest in "[a-z \u{e9}]{0,20}",
            piece in 1usize..4,
            ends in any::<bool>(),
        ) {
            let specials = TOKENIZER.specials();
            let (user, eos) = (specials.user.expect("in the demo model"), specials.eos);
            let transcript: Vec<TokenId> = [&[user][..], &canonical(&question), &[user], &sampled(&answer, piece)].concat();
            let end = if ends { vec![eos] } else { Vec::new() };
            let after = if ends { canonical(&answer) } else { canonical(&format!("{answer}{rest}")) };
            let more = if ends { canonical(&rest) } else { Vec::new() };
            let prompt = [&[user][..], &canonical(&question), &[user], &after, &end, &more].concat();
            let found = resume(&TOKENIZER, &[Arc::from(transcript.as_slice())], prompt.clone()).expect("short");
            prop_assert_eq!(TOKENIZER.decode(&found), TOKENIZER.decode(&prompt));
            // Where the transcript ends inside a character of the prompt's token, the prompt stays as it is.
            prop_assert!(found.starts_with(&transcript) || found == prompt);
            if ends {
                prop_assert!(found.starts_with(&transcript));
            }
        }

        #[test]
        fn another_conversation_changes_nothing(one in "[a-c]{1,12}", other in "[a-c]{1,12}") {
            prop_assume!(!other.starts_with(&one));
            let user = TOKENIZER.specials().user.expect("in the demo model");
            let transcript = [&[user][..], &sampled(&one, 1)].concat();
            let prompt = [&[user][..], &canonical(&other)].concat();
            prop_assert_eq!(resume(&TOKENIZER, &[Arc::from(transcript)], prompt.clone()).expect("short"), prompt);
        }
    }

    fn answer(content: &str, id: Option<&str>) -> Message {
        let mut message = Message::new(Role::Assistant, content);
        let call = |id: &str| ToolCall { id: Some(id.to_owned()), name: "f".to_owned(), arguments: "{}".to_owned() };
        message.tool_calls.extend(id.map(call));
        message
    }

    #[test]
    fn answers_are_found_by_their_calls_or_by_what_came_before() {
        let memory = Memory::default();
        let question = Message::new(Role::User, "question");
        let replay = |ids: &[&str], message: &Message, reasoning: &str| Replay {
            call_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            reasoning: reasoning.to_owned(),
            raw_block: ids.first().map(|_| "block".to_owned()),
            history: History::of(&[question.clone(), message.clone()]).id(),
        };
        let (plain, call) = (answer("plain", None), answer("call", Some("call_1")));
        memory.add(Arc::from([]), Some(replay(&[], &plain, "why")));
        memory.add(Arc::from([]), Some(replay(&["call_1"], &call, "because")));
        let restored = |before: &Message, message: &Message| {
            let mut messages = vec![before.clone(), message.clone()];
            memory.restore(&mut messages);
            (messages[1].reasoning.clone(), messages[1].raw_block.clone())
        };
        let other = Message::new(Role::User, "another question");
        assert_eq!(restored(&question, &plain), ("why".to_owned(), None));
        assert_eq!(restored(&other, &plain), (String::new(), None));
        assert_eq!(restored(&other, &call), ("because".to_owned(), Some("block".to_owned())));
        assert_eq!(restored(&other, &answer("call", Some("call_2"))), (String::new(), None));
        let mut told = plain.clone();
        told.reasoning = "told".to_owned();
        assert_eq!(restored(&question, &told), ("told".to_owned(), None));
    }
}
