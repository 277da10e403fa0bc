//! Drafts by the multi-token block (`spec/model.md` §12): from the streams that the model leaves behind a token and the token
//! after it, the block guesses the one after that, and so on from its own streams.
//!
//! A sequence keeps the streams of its last tokens until the block has seen them. The block has a window of its own. Its positions
//! are counted from where that window begins: sliding attention sees distances only.

use crate::TokenId;
use crate::backend::{Backend, Segment, Step};
use crate::config::{Config, STREAMS};
use crate::error::Result;
use crate::forward::{Pass, Ropes, Workspace};
use crate::sampler::argmax;
use crate::weights::{MtpWeights, Weights};
use ds4_gguf::File;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// Which token the streams of token p are paired with: a question that §12 leaves open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Pairing {
    /// Token p + 1, to guess p + 2: the papers' definition.
    #[default]
    Next,
    /// Token p itself, to guess p + 1: what the original program does.
    Same,
}

/// Where drafts come from.
#[derive(Clone)]
pub struct DrafterOptions {
    /// A file with the block.
    pub file: Arc<File>,
    /// How it is used.
    pub pairing: Pairing,
}

/// A sequence for which tokens are to be drafted.
pub struct Wish<'a, B: Backend> {
    /// The sequence.
    pub sequence: &'a mut crate::Sequence<B>,
    /// The token that follows it for certain.
    pub next: TokenId,
    /// How many tokens after that to draft.
    pub depth: usize,
}

/// What the block knows of a sequence.
pub(crate) struct Drafting<B: Backend> {
    /// The block's window.
    cache: B::Cache,
    /// Position of the window's first row.
    base: usize,
    /// Position after its last one. Rows of drafts, which come behind, do not count: they are written again.
    done: usize,
    /// The model's streams behind the tokens from `done` on, or the last of them.
    streams: VecDeque<Box<[f32]>>,
}

impl<B: Backend> Clone for Drafting<B> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), streams: self.streams.clone(), ..*self }
    }
}

impl<B: Backend> Drafting<B> {
    /// Adds the streams of the last of the tokens up to `end`, at most `window` of them.
    pub(crate) fn record(&mut self, streams: &[f32], width: usize, window: usize) {
        self.streams.extend(streams.chunks_exact(width).map(Box::from));
        let surplus = self.streams.len().saturating_sub(window);
        self.streams.drain(..surplus);
    }

    /// Forgets what belongs to the last `n` tokens.
    pub(crate) fn take_back(&mut self, n: usize) {
        self.streams.truncate(self.streams.len().saturating_sub(n));
    }

    /// Tokens whose streams the block has not seen.
    pub(crate) fn unseen(&self) -> usize {
        self.streams.len()
    }
}

/// The block, ready to be used.
pub(crate) struct Drafter<B: Backend> {
    config: Config,
    weights: MtpWeights<B>,
    pairing: Pairing,
    scratch: [B::Buffer; 2],
    /// Most rows of a pass.
    rows: usize,
    /// Bytes of what it keeps of a sequence.
    sequence_bytes: u64,
}

/// The rest of the engine, as far as the block uses it.
pub(crate) struct Surroundings<'a, B: Backend> {
    pub(crate) backend: &'a B,
    pub(crate) weights: &'a Weights<B>,
    pub(crate) ropes: &'a Ropes,
    pub(crate) workspace: &'a mut Workspace<B>,
}

/// Rows that a sequence still wants.
struct Work<'a, B: Backend> {
    cache: &'a mut B::Cache,
    /// Position of the next row in the block's window.
    at: usize,
    /// Streams and the tokens that they are paired with.
    rows: VecDeque<(Box<[f32]>, TokenId)>,
    /// Paired with the block's own streams before anything counts as a draft.
    known: Option<TokenId>,
    depth: usize,
    drafts: Vec<TokenId>,
}

impl<B: Backend> Drafter<B> {
    /// Binds the block for a model of `config` whose steps have up to `chunk` rows.
    ///
    /// # Errors
    /// What [`MtpWeights::load`] refuses; a backend that does not speculate; out of memory.
    pub(crate) fn new(options: &DrafterOptions, backend: &B, config: &Config, chunk: usize) -> Result<Self> {
        let config = config.of_draft_block();
        let weights = MtpWeights::load(&options.file, backend, &config)?;
        let rows = chunk.min(config.window);
        let scratch = || backend.buffer(STREAMS * rows, config.embd);
        let streams = (config.window * config.stream_width() * size_of::<f32>()) as u64;
        let window = backend.cache_bytes(&backend.draft_cache()?, &mut HashSet::new());
        let (scratch, sequence_bytes) = ([scratch()?, scratch()?], streams + window);
        Ok(Self { config, weights, pairing: options.pairing, scratch, rows, sequence_bytes })
    }

