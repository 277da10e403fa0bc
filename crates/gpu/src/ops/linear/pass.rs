//! The kernel of few rows: all of them with one pass over the weights of several matrices, with what comes before and after in the same dispatch.

use super::super::hyper::{COLLAPSE_BINDINGS, Collapse, CollapseKind, Expand, STRETCH_LEAST, Stretch};
use super::super::source::{Input, Source, THREADS, Teams, Use, has_lattice, lanes};
use super::{Key, Linear, wrong};
use crate::device::Caps;
use crate::gpu::{BINDINGS_MAX, Gpu, Kernel};
use crate::parts;
use crate::rows::{Rows, Vector};
use crate::weights::Matrix;
use ds4_engine::{Precision, Result};
use std::sync::Arc;

/// Fewest workgroups for which a pass that collapses at its beginning has the largest ones: each of them collapses, but cores should not be idle.
const COLLAPSE_WORKGROUPS_LEAST: u32 = 64;
/// Workgroup memory of a pass that collapses at its beginning, besides what that takes.
const COLLAPSE_BESIDE_BYTES: u32 = 2 << 10;
/// Buffers of a pass whose rows leave as bytes for a norm, besides its inputs, matrices and outputs.
const EMIT_BINDINGS: usize = 3;

macro_rules! part {
    ($name:literal) => {
        include_str!(concat!("../../kernels/linear/", $name, ".wgsl"))
    };
}

/// What workgroups do with their rows of the first matrix at the end.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Ending {
    Plain,
    /// They leave as bytes too, from workgroups of so many threads.
    Bytes(u32),
    /// The same times the weights of the norm that follows.
    BytesForNorm(u32),
    /// They are expanded.
    Expand(Stretch),
}

/// Where the rows of a pass come from.
#[derive(Clone, Copy)]
pub(super) enum Origin<'a> {
    /// They are there, and are normed with these weights and this epsilon, if so.
    Rows(&'a Rows, Option<(&'a Vector, f32)>),
    /// A single one is collapsed first, by workgroups of so many threads.
    Streams(&'a Collapse<'a>, u32),
}

/// A team's sums, kept for the end (`kernels/linear/matvec.wgsl`).
const KEEP: &str = "if (thread % LANES == 0u) { kept[r * KEPT + thread / LANES * RPT + i] = sum; }";

/// The norm of an input.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct NormUse {
    /// f32 activations are multiplied with its weights.
    of_floats: bool,
    /// Its factor is still missing from the bytes.
    of_bytes: bool,
    /// Bits of its epsilon.
    eps: u32,
}

impl Linear {
    /// Threads of the workgroups of a pass over `uses` that collapses at its beginning, if it can: each has the whole input in its memory.
    pub(super) fn collapse_threads(&self, caps: Caps, uses: &[Use], collapse: CollapseKind) -> Option<u32> {
        let rows: u32 = uses.iter().map(|u| u.out as u32).sum();
        let threads = match caps.subgroup {
            Some(_) if rows * lanes(caps) / (4 * THREADS) >= COLLAPSE_WORKGROUPS_LEAST => 4 * THREADS,
            Some(_) => 2 * THREADS,
            None => THREADS,
        };
        let threads = threads.min(caps.workgroup_threads);
        let has = |input| uses.iter().any(|u| u.input == input);
        let bytes = collapse.workgroup_bytes(threads, has(Input::Float), has(Input::Bytes)) + COLLAPSE_BESIDE_BYTES;
        let buffers = COLLAPSE_BINDINGS + 2 * uses.len() + EMIT_BINDINGS;
        let can_emit = parts::can_emit(caps, uses.first()?.cols);
        let fits = bytes <= caps.workgroup_bytes
            && buffers <= BINDINGS_MAX.min(caps.buffers as usize)
            && !has_lattice(uses)
            && (can_emit || !has(Input::Bytes));
        fits.then_some(threads)
    }

    /// How a pass of `rows` rows over `uses`, the first of which has all rows of the output, can expand it: where there are whole
    /// workgroups.
    pub(crate) fn stretch(&self, caps: Caps, uses: &[Use], rows: usize, expand: &Expand<'_>) -> Option<Stretch> {
        let is_large = caps.subgroup.is_some() && !has_lattice(uses);
        let threads = if is_large { self.tuning.expand_threads.min(caps.workgroup_threads) } else { THREADS };
        let team_rows = if rows == 1 { self.tuning.expand_team_rows } else { self.team_rows(caps, uses) };
        let dims = threads / lanes(caps) * team_rows;
        let is_few = (1..=self.tuning.expanded_rows.min(self.pass_rows())).contains(&rows);
        let is_whole =
            uses.first()?.out == expand.embd() && dims >= STRETCH_LEAST && expand.embd().is_multiple_of(dims as usize);
        // A thread expands one dim of one row at most.
        let has_threads = dims * rows as u32 <= threads;
        (is_few && is_whole && has_threads).then_some(Stretch { threads, team_rows, dims, is_f16: expand.is_f16() })
    }

