//! Hyper-connections (`spec/model.md` §4), embedding, the input of the draft block (§12), and the collapse of the output head (§11).

use super::attention::norm_rows;
use super::linear::{Matrix, project};
use super::math::{inverse_rms, rms_norm, sigmoid};
use super::{Buffer, CpuBackend};
use crate::backend::{Join, JoinScratch, Step};
use crate::config::STREAMS;
use crate::error::{Error, Result};
use crate::weights::HcSite;
use ds4_quant::dot::{Out, Task};
use rayon::prelude::*;

/// `post` and `C` of one row.
const MIX: usize = STREAMS + STREAMS * STREAMS;
/// Raw mix values: `pre`, `post`, `A`.
const RAW: usize = STREAMS + MIX;
/// Values of a stream handled by one task when a step has a single row.
const SLICE: usize = 1024;

pub(super) fn embed(step: &Step<'_>, table: &Matrix, x: &mut Buffer) -> Result<()> {
    let width = x.width / STREAMS;
    let fill = |(x, token): (&mut [f32], &u32)| {
        if *token as usize >= table.rows() {
            return Err(Error::Token { token: *token, vocab: table.rows() });
        }
        let (first, rest) = x.split_at_mut(width);
        table.read_row(*token as usize, first)?;
        rest.chunks_exact_mut(width).for_each(|s| s.copy_from_slice(first));
        Ok(())
    };
    let row_width = x.width;
    x.rows_mut(step.rows()).par_chunks_mut(row_width).zip(step.tokens).try_for_each(fill)
}

pub(super) fn join(
    b: &CpuBackend,
    step: &Step<'_>,
    join: &Join<'_, CpuBackend>,
    scratch: &mut JoinScratch<CpuBackend>,
    x: &mut Buffer,
) -> Result<()> {
    let (rows, width, eps, w) = (step.rows(), step.config.embd, step.config.rms_eps, join.weights);
    let tokens = join.chosen.map_or(step.tokens, |(tokens, at)| &tokens[at..at + rows]);
    embed(&Step { tokens, ..*step }, join.embd, x)?;
    let [normed, token] = &mut scratch.token;
    for (to, streams) in normed.rows_mut(rows).chunks_exact_mut(width).zip(x.rows(rows).chunks_exact(STREAMS * width)) {
        to.copy_from_slice(&streams[..width]);
    }
    norm_rows(b, rows, eps, &w.enorm, normed);
    project(b, rows, normed, &mut [(&w.e_proj, &mut *token)]);

    // Each stream is a row of its own.
    let [normed, streams] = &mut scratch.streams;
    normed.rows_mut(rows * STREAMS).copy_from_slice(join.streams.rows(rows));
    norm_rows(b, rows * STREAMS, eps, &w.hnorm, normed);
    project(b, rows * STREAMS, normed, &mut [(&w.h_proj, &mut *streams)]);
    let joined = streams.rows(rows * STREAMS).chunks_exact(width).enumerate();
    for (x, (i, stream)) in x.rows_mut(rows).chunks_exact_mut(width).zip(joined) {
        let token = &token.data[i / STREAMS * width..][..width];
        x.iter_mut().zip(stream.iter().zip(token)).for_each(|(x, (stream, token))| *x = stream + token);
    }
    Ok(())
}