    pub(crate) fn sequence_bytes(&self) -> u64 {
        self.sequence_bytes
    }

    /// Most tokens whose streams are kept.
    pub(crate) fn window(&self) -> usize {
        self.config.window
    }

    /// What is known of a sequence of `tokens` tokens at first.
    pub(crate) fn drafting(&self, backend: &B, tokens: usize) -> Result<Drafting<B>> {
        Ok(Drafting { cache: backend.draft_cache()?, base: tokens, done: tokens, streams: VecDeque::new() })
    }

    /// The tokens that the block guesses behind those of each wish, none where it knows nothing.
    pub(crate) fn draft(
        &mut self,
        mut engine: Surroundings<'_, B>,
        wishes: &mut [Wish<'_, B>],
    ) -> Result<Vec<Vec<TokenId>>> {
        let work = wishes.iter_mut().map(|wish| self.work(engine.backend, wish));
        let mut work = work.collect::<Result<Vec<Option<Work<'_, B>>>>>()?;
        while self.pass(&mut engine, &mut work)? {}
        Ok(work.into_iter().map(|work| work.map_or_else(Vec::new, |work| work.drafts)).collect())
    }

    /// What has to be computed for a wish: first what the block has not seen.
    fn work<'a>(&self, backend: &B, wish: &'a mut Wish<'_, B>) -> Result<Option<Work<'a, B>>> {
        let (tokens, drafting) = wish.sequence.drafting_mut();
        let Some(drafting) = drafting.filter(|d| wish.depth > 0 && d.unseen() > 0) else { return Ok(None) };
        let first = tokens.len() - drafting.unseen();
        if first > drafting.done {
            // What lies between was forgotten.
            (drafting.cache, drafting.base) = (backend.draft_cache()?, first);
        }
        drafting.done = tokens.len();
        let (paired, known) = match self.pairing {
            Pairing::Next => ([&tokens[first + 1..], &[wish.next]].concat(), None),
            Pairing::Same => (tokens[first..].to_vec(), Some(wish.next)),
        };
        let rows = drafting.streams.drain(..).zip(paired).collect();
        let at = first - drafting.base;
        Ok(Some(Work { cache: &mut drafting.cache, at, rows, known, depth: wish.depth, drafts: Vec::new() }))
    }

    /// Computes as many rows as fit; `false` if there was nothing to do.
    fn pass(&mut self, engine: &mut Surroundings<'_, B>, work: &mut [Option<Work<'_, B>>]) -> Result<bool> {
        let (mut tokens, mut positions, mut segments) = (Vec::new(), Vec::new(), Vec::new());
        let (mut streams, mut wanted, mut finished) = (Vec::new(), Vec::new(), Vec::new());
        let mut caches = Vec::new();
        for work in work.iter_mut().flatten() {
            let (first, start) = (tokens.len(), work.at);
            let n = work.rows.len().min(self.rows - first);
            if n == 0 {
                continue;
            }
            for (row, token) in work.rows.drain(..n) {
                streams.extend_from_slice(&row);
                tokens.push(token);
            }
            positions.extend(start..start + n);
            segments.push(Segment { rows: first..first + n, start });
            work.at += n;
            caches.push(&mut *work.cache);
            if work.rows.is_empty() {
                wanted.push(first + n - 1);
                finished.push((&mut work.rows, &mut work.known, work.depth, &mut work.drafts));
            }
        }
        if tokens.is_empty() {
            return Ok(false);
        }
        let step = Step { config: &self.config, tokens: &tokens, positions: &positions, segments: &segments };
        let pass = Pass { backend: engine.backend, weights: engine.weights, ropes: engine.ropes, steering: None, step };
        let (weights, scratch, workspace) = (&self.weights, &mut self.scratch, &mut *engine.workspace);
        let (logits, streams) = engine.backend.run(|| {
            let logits = pass.run_draft_block(weights, &streams, scratch, workspace, &mut caches, &wanted)?;
            Ok((logits, workspace.streams(engine.backend, 0..tokens.len())?))
        })?;
        let width = self.config.stream_width();
        for (((rows, known, depth, drafts), row), logits) in
            finished.into_iter().zip(wanted).zip(logits.chunks_exact(self.config.vocab))
        {
            let follows = known.take().unwrap_or_else(|| {
                let draft = argmax(logits);
                drafts.push(draft);
                draft
            });
            if drafts.len() < depth {
                rows.push_back((streams[row * width..(row + 1) * width].into(), follows));
            }
        }
        Ok(true)
    }
}
