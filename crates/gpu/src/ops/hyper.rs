//! Hyper-connections (`spec/model.md` §4), the collapse of the output head (§11), RMSNorm.

use super::source::Source;
use crate::gpu::{Buffer, Gpu, Kernel, words};
use crate::parts;
use crate::rows::{BYTE_ROWS_MAX, Rows, Vector};
use ds4_engine::config::STREAMS;
use ds4_engine::{Config, Error, Precision, Result};
use std::sync::{Arc, Mutex};

/// Values of `mix`: `post` and `C`.
pub const MIX: usize = STREAMS + STREAMS * STREAMS;
/// Mix values of a layer's site: `pre`, `post`, `A`.
const VALUES: u32 = (STREAMS + MIX) as u32;
/// The same of the head: `pre`.
const HEAD_VALUES: u32 = STREAMS as u32;
/// Dims of each stream that one workgroup of the mix kernel handles.
const PART: usize = 64;
/// Threads of the mix kernel.
const MIX_THREADS: u32 = 256;
/// Threads that share the dims of a part.
const PAIR_THREADS: u32 = 32;
/// Rows from which a group of threads handles several, so that it reads the projection once; and how many.
const MANY_ROWS: usize = 32;
const MIX_ROWS: u32 = 4;

/// Most rows whose products expand what they made; and the fewest dims of each stream that one of their workgroups has.
pub(crate) const EXPANDED_ROWS_MAX: usize = 4;
pub(crate) const STRETCH_LEAST: u32 = 4;

/// Which kernel mixes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MixRows {
    Few,
    Many,
    /// Those of the head.
    Chosen,
}

/// A hyper-connection site on the device.
pub struct Site<'a> {
    /// Projection `fn`, `values × 4E`, F16 or F32.
    pub project: &'a Buffer,
    /// Whether it is F16.
    pub is_f16: bool,
    /// Scales.
    pub scale: &'a Vector,
    /// Biases.
    pub base: &'a Vector,
    /// The norm that follows.
    pub norm: &'a Vector,
}

/// What is left to do before a collapse.
#[derive(Clone, Copy)]
pub enum Before<'a> {
    /// Sums of the streams as they are.
    Sums,
    /// This output is expanded, and then the sums.
    Expand(&'a Rows),
    /// The product that made the output expanded it at its end (`kernels/hyper/expand.wgsl`) and left sums of so many dims of each stream.
    Nothing(u32),
}

/// What a product needs to expand its output at its end, towards one site.
pub struct Expand<'a> {
    embd: usize,
    is_f16: bool,
    project: &'a Buffer,
    part: &'a Buffer,
    x: &'a Rows,
    mix: &'a Rows,
}

/// How the workgroups of a product that does so are made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Stretch {
    /// Their threads.
    pub threads: u32,
    /// Matrix rows that a team takes.
    pub team_rows: u32,
    /// Dims of each stream: all matrix rows of a workgroup.
    pub dims: u32,
    /// Whether the projection of the site is F16.
    pub is_f16: bool,
}

impl Expand<'_> {
    /// Values of a stream.
    pub(crate) fn embd(&self) -> usize {
        self.embd
    }

    /// Whether the projection of the site is F16.
    pub(crate) fn is_f16(&self) -> bool {
        self.is_f16
    }

    /// Binds these after all others.
    pub(crate) fn bind<'a>(&'a self, buffers: &mut Vec<&'a Buffer>) {
        self.x.written(0);
        buffers.extend([self.project, &self.x.buffer, self.part, &self.mix.buffer]);
    }
}

impl Stretch {
    /// `load_streams` and `expand_kept`. The kernel calls the first one before its product and the second one after it has filled `kept`,
    /// both with the number of the workgroup and of the thread.
    pub(crate) fn add_to(self, source: &mut Source, embd: usize) {
        source.set_threads(self.threads);
        source.bind("project", "u32", false);
        source.bind("streams", "f32", true);
        source.bind("part", "f32", true);
        source.bind("mix", "f32", false);
        source.add(&format!("const E: u32 = {embd}u;\nconst F16: u32 = {}u;", u32::from(self.is_f16)));
        source.add(include_str!("../kernels/hyper/expand.wgsl"));
    }
}

/// The kernels with what they keep between two dispatches.
pub struct Hyper {
    embd: usize,
    rms_eps: f32,
    hc_eps: f32,
    rounds: u32,
    /// Whether products take the collapsed rows as bytes.
    emits: bool,
    /// Sums of the parts.
    part: Buffer,
    /// Rows of the head.
    chosen: Buffer,
    chosen_now: Mutex<Vec<u32>>,
    /// Bound as `mix` where there is none.
    nothing: Rows,
}

