//! Asking the model, on the way that `ds4 chat` takes.

use super::CONTEXT_TOKENS_MAX;
use super::suite::{Call, Case};
use crate::args::{ComputeArgs, EvalArgs};
use crate::host::Host;
use crate::interrupt::Interrupt;
use crate::model::Model;
use crate::progress::Progress;
use crate::screen::Screen;
use anyhow::{Context, Result, bail};
use ds4_chat::{Message, Role, ThinkingMode};
use ds4_engine::sampler::SamplingParams;
use ds4_engine::scheduler::SchedulerOptions;
use ds4_server::turn::{Delta, Event, Finish, Format, Input, Tool, ToolChoice, Turn};
use ds4_server::wire::{Outcome, ServerFacts};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::runtime::Runtime;

/// How often Ctrl-C is looked at while nothing comes.
const TICK: Duration = Duration::from_millis(50);
/// Tokens of a context besides question and answer: system text and markers, with room to spare.
const AROUND_TOKENS: usize = 256;
const SYSTEM: &str =
    "You answer questions of a test. Think carefully, and give the final answer in the form that is asked for.";

/// What came of a question.
pub enum Answer {
    /// It does not fit.
    TooLong { tokens: usize, room: usize },
    /// Right or wrong.
    Given(Given),
}

/// An answer.
#[derive(Default)]
pub struct Given {
    pub reasoning: String,
    pub content: String,
    pub calls: Vec<Call>,
    pub prompt_tokens: usize,
    pub tokens: usize,
    /// Whether reasoning was closed because room ran out.
    pub closed: bool,
}

/// A loaded model.
pub struct Asker<'a> {
    args: &'a EvalArgs,
    host: Host,
    runtime: Runtime,
    interrupt: &'a Interrupt,
    context: usize,
}

impl<'a> Asker<'a> {
    /// Loads `model` with a context for `prompts`.
    pub fn start(
        args: &'a EvalArgs,
        model: Model,
        cases: &[Case],
        prompts: &[String],
        interrupt: &'a Interrupt,
    ) -> Result<Self> {
        let tokenizer = model.tokenizer()?;
        let mut longest = 0;
        for (case, prompt) in cases.iter().zip(prompts) {
            // Schemas as text: markers around them are within what is added.
            let tools: String = case.tools.iter().map(|tool| tool.parameters.to_string() + &tool.description).collect();
            longest = longest.max(tokenizer.encode_text(prompt)?.len() + 2 * tokenizer.encode_text(&tools)?.len());
        }
        let needed = (longest + AROUND_TOKENS * 4 + args.tokens).min(CONTEXT_TOKENS_MAX);
        let context = args.ctx.unwrap_or(needed);
        let effort = model.effort_table();
        let facts =
            ServerFacts { context, effort, default_max_tokens: Some(args.tokens), strict_thinking_sampling: false };
        let compute = ComputeArgs::plain(context, args.chunk, args.exact);
        let host = Host::start(model, &args.model, &compute, SchedulerOptions::default(), facts, None)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().context("a runtime")?;
        Ok(Self { args, host, runtime, interrupt, context })
    }

    /// The answer to `prompt`, shown as it comes if `shows`; `None` after Ctrl-C.
    pub fn ask(&self, case: &Case, prompt: &str, shows: bool) -> Result<Option<Answer>> {
        let mut messages = vec![Message::new(Role::System, SYSTEM), Message::new(Role::User, prompt)];
        let thinks = !self.args.nothink;
        let room = self.context.saturating_sub(self.args.tokens);
        let tokens = self.host.service().prompt_tokens(&self.turn(case, &messages, self.args.tokens))?.len();
        if tokens > room {
            return Ok(Some(Answer::TooLong { tokens, room }));
        }
        // Thinking may not use up what the answer needs.
        let first = if thinks { self.args.tokens - self.args.reply_tokens } else { self.args.tokens };
        let Some(mut given) = self.turned(case, &self.turn(case, &messages, first), shows)? else { return Ok(None) };
        if thinks && given.1 == Some(Finish::Length) && given.0.content.is_empty() && given.0.calls.is_empty() {
            let begun = Message {
                reasoning: given.0.reasoning.clone(),
                prefix: true,
                ..Message::new(Role::Assistant, String::new())
            };
            messages.push(begun);
            let Some((rest, _)) = self.turned(case, &self.turn(case, &messages, self.args.reply_tokens), shows)? else {
                return Ok(None);
            };
            given.0.tokens += rest.tokens;
            given.0.content = rest.content;
            given.0.calls = rest.calls;
            given.0.closed = true;
        }
        Ok(Some(Answer::Given(given.0)))
    }