    /// Threads of a workgroup of a pass that has whole blocks of the `n` values a row of its first matrix, so that they can leave as bytes.
    pub(super) fn emitters(&self, caps: Caps, uses: &[Use], n: usize, width: usize) -> Option<u32> {
        if self.precision == Precision::Exact || !n.is_multiple_of(16) || !width.is_multiple_of(64) {
            return None;
        }
        let per_team = self.team_rows(caps, uses);
        let is_whole = |threads: &u32| (threads / lanes(caps) * per_team).is_multiple_of(16);
        // Where there are subgroups, workgroups may be larger.
        let is_large = caps.subgroup.is_some() && !has_lattice(uses) && caps.workgroup_threads >= 2 * THREADS;
        let larger = is_large.then_some(2 * THREADS);
        [Some(THREADS), larger].into_iter().flatten().find(is_whole)
    }

    /// All rows with one pass over the weights. Bytes are for the norm `next` if so, and what is expanded is so to `expand`.
    pub(super) fn pass(
        &self,
        gpu: &Gpu,
        rows: usize,
        from: Origin<'_>,
        uses: Vec<Use>,
        out: &[(&Matrix, &Rows)],
        ending: Ending,
        next: Option<&Vector>,
        expand: Option<&Expand<'_>>,
    ) -> Result<()> {
        let caps = gpu.caps();
        let has = |input| uses.iter().any(|u| u.input == input);
        let (has_float, has_bytes) = (has(Input::Float), has(Input::Bytes));
        let (mut threads, mut per_team) = match ending {
            Ending::Plain => (THREADS, self.plain_team_rows(caps, &uses, rows)),
            Ending::Bytes(threads) | Ending::BytesForNorm(threads) => (threads, self.team_rows(caps, &uses)),
            Ending::Expand(stretch) => (stretch.threads, stretch.team_rows),
        };
        let mut buffers = Vec::with_capacity(16 + 2 * uses.len());
        let (mut norm_use, mut collapse_kind) = (NormUse::default(), None);
        match from {
            Origin::Rows(x, norm) => {
                let of_bytes = has_bytes && norm.is_some() && x.has_weighted(rows);
                if has_bytes && !of_bytes {
                    self.quantized(gpu, rows, x, norm)?;
                }
                let float_norm = norm.filter(|_| has_float);
                let eps = norm.filter(|_| float_norm.is_some() || of_bytes).map_or(0, |(_, eps)| eps.to_bits());
                norm_use = NormUse { of_floats: float_norm.is_some(), of_bytes, eps };
                if has_float {
                    buffers.push(&x.buffer);
                }
                if has_bytes {
                    buffers.push(x.bytes(gpu)?);
                }
                if let Some((norm, _)) = float_norm {
                    buffers.push(&norm.buffer);
                }
                if of_bytes {
                    buffers.push(x.sixteens(gpu)?);
                }
            }
            Origin::Streams(collapse, collapse_threads) => {
                collapse.bind(gpu, &mut buffers)?;
                // Teams enough for a block of sixteen values.
                (threads, per_team) = (collapse_threads, (16 * lanes(caps) / collapse_threads).max(1));
                collapse_kind = Some(collapse.kind());
            }
        }
        let grids: Vec<u32> = uses.iter().map(|u| (u.out as u32).div_ceil(threads / lanes(caps) * per_team)).collect();
        if has_lattice(&uses) {
            buffers.push(&self.lattice);
        }
        for (w, to) in out {
            buffers.extend([&*w.buffer, &to.buffer]);
            to.written(0);
        }
        match (ending, out.first(), next) {
            (Ending::Bytes(_), Some((_, to)), _) => {
                buffers.push(to.bytes(gpu)?);
                to.written(rows);
            }
            (Ending::BytesForNorm(_), Some((_, to)), Some(next)) => {
                buffers.extend([to.bytes(gpu)?, &next.buffer, to.sixteens(gpu)?]);
                to.written_for_norm(rows);
            }
            _ => {}
        }
        if let (Some(expand), Ending::Expand(stretch)) = (expand, ending) {
            expand.bind(stretch.dims, &mut buffers);
        }
        let workgroups: u32 = grids.iter().sum::<u32>() + u32::from(collapse_kind.is_some());
        let key = Key::Pass { uses, norm: norm_use, collapse: collapse_kind, ending };
        let kernel = self.kernel(key, |key| {
            let Key::Pass { uses, .. } = key else { return Err(wrong("another kernel".to_owned())) };
            self.pass_kernel(gpu, uses, norm_use, collapse_kind, (threads, per_team), &grids, ending)
        })?;
        gpu.dispatch(&kernel, &buffers, &[], [workgroups, 1, 1])
    }

