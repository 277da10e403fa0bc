//! Drafts by the multi-token block (`spec/model.md` §12): from the streams that the model leaves behind a token and the token
//! after it, the block guesses the one after that, and so on from its own streams.
//!
//! A sequence keeps the streams of its last tokens until the block has seen them. The block has a window of its own. Its positions
//! are counted from where that window begins: sliding attention sees distances only.
//!
//! Streams and guesses stay on the device: each pass takes those of the pass before, and the host reads all guesses at the end.

use crate::TokenId;
use crate::backend::{Backend, Join, JoinScratch, Segment, Step};
use crate::config::{Config, STREAMS};
use crate::error::Result;
use crate::forward::{Pass, Ropes, Workspace, draft_sequence_bytes};
use crate::kv::DRAFTS_MAX;
use crate::weights::{MtpWeights, Weights};
use ds4_gguf::File;
use std::cmp::Reverse;
use std::collections::HashSet;
use std::ops::Range;
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
    /// How many tokens after that to draft, at most [`DRAFTS_MAX`].
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
    /// How many of the last tokens the block has not seen, as far as it still can.
    unseen: usize,
    /// The model's streams behind them: a ring of as many rows as the block's window has.
    streams: B::Buffer,
}

/// The rows of a ring of `size` rows for consecutive positions, at most `size` of them.
fn ring(positions: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    let first = positions.start % size;
    let end = first + positions.len();
    [first..end.min(size), 0..end.saturating_sub(size)].into_iter().filter(|rows| !rows.is_empty())
}

impl<B: Backend> Drafting<B> {
    /// Keeps the last streams of rows `rows` of `from`, which are those of the tokens before position `end`.
    pub(crate) fn record(
        &mut self,
        backend: &B,
        from: &B::Buffer,
        rows: Range<usize>,
        end: usize,
        window: usize,
    ) -> Result<()> {
        let kept = rows.len().min(window);
        let mut at = rows.end - kept;
        for places in ring(end - kept..end, window) {
            backend.copy_rows(from, at..at + places.len(), &mut self.streams, places.start)?;
            at += places.len();
        }
        self.unseen = (self.unseen + kept).min(window);
        Ok(())
    }

    /// Forgets what belongs to the last `n` tokens.
    pub(crate) fn take_back(&mut self, n: usize) {
        self.unseen = self.unseen.saturating_sub(n);
    }

    /// Tokens whose streams the block has not seen.
    pub(crate) fn unseen(&self) -> usize {
        self.unseen
    }
}

/// The block, ready to be used.
pub(crate) struct Drafter<B: Backend> {
    config: Config,
    weights: MtpWeights<B>,
    pairing: Pairing,
    scratch: JoinScratch<B>,
    /// Streams of the rows of a pass that the model left.
    unseen: B::Buffer,
    /// Streams from which each sequence goes on.
    last: B::Buffer,
    /// What was guessed in one call, at `depth · sequences + sequence`.
    guesses: B::Tokens,
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

/// What a sequence still wants.
struct Work<'a, B: Backend> {
    cache: &'a mut B::Cache,
    streams: &'a B::Buffer,
    /// Position of the first token whose streams the block has not seen.
    first: usize,
    /// Tokens that the streams from there on are paired with.
    paired: Vec<TokenId>,
    /// How many of them were evaluated.
    seen: usize,
    /// Position of the next row in the block's window.
    at: usize,
    /// The token that follows the sequence for certain.
    next: TokenId,
    depth: usize,
}

/// Rows of a pass.
struct Batch<'a, B: Backend> {
    tokens: Vec<TokenId>,
    positions: Vec<usize>,
    segments: Vec<Segment>,
    caches: Vec<&'a mut B::Cache>,
}

impl<'a, B: Backend> Batch<'a, B> {
    fn new() -> Self {
        Self { tokens: Vec::new(), positions: Vec::new(), segments: Vec::new(), caches: Vec::new() }
    }

    /// Adds the next rows of a sequence.
    fn push(&mut self, cache: &'a mut B::Cache, at: &mut usize, tokens: &[TokenId]) {
        let (first, start) = (self.tokens.len(), *at);
        *at += tokens.len();
        self.tokens.extend_from_slice(tokens);
        self.positions.extend(start..*at);
        self.segments.push(Segment { rows: first..self.tokens.len(), start });
        self.caches.push(cache);
    }
}

