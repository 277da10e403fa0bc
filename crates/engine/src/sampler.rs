//! From logits to a token (`spec/session.md` §7): pure functions, and a [`Sampler`] that adds a
//! random generator and the memory that penalties need.
//!
//! Order: bias, penalties, then top-k, temperature, min-p and top-p together, draw. A logit that is
//! not finite takes no part in anything; an empty slice yields token 0.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// Most candidates that top-k keeps; larger values mean this one.
pub const TOP_K_MAX: u32 = 1024;

/// Most entries in a logit bias: half a V4 Flash vocabulary, far more than any client sends.
pub const LOGIT_BIAS_ENTRIES_MAX: usize = 1 << 16;

/// Candidates examined first for top-p; enough for all but nearly flat distributions.
const TOP_P_CANDIDATES_FIRST: usize = 256;

/// How the next token is chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParams {
    /// Divides the logits; 0 takes the best token and draws nothing.
    pub temperature: f32,
    /// Number of best tokens to choose from; 0 is off, more than [`TOP_K_MAX`] means that.
    pub top_k: u32,
    /// Choose from the best tokens that together reach this probability; 1 is off, and so is 0.
    pub top_p: f32,
    /// Choose from tokens with at least this fraction of the best one's probability; 0 is off.
    pub min_p: f32,
    /// Subtracted from the logit of every generated token; 0 is off.
    pub presence_penalty: f32,
    /// Subtracted from a token's logit once for each time it was generated; 0 is off.
    pub frequency_penalty: f32,
    /// Divides positive and multiplies other logits of prompt and generated tokens; 1 is off.
    pub repetition_penalty: f32,
    /// Added to the logits of these tokens. Ids outside the vocabulary have no effect.
    pub logit_bias: Vec<(u32, f32)>,
    /// Start of the random sequence: the same seed and logits give the same tokens. [`fresh_seed`]
    /// makes one that differs each time.
    pub seed: u64,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.05,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repetition_penalty: 1.0,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }
}

/// A sampling parameter that makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SamplingError {
    /// A number outside its range.
    #[error("{field} is {found}, expected {expected}")]
    OutOfRange {
        /// Name of the parameter.
        field: &'static str,
        /// Its value.
        found: f32,
        /// The range.
        expected: &'static str,
    },
    /// More than [`LOGIT_BIAS_ENTRIES_MAX`] biases.
    #[error("logit_bias has {found} entries, expected at most {LOGIT_BIAS_ENTRIES_MAX}")]
    TooManyBiases {
        /// Number of entries.
        found: usize,
    },
}

impl SamplingParams {
    /// Checks every field.
    ///
    /// # Errors
    ///
    /// The first field that is out of range, by name. Ranges are what the formulas can bear; a
    /// protocol may demand narrower ones.
    pub fn validate(&self) -> Result<(), SamplingError> {
        let check = |field, found: f32, holds: bool, expected| match holds {
            true => Ok(()),
            false => Err(SamplingError::OutOfRange { field, found, expected }),
        };
        let finite = |field, found: f32| check(field, found, found.is_finite(), "a finite number");
        let fraction = |field, found: f32| check(field, found, (0.0..=1.0).contains(&found), "0 to 1");
        let (temperature, repetition) = (self.temperature, self.repetition_penalty);
        check("temperature", temperature, temperature >= 0.0 && temperature.is_finite(), "0 or a positive number")?;
        fraction("top_p", self.top_p)?;
        fraction("min_p", self.min_p)?;
        finite("presence_penalty", self.presence_penalty)?;
        finite("frequency_penalty", self.frequency_penalty)?;
        check("repetition_penalty", repetition, repetition > 0.0 && repetition.is_finite(), "a positive number")?;
        if self.logit_bias.len() > LOGIT_BIAS_ENTRIES_MAX {
            return Err(SamplingError::TooManyBiases { found: self.logit_bias.len() });
        }
        self.logit_bias.iter().try_for_each(|&(_, bias)| finite("logit_bias", bias))
    }

    /// Top-p with its second way to be off taken into account.
    fn top_p_or_off(&self) -> f32 {
        if self.top_p > 0.0 { self.top_p } else { 1.0 }
    }

    fn has_penalties(&self) -> bool {
        self.presence_penalty != 0.0 || self.frequency_penalty != 0.0 || self.repetition_penalty != 1.0
    }
}

/// A seed that differs with every call and process.
pub fn fresh_seed() -> u64 {
    // The standard library's hash keys are its only source of randomness, and change per instance.
    RandomState::new().hash_one(0)
}

/// xorshift64*, with 24 bits of each output as a uniform number.
#[derive(Clone, Debug)]
struct Rng {
    state: u64,
}

impl Rng {
    fn new(seed: u64) -> Self {
        // Zero is the one state that never changes.
        Self { state: if seed == 0 { 0x9e37_79b9_7f4a_7c15 } else { seed } }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// In [0, 1), exact in `f32`.
    fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 24) as f32
    }
}

