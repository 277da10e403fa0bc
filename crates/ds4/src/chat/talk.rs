//! The conversation and its answers.

use super::{file, name};
use crate::args::ChatArgs;
use crate::host::{Host, Keep};
use crate::interrupt::Interrupt;
use crate::model::Model;
use crate::output;
use crate::progress::Progress;
use crate::sampling;
use crate::screen::Screen;
use crate::sessions;
use anyhow::{Context, Result, bail};
use ds4_chat::{MAX_EFFORT_CONTEXT, Message, Role, ThinkingMode};
use ds4_engine::scheduler::SchedulerOptions;
use ds4_server::service::Events;
use ds4_server::turn::{Delta, Event, Finish, Format, Input, ToolChoice, Turn};
use ds4_server::wire::{Outcome, ServerFacts};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// How often Ctrl-C and the progress of reading are looked at while nothing comes.
const TICK: Duration = Duration::from_millis(50);

/// A conversation with a loaded model.
pub struct Talk {
    args: ChatArgs,
    host: Option<Host>,
    /// Tokens of the vocabulary.
    vocab: usize,
    runtime: Runtime,
    interrupt: Interrupt,
    thinking: ThinkingMode,
    /// Without the system text.
    messages: Vec<Message>,
    /// Where the conversation is kept.
    session: Option<PathBuf>,
}

impl Talk {
    /// Loads the model.
    pub fn start(args: ChatArgs) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().context("a runtime")?;
        let interrupt = Interrupt::install()?;
        let (host, vocab) = host(&args)?;
        let thinking = args.format.thinking();
        let session = match (&args.session, kv_dir(&args)?) {
            (Some(name), Some(dir)) => Some(sessions::file(&dir, name)),
            _ => None,
        };
        let messages = Vec::new();
        let mut talk = Self { args, host: Some(host), vocab, runtime, interrupt, thinking, messages, session };
        talk.warn_of_effort();
        if let Some(path) = talk.session.as_ref().filter(|path| path.exists()) {
            let messages = file::load(path)?;
            talk.replace(messages);
        }
        Ok(talk)
    }

    /// What was said so far.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Goes on with another conversation.
    pub fn replace(&mut self, messages: Vec<Message>) {
        output::notice(&format!("a conversation of {} messages", messages.len()));
        self.messages = messages;
    }

    /// Thinks like that from now on.
    pub fn think(&mut self, mode: ThinkingMode) {
        self.thinking = mode;
        output::notice(&format!("thinking: {}", name(mode)));
        self.warn_of_effort();
    }

    fn warn_of_effort(&self) {
        let ctx = self.args.compute.ctx;
        if self.thinking.within(ctx) != self.thinking {
            output::notice(&format!("a context of {ctx} tokens is too small for that: it takes {MAX_EFFORT_CONTEXT}"));
        }
    }

    /// Makes room for `ctx` tokens.
    pub fn resize(&mut self, ctx: usize) -> Result<()> {
        let before = std::mem::replace(&mut self.args.compute.ctx, ctx);
        if let Some(host) = self.host.take() {
            host.stop()?;
        }
        match host(&self.args) {
            Ok((host, _)) => self.host = Some(host),
            Err(error) => {
                // The old size fitted, so the conversation can go on.
                self.args.compute.ctx = before;
                self.host = Some(host(&self.args)?.0);
                return Err(error);
            }
        }
        output::notice(&format!("context: {ctx} tokens"));
        self.warn_of_effort();
        Ok(())
    }

    /// Sends `text` and writes the answer as it comes. Without one, the text is forgotten.
    pub fn say(&mut self, text: String) -> Result<()> {
        self.messages.push(Message::new(Role::User, text));
        let answered = self.answer();
        match &answered {
            Ok(true) => {}
            Ok(false) | Err(_) => {
                self.messages.pop();
            }
        }
        answered.map(drop)
    }

    /// Whether there is an answer to the last message.
    fn answer(&mut self) -> Result<bool> {
        let Some(host) = &self.host else { bail!("no model is loaded; /ctx N loads it again") };
        let service = host.service();
        self.interrupt.take();
        let before = service.stats().prefill_tokens;
        let mut events = service.start(&self.turn()?, "the conversation")?;
        let mut outcome = Outcome::default();
        let mut screen = Screen::new();
        let mut clock = Clock::default();
        let mut progress = None;
        let is_interrupted = loop {
            if self.interrupt.take() {
                break true;
            }
            if let Some(progress) = &progress {
                let done = service.stats().prefill_tokens.saturating_sub(before);
                Progress::set(progress, usize::try_from(done).unwrap_or(usize::MAX));
            }
            let Some(event) = self.next(&mut events) else { continue };
            let Some(event) = event else { break false };
            match &event {
                Event::Started { prompt_tokens, cached_tokens } => {
                    progress = Some(Progress::start("reading", "tokens", prompt_tokens.saturating_sub(*cached_tokens)));
                }
                Event::Delta { delta, .. } => {
                    progress = None;
                    clock.tick();
                    match delta {
                        Delta::Reasoning(piece) => screen.reasoning(&piece.text)?,
                        Delta::Content(piece) => screen.answer(&piece.text)?,
                        // No tools were offered, and so none are called.
                        Delta::CallStart { .. } | Delta::CallArguments { .. } | Delta::CallEnd { .. } => {}
                    }
                }
                Event::Finished { .. } | Event::Failed(_) => progress = None,
            }
            outcome.add(event);
        };
        drop(events);
        drop(progress);
        screen.end()?;
        self.keep(outcome, is_interrupted, &clock)
    }

    /// The next event if it comes soon; within, `None` after the last.
    fn next(&self, events: &mut Events) -> Option<Option<Event>> {
        self.runtime.block_on(async { tokio::time::timeout(TICK, events.next()).await }).ok()
    }

    /// Keeps the answer, if there is one, and tells its numbers.
    fn keep(&mut self, outcome: Outcome, is_interrupted: bool, clock: &Clock) -> Result<bool> {
        let choice = outcome.choices.into_iter().next().unwrap_or_default();
        if let Some(why) = outcome.failure {
            bail!("the engine failed: {why}");
        }
        let usage = outcome.usage;
        if !is_interrupted {
            output::notice(&format!(
                "prompt {} tokens, {} of them known; answer {} tokens{}",
                usage.prompt_tokens,
                usage.cached_tokens,
                usage.completion_tokens,
                clock.rate(usage.completion_tokens),
            ));
        }
        match choice.finish {
            Some(Finish::Length) => {
                output::notice("the answer was cut off: -n or the context ended it (/ctx N makes room)")
            }
            None if is_interrupted && choice.content.is_empty() => {
                output::notice("interrupted before the answer; the question is forgotten");
                return Ok(false);
            }
            None if is_interrupted => output::notice("interrupted"),
            None => bail!("the engine has stopped"),
            Some(_) => {}
        }
        let answer = Message { reasoning: choice.reasoning, ..Message::new(Role::Assistant, choice.content) };
        self.messages.push(answer);
        if let Some(path) = &self.session {
            sessions::save(path, &self.messages)?;
        }
        Ok(true)
    }

    fn turn(&self) -> Result<Turn> {
        let system = Some(&self.args.format.system).filter(|text| !text.is_empty());
        let mut messages: Vec<Message> = system.map(|text| Message::new(Role::System, text)).into_iter().collect();
        messages.extend(self.messages.iter().cloned());
        Ok(Turn {
            input: Input::Conversation(messages),
            thinking: self.thinking.within(self.args.compute.ctx),
            tools: Vec::new(),
            tool_choice: ToolChoice::Auto,
            parallel_tool_calls: true,
            format: Format::Text,
            sampling: sampling::params(&self.args.sampling, self.vocab)?,
            max_tokens: self.args.tokens,
            budget: None,
            stop: Vec::new(),
            logprobs: None,
            choices: 1,
            call_id_prefix: "call_",
        })
    }

    /// Ends the engine.
    pub fn end(self) -> Result<()> {
        self.host.map_or(Ok(()), Host::stop)
    }
}

