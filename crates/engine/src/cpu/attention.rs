//! Norms, rotary embedding and the attention core (`spec/model.md` §5, §6, §9).

use super::compressor::Selection;
use super::math::{exp, rms_norm};
use super::{Buffer, CpuBackend};
use crate::backend::{CompressedStream, Segment, Step};
use crate::kv::Cache;
use crate::kv::rounding::{f16_round, fp8_round};
use crate::rope::{Rope, rotate, rotate_back};
use ds4_quant::dot::Task;
use rayon::prelude::*;

/// Heads that one task handles at least: the tile of the second product.
const HEADS_MIN: usize = 4;

struct Norm<'a> {
    x: &'a mut [f32],
    weight: Option<&'a [f32]>,
    eps: f32,
}

impl Task for Norm<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        rms_norm(self.x, self.weight, self.eps);
    }
}

pub(super) fn norm_rows(b: &CpuBackend, rows: usize, eps: f32, norm: &[f32], x: &mut Buffer) {
    let width = x.width;
    let rows = x.rows_mut(rows).par_chunks_mut(width);
    rows.for_each(|x| b.isa().with(Norm { x, weight: Some(norm), eps }));
}

pub(super) fn query_heads(b: &CpuBackend, step: &Step<'_>, rope: &Rope, q: &mut Buffer) {
    let (d, width, eps) = (step.config.head_dim, q.width, step.config.rms_eps);
    q.rows_mut(step.rows()).par_chunks_mut(width).zip(step.positions).for_each(|(row, position)| {
        let table = rope.table(*position);
        for head in row.chunks_exact_mut(d) {
            b.isa().with(Norm { x: &mut *head, weight: None, eps });
            rotate(&mut head[d - rope.dims()..], &table);
        }
    });
}

pub(super) fn latent(b: &CpuBackend, step: &Step<'_>, rope: &Rope, norm: &[f32], kv: &mut Buffer) {
    let (width, eps) = (kv.width, step.config.rms_eps);
    kv.rows_mut(step.rows()).par_chunks_mut(width).zip(step.positions).for_each(|(row, position)| {
        b.isa().with(Norm { x: &mut *row, weight: Some(norm), eps });
        let nope = width - rope.dims();
        rotate(&mut row[nope..], &rope.table(*position));
        if b.rounds_rows() {
            fp8_round(&mut row[..nope]);
            f16_round(row);
        }
    });
}

/// Keys (= values) of one segment, decoded: window rows from `first` on, and, unless rows are selected, all compressed ones.
struct Keys {
    /// Rows of the window: those before the segment, then its own.
    raw: Vec<f32>,
    /// Window rows that come from before the segment.
    old: usize,
    compressed: Vec<f32>,
}

impl Keys {
    fn gather(
        b: &CpuBackend,
        step: &Step<'_>,
        il: usize,
        segment: &Segment,
        kv: &Buffer,
        cache: &Cache,
        all: bool,
    ) -> Self {
        let (c, d) = (step.config, kv.width);
        let old = segment.start.min(c.window - 1);
        let mut raw = vec![0.0; (old + segment.rows.len()) * d];
        let (before, own) = raw.split_at_mut(old * d);
        cache.read_window(il, segment.start - old..segment.start, before);
        own.copy_from_slice(&kv.data[segment.rows.start * d..segment.rows.end * d]);
        let end = segment.start + segment.rows.len();
        let rows = if all { c.layers[il].ratio().map_or(0, |r| end / r) } else { 0 };
        let mut compressed = vec![0.0; rows * d];
        let decode = |(j, out): (usize, &mut [f32])| b.isa().with(ReadRow { cache, il, row: j, out });
        compressed.par_chunks_mut(d).with_min_len(32).enumerate().for_each(decode);
        Self { raw, old, compressed }
    }
}

struct ReadRow<'a> {
    cache: &'a Cache,
    il: usize,
    row: usize,
    out: &'a mut [f32],
}

impl Task for ReadRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        self.cache.read_row(self.il, CompressedStream::Attention, self.row, self.out);
    }
}

