//! What every backend must show: recorded logits of an independent implementation, and agreement with itself.
//!
//! The fixture is a part of the conformance set (`docs/correctness.md`); limits are those of its `strict` profile. A test file of a backend
//! calls these with its own way to make an engine.

use ds4_engine::Precision;
use ds4_engine::backend::Backend;
use ds4_engine::{Engine, Error, Logits, Rows, Sequence};
use std::path::Path;

/// Limits of the strict profile on e, the largest logit error of a row.
struct Limits {
    row: f64,
    sensitivity: f64,
    median: f64,
    p90: f64,
    big: f64,
    big_share: f64,
    /// On the rms error over the standard deviation of the reference.
    rms: f64,
}

/// Makes an engine: arithmetic, whether KV rows stay unrounded, rows of a step. The context is 512.
pub type Make<'a, B> = &'a dyn Fn(Precision, bool, usize) -> Engine<B>;

const PLAIN: Limits =
    Limits { row: 3e-4, sensitivity: 5.0, median: 1e-4, p90: 5e-4, big: 5e-3, big_share: 0.01, rms: 1e-3 };
const CACHE: Limits =
    Limits { row: 5e-2, sensitivity: 10.0, median: 2e-2, p90: 1.5e-1, big: 1.0, big_share: 0.04, rms: 4e-2 };
/// Below so many rows each one counts, with a wider limit.
const ROWS_WITHOUT_EXCEPTION: usize = 12;
const FEW_ROWS_FACTOR: f64 = 3.0;
/// Rows from which quantiles are judged.
const ROWS_FOR_QUANTILES: usize = 60;

struct Case {
    prompt: String,
    plain: bool,
    tokens: Vec<u32>,
    positions: Vec<usize>,
    logits: Vec<f32>,
    sensitivity: Vec<f32>,
}

struct Fixture {
    vocab: usize,
    cases: Vec<Case>,
    greedy: Vec<serde_json::Value>,
}

/// A file of the fixture.
pub fn data(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/data").join(name)
}

fn list<T: serde::de::DeserializeOwned>(v: &serde_json::Value) -> Vec<T> {
    serde_json::from_value(v.clone()).unwrap()
}

fn fixture() -> Fixture {
    let index: serde_json::Value = serde_json::from_slice(&std::fs::read(data("s-q8.json")).unwrap()).unwrap();
    let blob = std::fs::read(data("s-q8.f32")).unwrap();
    let floats: Vec<f32> = blob.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let vocab = index["vocab"].as_u64().unwrap() as usize;
    let case = |c: &serde_json::Value| {
        let positions: Vec<usize> = list(&c["positions"]);
        let (at, n) = (c["offset"].as_u64().unwrap() as usize / 4, positions.len());
        Case {
            prompt: c["prompt"].as_str().unwrap().to_owned(),
            plain: c["mode"] == "plain",
            tokens: list(&c["tokens"]),
            logits: floats[at..at + n * vocab].to_vec(),
            sensitivity: floats[at + n * vocab..at + n * vocab + n].to_vec(),
            positions,
        }
    };
    let cases = index["cases"].as_array().unwrap().iter().map(case).collect();
    Fixture { vocab, cases, greedy: index["greedy"].as_array().unwrap().clone() }
}

fn all_logits<B: Backend>(engine: &mut Engine<B>, tokens: &[u32]) -> Vec<f32> {
    let mut sequence = engine.sequence().unwrap();
    engine.prefill(&mut sequence, tokens, Logits::All, &mut |_| (), &|| false).unwrap()
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * q).round() as usize]
}

fn judge(case: &Case, vocab: usize, got: &[f32]) {
    let limits = if case.plain { PLAIN } else { CACHE };
    let what = format!("{} {}", case.prompt, if case.plain { "plain" } else { "cache" });
    let n = case.positions.len();
    let few = n < ROWS_WITHOUT_EXCEPTION;
    let (mut errors, mut over, mut squares) = (Vec::with_capacity(n), 0, 0.0);
    for (i, position) in case.positions.iter().enumerate() {
        let (want, got) = (&case.logits[i * vocab..(i + 1) * vocab], &got[position * vocab..(position + 1) * vocab]);
        assert!(got.iter().all(|v| v.is_finite()), "{what}: a logit at position {position} is not finite");
        let differences = want.iter().zip(got).map(|(a, b)| f64::from((a - b).abs()));
        let e = differences.clone().fold(0.0, f64::max);
        squares += differences.map(|d| d * d).sum::<f64>();
        let allowed = limits.row + limits.sensitivity * f64::from(case.sensitivity[i]);
        let limit = if few { FEW_ROWS_FACTOR * allowed.max(limits.p90) } else { allowed.max(limits.big) };
        over += usize::from(e > limit);
        errors.push(e);
    }
    errors.sort_by(f64::total_cmp);
    let let_off = if few { 0 } else { ((n as f64 * limits.big_share) as usize).max(1) };
    assert!(over <= let_off, "{what}: {over} of {n} rows exceed their limit; worst {:.1e}", errors[n - 1]);
    if n >= ROWS_FOR_QUANTILES {
        let (median, p90) = (quantile(&errors, 0.5), quantile(&errors, 0.9));
        assert!(median <= limits.median && p90 <= limits.p90, "{what}: median {median:.1e}, 90 % {p90:.1e}");
        let rms = (squares / (n * vocab) as f64).sqrt() / deviation(&case.logits);
        assert!(rms <= limits.rms, "{what}: rms {rms:.1e}");
    }
}

