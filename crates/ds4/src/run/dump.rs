//! What the model computes, as JSON for other programs (`spec/cli.md` §1, dump formats).

use super::{Session, room};
use crate::args::RunArgs;
use crate::model::Model;
use crate::output::JsonFile;
use anyhow::Result;
use ds4_engine::TokenId;
use ds4_engine::sampler::{argmax, top_logprobs};
use ds4_tokenizer::Tokenizer;
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// Who wrote a dump.
const SOURCE: &str = "ds4";

#[derive(Serialize)]
struct LogitsDump {
    source: &'static str,
    prompt_tokens: usize,
    ctx: usize,
    logits: Vec<f32>,
}

#[derive(Serialize)]
struct LogprobsDump {
    source: &'static str,
    prompt_tokens: usize,
    ctx: usize,
    top_k: usize,
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    step: usize,
    selected: Token,
    top_logprobs: Vec<Alternative>,
}

#[derive(Serialize)]
struct Alternative {
    token: Token,
    logit: f64,
    logprob: f64,
}

#[derive(Serialize)]
struct Token {
    id: TokenId,
    text: String,
    bytes: Vec<u8>,
}

impl Token {
    fn new(tokenizer: &Tokenizer, id: TokenId) -> Self {
        let bytes = tokenizer.token_bytes(ds4_tokenizer::TokenId(id)).to_vec();
        // A fragment of a character shows each byte as the code point of the same number; `bytes` is what counts.
        let text =
            std::str::from_utf8(&bytes).map_or_else(|_| bytes.iter().map(|b| char::from(*b)).collect(), str::to_owned);
        Self { id, text, bytes }
    }
}

/// `--dump-logits`: what follows the last token of the prompt.
pub fn logits(args: &RunArgs, path: &Path, model: Model, prompt: &[TokenId], started: Instant) -> Result<ExitCode> {
    let file = JsonFile::create(path)?;
    let mut session = Session::new(args, model, started)?;
    if let Some(logits) = session.prefill(prompt)? {
        file.write(&LogitsDump { source: SOURCE, prompt_tokens: prompt.len(), ctx: args.compute.ctx, logits })?;
    }
    Ok(session.end())
}

/// `--dump-logprobs`: a greedy completion with the alternatives of each step. Ctrl-C keeps the steps made.
pub fn logprobs(
    args: &RunArgs,
    path: &Path,
    model: Model,
    tokenizer: &Tokenizer,
    prompt: &[TokenId],
    started: Instant,
) -> Result<ExitCode> {
    let file = JsonFile::create(path)?;
    let mut session = Session::new(args, model, started)?;
    let (eos, top_k) = (tokenizer.specials().eos.0, args.logprobs.logprobs_top_k);
    let (most, _) = room(args, prompt);
    let mut steps = Vec::new();
    let mut logits = session.prefill(prompt)?;
    while let Some(now) = &logits {
        let id = argmax(now);
        steps.push(step(tokenizer, steps.len(), id, now, top_k));
        if id == eos || steps.len() >= most {
            break;
        }
        logits = session.decode(id)?;
    }
    file.write(&LogprobsDump { source: SOURCE, prompt_tokens: prompt.len(), ctx: args.compute.ctx, top_k, steps })?;
    Ok(session.end())
}

fn step(tokenizer: &Tokenizer, step: usize, id: TokenId, logits: &[f32], top_k: usize) -> Step {
    let alternatives = top_logprobs(logits, top_k).into_iter().map(|top| Alternative {
        token: Token::new(tokenizer, top.token),
        logit: nine_digits(top.logit.into()),
        logprob: nine_digits(top.logprob),
    });
    Step { step, selected: Token::new(tokenizer, id), top_logprobs: alternatives.collect() }
}

/// The number nearest to `x` with nine significant digits, enough to tell any two f32 apart.
fn nine_digits(x: f64) -> f64 {
    format!("{x:.8e}").parse().unwrap_or(x)
}

#[cfg(test)]
mod tests {
    use super::nine_digits;

    #[test]
    fn numbers_have_nine_significant_digits() {
        for (x, text) in [(1.0 / 3.0, "0.333333333"), (-12345.678901234, "-12345.6789"), (0.0, "0"), (2.0, "2")] {
            assert_eq!(nine_digits(x).to_string(), text);
        }
        let x = 16.123_457_f32;
        assert_eq!(nine_digits(x.into()) as f32, x);
    }
}
