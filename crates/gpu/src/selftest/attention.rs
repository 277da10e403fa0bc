//! Compressors, indexer and attention against a plain reference over the host's KV cache.

use super::weights::Random;
use super::{Case, Shapes, Trial, Verdict, Work};
use crate::cache::Pool;
use crate::gpu::Gpu;
use crate::ops::attention::Attention;
use crate::ops::compressor::{Compressing, Preparing, Selection};
use crate::rows::{Rows, Vector};
use crate::shape::Shape;
use crate::step::StepData;
use ds4_engine::backend::{CompressedStream, Segment, Step};
use ds4_engine::config::RopeConfig;
use ds4_engine::kv::rounding::{f16_round, fp4_round, fp8_round, hadamard};
use ds4_engine::kv::{Cache, KvLayout, PAGE_TOKENS, RowFormat};
use ds4_engine::rope::{Rope, rotate, rotate_back};
use ds4_engine::{Config, Error, LayerKind, Precision, Result};
use std::sync::{Arc, Mutex, PoisonError};

/// Sizes of a test: heads, head width, rotated, index heads, index width, top k.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub usize, pub usize, pub usize, pub usize, pub usize, pub usize);

/// Odd sizes.
pub const SMALL: Size = Size(6, 192, 64, 12, 64, 16);
/// As the demo model.
pub const DEMO: Size = Size(8, 128, 64, 4, 128, 40);
/// As the full shape, but small enough for tests without matrix units.
pub const EVEN: Size = Size(32, 256, 64, 16, 128, 64);
/// As DeepSeek V4 Flash.
pub const FULL: Size = Size(64, 512, 64, 64, 128, 512);

/// A configuration of these sizes.
pub fn config(size: Size, layers: &[LayerKind]) -> Config {
    let Size(heads, head_dim, rot, index_heads, index_dim, top_k) = size;
    Config {
        name: None,
        layers: layers.to_vec(),
        embd: 64,
        vocab: 64,
        heads,
        head_dim,
        rot,
        q_rank: 32,
        groups: 2,
        o_rank: 32,
        window: 128,
        index_heads,
        index_dim,
        top_k,
        experts: 4,
        experts_used: 2,
        expert_ff: 64,
        hash_layers: 0,
        expert_scale: 1.5,
        swiglu_clamp: vec![10.0; layers.len()],
        swiglu_clamp_shared: vec![10.0; layers.len()],
        sinkhorn: 20,
        hc_eps: 1e-6,
        rms_eps: 1e-6,
        rope: RopeConfig {
            base: 10000.0,
            compress_base: 160_000.0,
            factor: 16.0,
            original_context: 65536.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
        },
        context: 1 << 20,
    }
}

/// One layer of each kind.
pub const KINDS: [LayerKind; 3] = [LayerKind::Sliding, LayerKind::Csa, LayerKind::Hca];

/// Most that a value may differ; values are of the size of 1. The second is for matrix units, where weights are F16.
const TOLERANCE: f64 = 1e-5;
const UNITS_TOLERANCE: f64 = 1e-3;
/// Multiplications of a reference in f64 that still take no time.
const REFERENCE_PRODUCTS: usize = 1 << 28;

/// Numbers from −2 to 2, as a model could have them.
fn spread(random: &mut Random, n: usize) -> Vec<f32> {
    random.values(n).iter().map(|v| 2.0 * v).collect()
}

/// Weights and projections of one layer in a step.
struct Inputs {
    kv_norm: Vec<f32>,
    sinks: Vec<f32>,
    ape: [Vec<f32>; 2],
    norm: [Vec<f32>; 2],
    q: Vec<f32>,
    kv: Vec<f32>,
    k: [Vec<f32>; 2],
    g: [Vec<f32>; 2],
    iq: Vec<f32>,
    iw: Vec<f32>,
}

/// The same on the device.
pub struct LayerInputs {
    kind: LayerKind,
    /// Query heads; attention leaves its outputs there.
    pub q: Rows,
    /// Latent rows.
    pub kv: Rows,
    kv_norm: Vector,
    sinks: Vector,
    streams: Vec<(Vector, Vector, Rows, Rows)>,
    iq: Rows,
    iw: Rows,
}

