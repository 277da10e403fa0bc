//! A plain reference of compressors, indexer and attention over the host's KV cache, and random states and inputs for it.
#![allow(dead_code)]

use ds4_engine::Precision;
use ds4_engine::backend::{CompressedStream, Segment, Step};
use ds4_engine::config::RopeConfig;
use ds4_engine::kv::rounding::{f16_round, fp4_round, fp8_round, hadamard};
use ds4_engine::kv::{Cache, KvLayout, PAGE_TOKENS, RowFormat};
use ds4_engine::rope::{Rope, rotate, rotate_back};
use ds4_engine::{Config, LayerKind};
use ds4_gpu::ops::attention::Attention;
use ds4_gpu::ops::compressor::{Compressing, Preparing, Selection};
use ds4_gpu::{Caps, Gpu, Pool, Rows, Shape, StepData, Vector};
use std::sync::{Arc, Mutex, MutexGuard};

/// Numbers that look like a model's.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 40) as f32 / (1 << 24) as f32 - 0.5) * 4.0
    }

    pub fn many(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.next()).collect()
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() / 4.0 * n as f32 + n as f32 / 2.0) as usize % n
    }
}

/// Sizes of a test: heads, head width, rotated, index heads, index width, top k.
#[derive(Clone, Copy, Debug)]
pub struct Size(pub usize, pub usize, pub usize, pub usize, pub usize, pub usize);

pub const SMALL: Size = Size(6, 192, 64, 12, 64, 16);
pub const DEMO: Size = Size(8, 128, 64, 4, 128, 40);
/// As the full shape, but small enough for tests without matrix units.
pub const EVEN: Size = Size(32, 256, 64, 16, 128, 64);
pub const FULL: Size = Size(64, 512, 64, 64, 128, 512);

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

pub const KINDS: [LayerKind; 3] = [LayerKind::Sliding, LayerKind::Csa, LayerKind::Hca];

/// Weights and projections of one layer in a step.
pub struct Inputs {
    pub kv_norm: Vec<f32>,
    pub sinks: Vec<f32>,
    pub ape: [Vec<f32>; 2],
    pub norm: [Vec<f32>; 2],
    pub q: Vec<f32>,
    pub kv: Vec<f32>,
    pub k: [Vec<f32>; 2],
    pub g: [Vec<f32>; 2],
    pub iq: Vec<f32>,
    pub iw: Vec<f32>,
}

/// A model's KV part on the device and on the host, side by side.
pub struct Bench {
    pub config: Config,
    pub layout: Arc<KvLayout>,
    pub ropes: [Rope; 2],
    pub gpu: Arc<Gpu>,
    pub pool: Arc<Pool>,
    pub ops: Attention,
    pub format: RowFormat,
    /// What was chosen last.
    pub chosen: Mutex<Vec<u32>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn widths(c: &Config, kind: LayerKind) -> [usize; 2] {
    match kind {
        LayerKind::Sliding => [0, 0],
        LayerKind::Csa => [2 * c.head_dim, 2 * c.index_dim],
        LayerKind::Hca => [c.head_dim, 0],
    }
}

const STREAMS: [CompressedStream; 2] = [CompressedStream::Attention, CompressedStream::Index];

impl Bench {
    pub fn new(size: Size, format: RowFormat, limit: fn(Caps) -> Caps) -> Self {
        Self::with(size, format, limit, |pool| Attention::new(pool, Precision::Fast))
    }

    /// With matrix units that are played by the kernel itself.
    pub fn with_units(size: Size, format: RowFormat) -> Self {
        let units = include_str!("../units_software.wgsl");
        Self::with(size, format, |caps| caps, |pool| Attention::with_units(pool, Precision::Fast, Some(units)))
    }

    fn with(
        size: Size,
        format: RowFormat,
        limit: fn(Caps) -> Caps,
        ops: impl Fn(Arc<Pool>) -> ds4_engine::Result<Attention>,
    ) -> Self {
        let config = config(size, &KINDS);
        let gpu = Gpu::open(None).unwrap();
        let caps = limit(gpu.caps());
        let gpu = Arc::new(gpu.limited(caps));
        let shape = Shape::new(&config, format).unwrap();
        let layout = Arc::clone(&shape.layout);
        let pool = Pool::new(Arc::clone(&gpu), shape).unwrap();
        let ops = ops(Arc::clone(&pool)).unwrap();
        let ropes = [Rope::new(&config, LayerKind::Sliding), Rope::new(&config, LayerKind::Csa)];
        Self { config, layout, ropes, gpu, pool, ops, format, chosen: Mutex::default() }
    }

    pub fn is_native(&self) -> bool {
        self.format == RowFormat::Native
    }

