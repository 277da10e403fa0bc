//! What a device must be able to do: the model's own steps, in terms of opaque handles.
//!
//! **Invariants.** A backend never knows the layer schedule: `forward.rs` calls it in the order of
//! `spec/model.md`. A step takes rows of any number of sequences. Buffers are rows of f32; the first `step.rows()`
//! rows are live.

use crate::TokenId;
use crate::config::Config;
use crate::error::Result;
use crate::rope::Rope;
use crate::weights::{Attention, Compressor, Ffn, HcSite, Joining};
use ds4_gguf::{File, TensorInfo};
use ds4_quant::Format;
use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

/// Arithmetic of a backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Precision {
    /// f32 activations, weights dequantised exactly.
    Exact,
    /// Activations rounded in front of weights that are, to integers or half precision, where that is faster.
    #[default]
    Fast,
}

impl Precision {
    /// The name that people know it by.
    pub const fn name(self) -> &'static str {
        match self {
            Precision::Exact => "exact",
            Precision::Fast => "fast",
        }
    }
}

/// The rows of one step that belong to one sequence: consecutive tokens.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Rows of the batch.
    pub rows: Range<usize>,
    /// Position of the first row.
    pub start: usize,
}

/// The rows of one step. The i-th segment belongs to the i-th cache that the step is given.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    /// Hyper-parameters.
    pub config: &'a Config,
    /// One token a row.
    pub tokens: &'a [TokenId],
    /// One position a row.
    pub positions: &'a [usize],
    /// One segment a sequence, covering all rows in order.
    pub segments: &'a [Segment],
}

impl Step<'_> {
    /// Number of live rows.
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }
}

/// Shape of a weight matrix, or of `count` equal ones stored one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatrixShape {
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// Matrices.
    pub count: usize,
}

/// Which of a layer's two compressed streams an operation works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressedStream {
    /// KV rows for attention.
    Attention,
    /// Key rows of the indexer.
    Index,
}

/// One projection of [`Backend::project`]: weights and where the result goes.
pub type Projection<'a, B> = (&'a <B as Backend>::Matrix, &'a mut <B as Backend>::Buffer);

/// A compressor with what was projected for it: weights, `k`, gate `g`, which is used up.
pub type Compressing<'a, B> = (&'a Compressor<B>, &'a <B as Backend>::Buffer, &'a mut <B as Backend>::Buffer);

/// What [`Backend::prepare`] works on: everything between the projections of a layer's attention and the attention itself.
pub struct Prepare<'a, B: Backend> {
    /// Angles of the layer.
    pub rope: &'a Rope,
    /// Query heads.
    pub q: &'a mut B::Buffer,
    /// KV latent.
    pub kv: &'a mut B::Buffer,
    /// Norm of the latent.
    pub kv_norm: &'a B::Vector,
    /// Compressor of KV rows.
    pub compressor: Option<Compressing<'a, B>>,
    /// Compressor of index rows.
    pub index: Option<Compressing<'a, B>>,
    /// Indexer query heads, where rows are to be selected.
    pub index_q: Option<&'a mut B::Buffer>,
}

/// A hyper-connection site in front of a part of a layer, and what goes from site to site.
pub struct Collapse<'a, B: Backend> {
    /// The site.
    pub site: &'a HcSite<B>,
    /// The norm behind it.
    pub norm: &'a B::Vector,
    /// The streams.
    pub x: &'a mut B::Buffer,
    /// `post` and `C`, for the expand behind the part.
    pub mix: &'a mut B::Buffer,
    /// What is collapsed and normed, for the part.
    pub h: &'a mut B::Buffer,
}

impl<B: Backend> Collapse<'_, B> {
    /// The same, to be used before this one.
    pub fn again(&mut self) -> Collapse<'_, B> {
        Collapse { site: self.site, norm: self.norm, x: self.x, mix: self.mix, h: self.h }
    }
}

/// An expand behind a part of a layer.
pub struct Expand<'a, B: Backend> {
    /// `post` and `C` of the site in front of the part.
    pub mix: &'a B::Buffer,
    /// The streams.
    pub x: &'a mut B::Buffer,
    /// The site that collapses them next, if any does: what it needs may be made on the way.
    pub next: Option<&'a HcSite<B>>,
}

/// What [`Backend::join`] makes the input of the draft block of.
pub struct Join<'a, B: Backend> {
    /// Norms and projections.
    pub weights: &'a Joining<B>,
    /// Embedding of the model.
    pub embd: &'a B::Matrix,
    /// `P`: the streams of each row, `N·E` values.
    pub streams: &'a B::Buffer,
    /// Tokens of the rows that the device chose, from this place on; without them those of the step.
    pub chosen: Option<(&'a B::Tokens, usize)>,
}

