//! `ds4 run`: answers a question, completes a text, or prints what the model makes of it.
//!
//! | file | content |
//! |---|---|
//! | `session.rs` | one sequence on a loaded model: prefill, decode, times |
//! | `complete.rs` | the completion, streamed or as JSON |
//! | `dump.rs` | logits and log-probabilities for other programs |
//! | `perplexity.rs` | how well a text is predicted |

mod complete;
mod dump;
mod perplexity;
mod session;

use crate::args::RunArgs;
use crate::model::Model;
use crate::{text, tokenize};
use anyhow::{Result, bail};
use ds4_chat::{Message, Options, Role};
use ds4_engine::TokenId;
use ds4_tokenizer::Tokenizer;
use session::Session;
use std::process::ExitCode;
use std::time::Instant;

pub fn run(args: &RunArgs) -> Result<ExitCode> {
    let started = Instant::now();
    let model = Model::open(args.model.model.as_deref())?;
    let tokenizer = model.tokenizer()?;
    if let Some(path) = &args.source.perplexity {
        return perplexity::run(args, path, model, &tokenizer, started);
    }
    let text = text::not_empty(text::read(args.source.prompt.as_deref(), args.source.file.as_deref())?)?;
    if args.dump.dump_tokens {
        tokenize::print(&tokenizer, &tokenizer.encode_rendered(&text)?, args.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let prompt = if args.raw { raw(&tokenizer, &text)? } else { question(args, &model, &tokenizer, text)? };
    let prompt = fitting(prompt, args.compute.ctx)?;
    if let Some(path) = &args.dump.dump_logits {
        dump::logits(args, path, model, &prompt, started)
    } else if let Some(path) = &args.dump.dump_logprobs {
        dump::logprobs(args, path, model, &tokenizer, &prompt, started)
    } else {
        complete::run(args, model, &tokenizer, &prompt, started)
    }
}

/// BOS and the tokens of `text`.
fn raw(tokenizer: &Tokenizer, text: &str) -> Result<Vec<TokenId>> {
    let bos = std::iter::once(tokenizer.specials().bos);
    Ok(bos.chain(tokenizer.encode_text(text)?).map(|id| id.0).collect())
}

/// The tokens of `text` as the first question of a conversation.
fn question(args: &RunArgs, model: &Model, tokenizer: &Tokenizer, text: String) -> Result<Vec<TokenId>> {
    if !tokenizer.has_chat_markers() {
        bail!("the model's vocabulary lacks control tokens of the chat format; use --raw to continue the text");
    }
    let thinking = args.format.thinking().within(args.compute.ctx);
    let options = Options { thinking, effort: model.effort_table(), ..Options::default() };
    let system = Some(&args.format.system).filter(|text| !text.is_empty());
    let mut messages: Vec<Message> = system.map(|text| Message::new(Role::System, text)).into_iter().collect();
    messages.push(Message::new(Role::User, text));
    let prompt = ds4_chat::render(&messages, &options)?;
    let segments = prompt.segments().iter().map(|segment| (segment.text.as_str(), segment.trusted));
    Ok(tokenizer.encode_segments(segments)?.into_iter().map(|id| id.0).collect())
}

/// `prompt`, if it leaves room for one more token in a context of `ctx`.
fn fitting(prompt: Vec<TokenId>, ctx: usize) -> Result<Vec<TokenId>> {
    let len = prompt.len();
    if len >= ctx {
        let least = len + 1;
        bail!(
            "the prompt has {len} tokens, expected fewer than the context of {ctx}; shorten it or use --ctx {least} or more"
        );
    }
    Ok(prompt)
}

/// Most tokens that a completion of `prompt` may have, and whether `-n` is what limits it.
fn room(args: &RunArgs, prompt: &[TokenId]) -> (usize, bool) {
    let context = args.compute.ctx.saturating_sub(prompt.len());
    match args.tokens {
        Some(n) if n <= context => (n, true),
        _ => (context, false),
    }
}