    fn turn(&self, case: &Case, messages: &[Message], max_tokens: usize) -> Turn {
        let tool = |tool: &super::suite::Tool| Tool {
            name: tool.name.clone(),
            schema: json!({"name": tool.name, "description": tool.description, "parameters": tool.parameters}),
            parameters: tool.parameters.clone(),
            strict: false,
        };
        Turn {
            input: Input::Conversation(messages.to_vec()),
            thinking: if self.args.nothink { ThinkingMode::None } else { ThinkingMode::High },
            tools: case.tools.iter().map(tool).collect(),
            tool_choice: ToolChoice::Auto,
            parallel_tool_calls: true,
            format: Format::Text,
            sampling: SamplingParams { temperature: self.args.temp, seed: self.args.seed, ..SamplingParams::default() },
            max_tokens: Some(max_tokens),
            stop: Vec::new(),
            logprobs: None,
            choices: 1,
            call_id_prefix: "call_",
        }
    }

    /// One turn, and why it ended.
    fn turned(&self, case: &Case, turn: &Turn, shows: bool) -> Result<Option<(Given, Option<Finish>)>> {
        let service = self.host.service();
        let before = service.stats().prefill_tokens;
        let mut events = service.start(turn, "the question").with_context(|| case.id.clone())?;
        let mut progress = None;
        let (mut outcome, mut screen) = (Outcome::default(), shows.then(Screen::new));
        loop {
            if self.interrupt.is_requested() {
                return Ok(None);
            }
            if let Some(progress) = &progress {
                let done = service.stats().prefill_tokens.saturating_sub(before);
                Progress::set(progress, usize::try_from(done).unwrap_or(usize::MAX));
            }
            let next = self.runtime.block_on(async { tokio::time::timeout(TICK, events.next()).await });
            let Ok(event) = next else { continue };
            let Some(event) = event else { break };
            match &event {
                Event::Started { prompt_tokens, cached_tokens } => {
                    progress = Some(Progress::start("reading", "tokens", prompt_tokens.saturating_sub(*cached_tokens)));
                }
                Event::Delta { delta, .. } => {
                    progress = None;
                    match (delta, &mut screen) {
                        (Delta::Reasoning(piece), Some(screen)) => screen.reasoning(&piece.text)?,
                        (Delta::Content(piece), Some(screen)) => screen.answer(&piece.text)?,
                        _ => {}
                    }
                }
                Event::Finished { .. } | Event::Failed(_) => progress = None,
            }
            outcome.add(event);
        }
        if let Some(mut screen) = screen {
            screen.end()?;
        }
        if let Some(why) = outcome.failure {
            bail!("the engine failed: {why}");
        }
        let choice = outcome.choices.into_iter().next().unwrap_or_default();
        if choice.finish.is_none() {
            bail!("the engine has stopped");
        }
        let call = |name: &str, arguments: &str| Call {
            name: name.to_owned(),
            // What is no JSON is compared as text, and is wrong.
            arguments: serde_json::from_str(arguments).unwrap_or_else(|_| Value::String(arguments.to_owned())),
        };
        let given = Given {
            reasoning: choice.reasoning,
            content: choice.content,
            calls: choice.calls.iter().map(|made| call(&made.name, &made.arguments)).collect(),
            prompt_tokens: outcome.usage.prompt_tokens,
            tokens: outcome.usage.completion_tokens,
            closed: false,
        };
        Ok(Some((given, choice.finish)))
    }

    /// Ends the engine.
    pub fn end(self) -> Result<()> {
        self.host.stop()
    }
}
