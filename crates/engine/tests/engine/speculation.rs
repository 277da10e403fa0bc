//! Drafts by the demo model's multi-token block: they change no answer and leave no trace.

use crate::common::{self, Seen, demo, prompts, state};
use ds4_engine::Precision;
use ds4_engine::cpu::{CpuBackend, CpuOptions};
use ds4_engine::kv::{DRAFTS_MAX, RowFormat};
use ds4_engine::sampler::{Sampler, SamplingParams, argmax};
use ds4_engine::scheduler::{End, Follower};
use ds4_engine::speculation::{Speculation, choose};
use ds4_engine::{Config, DrafterOptions, Engine, EngineOptions, Logits, Pairing, Rows, Sequence, TokenId, Wish};
use ds4_gguf::{File, Writer};
use std::collections::HashMap;
use std::sync::Arc;

const CONTEXT: usize = 2048;

fn engine(pairing: Option<Pairing>) -> Engine<CpuBackend> {
    engine_with(pairing.map(|pairing| DrafterOptions { file: demo("ds4-demo-mtp.gguf"), pairing }))
}

fn engine_with(drafter: Option<DrafterOptions>) -> Engine<CpuBackend> {
    let file = demo("ds4-demo-q2.gguf");
    let config = Config::from_file(&file).unwrap();
    let options = CpuOptions { precision: Precision::Exact, threads: 2, rows: RowFormat::Native };
    let backend = CpuBackend::new(&config, options).unwrap();
    let options = EngineOptions { context: CONTEXT, chunk: 128 };
    Engine::with_drafter(file, config, backend, options, drafter.as_ref()).unwrap()
}

fn step(engine: &mut Engine<CpuBackend>, sequence: &mut Sequence<CpuBackend>, tokens: &[TokenId]) -> Vec<f32> {
    engine.step(&mut [Rows { sequence, tokens, logits: Logits::All }], &|| false).unwrap()
}

#[test]
fn rejected_drafts_leave_no_trace() {
    let mut engine = engine(None);
    let text = common::prompt(5, 320);
    let mut whole = engine.sequence().unwrap();
    // Around a window of four, a window of 128, the end of a page and the edge of the sliding window.
    for length in [1, 3, 4, 119, 126, 127, 128, 131, 255, 257, 300] {
        let known = whole.len();
        engine.prefill(&mut whole, &text[known..length], Logits::None, &mut |_| (), &|| false).unwrap();
        for (right, wrong) in [(0, 1), (0, DRAFTS_MAX), (3, DRAFTS_MAX - 3)] {
            let (mut plain, mut drafted) = (whole.clone(), whole.clone());
            let kept = length + 1 + right;
            step(&mut engine, &mut drafted, &[&text[length..kept], &common::prompt(9, wrong)].concat());
            engine.take_back(&mut drafted, kept).unwrap();
            assert_eq!(drafted.tokens(), &text[..kept]);
            text[length..kept].iter().for_each(|token| drop(step(&mut engine, &mut plain, &[*token])));
            let is_equal = state(&engine, &plain) == state(&engine, &drafted);
            assert!(is_equal, "{right} of {} drafts after {length} tokens", right + wrong);
            // And what comes of it.
            let following = &text[kept..kept + 9];
            assert_eq!(step(&mut engine, &mut plain, following), step(&mut engine, &mut drafted, following));
            assert!(state(&engine, &plain) == state(&engine, &drafted));
        }
    }
    // The state that all of them came from is as it was.
    let mut fresh = engine.sequence().unwrap();
    engine.prefill(&mut fresh, &text[..300], Logits::None, &mut |_| (), &|| false).unwrap();
    assert!(state(&engine, &fresh) == state(&engine, &whole));
    assert!(engine.take_back(&mut fresh, 299 - DRAFTS_MAX).is_err());
}

/// Greedy answers with drafts as `speculation` wants them.
fn answers(speculation: Option<Speculation>, prompts: &[Vec<TokenId>], tokens: usize) -> (Vec<Seen>, u64, u64) {
    common::answers(engine(speculation.is_some().then_some(Pairing::Next)), speculation, prompts, tokens)
}

#[test]
fn drafts_change_no_answer() {
    let mut asked = prompts("arithmetic", 6);
    asked.extend(prompts("about", 3));
    asked.push(asked[3].clone());
    let (plain, ..) = answers(None, &asked, 50);
    for (speculation, least) in
        [(Speculation::always(2), 250), (Speculation::always(DRAFTS_MAX), 250), (Speculation::new(4), 1)]
    {
        let (drafted, tried, right) = answers(Some(speculation), &asked, 50);
        assert!(right >= least && right <= tried, "{right} of {tried}");
        for (plain, drafted) in plain.iter().zip(&drafted) {
            assert_eq!((&plain.tokens, &plain.end), (&drafted.tokens, &drafted.end));
        }
    }
}

