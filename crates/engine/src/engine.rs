//! Sequences and steps over them.

use crate::TokenId;
use crate::backend::{Backend, Segment, Step};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::forward::{HEADS_AT_ONCE, Pass, Ropes, Workspace};
use crate::kv::DRAFTS_MAX;
use crate::mtp::{Drafter, DrafterOptions, Drafting, Surroundings, Wish};
use crate::steering::{Site, Steered, Steering};
use crate::weights::Weights;
use ds4_gguf::File;
use ds4_store::Hash;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Largest prefill chunk accepted, in tokens.
pub const CHUNK_MAX: usize = 8192;

/// Bytes of each tensor that identify a model: files with equal metadata may have other weights.
const IDENTITY_SAMPLE_BYTES: usize = 256;

/// How to set up an [`Engine`].
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// Most tokens of a sequence.
    pub context: usize,
    /// Most rows of a step, and so the largest prefill chunk, 1 to [`CHUNK_MAX`].
    pub chunk: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { context: 32768, chunk: 512 }
    }
}

/// One conversation: its tokens and their KV state. `Clone` is a checkpoint: compressed history is shared, and what is known for drafts
/// is left out. [`Engine::fork`] is for one that goes on at once.
pub struct Sequence<B: Backend> {
    tokens: Vec<TokenId>,
    cache: B::Cache,
    /// Set while a step is under way, so that one that failed half way is not continued.
    broken: bool,
    /// For drafts, if tokens were evaluated with a drafter.
    drafting: Option<Box<Drafting<B>>>,
}

impl<B: Backend> Clone for Sequence<B> {
    fn clone(&self) -> Self {
        Self { tokens: self.tokens.clone(), cache: self.cache.clone(), broken: self.broken, drafting: None }
    }
}

impl<B: Backend> Sequence<B> {
    /// The tokens evaluated so far.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// Number of tokens evaluated so far.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether nothing was evaluated yet.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Whether a step failed half way, so that the sequence cannot go on.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// The sequence of `tokens` with the state that they made: one that a [`Backend`] restored.
    pub fn restored(tokens: Vec<TokenId>, cache: B::Cache) -> Self {
        Self { tokens, cache, broken: false, drafting: None }
    }

    /// Tokens that the draft block has not seen yet, as far as it can still see them.
    pub fn undrafted(&self) -> usize {
        self.drafting.as_ref().map_or(0, |drafting| drafting.unseen())
    }

    /// Gives up what is known for drafts, and its memory.
    pub fn forget_drafting(&mut self) {
        self.drafting = None;
    }

    /// Its tokens and what is known for drafts.
    pub(crate) fn drafting_mut(&mut self) -> (&[TokenId], Option<&mut Drafting<B>>) {
        (&self.tokens, self.drafting.as_deref_mut())
    }

    /// KV state, for what only a backend knows.
    pub fn cache(&self) -> &B::Cache {
        &self.cache
    }
}

/// What a KV state belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// For comparison.
    pub hash: Hash,
    /// For people.
    pub label: String,
}

/// Which rows of a piece give logits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Logits {
    /// None.
    None,
    /// The last row.
    Last,
    /// Every row.
    All,
}

/// What one sequence contributes to a step: tokens to append.
pub struct Rows<'a, B: Backend> {
    /// The sequence.
    pub sequence: &'a mut Sequence<B>,
    /// Its next tokens.
    pub tokens: &'a [TokenId],
    /// Rows that give logits.
    pub logits: Logits,
}

/// A loaded model on a backend.
pub struct Engine<B: Backend> {
    backend: Arc<B>,
    config: Config,
    weights: Weights<B>,
    ropes: Ropes,
    workspace: Workspace<B>,
    options: EngineOptions,
    file: Arc<File>,
    drafter: Option<Drafter<B>>,
    steering: Option<Steered<B>>,
}