/// Buffers of [`Backend::join`], `E` wide.
pub struct JoinScratch<B: Backend> {
    /// Embeddings, normed and projected: one row each.
    pub token: [B::Buffer; 2],
    /// The same of streams: `N` rows each.
    pub streams: [B::Buffer; 2],
}

/// A device. Section numbers are those of `spec/model.md`.
pub trait Backend: Sized + Send + Sync {
    /// A weight matrix, or the matrices of all experts of a layer.
    type Matrix: Send + Sync;
    /// A weight vector of f32.
    type Vector: Send + Sync;
    /// The hash-routing table.
    type Table: Send + Sync;
    /// Rows of f32 activations.
    type Buffer: Send + Sync;
    /// KV state of one sequence. `Clone` is a fork: history is shared, the frontier copied.
    type Cache: Clone + Send + Sync;
    /// A part of the history that never changes again: the compressed rows of [`PAGE_TOKENS`](crate::kv::PAGE_TOKENS) tokens.
    type Page: Send + Sync;
    /// Experts and weights chosen for each row.
    type Routes: Default + Send + Sync;
    /// Compressed rows chosen for each row.
    type Selection: Default + Send + Sync;
    /// Tokens that the device chose, and need not have told.
    type Tokens: Send + Sync;

    /// Name for people, with the device.
    fn name(&self) -> String;

    /// Makes a matrix of `tensor`, whose type and size were checked against `format` and `shape`.
    fn matrix(&self, file: &Arc<File>, tensor: &TensorInfo, format: Format, shape: MatrixShape)
    -> Result<Self::Matrix>;
    /// Makes a vector.
    fn vector(&self, values: Vec<f32>) -> Result<Self::Vector>;
    /// Makes a table of `width` experts a token, entries checked.
    fn table(&self, entries: Vec<i32>, width: usize) -> Result<Self::Table>;
    /// Makes a buffer of `rows × width`.
    fn buffer(&self, rows: usize, width: usize) -> Result<Self::Buffer>;
    /// The first `rows` rows of `buffer`.
    fn read(&self, buffer: &Self::Buffer, rows: usize) -> Result<Vec<f32>>;

    /// State of an empty sequence.
    fn cache(&self) -> Result<Self::Cache>;
    /// Makes room for compressed rows of `tokens` tokens in all.
    fn reserve(&self, cache: &mut Self::Cache, tokens: usize) -> Result<()>;
    /// Bytes of a sequence of `tokens` tokens that shares nothing.
    fn sequence_bytes(&self, tokens: usize) -> u64;
    /// Bytes of `cache` but for the pages in `counted`, which gets the others: caches that share pages can be added up.
    fn cache_bytes(&self, cache: &Self::Cache, counted: &mut HashSet<usize>) -> u64;