impl LayerInputs {
    fn new(gpu: &Gpu, c: &Config, kind: LayerKind, x: &Inputs) -> Result<Self> {
        let w = widths(c, kind);
        let of = |values: &[f32], width: usize| Rows::of(gpu, values, width.max(1));
        let vector = |values: &[f32]| Vector::new(gpu, values);
        let stream = |s: usize| Ok((vector(&x.ape[s])?, vector(&x.norm[s])?, of(&x.k[s], w[s])?, of(&x.g[s], w[s])?));
        Ok(Self {
            kind,
            q: of(&x.q, c.heads * c.head_dim)?,
            kv: of(&x.kv, c.head_dim)?,
            kv_norm: vector(&x.kv_norm)?,
            sinks: vector(&x.sinks)?,
            streams: (0..2).map(stream).collect::<Result<_>>()?,
            iq: of(&x.iq, c.index_heads * c.index_dim)?,
            iw: of(&x.iw, c.index_heads)?,
        })
    }
}

/// A model's KV part, one layer of each kind, on the device and on the host, side by side.
pub struct Bench {
    /// Its configuration.
    pub config: Config,
    /// The host's layout.
    pub layout: Arc<KvLayout>,
    /// Angles of layers without and with compressed rows.
    pub ropes: [Rope; 2],
    /// The device.
    pub gpu: Arc<Gpu>,
    /// Its memory.
    pub pool: Arc<Pool>,
    /// Operations.
    pub ops: Attention,
    /// How rows are stored.
    pub format: RowFormat,
    tolerance: f64,
    chosen: Mutex<Vec<u32>>,
}

fn widths(c: &Config, kind: LayerKind) -> [usize; 2] {
    match kind {
        LayerKind::Sliding => [0, 0],
        LayerKind::Csa => [2 * c.head_dim, 2 * c.index_dim],
        LayerKind::Hca => [c.head_dim, 0],
    }
}

const STREAMS: [CompressedStream; 2] = [CompressedStream::Attention, CompressedStream::Index];

fn lacks(what: &str) -> Error {
    Error::Device(format!("a self-test without {what}"))
}

impl Bench {
    /// On this device; with `units`, on matrix units whose products this text has.
    ///
    /// # Errors
    /// Out of memory, or a kernel does not compile.
    pub fn new(gpu: Arc<Gpu>, size: Size, format: RowFormat, units: Option<&'static str>) -> Result<Self> {
        Self::with(gpu, config(size, &KINDS), format, units)
    }

    fn with(gpu: Arc<Gpu>, config: Config, format: RowFormat, units: Option<&'static str>) -> Result<Self> {
        let shape = Shape::new(&config, format)?;
        let layout = Arc::clone(&shape.layout);
        let pool = Pool::new(Arc::clone(&gpu), shape)?;
        let ops = match units {
            Some(_) => Attention::with_units(Arc::clone(&pool), Precision::Fast, units)?,
            None => Attention::new(Arc::clone(&pool), Precision::Fast)?,
        };
        let is_f16 = units.is_some() || gpu.caps().matrix16;
        let ropes = [Rope::new(&config, LayerKind::Sliding), Rope::new(&config, LayerKind::Csa)];
        let tolerance = if is_f16 { UNITS_TOLERANCE } else { TOLERANCE };
        Ok(Self { config, layout, ropes, gpu, pool, ops, format, tolerance, chosen: Mutex::default() })
    }

    /// With one layer of this kind.
    fn of_layer(gpu: Arc<Gpu>, size: Size, kind: LayerKind) -> Result<Self> {
        Self::with(gpu, config(size, &[kind]), RowFormat::Native, None)
    }

    fn is_native(&self) -> bool {
        self.format == RowFormat::Native
    }

    fn rope(&self, kind: LayerKind) -> &Rope {
        &self.ropes[usize::from(kind != LayerKind::Sliding)]
    }

    /// Whether rows up to `position` have more compressed rows than the indexer keeps.
    pub fn selects(&self, position: usize) -> bool {
        (position + 1) / 4 > self.config.top_k
    }

    fn inputs(&self, il: usize, rows: usize, weights: &mut Random, values: &mut Random) -> Inputs {
        let (c, kind) = (&self.config, self.config.layers[il]);
        let w = widths(c, kind);
        let ratio = kind.ratio().unwrap_or(0);
        let indexed = usize::from(kind == LayerKind::Csa);
        Inputs {
            kv_norm: spread(weights, c.head_dim).iter().map(|w| 1.0 + 0.1 * w).collect(),
            sinks: spread(weights, c.heads),
            ape: [spread(weights, ratio * w[0]), spread(weights, ratio * w[1])],
            norm: [spread(weights, c.head_dim), spread(weights, c.index_dim)],
            q: spread(values, rows * c.heads * c.head_dim),
            kv: spread(values, rows * c.head_dim),
            k: [spread(values, rows * w[0]), spread(values, rows * w[1])],
            g: [spread(values, rows * w[0]), spread(values, rows * w[1])],
            iq: spread(values, indexed * rows * c.index_heads * c.index_dim),
            iw: spread(values, indexed * rows * c.index_heads),
        }
    }