/// The engine that `args` describe, and the size of its vocabulary.
fn host(args: &ChatArgs) -> Result<(Host, usize)> {
    let model = Model::open(args.model.model.as_deref())?;
    let vocab = model.config.vocab;
    let facts = ServerFacts {
        context: args.compute.ctx,
        effort: model.effort_table(),
        default_max_tokens: args.tokens,
        strict_thinking_sampling: false,
    };
    let keep = keep(args)?;
    let host = Host::start(model, &args.model, &args.compute, SchedulerOptions::default(), facts, keep)?;
    Ok((host, vocab))
}

/// Where the KV state is kept. A session does without, if another program has the directory: it is read again, then.
fn keep(args: &ChatArgs) -> Result<Option<Keep>> {
    let Some(dir) = kv_dir(args)? else { return Ok(None) };
    match Keep::open(&dir, &args.keep) {
        Ok(keep) => Ok(Some(keep)),
        Err(error @ ds4_store::Error::Locked { .. }) if args.keep.kv_dir.is_none() => {
            output::notice(&format!("{error}; until then the conversation is kept without its KV state"));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The directory of KV states and sessions, if there is to be one.
fn kv_dir(args: &ChatArgs) -> Result<Option<PathBuf>> {
    match (&args.keep.kv_dir, &args.session) {
        (Some(dir), _) => Ok(Some(dir.clone())),
        (None, Some(_)) => sessions::default_dir().map(Some),
        (None, None) => Ok(None),
    }
}

/// When the first and the last piece of an answer came.
#[derive(Default)]
struct Clock(Option<(Instant, Instant)>);

impl Clock {
    fn tick(&mut self) {
        let now = Instant::now();
        self.0 = Some((self.0.map_or(now, |(first, _)| first), now));
    }

    /// `, 12.3 tokens/s`, if there is enough to tell.
    fn rate(&self, tokens: usize) -> String {
        let seconds = self.0.map_or(0.0, |(first, last)| (last - first).as_secs_f64());
        if tokens < 2 || seconds <= 0.0 {
            String::new()
        } else {
            format!(", {:.1} tokens/s", (tokens - 1) as f64 / seconds)
        }
    }
}
