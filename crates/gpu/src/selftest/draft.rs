//! What only the draft block needs: its input against the formulas in f64, its guesses against the sampler.

use super::weights::{Random, close};
use super::{Case, Shapes, Trial, Verdict, Work};
use crate::gpu::{Gpu, to_floats};
use crate::ops::draft::{Norms, add, choose};
use crate::rows::{Rows, Vector};
use ds4_engine::Result;
use ds4_engine::config::STREAMS;
use ds4_engine::sampler::argmax;

const EPS: f32 = 1e-6;

fn normed(x: &[f32], norm: &[f32]) -> Vec<f64> {
    let square: f64 = x.iter().map(|v| f64::from(*v).powi(2)).sum();
    let inverse = 1.0 / (square / x.len() as f64 + f64::from(EPS)).sqrt();
    x.iter().zip(norm).map(|(x, w)| f64::from(*x) * inverse * f64::from(*w)).collect()
}

/// Norms and sums of `rows` rows of streams of `embd` values.
///
/// # Errors
/// The device failed.
pub fn check_join(verdict: &mut Verdict, gpu: &Gpu, embd: usize, rows: usize) -> Result<()> {
    let mut random = Random(embd as u64 + rows as u64);
    let (embedded, streams) = (random.values(rows * STREAMS * embd), random.values(rows * STREAMS * embd));
    let (token, stream) = (random.values(embd), random.values(embd));
    let embedded_on = Rows::of(gpu, &embedded, STREAMS * embd)?;
    let streams_on = Rows::of(gpu, &streams, STREAMS * embd)?;
    let (token_on, stream_on) = (Vector::new(gpu, &token)?, Vector::new(gpu, &stream)?);
    let normed_token = super::linear::poisoned(gpu, rows, embd)?;
    let normed_streams = super::linear::poisoned(gpu, STREAMS * rows, embd)?;
    let norms = Norms { embedded: &embedded_on, streams: &streams_on, token: &token_on, stream: &stream_on, eps: EPS };
    norms.apply(gpu, rows, &normed_token, &normed_streams)?;
    let (of_token, of_streams) = (normed_token.read(gpu, rows)?, normed_streams.read(gpu, STREAMS * rows)?);
    for (got, x) in of_token.chunks(embd).zip(embedded.chunks(STREAMS * embd)) {
        close(verdict, "token", got, &normed(&x[..embd], &token), 1e-6);
    }
    for (got, x) in of_streams.chunks(embd).zip(streams.chunks(embd)) {
        close(verdict, "stream", got, &normed(x, &stream), 1e-6);
    }
    let x_on = super::linear::poisoned(gpu, rows, STREAMS * embd)?;
    add(gpu, rows, &normed_token, &normed_streams, &x_on)?;
    let sums = of_streams.iter().enumerate().map(|(i, s)| s + of_token[i / (STREAMS * embd) * embd + i % embd]);
    let is_sum = x_on.read(gpu, rows)?.into_iter().eq(sums);
    verdict.require(is_sum, || format!("{rows} rows of {embd}: not the sums of token and streams"));
    Ok(())
}

/// Logits with a few of what is no number.
fn logits(width: usize, rows: usize) -> Vec<f32> {
    let mut random = Random(width as u64);
    let mut logits: Vec<f32> = random.values(rows * width).iter().map(|v| (v * 40.0).round()).collect();
    for (i, logit) in logits.iter_mut().enumerate().filter(|(i, _)| i % 61 == 5) {
        *logit = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0][i % 4];
    }
    logits
}

/// The most probable of `width` tokens in `rows` rows.
///
/// # Errors
/// The device failed.
pub fn check_choose(verdict: &mut Verdict, gpu: &Gpu, width: usize, rows: usize) -> Result<()> {
    let logits = logits(width, rows);
    let tokens = gpu.buffer("tokens", 4 * (rows + 3) as u64)?;
    choose(gpu, rows, &Rows::of(gpu, &logits, width)?, &tokens, 3)?;
    let got: Vec<u32> = to_floats(&gpu.download(&tokens, 12, 4 * rows as u64)?).iter().map(|v| v.to_bits()).collect();
    let want: Vec<u32> = logits.chunks(width).map(argmax).collect();
    verdict.require(got == want, || format!("{rows} rows of {width} logits: tokens {got:?}, not {want:?}"));
    Ok(())
}

/// Cases of the draft block's own operations.
pub(super) fn cases(shapes: Shapes) -> Vec<Case> {
    match shapes {
        Shapes::Small => vec![
            Case::small("draft input", "4×64 and 4×256, rows [1, 3, 9]".to_owned(), |trial| {
                let sizes = [(64, 1), (64, 9), (256, 3), (100, 2)];
                sizes
                    .into_iter()
                    .try_for_each(|(embd, rows)| check_join(&mut trial.outcome.verdict, trial.gpu, embd, rows))
            }),
            Case::small("token choice", "1, 62, 1000 and 8,200 logits".to_owned(), |trial| {
                let sizes = [(1, 1), (62, 3), (1000, 2), (8200, 5)];
                sizes
                    .into_iter()
                    .try_for_each(|(width, rows)| check_choose(&mut trial.outcome.verdict, trial.gpu, width, rows))
            }),
        ],
        Shapes::Model => [1, 16]
            .map(|rows| {
                Case::model("draft block", format!("4×4096, 129,280 logits, {rows} rows"), move |trial| {
                    model(trial, rows)
                })
            })
            .into(),
    }
}

fn model(trial: &mut Trial<'_>, rows: usize) -> Result<()> {
    let (gpu, embd, vocab) = (trial.gpu, 4096, 129_280);
    check_join(&mut trial.outcome.verdict, gpu, embd, rows)?;
    check_choose(&mut trial.outcome.verdict, gpu, vocab, rows)?;
    let logits = Rows::of(gpu, &logits(vocab, rows), vocab)?;
    let tokens = gpu.buffer("tokens", 4 * rows as u64)?;
    let work = Work { bytes: (4 * rows * vocab) as f64, operations: 0.0 };
    trial.time("choose", work, |_| choose(gpu, rows, &logits, &tokens, 0))
}
