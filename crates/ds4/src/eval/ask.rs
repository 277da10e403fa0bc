//! Asking the model, on the way that `ds4 chat` takes.

use super::CONTEXT_TOKENS_MAX;
use super::report::{Close, CloseKind};
use super::show::{Show, Wish};
use super::suite::{Call, Case};
use crate::args::{ComputeArgs, EvalArgs};
use crate::host::Host;
use crate::interrupt::Interrupt;
use crate::model::Model;
use anyhow::{Context, Result, bail};
use ds4_chat::{Message, Role, ThinkingMode};
use ds4_engine::sampler::SamplingParams;
use ds4_engine::scheduler::SchedulerOptions;
use ds4_server::turn::{Delta, Event, Format, Input, ReplyBudget, ThinkClose, Tool, ToolChoice, Turn};
use ds4_server::wire::{Outcome, ServerFacts};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::runtime::Runtime;

/// How often the user's wishes are looked at while nothing comes.
pub const TICK: Duration = Duration::from_millis(50);
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
    /// How reasoning ended, if it did.
    pub think_close: Option<Close>,
}

/// What became of a question.
pub enum Asked {
    /// There is an answer.
    Answer(Answer),
    /// The user has enough.
    Stopped,
    /// The user wants this one first.
    Switched(usize),
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

    /// What the user wants.
    pub fn wish(&self, show: &mut dyn Show) -> Result<Wish> {
        let wish = show.wish()?;
        Ok(if self.interrupt.is_requested() { Wish::Stop } else { wish })
    }

    /// The answer to `prompt`, shown as it comes.
    pub fn ask(&self, case: &Case, prompt: &str, show: &mut dyn Show) -> Result<Asked> {
        let turn = self.turn(case, prompt);
        let room = self.context.saturating_sub(self.args.tokens);
        let tokens = self.host.service().prompt_tokens(&turn)?.len();
        if tokens > room {
            return Ok(Asked::Answer(Answer::TooLong { tokens, room }));
        }
        self.answer(case, &turn, show)
    }

    fn turn(&self, case: &Case, prompt: &str) -> Turn {
        let args = self.args;
        let messages = vec![Message::new(Role::System, SYSTEM), Message::new(Role::User, prompt)];
        let budget = ReplyBudget {
            soft: args.soft_limit_reply_budget,
            hard: args.hard_limit_reply_budget,
            rank: args.soft_limit_think_close_rank,
        };
        let tool = |tool: &super::suite::Tool| Tool {
            name: tool.name.clone(),
            schema: json!({"name": tool.name, "description": tool.description, "parameters": tool.parameters}),
            parameters: tool.parameters.clone(),
            strict: false,
        };
        Turn {
            input: Input::Conversation(messages),
            thinking: if args.nothink { ThinkingMode::None } else { ThinkingMode::High },
            tools: case.tools.iter().map(tool).collect(),
            tool_choice: ToolChoice::Auto,
            parallel_tool_calls: true,
            format: Format::Text,
            sampling: SamplingParams { temperature: args.temp, seed: args.seed, ..SamplingParams::default() },
            max_tokens: Some(args.tokens),
            budget: Some(budget),
            stop: Vec::new(),
            logprobs: None,
            choices: 1,
            call_id_prefix: "call_",
        }
    }

    fn answer(&self, case: &Case, turn: &Turn, show: &mut dyn Show) -> Result<Asked> {
        let service = self.host.service();
        let before = service.stats().prefill_tokens;
        let mut events = service.start(turn, "the question").with_context(|| case.id.clone())?;
        // Tokens of the prompt that are read, until the answer begins.
        let mut reads = None;
        let mut outcome = Outcome::default();
        loop {
            match self.wish(show)? {
                Wish::Stop => return Ok(Asked::Stopped),
                Wish::Ask(other) => return Ok(Asked::Switched(other)),
                // An answer that has begun is not held up.
                Wish::Go | Wish::Pause => {}
            }
            if let Some(total) = reads {
                let done = service.stats().prefill_tokens.saturating_sub(before);
                show.reading(usize::try_from(done).unwrap_or(usize::MAX).min(total), total)?;
            }
            let next = self.runtime.block_on(async { tokio::time::timeout(TICK, events.next()).await });
            let Ok(event) = next else { continue };
            let Some(event) = event else { break };
            match &event {
                Event::Started { prompt_tokens, cached_tokens } => {
                    reads = Some(prompt_tokens.saturating_sub(*cached_tokens));
                }
                Event::Delta { delta, .. } => {
                    reads = None;
                    match delta {
                        Delta::Reasoning(piece) => show.reasoning(&piece.text)?,
                        Delta::Content(piece) => show.answer(&piece.text)?,
                        Delta::CallStart { .. } | Delta::CallArguments { .. } | Delta::CallEnd { .. } => {}
                    }
                }
                Event::Finished { .. } | Event::Failed(_) => reads = None,
            }
            outcome.add(event);
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
        let kind = choice.closed.map(|closed| match closed {
            ThinkClose::Natural => CloseKind::Natural,
            ThinkClose::Soft => CloseKind::SoftForced,
            ThinkClose::Hard => CloseKind::HardForced,
        });
        // The mark itself counts as reasoning.
        let position = outcome.usage.reasoning_tokens.saturating_sub(1);
        Ok(Asked::Answer(Answer::Given(Given {
            reasoning: choice.reasoning,
            content: choice.content,
            calls: choice.calls.iter().map(|made| call(&made.name, &made.arguments)).collect(),
            prompt_tokens: outcome.usage.prompt_tokens,
            tokens: outcome.usage.completion_tokens,
            think_close: kind.map(|kind| Close { kind, position }),
        })))
    }

    /// Ends the engine.
    pub fn end(self) -> Result<()> {
        self.host.stop()
    }
}
