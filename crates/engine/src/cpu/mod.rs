//! The CPU backend: the reference (`exact`) and the production (`fast`) one.
//!
//! Weights stay in the file map. Operations split their work over a thread pool that a step enters once.
//!
//! | file | operations |
//! |---|---|
//! | `linear.rs` | matrices, projections |
//! | `hyper.rs` | hyper-connections, embedding, input of the draft block, head |
//! | `attention.rs` | norms, RoPE, window + compressed attention |
//! | `compressor.rs` | compressors and the indexer |
//! | `moe.rs` | router and experts |
//! | `math.rs` | exp, RMSNorm |

mod attention;
mod compressor;
mod hyper;
mod linear;
mod math;
mod moe;

use crate::backend::{
    Backend, Collapse, CompressedStream, Expand, Join, JoinScratch, MatrixShape, Prepare, Projection, Step,
};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::importance::Collector;
use crate::kv::{Cache, KvLayout, Page, RowFormat};
use crate::rope::Rope;
use crate::sampler::argmax;
use crate::weights::{Attention, Ffn, HcSite};
use crate::{Precision, TokenId};
use ds4_gguf::{File, TensorInfo};
use ds4_quant::Format;
use ds4_quant::dot::{FloatSums, Isa, Kernels};
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// How sums of floats are computed: in exact mode in f64, so that an error does not tip a rounding of KV rows where the formulas would not.
fn sums(precision: Precision) -> FloatSums {
    match precision {
        Precision::Exact => FloatSums::Double,
        Precision::Fast => FloatSums::Single,
    }
}

/// How to set up a [`CpuBackend`].
#[derive(Clone, Copy, Debug)]
pub struct CpuOptions {
    /// Arithmetic.
    pub precision: Precision,
    /// Threads; 0 means one a core.
    pub threads: usize,
    /// Storage of KV rows.
    pub rows: RowFormat,
}

impl Default for CpuOptions {
    fn default() -> Self {
        Self { precision: Precision::Fast, threads: 0, rows: RowFormat::Native }
    }
}

/// Most threads accepted; larger values are taken for a typing mistake.
pub const THREADS_MAX: usize = 1024;

/// Rows of f32 activations in host memory.
pub struct Buffer {
    width: usize,
    data: Vec<f32>,
}

impl Buffer {
    /// The first `n` rows.
    fn rows(&self, n: usize) -> &[f32] {
        &self.data[..n * self.width]
    }

    /// The first `n` rows, to be written.
    fn rows_mut(&mut self, n: usize) -> &mut [f32] {
        &mut self.data[..n * self.width]
    }
}

/// The model on the CPU.
pub struct CpuBackend {
    kernels: Kernels,
    precision: Precision,
    layout: Arc<KvLayout>,
    draft_layout: Arc<KvLayout>,
    pool: rayon::ThreadPool,
    scratch: Mutex<moe::Scratch>,
    /// Sees what is multiplied with weights, if anything does.
    collector: Option<Arc<Collector>>,
}

impl CpuBackend {
    /// Starts the threads and fixes the KV layout for `config`.
    ///
    /// # Errors
    /// Threads cannot be started.
    pub fn new(config: &Config, options: CpuOptions) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(options.threads.min(THREADS_MAX))
            .thread_name(|i| format!("ds4-cpu-{i}"))
            .build()
            .map_err(|e| Error::Threads(e.to_string()))?;
        let layout = Arc::new(KvLayout::new(config, options.rows));
        let draft_layout = Arc::new(KvLayout::new(&config.of_draft_block(), options.rows));
        Ok(Self {
            kernels: Kernels::new(Isa::best(), sums(options.precision)),
            precision: options.precision,
            layout,
            draft_layout,
            pool,
            scratch: Mutex::default(),
            collector: None,
        })
    }

    /// Lets `collector` see what is multiplied with weights.
    pub fn with_collector(self, collector: Arc<Collector>) -> Self {
        Self { collector: Some(collector), ..self }
    }

    fn isa(&self) -> Isa {
        self.kernels.isa()
    }

    fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    fn rounds_rows(&self) -> bool {
        self.layout.format == RowFormat::Native
    }
}

impl Backend for CpuBackend {
    type Matrix = linear::Matrix;
    type Vector = Vec<f32>;
    type Table = moe::Table;
    type Buffer = Buffer;
    type Cache = Cache;
    type Page = Page;
    type Routes = moe::Routes;
    type Selection = compressor::Selection;
    type Tokens = Vec<TokenId>;