impl Hyper {
    /// For steps of at most `rows` rows.
    ///
    /// # Errors
    /// A hidden width that is no multiple of 64; out of memory.
    pub fn new(gpu: &Gpu, config: &Config, rows: usize, precision: Precision) -> Result<Self> {
        if !config.embd.is_multiple_of(PART) {
            return Err(Error::Device(format!(
                "a hidden width of {}, no multiple of {PART}; use --backend cpu",
                config.embd
            )));
        }
        let parts =
            (rows * (config.embd / PART)).max(rows.min(EXPANDED_ROWS_MAX) * config.embd / STRETCH_LEAST as usize);
        let sums = parts * (VALUES as usize + 1);
        Ok(Self {
            embd: config.embd,
            rms_eps: config.rms_eps,
            hc_eps: config.hc_eps,
            rounds: config.sinkhorn as u32,
            emits: precision == Precision::Fast && parts::can_emit(gpu.caps(), config.embd),
            part: gpu.buffer("hyper-connection sums", 4 * sums as u64)?,
            chosen: gpu.buffer("rows of the head", 4 * rows as u64)?,
            chosen_now: Mutex::default(),
            nothing: Rows::new(gpu, 1, 1)?,
        })
    }

    fn mix_kernel(&self, gpu: &Gpu, values: u32, expand: bool, is_f16: bool, rows: MixRows) -> Result<Arc<Kernel>> {
        let caps = gpu.caps();
        let threads = if values == 0 { 32 } else { MIX_THREADS };
        let sum = match caps.subgroup {
            Some(32) => include_str!("../kernels/hyper/pair_sum_subgroup.wgsl"),
            _ => include_str!("../kernels/hyper/pair_sum.wgsl"),
        };
        let constants = [
            ("WG", threads),
            ("E", self.embd as u32),
            ("VALUES", values),
            ("EXPAND", u32::from(expand)),
            ("F16", u32::from(is_f16)),
            ("CHOSEN", u32::from(rows == MixRows::Chosen)),
            ("RB", MIX_ROWS),
        ];
        let shared = include_str!("../kernels/hyper/mix_values.wgsl");
        let text = match rows {
            MixRows::Many => include_str!("../kernels/hyper/mix_many.wgsl"),
            _ => include_str!("../kernels/hyper/mix.wgsl"),
        };
        gpu.kernel("hc_mix", &constants, &[shared, text, sum])
    }

    /// The sums that [`collapse_parts`](Self::collapse_parts) needs, and of how many dims of each stream they are; with `y` after
    /// `X ← expand(X)`.
    fn mix(
        &self,
        gpu: &Gpu,
        rows: usize,
        project: Option<(&Buffer, bool)>,
        values: u32,
        y: Option<&Rows>,
        x: &Rows,
        mix: &Rows,
        is_chosen: bool,
    ) -> Result<u32> {
        let which = match rows {
            _ if is_chosen => MixRows::Chosen,
            MANY_ROWS.. if values > 0 => MixRows::Many,
            _ => MixRows::Few,
        };
        let is_f16 = project.is_some_and(|(_, is_f16)| is_f16);
        let kernel = self.mix_kernel(gpu, values, y.is_some(), is_f16, which)?;
        let project = project.map_or(&mix.buffer, |(project, _)| project);
        if y.is_some() {
            x.written(0);
        }
        let y = y.map_or(&mix.buffer, |y| &y.buffer);
        let buffers = [project, &x.buffer, &self.part, y, &mix.buffer, &self.chosen];
        let args = [rows as u32];
        let (buffers, at_once, args) = match which {
            MixRows::Many => (&buffers[..5], MIX_THREADS / PAIR_THREADS * MIX_ROWS, &args[..]),
            _ => (&buffers[..], 1, &[][..]),
        };
        let grid = [(self.embd / PART) as u32, (rows as u32).div_ceil(at_once), 1];
        gpu.dispatch(&kernel, buffers, args, grid)?;
        Ok(PART as u32)
    }

