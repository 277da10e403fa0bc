//! The completion: sampled tokens, streamed as text or returned as one JSON object.

use super::room;
use super::session::{Session, Timings};
use crate::args::{RunArgs, SamplingArgs};
use crate::model::Model;
use crate::output;
use anyhow::{Result, bail};
use ds4_engine::TokenId;
use ds4_engine::sampler::{Sampler, SamplingParams, fresh_seed};
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
    let params = sampling_params(&args.sampling, model.config.vocab)?;
    let seed = params.seed;
    let mut sampler = Sampler::new(params, prompt)?;
    let mut session = Session::new(args, model, started)?;
    let mut text = Text { decoder: tokenizer.decoder(), all: String::new(), streams: !args.json };
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
        text: text.all,
        tokens,
        finish_reason: finish,
        prompt_tokens: prompt.len(),
        seed,
        timings: session.timings(),
    })?;
    Ok(session.exit_code())
}

fn sampling_params(args: &SamplingArgs, vocab: usize) -> Result<SamplingParams> {
    if let Some((id, _)) = args.logit_bias.iter().find(|(id, _)| *id as usize >= vocab) {
        bail!("--logit-bias names token {id}, but the vocabulary has {vocab} tokens; `ds4 tokenize` tells ids");
    }
    Ok(SamplingParams {
        temperature: args.temp,
        top_k: args.top_k,
        top_p: args.top_p,
        min_p: args.min_p,
        presence_penalty: args.presence_penalty,
        frequency_penalty: args.frequency_penalty,
        repetition_penalty: args.repetition_penalty,
        logit_bias: args.logit_bias.clone(),
        seed: args.seed.unwrap_or_else(fresh_seed),
    })
}

/// The text so far. While it streams, only what is needed is kept.
struct Text {
    decoder: StreamDecoder,
    all: String,
    streams: bool,
}

impl Text {
    fn push(&mut self, token: TokenId) -> Result<()> {
        let text = self.decoder.push(ds4_tokenizer::TokenId(token));
        self.add(&text)
    }

    fn add(&mut self, text: &str) -> Result<()> {
        if !self.streams {
            self.all.push_str(text);
        } else if !text.is_empty() {
            output::print(text)?;
            self.all.clear();
            self.all.push_str(text);
        }
        Ok(())
    }

    /// Ends the text; on a stream with a line break, unless it ends with one or is empty.
    fn finish(&mut self) -> Result<()> {
        let rest = self.decoder.finish();
        self.add(&rest)?;
        if self.streams && !self.all.is_empty() && !self.all.ends_with('\n') {
            output::print("\n")?;
        }
        Ok(())
    }
}
