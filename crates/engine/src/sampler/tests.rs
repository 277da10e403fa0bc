//! Each rule by hand-computed examples, and random cases against a full sort.

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
    let mut sampler = Sampler::new(SamplingParams { temperature: 0.0, ..params }, prompt).expect("valid parameters");
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
    assert_eq!([0.0, 0.25, 0.26, 0.99].map(|u| draw(&equal_candidates(4), u)), [Some(0), Some(0), Some(1), Some(3)]);
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