    fn collapse_parts(
        &self,
        gpu: &Gpu,
        rows: usize,
        site: &Site<'_>,
        values: u32,
        part: u32,
        x: &Rows,
        mix: &Rows,
        h: &Rows,
    ) -> Result<()> {
        let threads = 512.min((self.embd as u32 / 4).next_multiple_of(64));
        let caps = gpu.caps();
        let is_head = values == HEAD_VALUES;
        let constants = [
            ("WG", threads),
            ("SUBGROUP", parts::subgroup(caps)),
            ("E", self.embd as u32),
            ("PART", part),
            ("VALUES", values),
            ("HEAD", u32::from(is_head)),
            ("EMIT_WIDTH", self.embd as u32),
            ("EMIT_BINDING", 8),
            ("RMS_EPS_BITS", self.rms_eps.to_bits()),
            ("HC_EPS_BITS", self.hc_eps.to_bits()),
            ("ROUNDS", self.rounds),
        ];
        let emits = self.emits && rows <= BYTE_ROWS_MAX;
        let sums = parts::sums(caps, threads);
        let sources = [parts::MATH, sums, include_str!("../kernels/hyper/collapse.wgsl"), parts::emit(emits)];
        let kernel = gpu.kernel("hc_collapse", &constants, &sources)?;
        let mut buffers = vec![
            &self.part,
            &site.scale.buffer,
            &site.base.buffer,
            &site.norm.buffer,
            &x.buffer,
            &mix.buffer,
            &h.buffer,
            &self.chosen,
        ];
        if emits {
            buffers.push(h.bytes(gpu)?);
        }
        h.written(if emits { rows } else { 0 });
        gpu.dispatch(&kernel, &buffers, &[], [if is_head { 1 } else { 2 }, rows as u32, 1])
    }

    /// For a product whose output is expanded by the `mix` of before, and then collapsed at `site`.
    pub fn expand_into<'a>(&'a self, site: &Site<'a>, x: &'a Rows, mix: &'a Rows) -> Expand<'a> {
        Expand { embd: self.embd, is_f16: site.is_f16, project: site.project, part: &self.part, x, mix }
    }

    /// `h = rmsnorm(Σ_s pre_s X_s, norm)`, `mix` gets `post` and `C`; if that is left to do, after `X ← expand(X)` by the `mix` of before.
    ///
    /// # Errors
    /// The device failed.
    pub fn collapse(
        &self,
        gpu: &Gpu,
        rows: usize,
        site: &Site<'_>,
        before: Before<'_>,
        x: &Rows,
        mix: &Rows,
        h: &Rows,
    ) -> Result<()> {
        let project = Some((site.project, site.is_f16));
        let part = match before {
            Before::Nothing(part) => part,
            Before::Sums => self.mix(gpu, rows, project, VALUES, None, x, mix, false)?,
            Before::Expand(y) => self.mix(gpu, rows, project, VALUES, Some(y), x, mix, false)?,
        };
        self.collapse_parts(gpu, rows, site, VALUES, part, x, mix, h)
    }

    /// `X'_t = post_t·y + Σ_s C[s][t]·X_s`.
    ///
    /// # Errors
    /// The device failed.
    pub fn expand(&self, gpu: &Gpu, rows: usize, mix: &Rows, y: &Rows, x: &Rows) -> Result<()> {
        self.mix(gpu, rows, None, 0, Some(y), x, mix, false).map(|_| ())
    }

    /// §11: rows `rows` of `x`, collapsed and normed, to consecutive rows of `e`.
    ///
    /// # Errors
    /// The device failed.
    pub fn head(&self, gpu: &Gpu, rows: &[usize], site: &Site<'_>, x: &Rows, e: &Rows) -> Result<()> {
        let chosen: Vec<u32> = rows.iter().map(|row| *row as u32).collect();
        let mut now = self.chosen_now.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if *now != chosen {
            gpu.upload(&self.chosen, 0, &words(&chosen));
            *now = chosen;
        }
        let mix = &self.nothing;
        let part = self.mix(gpu, rows.len(), Some((site.project, site.is_f16)), HEAD_VALUES, None, x, mix, true)?;
        self.collapse_parts(gpu, rows.len(), site, HEAD_VALUES, part, x, mix, e)
    }
}

/// RMSNorm of the first `rows` rows, in place.
///
/// # Errors
/// The device failed.
pub fn rms_norm(gpu: &Gpu, rows: usize, norm: &Vector, eps: f32, x: &Rows) -> Result<()> {
    let (caps, threads) = (gpu.caps(), 256);
    let constants = [("WG", threads), ("SUBGROUP", parts::subgroup(caps))];
    let sources = [parts::sums(caps, threads), include_str!("../kernels/hyper/norm.wgsl")];
    let kernel = gpu.kernel("rms_norm", &constants, &sources)?;
    x.written(0);
    gpu.dispatch(&kernel, &[&norm.buffer, &x.buffer], &[x.width as u32, eps.to_bits()], [rows as u32, 1, 1])
}