    /// Random weights and `rows` rows of projections of layer `il`, on the device.
    ///
    /// # Errors
    /// Out of memory.
    pub fn layer(&self, il: usize, rows: usize) -> Result<LayerInputs> {
        let x = self.inputs(il, rows, &mut Random(3), &mut Random(4));
        LayerInputs::new(&self.gpu, &self.config, self.config.layers[il], &x)
    }

    /// A host state as the forward pass could have left it after `tokens` tokens.
    ///
    /// # Errors
    /// Out of memory.
    pub fn filled(&self, tokens: usize, random: &mut Random) -> Result<Cache> {
        let mut cache = Cache::new(Arc::clone(&self.layout));
        cache.reserve(tokens)?;
        for (il, layer) in self.layout.layers.iter().enumerate() {
            for position in tokens.saturating_sub(self.layout.window)..tokens {
                let mut row = spread(random, self.layout.head_dim);
                self.round_latent(&mut row);
                cache.write_window(il, position, &row);
            }
            let (width, Some(ratio)) = (widths(&self.config, layer.kind), layer.kind.ratio()) else { continue };
            for (s, stream) in STREAMS.into_iter().enumerate() {
                if let Some(state) = cache.state_mut(il, stream) {
                    for position in state.live(tokens) {
                        state.store(position, &spread(random, width[s]), &spread(random, width[s]));
                    }
                    let d = if s == 0 { self.layout.head_dim } else { self.layout.index_dim };
                    for row in 0..tokens / ratio {
                        cache.write_row(il, stream, row, &spread(random, d));
                    }
                }
            }
        }
        Ok(cache)
    }

    /// The same state on the device.
    ///
    /// # Errors
    /// Out of memory.
    pub fn to_device(&self, cache: &Cache, tokens: usize) -> Result<crate::cache::Cache> {
        let pages = cache.finished_pages(tokens).iter();
        let pages = pages.map(|page| Ok(Arc::new(self.pool.page(page.bytes())?))).collect::<Result<_>>()?;
        self.pool.restore(tokens, pages, &cache.save_frontier(tokens))
    }

    fn round_latent(&self, row: &mut [f32]) {
        if self.is_native() {
            fp8_round(&mut row[..self.layout.head_dim - self.layout.rot]);
            f16_round(row);
        }
    }

    /// §5 to §8: what attention needs of new rows.
    ///
    /// # Errors
    /// The device failed.
    pub fn prepare(&self, data: &StepData, il: usize, l: &LayerInputs, selects: bool) -> Result<()> {
        let w = widths(&self.config, l.kind);
        let compressing = |s: usize| {
            let (ape, norm, k, g) = &l.streams[s];
            (w[s] > 0).then_some(Compressing { ape, norm, k, g })
        };
        let (compressor, index) = (compressing(0), compressing(1));
        let index_q = self.has_choice(l, selects).then_some(&l.iq);
        let p = Preparing { q: &l.q, kv: &l.kv, kv_norm: &l.kv_norm, compressor, index, index_q };
        self.ops.prepare(data, il, p)
    }

    /// Whether the indexer has a choice in this layer.
    fn has_choice(&self, l: &LayerInputs, selects: bool) -> bool {
        selects && l.kind == LayerKind::Csa
    }

    /// The indexer, where it has a choice.
    ///
    /// # Errors
    /// The device failed.
    pub fn select(&self, data: &StepData, il: usize, l: &LayerInputs, selection: &mut Selection) -> Result<()> {
        self.ops.index_select(data, il, &l.iq, &l.iw, selection)
    }

    /// §9: attention.
    ///
    /// # Errors
    /// The device failed.
    pub fn attend(&self, data: &StepData, il: usize, l: &LayerInputs, selection: Option<&Selection>) -> Result<()> {
        self.ops.attend(data, il, &l.sinks, &l.q, &l.kv, selection)
    }