#[allow(clippy::too_many_arguments)]
pub(super) fn attend(
    b: &CpuBackend,
    step: &Step<'_>,
    il: usize,
    sinks: &[f32],
    rope: &Rope,
    q: &mut Buffer,
    kv: &Buffer,
    selection: Option<&Selection>,
    caches: &mut [&mut Cache],
) {
    let (c, q_width) = (step.config, q.width);
    for (segment, cache) in step.segments.iter().zip(caches) {
        let keys = Keys::gather(b, step, il, segment, kv, cache, selection.is_none());
        let n = segment.rows.len();
        // Whole rows are the tasks of a prefill; a decode row is split by heads.
        let parts = if n >= 2 * b.threads() { 1 } else { b.threads() };
        let heads = c.heads.div_ceil(parts).next_multiple_of(HEADS_MIN).min(c.heads);
        let rows = &mut q.data[segment.rows.start * q_width..segment.rows.end * q_width];
        let tasks = rows.par_chunks_mut(q_width).enumerate().flat_map(|(i, row)| {
            row.par_chunks_mut(heads * c.head_dim).enumerate().map(move |(part, q)| (i, part * heads, q))
        });
        let history: &Cache = cache;
        tasks.for_each(|(i, head, q)| {
            let position = segment.start + i;
            let chosen = selection.map(|s| s.rows(segment.rows.start + i));
            let gathered;
            let compressed = match chosen {
                Some(rows) => {
                    gathered = gather_rows(b, il, history, rows, c.head_dim);
                    &gathered[..]
                }
                None => &keys.compressed[..c.layers[il].ratio().map_or(0, |r| (position + 1) / r) * c.head_dim],
            };
            let last = keys.old + i + 1;
            let raw = &keys.raw[last.saturating_sub(c.window) * c.head_dim..last * c.head_dim];
            attend_heads(b, q, [raw, compressed], &sinks[head..], c.head_dim);
            let table = rope.table(position);
            q.chunks_exact_mut(c.head_dim).for_each(|o| rotate_back(&mut o[c.head_dim - rope.dims()..], &table));
        });
        let end = segment.start + n;
        for position in segment.start.max(end.saturating_sub(cache.ring()))..end {
            let row = segment.rows.start + position - segment.start;
            cache.write_window(il, position, &kv.data[row * kv.width..(row + 1) * kv.width]);
        }
    }
}

fn gather_rows(b: &CpuBackend, il: usize, cache: &Cache, rows: &[u32], d: usize) -> Vec<f32> {
    let mut out = vec![0.0; rows.len() * d];
    for (row, out) in rows.iter().zip(out.chunks_exact_mut(d)) {
        b.isa().with(ReadRow { cache, il, row: *row as usize, out });
    }
    out
}

/// Softmax attention of several heads over two runs of rows, with a sink in the denominator: `q` becomes the outputs.
fn attend_heads(b: &CpuBackend, q: &mut [f32], runs: [&[f32]; 2], sinks: &[f32], d: usize) {
    let heads = q.len() / d;
    let mut scores = runs.map(|rows| {
        let mut s = vec![0.0; heads * (rows.len() / d)];
        b.kernels.inner_products(rows, q, d, &mut s);
        s
    });
    let scale = 1.0 / (d as f32).sqrt();
    let (counts, [first, second]) = (runs.map(|rows| rows.len() / d), &mut scores);
    let mut inverse = vec![0.0; heads];
    for (h, inverse) in inverse.iter_mut().enumerate() {
        let (a, c) = (&mut first[h * counts[0]..][..counts[0]], &mut second[h * counts[1]..][..counts[1]]);
        *inverse = 1.0 / b.isa().with(SoftmaxWeights { runs: [a, c], scale, sink: sinks[h] });
    }
    q.fill(0.0);
    for (rows, weights) in runs.iter().zip(&scores) {
        let rows: Vec<&[f32]> = rows.chunks_exact(d).collect();
        b.kernels.weighted_sum(weights, &rows, d, q);
    }
    for (o, inverse) in q.chunks_exact_mut(d).zip(inverse) {
        o.iter_mut().for_each(|v| *v *= inverse);
    }
}

/// Turns scores into `e^(s−m)` and returns the denominator.
struct SoftmaxWeights<'a> {
    runs: [&'a mut [f32]; 2],
    scale: f32,
    sink: f32,
}

impl Task for SoftmaxWeights<'_> {
    type Output = f32;
    #[inline(always)]
    fn run(self) -> f32 {
        let mut max = self.sink;
        for run in &self.runs {
            max = run.iter().fold(max, |m, s| m.max(s * self.scale));
        }
        let mut sum = exp(self.sink - max);
        for run in self.runs {
            run.iter_mut().for_each(|s| *s = exp(*s * self.scale - max));
            let mut lanes = [0.0f32; 8];
            run.chunks(8).for_each(|c| lanes.iter_mut().zip(c).for_each(|(l, v)| *l += v));
            sum += lanes.iter().sum::<f32>();
        }
        sum
    }
}