/// A token that may still be drawn.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    token: u32,
    logit: f32,
    /// e^((logit − best) / temperature): probability relative to the best token's.
    weight: f32,
}

impl Candidate {
    /// Sorts best first, equal logits by id. One integer sorts about twice as fast as the pair.
    fn order(&self) -> u64 {
        // Adding zero turns −0 into 0. IEEE 754 bits, with the negative ones flipped, sort as numbers do.
        let bits = (self.logit + 0.0).to_bits();
        let ascending = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
        u64::from(!ascending) << 32 | u64::from(self.token)
    }
}

/// One sequence's sampling state.
#[derive(Clone, Debug)]
pub struct Sampler {
    params: SamplingParams,
    rng: Rng,
    /// How often each token was generated; with 0, tokens that occur in the prompt only.
    /// Kept only when a penalty asks for it.
    occurrences: HashMap<u32, u32>,
    /// Logits after bias and penalties. Reused.
    adjusted: Vec<f32>,
    /// Reused.
    candidates: Vec<Candidate>,
}

impl Sampler {
    /// A sampler for a sequence that begins with `prompt`.
    ///
    /// # Errors
    ///
    /// Those of [`SamplingParams::validate`].
    pub fn new(params: SamplingParams, prompt: &[u32]) -> Result<Self, SamplingError> {
        params.validate()?;
        let penalised_prompt = if params.repetition_penalty == 1.0 { &[] } else { prompt };
        Ok(Self {
            rng: Rng::new(params.seed),
            occurrences: penalised_prompt.iter().map(|&token| (token, 0)).collect(),
            adjusted: Vec::new(),
            candidates: Vec::new(),
            params,
        })
    }

    /// Chooses the next token. Draws one random number, or none at temperature 0. The token counts
    /// as generated only after [`accept`](Self::accept).
    pub fn sample(&mut self, logits: &[f32]) -> u32 {
        let Self { params, rng, occurrences, adjusted, candidates } = self;
        let logits = adjust(logits, params, occurrences, adjusted);
        let best = argmax(logits);
        let best_logit = logits.get(best as usize).copied().filter(|logit| logit.is_finite());
        let Some(best_logit) = best_logit.filter(|_| params.temperature > 0.0) else {
            return best;
        };
        let scale = Scale { best_logit, temperature: params.temperature };
        let u = rng.uniform();
        if params.top_k == 0 && params.top_p_or_off() == 1.0 {
            scale.collect(logits, params.min_p, candidates);
            return draw(candidates, u).unwrap_or(best);
        }
        let kept = match params.top_k {
            0 => scale.best_of_all(logits, params, candidates),
            k => scale.best_of_k(logits, k.min(TOP_K_MAX) as usize, params, candidates),
        };
        candidates.truncate(kept);
        let last = candidates.last().map_or(best, |candidate| candidate.token);
        draw(candidates, u).unwrap_or(last)
    }

    /// Records that `token` became part of the sequence.
    pub fn accept(&mut self, token: u32) {
        if self.params.has_penalties() {
            let count = self.occurrences.entry(token).or_insert(0);
            *count = count.saturating_add(1);
        }
    }
}

/// The logits with bias and penalties, in `adjusted` if there are any.
fn adjust<'l>(
    logits: &'l [f32],
    params: &SamplingParams,
    occurrences: &HashMap<u32, u32>,
    adjusted: &'l mut Vec<f32>,
) -> &'l [f32] {
    if params.logit_bias.is_empty() && occurrences.is_empty() {
        return logits;
    }
    adjusted.clear();
    adjusted.extend_from_slice(logits);
    for &(token, bias) in &params.logit_bias {
        if let Some(logit) = adjusted.get_mut(token as usize) {
            *logit += bias;
        }
    }
    for (&token, &count) in occurrences {
        let Some(logit) = adjusted.get_mut(token as usize) else { continue };
        if *logit > 0.0 {
            *logit /= params.repetition_penalty;
        } else {
            *logit *= params.repetition_penalty;
        }
        if count > 0 {
            *logit -= count as f32 * params.frequency_penalty + params.presence_penalty;
        }
    }
    adjusted
}

/// How logits become weights: probabilities relative to the best token's.
struct Scale {
    best_logit: f32,
    temperature: f32,
}

impl Scale {
    fn weight(&self, logit: f32) -> f32 {
        ((logit - self.best_logit) / self.temperature).exp()
    }

    /// All tokens that pass min-p, in order of their ids.
    fn collect(&self, logits: &[f32], min_p: f32, candidates: &mut Vec<Candidate>) {
        // Spares the exponential of nearly all tokens; the slack covers its rounding.
        let exponent_min = min_p.ln() - 0.01;
        candidates.clear();
        for (token, &logit) in (0u32..).zip(logits) {
            let exponent = (logit - self.best_logit) / self.temperature;
            if exponent >= exponent_min && logit.is_finite() {
                let weight = exponent.exp();
                // A weight of 0 is a token that must not be drawn, even without min-p.
                if weight >= min_p && weight > 0.0 {
                    candidates.push(Candidate { token, logit, weight });
                }
            }
        }
    }