    /// One step of all layers on both sides, compared; the host's `Cache`s and the device's go on. `lengths` has start and rows of each
    /// sequence. Returns, by layer, what the device's attention made of each row.
    ///
    /// # Errors
    /// The device failed.
    pub fn step(
        &self,
        verdict: &mut Verdict,
        lengths: &[(usize, usize)],
        host: &mut [Cache],
        device: &mut [crate::cache::Cache],
        seed: u64,
    ) -> Result<Vec<Vec<f32>>> {
        let mut segments = Vec::new();
        let (mut positions, mut tokens) = (Vec::new(), Vec::new());
        for (start, count) in lengths {
            segments.push(Segment { rows: positions.len()..positions.len() + count, start: *start });
            positions.extend(*start..start + count);
        }
        tokens.resize(positions.len(), 7);
        let rows = positions.len();
        let step = Step { config: &self.config, tokens: &tokens, positions: &positions, segments: &segments };
        for ((start, count), (h, d)) in lengths.iter().zip(host.iter_mut().zip(device.iter_mut())) {
            h.reserve(start + count)?;
            self.pool.reserve(d, start + count)?;
        }
        let mut data = StepData::new(&self.gpu)?;
        let mut caches: Vec<&mut crate::cache::Cache> = device.iter_mut().collect();
        data.begin(&self.pool, &step, [&self.ropes[0], &self.ropes[1]], &mut caches)?;
        let selects = positions.iter().max().is_some_and(|last| self.selects(*last));
        let mut out = Vec::new();
        let mut selection = Selection::default();
        for il in 0..self.config.layers.len() {
            // Weights are those of the layer in every step.
            let x = self.inputs(il, rows, &mut Random(1 + il as u64), &mut Random(seed * 31 + il as u64));
            let (c, kind) = (&self.config, self.config.layers[il]);
            let on = LayerInputs::new(&self.gpu, c, kind, &x)?;
            let is_selected = self.has_choice(&on, selects);
            self.prepare(&data, il, &on, selects)?;
            if is_selected {
                self.select(&data, il, &on, &mut selection)?;
            }
            let used = is_selected.then_some(&selection);
            self.attend(&data, il, &on, used)?;
            let got = on.q.read(&self.gpu, rows)?;
            super::linear::compare_consumed(verdict, &self.gpu, &on.q, rows)?;
            let latents = on.kv.read(&self.gpu, rows)?;
            let chosen = used.map(|s| s.read(&self.gpu, rows, c.top_k)).transpose()?;
            if let Some(chosen) = &chosen {
                *self.chosen.lock().unwrap_or_else(PoisonError::into_inner) = chosen.clone();
            }
            let mut seen = Seen { verdict, il, step: &step, latents: &latents, chosen: chosen.as_deref(), got: &got };
            self.compare(&mut seen, x, host, &caches)?;
            out.push(got);
        }
        Ok(out)
    }