/// Samples with everything that a distribution may be shaped by: bias, penalties, top-k, top-p, min-p and a mask.
struct Sampled {
    sampler: Sampler,
    tokens: Vec<TokenId>,
}

const MASKED: u32 = 7;

fn sampling(seed: u64) -> SamplingParams {
    SamplingParams {
        temperature: 7.0,
        top_k: 12,
        top_p: 0.97,
        min_p: 0.01,
        presence_penalty: 0.4,
        repetition_penalty: 1.2,
        logit_bias: vec![(62, 1.5), (2596, -0.5)],
        seed,
        ..SamplingParams::default()
    }
}

impl Follower for Sampled {
    fn is_gone(&self) -> bool {
        false
    }
    fn admitted(&mut self, _: usize) {}
    fn next(&mut self, logits: &mut [f32]) -> Option<TokenId> {
        logits.iter_mut().step_by(MASKED as usize).for_each(|logit| *logit = f32::NEG_INFINITY);
        let token = self.sampler.sample(logits);
        self.sampler.accept(token);
        self.tokens.push(token);
        Some(token)
    }
    fn ended(&mut self, _: End) {}
}

/// The probabilities that `Sampled` means, from the definition.
fn distribution(logits: &[f32], prompt: &[TokenId], generated: &[TokenId]) -> Vec<(TokenId, f64)> {
    let params = sampling(1);
    let mut all: Vec<(TokenId, f64)> = (0..).zip(logits.iter().map(|l| f64::from(*l))).collect();
    all.retain(|(token, _)| token % MASKED != 0);
    for (token, logit) in &mut all {
        *logit += params.logit_bias.iter().filter(|(id, _)| id == token).map(|(_, bias)| f64::from(*bias)).sum::<f64>();
        let penalty = f64::from(params.repetition_penalty);
        if prompt.contains(token) || generated.contains(token) {
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
        if generated.contains(token) {
            *logit -= f64::from(params.presence_penalty);
        }
    }
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all.truncate(params.top_k as usize);
    let best = all[0].1;
    all.iter_mut().for_each(|(_, x)| *x = ((*x - best) / f64::from(params.temperature)).exp());
    let total: f64 = all.iter().map(|(_, p)| p).sum();
    let (mut kept, mut sum) = (0, 0.0);
    while kept < all.len() && sum < f64::from(params.top_p) && (kept == 0 || all[kept].1 >= f64::from(params.min_p)) {
        sum += all[kept].1 / total;
        kept += 1;
    }
    all.truncate(kept);
    let total: f64 = all.iter().map(|(_, p)| p).sum();
    all.iter().map(|(token, p)| (*token, p / total)).collect()
}

#[test]
fn what_is_sampled_has_the_distribution_of_sampling_without_drafts() {
    const DRAWS: u64 = 100_000;
    let mut engine = engine(Some(Pairing::Next));
    let prompt = prompts("about", 2).remove(1);
    let mut sequence = engine.sequence().unwrap();
    let logits = engine.prefill(&mut sequence, &prompt, Logits::Last, &mut |_| (), &|| false).unwrap();
    let next = argmax(&logits);
    let drafts = engine.draft(&mut [Wish { sequence: &mut sequence, next, depth: 2 }]).unwrap().remove(0);
    let logits = step(&mut engine, &mut sequence, &[&[next], &drafts[..]].concat());
    let vocab = engine.config().vocab;

    // What may come out, with its probability: a token that was not drafted ends it, and so does the third.
    let (mut expected, mut all_right) = (HashMap::new(), 1.0);
    for (row, logits) in logits.chunks_exact(vocab).enumerate() {
        let mut of_drafts = 0.0;
        for (token, p) in distribution(logits, &prompt, &drafts[..row]) {
            if drafts.get(row) == Some(&token) {
                of_drafts = p;
            } else {
                expected.insert([&drafts[..row], &[token]].concat(), all_right * p);
            }
        }
        all_right *= of_drafts;
    }
    let mut seen: HashMap<Vec<TokenId>, u64> = HashMap::new();
    for seed in 1..=DRAWS {
        let sampler = Sampler::new(sampling(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)), &prompt).unwrap();
        let mut follower = Sampled { sampler, tokens: Vec::new() };
        let mut logits = logits.clone();
        let (last, accepted) = choose(&mut follower, logits.chunks_exact_mut(vocab).collect(), &drafts);
        assert_eq!((last, accepted), (follower.tokens.last().copied(), follower.tokens.len() - 1));
        *seen.entry(follower.tokens).or_default() += 1;
    }
    assert!(seen.keys().all(|tokens| expected.contains_key(tokens)), "only what is allowed");
    let (mut chi, mut categories, mut rest) = (0.0, 0, (0.0, 0.0));
    for (tokens, p) in &expected {
        let (wanted, found) = (p * DRAWS as f64, seen.get(tokens).copied().unwrap_or(0) as f64);
        if wanted < 20.0 {
            rest = (rest.0 + wanted, rest.1 + found);
        } else {
            chi += (found - wanted).powi(2) / wanted;
            categories += 1;
        }
    }
    if rest.0 > 0.0 {
        chi += (rest.1 - rest.0).powi(2) / rest.0;
        categories += 1;
    }
    let freedom = f64::from(categories - 1);
    let accepted: f64 = seen.iter().map(|(tokens, n)| (tokens.len() - 1) as f64 * *n as f64).sum();
    println!("chi-square {chi:.1}, {freedom} degrees of freedom, {:.2} drafts accepted", accepted / DRAWS as f64);
    assert!(freedom >= 10.0 && accepted > 0.2 * DRAWS as f64, "the test says something");
    // One in about 30,000 would be larger if the distributions are equal.
    assert!(chi < freedom + 4.0 * (2.0 * freedom).sqrt() + 5.0, "{chi} with {freedom} degrees of freedom");
}