fn deviation(values: &[f32]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    (values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n).sqrt()
}

/// Logits are those of the reference, however the prompt is cut.
pub fn logits_equal_the_reference<B: Backend>(make: Make<'_, B>, chunks: &[usize]) {
    let fixture = fixture();
    for chunk in chunks {
        for plain in [true, false] {
            let mut engine = make(Precision::Exact, plain, *chunk);
            for case in fixture.cases.iter().filter(|c| c.plain == plain) {
                let got = all_logits(&mut engine, &case.tokens);
                judge(case, fixture.vocab, &got);
            }
        }
    }
}

/// So are greedy continuations.
pub fn greedy_continuation_equals_the_reference<B: Backend>(make: Make<'_, B>) {
    let fixture = fixture();
    for g in &fixture.greedy {
        let mut engine = make(Precision::Exact, g["mode"] == "plain", 64);
        let (prompt, want, margins): (Vec<u32>, Vec<u32>, Vec<f64>) =
            (list(&g["prompt"]), list(&g["tokens"]), list(&g["margins"]));
        let mut sequence = engine.sequence().unwrap();
        let mut logits = engine.prefill(&mut sequence, &prompt, Logits::Last, &mut |_| (), &|| false).unwrap();
        for (i, want) in want.iter().enumerate() {
            let token = ds4_engine::sampler::argmax(&logits);
            if token != *want {
                assert!(
                    margins[i] < 0.3 && g["mode"] == "cache",
                    "step {i}: {token} instead of {want}, margin {}",
                    margins[i]
                );
                break;
            }
            logits = decode(&mut engine, &mut sequence, token);
        }
    }
}

fn decode<B: Backend>(engine: &mut Engine<B>, sequence: &mut Sequence<B>, token: u32) -> Vec<f32> {
    engine.step(&mut [Rows { sequence, tokens: &[token], logits: Logits::Last }], &|| false).unwrap()
}

/// How far values of two computations of the same may be apart: 0 demands the same bits.
fn assert_close(got: &[f32], want: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let worst = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(got == want || worst <= tolerance, "{what}: {worst:e} apart");
}

/// A fork continues as if it had been evaluated alone, at every phase of both compressors; so does its origin. `shared` counts the
/// pages that a cache shares.
pub fn forks_are_independent<B: Backend>(make: Make<'_, B>, shared: &dyn Fn(&B::Cache) -> usize) {
    let fixture = fixture();
    let tokens = &fixture.cases.iter().find(|c| c.prompt == "p300").unwrap().tokens;
    let mut engine = make(Precision::Exact, false, 1);
    let whole = all_logits(&mut engine, tokens);
    let row = |i: usize| &whole[i * fixture.vocab..(i + 1) * fixture.vocab];
    let mut sequence = engine.sequence().unwrap();
    for (i, token) in tokens.iter().enumerate() {
        if [1, 3, 4, 126, 127, 128, 129, 130, 255, 256, 257].contains(&i) {
            let mut fork = sequence.clone();
            for other in [5, 9, 7, 300, 2] {
                decode(&mut engine, &mut fork, other);
            }
            let mut again = sequence.clone();
            assert_eq!(decode(&mut engine, &mut again, *token), row(i), "fork at {i}");
            // Complete pages are shared, not copied.
            assert!(shared(sequence.cache()) >= i / 128);
        }
        assert_eq!(decode(&mut engine, &mut sequence, *token), row(i), "position {i}");
    }
}