    /// What the indexer chose last.
    pub fn last_choice(&self) -> Vec<u32> {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// §5 to §9 of one layer, plainly.
    fn compare(
        &self,
        seen: &mut Seen<'_>,
        mut x: Inputs,
        host: &mut [Cache],
        device: &[&mut crate::cache::Cache],
    ) -> Result<()> {
        let (c, il, step) = (&self.config, seen.il, seen.step);
        let kind = c.layers[il];
        let (d, rope, rows) = (c.head_dim, self.rope(kind), step.rows());
        let nope = d - c.rot;
        let w = widths(c, kind);
        for row in 0..rows {
            let table = rope.table(step.positions[row]);
            let latent = &mut x.kv[row * d..(row + 1) * d];
            norm(latent, Some(&x.kv_norm), c.rms_eps);
            rotate(&mut latent[nope..], &table);
            self.round_latent(latent);
            for head in x.q[row * c.heads * d..(row + 1) * c.heads * d].chunks_exact_mut(d) {
                norm(head, None, c.rms_eps);
                rotate(&mut head[nope..], &table);
            }
            if kind == LayerKind::Csa {
                let width = c.index_heads * c.index_dim;
                for head in x.iq[row * width..(row + 1) * width].chunks_exact_mut(c.index_dim) {
                    rotate(&mut head[c.index_dim - c.rot..], &table);
                    if self.is_native() {
                        hadamard(head);
                        fp4_round(head);
                    }
                }
            }
        }
        self.adopt_latents(seen, &mut x.kv);
        for (sequence, segment) in step.segments.iter().enumerate() {
            let cache = &mut host[sequence];
            for (s, stream) in STREAMS.into_iter().enumerate().filter(|(s, _)| w[*s] > 0) {
                let ratio = kind.ratio().ok_or_else(|| lacks("a ratio"))?;
                let dim = if s == 0 { d } else { c.index_dim };
                for row in segment.rows.clone() {
                    let position = step.positions[row];
                    let score: Vec<f32> = x.g[s][row * w[s]..(row + 1) * w[s]]
                        .iter()
                        .zip(&x.ape[s][position % ratio * w[s]..])
                        .map(|(g, a)| g + a)
                        .collect();
                    let state = cache.state_mut(il, stream).ok_or_else(|| lacks("a compressor's state"))?;
                    state.store(position, &x.k[s][row * w[s]..(row + 1) * w[s]], &score);
                    if (position + 1).is_multiple_of(ratio) {
                        let window = position / ratio;
                        let mut values = pool(state, window, ratio, w[s], dim);
                        norm(&mut values, Some(&x.norm[s]), c.rms_eps);
                        rotate(&mut values[dim - c.rot..], &rope.table(window * ratio));
                        if s == 1 && self.is_native() {
                            hadamard(&mut values);
                        }
                        cache.write_row(il, stream, window, &values);
                    }
                }
            }
        }
        // As many rows as take no time.
        let keys = c.window + step.positions.iter().max().map_or(0, |last| kind.ratio().map_or(0, |r| last / r));
        let keys = if seen.chosen.is_some() { keys.min(c.window + c.top_k) } else { keys };
        let checked = super::linear::some(rows, REFERENCE_PRODUCTS / (2 * keys * c.heads * d));
        for (sequence, segment) in step.segments.iter().enumerate() {
            let cache = &mut host[sequence];
            // The device rounds in single precision and may meet a tie the other way: its own rows are what it attends to, after
            // they were seen to be all but equal.
            self.adopt_rows(seen, cache, device[sequence], segment.start, segment.start + segment.rows.len())?;
            for row in segment.rows.clone() {
                let position = step.positions[row];
                cache.write_window(il, position, &x.kv[row * d..(row + 1) * d]);
                if checked.binary_search(&row).is_ok() {
                    self.compare_row(seen, &x, row, cache, device[sequence]);
                }
            }
        }
        let is_whole = seen.got.iter().all(|v| v.is_finite());
        seen.verdict.require(is_whole, || format!("{} layer: some value is no number", kind.name()));
        Ok(())
    }

    /// §9 of one row.
    fn compare_row(&self, seen: &mut Seen<'_>, x: &Inputs, row: usize, cache: &Cache, device: &crate::cache::Cache) {
        let (c, il, kind) = (&self.config, seen.il, self.config.layers[seen.il]);
        let (d, position) = (c.head_dim, seen.step.positions[row]);
        let nope = d - c.rot;
        let oldest = (position + 1).saturating_sub(c.window);
        let mut keys = vec![0.0; (position + 1 - oldest) * d];
        cache.read_window(il, oldest..position + 1, &mut keys);
        let visible = kind.ratio().map_or(0, |r| (position + 1) / r);
        let own = match seen.chosen {
            Some(chosen) => {
                let n = visible.min(c.top_k);
                let physical = &chosen[row * c.top_k..][..n];
                let logical = logical(device, physical);
                seen.verdict.require(logical.len() == n, || format!("row {row}: a chosen row has no page"));
                self.check_choice(seen, cache, x, row, visible, &logical);
                logical
            }
            None => (0..visible).collect(),
        };
        for key in own.into_iter().filter(|key| *key < visible) {
            let mut values = vec![0.0; d];
            cache.read_row(il, CompressedStream::Attention, key, &mut values);
            keys.extend(values);
        }
        let table = self.rope(kind).table(position);
        for head in 0..c.heads {
            let at = (row * c.heads + head) * d;
            let mut want = attend(&x.q[at..at + d], &keys, x.sinks[head]);
            rotate_back(&mut want[nope..], &table);
            for (i, (want, got)) in want.iter().zip(&seen.got[at..]).enumerate() {
                let error = f64::from((want - got).abs());
                let at =
                    || format!("{} layer, position {position}, head {head}, value {i}: {got}, not {want}", kind.name());
                seen.verdict.see(error, self.tolerance, at);
            }
        }
    }

    /// The chosen are ascending, and none is worse than one that was left out by more than rounding.
    fn check_choice(
        &self,
        seen: &mut Seen<'_>,
        cache: &Cache,
        x: &Inputs,
        row: usize,
        visible: usize,
        chosen: &[usize],
    ) {
        let c = &self.config;
        let is_ascending = chosen.is_sorted_by(|a, b| a < b) && chosen.last().is_none_or(|last| *last < visible);
        seen.verdict.require(is_ascending, || format!("row {row}: chosen rows are not ascending: {chosen:?}"));
        if !is_ascending {
            return;
        }
        let mut scores = Vec::with_capacity(visible);
        let mut key = vec![0.0; c.index_dim];
        for i in 0..visible {
            cache.read_row(seen.il, CompressedStream::Index, i, &mut key);
            let head = |h: usize| {
                let q = &x.iq[(row * c.index_heads + h) * c.index_dim..][..c.index_dim];
                let product: f64 = q.iter().zip(&key).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                f64::from(x.iw[row * c.index_heads + h]) * product.max(0.0)
            };
            scores.push((0..c.index_heads).map(head).sum::<f64>());
        }
        let size = scores.iter().fold(0.0f64, |m, s| m.max(s.abs()));
        let worst = chosen.iter().map(|i| scores[*i]).fold(f64::INFINITY, f64::min);
        let left = (0..visible).filter(|i| chosen.binary_search(i).is_err()).map(|i| scores[i]);
        let best_left = left.fold(f64::NEG_INFINITY, f64::max);
        // Rotated queries are rounded to four bits: one that meets a tie the other way moves a score by some thousandths.
        let at = || format!("row {row}: {worst} is chosen, {best_left} is not; scores up to {size}");
        seen.verdict.see((best_left - worst).max(0.0), 5e-3 * size, at);
    }

    /// Compares latent rows, of which some value may have been rounded the other way, and takes the device's.
    fn adopt_latents(&self, seen: &mut Seen<'_>, host: &mut [f32]) {
        let (d, mut codes) = (self.config.head_dim, 0);
        let nope = d - self.config.rot;
        for (i, (h, g)) in host.iter_mut().zip(seen.latents).enumerate() {
            let is_code = self.is_native() && i % d < nope;
            let step = if !self.is_native() {
                1e-6
            } else if is_code {
                0.13
            } else {
                1e-3
            };
            let at = || format!("latent value {i}: {g}, not {h}");
            seen.verdict.see(f64::from((*h - g).abs()), f64::from(step * h.abs() + 2e-6), at);
            codes += usize::from(is_code && *h != *g);
            *h = *g;
        }
        let (most, n) = (2 + host.len() / 5000, host.len());
        seen.verdict.require(codes <= most, || format!("{codes} of {n} latent codes differ"));
    }

    /// Compares the rows that the device finished in `start..end` with those of `cache`, which gets them.
    fn adopt_rows(
        &self,
        seen: &mut Seen<'_>,
        cache: &mut Cache,
        device: &crate::cache::Cache,
        start: usize,
        end: usize,
    ) -> Result<()> {
        let il = seen.il;
        let Some(ratio) = self.config.layers[il].ratio() else { return Ok(()) };
        let rows = start / ratio..end / ratio;
        if rows.is_empty() {
            return Ok(());
        }
        let first = rows.start * ratio / PAGE_TOKENS;
        let empty = Arc::new(ds4_engine::kv::Page::new(vec![0; self.layout.page_bytes]));
        let mut all = vec![empty; first];
        for page in first..end.div_ceil(PAGE_TOKENS) {
            all.push(Arc::new(ds4_engine::kv::Page::new(self.pool.page_bytes(device.page(page))?)));
        }
        let on_device = Cache::with_pages(Arc::clone(&self.layout), all);
        for (s, stream) in STREAMS.into_iter().enumerate() {
            if cache.state(il, stream).is_none() {
                continue;
            }
            let dim = if s == 0 { self.config.head_dim } else { self.config.index_dim };
            let (mut got, mut want, mut other) = (vec![0.0; dim], vec![0.0; dim], 0);
            for row in rows.clone() {
                on_device.read_row(il, stream, row, &mut got);
                cache.read_row(il, stream, row, &mut want);
                let unit = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                for (i, (a, b)) in got.iter().zip(&want).enumerate() {
                    // One code off is one of eight or of two steps of a binade.
                    let step = if !self.is_native() {
                        2e-6
                    } else if s == 0 {
                        0.13
                    } else {
                        0.5
                    };
                    let at = || format!("layer {il} {stream:?} row {row} value {i}: {a}, not {b}");
                    seen.verdict.see(f64::from((a - b).abs()), f64::from(step * unit.max(1e-30)), at);
                    other += usize::from(self.is_native() && (a - b).abs() > 1e-3 * unit);
                }
            }
            let (most, n) = (2 + rows.len() * dim / 2000, rows.len() * dim);
            seen.verdict.require(other <= most, || format!("layer {il} {stream:?}: {other} of {n} codes differ"));
            for row in rows.clone() {
                on_device.read_row(il, stream, row, &mut got);
                cache.write_row(il, stream, row, &got);
            }
        }
        Ok(())
    }
}

/// What the device made of a layer in a step.
struct Seen<'a> {
    verdict: &'a mut Verdict,
    il: usize,
    step: &'a Step<'a>,
    latents: &'a [f32],
    chosen: Option<&'a [u32]>,
    got: &'a [f32],
}