    fn rope(&self, kind: LayerKind) -> &Rope {
        &self.ropes[usize::from(kind != LayerKind::Sliding)]
    }

    pub fn inputs(&self, il: usize, rows: usize, weights: &mut Random, values: &mut Random) -> Inputs {
        let (c, kind) = (&self.config, self.config.layers[il]);
        let w = widths(c, kind);
        let ratio = kind.ratio().unwrap_or(0);
        let indexed = usize::from(kind == LayerKind::Csa);
        Inputs {
            kv_norm: weights.many(c.head_dim).iter().map(|w| 1.0 + 0.1 * w).collect(),
            sinks: weights.many(c.heads),
            ape: [weights.many(ratio * w[0]), weights.many(ratio * w[1])],
            norm: [weights.many(c.head_dim), weights.many(c.index_dim)],
            q: values.many(rows * c.heads * c.head_dim),
            kv: values.many(rows * c.head_dim),
            k: [values.many(rows * w[0]), values.many(rows * w[1])],
            g: [values.many(rows * w[0]), values.many(rows * w[1])],
            iq: values.many(indexed * rows * c.index_heads * c.index_dim),
            iw: values.many(indexed * rows * c.index_heads),
        }
    }

    /// A host state as the forward pass could have left it after `tokens` tokens.
    pub fn filled(&self, tokens: usize, random: &mut Random) -> Cache {
        let mut cache = Cache::new(Arc::clone(&self.layout));
        cache.reserve(tokens).unwrap();
        for (il, layer) in self.layout.layers.iter().enumerate() {
            for position in tokens.saturating_sub(self.layout.window)..tokens {
                let mut row = random.many(self.layout.head_dim);
                self.round_latent(&mut row);
                cache.write_window(il, position, &row);
            }
            let width = widths(&self.config, layer.kind);
            for (s, stream) in STREAMS.into_iter().enumerate() {
                if let Some(state) = cache.state_mut(il, stream) {
                    for position in state.live(tokens) {
                        state.store(position, &random.many(width[s]), &random.many(width[s]));
                    }
                    let d = if s == 0 { self.layout.head_dim } else { self.layout.index_dim };
                    for row in 0..tokens / layer.kind.ratio().unwrap() {
                        cache.write_row(il, stream, row, &random.many(d));
                    }
                }
            }
        }
        cache
    }

    /// The same state on the device.
    pub fn to_device(&self, cache: &Cache, tokens: usize) -> ds4_gpu::Cache {
        let pages = cache.finished_pages(tokens).iter();
        let pages = pages.map(|page| Arc::new(self.pool.page(page.bytes()).unwrap())).collect();
        self.pool.restore(tokens, pages, &cache.save_frontier(tokens)).unwrap()
    }

    fn round_latent(&self, row: &mut [f32]) {
        if self.is_native() {
            fp8_round(&mut row[..self.layout.head_dim - self.layout.rot]);
            f16_round(row);
        }
    }

    /// One step of all layers on both sides; the host's `Cache`s and the device's go on. Returns, by layer, what the device's
    /// attention made of each row and what the reference did.
    pub fn step(
        &self,
        lengths: &[(usize, usize)],
        host: &mut [Cache],
        device: &mut [ds4_gpu::Cache],
        seed: u64,
    ) -> Vec<(Vec<f32>, Vec<f32>)> {
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
            h.reserve(start + count).unwrap();
            self.pool.reserve(d, start + count).unwrap();
        }
        let mut data = StepData::new(&self.gpu).unwrap();
        let mut caches: Vec<&mut ds4_gpu::Cache> = device.iter_mut().collect();
        data.begin(&self.pool, &step, [&self.ropes[0], &self.ropes[1]], &mut caches).unwrap();
        let selects = (positions.iter().max().unwrap() + 1) / 4 > self.config.top_k;
        let mut out = Vec::new();
        let mut selection = Selection::default();
        for il in 0..self.config.layers.len() {
            // Weights are those of the layer in every step.
            let x = self.inputs(il, rows, &mut Random(1 + il as u64), &mut Random(seed * 31 + il as u64));
            let c = &self.config;
            let of = |values: &[f32], width: usize| Rows::of(&self.gpu, values, width.max(1)).unwrap();
            let vector = |values: &[f32]| Vector::new(&self.gpu, values).unwrap();
            let w = widths(c, c.layers[il]);
            let (q, kv) = (of(&x.q, c.heads * c.head_dim), of(&x.kv, c.head_dim));
            let (iq, iw) = (of(&x.iq, c.index_heads * c.index_dim), of(&x.iw, c.index_heads));
            let (kv_norm, sinks) = (vector(&x.kv_norm), vector(&x.sinks));
            let streams: Vec<(Vector, Vector, Rows, Rows)> =
                (0..2).map(|s| (vector(&x.ape[s]), vector(&x.norm[s]), of(&x.k[s], w[s]), of(&x.g[s], w[s]))).collect();
            let compressing = |s: usize| {
                let (ape, norm, k, g) = &streams[s];
                (w[s] > 0).then_some(Compressing { ape, norm, k, g })
            };
            let is_selected = selects && c.layers[il] == LayerKind::Csa;
            let index_q = is_selected.then_some(&iq);
            let p = Preparing {
                q: &q,
                kv: &kv,
                kv_norm: &kv_norm,
                compressor: compressing(0),
                index: compressing(1),
                index_q,
            };
            self.ops.prepare(&data, il, p).unwrap();
            if is_selected {
                self.ops.index_select(&data, il, &iq, &iw, &mut selection).unwrap();
            }
            let used = is_selected.then_some(&selection);
            self.ops.attend(&data, il, &sinks, &q, &kv, used).unwrap();
            let got = q.read(&self.gpu, rows).unwrap();
            let latents = kv.read(&self.gpu, rows).unwrap();
            let chosen = used.map(|s| s.read(&self.gpu, rows, c.top_k).unwrap());
            if let Some(chosen) = &chosen {
                *locked(&self.chosen) = chosen.clone();
            }
            let want = self.reference(il, &step, x, &latents, host, &caches, chosen.as_deref());
            out.push((got, want));
        }
        out
    }