/// Where the rows of a pass come from.
enum Source {
    /// The model's streams and known tokens.
    Model,
    /// The block's own streams and known tokens.
    Known,
    /// The block's own streams and its guesses, from this place on.
    Guesses(usize),
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
        let buffers = |rows| -> Result<[B::Buffer; 2]> {
            Ok([backend.buffer(rows, config.embd)?, backend.buffer(rows, config.embd)?])
        };
        let streams = || backend.buffer(rows, config.stream_width());
        let window = backend.cache_bytes(&backend.draft_cache()?, &mut HashSet::new());
        Ok(Self {
            scratch: JoinScratch { token: buffers(rows)?, streams: buffers(STREAMS * rows)? },
            unseen: streams()?,
            last: streams()?,
            guesses: backend.tokens(rows * DRAFTS_MAX)?,
            sequence_bytes: draft_sequence_bytes(&config).saturating_add(window),
            pairing: options.pairing,
            weights,
            rows,
            config,
        })
    }

    pub(crate) fn sequence_bytes(&self) -> u64 {
        self.sequence_bytes
    }

    /// What is known of a sequence of `tokens` tokens at first.
    pub(crate) fn drafting(&self, backend: &B, tokens: usize) -> Result<Drafting<B>> {
        let streams = backend.buffer(self.config.window, self.config.stream_width())?;
        Ok(Drafting { cache: backend.draft_cache()?, base: tokens, done: tokens, unseen: 0, streams })
    }

    /// The same knowledge for a sequence that goes another way from now on.
    pub(crate) fn fork(&self, backend: &B, known: &Drafting<B>) -> Result<Drafting<B>> {
        let mut streams = backend.buffer(self.config.window, self.config.stream_width())?;
        backend.copy_rows(&known.streams, 0..self.config.window, &mut streams, 0)?;
        Ok(Drafting { cache: known.cache.clone(), streams, ..*known })
    }

    /// The tokens that the block guesses behind those of each wish, none where it knows nothing.
    pub(crate) fn draft(
        &mut self,
        mut engine: Surroundings<'_, B>,
        wishes: &mut [Wish<'_, B>],
    ) -> Result<Vec<Vec<TokenId>>> {
        let mut drafts = vec![Vec::new(); wishes.len()];
        let works = wishes.iter_mut().enumerate().filter_map(|(i, wish)| Some((i, self.work(wish)?)));
        let mut works: Vec<(usize, Work<'_, B>)> = works.collect();
        // The deepest first: then the rows of a pass are the first ones of the pass before.
        works.sort_by_key(|(_, work)| Reverse(work.depth));
        for group in works.chunks_mut(self.rows) {
            let (numbers, mut group): (Vec<usize>, Vec<&mut Work<'_, B>>) =
                group.iter_mut().map(|(i, work)| (*i, work)).unzip();
            let guesses = engine.backend.run(|| self.draft_together(&mut engine, &mut group))?;
            for (i, (number, work)) in numbers.iter().zip(&group).enumerate() {
                drafts[*number] = guesses.iter().skip(i).step_by(group.len()).take(work.depth).copied().collect();
            }
        }
        Ok(drafts)
    }

    /// What has to be computed for a wish: first what the block has not seen.
    fn work<'a>(&self, wish: &'a mut Wish<'_, B>) -> Option<Work<'a, B>> {
        let (next, depth) = (wish.next, wish.depth.min(DRAFTS_MAX));
        let (tokens, drafting) = wish.sequence.drafting_mut();
        let drafting = drafting.filter(|d| depth > 0 && d.unseen() > 0)?;
        let first = tokens.len() - drafting.unseen();
        if first > drafting.done {
            // What lies between was forgotten: another window begins, which sees nothing of the one before.
            drafting.base = first;
        }
        (drafting.done, drafting.unseen) = (tokens.len(), 0);
        let paired = match self.pairing {
            Pairing::Next => [&tokens[first + 1..], &[next]].concat(),
            Pairing::Same => tokens[first..].to_vec(),
        };
        let at = first - drafting.base;
        let Drafting { cache, streams, .. } = drafting;
        Some(Work { cache, streams, first, paired, seen: 0, at, next, depth })
    }

    /// The guesses for sequences that fit one pass, the deepest first: for each depth one of each.
    fn draft_together(
        &mut self,
        engine: &mut Surroundings<'_, B>,
        group: &mut [&mut Work<'_, B>],
    ) -> Result<Vec<TokenId>> {
        let depth = group.iter().map(|work| work.depth).max().unwrap_or(0);
        let sequences = group.len();
        self.catch_up(engine, group)?;
        // Otherwise the first guess was of what is known.
        let first = usize::from(self.pairing == Pairing::Next);
        for done in first..depth {
            let mut batch = Batch::new();
            for work in group.iter_mut().take_while(|work| work.depth > done) {
                // What is guessed already the device knows.
                batch.push(work.cache, &mut work.at, &[work.next]);
            }
            let wanted: Vec<usize> = (0..batch.tokens.len()).collect();
            let source = if done == 0 { Source::Known } else { Source::Guesses((done - 1) * sequences) };
            self.pass(engine, batch, source, &wanted, Some(done * sequences))?;
            let go_on = group.iter().take_while(|work| work.depth > done + 1).count();
            engine.backend.copy_rows(engine.workspace.streams(), 0..go_on, &mut self.last, 0)?;
        }
        engine.backend.read_tokens(&self.guesses, depth * sequences)
    }

    /// Evaluates what the block has not seen, so that `last` has the streams from which each sequence goes on.
    fn catch_up(&mut self, engine: &mut Surroundings<'_, B>, group: &mut [&mut Work<'_, B>]) -> Result<()> {
        let is_guess = self.pairing == Pairing::Next;
        let mut finished = 0;
        while finished < group.len() {
            let (mut batch, mut wanted) = (Batch::new(), Vec::new());
            for work in &mut group[finished..] {
                let mut rows = batch.tokens.len();
                let n = (work.paired.len() - work.seen).min(self.rows - rows);
                if n == 0 {
                    break;
                }
                let from = work.first + work.seen;
                for places in ring(from..from + n, self.config.window) {
                    let count = places.len();
                    engine.backend.copy_rows(work.streams, places, &mut self.unseen, rows)?;
                    rows += count;
                }
                batch.push(work.cache, &mut work.at, &work.paired[work.seen..work.seen + n]);
                work.seen += n;
                if work.seen == work.paired.len() {
                    wanted.push(rows - 1);
                }
            }
            self.pass(engine, batch, Source::Model, &wanted, is_guess.then_some(finished))?;
            for (sequence, row) in (finished..).zip(&wanted) {
                engine.backend.copy_rows(engine.workspace.streams(), *row..row + 1, &mut self.last, sequence)?;
            }
            finished += wanted.len();
        }
        Ok(())
    }

    /// Evaluates a batch and guesses, if there is a place for that, what follows rows `wanted`.
    fn pass(
        &mut self,
        engine: &mut Surroundings<'_, B>,
        mut batch: Batch<'_, B>,
        source: Source,
        wanted: &[usize],
        to: Option<usize>,
    ) -> Result<()> {
        let Surroundings { backend, weights, ropes, workspace } = engine;
        let Batch { tokens, positions, segments, caches } = &mut batch;
        let step = Step { config: &self.config, tokens, positions, segments };
        let pass = Pass { backend: *backend, weights, ropes, steering: None, step };
        let join = Join {
            weights: &self.weights.joining,
            embd: &weights.embd,
            streams: if matches!(source, Source::Model) { &self.unseen } else { &self.last },
            chosen: match source {
                Source::Guesses(at) => Some((&self.guesses, at)),
                Source::Model | Source::Known => None,
            },
        };
        pass.run_draft_block(&self.weights, join, &mut self.scratch, workspace, caches)?;
        match to {
            Some(at) => pass.guess(&self.weights, workspace, wanted, &mut self.guesses, at),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ring;

    #[test]
    fn a_ring_is_one_or_two_ranges() {
        let rows = |positions| ring(positions, 8).map(|rows| (rows.start, rows.end)).collect::<Vec<_>>();
        assert_eq!(rows(0..8), [(0, 8)]);
        assert_eq!(rows(8..9), [(0, 1)]);
        assert_eq!(rows(13..19), [(5, 8), (0, 3)]);
        assert_eq!(rows(13..21), [(5, 8), (0, 5)]);
        assert!(rows(5..5).is_empty());
    }
}
