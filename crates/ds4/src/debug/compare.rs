//! `ds4 debug compare`: how far a model's predictions are from another's, and how well both predict a text.

use super::{compute, never};
use crate::args::{BackendName, DebugCompare, ModelArgs};
use crate::model::Model;
use crate::output::print_json;
use crate::single::Single;
use crate::text;
use anyhow::{Result, ensure};
use ds4_engine::Logits;
use ds4_engine::sampler::{argmax, log_sum_exp, token_logprob};
use serde_json::json;

/// Tokens a step.
const CHUNK: usize = 256;

/// Sums over positions.
#[derive(Default)]
struct Sums {
    positions: usize,
    nll: f64,
    reference_nll: f64,
    kl: f64,
    /// Squares of what `kl` sums, and of the differences between what `nll` and `reference_nll` sum.
    kl_squares: f64,
    nll_difference_squares: f64,
    kl_max: f64,
    same_top: usize,
}

impl Sums {
    /// Adds one position: logits of the model and of the reference, and the token that follows.
    fn add(&mut self, model: &[f32], reference: &[f32], next: u32) {
        let (norm, reference_norm) = (log_sum_exp(model), log_sum_exp(reference));
        let term = |(m, r): (&f32, &f32)| {
            let (log_p, log_q) = (f64::from(*r) - reference_norm, f64::from(*m) - norm);
            log_p.exp() * (log_p - log_q)
        };
        let kl: f64 = model.iter().zip(reference).map(term).sum();
        self.positions += 1;
        let (nll, reference_nll) = (-token_logprob(model, next), -token_logprob(reference, next));
        self.nll += nll;
        self.reference_nll += reference_nll;
        self.nll_difference_squares += (nll - reference_nll).powi(2);
        self.kl += kl;
        self.kl_squares += kl * kl;
        self.kl_max = self.kl_max.max(kl);
        self.same_top += usize::from(argmax(model) == argmax(reference));
    }
}

pub fn run(args: &DebugCompare) -> Result<()> {
    let models = [Model::open(args.model.model.as_deref())?, Model::open(Some(&args.against))?];
    let tokenizer = models[0].tokenizer()?;
    let tokens: Vec<u32> = tokenizer.encode_text(&text::read_file(&args.file)?)?.into_iter().map(|id| id.0).collect();
    ensure!(!tokens.is_empty(), "{} is empty; use a text", args.file.display());
    let [model, reference] = models;
    let model = model.load(&compute(&args.model, args.kv, args.fast, args.ctx, CHUNK))?;
    // The reference is always that of the CPU.
    let on_cpu = ModelArgs { backend: BackendName::Cpu, ..args.model.clone() };
    let reference = reference.load(&compute(&on_cpu, args.kv, false, args.ctx, CHUNK))?;
    let mut engines = [model.single()?, reference.single()?];
    ensure!(
        engines[1].vocab() == engines[0].vocab(),
        "the models have different vocabularies; compare two forms of one model"
    );
    let bos = tokenizer.specials().bos.0;
    let mut sums = Sums::default();
    // The text in pieces of a context, each after BOS.
    for piece in tokens.chunks(args.ctx) {
        let inputs: Vec<u32> = std::iter::once(bos).chain(piece[..piece.len() - 1].iter().copied()).collect();
        add_piece(&mut engines, &inputs, piece, &mut sums)?;
    }
    let n = sums.positions as f64;
    let nll_difference = sums.nll - sums.reference_nll;
    print_json(&json!({
        "positions": sums.positions,
        "perplexity": (sums.nll / n).exp(),
        "reference_perplexity": (sums.reference_nll / n).exp(),
        "log_perplexity_difference": nll_difference / n,
        "log_perplexity_difference_error": standard_error(nll_difference, sums.nll_difference_squares, n),
        "kl_mean": sums.kl / n,
        "kl_mean_error": standard_error(sums.kl, sums.kl_squares, n),
        "kl_max": sums.kl_max,
        "same_top": sums.same_top as f64 / n,
    }))
}

/// The standard error of the mean of n values that count as independent, from their sum and the sum of their squares.
fn standard_error(sum: f64, squares: f64, n: f64) -> f64 {
    ((squares / n - (sum / n).powi(2)).max(0.0) / (n - 1.0).max(1.0)).sqrt()
}

/// Runs both models over `inputs`, which are followed by `next`.
fn add_piece(engines: &mut [Box<dyn Single>; 2], inputs: &[u32], next: &[u32], sums: &mut Sums) -> Result<()> {
    let [model, reference] = engines;
    let vocab = model.vocab();
    model.restart()?;
    reference.restart()?;
    for (tokens, next) in inputs.chunks(CHUNK).zip(next.chunks(CHUNK)) {
        let a = model.step(tokens, Logits::All, &never)?;
        let b = reference.step(tokens, Logits::All, &never)?;
        for ((a, b), next) in a.chunks_exact(vocab).zip(b.chunks_exact(vocab)).zip(next) {
            sums.add(a, b, *next);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_not_far_from_itself_and_kl_is_that_of_the_definition() {
        let mut sums = Sums::default();
        let (a, b) = ([0.0f32, 1.0, 3.0], [1.0f32, 1.0, 1.0]);
        sums.add(&a, &a, 2);
        assert_eq!((sums.positions, sums.same_top), (1, 1));
        assert!(sums.kl.abs() < 1e-12 && (sums.nll - sums.reference_nll).abs() < 1e-12);
        sums.add(&a, &b, 0);
        let sum: f64 = a.iter().map(|v| f64::from(*v).exp()).sum();
        let want: f64 = a.iter().map(|v| (1.0 / 3.0) * ((1.0f64 / 3.0).ln() - (f64::from(*v).exp() / sum).ln())).sum();
        assert!((sums.kl - want).abs() < 1e-12 && (sums.kl_max - want).abs() < 1e-12);
        assert_eq!(sums.same_top, 1);
    }

    #[test]
    fn standard_errors_are_those_of_the_definition() {
        // 1, 2, 6: mean 3, variance (4 + 1 + 9) / 2 = 7.
        assert!((standard_error(9.0, 41.0, 3.0) - (7.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(standard_error(5.0, 25.0, 1.0), 0.0);
    }
}
