//! The backend: every operation of the forward pass on the device.

use crate::cache::{Cache, Page, Pool};
use crate::gpu::{Buffer, Gpu, floats, words};
use crate::ops::attention::Attention;
use crate::ops::compressor::{Compressing, Preparing, Selection};
use crate::ops::draft::{self, Norms};
use crate::ops::experts::{ExpertLimits, ExpertWeights, Experts};
use crate::ops::hyper::{self, Expand, Hyper, Mixing, Site};
use crate::ops::linear::{Limits, Linear, Tuning};
use crate::ops::route::{Router, Routing};
use crate::ops::steer;
use crate::rows::{Rows, Vector};
use crate::shape::Shape;
use crate::step::StepData;
use crate::weights::{Matrix, SharedTensors};
use ds4_engine::Precision;
use ds4_engine::backend::{self, Backend, Collapse, Join, JoinScratch, MatrixShape, Prepare, Projection, Step};
use ds4_engine::config::STREAMS;
use ds4_engine::kv::RowFormat;
use ds4_engine::rope::Rope;
use ds4_engine::weights::{self, Ffn, HcSite, draft_tensors};
use ds4_engine::{Config, Error, Result, TokenId, draft_sequence_bytes, draft_step_bytes, step_bytes};
use ds4_gguf::{File, TensorInfo, TensorType};
use ds4_quant::Format;
use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// How to set up a [`GpuBackend`].
pub struct GpuOptions {
    /// Arithmetic.
    pub precision: Precision,
    /// Storage of KV rows.
    pub rows: RowFormat,
    /// Most rows of a step.
    pub chunk: usize,
    /// Most tokens of a sequence.
    pub context: usize,
    /// The file with the draft block, if tokens are to be drafted.
    pub drafter: Option<Arc<File>>,
    /// The choice of kernels; without one the usual for any device. Exact arithmetic always has the usual.
    pub tuning: Option<Tuning>,
    /// Is told how many bytes of weights are on the device, after each tensor.
    pub loaded: Box<dyn Fn(u64) + Send + Sync>,
}

/// The model on a GPU.
pub struct GpuBackend {
    gpu: Arc<Gpu>,
    config: Config,
    options: GpuOptions,
    tensors: SharedTensors,
    /// Bytes of weights uploaded.
    loaded: AtomicU64,
    hyper: Hyper,
    linear: Linear,
    experts: Experts,
    pool: Arc<Pool>,
    attention: Attention,
    draft: Option<DraftBlock>,
    step: Mutex<StepData>,
}

/// KV states of the draft block, and its attention.
struct DraftBlock {
    pool: Arc<Pool>,
    attention: Attention,
}

/// Experts and weights chosen for each row, once there are any.
#[derive(Default)]
pub struct Routes(Option<Buffer>);

/// The hash-routing table: as many experts a token as are used.
pub struct Table(Buffer);

/// Bytes of the weights of `file` on a device: tensors that share their bytes count once.
pub fn weight_bytes(file: &File) -> u64 {
    bytes_of(file, file.tensors())
}

/// Bytes of the weights of the draft block in `file`.
///
/// # Errors
/// There is no such block.
pub fn draft_weight_bytes(file: &File) -> Result<u64> {
    Ok(bytes_of(file, draft_tensors(file)?))
}

fn bytes_of<'a>(file: &File, tensors: impl IntoIterator<Item = &'a TensorInfo>) -> u64 {
    let data = tensors.into_iter().map(|tensor| file.data(tensor));
    let places: HashSet<(usize, usize)> = data.map(|data| (data.as_ptr() as usize, data.len())).collect();
    places.iter().map(|(_, bytes)| *bytes as u64).sum()
}

/// Refuses, before anything is loaded, what no kernel exists for: projections of hyper-connections that are neither F16 nor F32.
fn check_types<'a>(tensors: impl IntoIterator<Item = &'a TensorInfo>) -> Result<()> {
    let is_site = |name: &str| name.contains("hc_") && name.ends_with("_fn.weight");
    let has_kernel = |ty: TensorType| matches!(ty, TensorType::F16 | TensorType::F32);
    match tensors.into_iter().find(|tensor| is_site(&tensor.name) && !has_kernel(tensor.ty)) {
        None => Ok(()),
        Some(tensor) => {
            let (name, ty) = (&tensor.name, tensor.ty.name());
            Err(Error::Device(format!("tensor {name} has type {ty}, expected F16 or F32; use --backend cpu")))
        }
    }
}

