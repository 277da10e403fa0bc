//! `--perplexity`: how well the model predicts a text (`spec/cli.md` §1).

use super::Session;
use crate::args::RunArgs;
use crate::model::Model;
use crate::progress::Progress;
use crate::{output, text};
use anyhow::{Result, bail};
use ds4_engine::TokenId;
use ds4_engine::sampler::token_logprob;
use ds4_tokenizer::Tokenizer;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// Tokens that are given, not scored.
const PREFIX: usize = 32;
/// Tokens scored together at most: their logits are 130 MB with the published vocabulary.
const STEP_TOKENS: usize = 256;

pub fn run(args: &RunArgs, path: &Path, model: Model, tokenizer: &Tokenizer, started: Instant) -> Result<ExitCode> {
    let ids = tokenizer.encode_text(&text::read_file(path)?)?;
    let tokens: Vec<TokenId> = ids.into_iter().map(|id| id.0).collect();
    let (found, ctx) = (tokens.len(), args.compute.ctx);
    if found <= PREFIX {
        bail!("{} has {found} tokens, but scoring begins after {PREFIX}; use a longer text", path.display());
    }
    if ctx <= PREFIX {
        bail!("a context of {ctx} tokens leaves nothing to score after the first {PREFIX}; use a larger --ctx");
    }
    let scored = (found - PREFIX).min(ctx - PREFIX).min(args.tokens.unwrap_or(usize::MAX));
    let mut session = Session::new(args, model, started)?;
    let Some(nll) = score(&mut session, &tokens[..PREFIX + scored])? else {
        return Ok(session.end());
    };
    let avg_nll = nll / scored as f64;
    let ppl = avg_nll.exp();
    if args.json {
        output::print_json(&json!({ "tokens": found, "scored": scored, "nll": nll, "avg_nll": avg_nll, "ppl": ppl }))?;
        return Ok(session.exit_code());
    }
    output::print(&format!("tokens={found} scored={scored} nll={nll:.9} avg_nll={avg_nll:.9} ppl={ppl:.9}\n"))?;
    Ok(session.end())
}

/// Sum of −ln p of every token after the prefix, each predicted from all before it.
fn score(session: &mut Session, tokens: &[TokenId]) -> Result<Option<f64>> {
    let progress = Progress::start("scoring", "tokens", tokens.len());
    let vocab = session.vocab();
    let (mut nll, mut position) = (0.0, 0);
    // The last token is only predicted.
    let inputs = tokens.split_last().map_or(&[][..], |(_, inputs)| inputs);
    for step in inputs.chunks(session.chunk().min(STEP_TOKENS)) {
        let Some(logits) = session.score(step)? else { return Ok(None) };
        for logits in logits.chunks_exact(vocab) {
            position += 1;
            if position >= PREFIX {
                nll -= token_logprob(logits, tokens[position]);
            }
        }
        progress.set(position);
    }
    Ok(Some(nll))
}