/// Share of first and second drafts that were right over greedy answers.
fn acceptance(pairing: Pairing) -> [f64; 2] {
    let mut engine = engine(Some(pairing));
    let (mut right, mut all) = ([0.0; 2], 0.0);
    for prompt in prompts("arithmetic", 4) {
        let mut sequence = engine.sequence().unwrap();
        let logits = engine.prefill(&mut sequence, &prompt, Logits::Last, &mut |_| (), &|| false).unwrap();
        let mut next = argmax(&logits);
        for _ in 0..40 {
            let drafts = engine.draft(&mut [Wish { sequence: &mut sequence, next, depth: 2 }]).unwrap().remove(0);
            assert_eq!(drafts.len(), 2);
            let vocab = engine.config().vocab;
            let rows = [next, drafts[0]];
            let logits = step(&mut engine, &mut sequence, &rows);
            let (first, second) = (argmax(&logits[..vocab]), argmax(&logits[vocab..]));
            all += 1.0;
            right[0] += f64::from(u8::from(drafts[0] == first));
            right[1] += f64::from(u8::from(drafts[0] == first && drafts[1] == second));
            let kept = sequence.len() - 1;
            engine.take_back(&mut sequence, kept).unwrap();
            next = first;
        }
    }
    right.map(|right| right / all)
}

#[test]
fn the_block_was_trained_on_the_next_token() {
    let (next, same) = (acceptance(Pairing::Next), acceptance(Pairing::Same));
    println!("next {next:?}, same {same:?}");
    assert!(next[0] > 0.6 && next[1] > 0.3, "{next:?}");
    assert!(same[0] < next[0] - 0.3, "{same:?}");
}

/// The demo model's block with the names of llama.cpp, which counts it as one more layer.
fn as_layer() -> Arc<File> {
    let file = demo("ds4-demo-mtp.gguf");
    let mut writer = Writer::new();
    writer.metadata("general.architecture", "deepseek4");
    for tensor in file.tensors() {
        let name = tensor.name.strip_prefix("mtp.0.").unwrap();
        let is_own = ["e_proj", "h_proj", "enorm", "hnorm", "hc_head_"].iter().any(|own| name.starts_with(own));
        let name = match name {
            "norm.weight" => "blk.5.nextn.shared_head_norm.weight".to_owned(),
            _ if is_own => format!("blk.5.nextn.{name}"),
            _ => format!("blk.5.{name}"),
        };
        writer.tensor(name, &tensor.dims, tensor.ty, file.data(tensor).to_vec());
    }
    let mut bytes = Vec::new();
    writer.write_to(&mut bytes).unwrap();
    Arc::new(File::from_vec(bytes).unwrap())
}

#[test]
fn both_ways_of_naming_the_block_are_known() {
    let files = [demo("ds4-demo-mtp.gguf"), as_layer()];
    let [a, b] = files.map(|file| {
        let mut engine = engine_with(Some(DrafterOptions { file, pairing: Pairing::Next }));
        let mut sequence = engine.sequence().unwrap();
        // More than one pass takes, and more than the window.
        let text = common::prompt(3, 300);
        engine.prefill(&mut sequence, &text, Logits::None, &mut |_| (), &|| false).unwrap();
        assert_eq!(sequence.undrafted(), 128);
        engine.draft(&mut [Wish { sequence: &mut sequence, next: 50, depth: DRAFTS_MAX }]).unwrap().remove(0)
    });
    assert_eq!(a.len(), DRAFTS_MAX);
    assert_eq!(a, b);
}