/// Rows of several sequences in one step give what each gives alone, to `tolerance`; KV rows are not rounded, lest a difference of the
/// last bit tips one.
pub fn a_batch_equals_its_sequences_alone<B: Backend>(make: Make<'_, B>, plain: bool, tolerance: f32) {
    let fixture = fixture();
    let tokens = &fixture.cases.iter().find(|c| c.prompt == "p300").unwrap().tokens;
    let mut engine = make(Precision::Exact, plain, 256);
    let vocab = fixture.vocab;
    let pieces: [&[u32]; 3] = [&tokens[..150], &tokens[10..11], &tokens[100..200]];
    let alone: Vec<Vec<f32>> = pieces.iter().map(|p| all_logits(&mut engine, p)).collect();
    let mut sequences: Vec<_> = pieces.iter().map(|_| engine.sequence().unwrap()).collect();
    // First the beginnings together, then the rest together: a decode row beside prefill chunks.
    let halves = [[&pieces[0][..149], pieces[1], &pieces[2][..3]].to_vec(), vec![&pieces[0][149..], &pieces[2][3..]]];
    let mut got = vec![Vec::new(); 3];
    for (half, members) in halves.iter().zip([vec![0, 1, 2], vec![0, 2]]) {
        let mut rows: Vec<Rows<'_, B>> = sequences
            .iter_mut()
            .enumerate()
            .filter(|(i, _)| members.contains(i))
            .zip(half)
            .map(|((_, sequence), tokens)| Rows { sequence, tokens, logits: Logits::All })
            .collect();
        let logits = engine.step(&mut rows, &|| false).unwrap();
        let mut at = 0;
        for (member, tokens) in members.iter().zip(half) {
            got[*member].extend_from_slice(&logits[at..at + tokens.len() * vocab]);
            at += tokens.len() * vocab;
        }
    }
    for (got, alone) in got.iter().zip(&alone) {
        assert_close(got, alone, tolerance, "logits of a batch and of its sequence alone");
    }
}

/// Fast arithmetic against exact: divergence of the distributions and agreement of the first token.
pub fn fast_stays_close_to_exact<B: Backend>(make: Make<'_, B>) {
    let fixture = fixture();
    let tokens = &fixture.cases.iter().find(|c| c.prompt == "p300").unwrap().tokens;
    let exact = all_logits(&mut make(Precision::Exact, false, 128), tokens);
    let fast = all_logits(&mut make(Precision::Fast, false, 128), tokens);
    let (mut divergence, mut same) = (0.0, 0);
    for (a, b) in exact.chunks(fixture.vocab).zip(fast.chunks(fixture.vocab)) {
        let (za, zb) = (ds4_engine::sampler::log_sum_exp(a), ds4_engine::sampler::log_sum_exp(b));
        let kl = |(a, b): (&f32, &f32)| (f64::from(*a) - za).exp() * ((f64::from(*a) - za) - (f64::from(*b) - zb));
        divergence += a.iter().zip(b).map(kl).sum::<f64>();
        same += usize::from(ds4_engine::sampler::argmax(a) == ds4_engine::sampler::argmax(b));
    }
    let n = tokens.len() as f64;
    assert!(divergence / n < 2e-3, "mean KL divergence {}", divergence / n);
    assert!(same as f64 / n > 0.97, "first token agrees in {same} of {n}");
}

/// A step that is refused changes nothing.
pub fn steps_are_checked_before_anything_changes<B: Backend>(make: Make<'_, B>) {
    let mut engine = make(Precision::Fast, false, 16);
    let mut sequence = engine.sequence().unwrap();
    let mut step = |sequence: &mut Sequence<B>, tokens: &[u32]| {
        engine.step(&mut [Rows { sequence, tokens, logits: Logits::None }], &|| false)
    };
    assert!(matches!(step(&mut sequence, &[]), Err(Error::Empty)));
    assert!(matches!(step(&mut sequence, &[384]), Err(Error::Token { token: 384, vocab: 384 })));
    assert!(matches!(step(&mut sequence, &[1; 17]), Err(Error::TooManyRows { rows: 17, most: 16 })));
    for _ in 0..32 {
        step(&mut sequence, &[1; 16]).unwrap();
    }
    assert!(matches!(step(&mut sequence, &[1]), Err(Error::Context { tokens: 513, context: 512 })));
    assert_eq!(sequence.len(), 512);
}

/// A step that was interrupted leaves its checkpoint usable.
pub fn an_interrupted_step_breaks_its_sequence_and_spares_the_checkpoint<B: Backend>(make: Make<'_, B>) {
    let mut engine = make(Precision::Fast, false, 16);
    let mut sequence = engine.sequence().unwrap();
    decode(&mut engine, &mut sequence, 3);
    let mut checkpoint = sequence.clone();
    let rows = Rows { sequence: &mut sequence, tokens: &[4], logits: Logits::Last };
    assert!(matches!(engine.step(&mut [rows], &|| true), Err(Error::Interrupted)));
    let rows = Rows { sequence: &mut sequence, tokens: &[4], logits: Logits::Last };
    assert!(matches!(engine.step(&mut [rows], &|| false), Err(Error::Broken)));
    let mut fresh = engine.sequence().unwrap();
    decode(&mut engine, &mut fresh, 3);
    assert_eq!(decode(&mut engine, &mut checkpoint, 4), decode(&mut engine, &mut fresh, 4));
}