impl GpuBackend {
    /// Makes the buffers that do not depend on weights.
    ///
    /// # Errors
    /// The model and its context do not fit the device's memory; sizes that the kernels cannot handle.
    pub fn new(gpu: Gpu, file: &File, config: &Config, options: GpuOptions) -> Result<Self> {
        check_types(file.tensors())?;
        let gpu = Arc::new(gpu);
        let rows = options.chunk.min(options.context).max(1);
        let pool = Pool::new(Arc::clone(&gpu), Shape::new(config, options.rows)?)?;
        let mut needed = [weight_bytes(file), pool.sequence_bytes(options.context), step_bytes(config, rows)];
        let mut draft = None;
        if let Some(file) = &options.drafter {
            let wrong = |error| Error::DraftBlock(Box::new(error));
            check_types(draft_tensors(file).map_err(wrong)?).map_err(wrong)?;
            let pool = Pool::new(Arc::clone(&gpu), Shape::new(&config.of_draft_block(), options.rows)?)?;
            let sequence = pool.sequence_bytes(0) + draft_sequence_bytes(config);
            let more = [draft_weight_bytes(file).map_err(wrong)?, sequence, draft_step_bytes(config, rows)];
            needed.iter_mut().zip(more).for_each(|(bytes, more)| *bytes = bytes.saturating_add(more));
            draft = Some(DraftBlock { attention: Attention::new(Arc::clone(&pool), options.precision)?, pool });
        }
        if let Some(memory) = gpu.info().memory.filter(|memory| *memory < needed.iter().sum()) {
            let [weights, kv, step] = needed.map(|bytes| bytes / 1_000_000);
            let memory = memory / 1_000_000;
            return Err(Error::Device(format!(
                "{} has {memory} MB, but weights take {weights} MB, {} tokens of context {kv} MB and a step {step} MB; \
                 use a smaller --ctx or --chunk, or --backend cpu",
                gpu.info(),
                options.context
            )));
        }
        let widest = [config.heads * config.head_dim, config.groups * config.o_rank, config.embd, config.q_rank];
        // Each stream of a row of the draft block is multiplied as a row of its own.
        let rows_most = if draft.is_some() { rows.max(STREAMS * rows.min(config.window)) } else { rows };
        let limits =
            Limits { rows: rows_most, cols: widest.into_iter().max().unwrap_or(0), normed_cols: config.q_rank };
        let expert_limits = ExpertLimits {
            rows,
            used: config.experts_used,
            experts: config.experts,
            ff: config.expert_ff,
            embd: config.embd,
        };
        let tuning = options.tuning.filter(|_| options.precision == Precision::Fast);
        let tuning = tuning.unwrap_or_else(|| Tuning::of(options.precision));
        let linear = Linear::tuned(&gpu, options.precision, limits, tuning)?;
        Ok(Self {
            hyper: Hyper::new(&gpu, config, rows, options.precision)?,
            experts: Experts::new(&gpu, &linear, expert_limits)?,
            attention: Attention::new(Arc::clone(&pool), options.precision)?,
            draft,
            step: Mutex::new(StepData::new(&gpu)?),
            tensors: SharedTensors::default(),
            loaded: AtomicU64::new(0),
            config: config.clone(),
            options,
            linear,
            pool,
            gpu,
        })
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    fn step(&self) -> MutexGuard<'_, StepData> {
        self.step.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The attention of the block that a step belongs to.
    fn attention(&self, step: &StepData) -> &Attention {
        match &self.draft {
            Some(draft) if step.is_draft => &draft.attention,
            _ => &self.attention,
        }
    }

    fn site<'a>(&self, site: &'a HcSite<Self>, norm: &'a Vector) -> Result<Site<'a>> {
        Ok(Site { project: mixing(site)?, scale: &site.scale, base: &site.base, norm })
    }

    /// §10, behind the collapse at `at` if that is left to do; whether an expand that follows was done is returned.
    #[allow(clippy::too_many_arguments)]
    fn feed_forward_with(
        &self,
        step: &Step<'_>,
        il: usize,
        w: &Ffn<Self>,
        at: Option<(Site<'_>, &Rows, &Rows)>,
        h: &Rows,
        z: &Rows,
        routes: &mut Routes,
        y: &Rows,
        expand: Option<&Expand<'_>>,
    ) -> Result<bool> {
        let (gpu, rows, config) = (&self.gpu, step.rows(), &self.config);
        let bytes = 8 * (rows * config.experts_used) as u64;
        if routes.0.as_ref().is_none_or(|buffer| buffer.bytes() < bytes) {
            routes.0 = Some(gpu.buffer("routes", bytes)?);
        }
        let Some(routes) = &routes.0 else { return Err(Error::Device("no routes".to_owned())) };
        let routing = match &w.routing {
            weights::Routing::Hash(table) => Routing::Hash(&table.0),
            weights::Routing::Learned { bias } => Routing::Learned(bias.as_ref()),
        };
        let ids = &self.step().ids;
        let has_logits = match at {
            Some((site, x, mix)) => self.collapse_project_with(rows, site, x, mix, h, None, &[(&w.router, z)])?,
            None => false,
        };
        let router = Router { matrix: &w.router, z, has_logits, routing, ids, scale: config.expert_scale };
        let e = &w.experts;
        let experts = ExpertWeights {
            gate: &e.gate,
            up: &e.up,
            down: &e.down,
            shared_gate: &e.shared_gate,
            shared_up: &e.shared_up,
            shared_down: &e.shared_down,
        };
        let clamps = (step.config.swiglu_clamp[il], step.config.swiglu_clamp_shared[il]);
        self.experts.run_routed(gpu, &self.linear, rows, clamps, &experts, h, &router, routes, y, expand)
    }

    /// §4 collapse; whether the product of its `h` was made in the same kernel is returned.
    #[allow(clippy::too_many_arguments)]
    fn collapse_project_with(
        &self,
        rows: usize,
        site: Site<'_>,
        x: &Rows,
        mix: &Rows,
        h: &Rows,
        norm: Option<&Vector>,
        out: &[(&Matrix, &Rows)],
    ) -> Result<bool> {
        if let Some(collapse) = self.hyper.collapse_into(rows, site, x, mix, h)
            && self.linear.project_collapsed(&self.gpu, &collapse, norm, out)?
        {
            return Ok(true);
        }
        self.hyper.collapse(&self.gpu, rows, &site, x, mix, h).map(|()| false)
    }
}

/// The projection of a site.
fn mixing(site: &HcSite<GpuBackend>) -> Result<Mixing<'_>> {
    let is_f16 = match site.project.format {
        Format::F16 => true,
        Format::F32 => false,
        other => return Err(Error::Device(format!("hyper-connections in {other}; use --backend cpu"))),
    };
    Ok(Mixing { project: &site.project.buffer, is_f16 })
}

fn compressing<'a>(from: &'a Option<backend::Compressing<'_, GpuBackend>>) -> Option<Compressing<'a>> {
    from.as_ref().map(|(weights, k, g)| Compressing { ape: &weights.ape, norm: &weights.norm, k, g })
}

/// A projection as the linear kernels take it.
fn outputs<'a>(out: &'a [Projection<'_, GpuBackend>]) -> Vec<(&'a Matrix, &'a Rows)> {
    out.iter().map(|(matrix, rows)| (*matrix, &**rows)).collect()
}

impl Backend for GpuBackend {
    type Matrix = Matrix;
    type Vector = Vector;
    type Table = Table;
    type Buffer = Rows;
    type Cache = Cache;
    type Page = Page;
    type Routes = Routes;
    type Selection = Selection;
    type Tokens = Buffer;

