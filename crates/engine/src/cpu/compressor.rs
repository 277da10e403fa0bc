//! Compressors and the indexer (`spec/model.md` §7, §8).

use super::math::{exp, rms_norm};
use super::{Buffer, CpuBackend};
use crate::backend::{CompressedStream, Segment, Step};
use crate::kv::rounding::{fp4_round, hadamard};
use crate::kv::{Cache, CompressorState};
use crate::rope::{Rope, rotate};
use crate::weights::{Compressor, has_overlap};
use ds4_quant::dot::{Out, Task};
use rayon::prelude::*;

/// Index rows scored by one task.
const TILE: usize = 128;
/// Scores held at once, in values: bounds the memory of a prefill chunk over a long history.
const SCORES_MAX: usize = 16 << 20;
/// Dimensions pooled together.
const LANES: usize = 16;

/// Which compressor an operation belongs to.
pub(super) struct Place<'a> {
    pub(super) il: usize,
    pub(super) stream: CompressedStream,
    pub(super) weights: &'a Compressor<CpuBackend>,
    pub(super) rope: &'a Rope,
}

pub(super) fn compress(
    b: &CpuBackend,
    step: &Step<'_>,
    place: &Place<'_>,
    k: &Buffer,
    g: &mut Buffer,
    caches: &mut [&mut Cache],
) {
    let Some(ratio) = step.config.layers[place.il].ratio() else { return };
    let width = k.width;
    for (segment, cache) in step.segments.iter().zip(caches) {
        let rows = segment.rows.start * width..segment.rows.end * width;
        for (i, g) in g.data[rows.clone()].chunks_exact_mut(width).enumerate() {
            let phase = (segment.start + i) % ratio;
            let ape = &place.weights.ape[phase * width..(phase + 1) * width];
            g.iter_mut().zip(ape).for_each(|(g, a)| *g += a);
        }
        let end = segment.start + segment.rows.len();
        let closing: Vec<usize> = (segment.start / ratio..end / ratio).collect();
        let Some(state) = cache.state(place.il, place.stream) else { continue };
        let source = Source { segment, ratio, width, k: &k.data[rows.clone()], g: &g.data[rows.clone()], state };
        let finished: Vec<Vec<f32>> = closing.par_iter().map(|w| finish(b, step, place, &source, *w)).collect();
        for (row, values) in closing.iter().zip(&finished) {
            cache.write_row(place.il, place.stream, *row, values);
        }
        if let Some(state) = cache.state_mut(place.il, place.stream) {
            for position in state.kept(end).filter(|p| *p >= segment.start) {
                let at = (segment.rows.start + position - segment.start) * width;
                state.store(position, &k.data[at..at + width], &g.data[at..at + width]);
            }
        }
    }
}

/// Projected rows by position: the step's own, and older ones from the frontier.
struct Source<'a> {
    segment: &'a Segment,
    ratio: usize,
    width: usize,
    k: &'a [f32],
    g: &'a [f32],
    state: &'a CompressorState,
}

impl<'a> Source<'a> {
    fn row(&self, position: usize) -> (&'a [f32], &'a [f32]) {
        match position.checked_sub(self.segment.start) {
            Some(i) => (&self.k[i * self.width..(i + 1) * self.width], &self.g[i * self.width..(i + 1) * self.width]),
            None => self.state.row(position),
        }
    }

    /// The candidates of window `w`: values and scores of `d` dimensions each.
    fn candidates(&self, w: usize, d: usize) -> Vec<(&'a [f32], &'a [f32])> {
        let first = w * self.ratio;
        let mut all = Vec::with_capacity(2 * self.ratio);
        if has_overlap(self.ratio) && w > 0 {
            // The window before contributes its first lane.
            all.extend((first - self.ratio..first).map(|p| self.row(p)).map(|(k, g)| (&k[..d], &g[..d])));
        }
        let lane = self.width - d;
        all.extend((first..first + self.ratio).map(|p| self.row(p)).map(|(k, g)| (&k[lane..], &g[lane..])));
        all
    }
}

/// Pools window `w` and finishes its row: RMSNorm, RoPE at the window's first position, rotation of index rows.
fn finish(b: &CpuBackend, step: &Step<'_>, place: &Place<'_>, source: &Source<'_>, w: usize) -> Vec<f32> {
    let d = place.weights.norm.len();
    let mut row = vec![0.0; d];
    b.isa().with(Pool { candidates: &source.candidates(w, d), out: &mut row });
    rms_norm(&mut row, Some(&place.weights.norm), step.config.rms_eps);
    rotate(&mut row[d - place.rope.dims()..], &place.rope.table(w * source.ratio));
    if place.stream == CompressedStream::Index && b.rounds_rows() {
        hadamard(&mut row);
    }
    row
}

/// `out_j = Σ_c softmax_c(score_c[j]) · value_c[j]`, each dimension on its own.
struct Pool<'a> {
    candidates: &'a [(&'a [f32], &'a [f32])],
    out: &'a mut [f32],
}

