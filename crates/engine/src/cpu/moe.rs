//! Router and experts (`spec/model.md` §10).

use super::linear::{Matrix, Rounded, split};
use super::math::{silu, sqrt_softplus};
use super::{Buffer, CpuBackend};
use crate::backend::Step;
use crate::weights::{Experts, Routing};
use ds4_quant::dot::{Out, Task};
use rayon::prelude::*;
use std::ops::Range;

/// Smallest denominator of routed weights: 2^-14.
const WEIGHT_SUM_MIN: f32 = 6.103_515_6e-5;

/// The hash-routing table: `width` experts a token.
pub struct Table {
    entries: Vec<i32>,
    width: usize,
}

impl Table {
    pub(super) fn new(entries: Vec<i32>, width: usize) -> Self {
        Self { entries, width }
    }

    fn experts(&self, token: u32) -> &[i32] {
        &self.entries[token as usize * self.width..][..self.width]
    }
}

/// `(expert, weight)` of each row, `NU` a row.
#[derive(Default)]
pub struct Routes {
    chosen: Vec<(u32, f32)>,
}

pub(super) fn route(step: &Step<'_>, routing: &Routing<CpuBackend>, z: &Buffer, routes: &mut Routes) {
    let c = step.config;
    routes.chosen.clear();
    for (z, token) in z.rows(step.rows()).chunks_exact(z.width).zip(step.tokens) {
        let p: Vec<f32> = z[..c.experts].iter().map(|z| sqrt_softplus(*z)).collect();
        let chosen: Vec<u32> = match routing {
            Routing::Hash(table) => table.experts(*token).iter().map(|e| *e as u32).collect(),
            Routing::Learned { bias } => best(&p, bias.as_deref(), c.experts_used),
        };
        let sum: f32 = chosen.iter().map(|e| p[*e as usize]).sum();
        let scale = c.expert_scale / sum.max(WEIGHT_SUM_MIN);
        routes.chosen.extend(chosen.iter().map(|e| (*e, scale * p[*e as usize])));
    }
}

/// The `n` experts of largest `p + bias`, best first; equal ones in order of their ids.
fn best(p: &[f32], bias: Option<&[f32]>, n: usize) -> Vec<u32> {
    let score = |e: u32| p[e as usize] + bias.map_or(0.0, |b| b[e as usize]);
    let mut all: Vec<u32> = (0..p.len() as u32).collect();
    let better = |a: &u32, b: &u32| score(*b).total_cmp(&score(*a)).then(a.cmp(b));
    all.select_nth_unstable_by(n - 1, better);
    all.truncate(n);
    all.sort_unstable_by(better);
    all
}

/// Buffers of [`experts`], kept between calls.
#[derive(Default)]
pub(super) struct Scratch {
    gate: Vec<f32>,
    up: Vec<f32>,
    down: Vec<f32>,
}

/// Grows `buffer` to `n` values without touching what is there, and returns that many.
fn sized(buffer: &mut Vec<f32>, n: usize) -> &mut [f32] {
    if buffer.len() < n {
        buffer.resize(n, 0.0);
    }
    &mut buffer[..n]
}

/// Rows of the batch that one expert handles: a run of slots in expert order. The shared expert is the last group.
struct Group {
    /// Expert id; `None` for the shared one.
    expert: Option<usize>,
    /// Slots of this group.
    slots: Range<usize>,
}

/// The batch in expert order.
struct Order {
    groups: Vec<Group>,
    /// Row of the batch of each slot.
    tokens: Vec<u32>,
    /// Routed weight of each slot; 1 for the shared expert.
    weights: Vec<f32>,
    /// Slot of the i-th routed pair (row-major).
    slot_of: Vec<usize>,
}

impl Order {
    fn new(routes: &Routes, rows: usize, used: usize) -> Self {
        let pairs = routes.chosen.len();
        let mut by_expert: Vec<usize> = (0..pairs).collect();
        by_expert.sort_by_key(|i| routes.chosen[*i].0);
        let mut order = Self {
            groups: Vec::new(),
            tokens: Vec::with_capacity(pairs + rows),
            weights: Vec::with_capacity(pairs + rows),
            slot_of: vec![0; pairs],
        };
        for (slot, pair) in by_expert.into_iter().enumerate() {
            let (expert, weight) = routes.chosen[pair];
            order.tokens.push((pair / used) as u32);
            order.weights.push(weight);
            order.slot_of[pair] = slot;
            match order.groups.last_mut() {
                Some(g) if g.expert == Some(expert as usize) => g.slots.end = slot + 1,
                _ => order.groups.push(Group { expert: Some(expert as usize), slots: slot..slot + 1 }),
            }
        }
        order.tokens.extend(0..rows as u32);
        order.weights.extend(std::iter::repeat_n(1.0, rows));
        order.groups.push(Group { expert: None, slots: pairs..pairs + rows });
        order
    }

    /// One task for each group and range of `rows` matrix rows; the large group of the shared expert first.
    fn tasks(&self, b: &CpuBackend, rows: usize) -> Vec<(&Group, Range<usize>)> {
        self.groups.iter().rev().flat_map(|g| split(b, rows).map(move |r| (g, r))).collect()
    }
}