    /// What the indexer of layer 1 chooses for one more row that closes no window.
    pub fn choice(&self, tokens: usize, host: &Cache, device: &mut [ds4_gpu::Cache; 1]) -> Vec<u32> {
        let mut hosts = [host.clone()];
        assert!(!(tokens + 1).is_multiple_of(4));
        self.step(&[(tokens, 1)], &mut hosts, device, 6);
        locked(&self.chosen).clone()
    }

    /// §5 to §9 of one layer, plainly.
    #[allow(clippy::too_many_arguments)]
    fn reference(
        &self,
        il: usize,
        step: &Step<'_>,
        mut x: Inputs,
        latents: &[f32],
        host: &mut [Cache],
        device: &[&mut ds4_gpu::Cache],
        chosen: Option<&[u32]>,
    ) -> Vec<f32> {
        let (c, kind) = (&self.config, self.config.layers[il]);
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
        self.adopt_latents(&mut x.kv, latents);
        for (sequence, segment) in step.segments.iter().enumerate() {
            let cache = &mut host[sequence];
            for (s, stream) in STREAMS.into_iter().enumerate().filter(|(s, _)| w[*s] > 0) {
                let ratio = kind.ratio().unwrap();
                let dim = if s == 0 { d } else { c.index_dim };
                for row in segment.rows.clone() {
                    let position = step.positions[row];
                    let score: Vec<f32> = x.g[s][row * w[s]..(row + 1) * w[s]]
                        .iter()
                        .zip(&x.ape[s][position % ratio * w[s]..])
                        .map(|(g, a)| g + a)
                        .collect();
                    let state = cache.state_mut(il, stream).unwrap();
                    state.store(position, &x.k[s][row * w[s]..(row + 1) * w[s]], &score);
                    if (position + 1).is_multiple_of(ratio) {
                        let window = position / ratio;
                        let mut values = pool(cache.state(il, stream).unwrap(), window, ratio, w[s], dim);
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
        let mut out = vec![0.0; x.q.len()];
        for (sequence, segment) in step.segments.iter().enumerate() {
            let cache = &mut host[sequence];
            // The device rounds in single precision and may meet a tie the other way: its own rows are what it attends to, after
            // they were seen to be all but equal.
            self.adopt_rows(il, cache, device[sequence], segment.start, segment.start + segment.rows.len());
            for row in segment.rows.clone() {
                let position = step.positions[row];
                cache.write_window(il, position, &x.kv[row * d..(row + 1) * d]);
                let oldest = (position + 1).saturating_sub(c.window);
                let mut keys = vec![0.0; (position + 1 - oldest) * d];
                cache.read_window(il, oldest..position + 1, &mut keys);
                let visible = kind.ratio().map_or(0, |r| (position + 1) / r);
                let own = match chosen {
                    Some(chosen) => {
                        let n = visible.min(c.top_k);
                        let physical = &chosen[row * c.top_k..][..n];
                        let logical = self.logical(device[sequence], physical);
                        self.check_choice(il, cache, &x, row, visible, &logical);
                        logical
                    }
                    None => (0..visible).collect(),
                };
                for key in own {
                    let mut values = vec![0.0; d];
                    cache.read_row(il, CompressedStream::Attention, key, &mut values);
                    keys.extend(values);
                }
                for head in 0..c.heads {
                    let at = (row * c.heads + head) * d;
                    let o = attend(&x.q[at..at + d], &keys, x.sinks[head]);
                    out[at..at + d].copy_from_slice(&o);
                    rotate_back(&mut out[at + nope..at + d], &rope.table(position));
                }
            }
        }
        out
    }

    /// Rows of the sequence that arena rows of a ratio-4 layer stand for.
    fn logical(&self, cache: &ds4_gpu::Cache, physical: &[u32]) -> Vec<usize> {
        let numbers = cache.page_numbers();
        let of = |p: &u32| numbers.iter().position(|n| *n == p / 32).unwrap() * 32 + *p as usize % 32;
        physical.iter().map(of).collect()
    }

    /// The chosen are ascending, and none is worse than one that was left out by more than rounding.
    fn check_choice(&self, il: usize, cache: &Cache, x: &Inputs, row: usize, visible: usize, chosen: &[usize]) {
        let c = &self.config;
        assert!(chosen.is_sorted_by(|a, b| a < b), "row {row}: {chosen:?}");
        let mut scores = Vec::with_capacity(visible);
        let mut key = vec![0.0; c.index_dim];
        for i in 0..visible {
            cache.read_row(il, CompressedStream::Index, i, &mut key);
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
        assert!(
            worst >= best_left - 5e-3 * size,
            "row {row}: {worst} is chosen, {best_left} is not; scores up to {size}"
        );
    }

    /// Compares latent rows, of which some value may have been rounded the other way, and takes the device's.
    fn adopt_latents(&self, host: &mut [f32], device: &[f32]) {
        let (d, mut codes) = (self.config.head_dim, 0);
        let nope = d - self.config.rot;
        for (i, (h, g)) in host.iter_mut().zip(device).enumerate() {
            let is_code = self.is_native() && i % d < nope;
            let step = if !self.is_native() {
                1e-6
            } else if is_code {
                0.13
            } else {
                1e-3
            };
            assert!((*h - g).abs() <= step * h.abs() + 2e-6, "latent value {i}: {g}, not {h}");
            codes += usize::from(is_code && *h != *g);
            *h = *g;
        }
        assert!(codes <= 2 + host.len() / 5000, "{codes} of {} latent codes differ", host.len());
    }

    /// Compares the rows that the device finished in `start..end` with those of `cache`, which gets them.
    fn adopt_rows(&self, il: usize, cache: &mut Cache, device: &ds4_gpu::Cache, start: usize, end: usize) {
        let Some(ratio) = self.config.layers[il].ratio() else { return };
        let rows = start / ratio..end / ratio;
        if rows.is_empty() {
            return;
        }
        let pages: Vec<_> = (rows.start * ratio / PAGE_TOKENS..end.div_ceil(PAGE_TOKENS))
            .map(|page| (page, self.pool.page_bytes(device.page(page)).unwrap()))
            .collect();
        let empty = Arc::new(ds4_engine::kv::Page::new(vec![0; self.layout.page_bytes]));
        let mut all = vec![empty; pages[0].0];
        all.extend(pages.into_iter().map(|(_, bytes)| Arc::new(ds4_engine::kv::Page::new(bytes))));
        let seen = Cache::with_pages(Arc::clone(&self.layout), all);
        for (s, stream) in STREAMS.into_iter().enumerate() {
            if cache.state(il, stream).is_none() {
                continue;
            }
            let dim = if s == 0 { self.config.head_dim } else { self.config.index_dim };
            let (mut got, mut want, mut other) = (vec![0.0; dim], vec![0.0; dim], 0);
            for row in rows.clone() {
                seen.read_row(il, stream, row, &mut got);
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
                    assert!((a - b).abs() <= step * unit.max(1e-30), "layer {il} row {row} value {i}: {a}, not {b}");
                    other += usize::from(self.is_native() && (a - b).abs() > 1e-3 * unit);
                }
            }
            let allowed = 2 + rows.len() * dim / 2000;
            assert!(other <= allowed, "layer {il} {stream:?}: {other} of {} codes differ", rows.len() * dim);
            for row in rows.clone() {
                seen.read_row(il, stream, row, &mut got);
                cache.write_row(il, stream, row, &got);
            }
        }
    }
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

/// The largest difference of two sets of rows.
pub fn largest_difference(pairs: &[(Vec<f32>, Vec<f32>)]) -> f32 {
    let of = |(a, b): &(Vec<f32>, Vec<f32>)| {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |m: f32, d| if d.is_nan() || d > m { d } else { m })
    };
    pairs.iter().map(of).fold(0.0, |m: f32, d| if d.is_nan() || d > m { d } else { m })
}
