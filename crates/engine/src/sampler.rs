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
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Every filter off.
    fn open() -> SamplingParams {
        SamplingParams { min_p: 0.0, seed: 7, ..SamplingParams::default() }
    }

    fn sampler(params: SamplingParams) -> Sampler {
        Sampler::new(params, &[]).expect("valid parameters")
    }

    /// Logits of the probabilities 1/2, 1/4, 1/8, 1/8.
    fn halves() -> [f32; 4] {
        [0.5f32, 0.25, 0.125, 0.125].map(|p| p.ln() + 3.0)
    }

    /// The tokens that two thousand draws yield.
    fn support(params: SamplingParams, logits: &[f32]) -> Vec<u32> {
        let mut sampler = sampler(params);
        let drawn: BTreeSet<u32> = (0..2000).map(|_| sampler.sample(logits)).collect();
        drawn.into_iter().collect()
    }

    fn greedy_after(params: SamplingParams, prompt: &[u32], generated: &[u32], logits: &[f32]) -> u32 {
        let mut sampler =
            Sampler::new(SamplingParams { temperature: 0.0, ..params }, prompt).expect("valid parameters");
        generated.iter().for_each(|&token| sampler.accept(token));
        sampler.sample(logits)
    }

    /// Values from an implementation in Python.
    #[test]
    fn rng_golden_values() {
        let golden = [
            (0, [0x0d83_b3e2_9a21_487a, 0x54c4_4c79_f1fe_9d67, 0xa845_f342_007a_0e78, 0x7d6e_0b87_8a79_4779]),
            (1, [0x47e4_ce4b_896c_dd1d, 0xabcf_a6a8_e079_651d, 0xb9d1_0d8f_eb73_1f57, 0x4db4_18a0_bb1b_019d]),
            (u64::MAX, [0xf92c_c9e5_c600_0000, 0x8ff4_84d8_fd1e_aee3, 0x346c_95f3_326f_abc6, 0xc556_cc9c_37c5_f2c0]),
        ];
        for (seed, outputs) in golden {
            let mut rng = Rng::new(seed);
            assert_eq!(outputs.map(|_| rng.next()), outputs, "seed {seed}");
        }
        assert_eq!(Rng::new(1).uniform(), 4_711_630.0 / 16_777_216.0);
    }

    #[test]
    fn draws_walk_the_ids_in_order() {
        // Seed 42 begins 0.3391, 0.7823, 0.7901, 0.9440.
        let mut sampler = sampler(SamplingParams { seed: 42, ..open() });
        assert_eq!([0; 4].map(|_| sampler.sample(&[5.0; 4])), [1, 3, 3, 3]);
        assert_eq!(
            [0.0, 0.25, 0.26, 0.99].map(|u| draw(&equal_candidates(4), u)),
            [Some(0), Some(0), Some(1), Some(3)]
        );
        assert_eq!(draw(&[], 0.5), None);
    }

    fn equal_candidates(count: u32) -> Vec<Candidate> {
        (0..count).map(|token| Candidate { token, logit: 0.0, weight: 1.0 }).collect()
    }

    #[test]
    fn the_seed_decides() {
        let logits: Vec<f32> = (0..500).map(|i| (i * 37 % 100) as f32 / 25.0).collect();
        let run = |seed| {
            let mut sampler = sampler(SamplingParams { seed, ..open() });
            (0..50).map(|_| sampler.sample(&logits)).collect::<Vec<_>>()
        };
        assert_eq!(run(5), run(5));
        assert_ne!(run(5), run(6));
        assert_ne!(fresh_seed(), fresh_seed());
    }

    #[test]
    fn temperature_zero_takes_the_first_of_the_best_and_draws_nothing() {
        let mut sampler = sampler(SamplingParams { temperature: 0.0, ..open() });
        assert_eq!(sampler.sample(&[1.0, 3.0, -2.0, 3.0]), 1);
        assert_eq!(sampler.rng.state, 7);
    }

    #[test]
    fn non_finite_logits_take_no_part() {
        let logits = [f32::NAN, 1.0, f32::INFINITY, f32::NEG_INFINITY, 1.0];
        assert_eq!(argmax(&logits), 1);
        for params in [
            open(),
            SamplingParams { min_p: 0.05, ..open() },
            SamplingParams { top_k: 4, ..open() },
            SamplingParams { top_p: 0.99, ..open() },
        ] {
            assert_eq!(support(params.clone(), &logits), [1, 4]);
            for nothing in [&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY][..], &[]] {
                assert_eq!(support(params.clone(), nothing), [0]);
            }
        }
    }

    #[test]
    fn min_p_is_relative_to_the_best() {
        let params = |min_p| SamplingParams { min_p, ..open() };
        assert_eq!(support(params(0.2), &halves()), [0, 1, 2, 3]);
        assert_eq!(support(params(0.4), &halves()), [0, 1]);
        assert_eq!(support(params(1.0), &halves()), [0]);
    }

    #[test]
    fn top_p_keeps_the_token_that_reaches_it() {
        let params = |top_p| SamplingParams { top_p, ..open() };
        assert_eq!(support(params(0.4), &halves()), [0]);
        assert_eq!(support(params(0.6), &halves()), [0, 1]);
        assert_eq!(support(params(0.8), &halves()), [0, 1, 2]);
        assert_eq!(support(params(0.9), &halves()), [0, 1, 2, 3]);
        assert_eq!(support(params(0.0), &halves()), [0, 1, 2, 3]);
    }

    #[test]
    fn top_k_prefers_lower_ids_among_equals_and_renormalises() {
        let params = |top_k, top_p| SamplingParams { top_k, top_p, ..open() };
        assert_eq!(support(params(1, 1.0), &halves()), [0]);
        assert_eq!(support(params(3, 1.0), &halves()), [0, 1, 2]);
        assert_eq!(support(params(u32::MAX, 1.0), &halves()), [0, 1, 2, 3]);
        // Of two tokens the first has 2/3.
        assert_eq!(support(params(2, 0.6), &halves()), [0]);
        assert_eq!(support(params(2, 0.7), &halves()), [0, 1]);
    }

    #[test]
    fn temperature_comes_before_min_p() {
        let params = |temperature| SamplingParams { temperature, min_p: 0.6, ..open() };
        assert_eq!(support(params(1.0), &halves()), [0]);
        // At 2 the ratio 1/2 becomes 0.71.
        assert_eq!(support(params(2.0), &halves()), [0, 1]);
        // Extreme temperatures: the best alone, and everything.
        assert_eq!(support(SamplingParams { temperature: 1e-30, ..open() }, &halves()), [0]);
        assert_eq!(support(SamplingParams { temperature: 1e30, ..open() }, &halves()), [0, 1, 2, 3]);
    }

    /// A weight of 0 would be drawn first if the random number is 0.
    #[test]
    fn impossible_tokens_are_no_candidates() {
        let mut candidates = Vec::new();
        Scale { best_logit: 1e5, temperature: 1.0 }.collect(&[0.0, 1e5], 0.0, &mut candidates);
        assert_eq!(candidates.iter().map(|candidate| candidate.token).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn bias_and_penalties_by_hand() {
        let params = SamplingParams {
            presence_penalty: 0.5,
            frequency_penalty: 0.25,
            repetition_penalty: 2.0,
            logit_bias: vec![(0, 1.0), (9, 100.0)],
            ..open()
        };
        // Token 0 generated twice, 1 in the prompt, 2 in the prompt and generated once.
        let mut sampler = Sampler::new(params, &[1, 2, u32::MAX]).expect("valid parameters");
        [0, 0, 2, u32::MAX].iter().for_each(|&token| sampler.accept(token));
        let Sampler { params, occurrences, adjusted, .. } = &mut sampler;
        let logits = adjust(&[2.0, 3.0, -1.0, 4.0], params, occurrences, adjusted);
        assert_eq!(logits, [(2.0 + 1.0) / 2.0 - 2.0 * 0.25 - 0.5, 3.0 / 2.0, -2.0 - 0.25 - 0.5, 4.0]);
    }

    #[test]
    fn each_penalty_changes_the_choice() {
        let logits = [2.0, 1.9, -1.0];
        let presence = SamplingParams { presence_penalty: 0.2, ..open() };
        assert_eq!(greedy_after(presence.clone(), &[], &[0], &logits), 1);
        assert_eq!(greedy_after(presence, &[0], &[], &logits), 0, "the prompt does not count");
        let frequency = SamplingParams { frequency_penalty: 0.06, ..open() };
        assert_eq!(greedy_after(frequency.clone(), &[], &[0], &logits), 0);
        assert_eq!(greedy_after(frequency, &[], &[0, 0], &logits), 1);
        let repetition = SamplingParams { repetition_penalty: 1.2, ..open() };
        assert_eq!(greedy_after(repetition.clone(), &[0], &[], &logits), 1, "the prompt counts");
        assert_eq!(greedy_after(repetition.clone(), &[], &[0], &logits), 1);
        assert_eq!(greedy_after(repetition, &[0], &[], &[-1.0, -1.1]), 1, "negative logits grow");
        let ban = SamplingParams { logit_bias: vec![(0, -100.0)], ..open() };
        assert_eq!(greedy_after(ban, &[], &[], &logits), 1);
        assert_eq!(greedy_after(open(), &[0], &[0, 0], &logits), 0);
    }

    #[test]
    fn parameters_are_validated_by_name() {
        assert_eq!(SamplingParams::default().validate(), Ok(()));
        type Set = fn(&mut SamplingParams, f32);
        let bad: [(&str, Set, &[f32]); 7] = [
            ("temperature", |p, x| p.temperature = x, &[-0.1, f32::INFINITY, f32::NAN]),
            ("top_p", |p, x| p.top_p = x, &[-0.1, 1.1, f32::NAN]),
            ("min_p", |p, x| p.min_p = x, &[-0.1, 1.1, f32::NAN]),
            ("presence_penalty", |p, x| p.presence_penalty = x, &[f32::INFINITY, f32::NAN]),
            ("frequency_penalty", |p, x| p.frequency_penalty = x, &[f32::NEG_INFINITY, f32::NAN]),
            ("repetition_penalty", |p, x| p.repetition_penalty = x, &[0.0, -1.0, f32::INFINITY, f32::NAN]),
            ("logit_bias", |p, x| p.logit_bias.push((3, x)), &[f32::INFINITY, f32::NAN]),
        ];
        for (name, set, values) in bad {
            for &value in values {
                let mut params = open();
                set(&mut params, value);
                let error = Sampler::new(params, &[]).expect_err(name);
                assert!(matches!(error, SamplingError::OutOfRange { field, .. } if field == name), "{error}");
                assert!(error.to_string().starts_with(name), "{error}");
            }
        }
        let many = SamplingParams { logit_bias: vec![(0, 0.0); LOGIT_BIAS_ENTRIES_MAX + 1], ..open() };
        assert_eq!(many.validate(), Err(SamplingError::TooManyBiases { found: 65_537 }));
    }

    #[test]
    fn logprobs_by_hand() {
        let logits = [0.25f32.ln() + 50.0, f32::NAN, 0.5f32.ln() + 50.0, 0.25f32.ln() + 50.0, f32::NEG_INFINITY];
        let top = top_logprobs(&logits, 3);
        assert_eq!(top.iter().map(|entry| entry.token).collect::<Vec<_>>(), [2, 0, 3]);
        for (entry, p) in top.iter().zip([0.5f64, 0.25, 0.25]) {
            assert!((entry.logprob - p.ln()).abs() < 1e-5, "{entry:?}");
            assert_eq!(entry.logit, logits[entry.token as usize]);
            assert_eq!(entry.logprob, token_logprob(&logits, entry.token));
        }
        assert!((log_sum_exp(&logits) - 50.0).abs() < 1e-5);
        assert_eq!(top_logprobs(&logits, 99).len(), 3);
        assert_eq!(top_logprobs(&logits, 0), []);
        assert_eq!(top_logprobs(&[], 5), []);
        for token in [1, 4, 5, u32::MAX] {
            assert_eq!(token_logprob(&logits, token), f64::NEG_INFINITY);
        }
        assert_eq!(log_sum_exp(&[f32::NAN]), f64::NEG_INFINITY);
        // Sums in f64: a million equal logits.
        assert!((log_sum_exp(&vec![-700.0; 1_000_000]) - (1e6f64.ln() - 700.0)).abs() < 1e-9);
    }

    /// The rules word by word, with a full sort: the kept tokens and their weights, in drawing order.
    fn kept_by_the_rules(logits: &[f32], params: &SamplingParams) -> Vec<(u32, f32)> {
        let mut all: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).filter(|entry| entry.1.is_finite()).collect();
        let max = all.iter().fold(f32::NEG_INFINITY, |max, entry| max.max(entry.1));
        let weigh = |all: &mut Vec<(u32, f32)>| {
            all.iter_mut().for_each(|entry| entry.1 = ((entry.1 - max) / params.temperature).exp())
        };
        let top_p = if params.top_p == 0.0 { 1.0 } else { params.top_p };
        if params.top_k == 0 && top_p == 1.0 {
            weigh(&mut all);
            all.retain(|entry| entry.1 >= params.min_p && entry.1 > 0.0);
            return all;
        }
        let mut sorted = all.clone();
        sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        if params.top_k > 0 {
            sorted.truncate(params.top_k.min(1024) as usize);
            all = sorted.clone();
        }
        weigh(&mut all);
        weigh(&mut sorted);
        let total: f32 = all.iter().map(|entry| entry.1).sum();
        let mut kept = Vec::new();
        let mut cumulative = 0.0;
        for entry in sorted {
            if !kept.is_empty() && (entry.1 < params.min_p || entry.1 == 0.0) {
                break;
            }
            cumulative += entry.1 / total;
            kept.push(entry);
            if cumulative >= top_p {
                break;
            }
        }
        kept
    }

    /// Logits with ties, gaps and values that are not finite.
    fn random_logits(rng: &mut Rng, count: usize, spread: f32) -> Vec<f32> {
        let logit = |rng: &mut Rng| match rng.next() >> 58 {
            0 => f32::NAN,
            1 => f32::INFINITY,
            2 => f32::NEG_INFINITY,
            3..=20 => (rng.uniform() * 8.0).floor() * spread / 8.0 + 0.5,
            _ => rng.uniform() * spread - spread / 2.0,
        };
        (0..count).map(|_| logit(rng)).collect()
    }

    #[test]
    fn random_cases_follow_the_rules_word_by_word() {
        let mut rng = Rng::new(2024);
        for case in 0..3000 {
            let mut pick = |choices: &[f32]| choices[rng.next() as usize % choices.len()];
            let params = SamplingParams {
                temperature: pick(&[0.01, 0.3, 1.0, 1.7, 100.0]),
                top_k: pick(&[0.0, 0.0, 1.0, 3.0, 40.0, 1024.0, 5000.0]) as u32,
                top_p: pick(&[0.0, 0.05, 0.5, 0.9, 0.999, 1.0, 1.0]),
                min_p: pick(&[0.0, 0.0, 0.05, 0.5, 1.0]),
                seed: case,
                ..SamplingParams::default()
            };
            let (count, spread) = (pick(&[1.0, 2.0, 10.0, 300.0, 5000.0]) as usize, pick(&[0.1, 4.0, 30.0, 1e4]));
            let logits = random_logits(&mut rng, count, spread);
            let kept = kept_by_the_rules(&logits, &params);
            let mut sampler = sampler(params.clone());
            for _ in 0..3 {
                let mut rest = sampler.rng.clone().uniform() * kept.iter().map(|entry| entry.1).sum::<f32>();
                let drawn = kept.iter().find(|entry| {
                    rest -= entry.1;
                    rest <= 0.0
                });
                let sampled = sampler.sample(&logits);
                match drawn {
                    Some(entry) => assert_eq!(sampled, entry.0, "{params:?}"),
                    // Rounding left none, or there is none: the last or best token.
                    None => assert!(kept.is_empty() || kept.iter().any(|entry| entry.0 == sampled), "{params:?}"),
                }
            }
        }
    }

    /// Observed frequencies against probabilities computed in `f64`: χ² of up to 7 degrees of freedom
    /// exceeds 30 once in ten thousand seeds.
    #[test]
    fn frequencies_match_probabilities() {
        const DRAWS: u32 = 200_000;
        let logits = [0.3f32, -1.0, 2.0, 1.1, 0.3, -0.4, 1.9, 0.0];
        for (params, kept) in [
            (open(), &[0, 1, 2, 3, 4, 5, 6, 7][..]),
            (SamplingParams { temperature: 0.6, ..open() }, &[0, 1, 2, 3, 4, 5, 6, 7]),
            (SamplingParams { top_k: 4, temperature: 1.5, ..open() }, &[0, 2, 3, 6]),
            (SamplingParams { top_p: 0.75, ..open() }, &[2, 3, 6]),
            (SamplingParams { min_p: 0.3, ..open() }, &[2, 3, 6]),
        ] {
            let weight = |token: &usize| (f64::from(logits[*token]) / f64::from(params.temperature)).exp();
            let total: f64 = kept.iter().map(weight).sum();
            let mut sampler = sampler(params.clone());
            let mut counts = [0u32; 8];
            (0..DRAWS).for_each(|_| counts[sampler.sample(&logits) as usize] += 1);
            assert_eq!(kept.iter().map(|&token| counts[token]).sum::<u32>(), DRAWS, "{params:?}");
            let deviation = |token: &usize| {
                let expected = weight(token) / total * f64::from(DRAWS);
                (f64::from(counts[*token]) - expected).powi(2) / expected
            };
            let chi_square: f64 = kept.iter().map(deviation).sum();
            assert!(chi_square < 30.0, "{params:?}: {chi_square}");
        }
    }

    #[test]
    fn buffers_are_reused() {
        let mut sampler = sampler(SamplingParams { logit_bias: vec![(1, 0.5)], top_p: 0.9, ..open() });
        let logits = [1.0; 4000];
        sampler.sample(&logits);
        let capacities = (sampler.adjusted.capacity(), sampler.candidates.capacity());
        for _ in 0..20 {
            sampler.sample(&logits);
        }
        assert_eq!((sampler.adjusted.capacity(), sampler.candidates.capacity()), capacities);
    }
}