    fn name(&self) -> String {
        format!("cpu ({}, {} threads, {})", self.isa().name(), self.threads(), self.precision.name())
    }

    fn matrix(
        &self,
        file: &Arc<File>,
        tensor: &TensorInfo,
        format: Format,
        shape: MatrixShape,
    ) -> Result<linear::Matrix> {
        linear::Matrix::new(file, tensor, format, shape)
    }

    fn vector(&self, values: Vec<f32>) -> Result<Vec<f32>> {
        Ok(values)
    }

    fn table(&self, entries: Vec<i32>, width: usize) -> Result<moe::Table> {
        Ok(moe::Table::new(entries, width))
    }

    fn buffer(&self, rows: usize, width: usize) -> Result<Buffer> {
        let n = rows * width;
        let mut data = Vec::new();
        data.try_reserve_exact(n).map_err(|_| Error::Memory { bytes: 4 * n, what: "activations" })?;
        data.resize(n, 0.0);
        Ok(Buffer { width, data })
    }

    fn read(&self, buffer: &Buffer, rows: usize) -> Result<Vec<f32>> {
        Ok(buffer.rows(rows).to_vec())
    }

    fn cache(&self) -> Result<Cache> {
        Ok(Cache::new(self.layout.clone()))
    }

    fn reserve(&self, cache: &mut Cache, tokens: usize) -> Result<()> {
        cache.reserve(tokens)
    }

    fn sequence_bytes(&self, tokens: usize) -> u64 {
        self.layout.sequence_bytes(tokens)
    }

    fn cache_bytes(&self, cache: &Cache, counted: &mut HashSet<usize>) -> u64 {
        cache.bytes(counted)
    }

    fn kv_mode(&self) -> String {
        let rounding = if self.rounds_rows() { "rounded" } else { "unrounded" };
        format!("{rounding} rows, {} arithmetic", self.precision.name())
    }

    fn page_size(&self) -> usize {
        self.layout.page_bytes
    }