impl<B: Backend> Engine<B> {
    /// Binds the tensors of `file` on `backend` and allocates the buffers of a step.
    ///
    /// # Errors
    /// What [`Config::from_file`] and [`Weights::load`] refuse; buffers that do not fit memory.
    pub fn new(file: Arc<File>, config: Config, backend: B, options: EngineOptions) -> Result<Self> {
        Self::with_drafter(file, config, backend, options, None)
    }

    /// The same with a draft block, which is bound first: one that does not fit is refused before the model is loaded.
    ///
    /// # Errors
    /// Also [`Error::DraftBlock`].
    pub fn with_drafter(
        file: Arc<File>,
        config: Config,
        backend: B,
        options: EngineOptions,
        drafter: Option<&DrafterOptions>,
    ) -> Result<Self> {
        let chunk = options.chunk.min(options.context).clamp(1, CHUNK_MAX);
        let load = |drafter| Drafter::new(drafter, &backend, &config, chunk);
        let drafter = drafter.map(load).transpose().map_err(|error| Error::DraftBlock(Box::new(error)))?;
        let weights = Weights::load(&file, &backend, &config)?;
        let options = EngineOptions { chunk, ..options };
        let workspace = Workspace::new(&backend, &config, chunk, chunk.min(HEADS_AT_ONCE))?;
        let ropes = Ropes::new(&config);
        Ok(Self {
            backend: Arc::new(backend),
            config,
            weights,
            ropes,
            workspace,
            options,
            file,
            drafter,
            steering: None,
        })
    }

    /// Hyper-parameters.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The device.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The device, to be used on another thread.
    pub fn shared_backend(&self) -> Arc<B> {
        Arc::clone(&self.backend)
    }

    /// What a KV state belongs to: the model, by its metadata, its table of tensors and samples of its weights, and the rounding and
    /// arithmetic of the backend.
    pub fn identity(&self) -> Identity {
        let mode = self.backend.kv_mode();
        let mut hasher = Sha256::new_with_prefix(self.file.directory_bytes());
        for tensor in self.file.tensors() {
            let data = self.file.data(tensor);
            hasher.update(&data[..data.len().min(IDENTITY_SAMPLE_BYTES)]);
        }
        hasher.update(&mode);
        let steering = self.steering.as_ref().map(Steered::identity).unwrap_or_default();
        hasher.update(&steering);
        let name = self.config.name.as_deref().unwrap_or("a model without a name");
        let steered = if steering.is_empty() { "" } else { ", steered" };
        Identity { hash: hasher.finalize().into(), label: format!("{name}, {mode}{steered}") }
    }

    /// Steers all that is evaluated from now on. Sequences from before do not fit.
    ///
    /// # Errors
    /// Out of memory.
    pub fn steer(&mut self, steering: Steering) -> Result<()> {
        self.steering = Some(steering.on(&*self.backend)?);
        Ok(())
    }

    /// Appends one token and returns what `site` of each layer yields for it, `E` values a layer, before any steering.
    ///
    /// # Errors
    /// As for [`Engine::step`].
    pub fn outputs(&mut self, sequence: &mut Sequence<B>, token: TokenId, site: Site) -> Result<Vec<f32>> {
        self.workspace.keep_outputs(site);
        let done = self.step(&mut [Rows { sequence, tokens: &[token], logits: Logits::None }], &|| false);
        let outputs = self.workspace.take_outputs();
        done.map(|_| outputs)
    }

    /// Most tokens of a sequence.
    pub fn context(&self) -> usize {
        self.options.context
    }

    /// Most rows of a step.
    pub fn chunk(&self) -> usize {
        self.options.chunk
    }

    /// An empty sequence.
    ///
    /// # Errors
    /// Out of memory.
    pub fn sequence(&self) -> Result<Sequence<B>> {
        Ok(Sequence { tokens: Vec::new(), cache: self.backend.cache()?, broken: false, drafting: None })
    }

