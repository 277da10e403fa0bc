//! What precedes attention: query heads, latent, compressors (`spec/model.md` §5 to §7), and the indexer (§8).

use super::attention::{Attention, SCORE_THREADS};
use crate::cache::locked;
use crate::gpu::{Buffer, Gpu};
use crate::rows::{Rows, Vector};
use crate::step::{Closing, StepData};
use ds4_engine::{Error, LayerKind, Result};
use std::sync::Arc;

/// Scores held at once: bounds the memory of a prefill chunk over a long history.
const SCORES_MAX: usize = 16 << 20;
/// Keys that a workgroup scores; `KEYS` in the kernel.
const KEYS: usize = 32;
/// Workgroups of a line of the grid.
const LINE: usize = 1 << 15;

const _: () = assert!(SCORE_THREADS.is_multiple_of(KEYS));

/// A compressor and what was projected for it.
#[derive(Clone, Copy)]
pub struct Compressing<'a> {
    /// Positional bias: ratio × width.
    pub ape: &'a Vector,
    /// Weight of the finishing RMSNorm.
    pub norm: &'a Vector,
    /// `k`
    pub k: &'a Rows,
    /// Gate `g`, without the bias.
    pub g: &'a Rows,
}

/// What [`Attention::prepare`] works on.
#[derive(Clone, Copy)]
pub struct Preparing<'a> {
    /// Query heads, in place.
    pub q: &'a Rows,
    /// KV latent, in place.
    pub kv: &'a Rows,
    /// Norm of the latent.
    pub kv_norm: &'a Vector,
    /// Compressor of KV rows.
    pub compressor: Option<Compressing<'a>>,
    /// Compressor of index rows.
    pub index: Option<Compressing<'a>>,
    /// Indexer query heads, where rows are to be selected; they become codes, as `index.wgsl` says.
    pub index_q: Option<&'a Rows>,
}

/// Compressed rows chosen for each row of a step, on the device.
#[derive(Default)]
pub struct Selection {
    chosen: Option<Buffer>,
    scores: Option<Buffer>,
}

impl Selection {
    /// For row `r` of the step, from word `r · K` on, `min(visible, K)` arena rows in the order of their tokens.
    pub(crate) fn chosen(&self) -> Option<&Buffer> {
        self.chosen.as_ref()
    }

    /// Waits for what was chosen for the first `rows` rows: `top_k` words each, of which the first `min(visible, top_k)` are arena
    /// rows.
    ///
    /// # Errors
    /// The device failed.
    pub fn read(&self, gpu: &Gpu, rows: usize, top_k: usize) -> Result<Vec<u32>> {
        let Some(chosen) = &self.chosen else { return Ok(Vec::new()) };
        let bytes = gpu.download(chosen, 0, 4 * (rows * top_k) as u64)?;
        Ok(bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect())
    }
}

impl Attention {
    /// §5 to §8, as far as the layer has them: query heads, latent, both compressors, indexer query heads.
    ///
    /// # Errors
    /// Out of memory; the layer's compressors are missing.
    pub fn prepare(&self, step: &StepData, il: usize, p: Preparing<'_>) -> Result<()> {
        let (gpu, kernels, kind, shape) = (self.gpu(), self.kernels(il)?, self.kind(il), self.pool.shape());
        let norms = self.norms(il, &p)?;
        [Some(p.q), Some(p.kv), p.index_q].into_iter().flatten().for_each(|rows| rows.written(0));
        let layers = self.pool.layers();
        let memory = &layers[il];
        let mut buffers = vec![&p.q.buffer, &p.kv.buffer, &*norms, &step.data, &memory.frontier];
        let missing = || Error::Device(format!("layer {il} has no compressor"));
        if kind != LayerKind::Sliding {
            let compressor = p.compressor.ok_or_else(missing)?;
            buffers.extend([&memory.arena, &compressor.k.buffer, &compressor.g.buffer]);
        }
        if kind == LayerKind::Csa {
            let index = p.index.ok_or_else(missing)?;
            let index_q = p.index_q.map_or(&self.nothing, |q| &q.buffer);
            buffers.extend([&index.k.buffer, &index.g.buffer, index_q]);
        }
        let closing = match kind {
            LayerKind::Sliding => Closing::default(),
            LayerKind::Csa => step.closing[0],
            LayerKind::Hca => step.closing[1],
        };
        let indexed = if kind == LayerKind::Csa { closing.count } else { 0 };
        let index_rows = shape.threads() / (shape.layout.index_dim / 4);
        let queries = if p.index_q.is_some() { step.rows * shape.index_heads.div_ceil(index_rows) } else { 0 };
        let stored = if kind == LayerKind::Sliding { 0 } else { step.rows };
        // A longer segment may store over rows that its own windows are still made of.
        let (now, later) = if step.is_short { (stored, 0) } else { (0, stored) };
        let roles = [closing.count, indexed, step.rows, queries, now, step.rows * shape.heads];
        let is_halved = u32::from(self.uses_units(il)?);
        let run = |roles: [usize; 6]| {
            let total: usize = roles.iter().sum();
            let line = total.min(LINE);
            let mut end = 0;
            let mut args: Vec<u32> = Vec::with_capacity(12);
            args.extend(roles.iter().map(|count| {
                end += count;
                end as u32
            }));
            args.extend([
                line as u32,
                self.angles(step, il),
                closing.at,
                closing.angles,
                u32::from(step.is_short),
                is_halved,
            ]);
            gpu.dispatch(&kernels.prepare, &buffers, &args, [line as u32, total.div_ceil(line.max(1)) as u32, 1])
        };
        run(roles)?;
        if later > 0 {
            run([0, 0, 0, 0, later, 0])?;
        }
        Ok(())
    }

