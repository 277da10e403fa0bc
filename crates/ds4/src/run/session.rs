//! One sequence on a loaded model.

use crate::args::RunArgs;
use crate::interrupt::{self, Interrupt};
use crate::model::{Compute, Model};
use crate::output;
use crate::progress::Progress;
use crate::single::Single;
use anyhow::Result;
use ds4_engine::{Error, Logits, TokenId};
use serde::Serialize;
use std::fmt;
use std::process::ExitCode;
use std::time::Instant;

/// A model, a sequence, and how long things took. Steps yield `None` once Ctrl-C was pressed.
pub struct Session {
    single: Box<dyn Single>,
    interrupt: Interrupt,
    timings: Timings,
}

/// Seconds and tokens of the parts of a run.
#[derive(Clone, Copy, Default, Serialize)]
pub struct Timings {
    load_s: f64,
    prefill_tokens: usize,
    prefill_s: f64,
    prefill_tokens_per_s: f64,
    /// Tokens evaluated one by one. The last one of a completion is chosen but not evaluated.
    decode_tokens: usize,
    decode_s: f64,
    decode_tokens_per_s: f64,
}

impl Session {
    /// Loads `model` for the work that `args` describe, if the context fits into memory. `started` is when loading began.
    pub fn new(args: &RunArgs, model: Model, started: Instant) -> Result<Self> {
        let interrupt = Interrupt::install()?;
        let single = model.load(&Compute::new(&args.model, &args.compute))?.single()?;
        let timings = Timings { load_s: started.elapsed().as_secs_f64(), ..Timings::default() };
        Ok(Self { single, interrupt, timings })
    }

    /// Tokens of the vocabulary.
    pub fn vocab(&self) -> usize {
        self.single.vocab()
    }

    /// Most tokens that one step takes.
    pub fn chunk(&self) -> usize {
        self.single.chunk()
    }

    /// Evaluates the prompt in chunks; the logits of its last position.
    pub fn prefill(&mut self, tokens: &[TokenId]) -> Result<Option<Vec<f32>>> {
        let Self { single, interrupt, timings } = self;
        let progress = Progress::start("prefill", "tokens", tokens.len());
        let begin = Instant::now();
        let mut report = |done| progress.set(done);
        let result = single.prefill(tokens, Logits::Last, &mut report, &|| interrupt.is_requested());
        timings.add_prefill(single.tokens().len(), begin);
        unless_interrupted(result)
    }

    /// Appends one token; the logits that follow it.
    pub fn decode(&mut self, token: TokenId) -> Result<Option<Vec<f32>>> {
        let begin = Instant::now();
        let logits = self.step(&[token], Logits::Last)?;
        if logits.is_some() {
            self.timings.add_decode(begin);
        }
        Ok(logits)
    }

    /// Appends tokens, at most [`chunk`](Self::chunk); the logits that follow each.
    pub fn score(&mut self, tokens: &[TokenId]) -> Result<Option<Vec<f32>>> {
        let begin = Instant::now();
        let logits = self.step(tokens, Logits::All)?;
        if logits.is_some() {
            self.timings.add_prefill(tokens.len(), begin);
        }
        Ok(logits)
    }

    fn step(&mut self, tokens: &[TokenId], logits: Logits) -> Result<Option<Vec<f32>>> {
        let Self { single, interrupt, .. } = self;
        unless_interrupted(single.step(tokens, logits, &|| interrupt.is_requested()))
    }

    /// Whether Ctrl-C was pressed.
    pub fn is_interrupted(&self) -> bool {
        self.interrupt.is_requested()
    }

    /// How long things took so far.
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// Tells how long things took; the exit code of a run that ends here.
    pub fn end(&self) -> ExitCode {
        output::notice(&self.timings.to_string());
        self.exit_code()
    }

    /// The exit code of a run that ends here.
    pub fn exit_code(&self) -> ExitCode {
        if self.is_interrupted() { interrupt::EXIT_CODE.into() } else { ExitCode::SUCCESS }
    }
}

fn unless_interrupted(result: ds4_engine::Result<Vec<f32>>) -> Result<Option<Vec<f32>>> {
    match result {
        Ok(logits) => Ok(Some(logits)),
        Err(Error::Interrupted) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Timings {
    fn add_prefill(&mut self, tokens: usize, begin: Instant) {
        self.prefill_tokens += tokens;
        self.prefill_s += begin.elapsed().as_secs_f64();
        self.prefill_tokens_per_s = rate(self.prefill_tokens, self.prefill_s);
    }

    fn add_decode(&mut self, begin: Instant) {
        self.decode_tokens += 1;
        self.decode_s += begin.elapsed().as_secs_f64();
        self.decode_tokens_per_s = rate(self.decode_tokens, self.decode_s);
    }
}

fn rate(tokens: usize, seconds: f64) -> f64 {
    if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 }
}

impl fmt::Display for Timings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { load_s, prefill_tokens, prefill_tokens_per_s, decode_tokens, decode_tokens_per_s, .. } = self;
        write!(
            f,
            "load {load_s:.2} s, prefill {prefill_tokens} tokens {prefill_tokens_per_s:.2} t/s, \
             decode {decode_tokens} tokens {decode_tokens_per_s:.2} t/s"
        )
    }
}