/// `m = fn · rmsnorm(X)` for rows of `x`: the norm is one factor a row, applied to the products.
fn mix_values(b: &CpuBackend, project: &Matrix, x: &[f32], eps: f32) -> Vec<f32> {
    let (n, width) = (project.rows(), project.cols());
    let rows = x.len() / width;
    let mut m = vec![0.0; rows * n];
    let out = Out::new(&mut m, n);
    // Tasks over rows of the batch when there are several, else over rows of the matrix.
    let parts = if rows == 1 { b.threads().clamp(1, n) } else { 1 };
    let size = n.div_ceil(parts);
    let tasks: Vec<_> = (0..rows as u32)
        .step_by(3)
        .flat_map(|t| {
            (0..n).step_by(size).map(move |r| ((t..(t + 3).min(rows as u32)).collect::<Vec<_>>(), r..(r + size).min(n)))
        })
        .collect();
    tasks.into_par_iter().for_each(|(tokens, range)| {
        let mut part = vec![0.0; tokens.len() * n];
        // SAFETY: `part` is this task's own.
        unsafe { b.kernels.matmul_f32(project.part(0), range.clone(), x, &tokens, Out::new(&mut part, n)) };
        for (i, t) in tokens.iter().enumerate() {
            let row = &x[*t as usize * width..][..width];
            let scale = b.isa().with(InverseRms { row, eps });
            for r in range.clone() {
                // SAFETY: tasks differ in tokens or rows.
                unsafe { out.set(*t as usize, r, part[i * n + r] * scale) };
            }
        }
    });
    m
}

struct InverseRms<'a> {
    row: &'a [f32],
    eps: f32,
}

impl Task for InverseRms<'_> {
    type Output = f32;
    #[inline(always)]
    fn run(self) -> f32 {
        inverse_rms(self.row, self.eps)
    }
}

/// `pre`, `post` and the doubly stochastic `C` from the raw mix values.
fn split_mix(m: &[f32], scale: &[f32], base: &[f32], rounds: usize, eps: f32) -> ([f32; STREAMS], [f32; MIX]) {
    let gate = |i: usize, s: usize| sigmoid(m[i] * scale[s] + base[i]);
    let pre = std::array::from_fn(|s| gate(s, 0) + eps);
    let mut mix = [0.0; MIX];
    for (t, post) in mix[..STREAMS].iter_mut().enumerate() {
        *post = 2.0 * gate(STREAMS + t, 1);
    }
    let c = &mut mix[STREAMS..];
    for (i, row) in c.chunks_exact_mut(STREAMS).enumerate() {
        for (j, v) in row.iter_mut().enumerate() {
            let at = 2 * STREAMS + i * STREAMS + j;
            *v = m[at] * scale[2] + base[at];
        }
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.iter_mut().for_each(|v| *v = (*v - max).exp());
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|v| *v = *v / sum + eps);
    }
    sinkhorn_columns(c, eps);
    for _ in 1..rounds {
        for row in c.chunks_exact_mut(STREAMS) {
            let sum = row.iter().sum::<f32>() + eps;
            row.iter_mut().for_each(|v| *v /= sum);
        }
        sinkhorn_columns(c, eps);
    }
    (pre, mix)
}

fn sinkhorn_columns(c: &mut [f32], eps: f32) {
    for j in 0..STREAMS {
        let sum = (0..STREAMS).map(|i| c[i * STREAMS + j]).sum::<f32>() + eps;
        (0..STREAMS).for_each(|i| c[i * STREAMS + j] /= sum);
    }
}

/// `h = rmsnorm(Σ_s pre_s·X_s, norm)`.
struct Collapse<'a> {
    x: &'a [f32],
    pre: [f32; STREAMS],
    norm: &'a [f32],
    eps: f32,
    h: &'a mut [f32],
}

impl Task for Collapse<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let n = self.h.len();
        let (x0, rest) = self.x.split_at(n);
        let (x1, rest) = rest.split_at(n);
        let (x2, x3) = rest.split_at(n);
        let p = self.pre;
        for (((h, (a, b)), c), d) in self.h.iter_mut().zip(x0.iter().zip(x1)).zip(x2).zip(x3) {
            *h = p[0] * a + p[1] * b + p[2] * c + p[3] * d;
        }
        rms_norm(self.h, Some(self.norm), self.eps);
    }
}

