//! The completion: sampled tokens, streamed as text or returned as one JSON object.

use super::room;
use super::session::{Session, Timings};
use crate::args::RunArgs;
use crate::model::Model;
use crate::output;
use crate::sampling;
use crate::screen::Screen;
use anyhow::Result;
use ds4_chat::{AnswerStream, Event, ThinkingMode};
use ds4_engine::TokenId;
use ds4_engine::sampler::Sampler;
use ds4_tokenizer::{StreamDecoder, Tokenizer};
use serde::Serialize;
use std::process::ExitCode;
use std::time::Instant;

/// Why a completion ended.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Finish {
    /// The model chose end of sequence.
    Stop,
    /// `-n` tokens were made.
    Length,
    /// The context is full.
    Context,
    /// Ctrl-C.
    Interrupted,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Completion {
    text: String,
    /// Of an answer, not of a completed text.
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<String>,
    /// Without end of sequence.
    tokens: Vec<TokenId>,
    finish_reason: Finish,
    prompt_tokens: usize,
    seed: u64,
    timings: Timings,
}

pub fn run(
    args: &RunArgs,
    model: Model,
    tokenizer: &Tokenizer,
    prompt: &[TokenId],
    started: Instant,
) -> Result<ExitCode> {
    let params = sampling::params(&args.sampling, model.config.vocab)?;
    let seed = params.seed;
    let mut sampler = Sampler::new(params, prompt)?;
    let mut session = Session::new(args, model, started)?;
    let thinks = args.format.thinking() != ThinkingMode::None;
    let mut text = Text {
        decoder: tokenizer.decoder(),
        format: (!args.raw).then(|| AnswerStream::new(thinks, false)),
        screen: (!args.json).then(Screen::new),
        reasoning: String::new(),
        answer: String::new(),
    };
    let mut tokens = Vec::new();
    let eos = tokenizer.specials().eos.0;
    let (most, is_asked_for) = room(args, prompt);
    let mut logits = session.prefill(prompt)?;
    let finish = loop {
        let Some(now) = &logits else { break Finish::Interrupted };
        let token = sampler.sample(now);
        if token == eos {
            break Finish::Stop;
        }
        sampler.accept(token);
        tokens.push(token);
        text.push(token)?;
        if tokens.len() >= most {
            break if is_asked_for { Finish::Length } else { Finish::Context };
        }
        logits = session.decode(token)?;
    };
    text.finish()?;
    if !args.json {
        return Ok(session.end());
    }
    output::print_json(&Completion {
        text: text.answer,
        reasoning: (!args.raw).then_some(text.reasoning),
        tokens,
        finish_reason: finish,
        prompt_tokens: prompt.len(),
        seed,
        timings: session.timings(),
    })?;
    Ok(session.exit_code())
}

/// What was generated: an answer in the chat format, or text as it is. Streamed text is not kept.
struct Text {
    decoder: StreamDecoder,
    /// Reads the chat format; absent for plain text.
    format: Option<AnswerStream>,
    screen: Option<Screen>,
    reasoning: String,
    answer: String,
}

impl Text {
    fn push(&mut self, token: TokenId) -> Result<()> {
        let text = self.decoder.push(ds4_tokenizer::TokenId(token));
        self.add(&text)
    }

    fn add(&mut self, text: &str) -> Result<()> {
        let Some(format) = &mut self.format else { return self.answer(text) };
        let mut events = Vec::new();
        format.push(text, &mut events);
        self.tell(events)
    }

    fn tell(&mut self, events: Vec<Event>) -> Result<()> {
        for event in events {
            match event {
                Event::Content(text) => self.answer(&text)?,
                Event::Reasoning(text) => match &mut self.screen {
                    Some(screen) => screen.reasoning(&text)?,
                    None => self.reasoning.push_str(&text),
                },
                // No tools were offered, and so none are called.
                Event::CallStart { .. } | Event::CallArguments { .. } | Event::CallEnd { .. } => {}
            }
        }
        Ok(())
    }

    fn answer(&mut self, text: &str) -> Result<()> {
        match &mut self.screen {
            Some(screen) => screen.answer(text),
            None => {
                self.answer.push_str(text);
                Ok(())
            }
        }
    }

    /// Ends the text; on a stream with a line break, unless it ends with one or is empty.
    fn finish(&mut self) -> Result<()> {
        let rest = self.decoder.finish();
        self.add(&rest)?;
        if let Some(mut format) = self.format.take() {
            let mut events = Vec::new();
            format.finish(&mut events);
            self.tell(events)?;
        }
        self.screen.as_mut().map_or(Ok(()), Screen::end)
    }
}