    fn finished_pages<'a>(&self, cache: &'a Cache, tokens: usize) -> &'a [Arc<Page>] {
        cache.finished_pages(tokens)
    }

    fn page_bytes<'a>(&self, page: &'a Page) -> Result<Cow<'a, [u8]>> {
        Ok(Cow::Borrowed(page.bytes()))
    }

    fn page(&self, bytes: Vec<u8>) -> Result<Page> {
        Ok(Page::new(bytes))
    }

    fn save_frontier(&self, cache: &Cache, tokens: usize) -> Result<Vec<u8>> {
        Ok(cache.save_frontier(tokens))
    }

    fn saved_frontier_bytes(&self, tokens: usize) -> u64 {
        self.layout.saved_frontier_bytes(tokens)
    }

    fn restore(&self, tokens: usize, pages: Vec<Arc<Page>>, frontier: &[u8]) -> Result<Cache> {
        Cache::restore(Arc::clone(&self.layout), tokens, pages, frontier)
    }

    fn run<R: Send>(&self, step: impl FnOnce() -> Result<R> + Send) -> Result<R> {
        self.pool.install(step)
    }

    fn embed(&self, step: &Step<'_>, table: &linear::Matrix, x: &mut Buffer) -> Result<()> {
        hyper::embed(step, table, x)
    }

    fn hc_collapse(&self, step: &Step<'_>, at: Collapse<'_, Self>) -> Result<()> {
        hyper::collapse(self, step, at.site, at.norm, at.x, at.mix, at.h);
        Ok(())
    }

    fn hc_expand(&self, step: &Step<'_>, y: &Buffer, to: Expand<'_, Self>) -> Result<()> {
        hyper::expand(self, step, to.mix, y, to.x);
        Ok(())
    }

    fn project(&self, rows: usize, x: &Buffer, out: &mut [Projection<'_, Self>]) -> Result<()> {
        linear::project(self, rows, x, out);
        Ok(())
    }

    fn project_grouped(
        &self,
        rows: usize,
        groups: usize,
        w: &linear::Matrix,
        x: &Buffer,
        out: &mut Buffer,
    ) -> Result<()> {
        linear::project_grouped(self, rows, groups, w, x, out);
        Ok(())
    }

    fn rms_norm(&self, step: &Step<'_>, norm: &Vec<f32>, x: &mut Buffer) -> Result<()> {
        attention::norm_rows(self, step.rows(), step.config.rms_eps, norm, x);
        Ok(())
    }

    fn prepare(&self, step: &Step<'_>, il: usize, p: Prepare<'_, Self>, caches: &mut [&mut Cache]) -> Result<()> {
        let rope = p.rope;
        attention::query_heads(self, step, rope, p.q);
        attention::latent(self, step, rope, p.kv_norm, p.kv);
        let streams = [(CompressedStream::Attention, p.compressor), (CompressedStream::Index, p.index)];
        for (stream, compressing) in streams {
            if let Some((weights, k, g)) = compressing {
                compressor::compress(self, step, &compressor::Place { il, stream, weights, rope }, k, g, caches);
            }
        }
        if let Some(q) = p.index_q {
            compressor::index_query(self, step, rope, q);
        }
        Ok(())
    }

    fn index_select(
        &self,
        step: &Step<'_>,
        il: usize,
        q: &Buffer,
        w: &Buffer,
        caches: &[&mut Cache],
        selection: &mut compressor::Selection,
    ) -> Result<()> {
        compressor::index_select(self, step, il, q, w, caches, selection);
        Ok(())
    }

    fn attend(
        &self,
        step: &Step<'_>,
        il: usize,
        weights: &Attention<Self>,
        rope: &Rope,
        q: &mut Buffer,
        kv: &Buffer,
        selection: Option<&compressor::Selection>,
        caches: &mut [&mut Cache],
    ) -> Result<()> {
        attention::attend(self, step, il, &weights.sinks, rope, q, kv, selection, caches);
        Ok(())
    }

    fn feed_forward(
        &self,
        step: &Step<'_>,
        il: usize,
        w: &Ffn<Self>,
        h: &Buffer,
        z: &mut Buffer,
        routes: &mut moe::Routes,
        y: &mut Buffer,
    ) -> Result<()> {
        linear::project(self, step.rows(), h, &mut [(&w.router, &mut *z)]);
        moe::route(step, &w.routing, z, routes);
        moe::experts(self, step, il, &w.experts, h, routes, y);
        Ok(())
    }

    fn head(
        &self,
        step: &Step<'_>,
        rows: &[usize],
        site: &HcSite<Self>,
        norm: &Vec<f32>,
        x: &Buffer,
        e: &mut Buffer,
    ) -> Result<()> {
        hyper::head(self, step, rows, site, norm, x, e);
        Ok(())
    }

    fn draft_cache(&self) -> Result<Cache> {
        Ok(Cache::new(Arc::clone(&self.draft_layout)))
    }

    fn take_back(&self, cache: &mut Cache, tokens: usize) -> Result<()> {
        cache.take_back(tokens);
        Ok(())
    }

    fn copy_rows(&self, from: &Buffer, rows: Range<usize>, to: &mut Buffer, at: usize) -> Result<()> {
        let (width, n) = (from.width, rows.len());
        to.data[at * width..(at + n) * width].copy_from_slice(&from.data[rows.start * width..rows.end * width]);
        Ok(())
    }

    fn join(
        &self,
        step: &Step<'_>,
        join: Join<'_, Self>,
        scratch: &mut JoinScratch<Self>,
        x: &mut Buffer,
    ) -> Result<()> {
        hyper::join(self, step, &join, scratch, x)
    }

    fn tokens(&self, n: usize) -> Result<Vec<TokenId>> {
        Ok(vec![0; n])
    }

    fn choose(&self, rows: usize, logits: &Buffer, to: &mut Vec<TokenId>, at: usize) -> Result<()> {
        let rows = logits.rows(rows).chunks_exact(logits.width);
        to[at..].iter_mut().zip(rows).for_each(|(to, logits)| *to = argmax(logits));
        Ok(())
    }

    fn read_tokens(&self, tokens: &Vec<TokenId>, n: usize) -> Result<Vec<TokenId>> {
        Ok(tokens[..n].to_vec())
    }

    fn write(&self, buffer: &mut Buffer, values: &[f32]) -> Result<()> {
        buffer.data[..values.len()].copy_from_slice(values);
        Ok(())
    }

    fn read_rows(&self, buffer: &Buffer, rows: Range<usize>) -> Result<Vec<f32>> {
        Ok(buffer.data[rows.start * buffer.width..rows.end * buffer.width].to_vec())
    }

    fn steer(&self, rows: usize, v: &Vec<f32>, s: f32, y: &mut Buffer) -> Result<()> {
        let width = y.width;
        y.rows_mut(rows).par_chunks_mut(width).for_each(|y| {
            let along: f32 = y.iter().zip(v).map(|(y, v)| y * v).sum();
            y.iter_mut().zip(v).for_each(|(y, v)| *y -= s * along * v);
        });
        Ok(())
    }
}
