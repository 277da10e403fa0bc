//! One sequence on an engine of whatever backend.

use ds4_engine::backend::Backend;
use ds4_engine::{Engine, Logits, Result, Rows, Sequence, TokenId};

/// An engine with one sequence, for commands that need no more.
pub trait Single {
    /// Tokens of the vocabulary.
    fn vocab(&self) -> usize;
    /// Most tokens of a step.
    fn chunk(&self) -> usize;
    /// What the sequence holds.
    fn tokens(&self) -> &[TokenId];
    /// Begins an empty sequence.
    ///
    /// # Errors
    /// Out of memory.
    fn restart(&mut self) -> Result<()>;
    /// As [`Engine::step`].
    ///
    /// # Errors
    /// The same.
    fn step(&mut self, tokens: &[TokenId], logits: Logits, stop: &(dyn Fn() -> bool + Sync)) -> Result<Vec<f32>>;
    /// As [`Engine::prefill`].
    ///
    /// # Errors
    /// The same.
    fn prefill(
        &mut self,
        tokens: &[TokenId],
        logits: Logits,
        progress: &mut dyn FnMut(usize),
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<f32>>;
}

/// An engine and its only sequence.
pub struct One<B: Backend> {
    engine: Engine<B>,
    sequence: Sequence<B>,
}

impl<B: Backend> One<B> {
    /// An empty sequence on `engine`.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(engine: Engine<B>) -> Result<Self> {
        let sequence = engine.sequence()?;
        Ok(Self { engine, sequence })
    }
}

impl<B: Backend> Single for One<B> {
    fn vocab(&self) -> usize {
        self.engine.config().vocab
    }

    fn chunk(&self) -> usize {
        self.engine.chunk()
    }

    fn tokens(&self) -> &[TokenId] {
        self.sequence.tokens()
    }

    fn restart(&mut self) -> Result<()> {
        self.sequence = self.engine.sequence()?;
        Ok(())
    }

    fn step(&mut self, tokens: &[TokenId], logits: Logits, stop: &(dyn Fn() -> bool + Sync)) -> Result<Vec<f32>> {
        self.engine.step(&mut [Rows { sequence: &mut self.sequence, tokens, logits }], stop)
    }

    fn prefill(
        &mut self,
        tokens: &[TokenId],
        logits: Logits,
        progress: &mut dyn FnMut(usize),
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<f32>> {
        self.engine.prefill(&mut self.sequence, tokens, logits, progress, stop)
    }
}