pub(super) fn collapse(
    b: &CpuBackend,
    step: &Step<'_>,
    site: &HcSite<CpuBackend>,
    norm: &[f32],
    x: &Buffer,
    mix: &mut Buffer,
    h: &mut Buffer,
) {
    let (n, c) = (step.rows(), step.config);
    let m = mix_values(b, &site.project, x.rows(n), c.rms_eps);
    let (x_width, h_width, mix_width) = (x.width, h.width, mix.width);
    let rows = h.rows_mut(n).par_chunks_mut(h_width).zip(mix.rows_mut(n).par_chunks_mut(mix_width));
    rows.zip(m.par_chunks(RAW)).zip(x.rows(n).par_chunks(x_width)).for_each(|(((h, mix), m), x)| {
        let (pre, values) = split_mix(m, &site.scale, &site.base, c.sinkhorn, c.hc_eps);
        mix.copy_from_slice(&values);
        b.isa().with(Collapse { x, pre, norm, eps: c.rms_eps, h });
    });
}

/// `X'_t = post_t·y + Σ_s C[s][t]·X_s` for a slice of every stream.
struct Expand<'a> {
    mix: &'a [f32],
    y: &'a [f32],
    x: [&'a mut [f32]; STREAMS],
}

impl Task for Expand<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let (post, c) = self.mix.split_at(STREAMS);
        let [x0, x1, x2, x3] = self.x;
        for ((((y, x0), x1), x2), x3) in self.y.iter().zip(x0).zip(x1).zip(x2).zip(x3) {
            let old = [*x0, *x1, *x2, *x3];
            let new = |t: usize| {
                post[t] * y
                    + c[t] * old[0]
                    + c[STREAMS + t] * old[1]
                    + c[2 * STREAMS + t] * old[2]
                    + c[3 * STREAMS + t] * old[3]
            };
            (*x0, *x1, *x2, *x3) = (new(0), new(1), new(2), new(3));
        }
    }
}

pub(super) fn expand(b: &CpuBackend, step: &Step<'_>, mix: &Buffer, y: &Buffer, x: &mut Buffer) {
    let (n, x_width) = (step.rows(), x.width);
    let width = x_width / STREAMS;
    let rows = x.rows_mut(n).par_chunks_mut(x_width).zip(y.rows(n).par_chunks(y.width));
    rows.zip(mix.rows(n).par_chunks(mix.width)).for_each(|((x, y), mix)| {
        let (x0, rest) = x.split_at_mut(width);
        let (x1, rest) = rest.split_at_mut(width);
        let (x2, x3) = rest.split_at_mut(width);
        let slices = x0.chunks_mut(SLICE).zip(x1.chunks_mut(SLICE)).zip(x2.chunks_mut(SLICE)).zip(x3.chunks_mut(SLICE));
        for ((((x0, x1), x2), x3), y) in slices.zip(y.chunks(SLICE)) {
            b.isa().with(Expand { mix, y, x: [x0, x1, x2, x3] });
        }
    });
}

pub(super) fn head(
    b: &CpuBackend,
    step: &Step<'_>,
    rows: &[usize],
    site: &HcSite<CpuBackend>,
    norm: &[f32],
    x: &Buffer,
    e: &mut Buffer,
) {
    let c = step.config;
    let width = e.width;
    for (row, e) in rows.iter().zip(e.rows_mut(rows.len()).chunks_mut(width)) {
        let x = &x.data[row * x.width..(row + 1) * x.width];
        let m = mix_values(b, &site.project, x, c.rms_eps);
        let pre = std::array::from_fn(|s| sigmoid(m[s] * site.scale[0] + site.base[s]) + c.hc_eps);
        b.isa().with(Collapse { x, pre, norm, eps: c.rms_eps, h: e });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_mixing_matrix_is_doubly_stochastic(m in prop::collection::vec(-1.0f32..1.0, RAW)) {
            let (_, mix) = split_mix(&m, &[1.0; 3], &[0.1; RAW], 20, 1e-6);
            let c = &mix[STREAMS..];
            for i in 0..STREAMS {
                let row: f32 = (0..STREAMS).map(|j| c[i * STREAMS + j]).sum();
                let column: f32 = (0..STREAMS).map(|j| c[j * STREAMS + i]).sum();
                prop_assert!((row - 1.0).abs() < 1e-3 && (column - 1.0).abs() < 1e-5, "{row} {column}");
            }
        }
    }
}