impl Task for Pool<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        for (block, out) in self.out.chunks_mut(LANES).enumerate() {
            let at = block * LANES;
            let n = out.len();
            let (mut max, mut sum, mut acc) = ([f32::NEG_INFINITY; LANES], [0.0f32; LANES], [0.0f32; LANES]);
            for (_, g) in self.candidates {
                max.iter_mut().zip(&g[at..at + n]).for_each(|(m, g)| *m = m.max(*g));
            }
            for (k, g) in self.candidates {
                for (j, (k, g)) in k[at..at + n].iter().zip(&g[at..at + n]).enumerate() {
                    let e = exp(g - max[j]);
                    sum[j] += e;
                    acc[j] += e * k;
                }
            }
            out.iter_mut().zip(acc.iter().zip(sum)).for_each(|(o, (a, s))| *o = a / s);
        }
    }
}

pub(super) fn index_query(b: &CpuBackend, step: &Step<'_>, rope: &Rope, q: &mut Buffer) {
    let (d, width) = (step.config.index_dim, q.width);
    q.rows_mut(step.rows()).par_chunks_mut(width).zip(step.positions).for_each(|(row, position)| {
        let table = rope.table(*position);
        for head in row.chunks_exact_mut(d) {
            rotate(&mut head[d - rope.dims()..], &table);
            if b.rounds_rows() {
                hadamard(head);
                fp4_round(head);
            }
        }
    });
}

/// Compressed rows chosen for each row of a step, ascending.
#[derive(Default)]
pub struct Selection {
    chosen: Vec<Vec<u32>>,
}

impl Selection {
    pub(super) fn rows(&self, row: usize) -> &[u32] {
        &self.chosen[row]
    }
}

pub(super) fn index_select(
    b: &CpuBackend,
    step: &Step<'_>,
    il: usize,
    q: &Buffer,
    w: &Buffer,
    caches: &[&mut Cache],
    selection: &mut Selection,
) {
    let Some(ratio) = step.config.layers[il].ratio() else { return };
    selection.chosen.clear();
    for (segment, cache) in step.segments.iter().zip(caches) {
        let visible = |i: usize| (segment.start + i + 1) / ratio;
        let total = visible(segment.rows.len() - 1).max(1);
        let group = (SCORES_MAX / total).max(1);
        for first in (0..segment.rows.len()).step_by(group) {
            let rows = first..(first + group).min(segment.rows.len());
            let mut scores = vec![0.0; rows.len() * total];
            let out = Out::new(&mut scores, total);
            (0..total.div_ceil(TILE)).into_par_iter().for_each(|tile| {
                let keys = tile * TILE..(tile * TILE + TILE).min(total);
                let mut decoded = vec![0.0; keys.len() * step.config.index_dim];
                for (key, to) in keys.clone().zip(decoded.chunks_exact_mut(step.config.index_dim)) {
                    cache.read_row(il, CompressedStream::Index, key, to);
                }
                for (i, row) in rows.clone().enumerate().filter(|(_, row)| keys.start < visible(*row)) {
                    // SAFETY: tasks have disjoint key ranges.
                    let to = unsafe { out.slice(i, keys.clone()) };
                    score(b, step, q, w, segment.rows.start + row, &decoded, to);
                }
            });
            let best =
                scores.par_chunks(total).zip(rows.clone()).map(|(s, row)| top_k(&s[..visible(row)], step.config.top_k));
            selection.chosen.extend(best.collect::<Vec<_>>());
        }
    }
}

/// `score_c = (IH·ID)^(−1/2) · Σ_h w_h · max(0, iq_h · key_c)` for the keys of one tile.
fn score(b: &CpuBackend, step: &Step<'_>, q: &Buffer, w: &Buffer, row: usize, keys: &[f32], out: &mut [f32]) {
    let (heads, d) = (step.config.index_heads, step.config.index_dim);
    let mut products = vec![0.0; heads * out.len()];
    b.kernels.inner_products(keys, &q.data[row * q.width..][..heads * d], d, &mut products);
    out.fill(0.0);
    for (w, products) in w.data[row * w.width..][..heads].iter().zip(products.chunks_exact(out.len())) {
        out.iter_mut().zip(products).for_each(|(o, p)| *o += w * p.max(0.0));
    }
    let scale = 1.0 / ((heads * d) as f32).sqrt();
    out.iter_mut().for_each(|o| *o *= scale);
}

/// Indices of the `k` largest scores, ascending; equal scores favour the lower index.
fn top_k(scores: &[f32], k: usize) -> Vec<u32> {
    let mut all: Vec<u32> = (0..scores.len() as u32).collect();
    if all.len() > k {
        let better = |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b));
        all.select_nth_unstable_by(k - 1, better);
        all.truncate(k);
        all.sort_unstable();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_lower_index() {
        assert_eq!(top_k(&[1.0, 3.0, 3.0, 2.0, 3.0, 2.0], 4), [1, 2, 3, 4]);
        assert_eq!(top_k(&[0.0; 9], 3), [0, 1, 2]);
        assert_eq!(top_k(&[1.0], 3), [0]);
    }
}