/// The matrix of a group.
fn matrix<'a>(group: &Group, routed: &'a Matrix, shared: &'a Matrix) -> (&'a Matrix, usize) {
    group.expert.map_or((shared, 0), |e| (routed, e))
}

pub(super) fn experts(
    b: &CpuBackend,
    step: &Step<'_>,
    il: usize,
    w: &Experts<CpuBackend>,
    h: &Buffer,
    routes: &Routes,
    y: &mut Buffer,
) {
    let (rows, used) = (step.rows(), step.config.experts_used);
    let order = Order::new(routes, rows, used);
    let slots = order.tokens.len();
    let (ff, embd) = (step.config.expert_ff, step.config.embd);
    let mut scratch = b.scratch.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let Scratch { gate, up, down } = &mut *scratch;
    let (gate, up, down) = (sized(gate, slots * ff), sized(up, slots * ff), sized(down, slots * embd));

    // mid = silu(min(g, clamp)) ⊙ clamp(u) · weight, where g and u come from h.
    let x = h.rows(rows);
    let formats = [w.gate.format(), w.up.format(), w.shared_gate.format(), w.shared_up.format()];
    let rounded = Rounded::new(b, formats, x, rows, h.width);
    let clamps = (step.config.swiglu_clamp[il], step.config.swiglu_clamp_shared[il]);
    if let Some(collector) = &b.collector {
        for group in &order.groups {
            let (gate, i) = matrix(group, &w.gate, &w.shared_gate);
            let (up, _) = matrix(group, &w.up, &w.shared_up);
            let rows = order.tokens[group.slots.clone()].iter().map(|t| &x[*t as usize * h.width..][..gate.cols()]);
            collector.add(&[gate.name(), up.name()], (i, gate.count()), gate.cols(), rows);
        }
    }
    let (gate_out, up_out) = (Out::new(gate, ff), Out::new(up, ff));
    order.tasks(b, ff).into_par_iter().for_each(|(group, range)| {
        let tokens = &order.tokens[group.slots.clone()];
        for (m, out) in
            [(matrix(group, &w.gate, &w.shared_gate), gate_out), (matrix(group, &w.up, &w.shared_up), up_out)]
        {
            let input = rounded.input(m.0.format(), x);
            // SAFETY: tasks differ in slots or rows.
            unsafe { input.multiply(b, m.0.part(m.1), range.clone(), tokens, out.skip(group.slots.start)) };
        }
        let clamp = if group.expert.is_some() { clamps.0 } else { clamps.1 };
        for slot in group.slots.clone() {
            // SAFETY: as above; gate and up are different buffers.
            let (g, u) = unsafe { (gate_out.slice(slot, range.clone()), up_out.slice(slot, range.clone())) };
            b.isa().with(SwiGlu { g, u, clamp, weight: order.weights[slot] });
        }
    });

    let mid: &[f32] = gate;
    if let Some(collector) = &b.collector {
        for group in &order.groups {
            let (down, i) = matrix(group, &w.down, &w.shared_down);
            let rows = mid[group.slots.start * ff..group.slots.end * ff].chunks_exact(ff);
            collector.add(&[down.name()], (i, down.count()), ff, rows);
        }
    }
    let rounded = Rounded::new(b, [w.down.format(), w.shared_down.format()], mid, slots, ff);
    let all: Vec<u32> = (0..slots as u32).collect();
    let down_out = Out::new(down, embd);
    order.tasks(b, embd).into_par_iter().for_each(|(group, range)| {
        let (m, part) = matrix(group, &w.down, &w.shared_down);
        let (input, slots) = (rounded.input(m.format(), mid), group.slots.clone());
        // SAFETY: tasks differ in slots or rows.
        unsafe { input.multiply(b, m.part(part), range, &all[slots.clone()], down_out.skip(slots.start)) };
    });

    let (down, shared_first, width): (&[f32], usize, usize) = (down, slots - rows, y.width);
    y.rows_mut(rows).par_chunks_mut(width).enumerate().for_each(|(t, y)| {
        y.copy_from_slice(&down[(shared_first + t) * embd..][..embd]);
        for slot in &order.slot_of[t * used..(t + 1) * used] {
            y.iter_mut().zip(&down[slot * embd..][..embd]).for_each(|(y, d)| *y += d);
        }
    });
}

/// `g ← silu(min(g, clamp)) · clamp(u, ±clamp) · weight`
struct SwiGlu<'a> {
    g: &'a mut [f32],
    u: &'a [f32],
    clamp: f32,
    weight: f32,
}

impl Task for SwiGlu<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        for (g, u) in self.g.iter_mut().zip(self.u) {
            *g = silu(g.min(self.clamp)) * u.clamp(-self.clamp, self.clamp) * self.weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_experts_use_the_bias_and_break_ties_by_id() {
        assert_eq!(best(&[0.1, 0.5, 0.5, 0.2], None, 3), [1, 2, 3]);
        assert_eq!(best(&[0.1, 0.5, 0.5, 0.2], Some(&[1.0, 0.0, 0.0, 0.0]), 2), [0, 1]);
    }
}