/// Rows of the sequence that arena rows of a ratio-4 layer stand for; those without a page are left out.
fn logical(cache: &crate::cache::Cache, physical: &[u32]) -> Vec<usize> {
    const ROWS: usize = PAGE_TOKENS / 4;
    let numbers = cache.page_numbers();
    let of = |p: &u32| {
        let page = numbers.iter().position(|n| *n as usize == *p as usize / ROWS)?;
        Some(page * ROWS + *p as usize % ROWS)
    };
    physical.iter().filter_map(of).collect()
}

fn norm(x: &mut [f32], weight: Option<&[f32]>, eps: f32) {
    let mean = x.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>() / x.len() as f64;
    let scale = (1.0 / (mean + f64::from(eps)).sqrt()) as f32;
    for (i, v) in x.iter_mut().enumerate() {
        *v = *v * scale * weight.map_or(1.0, |w| w[i]);
    }
}

/// The softmax-weighted sum of a window's candidates.
fn pool(state: &ds4_engine::kv::CompressorState, window: usize, ratio: usize, width: usize, d: usize) -> Vec<f32> {
    let mut candidates = Vec::new();
    let first = window * ratio;
    if width > d && window > 0 {
        candidates.extend((first - ratio..first).map(|p| (p, 0)));
    }
    candidates.extend((first..first + ratio).map(|p| (p, width - d)));
    (0..d)
        .map(|j| {
            let score = |(p, lane): &(usize, usize)| f64::from(state.row(*p).1[lane + j]);
            let most = candidates.iter().map(score).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = candidates.iter().map(|c| (score(c) - most).exp()).sum();
            let value = |c: &(usize, usize)| (score(c) - most).exp() * f64::from(state.row(c.0).0[c.1 + j]);
            (candidates.iter().map(value).sum::<f64>() / sum) as f32
        })
        .collect()
}