    /// What KV rows depend on besides the model: their rounding and the arithmetic. States of another mode are not continued.
    fn kv_mode(&self) -> String;
    /// Bytes of a page.
    fn page_size(&self) -> usize;
    /// The pages that the first `tokens` tokens filled.
    fn finished_pages<'a>(&self, cache: &'a Self::Cache, tokens: usize) -> &'a [Arc<Self::Page>];
    /// The bytes of a page, laid out as [`KvLayout`](crate::kv::KvLayout) says.
    fn page_bytes<'a>(&self, page: &'a Self::Page) -> Result<Cow<'a, [u8]>>;
    /// A page of such bytes.
    fn page(&self, bytes: Vec<u8>) -> Result<Self::Page>;
    /// What the finished pages do not hold of a state of `tokens` tokens: window, open page, compressors.
    fn save_frontier(&self, cache: &Self::Cache, tokens: usize) -> Result<Vec<u8>>;
    /// About how many bytes that takes.
    fn saved_frontier_bytes(&self, tokens: usize) -> u64;
    /// The state of `tokens` tokens from its finished pages and its frontier, bit for bit what was saved. The bytes may come
    /// from anywhere: wrong ones give an error.
    fn restore(&self, tokens: usize, pages: Vec<Arc<Self::Page>>, frontier: &[u8]) -> Result<Self::Cache>;

    /// Runs the operations of one step; a backend may use it to enter its thread pool or open a command list.
    fn run<R: Send>(&self, step: impl FnOnce() -> Result<R> + Send) -> Result<R> {
        step()
    }

    /// Called once before the operations of a step, with the angles of sliding and of compressed layers.
    fn begin(&self, _step: &Step<'_>, _ropes: [&Rope; 2], _caches: &mut [&mut Self::Cache]) -> Result<()> {
        Ok(())
    }

    /// §4 input: `X_s = token_embd[token]` for every stream. `x`: `N·E` wide.
    fn embed(&self, step: &Step<'_>, table: &Self::Matrix, x: &mut Self::Buffer) -> Result<()>;
    /// §4 collapse, then RMSNorm: `h = rmsnorm(Σ_s pre_s X_s, norm)`. `mix` keeps `post` (N) and `C` (N·N, source-major) of each row.
    fn hc_collapse(&self, step: &Step<'_>, at: Collapse<'_, Self>) -> Result<()>;
    /// §4 expand: `X'_t = post_t·y + Σ_s C[s][t]·X_s`.
    fn hc_expand(&self, step: &Step<'_>, y: &Self::Buffer, to: Expand<'_, Self>) -> Result<()>;
    /// `out = W·x` for several matrices of the same input.
    fn project(&self, rows: usize, x: &Self::Buffer, out: &mut [Projection<'_, Self>]) -> Result<()>;
    /// §9 output projection, first half: group `g` of `x` times its own rows of `w`.
    fn project_grouped(
        &self,
        rows: usize,
        groups: usize,
        w: &Self::Matrix,
        x: &Self::Buffer,
        out: &mut Self::Buffer,
    ) -> Result<()>;
    /// RMSNorm of each row, in place.
    fn rms_norm(&self, step: &Step<'_>, norm: &Self::Vector, x: &mut Self::Buffer) -> Result<()>;
    /// What lies between the projections of a layer's attention and the attention itself; none of it depends on another part.
    /// - §5 queries: unweighted RMSNorm of each head, then RoPE, in place.
    /// - §5, §6 the KV latent: RMSNorm, RoPE, FP8 and F16 rounding, in place.
    /// - §7 compressors: adds each row's `k` and gate `g` to the frontier of its sequence and appends a finished row for every window that
    ///   closes.
    /// - §8 indexer query heads: RoPE, Hadamard, FP4, in place.
    fn prepare(&self, step: &Step<'_>, il: usize, p: Prepare<'_, Self>, caches: &mut [&mut Self::Cache]) -> Result<()>;
    /// §8 the `K` best compressed rows of each row; all of them where no more are visible.
    fn index_select(
        &self,
        step: &Step<'_>,
        il: usize,
        q: &Self::Buffer,
        w: &Self::Buffer,
        caches: &[&mut Self::Cache],
        selection: &mut Self::Selection,
    ) -> Result<()>;
    /// §9 attention over window and compressed rows, with sinks and inverse RoPE: `q` becomes the head outputs. The step's
    /// latent rows `kv` enter the window.
    #[allow(clippy::too_many_arguments)]
    fn attend(
        &self,
        step: &Step<'_>,
        il: usize,
        weights: &Attention<Self>,
        rope: &Rope,
        q: &mut Self::Buffer,
        kv: &Self::Buffer,
        selection: Option<&Self::Selection>,
        caches: &mut [&mut Self::Cache],
    ) -> Result<()>;
    /// §10: router projection to `z`, experts and their weights to `routes`, and `y = Σ_i w_i·E_i(h) + S(h)`.
    #[allow(clippy::too_many_arguments)]
    fn feed_forward(
        &self,
        step: &Step<'_>,
        il: usize,
        w: &Ffn<Self>,
        h: &Self::Buffer,
        z: &mut Self::Buffer,
        routes: &mut Self::Routes,
        y: &mut Self::Buffer,
    ) -> Result<()>;
    /// §11 head of rows `rows` of the batch: HC collapse and RMSNorm, to consecutive rows of `e`.
    #[allow(clippy::too_many_arguments)]
    fn head(
        &self,
        step: &Step<'_>,
        rows: &[usize],
        site: &HcSite<Self>,
        norm: &Self::Vector,
        x: &Self::Buffer,
        e: &mut Self::Buffer,
    ) -> Result<()>;

    // Steps that follow one another, for backends that fuse them.

    /// [`project`](Self::project) of `y = W·x`, then [`hc_expand`](Self::hc_expand) of it.
    fn project_expand(
        &self,
        step: &Step<'_>,
        w: &Self::Matrix,
        x: &Self::Buffer,
        y: &mut Self::Buffer,
        to: Expand<'_, Self>,
    ) -> Result<()> {
        self.project(step.rows(), x, &mut [(w, y)])?;
        self.hc_expand(step, y, to)
    }

    /// [`hc_collapse`](Self::hc_collapse), then [`project_for_norm`](Self::project_for_norm) of its `h`.
    fn collapse_project(
        &self,
        step: &Step<'_>,
        mut at: Collapse<'_, Self>,
        norm: &Self::Vector,
        out: &mut [Projection<'_, Self>],
    ) -> Result<()> {
        self.hc_collapse(step, at.again())?;
        self.project_for_norm(step.rows(), at.h, norm, out)
    }

    /// [`hc_collapse`](Self::hc_collapse), then [`feed_forward`](Self::feed_forward) of its `h`.
    #[allow(clippy::too_many_arguments)]
    fn collapse_feed_forward(
        &self,
        step: &Step<'_>,
        il: usize,
        w: &Ffn<Self>,
        mut at: Collapse<'_, Self>,
        z: &mut Self::Buffer,
        routes: &mut Self::Routes,
        y: &mut Self::Buffer,
    ) -> Result<()> {
        self.hc_collapse(step, at.again())?;
        self.feed_forward(step, il, w, at.h, z, routes, y)
    }

    /// [`collapse_feed_forward`](Self::collapse_feed_forward), then [`hc_expand`](Self::hc_expand) of `y` towards `next`.
    #[allow(clippy::too_many_arguments)]
    fn collapse_feed_forward_expand(
        &self,
        step: &Step<'_>,
        il: usize,
        w: &Ffn<Self>,
        mut at: Collapse<'_, Self>,
        z: &mut Self::Buffer,
        routes: &mut Self::Routes,
        y: &mut Self::Buffer,
        next: Option<&HcSite<Self>>,
    ) -> Result<()> {
        self.collapse_feed_forward(step, il, w, at.again(), z, routes, y)?;
        self.hc_expand(step, y, Expand { mix: at.mix, x: at.x, next })
    }

    /// [`project`](Self::project) where [`norm_project`](Self::norm_project) with `norm` is what the first of `out` is for.
    fn project_for_norm(
        &self,
        rows: usize,
        x: &Self::Buffer,
        _norm: &Self::Vector,
        out: &mut [Projection<'_, Self>],
    ) -> Result<()> {
        self.project(rows, x, out)
    }

    /// [`rms_norm`](Self::rms_norm) of `x`, then [`project`](Self::project). Whether `x` is the normed one afterwards is left open.
    fn norm_project(
        &self,
        step: &Step<'_>,
        norm: &Self::Vector,
        x: &mut Self::Buffer,
        out: &mut [Projection<'_, Self>],
    ) -> Result<()> {
        self.rms_norm(step, norm, x)?;
        self.project(step.rows(), x, out)
    }

    // Drafts (§12). What the block works on stays on the device until the drafts of all passes are read at once.

    /// State of the draft block of an empty sequence: one sliding layer, number 0, which needs no room to be made.
    fn draft_cache(&self) -> Result<Self::Cache>;
    /// Makes a state that of its first `tokens` tokens, at most [`DRAFTS_MAX`](crate::kv::DRAFTS_MAX) fewer than it has. What a later token
    /// sees is bit for bit what it would have seen had the others never been there.
    fn take_back(&self, cache: &mut Self::Cache, tokens: usize) -> Result<()>;
    /// Copies rows `rows` of `from` to those from `at` on of `to`, which has the same width.
    fn copy_rows(&self, from: &Self::Buffer, rows: Range<usize>, to: &mut Self::Buffer, at: usize) -> Result<()>;
    /// Input of the draft block: `X_s = e_proj·rmsnorm(token_embd[t], enorm) + h_proj·rmsnorm(P_s, hnorm)`.
    fn join(
        &self,
        step: &Step<'_>,
        join: Join<'_, Self>,
        scratch: &mut JoinScratch<Self>,
        x: &mut Self::Buffer,
    ) -> Result<()>;
    /// Room for `n` tokens.
    fn tokens(&self, n: usize) -> Result<Self::Tokens>;
    /// The most probable token of each of the first `rows` rows of `logits`, as [`argmax`](crate::sampler::argmax) finds it, to the places from `at` on.
    fn choose(&self, rows: usize, logits: &Self::Buffer, to: &mut Self::Tokens, at: usize) -> Result<()>;
    /// The first `n` tokens.
    fn read_tokens(&self, tokens: &Self::Tokens, n: usize) -> Result<Vec<TokenId>>;

    /// Sets the first rows of `buffer`, the opposite of [`read`](Self::read).
    fn write(&self, buffer: &mut Self::Buffer, values: &[f32]) -> Result<()>;
    /// Rows `rows` of `buffer`.
    fn read_rows(&self, buffer: &Self::Buffer, rows: Range<usize>) -> Result<Vec<f32>>;

    /// Steering (`spec/session.md` §9): `y ← y − s·v·(v·y)` in each row.
    fn steer(&self, rows: usize, v: &Self::Vector, s: f32, y: &mut Self::Buffer) -> Result<()>;
}