    /// Norms and biases of a layer, one after the other in one buffer.
    fn norms(&self, il: usize, p: &Preparing<'_>) -> Result<Arc<Buffer>> {
        let mut all = locked(&self.norms);
        if let Some(buffer) = &all[il] {
            return Ok(Arc::clone(buffer));
        }
        let mut vectors = vec![p.kv_norm];
        for compressing in [p.compressor, p.index].into_iter().flatten() {
            vectors.extend([compressing.ape, compressing.norm]);
        }
        let bytes = vectors.iter().map(|vector| 4 * vector.len as u64).sum();
        let joined = Arc::new(self.gpu().buffer("norms", bytes)?);
        let mut at = 0;
        for vector in vectors {
            let bytes = 4 * vector.len as u64;
            self.gpu().copy(&vector.buffer, 0, &joined, at, bytes);
            at += bytes;
        }
        all[il] = Some(Arc::clone(&joined));
        Ok(joined)
    }

    /// §8: the `K` best compressed rows of each row; all of them where no more are visible. `q` comes from [`Attention::prepare`].
    ///
    /// # Errors
    /// Out of memory; the layer has no indexer.
    pub fn index_select(
        &self,
        step: &StepData,
        il: usize,
        q: &Rows,
        w: &Rows,
        selection: &mut Selection,
    ) -> Result<()> {
        let (gpu, kernels, shape) = (self.gpu(), self.kernels(il)?, self.pool.shape());
        let (Some(score), Some(top_k)) = (&kernels.index_score, &kernels.top_k) else {
            return Err(Error::Device(format!("layer {il} has no indexer")));
        };
        let layers = self.pool.layers();
        let memory = &layers[il];
        let last = step.positions.iter().max().copied().unwrap_or(0);
        let width = ((last + 1) / 4).max(1).next_multiple_of(4);
        let group = (SCORES_MAX / width).clamp(1, step.rows);
        let chosen = grown(gpu, &mut selection.chosen, 4 * step.rows * shape.top_k)?;
        let scores = grown(gpu, &mut selection.scores, 4 * group * width)?;
        for first in (0..step.rows).step_by(group) {
            let rows = group.min(step.rows - first) as u32;
            let args = [first as u32, width as u32];
            gpu.dispatch(
                score,
                &[&q.buffer, &w.buffer, &step.data, &memory.arena, scores],
                &args,
                [width.div_ceil(KEYS) as u32, rows, 1],
            )?;
            gpu.dispatch(top_k, &[scores, &step.data, chosen], &args, [rows, 1, 1])?;
        }
        Ok(())
    }
}

/// `buffer`, of `bytes` bytes or more.
fn grown<'a>(gpu: &Gpu, buffer: &'a mut Option<Buffer>, bytes: usize) -> Result<&'a Buffer> {
    let bytes = bytes as u64;
    if buffer.as_ref().is_some_and(|buffer| buffer.bytes() < bytes) {
        *buffer = None;
        gpu.forget_groups();
    }
    match buffer {
        Some(buffer) => Ok(buffer),
        none => Ok(none.insert(gpu.buffer("indexer scores", bytes.next_power_of_two())?)),
    }
}