    fn name(&self) -> String {
        format!("{}, {}", self.gpu.info(), self.options.precision.name())
    }

    fn matrix(&self, file: &Arc<File>, tensor: &TensorInfo, format: Format, shape: MatrixShape) -> Result<Matrix> {
        let before = self.gpu.allocated();
        let matrix = Matrix::load(&self.gpu, &self.tensors, file, tensor, format, shape)?;
        let bytes = self.gpu.allocated() - before;
        (self.options.loaded)(bytes + self.loaded.fetch_add(bytes, Ordering::Relaxed));
        Ok(matrix)
    }

    fn vector(&self, values: Vec<f32>) -> Result<Vector> {
        Vector::new(&self.gpu, &values)
    }

    fn table(&self, entries: Vec<i32>, width: usize) -> Result<Table> {
        debug_assert_eq!(width, self.config.experts_used);
        let entries: Vec<u32> = entries.into_iter().map(|entry| entry as u32).collect();
        Ok(Table(self.gpu.buffer_of("the hash table", &words(&entries))?))
    }

    fn buffer(&self, rows: usize, width: usize) -> Result<Rows> {
        Rows::new(&self.gpu, rows, width)
    }

    fn read(&self, buffer: &Rows, rows: usize) -> Result<Vec<f32>> {
        buffer.read(&self.gpu, rows)
    }