    /// The `k` best tokens, and how many of them min-p and top-p keep.
    fn best_of_k(&self, logits: &[f32], k: usize, params: &SamplingParams, candidates: &mut Vec<Candidate>) -> usize {
        select_best(logits, k, candidates);
        self.weigh(candidates);
        let total = candidates.iter().map(|candidate| candidate.weight).sum();
        keep(candidates, total, params).unwrap_or(candidates.len())
    }

    /// As many of the best tokens as min-p and top-p need, and how many they keep. Probabilities are
    /// over the whole vocabulary, yet few tokens have to be sorted.
    fn best_of_all(&self, logits: &[f32], params: &SamplingParams, candidates: &mut Vec<Candidate>) -> usize {
        let finite = logits.iter().filter(|logit| logit.is_finite());
        let total = finite.map(|&logit| self.weight(logit)).sum();
        let mut k = TOP_P_CANDIDATES_FIRST;
        loop {
            select_best(logits, k, candidates);
            self.weigh(candidates);
            if let Some(kept) = keep(candidates, total, params) {
                return kept;
            }
            if k >= logits.len() {
                return candidates.len();
            }
            k *= 8;
        }
    }

    fn weigh(&self, candidates: &mut [Candidate]) {
        for candidate in candidates {
            candidate.weight = self.weight(candidate.logit);
        }
    }
}

/// The `k` best finite logits, best first, without their weights. `k` is at least 1.
fn select_best(logits: &[f32], k: usize, best: &mut Vec<Candidate>) {
    best.clear();
    // A logit that is not above it has `k` better ones, or equal ones with lower ids.
    let mut floor = f32::NEG_INFINITY;
    for (token, &logit) in (0u32..).zip(logits) {
        if logit > floor && logit < f32::INFINITY {
            best.push(Candidate { token, logit, weight: 0.0 });
            if best.len() == 2 * k {
                let (_, kth, _) = best.select_nth_unstable_by_key(k - 1, Candidate::order);
                floor = kth.logit;
                best.truncate(k);
            }
        }
    }
    best.sort_unstable_by_key(Candidate::order);
    best.truncate(k);
}

/// How many of the leading candidates min-p and top-p keep; `None` if neither ends within them.
fn keep(candidates: &[Candidate], total: f32, params: &SamplingParams) -> Option<usize> {
    let top_p = params.top_p_or_off();
    let mut cumulative = 0.0;
    for (index, candidate) in candidates.iter().enumerate() {
        let is_unlikely = candidate.weight < params.min_p || candidate.weight == 0.0;
        if index > 0 && is_unlikely {
            return Some(index);
        }
        cumulative += candidate.weight / total;
        if cumulative >= top_p {
            return Some(index + 1);
        }
    }
    None
}

/// The candidate at the fraction `u` of the total weight; `None` if rounding leaves none.
fn draw(candidates: &[Candidate], u: f32) -> Option<u32> {
    let total: f32 = candidates.iter().map(|candidate| candidate.weight).sum();
    let mut rest = u * total;
    let drawn = candidates.iter().find(|candidate| {
        rest -= candidate.weight;
        rest <= 0.0
    });
    drawn.map(|candidate| candidate.token)
}

/// The token with the highest finite logit, the first of equals; 0 if there is none.
pub fn argmax(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (token, &logit) in (0u32..).zip(logits) {
        if logit > best.1 && logit < f32::INFINITY {
            best = (token, logit);
        }
    }
    best.0
}

/// A token with its logit and the natural logarithm of its probability at temperature 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TopLogprob {
    /// Token id.
    pub token: u32,
    /// As the model gave it.
    pub logit: f32,
    /// `logit` − [`log_sum_exp`] of all.
    pub logprob: f64,
}

/// The `k` most probable tokens, best first, equals by id; fewer if there are fewer finite logits.
pub fn top_logprobs(logits: &[f32], k: usize) -> Vec<TopLogprob> {
    let k = k.min(logits.len());
    if k == 0 {
        return Vec::new();
    }
    let normalizer = log_sum_exp(logits);
    let mut best = Vec::new();
    select_best(logits, k, &mut best);
    let logprob = |Candidate { token, logit, .. }| TopLogprob { token, logit, logprob: f64::from(logit) - normalizer };
    best.into_iter().map(logprob).collect()
}

/// The natural logarithm of a token's probability at temperature 1; −∞ if it has none, because its
/// logit is not finite or there is no such token.
pub fn token_logprob(logits: &[f32], token: u32) -> f64 {
    match logits.get(token as usize) {
        Some(logit) if logit.is_finite() => f64::from(*logit) - log_sum_exp(logits),
        _ => f64::NEG_INFINITY,
    }
}

/// ln Σ e^logit over the finite logits; −∞ if there are none.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let finite = || logits.iter().filter(|logit| logit.is_finite()).map(|&logit| f64::from(logit));
    let max = finite().fold(f64::NEG_INFINITY, f64::max);
    if max == f64::NEG_INFINITY {
        return max;
    }
    max + finite().map(|logit| (logit - max).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests;