    fn pass_kernel(
        &self,
        gpu: &Gpu,
        uses: &[Use],
        norm: NormUse,
        collapse: Option<CollapseKind>,
        (threads, per_team): (u32, u32),
        grids: &[u32],
        ending: Ending,
    ) -> Result<Arc<Kernel>> {
        let has = |input| uses.iter().any(|u| u.input == input);
        let (has_float, has_bytes) = (has(Input::Float), has(Input::Bytes));
        let mut source = Source::new(self.precision);
        match collapse {
            Some(collapse) => collapse.add_to(&mut source, gpu.caps(), threads, has_float, has_bytes),
            None if has_float => source.bind("x", "vec4<f32>", false),
            None => {}
        }
        if has_bytes {
            if collapse.is_none() {
                source.bind("xq", "vec4<u32>", false);
            }
            source.add(part!("bytes"));
        }
        if norm.of_floats {
            source.bind("norm", "vec4<f32>", false);
        }
        if norm.of_bytes {
            source.bind("sixteens", "f32", false);
        }
        source.add_teams(gpu.caps());
        if has_float {
            source.add(if norm.of_floats { part!("input_norm") } else { part!("input") });
        }
        let mut before = "";
        if norm.of_bytes {
            source.add(part!("byte_factor"));
            before = "load_byte_factors(thread);";
        }
        source.add_matrices(uses, Some("f32"), Some(Teams { lanes: lanes(gpu.caps()), rows: per_team }));
        if let Ending::Bytes(threads) | Ending::BytesForNorm(threads) = ending {
            source.set_threads(threads);
            source.bind("bytes", "u32", true);
            source.add(part!("matvec_emit"));
            source.add_once(&parts::emit_quad(gpu.caps()));
        }
        let (keep, end) = match ending {
            Ending::Plain => ("", ""),
            Ending::Bytes(_) => {
                source.add(part!("emit_plain"));
                (KEEP, "emit_kept(group * KEPT, thread);")
            }
            Ending::BytesForNorm(_) => {
                source.bind("emit_norm", "f32", false);
                source.bind("sixteens", "f32", true);
                source.add(part!("emit_for_norm"));
                (KEEP, "emit_kept(group * KEPT, thread);")
            }
            Ending::Expand(stretch) => {
                stretch.add_to(&mut source, uses.first().map_or(0, |u| u.out));
                before = "load_streams(group.x, thread);";
                (KEEP, "expand_kept(group, thread);")
            }
        };
        let mut calls = String::new();
        let mut first = 0;
        if collapse.is_some() {
            calls.push_str("collapse_here(group.x == 0u, thread);\nif (group.x == 0u) { return; }\n");
            first = 1;
        }
        for (i, (u, n)) in uses.iter().zip(grids).enumerate() {
            let factor = match u.input {
                Input::Float if norm.of_floats => "norm_factor(r, thread)",
                Input::Bytes if norm.of_bytes => "byte_factors[r]",
                _ => "1.0",
            };
            let (keep, end) = if i == 0 { (keep, end) } else { ("", "") };
            let matvec = part!("matvec")
                .replace("KEEP", keep)
                .replace("EMIT", end)
                .replace("FACTOR", factor)
                .replace("ROW", "r");
            source.add(&matvec.replace('$', &i.to_string()));
            let end = first + n;
            calls.push_str(&format!("if (group.x < {end}u) {{ product_{i}(group.x - {first}u, thread); return; }}\n"));
            first = end;
        }
        source.add(&format!(
            "@compute @workgroup_size(WG)\n\
             fn main(\n\
             @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,\n\
             @builtin(local_invocation_index) thread: u32) {{\n\
             once = grid.z;\n\
             PREPARE\n{before}\n{calls}}}"
        ));
        let (batch, cols) = uses.first().map_or((1, 0), |u| (u.batch, u.x_width));
        let constants = [("R", batch as u32), ("RPT", per_team), ("X_COLS", cols as u32), ("EPS_BITS", norm.eps)];
        let first = uses.first().map_or(String::new(), |u| format!(" {}×{}", u.out, u.cols));
        let more = if uses.len() > 1 { format!(" and {} more", uses.len() - 1) } else { String::new() };
        source.build(gpu, &format!("pass{first}{more}"), uses, self.tuning.lattice_copies, &constants)
    }
}