    /// A sequence that goes its own way from here, with what is known for drafts.
    ///
    /// # Errors
    /// Out of memory.
    pub fn fork(&self, sequence: &Sequence<B>) -> Result<Sequence<B>> {
        let drafting = match (&self.drafter, &sequence.drafting) {
            (Some(drafter), Some(known)) => Some(Box::new(drafter.fork(&self.backend, known)?)),
            _ => None,
        };
        Ok(Sequence { drafting, ..sequence.clone() })
    }

    /// Appends the tokens of every piece to its sequence in one pass and returns the logits asked for, `V` values a row,
    /// pieces in order.
    ///
    /// # Errors
    /// Nothing is changed by a bad token, a full context or too many rows. After any other error, or when `stop` ended the
    /// pass, the sequences are broken and refuse further steps: go back to a checkpoint.
    pub fn step(&mut self, pieces: &mut [Rows<'_, B>], stop: &(dyn Fn() -> bool + Sync)) -> Result<Vec<f32>> {
        self.check(pieces)?;
        let (mut tokens, mut positions, mut segments, mut wanted) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for piece in pieces.iter() {
            let (first, start, n) = (tokens.len(), piece.sequence.len(), piece.tokens.len());
            tokens.extend_from_slice(piece.tokens);
            positions.extend(start..start + n);
            segments.push(Segment { rows: first..first + n, start });
            match piece.logits {
                Logits::None => {}
                Logits::Last => wanted.push(first + n - 1),
                Logits::All => wanted.extend(first..first + n),
            }
        }
        let (mut caches, mut draftings) = (Vec::with_capacity(pieces.len()), Vec::new());
        for piece in pieces.iter_mut() {
            let start = piece.sequence.len();
            let Sequence { cache, broken, drafting, .. } = &mut *piece.sequence;
            self.backend.reserve(cache, start + piece.tokens.len())?;
            *broken = true;
            caches.push(cache);
            if let Some(drafter) = &self.drafter {
                draftings.push(match drafting {
                    Some(drafting) => drafting,
                    none => none.insert(Box::new(drafter.drafting(&self.backend, start)?)),
                });
            }
        }
        let step = Step { config: &self.config, tokens: &tokens, positions: &positions, segments: &segments };
        let steering = self.steering.as_ref();
        let pass = Pass { backend: &*self.backend, weights: &self.weights, ropes: &self.ropes, steering, step };
        let (workspace, backend, window) = (&mut self.workspace, &*self.backend, self.config.window);
        let logits = backend.run(|| {
            let logits = pass.run(workspace, &mut caches, &wanted, stop)?;
            for (drafting, Segment { rows, start }) in draftings.into_iter().zip(&segments) {
                drafting.record(backend, workspace.streams(), rows.clone(), start + rows.len(), window)?;
            }
            Ok(logits)
        })?;
        for piece in pieces.iter_mut() {
            piece.sequence.tokens.extend_from_slice(piece.tokens);
            piece.sequence.broken = false;
        }
        Ok(logits)
    }

    /// Whether tokens can be drafted.
    pub fn has_drafter(&self) -> bool {
        self.drafter.is_some()
    }

    /// Bytes of a sequence of `tokens` tokens that shares nothing, with what is kept for drafts.
    pub fn sequence_bytes(&self, tokens: usize) -> u64 {
        let drafting = self.drafter.as_ref().map_or(0, Drafter::sequence_bytes);
        self.backend.sequence_bytes(tokens).saturating_add(drafting)
    }

    /// Guesses what follows each sequence and its next token, fewer tokens or none where too little is known. Changes nothing that
    /// [`Engine::step`] computes.
    ///
    /// # Errors
    /// The backend failed, or a token is outside the vocabulary.
    pub fn draft(&mut self, wishes: &mut [Wish<'_, B>]) -> Result<Vec<Vec<TokenId>>> {
        for wish in wishes.iter() {
            self.check_tokens(&[wish.next])?;
        }
        let Some(drafter) = &mut self.drafter else { return Ok(vec![Vec::new(); wishes.len()]) };
        let (backend, weights, ropes) = (&*self.backend, &self.weights, &self.ropes);
        let drafts = drafter.draft(Surroundings { backend, weights, ropes, workspace: &mut self.workspace }, wishes);
        if drafts.is_err() {
            wishes.iter_mut().for_each(|wish| wish.sequence.drafting = None);
        }
        drafts
    }

    /// Makes a sequence that of its first `tokens` tokens, as if the others had never been evaluated: for drafts that were wrong.
    ///
    /// # Errors
    /// More tokens than [`DRAFTS_MAX`] would have to go.
    pub fn take_back(&self, sequence: &mut Sequence<B>, tokens: usize) -> Result<()> {
        let surplus = sequence.len().saturating_sub(tokens);
        if surplus == 0 {
            return Ok(());
        }
        if surplus > DRAFTS_MAX {
            return Err(Error::TooManyDrafts { found: surplus, most: DRAFTS_MAX });
        }
        self.backend.take_back(&mut sequence.cache, tokens)?;
        sequence.tokens.truncate(tokens);
        if let Some(drafting) = &mut sequence.drafting {
            drafting.take_back(surplus);
        }
        Ok(())
    }

    fn check(&self, pieces: &[Rows<'_, B>]) -> Result<()> {
        self.file.check_intact()?;
        let rows: usize = pieces.iter().map(|p| p.tokens.len()).sum();
        if rows > self.options.chunk {
            return Err(Error::TooManyRows { rows, most: self.options.chunk });
        }
        for piece in pieces {
            let end = piece.sequence.len() + piece.tokens.len();
            if piece.sequence.broken {
                return Err(Error::Broken);
            }
            if piece.tokens.is_empty() {
                return Err(Error::Empty);
            }
            if end > self.options.context {
                return Err(Error::Context { tokens: end, context: self.options.context });
            }
            self.check_tokens(piece.tokens)?;
        }
        Ok(())
    }

    fn check_tokens(&self, tokens: &[TokenId]) -> Result<()> {
        match tokens.iter().find(|t| **t as usize >= self.config.vocab) {
            Some(token) => Err(Error::Token { token: *token, vocab: self.config.vocab }),
            None => Ok(()),
        }
    }

    /// Whether `tokens` can be the beginning of a sequence.
    ///
    /// # Errors
    /// No tokens, more than the context holds, or one outside the vocabulary.
    pub fn check_prompt(&self, tokens: &[TokenId]) -> Result<()> {
        if tokens.is_empty() {
            return Err(Error::Empty);
        }
        if tokens.len() > self.options.context {
            return Err(Error::Context { tokens: tokens.len(), context: self.options.context });
        }
        self.check_tokens(tokens)
    }

    /// Appends `tokens` to `sequence` in chunks and returns the logits asked for. `progress` is told the number of tokens done after each chunk.
    ///
    /// # Errors
    /// As for [`Engine::step`]; chunks that were finished stay.
    pub fn prefill(
        &mut self,
        sequence: &mut Sequence<B>,
        tokens: &[TokenId],
        logits: Logits,
        progress: &mut dyn FnMut(usize),
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<f32>> {
        let end = sequence.len() + tokens.len();
        if tokens.is_empty() {
            return Err(Error::Empty);
        }
        if end > self.options.context {
            return Err(Error::Context { tokens: end, context: self.options.context });
        }
        let (mut out, mut done) = (Vec::new(), 0);
        for chunk in tokens.chunks(self.options.chunk) {
            let last = done + chunk.len() == tokens.len();
            let logits = if logits == Logits::Last && !last { Logits::None } else { logits };
            out.extend(self.step(&mut [Rows { sequence: &mut *sequence, tokens: chunk, logits }], stop)?);
            done += chunk.len();
            progress(done);
        }
        Ok(out)
    }
}