fn attend(q: &[f32], keys: &[f32], sink: f32) -> Vec<f32> {
    let d = q.len();
    let dot =
        |key: &[f32]| q.iter().zip(key).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() / (d as f64).sqrt();
    let scores: Vec<f64> = keys.chunks_exact(d).map(dot).collect();
    let most = scores.iter().fold(f64::from(sink), |m, s| m.max(*s));
    let sum = (f64::from(sink) - most).exp() + scores.iter().map(|s| (s - most).exp()).sum::<f64>();
    let mut out = vec![0.0f64; d];
    for (score, key) in scores.iter().zip(keys.chunks_exact(d)) {
        let weight = (score - most).exp() / sum;
        out.iter_mut().zip(key).for_each(|(o, v)| *o += weight * f64::from(*v));
    }
    out.iter().map(|o| *o as f32).collect()
}

/// Cases of attention: tokens before and rows of each sequence, step by step.
pub(super) fn cases(shapes: Shapes) -> Vec<Case> {
    let mut all = Vec::new();
    match shapes {
        Shapes::Small => {
            for (name, size) in [("odd", SMALL), ("demo model's", DEMO)] {
                for format in [RowFormat::Native, RowFormat::Unrounded] {
                    let shape = format!("{name} sizes, {format:?} rows, three sequences");
                    all.push(Case::small("attention", shape, move |trial| small(trial, size, format)));
                }
            }
            all.push(Case::small("attention, forked", "demo model's sizes".to_owned(), forked));
        }
        Shapes::Model => {
            for (rows, depth) in [(1, 2047), (1, 16_383), (16, 4096), (512, 0), (512, 2048), (512, 14_336)] {
                for (il, kind) in KINDS.into_iter().enumerate() {
                    // Sliding layers do not see what is far away.
                    if kind != LayerKind::Sliding || depth <= 4096 {
                        let shape = format!("{} layer, {rows} rows behind {depth} tokens", kind.name());
                        all.push(Case::model("attention", shape, move |trial| model(trial, il, rows, depth)));
                    }
                }
            }
        }
    }
    all
}

fn small(trial: &mut Trial<'_>, size: Size, format: RowFormat) -> Result<()> {
    let bench = Bench::new(Arc::clone(trial.gpu), size, format, None)?;
    let (mut random, starts) = (Random(42), [700, 131, 3]);
    let mut host = starts.iter().map(|n| bench.filled(*n, &mut random)).collect::<Result<Vec<_>>>()?;
    let mut device = host.iter().zip(starts).map(|(host, n)| bench.to_device(host, n)).collect::<Result<Vec<_>>>()?;
    let mut at = starts;
    for (i, counts) in [[1, 9, 1], [1, 1, 1], [5, 1, 200], [1, 1, 1]].into_iter().enumerate() {
        let lengths: Vec<(usize, usize)> = at.into_iter().zip(counts).collect();
        bench.step(&mut trial.outcome.verdict, &lengths, &mut host, &mut device, 100 + i as u64)?;
        at.iter_mut().zip(counts).for_each(|(at, n)| *at += n);
    }
    Ok(())
}

