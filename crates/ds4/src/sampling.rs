//! Sampling parameters from flags.

use crate::args::SamplingArgs;
use anyhow::{Result, bail};
use ds4_engine::sampler::{SamplingParams, fresh_seed};

/// The parameters for a vocabulary of `vocab` tokens, with a seed of their own if none is given.
pub fn params(args: &SamplingArgs, vocab: usize) -> Result<SamplingParams> {
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