    fn cache(&self) -> Result<Cache> {
        // Sequences come after the weights: the memory that staged them may go.
        self.tensors.finish();
        self.pool.cache()
    }

    fn reserve(&self, cache: &mut Cache, tokens: usize) -> Result<()> {
        self.pool.reserve(cache, tokens)
    }

    fn sequence_bytes(&self, tokens: usize) -> u64 {
        self.pool.sequence_bytes(tokens)
    }

    fn cache_bytes(&self, cache: &Cache, counted: &mut HashSet<usize>) -> u64 {
        cache.pool().cache_bytes(cache, counted)
    }

    fn kv_mode(&self) -> String {
        let rounding = if self.options.rows == RowFormat::Native { "rounded" } else { "unrounded" };
        format!("{rounding} rows, {} arithmetic on a GPU", self.options.precision.name())
    }

    fn page_size(&self) -> usize {
        self.pool.shape().layout.page_bytes
    }

    fn finished_pages<'a>(&self, cache: &'a Cache, tokens: usize) -> &'a [Arc<Page>] {
        cache.finished_pages(tokens)
    }

    fn page_bytes<'a>(&self, page: &'a Page) -> Result<Cow<'a, [u8]>> {
        self.pool.page_bytes(page).map(Cow::Owned)
    }

    fn page(&self, bytes: Vec<u8>) -> Result<Page> {
        self.pool.page(&bytes)
    }

    fn save_frontier(&self, cache: &Cache, tokens: usize) -> Result<Vec<u8>> {
        self.pool.save_frontier(cache, tokens)
    }

    fn saved_frontier_bytes(&self, tokens: usize) -> u64 {
        self.pool.shape().layout.saved_frontier_bytes(tokens)
    }

    fn restore(&self, tokens: usize, pages: Vec<Arc<Page>>, frontier: &[u8]) -> Result<Cache> {
        self.pool.restore(tokens, pages, frontier)
    }

    fn begin(&self, step: &Step<'_>, ropes: [&Rope; 2], caches: &mut [&mut Cache]) -> Result<()> {
        let is_of = |draft: &&DraftBlock| caches.iter().all(|cache| Arc::ptr_eq(cache.pool(), &draft.pool));
        let draft = self.draft.as_ref().filter(is_of);
        let mut data = self.step();
        data.is_draft = draft.is_some();
        data.begin(draft.map_or(&self.pool, |draft| &draft.pool), step, ropes, caches)
    }

    fn embed(&self, step: &Step<'_>, table: &Matrix, x: &mut Rows) -> Result<()> {
        self.linear.embed(&self.gpu, step.rows(), &self.step().ids, table, x)
    }

    fn hc_collapse(&self, step: &Step<'_>, at: Collapse<'_, Self>) -> Result<()> {
        let site = self.site(at.site, at.norm)?;
        self.hyper.collapse(&self.gpu, step.rows(), &site, at.x, at.mix, at.h)
    }

    fn hc_expand(&self, step: &Step<'_>, y: &Rows, to: backend::Expand<'_, Self>) -> Result<()> {
        let next = to.next.map(mixing).transpose()?;
        self.hyper.expand(&self.gpu, step.rows(), to.mix, y, to.x, next)
    }

    fn project_expand(
        &self,
        step: &Step<'_>,
        w: &Matrix,
        x: &Rows,
        y: &mut Rows,
        to: backend::Expand<'_, Self>,
    ) -> Result<()> {
        let (gpu, rows) = (&self.gpu, step.rows());
        let is_expanded = match to.next.map(mixing).transpose()? {
            Some(next) => {
                let expand = self.hyper.expand_into(next, to.x, to.mix);
                self.linear.project_expanding(gpu, rows, x, w, y, &expand)?
            }
            None => self.linear.project(gpu, rows, x, None, &[(w, &*y)]).map(|()| false)?,
        };
        if is_expanded { Ok(()) } else { self.hc_expand(step, y, to) }
    }

    fn collapse_project(
        &self,
        step: &Step<'_>,
        at: Collapse<'_, Self>,
        norm: &Vector,
        out: &mut [Projection<'_, Self>],
    ) -> Result<()> {
        let (rows, site, out) = (step.rows(), self.site(at.site, at.norm)?, outputs(out));
        match self.collapse_project_with(rows, site, at.x, at.mix, at.h, Some(norm), &out)? {
            true => Ok(()),
            false => self.linear.project_for_norm(&self.gpu, rows, at.h, norm, &out),
        }
    }

    fn collapse_feed_forward(
        &self,
        step: &Step<'_>,
        il: usize,
        w: &Ffn<Self>,
        at: Collapse<'_, Self>,
        z: &mut Rows,
        routes: &mut Routes,
        y: &mut Rows,
    ) -> Result<()> {
        let site = (self.site(at.site, at.norm)?, &*at.x, &*at.mix);
        self.feed_forward_with(step, il, w, Some(site), at.h, z, routes, y, None).map(|_| ())
    }

    fn collapse_feed_forward_expand(
        &self,
        step: &Step<'_>,
        il: usize,
        w: &Ffn<Self>,
        at: Collapse<'_, Self>,
        z: &mut Rows,
        routes: &mut Routes,
        y: &mut Rows,
        next: Option<&HcSite<Self>>,
    ) -> Result<()> {
        let Collapse { site, norm, x, mix, h } = at;
        let expand = next.map(mixing).transpose()?.map(|next| self.hyper.expand_into(next, x, mix));
        let at = Some((self.site(site, norm)?, &*x, &*mix));
        let is_expanded = self.feed_forward_with(step, il, w, at, h, z, routes, y, expand.as_ref())?;
        if is_expanded { Ok(()) } else { self.hc_expand(step, y, backend::Expand { mix, x, next }) }
    }

    fn project(&self, rows: usize, x: &Rows, out: &mut [Projection<'_, Self>]) -> Result<()> {
        self.linear.project(&self.gpu, rows, x, None, &outputs(out))
    }

    fn project_for_norm(&self, rows: usize, x: &Rows, norm: &Vector, out: &mut [Projection<'_, Self>]) -> Result<()> {
        self.linear.project_for_norm(&self.gpu, rows, x, norm, &outputs(out))
    }

    fn norm_project(
        &self,
        step: &Step<'_>,
        norm: &Vector,
        x: &mut Rows,
        out: &mut [Projection<'_, Self>],
    ) -> Result<()> {
        self.linear.project(&self.gpu, step.rows(), x, Some((norm, self.config.rms_eps)), &outputs(out))
    }

    fn project_grouped(&self, rows: usize, groups: usize, w: &Matrix, x: &Rows, out: &mut Rows) -> Result<()> {
        self.linear.project_grouped(&self.gpu, rows, groups, w, x, out)
    }

    fn rms_norm(&self, step: &Step<'_>, norm: &Vector, x: &mut Rows) -> Result<()> {
        hyper::rms_norm(&self.gpu, step.rows(), norm, self.config.rms_eps, x)
    }

    fn prepare(&self, _: &Step<'_>, il: usize, p: Prepare<'_, Self>, _: &mut [&mut Cache]) -> Result<()> {
        let preparing = Preparing {
            q: p.q,
            kv: p.kv,
            kv_norm: p.kv_norm,
            compressor: compressing(&p.compressor),
            index: compressing(&p.index),
            index_q: p.index_q.as_deref(),
        };
        let step = self.step();
        self.attention(&step).prepare(&step, il, preparing)
    }

    fn index_select(
        &self,
        _: &Step<'_>,
        il: usize,
        q: &Rows,
        w: &Rows,
        _: &[&mut Cache],
        selection: &mut Selection,
    ) -> Result<()> {
        self.attention.index_select(&self.step(), il, q, w, selection)
    }

    fn attend(
        &self,
        _: &Step<'_>,
        il: usize,
        weights: &weights::Attention<Self>,
        _: &Rope,
        q: &mut Rows,
        kv: &Rows,
        selection: Option<&Selection>,
        _: &mut [&mut Cache],
    ) -> Result<()> {
        let step = self.step();
        self.attention(&step).attend(&step, il, &weights.sinks, q, kv, selection)
    }

    fn feed_forward(
        &self,
        step: &Step<'_>,
        il: usize,
        w: &Ffn<Self>,
        h: &Rows,
        z: &mut Rows,
        routes: &mut Routes,
        y: &mut Rows,
    ) -> Result<()> {
        self.feed_forward_with(step, il, w, None, h, z, routes, y, None).map(|_| ())
    }

    fn head(
        &self,
        _: &Step<'_>,
        rows: &[usize],
        site: &HcSite<Self>,
        norm: &Vector,
        x: &Rows,
        e: &mut Rows,
    ) -> Result<()> {
        self.hyper.head(&self.gpu, rows, &self.site(site, norm)?, x, e)
    }

    fn draft_cache(&self) -> Result<Cache> {
        let missing = || Error::Device("the GPU was set up without a draft block".to_owned());
        self.draft.as_ref().ok_or_else(missing)?.pool.cache()
    }

    fn take_back(&self, cache: &mut Cache, tokens: usize) -> Result<()> {
        cache.take_back(tokens);
        Ok(())
    }

    fn copy_rows(&self, from: &Rows, rows: Range<usize>, to: &mut Rows, at: usize) -> Result<()> {
        let row = 4 * from.width as u64;
        if !rows.is_empty() {
            to.written(0);
            let (first, bytes) = (rows.start as u64 * row, rows.len() as u64 * row);
            self.gpu.copy(&from.buffer, first, &to.buffer, at as u64 * row, bytes);
        }
        Ok(())
    }

    fn join(&self, step: &Step<'_>, join: Join<'_, Self>, scratch: &mut JoinScratch<Self>, x: &mut Rows) -> Result<()> {
        let (gpu, rows, data, w) = (&*self.gpu, step.rows(), self.step(), join.weights);
        if let Some((tokens, at)) = join.chosen {
            gpu.copy(tokens, 4 * at as u64, &data.ids, 0, 4 * rows as u64);
        }
        self.linear.embed(gpu, rows, &data.ids, join.embd, x)?;
        let [normed_token, token] = &scratch.token;
        let [normed_streams, streams] = &scratch.streams;
        let eps = self.config.rms_eps;
        let norms = Norms { embedded: x, streams: join.streams, token: &w.enorm, stream: &w.hnorm, eps };
        norms.apply(gpu, rows, normed_token, normed_streams)?;
        self.linear.project(gpu, rows, normed_token, None, &[(&w.e_proj, token)])?;
        self.linear.project(gpu, STREAMS * rows, normed_streams, None, &[(&w.h_proj, streams)])?;
        draft::add(gpu, rows, token, streams, x)
    }

    fn tokens(&self, n: usize) -> Result<Buffer> {
        self.gpu.buffer("drafts", 4 * n as u64)
    }

    fn choose(&self, rows: usize, logits: &Rows, to: &mut Buffer, at: usize) -> Result<()> {
        draft::choose(&self.gpu, rows, logits, to, at)
    }

    fn read_tokens(&self, tokens: &Buffer, n: usize) -> Result<Vec<TokenId>> {
        let bytes = self.gpu.download(tokens, 0, 4 * n as u64)?;
        Ok(bytes.as_chunks().0.iter().map(|bytes| TokenId::from_le_bytes(*bytes)).collect())
    }

    fn write(&self, buffer: &mut Rows, values: &[f32]) -> Result<()> {
        buffer.written(0);
        self.gpu.upload(&buffer.buffer, 0, &floats(values));
        Ok(())
    }

    fn read_rows(&self, buffer: &Rows, rows: Range<usize>) -> Result<Vec<f32>> {
        buffer.read_rows(&self.gpu, rows)
    }

    fn steer(&self, rows: usize, v: &Vector, s: f32, y: &mut Rows) -> Result<()> {
        steer::steer(&self.gpu, rows, v, s, y)
    }
}