/// Two forks that go on with the same rows stay equal, bit for bit.
fn forked(trial: &mut Trial<'_>) -> Result<()> {
    let bench = Bench::new(Arc::clone(trial.gpu), DEMO, RowFormat::Native, None)?;
    let (verdict, tokens) = (&mut trial.outcome.verdict, 300);
    let mut host = [bench.filled(tokens, &mut Random(5))?];
    let mut device = [bench.to_device(&host[0], tokens)?];
    let (mut other_host, mut other) = (host.clone(), device.clone());
    for i in 0..4 {
        let at = [(tokens + i, 1)];
        let one = bench.step(verdict, &at, &mut host, &mut device, i as u64)?;
        let two = bench.step(verdict, &at, &mut other_host, &mut other, i as u64)?;
        verdict.require(one == two, || format!("forks differ after {} rows", i + 1));
    }
    let own = device[0].page_numbers().last() != other[0].page_numbers().last();
    verdict.require(own, || "forks write to the same page".to_owned());
    Ok(())
}

fn model(trial: &mut Trial<'_>, il: usize, rows: usize, depth: usize) -> Result<()> {
    // Decode steps of many sequences, or one prompt.
    let (sequences, each) = if rows <= 16 { (rows, 1) } else { (1, rows) };
    let bench = Bench::of_layer(Arc::clone(trial.gpu), FULL, KINDS[il])?;
    let mut host = vec![bench.filled(depth, &mut Random(1))?];
    host.resize(sequences, host[0].clone());
    let mut device = vec![bench.to_device(&host[0], depth)?];
    device.resize(sequences, device[0].clone());
    let lengths = vec![(depth, each); sequences];
    bench.step(&mut trial.outcome.verdict, &lengths, &mut host, &mut device, 9)?;
    drop(host);

    // The next step, again and again.
    let start = depth + each;
    let segments: Vec<Segment> = (0..sequences).map(|s| Segment { rows: s * each..(s + 1) * each, start }).collect();
    let positions: Vec<usize> = (0..sequences).flat_map(|_| start..start + each).collect();
    let tokens = vec![1; rows];
    let step = Step { config: &bench.config, tokens: &tokens, positions: &positions, segments: &segments };
    device.iter_mut().try_for_each(|cache| bench.pool.reserve(cache, start + each))?;
    let mut data = StepData::new(&bench.gpu)?;
    let mut caches: Vec<&mut crate::cache::Cache> = device.iter_mut().collect();
    data.begin(&bench.pool, &step, [&bench.ropes[0], &bench.ropes[1]], &mut caches)?;
    let (selects, l) = (bench.selects(start + each - 1), bench.layer(0, rows)?);
    let mut selection = Selection::default();
    let works = works(&bench.config, KINDS[il], &positions, sequences);
    trial.time("prepare", works[0], |_| bench.prepare(&data, 0, &l, selects))?;
    let is_selected = bench.has_choice(&l, selects);
    if is_selected {
        trial.time("choose rows", works[1], |_| bench.select(&data, 0, &l, &mut selection))?;
    }
    trial.time("attend", works[2], |_| bench.attend(&data, 0, &l, is_selected.then_some(&selection)))
}

/// What preparing, the indexer and attention have to do for rows at these positions.
fn works(c: &Config, kind: LayerKind, positions: &[usize], sequences: usize) -> [Work; 3] {
    let n = positions.len();
    let visible = |p: &usize| kind.ratio().map_or(0, |r| (p + 1) / r);
    let seen = |p: &usize| if kind == LayerKind::Csa { visible(p).min(c.top_k) } else { visible(p) };
    let keys = |p: &usize| ((p + 1).min(c.window), seen(p));
    let (near, far) = positions.iter().map(keys).fold((0, 0), |sum, own| (sum.0 + own.0, sum.1 + own.1));
    let scored: usize = positions.iter().map(visible).sum();
    let heads = c.heads * c.head_dim;
    // Rows of a prompt share their keys.
    let shared = (n / sequences).max(1);
    let keys_bytes = (1024 * near + 592 * far) / shared;
    let work = |bytes: usize, operations: usize| Work { bytes: bytes as f64, operations: operations as f64 };
    [
        work(8 * n * heads, 0),
        work(68 * scored / shared + 4 * scored, 2 * scored * c.index_heads * c.index_dim),
        work(keys_bytes + 8 * n * heads, 4 * (near + far) * heads),
    ]
}
